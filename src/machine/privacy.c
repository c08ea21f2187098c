// SPDX-License-Identifier: MIT
#include "machine/privacy.h"

#include <assert.h>
#include <errno.h>
#include <memvirt/discard.h>
#include <memvirt/privacy.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/os_map.h"
#include "base/rangeset.h"
#include "machine/block.h"
#include "machine/machine.h"
#include "machine/region.h"
#include "machine/space.h"

/*
 * Owned by its block, which points at it from its creation on. All under the control lock.
 * Invariant: private_pages is of whole pages within the block.
 */
struct privacy {
    struct rangeset private_pages;
    int guest_memfd;                /* -1: none yet */
    const void *owner;              /* of it */
    struct cds_list_head listeners; /* in the order of creation */
    bool telling;
};

struct mv_privacy_listener {
    struct mv_block *block; /* a reference */
    const struct mv_privacy_listener_ops *ops;
    void *opaque;
    struct cds_list_head link;
};

static struct mv_range all_of(const struct mv_block *block)
{
    return (struct mv_range){0, block->max_size_bytes - 1};
}

static int no_privacy(const struct mv_block *block, struct mv_error *err)
{
    return error_set(err, -EINVAL, "no-privacy", block->name, "block %s: it has no record of private pages",
                     block->name);
}

/* --- life -------------------------------------------------------------------------------------------- */

static bool view_shows(const struct mv_view *view, const struct mv_block *block)
{
    struct mv_section section;
    uint64_t at = 0;
    while (mv_view_next(view, mv_gpa(at), &section)) {
        if (section.region->ram.block == block) {
            return true;
        }
        if (section.range.last == UINT64_MAX) {
            return false;
        }
        at = section.range.last + 1;
    }
    return false;
}

/* Whether any space does. Control lock held. */
static bool is_shown(const struct mv_block *block)
{
    struct mv_space *space;
    cds_list_for_each_entry (space, &block->machine->spaces, link) {
        const struct mv_view *view = mv_space_view(space);
        bool shown = view_shows(view, block);
        mv_view_release(view);
        if (shown) {
            return true;
        }
    }
    return false;
}

static int attach_record(struct mv_block *block, struct privacy *privacy, struct mv_error *err)
{
    const char *name = block->name;
    if (block->privacy) {
        return error_set(err, -EBUSY, "has-privacy", name, "block %s: it has a record of private pages", name);
    }
    if (block->manager) {
        return error_set(err, -EBUSY, "managed", name, "block %s: it has a discard manager", name);
    }
    if (block->resizeable) {
        return error_set(err, -EINVAL, "resizeable", name,
                         "block %s: a block that can be resized has no private pages", name);
    }
    if (is_shown(block)) {
        return error_set(err, -EBUSY, "shown", name,
                         "block %s: its record of private pages must be made before a space shows it", name);
    }
    int rc = block_check_discard(block, err);
    if (rc == 0) {
        block->privacy = privacy;
    }
    return rc;
}

int mv_privacy_create(struct mv_block *block, enum mv_privacy_kind kind, struct mv_error *err)
{
    struct privacy *privacy = calloc(1, sizeof *privacy);
    if (!privacy || rangeset_reserve(&privacy->private_pages) < 0) {
        free(privacy);
        return error_set(err, -ENOMEM, "no-memory", block->name, "block %s: out of memory", block->name);
    }
    privacy->guest_memfd = -1;
    CDS_INIT_LIST_HEAD(&privacy->listeners);
    if (kind == MV_PAGES_PRIVATE) {
        rangeset_add(&privacy->private_pages, all_of(block));
    }
    machine_lock(block->machine);
    int rc = attach_record(block, privacy, err);
    machine_unlock(block->machine);
    if (rc < 0) {
        privacy_destroy(privacy);
    }
    return rc;
}

void privacy_destroy(struct privacy *privacy)
{
    if (!privacy) {
        return;
    }
    assert(cds_list_empty(&privacy->listeners)); /* each holds the block */
    if (privacy->guest_memfd >= 0) {
        close(privacy->guest_memfd);
    }
    rangeset_finish(&privacy->private_pages);
    free(privacy);
}

bool mv_privacy_has(const struct mv_block *block)
{
    return block->privacy != NULL;
}

int mv_privacy_attach(struct mv_block *block, int guest_memfd, const void *owner, struct mv_error *err)
{
    const char *name = block->name;
    struct privacy *privacy = block->privacy;
    if (!privacy) {
        return no_privacy(block, err);
    }
    int rc = 0;
    machine_lock(block->machine);
    if (privacy->guest_memfd >= 0) {
        rc = error_set(err, -EBUSY, "has-guest-memfd", name, "block %s: it has a guest_memfd", name);
    } else {
        privacy->guest_memfd = guest_memfd;
        privacy->owner = owner;
    }
    machine_unlock(block->machine);
    return rc;
}

void mv_privacy_detach(struct mv_block *block)
{
    struct privacy *privacy = block->privacy;
    machine_lock(block->machine);
    if (privacy && privacy->guest_memfd >= 0) {
        close(privacy->guest_memfd);
        privacy->guest_memfd = -1;
        privacy->owner = NULL;
    }
    machine_unlock(block->machine);
}

int mv_privacy_fd(const struct mv_block *block)
{
    const struct privacy *privacy = block->privacy;
    machine_lock(block->machine);
    int fd = privacy ? privacy->guest_memfd : -1;
    machine_unlock(block->machine);
    return fd;
}

const void *mv_privacy_owner(const struct mv_block *block)
{
    const struct privacy *privacy = block->privacy;
    machine_lock(block->machine);
    const void *owner = privacy ? privacy->owner : NULL;
    machine_unlock(block->machine);
    return owner;
}

/* --- asking and converting --------------------------------------------------------------------------- */

bool mv_privacy_lookup(const struct mv_block *block, uint64_t offset_bytes, enum mv_privacy_kind *ret_kind,
                       uint64_t *ret_length_bytes)
{
    const struct privacy *privacy = block->privacy;
    if (!privacy || offset_bytes >= block->max_size_bytes) {
        return false;
    }
    const struct mv_range rest = {offset_bytes, block->max_size_bytes - 1};
    struct mv_range piece;
    machine_lock(block->machine);
    bool in = rangeset_covers(&privacy->private_pages, (struct mv_range){offset_bytes, offset_bytes});
    bool found = in ? rangeset_next(&privacy->private_pages, rest, &piece)
                    : rangeset_next_hole(&privacy->private_pages, rest, &piece);
    machine_unlock(block->machine);
    assert(found);
    *ret_kind = in ? MV_PAGES_PRIVATE : MV_PAGES_SHARED;
    *ret_length_bytes = range_size(piece);
    return found;
}

static enum mv_privacy_kind contrary(enum mv_privacy_kind kind)
{
    return kind == MV_PAGES_PRIVATE ? MV_PAGES_SHARED : MV_PAGES_PRIVATE;
}

/* The first piece of `range` that is not of the kind. */
static bool next_to_convert(const struct privacy *privacy, struct mv_range range, enum mv_privacy_kind kind,
                            struct mv_range *ret)
{
    return kind == MV_PAGES_PRIVATE ? rangeset_next_hole(&privacy->private_pages, range, ret)
                                    : rangeset_next(&privacy->private_pages, range, ret);
}

static int tell(struct mv_privacy_listener *listener, struct mv_range piece, enum mv_privacy_kind kind,
                struct mv_error *err)
{
    const char *name = listener->block->name;
    struct mv_error why;
    error_set(&why, 0, "refused", name, "block %s: a listener refused to convert pages", name);
    int rc = listener->ops->convert(listener->opaque, listener->block, piece.first, range_size(piece), kind, &why);
    if (rc < 0 && err) {
        why.code = rc;
        *err = why;
    }
    return rc;
}

/* Tell the first listeners, up to `end`, of what they were told the contrary of. What they say is of no use. */
static void take_back(struct privacy *privacy, struct mv_range piece, enum mv_privacy_kind kind,
                      const struct mv_privacy_listener *end)
{
    struct mv_privacy_listener *listener;
    cds_list_for_each_entry (listener, &privacy->listeners, link) {
        if (listener == end) {
            return;
        }
        (void)tell(listener, piece, contrary(kind), NULL);
    }
}

static int tell_piece(struct privacy *privacy, struct mv_range piece, enum mv_privacy_kind kind,
                      struct mv_error *err)
{
    struct mv_privacy_listener *listener;
    cds_list_for_each_entry (listener, &privacy->listeners, link) {
        int rc = tell(listener, piece, kind, err);
        if (rc < 0) {
            take_back(privacy, piece, kind, listener);
            return rc;
        }
    }
    return 0;
}

/* All listeners, of all pieces; or none of any. */
static int tell_all(struct privacy *privacy, struct mv_range range, enum mv_privacy_kind kind,
                    struct mv_error *err)
{
    struct mv_range rest = range, piece, undo;
    while (rest.first <= range.last && next_to_convert(privacy, rest, kind, &piece)) {
        int rc = tell_piece(privacy, piece, kind, err);
        if (rc < 0) {
            rest = range;
            while (rest.first < piece.first && next_to_convert(privacy, rest, kind, &undo) &&
                   undo.first < piece.first) {
                take_back(privacy, undo, kind, NULL);
                rest.first = undo.last + 1;
            }
            return rc;
        }
        rest.first = piece.last + 1;
    }
    return 0;
}

/* Give back the half that is not used any more. */
static int drop(struct mv_block *block, struct mv_range range, enum mv_privacy_kind kind, struct mv_error *err)
{
    if (kind == MV_PAGES_PRIVATE) {
        return block_discard(block, range.first, range_size(range), err);
    }
    const int fd = block->privacy->guest_memfd;
    int rc = fd < 0 ? 0 : os_punch(fd, range.first, range_size(range));
    if (rc < 0) {
        return error_host(err, rc, block->name, "block %s: the guest_memfd does not take back its pages",
                          block->name);
    }
    return 0;
}

static int convert(struct mv_block *block, struct mv_range range, enum mv_privacy_kind kind, struct mv_error *err)
{
    struct privacy *privacy = block->privacy;
    struct rangeset *set = &privacy->private_pages;
    struct mv_range piece, rest = range;
    if (rangeset_reserve(set) < 0) {
        return error_set(err, -ENOMEM, "no-memory", block->name, "block %s: out of memory", block->name);
    }
    privacy->telling = true;
    int rc = tell_all(privacy, range, kind, err);
    privacy->telling = false;
    if (rc < 0) {
        return rc;
    }
    while (rest.first <= range.last && next_to_convert(privacy, rest, kind, &piece)) {
        int dropped = drop(block, piece, kind, err);
        rc = rc < 0 ? rc : dropped;
        rest.first = piece.last + 1;
    }
    (kind == MV_PAGES_PRIVATE ? rangeset_add : rangeset_remove)(set, range);
    return rc;
}

int mv_privacy_convert(struct mv_block *block, uint64_t offset_bytes, uint64_t length_bytes,
                       enum mv_privacy_kind kind, struct mv_error *err)
{
    const char *name = block->name;
    if (!block->privacy) {
        return no_privacy(block, err);
    }
    int rc = block_check_range(block, offset_bytes, length_bytes, block->max_size_bytes, err);
    if (rc < 0) {
        return rc;
    }
    rc = block_claim_discard(block, err);
    if (rc < 0) {
        return rc;
    }
    machine_lock(block->machine);
    rc = block->privacy->telling
             ? error_set(err, -EBUSY, "busy", name, "block %s: a listener cannot convert its pages", name)
             : convert(block, (struct mv_range){offset_bytes, offset_bytes + length_bytes - 1}, kind, err);
    machine_unlock(block->machine);
    mv_discard_unclaim(block->machine, MV_DISCARD_REQUIRE);
    return rc;
}

/* --- listeners ---------------------------------------------------------------------------------------- */

static int introduce(struct mv_privacy_listener *listener, struct mv_error *err)
{
    const struct rangeset *set = &listener->block->privacy->private_pages;
    int rc = 0;
    size_t told = 0;
    while (told < set->count && rc == 0) {
        rc = tell(listener, set->ranges[told++], MV_PAGES_PRIVATE, err);
    }
    for (size_t i = 0; rc < 0 && i + 1 < told; i++) {
        (void)tell(listener, set->ranges[i], MV_PAGES_SHARED, NULL);
    }
    return rc;
}

int mv_privacy_listener_create(struct mv_block *block, const struct mv_privacy_listener_ops *ops, void *opaque,
                               struct mv_privacy_listener **ret, struct mv_error *err)
{
    const char *name = block->name;
    struct privacy *privacy = block->privacy;
    if (!privacy) {
        return no_privacy(block, err);
    }
    struct mv_privacy_listener *listener = calloc(1, sizeof *listener);
    if (!listener) {
        return error_set(err, -ENOMEM, "no-memory", name, "block %s: out of memory", name);
    }
    *listener = (struct mv_privacy_listener){.block = mv_block_get(block), .ops = ops, .opaque = opaque};
    machine_lock(block->machine);
    int rc = 0;
    if (privacy->telling) {
        rc = error_set(err, -EBUSY, "busy", name, "block %s: its listeners are being told", name);
    } else {
        privacy->telling = true;
        rc = introduce(listener, err);
        privacy->telling = false;
    }
    if (rc == 0) {
        cds_list_add_tail(&listener->link, &privacy->listeners);
    }
    machine_unlock(block->machine);
    if (rc < 0) {
        mv_block_put(block);
        free(listener);
        return rc;
    }
    *ret = listener;
    return 0;
}

void mv_privacy_listener_destroy(struct mv_privacy_listener *listener)
{
    if (!listener) {
        return;
    }
    struct mv_block *block = listener->block;
    machine_lock(block->machine);
    assert(!block->privacy->telling);
    cds_list_del(&listener->link);
    machine_unlock(block->machine);
    free(listener);
    mv_block_put(block);
}
