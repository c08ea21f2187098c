// SPDX-License-Identifier: MIT
#include "hardware/walk_cache.h"

/*
 * What `meta` of an entry is:
 *   2-0    rights, ANDed from the root down to this entry
 *   3      the table may be written on the host's side
 *   4      the table is the guest's, below shadow tables
 *   51-12  the table's guest-physical address; PAE's and 32-bit tables are aligned to pages as well
 */
#define META_RIGHTS UINT64_C(7)
#define META_WRITABLE (UINT64_C(1) << 3)
#define META_GUEST (UINT64_C(1) << 4)
#define META_TABLE UINT64_C(0x000ffffffffff000)

int walk_cache_init(struct walk_cache *c, const struct hw_tlb_geometry geometry[X86_LEVELS_MAX + 1])
{
    *c = (struct walk_cache){0};
    for (unsigned level = 2; level <= X86_LEVELS_MAX; level++) {
        int rc = assoc_init(&c->level[level], geometry[level]);
        if (rc < 0) {
            walk_cache_finish(c);
            return rc;
        }
    }
    return 0;
}

void walk_cache_finish(struct walk_cache *c)
{
    for (unsigned level = 2; level <= X86_LEVELS_MAX; level++) {
        assoc_finish(&c->level[level]);
    }
}

bool walk_cache_find(struct walk_cache *c, const struct paging *p, uint64_t gva, uint64_t context,
                     struct walk_cache_hit *ret)
{
    for (unsigned level = 2; level <= p->levels; level++) {
        struct assoc *a = &c->level[level];
        if (!a->live[0]) {
            continue;
        }
        unsigned shift = guest_level_shift(p, level);
        const struct assoc_entry *entry = assoc_find(a, assoc_tag(gva, shift, 0), shift, context, context);
        if (entry) {
            *ret = (struct walk_cache_hit){
                .level = level - 1,
                .table = {mv_gpa(entry->meta & META_TABLE), (uint8_t)(entry->meta & META_RIGHTS)},
                .host = (uint8_t *)(uintptr_t)entry->host,
                .is_writable = (entry->meta & META_WRITABLE) != 0,
                .is_guest = (entry->meta & META_GUEST) != 0,
            };
            return true;
        }
    }
    return false;
}

void walk_cache_insert(struct walk_cache *c, const struct paging *p, uint64_t gva, uint64_t context,
                       const struct walk_cache_hit *hit)
{
    struct assoc *a = &c->level[hit->level + 1];
    if (!a->entries) {
        return;
    }
    unsigned shift = guest_level_shift(p, hit->level + 1);
    struct assoc_entry entry = {
        .tag = assoc_tag(gva, shift, 0),
        .context = context,
        .host = (uint64_t)(uintptr_t)hit->host,
        .meta = (hit->table.table.raw & META_TABLE) | hit->table.rights | (hit->is_writable ? META_WRITABLE : 0) |
                (hit->is_guest ? META_GUEST : 0),
    };
    assoc_insert(a, &entry, shift);
}

void walk_cache_drop_found(struct walk_cache *c, const struct paging *p, uint64_t gva, uint64_t context)
{
    for (unsigned level = 2; level <= p->levels; level++) {
        struct assoc *a = &c->level[level];
        if (a->live[0]) {
            unsigned shift = guest_level_shift(p, level);
            assoc_drop(a, assoc_tag(gva, shift, 0), shift, context, context);
        }
    }
}

struct place {
    uint64_t tag, mask, context;
};

static bool is_of_place(void *opaque, const struct assoc_entry *entry)
{
    const struct place *place = opaque;
    return entry->tag == place->tag && ((entry->context ^ place->context) & place->mask) == 0;
}

void walk_cache_drop_address(struct walk_cache *c, const struct paging *p, uint64_t gva, uint64_t mask,
                             uint64_t context)
{
    for (unsigned level = 2; level <= p->levels; level++) {
        struct place place = {assoc_tag(gva, guest_level_shift(p, level), 0), mask, context};
        assoc_drop_if(&c->level[level], is_of_place, &place);
    }
}

void walk_cache_drop_contexts(struct walk_cache *c, uint64_t mask, uint64_t context)
{
    for (unsigned level = 2; level <= X86_LEVELS_MAX; level++) {
        assoc_drop_contexts(&c->level[level], mask, context);
    }
}

void walk_cache_clear(struct walk_cache *c)
{
    for (unsigned level = 2; level <= X86_LEVELS_MAX; level++) {
        assoc_clear(&c->level[level]);
    }
}
