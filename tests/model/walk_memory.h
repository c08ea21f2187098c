/* SPDX-License-Identifier: MIT */
#ifndef WALK_MEMORY_H
#define WALK_MEMORY_H

#include "walk_model.h"

/* A small physical memory from 0 for users of the walk model, and page tables in it. All zero is all RAM, all 0.
 */

#define WALK_MEMORY_PAGES 64
#define WALK_MEMORY_BYTES (WALK_MEMORY_PAGES * UINT64_C(4096))

enum walk_page { WALK_RAM, WALK_READ_ONLY, WALK_HOLE };

struct walk_memory {
    uint8_t bytes[WALK_MEMORY_BYTES];
    enum walk_page page[WALK_MEMORY_PAGES]; /* what is beyond is a hole */
    unsigned next_page;                     /* for tables of walk_map() */
    /* Called before each cas, if not NULL: it may change things. */
    void (*before_cas)(struct walk_memory *memory, uint64_t address);
};

struct model_memory walk_memory(struct walk_memory *memory); /* borrows it */

/* Aligned, in memory; asserted. */
uint64_t walk_peek(const struct walk_memory *memory, uint64_t address, unsigned size);
void walk_poke(struct walk_memory *memory, uint64_t address, unsigned size, uint64_t value);

/* A zeroed page for a table, from next_page on. */
uint64_t walk_new_table(struct walk_memory *memory);

/*
 * Put `leaf` at leaf_level (1: 4 KiB, 2: 2 MiB, 3: 1 GiB) for an address into tables of 8-byte entries under root,
 * which has `levels` of them. Entries that are 0 on the way get a new table and table_flags. Returns where leaf
 * is.
 */
struct walk_mapping {
    uint64_t root;
    unsigned levels;
    uint64_t address;
    unsigned leaf_level;
    uint64_t table_flags;
    uint64_t leaf;
};
uint64_t walk_map(struct walk_memory *memory, const struct walk_mapping *mapping);

#endif
