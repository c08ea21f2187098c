// SPDX-License-Identifier: MIT
/*
 * KVM's calls about slots, logs, rings and guest writes, on whoever has them: the real /dev/kvm by its ioctls, and
 * each MMU scheme of the software hypervisor. One body of a test runs on all, and random calls run on two in
 * lockstep. Each call returns 0, a count, or -errno.
 */
#ifndef CONFORM_SLOTS_ON_H
#define CONFORM_SLOTS_ON_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

/* Older headers lack these. */
#ifndef KVM_CAP_DIRTY_LOG_RING_ACQ_REL
#define KVM_CAP_DIRTY_LOG_RING_ACQ_REL 223
#endif

struct slots_region2 {
    uint32_t slot, flags;
    uint64_t guest_phys_addr, memory_size, userspace_addr, guest_memfd_offset;
    uint32_t guest_memfd, pad1;
    uint64_t pad2[14];
};

struct slots_vm;

struct slots_on {
    const char *name;
    const char *(*why_not)(void);                      /* NULL: it is usable */
    struct slots_vm *(*create)(unsigned address_bits); /* the real one has its own */
    void (*destroy)(struct slots_vm *vm);
    int (*set_slot)(struct slots_vm *vm, const struct kvm_userspace_memory_region *region);
    int (*set_slot2)(struct slots_vm *vm, const struct slots_region2 *region);
    int (*get_dirty_log)(struct slots_vm *vm, const struct kvm_dirty_log *log);
    int (*clear_dirty_log)(struct slots_vm *vm, const struct kvm_clear_dirty_log *log);
    int (*enable_cap)(struct slots_vm *vm, const struct kvm_enable_cap *cap);
    int (*reset_rings)(struct slots_vm *vm);
    int (*vcpu_create)(struct slots_vm *vm, unsigned index);
    int (*ioeventfd)(struct slots_vm *vm, const struct kvm_ioeventfd *args);
    int (*coalesce)(struct slots_vm *vm, const struct kvm_coalesced_mmio_zone *zone, bool add);
    unsigned (*spaces)(struct slots_vm *vm);
};

extern const struct slots_on slots_on_kvm, slots_on_native, slots_on_ept, slots_on_npt, slots_on_shadow,
    slots_on_hybrid;

#endif
