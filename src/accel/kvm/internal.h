// SPDX-License-Identifier: MIT
/* Shared by the files of accel/kvm only. File descriptors are named after what they are of. */
#ifndef ACCEL_KVM_INTERNAL_H
#define ACCEL_KVM_INTERNAL_H

#include "accel/accel.h"
#include "accel/kvm/stats.h"

/*
 * Open /dev/kvm and see that it has what memvirt needs.
 * @return its descriptor; -ENODEV "no-device", -EACCES "no-permission", -ENOTSUP "missing-capability"
 */
int kvm_open(struct mv_error *err);
/* KVM_CHECK_EXTENSION, of the device or a VM: 0 when it is missing. */
int kvm_capability(int fd, unsigned capability);

struct accel_vm {
    int kvm_fd;
    int vm_fd;
    unsigned max_slots;
    bool readonly_slots;
    bool manual_dirty_log;
    uint32_t dirty_ring_entries; /* 0: no rings */
    unsigned coalesced_page;     /* of the run area; 0: none */
    bool coalesced_pio;
    bool guest_memfds;
    uint64_t attributes; /* that KVM_SET_MEMORY_ATTRIBUTES takes */
    bool ioeventfds;
    bool ioeventfds_any_length;
    size_t run_size;          /* of each vCPU's run area, in bytes */
    struct kvm_cpuid2 *cpuid; /* what the host supports, as each vCPU will have it but for its own number */
    struct kvm_stats stats;
};

struct accel_vcpu {
    struct accel_vm *vm;
    int vcpu_fd;
    struct kvm_run *run;
    struct kvm_dirty_gfn *dirty_ring; /* or NULL */
    struct kvm_stats stats;
};

int kvm_vm_create(const struct accel_vm_options *options, struct accel_vm **ret, struct mv_error *err);
void kvm_vm_destroy(struct accel_vm *vm);
int kvm_vcpu_create(struct accel_vm *vm, unsigned index, struct accel_vcpu **ret, struct mv_error *err);
void kvm_vcpu_destroy(struct accel_vcpu *vcpu);

#endif
