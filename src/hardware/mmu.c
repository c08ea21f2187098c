// SPDX-License-Identifier: MIT
#include "hardware/mmu.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hardware/mmu_state.h"
#include "hardware/nested.h"
#include "hardware/walk.h"

static int init_caches(struct hw_mmu *mmu, const struct hw_options *o)
{
    const struct hw_tlb_geometry none = {0};
    struct tlb_geometry tlb = {.common = {o->l1, o->l2},
                               .own = {{none, o->l1_2m, o->l1_1g}, {none, none, o->l2_1g}}};
    if (!o->model_tlb) {
        tlb = (struct tlb_geometry){0};
    }
    int rc = tlb_init(&mmu->tlb, &tlb);
    if (rc == 0 && o->has_walk_caches) {
        const struct hw_tlb_geometry levels[X86_LEVELS_MAX + 1] = {none, none, o->pd, o->pdpt, o->pml4, o->pml5};
        rc = walk_cache_init(&mmu->walk_cache, levels);
    }
    if (rc == 0 && o->has_nested_tlb) {
        rc = assoc_init(&mmu->nested_tlb, o->nested);
    }
    return rc;
}

int hw_mmu_create(const struct hw_options *options, struct hw_mmu **ret)
{
    assert(options->nested_levels == 4 || options->nested_levels == 5 || options->dimension == HW_NATIVE);
    struct hw_mmu *mmu = aligned_alloc(64, (sizeof *mmu + 63) & ~(size_t)63);
    if (!mmu) {
        return -ENOMEM;
    }
    memset(mmu, 0, sizeof *mmu);
    mmu->options = *options;
    int rc = init_caches(mmu, options);
    if (rc < 0) {
        hw_mmu_destroy(mmu);
        return rc;
    }
    nested_init(mmu);
    memset(mmu->front.is_used, 1, sizeof mmu->front.is_used);
    front_empty(&mmu->front);
    mmu->pml.index = 511;
    hw_mmu_set_root(mmu, NULL, 0);
    hw_mmu_set_regs(mmu, &(struct paging_regs){0});
    mmu->counters.flushes = 0;
    *ret = mmu;
    return 0;
}

void hw_mmu_destroy(struct hw_mmu *mmu)
{
    if (mmu) {
        tlb_finish(&mmu->tlb);
        walk_cache_finish(&mmu->walk_cache);
        assoc_finish(&mmu->nested_tlb);
        free(mmu);
    }
}

const struct hw_counters *hw_mmu_counters(const struct hw_mmu *mmu)
{
    return &mmu->counters;
}

const struct front *hw_mmu_front(const struct hw_mmu *mmu)
{
    return &mmu->front;
}

void hw_mmu_set_hooks(struct hw_mmu *mmu, const struct hw_hooks *hooks)
{
    mmu->hooks = hooks;
}

void hw_mmu_set_bus(struct hw_mmu *mmu, struct hw_bus bus)
{
    mmu->bus = bus;
}

struct hw_pml *hw_mmu_pml(struct hw_mmu *mmu)
{
    return &mmu->pml;
}

/* --- Translating --------------------------------------------------------------------------------- */

/* Whether an entry of the TLB is enough for this access: the host's side, rights, key. */
static inline bool is_enough(const struct hw_mmu *mmu, const struct assoc_entry *entry, struct pt_access access)
{
    unsigned rights = entry->meta & TLB_RIGHTS;
    return ((entry->meta >> TLB_READY_SHIFT) >> access.kind & 1) && !paging_denies(&mmu->paging, access, rights) &&
           !paging_key_denies(&mmu->paging, access, rights, (entry->meta >> TLB_KEY_SHIFT) & 15);
}

static inline enum hw_end hit(const struct assoc_entry *entry, gva_t gva, struct hw_result *ret)
{
    unsigned shift = tlb_shifts[assoc_class(entry->tag)];
    uint64_t offset = gva.raw & ((UINT64_C(1) << shift) - 1);
    ret->end = HW_DONE;
    ret->host = (uint8_t *)(uintptr_t)(entry->host + offset);
    ret->gpa = mv_gpa((entry->meta & TLB_GPA) + offset);
    ret->page_shift = (uint8_t)shift;
    return HW_DONE;
}

/* Shifts as they are cached: 12, 21 or 30. */
static void fill_tlb(struct hw_mmu *mmu, gva_t gva, const struct walk_page *page)
{
    unsigned size = tlb_class_of_shift(page->shift), shift = tlb_shifts[size];
    uint64_t offset = gva.raw & ((UINT64_C(1) << shift) - 1);
    unsigned guest = page->guest_shift == 12 ? 0 : page->guest_shift == 21 ? 1 : page->guest_shift <= 30 ? 2 : 3;
    struct assoc_entry entry = {
        .tag = assoc_tag(gva.raw, shift, size),
        .context = page->is_global ? mmu->global : mmu->context,
        .host = (uint64_t)(uintptr_t)page->host - offset,
        .meta = ((page->gpa.raw - offset) & TLB_GPA) | page->rights | (uint64_t)page->ready << TLB_READY_SHIFT |
                (uint64_t)page->key << TLB_KEY_SHIFT | (uint64_t)guest << TLB_GUEST_SHIFT |
                (page->is_dirty ? TLB_GUEST_DIRTY : 0),
    };
    tlb_insert(&mmu->tlb, &entry);
}

static enum hw_end refuse(struct hw_mmu *mmu, gva_t gva, struct pt_access access, enum hw_end end,
                          struct hw_result *ret)
{
    ret->end = end;
    mmu->counters.accesses--; /* it is not done */
    if (end == HW_EXIT) {
        ret->exit.access = access;
        ret->exit.gva = gva;
        mmu->counters.exits++;
        front_drop_found(&mmu->front, gva.raw);
    } else {
        /* Others may look at this one while we count. */
        __atomic_store_n(&mmu->counters.faults, mmu->counters.faults + 1, __ATOMIC_RELAXED);
        if (ret->fault.vector == 14) {
            mmu_drop_faulted(mmu, gva);
        }
        if (mmu->hooks && mmu->hooks->fault) {
            mmu->hooks->fault(mmu->hooks->opaque, &ret->fault);
        }
    }
    return end;
}

/* Nobody had it: walk, and remember. */
static __attribute__((noinline)) enum hw_end translate_by_walk(struct hw_mmu *mmu, gva_t gva,
                                                               struct pt_access access, struct hw_result *ret)
{
    struct walk_page page;
    enum hw_end end = walk(mmu, gva, access, &page, &ret->fault, &ret->exit);
    if (__builtin_expect(end != HW_DONE, 0)) {
        return refuse(mmu, gva, access, end, ret);
    }
    unsigned shift = tlb_shifts[tlb_class_of_shift(page.shift)];
    if (mmu->options.model_tlb) {
        fill_tlb(mmu, gva, &page);
    } else {
        front_fill(&mmu->front, gva.raw, access.kind, access.who, page.host, page.gpa.raw, page.guest_shift > 12);
    }
    if (__builtin_expect(mmu->hooks != NULL, 0) && mmu->hooks->fill) {
        mmu->hooks->fill(mmu->hooks->opaque, gva, page.gpa, shift, page.rights);
    }
    ret->end = HW_DONE;
    ret->host = page.host;
    ret->gpa = page.gpa;
    ret->page_shift = (uint8_t)(mmu->options.model_tlb ? shift : 12);
    return HW_DONE;
}

/*
 * The TLB has the page but not for this access. Native: the guest's D is set, only the bus was not asked about a
 * write; that is no walk. Else the entry goes, and the tables are asked (Intel SDM, "Recommended Invalidation":
 * what is stale may cost a walk, and not a fault).
 */
static __attribute__((noinline)) enum hw_end translate_again(struct hw_mmu *mmu, const struct assoc_entry *found,
                                                             gva_t gva, struct pt_access access,
                                                             struct hw_result *ret)
{
    struct assoc_entry entry = *found;
    if (mmu->options.dimension == HW_NATIVE && access.kind == MV_ACCESS_WRITE && (entry.meta & TLB_GUEST_DIRTY)) {
        entry.meta |= UINT64_C(1) << (TLB_READY_SHIFT + MV_ACCESS_WRITE);
        if (is_enough(mmu, &entry, access)) {
            unsigned shift, cached = tlb_shifts[assoc_class(entry.tag)];
            (void)hit(&entry, gva, ret);
            uint8_t *host = mmu->bus.bytes(mmu->bus.opaque, ret->gpa, MV_ACCESS_WRITE, &shift);
            if (host == ret->host && shift >= cached) {
                tlb_insert(&mmu->tlb, &entry);
                return HW_DONE;
            }
        }
    }
    tlb_drop_found(&mmu->tlb, gva.raw, mmu->context, mmu->global);
    return translate_by_walk(mmu, gva, access, ret);
}

static __attribute__((noinline)) enum hw_end translate_missed(struct hw_mmu *mmu, gva_t gva,
                                                              struct pt_access access, struct hw_result *ret)
{
    struct assoc_entry *entry = tlb_find_second(&mmu->tlb, gva.raw, mmu->context, mmu->global);
    if (!entry) {
        enum hw_end end = translate_by_walk(mmu, gva, access, ret);
        mmu->counters.l1_misses += end == HW_DONE;
        mmu->counters.misses += end == HW_DONE;
        return end;
    }
    if (is_enough(mmu, entry, access)) {
        mmu->counters.l1_misses++;
        return hit(entry, gva, ret);
    }
    enum hw_end end = translate_again(mmu, entry, gva, access, ret);
    mmu->counters.l1_misses += end == HW_DONE;
    return end;
}

/* For callers who did not inline it. */
static enum hw_end translate_by_front(struct hw_mmu *mmu, gva_t gva, struct pt_access access,
                                      struct hw_result *ret)
{
    uint8_t *host = front_find(&mmu->front, gva.raw, 1, access.kind, access.who);
    if (!host) {
        enum hw_end end = translate_by_walk(mmu, gva, access, ret);
        mmu->counters.misses += end == HW_DONE;
        return end;
    }
    ret->end = HW_DONE;
    ret->host = host;
    ret->gpa = mv_gpa(front_gpa(&mmu->front, gva.raw, access.who));
    ret->page_shift = 12;
    return HW_DONE;
}

enum hw_end hw_translate(struct hw_mmu *mmu, gva_t gva, struct pt_access access, struct hw_result *ret)
{
    mmu->counters.accesses++;
    if (!mmu->options.model_tlb) {
        return translate_by_front(mmu, gva, access, ret);
    }
    const struct assoc_entry *entry = tlb_find_first(&mmu->tlb, gva.raw, mmu->context, mmu->global);
    if (__builtin_expect(entry != NULL, 1)) {
        return __builtin_expect(is_enough(mmu, entry, access), 1) ? hit(entry, gva, ret)
                                                                  : translate_again(mmu, entry, gva, access, ret);
    }
    return translate_missed(mmu, gva, access, ret);
}
