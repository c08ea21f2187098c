// SPDX-License-Identifier: MIT
/*
 * Entries of Intel's extended page tables (Intel SDM, "The Extended Page Table Mechanism (EPT)").
 *
 *      63  62      58 57 56      52 51                      12 11 10  9  8   7   6  5   3  2  1  0
 *     +---+----------+--+----------+--------------------------+-----+--+--+---+----+-----+--+--+--+
 *     |   | ignored  |MW| ignored  |  address of table or page |HW ..| D| A|PS |IPAT| MT  | X| W| R|
 *     +---+----------+--+----------+--------------------------+-----+--+--+---+----+-----+--+--+--+
 *      MW, HW: software's (bits 58 and 57): see hypervisor/spte.h
 */
#ifndef PAGING_EPT_H
#define PAGING_EPT_H

#include "paging/exit.h"
#include "paging/format.h"

#define EPT_R (UINT64_C(1) << 0)
#define EPT_W (UINT64_C(1) << 1)
#define EPT_X (UINT64_C(1) << 2)
#define EPT_RWX (EPT_R | EPT_W | EPT_X)
#define EPT_MEMTYPE_SHIFT 3
#define EPT_MEMTYPE_MASK (UINT64_C(7) << EPT_MEMTYPE_SHIFT)
#define EPT_MEMTYPE_WB (UINT64_C(6) << EPT_MEMTYPE_SHIFT)
#define EPT_IPAT (UINT64_C(1) << 6)
#define EPT_LARGE (UINT64_C(1) << 7)
#define EPT_A (UINT64_C(1) << 8)
#define EPT_D (UINT64_C(1) << 9)

static const struct pt_format pt_format_ept = {
    .name = "ept",
    .present = EPT_RWX,
    .readable = EPT_R,
    .writable = EPT_W,
    .executable = EPT_X,
    .accessed = EPT_A,
    .dirty = EPT_D,
    .large = EPT_LARGE,
    .table_bits = EPT_RWX,
    .leaf_bits = EPT_MEMTYPE_WB | EPT_IPAT,
    .software_host_writable = UINT64_C(1) << 57,
    .software_mmu_writable = UINT64_C(1) << 58,
    .refused_mask = EPT_RWX,
    .refused = EPT_W | EPT_X,
};

/* What a processor can do (IA32_VMX_EPT_VPID_CAP), and what EPTP asks for. */
struct ept_caps {
    uint8_t address_bits; /* of host addresses: 52 here, since they are virtual */
    bool execute_only;
    bool large_1g;
    bool access_dirty; /* EPTP bit 6 */
};

/*
 * Whether a present entry is misconfigured (Intel SDM, "EPT Misconfigurations"): write without read, execute alone
 * where that is not supported, a reserved bit, a reserved memory type in a leaf.
 */
static inline bool ept_is_misconfigured(const struct ept_caps *caps, uint64_t entry, unsigned level)
{
    uint64_t rights = entry & EPT_RWX;
    if ((rights & (EPT_R | EPT_W)) == EPT_W || (rights == EPT_X && !caps->execute_only)) {
        return true;
    }
    uint64_t beyond = caps->address_bits >= 52 ? 0 : PT_ADDRESS_MASK & ~((UINT64_C(1) << caps->address_bits) - 1);
    if (entry & beyond) {
        return true;
    }
    if (pt_is_leaf(&pt_format_ept, entry, level)) {
        uint64_t type = (entry & EPT_MEMTYPE_MASK) >> EPT_MEMTYPE_SHIFT;
        if (type == 2 || type == 3 || type == 7) {
            return true;
        }
        if (level > 3 || (level == 3 && !caps->large_1g)) {
            return true;
        }
        return level > 1 && (entry & PT_ADDRESS_MASK & (pt_level_bytes(level) - 1)) != 0;
    }
    return (entry & (level > 3 ? UINT64_C(0xf8) : UINT64_C(0x78))) != 0;
}

#endif
