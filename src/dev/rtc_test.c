// SPDX-License-Identifier: MIT
#include "dev/rtc.h"

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
    struct mv_region *rtc;
    struct mv_error err;
    fixture = (struct fixture){.now_ns = UINT64_C(1700000000) * NS_PER_S}; /* Tuesday 2023-11-14, 22:13:20 */
    rig_open(&fixture.rig);
    const struct timebase wall = {.now_ns = read_now, .opaque = &fixture.now_ns};
    assert_int_equal(rtc_create(fixture.rig.machine, &wall, &rtc, &err), 0);
    rig_show(&fixture.rig, rtc);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    rig_close(&f->rig);
    return 0;
}

static uint64_t get(const struct fixture *f, unsigned index)
{
    rig_write(&f->rig, 0, 1, index);
    return rig_read(&f->rig, 1, 1);
}

static void set(const struct fixture *f, unsigned index, uint8_t value)
{
    rig_write(&f->rig, 0, 1, index);
    rig_write(&f->rig, 1, 1, value);
}

static void it_tells_the_time_in_bcd(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(get(f, 0x00), 0x20);
    assert_int_equal(get(f, 0x02), 0x13);
    assert_int_equal(get(f, 0x04), 0x22);
    assert_int_equal(get(f, 0x06), 3);
    assert_int_equal(get(f, 0x07), 0x14);
    assert_int_equal(get(f, 0x08), 0x11);
    assert_int_equal(get(f, 0x09), 0x23);
    assert_int_equal(get(f, 0x32), 0x20);
}

static void register_b_chooses_the_form(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(get(f, 0x0b), 0x02);
    set(f, 0x0b, 0x06);
    assert_int_equal(get(f, 0x04), 22);
    assert_int_equal(get(f, 0x09), 23);
    set(f, 0x0b, 0x00);
    assert_int_equal(get(f, 0x04), 0x90); /* 10 p.m. */
    f->now_ns += UINT64_C(2) * 3600 * NS_PER_S;
    assert_int_equal(get(f, 0x04), 0x12); /* 12 a.m. */
}

static void it_says_when_it_is_about_to_update(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(get(f, 0x0a), 0x26);
    f->now_ns += NS_PER_S - 244001;
    assert_int_equal(get(f, 0x0a), 0x26);
    f->now_ns += 1;
    assert_int_equal(get(f, 0x0a), 0xa6);
    f->now_ns += 244000;
    assert_int_equal(get(f, 0x0a), 0x26);
    assert_int_equal(get(f, 0x00), 0x21);
}

static void the_rest_is_memory(void **state)
{
    struct fixture *f = *state;
    set(f, 0x0f, 0x5a);
    assert_int_equal(get(f, 0x0f), 0x5a);
    assert_int_equal(get(f, 0x8f), 0x5a); /* bit 7 of the index is not the index's */
    set(f, 0x72, 0xa5);
    assert_int_equal(get(f, 0x72), 0xa5);
    assert_int_equal(get(f, 0x32), 0x20);
    rtc_set(f->rig.device, 0x34, 0x12);
    assert_int_equal(get(f, 0x34), 0x12);
    assert_int_equal(rig_read(&f->rig, 0, 1), 0xff);
    set(f, 0x0d, 0);
    assert_int_equal(get(f, 0x0d), 0x80);
    assert_int_equal(get(f, 0x0c), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_tells_the_time_in_bcd, setup, teardown),
        cmocka_unit_test_setup_teardown(register_b_chooses_the_form, setup, teardown),
        cmocka_unit_test_setup_teardown(it_says_when_it_is_about_to_update, setup, teardown),
        cmocka_unit_test_setup_teardown(the_rest_is_memory, setup, teardown),
    };
    return cmocka_run_group_tests_name("rtc", tests, NULL, NULL);
}
