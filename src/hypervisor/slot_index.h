// SPDX-License-Identifier: MIT
/*
 * An index of slots: sorted by the first number of a range (of gfns, or of host virtual addresses), immutable. A
 * change makes another one, which shares with it all chunks but the two or three that differ; so with n slots it
 * costs O(sqrt n), and a lookup is two binary searches over packed numbers.
 *
 * Ranges may overlap (hva): each span knows the highest end in it. Of equal firsts the lower id comes first.
 */
#ifndef HYPERVISOR_SLOT_INDEX_H
#define HYPERVISOR_SLOT_INDEX_H

#include <stdbool.h>
#include <stdint.h>

struct hv_slot;

#define SLOT_CHUNK 128u

struct slot_chunk {
    unsigned count; /* 1 to SLOT_CHUNK */
    uint64_t first[SLOT_CHUNK], last[SLOT_CHUNK];
    struct hv_slot *slot[SLOT_CHUNK];
};

struct slot_span {
    uint64_t first;    /* of its first slot */
    uint64_t last_max; /* the highest end in the chunk */
    struct slot_chunk *chunk;
};

/* All zero: empty. */
struct slot_index {
    unsigned spans;
    struct slot_span *span;
};

struct slot_entry {
    uint64_t first, last;
    struct hv_slot *slot;
};

/* Where an entry is. */
struct slot_place {
    unsigned span, at;
};

/* The last entry that begins at or before `number`. False when there is none. */
bool slot_index_floor(const struct slot_index *index, uint64_t number, struct slot_place *ret);

static inline struct slot_entry slot_index_at(const struct slot_index *index, struct slot_place place)
{
    const struct slot_chunk *chunk = index->span[place.span].chunk;
    return (struct slot_entry){chunk->first[place.at], chunk->last[place.at], chunk->slot[place.at]};
}

/* The next entry in order; false after the last. */
static inline bool slot_index_next(const struct slot_index *index, struct slot_place *place)
{
    if (++place->at < index->span[place->span].chunk->count) {
        return true;
    }
    place->at = 0;
    return ++place->span < index->spans;
}

/* A change that is not decided yet. */
#define SLOT_EDIT_CHUNKS 8
struct slot_edit {
    struct slot_index next;
    struct slot_chunk *made[SLOT_EDIT_CHUNKS]; /* in `next` only */
    struct slot_chunk *left[SLOT_EDIT_CHUNKS]; /* in the one before only */
    unsigned made_count, left_count;
};

/*
 * An index without `remove` and with `add`; each may be NULL. `remove` is in it. 0 or -ENOMEM. Then either
 * abandon it, or, once nobody uses the index before it, discard that.
 */
int slot_edit_make(struct slot_edit *edit, const struct slot_index *before, const struct slot_entry *remove,
                   const struct slot_entry *add);
void slot_edit_abandon(struct slot_edit *edit);
void slot_edit_discard_before(struct slot_edit *edit, struct slot_index *before);

/* With all its chunks, but not the slots. */
void slot_index_free(struct slot_index *index);

/* Execute the invariants. */
bool slot_index_check(const struct slot_index *index);

#endif
