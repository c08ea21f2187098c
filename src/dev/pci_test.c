// SPDX-License-Identifier: MIT
#include "dev/pci.h"

#include <errno.h>

#include "dev/dev_test.h"

#define INDEX 0xcf8
#define DATA 0xcfc

/* A function that notes what it is told, and refuses if it shall. */
struct told {
    unsigned writes;
    unsigned releases;
    uint8_t config[PCI_CONFIG_BYTES];
    enum mv_result answer;
};

static enum mv_result note_write(void *opaque, const uint8_t *config)
{
    struct told *told = opaque;
    told->writes++;
    memcpy(told->config, config, sizeof told->config);
    return told->answer;
}

static void note_release(void *opaque)
{
    ((struct told *)opaque)->releases++;
}

struct fixture {
    struct rig rig;
    struct told told;
};

static int setup(void **state)
{
    static struct fixture fixture;
    struct mv_region *index, *data;
    struct mv_error err;
    fixture = (struct fixture){0};
    rig_open(&fixture.rig);
    struct mv_region *ports = rig_ports(&fixture.rig);
    assert_int_equal(pci_bus_create(fixture.rig.machine, &index, &data, &err), 0);
    const struct pci_ids ids = {
        .devfn = PCI_DEVFN(3, 2),
        .device = 0x1234,
        .class_code = 0x0601,
        .revision = 5,
        .header_type = 0x80,
        .status = 0x0200,
    };
    struct pci_function function;
    pci_function_init(&function, &ids);
    function.write = note_write;
    function.release = note_release;
    function.opaque = &fixture.told;
    assert_int_equal(pci_bus_plug(index, &function, &err), 0);
    rig_place(ports, INDEX, index);
    rig_place(ports, DATA, data);
    rig_show(&fixture.rig, ports);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    rig_close(&f->rig);
    assert_int_equal(f->told.releases, 1);
    return 0;
}

static void select_at(const struct fixture *f, unsigned offset)
{
    rig_write(&f->rig, INDEX, 4, 0x80000000 | PCI_DEVFN(3, 2) << 8 | offset);
}

static void the_header_says_who_it_is(void **state)
{
    struct fixture *f = *state;
    select_at(f, 0);
    assert_int_equal(rig_read(&f->rig, DATA, 4), 0x12348086);
    assert_int_equal(rig_read(&f->rig, DATA + 2, 2), 0x1234);
    assert_int_equal(rig_read(&f->rig, DATA + 1, 1), 0x80);
    select_at(f, 4);
    assert_int_equal(rig_read(&f->rig, DATA, 4), 0x02000000);
    select_at(f, 8);
    assert_int_equal(rig_read(&f->rig, DATA, 4), 0x06010005);
    select_at(f, 0xc);
    assert_int_equal(rig_read(&f->rig, DATA, 4), 0x00800000);
    select_at(f, 0x2c);
    assert_int_equal(rig_read(&f->rig, DATA, 4), 0x11001af4);
}

static void the_address_register_takes_dwords_only(void **state)
{
    struct fixture *f = *state;
    rig_write(&f->rig, INDEX, 4, 0x80001a04);
    assert_int_equal(rig_read(&f->rig, INDEX, 4), 0x80001a04);
    rig_write(&f->rig, INDEX, 1, 0x11);
    rig_write(&f->rig, INDEX + 2, 2, 0x1111);
    assert_int_equal(rig_read(&f->rig, INDEX, 4), 0x80001a04);
    assert_int_equal(rig_read(&f->rig, INDEX, 1), 0xff);
}

static void what_is_not_there_reads_as_ones(void **state)
{
    struct fixture *f = *state;
    static const uint32_t nowhere[] = {
        0x80001b00, /* another function */
        0x80011a00, /* another bus */
        0x00001a00, /* not enabled */
    };
    for (size_t i = 0; i < sizeof nowhere / sizeof nowhere[0]; i++) {
        rig_write(&f->rig, INDEX, 4, nowhere[i]);
        assert_int_equal(rig_read(&f->rig, DATA, 4), 0xffffffff);
        rig_write(&f->rig, DATA, 4, 0);
    }
    assert_int_equal(f->told.writes, 0);
}

static void writes_change_writable_bits_only(void **state)
{
    struct fixture *f = *state;
    for (unsigned offset = 0; offset < PCI_CONFIG_BYTES; offset += 4) {
        select_at(f, offset);
        rig_write(&f->rig, DATA, 4, 0xffffffff);
    }
    select_at(f, 0);
    assert_int_equal(rig_read(&f->rig, DATA, 4), 0x12348086);
    select_at(f, 4);
    assert_int_equal(rig_read(&f->rig, DATA, 4), 0x02000507);
    select_at(f, 0x10);
    assert_int_equal(rig_read(&f->rig, DATA, 4), 0); /* no base address register */
    select_at(f, 0x3c);
    assert_int_equal(rig_read(&f->rig, DATA, 4), 0xff);
    select_at(f, 0x40);
    assert_int_equal(rig_read(&f->rig, DATA, 4), 0xffffffff);
    select_at(f, 0xfc);
    assert_int_equal(rig_read(&f->rig, DATA, 4), 0xffffffff);
}

static void a_function_is_told_each_write_once(void **state)
{
    struct fixture *f = *state;
    select_at(f, 0x58);
    rig_write(&f->rig, DATA, 4, 0x44332211);
    assert_int_equal(f->told.writes, 1);
    assert_int_equal(f->told.config[0x58], 0x11);
    assert_int_equal(f->told.config[0x5b], 0x44);
    rig_write(&f->rig, DATA + 2, 2, 0xaabb);
    rig_write(&f->rig, DATA + 1, 1, 0xcc);
    assert_int_equal(f->told.writes, 3);
    assert_int_equal(rig_read(&f->rig, DATA, 4), 0xaabbcc11);
}

static void a_write_that_is_refused_changes_nothing(void **state)
{
    struct fixture *f = *state;
    const uint32_t value = 0x12345678;
    select_at(f, 0x58);
    f->told.answer = MV_DEVICE_ERROR;
    assert_int_equal(mv_space_write(f->rig.space, mv_gpa(DATA), &value, 4, MV_ATTRS_NONE), MV_DEVICE_ERROR);
    assert_int_equal(rig_read(&f->rig, DATA, 4), 0);
    f->told.answer = MV_OK;
    rig_write(&f->rig, DATA, 4, value);
    assert_int_equal(rig_read(&f->rig, DATA, 4), value);
}

static void one_place_is_for_one_function(void **state)
{
    struct fixture *f = *state;
    struct mv_region *index, *data;
    struct mv_error err;
    assert_int_equal(pci_bus_create(f->rig.machine, &index, &data, &err), 0);
    const struct pci_ids ids = {.devfn = 0};
    struct pci_function function;
    pci_function_init(&function, &ids);
    assert_int_equal(pci_bus_plug(index, &function, &err), 0);
    assert_int_equal(pci_bus_plug(data, &function, &err), -EEXIST);
    assert_string_equal(err.reason, "duplicate");
    mv_region_put(index);
    mv_region_put(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_header_says_who_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(the_address_register_takes_dwords_only, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_there_reads_as_ones, setup, teardown),
        cmocka_unit_test_setup_teardown(writes_change_writable_bits_only, setup, teardown),
        cmocka_unit_test_setup_teardown(a_function_is_told_each_write_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_write_that_is_refused_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(one_place_is_for_one_function, setup, teardown),
    };
    return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
