// SPDX-License-Identifier: MIT
#include "accel/kvm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "accel/kvm/cpuid.h"
#include "accel/kvm/internal.h"
#include "accel/kvm/private.h"
#include "base/error.h"
#include "base/os.h"

#define DEVICE "/dev/kvm"

int kvm_capability(int fd, unsigned capability)
{
    int rc = ioctl(fd, KVM_CHECK_EXTENSION, (unsigned long)capability);
    return rc < 0 ? 0 : rc;
}

static int refuse_open(int code, struct mv_error *err)
{
    if (code == -EACCES || code == -EPERM) {
        return error_set(err, -EACCES, "no-permission", DEVICE,
                         DEVICE ": this user may not open it (on most systems the group `kvm` may)");
    }
    if (code == -ENOENT || code == -ENXIO || code == -ENODEV) {
        return error_set(err, -ENODEV, "no-device", DEVICE,
                         DEVICE ": there is no such device: the kernel has no KVM here, or it is not loaded");
    }
    return error_host(err, code, DEVICE, DEVICE ": it cannot be opened");
}

static int missing(const char *what, struct mv_error *err)
{
    return error_set(err, -ENOTSUP, "missing-capability", DEVICE, DEVICE ": it lacks %s", what);
}

/* Without these nothing runs. Others are asked for where they are used, and done without. */
static const struct {
    unsigned number;
    const char *name;
} required[] = {
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    {KVM_CAP_NR_MEMSLOTS, "KVM_CAP_NR_MEMSLOTS"},
    {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
};

static int check_device(int kvm_fd, struct mv_error *err)
{
    int version = ioctl(kvm_fd, KVM_GET_API_VERSION, 0UL);
    if (version < 0) {
        return error_set(err, -ENODEV, "no-device", DEVICE, DEVICE ": it is not a KVM device");
    }
    if (version != KVM_API_VERSION) {
        return missing("version 12 of the KVM API", err);
    }
    for (size_t i = 0; i < sizeof required / sizeof required[0]; i++) {
        if (kvm_capability(kvm_fd, required[i].number) == 0) {
            return missing(required[i].name, err);
        }
    }
    return 0;
}

int kvm_open(struct mv_error *err)
{
    int kvm_fd = open(DEVICE, O_RDWR | O_CLOEXEC);
    if (kvm_fd < 0) {
        return refuse_open(error_errno(), err);
    }
    int rc = check_device(kvm_fd, err);
    if (rc < 0) {
        close(kvm_fd);
        return rc;
    }
    return kvm_fd;
}

static void check(struct mv_accel_status *ret)
{
    struct mv_error err;
    *ret = (struct mv_accel_status){.name = "kvm", .runs_guests = true};
    int kvm_fd = kvm_open(&err);
    if (kvm_fd < 0) {
        ret->reason = err.reason;
        snprintf(ret->text, sizeof ret->text, "%s", err.text);
        return;
    }
    ret->usable = true;
    ret->reason = "ok";
    snprintf(ret->text, sizeof ret->text, DEVICE ": KVM API version %d, %d memory slots, %s read-only slots",
             KVM_API_VERSION, kvm_capability(kvm_fd, KVM_CAP_NR_MEMSLOTS),
             kvm_capability(kvm_fd, KVM_CAP_READONLY_MEM) ? "with" : "without");
    close(kvm_fd);
}

/* --- the contract, one ioctl each -------------------------------------------------------------- */

static int result_of(int ioctl_result)
{
    return ioctl_result < 0 ? error_errno() : 0;
}

static unsigned max_slots(const struct accel_vm *vm)
{
    return vm->max_slots;
}

static bool has_readonly_slots(const struct accel_vm *vm)
{
    return vm->readonly_slots;
}

static struct accel_paging paging(const struct accel_vm *vm)
{
    return kvm_cpuid_paging(vm->cpuid);
}

static int set_slot(struct accel_vm *vm, const struct kvm_userspace_memory_region *slot)
{
    return result_of(ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, slot));
}

static int get_dirty_log(struct accel_vm *vm, const struct kvm_dirty_log *log)
{
    return result_of(ioctl(vm->vm_fd, KVM_GET_DIRTY_LOG, log));
}

static int clear_dirty_log(struct accel_vm *vm, const struct kvm_clear_dirty_log *log)
{
    return result_of(ioctl(vm->vm_fd, KVM_CLEAR_DIRTY_LOG, log));
}

static int reset_dirty_rings(struct accel_vm *vm)
{
    int count = ioctl(vm->vm_fd, KVM_RESET_DIRTY_RINGS, 0UL);
    return count < 0 ? error_errno() : count;
}

static struct accel_dirty_ring dirty_ring(struct accel_vcpu *vcpu)
{
    return (struct accel_dirty_ring){vcpu->dirty_ring, vcpu->dirty_ring ? vcpu->vm->dirty_ring_entries : 0};
}

static bool dirty_log_is_manual(const struct accel_vm *vm)
{
    return vm->manual_dirty_log;
}

static int ioeventfd(struct accel_vm *vm, const struct kvm_ioeventfd *eventfd)
{
    if (!vm->ioeventfds || (eventfd->len == 0 && !vm->ioeventfds_any_length)) {
        return -ENOTSUP;
    }
    return result_of(ioctl(vm->vm_fd, KVM_IOEVENTFD, eventfd));
}

static int coalesce(struct accel_vm *vm, const struct kvm_coalesced_mmio_zone *zone, bool add)
{
    if (vm->coalesced_page == 0 || (zone->pio && !vm->coalesced_pio)) {
        return -ENOTSUP;
    }
    return result_of(ioctl(vm->vm_fd, add ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO, zone));
}

static struct kvm_coalesced_mmio_ring *coalesced_ring(struct accel_vcpu *vcpu)
{
    size_t page = (size_t)os_page_size();
    size_t at = vcpu->vm->coalesced_page * page;
    return at == 0 || at + page > vcpu->vm->run_size ? NULL : (void *)((unsigned char *)vcpu->run + at);
}

static void vm_counters(struct accel_vm *vm, accel_counter_fn *each, void *opaque)
{
    kvm_stats_read(&vm->stats, each, opaque);
}

static struct kvm_run *run_area(struct accel_vcpu *vcpu)
{
    return vcpu->run;
}

static int run(struct accel_vcpu *vcpu)
{
    vcpu->run->exit_reason = KVM_EXIT_UNKNOWN; /* what was there before must not explain an EFAULT */
    int rc = result_of(ioctl(vcpu->vcpu_fd, KVM_RUN, 0UL));
    return rc == -EFAULT && vcpu->run->exit_reason == KVM_EXIT_MEMORY_FAULT ? 0 : rc;
}

static int get_regs(struct accel_vcpu *vcpu, struct kvm_regs *ret)
{
    return result_of(ioctl(vcpu->vcpu_fd, KVM_GET_REGS, ret));
}

static int set_regs(struct accel_vcpu *vcpu, const struct kvm_regs *regs)
{
    return result_of(ioctl(vcpu->vcpu_fd, KVM_SET_REGS, regs));
}

static int get_sregs(struct accel_vcpu *vcpu, struct kvm_sregs *ret)
{
    return result_of(ioctl(vcpu->vcpu_fd, KVM_GET_SREGS, ret));
}

static int set_sregs(struct accel_vcpu *vcpu, const struct kvm_sregs *sregs)
{
    return result_of(ioctl(vcpu->vcpu_fd, KVM_SET_SREGS, sregs));
}

static int translate(struct accel_vcpu *vcpu, struct kvm_translation *translation)
{
    return result_of(ioctl(vcpu->vcpu_fd, KVM_TRANSLATE, translation));
}

static void vcpu_counters(struct accel_vcpu *vcpu, accel_counter_fn *each, void *opaque)
{
    kvm_stats_read(&vcpu->stats, each, opaque);
}

const struct accel accel_kvm = {
    .name = "kvm",
    .check = check,
    .vm_create = kvm_vm_create,
    .vm_destroy = kvm_vm_destroy,
    .max_slots = max_slots,
    .has_readonly_slots = has_readonly_slots,
    .paging = paging,
    .set_slot = set_slot,
    .has_guest_memfds = kvm_private_has_guest_memfds,
    .create_guest_memfd = kvm_private_create_guest_memfd,
    .set_private_slot = kvm_private_set_slot,
    .attributes = kvm_private_attributes,
    .set_attributes = kvm_private_set_attributes,
    .get_dirty_log = get_dirty_log,
    .clear_dirty_log = clear_dirty_log,
    .dirty_log_is_manual = dirty_log_is_manual,
    .reset_dirty_rings = reset_dirty_rings,
    .dirty_ring = dirty_ring,
    .ioeventfd = ioeventfd,
    .coalesce = coalesce,
    .coalesced_ring = coalesced_ring,
    .vm_counters = vm_counters,
    .vcpu_create = kvm_vcpu_create,
    .vcpu_destroy = kvm_vcpu_destroy,
    .run_area = run_area,
    .run = run,
    .get_regs = get_regs,
    .set_regs = set_regs,
    .get_sregs = get_sregs,
    .set_sregs = set_sregs,
    .translate = translate,
    .vcpu_counters = vcpu_counters,
};
