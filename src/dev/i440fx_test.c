// SPDX-License-Identifier: MIT
#include "dev/i440fx.h"

#include <errno.h>

#include <memvirt/listener.h>

#include "base/addr.h"
#include "dev/dev_test.h"
#include "dev/pci.h"

/*
 * A machine whose PCI space has ROM of two kinds, "low" from c0000 and "high" from e0000, and "vga" at a0000, over
 * 1 MiB of RAM.
 */
struct fixture {
    struct rig rig; /* its space is the ports */
    struct mv_space *memory;
    struct mv_region *smram;
    struct mv_listener *listener;
    unsigned commits;
    int refusal; /* what the listener says to a commit */
};

static int check_prepare(void *opaque, struct mv_error *err)
{
    (void)err;
    return ((struct fixture *)opaque)->refusal;
}

static void count_commit(void *opaque)
{
    ((struct fixture *)opaque)->commits++;
}

static const struct mv_listener_ops listener_ops = {.prepare = check_prepare, .commit = count_commit};

static struct mv_region *make(struct fixture *f, const struct mv_region_options *options)
{
    struct mv_region *region;
    struct mv_error err;
    assert_int_equal(mv_region_create(f->rig.machine, options, &region, &err), 0);
    return region;
}

static struct mv_region *make_memory(struct fixture *f, const char *name, enum mv_region_kind kind, uint64_t bytes)
{
    struct mv_block *block;
    struct mv_error err;
    const struct mv_block_options block_options = {.name = name, .size_bytes = bytes};
    assert_int_equal(mv_block_create(f->rig.machine, &block_options, &block, &err), 0);
    const struct mv_region_options options = {.name = name, .kind = kind, .size_bytes = bytes, .block = block};
    struct mv_region *region = make(f, &options);
    mv_block_put(block);
    return region;
}

static struct mv_region *make_pci(struct fixture *f)
{
    const struct mv_region_options options = {
        .name = "pci", .kind = MV_REGION_CONTAINER, .size_bytes = MV_SIZE_2_64};
    const struct mv_region_options vga = {.name = "vga", .kind = MV_REGION_MMIO, .size_bytes = 128 * KIB};
    struct mv_region *pci = make(f, &options);
    rig_place(pci, 0xa0000, make(f, &vga));
    rig_place(pci, 0xc0000, make_memory(f, "low", MV_REGION_ROM, 128 * KIB));
    rig_place(pci, 0xe0000, make_memory(f, "high", MV_REGION_ROM, 128 * KIB));
    return pci;
}

static int setup(void **state)
{
    static struct fixture fixture;
    struct fixture *f = &fixture;
    struct mv_error err;
    *f = (struct fixture){0};
    rig_open(&f->rig);
    const struct mv_region_options root = {
        .name = "system", .kind = MV_REGION_CONTAINER, .size_bytes = MV_SIZE_2_64};
    struct mv_region *system = make(f, &root);
    struct mv_region *ram = make_memory(f, "ram", MV_REGION_RAM, MIB);
    struct mv_region *pci = make_pci(f);
    assert_int_equal(mv_region_add(system, 0, ram, 0, &err), 0);
    assert_int_equal(mv_region_add(system, 0, pci, -1, &err), 0);

    struct mv_region *index, *data, *ports = rig_ports(&f->rig);
    assert_int_equal(pci_bus_create(f->rig.machine, &index, &data, &err), 0);
    const struct i440fx_options options = {.system = system, .ram = ram, .pci = pci};
    assert_int_equal(i440fx_create(f->rig.machine, data, &options, &f->smram, &err), 0);
    rig_place(ports, 0xcf8, index);
    rig_place(ports, 0xcfc, data);
    rig_show(&f->rig, ports);
    assert_int_equal(mv_space_create(f->rig.machine, "memory", system, &f->memory, &err), 0);
    assert_int_equal(mv_listener_create(f->memory, &listener_ops, f, 0, &f->listener, &err), 0);
    f->commits = 0;
    mv_region_put(pci);
    mv_region_put(ram);
    mv_region_put(system);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    mv_listener_destroy(f->listener);
    mv_space_destroy(f->memory);
    mv_region_put(f->smram);
    rig_close(&f->rig);
    return 0;
}

static void write_register(const struct fixture *f, unsigned offset, unsigned size_bytes, uint64_t value)
{
    rig_write(&f->rig, 0xcf8, 4, 0x80000000 | (offset & 0xfc));
    rig_write(&f->rig, 0xcfc + offset % 4, size_bytes, value);
}

static uint64_t read_register(const struct fixture *f, unsigned offset)
{
    rig_write(&f->rig, 0xcf8, 4, 0x80000000 | (offset & 0xfc));
    return rig_read(&f->rig, 0xcfc + offset % 4, 1);
}

/* --- what is where ----------------------------------------------------------------------------- */

/* What PCI has there. */
static const char *pci_name(uint64_t gpa)
{
    return gpa < 0xc0000 ? "vga" : gpa < 0xe0000 ? "low" : "high";
}

static void assert_at(const struct fixture *f, uint64_t gpa, const char *name, bool readonly)
{
    const struct mv_view *view = mv_space_view(f->memory);
    struct mv_section section;
    assert_true(mv_view_lookup(view, mv_gpa(gpa), &section));
    assert_string_equal(mv_region_name(section.region), name);
    assert_int_equal(section.readonly, readonly);
    if (strcmp(name, "ram") == 0) {
        assert_int_equal(section.offset + (gpa - section.range.first), gpa);
    }
    mv_view_release(view);
}

/* The data sheet's table, told another way than the device does: what is at each 16 KiB. */
static void assert_attributes(const struct fixture *f, const uint8_t pam[7])
{
    for (uint64_t gpa = 0xc0000; gpa < 0x100000; gpa += 0x4000) {
        unsigned bits;
        if (gpa >= 0xf0000) {
            bits = pam[0] >> 4;
        } else {
            const unsigned nibble = (unsigned)((gpa - 0xc0000) / 0x4000);
            bits = pam[1 + nibble / 2] >> (nibble % 2 * 4);
        }
        switch (bits & 3) {
        case 0: assert_at(f, gpa, pci_name(gpa), strcmp(pci_name(gpa), "vga") != 0); break;
        case 1: assert_at(f, gpa, "ram", true); break;
        default: assert_at(f, gpa, "ram", false); break;
        }
    }
}

static void after_reset_all_is_pci(void **state)
{
    struct fixture *f = *state;
    static const uint8_t pam[7] = {0};
    assert_attributes(f, pam);
    assert_at(f, 0xa0000, "vga", false);
    assert_at(f, 0x9ffff, "ram", false);
    assert_int_equal(read_register(f, I440FX_SMRAM), 0x02);
}

static void every_value_of_every_pam_register(void **state)
{
    struct fixture *f = *state;
    uint8_t pam[7] = {0};
    for (unsigned i = 0; i < 7; i++) {
        for (unsigned value = 0; value < 0x100; value++) {
            pam[i] = (uint8_t)value;
            write_register(f, I440FX_PAM0 + i, 1, value);
            assert_attributes(f, pam);
            assert_int_equal(read_register(f, I440FX_PAM0 + i), value);
        }
        pam[i] = (uint8_t)(0x11 * i); /* something to tell the registers apart by */
        write_register(f, I440FX_PAM0 + i, 1, pam[i]);
    }
}

static void a_write_is_one_commit_or_none(void **state)
{
    struct fixture *f = *state;
    write_register(f, 0x58, 4, 0x33333000); /* PAM0 to PAM2: five ranges */
    assert_int_equal(f->commits, 1);
    write_register(f, 0x5c, 4, 0x33333333); /* PAM3 to PAM6 */
    assert_int_equal(f->commits, 2);
    static const uint8_t all_ram[7] = {0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33};
    assert_attributes(f, all_ram);
    write_register(f, 0x5c, 4, 0x33333333); /* the same once more */
    write_register(f, 0x5c, 4, 0xffffffff); /* reserved bits */
    write_register(f, 0x40, 4, 0x12345678); /* another register */
    assert_int_equal(f->commits, 2);
    write_register(f, 0x5a, 2, 0x1133);
    assert_int_equal(f->commits, 3);
}

static void smram_opens_and_closes(void **state)
{
    struct fixture *f = *state;
    write_register(f, I440FX_SMRAM, 1, 0x02 | I440FX_SMRAM_OPEN);
    assert_int_equal(f->commits, 1);
    assert_at(f, 0xa0000, "ram", false);
    assert_at(f, 0xbffff, "ram", false);
    write_register(f, I440FX_SMRAM, 1, 0x02);
    assert_int_equal(f->commits, 2);
    assert_at(f, 0xa0000, "vga", false);
    assert_at(f, 0xbffff, "vga", false);
}

static void smram_is_enabled_for_its_own_mode(void **state)
{
    struct fixture *f = *state;
    struct mv_space *smm;
    struct mv_error err;
    assert_int_equal(mv_space_create(f->rig.machine, "smm", f->smram, &smm, &err), 0);
    const struct mv_view *view = mv_space_view(smm);
    assert_int_equal(mv_view_count(view), 0);
    mv_view_release(view);
    write_register(f, I440FX_SMRAM, 1, 0x02 | I440FX_SMRAM_ENABLE);
    view = mv_space_view(smm);
    struct mv_section section;
    assert_int_equal(mv_view_count(view), 1);
    assert_true(mv_view_lookup(view, mv_gpa(0xa0000), &section));
    assert_int_equal(section.range.last, 0xbffff);
    assert_string_equal(mv_region_name(section.region), "ram");
    mv_view_release(view);
    assert_at(f, 0xa0000, "vga", false); /* for the others nothing changed */
    mv_space_destroy(smm);
}

/* A kernel without a free slot: the register keeps its value, and the view is what it says. */
static void a_commit_that_fails_leaves_the_register(void **state)
{
    struct fixture *f = *state;
    static const uint8_t before[7] = {0x10, 0x33};
    const uint32_t value = 0x33333333;
    write_register(f, 0x58, 4, 0x00331000);
    assert_attributes(f, before);
    f->refusal = -ENOSPC;
    rig_write(&f->rig, 0xcf8, 4, 0x80000058);
    assert_int_equal(mv_space_write(f->rig.space, mv_gpa(0xcfc), &value, 4, MV_ATTRS_NONE), MV_DEVICE_ERROR);
    assert_int_equal(rig_read(&f->rig, 0xcfc, 4), 0x00331000);
    assert_attributes(f, before);
    f->refusal = 0;
    rig_write(&f->rig, 0xcfc, 4, value);
    assert_int_equal(rig_read(&f->rig, 0xcfc, 4), value);
    assert_at(f, 0xf0000, "ram", false);
}

/* Shadowing, as firmware does it: what is written to RAM is what is there when it becomes the ROM. */
static void rom_is_shadowed(void **state)
{
    struct fixture *f = *state;
    uint8_t byte = 0;
    assert_int_equal(mv_space_write_rom(f->memory, mv_gpa(0xf1234), "R", 1), MV_OK);
    write_register(f, I440FX_PAM0, 1, 0x30);
    assert_int_equal(mv_space_write(f->memory, mv_gpa(0xf1234), "S", 1, MV_ATTRS_NONE), MV_OK);
    write_register(f, I440FX_PAM0, 1, 0x10);
    assert_int_equal(mv_space_write(f->memory, mv_gpa(0xf1234), "x", 1, MV_ATTRS_NONE), MV_DECODE_ERROR);
    assert_int_equal(mv_space_read(f->memory, mv_gpa(0xf1234), &byte, 1, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(byte, 'S');
    write_register(f, I440FX_PAM0, 1, 0);
    assert_int_equal(mv_space_read(f->memory, mv_gpa(0xf1234), &byte, 1, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(byte, 'R');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(after_reset_all_is_pci, setup, teardown),
        cmocka_unit_test_setup_teardown(every_value_of_every_pam_register, setup, teardown),
        cmocka_unit_test_setup_teardown(a_write_is_one_commit_or_none, setup, teardown),
        cmocka_unit_test_setup_teardown(smram_opens_and_closes, setup, teardown),
        cmocka_unit_test_setup_teardown(smram_is_enabled_for_its_own_mode, setup, teardown),
        cmocka_unit_test_setup_teardown(a_commit_that_fails_leaves_the_register, setup, teardown),
        cmocka_unit_test_setup_teardown(rom_is_shadowed, setup, teardown),
    };
    return cmocka_run_group_tests_name("i440fx", tests, NULL, NULL);
}
