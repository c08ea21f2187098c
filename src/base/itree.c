// SPDX-License-Identifier: MIT
#include "base/itree.h"

/* Weights only have to look random: the address of a node, mixed (the finalizer of MurmurHash3). */
static uint64_t weight_of(const struct itree_node *node)
{
    uint64_t x = (uint64_t)(uintptr_t)node;
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    x ^= x >> 33;
    return x;
}

static uint64_t max_of(const struct itree_node *node)
{
    uint64_t max = node->last;
    if (node->left && node->left->max_last > max) {
        max = node->left->max_last;
    }
    if (node->right && node->right->max_last > max) {
        max = node->right->max_last;
    }
    return max;
}

/* What points at `node`: its parent's left or right, or the root. */
static struct itree_node **link_of(struct itree *tree, struct itree_node *node)
{
    if (!node->parent) {
        return &tree->root;
    }
    return node->parent->left == node ? &node->parent->left : &node->parent->right;
}

/* Put `node`'s child above it; the order stays. */
static void lift_left(struct itree *tree, struct itree_node *node)
{
    struct itree_node *up = node->left;
    *link_of(tree, node) = up;
    up->parent = node->parent;
    node->left = up->right;
    if (node->left) {
        node->left->parent = node;
    }
    up->right = node;
    node->parent = up;
    up->max_last = node->max_last;
    node->max_last = max_of(node);
}

static void lift_right(struct itree *tree, struct itree_node *node)
{
    struct itree_node *up = node->right;
    *link_of(tree, node) = up;
    up->parent = node->parent;
    node->right = up->left;
    if (node->right) {
        node->right->parent = node;
    }
    up->left = node;
    node->parent = up;
    up->max_last = node->max_last;
    node->max_last = max_of(node);
}

void itree_insert(struct itree *tree, struct itree_node *node)
{
    struct itree_node **link = &tree->root;
    struct itree_node *parent = NULL;
    while (*link) {
        parent = *link;
        if (parent->max_last < node->last) {
            parent->max_last = node->last;
        }
        link = node->first < parent->first ? &parent->left : &parent->right;
    }
    node->parent = parent;
    node->left = node->right = NULL;
    node->max_last = node->last;
    node->weight = weight_of(node);
    *link = node;
    while (node->parent && node->parent->weight < node->weight) {
        if (node->parent->left == node) {
            lift_left(tree, node->parent);
        } else {
            lift_right(tree, node->parent);
        }
    }
}

void itree_remove(struct itree *tree, struct itree_node *node)
{
    while (node->left && node->right) {
        if (node->left->weight > node->right->weight) {
            lift_left(tree, node);
        } else {
            lift_right(tree, node);
        }
    }
    struct itree_node *child = node->left ? node->left : node->right;
    *link_of(tree, node) = child;
    if (child) {
        child->parent = node->parent;
    }
    for (struct itree_node *up = node->parent; up; up = up->parent) {
        uint64_t max = max_of(up);
        if (up->max_last == max) {
            break; /* nor does anything above it change */
        }
        up->max_last = max;
    }
}

/* The first overlap in the subtree, of which max_last >= first is known. */
static struct itree_node *first_below(struct itree_node *node, uint64_t first, uint64_t last)
{
    for (;;) {
        if (node->left && node->left->max_last >= first) {
            node = node->left; /* if there is none there, then all right of it begin too late as well */
        } else if (node->first > last) {
            return NULL;
        } else if (node->last >= first) {
            return node;
        } else if (node->right && node->right->max_last >= first) {
            node = node->right;
        } else {
            return NULL;
        }
    }
}

struct itree_node *itree_first_overlap(const struct itree *tree, uint64_t first, uint64_t last)
{
    return tree->root && tree->root->max_last >= first ? first_below(tree->root, first, last) : NULL;
}

struct itree_node *itree_next_overlap(struct itree_node *node, uint64_t first, uint64_t last)
{
    for (;;) {
        if (node->right && node->right->max_last >= first) {
            return first_below(node->right, first, last);
        }
        /* Up to the first node of which this is on the left. */
        struct itree_node *below;
        do {
            below = node;
            node = node->parent;
        } while (node && node->right == below);
        if (!node || node->first > last) {
            return NULL;
        }
        if (node->last >= first) {
            return node;
        }
    }
}

struct itree_node *itree_first(const struct itree *tree)
{
    struct itree_node *node = tree->root;
    while (node && node->left) {
        node = node->left;
    }
    return node;
}

struct itree_node *itree_next(struct itree_node *node)
{
    return itree_next_overlap(node, 0, UINT64_MAX);
}

static bool check_below(const struct itree_node *node)
{
    if (!node) {
        return true;
    }
    const struct itree_node *l = node->left, *r = node->right;
    bool order = (!l || l->first <= node->first) && (!r || r->first >= node->first);
    bool weights = (!l || l->weight <= node->weight) && (!r || r->weight <= node->weight);
    bool parents = (!l || l->parent == node) && (!r || r->parent == node);
    return node->first <= node->last && node->max_last == max_of(node) && order && weights && parents &&
           check_below(l) && check_below(r);
}

bool itree_check(const struct itree *tree)
{
    return (!tree->root || !tree->root->parent) && check_below(tree->root);
}
