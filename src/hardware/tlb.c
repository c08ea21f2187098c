// SPDX-License-Identifier: MIT
#include "hardware/tlb.h"

#include <assert.h>

/* Guest page classes of `meta`: a byte of the page shares these bits of the address. */
static const uint8_t guest_shifts[] = {12, 21, 30, 63};

static int init_level(struct tlb *t, const struct tlb_geometry *geometry, unsigned level)
{
    int rc = assoc_init(&t->common[level], geometry->common[level]);
    for (unsigned size = 0; rc == 0 && size < ASSOC_SIZES; size++) {
        rc = assoc_init(&t->own[level][size], geometry->own[level][size]);
        struct assoc *a = t->own[level][size].entries ? &t->own[level][size] : &t->common[level];
        t->of[level][size] = a->entries ? a : NULL;
    }
    return rc;
}

int tlb_init(struct tlb *t, const struct tlb_geometry *geometry)
{
    *t = (struct tlb){0};
    int rc = 0;
    for (unsigned level = 0; rc == 0 && level < TLB_LEVELS; level++) {
        rc = init_level(t, geometry, level);
    }
    if (rc < 0) {
        tlb_finish(t);
    }
    return rc;
}

/* Each array once. */
static struct assoc *array(struct tlb *t, unsigned i)
{
    unsigned level = i / (1 + ASSOC_SIZES), which = i % (1 + ASSOC_SIZES);
    return which == 0 ? &t->common[level] : &t->own[level][which - 1];
}
#define ARRAYS (TLB_LEVELS * (1 + ASSOC_SIZES))

void tlb_finish(struct tlb *t)
{
    for (unsigned i = 0; i < ARRAYS; i++) {
        assoc_finish(array(t, i));
    }
    *t = (struct tlb){0};
}

struct assoc_entry *tlb_find_second(struct tlb *t, uint64_t gva, uint64_t context, uint64_t other_context)
{
    struct assoc_entry *entry = tlb_find_in(t, 1, gva, context, other_context);
    if (entry) {
        unsigned size = assoc_class(entry->tag);
        if (t->of[0][size]) {
            assoc_insert(t->of[0][size], entry, tlb_shifts[size]);
        }
    }
    return entry;
}

void tlb_insert(struct tlb *t, const struct assoc_entry *entry)
{
    unsigned size = assoc_class(entry->tag);
    if (((entry->meta >> TLB_GUEST_SHIFT) & 3) > size) {
        t->is_ambiguous = true;
    }
    for (unsigned level = 0; level < TLB_LEVELS; level++) {
        if (t->of[level][size]) {
            assoc_insert(t->of[level][size], entry, tlb_shifts[size]);
        }
    }
}

void tlb_drop_found(struct tlb *t, uint64_t gva, uint64_t context, uint64_t other_context)
{
    for (unsigned level = 0; level < TLB_LEVELS; level++) {
        for (unsigned size = 0; size < ASSOC_SIZES; size++) {
            struct assoc *a = t->of[level][size];
            if (a && a->live[size]) {
                unsigned shift = tlb_shifts[size];
                assoc_drop(a, assoc_tag(gva, shift, size), shift, context, other_context);
            }
        }
    }
}

struct page {
    uint64_t gva, mask, context;
};

static bool is_of_page(void *opaque, const struct assoc_entry *entry)
{
    const struct page *page = opaque;
    unsigned cached = tlb_shifts[assoc_class(entry->tag)];
    unsigned guest = guest_shifts[(entry->meta >> TLB_GUEST_SHIFT) & 3];
    unsigned shift = guest > cached ? guest : cached;
    return ((entry->context ^ page->context) & page->mask) == 0 &&
           (shift == 63 || (entry->tag ^ page->gva) >> shift == 0);
}

void tlb_drop_page(struct tlb *t, uint64_t gva, uint64_t mask, uint64_t context)
{
    struct page page = {.gva = gva, .mask = mask, .context = context};
    for (unsigned i = 0; i < ARRAYS; i++) {
        assoc_drop_if(array(t, i), is_of_page, &page);
    }
}

void tlb_drop_contexts(struct tlb *t, uint64_t mask, uint64_t context)
{
    for (unsigned i = 0; i < ARRAYS; i++) {
        assoc_drop_contexts(array(t, i), mask, context);
    }
    t->is_ambiguous = t->is_ambiguous && !tlb_is_empty(t);
}

bool tlb_is_empty(const struct tlb *t)
{
    for (unsigned level = 0; level < TLB_LEVELS; level++) {
        for (unsigned size = 0; size < ASSOC_SIZES; size++) {
            if (t->of[level][size] && t->of[level][size]->live[size]) {
                return false;
            }
        }
    }
    return true;
}

void tlb_clear(struct tlb *t)
{
    for (unsigned i = 0; i < ARRAYS; i++) {
        assoc_clear(array(t, i));
    }
    t->is_ambiguous = false;
}
