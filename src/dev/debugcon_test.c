// SPDX-License-Identifier: MIT
#include "dev/debugcon.h"

#include "dev/dev_test.h"

static void prints_and_says_that_it_is_there(void **state)
{
    (void)state;
    struct rig rig;
    struct kept kept = {0};
    struct mv_region *debugcon;
    struct mv_error err;
    rig_open(&rig);
    const struct sink sink = {kept_write, &kept};
    assert_int_equal(debugcon_create(rig.machine, "debugcon", &sink, &debugcon, &err), 0);
    rig_show(&rig, debugcon);

    assert_int_equal(rig_read(&rig, 0, 1), 0xe9);
    rig_write(&rig, 0, 1, 'o');
    rig_write(&rig, 0, 1, 'k');
    assert_kept(&kept, "ok");
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints_and_says_that_it_is_there),
    };
    return cmocka_run_group_tests_name("debugcon", tests, NULL, NULL);
}
