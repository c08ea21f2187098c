// SPDX-License-Identifier: MIT
/*
 * The loop between the two: the hardware translates until it cannot, the hypervisor repairs what it can, and the
 * access is tried again. All exits are counted here.
 */
#include "accel/soft/internal.h"
#include "hypervisor/mmu_ops.h"

static const char *const exit_names[PT_EXIT_COUNT] = {
    [PT_EXIT_NONE] = "none",
    [PT_EXIT_EPT_VIOLATION] = "ept_violation",
    [PT_EXIT_EPT_MISCONFIG] = "ept_misconfig",
    [PT_EXIT_NPF] = "npf",
    [PT_EXIT_PAGE_FAULT] = "page_fault",
    [PT_EXIT_PML_FULL] = "pml_full",
    [PT_EXIT_TIMER] = "timer",
    [PT_EXIT_NO_MEMORY] = "no_memory",
};

const char *soft_exit_name(enum pt_exit_reason reason)
{
    return exit_names[reason];
}

/* --- Inside ----------------------------------------------------------------------------------------- */

void soft_drain_pml(void *opaque)
{
    struct accel_vcpu *vcpu = opaque;
    struct hw_pml *pml = hw_mmu_pml(vcpu->hw);
    unsigned used_from = pml->index >= HW_PML_ENTRIES ? 0 : pml->index + 1u;
    for (unsigned i = used_from; i < HW_PML_ENTRIES; i++) {
        hv_mark_dirty_gfn(vcpu->hv, pml->buffer[i] >> GUEST_PAGE_SHIFT);
    }
    pml->index = HW_PML_ENTRIES - 1;
}

static void set_logging(struct accel_vcpu *vcpu)
{
    struct hv_vm *vm = vcpu->vm->hv;
    hw_mmu_pml(vcpu->hw)->is_on =
        vm->options.log_by == HV_LOG_BY_PML && atomic_load_explicit(&vm->logged_slots, memory_order_relaxed) > 0;
}

static void see_to_requests(struct accel_vcpu *vcpu)
{
    unsigned requests = hv_request_take(&vcpu->hv->requests);
    if (requests & (HV_REQUEST_DRAIN_PML | HV_REQUEST_LOGGING)) {
        soft_drain_pml(vcpu);
        set_logging(vcpu);
    }
    if (requests & HV_REQUEST_RELOAD_ROOT) {
        (void)vcpu->hv->vm->mmu->load_root(vcpu->hv);
        soft_set_root(vcpu);
    }
    if (requests & (HV_REQUEST_RELOAD_ROOT | HV_REQUEST_FLUSH)) {
        if (soft_has_shadow(vcpu)) {
            hw_mmu_flush_all(vcpu->hw); /* it may have translations of other roots of ours */
        } else if (vcpu->vm->options.hw.dimension == HW_NPT) {
            hw_mmu_tlb_control(vcpu->hw, 3);
        } else {
            hw_mmu_invept(vcpu->hw);
        }
    }
}

void soft_enter(struct accel_vcpu *vcpu)
{
    rendezvous_enter(&vcpu->hv->inside);
    while (__builtin_expect(hv_request_is_pending(&vcpu->hv->requests), 0)) {
        see_to_requests(vcpu);
        if (!hv_stay_out(vcpu->hv)) {
            break;
        }
    }
}

void soft_leave(struct accel_vcpu *vcpu)
{
    rendezvous_leave(&vcpu->hv->inside);
}

/* --- What comes of it ------------------------------------------------------------------------------- */

static enum mv_soft_rule rule_of(enum guest_walk_end end)
{
    switch (end) {
    case GUEST_WALK_NOT_PRESENT: return MV_SOFT_RULE_NOT_PRESENT;
    case GUEST_WALK_RESERVED: return MV_SOFT_RULE_RESERVED_BIT;
    case GUEST_WALK_DENIED: return MV_SOFT_RULE_RIGHTS;
    case GUEST_WALK_KEY_DENIED: return MV_SOFT_RULE_KEY;
    case GUEST_WALK_NON_CANONICAL: return MV_SOFT_RULE_NON_CANONICAL;
    case GUEST_WALK_NO_MEMORY: return MV_SOFT_RULE_NO_TABLE;
    case GUEST_WALK_MAPPED:
    case GUEST_WALK_STOPPED: break;
    }
    return MV_SOFT_RULE_NONE;
}

void soft_tell_fault(struct accel_vcpu *vcpu, const struct hw_fault *fault, struct mv_soft_outcome *outcome)
{
    outcome->end = MV_SOFT_FAULT;
    outcome->fault = (struct mv_soft_fault){.vector = fault->vector,
                                            .error_code = fault->error_code,
                                            .address = fault->address,
                                            .rule = rule_of(fault->rule),
                                            .level = fault->level,
                                            .entry = fault->entry,
                                            .reserved = fault->reserved};
    if (vcpu->has_hooks && vcpu->hooks.fault) {
        vcpu->hooks.fault(vcpu->hooks.opaque, &outcome->fault);
    }
}

static void count_exit(struct accel_vcpu *vcpu, const struct pt_exit *exit)
{
    vcpu->exits[exit->reason]++;
    if (vcpu->has_hooks && vcpu->hooks.exit) {
        vcpu->hooks.exit(vcpu->hooks.opaque, soft_exit_name(exit->reason), exit->gpa, exit->code);
    }
}

static enum mv_soft_end host_error(struct accel_vcpu *vcpu, struct mv_soft_outcome *outcome)
{
    outcome->end = MV_SOFT_HOST_ERROR;
    outcome->error = vcpu->hv->error;
    return MV_SOFT_HOST_ERROR;
}

/* The hypervisor has said whether it was a write to a table. */
static bool has_wrote(const struct accel_vcpu *vcpu, const struct pt_exit *exit)
{
    return exit->reason == PT_EXIT_PAGE_FAULT || (exit->reason == PT_EXIT_EPT_VIOLATION && soft_has_shadow(vcpu));
}

/* Inside. Whether the hypervisor has repaired it, and the access is to be tried again. */
static enum hv_answer handle(struct accel_vcpu *vcpu, const struct pt_exit *exit)
{
    count_exit(vcpu, exit);
    if (exit->reason == PT_EXIT_PML_FULL) {
        soft_drain_pml(vcpu);
        return HV_RETRY;
    }
    enum hv_answer answer = hv_handle_exit(vcpu->hv, exit);
    while (__builtin_expect(answer == HV_SETTLE, 0)) {
        soft_leave(vcpu);
        hv_settle(vcpu->vm->hv);
        soft_enter(vcpu);
        answer = hv_handle_again(vcpu->hv, exit);
    }
    if (has_wrote(vcpu, exit) && vcpu->hv->wrote_table) {
        vcpu->exits[exit->reason]--; /* counted by what it was for */
        vcpu->exits_table_write++;
    }
    return answer;
}

/* A fault that the hypervisor found in the guest's own tables. */
static enum mv_soft_end reflect(struct accel_vcpu *vcpu, gva_t gva, struct mv_soft_outcome *outcome)
{
    const struct hv_guest_fault *f = &vcpu->hv->fault;
    bool is_gp = f->rule == GUEST_WALK_NON_CANONICAL;
    struct hw_fault fault = {.vector = is_gp ? 13 : 14,
                             .error_code = is_gp ? 0 : f->error_code,
                             .address = gva,
                             .rule = f->rule,
                             .level = f->level,
                             .entry = f->entry,
                             .reserved = f->reserved};
    hv_count_own(&vcpu->faults_reflected, 1);
    soft_tell_fault(vcpu, &fault, outcome);
    return MV_SOFT_FAULT;
}

/*
 * Between two tries the vCPU leaves: an editor may be waiting for it, and a fault that is to be retried may be so
 * because of that editor.
 */
static void step_out_and_in(struct accel_vcpu *vcpu)
{
    soft_leave(vcpu);
    soft_enter(vcpu);
}

/* --- The loops -------------------------------------------------------------------------------------- */

static enum mv_soft_end finish(struct accel_vcpu *vcpu, enum mv_soft_end end, const struct soft_target *target,
                               struct mv_soft_outcome *outcome)
{
    if (end == MV_SOFT_DONE && target->host) {
        outcome->end = MV_SOFT_DONE;
        return MV_SOFT_DONE; /* still inside */
    }
    soft_leave(vcpu);
    if (end == MV_SOFT_DONE) {
        outcome->end = MV_SOFT_MMIO;
        outcome->mmio.gpa = target->gpa;
        return MV_SOFT_MMIO;
    }
    return end;
}

/* Not inline: taken apart here, the struct would be put together again by way of memory, for 14 ns an access. */
static __attribute__((noinline)) bool is_supervisor(struct pt_access access)
{
    return access.who != PT_USER;
}

enum mv_soft_end soft_translate(struct accel_vcpu *vcpu, gva_t gva, struct pt_access access,
                                struct soft_target *ret, struct mv_soft_outcome *outcome)
{
    struct hw_result result;
    soft_enter(vcpu);
    if (__builtin_expect(vcpu->vm->options.hv.emulate_supervisor, 0) && is_supervisor(access)) {
        return finish(vcpu, soft_emulate(vcpu, gva, access, ret, outcome), ret, outcome);
    }
    for (;;) {
        enum hw_end end = hw_translate(vcpu->hw, gva, access, &result);
        if (__builtin_expect(end == HW_DONE, 1)) {
            *ret = (struct soft_target){.host = result.host, .gpa = result.gpa, .page_shift = result.page_shift};
            outcome->end = MV_SOFT_DONE;
            return MV_SOFT_DONE;
        }
        if (end == HW_FAULT) {
            soft_tell_fault(vcpu, &result.fault, outcome);
            return finish(vcpu, MV_SOFT_FAULT, ret, outcome);
        }
        switch (handle(vcpu, &result.exit)) {
        case HV_SETTLE:
        case HV_RETRY: step_out_and_in(vcpu); break;
        case HV_EMULATE: return finish(vcpu, soft_emulate(vcpu, gva, access, ret, outcome), ret, outcome);
        case HV_ERROR: return finish(vcpu, host_error(vcpu, outcome), ret, outcome);
        case HV_FAULT: return finish(vcpu, reflect(vcpu, gva, outcome), ret, outcome);
        }
    }
}

enum mv_soft_end soft_translate_physical(struct accel_vcpu *vcpu, gpa_t gpa, enum mv_access kind,
                                         struct soft_target *ret, struct mv_soft_outcome *outcome)
{
    struct hw_result result;
    soft_enter(vcpu);
    for (;;) {
        enum hw_end end = hw_translate_physical(vcpu->hw, gpa, kind, &result);
        if (end == HW_DONE) {
            *ret = (struct soft_target){.host = result.host, .gpa = gpa, .page_shift = result.page_shift};
            return finish(vcpu, MV_SOFT_DONE, ret, outcome);
        }
        vcpu->exits_physical++;
        switch (handle(vcpu, &result.exit)) {
        case HV_FAULT:
        case HV_SETTLE:
        case HV_RETRY: step_out_and_in(vcpu); break;
        case HV_EMULATE:
            *ret = (struct soft_target){
                .host = hv_guest_bytes(vcpu->hv, gpa, kind), .gpa = gpa, .page_shift = GUEST_PAGE_SHIFT};
            return finish(vcpu, MV_SOFT_DONE, ret, outcome);
        case HV_ERROR: return finish(vcpu, host_error(vcpu, outcome), ret, outcome);
        }
    }
}
