// SPDX-License-Identifier: MIT
/* Mapping: pointers to guest memory, and bounce buffers where there is none to be had. */
#include <errno.h>
#include <memvirt/access.h>
#include <stdlib.h>

#include "machine/bounce.h"
#include "machine/dirty.h"
#include "machine/space.h"

/* Direct memory at `address`: how much of it lies together, over sections that go on where the last one ends. */
static size_t reach(const struct mv_view *view, const struct section *s, uint64_t address, size_t length,
                    bool serves(const struct section *))
{
    uint64_t last = s->range.last;
    while (last - address < length - 1 && last != UINT64_MAX) {
        const struct section *next = view_find(view, last + 1);
        if (!next || !serves(next) || next->host_delta != s->host_delta || next->region != s->region) {
            break;
        }
        last = next->range.last;
    }
    return last - address < length - 1 ? (size_t)(last - address) + 1 : length;
}

static bool serves_reads(const struct section *s)
{
    return s->direct_read;
}

static bool serves_writes(const struct section *s)
{
    return s->direct_write;
}

static int map_bounce(struct mv_space *space, mv_gpa_t first, size_t length, unsigned rights, struct mv_map *ret)
{
    void *bytes = NULL;
    int rc = bounce_take(space->bounce, &length, &bytes);
    if (rc < 0) {
        return rc;
    }
    if (rights & MV_READ) {
        (void)mv_space_read(space, first, bytes, length, MV_ATTRS_NONE); /* what does not answer reads as 0 */
    }
    *ret = (struct mv_map){.bytes = bytes, .length = length, .space = space, .first = first, .rights = rights};
    return 0;
}

int mv_space_map(struct mv_space *space, mv_gpa_t first, size_t length, unsigned rights, struct mv_map *ret)
{
    bool (*serves)(const struct section *) = rights & MV_WRITE ? serves_writes : serves_reads;
    struct mv_map map = {.space = space, .first = first, .rights = rights};
    struct mv_range range;
    if (!range_of(first.raw, length, &range)) {
        return -EFAULT;
    }
    epoch_enter();
    const struct mv_view *view = epoch_load(space->flat->view);
    const struct section *s = view_find(view, first.raw);
    if (s && serves(s)) {
        map.bytes = section_host(s, first.raw);
        map.length = reach(view, s, first.raw, length, serves);
        map.region = mv_region_get(s->region);
    }
    epoch_exit();
    if (!s) {
        return -EFAULT;
    }
    if (!map.bytes) {
        return map_bounce(space, first, length, rights, ret);
    }
    *ret = map;
    return 0;
}

enum mv_result mv_space_unmap(struct mv_map *map, size_t accessed_bytes)
{
    enum mv_result result = MV_OK;
    if (accessed_bytes > map->length) {
        accessed_bytes = map->length;
    }
    if (map->region) {
        if (map->rights & MV_WRITE) {
            dirty_log_write(map->space->flat, map->region, map->bytes, accessed_bytes);
        }
        mv_region_put(map->region);
    } else if (map->bytes) {
        if ((map->rights & MV_WRITE) && accessed_bytes > 0) {
            result = mv_space_write(map->space, map->first, map->bytes, accessed_bytes, MV_ATTRS_NONE);
        }
        bounce_give_back(map->space->bounce, map->bytes, map->length);
    }
    *map = (struct mv_map){0};
    return result;
}

int mv_space_on_bounce_free(struct mv_space *space, void (*callback)(void *opaque), void *opaque)
{
    return bounce_wait(space->bounce, callback, opaque);
}

void mv_space_set_bounce_limit(struct mv_space *space, size_t limit_bytes)
{
    bounce_set_limit(space->bounce, limit_bytes);
}
