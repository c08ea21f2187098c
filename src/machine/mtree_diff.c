// SPDX-License-Identifier: MIT
/*
 * How two machines differ: space by space, and what aliases show besides, the trees and then the views. Regions in
 * containers that correspond are taken for the same one if they have the same name and address, or else the same
 * name. A line that differs comes as "-" and "+", and before it, as context, the containers that it is in.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "machine/machine.h"
#include "machine/mtree.h"
#include "machine/region.h"
#include "machine/space.h"

/* The two regions that correspond, on the way to where a difference is. */
struct context {
    struct context *up;
    struct mv_region *region; /* of the first machine */
    uint64_t base;            /* where its container is */
    unsigned level;
    const char *heading; /* of a root: the paragraph's, or NULL */
    const char *name;
    bool printed;
};

struct differ {
    struct mtree_out out;
    size_t count; /* of lines that begin with - or + */
};

static void print_line(struct differ *differ, char mark, struct mv_region *region, uint64_t base, unsigned level)
{
    mtree_out_add(&differ->out, "%c%*s", mark, (int)(2 * level), "");
    mtree_add_region(&differ->out, region, base, 0);
    mtree_out_add(&differ->out, "\n");
    differ->count += mark != ' ';
}

static void print_context(struct differ *differ, struct context *context)
{
    if (!context || context->printed) {
        return;
    }
    print_context(differ, context->up);
    context->printed = true;
    if (context->heading) {
        mtree_out_add(&differ->out, " %s: %s\n", context->heading, context->name);
    }
    if (context->region) {
        print_line(differ, ' ', context->region, context->base, context->level);
    }
}

static uint64_t place_of(const struct mv_region *region)
{
    return region->state.container ? region->state.address : 0;
}

/* A whole tree that the other machine does not have. */
static void print_all(struct differ *differ, char mark, struct mv_region *region, uint64_t base, unsigned level)
{
    struct mv_region **children;
    size_t count;
    print_line(differ, mark, region, base, level);
    if (mtree_children(region, &children, &count) < 0) {
        differ->out.failed = true;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        print_all(differ, mark, children[i], base + place_of(region), level + 1);
    }
    free(children);
}

/* --- trees ------------------------------------------------------------------------------------------------- */

/* Whether two regions look the same, apart from what is in them and from where their containers are. */
static bool looks_same(const struct mv_region *a, const struct mv_region *b)
{
    const struct region_state *x = &a->state, *y = &b->state;
    bool same = strcmp(a->name, b->name) == 0 && place_of(a) == place_of(b) && mtree_span(a) == mtree_span(b) &&
                (x->container ? x->priority : 0) == (y->container ? y->priority : 0) && x->enabled == y->enabled &&
                x->nonvolatile == y->nonvolatile && strcmp(mv_region_type(a), mv_region_type(b)) == 0 &&
                (a->kind == MV_REGION_ALIAS) == (b->kind == MV_REGION_ALIAS);
    if (same && a->kind == MV_REGION_ALIAS) {
        same = x->target_offset == y->target_offset && strcmp(a->alias.target->name, b->alias.target->name) == 0;
    }
    return same;
}

struct candidate {
    struct mv_region *region;
    struct mv_region *partner; /* or NULL */
    size_t position;           /* in order of address */
};

static int compare_by_name(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    int order = strcmp(x->region->name, y->region->name);
    if (order != 0) {
        return order;
    }
    return x->position < y->position ? -1 : x->position > y->position;
}

static int compare_by_position(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return x->position < y->position ? -1 : x->position > y->position;
}

/* How two candidates without partners stand to each other; `places`: their addresses count too. */
static int compare_candidates(const struct candidate *a, const struct candidate *b, bool places)
{
    int order = strcmp(a->region->name, b->region->name);
    if (order != 0 || !places) {
        return order;
    }
    uint64_t x = a->region->state.address, y = b->region->state.address;
    return x < y ? -1 : x > y;
}

/* Both are sorted by name, then address. */
static void find_partners(struct candidate *a, size_t a_count, struct candidate *b, size_t b_count, bool places)
{
    size_t i = 0, k = 0;
    while (i < a_count && k < b_count) {
        if (a[i].partner) {
            i++;
        } else if (b[k].partner) {
            k++;
        } else {
            int order = compare_candidates(&a[i], &b[k], places);
            if (order == 0) {
                a[i].partner = b[k].region;
                b[k].partner = a[i].region;
            }
            i += order <= 0;
            k += order >= 0;
        }
    }
}

static struct candidate *candidates_of(struct mv_region *region, size_t *ret_count)
{
    struct mv_region **children;
    struct candidate *all = NULL;
    if (mtree_children(region, &children, ret_count) < 0) {
        return NULL;
    }
    all = calloc(*ret_count ? *ret_count : 1, sizeof *all);
    for (size_t i = 0; all && i < *ret_count; i++) {
        all[i] = (struct candidate){.region = children[i], .position = i};
    }
    free(children);
    if (all && *ret_count > 1) {
        qsort(all, *ret_count, sizeof *all, compare_by_name);
    }
    return all;
}

static void diff_regions(struct differ *differ, struct context *up, struct mv_region *a, uint64_t a_base,
                         struct mv_region *b, uint64_t b_base, unsigned level);

static void diff_matched(struct differ *differ, struct context *context, struct candidate *a, size_t a_count,
                         uint64_t a_base, struct candidate *b, size_t b_count, uint64_t b_base)
{
    unsigned level = context->level + 1;
    for (size_t i = 0; i < a_count; i++) {
        if (a[i].partner) {
            diff_regions(differ, context, a[i].region, a_base, a[i].partner, b_base, level);
        } else {
            print_context(differ, context);
            print_all(differ, '-', a[i].region, a_base, level);
        }
    }
    for (size_t i = 0; i < b_count; i++) {
        if (!b[i].partner) {
            print_context(differ, context);
            print_all(differ, '+', b[i].region, b_base, level);
        }
    }
}

static void diff_children(struct differ *differ, struct context *context, struct mv_region *a, uint64_t a_base,
                          struct mv_region *b, uint64_t b_base)
{
    size_t a_count = 0, b_count = 0;
    struct candidate *as = candidates_of(a, &a_count);
    struct candidate *bs = candidates_of(b, &b_count);
    if (as && bs) {
        find_partners(as, a_count, bs, b_count, true);
        find_partners(as, a_count, bs, b_count, false);
        qsort(as, a_count, sizeof *as, compare_by_position);
        qsort(bs, b_count, sizeof *bs, compare_by_position);
        diff_matched(differ, context, as, a_count, a_base, bs, b_count, b_base);
    } else {
        differ->out.failed = true;
    }
    free(as);
    free(bs);
}

static void diff_regions(struct differ *differ, struct context *up, struct mv_region *a, uint64_t a_base,
                         struct mv_region *b, uint64_t b_base, unsigned level)
{
    struct context context = {.up = up, .region = a, .base = a_base, .level = level};
    if (differ->out.failed) {
        return;
    }
    if (!looks_same(a, b)) {
        print_context(differ, up);
        print_line(differ, '-', a, a_base, level);
        print_line(differ, '+', b, b_base, level);
        context.printed = true;
    }
    diff_children(differ, &context, a, a_base + place_of(a), b, b_base + place_of(b));
}

/* --- views ------------------------------------------------------------------------------------------------- */

static bool sections_look_same(const struct section *a, const struct section *b)
{
    const struct mv_region *x = a->region, *y = b->region;
    return range_equal(a->range, b->range) && a->offset == b->offset && rights_equal(a->rights, b->rights) &&
           strcmp(x->name, y->name) == 0 && strcmp(mv_region_type(x), mv_region_type(y)) == 0 &&
           (x->state.container ? x->state.priority : 0) == (y->state.container ? y->state.priority : 0);
}

static void print_section(struct differ *differ, struct context *heading, char mark, const struct section *section)
{
    print_context(differ, heading);
    mtree_out_add(&differ->out, "%c  ", mark);
    mtree_add_section(&differ->out, section, 0);
    mtree_out_add(&differ->out, "\n");
    differ->count++;
}

static const struct section *section_after(const struct mv_view *view, const struct section *section)
{
    return section->range.last == UINT64_MAX ? NULL : view_next(view, section->range.last + 1);
}

static void diff_views(struct differ *differ, struct mv_space *a, struct mv_space *b)
{
    struct context heading = {.heading = "FlatView", .name = a->name};
    const struct mv_view *a_view = mv_space_view(a), *b_view = mv_space_view(b);
    const struct section *s = view_next(a_view, 0), *t = view_next(b_view, 0);
    while (s || t) {
        bool same = s && t && sections_look_same(s, t);
        bool step_s = s && (!t || s->range.first <= t->range.first);
        bool step_t = t && (!s || t->range.first <= s->range.first);
        if (step_s && !same) {
            print_section(differ, &heading, '-', s);
        }
        if (step_t && !same) {
            print_section(differ, &heading, '+', t);
        }
        s = step_s ? section_after(a_view, s) : s;
        t = step_t ? section_after(b_view, t) : t;
    }
    mv_view_release(a_view);
    mv_view_release(b_view);
}

/* --- what there is to compare ------------------------------------------------------------------------------ */

/* A tree with its name: of each space, and of each region that is only shown by aliases. */
struct named_tree {
    const char *name;
    struct mv_region *root;
    struct mv_space *space;           /* NULL: a region's */
    const struct named_tree *partner; /* what it was compared with */
    size_t position;
};

struct forest {
    struct named_tree *trees;
    size_t count;
};

static bool collect_targets(struct mtree_regions *targets, struct mv_region *region)
{
    struct mv_region *child;
    if (region->visit == region->machine->visit) {
        return true;
    }
    region->visit = region->machine->visit;
    if (region->kind == MV_REGION_ALIAS) {
        return mtree_regions_add(targets, region->alias.target) == 0;
    }
    cds_list_for_each_entry (child, &region->children, sibling) {
        if (!collect_targets(targets, child)) {
            return false;
        }
    }
    return true;
}

static int compare_trees(const struct named_tree *a, const struct named_tree *b)
{
    if (!a->space != !b->space) {
        return a->space ? -1 : 1;
    }
    return strcmp(a->name, b->name);
}

/* Of equal names, those made first come first. */
static int compare_trees_to_sort(const void *a, const void *b)
{
    const struct named_tree *x = a, *y = b;
    int order = compare_trees(x, y);
    return order != 0 ? order : x->position < y->position ? -1 : x->position > y->position;
}

static void add_tree(struct forest *forest, const char *name, struct mv_region *root, struct mv_space *space)
{
    forest->trees[forest->count] =
        (struct named_tree){.name = name, .root = root, .space = space, .position = forest->count};
    forest->count++;
}

static bool forest_make(struct mv_machine *machine, struct forest *ret)
{
    struct mtree_regions targets = {0};
    struct mv_space *space;
    bool ok = true;
    size_t spaces = 0;
    machine->visit++;
    cds_list_for_each_entry (space, &machine->spaces, link) {
        spaces++;
        ok = ok && collect_targets(&targets, space->root);
    }
    size_t inside = 0; /* of the targets: those that are in no space's tree, nor in one before them */
    for (size_t i = 0; ok && i < targets.count; i++) {
        struct mv_region *target = targets.regions[i];
        if (target->visit != machine->visit) {
            ok = collect_targets(&targets, target);
            targets.regions[inside++] = target;
        }
    }
    *ret = (struct forest){.trees = calloc(spaces + inside + 1, sizeof *ret->trees)};
    ok = ok && ret->trees;
    if (ok) {
        cds_list_for_each_entry (space, &machine->spaces, link) {
            add_tree(ret, space->name, space->root, space);
        }
        for (size_t i = 0; i < inside; i++) {
            add_tree(ret, targets.regions[i]->name, targets.regions[i], NULL);
        }
        qsort(ret->trees, ret->count, sizeof *ret->trees, compare_trees_to_sort);
    }
    mtree_regions_finish(&targets);
    return ok;
}

/* Whether an earlier space has the same tree, and was compared with one that has the same as the other. */
static bool is_repeated(const struct forest *forest, const struct named_tree *tree)
{
    for (const struct named_tree *t = forest->trees; tree->space && t < tree; t++) {
        if (t->root == tree->root && t->partner && t->partner->root == tree->partner->root) {
            return true;
        }
    }
    return false;
}

static void diff_trees(struct differ *differ, const struct named_tree *a, const struct named_tree *b)
{
    struct context heading = {.heading = a->space ? "address-space" : "memory-region", .name = a->name};
    diff_regions(differ, &heading, a->root, 0, b->root, 0, 1);
}

static void only_one_has(struct differ *differ, char mark, const struct named_tree *tree)
{
    mtree_out_add(&differ->out, "%c%s: %s\n", mark, tree->space ? "address-space" : "memory-region", tree->name);
    differ->count++;
    print_all(differ, mark, tree->root, 0, 1);
}

static void diff_pair(struct differ *differ, const struct forest *forest, const struct named_tree *tree)
{
    if (is_repeated(forest, tree)) {
        return;
    }
    diff_trees(differ, tree, tree->partner);
    if (tree->space) {
        diff_views(differ, tree->space, tree->partner->space);
    }
}

static void diff_forests(struct differ *differ, const struct forest *a, const struct forest *b)
{
    size_t i = 0, k = 0;
    while (i < a->count || k < b->count) {
        int order = i == a->count ? 1 : k == b->count ? -1 : compare_trees(&a->trees[i], &b->trees[k]);
        if (order < 0) {
            only_one_has(differ, '-', &a->trees[i]);
        } else if (order > 0) {
            only_one_has(differ, '+', &b->trees[k]);
        } else {
            a->trees[i].partner = &b->trees[k];
            diff_pair(differ, a, &a->trees[i]);
        }
        i += order <= 0;
        k += order >= 0;
    }
}

/* Two machines are locked in the order of their addresses, so that two comparisons do not wait for each other. */
static void lock_both(struct mv_machine *a, struct mv_machine *b)
{
    machine_lock(a < b ? a : b);
    machine_lock(a < b ? b : a);
}

int mv_mtree_diff(struct mv_machine *before, struct mv_machine *after, mv_print_fn *print, void *opaque,
                  size_t *ret_count, struct mv_error *err)
{
    struct differ differ = {0};
    struct forest a = {0}, b = {0};
    lock_both(before, after);
    if (forest_make(before, &a) && forest_make(after, &b)) {
        diff_forests(&differ, &a, &b);
    } else {
        differ.out.failed = true;
    }
    machine_unlock(before);
    machine_unlock(after);
    free(a.trees);
    free(b.trees);
    int rc = mtree_out_tell(&differ.out, print, opaque, err);
    if (rc == 0) {
        *ret_count = differ.count;
    }
    return rc;
}
