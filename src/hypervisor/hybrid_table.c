// SPDX-License-Identifier: MIT
/*
 * What the hypervisor remembers of the guest's tables for the policy: how often they were written while they were
 * shadowed, and whether they changed while they were nested. The latter costs the guest nothing: at the end of an
 * interval the entries are read, and their sum is compared. The processor's own A and D are not in it.
 */
#include <stdlib.h>

#include "hypervisor/hybrid.h"
#include "hypervisor/shadow.h"

static struct hybrid_table **bucket_of(const struct hybrid *h, uint64_t frame)
{
    return &h->buckets[(frame * UINT64_C(0x9e3779b97f4a7c15)) >> 52];
}
static_assert(HYBRID_BUCKETS == 1u << (64 - 52), "a bucket's number is the top of the product");

struct hybrid_table *hybrid_find(const struct hybrid *h, uint64_t frame, unsigned level)
{
    struct hybrid_table *table = *bucket_of(h, frame);
    while (table && (table->frame != frame || table->seen.level != level)) {
        table = table->next;
    }
    return table;
}

struct hybrid_table *hybrid_get(struct hybrid *h, uint64_t frame, unsigned level)
{
    struct hybrid_table *table = hybrid_find(h, frame, level);
    if (table || h->count >= HYBRID_TABLES_MAX) {
        return table;
    }
    table = calloc(1, sizeof *table);
    if (table) {
        struct hybrid_table **bucket = bucket_of(h, frame);
        table->frame = frame;
        table->seen.level = (uint8_t)level;
        table->interval = h->interval;
        table->next = *bucket;
        *bucket = table;
        h->count++;
    }
    return table;
}

void hybrid_count_write(struct hybrid *h, struct hybrid_table *table)
{
    if (table->interval != h->interval) {
        table->interval = h->interval;
        table->seen.writes = 0;
    }
    table->seen.writes++;
}

void hybrid_forget_all(struct hybrid *h)
{
    for (unsigned i = 0; i < HYBRID_BUCKETS; i++) {
        while (h->buckets[i]) {
            struct hybrid_table *table = h->buckets[i];
            h->buckets[i] = table->next;
            free(table);
        }
    }
    h->count = 0;
}

uint64_t hybrid_bytes(const struct hybrid *h)
{
    return sizeof *h + HYBRID_BUCKETS * sizeof h->buckets[0] + h->count * sizeof(struct hybrid_table);
}

/* --- Looking ------------------------------------------------------------------------------------------- */

/* An entry of ours that leads to the guest's table. While there is one the table's memory is there. */
static pt_word_t *switch_to(const struct shadow *s, const struct hybrid_table *table)
{
    uint64_t host = table->frame << GUEST_PAGE_SHIFT;
    struct rmap_page page = {rmap_find(&s->rmap, host), host, 1};
    struct rmap_list list = page.chunk ? rmap_entries(&page) : (struct rmap_list){0};
    struct rmap_iter it;
    pt_word_t *entry = rmap_first(&list, &it);
    while (entry && !(shadow_is_switch(pt_load(entry)) &&
                      shadow_page_of_entry(entry)->role.level == table->seen.level + 1u)) {
        entry = rmap_next(&it);
    }
    return entry;
}

static uint64_t sum_of(uint64_t frame)
{
    const uint64_t *entries = (const uint64_t *)(uintptr_t)(frame << GUEST_PAGE_SHIFT);
    uint64_t sum = 0;
    for (unsigned i = 0; i < PT_ENTRIES; i++) {
        uint64_t e = pt_guest_load(&entries[i], 8) & ~(X86_ENTRY_A | X86_ENTRY_D);
        sum = (sum ^ e) * UINT64_C(0x9e3779b97f4a7c15);
        sum ^= sum >> 29;
    }
    return sum;
}

static void shadow_again(struct hv_vm *vm, const struct hybrid_table *table)
{
    const struct shadow *s = shadow_of(vm);
    for (pt_word_t *entry = switch_to(s, table); entry; entry = switch_to(s, table)) {
        shadow_clear_entry(vm, entry, table->seen.level + 1u);
    }
    hv_count(&vm->counters.hybrid_shadowed, 1);
}

/* @return whether it is to be remembered */
static bool look_at(struct hv_vm *vm, struct hybrid_table *table)
{
    const struct hybrid *h = shadow_of(vm)->hybrid;
    if (!table->seen.is_nested) {
        return table->interval == h->interval;
    }
    if (!switch_to(shadow_of(vm), table)) {
        return false; /* nobody has come here since */
    }
    uint64_t sum = sum_of(table->frame);
    table->seen.quiet = table->has_sum && table->sum == sum ? table->seen.quiet + 1 : 0;
    table->sum = sum;
    table->has_sum = true;
    if (!h->policy.nests(h->policy.opaque, MV_HYBRID_LOOKED_AT, &table->seen)) {
        shadow_again(vm, table);
        return false;
    }
    return true;
}

void hybrid_look(struct hv_vm *vm)
{
    struct hybrid *h = shadow_of(vm)->hybrid;
    for (unsigned i = 0; i < HYBRID_BUCKETS; i++) {
        struct hybrid_table **place = &h->buckets[i];
        while (*place) {
            struct hybrid_table *table = *place;
            if (look_at(vm, table)) {
                place = &table->next;
            } else {
                *place = table->next;
                free(table);
                h->count--;
            }
        }
    }
    h->interval++;
}
