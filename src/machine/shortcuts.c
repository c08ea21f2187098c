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

void shortcut_touch_edited(struct shortcut_set *set, const struct pmap_edit *edit)
{
    if (edit->shift_min < SHORTCUT_SHIFT - PMAP_BITS) {
        set->bits[0] |= 1;
    }
}

/* Do something for every slot of the set. */
#define FOR_EACH_SLOT(i, set)                                                                                     \
    for (size_t word_ = 0; word_ < SHORTCUTS / 64; word_++)                                                       \
        for (uint64_t left_ = (set)->bits[word_], i;                                                              \
             left_ && ((i = word_ * 64 + (size_t)__builtin_ctzll(left_)), 1); left_ &= left_ - 1)

void shortcut_close(struct shortcuts *shortcuts, const struct shortcut_set *set)
{
    /* Before the view: that is published by a release. */
    FOR_EACH_SLOT(i, set)
    {
        __atomic_store_n(&shortcuts->slots[i], 0, __ATOMIC_RELAXED);
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
        pmap_entry slot = shortcuts->slots[i];
        if (slot != 0 && slot != pmap_entry_at(map, i << SHORTCUT_SHIFT, SHORTCUT_SHIFT)) {
            return false;
        }
    }
    return true;
}
