// SPDX-License-Identifier: MIT
/*
 * Random trees, edited at random in transactions some of which fail, in the library and in the model alike. After
 * each commit everything that a user can see of the library must be what the model says: the view, each byte read,
 * where each write goes, and what a listener made of what it was told.
 *
 * MEMVIRT_SEED=N repeats a run; MEMVIRT_TEST_LONG=1 makes a longer one.
 *
 * Where the library is not the model, by design: a space shows its root from offset 0 whatever its address is (so
 * roots are never added here); a write through a readonly alias is refused; an unmapped region has no address to
 * set; and a ROM stays one.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <memvirt/listener.h>

#include "tests/model/region_model.h"

static uint64_t seed;
static unsigned episode, step;

#define CHECK(condition)                                                                                          \
    do {                                                                                                          \
        if (!(condition)) {                                                                                       \
            printf("# MEMVIRT_SEED=0x%" PRIx64 ", episode %u, step %u\n", seed, episode, step);                   \
            fail_msg("%s", #condition);                                                                           \
        }                                                                                                         \
    } while (0)

#include "tests/conform/shadow.h"

#define TOP UINT64_MAX
#define ROOTS 2
#define SPACES 3 /* the last one shows a root that another one shows as well */
#define KEPT 3   /* old views that are kept for a while */
#define REGIONS 64
#define BLOCK_BYTES 0x2000 /* of each RAM and ROM */
#define UNFOLDED_MAX 300   /* nodes of a tree, those seen through aliases counted each time */
#define EPISODES 150
#define STEPS 150

/* --- chance ------------------------------------------------------------------------------------ */

static uint64_t random_state;

static uint64_t next_random(void)
{
    random_state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = random_state;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* 0 to n - 1 */
static uint64_t any(uint64_t n)
{
    return next_random() % n;
}

/* Where things are: close together, so that they meet; at both ends of the space and in the middle. */
static uint64_t any_address(void)
{
    switch (any(10)) {
    case 0: return TOP - any(0x100);
    case 1: return (UINT64_C(1) << 63) - 0x80 + any(0x100);
    case 2: return any(4) * 0x1000;
    case 3: return 0;
    case 4:
    case 5: return any(0x2000);
    default: return any(0x400);
    }
}

/* What answers is small mostly, or it would hide everything; what only leads somewhere is large. */
static uint64_t any_size(enum model_kind kind)
{
    bool leads = kind == MODEL_CONTAINER || kind == MODEL_ALIAS;
    switch (any(leads ? 10 : 20)) {
    case 0: return 0;
    case 1: return MV_SIZE_2_64;
    case 2: return TOP - 1 - any(0x100);
    case 3:
    case 4: return leads ? MV_SIZE_2_64 : 1;
    case 5: return any(4) * 0x1000;
    case 6:
    case 7: return any(0x2000);
    default: return any(leads ? 0x300 : 0x40);
    }
}

/* --- the world: a machine, and the model of it ------------------------------------------------- */

/* The part of a model that is used: quicker to copy than all of it. */
struct model_copy {
    int nregions;
    uint64_t clock;
    struct model_region region[REGIONS];
};

/* A view that was borrowed, and what it showed then. */
struct kept {
    const struct mv_view *view;
    struct mv_section sections[SECTIONS_MAX];
    size_t count;
};

struct world {
    struct model model;
    struct mv_machine *machine;
    struct mv_region *regions[REGIONS];         /* of the same ids as in the model */
    unsigned char memory[REGIONS][BLOCK_BYTES]; /* what RAM and ROM should have */
    uint64_t hva[REGIONS];
    unsigned released[REGIONS];
    struct mv_space *spaces[SPACES];
    int roots[SPACES];
    struct shadow shadows[SPACES];
    struct mv_listener *listeners[SPACES];
    struct kept kept[KEPT];
};

static struct world w;

static void keep(struct model_copy *ret)
{
    ret->nregions = w.model.nregions;
    ret->clock = w.model.clock;
    memcpy(ret->region, w.model.region, sizeof ret->region);
}

static void bring_back(const struct model_copy *copy)
{
    w.model.nregions = copy->nregions;
    w.model.clock = copy->clock;
    memcpy(w.model.region, copy->region, sizeof copy->region);
}

static bool is_memory(int id)
{
    return w.model.region[id].kind == MODEL_RAM || w.model.region[id].kind == MODEL_ROM;
}

static unsigned char pattern(int id, uint64_t offset)
{
    uint64_t z = (offset + 1) * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)id * 0x51ed;
    return (unsigned char)(z >> 56);
}

static int id_of(const struct mv_region *region)
{
    for (int id = 0; id < w.model.nregions; id++) {
        if (w.regions[id] == region) {
            return id;
        }
    }
    return MODEL_NONE;
}

/* --- devices: a byte at a time, each with the pattern of its place ----------------------------- */

struct device {
    int id;
    uint64_t writes;
};

static struct device devices[REGIONS];

static enum mv_result device_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                  struct mv_attrs attrs)
{
    const struct device *d = opaque;
    (void)attrs;
    CHECK(size_bytes == 1 && w.released[d->id] == 0);
    *ret_value = pattern(d->id, offset);
    return MV_OK;
}

static enum mv_result device_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                   struct mv_attrs attrs)
{
    struct device *d = opaque;
    (void)offset, (void)value, (void)attrs;
    CHECK(size_bytes == 1 && w.released[d->id] == 0);
    d->writes++;
    return MV_OK;
}

static void device_release(void *opaque)
{
    w.released[((struct device *)opaque)->id]++;
}

static const struct mv_mmio_ops device_ops = {
    .read = device_read, .write = device_write, .valid = {1, 1, true}, .impl = {1, 1, true}};

/* --- making ------------------------------------------------------------------------------------ */

static struct mv_block *make_block(int id, uint64_t offset)
{
    struct mv_error err;
    struct mv_block *block = NULL;
    struct mv_block_info info;
    const struct mv_block_options options = {
        .name = "block", .kind = any(8) ? MV_BLOCK_ANONYMOUS : MV_BLOCK_MEMFD, .size_bytes = offset + BLOCK_BYTES};
    CHECK(mv_block_create(w.machine, &options, &block, &err) == 0);
    mv_block_info(block, &info);
    w.hva[id] = info.hva.raw + offset;
    return block;
}

static void make_memory(int id, struct mv_region_options *options)
{
    options->block_offset_bytes = any(2) * 0x1000;
    options->block = make_block(id, options->block_offset_bytes);
    for (uint64_t i = 0; i < BLOCK_BYTES; i++) {
        w.memory[id][i] = pattern(id, i);
    }
    memcpy((void *)(uintptr_t)w.hva[id], w.memory[id], BLOCK_BYTES);
}

/* A region of a random kind, in both worlds. */
static void make_region(enum model_kind kind, uint64_t size_bytes)
{
    static const enum mv_region_kind kinds[] = {
        [MODEL_CONTAINER] = MV_REGION_CONTAINER,
        [MODEL_RAM] = MV_REGION_RAM,
        [MODEL_ROM] = MV_REGION_ROM,
        [MODEL_MMIO] = MV_REGION_MMIO,
        [MODEL_RESERVATION] = MV_REGION_MMIO,
        [MODEL_ALIAS] = MV_REGION_ALIAS,
    };
    struct mv_region_options options = {.name = "region", .kind = kinds[kind]};
    struct mv_error err;
    int id = w.model.nregions;
    if (kind == MODEL_ALIAS) {
        const struct model_region *last = &w.model.region[id - 1];
        bool goes_on = last->kind == MODEL_ALIAS && any(4);
        int target = goes_on ? last->target : (int)any((uint64_t)id);
        options.target = w.regions[target];
        options.target_offset_bytes = any(2) ? any(0x40) : any_address();
        if (goes_on) {
            options.target_offset_bytes = last->alias_offset + last->size;
        }
        CHECK(model_create_alias(&w.model, target, options.target_offset_bytes, size_bytes) == id);
    } else {
        if (kind == MODEL_RAM || kind == MODEL_ROM) {
            size_bytes = size_bytes > BLOCK_BYTES ? any(BLOCK_BYTES + 1) : size_bytes;
            make_memory(id, &options);
        }
        CHECK(model_create(&w.model, kind, size_bytes) == id);
    }
    devices[id] = (struct device){.id = id};
    w.released[id] = 0;
    if (kind == MODEL_MMIO) {
        options.ops = &device_ops;
    }
    if (kind == MODEL_MMIO || kind == MODEL_RESERVATION) {
        options.opaque = &devices[id];
        options.release = device_release;
    }
    if (any(12) == 0) {
        options.readonly = true;
        (void)model_set_readonly(&w.model, id, true);
    }
    options.size_bytes = size_bytes;
    CHECK(mv_region_create(w.machine, &options, &w.regions[id], &err) == 0);
    mv_block_put(options.block);
}

static enum model_kind any_kind(void)
{
    static const enum model_kind kinds[] = {MODEL_CONTAINER, MODEL_CONTAINER, MODEL_RAM,         MODEL_RAM,
                                            MODEL_ROM,       MODEL_MMIO,      MODEL_RESERVATION, MODEL_ALIAS,
                                            MODEL_ALIAS,     MODEL_ALIAS};
    return kinds[any(sizeof kinds / sizeof kinds[0])];
}

static void open_space(int i, int root)
{
    struct mv_error err;
    const struct mv_listener_ops *ops = any(2) ? &shadow_ops : &shadow_ops_without_nop;
    w.roots[i] = root;
    CHECK(mv_space_create(w.machine, "space", w.regions[root], &w.spaces[i], &err) == 0);
    CHECK(mv_listener_create(w.spaces[i], ops, &w.shadows[i], (int)any(3), &w.listeners[i], &err) == 0);
}

static void close_space(int i)
{
    mv_listener_destroy(w.listeners[i]);
    CHECK(w.shadows[i].count == 0);
    mv_space_destroy(w.spaces[i]);
}

static void open_world(void)
{
    struct mv_error err;
    memset(&w, 0, sizeof w);
    model_init(&w.model);
    CHECK(mv_machine_create(&w.machine, &err) == 0);
    make_region(MODEL_CONTAINER, MV_SIZE_2_64);
    enum model_kind kind = any(2) ? MODEL_CONTAINER : any(2) ? MODEL_RAM : MODEL_MMIO;
    make_region(kind, any(4) ? BLOCK_BYTES : any_size(kind));
    while (w.model.nregions < REGIONS) {
        kind = any_kind();
        make_region(kind, any_size(kind));
    }
    for (int i = 0; i < SPACES; i++) {
        open_space(i, i % ROOTS);
    }
}

/* Whatever was committed since, a borrowed view shows what it showed, and it can be used. */
static void let_go(struct kept *kept)
{
    struct mv_section s;
    uint64_t address = 0;
    if (!kept->view) {
        return;
    }
    CHECK(mv_view_count(kept->view) == kept->count);
    for (size_t i = 0; i < kept->count; i++) {
        CHECK(mv_view_next(kept->view, mv_gpa(address), &s));
        CHECK(same_section(&s, &kept->sections[i]));
        if (s.hva.raw) {
            (void)*(volatile unsigned char *)(uintptr_t)s.hva.raw;
        }
        address = s.range.last + 1;
    }
    mv_view_release(kept->view);
    kept->view = NULL;
}

static void borrow(struct kept *kept, struct mv_space *space)
{
    uint64_t address = 0;
    kept->view = mv_space_view(space);
    kept->count = mv_view_count(kept->view);
    CHECK(kept->count <= SECTIONS_MAX);
    for (size_t i = 0; i < kept->count; i++) {
        CHECK(mv_view_next(kept->view, mv_gpa(address), &kept->sections[i]));
        address = kept->sections[i].range.last + 1;
    }
}

static void close_world(void)
{
    for (int i = 0; i < SPACES; i++) {
        close_space(i);
    }
    for (int i = 0; i < KEPT; i++) {
        let_go(&w.kept[i]);
    }
    for (int id = 0; id < REGIONS; id++) {
        mv_region_put(w.regions[id]);
    }
    mv_machine_destroy(w.machine);
    for (int id = 0; id < REGIONS; id++) {
        enum model_kind kind = w.model.region[id].kind;
        CHECK(w.released[id] == (kind == MODEL_MMIO || kind == MODEL_RESERVATION));
    }
}

/* --- comparing --------------------------------------------------------------------------------- */

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

/* --- editing ----------------------------------------------------------------------------------- */

/* How many nodes are met on the way through everything that `id` shows; stops counting when there are too many. */
static unsigned unfolded(int id)
{
    unsigned n = 1;
    if (w.model.region[id].kind == MODEL_ALIAS) {
        return n + unfolded(w.model.region[id].target);
    }
    for (int child = 0; child < w.model.nregions && n <= UNFOLDED_MAX; child++) {
        n += w.model.region[child].container == id ? unfolded(child) : 0;
    }
    return n;
}

enum edit_kind { ADD, REMOVE, MOVE, RESIZE, ENABLE, READONLY, SLIDE };

struct edit {
    enum edit_kind kind;
    int id, other;
    uint64_t address, size;
    int priority;
    bool flag;
};

static enum edit_kind any_edit_kind(void)
{
    static const enum edit_kind kinds[] = {ADD,  ADD,    ADD,    ADD,    ADD,      ADD,   REMOVE, MOVE,
                                           MOVE, RESIZE, RESIZE, ENABLE, READONLY, SLIDE, SLIDE};
    return kinds[any(sizeof kinds / sizeof kinds[0])];
}

/* Into what: mostly a root or another container, so that something is seen of it. */
static int any_parent(void)
{
    int id = any(3) ? (int)any(ROOTS) : (int)any(REGIONS);
    while (any(4) && w.model.region[id].kind != MODEL_CONTAINER) {
        id = (int)any(REGIONS);
    }
    return id;
}

/* Mostly within the region that it is in or leads to, if that is small. */
static uint64_t any_address_in(int id)
{
    uint64_t size = id == MODEL_NONE ? MV_SIZE_2_64 : w.model.region[id].size;
    return any(4) && size > 0 && size < 0x2000 ? any(size) : any_address();
}

/* Side by side with the region before, of the same target perhaps: then the two become one section. */
static void go_on_from_the_one_before(struct edit *edit)
{
    const struct model_region *r = &w.model.region[edit->id];
    const struct model_region *before = edit->id > 0 ? r - 1 : r;
    if (edit->kind == ADD && before->container != MODEL_NONE) {
        edit->other = before->container;
        edit->priority = before->priority;
        edit->address = before->addr + before->size;
    } else if (edit->kind == MOVE && before->container == r->container) {
        edit->address = before->addr + before->size;
    } else if (edit->kind == SLIDE && before->target == r->target) {
        edit->address = before->alias_offset + before->size;
    }
}

static struct edit any_edit(void)
{
    struct edit edit = {
        .kind = any_edit_kind(),
        .id = ROOTS + (int)any(REGIONS - ROOTS), /* roots stay roots: see above */
        .other = any_parent(),
        .priority = (int)any(4) - 2,
        .flag = any(6) != 0,
    };
    if (edit.kind != ADD && edit.kind != REMOVE && edit.kind != MOVE && any(16) == 0) {
        edit.id = (int)any(ROOTS); /* but can be edited otherwise, so that something still can be seen */
        edit.flag = edit.flag || any(4);
    }
    const struct model_region *r = &w.model.region[edit.id];
    edit.size = edit.id < ROOTS && any(4) ? MV_SIZE_2_64 : any_size(r->kind);
    edit.address = any_address_in(edit.kind == ADD ? edit.other : edit.kind == SLIDE ? r->target : r->container);
    if (is_memory(edit.id) && any(8)) {
        edit.size %= BLOCK_BYTES + 1;
    }
    if (any(2)) {
        go_on_from_the_one_before(&edit);
    }
    return edit;
}

static int apply_to_model(const struct edit *edit)
{
    const struct model_region *r = &w.model.region[edit->id];
    switch (edit->kind) {
    case ADD: return model_add(&w.model, edit->other, edit->id, edit->address, edit->priority);
    case REMOVE: return model_del(&w.model, edit->id);
    case MOVE: return r->container == MODEL_NONE ? -1 : model_set_address(&w.model, edit->id, edit->address);
    case RESIZE:
        return is_memory(edit->id) && edit->size > BLOCK_BYTES ? -1
                                                               : model_set_size(&w.model, edit->id, edit->size);
    case ENABLE: return model_set_enabled(&w.model, edit->id, edit->flag);
    case READONLY: return r->kind == MODEL_ROM ? 0 : model_set_readonly(&w.model, edit->id, !edit->flag);
    case SLIDE: return model_set_alias_offset(&w.model, edit->id, edit->address);
    }
    return -1;
}

static int apply_to_library(const struct edit *edit)
{
    struct mv_error err = {0};
    struct mv_region *r = w.regions[edit->id];
    int rc = -1;
    switch (edit->kind) {
    case ADD: rc = mv_region_add(w.regions[edit->other], edit->address, r, edit->priority, &err); break;
    case REMOVE: rc = mv_region_remove(r, &err); break;
    case MOVE: rc = mv_region_set_address(r, edit->address, &err); break;
    case RESIZE: rc = mv_region_set_size(r, edit->size, &err); break;
    case ENABLE: rc = mv_region_set_enabled(r, edit->flag, &err); break;
    case READONLY: rc = mv_region_set_readonly(r, !edit->flag, &err); break;
    case SLIDE: rc = mv_region_set_target_offset(r, edit->address, &err); break;
    }
    CHECK(rc == err.code && (rc == 0 || (err.reason && err.text[0])));
    return rc;
}

/* One edit in both worlds, unless the tree grew too large to be looked at byte by byte. `alone`: it commits. */
static void edit_both(bool alone)
{
    struct model_copy before;
    struct edit edit = any_edit();
    keep(&before);
    int expected = apply_to_model(&edit);
    for (int i = 0; i < ROOTS; i++) {
        if (unfolded(i) > UNFOLDED_MAX) {
            bring_back(&before);
            return;
        }
    }
    int rc = apply_to_library(&edit);
    if (rc == -EIO) {
        CHECK(alone && expected == 0);
        bring_back(&before);
        return;
    }
    CHECK((rc < 0) == (expected < 0));
    CHECK(rc == 0 || rc == -EBUSY || rc == -ELOOP || rc == -EINVAL || rc == -ENOENT);
}

static unsigned ncommits, nfailed, nedits;

static bool anybody_asked(void)
{
    bool asked = false;
    for (int i = 0; i < SPACES; i++) {
        asked = asked || w.shadows[i].asked;
    }
    return asked;
}

/* A transaction of some edits, nested at random. */
static int transaction(void)
{
    struct model_copy before;
    unsigned depth = 1;
    keep(&before);
    CHECK(mv_machine_begin(w.machine, NULL) == 0);
    for (uint64_t n = any(8); n > 0; n--) {
        if (any(4) == 0) {
            CHECK(mv_machine_begin(w.machine, NULL) == 0);
            depth++;
        }
        edit_both(false);
        nedits++;
        if (depth > 1 && any(4) == 0) {
            CHECK(mv_machine_commit(w.machine, NULL) == 0);
            depth--;
        }
        CHECK(!anybody_asked());
    }
    for (; depth > 1; depth--) {
        CHECK(mv_machine_commit(w.machine, NULL) == 0);
    }
    int rc = mv_machine_commit(w.machine, NULL);
    if (rc < 0) {
        bring_back(&before);
    }
    return rc;
}

static void change_who_looks(void)
{
    struct kept *kept = &w.kept[any(KEPT)];
    let_go(kept);
    if (any(4)) {
        borrow(kept, w.spaces[any(SPACES)]);
    }
    if (any(8) == 0) {
        int i = (int)any(SPACES);
        close_space(i);
        open_space(i, i < ROOTS ? i : (int)any(ROOTS));
    }
}

static void one_step(void)
{
    struct shadow *refusing = &w.shadows[any(SPACES)];
    refusing->refuse = any(4) == 0;
    for (int i = 0; i < SPACES; i++) {
        w.shadows[i].asked = false;
    }
    bool failed;
    if (any(3) == 0) {
        edit_both(true);
        nedits++;
        failed = refusing->refuse && refusing->asked;
    } else {
        int rc = transaction();
        failed = rc < 0;
        CHECK(rc == (refusing->refuse && refusing->asked ? -EIO : 0));
    }
    nfailed += failed;
    ncommits += anybody_asked();
    refusing->refuse = false;
    compare_world();
    if (any(4) == 0) {
        change_who_looks();
    }
}

static void fill_world(void)
{
    struct mv_error err;
    CHECK(mv_machine_begin(w.machine, &err) == 0);
    for (int i = 0; i < 6 * REGIONS; i++) {
        edit_both(false);
    }
    CHECK(mv_machine_commit(w.machine, &err) == 0);
    compare_world();
}

static void random_trees(void **state)
{
    (void)state;
    unsigned long sections = 0;
    unsigned episodes = getenv("MEMVIRT_TEST_LONG") ? 20 * EPISODES : EPISODES;
    for (episode = 0; episode < episodes; episode++) {
        /* Each episode by its own seed, so that the last one alone can be run again. */
        random_state = seed + episode;
        open_world();
        fill_world();
        for (step = 0; step < STEPS; step++) {
            one_step();
            sections += w.shadows[0].count + w.shadows[1].count;
        }
        close_world();
    }
    unsigned long steps = (unsigned long)episodes * STEPS;
    printf("# %lu steps, %u edits, %u commits of which %u failed, %lu sections on average\n", steps, nedits,
           ncommits, nfailed, sections / steps);
    /* Or chance was so unkind that nothing was tested. */
    assert_true(sections / steps >= 12);
    assert_true(nfailed > ncommits / 20 && ncommits > steps / 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_trees),
    };
    const char *chosen = getenv("MEMVIRT_SEED");
    seed = chosen ? strtoull(chosen, NULL, 0) : UINT64_C(0x6d656d76697274);
    printf("# MEMVIRT_SEED=0x%" PRIx64 "\n", seed);
    return cmocka_run_group_tests_name("random_tree", tests, NULL, NULL);
}
