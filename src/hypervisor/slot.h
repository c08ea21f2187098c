// SPDX-License-Identifier: MIT
/*
 * Memslots: what the VM's memory is, as KVM_SET_USER_MEMORY_REGION(2) describes it (Linux, "The Definitive KVM API
 * Documentation"). A set of slots is immutable and published by one store; a change publishes another one and
 * waits for a rendezvous, so whoever is inside may use what it has looked up until it leaves.
 */
#ifndef HYPERVISOR_SLOT_H
#define HYPERVISOR_SLOT_H

#include <linux/kvm.h>
#include <stddef.h>

#include "base/addr.h"

#define HV_SLOT_IDS 32764u         /* that the user has: 0 to this - 1 */
#define HV_ADDRESS_SPACES 2u       /* 0; 1 is SMM's */
#define HV_SLOT_INVALID (1u << 16) /* in `flags`: on its way out; a fault on it is tried again */

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
    uint8_t level_max;          /* the largest page that its alignment and the host's pages allow: 1 to 3 */
};

/* One address space. Sorted by gfn; no two overlap. */
struct hv_slots {
    uint64_t generation; /* bit 63: a change is under way. Of space s it is s modulo HV_ADDRESS_SPACES */
    unsigned count;
    struct hv_slot *const *by_gfn;
    /* by hva, with what an interval search needs: private to slot.c */
    const struct slot_hva *by_hva;
    struct hv_slot *const *by_id; /* HV_SLOT_IDS or fewer: `ids` */
    unsigned ids;
};

#define HV_GENERATION_UPDATING (UINT64_C(1) << 63)

/* NULL when none covers it. `hint` is the reader's own, a cache of the last answer; any value will do. */
const struct hv_slot *hv_slot_of_gfn(const struct hv_slots *slots, uint64_t gfn, unsigned *hint);
const struct hv_slot *hv_slot_of_id(const struct hv_slots *slots, unsigned id);

/* Each slot that shows bytes of [first, last], with the part of it as gfns. Slots may show the same bytes. */
typedef void hv_slot_hva_fn(void *opaque, const struct hv_slot *slot, uint64_t first_gfn, uint64_t last_gfn);
void hv_slots_of_hva(const struct hv_slots *slots, struct mv_range hva, hv_slot_hva_fn *each, void *opaque);

static inline hva_t hv_slot_hva(const struct hv_slot *slot, uint64_t gfn)
{
    return mv_hva(slot->hva.raw + ((gfn - slot->base_gfn) << GUEST_PAGE_SHIFT));
}

#endif
