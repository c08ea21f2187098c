/* SPDX-License-Identifier: MIT */

/* Holds the region model against examples worked by hand. */
#include "region_model.h"
#include "selftest.h"

static struct model m;

/* Whether the byte at addr is byte `offset` of region `id`. */
static bool hits(int root, uint64_t addr, int id, uint64_t offset)
{
    struct model_byte byte;

    return model_at(&m, root, addr, &byte) && byte.region == id && byte.offset == offset &&
           byte.kind == m.region[id].kind;
}

static bool empty(int root, uint64_t addr)
{
    struct model_byte byte;

    return !model_at(&m, root, addr, &byte);
}

static bool readonly_at(int root, uint64_t addr)
{
    struct model_byte byte = {.readonly = false};

    return model_at(&m, root, addr, &byte) && byte.readonly;
}

static int container(uint64_t size)
{
    return model_create(&m, MODEL_CONTAINER, size);
}

static int mmio(uint64_t size)
{
    return model_create(&m, MODEL_MMIO, size);
}

static int ram(uint64_t size)
{
    return model_create(&m, MODEL_RAM, size);
}

/* Sections; the flat answer must be the same. */

struct expected {
    uint64_t first;
    uint64_t last;
    int region;
    uint64_t offset;
    bool readonly;
};

static bool same_section(const struct model_section *a, const struct model_section *b)
{
    return a->first == b->first && a->last == b->last && a->region == b->region && a->offset == b->offset &&
           a->readonly == b->readonly && a->nonvolatile == b->nonvolatile;
}

static bool flat_is(int root, uint64_t lo, uint64_t hi, const struct expected *want, size_t n)
{
    struct model_section got[32];

    if (n > 32 || model_flat(&m, root, lo, hi, got, 32) != n) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (got[i].first != want[i].first || got[i].last != want[i].last || got[i].region != want[i].region ||
            got[i].offset != want[i].offset || got[i].readonly != want[i].readonly) {
            return false;
        }
    }
    return true;
}

static bool sections_are(int root, uint64_t lo, uint64_t hi, const struct expected *want, size_t n)
{
    struct model_section slow[32];
    struct model_section fast[32];

    if (n > 32 || model_sections(&m, root, lo, hi, slow, 32) != n || model_flat(&m, root, lo, hi, fast, 32) != n) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!same_section(&slow[i], &fast[i])) {
            return false;
        }
    }
    return flat_is(root, lo, hi, want, n);
}

#define EXPECT(...)                                                                                               \
    (const struct expected[]){__VA_ARGS__},                                                                       \
        sizeof((const struct expected[]){__VA_ARGS__}) / sizeof(struct expected)

/*
 * The overlap picture: in A lie C (MMIO) and, over a part of it, B, a
 * container with D and E in it and holes between and after them.
 *
 *        0    10   20   30   40   50   60   70   80
 *   A    [                                        ]
 *   C    [ccccccccccccccccccccccccccccccc]
 *   B              [                   ]
 *   D              [dddd]
 *   E                        [eeee]
 *
 *   seen [ccccccccc][dddd][ccc][eeee][cc]            with B above C
 */
static void test_overlap_picture(void)
{
    int a, b, c, d, e;

    model_init(&m);
    a = container(0x80);
    b = container(0x40);
    c = mmio(0x60);
    d = mmio(0x10);
    e = mmio(0x10);
    CHECK(model_add(&m, a, b, 0x20, 2) == 0);
    CHECK(model_add(&m, a, c, 0, 1) == 0);
    CHECK(model_add(&m, b, d, 0, 0) == 0);
    CHECK(model_add(&m, b, e, 0x20, 0) == 0);
    CHECK(sections_are(a, 0, 0x80,
                       EXPECT({0x00, 0x1f, c, 0x00, false}, {0x20, 0x2f, d, 0x00, false},
                              {0x30, 0x3f, c, 0x30, false}, {0x40, 0x4f, e, 0x00, false},
                              {0x50, 0x5f, c, 0x50, false})));

    /* Below C, nothing of B shows, whatever the priorities inside it. */
    CHECK(model_del(&m, b) == 0);
    CHECK(model_add(&m, a, b, 0x20, 0) == 0);
    CHECK(model_del(&m, d) == 0);
    CHECK(model_add(&m, b, d, 0, 1000) == 0);
    CHECK(sections_are(a, 0, 0x80, EXPECT({0x00, 0x5f, c, 0, false})));

    /* B as a reservation fills its own holes. */
    model_init(&m);
    a = container(0x80);
    b = model_create(&m, MODEL_RESERVATION, 0x40);
    c = mmio(0x60);
    d = mmio(0x10);
    CHECK(model_add(&m, a, b, 0x20, 2) == 0);
    CHECK(model_add(&m, a, c, 0, 1) == 0);
    CHECK(model_add(&m, b, d, 0, -5) == 0);
    CHECK(sections_are(
        a, 0, 0x80,
        EXPECT({0x00, 0x1f, c, 0x00, false}, {0x20, 0x2f, d, 0x00, false}, {0x30, 0x5f, b, 0x10, false})));
}

static void test_priority_is_among_siblings(void)
{
    int root, low, high, in_low, in_high;

    model_init(&m);
    root = container(0x100);
    low = container(0x100);
    high = container(0x100);
    in_low = mmio(0x20);
    in_high = mmio(0x20);
    CHECK(model_add(&m, root, low, 0, 0) == 0);
    CHECK(model_add(&m, root, high, 0, 1) == 0);
    CHECK(model_add(&m, low, in_low, 0x10, INT32_MAX) == 0);
    CHECK(model_add(&m, high, in_high, 0x20, INT32_MIN) == 0);
    CHECK(hits(root, 0x1f, in_low, 0xf));
    CHECK(hits(root, 0x20, in_high, 0));
    CHECK(hits(root, 0x3f, in_high, 0x1f));
    CHECK(empty(root, 0x40));
}

static void test_ties(void)
{
    int root, x, y;

    model_init(&m);
    root = container(0x100);
    x = mmio(0x20);
    y = mmio(0x20);
    CHECK(model_add(&m, root, x, 0, 7) == 0);
    CHECK(model_add(&m, root, y, 0x10, 7) == 0);
    CHECK(hits(root, 0x18, y, 8)); /* the later one */

    CHECK(model_set_address(&m, x, 0) == 0);
    CHECK(hits(root, 0x18, y, 8)); /* not moved at all: stays below */
    CHECK(model_set_address(&m, x, 1) == 0);
    CHECK(hits(root, 0x18, x, 0x17)); /* moved: on top */
    CHECK(model_set_address(&m, x, 0) == 0);
    CHECK(hits(root, 0x18, x, 0x18));

    /* Being switched off and on, or resized, changes nothing. */
    CHECK(model_set_enabled(&m, y, false) == 0 && model_set_enabled(&m, y, true) == 0);
    CHECK(model_set_size(&m, y, 8) == 0 && model_set_size(&m, y, 0x20) == 0);
    CHECK(hits(root, 0x18, x, 0x18));

    CHECK(model_del(&m, y) == 0 && model_add(&m, root, y, 0x10, 7) == 0);
    CHECK(hits(root, 0x18, y, 8));
    CHECK(model_del(&m, y) == 0 && model_add(&m, root, y, 0x10, 6) == 0);
    CHECK(hits(root, 0x18, x, 0x18));
    CHECK(hits(root, 0x20, y, 0x10));

    /* Priority counts before the order of coming, also for a move. */
    CHECK(model_set_address(&m, y, 0x11) == 0);
    CHECK(hits(root, 0x18, x, 0x18));
}

static void test_clipping(void)
{
    int root, box, dev;

    model_init(&m);
    root = container(0x100);
    box = container(0x10);
    dev = mmio(0x40);
    CHECK(model_add(&m, root, box, 0x20, 0) == 0);
    CHECK(model_add(&m, box, dev, 8, 0) == 0);
    CHECK(sections_are(root, 0, 0x1ff, EXPECT({0x28, 0x2f, dev, 0, false})));
    CHECK(model_set_size(&m, box, 0x100) == 0);
    CHECK(sections_are(root, 0, 0x1ff, EXPECT({0x28, 0x67, dev, 0, false})));
    CHECK(model_set_address(&m, box, 0xd0) == 0); /* now the root's end cuts it */
    CHECK(sections_are(root, 0, 0x1ff, EXPECT({0xd8, 0xff, dev, 0, false})));
    CHECK(model_set_size(&m, dev, 0) == 0);
    CHECK(model_flat(&m, root, 0, UINT64_MAX, NULL, 0) == 0);
    CHECK(model_sections(&m, root, 0, 0x1ff, NULL, 0) == 0);
    CHECK(model_set_size(&m, dev, 0x40) == 0);
    CHECK(model_set_address(&m, dev, 0x100) == 0); /* wholly past its container's end */
    CHECK(model_flat(&m, root, 0, UINT64_MAX, NULL, 0) == 0);
}

static void test_enabled(void)
{
    int root, outer, inner, below, view;

    model_init(&m);
    root = container(0x100);
    outer = mmio(0x10);
    inner = mmio(0x8);
    below = mmio(0x100);
    view = model_create_alias(&m, outer, 0, 0x10);
    CHECK(model_add(&m, root, below, 0, -1) == 0);
    CHECK(model_add(&m, root, outer, 0x10, 0) == 0);
    CHECK(model_add(&m, outer, inner, 4, 0) == 0);
    CHECK(model_add(&m, root, view, 0x80, 0) == 0);
    CHECK(sections_are(root, 0, 0xff,
                       EXPECT({0x00, 0x0f, below, 0x00, false}, {0x10, 0x13, outer, 0x00, false},
                              {0x14, 0x1b, inner, 0x00, false}, {0x1c, 0x1f, outer, 0x0c, false},
                              {0x20, 0x7f, below, 0x20, false}, {0x80, 0x83, outer, 0x00, false},
                              {0x84, 0x8b, inner, 0x00, false}, {0x8c, 0x8f, outer, 0x0c, false},
                              {0x90, 0xff, below, 0x90, false})));

    /* A disabled target shows nothing through the alias; what lies below does. */
    CHECK(model_set_enabled(&m, outer, false) == 0);
    CHECK(sections_are(root, 0, 0xff, EXPECT({0x00, 0xff, below, 0, false})));
    CHECK(model_set_enabled(&m, outer, true) == 0);

    CHECK(model_set_enabled(&m, view, false) == 0);
    CHECK(hits(root, 0x80, below, 0x80));
    CHECK(hits(root, 0x10, outer, 0));
    CHECK(model_set_enabled(&m, root, false) == 0);
    CHECK(empty(root, 0x10));
}

static void test_alias(void)
{
    int root, target, view, second;

    model_init(&m);
    root = container(0x1000);
    target = ram(0x100); /* mapped nowhere, and need not be */
    view = model_create_alias(&m, target, 0x40, 0x20);
    CHECK(model_add(&m, root, view, 0x200, 0) == 0);
    CHECK(sections_are(root, 0, 0xfff, EXPECT({0x200, 0x21f, target, 0x40, false})));

    /* The target's own place does not matter to the alias. */
    CHECK(model_add(&m, root, target, 0x800, 0) == 0);
    CHECK(hits(root, 0x200, target, 0x40));
    CHECK(hits(root, 0x8ff, target, 0xff));

    /* Longer than what is left of the target: the tail is a hole. */
    CHECK(model_set_size(&m, view, 0x400) == 0);
    CHECK(hits(root, 0x2bf, target, 0xff));
    CHECK(empty(root, 0x2c0));

    /* Begins past the target's end: nothing. */
    CHECK(model_set_alias_offset(&m, view, 0x100) == 0);
    CHECK(empty(root, 0x200));
    CHECK(model_set_alias_offset(&m, view, UINT64_MAX) == 0);
    CHECK(empty(root, 0x200) && empty(root, 0x201));

    /* Two neighbours onto neighbouring parts of one RAM are one run; swapped, they are two. */
    CHECK(model_del(&m, target) == 0);
    CHECK(model_set_alias_offset(&m, view, 0) == 0 && model_set_size(&m, view, 0x80) == 0);
    second = model_create_alias(&m, target, 0x80, 0x80);
    CHECK(model_add(&m, root, second, 0x280, 0) == 0);
    CHECK(sections_are(root, 0, 0xfff, EXPECT({0x200, 0x2ff, target, 0, false})));
    CHECK(model_set_alias_offset(&m, view, 0x80) == 0);
    CHECK(model_set_alias_offset(&m, second, 0) == 0);
    CHECK(sections_are(root, 0, 0xfff,
                       EXPECT({0x200, 0x27f, target, 0x80, false}, {0x280, 0x2ff, target, 0x00, false})));
}

/*
 * An alias at 0x10 that begins 0x800 into its target: the target's own byte 0
 * would lie at -0x7f0, and only the part inside the alias shows.
 */
static void test_negative_base(void)
{
    int root, target, view, child, deep;

    model_init(&m);
    root = container(0x1000);
    target = container(0x1000);
    child = mmio(0x10);
    deep = mmio(0x900);
    view = model_create_alias(&m, target, 0x800, 0x100);
    CHECK(model_add(&m, root, view, 0x10, 0) == 0);
    CHECK(model_add(&m, target, deep, 0x100, 0) == 0);  /* 0x100..0x9ff of the target */
    CHECK(model_add(&m, target, child, 0x7f8, 1) == 0); /* 0x7f8..0x807 */
    CHECK(sections_are(root, 0, 0xfff,
                       EXPECT({0x10, 0x17, child, 0x008, false}, {0x18, 0x10f, deep, 0x708, false})));
    CHECK(model_set_address(&m, view, 0) == 0);
    CHECK(
        sections_are(root, 0, 0xfff, EXPECT({0x00, 0x07, child, 0x008, false}, {0x08, 0xff, deep, 0x708, false})));
}

static void test_alias_of_alias(void)
{
    int root, target, inner, outer, box;

    model_init(&m);
    root = container(0x1000);
    target = ram(0x100);
    inner = model_create_alias(&m, target, 0x20, 0x60); /* target 0x20..0x7f */
    outer = model_create_alias(&m, inner, 0x10, 0x100); /* target 0x30..0x7f, then a hole */
    CHECK(model_add(&m, root, outer, 0x400, 0) == 0);
    CHECK(sections_are(root, 0, 0xfff, EXPECT({0x400, 0x44f, target, 0x30, false})));
    CHECK(model_set_enabled(&m, inner, false) == 0);
    CHECK(empty(root, 0x400));
    CHECK(model_set_enabled(&m, inner, true) == 0);

    /* The inner one's place does not matter either. */
    box = container(0x1000);
    CHECK(model_add(&m, box, inner, 0x900, 0) == 0);
    CHECK(hits(root, 0x400, target, 0x30));
    CHECK(hits(box, 0x900, target, 0x20));
}

static void test_readonly(void)
{
    int root, rom, view, plain, box, boxed, device;

    model_init(&m);
    root = container(0x1000);
    rom = model_create(&m, MODEL_ROM, 0x100);
    plain = ram(0x100);
    view = model_create_alias(&m, rom, 0x80, 0x80);
    CHECK(model_add(&m, root, rom, 0, 0) == 0);
    CHECK(model_add(&m, root, view, 0x100, 0) == 0);
    CHECK(model_add(&m, root, plain, 0x200, 0) == 0);
    CHECK(readonly_at(root, 0) && readonly_at(root, 0x100) && !readonly_at(root, 0x200));

    /* A readonly alias: its bytes are, the target seen elsewhere is not; one RAM, two runs. */
    view = model_create_alias(&m, plain, 0, 0x80);
    CHECK(model_set_readonly(&m, view, true) == 0);
    CHECK(model_add(&m, root, view, 0x200, 1) == 0);
    CHECK(sections_are(root, 0x200, 0x2ff,
                       EXPECT({0x200, 0x27f, plain, 0x00, true}, {0x280, 0x2ff, plain, 0x80, false})));

    /* A container passes it down, and so does a region with children. */
    box = container(0x100);
    boxed = ram(0x100);
    device = mmio(0x10);
    CHECK(model_add(&m, root, box, 0x400, 0) == 0);
    CHECK(model_add(&m, box, boxed, 0, 0) == 0);
    CHECK(model_add(&m, boxed, device, 0x10, 0) == 0);
    CHECK(model_set_readonly(&m, boxed, true) == 0);
    CHECK(readonly_at(root, 0x400) && readonly_at(root, 0x410));
    CHECK(model_set_readonly(&m, boxed, false) == 0);
    CHECK(!readonly_at(root, 0x400) && !readonly_at(root, 0x410));
    CHECK(model_set_readonly(&m, box, true) == 0);
    CHECK(readonly_at(root, 0x400) && readonly_at(root, 0x410));
    CHECK(!readonly_at(boxed, 0) && !readonly_at(boxed, 0x10));

    /* ROM is RAM and a flag. */
    CHECK(model_set_readonly(&m, rom, false) == 0);
    CHECK(!readonly_at(root, 0) && !readonly_at(root, 0x100));
}

static void test_nonvolatile(void)
{
    int root, dimm, view;
    struct model_section s[3];

    model_init(&m);
    root = container(0x100);
    dimm = ram(0x80);
    view = model_create_alias(&m, dimm, 0, 0x40);
    CHECK(model_add(&m, root, dimm, 0, 0) == 0);
    CHECK(model_add(&m, root, view, 0, 1) == 0);
    CHECK(model_set_nonvolatile(&m, view, true) == 0);
    CHECK(model_sections(&m, root, 0, 0xff, s, 3) == 2);
    CHECK(s[0].nonvolatile && !s[1].nonvolatile && s[1].first == 0x40 && s[1].offset == 0x40);
    CHECK(model_set_nonvolatile(&m, dimm, true) == 0);
    CHECK(model_sections(&m, root, 0, 0xff, s, 3) == 1 && s[0].nonvolatile);
}

/* Regions that have something of their own may have children too, drawn on top of it. */
static void test_children_of_ram(void)
{
    int root, base, window, beyond;

    model_init(&m);
    root = container(0x1000);
    base = ram(0x100);
    window = mmio(0x10);
    beyond = mmio(0x20);
    CHECK(model_add(&m, root, base, 0x100, 0) == 0);
    CHECK(model_add(&m, base, window, 0x40, INT32_MIN) == 0);
    CHECK(model_add(&m, base, beyond, 0xf0, 0) == 0); /* half of it sticks out: cut */
    CHECK(sections_are(root, 0, 0xfff,
                       EXPECT({0x100, 0x13f, base, 0x00, false}, {0x140, 0x14f, window, 0x00, false},
                              {0x150, 0x1ef, base, 0x50, false}, {0x1f0, 0x1ff, beyond, 0x00, false})));
    /* Where no child is in between, the RAM is one run. */
    CHECK(model_set_enabled(&m, window, false) == 0);
    CHECK(sections_are(root, 0, 0xfff, EXPECT({0x100, 0x1ef, base, 0, false}, {0x1f0, 0x1ff, beyond, 0, false})));
}

static void test_whole_space(void)
{
    int root, all, top, view, high;

    model_init(&m);
    root = container(MODEL_SIZE_2_64);
    all = model_create(&m, MODEL_RESERVATION, MODEL_SIZE_2_64);
    top = mmio(0x1000);
    CHECK(model_add(&m, root, all, 0, -1) == 0);
    CHECK(model_add(&m, root, top, UINT64_MAX - 0xfff, 0) == 0);
    CHECK(hits(root, 0, all, 0));
    CHECK(hits(root, UINT64_MAX - 0x1000, all, UINT64_MAX - 0x1000));
    CHECK(hits(root, UINT64_MAX, top, 0xfff));
    CHECK(
        flat_is(root, 0, UINT64_MAX,
                EXPECT({0, UINT64_MAX - 0x1000, all, 0, false}, {UINT64_MAX - 0xfff, UINT64_MAX, top, 0, false})));
    CHECK(sections_are(root, UINT64_MAX - 0x1007, UINT64_MAX,
                       EXPECT({UINT64_MAX - 0x1007, UINT64_MAX - 0x1000, all, UINT64_MAX - 0x1007, false},
                              {UINT64_MAX - 0xfff, UINT64_MAX, top, 0, false})));

    /* Sticking out past 2^64: cut there, and nothing comes round to 0. */
    CHECK(model_set_address(&m, top, UINT64_MAX) == 0);
    CHECK(hits(root, UINT64_MAX, top, 0));
    CHECK(hits(root, 0, all, 0));

    /* 2^64 of the space seen from its middle: the second half of the alias is a hole. */
    high = container(MODEL_SIZE_2_64);
    view = model_create_alias(&m, root, UINT64_C(1) << 63, MODEL_SIZE_2_64);
    CHECK(model_add(&m, high, view, 0, 0) == 0);
    CHECK(
        flat_is(high, 0, UINT64_MAX,
                EXPECT({0, INT64_MAX - 1, all, UINT64_C(1) << 63, false}, {INT64_MAX, INT64_MAX, top, 0, false})));

    /* One byte less than everything cannot be asked for; two bytes less can. */
    CHECK(model_set_size(&m, root, UINT64_MAX - 1) == 0);
    CHECK(!empty(root, UINT64_MAX - 2) && empty(root, UINT64_MAX - 1));
}

static void test_illegal(void)
{
    int a, b, c, view;

    model_init(&m);
    a = container(0x100);
    b = container(0x100);
    c = mmio(0x100);
    CHECK(model_create(&m, MODEL_ALIAS, 1) == -1);
    CHECK(model_create_alias(&m, 3, 0, 1) == -1);
    CHECK(model_create_alias(&m, -1, 0, 1) == -1);
    CHECK(model_del(&m, b) == -1);
    CHECK(model_add(&m, a, a, 0, 0) == -1);
    CHECK(model_add(&m, a, b, 0, 0) == 0);
    CHECK(model_add(&m, a, b, 8, 0) == -1);
    CHECK(model_add(&m, c, b, 0, 0) == -1);
    CHECK(model_add(&m, b, a, 0, 0) == -1);
    CHECK(model_add(&m, b, c, 0, 0) == 0);
    CHECK(model_add(&m, c, a, 0, 0) == -1);
    CHECK(model_set_alias_offset(&m, a, 1) == -1);
    CHECK(model_add(&m, 7, c, 0, 0) == -1 && model_add(&m, a, 7, 0, 0) == -1);
    CHECK(model_set_enabled(&m, 7, true) == -1 && model_set_size(&m, -1, 1) == -1);
    CHECK(model_set_address(&m, 7, 0) == -1 && model_set_readonly(&m, 7, true) == -1);

    view = model_create_alias(&m, a, 0, 0x10);
    CHECK(model_add(&m, view, mmio(1), 0, 0) == -1);
    CHECK(model_add(&m, c, view, 0, 0) == -1); /* c lies in what the alias shows */
    CHECK(model_del(&m, c) == 0);
    CHECK(model_add(&m, c, view, 0, 0) == 0);
    CHECK(model_add(&m, b, c, 0, 0) == -1); /* now the ring would close here */
    CHECK(model_del(&m, view) == 0 && model_add(&m, b, c, 0, 0) == 0);
}

static void test_root_address(void)
{
    int root, dev;

    model_init(&m);
    root = container(0x100);
    dev = mmio(0x10);
    CHECK(model_set_address(&m, dev, 0x20) == 0); /* no container yet */
    CHECK(empty(dev, 0) && hits(dev, 0x20, dev, 0));
    CHECK(model_add(&m, root, dev, 0x40, 0) == 0);
    CHECK(hits(dev, 0x40, dev, 0));
    CHECK(sections_are(dev, 0, 0xff, EXPECT({0x40, 0x4f, dev, 0, false})));
}

static void test_find(void)
{
    int root, box, x, y, view;
    struct model_section s;

    model_init(&m);
    root = container(0x1000);
    box = container(0x100);
    x = mmio(0x40);
    y = mmio(0x10);
    CHECK(model_add(&m, root, box, 0x200, 0) == 0);
    CHECK(model_add(&m, box, x, 0x20, 0) == 0);
    CHECK(model_add(&m, root, y, 0x230, 1) == 0);
    CHECK(model_find(&m, box, 0, 0x100, &s));
    CHECK(s.region == x && s.first == 0x220 && s.last == 0x22f && s.offset == 0);
    CHECK(model_find(&m, box, 0x28, 4, &s));
    CHECK(s.region == x && s.first == 0x228 && s.last == 0x22b && s.offset == 8);
    CHECK(model_find(&m, x, 0x14, 1, &s)); /* where y hides it */
    CHECK(s.region == y && s.first == 0x234 && s.offset == 4);
    CHECK(!model_find(&m, box, 0, 0x20, &s));
    CHECK(!model_find(&m, box, 0x20, 0, &s));

    CHECK(model_is_mapped(&m, x) && !model_is_mapped(&m, root));
    view = model_create_alias(&m, root, 0, 0x10);
    CHECK(!model_is_mapped(&m, root));
    box = container(0x10);
    CHECK(model_add(&m, box, view, 0, 0) == 0);
    CHECK(model_is_mapped(&m, root));
}

int main(void)
{
    test_overlap_picture();
    test_priority_is_among_siblings();
    test_ties();
    test_clipping();
    test_enabled();
    test_alias();
    test_negative_base();
    test_alias_of_alias();
    test_readonly();
    test_nonvolatile();
    test_children_of_ram();
    test_whole_space();
    test_illegal();
    test_root_address();
    test_find();
    return finish();
}
