// SPDX-License-Identifier: MIT
/*
 * A region is drawn after everything that is on top of it, into the gaps that are left: what was drawn first wins.
 * So the tree is walked in the order in which a lookup would ask it: children by priority, then the region itself.
 * Only children that the clip touches are looked at (itree.h).
 *
 * Positions are 128-bit and signed: an alias whose offset is larger than its address puts its target's origin
 * below zero, of which only the clipped part can be seen.
 */
#include "machine/render.h"

#include "machine/block.h"

#include <errno.h>
#include <stdlib.h>

#include "base/itree.h"

__extension__ typedef __int128 wide;

/* Strokes are found by address while drawing, and come from chunks, so that they keep their place. */
struct stroke {
    struct itree_node node; /* its range */
    struct mv_region *region;
    uint64_t offset;
    struct rights rights;
};

#define CHUNK_STROKES 32

struct chunk {
    struct chunk *next;
    size_t used;
    struct stroke strokes[CHUNK_STROKES];
};

struct canvas {
    struct itree strokes;
    size_t count;
    struct chunk first_chunk; /* enough for a small edit: no allocation */
    struct chunk *chunks;     /* the one being filled first; the last is first_chunk */
    struct mv_region **stack; /* children waiting to be drawn, of all levels */
    size_t stack_count;
    size_t stack_capacity;
    unsigned depth;
};

static void canvas_init(struct canvas *canvas)
{
    canvas->strokes = (struct itree){0};
    canvas->count = 0;
    canvas->first_chunk.next = NULL;
    canvas->first_chunk.used = 0;
    canvas->chunks = &canvas->first_chunk;
    canvas->stack = NULL;
    canvas->stack_count = canvas->stack_capacity = 0;
    canvas->depth = 0;
}

static void canvas_finish(struct canvas *canvas)
{
    while (canvas->chunks != &canvas->first_chunk) {
        struct chunk *next = canvas->chunks->next;
        free(canvas->chunks);
        canvas->chunks = next;
    }
    free(canvas->stack);
}

static struct stroke *canvas_stroke(struct canvas *canvas)
{
    if (canvas->chunks->used == CHUNK_STROKES) {
        struct chunk *chunk = malloc(sizeof *chunk);
        if (!chunk) {
            return NULL;
        }
        chunk->used = 0;
        chunk->next = canvas->chunks;
        canvas->chunks = chunk;
    }
    return &canvas->chunks->strokes[canvas->chunks->used++];
}

/* --- drawing ----------------------------------------------------------------------------------- */

static int draw_gap(struct canvas *canvas, struct mv_region *region, struct mv_range gap, wide base,
                    struct rights rights)
{
    struct stroke *stroke = canvas_stroke(canvas);
    if (!stroke) {
        return -ENOMEM;
    }
    stroke->node.first = gap.first;
    stroke->node.last = gap.last;
    stroke->region = region;
    stroke->offset = (uint64_t)((wide)gap.first - base);
    stroke->rights = rights;
    itree_insert(&canvas->strokes, &stroke->node);
    canvas->count++;
    return 0;
}

/* Draw a region that answers into what is still free of `clip`. */
static int draw(struct canvas *canvas, struct mv_region *region, struct mv_range clip, wide base,
                struct rights rights)
{
    uint64_t first = clip.first;
    struct itree_node *in_the_way = itree_first_overlap(&canvas->strokes, clip.first, clip.last);
    while (in_the_way) {
        /* Gaps go in before it: the one after it in order is found first. */
        struct itree_node *next = itree_next_overlap(in_the_way, clip.first, clip.last);
        if (in_the_way->first > first) {
            int rc = draw_gap(canvas, region, (struct mv_range){first, in_the_way->first - 1}, base, rights);
            if (rc < 0) {
                return rc;
            }
        }
        if (in_the_way->last >= clip.last) {
            return 0;
        }
        first = in_the_way->last + 1;
        in_the_way = next;
    }
    return draw_gap(canvas, region, (struct mv_range){first, clip.last}, base, rights);
}

/* What of `clip` a region of this size at `base` can show. */
static bool clip_to(struct mv_range clip, wide base, uint64_t size_bytes, struct mv_range *ret)
{
    wide size = size_bytes == MV_SIZE_2_64 ? (wide)1 << 64 : (wide)size_bytes;
    wide first = base > (wide)clip.first ? base : (wide)clip.first;
    wide last = base + size - 1 < (wide)clip.last ? base + size - 1 : (wide)clip.last;
    if (first > last) {
        return false;
    }
    *ret = (struct mv_range){(uint64_t)first, (uint64_t)last};
    return true;
}

/* --- children, in the order in which they are asked -------------------------------------------- */

static int push(struct canvas *canvas, struct mv_region *region)
{
    if (canvas->stack_count == canvas->stack_capacity) {
        size_t capacity = canvas->stack_capacity ? canvas->stack_capacity * 2 : 32;
        struct mv_region **stack = realloc(canvas->stack, capacity * sizeof(struct mv_region *));
        if (!stack) {
            return -ENOMEM;
        }
        canvas->stack = stack;
        canvas->stack_capacity = capacity;
    }
    canvas->stack[canvas->stack_count++] = region;
    return 0;
}

/* Higher priority first; of equals the one added last. */
static int compare_rank(const void *a, const void *b)
{
    const struct region_state *x = &(*(struct mv_region *const *)a)->state;
    const struct region_state *y = &(*(struct mv_region *const *)b)->state;
    if (x->priority != y->priority) {
        return x->priority > y->priority ? -1 : 1;
    }
    return x->order > y->order ? -1 : 1;
}

/*
 * Push the enabled children that touch [clip], which is in the container's own addresses, in an order in which
 * they can be drawn. If no two of them overlap, any order will do, and that of addresses is there already.
 */
static int push_children(struct canvas *canvas, struct mv_region *container, struct mv_range clip)
{
    size_t from = canvas->stack_count;
    bool overlap = false;
    uint64_t highest = 0;
    struct itree_node *node = itree_first_overlap(&container->children_by_address, clip.first, clip.last);
    for (; node; node = itree_next_overlap(node, clip.first, clip.last)) {
        struct mv_region *child = region_of_node(node);
        if (!child->state.enabled) {
            continue;
        }
        overlap = overlap || (canvas->stack_count > from && node->first <= highest);
        highest = node->last > highest ? node->last : highest;
        int rc = push(canvas, child);
        if (rc < 0) {
            return rc;
        }
    }
    if (overlap) {
        qsort(&canvas->stack[from], canvas->stack_count - from, sizeof *canvas->stack, compare_rank);
    }
    return 0;
}

static int visit(struct canvas *canvas, struct mv_region *region, wide base, struct mv_range clip,
                 struct rights rights);

static int visit_children(struct canvas *canvas, struct mv_region *region, wide base, struct mv_range clip,
                          struct rights rights)
{
    struct mv_range inside = {(uint64_t)((wide)clip.first - base), (uint64_t)((wide)clip.last - base)};
    size_t from = canvas->stack_count;
    int rc = push_children(canvas, region, inside);
    size_t to = canvas->stack_count;
    for (size_t i = from; rc == 0 && i < to; i++) {
        struct mv_region *child = canvas->stack[i];
        rc = visit(canvas, child, base + (wide)child->state.address, clip, rights);
    }
    canvas->stack_count = from;
    return rc;
}

/* `base` is where the region's offset 0 would be. */
/* Memory of a block that the host itself cannot write: a store to it would end the process. */
static bool is_of_readonly_block(const struct mv_region *region)
{
    return (region->kind == MV_REGION_RAM || region->kind == MV_REGION_RAM_DEVICE) &&
           region_block_is_readonly(region);
}

static int visit(struct canvas *canvas, struct mv_region *region, wide base, struct mv_range clip,
                 struct rights rights)
{
    const struct region_state *state = &region->state;
    if (!state->enabled || !clip_to(clip, base, state->size_bytes, &clip)) {
        return 0;
    }
    if (canvas->depth == RENDER_DEPTH_MAX) {
        return -ELOOP;
    }
    canvas->depth++;
    rights.readonly =
        rights.readonly || state->readonly || region->kind == MV_REGION_ROM || is_of_readonly_block(region);
    rights.nonvolatile = rights.nonvolatile || state->nonvolatile;
    int rc = 0;
    if (region->kind == MV_REGION_ALIAS) {
        rc = visit(canvas, region->alias.target, base - (wide)state->target_offset, clip, rights);
    } else {
        rc = visit_children(canvas, region, base, clip, rights);
        if (rc == 0 && region->kind != MV_REGION_CONTAINER) {
            rc = draw(canvas, region, clip, base, rights);
        }
    }
    canvas->depth--;
    return rc;
}

/* --- the picture ------------------------------------------------------------------------------- */

static bool continues(const struct drawn *a, const struct stroke *b)
{
    return a->range.last + 1 == b->node.first && a->region == b->region && rights_equal(a->rights, b->rights) &&
           a->offset + (a->range.last - a->range.first) + 1 == b->offset;
}

/* In order, with neighbours joined: such as the pieces of one RAM region that several aliases show side by side.
 */
static int finish_picture(const struct canvas *canvas, struct picture *ret)
{
    *ret = (struct picture){0};
    if (canvas->count == 0) {
        return 0;
    }
    ret->items = malloc(canvas->count * sizeof *ret->items);
    if (!ret->items) {
        return -ENOMEM;
    }
    for (struct itree_node *node = itree_first(&canvas->strokes); node; node = itree_next(node)) {
        const struct stroke *stroke = caa_container_of(node, struct stroke, node);
        if (ret->count > 0 && continues(&ret->items[ret->count - 1], stroke)) {
            ret->items[ret->count - 1].range.last = node->last;
        } else {
            ret->items[ret->count++] = (struct drawn){
                .range = {node->first, node->last},
                .region = stroke->region,
                .offset = stroke->offset,
                .rights = stroke->rights,
            };
        }
    }
    return 0;
}

int render(struct mv_region *root, struct mv_range clip, struct picture *ret)
{
    struct canvas canvas;
    canvas_init(&canvas);
    int rc = visit(&canvas, root, 0, clip, (struct rights){false, false});
    if (rc == 0) {
        rc = finish_picture(&canvas, ret);
    }
    canvas_finish(&canvas);
    return rc;
}
