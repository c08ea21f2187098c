// SPDX-License-Identifier: MIT
/* What a caller asks of the VM as a whole: pages mapped beforehand, host ranges that change, large pages again. */
#include "accel/soft/internal.h"
#include "hypervisor/hybrid.h"
#include "hypervisor/mmu_ops.h"
#include "hypervisor/notifier.h"

#include <errno.h>

int soft_pre_fault(struct accel_vcpu *vcpu, mv_gpa_t *gpa, uint64_t *size_bytes)
{
    struct hv_pre_fault range = {.gpa = gpa->raw, .size = *size_bytes};
    int rc = hv_pre_fault(vcpu->hv, &range);
    *gpa = mv_gpa(range.gpa);
    *size_bytes = range.size;
    return rc;
}

void soft_protect_host(struct accel_vcpu *vcpu, struct mv_range hva)
{
    hv_notifier_write_protect(vcpu->vm->hv, hva);
}

bool soft_age_host(struct accel_vcpu *vcpu, struct mv_range hva, bool only_look)
{
    return only_look ? hv_notifier_test_age(vcpu->vm->hv, hva) : hv_notifier_age(vcpu->vm->hv, hva);
}

int soft_set_shadow_pages(struct accel_vcpu *vcpu, uint64_t pages)
{
    return hv_set_mmu_pages(vcpu->vm->hv, pages);
}

uint64_t soft_shadow_pages(struct accel_vcpu *vcpu)
{
    return hv_mmu_pages(vcpu->vm->hv);
}

uint64_t soft_shrink_shadow(struct accel_vcpu *vcpu, uint64_t pages)
{
    return hv_shrink(vcpu->vm->hv, pages);
}

int soft_set_policy(struct accel_vcpu *vcpu, const struct mv_hybrid_policy *policy)
{
    if (vcpu->vm->options.hv.mmu != HV_MMU_HYBRID) {
        return -EOPNOTSUPP;
    }
    hybrid_set_policy(vcpu->vm->hv, policy);
    return 0;
}

int soft_recover_huge_pages(struct accel_vcpu *vcpu, unsigned ratio)
{
    struct hv_vm *hv = vcpu->vm->hv;
    if (!hv->mmu->recover) {
        return -EOPNOTSUPP;
    }
    pthread_mutex_lock(&hv->slots_lock);
    pthread_mutex_lock(&hv->mmu_lock);
    if (hv->mmu->recover(hv, ratio)) {
        hv_flush_all(hv);
        hv->mmu->collect(hv);
    }
    pthread_mutex_unlock(&hv->mmu_lock);
    pthread_mutex_unlock(&hv->slots_lock);
    return 0;
}
