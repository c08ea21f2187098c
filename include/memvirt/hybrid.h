// SPDX-License-Identifier: MIT
/**
 * @file hybrid.h
 * The policy of mmu=hybrid (soft.h): which of the guest's page tables are nested, and which are shadowed.
 */
#ifndef MEMVIRT_HYBRID_H
#define MEMVIRT_HYBRID_H

#include <memvirt/types.h>

MV_BEGIN_DECLS

/** What a policy is asked about a table for. */
enum mv_hybrid_event {
    MV_HYBRID_REACHED,   /**< a walk that was an exit, or a load of registers, leads to it */
    MV_HYBRID_WRITTEN,   /**< it is shadowed, and a write of the guest's to it was an exit */
    MV_HYBRID_LOOKED_AT, /**< it is nested, and an interval is over */
};

/** A page table of the guest's. */
struct mv_hybrid_table {
    mv_gpa_t gpa;
    uint8_t level;   /**< 1 is a page table, `levels` what CR3 points to */
    uint8_t levels;  /**< of the guest's paging: 4 or 5 */
    bool is_nested;  /**< at the moment */
    uint32_t writes; /**< WRITTEN: in this interval, the present one included */
    uint32_t quiet;  /**< LOOKED_AT: so many looks in a row have found it as the look before */
};

/**
 * Decides which tables are nested: those that a walk reaches through EPT, that the guest may write to without an
 * exit, and for each of which a TLB miss costs 4 references more. What lies below a nested table is nested. All
 * others are shadowed: each write to them is an exit, and they cost one reference. Guests without paging, with
 * 32-bit or PAE paging, or with CR0.WP clear have all of their tables shadowed, whatever the policy says.
 */
struct mv_hybrid_policy {
    void *opaque;
    /** Whether the table is nested from now on. Called in a vCPU's access or load of registers, one call at a time
     * for each VM; it uses nothing of the library. */
    bool (*nests)(void *opaque, enum mv_hybrid_event event, const struct mv_hybrid_table *table);
    uint32_t interval; /**< walks of a vCPU, the end of which is an exit; 0: no table is looked at */
};

MV_END_DECLS

#endif
