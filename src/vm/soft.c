// SPDX-License-Identifier: MIT
/* <memvirt/soft.h>: what an accelerator offers to a caller's own CPU, by the VM's vCPU. */
#include <memvirt/soft.h>

#include <errno.h>

#include "accel/cpu.h"
#include "vm/vm.h"

static const struct accel_cpu_ops *ops_of(const struct mv_vcpu *vcpu)
{
    return vcpu->vm->ops->cpu;
}

static enum mv_soft_end refuse(struct mv_soft_outcome *outcome)
{
    *outcome = (struct mv_soft_outcome){.end = MV_SOFT_HOST_ERROR, .error = -ENOTSUP};
    return MV_SOFT_HOST_ERROR;
}

const char *mv_soft_rule_name(enum mv_soft_rule rule)
{
    switch (rule) {
    case MV_SOFT_RULE_NONE: return "none";
    case MV_SOFT_RULE_NOT_PRESENT: return "not present";
    case MV_SOFT_RULE_RESERVED_BIT: return "reserved bit";
    case MV_SOFT_RULE_RIGHTS: return "rights";
    case MV_SOFT_RULE_KEY: return "protection key";
    case MV_SOFT_RULE_NON_CANONICAL: return "non-canonical address";
    case MV_SOFT_RULE_NO_TABLE: return "table outside memory";
    }
    return "unknown";
}

static enum mv_soft_end access_bytes(struct mv_vcpu *vcpu, const struct accel_access *access,
                                     struct mv_soft_outcome *outcome)
{
    return ops_of(vcpu) ? ops_of(vcpu)->access(vcpu->accel, access, outcome) : refuse(outcome);
}

enum mv_soft_end mv_soft_read(struct mv_vcpu *vcpu, mv_gva_t gva, void *ret_bytes, size_t size,
                              enum mv_soft_mode mode, struct mv_soft_outcome *outcome)
{
    return access_bytes(vcpu, &(struct accel_access){gva, ret_bytes, size, MV_ACCESS_READ, mode}, outcome);
}

enum mv_soft_end mv_soft_write(struct mv_vcpu *vcpu, mv_gva_t gva, const void *bytes, size_t size,
                               enum mv_soft_mode mode, struct mv_soft_outcome *outcome)
{
    /* A write only reads from `bytes`. */
    return access_bytes(vcpu, &(struct accel_access){gva, (void *)(uintptr_t)bytes, size, MV_ACCESS_WRITE, mode},
                        outcome);
}

enum mv_soft_end mv_soft_fetch(struct mv_vcpu *vcpu, mv_gva_t gva, void *ret_bytes, size_t size,
                               struct mv_soft_outcome *outcome)
{
    return access_bytes(vcpu, &(struct accel_access){gva, ret_bytes, size, MV_ACCESS_FETCH, MV_SOFT_EXPLICIT},
                        outcome);
}

int mv_soft_window_open(struct mv_vcpu *vcpu, struct mv_soft_window *ret)
{
    if (!ops_of(vcpu)) {
        return -ENOTSUP;
    }
    ops_of(vcpu)->window(vcpu->accel, ret);
    ret->vcpu = vcpu;
    return 0;
}

enum mv_soft_end mv_soft_touch(struct mv_vcpu *vcpu, mv_gva_t gva, enum mv_access kind, struct mv_soft_place *ret,
                               struct mv_soft_outcome *outcome)
{
    return ops_of(vcpu) ? ops_of(vcpu)->touch(vcpu->accel, gva, kind, ret, outcome) : refuse(outcome);
}

enum mv_soft_end mv_soft_write_physical(struct mv_vcpu *vcpu, mv_gpa_t gpa, uint64_t value,
                                        struct mv_soft_outcome *outcome)
{
    return ops_of(vcpu) ? ops_of(vcpu)->write_physical(vcpu->accel, gpa, value, outcome) : refuse(outcome);
}

bool mv_soft_peek_physical(struct mv_vcpu *vcpu, mv_gpa_t gpa, uint64_t *ret)
{
    return ops_of(vcpu) && ops_of(vcpu)->peek_physical(vcpu->accel, gpa, ret);
}

bool mv_soft_load_cr3(struct mv_vcpu *vcpu, uint64_t cr3)
{
    return ops_of(vcpu) && ops_of(vcpu)->load_cr3(vcpu->accel, cr3);
}

void mv_soft_invlpg(struct mv_vcpu *vcpu, mv_gva_t gva)
{
    if (ops_of(vcpu)) {
        ops_of(vcpu)->invlpg(vcpu->accel, gva);
    }
}

bool mv_soft_invpcid(struct mv_vcpu *vcpu, unsigned type, uint64_t pcid, mv_gva_t gva)
{
    return ops_of(vcpu) && ops_of(vcpu)->invpcid(vcpu->accel, type, pcid, gva);
}

void mv_soft_set_keys(struct mv_vcpu *vcpu, uint32_t pkru, uint32_t pkrs)
{
    if (ops_of(vcpu)) {
        ops_of(vcpu)->set_keys(vcpu->accel, pkru, pkrs);
    }
}

int mv_soft_pre_fault(struct mv_vcpu *vcpu, mv_gpa_t *gpa, uint64_t *size_bytes)
{
    return ops_of(vcpu) ? ops_of(vcpu)->pre_fault(vcpu->accel, gpa, size_bytes) : -ENOTSUP;
}

int mv_soft_protect_host(struct mv_vcpu *vcpu, struct mv_range hva)
{
    if (!ops_of(vcpu)) {
        return -ENOTSUP;
    }
    ops_of(vcpu)->protect_host(vcpu->accel, hva);
    return 0;
}

int mv_soft_age_host(struct mv_vcpu *vcpu, struct mv_range hva)
{
    return ops_of(vcpu) ? ops_of(vcpu)->age_host(vcpu->accel, hva, false) : -ENOTSUP;
}

int mv_soft_test_age_host(struct mv_vcpu *vcpu, struct mv_range hva)
{
    return ops_of(vcpu) ? ops_of(vcpu)->age_host(vcpu->accel, hva, true) : -ENOTSUP;
}

int mv_soft_set_shadow_pages(struct mv_vcpu *vcpu, uint64_t pages)
{
    return ops_of(vcpu) ? ops_of(vcpu)->set_shadow_pages(vcpu->accel, pages) : -ENOTSUP;
}

int mv_soft_shadow_pages(struct mv_vcpu *vcpu, uint64_t *ret_pages)
{
    if (!ops_of(vcpu)) {
        return -ENOTSUP;
    }
    *ret_pages = ops_of(vcpu)->shadow_pages(vcpu->accel);
    return 0;
}

int mv_soft_shrink_shadow(struct mv_vcpu *vcpu, uint64_t pages, uint64_t *ret_pages)
{
    if (!ops_of(vcpu)) {
        return -ENOTSUP;
    }
    *ret_pages = ops_of(vcpu)->shrink_shadow(vcpu->accel, pages);
    return 0;
}

int mv_soft_recover_huge_pages(struct mv_vcpu *vcpu, unsigned ratio)
{
    return ops_of(vcpu) ? ops_of(vcpu)->recover_huge_pages(vcpu->accel, ratio) : -ENOTSUP;
}

int mv_soft_set_policy(struct mv_vcpu *vcpu, const struct mv_hybrid_policy *policy)
{
    return ops_of(vcpu) ? ops_of(vcpu)->set_policy(vcpu->accel, policy) : -ENOTSUP;
}

int mv_soft_counts(struct mv_vcpu *vcpu, struct mv_soft_counts *ret)
{
    if (!ops_of(vcpu)) {
        return -ENOTSUP;
    }
    ops_of(vcpu)->counts(vcpu->accel, ret);
    return 0;
}

int mv_soft_set_hooks(struct mv_vcpu *vcpu, const struct mv_soft_hooks *hooks)
{
    if (!ops_of(vcpu)) {
        return -ENOTSUP;
    }
    ops_of(vcpu)->set_hooks(vcpu->accel, hooks);
    return 0;
}
