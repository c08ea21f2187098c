// SPDX-License-Identifier: MIT
/*
 * struct pt_format: a table format of the host's side (EPT, NPT, and the x86 format of shadow tables) as a
 * constant. Code that takes a `const struct pt_format *` is static inline and is instantiated once for each
 * format, so the masks become immediates and nothing is called through a pointer.
 *
 * An entry of these tables:
 *   - is not present, in one of the shapes that the hypervisor gives a meaning to (see hypervisor/spte.h); or
 *   - points to a table of the next level; or
 *   - is a leaf: at level 1, or with `large` set at level 2 or 3.
 * The address field holds a host virtual address: bits 12 to 51.
 */
#ifndef PAGING_FORMAT_H
#define PAGING_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#define PT_ADDRESS_MASK UINT64_C(0x000ffffffffff000)
#define PT_INDEX_BITS 9u
#define PT_ENTRIES 512u

struct pt_format {
    const char *name;
    uint64_t present; /* any of these bits set: the hardware takes the entry as present */
    uint64_t readable;
    uint64_t writable;
    uint64_t executable;     /* set: may be fetched; 0 where the format has the opposite bit */
    uint64_t not_executable; /* set: may not be fetched; 0 where the format has the opposite bit */
    uint64_t user;           /* must be set for the guest to use it (NPT); 0 otherwise */
    uint64_t accessed;
    uint64_t dirty;
    uint64_t large;
    uint64_t table_bits; /* what an entry has that points to a table: all rights */
    uint64_t leaf_bits;  /* what each leaf has: memory type write-back for EPT */
    uint64_t
        software_host_writable; /* two bits that the hardware ignores: see the truth table in hypervisor/spte.h */
    uint64_t software_mmu_writable;
    /* An entry that has, of `refused_mask`, just the bits `refused`: the hardware reports it as misconfigured or
     * reserved, whatever else is in it. So the hypervisor knows MMIO again. */
    uint64_t refused_mask, refused;
};

static inline bool pt_is_present(const struct pt_format *f, uint64_t entry)
{
    return (entry & f->present) != 0;
}

static inline bool pt_is_leaf(const struct pt_format *f, uint64_t entry, unsigned level)
{
    return level == 1 || (entry & f->large) != 0;
}

static inline uint64_t pt_address(uint64_t entry)
{
    return entry & PT_ADDRESS_MASK;
}

static inline unsigned pt_level_shift(unsigned level)
{
    return 12 + PT_INDEX_BITS * (level - 1);
}

static inline uint64_t pt_level_bytes(unsigned level)
{
    return UINT64_C(1) << pt_level_shift(level);
}

static inline unsigned pt_index(uint64_t address, unsigned level)
{
    return (unsigned)(address >> pt_level_shift(level)) & (PT_ENTRIES - 1);
}

static inline uint64_t pt_make_table(const struct pt_format *f, const void *table)
{
    return (uint64_t)(uintptr_t)table | f->table_bits;
}

static inline bool pt_is_writable(const struct pt_format *f, uint64_t entry)
{
    return (entry & f->writable) != 0;
}

static inline bool pt_is_executable(const struct pt_format *f, uint64_t entry)
{
    return (entry & f->executable) == f->executable && !(entry & f->not_executable);
}

#endif
