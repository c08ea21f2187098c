// SPDX-License-Identifier: MIT
#include "dev/timebase.h"

#include "dev/dev_test.h"

static void ticks_are_exact_at_whole_seconds(void **state)
{
    (void)state;
    assert_int_equal(timebase_ticks(0, 1193182), 0);
    assert_int_equal(timebase_ticks(NS_PER_S, 1193182), 1193182);
    assert_int_equal(timebase_ticks(NS_PER_S - 1, 1193182), 1193181);
    assert_int_equal(timebase_ticks(NS_PER_S / 2, 3579545), 1789772);
}

static void ticks_do_not_overflow_in_centuries(void **state)
{
    (void)state;
    const uint64_t century_s = UINT64_C(100) * 366 * 86400;
    assert_true(timebase_ticks(century_s * NS_PER_S, UINT32_MAX) == century_s * UINT32_MAX);
}

static void the_hosts_time_does_not_go_back(void **state)
{
    (void)state;
    const struct timebase host = timebase_host();
    uint64_t last = timebase_now(&host);
    for (int i = 0; i < 1000; i++) {
        const uint64_t now = timebase_now(&host);
        assert_true(now >= last);
        last = now;
    }
    const struct timebase wall = timebase_wall();
    assert_true(timebase_now(&wall) > UINT64_C(1500000000) * NS_PER_S); /* after 2017 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ticks_are_exact_at_whole_seconds),
        cmocka_unit_test(ticks_do_not_overflow_in_centuries),
        cmocka_unit_test(the_hosts_time_does_not_go_back),
    };
    return cmocka_run_group_tests_name("timebase", tests, NULL, NULL);
}
