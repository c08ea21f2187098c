// SPDX-License-Identifier: MIT
/*
 * The second dimension: guest-physical to host, through EPT (Intel SDM, "The Extended Page Table Mechanism (EPT)")
 * or NPT (AMD APM, "Nested Paging"). Inlined into the walks, once for each format.
 *
 * A reference to a guest table is a write with EPT whose A and D flags are on, and always with NPT; in NPT it is a
 * user's, as every access is.
 */
#ifndef HARDWARE_NESTED_H
#define HARDWARE_NESTED_H

#include "hardware/mmu_state.h"

/* Rights are 1 << enum mv_access, which are EPT's R, W and X. */
#define NESTED_R (1u << MV_ACCESS_READ)
#define NESTED_W (1u << MV_ACCESS_WRITE)
#define NESTED_X (1u << MV_ACCESS_FETCH)
#define NESTED_RWX (NESTED_R | NESTED_W | NESTED_X)
_Static_assert(NESTED_R == EPT_R && NESTED_W == EPT_W && NESTED_X == EPT_X, "rights are EPT's bits");

struct nested_page {
    uint8_t *host; /* of the byte */
    uint8_t shift; /* of the page */
    uint8_t rights;
    uint8_t ready; /* rights, but W only when D is set (or there are no D bits) */
};

enum nested_use {
    NESTED_FINAL,
    NESTED_TABLE,
};

enum nested_why {
    NESTED_NOT_PRESENT,
    NESTED_DENIED,
    NESTED_BAD_ENTRY, /* misconfigured; with NPT, a reserved bit */
    NESTED_LOG_FULL,
};

/* Fill mmu->reserved for NPT. */
void nested_init(struct hw_mmu *mmu);

/* The exit, but for its access and gva. */
void nested_exit(const struct hw_mmu *mmu, bool is_ept, uint64_t gpa, unsigned need, enum nested_use use,
                 enum nested_why why, unsigned rights, struct pt_exit *ret);

/* D of `gpa` went from 0 to 1. */
void nested_log(struct hw_mmu *mmu, uint64_t gpa);

void nested_tlb_insert(struct hw_mmu *mmu, uint64_t gpa, const struct nested_page *page);
/* Whatever is there for gpa goes: an exit is about it. */
void nested_tlb_drop(struct hw_mmu *mmu, uint64_t gpa);

/* nested_tlb's `meta`: rights in bits 0-2, `ready` in 3-5. */
static inline bool nested_tlb_find(struct hw_mmu *mmu, uint64_t gpa, unsigned need, struct nested_page *ret)
{
    const struct assoc *a = &mmu->nested_tlb;
    for (unsigned size = 0; size < ASSOC_SIZES; size++) {
        if (!a->live[size]) {
            continue;
        }
        unsigned shift = tlb_shifts[size];
        const struct assoc_entry *entry =
            assoc_find(a, assoc_tag(gpa, shift, size), shift, mmu->root_context, mmu->root_context);
        if (entry && ((entry->meta >> 3) & need) == need) {
            *ret = (struct nested_page){
                .host = (uint8_t *)(uintptr_t)(entry->host | (gpa & ((UINT64_C(1) << shift) - 1))),
                .shift = (uint8_t)shift,
                .rights = entry->meta & 7,
                .ready = (entry->meta >> 3) & 7,
            };
            return true;
        }
    }
    return false;
}

static inline __attribute__((always_inline)) unsigned nested_entry_rights(bool is_ept, uint64_t entry)
{
    if (is_ept) {
        return (unsigned)(entry & EPT_RWX);
    }
    /* All is a user's: without U nothing is left. */
    unsigned user = (entry & X86_ENTRY_US) ? NESTED_RWX : 0;
    return user & (NESTED_R | ((entry & X86_ENTRY_RW) ? NESTED_W : 0) | ((entry & X86_ENTRY_NX) ? 0 : NESTED_X));
}

static inline __attribute__((always_inline)) bool nested_is_bad(const struct hw_mmu *mmu, bool is_ept,
                                                                uint64_t entry, unsigned level)
{
    if (is_ept) {
        return ept_is_misconfigured(&mmu->options.ept, entry, level);
    }
    bool is_large = level > 1 && (entry & X86_ENTRY_PS);
    return (entry & mmu->npt_reserved[is_large][level]) != 0;
}

/* The bits that a use sets: A on the way, D in the leaf of a write. False: an entry changed, begin anew. */
static inline __attribute__((always_inline)) bool nested_set_bits(struct hw_mmu *mmu, bool is_ept,
                                                                  pt_word_t *const *words, uint64_t *entries,
                                                                  unsigned top, unsigned leaf, bool is_write,
                                                                  uint64_t gpa)
{
    const struct pt_format *f = is_ept ? &pt_format_ept : &pt_format_npt;
    for (unsigned level = top; level >= leaf; level--) {
        uint64_t bits = f->accessed | (level == leaf && is_write ? f->dirty : 0);
        uint64_t entry = entries[level];
        uint64_t missing = bits & ~entry;
        if (!missing) {
            continue;
        }
        if (!pt_cas(words[level], &entry, entry | bits)) {
            return false;
        }
        entries[level] = entry | bits;
        mmu->counters.nested_accessed_set += (missing & f->accessed) != 0;
        if (missing & f->dirty) {
            mmu->counters.nested_dirty_set++;
            if (is_ept && mmu->pml.is_on) {
                nested_log(mmu, gpa);
            }
        }
    }
    return true;
}

/* Whether a use would set a bit while the log has no room (Intel SDM, "Page-Modification Logging"). */
static inline bool nested_log_is_full(const struct hw_mmu *mmu, const uint64_t *entries, unsigned top,
                                      unsigned leaf, bool is_write)
{
    if (!mmu->pml.is_on || mmu->pml.index < 512) {
        return false;
    }
    for (unsigned level = top; level >= leaf; level--) {
        uint64_t bits = EPT_A | (level == leaf && is_write ? EPT_D : 0);
        if (bits & ~entries[level]) {
            return true;
        }
    }
    return false;
}

/*
 * Translate for `need`. False: *ret_exit says why.
 */
static inline __attribute__((always_inline)) bool nested_walk(struct hw_mmu *mmu, bool is_ept, uint64_t gpa,
                                                              unsigned need, enum nested_use use,
                                                              struct nested_page *ret, struct pt_exit *ret_exit)
{
    const struct pt_format *f = is_ept ? &pt_format_ept : &pt_format_npt;
    const unsigned top = mmu->options.nested_levels;
    const bool has_bits = !is_ept || mmu->options.ept.access_dirty;
    pt_word_t *words[X86_LEVELS_MAX + 1];
    uint64_t entries[X86_LEVELS_MAX + 1];
    enum nested_why why;
    unsigned rights = 0;
    if (gpa >> pt_level_shift(top + 1)) {
        why = NESTED_NOT_PRESENT;
        goto exit;
    }
again:
    rights = NESTED_RWX;
    const pt_word_t *table = mmu->nested_root;
    unsigned level = top;
    for (;; level--) {
        pt_word_t *word = (pt_word_t *)(uintptr_t)&table[pt_index(gpa, level)];
        uint64_t entry = pt_load(word);
        mmu->counters.refs_nested++;
        if (__builtin_expect(mmu->hooks != NULL, 0) && mmu->hooks->step) {
            mmu->hooks->step(mmu->hooks->opaque, true, level, (uint64_t)(uintptr_t)word, entry);
        }
        if (!pt_is_present(f, entry)) {
            rights = 0;
            why = NESTED_NOT_PRESENT;
            goto exit;
        }
        if (__builtin_expect(nested_is_bad(mmu, is_ept, entry, level), 0)) {
            why = NESTED_BAD_ENTRY;
            goto exit;
        }
        rights &= nested_entry_rights(is_ept, entry);
        words[level] = word;
        entries[level] = entry;
        if (pt_is_leaf(f, entry, level)) {
            break;
        }
        table = (const pt_word_t *)(uintptr_t)pt_address(entry);
    }
    if (__builtin_expect((rights & need) != need, 0)) {
        why = NESTED_DENIED;
        goto exit;
    }
    if (has_bits) {
        if (is_ept && __builtin_expect(nested_log_is_full(mmu, entries, top, level, need & NESTED_W), 0)) {
            why = NESTED_LOG_FULL;
            goto exit;
        }
        if (!nested_set_bits(mmu, is_ept, words, entries, top, level, need & NESTED_W, gpa)) {
            goto again;
        }
    }
    uint64_t offset = gpa & (pt_level_bytes(level) - 1);
    bool is_dirty = !has_bits || (entries[level] & f->dirty);
    *ret = (struct nested_page){
        .host = (uint8_t *)(uintptr_t)((pt_address(entries[level]) & ~(pt_level_bytes(level) - 1)) + offset),
        .shift = (uint8_t)pt_level_shift(level),
        .rights = (uint8_t)rights,
        .ready = (uint8_t)(is_dirty ? rights : rights & ~NESTED_W),
    };
    return true;
exit:
    nested_exit(mmu, is_ept, gpa, need, use, why, rights, ret_exit);
    return false;
}

/* The same, with the nested TLB before it. */
static inline __attribute__((always_inline)) bool nested_reach(struct hw_mmu *mmu, bool is_ept, uint64_t gpa,
                                                               unsigned need, enum nested_use use,
                                                               struct nested_page *ret, struct pt_exit *ret_exit)
{
    if (!mmu->nested_tlb.entries) {
        return nested_walk(mmu, is_ept, gpa, need, use, ret, ret_exit);
    }
    if (nested_tlb_find(mmu, gpa, need, ret)) {
        mmu->counters.nested_tlb_hits++;
        return true;
    }
    mmu->counters.nested_tlb_misses++;
    nested_tlb_drop(mmu, gpa);
    if (!nested_walk(mmu, is_ept, gpa, need, use, ret, ret_exit)) {
        return false;
    }
    nested_tlb_insert(mmu, gpa, ret);
    return true;
}

#endif
