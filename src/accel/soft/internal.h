// SPDX-License-Identifier: MIT
/* Inside accel/soft, which alone knows both the hardware and the hypervisor. */
#ifndef ACCEL_SOFT_INTERNAL_H
#define ACCEL_SOFT_INTERNAL_H

#include "accel/cpu.h"
#include "hardware/mmu.h"
#include "hypervisor/hv.h"
#include "hypervisor/notifier_uffd.h"

#define SOFT_VPID 1u
#define RFLAGS_AC (UINT64_C(1) << 18)

/* Both halves of how a VM is made. */
struct soft_options {
    struct hv_options hv;
    struct hw_options hw;
    bool has_said_walk_caches; /* else they follow tlb */
    bool has_said_access_dirty, has_said_unsync;
    bool watch_host;
    uint64_t said; /* bits of properties */
};

/* NULL or "mmu=npt,host-page=2M". 0, or -EINVAL with the reason "bad-property". */
int soft_options_parse(const char *properties, struct soft_options *ret, struct mv_error *err);

struct accel_vm {
    struct soft_options options;
    struct hv_vm *hv;
    struct hv_uffd *watch; /* or NULL */
    atomic_uint unwatched; /* blocks that were to be watched and are not */
};

/* Its caller's calls come one at a time, so all of it is that thread's; others only post requests to `hv`. */
struct accel_vcpu {
    struct accel_vm *vm;
    struct hv_vcpu *hv;
    struct hw_mmu *hw;
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    enum pt_who who;                  /* of explicit data accesses and fetches: from SS.DPL and RFLAGS.AC */
    enum pt_who who_implicit;         /* of the processor's own */
    const struct mv_soft_line *lines; /* of `who`, for windows */
    struct mv_soft_hooks hooks;
    bool has_hooks;
    struct hw_hooks hw_hooks;
    uint64_t exits[PT_EXIT_COUNT];
    uint64_t exits_mmio, exits_physical;
    /* Of a shadowed guest: instructions that are intercepted, writes to its tables; faults that were its own. */
    uint64_t exits_cr3, exits_registers, exits_invlpg, exits_table_write, faults_reflected;
    struct kvm_run run; /* for who wants one: nothing runs */
};

/* Where a translated byte is: of the page, as much as the access needs. */
struct soft_target {
    uint8_t *host; /* NULL: MMIO */
    gpa_t gpa;
    uint8_t page_shift;
    bool is_emulated; /* shadow, hybrid: a write goes through hv_store */
};

/* Tables of the guest's are shadowed, all or some: its loads of CR3 are exits, and its stores may be. */
static inline bool soft_has_shadow(const struct accel_vcpu *vcpu)
{
    return vcpu->vm->options.hv.mmu == HV_MMU_SHADOW || vcpu->vm->options.hv.mmu == HV_MMU_HYBRID;
}

/* vcpu.c */
int soft_vcpu_create(struct accel_vm *vm, unsigned index, struct accel_vcpu **ret, struct mv_error *err);
void soft_vcpu_destroy(struct accel_vcpu *vcpu);
int soft_set_regs(struct accel_vcpu *vcpu, const struct kvm_regs *regs);
int soft_set_sregs(struct accel_vcpu *vcpu, const struct kvm_sregs *sregs);
bool soft_load_cr3(struct accel_vcpu *vcpu, uint64_t cr3);
struct paging_cpu soft_paging_cpu(const struct accel_vm *vm);

void soft_set_root(struct accel_vcpu *vcpu); /* the hardware walks what the hypervisor has chosen */
void soft_count_intercept(struct accel_vcpu *vcpu, uint64_t *count, const char *reason);

/*
 * run.c. Not inside, and inside when it returns DONE: the caller uses the target and calls soft_leave. MMIO has a
 * gpa.
 */
enum mv_soft_end soft_translate(struct accel_vcpu *vcpu, gva_t gva, struct pt_access access,
                                struct soft_target *ret, struct mv_soft_outcome *outcome);
enum mv_soft_end soft_translate_physical(struct accel_vcpu *vcpu, gpa_t gpa, enum mv_access kind,
                                         struct soft_target *ret, struct mv_soft_outcome *outcome);
void soft_enter(struct accel_vcpu *vcpu); /* requests have been seen to */
void soft_leave(struct accel_vcpu *vcpu);
void soft_tell_fault(struct accel_vcpu *vcpu, const struct hw_fault *fault, struct mv_soft_outcome *outcome);

/* "ept_violation" and so on. Static. */
const char *soft_exit_name(enum pt_exit_reason reason);

/* The page-modification log goes to the dirty log. By the vCPU's thread, inside, or while the vCPU is held. */
void soft_drain_pml(void *vcpu);

/* host.c: see the calls of <memvirt/soft.h>. Not inside. */
int soft_pre_fault(struct accel_vcpu *vcpu, mv_gpa_t *gpa, uint64_t *size_bytes);
void soft_protect_host(struct accel_vcpu *vcpu, struct mv_range hva);
bool soft_age_host(struct accel_vcpu *vcpu, struct mv_range hva, bool only_look);
int soft_set_shadow_pages(struct accel_vcpu *vcpu, uint64_t pages);
uint64_t soft_shadow_pages(struct accel_vcpu *vcpu);
uint64_t soft_shrink_shadow(struct accel_vcpu *vcpu, uint64_t pages);
int soft_recover_huge_pages(struct accel_vcpu *vcpu, unsigned ratio);
int soft_set_policy(struct accel_vcpu *vcpu, const struct mv_hybrid_policy *policy);

/* bus.c */
struct hw_bus soft_bus(struct accel_vcpu *vcpu);

/* emulate.c. Inside: the walk that the hypervisor makes itself. DONE (host or MMIO) or FAULT. */
enum mv_soft_end soft_emulate(struct accel_vcpu *vcpu, gva_t gva, struct pt_access access, struct soft_target *ret,
                              struct mv_soft_outcome *outcome);
/* What a supervisor's explicit read would find, without setting A. False: a fault. */
bool soft_look(struct accel_vcpu *vcpu, gva_t gva, gpa_t *ret);

/* look.c. Not inside; nothing changes. */
void soft_look_nested(struct accel_vcpu *vcpu, gpa_t gpa, enum mv_nested_use use, struct mv_nested *ret);
void soft_look_shadow(struct accel_vcpu *vcpu, gva_t gva, const struct pt_access *access, struct mv_shadow *ret);
bool soft_pdptrs(struct accel_vcpu *vcpu, uint64_t ret[4]);
void soft_keys(struct accel_vcpu *vcpu, uint32_t *ret_pkru, uint32_t *ret_pkrs);

extern const struct accel_cpu_ops soft_cpu_ops;

#endif
