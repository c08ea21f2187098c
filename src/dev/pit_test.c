// SPDX-License-Identifier: MIT
#include "dev/pit.h"

#include "dev/dev_test.h"

#define PORT61 0x61

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
    struct mv_region *counters, *speaker;
    struct mv_error err;
    fixture = (struct fixture){0};
    rig_open(&fixture.rig);
    const struct timebase timebase = {.now_ns = read_now, .opaque = &fixture.now_ns};
    assert_int_equal(pit_create(fixture.rig.machine, &timebase, &counters, &speaker, &err), 0);
    struct mv_region *ports = rig_ports(&fixture.rig);
    rig_place(ports, 0x40, counters);
    rig_place(ports, PORT61, speaker);
    rig_show(&fixture.rig, ports);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    rig_close(&f->rig);
    return 0;
}

/* To the moment at which `ticks` have passed since time 0. */
static void at_tick(struct fixture *f, uint64_t ticks)
{
    f->now_ns = (ticks * NS_PER_S + PIT_HZ - 1) / PIT_HZ;
}

static void load(const struct fixture *f, unsigned counter, unsigned mode, uint16_t value)
{
    rig_write(&f->rig, 0x43, 1, counter << 6 | 0x30 | mode << 1);
    rig_write(&f->rig, 0x40 + counter, 1, value & 0xff);
    rig_write(&f->rig, 0x40 + counter, 1, value >> 8);
}

static uint64_t read_count(const struct fixture *f, unsigned counter)
{
    const uint64_t low = rig_read(&f->rig, 0x40 + counter, 1);
    return low | rig_read(&f->rig, 0x40 + counter, 1) << 8;
}

static void mode_2_counts_round(void **state)
{
    struct fixture *f = *state;
    load(f, 0, 2, 1000);
    assert_int_equal(read_count(f, 0), 1000);
    at_tick(f, 1);
    assert_int_equal(read_count(f, 0), 999);
    at_tick(f, 999);
    assert_int_equal(read_count(f, 0), 1);
    at_tick(f, 1000);
    assert_int_equal(read_count(f, 0), 1000);
    at_tick(f, 12345);
    assert_int_equal(read_count(f, 0), 655);
}

static void a_count_of_0_is_65536(void **state)
{
    struct fixture *f = *state;
    load(f, 0, 2, 0);
    at_tick(f, 1);
    assert_int_equal(read_count(f, 0), 0xffff);
    at_tick(f, 0x10001);
    assert_int_equal(read_count(f, 0), 0xffff);
}

static void mode_3_counts_by_two(void **state)
{
    struct fixture *f = *state;
    load(f, 0, 3, 1000);
    at_tick(f, 1);
    assert_int_equal(read_count(f, 0), 998);
    at_tick(f, 500);
    assert_int_equal(read_count(f, 0), 1000);
}

static void mode_0_goes_on_below_0(void **state)
{
    struct fixture *f = *state;
    load(f, 0, 0, 10);
    at_tick(f, 11);
    assert_int_equal(read_count(f, 0), 0xffff);
}

static void a_latched_count_stands_still(void **state)
{
    struct fixture *f = *state;
    load(f, 0, 2, 0x1234);
    rig_write(&f->rig, 0x43, 1, 0x00);
    at_tick(f, 100);
    rig_write(&f->rig, 0x43, 1, 0x00); /* one latch is enough */
    assert_int_equal(read_count(f, 0), 0x1234);
    assert_int_equal(read_count(f, 0), 0x1234 - 100);
}

static void read_back_has_status_and_count(void **state)
{
    struct fixture *f = *state;
    load(f, 0, 2, 500);
    rig_write(&f->rig, 0x43, 1, 0xc2); /* counter 0: both */
    assert_int_equal(rig_read(&f->rig, 0x40, 1), 0x80 | 0x34);
    assert_int_equal(read_count(f, 0), 500);
    rig_write(&f->rig, 0x43, 1, 0x34);
    rig_write(&f->rig, 0x43, 1, 0xe2);                         /* status only */
    assert_int_equal(rig_read(&f->rig, 0x40, 1) & 0x40, 0x40); /* nothing loaded yet */
}

static void one_byte_modes(void **state)
{
    struct fixture *f = *state;
    rig_write(&f->rig, 0x43, 1, 0x54); /* counter 1, low byte, mode 2: as for refresh */
    rig_write(&f->rig, 0x41, 1, 18);
    at_tick(f, 20);
    assert_int_equal(rig_read(&f->rig, 0x41, 1), 16);
    rig_write(&f->rig, 0x43, 1, 0x64); /* high byte */
    rig_write(&f->rig, 0x41, 1, 0x12);
    at_tick(f, 21);
    assert_int_equal(rig_read(&f->rig, 0x41, 1), 0x11);
}

/* As a kernel calibrates its TSC: gate on, count once, wait for the output. */
static void port_61_has_counter_2s_gate_and_output(void **state)
{
    struct fixture *f = *state;
    rig_write(&f->rig, PORT61, 1, 0x00);
    load(f, 2, 0, 1000);
    at_tick(f, 5000);
    assert_int_equal(rig_read(&f->rig, PORT61, 1) & 0x23, 0); /* it does not count without its gate */
    rig_write(&f->rig, PORT61, 1, 0x01);
    at_tick(f, 5999);
    assert_int_equal(rig_read(&f->rig, PORT61, 1) & 0x23, 0x01);
    at_tick(f, 6000);
    assert_int_equal(rig_read(&f->rig, PORT61, 1) & 0x23, 0x21);
    rig_write(&f->rig, PORT61, 1, 0x03);
    assert_int_equal(rig_read(&f->rig, PORT61, 1) & 0x23, 0x23);
}

static void port_61_toggles_with_refresh(void **state)
{
    struct fixture *f = *state;
    unsigned seen = 0;
    for (int i = 0; i < 4; i++) {
        seen |= 1U << (rig_read(&f->rig, PORT61, 1) >> 4 & 1);
        f->now_ns += 15085;
    }
    assert_int_equal(seen, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(mode_2_counts_round, setup, teardown),
        cmocka_unit_test_setup_teardown(a_count_of_0_is_65536, setup, teardown),
        cmocka_unit_test_setup_teardown(mode_3_counts_by_two, setup, teardown),
        cmocka_unit_test_setup_teardown(mode_0_goes_on_below_0, setup, teardown),
        cmocka_unit_test_setup_teardown(a_latched_count_stands_still, setup, teardown),
        cmocka_unit_test_setup_teardown(read_back_has_status_and_count, setup, teardown),
        cmocka_unit_test_setup_teardown(one_byte_modes, setup, teardown),
        cmocka_unit_test_setup_teardown(port_61_has_counter_2s_gate_and_output, setup, teardown),
        cmocka_unit_test_setup_teardown(port_61_toggles_with_refresh, setup, teardown),
    };
    return cmocka_run_group_tests_name("pit", tests, NULL, NULL);
}
