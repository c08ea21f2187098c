// SPDX-License-Identifier: MIT
/* Rendering: what a tree shows in a range. Reads the tree, changes nothing. */
#ifndef MACHINE_RENDER_H
#define MACHINE_RENDER_H

#include "base/range.h"
#include "machine/region.h"

/* How deep containers and aliases may nest. */
#define RENDER_DEPTH_MAX 512

/* What is decided on the way down to a region: each is set if it is set anywhere on the way. */
struct rights {
    bool readonly;
    bool nonvolatile;
};

static inline bool rights_equal(struct rights a, struct rights b)
{
    return a.readonly == b.readonly && a.nonvolatile == b.nonvolatile;
}

/* One range of the picture. */
struct drawn {
    struct mv_range range;
    struct mv_region *region; /* borrowed from the tree */
    uint64_t offset;
    struct rights rights;
};

/* Sorted, not overlapping; neighbours that could be one are one. The caller frees `items`. */
struct picture {
    struct drawn *items;
    size_t count;
};

/*
 * Draw what `root` shows in `clip`.
 * @return 0; -ENOMEM; -ELOOP when the tree is deeper than RENDER_DEPTH_MAX
 */
int render(struct mv_region *root, struct mv_range clip, struct picture *ret);

#endif
