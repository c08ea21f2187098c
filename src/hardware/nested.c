// SPDX-License-Identifier: MIT
#include "hardware/nested.h"

/* Bits first to last. */
static uint64_t bits(unsigned first, unsigned last)
{
    return first > last ? 0 : (UINT64_MAX >> (63 - last)) & (UINT64_MAX << first);
}

/* Long mode's reserved bits, of AMD's processors, with EFER.NXE, and what marks MMIO (paging/npt.h). */
void nested_init(struct hw_mmu *mmu)
{
    for (unsigned level = 1; level <= X86_LEVELS_MAX; level++) {
        uint64_t always = NPT_RESERVED | (level >= 4 ? X86_ENTRY_PS | X86_ENTRY_G : 0);
        mmu->npt_reserved[0][level] = mmu->npt_reserved[1][level] = always;
    }
    mmu->npt_reserved[1][2] |= bits(13, 20);
    mmu->npt_reserved[1][3] |= mmu->options.cpu.has_1g_pages ? bits(13, 29) : X86_ENTRY_PS;
}

static uint64_t qualification(unsigned need, enum nested_use use, unsigned rights)
{
    return need | (uint64_t)rights << 3 | EPT_QUAL_HAS_GVA | (use == NESTED_FINAL ? EPT_QUAL_FINAL : 0);
}

static uint64_t npf_code(unsigned need, enum nested_use use, enum nested_why why)
{
    return (why != NESTED_NOT_PRESENT ? PF_PRESENT : 0) | PF_USER | ((need & NESTED_W) ? PF_WRITE : 0) |
           (why == NESTED_BAD_ENTRY ? PF_RESERVED : 0) | ((need & NESTED_X) ? PF_FETCH : 0) |
           (use == NESTED_FINAL ? PF_GUEST_FINAL : PF_GUEST_TABLE);
}

void nested_exit(const struct hw_mmu *mmu, bool is_ept, uint64_t gpa, unsigned need, enum nested_use use,
                 enum nested_why why, unsigned rights, struct pt_exit *ret)
{
    (void)mmu;
    ret->gpa = mv_gpa(gpa);
    ret->code = 0;
    if (!is_ept) {
        ret->reason = PT_EXIT_NPF;
        ret->code = npf_code(need, use, why);
    } else if (why == NESTED_BAD_ENTRY) {
        ret->reason = PT_EXIT_EPT_MISCONFIG;
    } else if (why == NESTED_LOG_FULL) {
        ret->reason = PT_EXIT_PML_FULL;
    } else {
        ret->reason = PT_EXIT_EPT_VIOLATION;
        ret->code = qualification(need, use, rights);
    }
}

void nested_log(struct hw_mmu *mmu, uint64_t gpa)
{
    mmu->pml.buffer[mmu->pml.index] = gpa & ~GUEST_PAGE_MASK;
    mmu->pml.index--; /* from 0 to 0xffff: full */
    mmu->counters.pml_entries++;
}

void nested_tlb_insert(struct hw_mmu *mmu, uint64_t gpa, const struct nested_page *page)
{
    unsigned size = tlb_class_of_shift(page->shift);
    unsigned shift = tlb_shifts[size];
    uint64_t offset = gpa & ((UINT64_C(1) << shift) - 1);
    struct assoc_entry entry = {
        .tag = assoc_tag(gpa, shift, size),
        .context = mmu->root_context,
        .host = (uint64_t)(uintptr_t)page->host - offset,
        .meta = page->rights | (uint64_t)page->ready << 3,
    };
    assoc_insert(&mmu->nested_tlb, &entry, shift);
}

void nested_tlb_drop(struct hw_mmu *mmu, uint64_t gpa)
{
    for (unsigned size = 0; size < ASSOC_SIZES; size++) {
        if (mmu->nested_tlb.live[size]) {
            unsigned shift = tlb_shifts[size];
            assoc_drop(&mmu->nested_tlb, assoc_tag(gpa, shift, size), shift, mmu->root_context, mmu->root_context);
        }
    }
}
