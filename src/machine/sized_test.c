// SPDX-License-Identifier: MIT
/* Sized accesses, filling, comparing, reading once; windows; maps and their bounce buffers. */
#include <errno.h>
#include <memvirt/access.h>

#include "machine/machine_test.h"

struct device {
    uint64_t offset, value;
    unsigned size, calls;
};

static enum mv_result device_read(void *opaque, uint64_t offset, unsigned size, uint64_t *ret,
                                  struct mv_attrs attrs)
{
    struct device *d = opaque;
    (void)attrs;
    d->calls++;
    d->offset = offset;
    d->size = size;
    *ret = UINT64_C(0x1122334455667788);
    return MV_OK;
}

static enum mv_result device_write(void *opaque, uint64_t offset, unsigned size, uint64_t value,
                                   struct mv_attrs attrs)
{
    struct device *d = opaque;
    (void)attrs;
    d->calls++;
    d->offset = offset;
    d->size = size;
    d->value = value;
    return MV_OK;
}

#define OPS(order)                                                                                                \
    {                                                                                                             \
        .read = device_read, .write = device_write, .valid = {1, 8, true}, .impl = {1, 8, true}, .endian = order  \
    }

static const struct mv_mmio_ops little_ops = OPS(MV_ENDIAN_LITTLE);
static const struct mv_mmio_ops big_ops = OPS(MV_ENDIAN_BIG);

/* 0-fff ram, 1000-1fff rom, 2000-20ff little device, 3000-30ff big device, nothing else. */
struct layout {
    struct rig rig;
    struct device little, big;
};

static struct mv_region *device(struct rig *rig, struct device *d, const struct mv_mmio_ops *ops)
{
    struct mv_region *r;
    struct mv_region_options o = {
        .name = "d", .kind = MV_REGION_MMIO, .size_bytes = 0x100, .ops = ops, .opaque = d};
    assert_int_equal(mv_region_create(rig->machine, &o, &r, NULL), 0);
    return r;
}

static int open_layout(void **state)
{
    static struct layout l;
    memset(&l, 0, sizeof l);
    rig_open(&l.rig);
    put_in(l.rig.root, 0, ram(&l.rig, "ram", 0x1000), 0);
    put_in(l.rig.root, 0x1000, rom(&l.rig, "rom", 0x1000), 0);
    put_in(l.rig.root, 0x2000, device(&l.rig, &l.little, &little_ops), 0);
    put_in(l.rig.root, 0x3000, device(&l.rig, &l.big, &big_ops), 0);
    *state = &l;
    return 0;
}

static int close_layout(void **state)
{
    struct layout *l = *state;
    rig_close(&l->rig);
    return 0;
}

static void memory_in_both_orders(void **state)
{
    struct layout *l = *state;
    for (unsigned size = 1; size <= 8; size *= 2) {
        uint64_t value, mask = size == 8 ? UINT64_MAX : (UINT64_C(1) << size * 8) - 1;
        uint64_t out = UINT64_C(0x0102030405060708) & mask;
        assert_int_equal(mv_space_store(l->rig.space, mv_gpa(9), size, MV_ENDIAN_BIG, out, MV_ATTRS_NONE), MV_OK);
        assert_int_equal(mv_space_load(l->rig.space, mv_gpa(9), size, MV_ENDIAN_BIG, &value, MV_ATTRS_NONE),
                         MV_OK);
        assert_int_equal(value, out);
        assert_int_equal(mv_space_load(l->rig.space, mv_gpa(9), size, MV_ENDIAN_LITTLE, &value, MV_ATTRS_NONE),
                         MV_OK);
        assert_int_equal(value, __builtin_bswap64(out) >> (64 - size * 8));
    }
    uint64_t value = 7;
    assert_int_equal(mv_space_load(l->rig.space, mv_gpa(0), 3, MV_ENDIAN_BIG, &value, MV_ATTRS_NONE),
                     MV_ACCESS_ERROR);
    assert_int_equal(value, 0);
    assert_int_equal(mv_space_store(l->rig.space, mv_gpa(0x1000), 4, MV_ENDIAN_LITTLE, 1, MV_ATTRS_NONE),
                     MV_DECODE_ERROR);
    assert_int_equal(mv_space_load(l->rig.space, mv_gpa(0x9000), 4, MV_ENDIAN_LITTLE, &value, MV_ATTRS_NONE),
                     MV_DECODE_ERROR);
    assert_int_equal(mv_space_load(l->rig.space, mv_gpa(UINT64_MAX), 2, MV_ENDIAN_LITTLE, &value, MV_ATTRS_NONE),
                     MV_DECODE_ERROR);
}

/* A device is given the access whole, even unaligned and across its end; the other order is swapped. */
static void a_device_gets_it_whole(void **state)
{
    struct layout *l = *state;
    uint64_t value;
    assert_int_equal(mv_space_load(l->rig.space, mv_gpa(0x2001), 4, MV_ENDIAN_LITTLE, &value, MV_ATTRS_NONE),
                     MV_OK);
    assert_int_equal(value, 0x55667788);
    assert_int_equal(l->little.calls, 1);
    assert_int_equal(l->little.size, 4);
    assert_int_equal(l->little.offset, 1);
    assert_int_equal(mv_space_load(l->rig.space, mv_gpa(0x20fe), 8, MV_ENDIAN_BIG, &value, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(value, UINT64_C(0x8877665544332211));
    assert_int_equal(mv_space_load(l->rig.space, mv_gpa(0x3000), 2, MV_ENDIAN_BIG, &value, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(value, 0x7788);
    assert_int_equal(mv_space_store(l->rig.space, mv_gpa(0x3000), 2, MV_ENDIAN_LITTLE, 0x1234, MV_ATTRS_NONE),
                     MV_OK);
    assert_int_equal(l->big.value, 0x3412);
    assert_int_equal(mv_space_store(l->rig.space, mv_gpa(0x3000), 2, MV_ENDIAN_BIG, 0x1234, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(l->big.value, 0x1234);
}

static void fill_and_compare(void **state)
{
    struct layout *l = *state;
    static unsigned char expected[0x1000];
    size_t equal = 99;
    memset(expected, 0xab, sizeof expected);
    assert_int_equal(mv_space_fill(l->rig.space, mv_gpa(3), 0xab, 0xff0, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(mv_space_compare(l->rig.space, mv_gpa(3), expected, 0xff0, &equal, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(equal, 0xff0);
    expected[0x801] = 1;
    assert_int_equal(mv_space_compare(l->rig.space, mv_gpa(3), expected, 0xff0, &equal, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(equal, 0x801);
    assert_int_equal(mv_space_compare(l->rig.space, mv_gpa(2), expected, 10, &equal, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(equal, 0);
    assert_int_equal(mv_space_compare(l->rig.space, mv_gpa(2), expected, 0, &equal, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(equal, 0);
    assert_int_equal(mv_space_fill(l->rig.space, mv_gpa(0xff0), 1, 0x20, MV_ATTRS_NONE),
                     MV_DECODE_ERROR); /* into ROM */
    uint64_t value;
    assert_int_equal(mv_space_load(l->rig.space, mv_gpa(0xff8), 8, MV_ENDIAN_LITTLE, &value, MV_ATTRS_NONE),
                     MV_OK);
    assert_int_equal(value, UINT64_C(0x0101010101010101));
    assert_int_equal(mv_space_fill(l->rig.space, mv_gpa(UINT64_MAX - 1), 1, 600, MV_ATTRS_NONE), MV_DECODE_ERROR);
}

static void reading_once_reads_the_same(void **state)
{
    struct layout *l = *state;
    unsigned char bytes[300], once[300];
    for (unsigned i = 0; i < 0x1000; i++) {
        unsigned char b = (unsigned char)(i * 7);
        mv_space_write(l->rig.space, mv_gpa(i), &b, 1, MV_ATTRS_NONE);
    }
    for (unsigned at = 0; at < 0x1100; at += 37) {
        for (size_t length = 0; length < sizeof bytes; length += 23) {
            memset(once, 0xee, sizeof once);
            enum mv_result a = mv_space_read(l->rig.space, mv_gpa(at), bytes, length, MV_ATTRS_NONE);
            assert_int_equal(mv_space_read_once(l->rig.space, mv_gpa(at), once, length, MV_ATTRS_NONE), a);
            assert_memory_equal(bytes, once, length);
        }
    }
    assert_int_equal(mv_space_read_once(l->rig.space, mv_gpa(UINT64_MAX - 2), once, 8, MV_ATTRS_NONE),
                     MV_DECODE_ERROR);
    assert_int_equal(once[7], 0);
}

static void windows(void **state)
{
    struct layout *l = *state;
    struct mv_window window;
    unsigned char bytes[4] = {1, 2, 3, 4}, back[4];
    assert_int_equal(mv_window_open(l->rig.space, mv_gpa(0x100), 0x40, MV_READ | MV_WRITE, &window), MV_OK);
    assert_non_null(window.host);
    assert_int_equal(mv_window_write(&window, 0x3c, bytes, 4), MV_OK);
    assert_int_equal(mv_space_read(l->rig.space, mv_gpa(0x13c), back, 4, MV_ATTRS_NONE), MV_OK);
    assert_memory_equal(bytes, back, 4);
    assert_int_equal(mv_window_write(&window, 0x3d, bytes, 4), MV_ACCESS_ERROR);
    assert_int_equal(mv_window_read(&window, SIZE_MAX, back, 2), MV_ACCESS_ERROR);
    assert_true(mv_window_is_current(&window));
    struct mv_region *over = put_in(l->rig.root, 0x100, rom(&l->rig, "over", 0x1000), 1);
    assert_false(mv_window_is_current(&window));
    assert_int_equal(mv_window_read(&window, 0x3c, back, 4), MV_OK); /* what was there */
    assert_memory_equal(bytes, back, 4);
    mv_window_close(&window);
    /* Not writable memory, and a device: the long way, with its results. */
    assert_int_equal(mv_window_open(l->rig.space, mv_gpa(0x100), 0x40, MV_WRITE, &window), MV_OK);
    assert_null(window.host);
    assert_int_equal(mv_window_write(&window, 0, bytes, 4), MV_DECODE_ERROR);
    mv_window_close(&window);
    assert_int_equal(mv_window_open(l->rig.space, mv_gpa(0x2000), 0x40, MV_READ | MV_WRITE, &window), MV_OK);
    assert_int_equal(mv_window_write(&window, 8, bytes, 4), MV_OK);
    assert_int_equal(l->little.value, 0x04030201);
    mv_window_close(&window);
    assert_int_equal(mv_window_open(l->rig.space, mv_gpa(UINT64_MAX), 2, MV_READ, &window), MV_DECODE_ERROR);
    assert_int_equal(mv_region_remove(over, NULL), 0);
}

static void count_call(void *opaque)
{
    ++*(unsigned *)opaque;
}

static void maps(void **state)
{
    struct layout *l = *state;
    struct mv_map map, second;
    unsigned called = 0;
    assert_int_equal(mv_space_map(l->rig.space, mv_gpa(0x800), 0x1000, MV_WRITE, &map), 0);
    assert_int_equal(map.length, 0x800); /* up to the ROM */
    memset(map.bytes, 0x77, 4);
    assert_int_equal(mv_space_unmap(&map, 4), MV_OK);
    uint64_t value;
    assert_int_equal(mv_space_load(l->rig.space, mv_gpa(0x800), 4, MV_ENDIAN_LITTLE, &value, MV_ATTRS_NONE),
                     MV_OK);
    assert_int_equal(value, 0x77777777);
    assert_int_equal(mv_space_map(l->rig.space, mv_gpa(0x9000), 8, MV_READ, &map), -EFAULT);
    assert_int_equal(mv_space_map(l->rig.space, mv_gpa(0), 0, MV_READ, &map), -EFAULT);

    /* A device: by a bounce buffer, filled at once for reading, written back as far as it was written. */
    assert_int_equal(mv_space_map(l->rig.space, mv_gpa(0x2000), 8, MV_READ, &map), 0);
    assert_null(map.region);
    assert_int_equal(*(uint64_t *)map.bytes, UINT64_C(0x1122334455667788));
    assert_int_equal(mv_space_unmap(&map, 8), MV_OK);
    mv_space_set_bounce_limit(l->rig.space, 16);
    assert_int_equal(mv_space_map(l->rig.space, mv_gpa(0x2000), 64, MV_WRITE, &map), 0);
    assert_int_equal(map.length, 16); /* the limit */
    assert_int_equal(mv_space_map(l->rig.space, mv_gpa(0x2000), 8, MV_WRITE, &second), -EAGAIN);
    assert_int_equal(mv_space_on_bounce_free(l->rig.space, count_call, &called), 0);
    assert_int_equal(called, 0);
    l->little.calls = 0;
    memcpy(map.bytes, "abcd", 4);
    assert_int_equal(mv_space_unmap(&map, 4), MV_OK);
    assert_int_equal(l->little.calls, 1);
    assert_int_equal(l->little.value, 0x64636261);
    assert_int_equal(called, 1);
    assert_int_equal(mv_space_on_bounce_free(l->rig.space, count_call, &called), 0); /* some is free: at once */
    assert_int_equal(called, 2);
    assert_int_equal(mv_space_map(l->rig.space, mv_gpa(0x1800), 4, MV_WRITE, &map),
                     0); /* ROM: a bounce buffer, too */
    assert_int_equal(mv_space_unmap(&map, 4), MV_DECODE_ERROR);
    mv_space_set_bounce_limit(l->rig.space, 4096);
}

/* A map over two windows on the same bytes, side by side, is one; over two that are not it ends. */
static void maps_reach_over_sections(void **state)
{
    struct layout *l = *state;
    struct mv_map map;
    struct mv_region *r = ram(&l->rig, "r", 0x3000);
    struct mv_region *low = put_in(l->rig.root, 0x8000, alias_of(&l->rig, "low", r, 0, 0x1000), 0);
    struct mv_region *high = put_in(l->rig.root, 0x9000, alias_of(&l->rig, "high", r, 0x1000, 0x1000), 0);
    assert_int_equal(mv_region_set_nonvolatile(high, true, NULL), 0); /* two sections, then */
    assert_int_equal(mv_space_map(l->rig.space, mv_gpa(0x8800), 0x1000, MV_READ, &map), 0);
    assert_int_equal(map.length, 0x1000);
    assert_int_equal(mv_space_unmap(&map, 0), MV_OK);
    assert_int_equal(mv_region_set_target_offset(high, 0x2000, NULL), 0);
    assert_int_equal(mv_space_map(l->rig.space, mv_gpa(0x8800), 0x1000, MV_READ, &map), 0);
    assert_int_equal(map.length, 0x800);
    assert_int_equal(mv_space_unmap(&map, 0), MV_OK);
    mv_region_put(r);
    (void)low;
}

#define test(name) cmocka_unit_test_setup_teardown(name, open_layout, close_layout)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(memory_in_both_orders),
        test(a_device_gets_it_whole),
        test(fill_and_compare),
        test(reading_once_reads_the_same),
        test(windows),
        test(maps),
        test(maps_reach_over_sections),
    };
    return cmocka_run_group_tests_name("sized", tests, NULL, NULL);
}
