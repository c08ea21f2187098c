// SPDX-License-Identifier: MIT
#include <assert.h>
#include <errno.h>

#include "base/addr.h"
#include "base/error.h"
#include "machine/block.h"
#include "machine/machine.h"
#include "machine/region.h"

/* -EINVAL, or what the size is after rounding. */
static int check(const struct mv_block *block, uint64_t size_bytes, uint64_t *ret, struct mv_error *err)
{
    const char *name = block->name;
    if (size_bytes == 0) {
        return error_set(err, -EINVAL, "bad-size", name, "block %s: its size cannot be 0", name);
    }
    uint64_t rounded;
    const bool fits = align_up(size_bytes, block->page_size_bytes, &rounded);
    if (fits && rounded == block->size_bytes) {
        *ret = rounded;
        return 0;
    }
    if (!block->resizeable) {
        return error_set(err, -EINVAL, "not-resizeable", name,
                         "block %s: it is not resizeable: it has 0x%" PRIx64 " bytes, and not 0x%" PRIx64, name,
                         (uint64_t)block->size_bytes, size_bytes);
    }
    if (!fits || rounded > block->max_size_bytes) {
        return error_set(err, -EINVAL, "too-large", name,
                         "block %s: 0x%" PRIx64 " bytes are more than its maximum of 0x%" PRIx64, name, size_bytes,
                         block->max_size_bytes);
    }
    *ret = rounded;
    return 0;
}

/* What was in use is clean for everybody, then what is in use now dirty. */
static void mark_resized(struct mv_block *block, uint64_t old_size)
{
    struct dirty_map *map = &block->dirty;
    const uint64_t old_pages = old_size / MV_DIRTY_PAGE_BYTES, new_pages = block->size_bytes / MV_DIRTY_PAGE_BYTES;
    for (unsigned client = 0; client < MV_DIRTY_CLIENTS; client++) {
        for (uint64_t i = 0; i * 64 < old_pages; i++) {
            dirty_map_take(map, (enum mv_dirty_client)client, i, UINT64_MAX);
        }
        for (uint64_t i = 0; i * 64 < new_pages; i++) {
            uint64_t left = new_pages - i * 64;
            dirty_map_set(map, (enum mv_dirty_client)client, i,
                          left < 64 ? (UINT64_C(1) << left) - 1 : UINT64_MAX);
        }
    }
}

static void set_size(struct mv_block *block, uint64_t exact, uint64_t rounded)
{
    const uint64_t old_size = block->size_bytes;
    if (rounded != old_size) {
        block_table_resize(block->machine, block, rounded);
        mark_resized(block, old_size);
    }
    block->exact_size_bytes = exact;
}

void block_size_back(struct mv_block *block, uint64_t exact_size_bytes)
{
    uint64_t rounded;
    bool fits = align_up(exact_size_bytes, block->page_size_bytes, &rounded);
    assert(fits);
    (void)fits;
    set_size(block, exact_size_bytes, rounded);
}

/* The block and the region that follows it. Should the commit fail, the undo log has set back both. */
static int resize_both(struct mv_block *block, uint64_t exact, uint64_t rounded, struct mv_error *err)
{
    struct mv_machine *machine = block->machine;
    int rc = mv_machine_begin(machine, err);
    if (rc < 0) {
        return rc;
    }
    rc = region_prepare_size(block->follower, exact, err);
    if (rc == 0) {
        set_size(block, exact, rounded);
        region_set_size(block->follower, exact);
    }
    int committed = mv_machine_commit(machine, rc < 0 ? NULL : err);
    return rc < 0 ? rc : committed;
}

static int resize(struct mv_block *block, uint64_t exact, uint64_t rounded, struct mv_error *err)
{
    int rc = 0;
    if (exact == block->exact_size_bytes) { /* then the rounded size is what it was */
        return 0;
    }
    if (block->follower) {
        rc = resize_both(block, exact, rounded, err);
    } else {
        set_size(block, exact, rounded);
    }
    if (rc == 0 && block->resized) {
        block->resized(block->resized_opaque, block, exact);
    }
    return rc;
}

int mv_block_resize(struct mv_block *block, uint64_t size_bytes, struct mv_error *err)
{
    struct mv_machine *machine = block->machine;
    uint64_t rounded = 0;
    machine_lock_flushed(machine);
    int rc = machine->committing ? error_set(err, -EBUSY, "busy", block->name,
                                             "block %s: a listener cannot resize it during a commit", block->name)
                                 : check(block, size_bytes, &rounded, err);
    if (rc == 0) {
        rc = resize(block, size_bytes, rounded, err);
    }
    machine_unlock(machine);
    return rc;
}
