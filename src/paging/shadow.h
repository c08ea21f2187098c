// SPDX-License-Identifier: MIT
/*
 * Entries of shadow tables: long-mode tables of the hypervisor's that a processor walks in place of the guest's.
 * Addresses in them are host addresses; the U bit is the guest's page's own, and no entry is global.
 */
#ifndef PAGING_SHADOW_H
#define PAGING_SHADOW_H

#include "paging/format.h"
#include "paging/x86.h"

/* As with NPT, bit 51 of a present entry is reserved: an entry for MMIO has it. */
#define SHADOW_ADDRESS_BITS 51
#define SHADOW_RESERVED (UINT64_C(1) << 51)

/*
 * The switching bit of agile paging (Gandhi, Hill, Swift: ISCA 2016): an entry that leads to a table, and has it,
 * leads to the guest's own, by its host address; from there on the guest's tables are walked, through EPT. Its W,
 * U and NX are the guest's rights so far. A processor that has no such thing takes the bit as reserved.
 */
#define SHADOW_SWITCH (UINT64_C(1) << 56)

#define SHADOW_KEY_SHIFT 59 /* the protection key of the guest's entry */
#define SHADOW_KEY_MASK (UINT64_C(15) << SHADOW_KEY_SHIFT)

static const struct pt_format pt_format_shadow = {
    .name = "shadow",
    .present = X86_ENTRY_P,
    .readable = X86_ENTRY_P,
    .writable = X86_ENTRY_RW,
    .not_executable = X86_ENTRY_NX,
    .user = X86_ENTRY_US,
    .accessed = X86_ENTRY_A,
    .dirty = X86_ENTRY_D,
    .large = X86_ENTRY_PS,
    .table_bits = X86_ENTRY_P | X86_ENTRY_RW | X86_ENTRY_US, /* A says whether the table was used of late */
    .leaf_bits = X86_ENTRY_P,
    .software_host_writable = UINT64_C(1) << 9,
    .software_mmu_writable = UINT64_C(1) << 10,
    .refused_mask = X86_ENTRY_P | SHADOW_RESERVED,
    .refused = X86_ENTRY_P | SHADOW_RESERVED,
};

#endif
