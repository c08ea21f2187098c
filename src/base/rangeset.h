// SPDX-License-Identifier: MIT
/* A set of addresses, kept as disjoint ranges. Adding and removing is check, then commit: reserve first. */
#ifndef BASE_RANGESET_H
#define BASE_RANGESET_H

#include <stddef.h>

#include "base/range.h"

/*
 * Owned by what it is a member of; all zero is the empty set.
 * Invariant: ranges[i].last + 1 < ranges[i + 1].first: in order, disjoint, and no two neighbours touch.
 */
struct rangeset {
    struct mv_range *ranges;
    size_t count;
    size_t capacity;
};

/* Frees what it has; the set is empty then. */
void rangeset_finish(struct rangeset *set);

/* Make room, so that one add or remove cannot fail. @return 0 or -ENOMEM */
int rangeset_reserve(struct rangeset *set);
/* After a successful rangeset_reserve each. */
void rangeset_add(struct rangeset *set, struct mv_range range);
void rangeset_remove(struct rangeset *set, struct mv_range range);

bool rangeset_covers(const struct rangeset *set, struct mv_range range);
/* The first piece within `range` that is in the set, or, of the holes, that is not. False when there is none. */
bool rangeset_next(const struct rangeset *set, struct mv_range range, struct mv_range *ret);
bool rangeset_next_hole(const struct rangeset *set, struct mv_range range, struct mv_range *ret);

/* Execute the invariant. */
bool rangeset_check(const struct rangeset *set);

#endif
