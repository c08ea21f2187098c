// SPDX-License-Identifier: MIT
/*
 * A walk over all entries of a tree that overlap a range of gfns, in order, parents before children: for who holds
 * `mmu_lock`, so no table goes while it is looked at. What the walker does to an entry it writes back to `entry`;
 * the next step goes down if that is a table.
 */
#ifndef HYPERVISOR_TDP_ITER_H
#define HYPERVISOR_TDP_ITER_H

#include "hypervisor/tdp.h"

struct tdp_iter {
    uint64_t first, last; /* gfns, inclusive */
    unsigned root_level;
    pt_word_t *tables[6]; /* by level: the way from the root to here */
    unsigned level;       /* of the entry; 0: the walk is over */
    uint64_t gfn;         /* the first that the entry is for */
    pt_word_t *word;
    uint64_t entry; /* as it was read */
};

TDP_INLINE void tdp_iter_load(struct tdp_iter *it)
{
    it->word = &it->tables[it->level][pt_index(it->gfn << GUEST_PAGE_SHIFT, it->level)];
    it->entry = pt_load(it->word);
}

/* `root` may be NULL: then the walk is over at once. */
TDP_INLINE void tdp_iter_begin(struct tdp_iter *it, pt_word_t *root, unsigned levels, uint64_t first,
                               uint64_t last)
{
    uint64_t end = tdp_level_pages(levels + 1) - 1;
    *it = (struct tdp_iter){.first = first, .last = last < end ? last : end, .root_level = levels};
    if (root && first <= it->last) {
        it->level = levels;
        it->tables[levels] = root;
        it->gfn = align_down(first, tdp_level_pages(levels));
        tdp_iter_load(it);
    }
}

TDP_INLINE bool tdp_iter_is_valid(const struct tdp_iter *it)
{
    return it->level != 0;
}

/* Down, else aside, else up and aside. */
TDP_INLINE void tdp_iter_next(const struct pt_format *f, struct tdp_iter *it)
{
    if (spte_is_table(f, it->entry, it->level)) {
        pt_word_t *table = spte_table(it->entry);
        it->tables[--it->level] = table;
        uint64_t first = align_down(it->first, tdp_level_pages(it->level));
        it->gfn = it->gfn > first ? it->gfn : first;
        tdp_iter_load(it);
        return;
    }
    it->gfn += tdp_level_pages(it->level);
    if (it->gfn > it->last) {
        it->level = 0;
        return;
    }
    while (pt_index(it->gfn << GUEST_PAGE_SHIFT, it->level) == 0 && it->level < it->root_level) {
        it->level++;
    }
    tdp_iter_load(it);
}

/* Whether all that the entry is for lies in the range. */
TDP_INLINE bool tdp_iter_is_within(const struct tdp_iter *it)
{
    return it->gfn >= it->first && it->gfn + tdp_level_pages(it->level) - 1 <= it->last;
}

TDP_INLINE bool tdp_iter_is_leaf(const struct pt_format *f, const struct tdp_iter *it)
{
    return spte_is_leaf(f, it->entry, it->level);
}

/* False: somebody was faster, and `entry` is what is there. */
TDP_INLINE bool tdp_iter_cas(const struct pt_format *f, struct tdp_iter *it, uint64_t to)
{
    if (!tdp_cas(f, it->word, it->level, &it->entry, to)) {
        return false;
    }
    it->entry = to;
    return true;
}

#define TDP_FOR_EACH(f, it, root, levels, first, last)                                                            \
    for (tdp_iter_begin(it, root, levels, first, last); tdp_iter_is_valid(it); tdp_iter_next(f, it))

#endif
