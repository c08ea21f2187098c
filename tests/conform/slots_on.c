// SPDX-License-Identifier: MIT
#include "tests/conform/slots_on.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "hypervisor/hv.h"

#define VCPUS 4

struct slots_vm {
    int kvm_fd, vm_fd, vcpu_fds[VCPUS];
    struct hv_vm *hv;
    struct hv_vcpu *vcpus[VCPUS];
    unsigned vcpu_count;
};

/* --- the real one -------------------------------------------------------------------------------- */

#ifndef KVM_SET_USER_MEMORY_REGION2
#define KVM_SET_USER_MEMORY_REGION2 _IOW(KVMIO, 0x49, struct slots_region2)
#endif

static int call(int fd, unsigned long request, const void *argument)
{
    int rc = ioctl(fd, request, argument);
    return rc < 0 ? -errno : rc;
}

static const char *kvm_why_not(void)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? "there is no /dev/kvm" : "this user cannot open /dev/kvm";
    }
    close(fd);
    return NULL;
}

static struct slots_vm *kvm_create(unsigned address_bits)
{
    (void)address_bits;
    struct slots_vm *vm = calloc(1, sizeof *vm);
    if (!vm) {
        abort();
    }
    vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    do {
        vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0UL);
    } while (vm->vm_fd < 0 && errno == EINTR);
    if (vm->vm_fd < 0) {
        abort();
    }
    return vm;
}

static void kvm_destroy(struct slots_vm *vm)
{
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        close(vm->vcpu_fds[i]);
    }
    close(vm->vm_fd);
    close(vm->kvm_fd);
    free(vm);
}

static int kvm_set_slot(struct slots_vm *vm, const struct kvm_userspace_memory_region *region)
{
    return call(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, region);
}

static int kvm_set_slot2(struct slots_vm *vm, const struct slots_region2 *region)
{
    return call(vm->vm_fd, KVM_SET_USER_MEMORY_REGION2, region);
}

static int kvm_get_dirty_log(struct slots_vm *vm, const struct kvm_dirty_log *log)
{
    return call(vm->vm_fd, KVM_GET_DIRTY_LOG, log);
}

static int kvm_clear_dirty_log(struct slots_vm *vm, const struct kvm_clear_dirty_log *log)
{
    return call(vm->vm_fd, KVM_CLEAR_DIRTY_LOG, log);
}

static int kvm_enable_cap(struct slots_vm *vm, const struct kvm_enable_cap *cap)
{
    return call(vm->vm_fd, KVM_ENABLE_CAP, cap);
}

static int kvm_reset_rings(struct slots_vm *vm)
{
    return call(vm->vm_fd, KVM_RESET_DIRTY_RINGS, NULL);
}

static int kvm_vcpu_create(struct slots_vm *vm, unsigned index)
{
    int fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
    if (fd < 0) {
        return -errno;
    }
    vm->vcpu_fds[vm->vcpu_count++] = fd;
    return 0;
}

static int kvm_ioeventfd(struct slots_vm *vm, const struct kvm_ioeventfd *args)
{
    return call(vm->vm_fd, KVM_IOEVENTFD, args);
}

static int kvm_coalesce(struct slots_vm *vm, const struct kvm_coalesced_mmio_zone *zone, bool add)
{
    return call(vm->vm_fd, add ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO, zone);
}

static unsigned kvm_spaces(struct slots_vm *vm)
{
    int rc = ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, (unsigned long)KVM_CAP_MULTI_ADDRESS_SPACE);
    return rc > 1 ? (unsigned)rc : 1;
}

const struct slots_on slots_on_kvm = {
    .name = "kvm",
    .why_not = kvm_why_not,
    .create = kvm_create,
    .destroy = kvm_destroy,
    .set_slot = kvm_set_slot,
    .set_slot2 = kvm_set_slot2,
    .get_dirty_log = kvm_get_dirty_log,
    .clear_dirty_log = kvm_clear_dirty_log,
    .enable_cap = kvm_enable_cap,
    .reset_rings = kvm_reset_rings,
    .vcpu_create = kvm_vcpu_create,
    .ioeventfd = kvm_ioeventfd,
    .coalesce = kvm_coalesce,
    .spaces = kvm_spaces,
};

/* --- ours ---------------------------------------------------------------------------------------- */

static const char *hv_why_not(void)
{
    return NULL;
}

static struct slots_vm *create(enum hv_mmu_kind mmu, unsigned address_bits)
{
    struct slots_vm *vm = calloc(1, sizeof *vm);
    bool is_hybrid = mmu == HV_MMU_HYBRID;
    const struct hv_options options = {.mmu = mmu,
                                       .tdp_levels = 5,
                                       .level_max = 3,
                                       .address_bits = (uint8_t)address_bits,
                                       .access_dirty = !is_hybrid,
                                       .no_unsync = is_hybrid};
    if (!vm || hv_vm_create(&options, &vm->hv) < 0) {
        abort();
    }
    return vm;
}

static struct slots_vm *native_create(unsigned address_bits)
{
    return create(HV_MMU_NATIVE, address_bits);
}

static struct slots_vm *ept_create(unsigned address_bits)
{
    return create(HV_MMU_EPT, address_bits);
}

static struct slots_vm *npt_create(unsigned address_bits)
{
    return create(HV_MMU_NPT, address_bits);
}

static struct slots_vm *shadow_create(unsigned address_bits)
{
    return create(HV_MMU_SHADOW, address_bits);
}

static struct slots_vm *hybrid_create(unsigned address_bits)
{
    return create(HV_MMU_HYBRID, address_bits);
}

static void destroy(struct slots_vm *vm)
{
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        hv_vcpu_destroy(vm->vcpus[i]);
    }
    hv_vm_destroy(vm->hv);
    free(vm);
}

static int set_slot(struct slots_vm *vm, const struct kvm_userspace_memory_region *region)
{
    return hv_set_slot(vm->hv, region);
}

static int set_slot2(struct slots_vm *vm, const struct slots_region2 *r)
{
    const struct hv_region2 region = {.slot = r->slot,
                                      .flags = r->flags,
                                      .guest_phys_addr = r->guest_phys_addr,
                                      .memory_size = r->memory_size,
                                      .userspace_addr = r->userspace_addr,
                                      .guest_memfd_offset = r->guest_memfd_offset,
                                      .guest_memfd = r->guest_memfd};
    return hv_set_slot2(vm->hv, &region);
}

static int get_dirty_log(struct slots_vm *vm, const struct kvm_dirty_log *log)
{
    return hv_get_dirty_log(vm->hv, log);
}

static int clear_dirty_log(struct slots_vm *vm, const struct kvm_clear_dirty_log *log)
{
    return hv_clear_dirty_log(vm->hv, log);
}

static int enable_cap(struct slots_vm *vm, const struct kvm_enable_cap *cap)
{
    return hv_enable_cap(vm->hv, cap);
}

static int reset_rings(struct slots_vm *vm)
{
    return hv_reset_dirty_rings(vm->hv);
}

static int vcpu_create(struct slots_vm *vm, unsigned index)
{
    int rc = hv_vcpu_create(vm->hv, index, &vm->vcpus[vm->vcpu_count]);
    vm->vcpu_count += rc == 0;
    return rc;
}

static int ioeventfd(struct slots_vm *vm, const struct kvm_ioeventfd *args)
{
    return hv_ioeventfd(vm->hv, args);
}

static int coalesce(struct slots_vm *vm, const struct kvm_coalesced_mmio_zone *zone, bool add)
{
    return add ? hv_coalesce(vm->hv, zone) : hv_uncoalesce(vm->hv, zone);
}

static unsigned spaces(struct slots_vm *vm)
{
    (void)vm;
    return HV_ADDRESS_SPACES;
}

#define OURS(who)                                                                                                 \
    const struct slots_on slots_on_##who = {                                                                      \
        .name = #who,                                                                                             \
        .why_not = hv_why_not,                                                                                    \
        .create = who##_create,                                                                                   \
        .destroy = destroy,                                                                                       \
        .set_slot = set_slot,                                                                                     \
        .set_slot2 = set_slot2,                                                                                   \
        .get_dirty_log = get_dirty_log,                                                                           \
        .clear_dirty_log = clear_dirty_log,                                                                       \
        .enable_cap = enable_cap,                                                                                 \
        .reset_rings = reset_rings,                                                                               \
        .vcpu_create = vcpu_create,                                                                               \
        .ioeventfd = ioeventfd,                                                                                   \
        .coalesce = coalesce,                                                                                     \
        .spaces = spaces,                                                                                         \
    }

OURS(native);
OURS(ept);
OURS(npt);
OURS(shadow);
OURS(hybrid);
