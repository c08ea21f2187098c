// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "accel/kvm/cpuid.h"
#include "accel/kvm/internal.h"
#include "base/error.h"
#include "base/os.h"

static size_t ring_bytes(const struct accel_vm *vm)
{
    return vm->dirty_ring_entries * sizeof(struct kvm_dirty_gfn);
}

static int map_dirty_ring(struct accel_vcpu *vcpu, unsigned index, struct mv_error *err)
{
    off_t at = (off_t)(KVM_DIRTY_LOG_PAGE_OFFSET * os_page_size());
    if (vcpu->vm->dirty_ring_entries == 0) {
        return 0;
    }
    void *ring = mmap(NULL, ring_bytes(vcpu->vm), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->vcpu_fd, at);
    if (ring == MAP_FAILED) {
        return error_host(err, error_errno(), "/dev/kvm", "vCPU %u: its dirty ring cannot be mapped", index);
    }
    vcpu->dirty_ring = ring;
    return 0;
}

static int fill(struct accel_vcpu *vcpu, unsigned index, struct mv_error *err)
{
    struct accel_vm *vm = vcpu->vm;
    vcpu->vcpu_fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
    if (vcpu->vcpu_fd < 0) {
        return error_host(err, error_errno(), "/dev/kvm", "vCPU %u: KVM_CREATE_VCPU failed", index);
    }
    void *area = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->vcpu_fd, 0);
    if (area == MAP_FAILED) {
        return error_host(err, error_errno(), "/dev/kvm", "vCPU %u: its run area cannot be mapped", index);
    }
    vcpu->run = area;
    int rc = map_dirty_ring(vcpu, index, err);
    if (rc < 0) {
        return rc;
    }
    rc = kvm_stats_open(&vcpu->stats, vcpu->vcpu_fd);
    if (rc < 0) {
        return error_host(err, rc, "/dev/kvm", "vCPU %u: its statistics cannot be had", index);
    }
    return kvm_cpuid_set(vcpu->vcpu_fd, vm->cpuid, index, err);
}

int kvm_vcpu_create(struct accel_vm *vm, unsigned index, struct accel_vcpu **ret, struct mv_error *err)
{
    struct accel_vcpu *vcpu = calloc(1, sizeof *vcpu);
    if (!vcpu) {
        return error_set(err, -ENOMEM, "no-memory", "/dev/kvm", "vCPU %u: out of memory", index);
    }
    *vcpu = (struct accel_vcpu){.vm = vm, .vcpu_fd = -1, .stats = KVM_STATS_NONE};
    int rc = fill(vcpu, index, err);
    if (rc < 0) {
        kvm_vcpu_destroy(vcpu);
        return rc;
    }
    *ret = vcpu;
    return 0;
}

void kvm_vcpu_destroy(struct accel_vcpu *vcpu)
{
    kvm_stats_close(&vcpu->stats);
    if (vcpu->run) {
        munmap(vcpu->run, vcpu->vm->run_size);
    }
    if (vcpu->dirty_ring) {
        munmap(vcpu->dirty_ring, ring_bytes(vcpu->vm));
    }
    if (vcpu->vcpu_fd >= 0) {
        close(vcpu->vcpu_fd);
    }
    free(vcpu);
}
