// SPDX-License-Identifier: MIT
/*
 * A fault of the second dimension: what the hardware could not translate gets an entry, or is not RAM. Inside, on
 * the vCPU's thread, without a lock; two faults on one entry race by compare-and-swap, and who loses takes what is
 * there. The order:
 *
 *   reserved    an entry of MMIO of this generation: EMULATE; of an older one: go on
 *   fast        the entry is there, and what it lacks the dirty log or access tracking took: give it back
 *   slot        none: MMIO. Invalid: RETRY until the change is done. Read-only and a write: EMULATE
 *   notifier    the host range is on its way out: RETRY
 *   host page   is made present
 *   level       the largest that the slot, logging, alignment and the notifier allow
 *   map
 */
#ifndef HYPERVISOR_TDP_FAULT_H
#define HYPERVISOR_TDP_FAULT_H

#include <errno.h>
#include <string.h>

#include "base/os_populate.h"
#include "hypervisor/notifier.h"
#include "hypervisor/tdp_shut.h"
#include "paging/ept.h"

struct tdp_fault {
    uint64_t gfn;
    enum mv_access kind;
    bool is_present;  /* the hardware saw rights, but not these */
    bool is_reserved; /* misconfiguration, or a reserved bit */

    /* Found on the way. */
    const struct hv_slot *slot;
    bool is_logging;
    unsigned level, level_without_nx;
    unsigned mapped_level; /* of the leaf that was met at last */
};

/* What became of it. */
enum tdp_end {
    TDP_RETRY,
    TDP_FIXED,
    TDP_SPURIOUS,
    TDP_EMULATE,
    TDP_GO_ON, /* this way does not know */
    TDP_NO_MEMORY,
    TDP_BAD_HOST_PAGE,
};

TDP_INLINE void tdp_decode_exit(const struct pt_exit *exit, struct tdp_fault *ret)
{
    uint64_t code = exit->code;
    *ret = (struct tdp_fault){.gfn = exit->gpa.raw >> GUEST_PAGE_SHIFT, .kind = MV_ACCESS_READ};
    if (exit->reason == PT_EXIT_EPT_MISCONFIG) {
        ret->is_reserved = true; /* there is no qualification: as a read */
    } else if (exit->reason == PT_EXIT_EPT_VIOLATION) {
        ret->kind = code & EPT_QUAL_WRITE   ? MV_ACCESS_WRITE
                    : code & EPT_QUAL_FETCH ? MV_ACCESS_FETCH
                                            : MV_ACCESS_READ;
        ret->is_present = (code & (EPT_QUAL_READABLE | EPT_QUAL_WRITABLE | EPT_QUAL_EXECUTABLE)) != 0;
    } else {
        assert(exit->reason == PT_EXIT_NPF);
        ret->kind = code & PF_WRITE ? MV_ACCESS_WRITE : code & PF_FETCH ? MV_ACCESS_FETCH : MV_ACCESS_READ;
        ret->is_present = (code & PF_PRESENT) != 0;
        ret->is_reserved = (code & PF_RESERVED) != 0;
    }
}

/* No entry can stand for it, whatever the slots say: a slot above what four levels reach is no memory. */
static inline bool tdp_is_beyond(const struct tdp *tdp, uint64_t gfn)
{
    return gfn >> (PT_INDEX_BITS * tdp->levels) != 0;
}

/* Down to what is no table. */
TDP_INLINE pt_word_t *tdp_lookup(const struct pt_format *f, const struct hv_vcpu *vcpu, uint64_t gfn,
                                 uint64_t *ret_entry, unsigned *ret_level)
{
    pt_word_t *table = vcpu->nested_root;
    for (unsigned level = tdp_of(vcpu->vm)->levels;; level--) {
        pt_word_t *word = &table[pt_index(gfn << GUEST_PAGE_SHIFT, level)];
        uint64_t entry = pt_load(word);
        if (!spte_is_table(f, entry, level)) {
            *ret_entry = entry;
            *ret_level = level;
            return word;
        }
        table = spte_table(entry);
    }
}

/* The entry was found to be reserved: MMIO, or it was until a moment ago. */
TDP_INLINE enum tdp_end tdp_fault_mmio(const struct pt_format *f, struct hv_vcpu *vcpu,
                                       const struct tdp_fault *fault)
{
    uint64_t entry;
    unsigned level;
    (void)tdp_lookup(f, vcpu, fault->gfn, &entry, &level);
    if (!spte_is_mmio(f, entry)) {
        return TDP_RETRY;
    }
    uint64_t generation = hv_slots(vcpu)->generation;
    if ((generation & HV_GENERATION_UPDATING) ||
        (generation & SPTE_GENERATION_MASK) != spte_mmio_generation(entry)) {
        return TDP_GO_ON;
    }
    return TDP_EMULATE;
}

/* A page of a logged slot became writable. After the compare-and-swap: see docs/mmu.md, "The dirty log". */
TDP_INLINE void tdp_mark_if_logging(struct hv_vcpu *vcpu, const struct hv_slot *slot, uint64_t gfn)
{
    if (tdp_is_logging(slot) && !tdp_of(vcpu->vm)->logs_by_dirty_bit) {
        hv_mark_dirty(vcpu, slot, gfn);
    }
}

/* What of an entry the fast way can give back: `to`, or `entry` itself when it can not. */
TDP_INLINE uint64_t tdp_give_back(const struct pt_format *f, struct hv_vcpu *vcpu, struct tdp_fault *fault,
                                  uint64_t entry, unsigned level)
{
    uint64_t to = spte_is_tracked(f, entry) ? spte_restore(f, entry) : entry;
    if (fault->kind == MV_ACCESS_WRITE && spte_is_mmu_writable(f, entry) && (to & f->readable)) {
        fault->slot = hv_slot_of_gfn(hv_slots(vcpu), fault->gfn, &vcpu->slot_hint[vcpu->space]);
        if (!fault->slot || (fault->slot->flags & HV_SLOT_INVALID) || (level > 1 && tdp_is_logging(fault->slot))) {
            return entry;
        }
        to |= f->writable;
        /* With D bits for a log the hardware is to set it. */
        to |= tdp_is_logging(fault->slot) && tdp_of(vcpu->vm)->logs_by_dirty_bit ? 0 : f->dirty;
    }
    return spte_allows(f, to, fault->kind) ? to : entry;
}

TDP_INLINE enum tdp_end tdp_fault_fast(const struct pt_format *f, struct hv_vcpu *vcpu, struct tdp_fault *fault)
{
    uint64_t entry;
    unsigned level;
    pt_word_t *word = tdp_lookup(f, vcpu, fault->gfn, &entry, &level);
    for (unsigned attempt = 0; attempt < 4; attempt++) {
        if (!spte_is_leaf(f, entry, level)) {
            return TDP_GO_ON;
        }
        if (spte_allows(f, entry, fault->kind)) {
            return TDP_SPURIOUS;
        }
        uint64_t to = tdp_give_back(f, vcpu, fault, entry, level);
        if (to == entry) {
            return TDP_GO_ON;
        }
        uint64_t seen = entry;
        if (tdp_cas(f, word, level, &seen, to)) {
            if (pt_is_writable(f, to) && !pt_is_writable(f, entry)) {
                tdp_mark_if_logging(vcpu, fault->slot, fault->gfn);
            }
            hv_count_own(&vcpu->counters.pf_fast, 1);
            return TDP_FIXED;
        }
        entry = seen;
    }
    return TDP_GO_ON;
}

/* The leaf that a fault makes at a level. */
TDP_INLINE uint64_t tdp_leaf(const struct pt_format *f, const struct hv_vcpu *vcpu, const struct tdp_fault *fault,
                             unsigned level)
{
    const struct tdp *tdp = tdp_of(vcpu->vm);
    const struct hv_options *o = &vcpu->vm->options;
    bool is_slot_writable = tdp_is_slot_writable(fault->slot);
    bool is_fetch_only = o->execute_only && f->executable && fault->kind == MV_ACCESS_FETCH;
    /* A logged page that is only read is not writable yet, unless the hardware notices writes. */
    bool is_noticed = !fault->is_logging || tdp->logs_by_dirty_bit || fault->kind == MV_ACCESS_WRITE;
    bool is_writable = is_slot_writable && is_noticed && !is_fetch_only;
    struct spte_leaf leaf = {
        .hva = align_down(hv_slot_hva(fault->slot, fault->gfn).raw, pt_level_bytes(level)),
        .level = level,
        .readable = !is_fetch_only,
        .executable = !(level > 1 && o->nx_huge_pages),
        .is_slot_writable = is_slot_writable,
        .writable = is_writable,
        .accessed = true,
        .dirty = is_writable && !(fault->is_logging && tdp->logs_by_dirty_bit),
        .ad = tdp->ad,
    };
    uint64_t entry = spte_make_leaf(f, &leaf);
    bool is_guarded = tdp_is_guarded(vcpu->vm, leaf.hva, level);
    return is_guarded ? entry & ~(f->software_mmu_writable | f->writable) : entry;
}

/*
 * What a child of a split page is. One that the hardware watches needs no write-protection; a small page may be
 * executed.
 */
TDP_INLINE uint64_t tdp_split_child(const struct pt_format *f, const struct tdp *tdp, uint64_t entry,
                                    unsigned level, unsigned index)
{
    uint64_t child = spte_child(f, entry, level, index);
    if (level - 1 == 1) {
        child = spte_set_executable(f, child);
        bool is_watched = tdp->logs_by_dirty_bit && spte_is_mmu_writable(f, child);
        child |= is_watched ? f->writable : 0;
    }
    return child;
}

/* Fill a table that nobody can reach with the translations of a large leaf. */
TDP_INLINE void tdp_split_fill(const struct pt_format *f, const struct tdp *tdp, pt_word_t *table, uint64_t entry,
                               unsigned level, uint64_t lose)
{
    for (unsigned i = 0; i < PT_ENTRIES; i++) {
        pt_init(&table[i], tdp_split_child(f, tdp, entry, level, i) & ~lose);
    }
    tdp_note_all_writable(table);
}

static inline void tdp_split_undo(pt_word_t *table)
{
    for (unsigned i = 0; i < PT_ENTRIES; i++) {
        pt_init(&table[i], 0);
    }
}

/* Above the fault's level: a table in the place of nothing or of a large leaf. GO_ON: look at *seen again. */
TDP_INLINE enum tdp_end tdp_fault_link(const struct pt_format *f, struct hv_vcpu *vcpu,
                                       const struct tdp_fault *fault, pt_word_t *word, unsigned level,
                                       uint64_t *seen)
{
    const struct tdp *tdp = tdp_of(vcpu->vm);
    struct hv_counters *c = &vcpu->counters;
    struct tdp_cache *cache = &tdp_vcpu_of(vcpu)->cache;
    uint64_t before = *seen;
    bool is_split = spte_is_present(before);
    bool is_nx = level <= fault->level_without_nx;
    pt_word_t *table = tdp_cache_take(cache, level - 1, is_nx ? TDP_PAGE_NX : !fault->slot ? TDP_PAGE_MMIO : 0);
    if (is_split) {
        tdp_split_fill(f, tdp, table, before, level, 0);
    }
    if (!tdp_cas(f, word, level, seen, spte_make_table(f, table))) {
        if (is_split) {
            tdp_split_undo(table);
        }
        tdp_cache_return(cache, table);
        return TDP_GO_ON;
    }
    hv_count_own(&c->tables, 1);
    hv_count_own(&c->tables_built, 1);
    if (is_split) {
        hv_count_own(&c->splits, 1);
        hv_count_own(tdp_pages_of(c, level), (uint64_t)-1);
        hv_count_own(tdp_pages_of(c, level - 1), PT_ENTRIES);
    }
    if (is_nx) {
        hv_count_own(&c->nx_lpage_splits, 1);
    }
    *seen = spte_make_table(f, table);
    return TDP_FIXED;
}

/* At the fault's level: the leaf. GO_ON: look at *seen again. */
TDP_INLINE enum tdp_end tdp_fault_leaf(const struct pt_format *f, struct hv_vcpu *vcpu, struct tdp_fault *fault,
                                       pt_word_t *word, unsigned level, uint64_t *seen)
{
    fault->mapped_level = level;
    uint64_t before = *seen, to = tdp_leaf(f, vcpu, fault, level);
    bool was_present = spte_is_present(before);
    if (was_present) {
        if (spte_allows(f, before, fault->kind)) {
            return TDP_SPURIOUS;
        }
        assert(pt_address(before) == pt_address(to)); /* or somebody forgot to zap */
        if (!spte_is_host_writable(f, before) && fault->kind != MV_ACCESS_WRITE) {
            to &= ~(f->writable | f->software_host_writable | f->software_mmu_writable);
        }
        if (pt_is_present(f, before)) {
            to |= before & (f->readable | f->writable | f->executable | f->accessed | f->dirty);
        }
    }
    if (!tdp_cas(f, word, level, seen, to)) {
        return TDP_GO_ON;
    }
    if (!was_present) {
        hv_count_own(tdp_pages_of(&vcpu->counters, level), 1);
    }
    if (fault->is_logging && pt_is_writable(f, to) && !(was_present && pt_is_writable(f, before))) {
        tdp_mark_if_logging(vcpu, fault->slot, fault->gfn);
    }
    return TDP_FIXED;
}

TDP_INLINE enum tdp_end tdp_fault_map(const struct pt_format *f, struct hv_vcpu *vcpu, struct tdp_fault *fault)
{
    pt_word_t *table = vcpu->nested_root;
    unsigned level = tdp_of(vcpu->vm)->levels;
    pt_word_t *word = &table[pt_index(fault->gfn << GUEST_PAGE_SHIFT, level)];
    uint64_t seen = pt_load(word);
    bool is_fixed = false;
    for (;;) {
        if (seen == SPTE_FROZEN) {
            return TDP_RETRY;
        }
        if (spte_is_table(f, seen, level)) {
            table = spte_table(seen);
            level--;
            word = &table[pt_index(fault->gfn << GUEST_PAGE_SHIFT, level)];
            seen = pt_load(word);
            continue;
        }
        enum tdp_end end;
        if (level > fault->level) {
            if (spte_allows(f, seen, fault->kind)) {
                fault->mapped_level = level;
                return TDP_SPURIOUS;
            }
            end = tdp_fault_link(f, vcpu, fault, word, level, &seen);
            if (end == TDP_FIXED) {
                is_fixed = true;
                continue; /* down into it */
            }
        } else {
            end = tdp_fault_leaf(f, vcpu, fault, word, level, &seen);
        }
        if (end != TDP_GO_ON) {
            return end == TDP_SPURIOUS && is_fixed ? TDP_FIXED : end; /* a split may be all that it took */
        }
    }
}

/* The largest page that may hold the fault's; 0: none, the notifier is at it. */
TDP_INLINE unsigned tdp_fault_level(const struct hv_vcpu *vcpu, const struct tdp_fault *fault)
{
    const struct hv_slot *slot = fault->slot;
    const struct hv_options *o = &vcpu->vm->options;
    unsigned level = fault->is_logging ? 1 : slot->level_max < o->level_max ? slot->level_max : o->level_max;
    for (;; level--) {
        if (level == 0) {
            return 0;
        }
        uint64_t pages = tdp_level_pages(level), first = align_down(fault->gfn, pages);
        if (first < slot->base_gfn || first - slot->base_gfn + pages > slot->npages) {
            continue;
        }
        hva_t hva = hv_slot_hva(slot, first);
        if (!is_aligned(hva.raw, pt_level_bytes(level)) ||
            (level > 1 && tdp_is_guarded(vcpu->vm, hva.raw, level))) {
            continue;
        }
        if (!hv_notifier_blocks(vcpu->vm, hva.raw, hva.raw + pt_level_bytes(level) - 1)) {
            return level;
        }
    }
}

/* No slot. The entry that says so makes the next exit a cheap one. */
TDP_INLINE enum tdp_end tdp_fault_no_slot(const struct pt_format *f, struct hv_vcpu *vcpu, struct tdp_fault *fault)
{
    struct tdp *tdp = tdp_of(vcpu->vm);
    uint64_t generation = hv_slots(vcpu)->generation, gpa = fault->gfn << GUEST_PAGE_SHIFT;
    if ((generation & HV_GENERATION_UPDATING) || vcpu->vm->options.no_mmio_caching) {
        return TDP_EMULATE;
    }
    vcpu->mmio_gfn = fault->gfn;
    vcpu->mmio_generation = generation;
    if (gpa & ~SPTE_MMIO_GPA_MASK) {
        return TDP_EMULATE;
    }
    fault->level = 1;
    pt_word_t *table = vcpu->nested_root;
    for (unsigned level = tdp->levels;;) {
        pt_word_t *word = &table[pt_index(gpa, level)];
        uint64_t seen = pt_load(word);
        if (level > 1 && seen == 0) {
            /* A guess under a race: some tables more do not matter. */
            if (atomic_load_explicit(&tdp->mmio_tables, memory_order_relaxed) >= TDP_MMIO_TABLES_MAX) {
                return TDP_EMULATE;
            }
            if (tdp_fault_link(f, vcpu, fault, word, level, &seen) == TDP_FIXED) {
                atomic_fetch_add_explicit(&tdp->mmio_tables, 1, memory_order_relaxed);
            }
        }
        if (spte_is_table(f, seen, level)) {
            table = spte_table(seen);
            level--;
            continue;
        }
        /* A leaf is of a slot that is about to be zapped. */
        if (level == 1 && (seen == 0 || spte_is_mmio(f, seen)) &&
            tdp_cas(f, word, 1, &seen, spte_make_mmio(f, gpa, generation))) {
            hv_count_own(&vcpu->counters.pf_mmio_spte_created, 1);
        }
        return TDP_EMULATE;
    }
}

/* As KVM's get_user_pages: one page of the host's, of whatever size it has there. */
static inline bool tdp_populate(const struct tdp *tdp, const struct tdp_fault *fault)
{
    void *page = hva_pointer(hv_slot_hva(fault->slot, fault->gfn));
    enum os_populate how = fault->kind == MV_ACCESS_WRITE ? OS_POPULATE_WRITE : OS_POPULATE_READ;
    if (tdp->can_populate) {
        return os_populate(page, GUEST_PAGE_SIZE, how) == 0;
    }
    os_touch(page, GUEST_PAGE_SIZE, GUEST_PAGE_SIZE, how);
    return true;
}

TDP_INLINE enum tdp_end tdp_fault_slow(const struct pt_format *f, struct hv_vcpu *vcpu, struct tdp_fault *fault)
{
    struct tdp *tdp = tdp_of(vcpu->vm);
    struct tdp_cache *cache = &tdp_vcpu_of(vcpu)->cache;
    if (__builtin_expect(cache->count < TDP_FAULT_TABLES, 0) &&
        tdp_cache_fill(&tdp->pool, cache, TDP_FAULT_TABLES) != 0) {
        return TDP_NO_MEMORY;
    }
    const struct hv_slots *slots = hv_slots(vcpu);
    fault->slot = hv_slot_of_gfn(slots, fault->gfn, &vcpu->slot_hint[vcpu->space]);
    if (!fault->slot) {
        return tdp_fault_no_slot(f, vcpu, fault);
    }
    if (fault->slot->flags & HV_SLOT_INVALID) {
        return TDP_RETRY;
    }
    if (fault->kind == MV_ACCESS_WRITE && !tdp_is_slot_writable(fault->slot)) {
        return TDP_EMULATE;
    }
    fault->is_logging = tdp_is_logging(fault->slot);
    fault->level = tdp_fault_level(vcpu, fault);
    if (fault->level == 0) {
        return TDP_RETRY;
    }
    /* A slot may begin at host address 0, where nothing is; and a leaf without an address would be none. */
    if (hv_slot_hva(fault->slot, fault->gfn).raw < pt_level_bytes(fault->level)) {
        return TDP_BAD_HOST_PAGE;
    }
    if (fault->kind == MV_ACCESS_FETCH && fault->level > 1 && vcpu->vm->options.nx_huge_pages) {
        fault->level_without_nx = fault->level;
        fault->level = 1;
    }
    if (vcpu->vm->options.populate && !tdp_populate(tdp, fault)) {
        return TDP_BAD_HOST_PAGE;
    }
    return tdp_fault_map(f, vcpu, fault);
}

TDP_INLINE enum hv_answer tdp_answer(struct hv_vcpu *vcpu, enum tdp_end end)
{
    struct hv_counters *c = &vcpu->counters;
    switch (end) {
    case TDP_FIXED: hv_count_own(&c->pf_fixed, 1); return HV_RETRY;
    case TDP_SPURIOUS: hv_count_own(&c->pf_spurious, 1); return HV_RETRY;
    case TDP_EMULATE: return HV_EMULATE;
    case TDP_NO_MEMORY: vcpu->error = -ENOMEM; return HV_ERROR;
    case TDP_BAD_HOST_PAGE: vcpu->error = -EFAULT; return HV_ERROR;
    case TDP_GO_ON:
    case TDP_RETRY: break;
    }
    return HV_RETRY;
}

TDP_INLINE enum hv_answer tdp_handle(const struct pt_format *f, struct hv_vcpu *vcpu, const struct pt_exit *exit)
{
    struct tdp *tdp = tdp_of(vcpu->vm);
    struct tdp_fault fault;
    tdp_decode_exit(exit, &fault);
    if (__builtin_expect(vcpu->nested_root == tdp->no_root, 0)) {
        if (tdp_load_root(vcpu) != 0) {
            return tdp_answer(vcpu, TDP_NO_MEMORY);
        }
        hv_request_post(&vcpu->requests, HV_REQUEST_RELOAD_ROOT); /* for the hardware */
        return HV_RETRY;
    }
    /* Obsolete: there is a request to load the new root. */
    if (!vcpu->nested_root || vcpu->nested_root != tdp_root(tdp, vcpu->space)) {
        return HV_RETRY;
    }
    if (tdp_is_beyond(tdp, fault.gfn)) {
        return HV_EMULATE;
    }
    if (fault.is_reserved) {
        enum tdp_end end = tdp_fault_mmio(f, vcpu, &fault);
        if (end != TDP_GO_ON) {
            return end == TDP_EMULATE ? HV_EMULATE : HV_RETRY;
        }
    }
    if (fault.kind == MV_ACCESS_WRITE && atomic_load_explicit(&tdp->any_shut, memory_order_relaxed)) {
        tdp_open_way(f, vcpu, fault.gfn);
    }
    /* With A and D a leaf that is not present is none; a new page does not look twice. */
    if (!fault.is_reserved && (fault.is_present || tdp->ad == SPTE_AD_DISABLED)) {
        enum tdp_end end = tdp_fault_fast(f, vcpu, &fault);
        if (end != TDP_GO_ON) {
            return tdp_answer(vcpu, end);
        }
    }
    return tdp_answer(vcpu, tdp_fault_slow(f, vcpu, &fault));
}

/* KVM_PRE_FAULT_MEMORY: as a read. @return the level of the page that maps it, or -errno */
TDP_INLINE int tdp_pre_fault(const struct pt_format *f, struct hv_vcpu *vcpu, uint64_t gfn)
{
    if (tdp_load_root(vcpu) != 0) {
        return -ENOMEM;
    }
    struct tdp_fault fault = {.gfn = gfn, .kind = MV_ACCESS_READ};
    bool is_beyond = tdp_is_beyond(tdp_of(vcpu->vm), gfn);
    enum tdp_end end = is_beyond ? TDP_EMULATE : tdp_fault_slow(f, vcpu, &fault);
    switch (end) {
    case TDP_FIXED:
    case TDP_SPURIOUS: return (int)fault.mapped_level;
    case TDP_EMULATE: return -ENOENT;
    case TDP_NO_MEMORY: return -ENOMEM;
    case TDP_BAD_HOST_PAGE: return -EFAULT;
    case TDP_GO_ON:
    case TDP_RETRY: break;
    }
    return -EAGAIN;
}

#endif
