// SPDX-License-Identifier: MIT
/* Which paragraphs of a dump are second prints of what another tree has. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "machine/mtree_resolve.h"

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static uint64_t mix_slice(uint64_t hash, struct slice s)
{
    for (size_t i = 0; i < s.length; i++) {
        hash = mix(hash, (unsigned char)s.start[i]);
    }
    return mix(hash, s.length);
}

/*
 * Of all that is printed of a region and what is in it, relative to where it is. Whoever writes a dump so that two
 * different ones are taken for the same gets what he wrote.
 */
static uint64_t hash_of(const struct mtree_dump *dump, const struct mtree_node *node)
{
    uint64_t hash = mix_slice(mix_slice(1, node->is.name), node->is.owner);
    hash = mix(hash, node->offset);
    hash = mix(hash, mtree_node_span(node));
    hash = mix(hash, (uint64_t)(uint32_t)node->is.priority << 32 | (uint64_t)node->is.type << 4 |
                         (uint64_t)node->is.nonvolatile << 3 | (uint64_t)node->is.enabled << 2 |
                         (uint64_t)node->is.is_alias << 1 | (uint64_t)node->hidden);
    hash = mix_slice(mix(hash, node->is.target_first), node->is.target);
    for (uint32_t child = node->first_child; child != MTREE_NONE; child = dump->nodes[child].next) {
        hash = mix(hash, dump->nodes[child].hash);
    }
    return hash;
}

struct hashed {
    uint64_t hash;
    uint32_t node;
};

static int compare_hashed(const void *a, const void *b)
{
    const struct hashed *x = a, *y = b;
    if (x->hash != y->hash) {
        return x->hash < y->hash ? -1 : 1;
    }
    return x->node < y->node ? -1 : x->node > y->node;
}

/* The first of those with a hash, or where they would be. */
static size_t find_hash(const struct hashed *all, size_t count, uint64_t hash)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (all[middle].hash < hash) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* How many nodes a tree has. */
static size_t tree_size(const struct mtree_dump *dump, const struct mtree_tree *tree)
{
    size_t count = 0;
    for (uint32_t n = tree->root; n != MTREE_NONE; n = mtree_dump_next(dump, n, tree->root)) {
        count++;
    }
    return count;
}

struct sized {
    size_t size;
    uint32_t tree;
};

static int compare_sized(const void *a, const void *b)
{
    const struct sized *x = a, *y = b;
    if (x->size != y->size) {
        return x->size > y->size ? -1 : 1;
    }
    return x->tree < y->tree ? -1 : x->tree > y->tree;
}

/*
 * Find where else the root of an alias target's tree is printed: in the tree of what contains it, or as the root
 * of a space. `claimed` are the nodes that were found so before: a region has one paragraph.
 */
static void find_same(struct mtree_dump *dump, uint32_t number, const struct hashed *all, size_t count,
                      bool *claimed, struct mtree_out *notes)
{
    struct mtree_tree *tree = &dump->trees[number];
    const struct mtree_node *root = &dump->nodes[tree->root];
    size_t found = 0;
    if (root->hidden) {
        return; /* nothing of it is known but its name */
    }
    for (size_t i = find_hash(all, count, root->hash); i < count && all[i].hash == root->hash; i++) {
        uint32_t at = all[i].node;
        const struct mtree_tree *other = &dump->trees[dump->nodes[at].tree];
        bool is_another_target = !other->is_space && other->root == at;
        if (claimed[at] || other->same != MTREE_NONE || other == tree || is_another_target) {
            continue;
        }
        found++;
        if (tree->same == MTREE_NONE) {
            tree->same = at;
        }
        if (found > 1) {
            break; /* that there is another is all that matters */
        }
    }
    if (tree->same != MTREE_NONE) {
        claimed[tree->same] = true;
    }
    if (found > 1) {
        mtree_note(dump, notes, tree->line, tree->name, "it is printed alike in several places",
                   dump->nodes[tree->same].line);
    }
}

/* The largest first: what is in a tree that is a second print is one too. */
int mtree_find_same(struct mtree_dump *dump, struct mtree_out *notes, struct mv_error *err)
{
    struct hashed *all = calloc(dump->node_count, sizeof *all);
    struct sized *order = calloc(dump->tree_count, sizeof *order);
    bool *claimed = calloc(dump->node_count, sizeof *claimed);
    if (!all || !order || !claimed) {
        free(all);
        free(order);
        free(claimed);
        return mtree_dump_no_memory(err);
    }
    for (size_t i = dump->node_count; i-- > 0;) { /* children come after their parents */
        dump->nodes[i].hash = hash_of(dump, &dump->nodes[i]);
        all[i] = (struct hashed){dump->nodes[i].hash, (uint32_t)i};
    }
    qsort(all, dump->node_count, sizeof *all, compare_hashed);
    for (size_t i = 0; i < dump->tree_count; i++) {
        order[i] = (struct sized){tree_size(dump, &dump->trees[i]), (uint32_t)i};
    }
    qsort(order, dump->tree_count, sizeof *order, compare_sized);
    for (size_t i = 0; i < dump->tree_count; i++) {
        if (!dump->trees[order[i].tree].is_space) {
            find_same(dump, order[i].tree, all, dump->node_count, claimed, notes);
        }
    }
    free(all);
    free(order);
    free(claimed);
    return 0;
}
