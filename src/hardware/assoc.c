// SPDX-License-Identifier: MIT
#include "hardware/assoc.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"

int assoc_init(struct assoc *a, struct hw_tlb_geometry geometry)
{
    *a = (struct assoc){0};
    if (geometry.entries == 0) {
        return 0;
    }
    if (geometry.ways == 0 || geometry.entries % geometry.ways != 0 ||
        !is_pow2(geometry.entries / geometry.ways) || geometry.entries > ASSOC_ENTRIES_MAX) {
        return -EINVAL;
    }
    struct assoc_entry *entries =
        aligned_alloc(64, ((size_t)geometry.entries * sizeof *entries + 63) & ~(size_t)63);
    if (!entries) {
        return -ENOMEM;
    }
    memset(entries, 0, (size_t)geometry.entries * sizeof *entries);
    a->entries = entries;
    a->ways = geometry.ways;
    a->set_mask = geometry.entries / geometry.ways - 1;
    return 0;
}

void assoc_finish(struct assoc *a)
{
    free(a->entries);
    *a = (struct assoc){0};
}

static bool is_it(const struct assoc_entry *entry, uint64_t tag, uint64_t context, uint64_t other_context)
{
    return entry->tag == tag && (entry->context == context || entry->context == other_context);
}

/* Entry `i` becomes the first; those before it go one further. */
static void move_to_front(struct assoc_entry *set, uint32_t i)
{
    struct assoc_entry entry = set[i];
    for (; i > 0; i--) {
        set[i] = set[i - 1];
    }
    set[0] = entry;
}

struct assoc_entry *assoc_find_rest(struct assoc_entry *set, uint32_t ways, uint64_t tag, uint64_t context,
                                    uint64_t other_context)
{
    /* The first as well: an entry that is nothing may stand there. */
    for (uint32_t i = 0; i < ways; i++) {
        if (is_it(&set[i], tag, context, other_context)) {
            move_to_front(set, i);
            return set;
        }
    }
    return NULL;
}

void assoc_insert(struct assoc *a, const struct assoc_entry *entry, unsigned shift)
{
    struct assoc_entry *set = assoc_set(a, entry->tag, shift);
    uint32_t victim = a->ways - 1;
    for (uint32_t i = 0; i < a->ways; i++) {
        if (set[i].tag == entry->tag && set[i].context == entry->context) {
            victim = i;
            break;
        }
        if (set[i].tag == 0 && set[victim].tag != 0) {
            victim = i; /* the first that is empty; one with the same tag may come yet */
        }
    }
    if (set[victim].tag) {
        a->live[assoc_class(set[victim].tag)]--;
    }
    for (uint32_t i = victim; i > 0; i--) {
        set[i] = set[i - 1];
    }
    set[0] = *entry;
    a->live[assoc_class(entry->tag)]++;
}

static void forget(struct assoc *a, struct assoc_entry *entry)
{
    a->live[assoc_class(entry->tag)]--;
    entry->tag = 0;
}

void assoc_drop(struct assoc *a, uint64_t tag, unsigned shift, uint64_t context, uint64_t other_context)
{
    struct assoc_entry *set = assoc_set(a, tag, shift);
    for (uint32_t i = 0; i < a->ways; i++) {
        if (is_it(&set[i], tag, context, other_context)) {
            forget(a, &set[i]);
        }
    }
}

static size_t count_of(const struct assoc *a)
{
    return assoc_is_empty(a) ? 0 : (size_t)(a->set_mask + 1) * a->ways;
}

void assoc_drop_contexts(struct assoc *a, uint64_t mask, uint64_t context)
{
    for (size_t i = 0, count = count_of(a); i < count; i++) {
        if (a->entries[i].tag && ((a->entries[i].context ^ context) & mask) == 0) {
            forget(a, &a->entries[i]);
        }
    }
}

void assoc_drop_if(struct assoc *a, bool (*matches)(void *opaque, const struct assoc_entry *entry), void *opaque)
{
    for (size_t i = 0, count = count_of(a); i < count; i++) {
        if (a->entries[i].tag && matches(opaque, &a->entries[i])) {
            forget(a, &a->entries[i]);
        }
    }
}

void assoc_clear(struct assoc *a)
{
    size_t count = count_of(a);
    if (count) {
        memset(a->entries, 0, count * sizeof *a->entries);
        memset(a->live, 0, sizeof a->live);
    }
}
