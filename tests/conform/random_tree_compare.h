// SPDX-License-Identifier: MIT
/* Everything that a user can see of the world, compared with the model. Included once. */
#ifndef CONFORM_RANDOM_TREE_COMPARE_H
#define CONFORM_RANDOM_TREE_COMPARE_H

#include "tests/conform/random_tree_world.h"

/* The model's picture of one space. */
struct expected {
    struct model_section sections[SECTIONS_MAX];
    size_t count;
};

static const struct model_section *expected_at(const struct expected *e, uint64_t address)
{
    for (size_t i = 0; i < e->count; i++) {
        if (address <= e->sections[i].last) {
            return address >= e->sections[i].first ? &e->sections[i] : NULL;
        }
    }
    return NULL;
}

static void compare_section(const struct mv_section *s, const struct model_section *m)
{
    CHECK(s->range.first == m->first && s->range.last == m->last);
    CHECK(s->region == w.regions[m->region]);
    CHECK(s->offset == m->offset);
    CHECK(s->readonly == m->readonly);
    CHECK(s->hva.raw == (is_memory(m->region) ? w.hva[m->region] + m->offset : 0));
}

static void compare_view(const struct mv_view *view, const struct expected *e, const struct shadow *shadow)
{
    struct mv_section s;
    uint64_t address = 0;
    CHECK(mv_view_count(view) == e->count);
    CHECK(shadow->count == e->count);
    for (size_t i = 0; i < e->count; i++) {
        CHECK(mv_view_next(view, mv_gpa(address), &s));
        compare_section(&s, &e->sections[i]);
        CHECK(same_section(&s, &shadow->now[i]));
        address = s.range.last + 1;
    }
    CHECK((e->count > 0 && address == 0) || !mv_view_next(view, mv_gpa(address), &s));
}

/* Byte by byte, from the model's first principle; the window may pass the end. */
static void compare_window(const struct mv_view *view, int root, uint64_t first, unsigned length)
{
    for (unsigned i = 0; i < length && first + i >= first; i++) {
        struct model_byte byte;
        struct mv_section s;
        bool there = model_at(&w.model, root, first + i, &byte);
        CHECK(mv_view_lookup(view, mv_gpa(first + i), &s) == there);
        if (there) {
            CHECK(s.range.first <= first + i && first + i <= s.range.last);
            CHECK(id_of(s.region) == byte.region && s.readonly == byte.readonly);
            CHECK(s.offset + (first + i - s.range.first) == byte.offset);
        }
    }
}

/* An address at or near the edge of some section. */
static uint64_t near_an_edge(const struct expected *e)
{
    if (e->count == 0 || any(8) == 0) {
        return any_address();
    }
    const struct model_section *s = &e->sections[any(e->count)];
    return (any(2) ? s->first : s->last) + 8 - any(24);
}

/*
 * How many bytes of a write or a read are done at once at this place. A device is not cut where its section ends,
 * so a reservation, which has the default of up to 4 bytes where they are aligned, takes some of its neighbour's.
 */
static size_t piece(const struct model_section *s, uint64_t address, size_t length)
{
    if (!s || w.model.region[s->region].kind != MODEL_RESERVATION) {
        return 1;
    }
    uint64_t offset = s->offset + (address - s->first);
    size_t n = 4;
    while (n > length || offset % n != 0) {
        n /= 2;
    }
    return n;
}

static unsigned char expected_byte(const struct model_section *s, uint64_t address)
{
    if (!s || w.model.region[s->region].kind == MODEL_RESERVATION) {
        return 0;
    }
    uint64_t offset = s->offset + (address - s->first);
    return is_memory(s->region) ? w.memory[s->region][offset] : pattern(s->region, offset);
}

static void compare_read(struct mv_space *space, const struct expected *e)
{
    unsigned char bytes[64], expected_bytes[64];
    uint64_t address = near_an_edge(e);
    size_t length = any(2) ? any(sizeof bytes + 1) : (size_t)1 << any(4);
    unsigned expected = MV_OK;
    memset(bytes, 0xee, sizeof bytes);
    memset(expected_bytes, 0xee, sizeof bytes);
    enum mv_result result = mv_space_read(space, mv_gpa(address), bytes, length, MV_ATTRS_NONE);
    for (size_t i = 0, n; i < length; i += n) {
        const struct model_section *s = i > TOP - address ? NULL : expected_at(e, address + i);
        n = piece(s, address + i, length - i);
        memset(expected_bytes + i, expected_byte(s, address + i), n);
        expected |= !s || w.model.region[s->region].kind == MODEL_RESERVATION ? MV_DECODE_ERROR : MV_OK;
    }
    CHECK(memcmp(bytes, expected_bytes, sizeof bytes) == 0);
    CHECK(result == expected);
}

/* What becomes of one byte that is written: whether it went anywhere. */
static bool expect_write(const struct model_section *s, uint64_t address, unsigned char byte, bool by_loader)
{
    if (!s) {
        return false;
    }
    if (is_memory(s->region)) {
        if (s->readonly && !by_loader) {
            return false;
        }
        w.memory[s->region][s->offset + (address - s->first)] = byte;
        return true;
    }
    if (w.model.region[s->region].kind == MODEL_RESERVATION || by_loader) {
        return false;
    }
    devices[s->region].writes--; /* the handler has counted it up */
    return true;
}

static void compare_write(struct mv_space *space, const struct expected *e)
{
    unsigned char bytes[64];
    uint64_t address = near_an_edge(e);
    size_t length = any(2) ? any(sizeof bytes + 1) : (size_t)1 << any(4);
    bool by_loader = any(4) == 0;
    unsigned expected = MV_OK;
    for (size_t i = 0; i < length; i++) {
        bytes[i] = (unsigned char)next_random();
    }
    enum mv_result result = by_loader ? mv_space_write_rom(space, mv_gpa(address), bytes, length)
                                      : mv_space_write(space, mv_gpa(address), bytes, length, MV_ATTRS_NONE);
    for (size_t i = 0, n; i < length; i += n) {
        const struct model_section *s = i > TOP - address ? NULL : expected_at(e, address + i);
        n = by_loader ? 1 : piece(s, address + i, length - i);
        expected |= expect_write(s, address + i, bytes[i], by_loader) ? MV_OK : MV_DECODE_ERROR;
    }
    CHECK(result == expected);
    for (int id = 0; id < REGIONS; id++) {
        CHECK(devices[id].writes == 0);
    }
}

static void compare_hold(struct mv_space *space, const struct expected *e)
{
    struct mv_hold hold;
    uint64_t address = near_an_edge(e);
    size_t length = 1 + any(64);
    const struct model_section *s = expected_at(e, address);
    bool there = s && is_memory(s->region);
    CHECK((mv_space_hold(space, mv_gpa(address), length, &hold) == MV_OK) == there);
    if (there) {
        uint64_t rest = s->last - address;
        CHECK(hold.length == (length - 1 > rest ? rest + 1 : length));
        CHECK(memcmp(hold.bytes, &w.memory[s->region][s->offset + (address - s->first)], hold.length) == 0);
        mv_hold_release(&hold);
    }
}

static void compare_memory(void)
{
    for (int id = 0; id < REGIONS; id++) {
        CHECK(!is_memory(id) || memcmp((void *)(uintptr_t)w.hva[id], w.memory[id], BLOCK_BYTES) == 0);
    }
}

static void compare_world(void)
{
    static struct expected e;
    for (int i = 0; i < SPACES; i++) {
        int root = w.roots[i];
        const struct mv_view *view = mv_space_view(w.spaces[i]);
        e.count = model_flat(&w.model, root, 0, TOP, e.sections, SECTIONS_MAX);
        CHECK(e.count <= SECTIONS_MAX && !w.shadows[i].begun);
        compare_view(view, &e, &w.shadows[i]);
        compare_window(view, root, near_an_edge(&e), 32);
        compare_window(view, root, any(0x400), 16);
        compare_window(view, root, TOP - any(0x100), 16);
        mv_view_release(view);
        for (int k = 0; k < 6; k++) {
            compare_read(w.spaces[i], &e);
            compare_write(w.spaces[i], &e);
            compare_hold(w.spaces[i], &e);
        }
    }
    compare_memory();
}

#endif
