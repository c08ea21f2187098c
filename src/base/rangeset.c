// SPDX-License-Identifier: MIT
#include "base/rangeset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void rangeset_finish(struct rangeset *set)
{
    free(set->ranges);
    *set = (struct rangeset){0};
}

int rangeset_reserve(struct rangeset *set)
{
    if (set->count < set->capacity) {
        return 0;
    }
    size_t capacity = set->capacity ? set->capacity * 2 : 8;
    struct mv_range *ranges = realloc(set->ranges, capacity * sizeof *ranges);
    if (!ranges) {
        return -ENOMEM;
    }
    set->ranges = ranges;
    set->capacity = capacity;
    return 0;
}

/* The index of the first range that ends at `address` or after it; count if none does. */
static size_t find(const struct rangeset *set, uint64_t address)
{
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->ranges[middle].last < address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Put `n` ranges in the place of those in [from, to). */
static void splice(struct rangeset *set, size_t from, size_t to, const struct mv_range *with, size_t n)
{
    assert(set->count - (to - from) + n <= set->capacity);
    memmove(&set->ranges[from + n], &set->ranges[to], (set->count - to) * sizeof *set->ranges);
    for (size_t i = 0; i < n; i++) {
        set->ranges[from + i] = with[i];
    }
    set->count = set->count - (to - from) + n;
}

void rangeset_add(struct rangeset *set, struct mv_range range)
{
    /* Those that overlap the range or touch it become one with it. */
    size_t from = find(set, range.first ? range.first - 1 : 0);
    size_t to = from;
    while (to < set->count && (range.last == UINT64_MAX || set->ranges[to].first <= range.last + 1)) {
        const struct mv_range *other = &set->ranges[to++];
        range.first = other->first < range.first ? other->first : range.first;
        range.last = other->last > range.last ? other->last : range.last;
    }
    splice(set, from, to, &range, 1);
}

void rangeset_remove(struct rangeset *set, struct mv_range range)
{
    size_t from = find(set, range.first);
    size_t to = from;
    struct mv_range left[2];
    size_t n = 0;
    while (to < set->count && set->ranges[to].first <= range.last) {
        struct mv_range old = set->ranges[to++];
        if (old.first < range.first) {
            left[n++] = (struct mv_range){old.first, range.first - 1};
        }
        if (old.last > range.last) {
            left[n++] = (struct mv_range){range.last + 1, old.last};
        }
    }
    splice(set, from, to, left, n);
}

bool rangeset_covers(const struct rangeset *set, struct mv_range range)
{
    size_t i = find(set, range.first);
    return i < set->count && range_covers(set->ranges[i], range);
}

bool rangeset_next(const struct rangeset *set, struct mv_range range, struct mv_range *ret)
{
    size_t i = find(set, range.first);
    return i < set->count && range_intersect(set->ranges[i], range, ret);
}

bool rangeset_next_hole(const struct rangeset *set, struct mv_range range, struct mv_range *ret)
{
    size_t i = find(set, range.first);
    if (i < set->count && set->ranges[i].first <= range.first) {
        if (set->ranges[i].last >= range.last) {
            return false;
        }
        range.first = set->ranges[i++].last + 1;
    }
    if (i < set->count && set->ranges[i].first <= range.last) {
        range.last = set->ranges[i].first - 1;
    }
    *ret = range;
    return true;
}

bool rangeset_check(const struct rangeset *set)
{
    for (size_t i = 0; i < set->count; i++) {
        const struct mv_range *r = &set->ranges[i];
        if (r->first > r->last || (i > 0 && (r->first == 0 || r[-1].last >= r->first - 1))) {
            return false;
        }
    }
    return set->count <= set->capacity;
}
