// SPDX-License-Identifier: MIT
#include "machine/space.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "machine/machine.h"

static void space_free(struct mv_space *space)
{
    view_put(space->view);
    mv_region_put(space->root);
    machine_put(space->machine);
    free(space->name);
    free(space);
}

int mv_space_create(struct mv_machine *machine, const char *name, struct mv_region *root, struct mv_space **ret,
                    struct mv_error *err)
{
    if (root->machine != machine) {
        return error_set(err, -EINVAL, "other-machine", name, "space %s: its root belongs to another machine",
                         name);
    }
    struct mv_space *space = calloc(1, sizeof *space);
    if (!space) {
        return error_set(err, -ENOMEM, "no-memory", name, "space %s: out of memory", name);
    }
    space->machine = machine_get(machine);
    space->root = mv_region_get(root);
    space->name = strdup(name);
    space->view = view_create(0);
    int rc = 0;
    if (!space->name || !space->view) {
        rc = error_set(err, -ENOMEM, "no-memory", name, "space %s: out of memory", name);
    } else {
        rc = mv_machine_begin(machine, err);
    }
    if (rc < 0) {
        space_free(space);
        return rc;
    }
    cds_list_add_tail(&space->link, &machine->spaces);
    machine->dirty = true;
    rc = mv_machine_commit(machine, err);
    if (rc < 0) {
        mv_space_destroy(space);
        return rc;
    }
    *ret = space;
    return 0;
}

void mv_space_destroy(struct mv_space *space)
{
    if (space) {
        machine_lock(space->machine);
        assert(!space->machine->committing);
        cds_list_del(&space->link);
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
    struct mv_view *view;
    epoch_enter();
    do {
        view = epoch_load(space->view);
    } while (!view_try_get(view));
    epoch_exit();
    return view;
}
