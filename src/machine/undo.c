// SPDX-License-Identifier: MIT
#include "machine/undo.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct undo_entry {
    struct mv_region *region;   /* a reference */
    struct region_state before; /* its container is a reference too, if any */
    struct mv_region *next;     /* the sibling that followed it, or NULL; good whenever this entry is undone */
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

static struct mv_region *next_sibling(const struct mv_region *region)
{
    if (!region->state.container || region->sibling.next == &region->state.container->children) {
        return NULL;
    }
    return cds_list_entry(region->sibling.next, struct mv_region, sibling);
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
        .next = next_sibling(region),
    };
    if (region->state.container) {
        mv_region_get(region->state.container);
    }
    return 0;
}

static void entry_undo(const struct undo_entry *entry)
{
    struct mv_region *region = entry->region;
    struct mv_region *now = region->state.container;
    struct mv_region *then = entry->before.container;
    if (now) {
        cds_list_del(&region->sibling);
    }
    region->state = entry->before;
    if (then) {
        /* Before `next`, or at the end. */
        cds_list_add_tail(&region->sibling, entry->next ? &entry->next->sibling : &then->children);
        mv_region_get(region);
    }
    if (now) {
        mv_region_put(region);
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
        region_put_deferred(log->entries[i].region);
        if (log->entries[i].before.container) {
            region_put_deferred(log->entries[i].before.container);
        }
    }
    log->count = 0;
}
