// SPDX-License-Identifier: MIT
/*
 * Lines of the cache. What many threads read all the time does not share one with what another thread writes: each
 * write would take the line away from all of them.
 */
#ifndef BASE_LINE_H
#define BASE_LINE_H

#include <stdlib.h>
#include <string.h>

#define CACHE_LINE 64

/* Zeroed, in lines of its own, for free(). NULL when out of memory. */
static inline void *line_alloc(size_t size_bytes)
{
    size_t whole = (size_bytes + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1);
    void *memory = aligned_alloc(CACHE_LINE, whole);
    return memory ? memset(memory, 0, whole) : NULL;
}

#endif
