// SPDX-License-Identifier: MIT
/*
 * Dirty rings (KVM_CAP_DIRTY_LOG_RING): one for each vCPU, an array of struct kvm_dirty_gfn. An entry is 00
 * (empty), then 01 (dirty: written by the vCPU), then 1x (harvested: by the user, who may read and write all of it
 * at any time), then 00 again when it is taken back. What the user writes is not trusted.
 */
#ifndef HYPERVISOR_RING_H
#define HYPERVISOR_RING_H

#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define DIRTY_RING_ENTRIES_MAX 65536u
/* So many are kept free when the ring is called full: what one entry of the guest may add, and a log of PML. */
#define DIRTY_RING_RESERVED 64u
#define DIRTY_RING_PML 512u

struct dirty_ring {
    struct kvm_dirty_gfn *entries;
    uint32_t count; /* a power of two */
    uint32_t soft_limit;
    atomic_uint dirty, reset; /* counts modulo 2^32: written by the vCPU; by who takes back, under `slots_lock` */
};

/* `reserved` entries are kept free. NULL: out of memory. */
struct dirty_ring *dirty_ring_create(uint32_t bytes, uint32_t reserved);
void dirty_ring_destroy(struct dirty_ring *ring); /* or NULL */

/* By the vCPU. It looks at dirty_ring_is_full before each entry, so there is room. */
void dirty_ring_push(struct dirty_ring *ring, uint32_t slot, uint64_t page);
bool dirty_ring_is_full(const struct dirty_ring *ring);

struct hv_vm;
/* A ring for a vCPU of this VM, or NULL where the VM has none. 0 or -ENOMEM. */
int hv_ring_create(const struct hv_vm *vm, struct dirty_ring **ret);

/* The oldest entry if it was harvested: it is empty now. What it says is the user's. */
bool dirty_ring_take_back(struct dirty_ring *ring, uint32_t *ret_slot, uint64_t *ret_page);

#endif
