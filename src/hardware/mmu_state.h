// SPDX-License-Identifier: MIT
/* What is behind struct hw_mmu; only for the files of this folder. */
#ifndef HARDWARE_MMU_STATE_H
#define HARDWARE_MMU_STATE_H

#include "hardware/mmu.h"
#include "hardware/tlb.h"
#include "hardware/walk_cache.h"

struct hw_mmu {
    /* Hot: what a hit of the TLB needs. */
    struct paging paging; /* of the guest's registers */
    uint64_t context;     /* of translations made now */
    uint64_t global;      /* the same, of global pages; `context` again when there are none */
    struct hw_counters counters;
    struct tlb tlb;

    struct paging walked;         /* what the walk of the first dimension obeys: `paging`, but with HW_SHADOW */
    const pt_word_t *root;        /* of the second dimension, or of the shadow */
    const pt_word_t *nested_root; /* of the second dimension */
    uint64_t root_context;        /* of that */
    uint16_t vpid;
    struct paging_regs regs;
    struct hw_options options;
    struct hw_bus bus;
    const struct hw_hooks *hooks;
    struct walk_cache walk_cache;
    bool has_had_other_root; /* since all was flushed: caches may have what was found under it */
    struct assoc nested_tlb;
    uint64_t npt_reserved[2][X86_LEVELS_MAX + 1]; /* [PS is set][level] */
    struct paging guest;                          /* HW_HYBRID: what the guest's own tables are walked by */
    bool root_is_switched;
    uint32_t timer_walks, timer_left;
    struct hw_pml pml;
    struct front front;
};

/*
 * What the TLB has of the page around `gva` in the present context, globals as well: what INVLPG and a page fault
 * take along (Intel SDM, "Operations that Invalidate TLBs and Paging-Structure Caches").
 */
void mmu_drop_address(struct hw_mmu *mmu, gva_t gva);
/* A page fault was delivered to the guest. */
void mmu_drop_faulted(struct hw_mmu *mmu, gva_t gva);

static inline bool hw_has_nested(const struct hw_mmu *mmu)
{
    return mmu->options.dimension == HW_EPT || mmu->options.dimension == HW_NPT ||
           mmu->options.dimension == HW_HYBRID;
}

#endif
