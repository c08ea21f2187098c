// SPDX-License-Identifier: MIT
#include "paging/x86.h"

#include <assert.h>

#define ADDRESS_MASK UINT64_C(0x000ffffffffff000) /* bits 51-12 */

/* The shape of the tables of a mode. */
struct geometry {
    unsigned levels;
    unsigned index_bits; /* of each level; PAE's topmost has fewer */
    unsigned top_bits;
    unsigned entry_bytes;
    unsigned address_bits; /* of a gva; 0: whatever 32 bits hold */
};

static const struct geometry geometries[] = {
    [MV_PAGING_OFF] = {0},
    [MV_PAGING_32BIT] = {.levels = 2, .index_bits = 10, .top_bits = 10, .entry_bytes = 4, .address_bits = 32},
    [MV_PAGING_PAE] = {.levels = 3, .index_bits = 9, .top_bits = 2, .entry_bytes = 8, .address_bits = 32},
    [MV_PAGING_4LEVEL] = {.levels = 4, .index_bits = 9, .top_bits = 9, .entry_bytes = 8, .address_bits = 48},
    [MV_PAGING_5LEVEL] = {.levels = 5, .index_bits = 9, .top_bits = 9, .entry_bytes = 8, .address_bits = 57},
};

_Static_assert(12 + 10 + 10 == 32, "32-bit paging translates 32 bits");
_Static_assert(12 + 9 + 9 + 2 == 32, "PAE paging translates 32 bits");
_Static_assert(12 + 4 * 9 == 48 && 12 + 5 * 9 == 57, "each level of long mode adds 9 bits");

struct x86_paging x86_paging_of(uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t efer)
{
    struct x86_paging p = {.cr3 = cr3, .pse = cr4 & X86_CR4_PSE, .nxe = efer & X86_EFER_NXE};
    if (!(cr0 & X86_CR0_PG)) {
        p.mode = MV_PAGING_OFF;
    } else if (efer & X86_EFER_LMA) {
        p.mode = cr4 & X86_CR4_LA57 ? MV_PAGING_5LEVEL : MV_PAGING_4LEVEL;
    } else {
        p.mode = cr4 & X86_CR4_PAE ? MV_PAGING_PAE : MV_PAGING_32BIT;
    }
    return p;
}

void x86_paging_limit_addresses(struct x86_paging *paging, unsigned address_bits)
{
    assert(address_bits >= 32);
    paging->missing_address_bits = address_bits < 52 ? ADDRESS_MASK & -(UINT64_C(1) << address_bits) : 0;
}

const char *mv_paging_mode_name(enum mv_paging_mode mode)
{
    switch (mode) {
    case MV_PAGING_OFF: return "off";
    case MV_PAGING_32BIT: return "32-bit";
    case MV_PAGING_PAE: return "PAE";
    case MV_PAGING_4LEVEL: return "4-level";
    case MV_PAGING_5LEVEL: return "5-level";
    }
    return "unknown";
}

const char *x86_entry_name(unsigned level)
{
    static const char *const names[X86_LEVELS_MAX + 1] = {NULL, "PTE", "PDE", "PDPTE", "PML4E", "PML5E"};
    assert(level >= 1 && level <= X86_LEVELS_MAX);
    return names[level];
}

static unsigned level_shift(const struct geometry *g, unsigned level)
{
    return GUEST_PAGE_SHIFT + (level - 1) * g->index_bits;
}

static unsigned level_entries(const struct geometry *g, unsigned level)
{
    return 1u << (level == g->levels ? g->top_bits : g->index_bits);
}

static gpa_t root_table(const struct x86_paging *p)
{
    switch (p->mode) {
    case MV_PAGING_PAE: return mv_gpa(p->cr3 & UINT64_C(0xffffffe0)); /* CR3 bits 31-5 */
    case MV_PAGING_32BIT: return mv_gpa(p->cr3 & UINT64_C(0xfffff000));
    case MV_PAGING_OFF:
    case MV_PAGING_4LEVEL:
    case MV_PAGING_5LEVEL: break;
    }
    return mv_gpa(p->cr3 & ADDRESS_MASK);
}

static bool is_leaf(const struct x86_paging *p, unsigned level, uint64_t entry)
{
    switch (p->mode) {
    case MV_PAGING_32BIT: return level == 1 || (p->pse && (entry & X86_ENTRY_PS));
    case MV_PAGING_PAE: return level == 1 || (level == 2 && (entry & X86_ENTRY_PS));
    case MV_PAGING_OFF:
    case MV_PAGING_4LEVEL:
    case MV_PAGING_5LEVEL: break;
    }
    return level == 1 || (level <= 3 && (entry & X86_ENTRY_PS));
}

/* In a 4 MiB page's entry bits 13-20 are the address bits 32-39 (PSE-36), and bit 21 is none. */
static uint64_t reserved_bits_of_4m(const struct x86_paging *p)
{
    return UINT64_C(1) << 21 | (p->missing_address_bits >> 32 & 0xff) << 13;
}

/* Bits that must be 0 in a present entry (Intel SDM, "Reserved Bits" under each paging mode). */
static uint64_t reserved_bits(const struct x86_paging *p, unsigned level, uint64_t entry)
{
    if (p->mode == MV_PAGING_32BIT) {
        return is_leaf(p, level, entry) && level == 2 ? reserved_bits_of_4m(p) : 0;
    }
    uint64_t bits = p->missing_address_bits | (p->nxe ? 0 : X86_ENTRY_NX);
    if (p->mode == MV_PAGING_PAE && level == 3) {
        return bits | UINT64_C(0xfff00000000001e6); /* 1-2, 5-8, 52-63 */
    }
    if (p->mode == MV_PAGING_PAE) {
        bits |= UINT64_C(0x7ff0000000000000); /* 52-62 */
    }
    if (level >= 4 || (level == 3 && p->no_1g_pages)) {
        bits |= X86_ENTRY_PS;
    } else if (level > 1 && is_leaf(p, level, entry)) {
        uint64_t size = UINT64_C(1) << level_shift(&geometries[p->mode], level);
        bits |= (size - 1) & ~UINT64_C(0x1fff); /* bit 12 is PAT */
    }
    return bits;
}

static gpa_t leaf_frame(const struct x86_paging *p, unsigned level, uint64_t entry)
{
    if (p->mode == MV_PAGING_32BIT && level == 2) {
        return mv_gpa((entry & UINT64_C(0xffc00000)) | (entry >> 13 & 0xff) << 32); /* PSE-36 */
    }
    uint64_t size = UINT64_C(1) << level_shift(&geometries[p->mode], level);
    return mv_gpa(entry & ADDRESS_MASK & ~(size - 1));
}

static bool is_canonical(const struct geometry *g, gva_t gva)
{
    if (g->address_bits == 32) {
        return gva.raw <= UINT32_MAX;
    }
    int64_t sign = (int64_t)gva.raw >> (g->address_bits - 1);
    return sign == 0 || sign == -1;
}

void x86_walk(const struct x86_paging *paging, gva_t gva, x86_read_fn *read, void *opaque, struct x86_walk *ret)
{
    const struct geometry *g = &geometries[paging->mode];
    *ret = (struct x86_walk){.end = X86_WALK_MAPPED, .gpa = mv_gpa(gva.raw)};
    if (paging->mode == MV_PAGING_OFF) {
        return;
    }
    if (!is_canonical(g, gva)) {
        ret->end = X86_WALK_NON_CANONICAL;
        return;
    }
    gpa_t table = root_table(paging);
    for (unsigned level = g->levels;; level--) {
        unsigned index = (unsigned)(gva.raw >> level_shift(g, level)) & (level_entries(g, level) - 1);
        gpa_t at = gpa_add_wrapping(table, (uint64_t)index * g->entry_bytes);
        uint64_t entry;
        if (!read(opaque, at, g->entry_bytes, &entry)) {
            ret->end = X86_WALK_UNREADABLE;
            return;
        }
        ret->steps[ret->count++] =
            (struct x86_walk_step){.level = level, .index = index, .at = at, .entry = entry};
        if (!(entry & X86_ENTRY_P)) {
            ret->end = X86_WALK_NOT_PRESENT;
            return;
        }
        if (entry & reserved_bits(paging, level, entry)) {
            ret->end = X86_WALK_RESERVED_BIT;
            return;
        }
        if (is_leaf(paging, level, entry)) {
            ret->page_size_bytes = UINT64_C(1) << level_shift(g, level);
            ret->gpa = gpa_add_wrapping(leaf_frame(paging, level, entry), gva.raw & (ret->page_size_bytes - 1));
            return;
        }
        table = mv_gpa(entry & ADDRESS_MASK);
    }
}

/* --- all leaves -------------------------------------------------------------------------------- */

struct tour {
    const struct x86_paging *paging;
    const struct geometry *geometry;
    uint64_t entries_left;
    x86_read_fn *read;
    void *read_opaque;
    bool (*each)(void *opaque, const struct x86_leaf *leaf);
    void *each_opaque;
};

/* Bits above the translated ones repeat the topmost of them. */
static gva_t sign_extend(const struct geometry *g, uint64_t gva)
{
    if (g->address_bits == 32) {
        return mv_gva(gva);
    }
    unsigned unused = 64 - g->address_bits;
    return mv_gva((uint64_t)((int64_t)(gva << unused) >> unused));
}

/* False when the tour is over. Recursion is as deep as there are levels. */
static bool tour_table(struct tour *t, gpa_t table, unsigned level, uint64_t gva_base)
{
    const struct geometry *g = t->geometry;
    for (unsigned index = 0; index < level_entries(g, level); index++) {
        gpa_t at = gpa_add_wrapping(table, (uint64_t)index * g->entry_bytes);
        uint64_t gva = gva_base | (uint64_t)index << level_shift(g, level);
        uint64_t entry;
        if (t->entries_left-- == 0) {
            t->entries_left = 0;
            return false;
        }
        if (!t->read(t->read_opaque, at, g->entry_bytes, &entry)) {
            return true; /* no memory there: nor for the rest of this table */
        }
        if (!(entry & X86_ENTRY_P) || (entry & reserved_bits(t->paging, level, entry))) {
            continue;
        }
        if (!is_leaf(t->paging, level, entry)) {
            if (!tour_table(t, mv_gpa(entry & ADDRESS_MASK), level - 1, gva)) {
                return false;
            }
            continue;
        }
        struct x86_leaf leaf = {
            .gva = sign_extend(g, gva),
            .gpa = leaf_frame(t->paging, level, entry),
            .size_bytes = UINT64_C(1) << level_shift(g, level),
            .entry = entry,
        };
        if (!t->each(t->each_opaque, &leaf)) {
            return false;
        }
    }
    return true;
}

void x86_for_each_leaf(const struct x86_paging *paging, uint64_t entries_max, x86_read_fn *read, void *read_opaque,
                       bool (*each)(void *opaque, const struct x86_leaf *leaf), void *each_opaque)
{
    struct tour tour = {
        .paging = paging,
        .geometry = &geometries[paging->mode],
        .entries_left = entries_max,
        .read = read,
        .read_opaque = read_opaque,
        .each = each,
        .each_opaque = each_opaque,
    };
    if (paging->mode != MV_PAGING_OFF) {
        (void)tour_table(&tour, root_table(paging), tour.geometry->levels, 0);
    }
}
