// SPDX-License-Identifier: MIT
/* The views, as `info mtree -f` prints them: one paragraph for all spaces that come down to the same region. */
#include <stdlib.h>

#include "machine/machine.h"
#include "machine/mtree.h"
#include "machine/region.h"
#include "machine/space.h"

/* A container's only enabled child; NULL when there is none or more than one. */
static struct mv_region *only_child(struct mv_region *container, bool *ret_empty)
{
    struct mv_region *child, *only = NULL;
    unsigned count = 0;
    cds_list_for_each_entry (child, &container->children, sibling) {
        if (child->state.enabled) {
            only = child;
            if (++count > 1) {
                break;
            }
        }
    }
    *ret_empty = count == 0;
    return count == 1 ? only : NULL;
}

/* Whether going past the region loses what it says of all below it. */
static bool has_rights(const struct mv_region *region)
{
    return region->state.readonly || region->state.nonvolatile;
}

/* The next region on the way down; the same one if the way ends there; NULL if nothing can be seen. */
static struct mv_region *step_down(struct mv_region *region)
{
    const struct region_state *state = &region->state;
    if (!state->enabled) {
        return NULL;
    }
    if (region->kind == MV_REGION_ALIAS) {
        struct mv_region *target = region->alias.target;
        bool whole = state->target_offset == 0 && state->size_bytes >= target->state.size_bytes;
        return whole && !has_rights(region) ? target : region;
    }
    if (region->kind == MV_REGION_CONTAINER) {
        bool empty;
        struct mv_region *child = only_child(region, &empty);
        if (empty) {
            return NULL;
        }
        if (child && child->state.address == 0 && child->state.size_bytes <= state->size_bytes &&
            !has_rights(region)) {
            return child;
        }
    }
    return region;
}

struct mv_region *mtree_physical_root(struct mv_region *root)
{
    struct mv_region *next;
    for (; root && (next = step_down(root)) != root; root = next) {}
    return root;
}

struct group {
    struct mv_space *space;
    struct mv_region *root; /* the physical one */
    bool printed;
};

static void print_spaces(struct mtree_out *out, const struct group *groups, size_t count,
                         const struct mv_region *root)
{
    for (size_t i = 0; i < count; i++) {
        const struct mv_region *named = groups[i].space->root;
        if (groups[i].root != root) {
            continue;
        }
        mtree_out_add(out, " AS \"%s\", root: %s", groups[i].space->name, named->name);
        if (named->kind == MV_REGION_ALIAS) {
            mtree_out_add(out, ", alias %s", named->alias.target->name);
        }
        mtree_out_add(out, "\n");
    }
    mtree_out_add(out, " Root memory region: %s\n", root ? root->name : "(none)");
}

static void print_accel(struct mtree_out *out, const struct group *groups, size_t count,
                        const struct mv_region *root, struct mv_range range, const struct mv_mtree_accel *accel)
{
    for (size_t i = 0; accel && i < count; i++) {
        if (groups[i].root == root && accel->has_slot(accel->opaque, groups[i].space, range)) {
            mtree_out_add(out, " %s", accel->name);
        }
    }
}

static void print_view(struct mtree_out *out, const struct group *groups, size_t count, const struct group *group,
                       unsigned flags, const struct mv_mtree_accel *accel)
{
    const struct mv_view *view = mv_space_view(group->space);
    const struct section *section = view_next(view, 0);
    if (!section) {
        mtree_out_add(out, "  No rendered FlatView\n");
    }
    while (section) {
        mtree_out_add(out, "  ");
        mtree_add_section(out, section, flags);
        print_accel(out, groups, count, group->root, section->range, accel);
        mtree_out_add(out, "\n");
        uint64_t last = section->range.last;
        section = last == UINT64_MAX ? NULL : view_next(view, last + 1);
    }
    if (view->count > 0 && (flags & MV_MTREE_DISPATCH)) {
        mtree_print_dispatch(out, view, group->root);
    }
    mtree_out_add(out, "\n");
    mv_view_release(view);
}

void mtree_print_flat(struct mtree_out *out, struct mv_machine *machine, unsigned flags,
                      const struct mv_mtree_accel *accel)
{
    struct mv_space *space;
    size_t count = 0, views = 0;
    cds_list_for_each_entry (space, &machine->spaces, link) {
        count++;
    }
    struct group *groups = calloc(count ? count : 1, sizeof *groups);
    if (!groups) {
        out->failed = true;
        return;
    }
    count = 0;
    cds_list_for_each_entry (space, &machine->spaces, link) {
        groups[count++] = (struct group){.space = space, .root = mtree_physical_root(space->root)};
    }
    for (size_t i = 0; i < count; i++) {
        if (!groups[i].printed) {
            mtree_out_add(out, "FlatView #%zu\n", views++);
            print_spaces(out, groups, count, groups[i].root);
            print_view(out, groups, count, &groups[i], flags, accel);
            for (size_t k = i; k < count; k++) {
                groups[k].printed = groups[k].printed || groups[k].root == groups[i].root;
            }
        }
    }
    free(groups);
}
