// SPDX-License-Identifier: MIT
#include <memvirt/access.h>
#include <stdlib.h>

#include "machine/machine_test.h"

/* A device of so many bytes, each written down; byte accesses of any alignment. */
struct device {
    unsigned char bytes[64];
    unsigned reads, writes;
    struct mv_attrs attrs; /* of the last access */
    enum mv_result answer;
};

static enum mv_result device_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                  struct mv_attrs attrs)
{
    struct device *d = opaque;
    *ret_value = 0;
    memcpy(ret_value, d->bytes + offset, size_bytes);
    d->reads++;
    d->attrs = attrs;
    return d->answer;
}

static enum mv_result device_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                   struct mv_attrs attrs)
{
    struct device *d = opaque;
    memcpy(d->bytes + offset, &value, size_bytes);
    d->writes++;
    d->attrs = attrs;
    return d->answer;
}

static const struct mv_mmio_ops byte_ops = {
    .read = device_read, .write = device_write, .valid = {1, 1, true}, .impl = {1, 1, true}};

/* 1000-1fff a, 2000-2fff b, 3000-30ff ROM, a hole up to 3200, a device of 16 bytes, a hole, and the last page. */
struct layout {
    struct rig rig;
    struct device device;
};

static void fill(const struct rig *rig, uint64_t address, size_t length, unsigned first)
{
    unsigned char bytes[0x1000];
    for (size_t i = 0; i < length; i++) {
        bytes[i] = (unsigned char)(first + i);
    }
    assert_int_equal(mv_space_write_rom(rig->space, mv_gpa(address), bytes, length), MV_OK);
}

static int open_layout(void **state)
{
    static struct layout l;
    l = (struct layout){.device = {.answer = MV_OK}};
    rig_open(&l.rig);
    begin(&l.rig);
    put_in(l.rig.root, 0x1000, ram(&l.rig, "a", 0x1000), 0);
    put_in(l.rig.root, 0x2000, ram(&l.rig, "b", 0x1000), 0);
    put_in(l.rig.root, 0x3000, rom(&l.rig, "rom", 0x100), 0);
    put_in(l.rig.root, 0x3200, mmio(&l.rig, "device", 16, &byte_ops, &l.device), 0);
    put_in(l.rig.root, TOP - 0xfff, ram(&l.rig, "last", 0x1000), 0);
    commit(&l.rig);
    fill(&l.rig, 0x1000, 0x1000, 1);
    fill(&l.rig, 0x2000, 0x1000, 0x40);
    fill(&l.rig, 0x3000, 0x100, 0x80);
    fill(&l.rig, TOP - 0xfff, 0x1000, 3);
    for (unsigned i = 0; i < 16; i++) {
        l.device.bytes[i] = (unsigned char)(0xd0 + i);
    }
    *state = &l;
    return 0;
}

static int close_layout(void **state)
{
    struct layout *l = *state;
    rig_close(&l->rig);
    return 0;
}

static enum mv_result get(const struct layout *l, uint64_t address, void *bytes, size_t length)
{
    return mv_space_read(l->rig.space, mv_gpa(address), bytes, length, MV_ATTRS_NONE);
}

static enum mv_result set(const struct layout *l, uint64_t address, const void *bytes, size_t length)
{
    return mv_space_write(l->rig.space, mv_gpa(address), bytes, length, MV_ATTRS_NONE);
}

/* What byte the layout has, or -1 in a hole. */
static int byte_at(const struct layout *l, uint64_t address)
{
    if (address >= 0x1000 && address < 0x2000) {
        return (unsigned char)(1 + (address - 0x1000));
    }
    if (address >= 0x2000 && address < 0x3000) {
        return (unsigned char)(0x40 + (address - 0x2000));
    }
    if (address >= 0x3000 && address < 0x3100) {
        return (unsigned char)(0x80 + (address - 0x3000));
    }
    if (address >= 0x3200 && address < 0x3210) {
        return l->device.bytes[address - 0x3200];
    }
    if (address >= TOP - 0xfff) {
        return (unsigned char)(3 + (address - (TOP - 0xfff)));
    }
    return -1;
}

/* Every length up to 40 from every address near an edge, past the end of the space too. */
static void reads_go_over_sections_and_holes(void **state)
{
    struct layout *l = *state;
    const uint64_t edges[] = {0, 0x1000, 0x2000, 0x3000, 0x3100, 0x3200, 0x3210, TOP - 0xfff, TOP};
    for (size_t e = 0; e < sizeof edges / sizeof edges[0]; e++) {
        for (uint64_t back = 0; back < 20; back++) {
            for (size_t length = 0; length <= 40; length++) {
                unsigned char bytes[48];
                memset(bytes, 0xee, sizeof bytes);
                uint64_t address = edges[e] >= back ? edges[e] - back : edges[e] + back;
                unsigned expected = MV_OK;
                enum mv_result result = get(l, address, bytes, length);
                for (size_t i = 0; i < length; i++) {
                    int byte = i > TOP - address ? -1 : byte_at(l, address + i);
                    expected |= byte < 0 ? MV_DECODE_ERROR : MV_OK;
                    assert_int_equal(bytes[i], byte < 0 ? 0 : byte);
                }
                for (size_t i = length; i < sizeof bytes; i++) {
                    assert_int_equal(bytes[i], 0xee);
                }
                assert_int_equal(result, expected);
            }
        }
    }
}

static void a_read_can_be_as_long_as_all_of_it(void **state)
{
    struct layout *l = *state;
    size_t length = 0x4000;
    unsigned char *bytes = malloc(length);
    assert_non_null(bytes);
    memset(bytes, 0xee, length);
    assert_int_equal(get(l, 0x800, bytes, length), MV_DECODE_ERROR);
    for (size_t i = 0; i < length; i++) {
        int byte = byte_at(l, 0x800 + i);
        assert_int_equal(bytes[i], byte < 0 ? 0 : byte);
    }
    free(bytes);
}

static void writes_go_over_sections(void **state)
{
    struct layout *l = *state;
    unsigned char bytes[32];
    memset(bytes, 0x99, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)(0xa0 + i);
    }
    assert_int_equal(set(l, 0x1ff0, bytes, 32), MV_OK);
    unsigned char seen[34];
    assert_int_equal(get(l, 0x1fef, seen, 34), MV_OK);
    assert_int_equal(seen[0], byte_at(l, 0x1fef));
    assert_memory_equal(seen + 1, bytes, 32);
    assert_int_equal(seen[33], byte_at(l, 0x2010));
}

static void writes_around_a_hole_are_done(void **state)
{
    struct layout *l = *state;
    unsigned char bytes[0x120];
    memset(bytes, 0x11, sizeof bytes);
    assert_int_equal(set(l, 0x2fff, bytes, sizeof bytes), MV_DECODE_ERROR); /* ROM and hole in the way */
    unsigned char seen[2];
    assert_int_equal(get(l, 0x2fff, seen, 2), MV_OK);
    assert_int_equal(seen[0], 0x11);
    assert_int_equal(seen[1], 0x80);
    assert_int_equal(set(l, 0x31f0, bytes, 0x30), MV_DECODE_ERROR); /* hole, device, hole */
    assert_int_equal(l->device.writes, 16);
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(l->device.bytes[i], 0x11);
    }
}

static void a_write_past_the_end_does_not_wrap(void **state)
{
    struct layout *l = *state;
    put_in(l->rig.root, 0, ram(&l->rig, "zero", 0x1000), 0);
    unsigned char bytes[16];
    memset(bytes, 0x55, sizeof bytes);
    assert_int_equal(set(l, TOP - 7, bytes, 16), MV_DECODE_ERROR);
    assert_int_equal(mv_space_write_rom(l->rig.space, mv_gpa(TOP - 7), bytes, 16), MV_DECODE_ERROR);
    assert_int_equal(set(l, TOP - 7, bytes, 8), MV_OK);
    unsigned char seen[16];
    assert_int_equal(get(l, 0, seen, 8), MV_OK);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(seen[i], 0);
    }
    assert_int_equal(get(l, TOP - 8, seen, 9), MV_OK);
    assert_int_equal(seen[0], byte_at(l, TOP - 8));
    assert_memory_equal(seen + 1, bytes, 8);
}

static void no_bytes_are_no_access(void **state)
{
    struct layout *l = *state;
    const uint64_t addresses[] = {0, 0x1000, 0x3000, 0x3200, TOP};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(get(l, addresses[i], NULL, 0), MV_OK);
        assert_int_equal(set(l, addresses[i], NULL, 0), MV_OK);
        assert_int_equal(mv_space_write_rom(l->rig.space, mv_gpa(addresses[i]), NULL, 0), MV_OK);
    }
    assert_int_equal(l->device.reads + l->device.writes, 0);
}

/* What is said of an access beforehand is what becomes of it, of any length near any edge. */
static void what_is_taken_is_told_beforehand(void **state)
{
    static const struct mv_mmio_ops picky = {.read = device_read, .write = device_write, .valid = {2, 4, false}};
    static const struct mv_mmio_ops deaf = {.read = device_read};
    struct layout *l = *state;
    const uint64_t edges[] = {0x1000, 0x3000, 0x3100, 0x3110, 0x3120,      0x3130,
                              0x3200, 0x3210, 0x3220, 0x3230, TOP - 0xfff, TOP};
    unsigned accepted = 0;
    put_in(l->rig.root, 0x3210, mmio(&l->rig, "picky", 14, &picky, &l->device), 0);
    put_in(l->rig.root, 0x3220, mmio(&l->rig, "deaf", 16, &deaf, &l->device), 0);
    struct mv_region *r = ram(&l->rig, "r", 0x1000);
    struct mv_region *window = put_in(l->rig.root, 0x3230, alias_of(&l->rig, "window", r, 0, 0x1000), 0);
    assert_int_equal(mv_region_set_readonly(window, true, NULL), 0);
    mv_region_put(r);
    put_in(l->rig.root, 0, ram(&l->rig, "first", 0x100),
           0); /* behind the last byte there is nothing all the same */
    struct mv_block *block = NULL;
    assert_int_equal(
        mv_block_create(l->rig.machine, &(struct mv_block_options){.name = "f", .size_bytes = 16}, &block, NULL),
        0);
    struct mv_region *flash = make(l->rig.machine, &(struct mv_region_options){.name = "flash",
                                                                               .kind = MV_REGION_ROM_DEVICE,
                                                                               .size_bytes = 16,
                                                                               .block = block,
                                                                               .ops = &byte_ops,
                                                                               .opaque = &l->device});
    put_in(l->rig.root, 0x3110, alias_of(&l->rig, "flash", flash, 0, 16), 0);
    struct mv_region *locked = put_in(l->rig.root, 0x3120, alias_of(&l->rig, "locked", flash, 0, 16), 0);
    assert_int_equal(mv_region_set_readonly(locked, true, NULL), 0);
    mv_region_put(flash);
    mv_block_put(block);
    for (size_t e = 0; e < sizeof edges / sizeof edges[0]; e++) {
        for (uint64_t i = 0; i < 40; i++) {
            for (size_t length = 0; length <= 24; length++) {
                unsigned char bytes[24] = {0};
                uint64_t address = edges[e] - 20 + i;
                unsigned calls = l->device.reads + l->device.writes;
                bool read = mv_space_accepts(l->rig.space, mv_gpa(address), length, MV_READ, MV_ATTRS_NONE);
                bool write = mv_space_accepts(l->rig.space, mv_gpa(address), length, MV_WRITE, MV_ATTRS_NONE);
                assert_int_equal(l->device.reads + l->device.writes, calls);
                assert_int_equal(read, get(l, address, bytes, length) == MV_OK);
                assert_int_equal(write, set(l, address, bytes, length) == MV_OK);
                accepted += read + write;
            }
        }
    }
    assert_true(accepted > 1000);
}

/* --- rights ------------------------------------------------------------------------------------ */

static void rom_is_written_by_a_loader_only(void **state)
{
    struct layout *l = *state;
    for (size_t length = 1; length <= 16; length++) {
        unsigned char bytes[16], seen[16];
        memset(bytes, 0x77, sizeof bytes);
        assert_int_equal(set(l, 0x3010, bytes, length), MV_DECODE_ERROR);
        assert_int_equal(get(l, 0x3010, seen, length), MV_OK);
        for (size_t i = 0; i < length; i++) {
            assert_int_equal(seen[i], 0x90 + i);
        }
    }
    assert_int_equal(mv_space_write_rom(l->rig.space, mv_gpa(0x3010), "xyz", 3), MV_OK);
    unsigned char seen[4];
    assert_int_equal(get(l, 0x3010, seen, 4), MV_OK);
    assert_memory_equal(seen, "xyz\x93", 4);
}

static void a_loader_skips_what_is_no_memory(void **state)
{
    struct layout *l = *state;
    unsigned char bytes[0x300];
    memset(bytes, 0x66, sizeof bytes);
    assert_int_equal(mv_space_write_rom(l->rig.space, mv_gpa(0x2f80), bytes, sizeof bytes), MV_DECODE_ERROR);
    assert_int_equal(l->device.writes, 0);
    unsigned char seen;
    assert_int_equal(get(l, 0x2fff, &seen, 1), MV_OK);
    assert_int_equal(seen, 0x66);
    assert_int_equal(get(l, 0x30ff, &seen, 1), MV_OK);
    assert_int_equal(seen, 0x66);
}

static void readonly_windows_refuse_writes_to_memory(void **state)
{
    struct layout *l = *state;
    struct mv_error err;
    struct mv_section s;
    const struct mv_view *view = mv_space_view(l->rig.space);
    assert_true(mv_view_lookup(view, mv_gpa(0x1000), &s));
    struct mv_region *window = put_in(l->rig.root, 0x8000, alias_of(&l->rig, "window", s.region, 0, 0x1000), 0);
    mv_view_release(view);
    assert_int_equal(mv_region_set_readonly(window, true, &err), 0);
    unsigned char seen;
    assert_int_equal(set(l, 0x8000, "x", 1), MV_DECODE_ERROR);
    assert_int_equal(get(l, 0x8000, &seen, 1), MV_OK);
    assert_int_equal(seen, 1);
    assert_int_equal(set(l, 0x1000, "x", 1), MV_OK);
    assert_int_equal(get(l, 0x8000, &seen, 1), MV_OK);
    assert_int_equal(seen, 'x');
    assert_int_equal(mv_space_write_rom(l->rig.space, mv_gpa(0x8000), "y", 1), MV_OK);
    assert_int_equal(get(l, 0x1000, &seen, 1), MV_OK);
    assert_int_equal(seen, 'y');
    /* Devices get theirs. */
    assert_int_equal(mv_region_set_readonly(l->rig.root, true, &err), 0);
    assert_int_equal(set(l, 0x1000, "z", 1), MV_DECODE_ERROR);
    assert_int_equal(set(l, 0x3200, "z", 1), MV_OK);
    assert_int_equal(l->device.bytes[0], 'z');
}

static void a_reservation_answers_nothing(void **state)
{
    struct layout *l = *state;
    static const struct mv_mmio_ops mute = {.read = NULL};
    put_in(l->rig.root, 0x1000, reservation(&l->rig, "reserved", 0x100), 1);
    put_in(l->rig.root, 0x1100, mmio(&l->rig, "mute", 0x100, &mute, NULL), 1);
    unsigned char bytes[0x202];
    memset(bytes, 0xee, sizeof bytes);
    assert_int_equal(get(l, 0xfff, bytes, sizeof bytes), MV_DECODE_ERROR);
    for (size_t i = 0; i <= 0x200; i++) {
        assert_int_equal(bytes[i], 0);
    }
    assert_int_equal(bytes[0x201], byte_at(l, 0x1200));
    assert_int_equal(set(l, 0x1080, bytes, 1), MV_DECODE_ERROR);
    assert_int_equal(set(l, 0x1180, bytes, 4), MV_DECODE_ERROR);
}

/* --- devices ----------------------------------------------------------------------------------- */

static void devices_hear_who_asks(void **state)
{
    struct layout *l = *state;
    unsigned char byte;
    const struct mv_attrs attrs = {.requester = 7};
    assert_int_equal(mv_space_read(l->rig.space, mv_gpa(0x3200), &byte, 1, attrs), MV_OK);
    assert_int_equal(l->device.attrs.requester, 7);
    assert_int_equal(set(l, 0x3200, &byte, 1), MV_OK);
    assert_int_equal(l->device.attrs.requester, 0);
    assert_int_equal(mv_space_write(l->rig.space, mv_gpa(0x3200), &byte, 1, attrs), MV_OK);
    assert_int_equal(l->device.attrs.requester, 7);
}

static void results_are_collected(void **state)
{
    struct layout *l = *state;
    unsigned char bytes[4];
    l->device.answer = MV_DEVICE_ERROR;
    assert_int_equal(get(l, 0x3200, bytes, 1), MV_DEVICE_ERROR);
    assert_int_equal(bytes[0], 0xd0);
    assert_int_equal(get(l, 0x31fe, bytes, 4), MV_DEVICE_ERROR | MV_DECODE_ERROR);
    assert_int_equal(bytes[0], 0);
    assert_int_equal(bytes[3], 0xd1);
    l->device.answer = MV_ACCESS_ERROR;
    assert_int_equal(set(l, 0x320e, bytes, 4), MV_ACCESS_ERROR | MV_DECODE_ERROR);
}

/* --- holds ------------------------------------------------------------------------------------- */

static void a_hold_ends_with_its_section(void **state)
{
    struct layout *l = *state;
    const struct {
        uint64_t address;
        size_t length;
        size_t held;
    } cases[] = {
        {0x1000, 1, 1},
        {0x1000, 0x1000, 0x1000},
        {0x1000, 0x1001, 0x1000},
        {0x1fff, 16, 1},
        {0x1800, SIZE_MAX, 0x800},
        {0x3080, 0x1000, 0x80},
        {TOP, 1, 1},
        {TOP, 100, 1},
        {TOP - 15, SIZE_MAX, 16},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mv_hold hold;
        assert_int_equal(mv_space_hold(l->rig.space, mv_gpa(cases[i].address), cases[i].length, &hold), MV_OK);
        assert_int_equal(hold.length, cases[i].held);
        assert_int_equal(hold.hva.raw, (uintptr_t)hold.bytes);
        const unsigned char *bytes = hold.bytes;
        assert_int_equal(bytes[0], byte_at(l, cases[i].address));
        assert_int_equal(bytes[hold.length - 1], byte_at(l, cases[i].address + hold.length - 1));
        mv_hold_release(&hold);
        assert_null(hold.bytes);
    }
}

static void only_memory_is_held(void **state)
{
    struct layout *l = *state;
    struct mv_hold hold = {.length = 77};
    const uint64_t addresses[] = {0, 0xfff, 0x3100, 0x3200, 0x3210, TOP - 0x1000};
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(mv_space_hold(l->rig.space, mv_gpa(addresses[i]), 8, &hold), MV_DECODE_ERROR);
        assert_int_equal(hold.length, 77);
    }
    assert_int_equal(mv_space_hold(l->rig.space, mv_gpa(0x1000), 0, &hold), MV_DECODE_ERROR);
}

/* --- handlers that use the machine themselves -------------------------------------------------- */

struct reentrant {
    struct layout *layout;
    struct mv_region *self;
    int edit;
    unsigned char seen;
    unsigned calls;
};

/* Removes its own region from the tree, puts RAM there, and reads it, before it answers. */
static enum mv_result reentrant_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                     struct mv_attrs attrs)
{
    struct reentrant *r = opaque;
    struct rig *rig = &r->layout->rig;
    (void)size_bytes, (void)attrs;
    r->calls++;
    if (offset == 0) {
        struct mv_error err;
        r->edit = mv_machine_begin(rig->machine, &err);
        r->edit |= mv_region_remove(r->self, &err);
        put_in(rig->root, 0x4000, ram(rig, "instead", 0x1000), 0);
        r->edit |= mv_machine_commit(rig->machine, &err);
        set(r->layout, 0x4000, "\x5a\x5b", 2);
        get(r->layout, 0x4000, &r->seen, 1);
    }
    *ret_value = 0xc0 + offset;
    return MV_OK;
}

/* The access under way goes on with the view that it began with. */
static void a_handler_may_edit_and_read(void **state)
{
    struct layout *l = *state;
    static const struct mv_mmio_ops ops = {.read = reentrant_read, .valid = {1, 1, true}, .impl = {1, 1, true}};
    struct reentrant r = {.layout = l, .edit = -1};
    r.self = put_in(l->rig.root, 0x4000, mmio(&l->rig, "reentrant", 0x10, &ops, &r), 0);
    unsigned char bytes[3];
    assert_int_equal(get(l, 0x4000, bytes, 3), MV_OK);
    assert_int_equal(r.edit, 0);
    assert_int_equal(r.calls, 3);
    assert_int_equal(r.seen, 0x5a);
    assert_memory_equal(bytes, "\xc0\xc1\xc2", 3);
    assert_int_equal(get(l, 0x4000, bytes, 3), MV_OK);
    assert_memory_equal(bytes, "\x5a\x5b\0", 3);
}

static enum mv_result nested_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                  struct mv_attrs attrs)
{
    struct reentrant *r = opaque;
    (void)size_bytes, (void)attrs;
    unsigned char byte = 0;
    if (offset > 0) {
        get(r->layout, 0x4000 + offset - 1, &byte, 1);
    }
    *ret_value = byte + 1U;
    return MV_OK;
}

static void a_handler_may_reach_itself(void **state)
{
    struct layout *l = *state;
    static const struct mv_mmio_ops ops = {.read = nested_read, .valid = {1, 1, true}, .impl = {1, 1, true}};
    struct reentrant r = {.layout = l};
    put_in(l->rig.root, 0x4000, mmio(&l->rig, "nested", 0x40, &ops, &r), 0);
    unsigned char byte;
    assert_int_equal(get(l, 0x403f, &byte, 1), MV_OK);
    assert_int_equal(byte, 0x40);
}

#define test(name) cmocka_unit_test_setup_teardown(name, open_layout, close_layout)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(reads_go_over_sections_and_holes),
        test(a_read_can_be_as_long_as_all_of_it),
        test(writes_go_over_sections),
        test(writes_around_a_hole_are_done),
        test(a_write_past_the_end_does_not_wrap),
        test(no_bytes_are_no_access),
        test(rom_is_written_by_a_loader_only),
        test(a_loader_skips_what_is_no_memory),
        test(readonly_windows_refuse_writes_to_memory),
        test(a_reservation_answers_nothing),
        test(devices_hear_who_asks),
        test(results_are_collected),
        test(what_is_taken_is_told_beforehand),
        test(a_hold_ends_with_its_section),
        test(only_memory_is_held),
        test(a_handler_may_edit_and_read),
        test(a_handler_may_reach_itself),
    };
    return cmocka_run_group_tests_name("access", tests, NULL, NULL);
}
