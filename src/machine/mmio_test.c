// SPDX-License-Identifier: MIT
/* How an access becomes calls of a device: examples worked by hand, then everything against tests/model. */
#include "machine/mmio.h"

#include <stdlib.h>

#include <memvirt/access.h>

#include "machine/machine_test.h"
#include "tests/model/access_model.h"

#define MAX_CALLS 64

struct call {
    enum access_dir dir;
    uint64_t offset;
    unsigned size;
    uint64_t value;
};

/* What a read answers depends on where and how wide it is, and has rubbish above its size; some calls fail. */
static uint64_t answer(uint64_t offset, unsigned size)
{
    return (offset + 1) * UINT64_C(0x9e3779b97f4a7c15) + size;
}

static unsigned outcome(uint64_t offset)
{
    return offset % 13 == 5 ? MV_DEVICE_ERROR : MV_OK;
}

struct device {
    struct call calls[MAX_CALLS];
    size_t ncalls;
};

static enum mv_result record(struct device *d, struct call call)
{
    assert_true(d->ncalls < MAX_CALLS);
    d->calls[d->ncalls++] = call;
    return (enum mv_result)outcome(call.offset);
}

static enum mv_result device_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                  struct mv_attrs attrs)
{
    (void)attrs;
    assert_int_equal(*ret_value, 0);
    *ret_value = answer(offset, size_bytes);
    return record(opaque, (struct call){ACCESS_READ, offset, size_bytes, *ret_value});
}

static enum mv_result device_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                   struct mv_attrs attrs)
{
    (void)attrs;
    return record(opaque, (struct call){ACCESS_WRITE, offset, size_bytes, value});
}

static unsigned model_device(void *opaque, enum access_dir dir, struct access_call *call)
{
    struct device *d = opaque;
    if (dir == ACCESS_READ) {
        call->value = answer(call->offset, call->size);
    }
    return record(d, (struct call){dir, call->offset, call->size, call->value});
}

/* A device in both worlds. */
struct pair {
    struct rig rig;
    struct mv_mmio_ops ops;
    struct mv_region *region; /* a reference */
    struct device real, model;
    struct access_ops model_ops;
};

/* Put another device into the place of the present one. */
static void pair_change(struct pair *p, struct mv_mmio_sizes valid, struct mv_mmio_sizes impl,
                        enum mv_endian endian)
{
    if (p->region && p->region->state.container) {
        assert_int_equal(mv_region_remove(p->region, NULL), 0);
    }
    mv_region_put(p->region);
    p->ops = (struct mv_mmio_ops){
        .read = device_read, .write = device_write, .valid = valid, .impl = impl, .endian = endian};
    p->region = mmio(&p->rig, "device", MV_SIZE_2_64, &p->ops, &p->real);
    p->model_ops = (struct access_ops){
        .valid_min = valid.min_bytes,
        .valid_max = valid.max_bytes,
        .valid_unaligned = valid.unaligned,
        .impl_min = impl.min_bytes,
        .impl_max = impl.max_bytes,
        .impl_unaligned = impl.unaligned,
        .order = endian == MV_ENDIAN_BIG ? ACCESS_BIG : ACCESS_LITTLE,
        .device = model_device,
        .opaque = &p->model,
    };
}

static void pair_open(struct pair *p, struct mv_mmio_sizes valid, struct mv_mmio_sizes impl, enum mv_endian endian)
{
    memset(p, 0, sizeof *p);
    rig_open(&p->rig);
    pair_change(p, valid, impl, endian);
}

static void pair_close(struct pair *p)
{
    mv_region_put(p->region);
    rig_close(&p->rig);
}

static void assert_same_calls(struct pair *p)
{
    assert_int_equal(p->real.ncalls, p->model.ncalls);
    for (size_t i = 0; i < p->real.ncalls; i++) {
        const struct call *a = &p->real.calls[i], *b = &p->model.calls[i];
        assert_int_equal(a->dir, b->dir);
        assert_int_equal(a->offset, b->offset);
        assert_int_equal(a->size, b->size);
        assert_int_equal(a->value, b->value);
    }
    p->real.ncalls = p->model.ncalls = 0;
}

#define SIZES(min, max) ((struct mv_mmio_sizes){min, max, false})
#define UNALIGNED(min, max) ((struct mv_mmio_sizes){min, max, true})
#define DEFAULT SIZES(0, 0)

/* "rOFFSET.SIZE" or "wOFFSET.SIZE=VALUE" for each call. */
static void assert_calls(struct device *d, const char *expected)
{
    char text[1024] = "";
    size_t used = 0;
    for (size_t i = 0; i < d->ncalls; i++) {
        const struct call *c = &d->calls[i];
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%c%" PRIx64 ".%u", i ? " " : "",
                                 c->dir == ACCESS_READ ? 'r' : 'w', c->offset, c->size);
        if (c->dir == ACCESS_WRITE) {
            used += (size_t)snprintf(text + used, sizeof text - used, "=%" PRIx64, c->value);
        }
    }
    assert_string_equal(text, expected);
    d->ncalls = 0;
}

/* --- by hand ----------------------------------------------------------------------------------- */

static void a_long_access_is_split(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p, SIZES(1, 8), SIZES(1, 2), MV_ENDIAN_LITTLE);
    assert_int_equal(mmio_write(p.region, 0x20, 8, UINT64_C(0x8877665544332211), MV_ATTRS_NONE), MV_OK);
    assert_calls(&p.real, "w20.2=2211 w22.2=4433 w24.2=6655 w26.2=8877");
    pair_close(&p);
    pair_open(&p, SIZES(1, 8), SIZES(1, 2), MV_ENDIAN_BIG);
    assert_int_equal(mmio_write(p.region, 0x20, 4, 0x44332211, MV_ATTRS_NONE), MV_OK);
    assert_calls(&p.real, "w20.2=4433 w22.2=2211");
    pair_close(&p);
}

static void a_short_access_is_widened(void **state)
{
    (void)state;
    struct pair p;
    uint64_t value;
    pair_open(&p, SIZES(1, 4), SIZES(4, 4), MV_ENDIAN_LITTLE);
    assert_int_equal(mmio_write(p.region, 2, 1, 0x1ab, MV_ATTRS_NONE), MV_OK);
    assert_calls(&p.real, "w2.4=ab");
    assert_int_equal(mmio_read(p.region, 2, 1, &value, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(value, answer(2, 4) & 0xff);
    assert_calls(&p.real, "r2.4");
    pair_close(&p);
    pair_open(&p, SIZES(1, 4), SIZES(4, 4), MV_ENDIAN_BIG);
    assert_int_equal(mmio_write(p.region, 0, 1, 0xab, MV_ATTRS_NONE), MV_OK);
    assert_calls(&p.real, "w0.4=ab000000");
    assert_int_equal(mmio_read(p.region, 0, 2, &value, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(value, (answer(0, 4) & 0xffffffff) >> 16);
    assert_calls(&p.real, "r0.4");
    pair_close(&p);
}

static void what_is_not_valid_does_not_arrive(void **state)
{
    (void)state;
    struct pair p;
    uint64_t value = 7;
    pair_open(&p, SIZES(2, 4), DEFAULT, MV_ENDIAN_LITTLE);
    assert_int_equal(mmio_read(p.region, 0, 1, &value, MV_ATTRS_NONE), MV_DECODE_ERROR);
    assert_int_equal(value, 0);
    assert_int_equal(mmio_write(p.region, 0, 8, 1, MV_ATTRS_NONE), MV_DECODE_ERROR);
    assert_int_equal(mmio_write(p.region, 1, 2, 1, MV_ATTRS_NONE), MV_DECODE_ERROR);
    assert_int_equal(mmio_read(p.region, 2, 4, &value, MV_ATTRS_NONE), MV_DECODE_ERROR);
    assert_calls(&p.real, "");
    assert_int_equal(mmio_write(p.region, 2, 2, 1, MV_ATTRS_NONE), MV_OK);
    assert_calls(&p.real, "w2.2=1");
    pair_close(&p);
    pair_open(&p, UNALIGNED(2, 4), DEFAULT, MV_ENDIAN_LITTLE);
    assert_int_equal(mmio_write(p.region, 1, 2, 1, MV_ATTRS_NONE), MV_OK);
    assert_calls(&p.real, "w1.2=1");
    pair_close(&p);
    /* No maximum: every size, whatever the minimum says. */
    pair_open(&p, SIZES(4, 0), SIZES(1, 8), MV_ENDIAN_LITTLE);
    assert_int_equal(mmio_write(p.region, 3, 1, 1, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(mmio_write(p.region, 8, 8, 1, MV_ATTRS_NONE), MV_OK);
    assert_calls(&p.real, "w3.1=1 w8.8=1");
    pair_close(&p);
}

/* What the device says comes first; it is asked even of accesses that cannot be. */
struct picky {
    unsigned asked, called;
    bool write;
    uint16_t requester;
};

static bool picky_accepts(void *opaque, uint64_t offset, unsigned size_bytes, bool is_write, struct mv_attrs attrs)
{
    struct picky *picky = opaque;
    picky->asked++;
    picky->write = is_write;
    picky->requester = attrs.requester;
    return offset != 4 || size_bytes != 4;
}

static enum mv_result picky_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                 struct mv_attrs attrs)
{
    (void)offset, (void)size_bytes, (void)attrs;
    ((struct picky *)opaque)->called++;
    *ret_value = 9;
    return MV_OK;
}

static enum mv_result picky_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                  struct mv_attrs attrs)
{
    (void)offset, (void)size_bytes, (void)value, (void)attrs;
    ((struct picky *)opaque)->called++;
    return MV_OK;
}

static void a_device_may_refuse(void **state)
{
    static const struct mv_mmio_ops ops = {
        .read = picky_read, .write = picky_write, .accepts = picky_accepts, .valid = {.max_bytes = 4}};
    const struct mv_attrs attrs = {.requester = 7};
    struct rig rig;
    struct picky picky = {0};
    uint32_t value = 1;
    (void)state;
    rig_open(&rig);
    put_in(rig.root, 0x1000, mmio(&rig, "picky", 0x100, &ops, &picky), 0);
    assert_int_equal(mv_space_write(rig.space, mv_gpa(0x1000), &value, 4, attrs), MV_OK);
    assert_int_equal(picky.called, 1);
    assert_true(picky.write);
    assert_int_equal(picky.requester, 7);
    assert_int_equal(mv_space_write(rig.space, mv_gpa(0x1004), &value, 4, attrs), MV_DECODE_ERROR);
    assert_int_equal(mv_space_read(rig.space, mv_gpa(0x1004), &value, 4, attrs), MV_DECODE_ERROR);
    assert_int_equal(value, 0);
    assert_false(picky.write);
    assert_int_equal(picky.called, 1);
    assert_int_equal(mv_space_read(rig.space, mv_gpa(0x1004), &value, 2, attrs), MV_OK);
    uint64_t wide;
    assert_int_equal(picky.asked, 4);
    assert_int_equal(mv_space_load(rig.space, mv_gpa(0x1001), 4, MV_ENDIAN_LITTLE, &wide, attrs), MV_DECODE_ERROR);
    assert_int_equal(picky.asked, 5);
    assert_int_equal(picky.called, 2);
    rig_close(&rig);
}

/* Q81 of the reference: 7 bytes written at 1 arrive as 1, 2 and 4. */
static void a_buffer_is_cut_to_what_is_aligned(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p, DEFAULT, DEFAULT, MV_ENDIAN_LITTLE);
    struct mv_region *c = put_in(p.rig.root, 0, mv_region_get(p.region), 0);
    assert_int_equal(mv_space_write(p.rig.space, mv_gpa(1), "\1\2\3\4\5\6\7", 7, MV_ATTRS_NONE), MV_OK);
    assert_calls(&p.real, "w1.1=1 w2.2=302 w4.4=7060504");
    assert_int_equal(mv_space_write(p.rig.space, mv_gpa(8), "\1\2\3\4\5\6\7\x8", 8, MV_ATTRS_NONE), MV_OK);
    assert_calls(&p.real, "w8.4=4030201 wc.4=8070605");
    assert_int_equal(mv_region_remove(c, NULL), 0);
    pair_close(&p);
    pair_open(&p, UNALIGNED(1, 8), UNALIGNED(1, 8), MV_ENDIAN_BIG);
    put_in(p.rig.root, 0x1000, mv_region_get(p.region), 0);
    assert_int_equal(mv_space_write(p.rig.space, mv_gpa(0x1003), "\1\2\3\4\5\6\7\x8", 8, MV_ATTRS_NONE), MV_OK);
    assert_calls(&p.real, "w3.8=102030405060708");
    pair_close(&p);
}

/* A device is not cut at the end of its section: it sees the access whole, and what comes after is not asked. */
static void a_wide_device_sees_past_its_end(void **state)
{
    (void)state;
    struct pair p;
    pair_open(&p, SIZES(1, 8), SIZES(1, 8), MV_ENDIAN_LITTLE);
    assert_int_equal(mv_region_set_size(p.region, 4, NULL), 0);
    put_in(p.rig.root, 0x1000, mv_region_get(p.region), 0);
    put_in(p.rig.root, 0x1004, ram(&p.rig, "r", 0x100), 0);
    assert_int_equal(mv_space_write(p.rig.space, mv_gpa(0x1000), "\1\2\3\4\5\6\7\x8\x9", 9, MV_ATTRS_NONE), MV_OK);
    assert_calls(&p.real, "w0.8=807060504030201");
    unsigned char seen[5];
    assert_int_equal(mv_space_read(p.rig.space, mv_gpa(0x1004), seen, 5, MV_ATTRS_NONE), MV_OK);
    assert_memory_equal(seen, "\0\0\0\0\x9", 5);
    pair_close(&p);
}

/* --- against the model ------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static uint64_t some_offset(uint64_t *seed)
{
    uint64_t n = next_random(seed);
    return n % 8 == 0 ? TOP - 64 + n / 8 % 32 : n / 8 % 40;
}

static void compare_sized(struct pair *p, uint64_t *seed)
{
    struct access_request request = {
        .dir = next_random(seed) % 2 ? ACCESS_READ : ACCESS_WRITE,
        .offset = some_offset(seed),
        .size = 1U << next_random(seed) % 4,
        .order = p->model_ops.order, /* a value is in the device's own order */
        .value = next_random(seed),
    };
    struct access_outcome expected;
    uint64_t value = 0x123;
    enum mv_result result;
    access_model_sized(&p->model_ops, &request, &expected);
    if (request.dir == ACCESS_READ) {
        result = mmio_read(p->region, request.offset, request.size, &value, MV_ATTRS_NONE);
        assert_int_equal(value, expected.value);
    } else {
        result = mmio_write(p->region, request.offset, request.size, request.value, MV_ATTRS_NONE);
    }
    assert_int_equal(result, expected.result);
    assert_same_calls(p);
}

/* Through the space, which the device fills: a buffer of any length. */
static void compare_buffer(struct pair *p, uint64_t *seed)
{
    unsigned char bytes[2][32];
    for (size_t i = 0; i < sizeof bytes[0]; i++) {
        bytes[0][i] = bytes[1][i] = (unsigned char)next_random(seed);
    }
    struct access_buffer_request request = {
        .dir = next_random(seed) % 2 ? ACCESS_READ : ACCESS_WRITE,
        .offset = some_offset(seed),
        .bytes = bytes[1],
        .len = next_random(seed) % 24,
    };
    struct access_piece pieces[32];
    size_t npieces;
    unsigned expected = access_model_buffer(&p->model_ops, &request, pieces, 32, &npieces);
    enum mv_result result =
        request.dir == ACCESS_READ
            ? mv_space_read(p->rig.space, mv_gpa(request.offset), bytes[0], request.len, MV_ATTRS_NONE)
            : mv_space_write(p->rig.space, mv_gpa(request.offset), bytes[0], request.len, MV_ATTRS_NONE);
    assert_int_equal(result, expected);
    assert_memory_equal(bytes[0], bytes[1], sizeof bytes[0]);
    for (size_t i = 0; i < npieces; i++) {
        uint64_t left = request.len - (pieces[i].offset - request.offset);
        assert_int_equal(mmio_piece(p->region, pieces[i].offset, left), pieces[i].size);
    }
    assert_same_calls(p);
}

/* Every legal combination of sizes, alignment and order, some accesses each. */
static void everything_is_as_the_model_says(void **state)
{
    (void)state;
    static const uint8_t sizes[] = {0, 1, 2, 4, 8};
    uint64_t seed = 88172645463325252;
    unsigned devices = 0;
    struct pair p;
    pair_open(&p, DEFAULT, DEFAULT, MV_ENDIAN_LITTLE);
    for (unsigned code = 0; code < 5 * 5 * 5 * 5 * 8; code++) {
        struct mv_mmio_sizes valid = {sizes[code % 5], sizes[code / 5 % 5], code / 625 % 2 != 0};
        struct mv_mmio_sizes impl = {sizes[code / 25 % 5], sizes[code / 125 % 5], code / 1250 % 2 != 0};
        if ((valid.max_bytes && valid.min_bytes > valid.max_bytes) ||
            (impl.max_bytes && impl.min_bytes > impl.max_bytes)) {
            continue;
        }
        pair_change(&p, valid, impl, code / 2500 ? MV_ENDIAN_BIG : MV_ENDIAN_LITTLE);
        put_in(p.rig.root, 0, mv_region_get(p.region), 0);
        for (int i = 0; i < 60; i++) {
            compare_sized(&p, &seed);
            compare_buffer(&p, &seed);
        }
        devices++;
    }
    pair_close(&p);
    printf("# %u devices\n", devices);
    assert_true(devices > 2000);
}

static void values_and_bytes(void **state)
{
    (void)state;
    struct pair p;
    unsigned char bytes[8];
    pair_open(&p, DEFAULT, DEFAULT, MV_ENDIAN_LITTLE);
    mmio_value_to_bytes(p.region, 0x44332211, 4, bytes);
    assert_memory_equal(bytes, "\x11\x22\x33\x44", 4);
    assert_int_equal(mmio_bytes_to_value(p.region, bytes, 4), 0x44332211);
    pair_close(&p);
    pair_open(&p, DEFAULT, DEFAULT, MV_ENDIAN_BIG);
    mmio_value_to_bytes(p.region, 0x44332211, 4, bytes);
    assert_memory_equal(bytes, "\x44\x33\x22\x11", 4);
    assert_int_equal(mmio_bytes_to_value(p.region, bytes, 2), 0x4433);
    pair_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_access_is_split),
        cmocka_unit_test(a_short_access_is_widened),
        cmocka_unit_test(what_is_not_valid_does_not_arrive),
        cmocka_unit_test(a_device_may_refuse),
        cmocka_unit_test(a_buffer_is_cut_to_what_is_aligned),
        cmocka_unit_test(a_wide_device_sees_past_its_end),
        cmocka_unit_test(everything_is_as_the_model_says),
        cmocka_unit_test(values_and_bytes),
    };
    return cmocka_run_group_tests_name("mmio", tests, NULL, NULL);
}
