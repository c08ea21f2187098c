// SPDX-License-Identifier: MIT
/* Entries of AMD's nested page tables: long-mode tables whose every access is a user's (AMD APM, "Nested Paging").
 */
#ifndef PAGING_NPT_H
#define PAGING_NPT_H

#include "paging/format.h"
#include "paging/x86.h"

/* Host addresses of the simulated processor have 51 bits: bit 51 of a present entry is reserved (#NPF,
 * PF_RESERVED).
 */
#define NPT_ADDRESS_BITS 51
#define NPT_RESERVED (UINT64_C(1) << 51)

static const struct pt_format pt_format_npt = {
    .name = "npt",
    .present = X86_ENTRY_P,
    .readable = X86_ENTRY_P,
    .writable = X86_ENTRY_RW,
    .not_executable = X86_ENTRY_NX,
    .user = X86_ENTRY_US,
    .accessed = X86_ENTRY_A,
    .dirty = X86_ENTRY_D,
    .large = X86_ENTRY_PS,
    .table_bits = X86_ENTRY_P | X86_ENTRY_RW | X86_ENTRY_US | X86_ENTRY_A,
    .leaf_bits = X86_ENTRY_P | X86_ENTRY_US,
    .software_host_writable = UINT64_C(1) << 9,
    .software_mmu_writable = UINT64_C(1) << 10,
    .refused_mask = X86_ENTRY_P | NPT_RESERVED,
    .refused = X86_ENTRY_P | NPT_RESERVED,
};

#endif
