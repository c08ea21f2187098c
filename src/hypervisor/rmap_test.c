// SPDX-License-Identifier: MIT
#include "hypervisor/rmap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ENTRIES 300u

static pt_word_t entries[ENTRIES];

/* What the list has, as a set; each entry once. */
static void assert_has(const struct rmap_list *list, const bool *expected)
{
    bool seen[ENTRIES] = {0};
    struct rmap_iter it;
    size_t count = 0;
    for (pt_word_t *entry = rmap_first(list, &it); entry; entry = rmap_next(&it)) {
        size_t i = (size_t)(entry - entries);
        assert_in_range(i, 0, ENTRIES - 1);
        assert_false(seen[i]);
        seen[i] = true;
        count++;
    }
    assert_memory_equal(seen, expected, sizeof seen);
    assert_int_equal(rmap_count(list), count);
    assert_int_equal(rmap_is_empty(list), count == 0);
    assert_int_equal(rmap_any(list) != NULL, count > 0);
}

/* One is inline, and costs nothing but the word. */
static void one_entry_is_the_word(void **state)
{
    (void)state;
    struct rmap_list list = {0};
    assert_true(rmap_add(&list, &entries[7]));
    assert_int_equal(list.word, (uint64_t)(uintptr_t)&entries[7]);
    rmap_remove(&list, &entries[7]);
    assert_int_equal(list.word, 0);
    assert_true(rmap_add(&list, &entries[1]));
    assert_true(rmap_add(&list, &entries[2]));
    assert_int_equal(list.word & 1, 1);
    rmap_remove(&list, &entries[1]);
    assert_int_equal(list.word, (uint64_t)(uintptr_t)&entries[2]);
    rmap_remove(&list, &entries[2]);
}

static void lists_are_sets(void **state)
{
    (void)state;
    const char *given = getenv("MEMVIRT_TEST_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : 1;
    print_message("# seed %u\n", seed);
    struct rmap_list list = {0};
    bool expected[ENTRIES] = {0};
    for (unsigned step = 0; step < 20000; step++) {
        seed = seed * 1103515245 + 12345;
        unsigned i = (seed >> 8) % ENTRIES;
        /* It grows long, shrinks to nothing, and grows again. */
        bool add = (seed >> 4 & 15) < (step / 4000 % 2 ? 4 : 12);
        if (add && !expected[i]) {
            assert_true(rmap_add(&list, &entries[i]));
            expected[i] = true;
        } else if (!add && expected[i]) {
            rmap_remove(&list, &entries[i]);
            expected[i] = false;
        }
        if (step % 16 == 0) {
            assert_has(&list, expected);
        }
    }
    for (unsigned i = 0; i < ENTRIES; i++) {
        if (expected[i]) {
            rmap_remove(&list, &entries[i]);
        }
    }
    assert_int_equal(list.word, 0);
}

/* --- Pages ---------------------------------------------------------------------------------------------- */

#define HOST UINT64_C(0x7f0000200000)
#define TABLE_ENTRIES 512u

static _Alignas(4096) pt_word_t tables[4][TABLE_ENTRIES];

static struct rmap_page page_of(struct rmap *map, unsigned number)
{
    return (struct rmap_page){rmap_get(map, HOST), HOST + number * UINT64_C(4096) + 0x123, 1};
}

static void add(struct rmap *map, unsigned number, pt_word_t *entry)
{
    struct rmap_page page = page_of(map, number);
    assert_true(rmap_add_to(map, &page, entry));
}

static void remove_entry(struct rmap *map, unsigned number, const pt_word_t *entry)
{
    struct rmap_page page = page_of(map, number);
    rmap_remove_from(map, &page, entry);
}

static size_t count_of(struct rmap *map, unsigned number)
{
    struct rmap_page page = page_of(map, number);
    struct rmap_list list = rmap_entries(&page);
    return rmap_count(&list);
}

static pt_word_t *any_of(struct rmap *map, unsigned number)
{
    struct rmap_page page = page_of(map, number);
    struct rmap_list list = rmap_entries(&page);
    return rmap_any(&list);
}

/* A range in one piece, at any place of its tables and over the end of one, is no more than its chunk. */
static void what_is_in_order_costs_nothing(void **state)
{
    (void)state;
    for (unsigned shift = 0; shift < 200; shift += 64) {
        struct rmap map = {0};
        for (unsigned i = 0; i < RMAP_GROUP_PAGES * RMAP_CHUNK_GROUPS; i++) {
            add(&map, i, &tables[0][0] + shift + i);
        }
        for (unsigned i = 0; i < RMAP_GROUP_PAGES * RMAP_CHUNK_GROUPS; i++) {
            assert_int_equal(count_of(&map, i), 1);
            assert_ptr_equal(any_of(&map, i), &tables[0][0] + shift + i);
        }
        assert_int_equal(map.lists_count, 0);
        assert_int_equal(rmap_bytes(&map), sizeof(struct rmap_chunk) + map.bucket_count * sizeof(void *));
        assert_true(sizeof(struct rmap_chunk) <= 192);
        for (unsigned i = 0; i < RMAP_GROUP_PAGES * RMAP_CHUNK_GROUPS; i += 3) {
            remove_entry(&map, i, &tables[0][0] + shift + i);
            assert_int_equal(count_of(&map, i), 0);
            assert_null(any_of(&map, i));
        }
        assert_int_equal(count_of(&map, 1), 1);
        rmap_finish(&map);
    }
}

/* A piece that many have mapped costs 16 bytes for each of them, and not 8 for each of its pages. */
static void what_several_map_is_a_run_for_each(void **state)
{
    (void)state;
    static pt_word_t many[100][RMAP_GROUP_PAGES];
    struct rmap map = {0};
    for (unsigned m = 0; m < 100; m++) {
        for (unsigned i = 0; i < RMAP_GROUP_PAGES; i++) {
            add(&map, i, &many[m][i]);
        }
    }
    assert_int_equal(map.lists_count, 0);
    assert_int_equal(map.run_bytes, 2048); /* 127 runs; 1023 would be 16384 */
    for (unsigned i = 0; i < RMAP_GROUP_PAGES; i++) {
        struct rmap_page page = page_of(&map, i);
        struct rmap_list list = rmap_entries(&page);
        struct rmap_iter it;
        bool seen[100] = {0};
        assert_int_equal(rmap_count(&list), 100);
        assert_true(rmap_has_more(&list, 99));
        assert_false(rmap_has_more(&list, 100));
        for (pt_word_t *e = rmap_first(&list, &it); e; e = rmap_next(&it)) {
            size_t m = (size_t)(e - &many[0][0]) / RMAP_GROUP_PAGES;
            assert_ptr_equal(e, &many[m][i]);
            assert_false(seen[m]);
            seen[m] = true;
        }
    }
    /* One page loses all, the others nothing. */
    for (unsigned m = 0; m < 100; m++) {
        assert_int_equal(count_of(&map, 7), 100 - m);
        remove_entry(&map, 7, any_of(&map, 7));
    }
    assert_null(any_of(&map, 7));
    assert_int_equal(count_of(&map, 8), 100);
    for (unsigned m = 0; m < 100; m++) {
        for (unsigned i = 0; i < RMAP_GROUP_PAGES; i++) {
            if (i != 7) {
                remove_entry(&map, i, &many[m][i]);
            }
        }
    }
    assert_int_equal(map.run_bytes, 0);
    rmap_finish(&map);
}

/* Runs end with their last page, and are counted by the pages that are left. */
static void runs_come_and_go(void **state)
{
    (void)state;
    static pt_word_t many[20][RMAP_GROUP_PAGES];
    struct rmap map = {0};
    add(&map, 0, &many[0][0]);
    for (unsigned round = 0; round < 100; round++) {
        unsigned m = 1 + round % 19;
        for (unsigned i = 0; i < 3; i++) {
            add(&map, i, &many[m][i]);
        }
        struct rmap_page page = page_of(&map, 0);
        struct rmap_list list = rmap_entries(&page);
        assert_true(rmap_has_more(&list, 1) && !rmap_has_more(&list, 2));
        for (unsigned i = 0; i < 3; i++) {
            remove_entry(&map, i, &many[m][i]);
        }
        assert_int_equal(map.run_bytes, 256);
        assert_int_equal(map.lists_count, 0);
    }
    remove_entry(&map, 0, &many[0][0]);
    assert_int_equal(map.run_bytes, 0);
    /* As many as there is room for, of many pages; then each has one page left, and another would be no gain. */
    for (unsigned m = 0; m < 15; m++) {
        for (unsigned i = 0; i < RMAP_GROUP_PAGES; i++) {
            add(&map, i, &many[m][i]);
        }
    }
    for (unsigned m = 0; m < 15; m++) {
        for (unsigned i = 0; i < RMAP_GROUP_PAGES; i++) {
            if (i != m) {
                remove_entry(&map, i, &many[m][i]);
            }
        }
        struct rmap_page page = page_of(&map, m);
        struct rmap_list list = rmap_entries(&page);
        assert_true(!rmap_is_empty(&list) && rmap_has_more(&list, 0) && rmap_has_more(&list, 20) == false);
    }
    struct rmap_page page = page_of(&map, 14);
    struct rmap_list list = rmap_entries(&page);
    assert_false(rmap_has_more(&list, 5)); /* of 15 runs one has it */
    assert_int_equal(map.lists_count, 0);
    add(&map, 40, &many[16][40]);
    assert_int_equal(map.lists_count, 1);
    assert_int_equal(map.run_bytes, 0);
    for (unsigned m = 0; m < 15; m++) {
        assert_ptr_equal(any_of(&map, m), &many[m][m]);
    }
    rmap_finish(&map);
}

/* Entries in no order give their group lists, which keep what was there, and go when the group is empty. */
static void what_is_in_no_order_has_lists(void **state)
{
    (void)state;
    struct rmap map = {0};
    for (unsigned i = 0; i < RMAP_GROUP_PAGES; i++) {
        add(&map, i, &tables[i % 2][511 - i]);
        assert_int_equal(map.lists_count, i >= 15); /* so many runs are in the smallest piece of memory */
    }
    assert_int_equal(map.run_bytes, 0);
    for (unsigned i = 0; i < RMAP_GROUP_PAGES; i++) {
        assert_ptr_equal(any_of(&map, i), &tables[i % 2][511 - i]);
        assert_int_equal(count_of(&map, i), 1);
    }
    uint64_t bytes = rmap_bytes(&map);
    for (unsigned i = 0; i < 40; i++) {
        add(&map, 3, &tables[2][i]);
    }
    assert_true(rmap_bytes(&map) >= bytes + 2 * sizeof(struct rmap_block));
    assert_int_equal(count_of(&map, 3), 41);
    for (unsigned i = 0; i < 40; i++) {
        remove_entry(&map, 3, &tables[2][i]);
    }
    assert_int_equal(rmap_bytes(&map), bytes);
    add(&map, 64, &tables[0][64]); /* the next group is another one */
    assert_int_equal(map.lists_count, 1);
    for (unsigned i = 0; i < RMAP_GROUP_PAGES; i++) {
        remove_entry(&map, i, &tables[i % 2][511 - i]);
    }
    assert_int_equal(map.lists_count, 0);
    assert_int_equal(map.block_count, 0);
    add(&map, 3, &tables[3][77]); /* any order is good to begin with */
    assert_int_equal(map.lists_count, 0);
    rmap_finish(&map);
}

#define STEPS_PAGES 96u /* a group and a half */

/* Against a set of (page, entry); each entry maps one page at a time. */
static void pages_are_sets(void **state)
{
    (void)state;
    static int mapped[2][TABLE_ENTRIES]; /* which page; -1: none */
    const char *given = getenv("MEMVIRT_TEST_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : 1;
    print_message("# seed %u\n", seed);
    struct rmap map = {0};
    memset(mapped, -1, sizeof mapped);
    size_t expected[STEPS_PAGES] = {0}, most_lists = 0, most_runs = 0, compact_steps = 0;
    for (unsigned step = 0; step < 40000; step++) {
        seed = seed * 1103515245 + 12345;
        unsigned t = seed >> 28 & 1, i = (seed >> 8) % 128;
        bool grows = step / 5000 % 2 == 0;
        int *page = &mapped[t][i];
        if (*page >= 0 && (!grows || seed >> 29 == 0)) {
            remove_entry(&map, (unsigned)*page, &tables[t][i]);
            expected[*page]--;
            *page = -1;
        } else if (*page < 0 && grows) {
            /* Mostly in order. */
            unsigned number = step / 10000 % 2 == 0 && t == 0 ? i % STEPS_PAGES : (seed >> 16) % STEPS_PAGES;
            number = step < 5000 && t == 1 ? STEPS_PAGES : number;
            if (number < STEPS_PAGES && (step >= 5000 || i < STEPS_PAGES)) {
                add(&map, number, &tables[t][i]);
                expected[number]++;
                *page = (int)number;
            }
        }
        most_lists = map.lists_count > most_lists ? map.lists_count : most_lists;
        most_runs = map.run_bytes > most_runs ? map.run_bytes : most_runs;
        compact_steps += map.lists_count == 0;
        if (step % 16 == 0) {
            for (unsigned n = 0; n < STEPS_PAGES; n++) {
                struct rmap_page of = page_of(&map, n);
                struct rmap_list list = rmap_entries(&of);
                struct rmap_iter it;
                size_t count = 0;
                for (pt_word_t *e = rmap_first(&list, &it); e; e = rmap_next(&it), count++) {
                    assert_int_equal((&mapped[0][0])[e - &tables[0][0]], n);
                }
                assert_int_equal(count, expected[n]);
            }
        }
    }
    assert_int_equal(most_lists, 2);
    assert_true(compact_steps > 1000 && most_runs > 0);
    rmap_finish(&map);
}

static void pages_are_found(void **state)
{
    (void)state;
    struct rmap map = {0};
    assert_null(rmap_find(&map, 0x7f0000000000));
    struct rmap_chunk *chunk = rmap_get(&map, 0x7f0000201000);
    assert_ptr_equal(rmap_find(&map, 0x7f00003fffff), chunk);
    assert_null(rmap_find(&map, 0x7f0000400000));
    assert_null(rmap_find(&map, 0x7f00001fffff));
    /* More than the first buckets. */
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(rmap_get(&map, i << 21)->number, i);
    }
    for (uint64_t i = 0; i < 1000; i++) {
        assert_non_null(rmap_find(&map, i << 21));
    }
    assert_int_equal(map.chunk_count, 1001);
    assert_ptr_equal(rmap_find(&map, 0x7f0000201000), chunk);
    assert_true(rmap_bytes(&map) > 1001 * sizeof *chunk);
    /* Large pages have lists of their own. */
    struct rmap_page small = {chunk, 0x7f0000201000, 1}, large = {chunk, 0x7f0000201000, 2},
                     huge = {chunk, 0x7f0000201000, 3};
    for (unsigned i = 0; i < ENTRIES; i++) {
        assert_true(rmap_add_to(&map, i % 3 == 0 ? &small : i % 3 == 1 ? &large : &huge, &entries[i]));
    }
    struct rmap_list list = rmap_entries(&large);
    assert_int_equal(rmap_count(&list), ENTRIES / 3);
    assert_int_equal(chunk->page_2m.word, list.word);
    list = rmap_entries(&huge);
    assert_int_equal(chunk->page_1g.word, list.word);
    rmap_finish(&map); /* with its chains: the leak checker looks */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_entry_is_the_word),
        cmocka_unit_test(lists_are_sets),
        cmocka_unit_test(what_is_in_order_costs_nothing),
        cmocka_unit_test(what_several_map_is_a_run_for_each),
        cmocka_unit_test(runs_come_and_go),
        cmocka_unit_test(what_is_in_no_order_has_lists),
        cmocka_unit_test(pages_are_sets),
        cmocka_unit_test(pages_are_found),
    };
    return cmocka_run_group_tests_name("rmap", tests, NULL, NULL);
}
