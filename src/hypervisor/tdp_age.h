// SPDX-License-Identifier: MIT
/* What the host asks of pages that stay where they are: have they been used, and that they be written no more. */
#ifndef HYPERVISOR_TDP_AGE_H
#define HYPERVISOR_TDP_AGE_H

#include "hypervisor/tdp_iter.h"

/* Whether a leaf was used since it was last aged. Without A bits: whether it has rights, which a use gives it. */
TDP_INLINE bool tdp_is_young(const struct pt_format *f, const struct tdp *tdp, uint64_t leaf)
{
    return tdp->ad == SPTE_AD_DISABLED ? !spte_is_tracked(f, leaf) : (leaf & f->accessed) != 0;
}

TDP_INLINE uint64_t tdp_aged(const struct pt_format *f, const struct tdp *tdp, uint64_t leaf)
{
    return tdp->ad == SPTE_AD_DISABLED ? spte_track(f, leaf) : leaf & ~f->accessed;
}

/* No flush: a page that is used through a TLB alone looks old for a while, and no more than that. */
TDP_INLINE bool tdp_age(const struct pt_format *f, struct hv_vm *vm, const struct hv_slot *slot, uint64_t first,
                        uint64_t last, bool test_only)
{
    struct tdp *tdp = tdp_of(vm);
    bool any = false;
    struct tdp_iter it;
    TDP_FOR_EACH(f, &it, tdp_root(tdp, slot->space), tdp->levels, first, last)
    {
        while (tdp_iter_is_leaf(f, &it) && tdp_is_young(f, tdp, it.entry)) {
            any = true;
            if (test_only || tdp_iter_cas(f, &it, tdp_aged(f, tdp, it.entry))) {
                break;
            }
        }
    }
    return any;
}

/* To 0 0 0 of the truth table in spte.h: the next write takes the slow way, which sees what the host has now. */
TDP_INLINE bool tdp_write_protect(const struct pt_format *f, struct hv_vm *vm, const struct hv_slot *slot,
                                  uint64_t first, uint64_t last)
{
    struct tdp *tdp = tdp_of(vm);
    uint64_t bits = f->writable | f->software_host_writable | f->software_mmu_writable;
    bool flush = false;
    struct tdp_iter it;
    TDP_FOR_EACH(f, &it, tdp_root(tdp, slot->space), tdp->levels, first, last)
    {
        while (tdp_iter_is_leaf(f, &it) && (it.entry & bits)) {
            if (tdp_iter_cas(f, &it, it.entry & ~bits)) {
                flush = true;
                break;
            }
        }
    }
    return flush;
}

#endif
