// SPDX-License-Identifier: MIT
#include "machine/dirty_log.h"

#include <assert.h>
#include <errno.h>

#include "base/error.h"
#include "base/os.h"
#include "machine/dirty_index.h"
#include "machine/flat.h"
#include "machine/listener.h"
#include "machine/undo.h"

#define PAGE ((uint64_t)MV_DIRTY_PAGE_BYTES)
#define ALL_REASONS (MV_DIRTY_LOG_MIGRATION | MV_DIRTY_LOG_RATE | MV_DIRTY_LOG_LIMIT)

/* --- what is logged ---------------------------------------------------------------------------- */

static unsigned display_mask(const struct mv_region *region)
{
    return region->state.display_log > 0 ? MV_DIRTY_BIT(MV_DIRTY_DISPLAY) : 0;
}

unsigned dirty_mask_of(const struct mv_region *region)
{
    unsigned mask = display_mask(region);
    if (region_has_block(region) && region->kind != MV_REGION_RAM_DEVICE &&
        atomic_load_explicit(&region->machine->log_reasons, memory_order_relaxed) != 0) {
        mask |= MV_DIRTY_BIT(MV_DIRTY_MIGRATION);
    }
    return mask;
}

/* Writers look at the flag of their flat: it is where they are anyway. */
static void count_logs(struct mv_machine *machine, int change)
{
    bool before = machine->logs > 0;
    machine->logs += (unsigned)change;
    bool now = machine->logs > 0;
    struct flat *flat;
    if (now != before) {
        cds_list_for_each_entry (flat, &machine->flats, link) {
            atomic_store_explicit(&flat->logged, now, memory_order_relaxed);
        }
    }
}

static void set_live(struct mv_region *region, unsigned mask)
{
    unsigned before = atomic_load_explicit(&region->log_live, memory_order_relaxed);
    if (before != mask) {
        atomic_store_explicit(&region->log_live, mask, memory_order_relaxed);
        count_logs(region->machine, mask ? 1 : -1);
    }
}

void dirty_announce(struct mv_region *region)
{
    set_live(region, atomic_load_explicit(&region->log_live, memory_order_relaxed) | display_mask(region));
}

void dirty_settle(struct mv_region *region)
{
    set_live(region, display_mask(region));
}

static int check_set_log(const struct mv_region *region, enum mv_dirty_client client, bool on,
                         struct mv_error *err)
{
    if (client != MV_DIRTY_DISPLAY) {
        return error_set(err, -EINVAL, "bad-client", region->name,
                         "region %s: only the display's log is switched by region", region->name);
    }
    if (!region_has_block(region)) {
        return error_set(err, -EINVAL, "bad-region", region->name, "region %s: it has no memory to log",
                         region->name);
    }
    if (!on && region->state.display_log == 0) {
        return error_set(err, -EINVAL, "not-logged", region->name, "region %s: it is not logged", region->name);
    }
    return 0;
}

static int prepare_barrier(const char *name, struct mv_error *err)
{
    int rc = os_barrier_prepare();
    return rc < 0 ? error_set(err, rc, "no-membarrier", name,
                              "%s: the log needs membarrier(2), which the host does not allow", name)
                  : 0;
}

/* Within a transaction. */
static int set_log(struct mv_region *region, enum mv_dirty_client client, bool on, struct mv_error *err)
{
    int rc = check_set_log(region, client, on, err);
    if (rc == 0 && on) {
        rc = prepare_barrier(region->name, err);
    }
    if (rc == 0 && undo_record(region->machine->undo, region) < 0) {
        rc = error_set(err, -ENOMEM, "no-memory", region->name, "region %s: out of memory", region->name);
    }
    if (rc < 0) {
        return rc;
    }
    region->state.display_log += on ? 1 : -1u;
    if (region->state.display_log == on) { /* 0 -> 1 or 1 -> 0 */
        dirty_announce(region);
        region->machine->log_gained |= on;
        region_mark(region);
    }
    return 0;
}

int mv_region_set_log(struct mv_region *region, enum mv_dirty_client client, bool on, struct mv_error *err)
{
    int rc = mv_machine_begin(region->machine, err);
    if (rc < 0) {
        return rc;
    }
    rc = set_log(region, client, on, err);
    int commit_rc = mv_machine_commit(region->machine, rc < 0 ? NULL : err);
    return rc < 0 ? rc : commit_rc;
}

/* --- the whole machine ------------------------------------------------------------------------- */

/* Render all anew: every range's mask may have changed. */
static int commit_all(struct mv_machine *machine, struct mv_error *err)
{
    struct flat *flat;
    int rc = mv_machine_begin(machine, err);
    assert(rc == 0); /* the control lock is held, and nothing is being committed */
    cds_list_for_each_entry (flat, &machine->flats, link) {
        flat_mark(flat, RANGE_ALL);
    }
    return mv_machine_commit(machine, err);
}

static void tell_global_stop(struct mv_machine *machine)
{
    struct mv_listener *listener;
    cds_list_for_each_entry_reverse (listener, &machine->listeners, link) {
        listener_log_global_stop(listener);
    }
}

/* Whoever was told to start is told to stop when a later one refuses. */
static int tell_global_start(struct mv_machine *machine, struct mv_error *err)
{
    struct mv_listener *listener;
    cds_list_for_each_entry (listener, &machine->listeners, link) {
        int rc = listener_log_global_start(listener, err);
        if (rc < 0) {
            struct cds_list_head *told = listener->link.prev;
            for (; told != &machine->listeners; told = told->prev) {
                listener_log_global_stop(cds_list_entry(told, struct mv_listener, link));
            }
            return rc;
        }
    }
    return 0;
}

/* Whether writers mark for migration. */
static void set_global_live(struct mv_machine *machine, bool live)
{
    atomic_store_explicit(&machine->log_live, live, memory_order_relaxed);
    count_logs(machine, live ? 1 : -1);
}

static int start(struct mv_machine *machine, unsigned reasons, struct mv_error *err)
{
    unsigned before = machine->log_reasons;
    if (before != 0) {
        machine->log_reasons = before | reasons;
        return 0;
    }
    int rc = prepare_barrier("machine", err);
    if (rc < 0) {
        return rc;
    }
    machine->log_reasons = reasons;
    rc = tell_global_start(machine, err);
    if (rc == 0) {
        set_global_live(machine, true);
        machine->log_gained = true;
        rc = commit_all(machine, err);
        if (rc < 0) {
            set_global_live(machine, false);
            tell_global_stop(machine);
        }
    }
    if (rc < 0) {
        machine->log_reasons = 0;
    }
    return rc;
}

static int stop(struct mv_machine *machine, unsigned reasons, struct mv_error *err)
{
    unsigned before = machine->log_reasons;
    machine->log_reasons = before & ~reasons;
    if (before == 0 || machine->log_reasons != 0) {
        return 0;
    }
    int rc = commit_all(machine, err);
    if (rc < 0) {
        machine->log_reasons = before;
        return rc;
    }
    set_global_live(machine, false);
    tell_global_stop(machine);
    return 0;
}

static int stop_postponed(struct mv_machine *machine, struct mv_error *err)
{
    unsigned reasons = machine->log_postponed;
    machine->log_postponed = 0;
    return stop(machine, reasons, err);
}

/* Lock; refuse a transaction that is open, which this could not be part of. */
static int enter(struct mv_machine *machine, unsigned reasons, struct mv_error *err)
{
    if (reasons == 0 || (reasons & ~(unsigned)ALL_REASONS) != 0) {
        return error_set(err, -EINVAL, "bad-reason", NULL, "machine: 0x%x is no reason to log it", reasons);
    }
    machine_lock(machine);
    if (machine->depth > 0 || machine->committing) {
        machine_unlock(machine);
        return error_set(err, -EBUSY, "busy", NULL, "machine: its log cannot be switched within a transaction");
    }
    return 0;
}

int mv_dirty_log_start(struct mv_machine *machine, unsigned reasons, struct mv_error *err)
{
    int rc = enter(machine, reasons, err);
    if (rc < 0) {
        return rc;
    }
    machine->log_postponed &= ~reasons;
    rc = stop_postponed(machine, err);
    if (rc == 0) {
        rc = start(machine, reasons, err);
    }
    machine_unlock(machine);
    return rc;
}

int mv_dirty_log_stop(struct mv_machine *machine, unsigned reasons, struct mv_error *err)
{
    int rc = enter(machine, reasons, err);
    if (rc < 0) {
        return rc;
    }
    if (machine->log_pauses > 0) {
        machine->log_postponed |= reasons & machine->log_reasons;
    } else {
        rc = stop(machine, reasons, err);
    }
    machine_unlock(machine);
    return rc;
}

unsigned mv_dirty_log_reasons(struct mv_machine *machine)
{
    return atomic_load_explicit(&machine->log_reasons, memory_order_relaxed);
}

void dirty_pause(struct mv_machine *machine)
{
    machine_lock(machine);
    machine->log_pauses++;
    machine_unlock(machine);
}

void dirty_resume(struct mv_machine *machine)
{
    machine_lock(machine);
    assert(machine->log_pauses > 0);
    if (--machine->log_pauses == 0 && machine->depth == 0 && !machine->committing) {
        (void)stop_postponed(machine, NULL); /* else it goes on being logged, which costs time and nothing more */
    }
    machine_unlock(machine);
}

/* --- fetching and clearing --------------------------------------------------------------------- */

static void tell_log_sync(void *opaque, const struct section *section)
{
    listener_log_sync(opaque, section);
}

static void tell_log_clear(void *opaque, const struct section *section)
{
    listener_log_clear(opaque, section);
}

/* Of a block, or, with none, of everything. */
static void tell_sync(struct mv_machine *machine, struct mv_block *block, bool last)
{
    const struct dirty_pages all = {0, UINT64_MAX / PAGE};
    struct mv_listener *listener;
    cds_list_for_each_entry (listener, &machine->listeners, link) {
        if (!listener->ops->log_sync) {
            listener_log_sync_global(listener, last);
        } else if (block) {
            dirty_index_each(block, all, listener->space->flat, tell_log_sync, listener);
        } else {
            dirty_index_each_block(machine, listener->space->flat, tell_log_sync, listener);
        }
    }
}

void mv_dirty_sync(struct mv_region *region)
{
    struct mv_machine *machine = region->machine;
    machine_lock(machine);
    if (machine->logs > 0 && region_has_block(region)) {
        tell_sync(machine, region->ram.block, false);
    }
    machine_unlock(machine);
}

void mv_dirty_sync_all(struct mv_machine *machine, bool last)
{
    struct mv_listener *listener;
    machine_lock(machine);
    if (machine->logs > 0) {
        tell_sync(machine, NULL, last);
    }
    cds_list_for_each_entry (listener, &machine->listeners, link) {
        listener_log_global_after_sync(listener);
    }
    machine_unlock(machine);
}

void dirty_log_clear(struct mv_region *region, struct dirty_pages pages)
{
    struct mv_machine *machine = region->machine;
    struct mv_listener *listener;
    machine_lock(machine);
    cds_list_for_each_entry (listener, &machine->listeners, link) {
        if (listener->ops->log_clear && machine->logs > 0) {
            dirty_index_each(region->ram.block, pages, listener->space->flat, tell_log_clear, listener);
        }
    }
    machine_unlock(machine);
}
