// SPDX-License-Identifier: MIT
#include "machine/block.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/os.h"
#include "machine/machine.h"

static int map(struct mv_block *block)
{
    void *host = NULL;
    int rc = block->kind == MV_BLOCK_MEMFD ? os_map_memfd(block->name, block->size_bytes, &host, &block->fd)
                                           : os_map_anonymous(block->size_bytes, &host);
    block->host = host;
    return rc;
}

static void unmap(struct mv_block *block)
{
    os_unmap(block->host, block->size_bytes);
    if (block->fd >= 0) {
        close(block->fd);
    }
}

int mv_block_create(struct mv_machine *machine, const struct mv_block_options *options, struct mv_block **ret,
                    struct mv_error *err)
{
    const char *name = options->name ? options->name : "(unnamed)";
    uint64_t size;
    if (options->size_bytes == 0 || !align_up(options->size_bytes, os_page_size(), &size)) {
        return error_set(err, -EINVAL, "bad-size", name, "block %s: its size cannot be %" PRIu64 " bytes", name,
                         options->size_bytes);
    }
    if (options->kind != MV_BLOCK_ANONYMOUS && options->kind != MV_BLOCK_MEMFD) {
        return error_set(err, -EINVAL, "bad-block", name, "block %s: no such kind of block: %d", name,
                         (int)options->kind);
    }
    struct mv_block *block = calloc(1, sizeof *block);
    if (block) {
        block->name = strdup(name);
    }
    if (!block || !block->name) {
        free(block);
        return error_set(err, -ENOMEM, "no-memory", name, "block %s: out of memory", name);
    }
    block->kind = options->kind;
    block->size_bytes = size;
    block->fd = -1;
    int rc = map(block);
    if (rc < 0) {
        error_host(err, rc, name, "block %s: the host does not map %" PRIu64 " bytes", name, size);
    } else if (dirty_map_init(&block->dirty, size) < 0) {
        rc = error_set(err, -ENOMEM, "no-memory", name, "block %s: out of memory for its dirty pages", name);
        unmap(block);
    }
    if (rc < 0) {
        free(block->name);
        free(block);
        return rc;
    }
    atomic_init(&block->refs, 1);
    block->machine = machine_get(machine);
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
    unmap(block);
    dirty_map_finish(&block->dirty);
    machine_put(block->machine);
    free(block->name);
    free(block);
}

void mv_block_info(const struct mv_block *block, struct mv_block_info *ret)
{
    *ret = (struct mv_block_info){
        .name = block->name,
        .kind = block->kind,
        .size_bytes = block->size_bytes,
        .page_size_bytes = os_page_size(),
        .hva = hva_of(block->host),
        .fd = block->fd,
    };
}
