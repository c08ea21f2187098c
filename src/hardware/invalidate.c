// SPDX-License-Identifier: MIT
/* Registers, and what of the caches goes when they change (Intel SDM, "Invalidation of TLBs and Paging-Structure
 * Caches"; "VMX Support for Address Translation"). */
#include <assert.h>

#include "hardware/mmu_state.h"
#include "paging/shadow.h"

#define CR0_PG X86_CR0_PG
#define CR4_PGE (UINT64_C(1) << 7)
#define CR4_PCIDE (UINT64_C(1) << 17)
#define CR4_SMEP (UINT64_C(1) << 20)
#define CR4_PKE (UINT64_C(1) << 22)
#define CR3_PCID UINT64_C(0xfff)
#define CR3_KEEP (UINT64_C(1) << 63)

/* All of a context's VPID or root; bits beside are of the mask. */
#define OF_VPID CONTEXT_VPID
#define OF_PCID (CONTEXT_VPID | CONTEXT_PCID | CONTEXT_GLOBAL)

static void tell(struct hw_mmu *mmu, const char *what)
{
    mmu->counters.flushes++;
    if (mmu->hooks && mmu->hooks->flush) {
        mmu->hooks->flush(mmu->hooks->opaque, what);
    }
}

/* TLB and paging-structure caches of contexts that agree with this one in the bits of `mask`. */
static void drop_contexts(struct hw_mmu *mmu, uint64_t mask, uint64_t context)
{
    front_empty(&mmu->front);
    tlb_drop_contexts(&mmu->tlb, mask, context);
    walk_cache_drop_contexts(&mmu->walk_cache, mask, context); /* none of these is global */
}

static uint64_t vpid_of(uint16_t vpid)
{
    return (uint64_t)vpid << CONTEXT_VPID_SHIFT;
}

static unsigned pcid_of(const struct paging_regs *regs)
{
    return regs->cr4 & CR4_PCIDE ? (unsigned)(regs->cr3 & CR3_PCID) : 0;
}

/* The present context, after anything changed that it depends on. */
static void update_context(struct hw_mmu *mmu)
{
    const void *root = mmu->options.dimension == HW_NATIVE ? NULL : mmu->root;
    mmu->root_context = context_of_root(mmu->options.dimension == HW_HYBRID ? mmu->nested_root : root);
    if (mmu->options.dimension == HW_NPT) {
        /* AMD tags by ASID what is guest-physical, too (APM, "TLB Control"): one that is new has nothing. */
        mmu->root_context = context_of(root, mmu->vpid, 0);
    }
    mmu->context = context_of(root, mmu->vpid, pcid_of(&mmu->regs));
    mmu->global = mmu->paging.has_global ? context_global(mmu->context) : mmu->context;
    front_empty(&mmu->front);
}

static bool has_shadow(const struct hw_mmu *mmu)
{
    return mmu->options.dimension == HW_SHADOW || mmu->options.dimension == HW_HYBRID;
}

/* Where the hypervisor's tables begin. */
static void update_root(struct hw_mmu *mmu)
{
    if (has_shadow(mmu)) {
        mmu->walked.root = mmu->paging.root = mv_gpa((uint64_t)(uintptr_t)mmu->root);
    }
}

static void compile(struct hw_mmu *mmu)
{
    paging_compile(&mmu->paging, &mmu->regs, &mmu->options.cpu);
    if (mmu->options.dimension == HW_NPT) {
        paging_walk_pdptrs(&mmu->paging, &mmu->options.cpu);
    }
    if (has_shadow(mmu)) {
        paging_compile_shadow(&mmu->walked, &mmu->regs, mmu->root);
        mmu->guest = mmu->paging;
        /* Entries of the TLB are the shadow's: it is their rules that judge. With CR0.WP they are the guest's as
         * well, and without it nothing is switched. */
        mmu->paging = mmu->walked;
        mmu->paging.linear_bits = mmu->guest.linear_bits;
        mmu->paging.levels = mmu->guest.levels;
    } else {
        mmu->walked = mmu->paging;
    }
    for (unsigned level = 2; level <= mmu->walked.levels && mmu->options.dimension == HW_HYBRID; level++) {
        mmu->walked.reserved[0][level] |= SHADOW_SWITCH; /* so the walk stops there */
    }
}

void hw_mmu_set_root(struct hw_mmu *mmu, const pt_word_t *root, uint16_t vpid)
{
    assert(mmu->options.dimension != HW_HYBRID || !root);
    if (root == mmu->root && vpid == mmu->vpid) {
        return;
    }
    mmu->has_had_other_root |= root != mmu->root && mmu->root;
    mmu->root = mmu->nested_root = root;
    mmu->vpid = vpid;
    mmu->tlb.is_ambiguous |= !tlb_is_empty(&mmu->tlb);
    update_root(mmu);
    update_context(mmu);
}

void hw_mmu_set_hybrid_roots(struct hw_mmu *mmu, const struct hw_hybrid_roots *roots, uint16_t vpid)
{
    assert(mmu->options.dimension == HW_HYBRID);
    if (roots->timer_walks != mmu->timer_walks) {
        mmu->timer_walks = mmu->timer_left = roots->timer_walks;
    }
    if (roots->root == mmu->root && roots->nested == mmu->nested_root &&
        roots->is_switched == mmu->root_is_switched && vpid == mmu->vpid) {
        return;
    }
    mmu->has_had_other_root |= roots->root != mmu->root && mmu->root;
    mmu->root = roots->root;
    mmu->nested_root = roots->nested;
    mmu->root_is_switched = roots->is_switched;
    mmu->vpid = vpid;
    mmu->tlb.is_ambiguous |= !tlb_is_empty(&mmu->tlb);
    update_root(mmu);
    update_context(mmu);
}

/* --- Registers ------------------------------------------------------------------------------------ */

static bool differ(uint64_t a, uint64_t b, uint64_t bits)
{
    return ((a ^ b) & bits) != 0;
}

/*
 * All of the VPID's: PG, PGE, PCIDE 1 -> 0; AMD's also PSE and PKE 0 -> 1 (APM, "TLB Management"). Beyond what the
 * manual asks: whatever changes how entries are read.
 */
static bool changes_everything(const struct paging_regs *a, const struct paging_regs *b)
{
    return differ(a->cr0, b->cr0, CR0_PG) || differ(a->cr4, b->cr4, CR4_PGE | X86_CR4_PSE | X86_CR4_LA57) ||
           (a->cr4 & ~b->cr4 & CR4_PCIDE) || (b->cr4 & ~a->cr4 & CR4_PKE) ||
           differ(a->efer, b->efer, X86_EFER_LMA | X86_EFER_NXE);
}

static bool changes_pcid(const struct paging_regs *a, const struct paging_regs *b)
{
    return differ(a->cr4, b->cr4, X86_CR4_PAE) || (b->cr4 & ~a->cr4 & CR4_SMEP);
}

static void drop_pcid(struct hw_mmu *mmu, unsigned pcid)
{
    drop_contexts(mmu, OF_PCID, context_of(NULL, mmu->vpid, pcid));
}

void hw_mmu_set_regs(struct hw_mmu *mmu, const struct paging_regs *regs)
{
    struct paging_regs before = mmu->regs;
    mmu->regs = *regs;
    bool keep = (regs->cr4 & CR4_PCIDE) && (regs->cr3 & CR3_KEEP);
    mmu->regs.cr3 &= ~CR3_KEEP;
    compile(mmu);
    update_context(mmu);
    if (changes_everything(&before, regs)) {
        drop_contexts(mmu, OF_VPID, vpid_of(mmu->vpid));
        tell(mmu, "mode");
    } else if (changes_pcid(&before, regs)) {
        drop_contexts(mmu, CONTEXT_VPID | CONTEXT_PCID, mmu->context);
        drop_contexts(mmu, CONTEXT_VPID | CONTEXT_GLOBAL, context_global(mmu->context));
        tell(mmu, "mode");
    } else if (before.cr3 != mmu->regs.cr3 && !keep) {
        drop_pcid(mmu, pcid_of(&mmu->regs));
        tell(mmu, "cr3");
    }
}

void hw_mmu_load_cr3(struct hw_mmu *mmu, uint64_t cr3, bool keep)
{
    mmu->regs.cr3 = cr3 & ~CR3_KEEP;
    if (has_shadow(mmu)) {
        paging_load_cr3(&mmu->guest, mmu->regs.cr3);
    } else {
        paging_load_cr3(&mmu->paging, mmu->regs.cr3);
        mmu->walked.root = mmu->paging.root;
    }
    update_context(mmu);
    if (!(keep && (mmu->regs.cr4 & CR4_PCIDE))) {
        drop_pcid(mmu, pcid_of(&mmu->regs));
        tell(mmu, "cr3");
    }
}

void hw_mmu_set_keys(struct hw_mmu *mmu, uint32_t pkru, uint32_t pkrs)
{
    mmu->regs.pkru = mmu->paging.pkru = mmu->walked.pkru = mmu->guest.pkru = pkru;
    mmu->regs.pkrs = mmu->paging.pkrs = mmu->walked.pkrs = mmu->guest.pkrs = pkrs;
    front_empty(&mmu->front);
}

const struct paging_regs *hw_mmu_regs(const struct hw_mmu *mmu)
{
    return &mmu->regs;
}

/* --- Instructions --------------------------------------------------------------------------------- */

static void drop_address(struct hw_mmu *mmu, gva_t gva, uint64_t mask, uint64_t context)
{
    front_drop_page(&mmu->front, gva.raw);
    tlb_drop_page(&mmu->tlb, gva.raw, mask, context);
}

void mmu_drop_address(struct hw_mmu *mmu, gva_t gva)
{
    if (mmu->tlb.is_ambiguous) { /* globals of any PCID are the same word */
        drop_address(mmu, gva, CONTEXT_VPID | CONTEXT_PCID | CONTEXT_GLOBAL, mmu->context);
        drop_address(mmu, gva, CONTEXT_VPID | CONTEXT_GLOBAL, context_global(mmu->context));
    } else {
        front_drop_page(&mmu->front, gva.raw);
        tlb_drop_found(&mmu->tlb, gva.raw, mmu->context, mmu->global);
    }
}

/*
 * A page fault reaches what TLBs and paging-structure caches would use for the address, in the VPID or ASID:
 * whichever root it was found under (Intel SDM, "Operations that Invalidate Cached Mappings"; AMD tags nothing by
 * nCR3). The walk has dropped that of the present root.
 */
void mmu_drop_faulted(struct hw_mmu *mmu, gva_t gva)
{
    mmu_drop_address(mmu, gva);
    if (mmu->has_had_other_root) {
        walk_cache_drop_address(&mmu->walk_cache, &mmu->walked, gva.raw, CONTEXT_VPID | CONTEXT_PCID,
                                mmu->context);
    }
}

void hw_mmu_invlpg(struct hw_mmu *mmu, gva_t gva)
{
    if (!paging_is_canonical(&mmu->paging, gva.raw)) {
        return;
    }
    mmu_drop_address(mmu, gva);
    walk_cache_drop_contexts(&mmu->walk_cache, CONTEXT_VPID | CONTEXT_PCID, mmu->context);
    tell(mmu, "invlpg");
}

bool hw_mmu_invpcid(struct hw_mmu *mmu, unsigned type, uint64_t pcid, gva_t gva)
{
    if (type > 3 || pcid > CR3_PCID || (type < 2 && pcid != 0 && !(mmu->regs.cr4 & CR4_PCIDE)) ||
        (type == 0 && !paging_is_canonical(&mmu->paging, gva.raw))) {
        return false;
    }
    uint64_t context = context_of(NULL, mmu->vpid, (unsigned)pcid);
    switch (type) {
    case 0:
        drop_address(mmu, gva, OF_PCID, context);
        walk_cache_drop_contexts(&mmu->walk_cache, CONTEXT_VPID | CONTEXT_PCID, context);
        break;
    case 1: drop_contexts(mmu, OF_PCID, context); break;
    case 2: drop_contexts(mmu, OF_VPID, context); break;
    default: drop_contexts(mmu, CONTEXT_VPID | CONTEXT_GLOBAL, context); break;
    }
    tell(mmu, "invpcid");
    return true;
}

void hw_mmu_invept(struct hw_mmu *mmu)
{
    drop_contexts(mmu, CONTEXT_ROOT, mmu->root_context);
    assoc_drop_contexts(&mmu->nested_tlb, CONTEXT_ROOT, mmu->root_context);
    tell(mmu, "invept");
}

void hw_mmu_invvpid(struct hw_mmu *mmu, unsigned type, uint16_t vpid, gva_t gva)
{
    assert(type <= 3);
    switch (type) {
    case 0:
        drop_address(mmu, gva, CONTEXT_VPID, vpid_of(vpid));
        walk_cache_drop_contexts(&mmu->walk_cache, CONTEXT_VPID, vpid_of(vpid));
        break;
    case 1: drop_contexts(mmu, OF_VPID, vpid_of(vpid)); break;
    case 2: /* all but VPID 0, which no guest has: all */
        front_empty(&mmu->front);
        tlb_clear(&mmu->tlb);
        walk_cache_clear(&mmu->walk_cache);
        break;
    default: drop_contexts(mmu, CONTEXT_VPID | CONTEXT_GLOBAL, vpid_of(vpid)); break;
    }
    tell(mmu, "invvpid");
}

void hw_mmu_tlb_control(struct hw_mmu *mmu, unsigned command)
{
    assert(command == 1 || command == 3 || command == 7);
    if (command == 1) {
        hw_mmu_flush_all(mmu);
    } else if (command == 7) {
        hw_mmu_invvpid(mmu, 3, mmu->vpid, mv_gva(0));
    } else {
        drop_contexts(mmu, OF_VPID, vpid_of(mmu->vpid));
        assoc_drop_contexts(&mmu->nested_tlb, CONTEXT_VPID, vpid_of(mmu->vpid));
        tell(mmu, "asid");
    }
}

void hw_mmu_flush_all(struct hw_mmu *mmu)
{
    front_empty(&mmu->front);
    tlb_clear(&mmu->tlb);
    walk_cache_clear(&mmu->walk_cache);
    assoc_clear(&mmu->nested_tlb);
    mmu->has_had_other_root = false;
    tell(mmu, "all");
}
