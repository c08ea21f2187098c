// SPDX-License-Identifier: MIT
/*
 * The ways from a region down to what is at an address, through containers and aliases: the tree is asked in the
 * order in which it is drawn (render.c). Reads the tree; the control lock is held.
 */
#ifndef MACHINE_WAY_H
#define MACHINE_WAY_H

#include "machine/render.h"

/* One region on the way down; the way up leads to the root. */
struct way_step {
    const struct way_step *up;
    struct mv_region *region;
    uint64_t offset; /* in the region, of the address */
    struct rights rights;
    unsigned depth; /* the root's is 1 */
};

/* Told of each region that would answer, with the way to it; the first one does, and hides the others. False:
 * enough. */
typedef bool way_fn(void *opaque, const struct way_step *last);

/* @return 0; -ENOMEM: some were not told of */
int way_visit(struct mv_region *root, uint64_t address, way_fn *each, void *opaque);

#endif
