// SPDX-License-Identifier: MIT
#include "dev/piix3.h"

#include "dev/dev_test.h"
#include "dev/pci.h"

struct fixture {
    struct rig rig;
    char how[64]; /* what the last reset was asked for by */
};

static void note_reset(void *opaque, const char *how)
{
    struct fixture *f = opaque;
    strncpy(f->how, how, sizeof f->how - 1);
}

static int setup(void **state)
{
    static struct fixture fixture;
    struct mv_region *index, *data, *reset;
    struct mv_error err;
    fixture = (struct fixture){0};
    rig_open(&fixture.rig);
    struct mv_region *ports = rig_ports(&fixture.rig);
    assert_int_equal(pci_bus_create(fixture.rig.machine, &index, &data, &err), 0);
    const struct piix3_options options = {.devfn = PCI_DEVFN(1, 0), .reset = note_reset, .opaque = &fixture};
    assert_int_equal(piix3_create(fixture.rig.machine, data, &options, &reset, &err), 0);
    rig_place(ports, 0x10, reset);
    rig_place(ports, 0xcf8, index);
    rig_place(ports, 0xcfc, data);
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

static uint64_t read_register(const struct fixture *f, unsigned offset)
{
    rig_write(&f->rig, 0xcf8, 4, 0x80000800 | offset);
    return rig_read(&f->rig, 0xcfc, 4);
}

static void the_registers_are_those_after_a_reset(void **state)
{
    struct fixture *f = *state;
    static const struct {
        unsigned offset;
        uint32_t value;
    } facts[] = {
        {0x00, 0x70008086}, {0x04, 0x02000000}, {0x08, 0x06010000}, {0x0c, 0x00800000}, {0x4c, 0x0003004d},
        {0x60, 0x80808080}, {0x68, 0x00000200}, {0x70, 0x00000080}, {0x74, 0x0c0c0000}, {0x78, 0x00000002},
    };
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        assert_int_equal(read_register(f, facts[i].offset), facts[i].value);
    }
}

static void the_reset_port_resets(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(rig_read(&f->rig, 0x10, 1), 0);
    rig_write(&f->rig, 0x10, 1, 0x02);
    assert_int_equal(rig_read(&f->rig, 0x10, 1), 0x02);
    assert_string_equal(f->how, "");
    rig_write(&f->rig, 0x10, 1, 0x06);
    assert_string_equal(f->how, "port 0xcf9");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_registers_are_those_after_a_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(the_reset_port_resets, setup, teardown),
    };
    return cmocka_run_group_tests_name("piix3", tests, NULL, NULL);
}
