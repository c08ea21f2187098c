// SPDX-License-Identifier: MIT
/*
 * What an entry of the hypervisor's tables means, on top of a format's bits. The same in EPT and NPT; the hardware
 * ignores all of these bits where it does not refuse the entry altogether.
 *
 *      63 62         55  54  53 52 51                    12  11  10      3 2  0
 *     +--+----+------+---+---+-----+-----------------------+---+----------+----+
 *     |  |    |saved X| R|    A/D  |  hva of table or page  | P |          |    |   present
 *     +--+----+------+---+---+-----+-----------------------+---+----------+----+
 *     |  | generation 18..8        |  gpa (EPT: 12 to 51)   | 0 | gen 7..0 |    |   MMIO: the hardware refuses it
 *     +--+-------------------------+-----------------------+---+----------+----+
 *
 *   none     0
 *   frozen   SPTE_FROZEN: the table that it is in is unlinked; who wants to write it starts again at the root
 *   MMIO     there is no slot, as far as the generation of slots that it carries is concerned
 *   table    SPTE_PRESENT, all rights; without W it is shut (tdp_shut.h)
 *   leaf     SPTE_PRESENT; it may be access-tracked: then no right is set, and R and X are saved
 *
 * Why a leaf is read-only: H is host-writable, M is MMU-writable, W is the hardware's right.
 *
 *     H M W
 *     1 1 1   writable
 *     1 1 0   its next write is to be noticed (dirty log), or it is access-tracked: a compare-and-swap gives W
 * back 1 0 0   write-protected by the MMU: a shadowed table of the guest's; never with EPT or NPT alone 0 0 0 the
 * slot, or the host's page, is read-only: the slow way decides
 */
#ifndef HYPERVISOR_SPTE_H
#define HYPERVISOR_SPTE_H

#include <assert.h>
#include <memvirt/paging.h>

#include "paging/format.h"
#include "paging/word.h"

#define SPTE_PRESENT (UINT64_C(1) << 11)
#define SPTE_FROZEN UINT64_C(0x5a0)
#define SPTE_SAVED_R (UINT64_C(1) << 54)
#define SPTE_SAVED_X (UINT64_C(1) << 55)
#define SPTE_SAVED (SPTE_SAVED_R | SPTE_SAVED_X)

/* How the hardware's A and D bits of a leaf are to be taken. */
#define SPTE_AD_MASK (UINT64_C(3) << 52)
#define SPTE_AD_ENABLED (UINT64_C(0) << 52)
#define SPTE_AD_DISABLED (UINT64_C(1) << 52)      /* there are none: accesses are tracked by faults */
#define SPTE_AD_WRITE_PROTECT (UINT64_C(2) << 52) /* there are, but the dirty log is kept by write-protection */

/* MMIO: bits of the generation of slots, as many as KVM keeps. */
#define SPTE_GENERATION_BITS 19u
#define SPTE_GENERATION_MASK ((UINT64_C(1) << SPTE_GENERATION_BITS) - 1)
#define SPTE_GENERATION_LOW_BITS 8u
#define SPTE_GENERATION_LOW_SHIFT 3u
#define SPTE_GENERATION_HIGH_SHIFT 52u
#define SPTE_MMIO_GPA_BITS 51u /* bit 51 may be what the hardware refuses */
#define SPTE_MMIO_GPA_MASK (PT_ADDRESS_MASK & ((UINT64_C(1) << SPTE_MMIO_GPA_BITS) - 1))

static_assert((SPTE_FROZEN & (SPTE_PRESENT | 7)) == 0, "frozen is not present in any sense");
static_assert((SPTE_SAVED & SPTE_AD_MASK) == 0, "masks are disjoint");
static_assert(SPTE_GENERATION_LOW_SHIFT + SPTE_GENERATION_LOW_BITS <= 11, "the generation spares SPTE_PRESENT");
static_assert(SPTE_GENERATION_HIGH_SHIFT + SPTE_GENERATION_BITS - SPTE_GENERATION_LOW_BITS <= 63, "and bit 63");

static inline bool spte_is_present(uint64_t e)
{
    return (e & SPTE_PRESENT) != 0;
}

static inline bool spte_is_table(const struct pt_format *f, uint64_t e, unsigned level)
{
    return spte_is_present(e) && !pt_is_leaf(f, e, level);
}

static inline bool spte_is_leaf(const struct pt_format *f, uint64_t e, unsigned level)
{
    return spte_is_present(e) && pt_is_leaf(f, e, level);
}

static inline pt_word_t *spte_table(uint64_t e)
{
    return (pt_word_t *)(uintptr_t)pt_address(e);
}

static inline uint64_t spte_make_table(const struct pt_format *f, const pt_word_t *table)
{
    return pt_make_table(f, table) | SPTE_PRESENT;
}

/* --- MMIO. */

static inline bool spte_is_mmio(const struct pt_format *f, uint64_t e)
{
    return !spte_is_present(e) && (e & f->refused_mask) == f->refused;
}

static inline uint64_t spte_make_mmio(const struct pt_format *f, uint64_t gpa, uint64_t generation)
{
    uint64_t low = generation & ((1u << SPTE_GENERATION_LOW_BITS) - 1);
    uint64_t high = (generation & SPTE_GENERATION_MASK) >> SPTE_GENERATION_LOW_BITS;
    return f->refused | (gpa & SPTE_MMIO_GPA_MASK) | low << SPTE_GENERATION_LOW_SHIFT |
           high << SPTE_GENERATION_HIGH_SHIFT;
}

static inline uint64_t spte_mmio_generation(uint64_t e)
{
    uint64_t low = e >> SPTE_GENERATION_LOW_SHIFT & ((1u << SPTE_GENERATION_LOW_BITS) - 1);
    uint64_t high = e >> SPTE_GENERATION_HIGH_SHIFT & (SPTE_GENERATION_MASK >> SPTE_GENERATION_LOW_BITS);
    return high << SPTE_GENERATION_LOW_BITS | low;
}

/* --- Leaves. */

static inline bool spte_is_mmu_writable(const struct pt_format *f, uint64_t e)
{
    return (e & f->software_mmu_writable) != 0;
}

static inline bool spte_is_host_writable(const struct pt_format *f, uint64_t e)
{
    return (e & f->software_host_writable) != 0;
}

static inline bool spte_is_tracked(const struct pt_format *f, uint64_t e)
{
    return spte_is_present(e) && !pt_is_present(f, e);
}

struct spte_leaf {
    uint64_t hva; /* aligned to the level */
    unsigned level;
    bool readable, executable;
    bool is_slot_writable; /* H and M */
    bool writable;         /* W: only with is_slot_writable */
    bool accessed, dirty;
    uint64_t ad; /* SPTE_AD_ */
};

static inline uint64_t spte_make_leaf(const struct pt_format *f, const struct spte_leaf *l)
{
    uint64_t e = l->hva | f->leaf_bits | SPTE_PRESENT | l->ad;
    e |= l->level > 1 ? f->large : 0;
    e |= l->readable ? f->readable : 0;
    e |= l->executable ? f->executable : f->not_executable;
    e |= l->is_slot_writable ? f->software_host_writable | f->software_mmu_writable : 0;
    e |= l->writable ? f->writable : 0;
    /* Where nobody looks at them they are set, so that no processor takes the trouble to. */
    e |= l->accessed || l->ad == SPTE_AD_DISABLED ? f->accessed : 0;
    e |= l->dirty || l->ad == SPTE_AD_DISABLED ? f->dirty : 0;
    return e;
}

/* Without rights, so that the next access is noticed; see spte_restore. W is not kept: a write is noticed anyway.
 */
static inline uint64_t spte_track(const struct pt_format *f, uint64_t e)
{
    uint64_t saved =
        (e & f->readable ? SPTE_SAVED_R : 0) | (f->executable && (e & f->executable) ? SPTE_SAVED_X : 0);
    return (e & ~(f->present | f->writable)) | saved;
}

static inline uint64_t spte_restore(const struct pt_format *f, uint64_t e)
{
    uint64_t rights = (e & SPTE_SAVED_R ? f->readable : 0) | (e & SPTE_SAVED_X ? f->executable : 0);
    return (e & ~SPTE_SAVED) | rights;
}

/* Child number `index` of a large leaf that is split; the same rights. */
static inline uint64_t spte_child(const struct pt_format *f, uint64_t e, unsigned level, unsigned index)
{
    uint64_t child = e + index * pt_level_bytes(level - 1);
    return level - 1 == 1 ? child & ~f->large : child;
}

static inline uint64_t spte_set_executable(const struct pt_format *f, uint64_t e)
{
    if (spte_is_tracked(f, e) && f->executable) {
        return e | SPTE_SAVED_X;
    }
    return (e | f->executable) & ~f->not_executable;
}

/* Whether the hardware would let it through. */
static inline bool spte_allows(const struct pt_format *f, uint64_t e, enum mv_access kind)
{
    if (!spte_is_present(e) || !pt_is_present(f, e)) {
        return false;
    }
    switch (kind) {
    case MV_ACCESS_WRITE: return pt_is_writable(f, e);
    case MV_ACCESS_FETCH: return pt_is_executable(f, e);
    case MV_ACCESS_READ: break;
    }
    return (e & f->readable) != 0;
}

/* Whether an entry of that level is one that this file describes. Every entry that is written is checked. */
static inline bool spte_check(const struct pt_format *f, uint64_t e, unsigned level)
{
    if (!spte_is_present(e)) {
        return e == 0 || e == SPTE_FROZEN || (level == 1 && spte_is_mmio(f, e));
    }
    if (pt_address(e) == 0) {
        return false;
    }
    if (!pt_is_leaf(f, e, level)) {
        return ((e | f->writable) & f->table_bits) == f->table_bits && !(e & (SPTE_AD_MASK | SPTE_SAVED));
    }
    /* The truth table above, by H, M and W. */
    static const bool legal[8] = {[0] = true, [4] = true, [6] = true, [7] = true};
    unsigned trio = (spte_is_host_writable(f, e) ? 4u : 0u) | (spte_is_mmu_writable(f, e) ? 2u : 0u) |
                    (pt_is_writable(f, e) ? 1u : 0u);
    if (level > 3 || !legal[trio] || (pt_address(e) & (pt_level_bytes(level) - 1))) {
        return false;
    }
    if (spte_is_tracked(f, e)) {
        return (e & SPTE_AD_MASK) == SPTE_AD_DISABLED && (e & SPTE_SAVED) && !pt_is_writable(f, e);
    }
    bool is_refused = (e & f->refused_mask) == f->refused || (pt_is_writable(f, e) && !(e & f->readable));
    return !is_refused && !(e & SPTE_SAVED) && (e & SPTE_AD_MASK) != SPTE_AD_MASK;
}

#endif
