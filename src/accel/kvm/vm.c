// SPDX-License-Identifier: MIT
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "accel/kvm/cpuid.h"
#include "accel/kvm/internal.h"
#include "accel/kvm/private.h"
#include "base/error.h"

/*
 * On Intel processors without unrestricted guests KVM needs three pages for a task state segment and one for an
 * identity page table, below 4 GiB, where no slot is: below the boot ROM (KVM API, KVM_SET_TSS_ADDR and
 * KVM_SET_IDENTITY_MAP_ADDR). Elsewhere the calls do nothing.
 */
#define IDENTITY_MAP_GPA UINT64_C(0xfeffc000)
#define TSS_GPA (IDENTITY_MAP_GPA + 0x1000)

static int reserve_pages(const struct accel_vm *vm, struct mv_error *err)
{
    uint64_t identity = IDENTITY_MAP_GPA;
    if (kvm_capability(vm->kvm_fd, KVM_CAP_SET_IDENTITY_MAP_ADDR) &&
        ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0) {
        return error_host(err, error_errno(), "/dev/kvm", "/dev/kvm: KVM_SET_IDENTITY_MAP_ADDR failed");
    }
    if (kvm_capability(vm->kvm_fd, KVM_CAP_SET_TSS_ADDR) && ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, TSS_GPA) < 0) {
        return error_host(err, error_errno(), "/dev/kvm", "/dev/kvm: KVM_SET_TSS_ADDR failed");
    }
    return 0;
}

/* With it the log is cleared when somebody takes it, page by page, and not for all that was asked for. */
static bool enable_manual_dirty_log(const struct accel_vm *vm, unsigned flags)
{
    struct kvm_enable_cap cap = {
        .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
        .args = {flags},
    };
    return ((unsigned)kvm_capability(vm->kvm_fd, cap.cap) & flags) == flags &&
           ioctl(vm->vm_fd, KVM_ENABLE_CAP, &cap) == 0;
}

static int choose_bitmaps(struct accel_vm *vm, const struct accel_vm_options *options, struct mv_error *err)
{
    if (!options->dirty_initially_set) {
        vm->manual_dirty_log = enable_manual_dirty_log(vm, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
        return 0;
    }
    vm->manual_dirty_log =
        enable_manual_dirty_log(vm, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET);
    return vm->manual_dirty_log ? 0
                                : error_set(err, -ENOTSUP, "missing-capability", "/dev/kvm",
                                            "/dev/kvm: it lacks KVM_DIRTY_LOG_INITIALLY_SET");
}

/* The second one promises the order of loads and stores that we rely on; on x86 both do. */
static int choose_rings(struct accel_vm *vm, const struct accel_vm_options *options, struct mv_error *err)
{
    struct kvm_enable_cap cap = {.cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL};
    uint64_t bytes = options->dirty_ring_entries * (uint64_t)sizeof(struct kvm_dirty_gfn);
    int most = kvm_capability(vm->kvm_fd, cap.cap);
    if (most == 0) {
        cap.cap = KVM_CAP_DIRTY_LOG_RING;
        most = kvm_capability(vm->kvm_fd, cap.cap);
    }
    if (most == 0) {
        return error_set(err, -ENOTSUP, "missing-capability", "/dev/kvm", "/dev/kvm: it lacks dirty rings");
    }
    cap.args[0] = bytes;
    if (bytes > (uint64_t)most || ioctl(vm->vm_fd, KVM_ENABLE_CAP, &cap) < 0) {
        return error_set(err, -EINVAL, "bad-ring", "/dev/kvm",
                         "/dev/kvm: dirty rings of %" PRIu32 " entries are too small or too large (at most %zu)",
                         options->dirty_ring_entries, (size_t)most / sizeof(struct kvm_dirty_gfn));
    }
    vm->dirty_ring_entries = options->dirty_ring_entries;
    return 0;
}

static int create(struct accel_vm *vm, const struct accel_vm_options *options, struct mv_error *err)
{
    unsigned long type = 0;
    vm->kvm_fd = kvm_open(err);
    if (vm->kvm_fd < 0) {
        return vm->kvm_fd;
    }
    if (options->private_pages) {
        int rc = kvm_private_vm_type(vm->kvm_fd, &type, err);
        if (rc < 0) {
            return rc;
        }
    }
    do { /* making a VM takes a while, and a signal may interrupt it */
        vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, type);
    } while (vm->vm_fd < 0 && errno == EINTR);
    return vm->vm_fd < 0 ? error_host(err, error_errno(), "/dev/kvm", "/dev/kvm: KVM_CREATE_VM failed") : 0;
}

static int fill(struct accel_vm *vm, const struct accel_vm_options *options, struct mv_error *err)
{
    int rc = create(vm, options, err);
    if (rc < 0) {
        return rc;
    }
    int run_size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0UL);
    if (run_size < (int)sizeof(struct kvm_run)) {
        return error_set(err, -ENOTSUP, "missing-capability", "/dev/kvm",
                         "/dev/kvm: its vCPU area of %d bytes is too small", run_size);
    }
    vm->run_size = (size_t)run_size;
    vm->max_slots = (unsigned)kvm_capability(vm->kvm_fd, KVM_CAP_NR_MEMSLOTS);
    vm->readonly_slots =
        kvm_capability(options->private_pages ? vm->vm_fd : vm->kvm_fd, KVM_CAP_READONLY_MEM) != 0;
    vm->coalesced_page = (unsigned)kvm_capability(vm->kvm_fd, KVM_CAP_COALESCED_MMIO);
    vm->coalesced_pio = kvm_capability(vm->kvm_fd, KVM_CAP_COALESCED_PIO) != 0;
    vm->ioeventfds = kvm_capability(vm->kvm_fd, KVM_CAP_IOEVENTFD) != 0;
    vm->ioeventfds_any_length = kvm_capability(vm->kvm_fd, KVM_CAP_IOEVENTFD_ANY_LENGTH) != 0;
    rc = options->dirty_ring_entries ? choose_rings(vm, options, err) : choose_bitmaps(vm, options, err);
    if (rc < 0) {
        return rc;
    }
    kvm_private_ask(vm);
    rc = kvm_stats_open(&vm->stats, vm->vm_fd);
    if (rc < 0) {
        return error_host(err, rc, "/dev/kvm", "/dev/kvm: its statistics of the VM cannot be had");
    }
    rc = kvm_cpuid_supported(vm->kvm_fd, &vm->cpuid, err);
    return rc < 0 ? rc : reserve_pages(vm, err);
}

int kvm_vm_create(const struct accel_vm_options *options, struct accel_vm **ret, struct mv_error *err)
{
    if (options->properties) {
        return error_set(err, -EINVAL, "bad-property", "kvm",
                         "accelerator kvm: it has no properties, and so no '%s'", options->properties);
    }
    struct accel_vm *vm = calloc(1, sizeof *vm);
    if (!vm) {
        return error_set(err, -ENOMEM, "no-memory", "/dev/kvm", "/dev/kvm: out of memory");
    }
    vm->kvm_fd = vm->vm_fd = -1;
    vm->stats = KVM_STATS_NONE;
    int rc = fill(vm, options, err);
    if (rc < 0) {
        kvm_vm_destroy(vm);
        return rc;
    }
    *ret = vm;
    return 0;
}

void kvm_vm_destroy(struct accel_vm *vm)
{
    kvm_stats_close(&vm->stats);
    free(vm->cpuid);
    if (vm->vm_fd >= 0) {
        close(vm->vm_fd);
    }
    if (vm->kvm_fd >= 0) {
        close(vm->kvm_fd);
    }
    free(vm);
}
