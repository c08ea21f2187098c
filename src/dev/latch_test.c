// SPDX-License-Identifier: MIT
#include "dev/latch.h"

#include "dev/dev_test.h"

static void ports_keep_what_is_written(void **state)
{
    (void)state;
    struct rig rig;
    struct mv_region *latch;
    struct mv_error err;
    rig_open(&rig);
    assert_int_equal(latch_create(rig.machine, "dma-page", 3, &latch, &err), 0);
    assert_string_equal(mv_region_name(latch), "dma-page");
    rig_show(&rig, latch);
    assert_int_equal(rig_read(&rig, 0, 1), 0);
    rig_write(&rig, 0, 2, 0x1234);
    rig_write(&rig, 2, 1, 0x56);
    assert_int_equal(rig_read(&rig, 0, 1), 0x34);
    assert_int_equal(rig_read(&rig, 1, 2), 0x5612);
    rig_close(&rig);
}

static void an_access_past_the_end_is_harmless(void **state)
{
    (void)state;
    struct rig rig;
    struct mv_region *latch;
    struct mv_error err;
    rig_open(&rig);
    assert_int_equal(latch_create(rig.machine, "dma-page", 3, &latch, &err), 0);
    rig_show(&rig, latch);
    rig_write(&rig, 0, 4, 0x44332211);
    assert_int_equal(rig_read(&rig, 0, 4), 0x44332211); /* one access goes to one device */
    assert_int_equal(rig_read(&rig, 2, 1), 0x33);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ports_keep_what_is_written),
        cmocka_unit_test(an_access_past_the_end_is_harmless),
    };
    return cmocka_run_group_tests_name("latch", tests, NULL, NULL);
}
