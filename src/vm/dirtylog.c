// SPDX-License-Identifier: MIT
#include "vm/dirtylog.h"

#include <errno.h>
#include <stdlib.h>

#include "base/range.h"
#include "machine/dirty.h"

#define PAGE ((uint64_t)MV_DIRTY_PAGE_BYTES)

static uint64_t page_count(const struct slot *slot)
{
    return slot->is.size_bytes / PAGE;
}

static uint64_t word_count(const struct slot *slot)
{
    return (page_count(slot) + 63) / 64;
}

int dirtylog_follow_flags(const struct slot_port *port, struct slot *slot)
{
    if (!slot_is_logged(slot) || !port->get_dirty_log || port->harvest_dirty_log) {
        free(slot->log);
        slot->log = NULL;
    } else if (!slot->log) {
        slot->log = calloc(word_count(slot), sizeof *slot->log);
        return slot->log ? 0 : -ENOMEM;
    }
    return 0;
}

/* The block's page that is the slot's first. */
static uint64_t first_in_block(const struct slot *slot)
{
    return (slot->region->ram.offset + slot->offset) / PAGE;
}

void dirtylog_mark_all(const struct slot *slot)
{
    uint64_t first = first_in_block(slot);
    dirty_mark_pages(slot->region->ram.block, (struct dirty_pages){first, first + page_count(slot) - 1},
                     mv_region_log_mask(slot->region));
}

void dirtylog_mark(const struct slot *slot, uint64_t first, uint64_t bits)
{
    uint64_t rest = first < page_count(slot) ? page_count(slot) - first : 0;
    dirty_mark_words(slot->region->ram.block, first_in_block(slot) + first, &bits, rest < 64 ? rest : 64,
                     mv_region_log_mask(slot->region));
}

static void mark_words(void *opaque, uint64_t first, const uint64_t *words, uint64_t npages)
{
    const struct slot *slot = opaque;
    dirty_mark_words(slot->region->ram.block, first_in_block(slot) + first, words, npages,
                     mv_region_log_mask(slot->region));
}

void dirtylog_fetch(const struct slot_port *port, struct slot *slot)
{
    if (!port->get_dirty_log) {
        return;
    }
    if (port->harvest_dirty_log) {
        if (port->harvest_dirty_log(port->opaque, slot->is.id, mark_words, slot) < 0) {
            dirtylog_mark_all(slot);
        }
        return;
    }
    struct kvm_dirty_log log = {.slot = slot->is.id, .dirty_bitmap = slot->log};
    if (port->get_dirty_log(port->opaque, &log) < 0) {
        dirtylog_mark_all(slot);
        return;
    }
    mark_words(slot, 0, slot->log, page_count(slot));
}

/* Words that have pages [first, last], both cut to the pages that were fetched in them; false when there is none.
 */
static bool narrow(const struct slot *slot, uint64_t *first, uint64_t *last)
{
    uint64_t i = *first / 64, end = *last / 64;
    while (i <= end && slot->log[i] == 0) {
        i++;
    }
    while (end > i && slot->log[end] == 0) {
        end--;
    }
    if (i > end) {
        return false;
    }
    *first = *first > i * 64 ? *first : i * 64;
    *last = *last < end * 64 + 63 ? *last : end * 64 + 63;
    return true;
}

/* The bits of word i that are pages of [first, last] and were fetched. */
static uint64_t wanted(const struct slot *slot, uint64_t i, uint64_t first, uint64_t last)
{
    uint64_t bits = slot->log[i];
    if (i == first / 64) {
        bits &= UINT64_MAX << first % 64;
    }
    if (i == last / 64) {
        bits &= UINT64_MAX >> (63 - last % 64);
    }
    return bits;
}

/* The kernel takes groups of 64 pages; the last one may be cut by the slot's end. */
static void clear_pages(const struct slot_port *port, struct slot *slot, uint64_t first, uint64_t last)
{
    if (!narrow(slot, &first, &last)) {
        return;
    }
    uint64_t base = first / 64;
    uint64_t count = last / 64 - base + 1;
    uint64_t *words = malloc(count * sizeof *words);
    uint64_t any = 0;
    if (!words) {
        return; /* what is not cleared is reported once more */
    }
    for (uint64_t i = 0; i < count; i++) {
        words[i] = wanted(slot, base + i, first, last);
        any |= words[i];
    }
    uint64_t end = (base + count) * 64;
    struct kvm_clear_dirty_log log = {
        .slot = slot->is.id,
        .num_pages = (uint32_t)((end < page_count(slot) ? end : page_count(slot)) - base * 64),
        .first_page = base * 64,
        .dirty_bitmap = words,
    };
    if (any != 0 && port->clear_dirty_log(port->opaque, &log) == 0) {
        for (uint64_t i = 0; i < count; i++) {
            slot->log[base + i] &= ~words[i];
        }
    }
    free(words);
}

void dirtylog_clear(const struct slot_port *port, struct slot *slot, struct mv_range range)
{
    struct mv_range all = {slot->is.gpa.raw, slot->is.gpa.raw + (slot->is.size_bytes - 1)};
    if (port->clear_dirty_log && range_intersect(range, all, &range)) {
        clear_pages(port, slot, (range.first - all.first) / PAGE, (range.last - all.first) / PAGE);
    }
}
