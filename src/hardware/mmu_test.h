// SPDX-License-Identifier: MIT
/*
 * For tests of the MMU: 1 GiB of guest memory from gpa 0, host-aligned to 1 GiB and taken only where it is
 * touched; guest tables built in it, and nested tables beside it. One rig to a program.
 */
#ifndef HARDWARE_MMU_TEST_H
#define HARDWARE_MMU_TEST_H

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "hardware/mmu.h"

#define RIG_BYTES GIB
#define RIG_TABLES (512 * MIB) /* guest tables from here, below is data */
#define RIG_NESTED_PAGES 8192u

#define RIG_P X86_ENTRY_P
#define RIG_W X86_ENTRY_RW
#define RIG_U X86_ENTRY_US
#define RIG_AD (X86_ENTRY_A | X86_ENTRY_D)
#define RIG_ALL (RIG_P | RIG_W | RIG_U)

struct rig {
    struct hw_mmu *mmu;
    struct hw_options options;
    uint8_t *memory; /* of the guest */
    uint64_t next_table;
    unsigned levels; /* of the guest */
    uint64_t root;   /* gpa; PAE: of the page directory of each GiB there are four, from here */
    pt_word_t *nested_root;
    uint8_t *nested_pages;
    unsigned nested_used;
    bool is_read_only;                 /* bus: nothing may be written */
    void (*on_write)(struct rig *rig); /* bus: called once, before somebody writes */
};

static inline void *rig_bus(void *opaque, gpa_t gpa, enum mv_access kind, unsigned *ret_shift)
{
    struct rig *rig = opaque;
    *ret_shift = 30;
    if (kind == MV_ACCESS_WRITE && rig->on_write) {
        void (*on_write)(struct rig *) = rig->on_write;
        rig->on_write = NULL;
        on_write(rig);
    }
    return gpa.raw < RIG_BYTES && !(rig->is_read_only && kind == MV_ACCESS_WRITE) ? rig->memory + gpa.raw : NULL;
}

static inline uint8_t *rig_map_aligned(uint64_t bytes, uint64_t alignment)
{
    uint8_t *all =
        mmap(NULL, bytes + alignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert(all != MAP_FAILED);
    return all + (-(uintptr_t)all & (alignment - 1));
}

static inline uint64_t rig_new_table(struct rig *rig)
{
    uint64_t at = rig->next_table;
    rig->next_table += GUEST_PAGE_SIZE;
    assert(rig->next_table <= RIG_BYTES);
    memset(rig->memory + at, 0, GUEST_PAGE_SIZE);
    return at;
}

static inline void *rig_new_nested(struct rig *rig)
{
    assert(rig->nested_used < RIG_NESTED_PAGES);
    void *page = rig->nested_pages + (size_t)rig->nested_used++ * GUEST_PAGE_SIZE;
    memset(page, 0, GUEST_PAGE_SIZE);
    return page;
}

/* Long mode of `levels`, or PAE (3) or 32-bit (2), with PSE, WP and NX. */
static inline struct paging_regs rig_regs(const struct rig *rig)
{
    struct paging_regs regs = {.cr0 = X86_CR0_PG | X86_CR0_WP | 1, .cr3 = rig->root};
    if (rig->levels >= 4) {
        regs.cr4 = X86_CR4_PAE | (rig->levels == 5 ? X86_CR4_LA57 : 0);
        regs.efer = X86_EFER_LMA | X86_EFER_NXE | (UINT64_C(1) << 8);
    } else if (rig->levels == 3) {
        regs.cr4 = X86_CR4_PAE;
        regs.efer = X86_EFER_NXE;
        memcpy(regs.pdptr, rig->memory + rig->root, sizeof regs.pdptr);
    } else {
        regs.cr4 = X86_CR4_PSE;
    }
    return regs;
}

static inline struct hw_options rig_default_options(enum hw_dimension dimension)
{
    return (struct hw_options){
        .dimension = dimension,
        .cpu = {.address_bits = 52, .has_1g_pages = true, .has_pse36 = true, .is_amd = dimension == HW_NPT},
        .ept = {.address_bits = 52, .execute_only = true, .large_1g = true, .access_dirty = true},
        .nested_levels = 4,
    };
}

static inline void rig_init(struct rig *rig, const struct hw_options *options, unsigned levels)
{
    static uint8_t *memory, *nested;
    if (!memory) {
        memory = rig_map_aligned(RIG_BYTES, GIB);
        nested = rig_map_aligned(RIG_NESTED_PAGES * GUEST_PAGE_SIZE, GUEST_PAGE_SIZE);
    }
    *rig = (struct rig){.options = *options, .memory = memory, .nested_pages = nested, .next_table = RIG_TABLES};
    rig->levels = levels;
    rig->root = rig_new_table(rig);
    rig->nested_root = rig_new_nested(rig);
    int rc = hw_mmu_create(options, &rig->mmu);
    assert(rc == 0);
    (void)rc;
    hw_mmu_set_bus(rig->mmu, (struct hw_bus){.bytes = rig_bus, .opaque = rig});
    hw_mmu_set_root(rig->mmu, options->dimension == HW_NATIVE ? NULL : rig->nested_root, 1);
}

static inline void rig_finish(struct rig *rig)
{
    hw_mmu_destroy(rig->mmu);
    rig->mmu = NULL;
}

static inline unsigned rig_shift(const struct rig *rig, unsigned level)
{
    return rig->levels == 2 ? 12 + 10 * (level - 1) : 12 + 9 * (level - 1);
}

/* Where the entry of `level` for gva is, tables above made as needed with `table_flags`. */
static inline void *rig_guest_entry(struct rig *rig, uint64_t gva, unsigned level, uint64_t table_flags)
{
    uint64_t table = rig->root;
    for (unsigned l = rig->levels;; l--) {
        unsigned index = (unsigned)(gva >> rig_shift(rig, l)) & (rig->levels == 2 ? 1023 : 511);
        uint8_t *at = rig->memory + table + (size_t)index * (rig->levels == 2 ? 4 : 8);
        if (l == level) {
            return at;
        }
        uint64_t entry = rig->levels == 2 ? *(uint32_t *)(void *)at : *(uint64_t *)(void *)at;
        if (!(entry & RIG_P)) {
            entry = rig_new_table(rig) | (rig->levels == 3 && l == 3 ? RIG_P : table_flags);
            if (rig->levels == 2) {
                *(uint32_t *)(void *)at = (uint32_t)entry;
            } else {
                *(uint64_t *)(void *)at = entry;
            }
        }
        table = entry & UINT64_C(0x000ffffffffff000);
    }
}

static inline void rig_map(struct rig *rig, uint64_t gva, uint64_t gpa, unsigned level, uint64_t flags)
{
    void *at = rig_guest_entry(rig, gva, level, RIG_ALL);
    uint64_t entry = gpa | flags | (level > 1 ? X86_ENTRY_PS : 0);
    if (rig->levels == 2) {
        *(uint32_t *)at = (uint32_t)entry;
    } else {
        *(uint64_t *)at = entry;
    }
}

/* Where the nested entry of `level` for gpa is. */
static inline uint64_t *rig_nested_entry(struct rig *rig, uint64_t gpa, unsigned level)
{
    bool is_ept = rig->options.dimension == HW_EPT;
    uint64_t *table = (uint64_t *)(void *)rig->nested_root;
    for (unsigned l = rig->options.nested_levels;; l--) {
        uint64_t *at = &table[pt_index(gpa, l)];
        if (l == level) {
            return at;
        }
        if (*at == 0) {
            *at = pt_make_table(is_ept ? &pt_format_ept : &pt_format_npt, rig_new_nested(rig));
        }
        table = (uint64_t *)(uintptr_t)pt_address(*at);
    }
}

static inline uint64_t rig_nested_leaf(const struct rig *rig, uint64_t gpa, unsigned level)
{
    uint64_t host = (uint64_t)(uintptr_t)rig->memory + gpa;
    uint64_t large = level > 1 ? EPT_LARGE : 0; /* the same bit in both */
    return rig->options.dimension == HW_EPT ? host | large | EPT_RWX | pt_format_ept.leaf_bits
                                            : host | large | RIG_ALL;
}

/* Guest memory [first, first + bytes) in pages of `level`. */
static inline void rig_map_nested(struct rig *rig, uint64_t first, uint64_t bytes, unsigned level)
{
    for (uint64_t gpa = first; gpa < first + bytes; gpa += pt_level_bytes(level)) {
        *rig_nested_entry(rig, gpa, level) = rig_nested_leaf(rig, gpa, level);
    }
}

static inline void rig_load(struct rig *rig)
{
    struct paging_regs regs = rig_regs(rig);
    hw_mmu_set_regs(rig->mmu, &regs);
}

static inline struct hw_result rig_access(struct rig *rig, uint64_t gva, enum mv_access kind, enum pt_who who)
{
    struct hw_result result;
    memset(&result, 0, sizeof result);
    (void)hw_translate(rig->mmu, mv_gva(gva), (struct pt_access){kind, who}, &result);
    return result;
}

#endif
