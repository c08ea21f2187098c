// SPDX-License-Identifier: MIT
#include "hypervisor/ring.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "hypervisor/hv.h"
#include "hypervisor/mmu_ops.h"

struct dirty_ring *dirty_ring_create(uint32_t bytes, uint32_t reserved)
{
    struct dirty_ring *ring = calloc(1, sizeof *ring);
    if (!ring) {
        return NULL;
    }
    ring->count = bytes / (uint32_t)sizeof(struct kvm_dirty_gfn);
    ring->soft_limit = ring->count - reserved;
    ring->entries = calloc(ring->count, sizeof(struct kvm_dirty_gfn));
    if (!ring->entries) {
        free(ring);
        return NULL;
    }
    return ring;
}

void dirty_ring_destroy(struct dirty_ring *ring)
{
    if (ring) {
        free(ring->entries);
        free(ring);
    }
}

static uint32_t used(const struct dirty_ring *ring)
{
    return atomic_load_explicit(&ring->dirty, memory_order_relaxed) -
           atomic_load_explicit(&ring->reset, memory_order_acquire);
}

void dirty_ring_push(struct dirty_ring *ring, uint32_t slot, uint64_t page)
{
    unsigned index = atomic_load_explicit(&ring->dirty, memory_order_relaxed);
    struct kvm_dirty_gfn *entry = &ring->entries[index & (ring->count - 1)];
    assert(used(ring) < ring->count);
    __atomic_store_n(&entry->slot, slot, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->offset, page, __ATOMIC_RELAXED);
    /* Release: who sees it dirty sees what it is about. */
    __atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_DIRTY, __ATOMIC_RELEASE);
    atomic_store_explicit(&ring->dirty, index + 1, memory_order_release);
}

bool dirty_ring_is_full(const struct dirty_ring *ring)
{
    return used(ring) >= ring->soft_limit;
}

bool dirty_ring_take_back(struct dirty_ring *ring, uint32_t *ret_slot, uint64_t *ret_page)
{
    unsigned index = atomic_load_explicit(&ring->reset, memory_order_relaxed);
    struct kvm_dirty_gfn *entry = &ring->entries[index & (ring->count - 1)];
    if (index == atomic_load_explicit(&ring->dirty, memory_order_acquire)) {
        return false; /* whatever the user has written there */
    }
    if ((__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_RESET) == 0) {
        return false;
    }
    *ret_slot = __atomic_load_n(&entry->slot, __ATOMIC_RELAXED);
    *ret_page = __atomic_load_n(&entry->offset, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->flags, 0, __ATOMIC_RELEASE);
    atomic_store_explicit(&ring->reset, index + 1, memory_order_release);
    return true;
}

/* --- of a VM ------------------------------------------------------------------------------------ */

static uint32_t reserved_entries(const struct hv_vm *vm)
{
    return DIRTY_RING_RESERVED + (vm->options.log_by == HV_LOG_BY_PML ? DIRTY_RING_PML : 0);
}

int hv_ring_create(const struct hv_vm *vm, struct dirty_ring **ret)
{
    if (vm->ring_bytes == 0) {
        *ret = NULL;
        return 0;
    }
    struct dirty_ring *ring = dirty_ring_create(vm->ring_bytes, reserved_entries(vm));
    if (!ring) {
        return -ENOMEM;
    }
    *ret = ring;
    return 0;
}

int hv_enable_dirty_ring(struct hv_vm *vm, uint32_t bytes)
{
    const uint32_t entry = sizeof(struct kvm_dirty_gfn);
    if (!is_pow2(bytes) || bytes < reserved_entries(vm) * entry || bytes < GUEST_PAGE_SIZE) {
        return -EINVAL;
    }
    if (bytes > DIRTY_RING_ENTRIES_MAX * entry) {
        return -E2BIG;
    }
    if (vm->options.log_by == HV_LOG_BY_DIRTY_BIT) {
        return -EINVAL; /* a ring wants to know which vCPU it was */
    }
    pthread_mutex_lock(&vm->slots_lock);
    pthread_mutex_lock(&vm->vcpus_lock);
    int rc = vm->ring_bytes != 0 || vm->vcpus ? -EINVAL : 0;
    if (rc == 0) {
        vm->ring_bytes = bytes;
    }
    pthread_mutex_unlock(&vm->vcpus_lock);
    pthread_mutex_unlock(&vm->slots_lock);
    return rc;
}

bool hv_ring_is_full(const struct hv_vcpu *vcpu)
{
    return vcpu->ring && dirty_ring_is_full(vcpu->ring);
}

struct kvm_dirty_gfn *hv_ring_entries(const struct hv_vcpu *vcpu, uint32_t *ret_count)
{
    if (!vcpu->ring) {
        return NULL;
    }
    *ret_count = vcpu->ring->count;
    return vcpu->ring->entries;
}

/* Entries that follow each other are as a rule neighbours: those of one window of 64 pages are protected at once.
 */
struct window {
    uint32_t slot;
    uint64_t first; /* a multiple of 64 */
    uint64_t mask;
};

static void protect_window(struct hv_vm *vm, const struct window *window)
{
    uint32_t space = window->slot >> 16, id = window->slot & 0xffff;
    if (window->mask == 0 || space >= HV_ADDRESS_SPACES || !vm->mmu->log_protect) {
        return;
    }
    const struct hv_slot *slot = hv_slot_of_id(vm->slots[space], id);
    if (!slot || window->first >= slot->npages) {
        return; /* the slot has gone since, or the user wrote nonsense */
    }
    uint64_t rest = slot->npages - window->first;
    uint64_t mask = rest < 64 ? window->mask & ((UINT64_C(1) << rest) - 1) : window->mask;
    pthread_mutex_lock(&vm->mmu_lock);
    (void)vm->mmu->log_protect(vm, slot, slot->base_gfn + window->first, mask);
    pthread_mutex_unlock(&vm->mmu_lock);
}

static int reset_ring(struct hv_vm *vm, struct dirty_ring *ring)
{
    struct window window = {0};
    uint32_t slot;
    uint64_t page;
    int count = 0;
    /* No more than the ring has: a user who harvests as fast as the vCPU writes does not hold us here. */
    while (count < (int)ring->count && dirty_ring_take_back(ring, &slot, &page)) {
        uint64_t first = align_down(page, 64);
        if (slot != window.slot || first != window.first) {
            protect_window(vm, &window);
            window = (struct window){.slot = slot, .first = first};
        }
        window.mask |= UINT64_C(1) << (page % 64);
        count++;
    }
    protect_window(vm, &window);
    return count;
}

int hv_reset_dirty_rings(struct hv_vm *vm)
{
    int count = 0;
    if (vm->ring_bytes == 0) {
        return -EINVAL;
    }
    /* The list is changed under `slots_lock` too; `vcpus_lock` is a leaf, and a notifier takes it under
     * `mmu_lock`. */
    pthread_mutex_lock(&vm->slots_lock);
    for (struct hv_vcpu *vcpu = vm->vcpus; vcpu; vcpu = vcpu->next) {
        count += reset_ring(vm, vcpu->ring);
    }
    if (count > 0) {
        hv_flush_all(vm);
    }
    pthread_mutex_unlock(&vm->slots_lock);
    return count;
}
