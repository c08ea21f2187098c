// SPDX-License-Identifier: MIT
/* What random_tree_test.c does things to: chance, a machine, and the model of it. Included once. */
#ifndef CONFORM_RANDOM_TREE_WORLD_H
#define CONFORM_RANDOM_TREE_WORLD_H

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

#endif
