// SPDX-License-Identifier: MIT
#include "base/rangeset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define CELLS 96

/* A naive model: one bool for each address. Cell i of the high half is address UINT64_MAX - CELLS + 1 + i. */
struct model {
    bool in[CELLS];
    uint64_t base;
};

static void compare(const struct rangeset *set, const struct model *model, struct mv_range cells)
{
    const uint64_t base = model->base;
    bool all = true;
    uint64_t first_in = CELLS, first_out = CELLS;
    for (uint64_t i = cells.first; i <= cells.last; i++) {
        all = all && model->in[i];
        first_in = model->in[i] && first_in == CELLS ? i : first_in;
        first_out = !model->in[i] && first_out == CELLS ? i : first_out;
    }
    const struct mv_range range = {base + cells.first, base + cells.last};
    struct mv_range got = {0};
    assert_int_equal(rangeset_covers(set, range), all);
    assert_int_equal(rangeset_next(set, range, &got), first_in != CELLS);
    if (first_in != CELLS) {
        assert_int_equal(got.first, base + first_in);
        uint64_t last = first_in;
        while (last < cells.last && model->in[last + 1]) {
            last++;
        }
        assert_int_equal(got.last, base + last);
    }
    assert_int_equal(rangeset_next_hole(set, range, &got), first_out != CELLS);
    if (first_out != CELLS) {
        assert_int_equal(got.first, base + first_out);
        uint64_t last = first_out;
        while (last < cells.last && !model->in[last + 1]) {
            last++;
        }
        assert_int_equal(got.last, base + last);
    }
}

static void random_edits_equal_a_model(uint64_t base, unsigned seed)
{
    struct rangeset set = {0};
    struct model model = {.base = base};
    for (unsigned step = 0; step < 20000; step++) {
        uint64_t a = (uint64_t)rand_r(&seed) % CELLS, b = (uint64_t)rand_r(&seed) % CELLS;
        const struct mv_range cells = {a < b ? a : b, a < b ? b : a};
        const struct mv_range range = {base + cells.first, base + cells.last};
        bool add = rand_r(&seed) & 1;
        assert_int_equal(rangeset_reserve(&set), 0);
        if (cells.last - cells.first > 12) {
            compare(&set, &model, cells);
            continue;
        }
        (add ? rangeset_add : rangeset_remove)(&set, range);
        for (uint64_t i = cells.first; i <= cells.last; i++) {
            model.in[i] = add;
        }
        assert_true(rangeset_check(&set));
        compare(&set, &model, (struct mv_range){0, CELLS - 1});
    }
    rangeset_finish(&set);
    assert_int_equal(set.count, 0);
}

static void it_is_what_a_naive_model_is(void **state)
{
    (void)state;
    unsigned seed = (unsigned)time(NULL);
    printf("# seed %u\n", seed);
    random_edits_equal_a_model(0, seed);
    random_edits_equal_a_model(1000, seed + 1);
    random_edits_equal_a_model(UINT64_MAX - CELLS + 1, seed + 2);
}

static void the_whole_of_2_64_is_a_range_too(void **state)
{
    (void)state;
    struct rangeset set = {0};
    struct mv_range got;
    assert_int_equal(rangeset_reserve(&set), 0);
    rangeset_add(&set, RANGE_ALL);
    assert_true(rangeset_covers(&set, RANGE_ALL));
    assert_false(rangeset_next_hole(&set, RANGE_ALL, &got));
    assert_int_equal(rangeset_reserve(&set), 0);
    rangeset_remove(&set, (struct mv_range){5, 5});
    assert_int_equal(set.count, 2);
    assert_true(rangeset_next_hole(&set, RANGE_ALL, &got));
    assert_true(range_equal(got, (struct mv_range){5, 5}));
    rangeset_remove(&set, RANGE_ALL);
    assert_int_equal(set.count, 0);
    rangeset_finish(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_what_a_naive_model_is),
        cmocka_unit_test(the_whole_of_2_64_is_a_range_too),
    };
    return cmocka_run_group_tests_name("rangeset", tests, NULL, NULL);
}
