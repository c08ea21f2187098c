// SPDX-License-Identifier: MIT
/*
 * Looking without touching: what the second dimension has for a guest-physical address. Requests of the vCPU are
 * left alone, since seeing to them makes a root; so it is the VM's present root that is asked and not the vCPU's,
 * which may be obsolete.
 */
#include "hardware/look.h"
#include <string.h>

#include "accel/soft/internal.h"
#include "hypervisor/shadow_look.h"

/* Hybrid: a table that is shadowed may not be written through EPT. */
static bool is_to_table(const struct hv_vcpu *hv, const struct hv_slot *slot, gpa_t gpa)
{
    struct hv_vm *vm = hv->vm;
    if (vm->options.mmu != HV_MMU_HYBRID) {
        return false;
    }
    pthread_mutex_lock(&shadow_of(vm)->lock);
    uint64_t host = hv_slot_hva(slot, gpa.raw >> GUEST_PAGE_SHIFT).raw;
    bool ret = shadow_is_tracked(shadow_of(vm), host >> GUEST_PAGE_SHIFT);
    pthread_mutex_unlock(&shadow_of(vm)->lock);
    return ret;
}

static enum mv_nested_answer answer_to(struct accel_vcpu *vcpu, gpa_t gpa, enum mv_nested_use use, unsigned need)
{
    struct hv_vcpu *hv = vcpu->hv;
    const struct hv_slot *slot =
        hv_slot_of_gfn(hv_slots(hv), gpa.raw >> GUEST_PAGE_SHIFT, &hv->slot_hint[hv->space]);
    if (!slot) {
        return MV_NESTED_NO_SLOT;
    }
    if ((need & (1u << MV_ACCESS_WRITE)) && (slot->flags & KVM_MEM_READONLY)) {
        return MV_NESTED_READONLY_SLOT;
    }
    return use == MV_NESTED_WRITE && is_to_table(hv, slot, gpa) ? MV_NESTED_STORE : MV_NESTED_REPAIR;
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
        ret->answer = look.end == HW_LOOK_LOG_FULL ? MV_NESTED_REPAIR : answer_to(vcpu, gpa, use, look.need);
        ret->exit = soft_exit_name(look.exit.reason);
        ret->code = look.exit.code;
    }
    rendezvous_leave(&vcpu->hv->inside);
    ret->format = vm->options.mmu == HV_MMU_NPT ? "npt" : "ept";
    fill(&look, gpa, ret);
}

/* --- Shadow tables ----------------------------------------------------------------------------------------- */

static enum mv_nested_end end_of_walk(enum guest_walk_end end)
{
    switch (end) {
    case GUEST_WALK_MAPPED: return MV_NESTED_MAPPED;
    case GUEST_WALK_DENIED:
    case GUEST_WALK_KEY_DENIED: return MV_NESTED_DENIED;
    case GUEST_WALK_RESERVED: return MV_NESTED_BAD_ENTRY;
    case GUEST_WALK_NOT_PRESENT:
    case GUEST_WALK_NON_CANONICAL:
    case GUEST_WALK_NO_MEMORY:
    case GUEST_WALK_STOPPED: break;
    }
    return MV_NESTED_NOT_PRESENT;
}

static enum mv_shadow_answer answer_of(enum hv_shadow_answer answer)
{
    switch (answer) {
    case HV_SHADOW_GOES_ON: return MV_SHADOW_NO_EXIT;
    case HV_SHADOW_FIX: return MV_SHADOW_FIX;
    case HV_SHADOW_OPEN: return MV_SHADOW_OPEN;
    case HV_SHADOW_STORE: return MV_SHADOW_STORE;
    case HV_SHADOW_WITHOUT_WP: return MV_SHADOW_WITHOUT_WP;
    case HV_SHADOW_REFLECT: return MV_SHADOW_REFLECT;
    case HV_SHADOW_NO_SLOT: return MV_SHADOW_NO_SLOT;
    case HV_SHADOW_READONLY_SLOT: break;
    }
    return MV_SHADOW_READONLY_SLOT;
}

static void fill_role(union shadow_role role, struct mv_shadow_entry *ret)
{
    static const char *const quadrants[] = {"quadrant 0", "quadrant 1", "quadrant 2", "quadrant 3"};
    const struct {
        bool is_set;
        const char *name;
    } words[] = {
        {role.direct, "direct"},
        {role.glue, "glue"},
        {role.has_4_byte_entries && !role.glue, quadrants[role.quadrant]},
        {role.no_execute, "efer.nxe"},
        {role.write_protect, "cr0.wp"},
        {role.large_4m, "cr4.pse"},
        {role.smep, "cr4.smep"},
        {role.smap, "cr4.smap"},
        {role.keys, "keys"},
        {role.smm, "smm"},
    };
    static_assert(sizeof words / sizeof words[0] <= MV_SHADOW_ROLE_MAX, "there is room for all");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (words[i].is_set) {
            ret->role[ret->role_count++] = words[i].name;
        }
    }
}

static void fill_steps(const struct hv_shadow_look *look, gva_t gva, struct mv_shadow *ret)
{
    ret->entry_count = look->count;
    for (unsigned i = 0; i < look->count; i++) {
        const struct hv_shadow_step *step = &look->steps[i];
        unsigned level = step->role.level;
        ret->entries[i] =
            (struct mv_shadow_entry){.name = x86_entry_name(level),
                                     .level = level,
                                     .index = pt_index(gva.raw, level),
                                     .at = hva_of(step->at),
                                     .value = step->entry,
                                     .has_table = !step->role.direct && !step->role.glue,
                                     .table = mv_gpa(step->role.glue ? 0 : step->gfn << GUEST_PAGE_SHIFT),
                                     .rights = step->role.access,
                                     .unsync = step->unsync,
                                     .open = step->open};
        fill_role(step->role, &ret->entries[i]);
    }
}

void soft_look_shadow(struct accel_vcpu *vcpu, gva_t gva, const struct pt_access *access, struct mv_shadow *ret)
{
    const struct hv_mmu_ops *mmu = vcpu->vm->hv->mmu;
    *ret = (struct mv_shadow){.end = MV_NESTED_NONE};
    if (!mmu->look) {
        return;
    }
    struct hv_shadow_look look;
    rendezvous_enter(&vcpu->hv->inside);
    mmu->look(vcpu->hv, gva, *access, &look);
    rendezvous_leave(&vcpu->hv->inside);
    bool is_emulated = vcpu->vm->options.hv.emulate_supervisor && access->who != PT_USER; /* no hardware walks */
    ret->end = look.guest_level > 0 ? MV_NESTED_SWITCHED : end_of_walk(look.end);
    ret->guest_level = look.guest_level;
    ret->answer = is_emulated ? MV_SHADOW_NO_EXIT : answer_of(look.answer);
    ret->rights = look.rights; /* MV_RIGHT_ are the same bits */
    ret->is_table = look.is_table;
    ret->is_protected = look.protects;
    if (look.host) {
        ret->page_size_bytes = UINT64_C(1) << look.shift;
        ret->hva = mv_hva(look.host);
    }
    if (ret->answer != MV_SHADOW_NO_EXIT) {
        ret->exit = soft_exit_name(PT_EXIT_PAGE_FAULT);
        ret->code = look.code;
    }
    fill_steps(&look, gva, ret);
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
