// SPDX-License-Identifier: MIT
#include "dev/serial.h"

#include "dev/dev_test.h"

struct fixture {
    struct rig rig;
    struct kept kept;
};

static int setup(void **state)
{
    static struct fixture fixture;
    struct mv_region *serial;
    struct mv_error err;
    fixture = (struct fixture){0};
    rig_open(&fixture.rig);
    const struct sink sink = {kept_write, &fixture.kept};
    assert_int_equal(serial_create(fixture.rig.machine, &sink, &serial, &err), 0);
    rig_show(&fixture.rig, serial);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    rig_close(&f->rig);
    return 0;
}

static void prints_what_is_written(void **state)
{
    struct fixture *f = *state;
    for (const char *c = "hello\n"; *c; c++) {
        rig_write(&f->rig, 0, 1, (uint8_t)*c);
    }
    assert_kept(&f->kept, "hello\n");
}

static void is_always_ready_and_never_has_input(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(rig_read(&f->rig, 5, 1), 0x60);
    rig_write(&f->rig, 0, 1, 'x');
    rig_write(&f->rig, 5, 1, 0); /* read-only */
    assert_int_equal(rig_read(&f->rig, 5, 1), 0x60);
    assert_int_equal(rig_read(&f->rig, 0, 1), 0);
}

static void dlab_shows_the_divisor(void **state)
{
    struct fixture *f = *state;
    rig_write(&f->rig, 1, 1, 0x05);
    rig_write(&f->rig, 3, 1, 0x83);
    assert_int_equal(rig_read(&f->rig, 3, 1), 0x83);
    rig_write(&f->rig, 0, 1, 0x01);
    rig_write(&f->rig, 1, 1, 0xc2);
    assert_int_equal(rig_read(&f->rig, 0, 1), 0x01);
    assert_int_equal(rig_read(&f->rig, 1, 1), 0xc2);
    rig_write(&f->rig, 3, 1, 0x03);
    assert_int_equal(rig_read(&f->rig, 0, 1), 0);
    assert_int_equal(rig_read(&f->rig, 1, 1), 0x05);
    assert_kept(&f->kept, ""); /* the divisor was not printed */
}

static void ier_keeps_its_four_bits(void **state)
{
    struct fixture *f = *state;
    rig_write(&f->rig, 1, 1, 0xff);
    assert_int_equal(rig_read(&f->rig, 1, 1), 0x0f);
}

/* How a driver's probe finds out that this is a UART; "Interrupt Identification Register" of the data sheet. */
static void iir_says_that_the_transmitter_is_empty(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(rig_read(&f->rig, 2, 1), 0x01);
    rig_write(&f->rig, 1, 1, 0x02);
    assert_int_equal(rig_read(&f->rig, 2, 1), 0x02);
    assert_int_equal(rig_read(&f->rig, 2, 1), 0x01); /* reading takes it back */
    rig_write(&f->rig, 1, 1, 0x03);
    assert_int_equal(rig_read(&f->rig, 2, 1), 0x01); /* it was enabled before */
    rig_write(&f->rig, 0, 1, 'x');
    assert_int_equal(rig_read(&f->rig, 2, 1), 0x02); /* the byte is out */
    assert_int_equal(rig_read(&f->rig, 2, 1), 0x01);
    rig_write(&f->rig, 0, 1, 'x');
    rig_write(&f->rig, 1, 1, 0x00);
    assert_int_equal(rig_read(&f->rig, 2, 1), 0x01);
    rig_write(&f->rig, 1, 1, 0x02);
    assert_int_equal(rig_read(&f->rig, 2, 1), 0x02);
}

static void iir_tells_of_the_fifo(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(rig_read(&f->rig, 2, 1), 0x01);
    rig_write(&f->rig, 2, 1, 0x07);
    assert_int_equal(rig_read(&f->rig, 2, 1), 0xc1);
    rig_write(&f->rig, 2, 1, 0x00);
    assert_int_equal(rig_read(&f->rig, 2, 1), 0x01);
}

static void scratch_register_is_storage(void **state)
{
    struct fixture *f = *state;
    rig_write(&f->rig, 7, 1, 0xa5);
    assert_int_equal(rig_read(&f->rig, 7, 1), 0xa5);
}

static void loopback_wires_modem_outputs_to_inputs_and_prints_nothing(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(rig_read(&f->rig, 6, 1), 0xb0);
    static const uint8_t msr_for[4] = {0x20, 0x10, 0x40, 0x80}; /* DTR, RTS, OUT1, OUT2 */
    for (unsigned bit = 0; bit < 4; bit++) {
        rig_write(&f->rig, 4, 1, 0x10 | 1U << bit);
        assert_int_equal(rig_read(&f->rig, 4, 1), 0x10 | 1U << bit);
        assert_int_equal(rig_read(&f->rig, 6, 1), msr_for[bit]);
    }
    rig_write(&f->rig, 0, 1, 'x');
    assert_kept(&f->kept, "");
    rig_write(&f->rig, 4, 1, 0xe3);
    assert_int_equal(rig_read(&f->rig, 4, 1), 0x03);
    rig_write(&f->rig, 0, 1, 'y');
    assert_kept(&f->kept, "y");
}

static void a_wide_access_is_bytes_side_by_side(void **state)
{
    struct fixture *f = *state;
    rig_write(&f->rig, 3, 2, 0x0b80); /* LCR = DLAB, MCR = 0x0b */
    rig_write(&f->rig, 0, 2, 0x1234);
    assert_int_equal(rig_read(&f->rig, 0, 2), 0x1234);
    assert_int_equal(rig_read(&f->rig, 3, 2), 0x0b80);
    assert_int_equal(rig_read(&f->rig, 4, 4), 0x00b0600b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(prints_what_is_written, setup, teardown),
        cmocka_unit_test_setup_teardown(is_always_ready_and_never_has_input, setup, teardown),
        cmocka_unit_test_setup_teardown(dlab_shows_the_divisor, setup, teardown),
        cmocka_unit_test_setup_teardown(ier_keeps_its_four_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(iir_tells_of_the_fifo, setup, teardown),
        cmocka_unit_test_setup_teardown(iir_says_that_the_transmitter_is_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(scratch_register_is_storage, setup, teardown),
        cmocka_unit_test_setup_teardown(loopback_wires_modem_outputs_to_inputs_and_prints_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_wide_access_is_bytes_side_by_side, setup, teardown),
    };
    return cmocka_run_group_tests_name("serial", tests, NULL, NULL);
}
