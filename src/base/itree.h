// SPDX-License-Identifier: MIT
/*
 * An interval tree: ranges that may overlap, found by what they overlap, in order of their first address. A treap,
 * each node of which knows the highest end below it; nodes are embedded in what they belong to, so nothing
 * allocates.
 *
 * Invariants: first <= last; in order of first, of equals the one inserted later comes later; a parent's weight is
 * not less than its children's; max_last is the highest last of the node and all below it.
 */
#ifndef BASE_ITREE_H
#define BASE_ITREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct itree_node {
    struct itree_node *parent;
    struct itree_node *left;
    struct itree_node *right;
    uint64_t first;
    uint64_t last;
    uint64_t max_last;
    uint64_t weight;
};

/* All zero: empty. */
struct itree {
    struct itree_node *root;
};

/* The caller has set first and last, and does not change them while the node is in the tree. O(log n) expected. */
void itree_insert(struct itree *tree, struct itree_node *node);
void itree_remove(struct itree *tree, struct itree_node *node);

/* The first node, in order, that overlaps [first, last]; then the next such one. NULL when there is none. O(log
 * n). */
struct itree_node *itree_first_overlap(const struct itree *tree, uint64_t first, uint64_t last);
struct itree_node *itree_next_overlap(struct itree_node *node, uint64_t first, uint64_t last);

/* All nodes in order: itree_first_overlap(tree, 0, UINT64_MAX) and so on, but simpler. */
struct itree_node *itree_first(const struct itree *tree);
struct itree_node *itree_next(struct itree_node *node);

/* Execute the invariants. */
bool itree_check(const struct itree *tree);

#endif
