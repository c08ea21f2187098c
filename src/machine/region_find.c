// SPDX-License-Identifier: MIT
/* From a region to what is seen in its place. */
#include "machine/flat.h"
#include "machine/machine.h"
#include "machine/space.h"

/* Go up as far as containers lead; the last region on the way that a space shows, and where the range is in it. */
static const struct flat *find_flat(const struct mv_region *region, struct mv_range range, struct mv_range *ret)
{
    const struct flat *found = NULL;
    for (;;) {
        if (region->flat) {
            found = region->flat;
            *ret = range;
        }
        const struct region_state *state = &region->state;
        if (!state->container || __builtin_add_overflow(range.first, state->address, &range.first)) {
            return found;
        }
        if (__builtin_add_overflow(range.last, state->address, &range.last)) {
            range.last = UINT64_MAX;
        }
        region = state->container;
    }
}

/* The part of a section that is in a range, which it touches. */
static void describe_part(const struct section *section, struct mv_range range, struct mv_section *ret)
{
    section_describe(section, ret);
    (void)range_intersect(section->range, range, &ret->range);
    uint64_t skipped = ret->range.first - section->range.first;
    ret->offset += skipped;
    ret->hva = section->has_host ? hva_add(ret->hva, skipped) : ret->hva;
    mv_region_get(ret->region);
}

bool mv_region_find(struct mv_region *region, uint64_t offset, uint64_t size_bytes, struct mv_section *ret)
{
    struct mv_range range;
    bool found = false;
    if (!range_of(offset, size_bytes, &range)) {
        return false;
    }
    machine_lock(region->machine);
    const struct flat *flat = find_flat(region, range, &range);
    if (flat) {
        const struct section *section = view_next(flat->view, range.first);
        found = section && section->range.first <= range.last;
        if (found) {
            describe_part(section, range, ret);
        }
    }
    machine_unlock(region->machine);
    return found;
}
