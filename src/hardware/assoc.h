// SPDX-License-Identifier: MIT
/*
 * A set-associative cache of translations with exact LRU: what TLBs, paging-structure caches and the nested TLB
 * are made of. Each set is kept in order of use, the last used first; so a hit on it is one comparison, and the
 * victim is the last.
 *
 * An entry is known by `tag` (an address aligned to the page it covers, and the page's size class in the low bits)
 * and by `context` (whose translations these are). What the rest means is its user's.
 */
#ifndef HARDWARE_ASSOC_H
#define HARDWARE_ASSOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of pages of 4K, 2M, 1G, as they are cached. */
#define ASSOC_SIZES 3u

struct assoc_entry {
    uint64_t tag; /* 0: nothing is here */
    uint64_t context;
    uint64_t host;
    uint64_t meta;
};

struct assoc {
    struct assoc_entry *entries; /* NULL: there is no such cache */
    uint32_t ways, set_mask;
    uint32_t live[ASSOC_SIZES]; /* entries by size class: a class without any is not looked for */
};

/* One array of a TLB: `entries` in sets of `ways`; entries = ways is fully associative. */
struct hw_tlb_geometry {
    uint32_t entries, ways;
};

#define ASSOC_ENTRIES_MAX (1u << 20)

/* 0 entries: none is made. 0, -EINVAL (the number of sets is no power of two, or more than ASSOC_ENTRIES_MAX),
 * -ENOMEM. */
int assoc_init(struct assoc *a, struct hw_tlb_geometry geometry);
void assoc_finish(struct assoc *a);

static inline uint64_t assoc_tag(uint64_t address, unsigned shift, unsigned size_class)
{
    return (address & ~((UINT64_C(1) << shift) - 1)) | (size_class + 1);
}

static inline unsigned assoc_class(uint64_t tag)
{
    return (unsigned)(tag & 0xfff) - 1;
}

static inline struct assoc_entry *assoc_set(const struct assoc *a, uint64_t tag, unsigned shift)
{
    return a->entries + (size_t)((uint32_t)(tag >> shift) & a->set_mask) * a->ways;
}

/* Of the ways after the first; what is found becomes the first. NULL: none. */
struct assoc_entry *assoc_find_rest(struct assoc_entry *set, uint32_t ways, uint64_t tag, uint64_t context,
                                    uint64_t other_context);

/* Look for a tag in either context, and make it the last used. NULL: none. */
static inline struct assoc_entry *assoc_find(const struct assoc *a, uint64_t tag, unsigned shift, uint64_t context,
                                             uint64_t other_context)
{
    struct assoc_entry *set = assoc_set(a, tag, shift);
    if (__builtin_expect(set->tag == tag && (set->context == context || set->context == other_context), 1)) {
        return set;
    }
    return assoc_find_rest(set, a->ways, tag, context, other_context);
}

/* As the last used. It takes the place of the same tag and context, else of nothing, else of the least used. */
void assoc_insert(struct assoc *a, const struct assoc_entry *entry, unsigned shift);

/* Drop a tag in either context, if it is there. */
void assoc_drop(struct assoc *a, uint64_t tag, unsigned shift, uint64_t context, uint64_t other_context);

/* Drop those whose context agrees with `context` in the bits of `mask`. */
void assoc_drop_contexts(struct assoc *a, uint64_t mask, uint64_t context);

/* Drop those of which `matches` says so; for what is rare. */
void assoc_drop_if(struct assoc *a, bool (*matches)(void *opaque, const struct assoc_entry *entry), void *opaque);

void assoc_clear(struct assoc *a);

static inline bool assoc_is_empty(const struct assoc *a)
{
    return (a->live[0] | a->live[1] | a->live[2]) == 0;
}

#endif
