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

static void pages_have_lists_of_their_own(void **state)
{
    (void)state;
    struct rmap map = {0};
    assert_null(rmap_find(&map, 0x7f0000000000));
    struct rmap_chunk *chunk = rmap_get(&map, 0x7f0000201000);
    assert_ptr_equal(rmap_find(&map, 0x7f00003fffff), chunk);
    assert_null(rmap_find(&map, 0x7f0000400000));
    assert_null(rmap_find(&map, 0x7f00001fffff));
    assert_ptr_not_equal(rmap_of(chunk, 0x7f0000201000, 1), rmap_of(chunk, 0x7f0000202000, 1));
    assert_ptr_equal(rmap_of(chunk, 0x7f0000201000, 1), rmap_of(chunk, 0x7f0000201fff, 1));
    assert_ptr_equal(rmap_of(chunk, 0x7f0000201000, 2), &chunk->page_2m);
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
    for (unsigned i = 0; i < ENTRIES; i++) {
        assert_true(rmap_add(rmap_of(chunk, 0x7f0000201000, 1), &entries[i]));
    }
    rmap_finish(&map); /* with its chains: the leak checker looks */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_entry_is_the_word),
        cmocka_unit_test(lists_are_sets),
        cmocka_unit_test(pages_have_lists_of_their_own),
    };
    return cmocka_run_group_tests_name("rmap", tests, NULL, NULL);
}
