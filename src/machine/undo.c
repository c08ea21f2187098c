// SPDX-License-Identifier: MIT
#include "machine/undo.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "machine/block.h"
#include "machine/dirty.h"
#include "machine/watch.h"

struct undo_entry {
    struct mv_region *region;   /* a reference */
    struct region_state before; /* its container is a reference too, if any */
};

struct undo_log {
    struct undo_entry *entries;
    size_t count;
    size_t capacity;
};

struct undo_log *undo_create(void)
{
    return calloc(1, sizeof(struct undo_log));
}

void undo_destroy(struct undo_log *log)
{
    if (log) {
        assert(log->count == 0);
        free(log->entries);
        free(log);
    }
}

int undo_record(struct undo_log *log, struct mv_region *region)
{
    if (log->count == log->capacity) {
        size_t capacity = log->capacity ? log->capacity * 2 : 16;
        struct undo_entry *entries = realloc(log->entries, capacity * sizeof *entries);
        if (!entries) {
            return -ENOMEM;
        }
        log->entries = entries;
        log->capacity = capacity;
    }
    log->entries[log->count++] = (struct undo_entry){
        .region = mv_region_get(region),
        .before = region->state,
    };
    watch_get(region->state.watch);
    if (region->state.container) {
        mv_region_get(region->state.container);
    }
    return 0;
}

static void entry_undo(const struct undo_entry *entry)
{
    struct mv_region *region = entry->region;
    struct mv_region *now = region->state.container;
    region_unlink(region);
    watch_put(region->state.watch);
    region->state = entry->before;
    watch_get(region->state.watch);
    region_link(region);
    if (region->follows_block) {
        block_size_back(region->ram.block, region->state.size_bytes);
    }
    if (region->state.container && !now) {
        mv_region_get(region); /* the container's */
    } else if (now && !region->state.container) {
        mv_region_put(region); /* not the last: the entry has one */
    }
}

void undo_all(struct undo_log *log)
{
    for (size_t i = log->count; i > 0; i--) {
        entry_undo(&log->entries[i - 1]);
    }
}

void undo_clear(struct undo_log *log)
{
    for (size_t i = 0; i < log->count; i++) {
        dirty_settle(log->entries[i].region);
        watch_put(log->entries[i].before.watch);
        region_put_deferred(log->entries[i].region);
        if (log->entries[i].before.container) {
            region_put_deferred(log->entries[i].before.container);
        }
    }
    log->count = 0;
}
