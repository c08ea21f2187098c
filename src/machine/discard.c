// SPDX-License-Identifier: MIT
/* Managers of blocks of which only parts exist. Everything here happens under the control lock. */
#include <memvirt/discard.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/os.h"
#include "base/rangeset.h"
#include "machine/block.h"
#include "machine/flat.h"
#include "machine/machine.h"

/*
 * Owned by its maker. The block points at it as long as it lives.
 * Invariant: populated is of whole granules within the block.
 */
struct mv_discard_manager {
    struct mv_block *block; /* a reference */
    uint64_t granularity;
    bool prealloc; /* what is populated is there, or it is not populated */
    struct rangeset populated;
    struct cds_list_head listeners; /* in the order of creation */
    bool telling;                   /* listeners are being told */
};

struct mv_discard_listener {
    struct mv_discard_manager *manager;
    struct mv_range range; /* in the block */
    const struct mv_discard_listener_ops *ops;
    void *opaque;
    struct cds_list_head link;
};

/* --- telling one listener -------------------------------------------------------------------------- */

/* The part of `piece` that it listens to, if any. */
static int tell_populate(struct mv_discard_listener *listener, struct mv_range piece, struct mv_error *err)
{
    struct mv_range common;
    if (!listener->ops->populate || !range_intersect(listener->range, piece, &common)) {
        return 0;
    }
    const char *name = listener->manager->block->name;
    struct mv_error why;
    error_set(&why, 0, "refused", name, "block %s: a listener refused to have it populated", name);
    int rc = listener->ops->populate(listener->opaque, common.first, range_size(common), &why);
    if (rc < 0 && err) {
        why.code = rc;
        *err = why;
    }
    return rc;
}

static void tell_discard(struct mv_discard_listener *listener, struct mv_range piece)
{
    struct mv_range common;
    if (listener->ops->discard && range_intersect(listener->range, piece, &common)) {
        listener->ops->discard(listener->opaque, common.first, range_size(common));
    }
}

/* The next piece behind `piece`, of what is populated or of the holes. */
typedef bool (*next_piece)(const struct rangeset *set, struct mv_range range, struct mv_range *ret);

/* for (bool any = next(set, range, &piece); any; any = go_on(set, next, range, &piece)) */
static bool go_on(const struct rangeset *set, next_piece next, struct mv_range range, struct mv_range *piece)
{
    if (piece->last >= range.last) {
        return false;
    }
    return next(set, (struct mv_range){piece->last + 1, range.last}, piece);
}

/* Each populated piece of `range`, or all of it in one call if it can bear that. */
static void tell_discards(struct mv_discard_listener *listener, struct mv_range range)
{
    const struct rangeset *set = &listener->manager->populated;
    struct mv_range piece;
    if (listener->ops->double_discard) {
        tell_discard(listener, range);
        return;
    }
    for (bool any = rangeset_next(set, range, &piece); any; any = go_on(set, rangeset_next, range, &piece)) {
        tell_discard(listener, piece);
    }
}

/* --- life -------------------------------------------------------------------------------------------- */

static bool is_shown(const struct mv_block *block)
{
    struct flat *flat;
    cds_list_for_each_entry (flat, &block->machine->flats, link) {
        const struct section *section = view_next(flat->view, 0);
        while (section) {
            if (region_has_block(section->region) && section->region->ram.block == block) {
                return true;
            }
            section = section->range.last == UINT64_MAX ? NULL : view_next(flat->view, section->range.last + 1);
        }
    }
    return false;
}

static int check_create(const struct mv_block *block, uint64_t granularity, struct mv_error *err)
{
    const char *name = block->name;
    if (!is_pow2(granularity) || granularity < block->page_size_bytes ||
        !is_aligned(block->max_size_bytes, granularity)) {
        return error_set(err, -EINVAL, "bad-granularity", name,
                         "block %s: a granularity of 0x%" PRIx64
                         " bytes is not a power of two, less than a page, or not a divisor of its size",
                         name, granularity);
    }
    if (block->resizeable) {
        return error_set(err, -EINVAL, "resizeable", name, "block %s: a block that can be resized has no manager",
                         name);
    }
    if (block->manager) {
        return error_set(err, -EBUSY, "managed", name, "block %s: it has a manager", name);
    }
    if (block->privacy) {
        return error_set(err, -EBUSY, "has-privacy", name, "block %s: it has a record of private pages", name);
    }
    if (is_shown(block)) {
        return error_set(err, -EBUSY, "mapped", name, "block %s: a space shows it already", name);
    }
    return 0;
}

/* A page of a pool that is not there is SIGBUS for whoever touches it. */
static bool decide_prealloc(const struct mv_block *block, enum mv_choice asked)
{
    if (asked != MV_DEFAULT) {
        return asked == MV_ON;
    }
    return block->grants.prealloc.asked == MV_ON || block->page_size_bytes > os_page_size();
}

static int attach(struct mv_discard_manager *manager, struct mv_block *block,
                  const struct mv_discard_manager_options *options, struct mv_error *err)
{
    const uint64_t granularity = options->granularity_bytes ? options->granularity_bytes : block->page_size_bytes;
    int rc = check_create(block, granularity, err);
    if (rc == 0) {
        rc = mv_discard_claim(block->machine, MV_DISCARD_REQUIRE_COORDINATED, err);
    }
    if (rc < 0) {
        return rc;
    }
    rc = block_discard(block, 0, block->max_size_bytes, err);
    if (rc < 0) {
        mv_discard_unclaim(block->machine, MV_DISCARD_REQUIRE_COORDINATED);
        return rc;
    }
    manager->block = mv_block_get(block);
    manager->granularity = granularity;
    manager->prealloc = decide_prealloc(block, options->prealloc);
    CDS_INIT_LIST_HEAD(&manager->listeners);
    block->manager = manager;
    return 0;
}

int mv_discard_manager_create(struct mv_block *block, const struct mv_discard_manager_options *options,
                              struct mv_discard_manager **ret, struct mv_error *err)
{
    struct mv_discard_manager *manager = calloc(1, sizeof *manager);
    if (!manager) {
        return error_set(err, -ENOMEM, "no-memory", block->name, "block %s: out of memory", block->name);
    }
    machine_lock(block->machine);
    int rc = attach(manager, block, options, err);
    machine_unlock(block->machine);
    if (rc < 0) {
        free(manager);
        return rc;
    }
    *ret = manager;
    return 0;
}

void mv_discard_manager_destroy(struct mv_discard_manager *manager)
{
    if (!manager) {
        return;
    }
    struct mv_block *block = manager->block;
    machine_lock(block->machine);
    assert(cds_list_empty(&manager->listeners) && !manager->telling);
    block->manager = NULL;
    mv_discard_unclaim(block->machine, MV_DISCARD_REQUIRE_COORDINATED);
    machine_unlock(block->machine);
    rangeset_finish(&manager->populated);
    free(manager);
    mv_block_put(block);
}

struct mv_discard_manager *mv_block_discard_manager(const struct mv_block *block)
{
    return block->manager;
}

struct mv_discard_manager *mv_section_discard_manager(const struct mv_section *section, uint64_t *ret_offset_bytes)
{
    const struct mv_region *region = section->region;
    if (!region_has_block(region) || !region->ram.block->manager) {
        return NULL;
    }
    *ret_offset_bytes = region->ram.offset + section->offset;
    return region->ram.block->manager;
}

uint64_t mv_discard_granularity(const struct mv_discard_manager *manager)
{
    return manager->granularity;
}

/* --- asking ------------------------------------------------------------------------------------------- */

bool mv_discard_is_populated(struct mv_discard_manager *manager, uint64_t offset_bytes, uint64_t length_bytes)
{
    struct mv_range range;
    machine_lock(manager->block->machine);
    bool yes = range_of(offset_bytes, length_bytes, &range) && rangeset_covers(&manager->populated, range);
    machine_unlock(manager->block->machine);
    return yes;
}

static int replay(struct mv_discard_manager *manager, uint64_t offset, uint64_t length, next_piece next,
                  mv_discard_piece piece, void *opaque)
{
    struct mv_range range, found;
    int rc = 0;
    if (!range_of(offset, length, &range) ||
        !range_intersect(range, (struct mv_range){0, manager->block->max_size_bytes - 1}, &range)) {
        return 0;
    }
    machine_lock(manager->block->machine);
    const struct rangeset *set = &manager->populated;
    for (bool any = next(set, range, &found); any && rc == 0; any = go_on(set, next, range, &found)) {
        rc = piece(opaque, found.first, range_size(found));
    }
    machine_unlock(manager->block->machine);
    return rc;
}

int mv_discard_replay_populated(struct mv_discard_manager *manager, uint64_t offset_bytes, uint64_t length_bytes,
                                mv_discard_piece piece, void *opaque)
{
    return replay(manager, offset_bytes, length_bytes, rangeset_next, piece, opaque);
}

int mv_discard_replay_discarded(struct mv_discard_manager *manager, uint64_t offset_bytes, uint64_t length_bytes,
                                mv_discard_piece piece, void *opaque)
{
    return replay(manager, offset_bytes, length_bytes, rangeset_next_hole, piece, opaque);
}

/* --- changing ----------------------------------------------------------------------------------------- */

static int check_range(const struct mv_discard_manager *manager, uint64_t offset, uint64_t length,
                       struct mv_range *ret, struct mv_error *err)
{
    const struct mv_block *block = manager->block;
    if (!is_aligned(offset | length, manager->granularity)) {
        return error_set(err, -EINVAL, "bad-range", block->name,
                         "block %s: the range of 0x%" PRIx64 " bytes at 0x%" PRIx64
                         ": it is not of whole granules of 0x%" PRIx64,
                         block->name, length, offset, manager->granularity);
    }
    int rc = block_check_range(block, offset, length, block->max_size_bytes, err);
    if (rc == 0) {
        *ret = (struct mv_range){offset, offset + length - 1};
    }
    return rc;
}

static int check_change(struct mv_discard_manager *manager, uint64_t offset, uint64_t length, struct mv_range *ret,
                        struct mv_error *err)
{
    const char *name = manager->block->name;
    if (manager->telling || manager->block->machine->committing) {
        return error_set(err, -EBUSY, "busy", name, "block %s: a listener cannot populate or discard of it", name);
    }
    int rc = check_range(manager, offset, length, ret, err);
    if (rc == 0 && rangeset_reserve(&manager->populated) < 0) {
        rc = error_set(err, -ENOMEM, "no-memory", name, "block %s: out of memory", name);
    }
    return rc;
}

/* All listeners up to `end`, which is left out. */
static void take_back(struct mv_discard_manager *manager, struct mv_range piece, struct mv_discard_listener *end)
{
    struct mv_discard_listener *listener;
    cds_list_for_each_entry (listener, &manager->listeners, link) {
        if (listener == end) {
            return;
        }
        tell_discard(listener, piece);
    }
}

static int populate_piece(struct mv_discard_manager *manager, struct mv_range piece, struct mv_error *err)
{
    struct mv_block *block = manager->block;
    int rc = 0;
    if (manager->prealloc) {
        rc = mv_block_populate(block, piece.first, range_size(piece), NULL, err);
    }
    struct mv_discard_listener *listener, *refused = NULL;
    cds_list_for_each_entry (listener, &manager->listeners, link) {
        if (rc == 0) {
            rc = tell_populate(listener, piece, err);
            refused = rc < 0 ? listener : NULL;
        }
    }
    if (rc < 0) {
        if (refused) {
            take_back(manager, piece, refused);
        }
        (void)block_discard(block, piece.first, range_size(piece), NULL);
    }
    return rc;
}

static int populate(struct mv_discard_manager *manager, struct mv_range range, struct mv_error *err)
{
    const struct rangeset *set = &manager->populated;
    struct mv_range piece, undo;
    int rc = 0;
    for (bool any = rangeset_next_hole(set, range, &piece); any;
         any = go_on(set, rangeset_next_hole, range, &piece)) {
        rc = populate_piece(manager, piece, err);
        if (rc < 0) {
            break;
        }
    }
    if (rc == 0) {
        rangeset_add(&manager->populated, range);
        return 0;
    }
    /* The holes in front of the one that was refused. */
    for (bool any = rangeset_next_hole(set, range, &undo); any && undo.first < piece.first;
         any = go_on(set, rangeset_next_hole, range, &undo)) {
        take_back(manager, undo, NULL);
        (void)block_discard(manager->block, undo.first, range_size(undo), NULL);
    }
    return rc;
}

static int discard(struct mv_discard_manager *manager, struct mv_range range, struct mv_error *err)
{
    const struct rangeset *set = &manager->populated;
    struct mv_range piece;
    int rc = 0;
    for (bool any = rangeset_next(set, range, &piece); any; any = go_on(set, rangeset_next, range, &piece)) {
        rc = block_discard(manager->block, piece.first, range_size(piece), err);
        if (rc < 0) {
            break;
        }
    }
    if (rc < 0) {
        if (piece.first == range.first) {
            return rc;
        }
        range.last = piece.first - 1; /* so far it went well */
    }
    struct mv_discard_listener *listener;
    cds_list_for_each_entry (listener, &manager->listeners, link) {
        tell_discards(listener, range);
    }
    rangeset_remove(&manager->populated, range);
    return rc;
}

static int change(struct mv_discard_manager *manager, uint64_t offset, uint64_t length,
                  int (*how)(struct mv_discard_manager *, struct mv_range, struct mv_error *),
                  struct mv_error *err)
{
    struct mv_machine *machine = manager->block->machine;
    struct mv_range range;
    machine_lock(machine);
    int rc = check_change(manager, offset, length, &range, err);
    if (rc == 0) {
        manager->telling = true;
        rc = how(manager, range, err);
        manager->telling = false;
    }
    machine_unlock(machine);
    return rc;
}

int mv_discard_populate(struct mv_discard_manager *manager, uint64_t offset_bytes, uint64_t length_bytes,
                        struct mv_error *err)
{
    return change(manager, offset_bytes, length_bytes, populate, err);
}

int mv_discard_discard(struct mv_discard_manager *manager, uint64_t offset_bytes, uint64_t length_bytes,
                       struct mv_error *err)
{
    return change(manager, offset_bytes, length_bytes, discard, err);
}

/* --- listeners ---------------------------------------------------------------------------------------- */

/* Tell it all that is populated; if it refuses, take back what it was told. */
static int introduce(struct mv_discard_listener *listener, struct mv_error *err)
{
    const struct rangeset *set = &listener->manager->populated;
    const struct mv_range range = listener->range;
    struct mv_range piece, undo;
    int rc = 0;
    for (bool any = rangeset_next(set, range, &piece); any; any = go_on(set, rangeset_next, range, &piece)) {
        rc = tell_populate(listener, piece, err);
        if (rc < 0) {
            break;
        }
    }
    if (rc < 0) {
        for (bool any = rangeset_next(set, range, &undo); any && undo.first < piece.first;
             any = go_on(set, rangeset_next, range, &undo)) {
            tell_discard(listener, undo);
        }
    }
    return rc;
}

int mv_discard_listener_create(struct mv_discard_manager *manager, uint64_t offset_bytes, uint64_t length_bytes,
                               const struct mv_discard_listener_ops *ops, void *opaque,
                               struct mv_discard_listener **ret, struct mv_error *err)
{
    struct mv_machine *machine = manager->block->machine;
    const char *name = manager->block->name;
    struct mv_discard_listener *listener = calloc(1, sizeof *listener);
    if (!listener) {
        return error_set(err, -ENOMEM, "no-memory", name, "block %s: out of memory", name);
    }
    *listener = (struct mv_discard_listener){.manager = manager, .ops = ops, .opaque = opaque};
    machine_lock(machine);
    int rc = manager->telling
                 ? error_set(err, -EBUSY, "busy", name, "block %s: its listeners are being told", name)
                 : check_range(manager, offset_bytes, length_bytes, &listener->range, err);
    if (rc == 0) {
        manager->telling = true;
        rc = introduce(listener, err);
        manager->telling = false;
    }
    if (rc == 0) {
        cds_list_add_tail(&listener->link, &manager->listeners);
    }
    machine_unlock(machine);
    if (rc < 0) {
        free(listener);
        return rc;
    }
    *ret = listener;
    return 0;
}

void mv_discard_listener_destroy(struct mv_discard_listener *listener)
{
    if (!listener) {
        return;
    }
    struct mv_discard_manager *manager = listener->manager;
    struct mv_machine *machine = manager->block->machine;
    machine_lock(machine);
    assert(!manager->telling);
    cds_list_del(&listener->link);
    manager->telling = true;
    tell_discards(listener, listener->range);
    manager->telling = false;
    machine_unlock(machine);
    free(listener);
}
