// SPDX-License-Identifier: MIT
#include "dev/hpet.h"

#include "dev/dev_test.h"

struct fixture {
    struct rig rig;
    uint64_t now_ns;
};

static uint64_t read_now(void *opaque)
{
    return *(const uint64_t *)opaque;
}

static int setup(void **state)
{
    static struct fixture fixture;
    struct mv_region *hpet;
    struct mv_error err;
    fixture = (struct fixture){.now_ns = 12345678};
    rig_open(&fixture.rig);
    const struct timebase timebase = {.now_ns = read_now, .opaque = &fixture.now_ns};
    assert_int_equal(hpet_create(fixture.rig.machine, &timebase, &hpet, &err), 0);
    rig_show(&fixture.rig, hpet);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    rig_close(&f->rig);
    return 0;
}

static void it_says_what_it_is(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(rig_read(&f->rig, 0x00, 4), 0x8086a201); /* three timers */
    assert_int_equal(rig_read(&f->rig, 0x04, 4), 10000000);   /* femtoseconds */
    assert_int_equal(rig_read(&f->rig, 0x00, 8), UINT64_C(10000000) << 32 | 0x8086a201);
}

static void the_counter_runs_while_it_is_enabled(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(rig_read(&f->rig, 0xf0, 8), 0);
    f->now_ns += 1000;
    assert_int_equal(rig_read(&f->rig, 0xf0, 8), 0);
    rig_write(&f->rig, 0x10, 4, 1);
    f->now_ns += 1000;
    assert_int_equal(rig_read(&f->rig, 0xf0, 8), 100);
    rig_write(&f->rig, 0x10, 4, 0);
    f->now_ns += 1000;
    assert_int_equal(rig_read(&f->rig, 0xf0, 8), 100);
    rig_write(&f->rig, 0xf0, 8, UINT64_C(0x1ffffffff));
    rig_write(&f->rig, 0x10, 4, 1);
    f->now_ns += 10;
    assert_int_equal(rig_read(&f->rig, 0xf4, 4), 2);
    assert_int_equal(rig_read(&f->rig, 0xf0, 4), 0);
}

static void comparators_are_storage_without_a_route(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(rig_read(&f->rig, 0x100, 8), 0x30);
    rig_write(&f->rig, 0x100, 4, 0x4e);
    assert_int_equal(rig_read(&f->rig, 0x100, 8), 0x7e);
    assert_true(rig_read(&f->rig, 0x148, 8) == UINT64_MAX);
    rig_write(&f->rig, 0x148, 4, 5);
    rig_write(&f->rig, 0x14c, 4, 6);
    assert_int_equal(rig_read(&f->rig, 0x148, 8), UINT64_C(6) << 32 | 5);
    rig_write(&f->rig, 0x160, 8, 1); /* a fourth timer is not there */
    assert_int_equal(rig_read(&f->rig, 0x160, 8), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_says_what_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(the_counter_runs_while_it_is_enabled, setup, teardown),
        cmocka_unit_test_setup_teardown(comparators_are_storage_without_a_route, setup, teardown),
    };
    return cmocka_run_group_tests_name("hpet", tests, NULL, NULL);
}
