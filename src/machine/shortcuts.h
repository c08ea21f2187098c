// SPDX-License-Identifier: MIT
/*
 * Shortcuts: what common accesses read in place of the view, so that an edit costs only those who read where it
 * was.
 *
 *      flat -- view --> view -- root --> node --> ... --> node --> section      every version has its own path
 *        '---- shortcuts.slots[address >> 24] -------------'                    changed in place
 *
 * A view comes with new memory: its pointer, itself, and the nodes at the top of its map are three lines of the
 * cache that a reader on another CPU has to wait for, one after the other, after every commit, wherever it was. A
 * slot is the entry of the current map that stands for 16 MiB. It is written by commits that change something in
 * there, and by no others. They end at 16 GiB; beyond, and where a slot is 0, the view is asked.
 *
 * A commit changes several slots, and a thread that has seen one of its changes must see them all. So it
 *   1. closes the slots in which it changes anything: they become 0,
 *   2. publishes the view,
 *   3. fills those slots from it.
 * Who meets a closed slot reads the view, old or new. Who has seen the new one, there or through a slot that was
 * filled, cannot find a slot from before 1. The slots that are never closed say the same before and after.
 *
 * Slots are read inside an epoch: what an old one led to is retired after step 2.
 */
#ifndef MACHINE_SHORTCUTS_H
#define MACHINE_SHORTCUTS_H

#include "base/epoch.h"
#include "machine/pmap.h"

#define SHORTCUT_SHIFT 24 /* a level of the map */
#define SHORTCUTS 1024u

_Static_assert(SHORTCUT_SHIFT % PMAP_BITS == 0, "a slot stands for as much as an entry of a node");

/* At the beginning of a line of the cache. Not by its type: lists of flats look at their head as if it were one.
 */
struct shortcuts {
    pmap_entry slots[SHORTCUTS]; /* 0: not known */
};

/* Slots that a commit changes. */
struct shortcut_set {
    uint64_t bits[SHORTCUTS / 64];
};

/* The section at `address`; NULL: nothing, or not known here. Inside an epoch. */
static inline const struct section *shortcut_find(const struct shortcuts *shortcuts, uint64_t address)
{
    uint64_t i = address >> SHORTCUT_SHIFT;
    if (__builtin_expect(i >= SHORTCUTS, 0)) {
        return NULL;
    }
    return pmap_find_in(epoch_load(shortcuts->slots[i]), SHORTCUT_SHIFT, address);
}

/* The rest: control lock held. Something in `range` will be different. */
void shortcut_touch(struct shortcut_set *set, struct mv_range range);
/* What an edit has done to the map beside that: the node of the first slot may have gone as the map became low. */
void shortcut_touch_edited(struct shortcut_set *set, const struct pmap_edit *edit);
/* Steps 1 and 3; the set is empty after it. */
void shortcut_close(struct shortcuts *shortcuts, const struct shortcut_set *set);
void shortcut_fill(struct shortcuts *shortcuts, struct shortcut_set *set, const struct pmap *next);

/* Execute the invariant: no slot says anything else than the map; 0 says nothing. */
bool shortcut_check(const struct shortcuts *shortcuts, const struct pmap *map);

#endif
