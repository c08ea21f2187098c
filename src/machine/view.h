// SPDX-License-Identifier: MIT
/*
 * A view: the flat picture of a tree (QEMU's FlatView). Sorted, non-overlapping, immutable once published.
 */
#ifndef MACHINE_VIEW_H
#define MACHINE_VIEW_H

#include <memvirt/space.h>
#include <stdatomic.h>

#include "base/epoch.h"
#include "base/range.h"
#include "machine/region.h"

/* One range of a view and what answers there. The view holds a reference to the region. */
struct section {
    struct mv_range range;
    struct mv_region *region;
    uint64_t offset;     /* in the region, of range.first */
    unsigned char *host; /* RAM and ROM: the byte at range.first; else NULL */
    bool readonly;
};

/*
 * Owned by the space that shows it and by whoever borrowed it; freed after the epoch in which the last reference
 * went. Invariant, for all i: sections[i].range.last < sections[i + 1].range.first, and the two could not be one
 * section.
 */
struct mv_view {
    struct epoch_head epoch; /* first: the retire callback is handed its address */
    atomic_uint refs;
    size_t count;
    struct section sections[];
};

struct mv_view *view_create(size_t count);
/* Drop a reference; any thread, inside an epoch or not. */
void view_put(struct mv_view *view);
/* Take one; false when the view is already on its way out (then load the space's view again). Inside an epoch. */
bool view_try_get(struct mv_view *view);
/* Execute the invariant. */
bool view_check(const struct mv_view *view);

/* The index of the first section that ends at `address` or after it; count when there is none. */
static inline size_t view_index(const struct mv_view *view, uint64_t address)
{
    size_t low = 0;
    size_t high = view->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (view->sections[middle].range.last < address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The section that contains `address`, or NULL. */
static inline const struct section *view_find(const struct mv_view *view, uint64_t address)
{
    size_t i = view_index(view, address);
    return i < view->count && view->sections[i].range.first <= address ? &view->sections[i] : NULL;
}

/* The same place, region, offset and rights: what listeners need not be told of. */
static inline bool section_equal(const struct section *a, const struct section *b)
{
    return range_equal(a->range, b->range) && a->region == b->region && a->offset == b->offset &&
           a->readonly == b->readonly;
}

/* Whether b goes on where a ends, so that the two are one section. */
static inline bool section_continues(const struct section *a, const struct section *b)
{
    return a->range.last + 1 == b->range.first && a->region == b->region && a->readonly == b->readonly &&
           a->offset + (a->range.last - a->range.first) + 1 == b->offset;
}

void section_describe(const struct section *section, struct mv_section *ret);

#endif
