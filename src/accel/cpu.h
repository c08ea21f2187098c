// SPDX-License-Identifier: MIT
/*
 * What an accelerator offers whose processor has an MMU and no instructions: somebody else executes, and accesses
 * memory by guest-virtual address. The calls are those of <memvirt/soft.h>, with the accelerator's own vCPU.
 */
#ifndef ACCEL_CPU_H
#define ACCEL_CPU_H

#include <memvirt/soft.h>

#include "accel/accel.h"

struct pt_access; /* paging/state.h */

/* One access. `bytes` is read from for a write. */
struct accel_access {
    mv_gva_t gva;
    void *bytes;
    size_t size;
    enum mv_access kind;
    enum mv_soft_mode mode;
};

struct accel_cpu_ops {
    enum mv_soft_end (*access)(struct accel_vcpu *vcpu, const struct accel_access *access,
                               struct mv_soft_outcome *outcome);
    enum mv_soft_end (*touch)(struct accel_vcpu *vcpu, mv_gva_t gva, enum mv_access kind,
                              struct mv_soft_place *ret, struct mv_soft_outcome *outcome);
    enum mv_soft_end (*write_physical)(struct accel_vcpu *vcpu, mv_gpa_t gpa, uint64_t value,
                                       struct mv_soft_outcome *outcome);
    bool (*peek_physical)(struct accel_vcpu *vcpu, mv_gpa_t gpa, uint64_t *ret);
    bool (*load_cr3)(struct accel_vcpu *vcpu, uint64_t cr3);
    void (*invlpg)(struct accel_vcpu *vcpu, mv_gva_t gva);
    bool (*invpcid)(struct accel_vcpu *vcpu, unsigned type, uint64_t pcid, mv_gva_t gva);
    void (*set_keys)(struct accel_vcpu *vcpu, uint32_t pkru, uint32_t pkrs);
    void (*keys)(struct accel_vcpu *vcpu, uint32_t *ret_pkru, uint32_t *ret_pkrs);
    /* PAE's PDPTE registers. False: a walk reads the entries in memory. */
    bool (*pdptrs)(struct accel_vcpu *vcpu, uint64_t ret[4]);
    /* Changes nothing. `ret->end` is MV_NESTED_NONE where there is no second dimension. */
    void (*look_nested)(struct accel_vcpu *vcpu, mv_gpa_t gpa, enum mv_nested_use use, struct mv_nested *ret);
    /* Likewise for shadow tables. */
    void (*look_shadow)(struct accel_vcpu *vcpu, mv_gva_t gva, const struct pt_access *access,
                        struct mv_shadow *ret);
    void (*window)(struct accel_vcpu *vcpu, struct mv_soft_window *ret); /* all but `vcpu` */
    int (*pre_fault)(struct accel_vcpu *vcpu, mv_gpa_t *gpa, uint64_t *size_bytes);
    void (*protect_host)(struct accel_vcpu *vcpu, struct mv_range hva);
    bool (*age_host)(struct accel_vcpu *vcpu, struct mv_range hva, bool only_look);
    int (*set_shadow_pages)(struct accel_vcpu *vcpu, uint64_t pages);
    uint64_t (*shadow_pages)(struct accel_vcpu *vcpu);
    uint64_t (*shrink_shadow)(struct accel_vcpu *vcpu, uint64_t pages);
    int (*recover_huge_pages)(struct accel_vcpu *vcpu, unsigned ratio);
    int (*set_policy)(struct accel_vcpu *vcpu, const struct mv_hybrid_policy *policy);
    void (*counts)(struct accel_vcpu *vcpu, struct mv_soft_counts *ret);
    void (*set_hooks)(struct accel_vcpu *vcpu, const struct mv_soft_hooks *hooks);
};

#endif
