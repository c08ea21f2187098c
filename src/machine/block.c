// SPDX-License-Identifier: MIT
#include "machine/block.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/os_usage.h"
#include "machine/block_table.h"
#include "machine/machine.h"
#include "machine/privacy.h"

static void free_block(struct mv_block *block)
{
    free(block->name);
    free(block->id);
    free(block);
}

static struct mv_block *allocate(const struct mv_block_options *options, const char *name)
{
    struct mv_block *block = calloc(1, sizeof *block);
    if (!block) {
        return NULL;
    }
    block->name = strdup(name);
    block->id = options->id ? strdup(options->id) : NULL;
    if (!block->name || (options->id && !block->id)) {
        free_block(block);
        return NULL;
    }
    block->kind = options->kind;
    block->fd = -1;
    block->exact_size_bytes = options->size_bytes;
    block->resizeable = options->max_size_bytes != 0;
    block->resized = options->resized;
    block->resized_opaque = options->resized_opaque;
    return block;
}

static int preallocate(struct mv_block *block, const struct mv_block_options *options, struct mv_error *err)
{
    struct mv_block_info *grants = &block->grants;
    grants->prealloc.asked = options->prealloc;
    if (options->prealloc != MV_ON) {
        return 0;
    }
    int rc = block_populate(block, 0, block->size_bytes, &options->populate, &grants->prealloc_bytes,
                            &grants->prealloc_nthreads, err);
    grants->prealloc.granted = rc == 0;
    return rc;
}

int mv_block_create(struct mv_machine *machine, const struct mv_block_options *options, struct mv_block **ret,
                    struct mv_error *err)
{
    const char *name = options->name ? options->name : "(unnamed)";
    int rc = block_check_options(options, name, err);
    if (rc < 0) {
        return rc;
    }
    struct mv_block *block = allocate(options, name);
    if (!block) {
        return error_set(err, -ENOMEM, "no-memory", name, "block %s: out of memory", name);
    }
    rc = block_map(block, options, err);
    if (rc < 0) {
        free_block(block);
        return rc;
    }
    atomic_init(&block->refs, 1);
    block->machine = machine;
    rc = block_advise(block, options, err);
    if (rc == 0 && dirty_map_init(&block->dirty, block->max_size_bytes) < 0) {
        rc = error_set(err, -ENOMEM, "no-memory", name, "block %s: out of memory for its dirty pages", name);
    }
    if (rc == 0) {
        rc = preallocate(block, options, err);
    }
    if (rc == 0) {
        rc = block_table_add(machine, block, err);
    }
    if (rc < 0) {
        block_unmap(block);
        dirty_map_finish(&block->dirty);
        if (block->made_file) {
            unlink(options->path);
        }
        free_block(block);
        return rc;
    }
    *ret = block;
    return 0;
}

struct mv_block *mv_block_get(struct mv_block *block)
{
    atomic_fetch_add_explicit(&block->refs, 1, memory_order_relaxed);
    return block;
}

void mv_block_put(struct mv_block *block)
{
    if (!block || atomic_fetch_sub_explicit(&block->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    block_table_remove(block->machine, block);
    block_unmap(block);
    dirty_map_finish(&block->dirty);
    privacy_destroy(block->privacy);
    machine_put(block->machine);
    free_block(block);
}

void mv_block_info(const struct mv_block *block, struct mv_block_info *ret)
{
    *ret = block->grants;
    ret->name = block->name;
    ret->id = block->id;
    ret->kind = block->kind;
    ret->size_bytes = block->size_bytes;
    ret->max_size_bytes = block->max_size_bytes;
    ret->page_size_bytes = block->page_size_bytes;
    ret->ram_offset = block->ram_offset;
    ret->hva = hva_of(block->host);
    ret->fd = block->fd;
    ret->fd_offset_bytes = block->fd_offset_bytes;
    ret->resizeable = block->resizeable;
    ret->shared = block->shared;
    ret->readonly = block->readonly;
}

const char *mv_block_kind_name(enum mv_block_kind kind)
{
    switch (kind) {
    case MV_BLOCK_ANONYMOUS: return "anonymous";
    case MV_BLOCK_MEMFD: return "memfd";
    case MV_BLOCK_FILE: return "file";
    case MV_BLOCK_HUGETLB: return "hugetlb";
    case MV_BLOCK_CALLER: return "caller";
    }
    return "unknown";
}

int mv_block_usage(const struct mv_block *block, struct mv_block_usage *ret, struct mv_error *err)
{
    struct os_usage usage;
    int rc = os_usage(block->host, block->max_size_bytes, &usage);
    if (rc < 0) {
        return error_host(err, rc, block->name, "block %s: cannot read /proc/self/smaps", block->name);
    }
    *ret = (struct mv_block_usage){
        .resident_bytes = usage.resident,
        .transparent_bytes = usage.transparent,
        .hugetlb_bytes = usage.hugetlb,
        .merged_bytes = usage.merged,
        .swapped_bytes = usage.swapped,
        .locked_bytes = usage.locked,
    };
    return 0;
}

int block_check_range(const struct mv_block *block, uint64_t offset, uint64_t length, uint64_t limit,
                      struct mv_error *err)
{
    const char *wrong = NULL;
    if (length == 0) {
        wrong = "it is empty";
    } else if (!is_aligned(offset | length, block->page_size_bytes)) {
        wrong = "it is not of whole pages of the block";
    } else if (offset > limit || length > limit - offset) {
        wrong = "it goes beyond the end of the block";
    }
    if (!wrong) {
        return 0;
    }
    return error_set(err, -EINVAL, "bad-range", block->name,
                     "block %s: the range of 0x%" PRIx64 " bytes at 0x%" PRIx64 ": %s", block->name, length,
                     offset, wrong);
}
