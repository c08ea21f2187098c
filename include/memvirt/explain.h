// SPDX-License-Identifier: MIT
/**
 * @file explain.h
 * The whole way of one address: GVA -> every guest table entry -> GPA -> HVA -> HPA.
 */
#ifndef MEMVIRT_EXPLAIN_H
#define MEMVIRT_EXPLAIN_H

#include <memvirt/paging.h>
#include <memvirt/vm.h>

MV_BEGIN_DECLS

/** Where a guest physical address ends up in the host. */
struct mv_place {
    mv_gpa_t gpa;
    const char *region; /**< name of the region that answers, or NULL when none does; see mv_chain */
    const char *type;   /**< "ram", "rom" or "i/o", or NULL */
    uint64_t region_offset;
    mv_hva_t hva; /**< RAM and ROM; else 0 */
    bool hpa_valid;
    mv_hpa_t hpa;
    const char
        *hpa_reason; /**< why there is no hpa: "not-ram", "not-present", "no-permission", "no-pagemap"; or NULL */
};

/** One table entry that the walk read. */
struct mv_chain_entry {
    const char *name;   /**< "PML5E", "PML4E", "PDPTE", "PDE" or "PTE"; static */
    unsigned level;     /**< 5 to 1 */
    unsigned index;     /**< in its table */
    struct mv_place at; /**< where the entry itself is */
    uint64_t value;
};

/** Why a chain ends. */
enum mv_chain_end {
    MV_CHAIN_COMPLETE,      /**< it reaches host memory */
    MV_CHAIN_NOT_PRESENT,   /**< the last entry's P bit is 0 */
    MV_CHAIN_RESERVED_BIT,  /**< the last entry has a reserved bit set */
    MV_CHAIN_NON_CANONICAL, /**< the address is none in this mode */
    MV_CHAIN_TABLE_NOT_RAM, /**< a table is where no RAM is */
    MV_CHAIN_NOT_RAM,       /**< the page itself is MMIO or unassigned */
};

/** "complete", "not-present", ... Static. */
MV_API const char *mv_chain_end_name(enum mv_chain_end end);

/** Names in it are good until mv_chain_release(). */
struct mv_chain {
    mv_gva_t gva;
    enum mv_paging_mode mode;
    uint64_t cr3;
    size_t entry_count; /**< 0 with paging off */
    struct mv_chain_entry entries[5];
    enum mv_chain_end end;
    uint64_t page_size_bytes; /**< of the guest's page: 4K, 2M, 4M, 1G; 0 with paging off or when there is none */
    struct mv_place page;     /**< COMPLETE and NOT_RAM: where gva is */
    struct mv_translation accel; /**< what the accelerator says of the same gva */
    const struct mv_view *view;  /**< keeps the names alive */
};

/**
 * Explain `gva` as vCPU `vcpu` would translate it now. Only while the VM is not running, or by who paused it.
 * @return 0; -EBUSY; or what the host says about the registers. A gva that leads nowhere is no error: see `end`.
 */
MV_API int mv_explain(struct mv_vcpu *vcpu, mv_gva_t gva, struct mv_chain *ret, struct mv_error *err);
MV_API void mv_chain_release(struct mv_chain *chain);

/**
 * Find pages that the guest has touched: leaf entries with the accessed bit. Pages whose gva is not their gpa come
 * before identity-mapped ones; of many, `capacity` are spread evenly over all of them, in order of gva.
 * @return how many were written; 0 with paging off
 */
MV_API size_t mv_touched_pages(struct mv_vcpu *vcpu, mv_gva_t *ret, size_t capacity);

MV_END_DECLS

#endif
