// SPDX-License-Identifier: MIT
#include "machine/pmap.h"

#include <errno.h>
#include <string.h>

#include "machine/view.h"

/* 2^64 addresses need 11 levels; of the topmost node's entries only 16 stand for addresses. */
#define TOP_SHIFT 60

static unsigned entries_at(unsigned shift)
{
    return shift == TOP_SHIFT ? 1u << (64 - TOP_SHIFT) : PMAP_ENTRIES;
}

static uint64_t limit_at(unsigned shift)
{
    return shift == TOP_SHIFT ? UINT64_MAX : (UINT64_C(1) << (shift + PMAP_BITS)) - 1;
}

static pmap_entry entry_of_node(struct pmap_node *node)
{
    return (pmap_entry)node + 1;
}

/* --- looking ----------------------------------------------------------------------------------- */

static struct section *next_in(pmap_entry entry, unsigned shift, uint64_t base, uint64_t address)
{
    if (!pmap_is_node(entry)) {
        return (struct section *)entry;
    }
    unsigned i = address > base ? (unsigned)((address - base) >> shift) : 0;
    for (; i < entries_at(shift); i++) {
        pmap_entry below = pmap_node_of(entry)->entries[i];
        if (below) {
            struct section *found = next_in(below, shift - PMAP_BITS, base + ((uint64_t)i << shift), address);
            if (found) {
                return found;
            }
        }
    }
    return NULL;
}

struct section *pmap_next(const struct pmap *map, uint64_t address)
{
    return address > map->limit ? NULL : next_in(map->root, map->shift, 0, address);
}

/* --- editing ----------------------------------------------------------------------------------- */

struct pmap_edit pmap_edit_begin(struct pool *pool, const struct pmap *old, uint64_t version)
{
    return (struct pmap_edit){.pool = pool, .now = *old, .shift_min = old->shift, .version = version};
}

static struct pmap_node *new_node(struct pmap_edit *edit)
{
    struct pmap_node *node = pool_take(edit->pool, POOL_NODE);
    if (node) {
        node->version = edit->version;
        node->dead = false;
        node->link = edit->born;
        edit->born = node;
    }
    return node;
}

static void drop_node(struct pmap_edit *edit, struct pmap_node *node)
{
    if (node->version == edit->version) {
        node->dead = true; /* it stays on the list of those born */
    } else {
        node->link = edit->dropped;
        edit->dropped = node;
        edit->ndropped++;
    }
}

static void drop_entry(struct pmap_edit *edit, pmap_entry entry, unsigned shift)
{
    if (pmap_is_node(entry)) {
        struct pmap_node *node = pmap_node_of(entry);
        for (unsigned i = 0; i < entries_at(shift); i++) {
            drop_entry(edit, node->entries[i], shift - PMAP_BITS);
        }
        drop_node(edit, node);
    }
}

/* A node that this edit may change, with what `entry` says: its copy, or, for what is no node, 64 times the same.
 */
static struct pmap_node *writable(struct pmap_edit *edit, pmap_entry entry)
{
    if (!pmap_is_node(entry)) {
        struct pmap_node *node = new_node(edit);
        for (unsigned i = 0; node && i < PMAP_ENTRIES; i++) {
            node->entries[i] = entry;
        }
        return node;
    }
    struct pmap_node *old = pmap_node_of(entry);
    if (old->version == edit->version) {
        return old;
    }
    struct pmap_node *node = new_node(edit);
    if (node) {
        memcpy(node->entries, old->entries, sizeof node->entries);
        drop_node(edit, old);
    }
    return node;
}

/* The entry that all of a node's are, if they are the same and no node; else the node's own. */
static pmap_entry collapse(struct pmap_edit *edit, struct pmap_node *node, unsigned shift)
{
    pmap_entry first = node->entries[0];
    if (pmap_is_node(first)) {
        return entry_of_node(node);
    }
    for (unsigned i = 1; i < entries_at(shift); i++) {
        if (node->entries[i] != first) {
            return entry_of_node(node);
        }
    }
    drop_node(edit, node);
    return first;
}

/* `entry` stands for the addresses from `base` on that a node with entries of 2^shift has. */
static int set_in(struct pmap_edit *edit, pmap_entry *entry, unsigned shift, uint64_t base, struct mv_range range,
                  pmap_entry value)
{
    struct pmap_node *node = writable(edit, *entry);
    if (!node) {
        return -ENOMEM;
    }
    *entry = entry_of_node(node);
    unsigned i = range.first > base ? (unsigned)((range.first - base) >> shift) : 0;
    for (; i < entries_at(shift); i++) {
        struct mv_range below = {base + ((uint64_t)i << shift),
                                 base + ((uint64_t)i << shift) + (UINT64_C(1) << shift) - 1};
        if (below.first > range.last) {
            break;
        }
        if (range_covers(range, below)) {
            drop_entry(edit, node->entries[i], shift - PMAP_BITS);
            node->entries[i] = value;
        } else {
            int rc = set_in(edit, &node->entries[i], shift - PMAP_BITS, below.first, range, value);
            if (rc < 0) {
                return rc;
            }
        }
    }
    *entry = collapse(edit, node, shift);
    return 0;
}

/* Put nodes above the root until it is high enough. */
static int grow(struct pmap_edit *edit, uint64_t last)
{
    struct pmap *map = &edit->now;
    while (last > map->limit) {
        if (map->root) {
            struct pmap_node *node = new_node(edit);
            if (!node) {
                return -ENOMEM;
            }
            memset(node->entries, 0, sizeof node->entries);
            node->entries[0] = map->root;
            map->root = entry_of_node(node);
        }
        map->shift += PMAP_BITS;
        map->limit = limit_at(map->shift);
    }
    return 0;
}

/* Take away nodes at the top that lead to nothing but their first entry: looking up is the shorter for it. */
static void shrink(struct pmap_edit *edit)
{
    struct pmap *map = &edit->now;
    while (map->shift > 0) {
        if (pmap_is_node(map->root)) {
            struct pmap_node *node = pmap_node_of(map->root);
            for (unsigned i = 1; i < entries_at(map->shift); i++) {
                if (node->entries[i]) {
                    return;
                }
            }
            map->root = node->entries[0];
            drop_node(edit, node);
        } else if (map->root) {
            return; /* one section that needs this height */
        }
        map->shift -= PMAP_BITS;
        map->limit = limit_at(map->shift);
        edit->shift_min = map->shift < edit->shift_min ? map->shift : edit->shift_min;
    }
}

int pmap_set(struct pmap_edit *edit, struct mv_range range, struct section *section)
{
    struct pmap *map = &edit->now;
    pmap_entry value = (pmap_entry)section;
    if (!section) {
        if (range.first > map->limit) {
            return 0;
        }
        range.last = range.last < map->limit ? range.last : map->limit;
    }
    int rc = grow(edit, range.last);
    if (rc == 0) {
        rc = set_in(edit, &map->root, map->shift, 0, range, value);
    }
    if (rc == 0 && !section) {
        shrink(edit);
    }
    return rc;
}

static void give_born(struct pmap_edit *edit, bool all)
{
    struct pmap_node *node, *next;
    for (node = edit->born; node; node = next) {
        next = node->link;
        if (all || node->dead) {
            pool_give(edit->pool, POOL_NODE, node);
        }
    }
    edit->born = NULL;
}

struct pmap_node *pmap_edit_commit(struct pmap_edit *edit, size_t *ret_count)
{
    give_born(edit, false);
    *ret_count = edit->ndropped;
    return edit->dropped;
}

void pmap_edit_abort(struct pmap_edit *edit)
{
    give_born(edit, true);
    edit->dropped = NULL;
    edit->ndropped = 0;
}

static void list_nodes(pmap_entry entry, unsigned shift, struct pmap_node **list, size_t *count)
{
    if (pmap_is_node(entry)) {
        struct pmap_node *node = pmap_node_of(entry);
        for (unsigned i = 0; i < entries_at(shift); i++) {
            list_nodes(node->entries[i], shift - PMAP_BITS, list, count);
        }
        node->link = *list;
        *list = node;
        ++*count;
    }
}

struct pmap_node *pmap_all_nodes(const struct pmap *map, size_t *ret_count)
{
    struct pmap_node *list = NULL;
    *ret_count = 0;
    list_nodes(map->root, map->shift, &list, ret_count);
    return list;
}

/* --- checking ---------------------------------------------------------------------------------- */

static bool check_entry(pmap_entry entry, unsigned shift, uint64_t base)
{
    if (!pmap_is_node(entry)) {
        const struct section *s = (const struct section *)entry;
        uint64_t size_less_1 = limit_at(shift);
        return !s || (s->range.first <= base && s->range.last >= base + size_less_1);
    }
    const struct pmap_node *node = pmap_node_of(entry);
    bool equal = true;
    for (unsigned i = 0; i < entries_at(shift); i++) {
        equal = equal && node->entries[i] == node->entries[0];
        pmap_entry below = node->entries[i];
        if (shift == 0 ? pmap_is_node(below)
                       : !check_entry(below, shift - PMAP_BITS, base + ((uint64_t)i << shift))) {
            return false;
        }
    }
    return !equal || pmap_is_node(node->entries[0]);
}

bool pmap_check(const struct pmap *map)
{
    return map->limit == limit_at(map->shift) && check_entry(map->root, map->shift, 0);
}
