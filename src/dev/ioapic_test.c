// SPDX-License-Identifier: MIT
#include "dev/ioapic.h"

#include "dev/dev_test.h"

static int setup(void **state)
{
    static struct rig rig;
    struct mv_region *ioapic;
    struct mv_error err;
    rig_open(&rig);
    assert_int_equal(ioapic_create(rig.machine, &ioapic, &err), 0);
    rig_show(&rig, ioapic);
    *state = &rig;
    return 0;
}

static int teardown(void **state)
{
    rig_close(*state);
    return 0;
}

static uint64_t get(const struct rig *rig, unsigned index)
{
    rig_write(rig, 0x00, 4, index);
    assert_int_equal(rig_read(rig, 0x00, 4), index);
    return rig_read(rig, 0x10, 4);
}

static void set(const struct rig *rig, unsigned index, uint32_t value)
{
    rig_write(rig, 0x00, 4, index);
    rig_write(rig, 0x10, 4, value);
}

static void it_has_24_masked_entries(void **state)
{
    const struct rig *rig = *state;
    assert_int_equal(get(rig, 1), 0x00170011);
    for (unsigned pin = 0; pin < 24; pin++) {
        assert_int_equal(get(rig, 0x10 + 2 * pin), 0x10000);
        assert_int_equal(get(rig, 0x11 + 2 * pin), 0);
    }
    assert_int_equal(get(rig, 0x40), 0);
}

static void entries_and_id_are_kept(void **state)
{
    const struct rig *rig = *state;
    set(rig, 0, 0xffffffff);
    assert_int_equal(get(rig, 0), 0x0f000000);
    assert_int_equal(get(rig, 2), 0x0f000000);
    set(rig, 0x10, 0xffffffff);
    assert_int_equal(get(rig, 0x10), 0x0001afff); /* status bits are the chip's */
    set(rig, 0x3f, 0x02000000);
    assert_int_equal(get(rig, 0x3f), 0x02000000);
    set(rig, 1, 0);
    assert_int_equal(get(rig, 1), 0x00170011);
    set(rig, 0x40, 1);
    assert_int_equal(rig_read(rig, 0x20, 4), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_has_24_masked_entries, setup, teardown),
        cmocka_unit_test_setup_teardown(entries_and_id_are_kept, setup, teardown),
    };
    return cmocka_run_group_tests_name("ioapic", tests, NULL, NULL);
}
