// SPDX-License-Identifier: MIT
#include "machine/overlap.h"

#include <errno.h>
#include <stdio.h>

#include "base/error.h"
#include "machine/machine.h"

static void tell(struct mv_machine *machine, const struct mv_region *upper, const struct mv_region *lower,
                 struct mv_range both, const struct mv_region *container)
{
    char line[MV_ERROR_TEXT_SIZE];
    snprintf(line, sizeof line, "region %s hides %s at " PRI_ADDR "-" PRI_ADDR " of %s", upper->name, lower->name,
             both.first, both.last, container->name);
    machine->overlap_tell(machine->overlap_opaque, line);
}

int overlap_check(const struct mv_region *region, const struct region_state *state, struct mv_error *err)
{
    struct mv_machine *machine = region->machine;
    struct mv_range place, both;
    if (machine->overlap_policy == MV_OVERLAP_ALLOW || !state->container || !region_place(state, &place)) {
        return 0;
    }
    struct itree *siblings = &state->container->children_by_address;
    struct itree_node *node = itree_first_overlap(siblings, place.first, place.last);
    for (; node; node = itree_next_overlap(node, place.first, place.last)) {
        const struct mv_region *other = region_of_node(node);
        struct mv_range there = {node->first, node->last};
        if (other == region || !range_intersect(place, there, &both)) {
            continue;
        }
        if (machine->overlap_policy == MV_OVERLAP_STRICT && other->state.priority == state->priority) {
            return error_set(err, -EEXIST, "overlap", region->name,
                             "region %s: it overlaps %s, of the same priority, at " PRI_ADDR "-" PRI_ADDR " of %s",
                             region->name, other->name, both.first, both.last, state->container->name);
        }
        if (machine->overlap_tell) {
            bool on_top =
                state->priority >= other->state.priority; /* of equals the one added last, which is this */
            tell(machine, on_top ? region : other, on_top ? other : region, both, state->container);
        }
    }
    return 0;
}

int mv_machine_set_overlap_policy(struct mv_machine *machine, enum mv_overlap_policy policy,
                                  void (*tell_it)(void *opaque, const char *line), void *opaque,
                                  struct mv_error *err)
{
    if (policy > MV_OVERLAP_STRICT || (policy == MV_OVERLAP_REPORT && !tell_it)) {
        return error_set(err, -EINVAL, "bad-policy", NULL, "machine: no such policy of overlaps");
    }
    machine_lock(machine);
    machine->overlap_policy = policy;
    machine->overlap_tell = policy == MV_OVERLAP_ALLOW ? NULL : tell_it;
    machine->overlap_opaque = opaque;
    machine_unlock(machine);
    return 0;
}
