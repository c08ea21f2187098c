// SPDX-License-Identifier: MIT
/* What is asked of the host for a mapping. What only costs speed is reported; what breaks a promise is an error.
 */
#include <errno.h>
#include <sys/mman.h>

#include "base/error.h"
#include "base/os.h"
#include "base/os_map.h"
#include "base/os_numa.h"
#include "base/os_policy.h"
#include "machine/block.h"

static bool of_pool(const struct mv_block *block)
{
    return block->page_size_bytes > os_page_size();
}

/* Why no transparent huge page can be in the block, whatever is asked; NULL if one may. */
static const char *no_thp(const struct mv_block *block, enum os_thp policy)
{
    if (of_pool(block)) {
        return "its pages are huge pages of the pool already";
    }
    if (policy == OS_THP_ABSENT) {
        return "the host kernel has no transparent huge pages for such memory";
    }
    if (policy == OS_THP_NEVER) {
        return block->shared ? "transparent_hugepage/shmem_enabled in /sys/kernel/mm says never"
                             : "transparent_hugepage/enabled in /sys/kernel/mm says never";
    }
    if (block->max_size_bytes < os_thp_size()) {
        return "it is smaller than a huge page";
    }
    if (!is_aligned(hva_of(block->host).raw, os_thp_size()) && block->max_size_bytes < 2 * os_thp_size()) {
        return "no huge page fits in between its ends";
    }
    return NULL;
}

static void advise_thp(struct mv_block *block, enum mv_choice asked)
{
    struct mv_grant *grant = &block->grants.thp;
    *grant = (struct mv_grant){.asked = asked};
    int rc = 0;
    if (asked != MV_DEFAULT && !of_pool(block)) {
        rc = os_advise(block->host, block->max_size_bytes, asked == MV_ON ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    }
    if (asked == MV_OFF) {
        /* A kernel that does not know the word has no such pages. */
        return;
    }
    if (block->kind == MV_BLOCK_FILE && !of_pool(block)) {
        grant->why = asked == MV_ON ? "whether a file has huge pages is a matter of its file system" : NULL;
        return;
    }
    const enum os_thp policy = block->shared ? os_thp_shmem() : os_thp_anonymous();
    const char *why = no_thp(block, policy);
    if (!why && rc < 0) {
        why = "the host refuses the advice";
    }
    if (!why && asked == MV_DEFAULT && policy == OS_THP_ADVISED) {
        why = "the host gives them only to memory that asks";
    }
    grant->granted = why == NULL;
    grant->why = why;
}

static void advise_mergeable(struct mv_block *block, enum mv_choice asked)
{
    struct mv_grant *grant = &block->grants.mergeable;
    *grant = (struct mv_grant){.asked = asked};
    if (asked != MV_ON) {
        return;
    }
    if (block->shared || of_pool(block)) {
        /* The kernel says 0 to this, and does nothing. */
        grant->why = "KSM merges private memory of ordinary pages only";
    } else if (os_advise(block->host, block->max_size_bytes, MADV_MERGEABLE) < 0) {
        grant->why = "the host refuses the advice: it has no KSM";
    } else if (!os_ksm_runs()) {
        grant->why = "marked, but nothing is merged: /sys/kernel/mm/ksm/run is not 1";
    } else {
        grant->granted = true;
    }
}

/* A promise that nobody else gets to see the memory: what cannot be kept is refused. */
static int keep_from(struct mv_block *block, enum mv_choice asked, int advice, const char *whom,
                     struct mv_grant *grant, struct mv_error *err)
{
    *grant = (struct mv_grant){.asked = asked, .granted = asked != MV_OFF};
    if (asked != MV_OFF) {
        return 0;
    }
    int rc = os_advise(block->host, block->max_size_bytes, advice);
    if (rc < 0) {
        return error_host(err, rc, block->name, "block %s: the host does not keep it from %s", block->name, whom);
    }
    return 0;
}

static int bind_nodes(struct mv_block *block, const struct mv_block_options *o, struct mv_error *err)
{
    static const enum os_numa policies[] = {
        [MV_NUMA_DEFAULT] = OS_NUMA_DEFAULT,
        [MV_NUMA_PREFERRED] = OS_NUMA_PREFERRED,
        [MV_NUMA_BIND] = OS_NUMA_BIND,
        [MV_NUMA_INTERLEAVE] = OS_NUMA_INTERLEAVE,
    };
    static const enum mv_numa_policy back[] = {
        [OS_NUMA_DEFAULT] = MV_NUMA_DEFAULT,
        [OS_NUMA_PREFERRED] = MV_NUMA_PREFERRED,
        [OS_NUMA_BIND] = MV_NUMA_BIND,
        [OS_NUMA_INTERLEAVE] = MV_NUMA_INTERLEAVE,
    };
    struct mv_block_info *grants = &block->grants;
    grants->numa_asked = o->numa;
    grants->numa_nodes_asked = o->numa_nodes;
    if (o->numa == MV_NUMA_DEFAULT) {
        return 0;
    }
    enum os_numa policy;
    int rc = os_numa_set(block->host, block->max_size_bytes, policies[o->numa], o->numa_nodes);
    if (rc == 0) {
        rc = os_numa_get(block->host, &policy, &grants->numa_nodes_granted);
    }
    if (rc < 0) {
        return error_host(err, rc, block->name, "block %s: the host does not bind it to the NUMA nodes 0x%" PRIx64,
                          block->name, o->numa_nodes);
    }
    grants->numa_granted = back[policy];
    return 0;
}

int block_advise(struct mv_block *block, const struct mv_block_options *options, struct mv_error *err)
{
    struct mv_block_info *grants = &block->grants;
    int rc = bind_nodes(block, options, err);
    if (rc == 0) {
        rc = keep_from(block, options->dump, MADV_DONTDUMP, "core dumps", &grants->dump, err);
    }
    if (rc == 0) {
        rc = keep_from(block, options->fork, MADV_DONTFORK, "child processes", &grants->fork, err);
    }
    if (rc == 0) {
        advise_thp(block, options->thp);
        advise_mergeable(block, options->mergeable);
    }
    return rc;
}
