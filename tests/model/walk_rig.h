/* SPDX-License-Identifier: MIT */
#ifndef WALK_RIG_H
#define WALK_RIG_H

/* The one guest of a self-test program of the walk model. */
#include "walk_memory.h"
#include "walk_model.h"

#include <string.h>

#define P UINT64_C(0x1)
#define W UINT64_C(0x2)
#define U UINT64_C(0x4)
#define A UINT64_C(0x20)
#define D UINT64_C(0x40)
#define PS UINT64_C(0x80)
#define G UINT64_C(0x100)
#define NX (UINT64_C(1) << 63)
#define PAGE UINT64_C(0x5a5a000) /* nothing is there */
#define ROOT UINT64_C(0x1000)

static struct walk_memory memory;
static struct model_world world;
static struct model_result result;

/* Paging on, nothing else. */
static inline void begin(enum model_mode mode)
{
    memset(&memory, 0, sizeof memory);
    memory.next_page = 2;
    world = (struct model_world){
        .cpu = {.maxphyaddr = 40, .pse36 = true, .pat = true, .has_1g = true},
        .regs = {.cr0 = MODEL_CR0_PE | MODEL_CR0_PG, .cr3 = ROOT},
        .memory = walk_memory(&memory),
    };
    switch (mode) {
    case MODEL_OFF: world.regs.cr0 = MODEL_CR0_PE; break;
    case MODEL_32BIT: break;
    case MODEL_PAE: world.regs.cr4 = MODEL_CR4_PAE; break;
    case MODEL_4LEVEL:
        world.regs.cr4 = MODEL_CR4_PAE;
        world.regs.efer = MODEL_EFER_LME | MODEL_EFER_LMA;
        break;
    case MODEL_5LEVEL:
        world.regs.cr4 = MODEL_CR4_PAE | MODEL_CR4_LA57;
        world.regs.efer = MODEL_EFER_LME | MODEL_EFER_LMA;
        break;
    }
}

static inline enum model_outcome walk(uint64_t gva, enum model_access_kind kind)
{
    const struct model_access access = {.gva = gva, .kind = kind};
    model_walk(&world, &access, &result);
    return result.outcome;
}

static inline enum model_outcome walk_implicit(uint64_t gva, enum model_access_kind kind)
{
    const struct model_access access = {.gva = gva, .kind = kind, .implicit = true};
    model_walk(&world, &access, &result);
    return result.outcome;
}

/* An error code, or all ones if it is no page fault. */
static inline uint64_t fault(uint64_t gva, enum model_access_kind kind)
{
    return walk(gva, kind) == MODEL_PAGE_FAULT ? result.error_code : UINT64_MAX;
}

static inline uint64_t map(unsigned levels, uint64_t gva, unsigned leaf_level, uint64_t table_flags, uint64_t leaf)
{
    const struct walk_mapping mapping = {.root = ROOT,
                                         .levels = levels,
                                         .address = gva,
                                         .leaf_level = leaf_level,
                                         .table_flags = table_flags,
                                         .leaf = leaf};
    return walk_map(&memory, &mapping);
}

/* Each level's entry for address 0 has a table of its own: levels 4..1 at ROOT, 0x2000, 0x3000, 0x4000. */
static inline void set_all(unsigned levels, const uint64_t *entry)
{
    for (unsigned i = 0; i < levels; i++) {
        const uint64_t next = i == levels - 1 ? PAGE : ROOT + 0x1000 * (i + 1);
        walk_poke(&memory, ROOT + 0x1000 * i, 8, next | entry[i]);
    }
}

#endif
