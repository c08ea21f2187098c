// SPDX-License-Identifier: MIT
/* A vCPU's registers: kept as <linux/kvm.h> has them; what concerns translation goes to the hardware. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "accel/soft/internal.h"
#include "base/error.h"
#include "base/line.h"

#define EFER_LME (UINT64_C(1) << 8)
#define CR0_PE (UINT64_C(1) << 0)
#define CR4_PCIDE (UINT64_C(1) << 17)
#define CR3_NO_FLUSH (UINT64_C(1) << 63)

struct paging_cpu soft_paging_cpu(const struct accel_vm *vm)
{
    return vm->options.hw.cpu;
}

void soft_set_root(struct accel_vcpu *vcpu)
{
    const struct hv_vcpu *hv = vcpu->hv;
    if (vcpu->vm->options.hv.mmu != HV_MMU_HYBRID) {
        hw_mmu_set_root(vcpu->hw, hv->root, SOFT_VPID);
        return;
    }
    struct hw_hybrid_roots roots = {.root = hv->root,
                                    .nested = hv->nested_root,
                                    .is_switched = hv->root_is_switched,
                                    .timer_walks = hv->timer_walks};
    hw_mmu_set_hybrid_roots(vcpu->hw, &roots, SOFT_VPID);
}

void soft_count_intercept(struct accel_vcpu *vcpu, uint64_t *count, const char *reason)
{
    ++*count;
    if (vcpu->has_hooks && vcpu->hooks.exit) {
        vcpu->hooks.exit(vcpu->hooks.opaque, reason, mv_gpa(0), 0);
    }
}

/* The hypervisor of a shadowed guest has to know, and gives another root. */
static void tell_regs(struct accel_vcpu *vcpu, const struct paging_regs *regs)
{
    if (soft_has_shadow(vcpu)) {
        struct paging_cpu cpu = soft_paging_cpu(vcpu->vm);
        hv_set_regs(vcpu->hv, regs, &cpu);
        soft_set_root(vcpu);
    }
}

static void tell_cr3(struct accel_vcpu *vcpu, uint64_t cr3)
{
    if (soft_has_shadow(vcpu)) {
        hv_load_cr3(vcpu->hv, cr3);
        soft_set_root(vcpu);
    }
}

static void judge_privilege(struct accel_vcpu *vcpu)
{
    vcpu->who_implicit = PT_SUPERVISOR;
    if (vcpu->sregs.ss.dpl == 3) {
        vcpu->who = PT_USER;
    } else {
        vcpu->who = vcpu->regs.rflags & RFLAGS_AC ? PT_SUPERVISOR_AC : PT_SUPERVISOR;
    }
    vcpu->lines = (const struct mv_soft_line *)(const void *)hw_mmu_front(vcpu->hw)->entry[vcpu->who];
}

int soft_set_regs(struct accel_vcpu *vcpu, const struct kvm_regs *regs)
{
    vcpu->regs = *regs;
    judge_privilege(vcpu);
    return 0;
}

/* What KVM_SET_SREGS refuses: a combination that no processor can be in. */
static bool are_consistent(const struct kvm_sregs *s)
{
    bool pg = s->cr0 & X86_CR0_PG, lme = s->efer & EFER_LME, lma = s->efer & X86_EFER_LMA;
    if (pg && !(s->cr0 & CR0_PE)) {
        return false;
    }
    if (lme && pg) {
        return lma && (s->cr4 & X86_CR4_PAE);
    }
    return !lma;
}

/* PAE: the four PDPTE registers, from memory (Intel SDM, "PDPTE Registers"). */
static int load_pdptrs(struct accel_vcpu *vcpu, uint64_t cr3, uint64_t ret[4])
{
    soft_enter(vcpu);
    const void *table = hv_guest_bytes(vcpu->hv, mv_gpa(cr3 & UINT64_C(0xffffffe0)), MV_ACCESS_READ);
    for (unsigned i = 0; table && i < 4; i++) {
        ret[i] = pt_guest_load((const uint64_t *)table + i, 8);
    }
    soft_leave(vcpu);
    struct paging_cpu cpu = soft_paging_cpu(vcpu->vm);
    return table && paging_pdptrs_are_valid(ret, &cpu) ? 0 : -EINVAL;
}

static bool has_pdptrs(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    return (cr0 & X86_CR0_PG) && (cr4 & X86_CR4_PAE) && !(efer & X86_EFER_LMA);
}

int soft_set_sregs(struct accel_vcpu *vcpu, const struct kvm_sregs *sregs)
{
    const struct paging_regs *before = hw_mmu_regs(vcpu->hw);
    struct paging_regs after = {.cr0 = sregs->cr0,
                                .cr3 = sregs->cr3,
                                .cr4 = sregs->cr4,
                                .efer = sregs->efer,
                                .pkru = before->pkru,
                                .pkrs = before->pkrs};
    if (!are_consistent(sregs)) {
        return -EINVAL;
    }
    if (has_pdptrs(sregs->cr0, sregs->cr4, sregs->efer)) {
        int rc = load_pdptrs(vcpu, sregs->cr3, after.pdptr);
        if (rc < 0) {
            return rc;
        }
    }
    bool is_other = after.cr0 != before->cr0 || after.cr3 != before->cr3 || after.cr4 != before->cr4 ||
                    after.efer != before->efer;
    vcpu->sregs = *sregs;
    judge_privilege(vcpu);
    hw_mmu_set_regs(vcpu->hw, &after);
    if (soft_has_shadow(vcpu) && is_other) {
        soft_count_intercept(vcpu, &vcpu->exits_registers, "registers");
    }
    if (is_other || has_pdptrs(sregs->cr0, sregs->cr4, sregs->efer)) { /* another privilege is no flush */
        tell_regs(vcpu, &after);
    }
    return 0;
}

bool soft_load_cr3(struct accel_vcpu *vcpu, uint64_t cr3)
{
    const struct paging_regs *before = hw_mmu_regs(vcpu->hw);
    struct paging_cpu cpu = soft_paging_cpu(vcpu->vm);
    bool keep = (cr3 & CR3_NO_FLUSH) && (before->cr4 & CR4_PCIDE);
    struct paging_regs after = *before;
    after.cr3 = cr3;
    if (!paging_regs_are_valid(before, &after, &cpu, false)) {
        return false;
    }
    after.cr3 = keep ? cr3 & ~CR3_NO_FLUSH : cr3;
    bool is_pae = has_pdptrs(after.cr0, after.cr4, after.efer);
    if (is_pae) {
        if (load_pdptrs(vcpu, cr3, after.pdptr) < 0) {
            return false;
        }
        hw_mmu_set_regs(vcpu->hw, &after); /* for these four; what follows flushes, whether CR3 differs or not */
    }
    hw_mmu_load_cr3(vcpu->hw, after.cr3, keep);
    if (soft_has_shadow(vcpu)) {
        soft_count_intercept(vcpu, &vcpu->exits_cr3, "cr3_load");
    }
    if (is_pae) {
        tell_regs(vcpu, &after);
    } else {
        tell_cr3(vcpu, after.cr3);
    }
    vcpu->sregs.cr3 = after.cr3;
    return true;
}

/* --- Making and ending ----------------------------------------------------------------------------- */

/* After INIT: real mode (Intel SDM, "Processor State After Reset"). */
static void reset(struct accel_vcpu *vcpu)
{
    vcpu->regs = (struct kvm_regs){.rip = 0xfff0, .rflags = 2};
    vcpu->sregs = (struct kvm_sregs){.cr0 = UINT64_C(0x60000010)};
    vcpu->sregs.cs = (struct kvm_segment){
        .base = 0xffff0000, .limit = 0xffff, .selector = 0xf000, .type = 11, .present = 1, .s = 1};
    const struct kvm_segment data = {.limit = 0xffff, .type = 3, .present = 1, .s = 1};
    vcpu->sregs.ds = vcpu->sregs.es = vcpu->sregs.fs = vcpu->sregs.gs = vcpu->sregs.ss = data;
    judge_privilege(vcpu);
    struct paging_regs regs = {.cr0 = vcpu->sregs.cr0};
    hw_mmu_set_regs(vcpu->hw, &regs);
    tell_regs(vcpu, &regs);
}

static int fill(struct accel_vcpu *vcpu, unsigned index)
{
    int rc = hw_mmu_create(&vcpu->vm->options.hw, &vcpu->hw);
    if (rc == 0) {
        rc = hv_vcpu_create(vcpu->vm->hv, index, &vcpu->hv);
    }
    return rc;
}

/* Each half learns of the other what it may. A harvester may have found the vCPU already. */
static void join(struct accel_vcpu *vcpu)
{
    hw_mmu_set_bus(vcpu->hw, soft_bus(vcpu));
    pthread_mutex_lock(&vcpu->hv->vm->vcpus_lock);
    vcpu->hv->drain_pml = soft_drain_pml;
    vcpu->hv->drain_opaque = vcpu;
    pthread_mutex_unlock(&vcpu->hv->vm->vcpus_lock);
    hv_request_post(&vcpu->hv->requests, HV_REQUEST_RELOAD_ROOT | HV_REQUEST_LOGGING);
}

int soft_vcpu_create(struct accel_vm *vm, unsigned index, struct accel_vcpu **ret, struct mv_error *err)
{
    struct accel_vcpu *vcpu = line_alloc(sizeof *vcpu);
    if (!vcpu) {
        return error_set(err, -ENOMEM, "no-memory", "soft", "vCPU %u: out of memory", index);
    }
    vcpu->vm = vm;
    int rc = fill(vcpu, index);
    if (rc < 0) {
        soft_vcpu_destroy(vcpu);
        return error_set(err, rc, rc == -EINVAL ? "bad-property" : "no-memory", "soft",
                         rc == -EINVAL ? "vCPU %u: no TLB can have this geometry" : "vCPU %u: out of memory",
                         index);
    }
    join(vcpu);
    reset(vcpu);
    *ret = vcpu;
    return 0;
}

void soft_vcpu_destroy(struct accel_vcpu *vcpu)
{
    if (vcpu->hv) {
        hv_vcpu_destroy(vcpu->hv);
    }
    if (vcpu->hw) {
        hw_mmu_destroy(vcpu->hw);
    }
    free(vcpu);
}
