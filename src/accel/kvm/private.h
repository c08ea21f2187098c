// SPDX-License-Identifier: MIT
/*
 * Private pages: guest_memfds, their slots, and memory attributes (KVM API, "KVM_CREATE_GUEST_MEMFD",
 * "KVM_SET_USER_MEMORY_REGION2" and "KVM_SET_MEMORY_ATTRIBUTES").
 */
#ifndef ACCEL_KVM_PRIVATE_H
#define ACCEL_KVM_PRIVATE_H

#include "accel/accel.h"

/* The type of a VM whose guest can convert pages. @return 0; -ENOTSUP "missing-capability" */
int kvm_private_vm_type(int kvm_fd, unsigned long *ret, struct mv_error *err);

/* Find out what a new VM can do, and have the guest's own requests to convert pages told as exits. */
void kvm_private_ask(struct accel_vm *vm);

/* The contract's. */
bool kvm_private_has_guest_memfds(const struct accel_vm *vm);
int kvm_private_create_guest_memfd(struct accel_vm *vm, uint64_t size_bytes);
int kvm_private_set_slot(struct accel_vm *vm, const struct kvm_userspace_memory_region *slot, int guest_memfd,
                         uint64_t offset_bytes);
uint64_t kvm_private_attributes(const struct accel_vm *vm);
int kvm_private_set_attributes(struct accel_vm *vm, uint64_t gpa, uint64_t size_bytes, uint64_t attributes);

#endif
