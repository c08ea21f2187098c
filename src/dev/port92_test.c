// SPDX-License-Identifier: MIT
#include "dev/port92.h"

#include "dev/dev_test.h"

static void note_reset(void *opaque, const char *how)
{
    assert_string_equal(how, "port 0x92");
    ++*(unsigned *)opaque;
}

static void a_rise_of_bit_0_resets(void **state)
{
    (void)state;
    struct rig rig;
    struct mv_region *port92;
    struct mv_error err;
    unsigned resets = 0;
    rig_open(&rig);
    const struct port92_options options = {.reset = note_reset, .opaque = &resets};
    assert_int_equal(port92_create(rig.machine, &options, &port92, &err), 0);
    rig_show(&rig, port92);
    rig_write(&rig, 0, 1, 0x02);
    assert_int_equal(rig_read(&rig, 0, 1), 0x02);
    assert_int_equal(resets, 0);
    rig_write(&rig, 0, 1, 0x03);
    assert_int_equal(resets, 1);
    rig_write(&rig, 0, 1, 0x03);
    assert_int_equal(resets, 1);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_rise_of_bit_0_resets)};
    return cmocka_run_group_tests_name("port92", tests, NULL, NULL);
}
