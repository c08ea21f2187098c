// SPDX-License-Identifier: MIT
/* Which paragraph of a dump has what an alias shows. Regions go by name, and names are not unique. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "machine/mtree_resolve.h"
#include "machine/render.h"

/* Looking for the best of many regions of one name ends after so many looks in all; then the first will do. */
#define LOOKS_MAX 4000000u
#define CHILD_LOOKS_MAX 64

struct named {
    struct slice name;
    uint32_t tree;
};

/* An alias in one tree shows what another tree has. */
struct edge {
    uint32_t to;
    uint32_t next; /* of those from the same tree: a number in the binder's, or MTREE_NONE */
};

struct binder {
    struct mtree_dump *dump;
    struct mtree_out *notes;
    struct mv_error *err;
    struct named *targets; /* all memory-region: paragraphs, by name, then in order of the text */
    size_t target_count;
    uint32_t met; /* trees before this one were shown by an alias further up, or are spaces */
    unsigned looks;
    struct edge *edges; /* has room for one of each node */
    uint32_t edge_count;
    uint32_t *first_edge; /* by tree */
    uint32_t *seen;       /* by tree: the last search that met it */
    uint32_t searches;
};

static int compare_named(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    size_t common = x->name.length < y->name.length ? x->name.length : y->name.length;
    int order = memcmp(x->name.start, y->name.start, common);
    if (order == 0 && x->name.length != y->name.length) {
        order = x->name.length < y->name.length ? -1 : 1;
    }
    return order != 0 ? order : x->tree < y->tree ? -1 : x->tree > y->tree;
}

static size_t find_named(const struct binder *binder, struct slice name)
{
    const struct named key = {.name = name};
    size_t low = 0, high = binder->target_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_named(&binder->targets[middle], &key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Whether anything in `target` is in the alias's window: of bridges with the same name this tells which is which.
 */
static bool window_has_something(struct binder *binder, const struct mtree_node *target,
                                 const struct mtree_node *alias)
{
    const struct mtree_dump *dump = binder->dump;
    uint64_t first = alias->is.target_first;
    uint64_t span = mtree_node_span(alias);
    uint32_t child = target->first_child;
    for (unsigned i = 0; child != MTREE_NONE && i < CHILD_LOOKS_MAX; i++) {
        binder->looks++;
        if (dump->nodes[child].offset - first <= span) {
            return true;
        }
        child = dump->nodes[child].next;
    }
    return false;
}

static void add_edge(struct binder *binder, uint32_t from, uint32_t to)
{
    binder->edges[binder->edge_count] = (struct edge){to, binder->first_edge[from]};
    binder->first_edge[from] = binder->edge_count++;
}

/* Whether a tree shows another, as far as is known yet. A tree is met once in a search, and so is its every edge.
 */
static bool reaches(struct binder *binder, uint32_t from, uint32_t to, unsigned depth)
{
    if (from == to || depth > RENDER_DEPTH_MAX || binder->looks > LOOKS_MAX) {
        return from == to;
    }
    binder->seen[from] = binder->searches;
    for (uint32_t e = binder->first_edge[from]; e != MTREE_NONE; e = binder->edges[e].next) {
        uint32_t next = binder->edges[e].to;
        binder->looks++;
        if (binder->seen[next] != binder->searches && reaches(binder, next, to, depth + 1)) {
            return true;
        }
    }
    return false;
}

/* Whether the alias is in what it would show. */
static bool would_be_cycle(struct binder *binder, const struct mtree_tree *tree, const struct mtree_node *alias)
{
    const struct mtree_dump *dump = binder->dump;
    if (tree->same == MTREE_NONE) {
        binder->searches++;
        return reaches(binder, (uint32_t)(tree - dump->trees), alias->tree, 0);
    }
    uint32_t up = alias->parent;
    while (up != MTREE_NONE && up != tree->same) {
        up = dump->nodes[up].parent;
    }
    return up != MTREE_NONE;
}

/*
 * How well a region suits as what the alias shows; greater is better. The windows of a bridge are aliases with
 * different names in one container.
 */
static int suits(struct binder *binder, const struct mtree_node *target, const struct mtree_node *alias)
{
    const struct mtree_line *a = &alias->is, *t = &target->is;
    int score = 0;
    if (target->hidden) {
        return 0;
    }
    uint64_t span = mtree_node_span(target);
    score += (t->is_alias || t->type == a->type) * 64;
    score += (a->target_first <= span && mtree_node_span(alias) <= span - a->target_first) * 32;
    score += (a->owner.start && t->owner.start && slice_equal(a->owner, t->owner)) * 16;
    score += window_has_something(binder, target, alias) * 8;
    bool same_name = target->bound_as.start && slice_equal(target->bound_as, a->name);
    score += !same_name * 4;
    score += (target->bound_as.start && !same_name && target->bound_in == alias->parent) * 2;
    return score;
}

/*
 * The paragraph of what an alias shows. QEMU prints one for each region that is shown, in the order in which their
 * aliases are met: so it is one that was met before, or the next one of that name.
 */
static uint32_t choose(struct binder *binder, const struct mtree_node *alias)
{
    uint32_t best = MTREE_NONE;
    int best_score = -1;
    bool tie = false;
    for (size_t i = find_named(binder, alias->is.target); i < binder->target_count; i++) {
        const struct named *named = &binder->targets[i];
        if (!slice_equal(named->name, alias->is.target) || (best != MTREE_NONE && binder->looks > LOOKS_MAX)) {
            break;
        }
        const bool is_new = named->tree >= binder->met;
        const struct mtree_tree *tree = &binder->dump->trees[named->tree];
        int score = suits(binder, &binder->dump->nodes[tree->root], alias);
        binder->looks++;
        if (would_be_cycle(binder, tree, alias)) {
            score = 0;
        }
        tie = score == best_score || (tie && score < best_score);
        if (score > best_score || (score == best_score && is_new)) {
            best = named->tree;
            best_score = score;
        }
        if (is_new) {
            break;
        }
    }
    if (tie) {
        mtree_note(binder->dump, binder->notes, alias->line, alias->is.name,
                   "this alias may show any of several regions of a name", binder->dump->trees[best].line);
    }
    return best;
}

static int bind_alias(struct binder *binder, uint32_t number)
{
    struct mtree_dump *dump = binder->dump;
    uint32_t tree = choose(binder, &dump->nodes[number]);
    if (tree == MTREE_NONE) {
        return mtree_dump_error(binder->err, dump->nodes[number].line,
                                "the dump has no memory-region: paragraph of what this alias shows");
    }
    struct mtree_node *root = &dump->nodes[dump->trees[tree].root];
    root->bound_as = dump->nodes[number].is.name;
    root->bound_in = dump->nodes[number].parent;
    if (dump->trees[tree].same == MTREE_NONE) {
        add_edge(binder, dump->nodes[number].tree, tree);
    }
    dump->nodes[number].shows = mtree_node_of_tree(&dump->trees[tree]);
    if (tree >= binder->met) {
        binder->met = tree + 1; /* those in between are shown by aliases that are not printed */
    }
    return 0;
}

static int bind_tree(struct binder *binder, uint32_t root)
{
    int rc = 0;
    for (uint32_t n = root; rc == 0 && n != MTREE_NONE; n = mtree_dump_next(binder->dump, n, root)) {
        const struct mtree_node *node = &binder->dump->nodes[n];
        if (node->is.is_alias && node->shows == MTREE_NONE) {
            rc = bind_alias(binder, n);
        }
    }
    return rc;
}

static void binder_finish(struct binder *binder)
{
    free(binder->targets);
    free(binder->edges);
    free(binder->first_edge);
    free(binder->seen);
}

int mtree_bind_aliases(struct mtree_dump *dump, struct mtree_out *notes, struct mv_error *err)
{
    struct binder binder = {.dump = dump, .notes = notes, .err = err};
    int rc = 0;
    binder.targets = calloc(dump->tree_count, sizeof *binder.targets);
    binder.edges = calloc(dump->node_count, sizeof *binder.edges);
    binder.first_edge = calloc(dump->tree_count, sizeof *binder.first_edge);
    binder.seen = calloc(dump->tree_count, sizeof *binder.seen);
    if (!binder.targets || !binder.edges || !binder.first_edge || !binder.seen) {
        binder_finish(&binder);
        return mtree_dump_no_memory(err);
    }
    memset(binder.first_edge, 0xff, dump->tree_count * sizeof *binder.first_edge); /* MTREE_NONE */
    for (uint32_t i = 0; i < dump->tree_count; i++) {
        if (!dump->trees[i].is_space) {
            binder.targets[binder.target_count++] = (struct named){dump->trees[i].name, i};
        }
    }
    qsort(binder.targets, binder.target_count, sizeof *binder.targets, compare_named);
    for (size_t i = 0; rc == 0 && i < dump->tree_count; i++) {
        rc = bind_tree(&binder, mtree_node_of_tree(&dump->trees[i]));
    }
    binder_finish(&binder);
    return rc;
}
