/* SPDX-License-Identifier: MIT */

/* Holds the access model against examples worked by hand. */
#include "access_model.h"
#include "selftest.h"

#include <string.h>

/* The device is an array of bytes 0x10, 0x11, ... read in the order asked for. */

struct device {
    bool big;
    uint64_t fails_at; /* ~0 for never */
};

static unsigned device_call(void *opaque, enum access_dir dir, struct access_call *call)
{
    const struct device *device = opaque;

    if (dir == ACCESS_READ) {
        for (unsigned i = 0; i < call->size; i++) {
            unsigned place = device->big ? call->size - 1 - i : i;

            call->value |= (0x10 + ((call->offset + i) & 0xf)) << (8 * place);
        }
    }
    return call->offset == device->fails_at ? ACCESS_ERROR : ACCESS_OK;
}

static struct access_outcome sized(const struct access_ops *ops, enum access_dir dir, uint64_t offset,
                                   unsigned size, uint64_t value)
{
    struct access_request req = {
        .dir = dir,
        .offset = offset,
        .size = size,
        .order = ACCESS_LITTLE,
        .value = value,
    };
    struct access_outcome outcome;

    access_model_sized(ops, &req, &outcome);
    return outcome;
}

static bool call_is(const struct access_outcome *o, unsigned i, uint64_t offset, unsigned size, uint64_t value)
{
    return i < o->ncalls && o->call[i].offset == offset && o->call[i].size == size && o->call[i].value == value;
}

static bool rejected(const struct access_outcome *o)
{
    return o->result == ACCESS_DECODE_ERROR && o->ncalls == 0 && o->value == 0;
}

static bool refuse_offset_8(void *opaque, enum access_dir dir, uint64_t offset, unsigned size)
{
    (void)opaque;
    (void)dir;
    (void)size;
    return offset != 8;
}

static void test_access_valid(void)
{
    struct access_ops ops = {.valid_min = 2, .valid_max = 4};
    struct access_outcome o;

    o = sized(&ops, ACCESS_READ, 0, 1, 0);
    CHECK(rejected(&o));
    o = sized(&ops, ACCESS_WRITE, 0, 8, 1);
    CHECK(rejected(&o));
    o = sized(&ops, ACCESS_WRITE, 0, 2, 1);
    CHECK(o.result == ACCESS_OK && o.ncalls == 1);
    o = sized(&ops, ACCESS_WRITE, 2, 4, 1);
    CHECK(rejected(&o)); /* not aligned */
    ops.valid_unaligned = true;
    o = sized(&ops, ACCESS_WRITE, 2, 4, 1);
    CHECK(o.ncalls == 1 && call_is(&o, 0, 2, 4, 1));

    /* No maximum: any size, even below the minimum; but not any alignment. */
    ops = (struct access_ops){.valid_min = 4};
    CHECK(access_model_valid(&ops, ACCESS_READ, 5, 1));
    CHECK(access_model_valid(&ops, ACCESS_READ, 8, 8));
    CHECK(!access_model_valid(&ops, ACCESS_READ, 4, 8));
    ops.accepts = refuse_offset_8;
    CHECK(!access_model_valid(&ops, ACCESS_READ, 8, 8));
    CHECK(access_model_valid(&ops, ACCESS_READ, 16, 8));
}

static void test_access_split(void)
{
    struct device device = {.fails_at = UINT64_MAX};
    struct access_ops ops = {.order = ACCESS_LITTLE, .device = device_call, .opaque = &device};
    struct access_outcome o;

    /* The default: 4 at most at a time. */
    o = sized(&ops, ACCESS_READ, 0, 8, 0);
    CHECK(o.ncalls == 2 && o.value == UINT64_C(0x1716151413121110));
    CHECK(call_is(&o, 0, 0, 4, 0x13121110) && call_is(&o, 1, 4, 4, 0x17161514));
    o = sized(&ops, ACCESS_WRITE, 8, 8, UINT64_C(0x1122334455667788));
    CHECK(o.ncalls == 2 && call_is(&o, 0, 8, 4, 0x55667788) && call_is(&o, 1, 12, 4, 0x11223344));

    ops.impl_max = 8;
    o = sized(&ops, ACCESS_WRITE, 8, 8, UINT64_C(0x1122334455667788));
    CHECK(o.ncalls == 1 && call_is(&o, 0, 8, 8, UINT64_C(0x1122334455667788)));

    ops.impl_max = 1;
    o = sized(&ops, ACCESS_WRITE, 4, 4, UINT64_C(0xeeeeeeee11223344));
    CHECK(o.ncalls == 4 && call_is(&o, 0, 4, 1, 0x44) && call_is(&o, 1, 5, 1, 0x33) &&
          call_is(&o, 2, 6, 1, 0x22) && call_is(&o, 3, 7, 1, 0x11));
    o = sized(&ops, ACCESS_READ, 0, 8, 0);
    CHECK(o.ncalls == 8 && o.value == UINT64_C(0x1716151413121110));

    /* Big device: its first call carries the upper part; a little-endian load swaps the whole. */
    device.big = true;
    ops.order = ACCESS_BIG;
    ops.impl_max = 2;
    o = sized(&ops, ACCESS_READ, 4, 4, 0);
    CHECK(o.ncalls == 2 && call_is(&o, 0, 4, 2, 0x1415) && call_is(&o, 1, 6, 2, 0x1617));
    CHECK(o.value == 0x17161514);
    o = sized(&ops, ACCESS_WRITE, 4, 4, 0x11223344);
    CHECK(o.ncalls == 2 && call_is(&o, 0, 4, 2, 0x4433) && call_is(&o, 1, 6, 2, 0x2211));
}

static void test_access_widened(void)
{
    struct device device = {.fails_at = UINT64_MAX};
    struct access_ops ops = {
        .impl_min = 4,
        .order = ACCESS_LITTLE,
        .device = device_call,
        .opaque = &device,
    };
    struct access_outcome o;

    o = sized(&ops, ACCESS_READ, 4, 1, 0);
    CHECK(o.ncalls == 1 && call_is(&o, 0, 4, 4, 0x17161514) && o.value == 0x14);
    o = sized(&ops, ACCESS_READ, 6, 1, 0); /* the offset goes to the device as it is */
    CHECK(o.ncalls == 1 && call_is(&o, 0, 6, 4, 0x19181716) && o.value == 0x16);
    o = sized(&ops, ACCESS_WRITE, 6, 2, 0xffffabcd); /* not read first; the rest is 0 */
    CHECK(o.ncalls == 1 && call_is(&o, 0, 6, 4, 0xabcd));
    ops.impl_min = 8; /* above the default maximum, and wins */
    o = sized(&ops, ACCESS_WRITE, 0, 2, 0xabcd);
    CHECK(o.ncalls == 1 && call_is(&o, 0, 0, 8, 0xabcd));
    o = sized(&ops, ACCESS_READ, 0, 8, 0);
    CHECK(o.ncalls == 1 && o.value == UINT64_C(0x1716151413121110));

    device.big = true;
    ops.order = ACCESS_BIG;
    ops.impl_min = 4;
    o = sized(&ops, ACCESS_READ, 4, 1, 0);
    CHECK(o.ncalls == 1 && call_is(&o, 0, 4, 4, 0x14151617) && o.value == 0x14);
    o = sized(&ops, ACCESS_READ, 4, 2, 0);
    CHECK(call_is(&o, 0, 4, 4, 0x14151617) && o.value == 0x1514);
    o = sized(&ops, ACCESS_WRITE, 4, 1, 0xab);
    CHECK(o.ncalls == 1 && call_is(&o, 0, 4, 4, 0xab000000));
    o = sized(&ops, ACCESS_WRITE, 4, 2, 0xabcd);
    CHECK(o.ncalls == 1 && call_is(&o, 0, 4, 4, 0xcdab0000));
}

/* More than it was asked for: ones above a lowest byte of 5. */
static unsigned answer_too_much(void *opaque, enum access_dir dir, struct access_call *call)
{
    (void)opaque;
    if (dir == ACCESS_READ) {
        call->value = ~UINT64_C(0xff) | 5;
    }
    return ACCESS_OK;
}

static void test_access_order_and_results(void)
{
    struct device device = {.fails_at = 0};
    struct access_ops ops = {.impl_max = 2, .device = device_call, .opaque = &device};
    struct access_request req = {.dir = ACCESS_READ, .size = 4, .order = ACCESS_BIG};
    struct access_outcome o;

    /* A failed call does not keep the next from being made, nor its own answer out. */
    access_model_sized(&ops, &req, &o);
    CHECK(o.result == ACCESS_ERROR && o.ncalls == 2 && o.value == 0x10111213);
    req.order = ACCESS_NATIVE;
    access_model_sized(&ops, &req, &o);
    CHECK(o.value == 0x13121110);

    /* A native device on a big guest. */
    device.big = true;
    ops.native_is_big = true;
    access_model_sized(&ops, &req, &o);
    CHECK(o.value == 0x10111213 && call_is(&o, 0, 0, 2, 0x1011));
    req.order = ACCESS_LITTLE;
    access_model_sized(&ops, &req, &o);
    CHECK(o.value == 0x13121110 && call_is(&o, 0, 0, 2, 0x1011));

    ops = (struct access_ops){.impl_max = 1, .device = answer_too_much};
    o = sized(&ops, ACCESS_READ, 0, 2, 0);
    CHECK(o.value == 0x0505);
    o = sized(&ops, ACCESS_READ, 0, 1, 0);
    CHECK(o.value == 0x05);
}

static void test_access_pieces(void)
{
    struct access_ops ops = {0};

    CHECK(access_model_piece(&ops, 0, 3) == 2);
    CHECK(access_model_piece(&ops, 0, 100) == 4);
    CHECK(access_model_piece(&ops, 0x1002, 100) == 2);
    CHECK(access_model_piece(&ops, 0x1004, UINT64_MAX) == 4);
    ops.valid_max = 8;
    CHECK(access_model_piece(&ops, 0x1008, 8) == 8);
    CHECK(access_model_piece(&ops, 0x1008, 7) == 4);
    CHECK(access_model_piece(&ops, 0x1004, 8) == 4);
    ops.impl_unaligned = true;
    CHECK(access_model_piece(&ops, 0x1003, 8) == 8);
    ops.valid_max = 1;
    CHECK(access_model_piece(&ops, 0, 8) == 1);
}

static void test_access_buffer(void)
{
    struct device device = {.fails_at = UINT64_MAX};
    struct access_ops ops = {.order = ACCESS_LITTLE, .device = device_call, .opaque = &device};
    uint8_t bytes[8] = {0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xee};
    struct access_buffer_request req = {ACCESS_WRITE, 1, bytes, 7};
    struct access_piece piece[8];
    size_t n;

    CHECK(access_model_buffer(&ops, &req, piece, 8, &n) == ACCESS_OK && n == 3);
    CHECK(call_is(&piece[0].outcome, 0, 1, 1, 0xa0));
    CHECK(call_is(&piece[1].outcome, 0, 2, 2, 0xa2a1));
    CHECK(call_is(&piece[2].outcome, 0, 4, 4, 0xa6a5a4a3));

    ops.order = ACCESS_BIG;
    CHECK(access_model_buffer(&ops, &req, piece, 8, &n) == ACCESS_OK && n == 3);
    CHECK(call_is(&piece[1].outcome, 0, 2, 2, 0xa1a2));
    CHECK(call_is(&piece[2].outcome, 0, 4, 4, 0xa3a4a5a6));

    /* Pieces that are not valid read as zeros among those that are. */
    ops.order = ACCESS_LITTLE;
    ops.valid_min = 2;
    ops.valid_max = 4;
    req.dir = ACCESS_READ;
    CHECK(access_model_buffer(&ops, &req, piece, 8, &n) == ACCESS_DECODE_ERROR && n == 3);
    CHECK(memcmp(bytes, "\x00\x12\x13\x14\x15\x16\x17\xee", 8) == 0);

    req.len = 0;
    CHECK(access_model_buffer(&ops, &req, piece, 8, &n) == ACCESS_OK && n == 0);

    /* The device bears unaligned accesses but the region does not take them: nothing arrives. */
    ops.impl_unaligned = true;
    req.len = 4;
    CHECK(access_model_buffer(&ops, &req, piece, 8, &n) == ACCESS_DECODE_ERROR && n == 1);
    CHECK(piece[0].size == 4 && rejected(&piece[0].outcome));
}

/* A device that gives one answer, whatever it is asked. */
static unsigned answer_fixed(void *opaque, enum access_dir dir, struct access_call *call)
{
    const uint64_t *answer = opaque;

    if (dir == ACCESS_READ) {
        call->value = *answer;
    }
    return ACCESS_OK;
}

/* Rules of devices of QEMU 7.2, and the calls its trace showed for accesses through qtest. */
static void test_seen_in_qemu(void)
{
    uint64_t answer = 0xb0c5;
    struct access_ops dispi = {
        /* of the VGA card */
        .valid_min = 1,         .valid_max = 4,         .impl_min = 2,     .impl_max = 2,
        .order = ACCESS_LITTLE, .device = answer_fixed, .opaque = &answer,
    };
    struct access_ops edu = {.valid_min = 4, .valid_max = 8, .impl_min = 4, .impl_max = 8};
    struct access_ops hpet = dispi;
    struct access_ops dma = {
        /* of fw_cfg */
        .valid_max = 8, .impl_max = 8, .order = ACCESS_BIG, .device = answer_fixed, .opaque = &answer,
    };
    struct access_outcome o = sized(&dispi, ACCESS_READ, 1, 1, 0);
    uint8_t bytes[7] = {1, 2, 3, 4, 5, 6, 7};
    struct access_buffer_request req = {ACCESS_WRITE, 1, bytes, 7};
    struct access_piece piece[4];
    size_t n;

    CHECK(o.ncalls == 1 && call_is(&o, 0, 1, 2, 0xb0c5) && o.value == 0xc5);
    o = sized(&dispi, ACCESS_WRITE, 4, 4, 0x00030004);
    CHECK(o.ncalls == 2 && call_is(&o, 0, 4, 2, 4) && call_is(&o, 1, 6, 2, 3));
    o = sized(&dispi, ACCESS_WRITE, 2, 1, 0x55);
    CHECK(o.ncalls == 1 && call_is(&o, 0, 2, 2, 0x55));

    CHECK(access_model_buffer(&edu, &req, piece, 4, &n) == ACCESS_DECODE_ERROR && n == 3);
    CHECK(rejected(&piece[0].outcome) && rejected(&piece[1].outcome));
    CHECK(call_is(&piece[2].outcome, 0, 4, 4, 0x07060504));

    answer = UINT64_C(0x9896808086a201); /* more than the four bytes of the call */
    hpet.valid_min = hpet.impl_min = hpet.impl_max = 4;
    o = sized(&hpet, ACCESS_READ, 0, 4, 0);
    CHECK(o.ncalls == 1 && o.value == 0x8086a201);
    o = sized(&hpet, ACCESS_READ, 0, 2, 0);
    CHECK(rejected(&o));

    answer = 0x51454d55;
    o = sized(&dma, ACCESS_READ, 0, 4, 0);
    CHECK(o.ncalls == 1 && o.value == 0x554d4551);
    o = sized(&dma, ACCESS_WRITE, 4, 4, 0x11223344);
    CHECK(o.ncalls == 1 && call_is(&o, 0, 4, 4, 0x44332211));
}

int main(void)
{
    test_access_valid();
    test_access_split();
    test_access_widened();
    test_access_order_and_results();
    test_access_pieces();
    test_access_buffer();
    test_seen_in_qemu();
    return finish();
}
