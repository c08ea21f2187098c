// SPDX-License-Identifier: MIT
/*
 * How a view finds the section of an address, in the layout that QEMU's `info mtree -f -d` has for its own map:
 * the sections, numbered, then the nodes of the map, each with what its entries lead to. Ours is the tree of
 * pmap.h.
 */
#include <stdlib.h>

#include "machine/mtree.h"
#include "machine/pmap.h"
#include "machine/region.h"
#include "machine/view.h"

/* Of 6 bits each, as many as 64 bits need. */
#define LEVELS ((64 + PMAP_BITS - 1) / PMAP_BITS)

struct numbered {
    const struct pmap_node *node;
    unsigned shift;
};

struct walk {
    struct numbered *nodes; /* by number, in the order in which the entries lead to them */
    size_t count;
    size_t capacity;
    const struct section **sections; /* in order of address; their numbers begin at 1 */
    size_t section_count;
};

static bool add_node(struct walk *walk, const struct pmap_node *node, unsigned shift)
{
    if (walk->count == walk->capacity) {
        size_t capacity = walk->capacity ? walk->capacity * 2 : 32;
        struct numbered *nodes = realloc(walk->nodes, capacity * sizeof *nodes);
        if (!nodes) {
            return false;
        }
        walk->nodes = nodes;
        walk->capacity = capacity;
    }
    walk->nodes[walk->count++] = (struct numbered){node, shift};
    return true;
}

/* Of the topmost level only 16 entries stand for addresses. */
static unsigned entries_of(unsigned shift)
{
    return shift + PMAP_BITS > 64 ? 1u << (64 - shift) : PMAP_ENTRIES;
}

/* All nodes, level by level. */
static bool number_nodes(struct walk *walk, const struct pmap *map)
{
    if (pmap_is_node(map->root) && !add_node(walk, pmap_node_of(map->root), map->shift)) {
        return false;
    }
    for (size_t i = 0; i < walk->count; i++) {
        struct numbered at = walk->nodes[i];
        for (unsigned k = 0; k < entries_of(at.shift); k++) {
            pmap_entry entry = at.node->entries[k];
            if (pmap_is_node(entry) && !add_node(walk, pmap_node_of(entry), at.shift - PMAP_BITS)) {
                return false;
            }
        }
    }
    return true;
}

static bool number_sections(struct walk *walk, const struct mv_view *view)
{
    walk->sections = calloc(view->count ? view->count : 1, sizeof(struct section *));
    const struct section *s = walk->sections ? view_next(view, 0) : NULL;
    while (s && walk->section_count < view->count) {
        walk->sections[walk->section_count++] = s;
        s = s->range.last == UINT64_MAX ? NULL : view_next(view, s->range.last + 1);
    }
    return walk->sections != NULL;
}

static size_t number_of(const struct walk *walk, const struct section *section)
{
    size_t low = 0, high = walk->section_count;
    while (low + 1 < high) {
        size_t middle = low + (high - low) / 2;
        if (walk->sections[middle]->range.first <= section->range.first) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low + 1;
}

/* `next_node` is the number that the next node among the entries has. */
static void print_entry(struct mtree_out *out, const struct walk *walk, pmap_entry entry, size_t next_node)
{
    if (!entry) {
        mtree_out_add(out, " skip=1  ptr=NIL\n");
    } else if (pmap_is_node(entry)) {
        mtree_out_add(out, " skip=1  ptr=[%zu]\n", next_node);
    } else {
        mtree_out_add(out, " skip=0  ptr=#%zu\n", number_of(walk, (const struct section *)entry));
    }
}

static void print_node(struct mtree_out *out, const struct walk *walk, struct numbered at, size_t *next_node)
{
    const unsigned count = entries_of(at.shift);
    for (unsigned first = 0, end; first < count; first = end) {
        pmap_entry entry = at.node->entries[first];
        for (end = first + 1; end < count && at.node->entries[end] == entry;) {
            end++;
        }
        if (end - first == 1) {
            mtree_out_add(out, "\t%3u      ", first);
        } else {
            mtree_out_add(out, "\t%3u..%-3u ", first, end - 1);
        }
        print_entry(out, walk, entry, *next_node);
        *next_node += pmap_is_node(entry);
    }
}

static void print_sections(struct mtree_out *out, const struct walk *walk, const struct mv_region *root)
{
    mtree_out_add(out, "    Physical sections\n      #0 @%016x..%016" PRIx64 " (noname) [unassigned]\n", 0,
                  UINT64_MAX);
    for (size_t i = 0; i < walk->section_count; i++) {
        const struct section *s = walk->sections[i];
        mtree_out_add(out, "      #%zu @%016" PRIx64 "..%016" PRIx64 " %s%s\n", i + 1, s->range.first,
                      s->range.last, s->region->name, s->region == root ? " [ROOT]" : "");
    }
}

static void print_nodes(struct mtree_out *out, const struct walk *walk, const struct pmap *map)
{
    mtree_out_add(out, "    Nodes (%u bits per level, %u levels) ", PMAP_BITS, LEVELS);
    if (walk->count > 0) {
        mtree_out_add(out, "ptr=[0] skip=%u\n", LEVELS - map->shift / PMAP_BITS);
    } else {
        mtree_out_add(out, "ptr=%s skip=0\n", map->root ? "#1" : "NIL");
    }
    size_t next_node = 1;
    for (size_t i = 0; i < walk->count; i++) {
        mtree_out_add(out, "      [%zu]\n", i);
        print_node(out, walk, walk->nodes[i], &next_node);
    }
}

void mtree_print_dispatch(struct mtree_out *out, const struct mv_view *view, const struct mv_region *root)
{
    struct walk walk = {0};
    if (number_nodes(&walk, &view->map) && number_sections(&walk, view)) {
        mtree_out_add(out, "  Dispatch\n");
        print_sections(out, &walk, root);
        print_nodes(out, &walk, &view->map);
    } else {
        out->failed = true;
    }
    free(walk.nodes);
    free(walk.sections);
}
