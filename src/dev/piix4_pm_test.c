// SPDX-License-Identifier: MIT
#include "dev/piix4_pm.h"

#include "dev/dev_test.h"
#include "dev/pci.h"

struct fixture {
    struct rig rig;
    uint64_t now_ns;
    unsigned power_offs;
};

static uint64_t read_now(void *opaque)
{
    return *(const uint64_t *)opaque;
}

static void note_power_off(void *opaque)
{
    ((struct fixture *)opaque)->power_offs++;
}

static int setup(void **state)
{
    static struct fixture fixture;
    struct mv_region *index, *data;
    struct mv_error err;
    fixture = (struct fixture){.now_ns = 77};
    rig_open(&fixture.rig);
    struct mv_region *ports = rig_ports(&fixture.rig);
    assert_int_equal(pci_bus_create(fixture.rig.machine, &index, &data, &err), 0);
    const struct piix4_pm_options options = {
        .devfn = PCI_DEVFN(1, 3),
        .ports = ports,
        .timebase = {.now_ns = read_now, .opaque = &fixture.now_ns},
        .power_off = note_power_off,
        .opaque = &fixture,
    };
    assert_int_equal(piix4_pm_create(fixture.rig.machine, data, &options, &err), 0);
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

static void select_at(const struct fixture *f, unsigned offset)
{
    rig_write(&f->rig, 0xcf8, 4, 0x80000b00 | offset);
}

static void map_at(const struct fixture *f, uint64_t base)
{
    select_at(f, 0x40);
    rig_write(&f->rig, 0xcfc, 4, base | 1);
    select_at(f, 0x80);
    rig_write(&f->rig, 0xcfc, 1, 1);
}

static bool is_at(const struct fixture *f, uint64_t port, const char *name)
{
    const struct mv_view *view = mv_space_view(f->rig.space);
    struct mv_section section;
    const bool found =
        mv_view_lookup(view, mv_gpa(port), &section) && strcmp(mv_region_name(section.region), name) == 0;
    mv_view_release(view);
    return found;
}

static void it_says_who_it_is_and_that_smm_is_done(void **state)
{
    struct fixture *f = *state;
    select_at(f, 0);
    assert_int_equal(rig_read(&f->rig, 0xcfc, 4), 0x71138086);
    select_at(f, 8);
    assert_int_equal(rig_read(&f->rig, 0xcfc, 4), 0x06800003);
    select_at(f, 0x3c);
    assert_int_equal(rig_read(&f->rig, 0xcfc, 4), 0x100);
    select_at(f, 0x58);
    assert_int_equal(rig_read(&f->rig, 0xcfc, 4), 0x02000000);
}

static void registers_are_where_pmba_says(void **state)
{
    struct fixture *f = *state;
    assert_false(is_at(f, 0x608, "acpi-tmr"));
    select_at(f, 0x40);
    rig_write(&f->rig, 0xcfc, 4, 0x601);
    assert_false(is_at(f, 0x608, "acpi-tmr")); /* not enabled yet */
    map_at(f, 0x600);
    assert_true(is_at(f, 0x600, "acpi-evt"));
    assert_true(is_at(f, 0x604, "acpi-cnt"));
    assert_true(is_at(f, 0x608, "acpi-tmr"));
    map_at(f, 0xb03f); /* the low six bits are not the base's */
    assert_false(is_at(f, 0x608, "acpi-tmr"));
    assert_true(is_at(f, 0xb008, "acpi-tmr"));
    select_at(f, 0x80);
    rig_write(&f->rig, 0xcfc, 1, 0);
    assert_false(is_at(f, 0xb008, "acpi-tmr"));
}

static void the_timer_counts_24_bits(void **state)
{
    struct fixture *f = *state;
    map_at(f, 0x600);
    assert_int_equal(rig_read(&f->rig, 0x608, 4), 0);
    f->now_ns += NS_PER_S;
    assert_int_equal(rig_read(&f->rig, 0x608, 4), 3579545);
    f->now_ns += 9 * NS_PER_S;
    assert_int_equal(rig_read(&f->rig, 0x608, 4), 35795450 & 0xffffff);
    rig_write(&f->rig, 0x608, 4, 0);
    assert_int_equal(rig_read(&f->rig, 0x608, 4), 35795450 & 0xffffff);
}

static void apm_switches_sci_enable(void **state)
{
    struct fixture *f = *state;
    map_at(f, 0x600);
    assert_int_equal(rig_read(&f->rig, 0x604, 2), 0);
    rig_write(&f->rig, 0xb2, 1, 0xf1);
    assert_int_equal(rig_read(&f->rig, 0x604, 2), 1);
    rig_write(&f->rig, 0xb2, 1, 0xf0);
    assert_int_equal(rig_read(&f->rig, 0x604, 2), 0);
    rig_write(&f->rig, 0xb3, 1, 0x5a);
    assert_int_equal(rig_read(&f->rig, 0xb2, 2), 0x5af0);
}

static void sleep_type_0_is_power_off(void **state)
{
    struct fixture *f = *state;
    map_at(f, 0x600);
    rig_write(&f->rig, 0x604, 2, 0x0001);
    rig_write(&f->rig, 0x604, 2, 0x2400); /* another sleep type */
    assert_int_equal(f->power_offs, 0);
    rig_write(&f->rig, 0x604, 2, 0x2001);
    assert_int_equal(f->power_offs, 1);
    assert_int_equal(rig_read(&f->rig, 0x604, 2), 0x0001); /* SLP_EN reads as 0 */
}

static void event_registers_are_there(void **state)
{
    struct fixture *f = *state;
    map_at(f, 0x600);
    rig_write(&f->rig, 0x602, 2, 0x0120);
    rig_write(&f->rig, 0x600, 2, 0xffff);
    assert_int_equal(rig_read(&f->rig, 0x600, 4), 0x01200000);
    rig_write(&f->rig, 0xafe0, 4, 0x12345678);
    assert_int_equal(rig_read(&f->rig, 0xafe0, 4), 0x12340000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_says_who_it_is_and_that_smm_is_done, setup, teardown),
        cmocka_unit_test_setup_teardown(registers_are_where_pmba_says, setup, teardown),
        cmocka_unit_test_setup_teardown(the_timer_counts_24_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(apm_switches_sci_enable, setup, teardown),
        cmocka_unit_test_setup_teardown(sleep_type_0_is_power_off, setup, teardown),
        cmocka_unit_test_setup_teardown(event_registers_are_there, setup, teardown),
    };
    return cmocka_run_group_tests_name("piix4_pm", tests, NULL, NULL);
}
