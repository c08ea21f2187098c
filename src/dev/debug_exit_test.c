// SPDX-License-Identifier: MIT
#include "dev/debug_exit.h"

#include "dev/dev_test.h"

struct exits {
    unsigned count;
    uint32_t last;
};

static void note_exit(void *opaque, uint32_t value)
{
    struct exits *exits = opaque;
    exits->count++;
    exits->last = value;
}

static void each_write_is_one_exit_with_its_whole_value(void **state)
{
    (void)state;
    struct rig rig;
    struct exits exits = {0};
    struct mv_region *device;
    struct mv_error err;
    rig_open(&rig);
    const struct debug_exit_options options = {.name = "debug-exit", .exit = note_exit, .opaque = &exits};
    assert_int_equal(debug_exit_create(rig.machine, &options, &device, &err), 0);
    rig_show(&rig, device);

    static const struct {
        unsigned size_bytes;
        uint32_t value;
    } writes[] = {{1, 0x21}, {2, 0x4321}, {4, 0x87654321}};
    for (unsigned i = 0; i < 3; i++) {
        rig_write(&rig, 0, writes[i].size_bytes, writes[i].value);
        assert_int_equal(exits.count, i + 1);
        assert_int_equal(exits.last, writes[i].value);
    }
    assert_int_equal(rig_read(&rig, 0, 1), 0xff);
    assert_int_equal(rig_read(&rig, 0, 4), 0xffffffff);
    assert_int_equal(exits.count, 3);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_write_is_one_exit_with_its_whole_value),
    };
    return cmocka_run_group_tests_name("debug_exit", tests, NULL, NULL);
}
