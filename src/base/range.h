// SPDX-License-Identifier: MIT
/*
 * Ranges {first, last}, both ends inclusive, first <= last. There is no empty range: what may be empty returns
 * bool.
 */
#ifndef BASE_RANGE_H
#define BASE_RANGE_H

#include <assert.h>

#include "base/addr.h"

#define RANGE_ALL ((struct mv_range){0, UINT64_MAX})

/* False when size is 0 or the range would pass 2^64 - 1. MV_SIZE_2_64 means 2^64 and fits at 0 only. */
static inline bool range_of(uint64_t first, uint64_t size_bytes, struct mv_range *ret)
{
    uint64_t last;
    if (size_bytes == MV_SIZE_2_64) {
        if (first != 0) {
            return false;
        }
        last = UINT64_MAX;
    } else if (size_bytes == 0 || __builtin_add_overflow(first, size_bytes - 1, &last)) {
        return false;
    }
    *ret = (struct mv_range){first, last};
    return true;
}

/* In bytes; MV_SIZE_2_64 for all of it. */
static inline uint64_t range_size(struct mv_range r)
{
    assert(r.first <= r.last);
    uint64_t size = r.last - r.first + 1;
    return size == 0 ? MV_SIZE_2_64 : size;
}

static inline bool range_contains(struct mv_range r, uint64_t address)
{
    return r.first <= address && address <= r.last;
}

static inline bool range_covers(struct mv_range outer, struct mv_range inner)
{
    return outer.first <= inner.first && inner.last <= outer.last;
}

static inline bool range_overlaps(struct mv_range a, struct mv_range b)
{
    return a.first <= b.last && b.first <= a.last;
}

static inline bool range_equal(struct mv_range a, struct mv_range b)
{
    return a.first == b.first && a.last == b.last;
}

/* False when they have nothing in common. */
static inline bool range_intersect(struct mv_range a, struct mv_range b, struct mv_range *ret)
{
    if (!range_overlaps(a, b)) {
        return false;
    }
    ret->first = a.first > b.first ? a.first : b.first;
    ret->last = a.last < b.last ? a.last : b.last;
    return true;
}

/* The whole pages of a range: first rounded up, end rounded down. False when there is none. */
static inline bool range_whole_pages(struct mv_range r, uint64_t page_size, struct mv_range *ret)
{
    uint64_t first;
    if (!align_up(r.first, page_size, &first) || first > r.last) {
        return false;
    }
    uint64_t size = r.last - first + 1; /* 0: all 2^64 */
    if (size == 0) {
        *ret = r;
        return true;
    }
    size = align_down(size, page_size);
    return range_of(first, size, ret);
}

#endif
