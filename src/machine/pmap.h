// SPDX-License-Identifier: MIT
/*
 * A map from addresses to sections, of which old versions stay as they were: a radix tree whose nodes are never
 * changed once published. An edit copies the nodes on the way to what it changes and shares all others, so it
 * costs what it changes.
 *
 *      map { root, limit, shift }
 *        |
 *        v        64 entries a node; an entry stands for 2^shift addresses and is
 *      +---+---+---+-- ... --+      0        nothing is there
 *      | o | s | 0 |         |      s        a section, which covers all of them
 *      +-|-+---+---+-- ... --+      node + 1 a node with entries of 2^(shift - 6) addresses
 *        v
 *
 * The tree is as high as the highest address in it needs, and a section takes entries as high as it is large and
 * aligned: RAM is found after one or two steps, a page among many after four or five.
 *
 * Invariants: no node has 64 equal entries that are not nodes; an entry that is a section lies within that
 * section's range; sections do not overlap.
 */
#ifndef MACHINE_PMAP_H
#define MACHINE_PMAP_H

#include "base/line.h"
#include "base/range.h"
#include "machine/pool.h"

#define PMAP_BITS 6
#define PMAP_ENTRIES (1u << PMAP_BITS)

struct section;

typedef uintptr_t pmap_entry; /* 0, a struct section *, or a struct pmap_node * with bit 0 set */

struct pmap_node {
    _Alignas(CACHE_LINE) pmap_entry entries[PMAP_ENTRIES]; /* in whole lines of the cache */
    uint64_t version;       /* of the edit that made it: that edit may change it in place */
    struct pmap_node *link; /* on a list of its edit's, and later on one of garbage */
    bool dead;              /* made and dropped in one edit */
};

struct pmap {
    pmap_entry root;
    uint64_t limit; /* the highest address that the tree can have as high as it is */
    unsigned shift; /* of the root's entries, if it is a node */
};

#define PMAP_EMPTY ((struct pmap){.limit = PMAP_ENTRIES - 1})

static inline bool pmap_is_node(pmap_entry entry)
{
    return entry & 1;
}

static inline struct pmap_node *pmap_node_of(pmap_entry entry)
{
    return (struct pmap_node *)(entry - 1);
}

/* The section at `address`, or NULL, given the entry that stands for the 2^shift addresses around it. */
static inline struct section *pmap_find_in(pmap_entry entry, unsigned shift, uint64_t address)
{
    while (pmap_is_node(entry)) {
        shift -= PMAP_BITS;
        entry = pmap_node_of(entry)->entries[address >> shift & (PMAP_ENTRIES - 1)];
    }
    return (struct section *)entry;
}

/* The section at `address`, or NULL. */
static inline struct section *pmap_find(const struct pmap *map, uint64_t address)
{
    if (__builtin_expect(address > map->limit, 0)) {
        return NULL;
    }
    return pmap_find_in(map->root, map->shift + PMAP_BITS, address);
}

/* The entry that stands for the 2^shift addresses around `address`; 0: nothing is there, or the map is not that
 * high. */
static inline pmap_entry pmap_entry_at(const struct pmap *map, uint64_t address, unsigned shift)
{
    unsigned height = map->shift + PMAP_BITS; /* the root stands for 2^height */
    if (address > map->limit || height < shift) {
        return 0;
    }
    pmap_entry entry = map->root;
    while (height > shift && pmap_is_node(entry)) {
        height -= PMAP_BITS;
        entry = pmap_node_of(entry)->entries[address >> height & (PMAP_ENTRIES - 1)];
    }
    return entry;
}

/* The first section that ends at `address` or after it, or NULL. */
struct section *pmap_next(const struct pmap *map, uint64_t address);

/* A version in the making. Owned by whoever edits; `now` is what will be published. */
struct pmap_edit {
    struct pmap now;
    unsigned
        shift_min; /* how low the map has been meanwhile: nodes above that have gone, and perhaps come again */
    uint64_t version;
    struct pool *pool;         /* where nodes come from */
    struct pmap_node *born;    /* made by this edit */
    struct pmap_node *dropped; /* of the version before, not in this one */
    size_t ndropped;
};

struct pmap_edit pmap_edit_begin(struct pool *pool, const struct pmap *old, uint64_t version);

/* Let `section`, or nothing, be what is in `range`. @return 0; -ENOMEM: then only pmap_edit_abort may follow */
int pmap_set(struct pmap_edit *edit, struct mv_range range, struct section *section);

/* The new version is published: what it dropped may go when nobody reads the version before any more. */
struct pmap_node *pmap_edit_commit(struct pmap_edit *edit, size_t *ret_count);
/* There will be no new version. */
void pmap_edit_abort(struct pmap_edit *edit);

/* All nodes of the last version. */
struct pmap_node *pmap_all_nodes(const struct pmap *map, size_t *ret_count);

/* Execute the invariants. */
bool pmap_check(const struct pmap *map);

#endif
