// SPDX-License-Identifier: MIT
#include "machine/way.h"

#include <errno.h>
#include <stdlib.h>

#include "machine/machine.h"
#include "machine/mtree.h"
#include "machine/space.h"

struct visit {
    way_fn *each;
    void *opaque;
    bool is_over; /* it was enough, or there is no memory */
    bool failed;
};

/* Higher priority first; of equals the one added last. */
static int compare_rank(const void *a, const void *b)
{
    const struct region_state *x = &(*(struct mv_region *const *)a)->state;
    const struct region_state *y = &(*(struct mv_region *const *)b)->state;
    if (x->priority != y->priority) {
        return x->priority > y->priority ? -1 : 1;
    }
    return x->order > y->order ? -1 : 1;
}

/* The children that have the offset, topmost first; the caller frees them. */
static struct mtree_regions children_at(struct visit *visit, struct mv_region *region, uint64_t offset)
{
    struct mtree_regions found = {0};
    struct itree_node *node = itree_first_overlap(&region->children_by_address, offset, offset);
    for (; node; node = itree_next_overlap(node, offset, offset)) {
        if (mtree_regions_add(&found, region_of_node(node)) < 0) {
            visit->is_over = visit->failed = true;
            break;
        }
    }
    if (found.count > 1) {
        qsort(found.regions, found.count, sizeof(struct mv_region *), compare_rank);
    }
    return found;
}

static void go_down(struct visit *visit, const struct way_step *up, struct mv_region *region, uint64_t offset)
{
    const struct region_state *state = &region->state;
    bool inside = offset < state->size_bytes || state->size_bytes == MV_SIZE_2_64;
    if (!state->enabled || !inside || visit->is_over || (up && up->depth == RENDER_DEPTH_MAX)) {
        return;
    }
    const struct way_step step = {
        .up = up,
        .region = region,
        .offset = offset,
        .rights.readonly = (up && up->rights.readonly) || state->readonly || region->kind == MV_REGION_ROM,
        .depth = up ? up->depth + 1 : 1,
    };
    if (region->kind == MV_REGION_ALIAS) {
        uint64_t shown;
        if (!__builtin_add_overflow(offset, state->target_offset, &shown)) {
            go_down(visit, &step, region->alias.target, shown);
        }
        return;
    }
    struct mtree_regions children = children_at(visit, region, offset);
    for (size_t i = 0; i < children.count; i++) {
        go_down(visit, &step, children.regions[i], offset - children.regions[i]->state.address);
    }
    mtree_regions_finish(&children);
    if (region->kind != MV_REGION_CONTAINER && !visit->is_over) {
        visit->is_over = !visit->each(visit->opaque, &step);
    }
}

int way_visit(struct mv_region *root, uint64_t address, way_fn *each, void *opaque)
{
    struct visit visit = {.each = each, .opaque = opaque};
    go_down(&visit, NULL, root, address);
    return visit.failed ? -ENOMEM : 0;
}

/* --- the way to what answers -------------------------------------------------------------------------------- */

struct found {
    struct mv_way_step *steps;
    size_t capacity, count;
};

static bool keep_first(void *opaque, const struct way_step *last)
{
    struct found *found = opaque;
    found->count = last->depth;
    for (const struct way_step *step = last; step; step = step->up) {
        if (step->depth <= found->capacity) {
            found->steps[step->depth - 1] =
                (struct mv_way_step){.region = mv_region_get(step->region), .offset = step->offset};
        }
    }
    return false;
}

size_t mv_space_way(struct mv_space *space, mv_gpa_t address, struct mv_way_step *ret, size_t capacity)
{
    struct found found = {.steps = ret, .capacity = capacity};
    machine_lock(space->machine);
    (void)way_visit(space->root, address.raw, keep_first, &found);
    machine_unlock(space->machine);
    return found.count;
}
