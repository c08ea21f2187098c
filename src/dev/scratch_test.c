// SPDX-License-Identifier: MIT
#include "dev/scratch.h"

#include "dev/dev_test.h"

static int setup(void **state)
{
    static struct rig rig;
    struct mv_region *scratch;
    struct mv_error err;
    rig_open(&rig);
    assert_int_equal(scratch_create(rig.machine, &scratch, &err), 0);
    rig_show(&rig, scratch);
    *state = &rig;
    return 0;
}

static int teardown(void **state)
{
    rig_close(*state);
    return 0;
}

static void register_keeps_64_bits(void **state)
{
    const struct rig *rig = *state;
    assert_int_equal(rig_read(rig, 0, 8), 0);
    rig_write(rig, 0, 8, 0x1122334455667788);
    assert_int_equal(rig_read(rig, 0, 8), 0x1122334455667788);
}

/* Every aligned part of the register, against a plain array of bytes. */
static void any_aligned_part_can_be_accessed(void **state)
{
    const struct rig *rig = *state;
    uint8_t model[8] = {0};
    uint64_t value = 0x0102030405060708;
    for (unsigned size = 1; size <= 8; size *= 2) {
        for (unsigned offset = 0; offset < 8; offset += size) {
            value = value * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            rig_write(rig, offset, size, value);
            memcpy(model + offset, &value, size);
            for (unsigned n = 1; n <= 8; n *= 2) {
                for (unsigned at = 0; at < 8; at += n) {
                    uint64_t expected = 0;
                    memcpy(&expected, model + at, n);
                    assert_int_equal(rig_read(rig, at, n), expected);
                }
            }
        }
    }
}

static void id_is_constant(void **state)
{
    const struct rig *rig = *state;
    rig_write(rig, 8, 8, UINT64_MAX);
    rig_write(rig, 8, 4, 0);
    assert_int_equal(rig_read(rig, 0, 8), 0);
    assert_int_equal(rig_read(rig, 8, 4), 0x6d656d76);
    assert_int_equal(rig_read(rig, 8, 8), 0x6d656d76);
    assert_int_equal(rig_read(rig, 9, 1), 0x6d);
    assert_int_equal(rig_read(rig, 12, 4), 0);
}

static void the_rest_is_nothing(void **state)
{
    const struct rig *rig = *state;
    rig_write(rig, 0x10, 8, UINT64_MAX);
    rig_write(rig, SCRATCH_SIZE - 8, 8, UINT64_MAX);
    assert_int_equal(rig_read(rig, 0x10, 8), 0);
    assert_int_equal(rig_read(rig, SCRATCH_SIZE - 8, 8), 0);
    assert_int_equal(rig_read(rig, 0, 8), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(register_keeps_64_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(any_aligned_part_can_be_accessed, setup, teardown),
        cmocka_unit_test_setup_teardown(id_is_constant, setup, teardown),
        cmocka_unit_test_setup_teardown(the_rest_is_nothing, setup, teardown),
    };
    return cmocka_run_group_tests_name("scratch", tests, NULL, NULL);
}
