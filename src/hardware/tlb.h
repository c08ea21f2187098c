// SPDX-License-Identifier: MIT
/*
 * The TLB: two levels, three page sizes, each size in an array of its own or in the common one. What is found in
 * the second level goes into the first as well; what is filled, into both. Neither includes the other.
 */
#ifndef HARDWARE_TLB_H
#define HARDWARE_TLB_H

#include "hardware/assoc.h"
#include "hardware/context.h"
#include "paging/state.h"

/*
 * What `meta` of a TLB's entry is:
 *   2-0    rights of the guest's tables: PT_RIGHT_
 *   5-3    for what the host's side is ready, 1 << enum mv_access: a write only when all D bits are set
 *   9-6    protection key
 *   11-10  class of the guest's own page, which may be larger than what is cached: 0 4K, 1 2M, 2 up to 1G, 3 more
 *   51-12  guest-physical page
 *   52     D is set in the guest's entry
 */
#define TLB_RIGHTS UINT64_C(7)
#define TLB_READY_SHIFT 3
#define TLB_KEY_SHIFT 6
#define TLB_GUEST_SHIFT 10
#define TLB_GPA UINT64_C(0x000ffffffffff000)
#define TLB_GUEST_DIRTY (UINT64_C(1) << 52)

#define TLB_LEVELS 2u

struct tlb_geometry {
    struct hw_tlb_geometry common[TLB_LEVELS];
    struct hw_tlb_geometry own[TLB_LEVELS][ASSOC_SIZES]; /* 0 entries: this size is in the common one */
};

struct tlb {
    struct assoc common[TLB_LEVELS];
    struct assoc own[TLB_LEVELS][ASSOC_SIZES];
    struct assoc *of[TLB_LEVELS][ASSOC_SIZES]; /* NULL: no array for this size */
    /* A guest page may have more entries than those that would be found for an address of it: a part of a larger
     * one was filled, or there are several roots. INVLPG has to look at all. */
    bool is_ambiguous;
};

static const uint8_t tlb_shifts[ASSOC_SIZES] = {12, 21, 30};

/* The largest class of page that is no larger than this. */
static inline unsigned tlb_class_of_shift(unsigned shift)
{
    return shift >= 30 ? 2 : shift >= 21 ? 1 : 0;
}

/* 0, -EINVAL, -ENOMEM; then nothing is left behind. `t` stays where it is. */
int tlb_init(struct tlb *t, const struct tlb_geometry *geometry);
void tlb_finish(struct tlb *t);

static inline struct assoc_entry *tlb_find_in(struct tlb *t, unsigned level, uint64_t gva, uint64_t context,
                                              uint64_t other_context)
{
    for (unsigned size = 0; size < ASSOC_SIZES; size++) {
        const struct assoc *a = t->of[level][size];
        if (a && a->live[size]) {
            unsigned shift = tlb_shifts[size];
            struct assoc_entry *entry = assoc_find(a, assoc_tag(gva, shift, size), shift, context, other_context);
            if (entry) {
                return entry;
            }
        }
    }
    return NULL;
}

/* The first level, and nothing else. */
static inline struct assoc_entry *tlb_find_first(struct tlb *t, uint64_t gva, uint64_t context,
                                                 uint64_t other_context)
{
    return tlb_find_in(t, 0, gva, context, other_context);
}

/* The second level; what is found is in the first thereafter. NULL: a miss. */
struct assoc_entry *tlb_find_second(struct tlb *t, uint64_t gva, uint64_t context, uint64_t other_context);

/* Into both levels. The tag is made with one of tlb_shifts. */
void tlb_insert(struct tlb *t, const struct assoc_entry *entry);

/* What an access in this context would find for `gva`: these are dropped, and nothing else. */
void tlb_drop_found(struct tlb *t, uint64_t gva, uint64_t context, uint64_t other_context);

/*
 * Drop what translates a byte of the guest page around `gva`, if its context agrees with `context` in the bits of
 * `mask`.
 */
void tlb_drop_page(struct tlb *t, uint64_t gva, uint64_t mask, uint64_t context);

void tlb_drop_contexts(struct tlb *t, uint64_t mask, uint64_t context);
void tlb_clear(struct tlb *t);
bool tlb_is_empty(const struct tlb *t);

#endif
