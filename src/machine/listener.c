// SPDX-License-Identifier: MIT
#include "machine/listener.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
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

int listener_prepare(struct mv_listener *listener, struct mv_error *err)
{
    const char *name = listener->space->name;
    struct mv_error why;
    int rc = 0;
    if (listener->ops->prepare) {
        error_set(&why, 0, "refused", name, "space %s: a listener refused the change",
                  name); /* unless it says more */
        rc = listener->ops->prepare(listener->opaque, &why);
    }
    if (rc < 0 && err) {
        why.code = rc;
        *err = why;
    }
    return rc;
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

/* Tell one listener the whole present view, as additions or as deletions. */
static int tell_all(struct mv_listener *listener, void (*event)(struct mv_listener *, const struct section *),
                    struct mv_error *err)
{
    const struct mv_view *view = listener->space->flat->view;
    listener_begin(listener);
    const struct section *section = view_next(view, 0);
    while (section) {
        event(listener, section);
        section = section->range.last == UINT64_MAX ? NULL : view_next(view, section->range.last + 1);
    }
    int rc = listener_prepare(listener, err);
    if (rc < 0) {
        listener_abort(listener);
    } else {
        listener_commit(listener);
    }
    return rc;
}

int mv_listener_create(struct mv_space *space, const struct mv_listener_ops *ops, void *opaque, int priority,
                       struct mv_listener **ret, struct mv_error *err)
{
    struct mv_machine *machine = space->machine;
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
        rc = tell_all(listener, listener_region_add, err);
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
    /* Nobody is left who could be told that a deletion failed. */
    (void)tell_all(listener, listener_region_del, NULL);
    machine->committing = false;
    machine_unlock(machine);
    free(listener);
}
