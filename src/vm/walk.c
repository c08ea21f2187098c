// SPDX-License-Identifier: MIT
#include "vm/walk.h"

#include <string.h>

struct paging walk_paging(const struct mv_vm *vm, const struct kvm_sregs *sregs)
{
    struct accel_paging model = vm->ops->paging(vm->accel);
    const struct paging_cpu cpu = {
        .address_bits = (uint8_t)(model.address_bits < 52 ? model.address_bits : 52),
        .has_1g_pages = model.has_1g_pages,
        .has_pse36 = true,
        .is_amd = model.is_amd,
    };
    const struct paging_regs regs = {.cr0 = sregs->cr0, .cr3 = sregs->cr3, .cr4 = sregs->cr4, .efer = sregs->efer};
    struct paging paging;
    paging_compile(&paging, &regs, &cpu);
    paging_walk_pdptrs(&paging, &cpu);
    return paging;
}

gva_t walk_next_instruction(const struct kvm_regs *regs, const struct kvm_sregs *sregs)
{
    const bool is_64bit = (sregs->efer & X86_EFER_LMA) && sregs->cs.l;
    return mv_gva(is_64bit ? regs->rip : (sregs->cs.base + regs->rip) & UINT32_MAX);
}

bool walk_read(void *opaque, gpa_t at, unsigned size_bytes, uint64_t *ret)
{
    struct mv_hold hold;
    if (mv_space_hold(opaque, at, size_bytes, &hold) != MV_OK) {
        return false;
    }
    bool whole = hold.length == size_bytes;
    if (whole) {
        uint64_t entry = 0;
        memcpy(&entry, hold.bytes, size_bytes); /* the guest's byte order is ours: both are x86 */
        *ret = entry;
    }
    mv_hold_release(&hold);
    return whole;
}

bool walk_to_gpa(struct mv_vm *vm, const struct kvm_sregs *sregs, gva_t gva, gpa_t *ret)
{
    struct paging paging = walk_paging(vm, sregs);
    struct x86_walk walk;
    x86_walk(&paging, gva, walk_read, vm->options.memory, &walk);
    if (walk.end != X86_WALK_MAPPED) {
        return false;
    }
    *ret = walk.gpa;
    return true;
}
