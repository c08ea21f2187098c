// SPDX-License-Identifier: MIT
#include "machine/coalesced.h"

#include <errno.h>

#include "base/error.h"
#include "machine/flat.h"
#include "machine/machine.h"
#include "machine/undo.h"

/* --- edits ------------------------------------------------------------------------------------- */

/* It leaves every range as it is: listeners are told no more than what is done instead of calling handlers. */
void coalesced_set_watch(struct mv_region *region, struct watch *watch)
{
    struct mv_machine *machine = region->machine;
    bool dirty = machine->dirty;
    watch_put(region->state.watch);
    region->state.watch = watch;
    machine->dirty = false;
    region_mark(region);
    machine->watch_dirty = machine->watch_dirty || machine->dirty;
    machine->dirty = dirty;
}

enum edit {
    EDIT_SET,
    EDIT_ADD,
    EDIT_CLEAR,
    EDIT_FLUSH,
    EDIT_NO_FLUSH,
};

static int make_watch(const struct watch *now, enum edit edit, struct mv_range range, struct watch **ret)
{
    struct watch *cleared;
    int rc;
    switch (edit) {
    case EDIT_ADD: return watch_with_range(now, range, ret);
    case EDIT_CLEAR: return watch_without_ranges(now, ret);
    case EDIT_FLUSH: return watch_with_flush(now, true, ret);
    case EDIT_NO_FLUSH: return watch_with_flush(now, false, ret);
    case EDIT_SET: break;
    }
    rc = watch_without_ranges(now, &cleared);
    if (rc == 0) {
        rc = watch_with_range(cleared, range, ret);
        watch_put(cleared);
    }
    return rc;
}

static int change(struct mv_region *region, enum edit edit, struct mv_range range, struct mv_error *err)
{
    struct watch *made = NULL;
    int rc = make_watch(region->state.watch, edit, range, &made);
    if (rc == 0) {
        rc = undo_record(region->machine->undo, region);
    }
    if (rc < 0) {
        watch_put(made);
        return error_set(err, rc, "no-memory", region->name, "region %s: out of memory", region->name);
    }
    coalesced_set_watch(region, made);
    return 0;
}

static int edit_region(struct mv_region *region, enum edit edit, struct mv_range range, struct mv_error *err)
{
    if (region->kind != MV_REGION_MMIO && region->kind != MV_REGION_ROM_DEVICE) {
        return error_set(err, -EINVAL, "bad-region", region->name,
                         "region %s: only writes to devices can be gathered", region->name);
    }
    int rc = mv_machine_begin(region->machine, err); /* which lets go what was gathered so far */
    if (rc < 0) {
        return rc;
    }
    rc = change(region, edit, range, err);
    int commit_rc = mv_machine_commit(region->machine, rc < 0 ? NULL : err);
    return rc < 0 ? rc : commit_rc;
}

int mv_region_set_coalescing(struct mv_region *region, struct mv_error *err)
{
    return edit_region(region, EDIT_SET, RANGE_ALL, err);
}

int mv_region_add_coalescing(struct mv_region *region, uint64_t offset, uint64_t size_bytes, struct mv_error *err)
{
    struct mv_range range;
    if (!range_of(offset, size_bytes, &range)) {
        return error_set(err, -EINVAL, "bad-range", region->name,
                         "region %s: there is no range of %" PRIu64 " bytes at " PRI_ADDR, region->name,
                         size_bytes, offset);
    }
    return edit_region(region, EDIT_ADD, range, err);
}

int mv_region_clear_coalescing(struct mv_region *region, struct mv_error *err)
{
    return edit_region(region, EDIT_CLEAR, RANGE_ALL, err);
}

int mv_region_set_flush_coalesced(struct mv_region *region, bool flush, struct mv_error *err)
{
    return edit_region(region, flush ? EDIT_FLUSH : EDIT_NO_FLUSH, RANGE_ALL, err);
}

/* --- letting go -------------------------------------------------------------------------------- */

void coalesced_add_drain(struct mv_machine *machine, struct coalesced_drain *drain)
{
    pthread_mutex_lock(&machine->drain_lock);
    cds_list_add_tail(&drain->link, &machine->drains);
    atomic_fetch_add(&machine->drain_count, 1);
    pthread_mutex_unlock(&machine->drain_lock);
}

void coalesced_remove_drain(struct mv_machine *machine, struct coalesced_drain *drain)
{
    pthread_mutex_lock(&machine->drain_lock);
    atomic_fetch_sub(&machine->drain_count, 1);
    cds_list_del(&drain->link);
    pthread_mutex_unlock(&machine->drain_lock);
}

void mv_machine_flush_coalesced(struct mv_machine *machine)
{
    struct coalesced_drain *drain;
    if (atomic_load(&machine->drain_count) == 0 || epoch_is_inside() || machine_is_locked_here(machine)) {
        return; /* who empties buffers may wait for the control lock, so its holder must not wait for him */
    }
    pthread_mutex_lock(&machine->drain_lock);
    epoch_enter(); /* so that what is let go does not come here again */
    cds_list_for_each_entry (drain, &machine->drains, link) {
        drain->drain(drain->opaque);
    }
    epoch_exit();
    pthread_mutex_unlock(&machine->drain_lock);
}

/* --- telling ----------------------------------------------------------------------------------- */

/* Where a section shows a range of its region. */
static bool place(const struct section *s, struct mv_range range, struct mv_range *ret)
{
    struct mv_range shown = {s->offset, s->offset + (s->range.last - s->range.first)};
    if (!range_intersect(range, shown, &shown)) {
        return false;
    }
    *ret =
        (struct mv_range){s->range.first + (shown.first - s->offset), s->range.first + (shown.last - s->offset)};
    return true;
}

void coalesced_tell_one(struct mv_listener *listener, const struct section *section, bool add)
{
    struct mv_range at;
    for (size_t i = 0; section->watch && i < section->watch->range_count; i++) {
        if (place(section, section->watch->ranges[i], &at)) {
            listener_coalesced(listener, section, at, add);
        }
    }
}

static void tell_range(struct flat *flat, const struct section *section, struct mv_range range, bool add)
{
    struct mv_listener *listener;
    struct mv_range at;
    if (!place(section, range, &at)) {
        return;
    }
    if (add) {
        cds_list_for_each_entry (listener, &flat->machine->listeners, link) {
            if (listener->space->flat == flat) {
                listener_coalesced(listener, section, at, true);
            }
        }
    } else {
        cds_list_for_each_entry_reverse (listener, &flat->machine->listeners, link) {
            if (listener->space->flat == flat) {
                listener_coalesced(listener, section, at, false);
            }
        }
    }
}

void coalesced_tell(struct flat *flat, const struct section *section, bool add)
{
    for (size_t i = 0; section->watch && i < section->watch->range_count; i++) {
        tell_range(flat, section, section->watch->ranges[i], add);
    }
}

static bool has_range(const struct watch *watch, struct mv_range range)
{
    for (size_t i = 0; watch && i < watch->range_count; i++) {
        if (range_equal(watch->ranges[i], range)) {
            return true;
        }
    }
    return false;
}

static bool any_goes(const struct watch *before, const struct watch *after)
{
    for (size_t i = 0; before && i < before->range_count; i++) {
        if (!has_range(after, before->ranges[i])) {
            return true;
        }
    }
    return false;
}

/*
 * A kernel that is told of a range that goes lets go of every zone that contains it, so then all go, and those
 * that stay come again.
 */
void coalesced_tell_change(struct flat *flat, const struct section *before, const struct section *after)
{
    if (any_goes(before->watch, after->watch)) {
        coalesced_tell(flat, before, false);
        coalesced_tell(flat, after, true);
        return;
    }
    for (size_t i = 0; after->watch && i < after->watch->range_count; i++) {
        if (!has_range(before->watch, after->watch->ranges[i])) {
            tell_range(flat, after, after->watch->ranges[i], true);
        }
    }
}
