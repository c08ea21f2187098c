// SPDX-License-Identifier: MIT
/*
 * Memslots: what the VM's memory is, as KVM_SET_USER_MEMORY_REGION(2) describes it (Linux, "The Definitive KVM API
 * Documentation"). A set of slots is immutable but for its generation, and published by one store; a change
 * publishes another one and waits for a rendezvous, so whoever is inside may use what it has looked up until it
 * leaves.
 */
#ifndef HYPERVISOR_SLOT_H
#define HYPERVISOR_SLOT_H

#include <linux/kvm.h>
#include <stdatomic.h>
#include <stddef.h>

#include "base/addr.h"
#include "hypervisor/slot_index.h"

#define HV_SLOT_IDS 32764u         /* that the user has: 0 to this - 1 */
#define HV_ADDRESS_SPACES 2u       /* 0; 1 is SMM's */
#define HV_SLOT_INVALID (1u << 16) /* in `flags`: on its way out; a fault on it is tried again */
#define HV_SLOT_PAGES_MAX ((UINT64_C(1) << 31) - 1)

struct dirty_bitmap;

/* Owned by the sets that have it; freed after a rendezvous. All but what `dirty` points to is constant. */
struct hv_slot {
    uint16_t id;
    uint16_t space;
    uint32_t flags; /* KVM_MEM_ */
    uint64_t base_gfn;
    uint64_t npages;
    hva_t hva;
    struct dirty_bitmap *dirty; /* or NULL; outlives a change of flags that keeps it */
    uint8_t level_max; /* the largest page that the slot's alignment allows: gfns and host addresses agree to it */
};

/* One address space. No two slots overlap in it. */
struct hv_slots {
    /* Bit 63: a change is under way. Of space s it is s modulo HV_ADDRESS_SPACES. Changes while it is published.
     */
    atomic_uint_fast64_t generation;
    unsigned count;
    struct slot_index by_gfn, by_hva;
    struct hv_slot **by_id; /* HV_SLOT_IDS, shared by all sets of the space; under `slots_lock` */
};

#define HV_GENERATION_UPDATING (UINT64_C(1) << 63)
/* What an entry for MMIO remembers of a generation. When these bits come round, such entries must go. */
#define HV_GENERATION_MMIO_MASK ((UINT64_C(1) << 19) - 1)

/* NULL when none covers it. `hint` is the reader's own, a cache of the last answer; any value will do. */
const struct hv_slot *hv_slot_of_gfn(const struct hv_slots *slots, uint64_t gfn, unsigned *hint);

/* The first slot, in order, that ends at or above gfn: it covers it, or is the next one. NULL when there is none.
 */
const struct hv_slot *hv_slot_from_gfn(const struct hv_slots *slots, uint64_t gfn);

/* Under `slots_lock`. */
static inline const struct hv_slot *hv_slot_of_id(const struct hv_slots *slots, unsigned id)
{
    return id < HV_SLOT_IDS ? slots->by_id[id] : NULL;
}

/* Each slot that shows bytes of [first, last], with the part of it as gfns. Slots may show the same bytes. */
typedef void hv_slot_hva_fn(void *opaque, const struct hv_slot *slot, uint64_t first_gfn, uint64_t last_gfn);
void hv_slots_of_hva(const struct hv_slots *slots, struct mv_range hva, hv_slot_hva_fn *each, void *opaque);

/* Each slot, in order of gfns. */
typedef void hv_slot_fn(void *opaque, const struct hv_slot *slot);
void hv_slots_each(const struct hv_slots *slots, hv_slot_fn *each, void *opaque);

static inline uint64_t hv_slot_last_gfn(const struct hv_slot *slot)
{
    return slot->base_gfn + slot->npages - 1;
}

static inline hva_t hv_slot_hva(const struct hv_slot *slot, uint64_t gfn)
{
    return mv_hva(slot->hva.raw + ((gfn - slot->base_gfn) << GUEST_PAGE_SHIFT));
}

/* --- for slot_change ---------------------------------------------------------------------------- */

/* A set that is not published yet. */
struct slots_derived {
    struct hv_slots *set;
    struct slot_edit gfn, hva;
};

/* An empty set, of generation `generation`. NULL: out of memory. */
struct hv_slots *hv_slots_create(uint64_t generation);
/* With all slots and their bitmaps. */
void hv_slots_destroy(struct hv_slots *slots);

/* `from` without `remove` and with `add`; each may be NULL. by_id is shared, and not changed. 0 or -ENOMEM. */
int hv_slots_derive(const struct hv_slots *from, struct hv_slot *remove, struct hv_slot *add,
                    struct slots_derived *ret);
/* It is not to be, or nobody uses it any more while `from` goes on. */
void hv_slots_abandon(struct slots_derived *derived);
/* It has taken the place of `from`, which nobody uses any more: frees what of it is not shared, but no slot. */
void hv_slots_succeed(struct slots_derived *derived, struct hv_slots *from);

#endif
