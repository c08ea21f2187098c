// SPDX-License-Identifier: MIT
/*
 * Write-protection of all of a logged slot, or a range of it, at once: the entries that point to the largest
 * tables in it lose W, and that is all that a harvest does. Such an entry is shut. The first write that meets one
 * opens it: what is in the table below is shut, or loses W if it is a leaf, and then the entry has W again. So
 * protection goes down only where somebody writes, and by the exit that the write takes anyway.
 *
 *      harvested       a write to page x            and to page y
 *      1G  -           1G  W                        1G  W
 *      2M  W W W       2M  -  W(opened)  -          2M  -  W  W
 *      4K  W w w       4K     x: W, the others -
 *
 * Invariant: below a chain of entries that all have W, a small leaf of a slot that is logged has W only if it was
 * marked since the last harvest. Leaves below a shut entry may have W, and nobody can use it.
 *
 * Opening and shutting take `shut_lock`, a leaf that is never held over a wait: a vCPU that took its time to open
 * an entry would else open it again after the next harvest has shut it. Faults, which add rights to leaves, do not
 * take it: a fault that adds W marks after that. The harvest gives marks another bitmap, then shuts, then waits
 * until each vCPU has left, and then reads. With one order for all of it (sequential consistency) there are two
 * cases. Either the fault's compare-and-swap comes before whoever opens looks at the leaf: then W is taken again,
 * and the mark may be in either bitmap. Or it comes after, and so after the bitmaps were changed: then the mark is
 * in the new one.
 */
#ifndef HYPERVISOR_TDP_SHUT_H
#define HYPERVISOR_TDP_SHUT_H

#include "hypervisor/tdp_iter.h"

/* A table, or a leaf, loses W. */
TDP_INLINE void tdp_shut_entry(const struct pt_format *f, pt_word_t *word, unsigned level, uint64_t *seen)
{
    while (spte_is_present(*seen) && (*seen & f->writable)) {
        if (tdp_cas(f, word, level, seen, *seen & ~f->writable)) {
            return;
        }
    }
}

TDP_INLINE bool tdp_is_shut(const struct pt_format *f, uint64_t entry, unsigned level)
{
    return spte_is_table(f, entry, level) && !(entry & f->writable);
}

/* `slots_lock` and `mmu_lock` held. The caller flushes. */
TDP_INLINE void tdp_shut_range(const struct pt_format *f, struct hv_vm *vm, unsigned space, uint64_t first,
                               uint64_t last)
{
    struct tdp *tdp = tdp_of(vm);
    struct tdp_iter it;
    pthread_mutex_lock(&tdp->shut_lock);
    atomic_store_explicit(&tdp->any_shut, true, memory_order_relaxed); /* who is inside sees it after the flush */
    TDP_FOR_EACH(f, &it, tdp_root(tdp, space), tdp->levels, first, last)
    {
        bool is_table = spte_is_table(f, it.entry, it.level);
        if (is_table && !tdp_iter_is_within(&it)) {
            continue; /* down into it */
        }
        tdp_shut_entry(f, it.word, it.level, &it.entry);
        it.entry = is_table ? 0 : it.entry; /* not down */
    }
    pthread_mutex_unlock(&tdp->shut_lock);
}

/* The entries of a line of the cache. */
TDP_INLINE void tdp_shut_line(const struct pt_format *f, pt_word_t *words, unsigned level)
{
    for (unsigned i = 0; i < 8; i++) {
        uint64_t seen = pt_load_in_order(&words[i]);
        tdp_shut_entry(f, &words[i], level, &seen);
    }
}

static __attribute__((noinline, unused)) void tdp_open(const struct pt_format *f, struct tdp *tdp, pt_word_t *word,
                                                       unsigned level)
{
    pthread_mutex_lock(&tdp->shut_lock);
    uint64_t entry = pt_load(word);
    if (tdp_is_shut(f, entry, level)) {
        pt_word_t *table = spte_table(entry);
        uint64_t lines = __atomic_exchange_n(&tdp_about(table)->lines, 0, __ATOMIC_SEQ_CST);
        for (; lines != 0; lines &= lines - 1) {
            tdp_shut_line(f, &table[(unsigned)__builtin_ctzll(lines) * 8], level - 1);
        }
        /* It may be zapped, or become a leaf, meanwhile. */
        while (tdp_is_shut(f, entry, level) && !tdp_cas(f, word, level, &entry, entry | f->writable)) {}
    }
    pthread_mutex_unlock(&tdp->shut_lock);
}

/* Inside, before a write fault is handled: open what is shut on the way to its page. */
TDP_INLINE void tdp_open_way(const struct pt_format *f, struct hv_vcpu *vcpu, uint64_t gfn)
{
    struct tdp *tdp = tdp_of(vcpu->vm);
    pt_word_t *table = vcpu->root;
    for (unsigned level = tdp->levels; level > 1; level--) {
        pt_word_t *word = &table[pt_index(gfn << GUEST_PAGE_SHIFT, level)];
        uint64_t entry = pt_load(word);
        if (!spte_is_table(f, entry, level)) {
            return;
        }
        if (__builtin_expect(!(entry & f->writable), 0)) {
            tdp_open(f, tdp, word, level);
        }
        table = spte_table(entry);
    }
}

#endif
