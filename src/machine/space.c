// SPDX-License-Identifier: MIT
#include "machine/space.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/line.h"
#include "machine/bounce.h"
#include "machine/listener.h"
#include "machine/machine.h"

/* QEMU's default. */
#define BOUNCE_LIMIT_BYTES 4096

static void space_free(struct mv_space *space)
{
    mv_region_put(space->root);
    machine_put(space->machine);
    bounce_destroy(space->bounce);
    free(space->name);
    free(space);
}

/* Within a transaction. */
static int show(struct mv_space *space, struct mv_error *err)
{
    space->flat = flat_get(space->root);
    if (!space->flat) {
        return error_set(err, -ENOMEM, "no-memory", space->name, "space %s: out of memory", space->name);
    }
    cds_list_add_tail(&space->link, &space->machine->spaces);
    return 0;
}

int mv_space_create(struct mv_machine *machine, const char *name, struct mv_region *root, struct mv_space **ret,
                    struct mv_error *err)
{
    if (root->machine != machine) {
        return error_set(err, -EINVAL, "other-machine", name, "space %s: its root belongs to another machine",
                         name);
    }
    struct mv_space *space = line_alloc(sizeof *space);
    if (space) {
        space->name = strdup(name);
        space->bounce = bounce_create(BOUNCE_LIMIT_BYTES);
    }
    if (!space || !space->name || !space->bounce) {
        bounce_destroy(space ? space->bounce : NULL);
        free(space ? space->name : NULL);
        free(space);
        return error_set(err, -ENOMEM, "no-memory", name, "space %s: out of memory", name);
    }
    space->machine = machine_get(machine);
    space->root = mv_region_get(root);
    int rc = mv_machine_begin(machine, err);
    if (rc < 0) {
        space_free(space);
        return rc;
    }
    rc = show(space, err);
    int commit_rc = mv_machine_commit(machine, rc < 0 ? NULL : err);
    if (rc < 0) {
        space_free(space);
        return rc;
    }
    if (commit_rc < 0) {
        mv_space_destroy(space);
        return commit_rc;
    }
    *ret = space;
    return 0;
}

static bool has_listener(const struct mv_space *space)
{
    const struct mv_listener *listener;
    cds_list_for_each_entry (listener, &space->machine->listeners, link) {
        if (listener->space == space) {
            return true;
        }
    }
    return false;
}

void mv_space_destroy(struct mv_space *space)
{
    if (space) {
        machine_lock(space->machine);
        assert(!space->machine->committing && !has_listener(space));
        cds_list_del(&space->link);
        flat_put(space->flat);
        machine_unlock(space->machine);
        space_free(space);
    }
}

const char *mv_space_name(const struct mv_space *space)
{
    return space->name;
}

struct mv_region *mv_space_root(const struct mv_space *space)
{
    return space->root;
}

const struct mv_view *mv_space_view(struct mv_space *space)
{
    return flat_borrow(space->flat);
}
