// SPDX-License-Identifier: MIT
#include "hypervisor/slot_index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "hypervisor/slot.h"

#define SLOTS 1500

static uint64_t random_state;

static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

/* What the index shall have, by id. */
struct model {
    struct hv_slot slots[SLOTS];
    struct slot_entry entries[SLOTS]; /* `slot` is NULL: not in */
    struct slot_index index;
};

static bool comes_before(const struct slot_entry *a, const struct slot_entry *b)
{
    return a->first != b->first ? a->first < b->first : a->slot->id < b->slot->id;
}

static unsigned count_in(const struct slot_index *index)
{
    struct slot_place place = {0, 0};
    unsigned count = 0;
    if (index->spans != 0) {
        do {
            count++;
        } while (slot_index_next(index, &place));
    }
    return count;
}

static void check_floor(const struct model *m, uint64_t number)
{
    const struct slot_entry *best = NULL;
    struct slot_place place;
    for (unsigned i = 0; i < SLOTS; i++) {
        const struct slot_entry *e = &m->entries[i];
        if (e->slot && e->first <= number && (!best || comes_before(best, e))) {
            best = e;
        }
    }
    bool found = slot_index_floor(&m->index, number, &place);
    assert_int_equal(found, best != NULL);
    if (best) {
        assert_ptr_equal(slot_index_at(&m->index, place).slot, best->slot);
    }
}

static unsigned members(const struct model *m)
{
    unsigned n = 0;
    for (unsigned i = 0; i < SLOTS; i++) {
        n += m->entries[i].slot != NULL;
    }
    return n;
}

/* One random change: in, out, or elsewhere. The index before it stays as it was until it is discarded. */
static void step(struct model *m, uint64_t numbers, bool prefer_out)
{
    unsigned i = (unsigned)random_below(SLOTS);
    struct slot_entry *e = &m->entries[i];
    struct slot_entry to = {.first = random_below(numbers), .slot = &m->slots[i]};
    to.last = to.first + random_below(numbers / 8 + 1);
    bool out = e->slot && (prefer_out || random_below(2)), in = !e->slot ? !prefer_out : !out;
    if (!out && !in) {
        return;
    }
    struct slot_edit edit;
    unsigned before = count_in(&m->index);
    assert_int_equal(slot_edit_make(&edit, &m->index, e->slot ? e : NULL, in ? &to : NULL), 0);
    assert_true(slot_index_check(&m->index));
    assert_int_equal(count_in(&m->index), before);
    if (random_below(4) == 0) {
        slot_edit_abandon(&edit);
        assert_true(slot_index_check(&m->index));
        return;
    }
    struct slot_index next = edit.next;
    slot_edit_discard_before(&edit, &m->index);
    m->index = next;
    *e = in ? to : (struct slot_entry){0};
}

static void random_changes(uint64_t numbers)
{
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    for (unsigned i = 0; i < SLOTS; i++) {
        m->slots[i].id = (uint16_t)i;
    }
    for (unsigned phase = 0; phase < 4; phase++) {
        for (unsigned n = 0; n < 6000; n++) {
            step(m, numbers, phase & 1);
            if (n % 64 == 0) {
                assert_true(slot_index_check(&m->index));
                assert_int_equal(count_in(&m->index), members(m));
                check_floor(m, random_below(numbers + 2));
            }
        }
        /* Spans are merged again: there are never many more than the slots need. */
        assert_true(m->index.spans <= 2 + 4 * members(m) / (SLOT_CHUNK / 2));
    }
    slot_index_free(&m->index);
    free(m);
}

static void far_apart(void **state)
{
    (void)state;
    random_changes(UINT64_C(1) << 40);
}

/* Many begin at the same number. */
static void on_top_of_each_other(void **state)
{
    (void)state;
    random_changes(7);
}

/* As many as there may be: every chunk is copied when it is changed, and no more than it. */
static void in_order(void **state)
{
    (void)state;
    struct slot_index index = {0};
    struct hv_slot *slots = calloc(HV_SLOT_IDS, sizeof *slots);
    assert_non_null(slots);
    for (unsigned i = 0; i < HV_SLOT_IDS; i++) {
        slots[i].id = (uint16_t)i;
        struct slot_entry e = {i * 2, i * 2, &slots[i]};
        struct slot_edit edit;
        assert_int_equal(slot_edit_make(&edit, &index, NULL, &e), 0);
        assert_true(edit.made_count <= 2);
        struct slot_index next = edit.next;
        slot_edit_discard_before(&edit, &index);
        index = next;
    }
    assert_true(slot_index_check(&index));
    for (unsigned i = 0; i < 2 * HV_SLOT_IDS; i++) {
        struct slot_place place;
        assert_true(slot_index_floor(&index, i, &place));
        assert_int_equal(slot_index_at(&index, place).first, i & ~1u);
    }
    slot_index_free(&index);
    free(slots);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_apart),
        cmocka_unit_test(on_top_of_each_other),
        cmocka_unit_test(in_order),
    };
    const char *seed = getenv("MEMVIRT_SEED");
    random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) | 1;
    printf("# MEMVIRT_SEED=%llu\n", (unsigned long long)random_state);
    return cmocka_run_group_tests_name("slot_index", tests, NULL, NULL);
}
