// SPDX-License-Identifier: MIT
/*
 * A region is drawn after everything that is on top of it, into the gaps that are left: what was drawn first wins.
 * So the tree is walked in the order in which a lookup would ask it: children by priority, then the region itself.
 *
 * Positions are 128-bit and signed: an alias whose offset is larger than its address puts its target's origin
 * below zero, of which only the clipped part can be seen.
 */
#include "machine/render.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef __int128 wide;

/* The sections drawn so far, sorted. */
struct canvas {
    struct section *sections;
    size_t count;
    size_t capacity;
    unsigned depth;
};

static int canvas_insert(struct canvas *canvas, size_t at, struct section section)
{
    if (canvas->count == canvas->capacity) {
        size_t capacity = canvas->capacity ? canvas->capacity * 2 : 16;
        struct section *sections = realloc(canvas->sections, capacity * sizeof *sections);
        if (!sections) {
            return -ENOMEM;
        }
        canvas->sections = sections;
        canvas->capacity = capacity;
    }
    memmove(&canvas->sections[at + 1], &canvas->sections[at], (canvas->count - at) * sizeof section);
    canvas->sections[at] = section;
    canvas->count++;
    return 0;
}

/* The first section that ends at `address` or after it. */
static size_t canvas_index(const struct canvas *canvas, uint64_t address)
{
    size_t low = 0;
    size_t high = canvas->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (canvas->sections[middle].range.last < address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct section make_section(struct mv_region *region, struct mv_range range, wide base, bool readonly)
{
    uint64_t offset = (uint64_t)((wide)range.first - base);
    return (struct section){
        .range = range,
        .region = region,
        .offset = offset,
        .host = region_is_memory(region) ? region_host(region, offset) : NULL,
        .readonly = readonly,
    };
}

/* Draw a region that answers into what is still free of `clip`. */
static int draw(struct canvas *canvas, struct mv_region *region, struct mv_range clip, wide base, bool readonly)
{
    uint64_t first = clip.first;
    size_t i = canvas_index(canvas, first);
    for (;;) {
        bool blocked = i < canvas->count && canvas->sections[i].range.first <= clip.last;
        if (!blocked || canvas->sections[i].range.first > first) {
            uint64_t last = blocked ? canvas->sections[i].range.first - 1 : clip.last;
            struct mv_range gap = {first, last};
            int rc = canvas_insert(canvas, i, make_section(region, gap, base, readonly));
            if (rc < 0) {
                return rc;
            }
            i++;
        }
        if (!blocked || canvas->sections[i].range.last >= clip.last) {
            return 0;
        }
        first = canvas->sections[i].range.last + 1;
        i++;
    }
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

/* `base` is where the region's offset 0 would be in the space. */
static int visit(struct canvas *canvas, struct mv_region *region, wide base, struct mv_range clip, bool readonly)
{
    const struct region_state *state = &region->state;
    if (!state->enabled || !clip_to(clip, base, state->size_bytes, &clip)) {
        return 0;
    }
    if (canvas->depth == RENDER_DEPTH_MAX) {
        return -ELOOP;
    }
    canvas->depth++;
    readonly = readonly || state->readonly || region->kind == MV_REGION_ROM;
    int rc = 0;
    if (region->kind == MV_REGION_ALIAS) {
        rc = visit(canvas, region->alias.target, base - (wide)state->target_offset, clip, readonly);
    } else {
        struct mv_region *child;
        cds_list_for_each_entry (child, &region->children, sibling) {
            rc = visit(canvas, child, base + (wide)child->state.address, clip, readonly);
            if (rc < 0) {
                break;
            }
        }
        if (rc == 0 && region->kind != MV_REGION_CONTAINER) {
            rc = draw(canvas, region, clip, base, readonly);
        }
    }
    canvas->depth--;
    return rc;
}

/* Join neighbours, such as the pieces of one RAM region that several aliases show side by side. */
static void simplify(struct canvas *canvas)
{
    size_t kept = 0;
    for (size_t i = 0; i < canvas->count; i++) {
        if (kept > 0 && section_continues(&canvas->sections[kept - 1], &canvas->sections[i])) {
            canvas->sections[kept - 1].range.last = canvas->sections[i].range.last;
        } else {
            canvas->sections[kept++] = canvas->sections[i];
        }
    }
    canvas->count = kept;
}

int render(struct mv_region *root, struct mv_view **ret)
{
    struct canvas canvas = {0};
    int rc = root ? visit(&canvas, root, 0, RANGE_ALL, false) : 0;
    struct mv_view *view = NULL;
    if (rc == 0) {
        simplify(&canvas);
        view = view_create(canvas.count);
        rc = view ? 0 : -ENOMEM;
    }
    if (rc == 0) {
        for (size_t i = 0; i < canvas.count; i++) {
            view->sections[i] = canvas.sections[i];
            mv_region_get(canvas.sections[i].region);
        }
        assert(view_check(view));
        *ret = view;
    }
    free(canvas.sections);
    return rc;
}
