// SPDX-License-Identifier: MIT
#include "hardware/front.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint8_t memory[3 * 4096];
static struct front front;

static int reset(void **state)
{
    (void)state;
    memset(front.is_used, 1, sizeof front.is_used);
    front_empty(&front);
    return 0;
}

static void test_hits_by_kind_and_by_whom(void **state)
{
    (void)state;
    uint64_t gva = UINT64_C(0xffffffff80001000);
    assert_null(front_find(&front, gva, 1, 0, 0));
    front_fill(&front, gva + 8, 0, 1, memory + 8, 0x7008, false);
    assert_ptr_equal(front_find(&front, gva, 8, 0, 1), memory);
    assert_ptr_equal(front_find(&front, gva + 4095, 1, 0, 1), memory + 4095);
    assert_int_equal(front_gpa(&front, gva + 4095, 1), 0x7fff);
    assert_null(front_find(&front, gva + 4095, 2, 0, 1)); /* crosses */
    assert_null(front_find(&front, gva, 8, 1, 1));
    assert_null(front_find(&front, gva, 8, 2, 1));
    assert_null(front_find(&front, gva, 8, 0, 0));
    assert_null(front_find(&front, gva + 4096 * FRONT_ENTRIES, 8, 0, 1)); /* the same place, another page */
    front_fill(&front, gva, 1, 1, memory, 0x7000, false);
    assert_ptr_equal(front_find(&front, gva, 8, 0, 1), memory);
    assert_ptr_equal(front_find(&front, gva, 8, 1, 1), memory);
}

/* The kinds have one addend: a page that moved takes the others with it. */
static void test_a_page_that_moved(void **state)
{
    (void)state;
    front_fill(&front, 0x5000, 0, 0, memory, 0x7000, false);
    front_fill(&front, 0x5000, 1, 0, memory + 4096, 0x7000, false);
    assert_null(front_find(&front, 0x5000, 1, 0, 0));
    assert_ptr_equal(front_find(&front, 0x5000, 1, 1, 0), memory + 4096);
}

/* Address 0 and the last page are pages as others. */
static void test_ends(void **state)
{
    (void)state;
    assert_null(front_find(&front, 0, 1, 0, 0));
    assert_null(front_find(&front, UINT64_MAX, 1, 0, 0));
    front_fill(&front, UINT64_MAX - 4095, 0, 0, memory, 0x7000, false);
    assert_ptr_equal(front_find(&front, UINT64_MAX, 1, 0, 0), memory + 4095);
    assert_null(front_find(&front, UINT64_MAX, 2, 0, 0)); /* wraps to 0 */
}

static void test_drop(void **state)
{
    (void)state;
    front_fill(&front, 0x5000, 0, 0, memory, 0x7000, false);
    front_fill(&front, 0x5000, 0, 2, memory, 0x7000, false);
    front_fill(&front, 0x6000, 0, 0, memory, 0x7000, false);
    front_drop_page(&front, 0x5fff);
    assert_null(front_find(&front, 0x5000, 1, 0, 0));
    assert_null(front_find(&front, 0x5000, 1, 0, 2));
    assert_non_null(front_find(&front, 0x6000, 1, 0, 0));
    front_fill(&front, 0x200000, 0, 0, memory, 0x7000, true); /* of 2M: 0x201000 may be here as well */
    front_drop_page(&front, 0x300000);
    assert_null(front_find(&front, 0x200000, 1, 0, 0));
    assert_null(front_find(&front, 0x6000, 1, 0, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_hits_by_kind_and_by_whom, reset),
        cmocka_unit_test_setup(test_a_page_that_moved, reset),
        cmocka_unit_test_setup(test_ends, reset),
        cmocka_unit_test_setup(test_drop, reset),
    };
    return cmocka_run_group_tests_name("front", tests, NULL, NULL);
}
