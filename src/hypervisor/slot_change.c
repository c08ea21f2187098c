// SPDX-License-Identifier: MIT
/*
 * Changing slots: KVM_SET_USER_MEMORY_REGION and KVM_SET_USER_MEMORY_REGION2, with KVM's checks in KVM's order.
 * One change at a time, under `slots_lock`.
 *
 * What is in the way of a vCPU goes in two steps: first a set in which the slot is INVALID, so that faults on it
 * are tried again; then, when no vCPU uses the slot any more and its translations are gone, the set as it shall
 * be. Each set that is published counts the generation up by HV_ADDRESS_SPACES.
 */
#include <errno.h>
#include <stdlib.h>

#include "hypervisor/dirty.h"
#include "hypervisor/hv.h"
#include "hypervisor/mmu_ops.h"
#include "hypervisor/notifier.h"

enum change {
    CHANGE_CREATE,
    CHANGE_DELETE,
    CHANGE_MOVE,
    CHANGE_FLAGS,
};

#define FLAGS_KNOWN (KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY)

/* --- checks ------------------------------------------------------------------------------------- */

static bool is_page_aligned(uint64_t n)
{
    return is_aligned(n, GUEST_PAGE_SIZE);
}

/* What can be said of the arguments alone. The order decides nothing: all are -EINVAL. */
static int check_region(const struct hv_vm *vm, const struct hv_region2 *r)
{
    uint64_t end;
    if ((uint16_t)r->slot >= HV_SLOT_IDS || r->slot >> 16 >= HV_ADDRESS_SPACES) {
        return -EINVAL;
    }
    /* KVM_MEM_GUEST_MEMFD is for VMs that have one. */
    if ((r->flags & ~FLAGS_KNOWN) != 0) {
        return -EINVAL;
    }
    if (!is_page_aligned(r->memory_size) || !is_page_aligned(r->guest_phys_addr) ||
        !is_page_aligned(r->userspace_addr)) {
        return -EINVAL;
    }
    if (__builtin_add_overflow(r->userspace_addr, r->memory_size, &end) || end > vm->hva_end) {
        return -EINVAL;
    }
    if (__builtin_add_overflow(r->guest_phys_addr, r->memory_size, &end) ||
        r->memory_size >> GUEST_PAGE_SHIFT > HV_SLOT_PAGES_MAX) {
        return -EINVAL;
    }
    return 0;
}

/* Whether a slot other than `self` shows any of these pages. */
static bool is_taken(const struct hv_slots *slots, const struct hv_slot *self, uint64_t first, uint64_t last)
{
    const struct hv_slot *slot = hv_slot_from_gfn(slots, first);
    if (slot && slot == self) {
        slot = hv_slot_last_gfn(slot) == UINT64_MAX ? NULL : hv_slot_from_gfn(slots, hv_slot_last_gfn(slot) + 1);
    }
    return slot && slot->base_gfn <= last;
}

/* Which change it is: 1 and the kind, 0 when there is nothing to do, or -errno. */
static int classify(const struct hv_vm *vm, const struct hv_slots *slots, const struct hv_slot *old,
                    const struct hv_region2 *r, enum change *ret)
{
    uint64_t npages = r->memory_size >> GUEST_PAGE_SHIFT, base = r->guest_phys_addr >> GUEST_PAGE_SHIFT;
    if (npages == 0) {
        *ret = CHANGE_DELETE;
        return old ? 1 : -EINVAL;
    }
    if (!old) {
        if (vm->slot_pages + npages < vm->slot_pages) {
            return -EINVAL;
        }
        *ret = CHANGE_CREATE;
    } else {
        if (r->userspace_addr != old->hva.raw || npages != old->npages ||
            ((r->flags ^ old->flags) & KVM_MEM_READONLY) != 0) {
            return -EINVAL;
        }
        if (base == old->base_gfn) {
            *ret = CHANGE_FLAGS;
            return r->flags != old->flags;
        }
        *ret = CHANGE_MOVE;
    }
    return is_taken(slots, old, base, base + npages - 1) ? -EEXIST : 1;
}

/* --- making ------------------------------------------------------------------------------------- */

/* KVM does not map what only the alignment of both addresses to each other would allow. */
static uint8_t level_max_of(const struct hv_vm *vm, const struct hv_slot *slot)
{
    uint64_t difference = slot->base_gfn ^ (slot->hva.raw >> GUEST_PAGE_SHIFT);
    uint8_t level = 1;
    while (level < vm->options.level_max && is_aligned(difference, UINT64_C(1) << (9 * level))) {
        level++;
    }
    return level;
}

static struct hv_slot *make_slot(const struct hv_vm *vm, const struct hv_region2 *r)
{
    struct hv_slot *slot = malloc(sizeof *slot);
    if (slot) {
        *slot = (struct hv_slot){
            .id = (uint16_t)r->slot,
            .space = (uint16_t)(r->slot >> 16),
            .flags = r->flags,
            .base_gfn = r->guest_phys_addr >> GUEST_PAGE_SHIFT,
            .npages = r->memory_size >> GUEST_PAGE_SHIFT,
            .hva = mv_hva(r->userspace_addr),
        };
        slot->level_max = level_max_of(vm, slot);
    }
    return slot;
}

/* KVM's "prepare": what may still fail when the slot is known. The bitmap of `old` goes over, if it has one. */
static int prepare(const struct hv_vm *vm, const struct hv_slot *old, struct hv_slot *slot)
{
    bool has_bitmap = (slot->flags & KVM_MEM_LOG_DIRTY_PAGES) != 0 && vm->ring_bytes == 0;
    struct dirty_bitmap *made = NULL;
    if (has_bitmap && old && old->dirty) {
        slot->dirty = old->dirty;
    } else if (has_bitmap) {
        made = dirty_bitmap_create(slot->npages, vm->initially_set);
        if (!made) {
            return -ENOMEM;
        }
        slot->dirty = made;
    }
    if (hv_slot_last_gfn(slot) > vm->max_gfn) {
        dirty_bitmap_destroy(made);
        slot->dirty = NULL;
        return -EINVAL;
    }
    return 0;
}

/* --- publishing --------------------------------------------------------------------------------- */

/* After what removes rights, with `mmu_lock` held since before it: flush, and free what nobody can reach any more.
 */
static void flush_and_collect(struct hv_vm *vm)
{
    hv_flush_all(vm);
    vm->mmu->collect(vm);
}

/* The translations of a slot; of NULL: all. */
static void zap(struct hv_vm *vm, const struct hv_slot *slot)
{
    pthread_mutex_lock(&vm->mmu_lock);
    bool flush = slot ? vm->mmu->zap_gfns(vm, slot, slot->base_gfn, hv_slot_last_gfn(slot)) : vm->mmu->zap_all(vm);
    if (flush) {
        flush_and_collect(vm);
    }
    pthread_mutex_unlock(&vm->mmu_lock);
}

/* Entries for MMIO know a part of the generation; before it can come round to one that they have, they go. */
static void generation_has_changed(struct hv_vm *vm, uint64_t generation)
{
    if ((generation & HV_GENERATION_MMIO_MASK & ~(uint64_t)(HV_ADDRESS_SPACES - 1)) == 0) {
        zap(vm, NULL);
    }
}

/* One swap: `slots` is published, and when this returns nobody uses the set before it. */
static void publish(struct hv_vm *vm, unsigned space, struct hv_slots *slots, const struct hv_slots *before)
{
    uint64_t generation = atomic_load(&before->generation);
    atomic_store(&slots->generation, generation | HV_GENERATION_UPDATING);
    hv_notifier_lock_idle(&vm->notifier); /* it uses the sets that it has found, to its end */
    __atomic_store_n(&vm->slots[space], slots, __ATOMIC_RELEASE);
    hv_notifier_unlock(&vm->notifier);
    (void)rendezvous_wait(&vm->inside);
    generation += HV_ADDRESS_SPACES;
    atomic_store(&slots->generation, generation);
    generation_has_changed(vm, generation);
}

/* The set with `old` INVALID: from its publication to the next one no vCPU gets at the slot. */
struct invalid {
    struct slots_derived set;
    struct hv_slot *slot;
};

static int make_invalid(const struct hv_slots *slots, struct hv_slot *old, struct invalid *ret)
{
    *ret = (struct invalid){.slot = malloc(sizeof *ret->slot)};
    if (!ret->slot) {
        return -ENOMEM;
    }
    *ret->slot = *old;
    ret->slot->flags |= HV_SLOT_INVALID;
    int rc = hv_slots_derive(slots, old, ret->slot, &ret->set);
    if (rc < 0) {
        free(ret->slot);
    }
    return rc;
}

static void finish_invalid(struct invalid *invalid)
{
    hv_slots_abandon(&invalid->set);
    free(invalid->slot);
}

/* --- the change --------------------------------------------------------------------------------- */

static bool is_logged(const struct hv_slot *slot)
{
    return slot && (slot->flags & KVM_MEM_LOG_DIRTY_PAGES);
}

/* Before the set with `slot` is published: PML is on in each vCPU before it can map a page of the first logged
 * slot. */
static void expect_logging(struct hv_vm *vm, const struct hv_slot *old, const struct hv_slot *slot)
{
    if (!is_logged(old) && is_logged(slot) && atomic_fetch_add(&vm->logged_slots, 1) == 0) {
        hv_post_all(vm, HV_REQUEST_LOGGING);
    }
}

/* Logging has begun or ended. */
static void commit_logging(struct hv_vm *vm, const struct hv_slot *old, const struct hv_slot *slot)
{
    bool is = is_logged(slot);
    if (is_logged(old) == is) {
        return;
    }
    if (!is && atomic_fetch_sub(&vm->logged_slots, 1) == 1) {
        hv_post_all(vm, HV_REQUEST_LOGGING);
    }
    /* A slot that was created or moved has no translations yet; one that is read-only is not written. */
    if (!old || !slot || old->base_gfn != slot->base_gfn || (slot->flags & KVM_MEM_READONLY)) {
        return;
    }
    pthread_mutex_lock(&vm->mmu_lock);
    bool flush = is ? vm->mmu->log_start(vm, slot) : vm->mmu->log_stop(vm, slot);
    if (flush || (is && !vm->initially_set)) {
        flush_and_collect(vm);
    }
    pthread_mutex_unlock(&vm->mmu_lock);
}

static void commit(struct hv_vm *vm, struct hv_slot *old, struct hv_slot *slot)
{
    uint64_t pages = vm->slot_pages + (slot ? slot->npages : 0) - (old ? old->npages : 0);
    __atomic_store_n(&vm->slot_pages, pages, __ATOMIC_RELAXED); /* faults look at it */
    commit_logging(vm, old, slot);
    if (old) {
        if (!slot || old->dirty != slot->dirty) {
            dirty_bitmap_destroy(old->dirty);
        }
        free(old);
    }
}

/* CREATE and FLAGS: one swap. */
static int change_at_once(struct hv_vm *vm, struct hv_slots *slots, struct hv_slot *old, struct hv_slot *slot)
{
    struct slots_derived next;
    int rc = hv_slots_derive(slots, old, slot, &next);
    if (rc == 0) {
        rc = prepare(vm, old, slot);
        if (rc < 0) {
            hv_slots_abandon(&next);
        }
    }
    if (rc < 0) {
        return rc;
    }
    expect_logging(vm, old, slot);
    slots->by_id[slot->id] = slot;
    publish(vm, slot->space, next.set, slots);
    hv_slots_succeed(&next, slots);
    commit(vm, old, slot);
    return 0;
}

/* DELETE (`slot` is NULL) and MOVE: two swaps. */
static int change_in_steps(struct hv_vm *vm, struct hv_slots *slots, struct hv_slot *old, struct hv_slot *slot)
{
    struct invalid invalid;
    struct slots_derived next;
    int rc = make_invalid(slots, old, &invalid);
    if (rc < 0) {
        return rc;
    }
    rc = hv_slots_derive(slots, old, slot, &next);
    if (rc < 0) {
        finish_invalid(&invalid);
        return rc;
    }
    publish(vm, old->space, invalid.set.set, slots);
    zap(vm, vm->options.zap_slot_only ? old : NULL);
    rc = slot ? prepare(vm, old, slot) : 0;
    if (rc < 0) { /* as KVM does: the old set returns, and the generation tells of both */
        publish(vm, old->space, slots, invalid.set.set);
        hv_slots_abandon(&next);
        finish_invalid(&invalid);
        return rc;
    }
    expect_logging(vm, old, slot);
    slots->by_id[old->id] = slot;
    publish(vm, old->space, next.set, invalid.set.set);
    hv_slots_succeed(&next, slots);
    finish_invalid(&invalid);
    commit(vm, old, slot);
    return 0;
}

static int set_slot_locked(struct hv_vm *vm, const struct hv_region2 *region)
{
    enum change change;
    int rc = check_region(vm, region);
    if (rc < 0) {
        return rc;
    }
    struct hv_slots *slots = vm->slots[region->slot >> 16];
    struct hv_slot *old = slots->by_id[(uint16_t)region->slot], *slot = NULL;
    rc = classify(vm, slots, old, region, &change);
    if (rc <= 0) {
        return rc;
    }
    if (change != CHANGE_DELETE) {
        slot = make_slot(vm, region);
        if (!slot) {
            return -ENOMEM;
        }
    }
    bool in_steps = change == CHANGE_DELETE || change == CHANGE_MOVE;
    rc = in_steps ? change_in_steps(vm, slots, old, slot) : change_at_once(vm, slots, old, slot);
    if (rc < 0) {
        free(slot);
    }
    return rc;
}

int hv_set_slot2(struct hv_vm *vm, const struct hv_region2 *region)
{
    pthread_mutex_lock(&vm->slots_lock);
    int rc = set_slot_locked(vm, region);
    pthread_mutex_unlock(&vm->slots_lock);
    return rc;
}

int hv_set_slot(struct hv_vm *vm, const struct kvm_userspace_memory_region *region)
{
    const struct hv_region2 region2 = {
        .slot = region->slot,
        .flags = region->flags,
        .guest_phys_addr = region->guest_phys_addr,
        .memory_size = region->memory_size,
        .userspace_addr = region->userspace_addr,
    };
    return hv_set_slot2(vm, &region2);
}
