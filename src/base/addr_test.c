// SPDX-License-Identifier: MIT
#include "base/addr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TOP UINT64_MAX

static void powers_of_two(void **state)
{
    (void)state;
    assert_false(is_pow2(0));
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t n = UINT64_C(1) << bit;
        assert_true(is_pow2(n));
        assert_false(is_pow2(n | UINT64_C(1) << (bit + 1) % 64));
    }
    assert_false(is_pow2(TOP));
}

static void aligned_is_a_multiple(void **state)
{
    (void)state;
    for (uint64_t alignment = 1; alignment <= 16; alignment *= 2) {
        for (uint64_t n = 0; n < 64; n++) {
            assert_int_equal(is_aligned(n, alignment), n % alignment == 0);
            assert_int_equal(align_down(n, alignment), n / alignment * alignment);
        }
    }
    assert_true(is_aligned(TOP, 1));
    assert_false(is_aligned(TOP, 2));
    assert_true(is_aligned(UINT64_C(1) << 63, UINT64_C(1) << 63));
    assert_int_equal(align_down(TOP, 4096), TOP - 4095);
    assert_int_equal(align_down(TOP, UINT64_C(1) << 63), UINT64_C(1) << 63);
}

static void aligning_up_stops_at_the_end(void **state)
{
    (void)state;
    uint64_t up = 7;
    assert_true(align_up(0, 4096, &up));
    assert_int_equal(up, 0);
    assert_true(align_up(1, 4096, &up));
    assert_int_equal(up, 4096);
    assert_true(align_up(4096, 4096, &up));
    assert_int_equal(up, 4096);
    assert_true(align_up(TOP, 1, &up));
    assert_int_equal(up, TOP);
    assert_true(align_up(TOP - 4095, 4096, &up));
    assert_int_equal(up, TOP - 4095);

    up = 7;
    assert_false(align_up(TOP - 4094, 4096, &up));
    assert_false(align_up(TOP, 2, &up));
    assert_int_equal(up, 7);
}

static void pointers_and_back(void **state)
{
    (void)state;
    char bytes[2] = {0};
    assert_ptr_equal(hva_pointer(hva_of(bytes)), bytes);
    assert_ptr_equal(hva_pointer(hva_add(hva_of(bytes), 1)), bytes + 1);
    assert_int_equal(hva_of(NULL).raw, 0);
    assert_int_equal(gpa_add_wrapping(mv_gpa(TOP), 2).raw, 1);
    assert_int_equal(GUEST_PAGE_SIZE, 4096);
    assert_int_equal(GUEST_PAGE_MASK, 4095);
    assert_int_equal(GIB, UINT64_C(1) << 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(powers_of_two),
        cmocka_unit_test(aligned_is_a_multiple),
        cmocka_unit_test(aligning_up_stops_at_the_end),
        cmocka_unit_test(pointers_and_back),
    };
    return cmocka_run_group_tests_name("addr", tests, NULL, NULL);
}
