// SPDX-License-Identifier: MIT
#include "dev/empty_ports.h"

#include "dev/dev_test.h"

static void they_read_as_ones_in_every_size(void **state)
{
    (void)state;
    struct rig rig;
    struct mv_region *ports;
    struct mv_error err;
    rig_open(&rig);
    assert_int_equal(empty_ports_create(rig.machine, "ioport80", 2, &ports, &err), 0);
    assert_string_equal(mv_region_name(ports), "ioport80");
    rig_show(&rig, ports);
    rig_write(&rig, 0, 1, 0);
    assert_int_equal(rig_read(&rig, 0, 1), 0xff);
    assert_int_equal(rig_read(&rig, 0, 2), 0xffff);
    assert_int_equal(rig_read(&rig, 1, 4), 0xffffffff); /* past the last port */
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(they_read_as_ones_in_every_size)};
    return cmocka_run_group_tests_name("empty_ports", tests, NULL, NULL);
}
