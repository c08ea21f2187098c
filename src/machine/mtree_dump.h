// SPDX-License-Identifier: MIT
/*
 * A dump of `info mtree`, taken apart: its trees as they are written. A region may be in several of them; what is
 * the same and what aliases show is found out later (mtree_resolve.h).
 *
 * Without -D a dump does not show disabled regions, but shows what is in them, a level deeper. For each such level
 * there is a node of its own, `hidden`, which is disabled.
 */
#ifndef MACHINE_MTREE_DUMP_H
#define MACHINE_MTREE_DUMP_H

#include "machine/mtree_line.h"

struct mv_region;

/* What is beyond is refused: real dumps have some thousand lines. As many regions as this are some 64 MiB of text.
 */
#define MTREE_NODES_MAX (1u << 20)
#define MTREE_SPACES_MAX 4096
#define MTREE_LEVEL_MAX 128

/* What QEMU prints behind a range of a flat view that its accelerator has in a slot; only KVM has such a word. */
#define MTREE_ACCEL_WORD "KVM"

#define MTREE_NONE UINT32_MAX /* the number of no node */

struct mtree_node {
    unsigned line; /* its number, from 1; of a hidden node that of the line that needed it */
    struct mtree_line is;
    bool hidden;
    uint64_t offset; /* in its parent; of a root what is printed as its first address */
    uint32_t tree;
    uint32_t parent, first_child, last_child, previous, next;

    /* mtree_resolve.c's: */
    uint64_t hash;
    uint32_t shows; /* an alias: the node that it shows */
    bool answers;   /* of type i/o: a device, not a container */
    bool readonly;
    struct slice bound_as; /* the name of the alias that was last found to show it, */
    uint32_t bound_in;     /* and the parent of that */

    /* mtree_import.c's: */
    struct mv_region *region;
};

struct mtree_tree {
    bool is_space;
    unsigned line;
    uint32_t first_name; /* SPACE: its names are those from here on in the dump's list */
    uint32_t name_count;
    struct slice name; /* TARGET */
    uint32_t root;     /* a node; for a hidden root one that was made for it */
    uint32_t same;     /* TARGET: the node elsewhere that it is a second print of, or MTREE_NONE */
};

/* A range of a flat view in the same text, of type i/o: what answers is no container. */
struct mtree_hint {
    struct slice name;
    int priority;
    uint64_t origin; /* where in the space the region's offset 0 would be */
};

/* A range of a flat view that the accelerator has for a space. */
struct mtree_slot {
    struct slice space;
    struct mv_range range;
};

/* Owned by the importer; the slices point into its text. */
struct mtree_dump {
    struct mtree_node *nodes; /* by number; those of a tree follow each other, in the order of the text */
    size_t node_count, node_capacity;
    struct mtree_tree *trees;
    size_t tree_count, tree_capacity;
    struct slice *space_names;
    size_t space_name_count, space_name_capacity;
    struct mtree_hint *hints; /* sorted, once the dump is read */
    size_t hint_count, hint_capacity;
    struct mtree_slot *slots;
    size_t slot_count, slot_capacity;
    bool has_flat;     /* there are flat views in the text */
    bool has_disabled; /* regions that are disabled are shown */
    bool has_owner;
    unsigned note_count; /* mtree_resolve.c's */
};

/* @return 0; -EINVAL, -E2BIG, -ENOMEM. mtree_dump_finish() in any case. */
int mtree_dump_parse(struct mtree_dump *dump, struct slice text, struct mv_error *err);
void mtree_dump_finish(struct mtree_dump *dump);

/* One step further, in the order in which they are printed, in what is in `root`: the next node, or MTREE_NONE. */
uint32_t mtree_dump_next(const struct mtree_dump *dump, uint32_t node, uint32_t root);

/* How many bytes lie behind the first one, as printed. */
static inline uint64_t mtree_node_span(const struct mtree_node *node)
{
    return node->is.range.last - node->is.range.first;
}

int mtree_dump_no_memory(struct mv_error *err);
int mtree_dump_error(struct mv_error *err, unsigned line, const char *why);
int mtree_dump_too_large(struct mv_error *err, unsigned line, const char *what);

#endif
