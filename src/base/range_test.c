// SPDX-License-Identifier: MIT
#include "base/range.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TOP UINT64_MAX
#define R(first, last) ((struct mv_range){first, last})

static void assert_range(struct mv_range r, uint64_t first, uint64_t last)
{
    assert_int_equal(r.first, first);
    assert_int_equal(r.last, last);
}

static void made_of_a_first_and_a_size(void **state)
{
    (void)state;
    struct mv_range r;
    assert_true(range_of(0, 1, &r));
    assert_range(r, 0, 0);
    assert_true(range_of(TOP, 1, &r));
    assert_range(r, TOP, TOP);
    assert_true(range_of(TOP - 4095, 4096, &r));
    assert_range(r, TOP - 4095, TOP);
    assert_true(range_of(0, TOP - 1, &r));
    assert_range(r, 0, TOP - 2);
    assert_true(range_of(2, TOP - 1, &r));
    assert_range(r, 2, TOP);
    assert_true(range_of(0, MV_SIZE_2_64, &r));
    assert_range(r, 0, TOP);
}

static void what_does_not_fit_is_none(void **state)
{
    (void)state;
    struct mv_range r = R(3, 4);
    assert_false(range_of(0, 0, &r));
    assert_false(range_of(TOP, 0, &r));
    assert_false(range_of(TOP, 2, &r));
    assert_false(range_of(TOP - 4094, 4096, &r));
    assert_false(range_of(3, TOP - 1, &r));
    assert_false(range_of(1, MV_SIZE_2_64, &r));
    assert_false(range_of(TOP, MV_SIZE_2_64, &r));
    assert_range(r, 3, 4);
}

static void size_is_that_of_both_ends(void **state)
{
    (void)state;
    assert_int_equal(range_size(R(5, 5)), 1);
    assert_int_equal(range_size(R(TOP, TOP)), 1);
    assert_int_equal(range_size(R(1, TOP - 1)), TOP - 1);
    assert_int_equal(range_size(RANGE_ALL), MV_SIZE_2_64);
}

static void contains_covers_and_equals(void **state)
{
    (void)state;
    assert_true(range_contains(R(4, 6), 4));
    assert_true(range_contains(R(4, 6), 6));
    assert_false(range_contains(R(4, 6), 3));
    assert_false(range_contains(R(4, 6), 7));
    assert_true(range_contains(RANGE_ALL, TOP));
    assert_true(range_contains(R(TOP, TOP), TOP));
    assert_false(range_contains(R(TOP, TOP), 0));

    assert_true(range_covers(R(4, 6), R(4, 6)));
    assert_true(range_covers(R(4, 6), R(5, 5)));
    assert_false(range_covers(R(4, 6), R(3, 5)));
    assert_false(range_covers(R(4, 6), R(5, 7)));
    assert_true(range_covers(RANGE_ALL, R(0, TOP)));

    assert_true(range_equal(R(4, 6), R(4, 6)));
    assert_false(range_equal(R(4, 6), R(4, 7)));
    assert_false(range_equal(R(4, 6), R(3, 6)));
}

/* All pairs of ranges within 0..5, and the same at the end of the numbers. */
static void what_two_have_in_common(void **state)
{
    (void)state;
    const uint64_t bases[] = {0, TOP - 5};
    for (size_t b = 0; b < 2; b++) {
        uint64_t base = bases[b];
        for (uint64_t code = 0; code < UINT64_C(6) * 6 * 6 * 6; code++) {
            uint64_t ends[4] = {code % 6, code / 6 % 6, code / 36 % 6, code / 216};
            if (ends[0] > ends[1] || ends[2] > ends[3]) {
                continue;
            }
            struct mv_range one = R(base + ends[0], base + ends[1]);
            struct mv_range two = R(base + ends[2], base + ends[3]);
            unsigned common = 0;
            for (uint64_t i = 0; i <= 5; i++) {
                common += range_contains(one, base + i) && range_contains(two, base + i);
            }
            struct mv_range both = R(1, 0);
            assert_int_equal(range_overlaps(one, two), common > 0);
            assert_int_equal(range_intersect(one, two, &both), common > 0);
            assert_int_equal(both.last - both.first + 1, common);
            if (common > 0) {
                assert_true(range_covers(one, both) && range_covers(two, both));
            }
        }
    }
}

static void whole_pages(void **state)
{
    (void)state;
    struct mv_range r;
    assert_true(range_whole_pages(R(0, 4095), 4096, &r));
    assert_range(r, 0, 4095);
    assert_true(range_whole_pages(R(1, 8191), 4096, &r));
    assert_range(r, 4096, 8191);
    assert_true(range_whole_pages(R(4096, 12286), 4096, &r));
    assert_range(r, 4096, 8191);
    assert_true(range_whole_pages(RANGE_ALL, 4096, &r));
    assert_range(r, 0, TOP);
    assert_true(range_whole_pages(R(1, TOP), 4096, &r));
    assert_range(r, 4096, TOP);
    assert_true(range_whole_pages(R(0, TOP - 1), 4096, &r));
    assert_range(r, 0, TOP - 4096);
    assert_true(range_whole_pages(R(TOP - 4095, TOP), 4096, &r));
    assert_range(r, TOP - 4095, TOP);
}

static void no_whole_page(void **state)
{
    (void)state;
    struct mv_range r = R(3, 4);
    assert_false(range_whole_pages(R(0, 4094), 4096, &r));
    assert_false(range_whole_pages(R(1, 4096), 4096, &r));
    assert_false(range_whole_pages(R(1, 8190), 4096, &r));
    assert_false(range_whole_pages(R(4097, 4100), 4096, &r));
    assert_false(range_whole_pages(R(TOP - 4094, TOP), 4096, &r));
    assert_false(range_whole_pages(R(TOP, TOP), 4096, &r));
    assert_false(range_whole_pages(R(TOP - 4095, TOP - 1), 4096, &r));
    assert_range(r, 3, 4);
}

/* Against the definition, with pages of 4 bytes. */
static void whole_pages_of_every_small_range(void **state)
{
    (void)state;
    const uint64_t bases[] = {0, TOP - 23};
    for (size_t b = 0; b < 2; b++) {
        for (uint64_t first = 0; first < 24; first++) {
            for (uint64_t last = first; last < 24; last++) {
                struct mv_range r = R(bases[b] + first, bases[b] + last);
                struct mv_range pages = R(1, 0);
                bool any = range_whole_pages(r, 4, &pages);
                uint64_t bytes = 0;
                for (uint64_t page = 0; page < 24; page += 4) {
                    bytes += first <= page && page + 3 <= last ? 4 : 0;
                }
                assert_int_equal(any, bytes > 0);
                assert_int_equal(pages.last - pages.first + 1, bytes);
                assert_true(!any || (range_covers(r, pages) && pages.first % 4 == 0));
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_of_a_first_and_a_size),
        cmocka_unit_test(what_does_not_fit_is_none),
        cmocka_unit_test(size_is_that_of_both_ends),
        cmocka_unit_test(contains_covers_and_equals),
        cmocka_unit_test(what_two_have_in_common),
        cmocka_unit_test(whole_pages),
        cmocka_unit_test(no_whole_page),
        cmocka_unit_test(whole_pages_of_every_small_range),
    };
    return cmocka_run_group_tests_name("range", tests, NULL, NULL);
}
