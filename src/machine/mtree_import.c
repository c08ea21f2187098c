// SPDX-License-Identifier: MIT
/*
 * A dump made into a machine: one region for each node, built from the bottom up, so that at no time an edit has
 * much above it that it could change; then the spaces; all in one transaction.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "machine/machine.h"
#include "machine/mtree.h"
#include "machine/mtree_resolve.h"

struct mv_mtree {
    struct mv_machine *machine;
    struct mv_space **spaces;
    size_t space_count;
    struct mtree_regions paragraphs; /* the dump's memory-region: ones in its order, each with a reference */
    struct mtree_regions held;       /* what nothing else holds, the same */
    unsigned flags;
    struct mtree_out notes;
    struct seen_slot *slots; /* sorted */
    size_t slot_count;
    struct mv_mtree_accel accel; /* for the slots */
};

/* A range that the text's flat views have in a slot. */
struct seen_slot {
    const struct mv_space *space;
    struct mv_range range;
};

struct builder {
    struct mv_mtree *mtree;
    struct mtree_dump *dump;
    struct mv_error *err;
};

/* --- one region -------------------------------------------------------------------------------------------- */

static enum mv_region_kind kind_of(const struct mtree_node *node)
{
    static const enum mv_region_kind kinds[] = {
        [MTREE_RAM] = MV_REGION_RAM,
        [MTREE_ROM] = MV_REGION_ROM,
        [MTREE_ROM_DEVICE] = MV_REGION_ROM_DEVICE,
        [MTREE_RAM_DEVICE] = MV_REGION_RAM_DEVICE,
    };
    if (node->is.is_alias) {
        return MV_REGION_ALIAS;
    }
    if (node->is.type == MTREE_IO) {
        return node->answers ? MV_REGION_MMIO : MV_REGION_CONTAINER;
    }
    return kinds[node->is.type];
}

/*
 * An end is printed as if a region of no byte had one. A window of an alias on a bridge that is closed is such;
 * one byte of what is not itself one byte is no window that anybody opens.
 */
static uint64_t size_of(const struct mtree_dump *dump, const struct mtree_node *node)
{
    uint64_t span = mtree_node_span(node);
    if (span == UINT64_MAX) {
        return MV_SIZE_2_64;
    }
    if (span == 0 && node->is.is_alias && mtree_node_span(&dump->nodes[node->shows]) > 0) {
        return 0;
    }
    return span + 1;
}

/* The caller frees both. */
static bool copy_texts(const struct mtree_node *node, char **ret_name, char **ret_owner)
{
    struct slice owner = node->is.owner;
    *ret_name = strndup(node->is.name.start, node->is.name.length);
    *ret_owner = NULL;
    if (owner.start) {
        size_t size = owner.length + sizeof "parent:";
        *ret_owner = malloc(size);
        if (*ret_owner) {
            char *end = stpcpy(*ret_owner, node->is.is_parent ? "parent:" : "");
            memcpy(end, owner.start, owner.length);
            end[owner.length] = '\0';
        }
    }
    return *ret_name && (!owner.start || *ret_owner);
}

static int create(const struct builder *builder, struct mtree_node *node)
{
    char *name, *owner;
    int rc;
    if (copy_texts(node, &name, &owner)) {
        const struct mv_region_options options = {
            .name = name,
            .kind = kind_of(node),
            .size_bytes = size_of(builder->dump, node),
            .target = node->is.is_alias ? builder->dump->nodes[node->shows].region : NULL,
            .target_offset_bytes = node->is.is_alias ? node->is.target_first : 0,
            .nonvolatile = node->is.nonvolatile,
            .readonly = node->readonly,
            .owner = owner,
        };
        rc = mv_region_create(builder->mtree->machine, &options, &node->region, builder->err);
    } else {
        rc = mtree_dump_no_memory(builder->err);
    }
    free(name);
    free(owner);
    if (rc == 0 && !node->is.enabled) {
        rc = mv_region_set_enabled(node->region, false, builder->err);
    }
    return rc;
}

/* --- its children ------------------------------------------------------------------------------------------ */

/* In which order siblings are added: the last one added is on top of those with its priority. */
struct rank {
    uint64_t span; /* of the region, or of a smaller one that is below it at the same address */
    size_t position;
    uint32_t node;
};

static int compare_ranks(const void *a, const void *b)
{
    const struct rank *x = a, *y = b;
    if (x->span != y->span) {
        return x->span > y->span ? -1 : 1;
    }
    return x->position > y->position ? -1 : x->position < y->position;
}

/*
 * Those at one address are printed topmost first. Of others the smaller one is taken to be on top: below, nothing
 * of it might be seen, and nobody makes such regions.
 */
static void rank_children(const struct mtree_dump *dump, struct rank *ranks, size_t count)
{
    for (size_t i = count; i-- > 0;) {
        const struct mtree_node *node = &dump->nodes[ranks[i].node];
        ranks[i].position = i;
        ranks[i].span = mtree_node_span(node);
        if (i + 1 < count) {
            const struct mtree_node *below = &dump->nodes[ranks[i + 1].node];
            if (below->offset == node->offset && below->is.priority == node->is.priority &&
                ranks[i + 1].span < ranks[i].span) {
                ranks[i].span = ranks[i + 1].span;
            }
        }
    }
    qsort(ranks, count, sizeof *ranks, compare_ranks);
}

static int build(const struct builder *builder, uint32_t number);

static int add_children(const struct builder *builder, uint32_t parent)
{
    struct mtree_node *nodes = builder->dump->nodes;
    size_t count = 0, i = 0;
    int rc = 0;
    for (uint32_t n = nodes[parent].first_child; n != MTREE_NONE; n = nodes[n].next) {
        count++;
    }
    struct rank *ranks = calloc(count ? count : 1, sizeof *ranks);
    if (!ranks) {
        return mtree_dump_no_memory(builder->err);
    }
    for (uint32_t n = nodes[parent].first_child; n != MTREE_NONE; n = nodes[n].next) {
        ranks[i++].node = n;
    }
    rank_children(builder->dump, ranks, count);
    for (i = 0; rc == 0 && i < count; i++) {
        const struct mtree_node *child = &nodes[ranks[i].node];
        rc = build(builder, ranks[i].node);
        if (rc == 0) {
            rc = mv_region_add(nodes[parent].region, child->offset, child->region, child->is.priority,
                               builder->err);
        }
    }
    free(ranks);
    return rc;
}

/* What it shows or has in it is built first. The survey said that this ends, and is not too deep. */
static int build(const struct builder *builder, uint32_t number)
{
    struct mtree_node *node = &builder->dump->nodes[number];
    if (node->region) {
        return 0;
    }
    int rc = node->is.is_alias ? build(builder, node->shows) : 0;
    if (rc == 0) {
        rc = create(builder, node);
    }
    return rc == 0 ? add_children(builder, number) : rc;
}

/* --- all of it --------------------------------------------------------------------------------------------- */

/* Let the dump keep a region: takes the caller's reference, in any case. */
static int hold(const struct builder *builder, struct mtree_regions *list, struct mv_region *region)
{
    if (mtree_regions_add(list, region) < 0) {
        mv_region_put(region);
        return mtree_dump_no_memory(builder->err);
    }
    return 0;
}

/* A root that is at an address of its own is in a container that is not printed: it has one that nobody sees. */
static int place_root(const struct builder *builder, const struct mtree_node *root)
{
    const struct mv_region_options options = {
        .name = "(not printed)",
        .kind = MV_REGION_CONTAINER,
        .size_bytes = MV_SIZE_2_64,
    };
    struct mv_region *container;
    if (root->offset == 0 && root->is.priority == 0) {
        return 0;
    }
    int rc = mv_region_create(builder->mtree->machine, &options, &container, builder->err);
    if (rc == 0) {
        rc = mv_region_add(container, root->offset, root->region, root->is.priority, builder->err);
        int held = hold(builder, &builder->mtree->held, container);
        rc = rc == 0 ? held : rc;
    }
    return rc;
}

static int build_tree(const struct builder *builder, const struct mtree_tree *tree)
{
    int rc = build(builder, tree->root);
    struct mtree_node *root = &builder->dump->nodes[tree->root];
    if (rc == 0) {
        rc = place_root(builder, root);
    }
    struct mv_mtree *mtree = builder->mtree;
    for (uint32_t i = 0; rc == 0 && i < tree->name_count; i++) {
        struct slice name = builder->dump->space_names[tree->first_name + i];
        char *copy = strndup(name.start, name.length);
        rc = copy ? mv_space_create(mtree->machine, copy, root->region, &mtree->spaces[mtree->space_count],
                                    builder->err)
                  : mtree_dump_no_memory(builder->err);
        mtree->space_count += rc == 0;
        free(copy);
    }
    return rc;
}

static int build_all(const struct builder *builder)
{
    struct mv_machine *machine = builder->mtree->machine;
    struct mtree_dump *dump = builder->dump;
    int rc = mv_machine_begin(machine, builder->err);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; rc == 0 && i < dump->tree_count; i++) {
        if (dump->trees[i].same == MTREE_NONE) {
            rc = build_tree(builder, &dump->trees[i]);
        }
    }
    for (size_t i = 0; rc == 0 && i < dump->tree_count; i++) {
        if (!dump->trees[i].is_space) {
            struct mv_region *region = dump->nodes[mtree_node_of_tree(&dump->trees[i])].region;
            rc = hold(builder, &builder->mtree->paragraphs, mv_region_get(region));
        }
    }
    for (size_t i = 0; i < dump->node_count; i++) {
        mv_region_put(dump->nodes[i].region);
    }
    int commit_rc = mv_machine_commit(machine, rc < 0 ? NULL : builder->err);
    return rc < 0 ? rc : commit_rc;
}

/* --- what was in slots ------------------------------------------------------------------------------------- */

static int compare_seen(const void *a, const void *b)
{
    const struct seen_slot *x = a, *y = b;
    if (x->space != y->space) {
        return (uintptr_t)x->space < (uintptr_t)y->space ? -1 : 1;
    }
    if (x->range.first != y->range.first) {
        return x->range.first < y->range.first ? -1 : 1;
    }
    return x->range.last < y->range.last ? -1 : x->range.last > y->range.last;
}

static bool was_in_slot(void *opaque, struct mv_space *space, struct mv_range range)
{
    const struct mv_mtree *mtree = opaque;
    const struct seen_slot key = {space, range};
    return mtree->slot_count > 0 &&
           bsearch(&key, mtree->slots, mtree->slot_count, sizeof key, compare_seen) != NULL;
}

struct called {
    struct slice name;
    const struct mv_space *space;
};

static int compare_called(const void *a, const void *b)
{
    const struct called *x = a, *y = b;
    size_t common = x->name.length < y->name.length ? x->name.length : y->name.length;
    int order = memcmp(x->name.start, y->name.start, common);
    if (order != 0 || x->name.length != y->name.length) {
        return order != 0 ? order : x->name.length < y->name.length ? -1 : 1;
    }
    return 0;
}

/* The spaces by name. The caller frees them. */
static struct called *sorted_spaces(const struct builder *builder)
{
    const struct mv_mtree *mtree = builder->mtree;
    struct called *all = calloc(mtree->space_count ? mtree->space_count : 1, sizeof *all);
    for (size_t i = 0; all && i < mtree->space_count; i++) {
        all[i] = (struct called){.name = builder->dump->space_names[i], .space = mtree->spaces[i]};
    }
    if (all && mtree->space_count > 1) {
        qsort(all, mtree->space_count, sizeof *all, compare_called);
    }
    return all;
}

static int keep_slots(const struct builder *builder)
{
    const struct mtree_dump *dump = builder->dump;
    struct mv_mtree *mtree = builder->mtree;
    if (dump->slot_count == 0 || mtree->space_count == 0) {
        return 0;
    }
    struct called *spaces = sorted_spaces(builder);
    mtree->slots = calloc(dump->slot_count, sizeof *mtree->slots);
    if (!spaces || !mtree->slots) {
        free(spaces);
        return mtree_dump_no_memory(builder->err);
    }
    for (size_t i = 0; i < dump->slot_count; i++) {
        const struct called key = {.name = dump->slots[i].space};
        const struct called *found = bsearch(&key, spaces, mtree->space_count, sizeof key, compare_called);
        if (found) {
            mtree->slots[mtree->slot_count++] = (struct seen_slot){found->space, dump->slots[i].range};
        }
    }
    free(spaces);
    if (mtree->slot_count > 1) {
        qsort(mtree->slots, mtree->slot_count, sizeof *mtree->slots, compare_seen);
    }
    mtree->accel = (struct mv_mtree_accel){MTREE_ACCEL_WORD, was_in_slot, mtree};
    return 0;
}

static int import(struct mv_mtree *mtree, struct mtree_dump *dump, struct slice text, struct mv_error *err)
{
    const struct builder builder = {.mtree = mtree, .dump = dump, .err = err};
    int rc = mtree_dump_parse(dump, text, err);
    if (rc == 0) {
        rc = mtree_resolve(dump, &mtree->notes, err);
    }
    if (rc == 0) {
        mtree->spaces = calloc(dump->space_name_count ? dump->space_name_count : 1, sizeof(struct mv_space *));
        rc = mtree->spaces ? mv_machine_create(&mtree->machine, err) : mtree_dump_no_memory(err);
    }
    if (rc == 0) {
        mtree->machine->hollow = true;
        mtree->machine->paragraphs = &mtree->paragraphs;
        rc = build_all(&builder);
    }
    if (rc == 0) {
        rc = keep_slots(&builder);
    }
    mtree->flags = (dump->has_owner ? MV_MTREE_OWNER : 0u) | (dump->has_disabled ? MV_MTREE_DISABLED : 0u);
    return rc;
}

/* --- the public face --------------------------------------------------------------------------------------- */

int mv_mtree_import(const char *text, size_t length, struct mv_mtree **ret, struct mv_error *err)
{
    struct mv_mtree *mtree = calloc(1, sizeof *mtree);
    struct mtree_dump dump = {0};
    if (!mtree) {
        return mtree_dump_no_memory(err);
    }
    int rc = import(mtree, &dump, (struct slice){text, length}, err);
    mtree_dump_finish(&dump);
    if (rc < 0) {
        mv_mtree_destroy(mtree);
        return rc;
    }
    *ret = mtree;
    return 0;
}

static void release(struct mtree_regions *list)
{
    for (size_t i = 0; i < list->count; i++) {
        mv_region_put(list->regions[i]);
    }
    mtree_regions_finish(list);
}

void mv_mtree_destroy(struct mv_mtree *mtree)
{
    if (!mtree) {
        return;
    }
    for (size_t i = 0; i < mtree->space_count; i++) {
        mv_space_destroy(mtree->spaces[i]);
    }
    release(&mtree->paragraphs);
    release(&mtree->held);
    mtree_out_finish(&mtree->notes);
    mv_machine_destroy(mtree->machine);
    free(mtree->slots);
    free(mtree->spaces);
    free(mtree);
}

struct mv_machine *mv_mtree_machine(const struct mv_mtree *mtree)
{
    return mtree->machine;
}

const struct mv_mtree_accel *mv_mtree_accel(const struct mv_mtree *mtree)
{
    return mtree->slot_count > 0 ? &mtree->accel : NULL;
}

unsigned mv_mtree_flags(const struct mv_mtree *mtree)
{
    return mtree->flags;
}

void mv_mtree_notes(const struct mv_mtree *mtree, mv_print_fn *print, void *opaque)
{
    struct mtree_out copy = {0};
    if (mtree->notes.length > 0) {
        mtree_out_add(&copy, "%s", mtree->notes.text);
    }
    (void)mtree_out_tell(&copy, print, opaque, NULL);
}
