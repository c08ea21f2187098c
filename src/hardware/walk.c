// SPDX-License-Identifier: MIT
#include "hardware/walk.h"

#include "hardware/nested.h"
#include "paging/shadow.h"

/* One walk; what the callbacks of guest_walk.h get. */
struct walker {
    struct hw_mmu *mmu;
    struct pt_exit *exit;
    struct walk_cache_hit cached;      /* level 0: it began at the root */
    uint8_t *host[X86_LEVELS_MAX + 1]; /* the page of the table of each level that was reached */
    bool is_writable[X86_LEVELS_MAX + 1];
    uint8_t rights[X86_LEVELS_MAX + 1]; /* nested ones of the table's page, if this walk has read them */
};

#define RIGHTS_UNKNOWN 0xff

static void count_update(struct hw_mmu *mmu, uint64_t bits)
{
    mmu->counters.accessed_set += (bits & X86_ENTRY_A) != 0;
    mmu->counters.dirty_set += (bits & X86_ENTRY_D) != 0;
}

/* True: the entry is in a table whose page the paging-structure cache knew. */
static inline bool is_cached(const struct walker *w, gpa_t at, unsigned level)
{
    return level == w->cached.level && (at.raw & ~GUEST_PAGE_MASK) == w->cached.table.table.raw;
}

static inline void *reached(struct walker *w, uint8_t *host, gpa_t at, unsigned level, bool is_writable)
{
    w->host[level] = host - (at.raw & GUEST_PAGE_MASK);
    w->is_writable[level] = is_writable;
    return host;
}

static inline void *reached_cached(struct walker *w, gpa_t at, unsigned level)
{
    w->rights[level] = RIGHTS_UNKNOWN;
    return reached(w, w->cached.host + (at.raw & GUEST_PAGE_MASK), at, level, w->cached.is_writable);
}

static void step(void *ctx, gpa_t at, unsigned level, uint64_t entry)
{
    const struct hw_hooks *hooks = ((struct walker *)ctx)->mmu->hooks;
    if (__builtin_expect(hooks != NULL, 0) && hooks->step) {
        hooks->step(hooks->opaque, false, level, at.raw, entry);
    }
}

/* --- Two dimensions ------------------------------------------------------------------------------- */

static inline __attribute__((always_inline)) void *nested_entry(struct walker *w, bool is_ept, gpa_t at,
                                                                unsigned level, enum guest_walk_end *ret_end)
{
    struct hw_mmu *mmu = w->mmu;
    if (is_cached(w, at, level)) {
        mmu->counters.refs_guest++;
        return reached_cached(w, at, level);
    }
    unsigned need = !is_ept ? NESTED_W : mmu->options.ept.access_dirty ? NESTED_R | NESTED_W : NESTED_R;
    struct nested_page page;
    if (!nested_reach(mmu, is_ept, at.raw, need, NESTED_TABLE, &page, w->exit)) {
        *ret_end = GUEST_WALK_STOPPED;
        return NULL;
    }
    mmu->counters.refs_guest++;
    w->rights[level] = mmu->nested_tlb.entries ? RIGHTS_UNKNOWN : page.rights;
    return reached(w, page.host, at, level, page.ready & NESTED_W);
}

static void *ept_entry(void *ctx, gpa_t at, unsigned level, enum guest_walk_end *ret_end)
{
    return nested_entry(ctx, true, at, level, ret_end);
}

static void *npt_entry(void *ctx, gpa_t at, unsigned level, enum guest_walk_end *ret_end)
{
    return nested_entry(ctx, false, at, level, ret_end);
}

/* Without EPT's own bits a table was reached as by a read; this is a read-modify-write. */
static enum guest_update ept_update(void *ctx, gpa_t at, unsigned level, uint64_t bits)
{
    struct walker *w = ctx;
    const unsigned need = NESTED_R | NESTED_W;
    if (!w->is_writable[level] && w->rights[level] != RIGHTS_UNKNOWN) {
        nested_exit(w->mmu, true, at.raw, need, NESTED_TABLE, NESTED_DENIED, w->rights[level], w->exit);
        return GUEST_UPDATE_STOP;
    }
    if (!w->is_writable[level]) { /* a cache says so: ask the tables */
        struct nested_page page;
        if (!nested_reach(w->mmu, true, at.raw, need, NESTED_TABLE, &page, w->exit)) {
            return GUEST_UPDATE_STOP;
        }
        w->is_writable[level] = true;
    }
    count_update(w->mmu, bits);
    return GUEST_UPDATE_ALLOWED;
}

static enum guest_update npt_update(void *ctx, gpa_t at, unsigned level, uint64_t bits)
{
    (void)at;
    (void)level; /* each table was reached as by a write */
    count_update(((struct walker *)ctx)->mmu, bits);
    return GUEST_UPDATE_ALLOWED;
}

static inline __attribute__((always_inline)) bool nested_final(struct walker *w, bool is_ept,
                                                               struct pt_access access, struct walk_page *page)
{
    struct nested_page nested;
    if (!nested_reach(w->mmu, is_ept, page->gpa.raw, 1u << access.kind, NESTED_FINAL, &nested, w->exit)) {
        return false;
    }
    page->host = nested.host;
    page->shift = nested.shift;
    page->ready = nested.ready;
    return true;
}

/* --- One dimension: native ------------------------------------------------------------------------ */

static void *native_entry(void *ctx, gpa_t at, unsigned level, enum guest_walk_end *ret_end)
{
    struct walker *w = ctx;
    struct hw_mmu *mmu = w->mmu;
    if (is_cached(w, at, level)) {
        mmu->counters.refs_guest++;
        return reached_cached(w, at, level);
    }
    unsigned shift;
    uint8_t *host = mmu->bus.bytes(mmu->bus.opaque, at, MV_ACCESS_READ, &shift);
    if (!host) {
        *ret_end = GUEST_WALK_NO_MEMORY;
        return NULL;
    }
    mmu->counters.refs_guest++;
    return reached(w, host, at, level, false);
}

static enum guest_update native_update(void *ctx, gpa_t at, unsigned level, uint64_t bits)
{
    struct walker *w = ctx;
    unsigned shift;
    (void)level;
    if (!w->mmu->bus.bytes(w->mmu->bus.opaque, at, MV_ACCESS_WRITE, &shift)) {
        return GUEST_UPDATE_SKIP;
    }
    count_update(w->mmu, bits);
    return GUEST_UPDATE_ALLOWED;
}

static bool native_final(struct walker *w, struct pt_access access, struct walk_page *page)
{
    unsigned shift;
    page->host = w->mmu->bus.bytes(w->mmu->bus.opaque, page->gpa, access.kind, &shift);
    if (!page->host) {
        w->exit->reason = PT_EXIT_NO_MEMORY;
        w->exit->gpa = page->gpa;
        w->exit->code = 0;
        return false;
    }
    page->shift = (uint8_t)shift;
    page->ready = (uint8_t)(NESTED_R | NESTED_X | (access.kind == MV_ACCESS_WRITE ? NESTED_W : 0));
    return true;
}

/* --- One dimension: shadow tables ----------------------------------------------------------------- */

/* Their addresses are host addresses. */
static void *shadow_entry(void *ctx, gpa_t at, unsigned level, enum guest_walk_end *ret_end)
{
    struct walker *w = ctx;
    (void)ret_end;
    w->mmu->counters.refs_nested++;
    return reached(w, (uint8_t *)(uintptr_t)at.raw, at, level, true);
}

static void shadow_step(void *ctx, gpa_t at, unsigned level, uint64_t entry)
{
    const struct hw_hooks *hooks = ((struct walker *)ctx)->mmu->hooks;
    if (__builtin_expect(hooks != NULL, 0) && hooks->step) {
        hooks->step(hooks->opaque, true, level, at.raw, entry);
    }
}

static enum guest_update shadow_update(void *ctx, gpa_t at, unsigned level, uint64_t bits)
{
    (void)at;
    (void)level;
    struct hw_counters *counters = &((struct walker *)ctx)->mmu->counters;
    counters->nested_accessed_set += (bits & X86_ENTRY_A) != 0;
    counters->nested_dirty_set += (bits & X86_ENTRY_D) != 0;
    return GUEST_UPDATE_ALLOWED;
}

/* --- What all have in common ---------------------------------------------------------------------- */

static const struct guest_walk_ops ops_native = {native_entry, native_update, step};
static const struct guest_walk_ops ops_ept = {ept_entry, ept_update, step};
static const struct guest_walk_ops ops_npt = {npt_entry, npt_update, step};
static const struct guest_walk_ops ops_shadow = {shadow_entry, shadow_update, shadow_step};

static void fill_fault(const struct guest_walk *g, gva_t gva, struct hw_fault *ret)
{
    bool is_gp = g->end == GUEST_WALK_NON_CANONICAL;
    *ret = (struct hw_fault){
        .vector = is_gp ? 13 : 14,
        .error_code = is_gp ? 0 : g->error_code,
        .address = gva,
        .rule = g->end,
        .level = g->level,
        .entry = g->level ? g->entry : 0,
        .reserved = g->end == GUEST_WALK_RESERVED ? g->reserved : 0,
    };
}

static void fill_page(const struct guest_walk *g, struct walk_page *ret)
{
    ret->gpa = g->gpa;
    ret->guest_shift = g->page_shift;
    ret->rights = g->rights;
    ret->key = g->key;
    ret->is_global = g->is_global;
    ret->is_dirty = g->is_dirty;
}

/* Tables below the entries that were read, the leaf's excepted. HW_HYBRID: of `guest_top` and below, the guest's.
 */
static void remember_tables(struct walker *w, uint64_t gva, const struct guest_walk *g, unsigned top,
                            unsigned guest_top)
{
    struct hw_mmu *mmu = w->mmu;
    for (unsigned level = g->level; level < top; level++) {
        struct walk_cache_hit hit = {.level = level,
                                     .table = g->tables[level],
                                     .host = w->host[level],
                                     .is_writable = w->is_writable[level],
                                     .is_guest = level <= guest_top};
        walk_cache_insert(&mmu->walk_cache, &mmu->walked, gva, mmu->context, &hit);
    }
}

/* A #PF over the shadow tables is the hypervisor's; a bad address the guest's own. */
static enum hw_end end_shadow_fault(struct walker *w, const struct guest_walk *g, gva_t gva,
                                    struct hw_fault *ret_fault)
{
    if (g->end == GUEST_WALK_NON_CANONICAL) {
        fill_fault(g, gva, ret_fault);
        return HW_FAULT;
    }
    w->exit->reason = PT_EXIT_PAGE_FAULT;
    w->exit->gpa = mv_gpa(0);
    w->exit->code = g->error_code;
    return HW_EXIT;
}

static void shadow_final(const struct hw_mmu *mmu, gva_t gva, const struct guest_walk *g, struct walk_page *page)
{
    page->host = (uint8_t *)(uintptr_t)g->gpa.raw;
    page->gpa = mmu->bus.gpa_of ? mmu->bus.gpa_of(mmu->bus.opaque, gva, page->host) : mv_gpa(0);
    page->shift = g->page_shift;
    page->ready = (uint8_t)(g->is_dirty ? NESTED_RWX : NESTED_R | NESTED_X);
}

/* The smaller page of both dimensions, and no write before D is set in the guest's. */
static inline void combine(const struct guest_walk *g, struct walk_page *page)
{
    if (page->shift > page->guest_shift) {
        page->shift = page->guest_shift;
    }
    if (!g->is_dirty) {
        page->ready &= (uint8_t)~NESTED_W;
    }
}

/* One try. `dimension` is constant where this is inlined. */
static inline __attribute__((always_inline)) enum hw_end walk_once(struct walker *w, enum hw_dimension dimension,
                                                                   const struct guest_walk_ops *ops, gva_t gva,
                                                                   struct pt_access access, struct walk_page *page,
                                                                   struct hw_fault *ret_fault)
{
    struct hw_mmu *mmu = w->mmu;
    const struct paging *p = &mmu->walked;
    struct guest_walk g;
    unsigned top = w->cached.level ? w->cached.level : p->levels;
    if (dimension == HW_SHADOW && !paging_is_canonical(&mmu->paging, gva.raw) && mmu->paging.levels) {
        g.end = GUEST_WALK_NON_CANONICAL;
        g.level = 0;
    } else {
        guest_walk(p, gva, access, ops, w, top, w->cached.level ? &w->cached.table : NULL, &g);
    }
    if (__builtin_expect(g.end != GUEST_WALK_MAPPED, 0)) {
        if (g.end == GUEST_WALK_STOPPED) {
            return HW_EXIT;
        }
        if (dimension == HW_SHADOW) {
            return end_shadow_fault(w, &g, gva, ret_fault);
        }
        fill_fault(&g, gva, ret_fault);
        return HW_FAULT;
    }
    fill_page(&g, page);
    if (dimension == HW_SHADOW) {
        shadow_final(mmu, gva, &g, page);
    } else {
        bool ok = dimension == HW_NATIVE ? native_final(w, access, page)
                                         : nested_final(w, dimension == HW_EPT, access, page);
        if (!ok) {
            return HW_EXIT;
        }
        combine(&g, page);
    }
    if (mmu->options.has_walk_caches && p->levels) {
        remember_tables(w, gva.raw, &g, top, 0);
    }
    return HW_DONE;
}

static __attribute__((noinline)) enum hw_end walk_native(struct walker *w, gva_t gva, struct pt_access access,
                                                         struct walk_page *page, struct hw_fault *ret_fault)
{
    return walk_once(w, HW_NATIVE, &ops_native, gva, access, page, ret_fault);
}

static __attribute__((noinline)) enum hw_end walk_ept(struct walker *w, gva_t gva, struct pt_access access,
                                                      struct walk_page *page, struct hw_fault *ret_fault)
{
    return walk_once(w, HW_EPT, &ops_ept, gva, access, page, ret_fault);
}

static __attribute__((noinline)) enum hw_end walk_npt(struct walker *w, gva_t gva, struct pt_access access,
                                                      struct walk_page *page, struct hw_fault *ret_fault)
{
    return walk_once(w, HW_NPT, &ops_npt, gva, access, page, ret_fault);
}

static __attribute__((noinline)) enum hw_end walk_shadow(struct walker *w, gva_t gva, struct pt_access access,
                                                         struct walk_page *page, struct hw_fault *ret_fault)
{
    return walk_once(w, HW_SHADOW, &ops_shadow, gva, access, page, ret_fault);
}

/* --- Hybrid: the shadow's tables as far as they go, and then the guest's own, in two dimensions ---- */

/* The first of the guest's tables is known by its host address, and needs no walk. Nor does it need its gpa. Of
 * one that a cache knows both are known. */
static void hybrid_step(void *ctx, gpa_t at, unsigned level, uint64_t entry)
{
    const struct walker *w = ctx;
    const struct hw_mmu *mmu = w->mmu;
    if (__builtin_expect(mmu->hooks != NULL, 0) && mmu->hooks->step) {
        bool is_host = level == w->cached.level && mmu->bus.gpa_of &&
                       w->cached.table.table.raw == (uint64_t)(uintptr_t)w->cached.host;
        gpa_t gpa = is_host ? mmu->bus.gpa_of(mmu->bus.opaque, mv_gva(0), (const void *)(uintptr_t)at.raw) : at;
        mmu->hooks->step(mmu->hooks->opaque, false, level, gpa.raw, entry);
    }
}

static const struct guest_walk_ops ops_hybrid = {ept_entry, ept_update, hybrid_step};

/* From a table of the guest's down. False: an entry changed, begin anew. */
static bool walk_switched(struct walker *w, gva_t gva, struct pt_access access, const struct walk_cache_hit *from,
                          struct guest_walk *g)
{
    w->cached = *from;
    g->tables[from->level] = from->table;
    return guest_walk_from(&w->mmu->guest, gva.raw, access, &ops_hybrid, w, from->level, g);
}

/* By its host address. */
static struct walk_cache_hit first_of_guest(uint64_t host, unsigned level, unsigned rights)
{
    return (struct walk_cache_hit){.level = level,
                                   .table = {mv_gpa(host), (uint8_t)rights},
                                   .host = (uint8_t *)(uintptr_t)host,
                                   .is_writable = true,
                                   .is_guest = true};
}

static enum hw_end end_switched(struct walker *w, gva_t gva, struct pt_access access, const struct guest_walk *g,
                                struct walk_page *page, struct hw_fault *ret_fault)
{
    if (g->end == GUEST_WALK_STOPPED) {
        return HW_EXIT;
    }
    if (g->end != GUEST_WALK_MAPPED) {
        fill_fault(g, gva, ret_fault);
        return HW_FAULT;
    }
    fill_page(g, page);
    if (!nested_final(w, true, access, page)) {
        return HW_EXIT;
    }
    combine(g, page);
    return HW_DONE;
}

/* Of the shadow's entries above the one that switches, from `top` on: they were used. */
static void set_accessed(struct walker *w, gva_t gva, const struct guest_walk *g, unsigned top)
{
    for (unsigned level = top; level > g->level; level--) {
        pt_word_t *word = (pt_word_t *)(uintptr_t)g->tables[level].table.raw + pt_index(gva.raw, level);
        uint64_t entry = pt_load(word);
        if ((entry & X86_ENTRY_P) && !(entry & X86_ENTRY_A)) { /* if it changed meanwhile, then next time */
            w->mmu->counters.nested_accessed_set += pt_cas(word, &entry, entry | X86_ENTRY_A);
        }
    }
}

static bool is_time(struct hw_mmu *mmu)
{
    if (mmu->timer_walks == 0 || mmu->timer_left-- > 0) {
        return false;
    }
    mmu->timer_left = mmu->timer_walks;
    return true;
}

/*
 * Over the shadow's tables, from the root or from one of them that a cache knows. @return true: that was all, and
 * `ret_end` says how it ended. False: the guest's tables go on from `ret`
 */
static bool walk_upper(struct walker *w, gva_t gva, struct pt_access access, struct guest_walk *g,
                       struct walk_page *page, struct hw_fault *ret_fault, struct walk_cache_hit *ret,
                       enum hw_end *ret_end)
{
    struct hw_mmu *mmu = w->mmu;
    unsigned top = w->cached.level ? w->cached.level : mmu->walked.levels;
    guest_walk(&mmu->walked, gva, access, &ops_shadow, w, top, w->cached.level ? &w->cached.table : NULL, g);
    if (g->end == GUEST_WALK_MAPPED) {
        fill_page(g, page);
        shadow_final(mmu, gva, g, page);
        if (mmu->options.has_walk_caches) {
            remember_tables(w, gva.raw, g, top, 0);
        }
        *ret_end = HW_DONE;
        return true;
    }
    /* At level 1 it is an entry for MMIO, which may have that bit of the generation. */
    if (g->end != GUEST_WALK_RESERVED || g->level == 1 || !(g->entry & SHADOW_SWITCH)) {
        *ret_end = end_shadow_fault(w, g, gva, ret_fault);
        return true;
    }
    *ret =
        first_of_guest(pt_address(g->entry), g->level - 1u, guest_entry_rights(&mmu->walked, g->entry, g->level));
    set_accessed(w, gva, g, top);
    return false;
}

static __attribute__((noinline)) enum hw_end walk_hybrid(struct walker *w, gva_t gva, struct pt_access access,
                                                         struct walk_page *page, struct hw_fault *ret_fault)
{
    struct hw_mmu *mmu = w->mmu;
    struct guest_walk g = {.end = GUEST_WALK_NON_CANONICAL};
    if (!paging_is_canonical(&mmu->paging, gva.raw) && mmu->paging.levels) {
        return end_shadow_fault(w, &g, gva, ret_fault);
    }
    for (;; w->cached.level = 0) {
        struct walk_cache_hit from = w->cached.level ? w->cached : (struct walk_cache_hit){0};
        unsigned top = from.level ? from.level : mmu->walked.levels;
        enum hw_end end;
        if (mmu->root_is_switched && from.level == 0) {
            from = first_of_guest((uint64_t)(uintptr_t)mmu->root, mmu->guest.levels, PT_RIGHTS_ALL);
        } else if (!from.is_guest && walk_upper(w, gva, access, &g, page, ret_fault, &from, &end)) {
            return end;
        }
        if (walk_switched(w, gva, access, &from, &g)) {
            end = end_switched(w, gva, access, &g, page, ret_fault);
            if (end == HW_DONE && mmu->options.has_walk_caches) {
                remember_tables(w, gva.raw, &g, top, from.level);
            }
            return end;
        }
    }
}

static enum hw_end walk_in(struct walker *w, gva_t gva, struct pt_access access, struct walk_page *page,
                           struct hw_fault *ret_fault)
{
    switch (w->mmu->options.dimension) {
    case HW_EPT: return walk_ept(w, gva, access, page, ret_fault);
    case HW_NPT: return walk_npt(w, gva, access, page, ret_fault);
    case HW_SHADOW: return walk_shadow(w, gva, access, page, ret_fault);
    case HW_HYBRID: return walk_hybrid(w, gva, access, page, ret_fault);
    case HW_NATIVE: break;
    }
    return walk_native(w, gva, access, page, ret_fault);
}

enum hw_end walk(struct hw_mmu *mmu, gva_t gva, struct pt_access access, struct walk_page *ret_page,
                 struct hw_fault *ret_fault, struct pt_exit *ret_exit)
{
    struct hw_counters *counters = &mmu->counters;
    struct walker w = {.mmu = mmu, .exit = ret_exit};
    uint64_t guest_before = counters->refs_guest, nested_before = counters->refs_nested;
    enum hw_end end;
    if (mmu->options.dimension == HW_HYBRID && is_time(mmu)) {
        *ret_exit = (struct pt_exit){.reason = PT_EXIT_TIMER};
        return HW_EXIT;
    }
    if (mmu->options.has_walk_caches &&
        walk_cache_find(&mmu->walk_cache, &mmu->walked, gva.raw, mmu->context, &w.cached)) {
        counters->walk_cache_hits++;
        end = walk_in(&w, gva, access, ret_page, ret_fault);
        if (end != HW_DONE) {
            /* "A page-fault exception invalidates [...] paging-structure-cache entries"; then it is tried anew. */
            walk_cache_drop_found(&mmu->walk_cache, &mmu->walked, gva.raw, mmu->context);
            w.cached.level = 0;
            end = walk_in(&w, gva, access, ret_page, ret_fault);
        }
    } else {
        end = walk_in(&w, gva, access, ret_page, ret_fault);
    }
    uint64_t refs = counters->refs_guest + counters->refs_nested - guest_before - nested_before;
    if (end == HW_DONE) {
        counters->walks++;
        counters->histogram[refs < HW_WALK_REFS_MAX ? refs : HW_WALK_REFS_MAX - 1]++;
    } else {
        counters->walks_aborted++;
        counters->refs_aborted += refs;
        counters->refs_guest = guest_before;
        counters->refs_nested = nested_before;
    }
    return end;
}
