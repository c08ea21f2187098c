// SPDX-License-Identifier: MIT
#include "hypervisor/slot_index.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hypervisor/slot.h"

/* --- looking up --------------------------------------------------------------------------------- */

bool slot_index_floor(const struct slot_index *index, uint64_t number, struct slot_place *ret)
{
    if (index->spans == 0 || index->span[0].first > number) {
        return false;
    }
    unsigned low = 0, high = index->spans;
    while (high - low > 1) {
        unsigned middle = low + (high - low) / 2;
        *(index->span[middle].first <= number ? &low : &high) = middle;
    }
    const struct slot_chunk *chunk = index->span[low].chunk;
    unsigned at = 0, end = chunk->count;
    while (end - at > 1) {
        unsigned middle = at + (end - at) / 2;
        *(chunk->first[middle] <= number ? &at : &end) = middle;
    }
    *ret = (struct slot_place){low, at};
    return true;
}

/* The order: by first, then by id. */
static bool is_before(uint64_t first_a, const struct hv_slot *a, uint64_t first_b, const struct hv_slot *b)
{
    return first_a != first_b ? first_a < first_b : a->id < b->id;
}

/* The span that has, or would have, the entry; 0 in an empty index. */
static unsigned span_for(const struct slot_index *index, const struct slot_entry *entry)
{
    unsigned low = 0, high = index->spans;
    while (high - low > 1) {
        unsigned middle = low + (high - low) / 2;
        bool is_after =
            is_before(entry->first, entry->slot, index->span[middle].first, index->span[middle].chunk->slot[0]);
        *(is_after ? &high : &low) = middle;
    }
    return low;
}

/* How many entries of the chunk come before this one. */
static unsigned position_in(const struct slot_chunk *chunk, const struct slot_entry *entry)
{
    unsigned low = 0, high = chunk->count;
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        if (is_before(chunk->first[middle], chunk->slot[middle], entry->first, entry->slot)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* --- chunks ------------------------------------------------------------------------------------- */

static void summarize(struct slot_span *span)
{
    const struct slot_chunk *chunk = span->chunk;
    span->first = chunk->first[0];
    span->last_max = 0;
    for (unsigned i = 0; i < chunk->count; i++) {
        span->last_max = chunk->last[i] > span->last_max ? chunk->last[i] : span->last_max;
    }
}

/* Entries [at, at + count) of one chunk to the place `to` of another, or of the same. */
static void move_entries(struct slot_chunk *to_chunk, unsigned to, const struct slot_chunk *chunk, unsigned at,
                         unsigned count)
{
    memmove(&to_chunk->first[to], &chunk->first[at], count * sizeof chunk->first[0]);
    memmove(&to_chunk->last[to], &chunk->last[at], count * sizeof chunk->last[0]);
    memmove(&to_chunk->slot[to], &chunk->slot[at], count * sizeof chunk->slot[0]);
}

static struct slot_chunk *make_chunk(struct slot_edit *edit)
{
    struct slot_chunk *chunk = malloc(sizeof *chunk);
    if (chunk) {
        assert(edit->made_count < SLOT_EDIT_CHUNKS);
        chunk->count = 0;
        edit->made[edit->made_count++] = chunk;
    }
    return chunk;
}

static bool is_made(const struct slot_edit *edit, const struct slot_chunk *chunk)
{
    for (unsigned i = 0; i < edit->made_count; i++) {
        if (edit->made[i] == chunk) {
            return true;
        }
    }
    return false;
}

/* A chunk leaves `next`. One of the index before is remembered; one of our own is freed. */
static void drop_chunk(struct slot_edit *edit, struct slot_chunk *chunk)
{
    for (unsigned i = 0; i < edit->made_count; i++) {
        if (edit->made[i] == chunk) {
            edit->made[i] = edit->made[--edit->made_count];
            free(chunk);
            return;
        }
    }
    assert(edit->left_count < SLOT_EDIT_CHUNKS);
    edit->left[edit->left_count++] = chunk;
}

/* The chunk of a span, ours to change. NULL: out of memory. */
static struct slot_chunk *own_chunk(struct slot_edit *edit, unsigned i)
{
    struct slot_span *span = &edit->next.span[i];
    if (is_made(edit, span->chunk)) {
        return span->chunk;
    }
    struct slot_chunk *chunk = make_chunk(edit);
    if (chunk) {
        *chunk = *span->chunk;
        drop_chunk(edit, span->chunk);
        span->chunk = chunk;
    }
    return chunk;
}

static void remove_span(struct slot_edit *edit, unsigned i)
{
    drop_chunk(edit, edit->next.span[i].chunk);
    edit->next.spans--;
    memmove(&edit->next.span[i], &edit->next.span[i + 1], (edit->next.spans - i) * sizeof edit->next.span[0]);
}

static void insert_span(struct slot_edit *edit, unsigned i, struct slot_chunk *chunk)
{
    memmove(&edit->next.span[i + 1], &edit->next.span[i], (edit->next.spans - i) * sizeof edit->next.span[0]);
    edit->next.spans++;
    edit->next.span[i].chunk = chunk;
}

/* --- editing ------------------------------------------------------------------------------------ */

/* Put span i + 1 into span i when both together are half of a chunk: the number of spans stays O(slots). */
static int merge(struct slot_edit *edit, unsigned i)
{
    if (i + 1 >= edit->next.spans ||
        edit->next.span[i].chunk->count + edit->next.span[i + 1].chunk->count > SLOT_CHUNK / 2) {
        return 0;
    }
    struct slot_chunk *chunk = own_chunk(edit, i);
    if (!chunk) {
        return -ENOMEM;
    }
    const struct slot_chunk *other = edit->next.span[i + 1].chunk;
    move_entries(chunk, chunk->count, other, 0, other->count);
    chunk->count += other->count;
    remove_span(edit, i + 1);
    summarize(&edit->next.span[i]);
    return 0;
}

static int remove_entry(struct slot_edit *edit, const struct slot_entry *entry)
{
    unsigned i = span_for(&edit->next, entry);
    struct slot_chunk *chunk = own_chunk(edit, i);
    if (!chunk) {
        return -ENOMEM;
    }
    unsigned at = position_in(chunk, entry);
    assert(at < chunk->count && chunk->slot[at] == entry->slot);
    move_entries(chunk, at, chunk, at + 1, chunk->count - at - 1);
    chunk->count--;
    if (chunk->count == 0) {
        remove_span(edit, i);
        return 0;
    }
    summarize(&edit->next.span[i]);
    int rc = merge(edit, i);
    return rc < 0 || i == 0 ? rc : merge(edit, i - 1);
}

/* The upper half of a full chunk gets a span of its own. */
static int split(struct slot_edit *edit, unsigned i)
{
    struct slot_chunk *chunk = own_chunk(edit, i);
    struct slot_chunk *upper = chunk ? make_chunk(edit) : NULL;
    if (!upper) {
        return -ENOMEM;
    }
    upper->count = chunk->count / 2;
    chunk->count -= upper->count;
    move_entries(upper, 0, chunk, chunk->count, upper->count);
    insert_span(edit, i + 1, upper);
    summarize(&edit->next.span[i]);
    summarize(&edit->next.span[i + 1]);
    return 0;
}

static int insert_first(struct slot_edit *edit)
{
    struct slot_chunk *chunk = make_chunk(edit);
    if (!chunk) {
        return -ENOMEM;
    }
    insert_span(edit, 0, chunk);
    return 0;
}

static int insert_entry(struct slot_edit *edit, const struct slot_entry *entry)
{
    int rc = 0;
    unsigned i = span_for(&edit->next, entry);
    if (edit->next.spans == 0) {
        rc = insert_first(edit);
    } else if (edit->next.span[i].chunk->count == SLOT_CHUNK) {
        rc = split(edit, i);
        i = span_for(&edit->next, entry);
    }
    struct slot_chunk *chunk = rc == 0 ? own_chunk(edit, i) : NULL;
    if (!chunk) {
        return -ENOMEM;
    }
    unsigned at = position_in(chunk, entry);
    move_entries(chunk, at + 1, chunk, at, chunk->count - at);
    chunk->count++;
    chunk->first[at] = entry->first;
    chunk->last[at] = entry->last;
    chunk->slot[at] = entry->slot;
    summarize(&edit->next.span[i]);
    return 0;
}

int slot_edit_make(struct slot_edit *edit, const struct slot_index *before, const struct slot_entry *remove,
                   const struct slot_entry *add)
{
    *edit = (struct slot_edit){.next.spans = before->spans};
    edit->next.span = malloc((before->spans + 2) * sizeof edit->next.span[0]); /* one split at most */
    if (!edit->next.span) {
        return -ENOMEM;
    }
    if (before->spans != 0) {
        memcpy(edit->next.span, before->span, before->spans * sizeof before->span[0]);
    }
    int rc = remove ? remove_entry(edit, remove) : 0;
    if (rc == 0 && add) {
        rc = insert_entry(edit, add);
    }
    if (rc < 0) {
        slot_edit_abandon(edit);
    }
    return rc;
}

void slot_edit_abandon(struct slot_edit *edit)
{
    for (unsigned i = 0; i < edit->made_count; i++) {
        free(edit->made[i]);
    }
    free(edit->next.span);
    *edit = (struct slot_edit){0};
}

void slot_edit_discard_before(struct slot_edit *edit, struct slot_index *before)
{
    for (unsigned i = 0; i < edit->left_count; i++) {
        free(edit->left[i]);
    }
    free(before->span);
    *before = (struct slot_index){0};
}

void slot_index_free(struct slot_index *index)
{
    for (unsigned i = 0; i < index->spans; i++) {
        free(index->span[i].chunk);
    }
    free(index->span);
    *index = (struct slot_index){0};
}

bool slot_index_check(const struct slot_index *index)
{
    const struct hv_slot *before = NULL;
    uint64_t first_before = 0;
    for (unsigned i = 0; i < index->spans; i++) {
        const struct slot_span *span = &index->span[i];
        uint64_t last_max = 0;
        if (span->chunk->count == 0 || span->chunk->count > SLOT_CHUNK || span->first != span->chunk->first[0]) {
            return false;
        }
        for (unsigned j = 0; j < span->chunk->count; j++) {
            uint64_t first = span->chunk->first[j];
            if (first > span->chunk->last[j] ||
                (before && !is_before(first_before, before, first, span->chunk->slot[j]))) {
                return false;
            }
            before = span->chunk->slot[j];
            first_before = first;
            last_max = span->chunk->last[j] > last_max ? span->chunk->last[j] : last_max;
        }
        if (span->last_max != last_max) {
            return false;
        }
    }
    return true;
}
