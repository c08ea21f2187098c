// SPDX-License-Identifier: MIT
/*
 * The dirty log's side of the tables: that the next write to a page is noticed, and what the D bits know. All
 * under `slots_lock` and `mmu_lock`.
 *
 * By write-protection: W is taken; a write is a fault, which gives W back and marks. By D bits or PML: D is taken;
 * the hardware sets it, and writes the page down where it has PML. A large leaf of a logged slot is never
 * writable: it is split at once, or by the first write.
 */
#ifndef HYPERVISOR_TDP_LOG_H
#define HYPERVISOR_TDP_LOG_H

#include "hypervisor/dirty.h"
#include "hypervisor/tdp_fault.h"
#include "hypervisor/tdp_iter.h"

/* What a leaf loses so that its next write is noticed. */
TDP_INLINE uint64_t tdp_log_loses(const struct pt_format *f, const struct tdp *tdp, unsigned level)
{
    if (level > 1) {
        return f->writable | f->dirty;
    }
    return tdp->logs_by_dirty_bit ? f->dirty : f->writable;
}

/* True: flush. So for a tracked page that has nothing to lose: no TLB was flushed when it lost its rights. */
TDP_INLINE bool tdp_iter_lose(const struct pt_format *f, struct tdp_iter *it, uint64_t bits)
{
    do {
        if (!spte_is_leaf(f, it->entry, it->level)) {
            return false; /* faults give rights or split: then the parts are seen next */
        }
        if (!(it->entry & bits)) {
            return spte_is_tracked(f, it->entry) && spte_is_mmu_writable(f, it->entry);
        }
    } while (!tdp_iter_cas(f, it, it->entry & ~bits));
    return true;
}

/* A large leaf becomes a table, whose leaves lose what logging takes, or nothing. False: there is no memory. */
TDP_INLINE bool tdp_iter_split(const struct pt_format *f, struct hv_vm *vm, struct tdp_iter *it,
                               struct tdp_cache *cache, bool protect)
{
    struct tdp *tdp = tdp_of(vm);
    struct hv_counters *c = &vm->counters;
    if (cache->count == 0 && tdp_cache_fill(&tdp->pool, cache, 1) != 0) {
        return false;
    }
    pt_word_t *table = tdp_cache_take(cache, it->level - 1, 0);
    uint64_t large;
    do {
        large = it->entry;
        if (!spte_is_leaf(f, large, it->level)) {
            tdp_split_undo(table);
            tdp_cache_return(cache, table);
            return true; /* a fault has split it */
        }
        tdp_split_fill(f, tdp, table, large, it->level, protect ? tdp_log_loses(f, tdp, it->level - 1) : 0);
    } while (!tdp_iter_cas(f, it, spte_make_table(f, table)));
    hv_count(&c->tables, 1);
    hv_count(&c->tables_built, 1);
    hv_count(&c->splits, 1);
    hv_count(tdp_pages_of(c, it->level), (uint64_t)-1);
    hv_count(tdp_pages_of(c, it->level - 1), PT_ENTRIES);
    return true;
}

/* Logging begins: faults see it already. What has all bits set in its log from the start is not protected yet. */
TDP_INLINE bool tdp_log_start(const struct pt_format *f, struct hv_vm *vm, const struct hv_slot *slot)
{
    struct tdp *tdp = tdp_of(vm);
    bool is_all_set = vm->manual_protect && vm->initially_set, flush = false;
    if (is_all_set && !tdp->logs_by_dirty_bit) {
        return false;
    }
    struct tdp_cache cache = {0};
    struct tdp_iter it;
    TDP_FOR_EACH(f, &it, tdp_root(tdp, slot->space), tdp->levels, slot->base_gfn,
                 slot->base_gfn + slot->npages - 1)
    {
        if (!tdp_iter_is_leaf(f, &it) || (it.level == 1 && is_all_set)) {
            continue;
        }
        bool split = it.level > 1 && vm->options.eager_split && !is_all_set;
        if (split && tdp_iter_split(f, vm, &it, &cache, true)) {
            flush = true;
        } else {
            flush |= tdp_iter_lose(f, &it, tdp_log_loses(f, tdp, it.level));
        }
    }
    tdp_cache_drain(&tdp->pool, &cache);
    return flush;
}

/* The table of small pages that holds gfn's entry; NULL: there is none, or a large leaf. */
TDP_INLINE pt_word_t *tdp_small_table(const struct pt_format *f, const struct tdp *tdp, pt_word_t *root,
                                      uint64_t gfn)
{
    pt_word_t *table = root;
    for (unsigned level = tdp->levels; table && level > 1; level--) {
        uint64_t entry = pt_load(&table[pt_index(gfn << GUEST_PAGE_SHIFT, level)]);
        table = spte_is_table(f, entry, level) ? spte_table(entry) : NULL;
    }
    return table;
}

/* All pages of the mask are in one table of small pages, the usual case: without a walk for each. */
TDP_INLINE bool tdp_protect_small(const struct pt_format *f, const struct tdp *tdp, pt_word_t *table,
                                  uint64_t first_gfn, uint64_t mask)
{
    uint64_t bits = tdp_log_loses(f, tdp, 1);
    bool flush = false;
    for (; mask != 0; mask &= mask - 1) {
        struct tdp_iter it = {.level = 1,
                              .word = &table[(first_gfn + (unsigned)__builtin_ctzll(mask)) % PT_ENTRIES]};
        it.entry = pt_load(it.word);
        flush |= tdp_iter_lose(f, &it, bits);
    }
    return flush;
}

/* The pages first_gfn + i of the bits i of the mask. A large leaf is still there if all bits were set at the
 * start.
 */
TDP_INLINE bool tdp_log_protect(const struct pt_format *f, struct hv_vm *vm, const struct hv_slot *slot,
                                uint64_t first_gfn, uint64_t mask)
{
    struct tdp *tdp = tdp_of(vm);
    if (mask == 0) {
        return false;
    }
    pt_word_t *root = tdp_root(tdp, slot->space);
    uint64_t first = first_gfn + (unsigned)__builtin_ctzll(mask);
    uint64_t last = first_gfn + 63 - (unsigned)__builtin_clzll(mask);
    if (first / PT_ENTRIES == last / PT_ENTRIES) {
        pt_word_t *table = tdp_small_table(f, tdp, root, first);
        if (table) {
            return tdp_protect_small(f, tdp, table, first_gfn, mask);
        }
    }
    bool flush = false;
    struct tdp_cache cache = {0};
    struct tdp_iter it;
    TDP_FOR_EACH(f, &it, root, tdp->levels, first, last)
    {
        if (!tdp_iter_is_leaf(f, &it) || (it.level == 1 && !(mask >> (it.gfn - first_gfn) & 1))) {
            continue;
        }
        if (it.level > 1 && vm->options.eager_split && tdp_iter_split(f, vm, &it, &cache, false)) {
            flush = true;
        } else {
            flush |= tdp_iter_lose(f, &it, tdp_log_loses(f, tdp, it.level));
        }
    }
    if (cache.count > 0) {
        tdp_cache_drain(&tdp->pool, &cache);
    }
    return flush;
}

/* All pages from first to last at once; false: D must be taken from each page that was marked. */
TDP_INLINE bool tdp_log_protect_all(const struct pt_format *f, struct hv_vm *vm, const struct hv_slot *slot,
                                    uint64_t first, uint64_t last)
{
    if (tdp_of(vm)->logs_by_dirty_bit) {
        return false;
    }
    if (first <= last) {
        tdp_shut_range(f, vm, slot->space, first, last);
    }
    return true;
}

/* What the D bits of a table of pages say; they stay: who clears the log's bits takes them. @return marks made */
TDP_INLINE uint64_t tdp_harvest_table(const struct pt_format *f, const struct hv_slot *slot,
                                      const pt_word_t *table, uint64_t first, uint64_t last)
{
    uint64_t marked = 0;
    for (uint64_t gfn = first; gfn <= last; gfn++) {
        uint64_t entry = pt_load(&table[gfn % PT_ENTRIES]);
        if ((entry & f->dirty) && spte_is_present(entry)) {
            marked += dirty_bitmap_mark(slot->dirty, gfn - slot->base_gfn);
        }
    }
    return marked;
}

/* Before a log is read. With PML, and with write-protection, the log knows already. */
TDP_INLINE bool tdp_log_harvest(const struct pt_format *f, struct hv_vm *vm, const struct hv_slot *slot)
{
    struct tdp *tdp = tdp_of(vm);
    if (!tdp->logs_by_dirty_bit || vm->options.log_by != HV_LOG_BY_DIRTY_BIT || !slot->dirty) {
        return false;
    }
    uint64_t marked = 0;
    struct tdp_iter it;
    TDP_FOR_EACH(f, &it, tdp_root(tdp, slot->space), tdp->levels, slot->base_gfn,
                 slot->base_gfn + slot->npages - 1)
    {
        if (it.level == 2 && spte_is_table(f, it.entry, 2)) {
            uint64_t end = it.gfn + PT_ENTRIES - 1;
            marked += tdp_harvest_table(f, slot, spte_table(it.entry), it.gfn > it.first ? it.gfn : it.first,
                                        end < it.last ? end : it.last);
            it.entry = 0; /* not down */
        }
    }
    hv_count(&vm->counters.dirty_marked, marked);
    return false;
}

#endif
