// SPDX-License-Identifier: MIT
/* Rendering: from a tree to the view that a space with that root shows. Pure: reads the tree, changes nothing. */
#ifndef MACHINE_RENDER_H
#define MACHINE_RENDER_H

#include "machine/view.h"

/* How deep containers and aliases may nest. */
#define RENDER_DEPTH_MAX 512

/*
 * @param root  may be NULL: an empty view
 * @return 0; -ENOMEM; -ELOOP when the tree is deeper than RENDER_DEPTH_MAX
 */
int render(struct mv_region *root, struct mv_view **ret);

#endif
