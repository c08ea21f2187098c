// SPDX-License-Identifier: MIT
/*
 * The walk of a guest's page tables (Intel SDM, "Paging"). There is one, inlined into everybody who walks: the
 * processor's walkers of one and two dimensions, the hypervisor when it emulates or shadows, and explain. They
 * differ in how a table's bytes are reached, which they say by `struct guest_walk_ops`; given as a constant,
 * nothing of it is left in the code as a call.
 *
 * Order of events, at each level: the entry is read; not present ends it; a reserved bit ends it. After the leaf:
 * rights, then the protection key. Only an access that is allowed sets bits: A in each entry used, from the top,
 * and D in the leaf of a write, each by compare-and-swap from the value that was read. If an entry changed
 * meanwhile the walk begins anew.
 */
#ifndef PAGING_GUEST_WALK_H
#define PAGING_GUEST_WALK_H

#include "paging/exit.h"
#include "paging/state.h"
#include "paging/word.h"

enum guest_walk_end {
    GUEST_WALK_MAPPED,
    GUEST_WALK_NOT_PRESENT,
    GUEST_WALK_RESERVED,
    GUEST_WALK_DENIED,     /* by rights */
    GUEST_WALK_KEY_DENIED, /* by the protection key, perhaps by rights as well */
    GUEST_WALK_NON_CANONICAL,
    GUEST_WALK_NO_MEMORY, /* a table is where no memory is: to the guest as if not present */
    GUEST_WALK_STOPPED,   /* reaching a table needs somebody else first: `ops` knows what */
};

enum guest_update {
    GUEST_UPDATE_ALLOWED,
    GUEST_UPDATE_SKIP, /* the table cannot be written, and goes without the bit */
    GUEST_UPDATE_STOP,
};

struct guest_walk_ops {
    /* The bytes of the entry at `at`, or NULL and an end: NO_MEMORY or STOPPED. Called once for each entry that is
     * read. */
    void *(*entry)(void *ctx, gpa_t at, unsigned level, enum guest_walk_end *ret_end);
    /* Whether A or D may be set in it: those of `bits` that are not set yet. NULL: nothing is ever set. */
    enum guest_update (*update)(void *ctx, gpa_t at, unsigned level, uint64_t bits);
    /* Told of each entry that was read. May be NULL. */
    void (*step)(void *ctx, gpa_t at, unsigned level, uint64_t entry);
};

/* Where a walk may begin instead of at the root: a paging-structure cache has it. */
struct guest_walk_table {
    gpa_t table;    /* that holds the entry of this level */
    uint8_t rights; /* ANDed over the levels above */
};

struct guest_walk {
    enum guest_walk_end end;
    uint8_t level;      /* of the entry at which it ended; 0: none was read */
    uint8_t page_shift; /* MAPPED: 12, 21, 22 or 30; 63 with paging off */
    uint8_t rights;     /* MAPPED, DENIED: of PT_RIGHT_ */
    uint8_t key;        /* MAPPED, KEY_DENIED */
    uint8_t pat;        /* MAPPED: PAT, PCD, PWT as an index of three bits */
    bool is_global;     /* MAPPED: G, and CR4.PGE */
    bool is_dirty;      /* MAPPED: D is set, or was set by this walk */
    uint32_t
        error_code; /* of the #PF; all ends from NOT_PRESENT to NO_MEMORY but NON_CANONICAL, which is #GP or #SS */
    gpa_t gpa;      /* MAPPED: of the byte */
    gpa_t at;       /* where the entry is at which it ended */
    uint64_t entry; /* as it was read */
    uint64_t reserved; /* RESERVED: the offending bits */
    struct guest_walk_table
        tables[X86_LEVELS_MAX + 1]; /* of the levels that were read; the others are not written */
};

static inline uint32_t guest_walk_error_code(const struct paging *p, struct pt_access access)
{
    return (access.kind == MV_ACCESS_WRITE ? (uint32_t)PF_WRITE : 0) |
           (access.who == PT_USER ? (uint32_t)PF_USER : 0) |
           (access.kind == MV_ACCESS_FETCH && p->reports_fetch ? (uint32_t)PF_FETCH : 0);
}

static inline bool guest_entry_is_leaf(const struct paging *p, uint64_t entry, unsigned level)
{
    return level == 1 || (level <= 3 && (entry & X86_ENTRY_PS) && (p->entry_bytes == 8 || p->has_large_4m));
}

static inline unsigned guest_level_shift(const struct paging *p, unsigned level)
{
    return 12 + (p->entry_bytes == 8 ? 9u : 10u) * (level - 1);
}

/* A PDPTE of PAE paging has neither rights nor an accessed bit. */
static inline bool guest_entry_is_plain(const struct paging *p, unsigned level)
{
    return level == 3 && p->mode == MV_PAGING_PAE;
}

/* Bits of rights that an entry leaves. NX counts only where it is not reserved. */
static inline unsigned guest_entry_rights(const struct paging *p, uint64_t entry, unsigned level)
{
    if (guest_entry_is_plain(p, level)) {
        return PT_RIGHTS_ALL;
    }
    return ((entry & X86_ENTRY_RW) ? PT_RIGHT_W : 0) | ((entry & X86_ENTRY_US) ? PT_RIGHT_U : 0) |
           ((entry & X86_ENTRY_NX) ? 0 : PT_RIGHT_X);
}

/* The table that an entry points to. */
static inline gpa_t guest_entry_table(const struct paging *p, uint64_t entry)
{
    return mv_gpa(entry & (p->entry_bytes == 8 ? UINT64_C(0x000ffffffffff000) : UINT64_C(0xfffff000)));
}

static inline uint64_t guest_leaf_frame(const struct paging *p, uint64_t entry, unsigned shift)
{
    if (p->entry_bytes == 8) {
        return entry & UINT64_C(0x000fffffffffffff) & ~((UINT64_C(1) << shift) - 1);
    }
    uint64_t frame = entry & UINT64_C(0xffffffff) & ~((UINT64_C(1) << shift) - 1);
    if (shift == 22) {
        frame |= ((entry >> 13) & 0xff) << 32; /* PSE-36; reserved bits were refused before */
    }
    return frame;
}

/* Sets A and D along the way. False: an entry changed, begin anew. */
static inline __attribute__((always_inline)) bool
guest_walk_set_bits(const struct paging *p, struct pt_access access, const struct guest_walk_ops *ops, void *ctx,
                    unsigned top, void *const *entries_at, const uint64_t *entries, struct guest_walk *w)
{
    for (unsigned level = top; level >= w->level; level--) {
        uint64_t bits = X86_ENTRY_A;
        if (level == w->level && access.kind == MV_ACCESS_WRITE) {
            bits |= X86_ENTRY_D;
        }
        uint64_t entry = entries[level];
        if ((entry & bits) == bits || guest_entry_is_plain(p, level)) {
            continue;
        }
        gpa_t at = mv_gpa(w->tables[level].table.raw + ((uintptr_t)entries_at[level] & GUEST_PAGE_MASK));
        enum guest_update answer = ops->update(ctx, at, level, bits & ~entry);
        if (answer == GUEST_UPDATE_STOP) {
            w->end = GUEST_WALK_STOPPED;
            w->at = at;
            return true;
        }
        if (answer == GUEST_UPDATE_SKIP) {
            continue;
        }
        if (!pt_guest_cas(entries_at[level], p->entry_bytes, entry, entry | bits)) {
            return false;
        }
        if (level == w->level) {
            w->entry = entry | bits;
        }
    }
    return true;
}

static inline void guest_walk_fill_leaf(const struct paging *p, uint64_t gva, struct guest_walk *w)
{
    unsigned shift = guest_level_shift(p, w->level);
    unsigned pat_bit = w->level == 1 ? 7 : 12;
    w->page_shift = (uint8_t)shift;
    w->gpa = mv_gpa(guest_leaf_frame(p, w->entry, shift) | (gva & ((UINT64_C(1) << shift) - 1)));
    w->key = p->linear_bits > 32 ? (w->entry >> 59) & 15 : 0;
    w->pat = (uint8_t)(((w->entry >> 3) & 3) | (((w->entry >> pat_bit) & 1) << 2));
    w->is_global = p->has_global && (w->entry & X86_ENTRY_G);
}

static inline void guest_walk_judge(const struct paging *p, struct pt_access access, struct guest_walk *w)
{
    bool denied = paging_denies(p, access, w->rights);
    bool key_denied = paging_key_denies(p, access, w->rights, w->key);
    if (denied || key_denied) {
        w->end = key_denied ? GUEST_WALK_KEY_DENIED : GUEST_WALK_DENIED;
        w->error_code =
            guest_walk_error_code(p, access) | (uint32_t)PF_PRESENT | (key_denied ? (uint32_t)PF_KEY : 0);
    }
}

/*
 * From the table `w->tables[top]` down. `w->end` is MAPPED only if the access is allowed, and its bits are set.
 * False: begin anew.
 */
static inline __attribute__((always_inline)) bool guest_walk_from(const struct paging *p, uint64_t gva,
                                                                  struct pt_access access,
                                                                  const struct guest_walk_ops *ops, void *ctx,
                                                                  unsigned top, struct guest_walk *w)
{
    void *entries_at[X86_LEVELS_MAX + 1];
    uint64_t entries[X86_LEVELS_MAX + 1];
    unsigned index_mask = p->entry_bytes == 8 ? 511 : 1023;
    for (unsigned level = top;; level--) {
        unsigned shift = guest_level_shift(p, level);
        gpa_t at = mv_gpa(w->tables[level].table.raw + ((gva >> shift) & index_mask) * p->entry_bytes);
        w->level = (uint8_t)level;
        w->at = at;
        entries_at[level] = ops->entry(ctx, at, level, &w->end);
        if (!entries_at[level]) {
            w->entry = 0;
            w->error_code = guest_walk_error_code(p, access);
            return true;
        }
        uint64_t entry = pt_guest_load(entries_at[level], p->entry_bytes);
        entries[level] = entry;
        w->entry = entry;
        if (ops->step) {
            ops->step(ctx, at, level, entry);
        }
        if (!(entry & X86_ENTRY_P)) {
            w->end = GUEST_WALK_NOT_PRESENT;
            w->error_code = guest_walk_error_code(p, access);
            return true;
        }
        bool is_leaf = guest_entry_is_leaf(p, entry, level);
        uint64_t reserved = entry & p->reserved[is_leaf && level > 1][level];
        if (__builtin_expect(reserved != 0, 0)) {
            w->end = GUEST_WALK_RESERVED;
            w->reserved = reserved;
            w->error_code = guest_walk_error_code(p, access) | (uint32_t)(PF_PRESENT | PF_RESERVED);
            return true;
        }
        unsigned rights = w->tables[level].rights & guest_entry_rights(p, entry, level);
        if (is_leaf) {
            w->rights = (uint8_t)rights;
            break;
        }
        w->tables[level - 1] = (struct guest_walk_table){guest_entry_table(p, entry), (uint8_t)rights};
    }
    w->end = GUEST_WALK_MAPPED;
    guest_walk_fill_leaf(p, gva, w);
    guest_walk_judge(p, access, w);
    if (w->end == GUEST_WALK_MAPPED && ops->update &&
        !guest_walk_set_bits(p, access, ops, ctx, top, entries_at, entries, w)) {
        return false;
    }
    w->is_dirty = (w->entry & X86_ENTRY_D) != 0;
    return true;
}

/* Paging off: every address is its own, within 32 bits (or all, for a vCPU in a mode that has no paging at all).
 */
static inline void guest_walk_identity(uint64_t gva, struct guest_walk *w)
{
    w->end = GUEST_WALK_MAPPED;
    w->level = 0;
    w->page_shift = 63;
    w->rights = PT_RIGHTS_ALL;
    w->key = 0;
    w->pat = 0;
    w->is_global = false;
    w->is_dirty = true;
    w->gpa = mv_gpa(gva);
}

/* Where a walk of `gva` begins. False: it ends here, by a PDPTE register that is not present. */
static inline bool guest_walk_start(const struct paging *p, uint64_t gva, struct pt_access access,
                                    struct guest_walk *w)
{
    gpa_t table = p->root;
    if (p->mode == MV_PAGING_PAE && p->levels == 2) {
        uint64_t pdpte = p->pdptr[(gva >> 30) & 3];
        if (!(pdpte & X86_ENTRY_P)) {
            w->end = GUEST_WALK_NOT_PRESENT;
            w->level = 3;
            w->at = p->root;
            w->entry = pdpte;
            w->error_code = guest_walk_error_code(p, access);
            return false;
        }
        table = mv_gpa(pdpte & UINT64_C(0x000ffffffffff000));
    }
    w->tables[p->levels] = (struct guest_walk_table){table, PT_RIGHTS_ALL};
    return true;
}

/*
 * Translate. `cached` NULL begins at the root; else `cached_level` and the table that holds its entry come from a
 * paging-structure cache.
 */
static inline __attribute__((always_inline)) void
guest_walk(const struct paging *p, gva_t gva, struct pt_access access, const struct guest_walk_ops *ops, void *ctx,
           unsigned cached_level, const struct guest_walk_table *cached, struct guest_walk *ret)
{
    if (p->levels == 0) {
        guest_walk_identity(gva.raw, ret);
        return;
    }
    if (!paging_is_canonical(p, gva.raw)) {
        ret->end = GUEST_WALK_NON_CANONICAL;
        ret->level = 0;
        return;
    }
    for (;;) {
        unsigned top = p->levels;
        if (cached) {
            top = cached_level;
            ret->tables[top] = *cached;
        } else if (!guest_walk_start(p, gva.raw, access, ret)) {
            return;
        }
        if (guest_walk_from(p, gva.raw, access, ops, ctx, top, ret)) {
            return;
        }
        cached = NULL;
    }
}

#endif
