// SPDX-License-Identifier: MIT
#include "paging/x86.h"

#include <assert.h>

#include "paging/guest_walk.h"

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

/* --- one address -------------------------------------------------------------------------------- */

struct look {
    const struct paging *paging;
    x86_read_fn *read;
    void *read_opaque;
    struct x86_walk *ret;
    uint64_t word; /* the entry that was read last: what guest_walk looks at */
};

static void *look_entry(void *ctx, gpa_t at, unsigned level, enum guest_walk_end *ret_end)
{
    struct look *l = ctx;
    (void)level;
    l->word = 0;
    if (!l->read(l->read_opaque, at, l->paging->entry_bytes, &l->word)) {
        *ret_end = GUEST_WALK_NO_MEMORY;
        return NULL;
    }
    return &l->word;
}

static void look_step(void *ctx, gpa_t at, unsigned level, uint64_t entry)
{
    struct look *l = ctx;
    unsigned index = (unsigned)(at.raw & GUEST_PAGE_MASK) / l->paging->entry_bytes;
    if (guest_entry_is_plain(l->paging, level)) {
        index &= 3; /* the table of PDPTEs is of 32 bytes, anywhere in its page */
    }
    l->ret->steps[l->ret->count++] =
        (struct x86_walk_step){.level = level, .index = index, .at = at, .entry = entry};
}

static enum x86_walk_end end_of(enum guest_walk_end end)
{
    switch (end) {
    case GUEST_WALK_MAPPED:
    case GUEST_WALK_DENIED:
    case GUEST_WALK_KEY_DENIED: return X86_WALK_MAPPED;
    case GUEST_WALK_NOT_PRESENT: return X86_WALK_NOT_PRESENT;
    case GUEST_WALK_RESERVED: return X86_WALK_RESERVED_BIT;
    case GUEST_WALK_NON_CANONICAL: return X86_WALK_NON_CANONICAL;
    case GUEST_WALK_NO_MEMORY:
    case GUEST_WALK_STOPPED: break;
    }
    return X86_WALK_UNREADABLE;
}

static void add_rights(const struct paging *paging, struct x86_walk *walk)
{
    unsigned rights = PT_RIGHTS_ALL;
    for (unsigned i = 0; i < walk->count; i++) {
        struct x86_walk_step *step = &walk->steps[i];
        rights &= step->entry & X86_ENTRY_P ? guest_entry_rights(paging, step->entry, step->level) : 0;
        step->rights = (uint8_t)rights;
    }
}

static void add_verdict(const struct paging *paging, const struct pt_access *access, const struct guest_walk *walk,
                        struct x86_walk *ret)
{
    if (ret->end == X86_WALK_MAPPED) {
        ret->rights = walk->rights;
        ret->key = walk->key;
        ret->is_denied = paging_denies(paging, *access, walk->rights);
        ret->is_key_denied = paging_key_denies(paging, *access, walk->rights, walk->key);
    }
    if (ret->end == X86_WALK_RESERVED_BIT) {
        ret->reserved = walk->reserved;
    }
    if (ret->end == X86_WALK_UNREADABLE) {
        ret->missing_level = walk->level;
        ret->missing_at = walk->at;
    }
    if (walk->end != GUEST_WALK_MAPPED && walk->end != GUEST_WALK_NON_CANONICAL) {
        ret->error_code = walk->error_code;
    }
}

void x86_walk_for(const struct paging *paging, gva_t gva, const struct pt_access *access, x86_read_fn *read,
                  void *opaque, struct x86_walk *ret)
{
    static const struct guest_walk_ops ops = {.entry = look_entry, .step = look_step};
    struct look look = {.paging = paging, .read = read, .read_opaque = opaque, .ret = ret};
    struct guest_walk walk = {0};
    *ret = (struct x86_walk){.gpa = mv_gpa(gva.raw)};
    guest_walk(paging, gva, *access, &ops, &look, 0, NULL, &walk);
    ret->end = end_of(walk.end);
    add_rights(paging, ret);
    add_verdict(paging, access, &walk, ret);
    if (ret->end == X86_WALK_MAPPED && paging->levels > 0) {
        ret->page_size_bytes = UINT64_C(1) << walk.page_shift;
        ret->gpa = walk.gpa;
    }
}

void x86_walk(const struct paging *paging, gva_t gva, x86_read_fn *read, void *opaque, struct x86_walk *ret)
{
    x86_walk_for(paging, gva, &(struct pt_access){MV_ACCESS_READ, PT_SUPERVISOR}, read, opaque, ret);
}

/* --- all leaves -------------------------------------------------------------------------------- */

struct tour {
    const struct paging *paging;
    uint64_t entries_left;
    x86_read_fn *read;
    void *read_opaque;
    bool (*each)(void *opaque, const struct x86_leaf *leaf);
    void *each_opaque;
};

/* Bits above the translated ones repeat the topmost of them. */
static gva_t sign_extend(const struct paging *p, uint64_t gva)
{
    unsigned unused = 64u - p->linear_bits;
    return mv_gva(p->linear_bits == 32 ? gva : (uint64_t)((int64_t)(gva << unused) >> unused));
}

static unsigned level_entries(const struct paging *p, unsigned level)
{
    return guest_entry_is_plain(p, level) ? 4 : p->entry_bytes == 8 ? 512 : 1024;
}

/* False when the tour is over. Recursion is as deep as there are levels. */
static bool tour_table(struct tour *t, gpa_t table, unsigned level, uint64_t gva_base)
{
    const struct paging *p = t->paging;
    unsigned shift = guest_level_shift(p, level);
    for (unsigned index = 0; index < level_entries(p, level); index++) {
        gpa_t at = gpa_add_wrapping(table, (uint64_t)index * p->entry_bytes);
        uint64_t gva = gva_base | (uint64_t)index << shift;
        uint64_t entry;
        if (t->entries_left-- == 0) {
            t->entries_left = 0;
            return false;
        }
        if (!t->read(t->read_opaque, at, p->entry_bytes, &entry)) {
            return true; /* no memory there: nor for the rest of this table */
        }
        bool is_leaf = guest_entry_is_leaf(p, entry, level);
        if (!(entry & X86_ENTRY_P) || (entry & p->reserved[is_leaf && level > 1][level])) {
            continue;
        }
        if (!is_leaf) {
            if (!tour_table(t, guest_entry_table(p, entry), level - 1, gva)) {
                return false;
            }
            continue;
        }
        struct x86_leaf leaf = {
            .gva = sign_extend(p, gva),
            .gpa = mv_gpa(guest_leaf_frame(p, entry, shift)),
            .size_bytes = UINT64_C(1) << shift,
            .entry = entry,
        };
        if (!t->each(t->each_opaque, &leaf)) {
            return false;
        }
    }
    return true;
}

void x86_for_each_leaf(const struct paging *paging, uint64_t entries_max, x86_read_fn *read, void *read_opaque,
                       bool (*each)(void *opaque, const struct x86_leaf *leaf), void *each_opaque)
{
    struct tour tour = {
        .paging = paging,
        .entries_left = entries_max,
        .read = read,
        .read_opaque = read_opaque,
        .each = each,
        .each_opaque = each_opaque,
    };
    assert(paging->mode != MV_PAGING_PAE || paging->levels == 3);
    if (paging->levels > 0) {
        (void)tour_table(&tour, paging->root, paging->levels, 0);
    }
}
