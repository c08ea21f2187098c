// SPDX-License-Identifier: MIT
#include "accel/kvm/private.h"

#include <errno.h>
#include <linux/kvm_para.h>
#include <sys/ioctl.h>

#include "accel/kvm/internal.h"
#include "base/error.h"

/*
 * The numbers and layouts of the KVM API, under names of our own: <linux/kvm.h> has its own from Linux 6.8 on, and
 * may be older or newer than that.
 */
#define CAP_EXIT_HYPERCALL 201
#define CAP_USER_MEMORY2 231
#define CAP_MEMORY_ATTRIBUTES 233
#define CAP_GUEST_MEMFD 234
#define CAP_VM_TYPES 235

#define VM_TYPE_SW_PROTECTED 1ul

struct slot2 {
    uint32_t slot;
    uint32_t flags;
    uint64_t guest_phys_addr;
    uint64_t memory_size;
    uint64_t userspace_addr;
    uint64_t guest_memfd_offset;
    uint32_t guest_memfd;
    uint32_t pad1;
    uint64_t pad2[14];
};
#define SET_USER_MEMORY_REGION2 _IOW(KVMIO, 0x49, struct slot2)

struct attributes_request {
    uint64_t address;
    uint64_t size;
    uint64_t attributes;
    uint64_t flags;
};
#define SET_MEMORY_ATTRIBUTES _IOW(KVMIO, 0xd2, struct attributes_request)

struct guest_memfd_request {
    uint64_t size;
    uint64_t flags;
    uint64_t reserved[6];
};
#define CREATE_GUEST_MEMFD _IOWR(KVMIO, 0xd4, struct guest_memfd_request)

_Static_assert(sizeof(struct slot2) == 160, "as the kernel has it");
_Static_assert(sizeof(struct attributes_request) == 32, "as the kernel has it");
_Static_assert(sizeof(struct guest_memfd_request) == 64, "as the kernel has it");

int kvm_private_vm_type(int kvm_fd, unsigned long *ret, struct mv_error *err)
{
    unsigned types = (unsigned)kvm_capability(kvm_fd, CAP_VM_TYPES);
    if (!(types & 1u << VM_TYPE_SW_PROTECTED)) {
        return error_set(err, -ENOTSUP, "missing-capability", "/dev/kvm",
                         "/dev/kvm: it has no VMs whose guest can have private pages (KVM_CAP_VM_TYPES is 0x%x, "
                         "without KVM_X86_SW_PROTECTED_VM)",
                         types);
    }
    *ret = VM_TYPE_SW_PROTECTED;
    return 0;
}

/* What the guest asks for by KVM_HC_MAP_GPA_RANGE KVM itself cannot do; without the exit it says so. */
static void let_guest_ask(const struct accel_vm *vm)
{
    struct kvm_enable_cap cap = {.cap = CAP_EXIT_HYPERCALL, .args = {1u << KVM_HC_MAP_GPA_RANGE}};
    if (kvm_capability(vm->vm_fd, CAP_EXIT_HYPERCALL) & 1 << KVM_HC_MAP_GPA_RANGE) {
        (void)ioctl(vm->vm_fd, KVM_ENABLE_CAP, &cap);
    }
}

void kvm_private_ask(struct accel_vm *vm)
{
    vm->guest_memfds =
        kvm_capability(vm->vm_fd, CAP_GUEST_MEMFD) != 0 && kvm_capability(vm->vm_fd, CAP_USER_MEMORY2) != 0;
    vm->attributes = (uint64_t)kvm_capability(vm->vm_fd, CAP_MEMORY_ATTRIBUTES);
    if (vm->attributes & KVM_MEMORY_ATTRIBUTE_PRIVATE) {
        let_guest_ask(vm);
    }
}

bool kvm_private_has_guest_memfds(const struct accel_vm *vm)
{
    return vm->guest_memfds;
}

int kvm_private_create_guest_memfd(struct accel_vm *vm, uint64_t size_bytes)
{
    struct guest_memfd_request request = {.size = size_bytes};
    int fd = ioctl(vm->vm_fd, CREATE_GUEST_MEMFD, &request);
    return fd < 0 ? error_errno() : fd;
}

int kvm_private_set_slot(struct accel_vm *vm, const struct kvm_userspace_memory_region *slot, int guest_memfd,
                         uint64_t offset_bytes)
{
    struct slot2 request = {
        .slot = slot->slot,
        .flags = slot->flags,
        .guest_phys_addr = slot->guest_phys_addr,
        .memory_size = slot->memory_size,
        .userspace_addr = slot->userspace_addr,
        .guest_memfd_offset = offset_bytes,
        .guest_memfd = (uint32_t)guest_memfd,
    };
    return ioctl(vm->vm_fd, SET_USER_MEMORY_REGION2, &request) < 0 ? error_errno() : 0;
}

uint64_t kvm_private_attributes(const struct accel_vm *vm)
{
    return vm->attributes;
}

int kvm_private_set_attributes(struct accel_vm *vm, uint64_t gpa, uint64_t size_bytes, uint64_t attributes)
{
    struct attributes_request request = {.address = gpa, .size = size_bytes, .attributes = attributes};
    return ioctl(vm->vm_fd, SET_MEMORY_ATTRIBUTES, &request) < 0 ? error_errno() : 0;
}
