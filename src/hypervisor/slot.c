// SPDX-License-Identifier: MIT
#include "hypervisor/slot.h"

#include <errno.h>
#include <stdlib.h>

#include "base/range.h"
#include "hypervisor/dirty.h"

/* --- looking up --------------------------------------------------------------------------------- */

static bool hint_is_right(const struct slot_index *index, unsigned hint, uint64_t gfn)
{
    unsigned span = hint / SLOT_CHUNK, at = hint % SLOT_CHUNK;
    if (span >= index->spans || at >= index->span[span].chunk->count) {
        return false;
    }
    const struct slot_chunk *chunk = index->span[span].chunk;
    return chunk->first[at] <= gfn && gfn <= chunk->last[at];
}

const struct hv_slot *hv_slot_of_gfn(const struct hv_slots *slots, uint64_t gfn, unsigned *hint)
{
    const struct slot_index *index = &slots->by_gfn;
    if (hint_is_right(index, *hint, gfn)) {
        return index->span[*hint / SLOT_CHUNK].chunk->slot[*hint % SLOT_CHUNK];
    }
    struct slot_place place;
    if (!slot_index_floor(index, gfn, &place)) {
        return NULL;
    }
    struct slot_entry entry = slot_index_at(index, place);
    if (gfn > entry.last) {
        return NULL;
    }
    *hint = place.span * SLOT_CHUNK + place.at;
    return entry.slot;
}

const struct hv_slot *hv_slot_from_gfn(const struct hv_slots *slots, uint64_t gfn)
{
    const struct slot_index *index = &slots->by_gfn;
    struct slot_place place = {0, 0};
    if (slot_index_floor(index, gfn, &place)) {
        if (gfn > slot_index_at(index, place).last && !slot_index_next(index, &place)) {
            return NULL;
        }
    } else if (index->spans == 0) {
        return NULL;
    }
    return slot_index_at(index, place).slot;
}

void hv_slots_of_hva(const struct hv_slots *slots, struct mv_range hva, hv_slot_hva_fn *each, void *opaque)
{
    const struct slot_index *index = &slots->by_hva;
    for (unsigned i = 0; i < index->spans && index->span[i].first <= hva.last; i++) {
        const struct slot_chunk *chunk = index->span[i].chunk;
        if (index->span[i].last_max < hva.first) {
            continue;
        }
        for (unsigned at = 0; at < chunk->count && chunk->first[at] <= hva.last; at++) {
            struct mv_range part;
            if (range_intersect(hva, (struct mv_range){chunk->first[at], chunk->last[at]}, &part)) {
                const struct hv_slot *slot = chunk->slot[at];
                each(opaque, slot, slot->base_gfn + ((part.first - slot->hva.raw) >> GUEST_PAGE_SHIFT),
                     slot->base_gfn + ((part.last - slot->hva.raw) >> GUEST_PAGE_SHIFT));
            }
        }
    }
}

void hv_slots_each(const struct hv_slots *slots, hv_slot_fn *each, void *opaque)
{
    struct slot_place place = {0, 0};
    if (slots->by_gfn.spans == 0) {
        return;
    }
    do {
        each(opaque, slot_index_at(&slots->by_gfn, place).slot);
    } while (slot_index_next(&slots->by_gfn, &place));
}

/* --- sets --------------------------------------------------------------------------------------- */

struct hv_slots *hv_slots_create(uint64_t generation)
{
    struct hv_slots *slots = calloc(1, sizeof *slots);
    struct hv_slot **by_id = calloc(HV_SLOT_IDS, sizeof(struct hv_slot *));
    if (!slots || !by_id) {
        free(slots);
        free(by_id);
        return NULL;
    }
    slots->by_id = by_id;
    atomic_init(&slots->generation, generation);
    return slots;
}

static void destroy_slot(void *opaque, const struct hv_slot *slot)
{
    const struct hv_slots *slots = opaque;
    dirty_bitmap_destroy(slot->dirty);
    free(slots->by_id[slot->id]);
}

void hv_slots_destroy(struct hv_slots *slots)
{
    hv_slots_each(slots, destroy_slot, slots);
    slot_index_free(&slots->by_gfn);
    slot_index_free(&slots->by_hva);
    free(slots->by_id);
    free(slots);
}

static struct slot_entry gfn_entry(struct hv_slot *slot)
{
    return (struct slot_entry){slot->base_gfn, hv_slot_last_gfn(slot), slot};
}

static struct slot_entry hva_entry(struct hv_slot *slot)
{
    return (struct slot_entry){slot->hva.raw, slot->hva.raw + (slot->npages << GUEST_PAGE_SHIFT) - 1, slot};
}

static int edit(struct slot_edit *ret, const struct slot_index *before,
                struct slot_entry (*entry_of)(struct hv_slot *), struct hv_slot *remove, struct hv_slot *add)
{
    struct slot_entry removed = {0}, added = {0};
    if (remove) {
        removed = entry_of(remove);
    }
    if (add) {
        added = entry_of(add);
    }
    return slot_edit_make(ret, before, remove ? &removed : NULL, add ? &added : NULL);
}

int hv_slots_derive(const struct hv_slots *from, struct hv_slot *remove, struct hv_slot *add,
                    struct slots_derived *ret)
{
    *ret = (struct slots_derived){.set = calloc(1, sizeof *ret->set)};
    if (!ret->set) {
        return -ENOMEM;
    }
    int rc = edit(&ret->gfn, &from->by_gfn, gfn_entry, remove, add);
    if (rc == 0) {
        rc = edit(&ret->hva, &from->by_hva, hva_entry, remove, add);
    }
    if (rc < 0) {
        hv_slots_abandon(ret);
        return rc;
    }
    ret->set->by_gfn = ret->gfn.next;
    ret->set->by_hva = ret->hva.next;
    ret->set->by_id = from->by_id;
    ret->set->count = from->count + (add != NULL) - (remove != NULL);
    return 0;
}

void hv_slots_abandon(struct slots_derived *derived)
{
    slot_edit_abandon(&derived->gfn);
    slot_edit_abandon(&derived->hva);
    free(derived->set);
    *derived = (struct slots_derived){0};
}

void hv_slots_succeed(struct slots_derived *derived, struct hv_slots *from)
{
    slot_edit_discard_before(&derived->gfn, &from->by_gfn);
    slot_edit_discard_before(&derived->hva, &from->by_hva);
    free(from);
}
