// SPDX-License-Identifier: MIT
/* ROM devices, RAM devices, non-volatile memory, owners, and the guard against entering a device twice. */
#include "machine/region.h"

#include <stdio.h>

#include "machine/machine_test.h"

struct flash {
    struct rig rig;
    struct mv_block *block;
    unsigned char *bytes;
    struct mv_region *region;
    uint64_t reads, writes, last;
};

static enum mv_result flash_read(void *opaque, uint64_t offset, unsigned size, uint64_t *ret_value,
                                 struct mv_attrs attrs)
{
    struct flash *f = opaque;
    (void)attrs;
    f->reads++;
    *ret_value = 0xf0 + offset + size;
    return MV_OK;
}

static enum mv_result flash_write(void *opaque, uint64_t offset, unsigned size, uint64_t value,
                                  struct mv_attrs attrs)
{
    struct flash *f = opaque;
    (void)attrs;
    (void)offset;
    (void)size;
    f->writes++;
    f->last = value;
    return MV_OK;
}

static const struct mv_mmio_ops flash_ops = {.read = flash_read, .write = flash_write};

static void flash_open(struct flash *f, enum mv_region_kind kind)
{
    struct mv_block_info info;
    struct mv_region_options options = {.name = "flash", .kind = kind, .size_bytes = 0x2000};
    memset(f, 0, sizeof *f);
    rig_open(&f->rig);
    assert_int_equal(mv_block_create(f->rig.machine, &(struct mv_block_options){.name = "f", .size_bytes = 0x2000},
                                     &f->block, NULL),
                     0);
    mv_block_info(f->block, &info);
    f->bytes = (unsigned char *)(uintptr_t)info.hva.raw;
    options.block = f->block;
    if (kind == MV_REGION_ROM_DEVICE) {
        options.ops = &flash_ops;
        options.opaque = f;
    }
    assert_int_equal(mv_region_create(f->rig.machine, &options, &f->region, NULL), 0);
    assert_int_equal(mv_region_add(f->rig.root, 0x1000, f->region, 0, NULL), 0);
}

static void flash_close(struct flash *f)
{
    mv_region_put(f->region);
    mv_block_put(f->block);
    rig_close(&f->rig);
}

static uint32_t read32(struct flash *f, uint64_t address)
{
    uint32_t value = 0;
    assert_int_equal(mv_space_read(f->rig.space, mv_gpa(address), &value, 4, MV_ATTRS_NONE), MV_OK);
    return value;
}

static struct mv_section section_at(struct flash *f, uint64_t address)
{
    struct mv_section section;
    const struct mv_view *view = mv_space_view(f->rig.space);
    assert_true(mv_view_lookup(view, mv_gpa(address), &section));
    mv_view_release(view);
    return section;
}

static void a_rom_device_in_and_out_of_rom_mode(void **state)
{
    (void)state;
    struct flash f;
    struct mv_hold hold;
    uint32_t value = 0x11223344;
    flash_open(&f, MV_REGION_ROM_DEVICE);
    memset(f.bytes, 0x5a, 0x2000);
    assert_string_equal(mv_region_type(f.region), "romd");
    assert_int_equal(read32(&f, 0x1010), 0x5a5a5a5a);
    assert_int_equal(f.reads, 0);
    assert_int_equal(mv_space_write(f.rig.space, mv_gpa(0x1010), &value, 4, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(f.writes, 1);
    assert_int_equal(f.last, 0x11223344);
    assert_int_equal(f.bytes[0x10], 0x5a);            /* what a write does is for the device to say */
    assert_true(section_at(&f, 0x1010).hva.raw != 0); /* a guest may read it by a read-only slot */
    assert_false(section_at(&f, 0x1010).writable);
    assert_int_equal(mv_space_hold(f.rig.space, mv_gpa(0x1010), 4, &hold), MV_OK);
    mv_hold_release(&hold);

    assert_int_equal(mv_region_set_rom_mode(f.region, false, NULL), 0);
    assert_string_equal(mv_region_type(f.region), "i/o");
    assert_int_equal(read32(&f, 0x1010), 0xf0 + 0x10 + 4);
    assert_int_equal(f.reads, 1);
    assert_int_equal(section_at(&f, 0x1010).hva.raw, 0);
    assert_int_equal(mv_space_hold(f.rig.space, mv_gpa(0x1010), 4, &hold), MV_DECODE_ERROR);

    assert_int_equal(mv_region_set_rom_mode(f.region, true, NULL), 0);
    assert_int_equal(read32(&f, 0x1010), 0x5a5a5a5a);
    assert_int_equal(mv_space_write_rom(f.rig.space, mv_gpa(0x1010), &value, 4), MV_OK); /* the loader's way */
    assert_int_equal(read32(&f, 0x1010), 0x11223344);
    assert_int_equal(f.writes, 1);
    flash_close(&f);
}

/* A listener hears of the mode: the slot has to go and to come back. */
static void the_mode_is_an_edit(void **state)
{
    (void)state;
    struct flash f;
    struct journal journal = {0};
    struct witness witness = {.name = "w", .journal = &journal};
    flash_open(&f, MV_REGION_ROM_DEVICE);
    struct mv_listener *listener = attach(f.rig.space, &witness, 0);
    journal.used = 0;
    assert_int_equal(mv_region_set_rom_mode(f.region, true, NULL), 0);
    assert_journal(&journal, "");
    assert_int_equal(mv_region_set_rom_mode(f.region, false, NULL), 0);
    assert_journal(&journal, "w:begin\nw:-1000-2fff flash@0\nw:+1000-2fff flash@0\nw:prepare\nw:commit\n");
    assert_int_equal(mv_region_set_rom_mode(f.rig.root, true, NULL), -EINVAL);
    mv_listener_destroy(listener);
    flash_close(&f);
}

static void a_ram_device_is_accessed_as_asked(void **state)
{
    (void)state;
    struct flash f;
    struct mv_hold hold;
    flash_open(&f, MV_REGION_RAM_DEVICE);
    assert_string_equal(mv_region_type(f.region), "ramd");
    for (unsigned size = 1; size <= 8; size *= 2) {
        uint64_t out = UINT64_C(0x8877665544332211), in = 0;
        assert_int_equal(mv_space_write(f.rig.space, mv_gpa(0x1008), &out, size, MV_ATTRS_NONE), MV_OK);
        assert_memory_equal(f.bytes + 8, &out, size);
        assert_int_equal(mv_space_read(f.rig.space, mv_gpa(0x1008), &in, size, MV_ATTRS_NONE), MV_OK);
        assert_memory_equal(&in, &out, size);
    }
    assert_int_equal(mv_space_hold(f.rig.space, mv_gpa(0x1008), 8, &hold), MV_DECODE_ERROR); /* no copying */
    assert_true(section_at(&f, 0x1008).hva.raw != 0); /* but a guest may be given it */
    assert_true(section_at(&f, 0x1008).writable);
    assert_int_equal(mv_region_set_readonly(f.region, true, NULL), 0);
    assert_false(section_at(&f, 0x1008).writable);
    assert_int_equal(mv_space_write(f.rig.space, mv_gpa(0x1008), "x", 1, MV_ATTRS_NONE), MV_DECODE_ERROR);
    flash_close(&f);
}

static void what_a_kind_does_not_have(void **state)
{
    (void)state;
    struct flash f;
    struct mv_error err;
    struct mv_region *r = NULL;
    flash_open(&f, MV_REGION_RAM_DEVICE);
    struct mv_region_options options = {
        .name = "r", .kind = MV_REGION_ROM_DEVICE, .size_bytes = 0x1000, .block = f.block};
    assert_int_equal(mv_region_create(f.rig.machine, &options, &r, &err), -EINVAL);
    assert_string_equal(err.text, "region r: a ROM device needs handlers");
    options.kind = MV_REGION_RAM_DEVICE;
    options.ops = &flash_ops;
    assert_int_equal(mv_region_create(f.rig.machine, &options, &r, &err), -EINVAL);
    options.kind = (enum mv_region_kind)99;
    options.ops = NULL;
    assert_int_equal(mv_region_create(f.rig.machine, &options, &r, &err), -EINVAL);
    assert_null(r);
    flash_close(&f);
}

static void non_volatile_memory_is_marked(void **state)
{
    (void)state;
    struct flash f;
    flash_open(&f, MV_REGION_RAM_DEVICE);
    assert_false(section_at(&f, 0x1000).nonvolatile);
    assert_int_equal(mv_region_set_nonvolatile(f.rig.root, true, NULL), 0);
    assert_true(section_at(&f, 0x1000).nonvolatile); /* from above */
    assert_int_equal(mv_region_set_nonvolatile(f.rig.root, false, NULL), 0);
    /* Two windows on neighbouring halves, one of them non-volatile: no longer one section. */
    struct mv_region *low = alias_of(&f.rig, "low", f.region, 0, 0x1000);
    struct mv_region *high = alias_of(&f.rig, "high", f.region, 0x1000, 0x1000);
    assert_int_equal(mv_region_add(f.rig.root, 0x8000, low, 0, NULL), 0);
    assert_int_equal(mv_region_add(f.rig.root, 0x9000, high, 0, NULL), 0);
    assert_int_equal(section_at(&f, 0x8000).range.last, 0x9fff);
    assert_int_equal(mv_region_set_nonvolatile(high, true, NULL), 0);
    assert_int_equal(section_at(&f, 0x8000).range.last, 0x8fff);
    assert_true(section_at(&f, 0x9000).nonvolatile);
    mv_region_put(low);
    mv_region_put(high);
    flash_close(&f);
}

/* --- describing -------------------------------------------------------------------------------- */

static bool append_name(void *opaque, struct mv_region *child)
{
    char *text = opaque;
    strcat(strcat(text, mv_region_name(child)), " ");
    return strlen(text) < 12;
}

static void regions_describe_themselves(void **state)
{
    (void)state;
    struct flash f;
    struct mv_region_info info;
    flash_open(&f, MV_REGION_ROM_DEVICE);
    struct mv_region_options options = {
        .name = "a", .size_bytes = 16, .owner = "dev id=nic0", .nonvolatile = true};
    struct mv_region *a, *b = container(&f.rig, "b", 1), *c = container(&f.rig, "c", 1);
    assert_int_equal(mv_region_create(f.rig.machine, &options, &a, NULL), 0);
    mv_region_info(a, &info);
    assert_string_equal(info.owner, "dev id=nic0");
    assert_null(info.container);
    assert_true(info.enabled && info.nonvolatile && !info.rom_mode);
    assert_int_equal(mv_region_add(f.region, 0x20, a, -3, NULL), 0);
    assert_int_equal(mv_region_add(f.region, 0x10, b, 1, NULL), 0);
    assert_int_equal(mv_region_add(f.region, 0x10, c, 2, NULL), 0);
    mv_region_info(a, &info);
    assert_ptr_equal(info.container, f.region);
    assert_int_equal(info.offset, 0x20);
    assert_int_equal(info.priority, -3);
    char text[64] = "";
    assert_int_equal(mv_region_each_child(f.region, append_name, text), 0);
    assert_string_equal(text, "c b a ");
    mv_region_info(f.region, &info);
    assert_int_equal(info.kind, MV_REGION_ROM_DEVICE);
    assert_true(info.rom_mode);
    mv_region_put(a);
    mv_region_put(b);
    mv_region_put(c);
    flash_close(&f);
}

static void a_new_region_is_as_simple_as_can_be(void **state)
{
    (void)state;
    struct flash f;
    struct mv_region_info info;
    flash_open(&f, MV_REGION_ROM_DEVICE);
    const struct mv_region_options options = {.name = "bare", .size_bytes = MV_SIZE_2_64}; /* a container */
    struct mv_region *bare = make(f.rig.machine, &options);
    mv_region_info(bare, &info);
    assert_int_equal(info.kind, MV_REGION_CONTAINER);
    assert_int_equal(info.size_bytes, UINT64_MAX); /* which stands for 2^64 */
    assert_true(info.enabled);
    assert_false(info.readonly || info.nonvolatile || info.rom_mode);
    assert_null(info.container);
    assert_int_equal(info.priority, 0);
    assert_null(info.target);
    mv_region_info(f.region, &info);
    assert_true(info.enabled && info.rom_mode);
    mv_region_put(bare);
    flash_close(&f);
}

/* --- the guard --------------------------------------------------------------------------------- */

struct loop {
    struct mv_space *space;
    uint64_t next; /* where its write handler writes */
    enum mv_result inner;
    unsigned entered;
};

static enum mv_result loop_write(void *opaque, uint64_t offset, unsigned size, uint64_t value,
                                 struct mv_attrs attrs)
{
    struct loop *loop = opaque;
    (void)offset;
    (void)size;
    if (loop->entered++ == 0) {
        loop->inner = mv_space_write(loop->space, mv_gpa(loop->next), &value, 4, attrs);
    }
    return MV_OK;
}

static const struct mv_mmio_ops loop_ops = {.write = loop_write};

static struct mv_region *loop_region(struct rig *rig, struct loop *loop, const void *device, uint64_t at)
{
    struct mv_region *r;
    struct mv_region_options options = {.name = "loop",
                                        .kind = MV_REGION_MMIO,
                                        .size_bytes = 0x100,
                                        .ops = &loop_ops,
                                        .opaque = loop,
                                        .device = device};
    assert_int_equal(mv_region_create(rig->machine, &options, &r, NULL), 0);
    assert_int_equal(mv_region_add(rig->root, at, r, 0, NULL), 0);
    return r;
}

static enum mv_result write_at(struct rig *rig, uint64_t address)
{
    return mv_space_write(rig->space, mv_gpa(address), "abcd", 4, MV_ATTRS_NONE);
}

static void a_device_is_not_entered_twice(void **state)
{
    (void)state;
    struct rig rig;
    int one, two;
    rig_open(&rig);
    struct loop a = {.space = rig.space}, b = {.space = rig.space}, c = {.space = rig.space};
    struct mv_region *regions[3] = {
        loop_region(&rig, &a, &one, 0x1000), /* two regions of one device */
        loop_region(&rig, &b, &one, 0x2000),
        loop_region(&rig, &c, &two, 0x3000),
    };
    a.next = 0x2000;
    assert_int_equal(write_at(&rig, 0x1000), MV_OK);
    assert_int_equal(a.inner, MV_ACCESS_ERROR);
    assert_int_equal(b.entered, 0);
    a = (struct loop){.space = rig.space, .next = 0x1000}; /* itself */
    assert_int_equal(write_at(&rig, 0x1000), MV_OK);
    assert_int_equal(a.inner, MV_ACCESS_ERROR);
    a = (struct loop){.space = rig.space, .next = 0x3000}; /* another device, which comes back to the first */
    c.next = 0x2000;
    assert_int_equal(write_at(&rig, 0x1000), MV_OK);
    assert_int_equal(a.inner, MV_OK);
    assert_int_equal(c.inner, MV_ACCESS_ERROR);
    assert_int_equal(write_at(&rig, 0x2000), MV_OK); /* afterwards it is free again */
    for (unsigned i = 0; i < 3; i++) {
        mv_region_put(regions[i]);
    }
    rig_close(&rig);
}

/* A ROM device may be entered again, and from inside it its device: flash is read while it is written. */
static void a_rom_device_is_not_guarded(void **state)
{
    (void)state;
    struct rig rig;
    int one;
    struct mv_block *block;
    struct mv_region *flash;
    rig_open(&rig);
    struct loop a = {.space = rig.space, .next = 0x1000}, b = {.space = rig.space};
    assert_int_equal(
        mv_block_create(rig.machine, &(struct mv_block_options){.name = "f", .size_bytes = 0x1000}, &block, NULL),
        0);
    const struct mv_region_options options = {.name = "flash",
                                              .kind = MV_REGION_ROM_DEVICE,
                                              .size_bytes = 0x1000,
                                              .block = block,
                                              .ops = &loop_ops,
                                              .opaque = &a,
                                              .device = &one};
    assert_int_equal(mv_region_create(rig.machine, &options, &flash, NULL), 0);
    assert_int_equal(mv_region_add(rig.root, 0x1000, flash, 0, NULL), 0);
    struct mv_region *registers = loop_region(&rig, &b, &one, 0x2000);
    assert_int_equal(write_at(&rig, 0x1000), MV_OK);
    assert_int_equal(a.inner, MV_OK);
    assert_int_equal(a.entered, 2);
    a = (struct loop){.space = rig.space, .next = 0x2000};
    assert_int_equal(write_at(&rig, 0x1000), MV_OK);
    assert_int_equal(a.inner, MV_OK);
    a.entered = 0;
    b = (struct loop){.space = rig.space, .next = 0x1000};
    assert_int_equal(write_at(&rig, 0x2000), MV_OK);
    assert_int_equal(b.inner, MV_OK);
    assert_int_equal(a.inner, MV_ACCESS_ERROR); /* on to the registers, which are busy */
    mv_region_put(flash);
    mv_region_put(registers);
    mv_block_put(block);
    rig_close(&rig);
}

static void without_a_device_there_is_no_guard(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct loop a = {.space = rig.space, .next = 0x1000};
    struct mv_region *r = loop_region(&rig, &a, NULL, 0x1000);
    assert_int_equal(write_at(&rig, 0x1000), MV_OK);
    assert_int_equal(a.inner, MV_OK);
    assert_int_equal(a.entered, 2);
    mv_region_put(r);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rom_device_in_and_out_of_rom_mode),
        cmocka_unit_test(the_mode_is_an_edit),
        cmocka_unit_test(a_ram_device_is_accessed_as_asked),
        cmocka_unit_test(what_a_kind_does_not_have),
        cmocka_unit_test(non_volatile_memory_is_marked),
        cmocka_unit_test(regions_describe_themselves),
        cmocka_unit_test(a_new_region_is_as_simple_as_can_be),
        cmocka_unit_test(a_device_is_not_entered_twice),
        cmocka_unit_test(a_rom_device_is_not_guarded),
        cmocka_unit_test(without_a_device_there_is_no_guard),
    };
    return cmocka_run_group_tests_name("region_kind", tests, NULL, NULL);
}
