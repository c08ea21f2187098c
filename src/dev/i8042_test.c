// SPDX-License-Identifier: MIT
#include "dev/i8042.h"

#include "dev/dev_test.h"

#define DATA 0x60
#define COMMAND 0x64

struct fixture {
    struct rig rig;
    unsigned resets;
};

static void note_reset(void *opaque, const char *how)
{
    ((struct fixture *)opaque)->resets++;
    assert_string_equal(how, "the keyboard controller");
}

static int setup(void **state)
{
    static struct fixture fixture;
    struct mv_region *data, *command;
    struct mv_error err;
    fixture = (struct fixture){0};
    rig_open(&fixture.rig);
    const struct i8042_options options = {.reset = note_reset, .opaque = &fixture};
    assert_int_equal(i8042_create(fixture.rig.machine, &options, &data, &command, &err), 0);
    struct mv_region *ports = rig_ports(&fixture.rig);
    rig_place(ports, DATA, data);
    rig_place(ports, COMMAND, command);
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

/* The answer must be there, and nothing behind it. */
static void assert_answers(const struct fixture *f, const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        assert_int_equal(rig_read(&f->rig, COMMAND, 1) & 1, 1);
        assert_int_equal(rig_read(&f->rig, DATA, 1), bytes[i]);
    }
    assert_int_equal(rig_read(&f->rig, COMMAND, 1) & 1, 0);
}

#define ASSERT_ANSWERS(f, ...) assert_answers(f, (const uint8_t[]){__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__}))

static void the_controller_tests_itself(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(rig_read(&f->rig, COMMAND, 1) & 0x03, 0);
    rig_write(&f->rig, COMMAND, 1, 0xaa);
    ASSERT_ANSWERS(f, 0x55);
    rig_write(&f->rig, COMMAND, 1, 0xab);
    ASSERT_ANSWERS(f, 0x00);
    rig_write(&f->rig, COMMAND, 1, 0xa9);
    ASSERT_ANSWERS(f, 0x01); /* no mouse */
}

static void the_mode_is_kept(void **state)
{
    struct fixture *f = *state;
    rig_write(&f->rig, COMMAND, 1, 0x60);
    rig_write(&f->rig, DATA, 1, 0x61);
    rig_write(&f->rig, COMMAND, 1, 0xad);
    rig_write(&f->rig, COMMAND, 1, 0x20);
    ASSERT_ANSWERS(f, 0x71);
    rig_write(&f->rig, COMMAND, 1, 0xae);
    rig_write(&f->rig, COMMAND, 1, 0x20);
    ASSERT_ANSWERS(f, 0x61);
}

/* What a driver asks a keyboard. */
static void the_keyboard_answers(void **state)
{
    struct fixture *f = *state;
    rig_write(&f->rig, DATA, 1, 0xff);
    ASSERT_ANSWERS(f, 0xfa, 0xaa);
    rig_write(&f->rig, DATA, 1, 0xf2);
    ASSERT_ANSWERS(f, 0xfa, 0xab, 0x83);
    rig_write(&f->rig, DATA, 1, 0xf0);
    ASSERT_ANSWERS(f, 0xfa);
    rig_write(&f->rig, DATA, 1, 0xff); /* the scan code set, not a reset */
    ASSERT_ANSWERS(f, 0xfa);
    rig_write(&f->rig, DATA, 1, 0xee);
    ASSERT_ANSWERS(f, 0xee);
    rig_write(&f->rig, DATA, 1, 0xf4);
    ASSERT_ANSWERS(f, 0xfa);
}

static void the_output_port_is_kept(void **state)
{
    struct fixture *f = *state;
    rig_write(&f->rig, COMMAND, 1, 0xd1);
    rig_write(&f->rig, DATA, 1, 0xdd);
    rig_write(&f->rig, COMMAND, 1, 0xd0);
    ASSERT_ANSWERS(f, 0xdd);
    assert_int_equal(f->resets, 0);
}

static void it_resets_the_machine(void **state)
{
    struct fixture *f = *state;
    rig_write(&f->rig, COMMAND, 1, 0xff); /* pulls nothing */
    assert_int_equal(f->resets, 0);
    rig_write(&f->rig, COMMAND, 1, 0xfe);
    assert_int_equal(f->resets, 1);
    rig_write(&f->rig, COMMAND, 1, 0xd1);
    rig_write(&f->rig, DATA, 1, 0xfe);
    assert_int_equal(f->resets, 2);
}

static void answers_that_nobody_fetches_are_lost(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 100; i++) {
        rig_write(&f->rig, COMMAND, 1, 0xaa);
    }
    unsigned count = 0;
    while (rig_read(&f->rig, COMMAND, 1) & 1) {
        assert_int_equal(rig_read(&f->rig, DATA, 1), 0x55);
        count++;
    }
    assert_int_equal(count, 16);
    assert_int_equal(rig_read(&f->rig, DATA, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_controller_tests_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(the_mode_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(the_keyboard_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(the_output_port_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(it_resets_the_machine, setup, teardown),
        cmocka_unit_test_setup_teardown(answers_that_nobody_fetches_are_lost, setup, teardown),
    };
    return cmocka_run_group_tests_name("i8042", tests, NULL, NULL);
}
