// SPDX-License-Identifier: MIT
/* What a region would hide among its siblings, or be hidden by: told or refused, if the machine's owner asked for
 * that. */
#ifndef MACHINE_OVERLAP_H
#define MACHINE_OVERLAP_H

#include "machine/region.h"

/*
 * Before `region` gets the place and rank of `state`. Control lock held.
 * @return 0; -EEXIST "overlap" under the strict policy
 */
int overlap_check(const struct mv_region *region, const struct region_state *state, struct mv_error *err);

#endif
