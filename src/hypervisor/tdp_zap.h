// SPDX-License-Identifier: MIT
/*
 * Translations go: a range of gfns, everything, or tables that have become unnecessary. All under `mmu_lock`; what
 * returns true asks for a flush.
 */
#ifndef HYPERVISOR_TDP_ZAP_H
#define HYPERVISOR_TDP_ZAP_H

#include "hypervisor/dirty.h"
#include "hypervisor/notifier.h"
#include "hypervisor/tdp_iter.h"

/* Where a leaf was taken. */
struct tdp_place {
    unsigned space, level;
    uint64_t gfn;
};

/*
 * What only the leaf's D bit knew goes to the log, from the very entry that was taken: no write can set it after.
 * Leaves of logged slots are small. With PML, and with write-protection, the log knows already.
 */
TDP_INLINE void tdp_keep_dirty(const struct pt_format *f, struct hv_vm *vm, struct tdp_place at, uint64_t leaf)
{
    if (at.level > 1 || !(leaf & f->dirty) || vm->options.log_by != HV_LOG_BY_DIRTY_BIT) {
        return;
    }
    unsigned hint = 0;
    const struct hv_slot *slot = hv_slot_of_gfn(vm->slots[at.space], at.gfn, &hint);
    if (slot && slot->dirty && dirty_bitmap_mark(slot->dirty, at.gfn - slot->base_gfn)) {
        hv_count(&vm->counters.dirty_marked, 1);
    }
}

/*
 * A table was unlinked. A fault may still be in it: each entry is frozen, and only then counted. All tables go to
 * the list of those that are freed after a flush.
 */
static inline void tdp_freeze(const struct pt_format *f, struct hv_vm *vm, pt_word_t *table, struct tdp_place at)
{
    unsigned level = at.level;
    struct tdp *tdp = tdp_of(vm);
    struct hv_counters *c = &vm->counters;
    uint64_t leaves = 0;
    for (unsigned i = 0; i < PT_ENTRIES; i++) {
        uint64_t entry = tdp_exchange(&table[i], SPTE_FROZEN);
        struct tdp_place child = {at.space, level, at.gfn + i * tdp_level_pages(level)};
        if (spte_is_table(f, entry, level)) {
            child.level--;
            tdp_freeze(f, vm, spte_table(entry), child);
        } else if (spte_is_present(entry)) {
            tdp_keep_dirty(f, vm, child, entry);
            leaves++;
        }
    }
    uint64_t why = *tdp_page_header(table);
    if (leaves > 0) {
        hv_count(tdp_pages_of(c, level), -leaves);
    }
    if (why & TDP_PAGE_NX) {
        hv_count(&c->nx_lpage_splits, (uint64_t)-1);
    }
    if (why & TDP_PAGE_MMIO) {
        atomic_fetch_sub_explicit(&tdp->mmio_tables, 1, memory_order_relaxed);
    }
    hv_count(&c->tables, (uint64_t)-1);
    hv_count(&c->tables_zapped, 1);
    tdp_page_push(&tdp->unlinked, table);
}

/* An entry goes with all below it. */
TDP_INLINE void tdp_zap_entry(const struct pt_format *f, struct hv_vm *vm, unsigned space, struct tdp_iter *it)
{
    uint64_t entry = tdp_exchange(it->word, 0);
    it->entry = 0;
    if (spte_is_table(f, entry, it->level)) {
        tdp_freeze(f, vm, spte_table(entry), (struct tdp_place){space, it->level - 1, it->gfn});
    } else if (spte_is_present(entry)) {
        tdp_keep_dirty(f, vm, (struct tdp_place){space, it->level, it->gfn}, entry);
        hv_count(tdp_pages_of(&vm->counters, it->level), (uint64_t)-1);
    }
}

/* Large leaves that reach over an end go whole, as KVM's do; what is still wanted comes back by a fault. */
TDP_INLINE bool tdp_zap_gfns(const struct pt_format *f, struct hv_vm *vm, const struct hv_slot *slot,
                             uint64_t first, uint64_t last)
{
    struct tdp *tdp = tdp_of(vm);
    bool flush = false;
    struct tdp_iter it;
    TDP_FOR_EACH(f, &it, tdp_root(tdp, slot->space), tdp->levels, first, last)
    {
        if (spte_is_present(it.entry) && (tdp_iter_is_leaf(f, &it) || tdp_iter_is_within(&it))) {
            tdp_zap_entry(f, vm, slot->space, &it);
            flush = true;
        }
    }
    return flush;
}

/*
 * `mmu_lock` was held since they were unlinked, and all were flushed: nobody is in them. The slots are still those
 * whose translations they were.
 */
TDP_INLINE void tdp_collect(const struct pt_format *f, struct hv_vm *vm)
{
    struct tdp *tdp = tdp_of(vm);
    /* Roots were taken away by generation: what is below is still to be counted. */
    pt_word_t *list = tdp->unlinked;
    tdp->unlinked = NULL;
    for (pt_word_t *table = tdp_page_pop(&list); table; table = tdp_page_pop(&list)) {
        if (*tdp_page_header(table) & TDP_PAGE_ROOT) {
            unsigned space = *tdp_page_header(table) & TDP_PAGE_SMM ? 1 : 0;
            *tdp_page_header(table) &= ~TDP_PAGE_ROOT;
            tdp_freeze(f, vm, table, (struct tdp_place){space, tdp->levels, 0});
        } else {
            tdp_page_push(&tdp->unlinked, table);
        }
    }
    tdp_free_unlinked(vm);
}

/* --- Large pages come back. */

/* What the children of a table have in common, as one large leaf; 0: they do not agree, or there are none. */
TDP_INLINE uint64_t tdp_join(const struct pt_format *f, const struct hv_vm *vm, const struct hv_slot *slot,
                             pt_word_t *table, unsigned level, uint64_t hva)
{
    uint64_t all = 0;
    bool any = false;
    for (unsigned i = 0; i < PT_ENTRIES; i++) {
        uint64_t child = pt_load(&table[i]);
        if (child == 0) {
            continue;
        }
        bool is_what_slot_allows = spte_is_mmu_writable(f, child) == tdp_is_slot_writable(slot);
        if (!spte_is_leaf(f, child, level - 1) || !is_what_slot_allows ||
            pt_address(child) != hva + i * pt_level_bytes(level - 1)) {
            return 0;
        }
        all |= spte_is_tracked(f, child) ? 0 : child;
        any = true;
    }
    const struct tdp *tdp = tdp_of(vm);
    struct spte_leaf leaf = {
        .hva = hva,
        .level = level,
        .readable = true,
        .executable = !vm->options.nx_huge_pages,
        .is_slot_writable = tdp_is_slot_writable(slot),
        .writable = tdp_is_slot_writable(slot),
        .accessed = (all & f->accessed) != 0,
        .dirty = tdp_is_slot_writable(slot),
        .ad = tdp->ad,
    };
    return any ? spte_make_leaf(f, &leaf) : 0;
}

/* The entry is a table: one large leaf in its place, if it may be. */
TDP_INLINE bool tdp_collapse_entry(const struct pt_format *f, struct hv_vm *vm, const struct hv_slot *slot,
                                   struct tdp_iter *it)
{
    pt_word_t *table = spte_table(it->entry);
    uint64_t hva = hv_slot_hva(slot, it->gfn).raw, bytes = pt_level_bytes(it->level);
    if (!is_aligned(hva, bytes) || hv_notifier_blocks(vm, hva, hva + bytes - 1) ||
        (*tdp_page_header(table) & TDP_PAGE_NX) || tdp_is_guarded(vm, hva, it->level)) {
        return false;
    }
    uint64_t leaf = tdp_join(f, vm, slot, table, it->level, hva);
    if (leaf == 0) {
        return false;
    }
    while (!tdp_iter_cas(f, it, leaf)) {
        /* Only A of the entry can have changed: tables are unlinked under mmu_lock. */
    }
    tdp_freeze(f, vm, table, (struct tdp_place){slot->space, it->level - 1, it->gfn});
    hv_count(tdp_pages_of(&vm->counters, it->level), 1);
    hv_count(&vm->counters.collapses, 1);
    return true;
}

TDP_INLINE bool tdp_collapse(const struct pt_format *f, struct hv_vm *vm, const struct hv_slot *slot)
{
    struct tdp *tdp = tdp_of(vm);
    unsigned max = slot->level_max < vm->options.level_max ? slot->level_max : vm->options.level_max;
    uint64_t last = slot->base_gfn + slot->npages - 1;
    bool flush = false;
    for (unsigned level = 2; level <= max; level++) {
        struct tdp_iter it;
        TDP_FOR_EACH(f, &it, tdp_root(tdp, slot->space), tdp->levels, slot->base_gfn, last)
        {
            if (it.level == level && spte_is_table(f, it.entry, level)) {
                flush |= tdp_iter_is_within(&it) && tdp_collapse_entry(f, vm, slot, &it);
                it.entry = 0; /* not down */
            }
        }
    }
    return flush;
}

/* --- Pages that were split so that they can be executed. */

/* The entry is a table in the place of a large page that may not be executed, and nobody logs there. */
TDP_INLINE bool tdp_is_nx_split(const struct pt_format *f, const struct hv_vm *vm, unsigned space,
                                const struct tdp_iter *it)
{
    if (!spte_is_table(f, it->entry, it->level) || !(*tdp_page_header(spte_table(it->entry)) & TDP_PAGE_NX)) {
        return false;
    }
    unsigned hint = 0;
    const struct hv_slot *slot = hv_slot_of_gfn(vm->slots[space], it->gfn, &hint);
    return !slot || !tdp_is_logging(slot);
}

/*
 * Zap every `ratio`th of the split pages, rounded up, going on where the last call ended: they become large again
 * when they are next used, unless for a fetch. 0: none. KVM zaps the oldest; here it is the next by address.
 */
TDP_INLINE bool tdp_recover_nx(const struct pt_format *f, struct hv_vm *vm, unsigned ratio)
{
    struct tdp *tdp = tdp_of(vm);
    uint64_t count = 0, gfns = tdp_level_pages(tdp->levels + 1);
    struct tdp_iter it;
    for (unsigned space = 0; space < HV_ADDRESS_SPACES; space++) {
        TDP_FOR_EACH(f, &it, tdp_root(tdp, space), tdp->levels, 0, gfns - 1)
        {
            count += tdp_is_nx_split(f, vm, space, &it);
        }
    }
    uint64_t left = ratio ? (count + ratio - 1) / ratio : 0;
    bool flush = left > 0;
    /* Positions are (space, gfn) in one number; twice around, from the place to the end and from the start. */
    for (unsigned round = 0; round < 2 * HV_ADDRESS_SPACES && left > 0; round++) {
        unsigned space = (unsigned)(tdp->next_nx_gfn / gfns);
        TDP_FOR_EACH(f, &it, tdp_root(tdp, space), tdp->levels, tdp->next_nx_gfn % gfns, gfns - 1)
        {
            if (left > 0 && tdp_is_nx_split(f, vm, space, &it)) {
                tdp->next_nx_gfn = space * gfns + it.gfn + tdp_level_pages(it.level) - 1;
                tdp_zap_entry(f, vm, space, &it);
                left--;
            }
        }
        if (left > 0) {
            tdp->next_nx_gfn = (space + 1) % HV_ADDRESS_SPACES * gfns;
        }
    }
    return flush;
}

#endif
