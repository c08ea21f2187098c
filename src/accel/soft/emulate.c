// SPDX-License-Identifier: MIT
/*
 * The walk that the hypervisor makes itself, where the hardware cannot: the access is to no RAM, or a guest table
 * is where the hardware may not write. Tables are read by slot. In a read-only slot they go without A and D, as
 * with KVM.
 */
#include "accel/soft/internal.h"

static void *entry_bytes(void *ctx, gpa_t at, unsigned level, enum guest_walk_end *ret_end)
{
    (void)level;
    struct accel_vcpu *vcpu = ctx;
    void *bytes = hv_guest_bytes(vcpu->hv, at, MV_ACCESS_READ);
    if (!bytes) {
        *ret_end = GUEST_WALK_NO_MEMORY;
    }
    return bytes;
}

static enum guest_update update_bits(void *ctx, gpa_t at, unsigned level, uint64_t bits)
{
    (void)level;
    (void)bits;
    struct accel_vcpu *vcpu = ctx;
    return hv_guest_bytes(vcpu->hv, at, MV_ACCESS_WRITE) ? GUEST_UPDATE_ALLOWED : GUEST_UPDATE_SKIP;
}

static const struct guest_walk_ops emulating = {.entry = entry_bytes, .update = update_bits};
static const struct guest_walk_ops looking = {.entry = entry_bytes};

static struct paging compiled(const struct accel_vcpu *vcpu)
{
    struct paging paging;
    struct paging_cpu cpu = soft_paging_cpu(vcpu->vm);
    paging_compile(&paging, hw_mmu_regs(vcpu->hw), &cpu);
    return paging;
}

enum mv_soft_end soft_emulate(struct accel_vcpu *vcpu, gva_t gva, struct pt_access access, struct soft_target *ret,
                              struct mv_soft_outcome *outcome)
{
    struct paging paging = compiled(vcpu);
    struct guest_walk walk;
    guest_walk(&paging, gva, access, &emulating, vcpu, 0, NULL, &walk);
    if (walk.end != GUEST_WALK_MAPPED) {
        struct hw_fault fault = {.vector = walk.end == GUEST_WALK_NON_CANONICAL ? 13 : 14,
                                 .error_code = walk.end == GUEST_WALK_NON_CANONICAL ? 0 : walk.error_code,
                                 .address = gva,
                                 .rule = walk.end,
                                 .level = walk.level,
                                 .entry = walk.level > 0 ? walk.entry : 0,
                                 .reserved = walk.end == GUEST_WALK_RESERVED ? walk.reserved : 0};
        soft_tell_fault(vcpu, &fault, outcome);
        hv_count_own(&vcpu->faults_reflected, 1); /* the hardware did not see it */
        return MV_SOFT_FAULT;
    }
    *ret = (struct soft_target){.host = hv_guest_bytes(vcpu->hv, walk.gpa, access.kind),
                                .gpa = walk.gpa,
                                .page_shift = GUEST_PAGE_SHIFT,
                                .is_emulated = soft_has_shadow(vcpu)};
    return MV_SOFT_DONE;
}

bool soft_look(struct accel_vcpu *vcpu, gva_t gva, gpa_t *ret)
{
    struct paging paging = compiled(vcpu);
    struct guest_walk walk;
    enum pt_who who = vcpu->regs.rflags & RFLAGS_AC ? PT_SUPERVISOR_AC : PT_SUPERVISOR;
    guest_walk(&paging, gva, (struct pt_access){MV_ACCESS_READ, who}, &looking, vcpu, 0, NULL, &walk);
    if (walk.end != GUEST_WALK_MAPPED) {
        return false;
    }
    *ret = walk.gpa;
    return true;
}
