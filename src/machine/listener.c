// SPDX-License-Identifier: MIT
#include "machine/listener.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "machine/coalesced.h"
#include "machine/machine.h"

void listener_begin(struct mv_listener *listener)
{
    if (listener->ops->begin) {
        listener->ops->begin(listener->opaque);
    }
}

static void tell(struct mv_listener *listener, void (*callback)(void *, const struct mv_section *),
                 const struct section *section)
{
    if (callback) {
        struct mv_section described;
        section_describe(section, &described);
        callback(listener->opaque, &described);
    }
}

void listener_region_del(struct mv_listener *listener, const struct section *section)
{
    tell(listener, listener->ops->region_del, section);
}

void listener_region_add(struct mv_listener *listener, const struct section *section)
{
    tell(listener, listener->ops->region_add, section);
}

void listener_region_nop(struct mv_listener *listener, const struct section *section)
{
    tell(listener, listener->ops->region_nop, section);
}

void listener_log_start(struct mv_listener *listener, const struct section *section, unsigned old_mask)
{
    if (listener->ops->log_start) {
        struct mv_section described;
        section_describe(section, &described);
        listener->ops->log_start(listener->opaque, &described, old_mask, section->log_mask);
    }
}

void listener_log_stop(struct mv_listener *listener, const struct section *section, unsigned old_mask)
{
    if (listener->ops->log_stop) {
        struct mv_section described;
        section_describe(section, &described);
        listener->ops->log_stop(listener->opaque, &described, old_mask, section->log_mask);
    }
}

void listener_log_sync(struct mv_listener *listener, const struct section *section)
{
    tell(listener, listener->ops->log_sync, section);
}

void listener_log_clear(struct mv_listener *listener, const struct section *section)
{
    tell(listener, listener->ops->log_clear, section);
}

void listener_log_sync_global(struct mv_listener *listener, bool last)
{
    if (listener->ops->log_sync_global) {
        listener->ops->log_sync_global(listener->opaque, last);
    }
}

/* A callback that may refuse; `what` is said if it does not say more itself. */
static int ask(struct mv_listener *listener, int (*callback)(void *, struct mv_error *), const char *what,
               struct mv_error *err)
{
    const char *name = listener->space->name;
    struct mv_error why;
    int rc = 0;
    if (callback) {
        error_set(&why, 0, "refused", name, "space %s: a listener refused %s", name, what);
        rc = callback(listener->opaque, &why);
    }
    if (rc < 0 && err) {
        why.code = rc;
        *err = why;
    }
    return rc;
}

int listener_log_global_start(struct mv_listener *listener, struct mv_error *err)
{
    return ask(listener, listener->ops->log_global_start, "to log", err);
}

void listener_log_global_stop(struct mv_listener *listener)
{
    if (listener->ops->log_global_stop) {
        listener->ops->log_global_stop(listener->opaque);
    }
}

void listener_log_global_after_sync(struct mv_listener *listener)
{
    if (listener->ops->log_global_after_sync) {
        listener->ops->log_global_after_sync(listener->opaque);
    }
}

int listener_eventfd_add(struct mv_listener *listener, const struct mv_ioeventfd *at, int fd, struct mv_error *err)
{
    const char *name = listener->space->name;
    struct mv_error why;
    if (!listener->ops->eventfd_add) {
        return 0;
    }
    error_set(&why, 0, "refused", name, "space %s: a listener refused an eventfd at " PRI_ADDR, name, at->offset);
    int rc = listener->ops->eventfd_add(listener->opaque, at, fd, &why);
    if (rc < 0 && err) {
        why.code = rc;
        *err = why;
    }
    return rc;
}

void listener_eventfd_del(struct mv_listener *listener, const struct mv_ioeventfd *at, int fd)
{
    if (listener->ops->eventfd_del) {
        listener->ops->eventfd_del(listener->opaque, at, fd);
    }
}

void listener_coalesced(struct mv_listener *listener, const struct section *section, struct mv_range range,
                        bool add)
{
    void (*callback)(void *, const struct mv_section *, struct mv_range) =
        add ? listener->ops->coalesced_add : listener->ops->coalesced_del;
    if (callback) {
        struct mv_section described;
        section_describe(section, &described);
        callback(listener->opaque, &described, range);
    }
}

int listener_prepare(struct mv_listener *listener, struct mv_error *err)
{
    return ask(listener, listener->ops->prepare, "the change", err);
}

void listener_describe(struct mv_listener *listener, void (*print)(void *opaque, const char *line), void *opaque)
{
    if (listener->ops->describe) {
        listener->ops->describe(listener->opaque, print, opaque);
    }
}

void listener_commit(struct mv_listener *listener)
{
    if (listener->ops->commit) {
        listener->ops->commit(listener->opaque);
    }
}

void listener_abort(struct mv_listener *listener)
{
    if (listener->ops->abort) {
        listener->ops->abort(listener->opaque);
    }
}

/* After all of lower or equal priority. */
static void enlist(struct mv_machine *machine, struct mv_listener *listener)
{
    struct mv_listener *other;
    cds_list_for_each_entry (other, &machine->listeners, link) {
        if (other->priority > listener->priority) {
            cds_list_add_tail(&listener->link, &other->link);
            return;
        }
    }
    cds_list_add_tail(&listener->link, &machine->listeners);
}

/* A range that is there when the listener comes. */
static void tell_present(struct mv_listener *listener, const struct section *section)
{
    listener_region_add(listener, section);
    if (section->log_mask != 0) {
        listener_log_start(listener, section, 0);
    }
    coalesced_tell_one(listener, section, true);
}

/* A range that is still there when it goes. */
static void tell_leaving(struct mv_listener *listener, const struct section *section)
{
    if (section->log_mask != 0) {
        struct section unlogged = *section;
        unlogged.log_mask = 0;
        listener_log_stop(listener, &unlogged, section->log_mask);
    }
    coalesced_tell_one(listener, section, false);
    listener_region_del(listener, section);
}

static int tell_end(struct mv_listener *listener, bool arrives, struct mv_error *err)
{
    int rc = listener_prepare(listener, err);
    if (rc == 0 && arrives) {
        rc = ioeventfd_tell_all(listener, err);
    }
    if (rc < 0) {
        listener_abort(listener);
    } else {
        listener_commit(listener);
    }
    return rc;
}

static void tell_each(struct mv_listener *listener, void (*event)(struct mv_listener *, const struct section *))
{
    const struct mv_view *view = listener->space->flat->view;
    const struct section *section = view_next(view, 0);
    while (section) {
        event(listener, section);
        section = section->range.last == UINT64_MAX ? NULL : view_next(view, section->range.last + 1);
    }
}

/* The whole present view, as a commit of its own. */
static int tell_arrival(struct mv_listener *listener, struct mv_error *err)
{
    bool global = listener->space->machine->log_reasons != 0;
    listener_begin(listener);
    int rc = global ? listener_log_global_start(listener, err) : 0;
    if (rc < 0) {
        listener_abort(listener);
        return rc;
    }
    tell_each(listener, tell_present);
    rc = tell_end(listener, true, err);
    if (rc < 0 && global) {
        listener_log_global_stop(listener);
    }
    return rc;
}

static void tell_departure(struct mv_listener *listener)
{
    listener_begin(listener);
    ioeventfd_untell_all(listener);
    tell_each(listener, tell_leaving);
    (void)tell_end(listener, false, NULL); /* nobody is left who could be told that a deletion failed */
}

int mv_listener_create(struct mv_space *space, const struct mv_listener_ops *ops, void *opaque, int priority,
                       struct mv_listener **ret, struct mv_error *err)
{
    struct mv_machine *machine = space->machine;
    assert(!(ops->log_sync && ops->log_sync_global));
    struct mv_listener *listener = calloc(1, sizeof *listener);
    if (!listener) {
        return error_set(err, -ENOMEM, "no-memory", space->name, "listener of %s: out of memory", space->name);
    }
    *listener = (struct mv_listener){.space = space, .ops = ops, .opaque = opaque, .priority = priority};
    machine_lock(machine);
    int rc = 0;
    if (machine->depth > 0 || machine->committing) {
        /* It would be told a view that the open transaction may yet take back. */
        rc = error_set(err, -EBUSY, "busy", space->name, "listener of %s: a transaction is open", space->name);
    } else {
        machine->committing = true;
        rc = tell_arrival(listener, err);
        machine->committing = false;
    }
    if (rc == 0) {
        enlist(machine, listener);
    }
    machine_unlock(machine);
    if (rc < 0) {
        free(listener);
        return rc;
    }
    *ret = listener;
    return 0;
}

void mv_listener_destroy(struct mv_listener *listener)
{
    if (!listener) {
        return;
    }
    struct mv_machine *machine = listener->space->machine;
    machine_lock(machine);
    assert(!machine->committing);
    cds_list_del(&listener->link);
    machine->committing = true;
    tell_departure(listener);
    machine->committing = false;
    machine_unlock(machine);
    free(listener);
}
