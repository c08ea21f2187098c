// SPDX-License-Identifier: MIT
#include "dev/fw_cfg.h"

#include <errno.h>

#include "dev/dev_test.h"

#define SELECTOR 0
#define DATA 1

static int setup(void **state)
{
    static struct rig rig;
    struct mv_region *fw_cfg;
    struct mv_error err;
    rig_open(&rig);
    assert_int_equal(fw_cfg_create(rig.machine, "fw_cfg", &fw_cfg, &err), 0);
    rig_show(&rig, fw_cfg);
    *state = &rig;
    return 0;
}

static int teardown(void **state)
{
    rig_close(*state);
    return 0;
}

/* As a guest does: the least significant byte comes first. */
static uint64_t read_item(const struct rig *rig, uint16_t key, unsigned length)
{
    uint64_t value = 0;
    rig_write(rig, SELECTOR, 2, key);
    for (unsigned i = 0; i < length; i++) {
        value |= rig_read(rig, DATA, 1) << (8 * i);
    }
    return value;
}

static void has_signature_and_id(void **state)
{
    const struct rig *rig = *state;
    assert_int_equal(read_item(rig, FW_CFG_SIGNATURE, 4), 0x554d4551); /* "QEMU" */
    assert_int_equal(read_item(rig, FW_CFG_ID, 4), 1);
}

static void numbers_are_little_endian(void **state)
{
    const struct rig *rig = *state;
    assert_int_equal(fw_cfg_add_u64(rig->device, FW_CFG_RAM_SIZE, 0x1122334455667788, NULL), 0);
    assert_int_equal(fw_cfg_add_u16(rig->device, FW_CFG_NB_CPUS, 0x0304, NULL), 0);
    assert_int_equal(read_item(rig, FW_CFG_RAM_SIZE, 8), 0x1122334455667788);
    assert_int_equal(read_item(rig, FW_CFG_NB_CPUS, 2), 0x0304);
}

static void beyond_the_end_there_are_zeroes(void **state)
{
    const struct rig *rig = *state;
    assert_int_equal(fw_cfg_add(rig->device, 0x20, "\xff\xff", 2, NULL), 0);
    assert_int_equal(fw_cfg_add(rig->device, 0x21, NULL, 0, NULL), 0);
    assert_int_equal(read_item(rig, 0x20, 8), 0xffff);
    assert_int_equal(read_item(rig, 0x21, 8), 0);
    assert_int_equal(read_item(rig, 0x1234, 8), 0); /* no such item */
}

static void selecting_rewinds(void **state)
{
    const struct rig *rig = *state;
    assert_int_equal(read_item(rig, FW_CFG_SIGNATURE, 2), 'Q' | 'E' << 8);
    assert_int_equal(rig_read(rig, DATA, 1), 'M');
    assert_int_equal(read_item(rig, FW_CFG_SIGNATURE, 1), 'Q');
}

static void a_wide_read_gives_consecutive_bytes(void **state)
{
    const struct rig *rig = *state;
    assert_int_equal(fw_cfg_add(rig->device, 0x20, "abcdefgh", 8, NULL), 0);
    rig_write(rig, SELECTOR, 2, 0x20);
    assert_int_equal(rig_read(rig, DATA, 1), 'a');
    assert_int_equal(rig_read(rig, DATA, 2), 'b' | 'c' << 8);
    assert_int_equal(rig_read(rig, DATA, 4), 'd' | 'e' << 8 | 'f' << 16 | 'g' << 24);
    assert_int_equal(rig_read(rig, DATA, 2), 'h');
}

static void only_a_word_selects(void **state)
{
    const struct rig *rig = *state;
    assert_int_equal(read_item(rig, FW_CFG_SIGNATURE, 1), 'Q');
    rig_write(rig, SELECTOR, 1, FW_CFG_ID);
    rig_write(rig, DATA, 1, 0);
    rig_write(rig, DATA, 2, FW_CFG_ID);
    assert_int_equal(rig_read(rig, SELECTOR, 1), 0xff);
    assert_int_equal(rig_read(rig, DATA, 1), 'E'); /* none of these moved anything */
}

static void a_key_is_taken_once(void **state)
{
    const struct rig *rig = *state;
    struct mv_error err;
    assert_int_equal(fw_cfg_add_u16(rig->device, 0x20, 1, &err), 0);
    assert_int_equal(fw_cfg_add_u16(rig->device, 0x20, 2, &err), -EEXIST);
    assert_string_equal(err.reason, "duplicate");
    assert_non_null(strstr(err.text, "0x0020"));
    assert_int_equal(read_item(rig, 0x20, 2), 1);
}

static void items_are_copies(void **state)
{
    const struct rig *rig = *state;
    char bytes[] = "before";
    assert_int_equal(fw_cfg_add(rig->device, 0x20, bytes, 6, NULL), 0);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(read_item(rig, 0x20, 1), 'b');
}

/* The directory is big-endian: count; then of each file size, key, two bytes of nothing, the name. */
static void files_are_in_the_directory(void **state)
{
    const struct rig *rig = *state;
    uint8_t directory[4 + 2 * 64];
    assert_int_equal(read_item(rig, FW_CFG_DIRECTORY, 4), 0);
    assert_int_equal(fw_cfg_add_file(rig->device, "etc/e820", "abc", 3, NULL), 0);
    assert_int_equal(fw_cfg_add_file(rig->device, "bootorder", NULL, 0, NULL), 0);
    rig_write(rig, SELECTOR, 2, FW_CFG_DIRECTORY);
    for (size_t i = 0; i < sizeof directory; i++) {
        directory[i] = (uint8_t)rig_read(rig, DATA, 1);
    }
    static const uint8_t count[] = {0, 0, 0, 2}, first[] = {0, 0, 0, 3, 0, 0x20, 0, 0},
                         second[] = {0, 0, 0, 0, 0, 0x21, 0, 0};
    assert_memory_equal(directory, count, 4);
    assert_memory_equal(directory + 4, first, 8);
    assert_string_equal((char *)directory + 12, "etc/e820");
    assert_memory_equal(directory + 68, second, 8);
    assert_string_equal((char *)directory + 76, "bootorder");
    assert_int_equal(read_item(rig, 0x20, 4), 'a' | 'b' << 8 | 'c' << 16);
}

static void names_of_files_have_a_limit(void **state)
{
    const struct rig *rig = *state;
    struct mv_error err;
    char name[FW_CFG_NAME_MAX + 2];
    memset(name, 'n', sizeof name);
    name[FW_CFG_NAME_MAX + 1] = '\0';
    assert_int_equal(fw_cfg_add_file(rig->device, name, "x", 1, &err), -EINVAL);
    assert_string_equal(err.reason, "bad-name");
    name[FW_CFG_NAME_MAX] = '\0';
    assert_int_equal(fw_cfg_add_file(rig->device, name, "x", 1, &err), 0);
    assert_int_equal(read_item(rig, FW_CFG_DIRECTORY, 4), 1 << 24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(has_signature_and_id, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_are_little_endian, setup, teardown),
        cmocka_unit_test_setup_teardown(beyond_the_end_there_are_zeroes, setup, teardown),
        cmocka_unit_test_setup_teardown(selecting_rewinds, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wide_read_gives_consecutive_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(only_a_word_selects, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_is_taken_once, setup, teardown),
        cmocka_unit_test_setup_teardown(items_are_copies, setup, teardown),
        cmocka_unit_test_setup_teardown(files_are_in_the_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(names_of_files_have_a_limit, setup, teardown),
    };
    return cmocka_run_group_tests_name("fw_cfg", tests, NULL, NULL);
}
