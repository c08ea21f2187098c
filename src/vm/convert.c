// SPDX-License-Identifier: MIT
#include "vm/convert.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/kvm_para.h>
#include <memvirt/privacy.h>

#include "base/addr.h"
#include "base/error.h"
#include "machine/machine.h"
#include "machine/region.h"

/* KVM hypercalls, "KVM_HC_MAP_GPA_RANGE": a page is of 4 KiB; bit 4 of the attributes says encrypted. */
#define MAP_GPA_PAGE_BYTES UINT64_C(4096)
#define MAP_GPA_ENCRYPTED (UINT64_C(1) << 4)

/* A part of a block that guest addresses show. */
struct piece {
    struct mv_block *block;
    uint64_t offset;
    uint64_t length;
};

/* Control lock held. What the beginning of `range` shows; false where that is no block with a record. */
static bool find_piece(struct mv_vm *vm, struct mv_range range, struct piece *ret)
{
    struct mv_section section;
    const struct mv_view *view = mv_space_view(vm->options.memory);
    bool found = mv_view_lookup(view, mv_gpa(range.first), &section);
    mv_view_release(view);
    if (!found || !section.region->ram.block || !mv_privacy_has(section.region->ram.block)) {
        return false;
    }
    uint64_t last = range.last < section.range.last ? range.last : section.range.last;
    *ret = (struct piece){
        .block = section.region->ram.block,
        .offset = section.region->ram.offset + section.offset + (range.first - section.range.first),
        .length = last - range.first + 1,
    };
    return true;
}

/* Control lock held. Whether all of `range` can be converted. */
static bool is_convertible(struct mv_vm *vm, struct mv_range range)
{
    struct piece piece;
    for (uint64_t at = range.first;; at += piece.length) {
        if (!find_piece(vm, (struct mv_range){at, range.last}, &piece)) {
            return false;
        }
        if (range.last - at == piece.length - 1) {
            return true;
        }
    }
}

/* Control lock held. */
static int convert(struct mv_vm *vm, struct mv_range range, enum mv_privacy_kind kind, struct mv_error *err)
{
    struct piece piece;
    int rc = 0;
    for (uint64_t at = range.first; rc == 0; at += piece.length) {
        if (!find_piece(vm, (struct mv_range){at, range.last}, &piece)) {
            return error_set(err, -EFAULT, "memory-fault", "memory", "nothing there could be converted");
        }
        rc = mv_privacy_convert(piece.block, piece.offset, piece.length, kind, err);
        if (range.last - at == piece.length - 1) {
            return rc;
        }
    }
    return rc;
}

/*
 * Another vCPU may have converted the pages since this one's run ended, and then there is nothing to do but to run
 * again. If it comes back to the same address, and nobody converted anything meanwhile, it would for ever.
 */
static bool is_futile(struct mv_vcpu *vcpu, uint64_t gpa, uint64_t conversions)
{
    bool again = vcpu->futile_fault && vcpu->futile_gpa == gpa && vcpu->futile_conversions == conversions;
    vcpu->futile_fault = true;
    vcpu->futile_gpa = gpa;
    vcpu->futile_conversions = conversions;
    return again;
}

int convert_on_fault(struct mv_vcpu *vcpu, struct mv_error *err)
{
    struct mv_vm *vm = vcpu->vm;
    struct accel_memory_fault fault = accel_memory_fault(vcpu->run);
    bool private = (fault.flags & KVM_MEMORY_ATTRIBUTE_PRIVATE) != 0;
    struct mv_range range;
    machine_lock(vm->options.memory->machine);
    uint64_t before = slots_conversions(vm->slots);
    int rc = -EFAULT;
    if (range_of(fault.gpa, fault.size_bytes, &range) && is_convertible(vm, range)) {
        rc = convert(vm, range, private ? MV_PAGES_PRIVATE : MV_PAGES_SHARED, err);
        if (rc == 0 && slots_conversions(vm->slots) == before && is_futile(vcpu, fault.gpa, before)) {
            rc = -EFAULT;
        }
    }
    machine_unlock(vm->options.memory->machine);
    if (rc != -EFAULT) {
        return rc;
    }
    return error_set(err, rc, "memory-fault", "memory",
                     "a memory fault at gpa " PRI_ADDR ", %" PRIu64 " bytes, taken for %s", fault.gpa,
                     fault.size_bytes, private ? "private" : "shared");
}

/* What KVM_HC_MAP_GPA_RANGE returns to the guest: 0 or a negative errno, which KVM gives the same numbers. */
static int map_gpa_range(struct mv_vm *vm, uint64_t gpa, uint64_t npages, uint64_t attributes)
{
    uint64_t size;
    struct mv_range range;
    if (__builtin_mul_overflow(npages, MAP_GPA_PAGE_BYTES, &size) || size == MV_SIZE_2_64 ||
        !range_of(gpa, size, &range)) {
        return -EINVAL;
    }
    machine_lock(vm->options.memory->machine);
    int rc = is_convertible(vm, range)
                 ? convert(vm, range, attributes & MAP_GPA_ENCRYPTED ? MV_PAGES_PRIVATE : MV_PAGES_SHARED, NULL)
                 : -EINVAL;
    machine_unlock(vm->options.memory->machine);
    return rc == 0 || rc == -EINVAL ? rc : -EPERM;
}

void convert_on_hypercall(struct mv_vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    int rc = -KVM_ENOSYS;
    if (run->hypercall.nr == KVM_HC_MAP_GPA_RANGE) {
        rc = map_gpa_range(vcpu->vm, run->hypercall.args[0], run->hypercall.args[1], run->hypercall.args[2]);
    }
    run->hypercall.ret = (__u64)rc;
}
