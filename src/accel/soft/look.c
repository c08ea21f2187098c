// SPDX-License-Identifier: MIT
/*
 * Looking without touching: what the second dimension has for a guest-physical address. Requests of the vCPU are
 * left alone, since seeing to them makes a root; so it is the VM's present root that is asked and not the vCPU's,
 * which may be obsolete.
 */
#include "hardware/look.h"
#include <string.h>

#include "accel/soft/internal.h"
#include "hypervisor/mmu_ops.h"

static enum mv_nested_answer answer_to(struct accel_vcpu *vcpu, gpa_t gpa, unsigned need)
{
    struct hv_vcpu *hv = vcpu->hv;
    const struct hv_slot *slot =
        hv_slot_of_gfn(hv_slots(hv), gpa.raw >> GUEST_PAGE_SHIFT, &hv->slot_hint[hv->space]);
    if (!slot) {
        return MV_NESTED_NO_SLOT;
    }
    bool is_refused = (need & (1u << MV_ACCESS_WRITE)) && (slot->flags & KVM_MEM_READONLY);
    return is_refused ? MV_NESTED_READONLY_SLOT : MV_NESTED_REPAIR;
}

static enum hw_look_use use_of(enum mv_nested_use use)
{
    switch (use) {
    case MV_NESTED_READ: return HW_LOOK_READ;
    case MV_NESTED_WRITE: return HW_LOOK_WRITE;
    case MV_NESTED_FETCH: return HW_LOOK_FETCH;
    case MV_NESTED_TABLE: return HW_LOOK_TABLE;
    case MV_NESTED_TABLE_UPDATE: break;
    }
    return HW_LOOK_TABLE_UPDATE;
}

static enum mv_nested_end end_of(enum hw_look_end end)
{
    switch (end) {
    case HW_LOOK_MAPPED: return MV_NESTED_MAPPED;
    case HW_LOOK_NOT_PRESENT: return MV_NESTED_NOT_PRESENT;
    case HW_LOOK_DENIED: return MV_NESTED_DENIED;
    case HW_LOOK_BAD_ENTRY: return MV_NESTED_BAD_ENTRY;
    case HW_LOOK_LOG_FULL: break;
    }
    return MV_NESTED_LOG_FULL;
}

static void fill(const struct hw_look *look, gpa_t gpa, struct mv_nested *ret)
{
    ret->end = end_of(look->end);
    ret->need = look->need;
    ret->rights = look->rights;
    ret->entry_count = look->count;
    for (unsigned i = 0; i < look->count; i++) {
        const struct hw_look_step *step = &look->steps[i];
        ret->entries[i] = (struct mv_nested_entry){.name = x86_entry_name(step->level),
                                                   .level = step->level,
                                                   .index = pt_index(gpa.raw, step->level),
                                                   .at = hva_of(step->at),
                                                   .value = step->entry};
    }
    if (look->host) {
        ret->page_size_bytes = UINT64_C(1) << look->shift;
        ret->hva = hva_of(look->host);
    }
}

void soft_look_nested(struct accel_vcpu *vcpu, gpa_t gpa, enum mv_nested_use use, struct mv_nested *ret)
{
    struct hv_vm *vm = vcpu->vm->hv;
    *ret = (struct mv_nested){.end = MV_NESTED_NONE};
    if (!vm->mmu->present_root) {
        return;
    }
    struct hw_look look;
    rendezvous_enter(&vcpu->hv->inside);
    hw_look_nested(vcpu->hw, vm->mmu->present_root(vm, vcpu->hv->space), gpa, use_of(use), &look);
    if (look.end != HW_LOOK_MAPPED) {
        ret->answer = look.end == HW_LOOK_LOG_FULL ? MV_NESTED_REPAIR : answer_to(vcpu, gpa, look.need);
        ret->exit = soft_exit_name(look.exit.reason);
        ret->code = look.exit.code;
    }
    rendezvous_leave(&vcpu->hv->inside);
    ret->format = vm->mmu->name;
    fill(&look, gpa, ret);
}

void soft_keys(struct accel_vcpu *vcpu, uint32_t *ret_pkru, uint32_t *ret_pkrs)
{
    const struct paging_regs *regs = hw_mmu_regs(vcpu->hw);
    *ret_pkru = regs->pkru;
    *ret_pkrs = regs->pkrs;
}

bool soft_pdptrs(struct accel_vcpu *vcpu, uint64_t ret[4])
{
    memcpy(ret, hw_mmu_regs(vcpu->hw)->pdptr, 4 * sizeof ret[0]);
    return vcpu->vm->options.hw.dimension != HW_NPT;
}
