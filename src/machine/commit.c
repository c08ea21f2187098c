// SPDX-License-Identifier: MIT
/*
 * Check, then commit: all views are rendered and every listener has agreed before the first view is published.
 */
#include "machine/commit.h"

#include <errno.h>
#include <stdbool.h>

#include "base/error.h"
#include "machine/listener.h"
#include "machine/machine.h"
#include "machine/render.h"
#include "machine/space.h"

static void drop_next(struct mv_machine *machine)
{
    struct mv_space *space;
    cds_list_for_each_entry (space, &machine->spaces, link) {
        view_put(space->next);
        space->next = NULL;
    }
}

static int render_space(struct mv_space *space, struct mv_error *err)
{
    int rc = render(space->root, &space->next);
    if (rc == -ELOOP) {
        return error_set(err, rc, "too-deep", space->name, "space %s: its tree nests deeper than %d", space->name,
                         RENDER_DEPTH_MAX);
    }
    if (rc < 0) {
        return error_set(err, rc, "no-memory", space->name, "space %s: out of memory", space->name);
    }
    return 0;
}

static int render_all(struct mv_machine *machine, struct mv_error *err)
{
    struct mv_space *space;
    cds_list_for_each_entry (space, &machine->spaces, link) {
        int rc = render_space(space, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* Whom to tell, in which order: deletions go to the highest priority first, additions to the lowest. */
typedef void event_fn(struct mv_listener *, const struct section *);

static void tell_descending(struct mv_space *space, const struct section *section, event_fn *event)
{
    struct mv_listener *listener;
    cds_list_for_each_entry_reverse(listener, &space->machine->listeners, link)
    {
        if (listener->space == space) {
            event(listener, section);
        }
    }
}

static void tell_ascending(struct mv_space *space, const struct section *section, event_fn *event)
{
    struct mv_listener *listener;
    cds_list_for_each_entry (listener, &space->machine->listeners, link) {
        if (listener->space == space) {
            event(listener, section);
        }
    }
}

/* Move *i over the sections that end before `section` begins; whether the one it stops at equals it. */
static bool find_equal(const struct mv_view *view, size_t *i, const struct section *section)
{
    while (*i < view->count && view->sections[*i].range.last < section->range.first) {
        (*i)++;
    }
    return *i < view->count && section_equal(&view->sections[*i], section);
}

static void tell_difference(struct mv_space *space)
{
    const struct mv_view *old = space->view;
    const struct mv_view *new = space->next;
    for (size_t i = 0, j = 0; i < old->count; i++) {
        if (!find_equal(new, &j, &old->sections[i])) {
            tell_descending(space, &old->sections[i], listener_region_del);
        }
    }
    for (size_t i = 0, j = 0; i < new->count; i++) {
        bool same = find_equal(old, &j, &new->sections[i]);
        tell_ascending(space, &new->sections[i], same ? listener_region_nop : listener_region_add);
    }
}

static int prepare_all(struct mv_machine *machine, struct mv_error *err)
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

static void publish(struct mv_space *space)
{
    struct mv_view *old = space->view;
    epoch_publish(space->view, space->next);
    space->next = NULL;
    space->shown = true;
    view_put(old);
}

void commit_new_spaces(struct mv_machine *machine)
{
    struct mv_space *space;
    cds_list_for_each_entry (space, &machine->spaces, link) {
        if (!space->shown && render_space(space, NULL) == 0) {
            publish(space);
        }
    }
}

int commit_spaces(struct mv_machine *machine, struct mv_error *err)
{
    struct mv_listener *listener;
    struct mv_space *space;
    int rc = render_all(machine, err);
    if (rc < 0) {
        drop_next(machine);
        return rc;
    }
    cds_list_for_each_entry (listener, &machine->listeners, link) {
        listener_begin(listener);
    }
    cds_list_for_each_entry (space, &machine->spaces, link) {
        tell_difference(space);
    }
    rc = prepare_all(machine, err);
    if (rc < 0) {
        cds_list_for_each_entry_reverse(listener, &machine->listeners, link)
        {
            listener_abort(listener);
        }
        drop_next(machine);
        return rc;
    }
    cds_list_for_each_entry (space, &machine->spaces, link) {
        publish(space);
    }
    cds_list_for_each_entry (listener, &machine->listeners, link) {
        listener_commit(listener);
    }
    return 0;
}
