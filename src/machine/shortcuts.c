// SPDX-License-Identifier: MIT
#include "machine/shortcuts.h"

#include <string.h>

#define SHORTCUT_LAST (((uint64_t)SHORTCUTS << SHORTCUT_SHIFT) - 1)

void shortcut_touch(struct shortcut_set *set, struct mv_range range)
{
    if (range.first > SHORTCUT_LAST) {
        return;
    }
    uint64_t last = (range.last < SHORTCUT_LAST ? range.last : SHORTCUT_LAST) >> SHORTCUT_SHIFT;
    for (uint64_t i = range.first >> SHORTCUT_SHIFT; i <= last; i++) {
        set->bits[i / 64] |= UINT64_C(1) << i % 64;
    }
}

/* Do something for every slot of the set. */
#define FOR_EACH_SLOT(i, set)                                                                                     \
    for (size_t word_ = 0; word_ < SHORTCUTS / 64; word_++)                                                       \
        for (uint64_t left_ = (set)->bits[word_], i;                                                              \
             left_ && ((i = word_ * 64 + (size_t)__builtin_ctzll(left_)), 1); left_ &= left_ - 1)

void shortcut_close(struct shortcuts *shortcuts, struct shortcut_set *set, const struct pmap *old,
                    const struct pmap *next)
{
    if (old->shift != next->shift &&
        (old->shift < SHORTCUT_SHIFT - PMAP_BITS || next->shift < SHORTCUT_SHIFT - PMAP_BITS)) {
        set->bits[0] |= 1; /* the node that stands for the first 16 MiB has come or gone with the map's height */
    }
    FOR_EACH_SLOT(i, set)
    {
        __atomic_store_n(&shortcuts->slots[i], 0,
                         __ATOMIC_RELAXED); /* before the view: that is published by a release */
    }
}

void shortcut_fill(struct shortcuts *shortcuts, struct shortcut_set *set, const struct pmap *next)
{
    FOR_EACH_SLOT(i, set)
    {
        __atomic_store_n(&shortcuts->slots[i], pmap_entry_at(next, i << SHORTCUT_SHIFT, SHORTCUT_SHIFT),
                         __ATOMIC_RELEASE);
    }
    memset(set, 0, sizeof *set);
}

bool shortcut_check(const struct shortcuts *shortcuts, const struct pmap *map)
{
    for (uint64_t i = 0; i < SHORTCUTS; i++) {
        if (shortcuts->slots[i] != pmap_entry_at(map, i << SHORTCUT_SHIFT, SHORTCUT_SHIFT)) {
            return false;
        }
    }
    return true;
}
