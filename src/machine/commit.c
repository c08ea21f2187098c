// SPDX-License-Identifier: MIT
/*
 * Check, then commit: all views are made and every listener has agreed before the first view is published.
 */
#include "machine/commit.h"

#include <errno.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/os.h"
#include "machine/coalesced.h"
#include "machine/flat.h"
#include "machine/listener.h"
#include "machine/machine.h"
#include "machine/render.h"
#include "machine/space.h"

/* A flat goes by the name of the first space that shows it. */
static const char *name_of(const struct flat *flat)
{
    struct mv_space *space;
    cds_list_for_each_entry (space, &flat->machine->spaces, link) {
        if (space->flat == flat) {
            return space->name;
        }
    }
    return "(none)";
}

static int prepare_flat(struct flat *flat, struct mv_error *err)
{
    int rc = flat_prepare(flat);
    if (rc == -ELOOP) {
        return error_set(err, rc, "too-deep", name_of(flat), "space %s: its tree nests deeper than %d",
                         name_of(flat), RENDER_DEPTH_MAX);
    }
    if (rc < 0) {
        return error_set(err, rc, "no-memory", name_of(flat), "space %s: out of memory", name_of(flat));
    }
    return 0;
}

static int prepare_flats(struct mv_machine *machine, struct mv_error *err)
{
    struct flat *flat;
    cds_list_for_each_entry (flat, &machine->flats, link) {
        int rc = prepare_flat(flat, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

void commit_nothing(struct mv_machine *machine)
{
    struct flat *flat;
    cds_list_for_each_entry (flat, &machine->flats, link) {
        flat_discard(flat);
    }
}

/* --- telling ----------------------------------------------------------------------------------- */

/* Whom to tell, in which order: deletions go to the highest priority first, additions to the lowest. */
typedef void event_fn(struct mv_listener *, const struct section *);

static void tell_descending(struct flat *flat, const struct section *section, event_fn *event)
{
    struct mv_listener *listener;
    cds_list_for_each_entry_reverse (listener, &flat->machine->listeners, link) {
        if (listener->space->flat == flat) {
            event(listener, section);
        }
    }
}

static void tell_ascending(struct flat *flat, const struct section *section, event_fn *event)
{
    struct mv_listener *listener;
    cds_list_for_each_entry (listener, &flat->machine->listeners, link) {
        if (listener->space->flat == flat) {
            event(listener, section);
        }
    }
}

static bool anybody_wants_nops(const struct flat *flat)
{
    struct mv_listener *listener;
    cds_list_for_each_entry (listener, &flat->machine->listeners, link) {
        if (listener->space->flat == flat && listener->ops->region_nop) {
            return true;
        }
    }
    return false;
}

static void tell_log(struct flat *flat, const struct section *before, const struct section *after)
{
    struct mv_listener *listener;
    if (after->log_mask & ~before->log_mask) {
        cds_list_for_each_entry (listener, &flat->machine->listeners, link) {
            if (listener->space->flat == flat) {
                listener_log_start(listener, after, before->log_mask);
            }
        }
    }
    if (before->log_mask & ~after->log_mask) {
        cds_list_for_each_entry_reverse (listener, &flat->machine->listeners, link) {
            if (listener->space->flat == flat) {
                listener_log_stop(listener, after, before->log_mask);
            }
        }
    }
}

/* Where a walk of what came and what stayed is. */
struct additions {
    const struct flat *flat;
    size_t added;
    size_t stayed;
};

/* The next section of the two lists, or, if everything is to be told, of the view. */
static const struct section *next_told(const struct additions *at, bool everything, const struct section *last)
{
    const struct flat *flat = at->flat;
    if (everything) {
        uint64_t from = last ? last->range.last + 1 : 0;
        return last && from == 0 ? NULL : view_next(flat->next, from);
    }
    const struct section *added = at->added < flat->added.count ? flat->added.sections[at->added] : NULL;
    const struct section *after = at->stayed < flat->after.count ? flat->after.sections[at->stayed] : NULL;
    return !after || (added && added->range.first < after->range.first) ? added : after;
}

/*
 * What came, and what stayed but is logged otherwise; or, which costs the whole view, all of its sections: those
 * that just stay between those.
 */
static void tell_additions(struct flat *flat)
{
    struct additions at = {.flat = flat};
    bool everything = anybody_wants_nops(flat);
    const struct section *s = NULL;
    while ((s = next_told(&at, everything, s)) != NULL) {
        if (at.added < flat->added.count && flat->added.sections[at.added] == s) {
            at.added++;
            tell_ascending(flat, s, listener_region_add);
            coalesced_tell(flat, s, true);
            continue;
        }
        tell_ascending(flat, s, listener_region_nop);
        if (at.stayed < flat->after.count && flat->after.sections[at.stayed] == s) {
            tell_log(flat, flat->before.sections[at.stayed++], s);
        }
    }
}

static void tell_difference(struct mv_machine *machine)
{
    struct flat *flat;
    cds_list_for_each_entry (flat, &machine->flats, link) {
        for (size_t i = 0; i < flat->removed.count; i++) {
            coalesced_tell(flat, flat->removed.sections[i], false);
            tell_descending(flat, flat->removed.sections[i], listener_region_del);
        }
        if (flat->next) {
            tell_additions(flat);
        }
    }
}

static int prepare_listeners(struct mv_machine *machine, struct mv_error *err)
{
    struct mv_listener *listener;
    cds_list_for_each_entry (listener, &machine->listeners, link) {
        int rc = listener_prepare(listener, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* All flats, or none of them. */
static int tell_events(struct mv_machine *machine, struct mv_error *err)
{
    struct flat *flat;
    cds_list_for_each_entry (flat, &machine->flats, link) {
        int rc = ioeventfd_tell(flat, &flat->events, err);
        if (rc < 0) {
            struct cds_list_head *told = flat->link.prev;
            for (; told != &machine->flats; told = told->prev) {
                struct flat *before = cds_list_entry(told, struct flat, link);
                ioeventfd_untell(before, &before->events);
            }
            return rc;
        }
    }
    return 0;
}

static void untell_coalesced(struct flat *flat)
{
    for (size_t i = 0; i < flat->added.count; i++) {
        coalesced_tell(flat, flat->added.sections[i], false);
    }
    for (size_t i = 0; i < flat->removed.count; i++) {
        coalesced_tell(flat, flat->removed.sections[i], true);
    }
}

static void abort_listeners(struct mv_machine *machine)
{
    struct mv_listener *listener;
    struct flat *flat;
    cds_list_for_each_entry (flat, &machine->flats, link) {
        untell_coalesced(flat);
    }
    cds_list_for_each_entry_reverse (listener, &machine->listeners, link) {
        listener_abort(listener);
    }
}

/* Tell the ranges, and have all agree. On failure all were told to abort. */
static int tell_ranges(struct mv_machine *machine, struct mv_error *err)
{
    struct mv_listener *listener;
    cds_list_for_each_entry (listener, &machine->listeners, link) {
        listener_begin(listener);
    }
    tell_difference(machine);
    int rc = prepare_listeners(machine, err);
    if (rc < 0) {
        abort_listeners(machine);
    }
    return rc;
}

/* Nobody can refuse this, so it is told when all have agreed. */
static void tell_coalesced(struct mv_machine *machine)
{
    struct flat *flat;
    cds_list_for_each_entry (flat, &machine->flats, link) {
        for (size_t i = 0; i < flat->after.count; i++) {
            coalesced_tell_change(flat, flat->before.sections[i], flat->after.sections[i]);
        }
    }
}

static void publish(struct mv_machine *machine)
{
    struct flat *flat;
    cds_list_for_each_entry (flat, &machine->flats, link) {
        flat_publish(flat);
    }
    if (machine->log_gained) {
        os_barrier(); /* who has not seen the log so far has stored his bytes now: see dirty.h */
    }
}

int commit_spaces(struct mv_machine *machine, struct mv_error *err)
{
    bool ranges = machine->dirty; /* else nothing changed but what is done instead of calling handlers */
    struct mv_listener *listener;
    int rc = prepare_flats(machine, err);
    if (rc == 0 && ranges) {
        rc = tell_ranges(machine, err);
    }
    if (rc == 0) {
        rc = tell_events(machine, err);
        if (rc < 0 && ranges) {
            abort_listeners(machine);
        }
    }
    if (rc < 0) {
        commit_nothing(machine);
        return rc;
    }
    tell_coalesced(machine);
    publish(machine);
    if (ranges) {
        cds_list_for_each_entry (listener, &machine->listeners, link) {
            listener_commit(listener);
        }
    }
    return 0;
}

int commit_rehearse(struct mv_machine *machine, void (*print)(void *opaque, const char *line), void *opaque,
                    struct mv_error *err)
{
    struct mv_listener *listener;
    int rc = prepare_flats(machine, err);
    if (rc == 0) {
        cds_list_for_each_entry (listener, &machine->listeners, link) {
            listener_begin(listener);
        }
        tell_difference(machine);
        cds_list_for_each_entry (listener, &machine->listeners, link) {
            listener_describe(listener, print, opaque);
        }
        abort_listeners(machine);
    }
    commit_nothing(machine);
    return rc;
}

void commit_new_flats(struct mv_machine *machine)
{
    struct flat *flat;
    cds_list_for_each_entry (flat, &machine->flats, link) {
        if (flat->view->version == 1) {
            flat_mark(flat, RANGE_ALL);
            if (flat_prepare(flat) == 0) {
                flat_publish(flat);
            } else {
                flat_discard(flat);
                flat->stale_all = true; /* all of it is still to be shown, when something else is committed */
            }
        }
    }
}
