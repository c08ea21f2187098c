// SPDX-License-Identifier: MIT
/*
 * The MMU of one simulated logical processor: registers, TLBs, paging-structure caches, the walkers of one and two
 * dimensions, the page-modification log. Only its own thread touches it. It calls nobody: what it cannot do is a
 * guest fault or an exit, and both are values.
 */
#ifndef HARDWARE_MMU_H
#define HARDWARE_MMU_H

#include "hardware/assoc.h"
#include "hardware/front.h"
#include "paging/ept.h"
#include "paging/exit.h"
#include "paging/guest_walk.h"
#include "paging/npt.h"
#include "paging/state.h"

struct hw_mmu;

enum hw_dimension {
    HW_NATIVE, /* guest-physical memory is found by the bus: no second dimension */
    HW_EPT,
    HW_NPT,
    HW_SHADOW, /* `root` is an x86 table of ours with host addresses; a #PF is an exit */
    HW_HYBRID, /* the same, but entries may lead on into the guest's tables, and EPT (paging/shadow.h) */
};

struct hw_options {
    enum hw_dimension dimension;
    struct paging_cpu cpu;
    struct ept_caps ept;
    uint8_t nested_levels;                      /* 4 or 5 */
    bool model_tlb;                             /* count with the geometry below; else the front alone */
    struct hw_tlb_geometry l1, l2;              /* all page sizes share them but where those below have entries */
    struct hw_tlb_geometry l1_2m, l1_1g, l2_1g; /* the number of sets of each is a power of two */
    bool has_walk_caches;                       /* paging-structure caches: PML5E, PML4E, PDPTE, PDE */
    struct hw_tlb_geometry pml5, pml4, pdpt, pd;
    bool has_nested_tlb; /* guest-physical to host, for tables and data */
    struct hw_tlb_geometry nested;
};

/*
 * How guest-physical memory is reached without a second dimension (HW_NATIVE). Inside. Returns the byte, or NULL:
 * none there, or not for writing. `ret_shift`: the aligned block of so many address bits around gpa is reached
 * alike, by the same distance from its host memory (12 or more; 12 for a write that has to be noticed by page).
 */
struct hw_bus {
    void *(*bytes)(void *opaque, gpa_t gpa, enum mv_access kind, unsigned *ret_shift);
    /* HW_SHADOW: where a byte of the host's is in guest-physical memory, which the tables do not say; for who
     * looks at results. May be NULL: 0 then. */
    gpa_t (*gpa_of)(void *opaque, gva_t gva, const void *host);
    void *opaque;
};

enum hw_end {
    HW_DONE,
    HW_FAULT, /* the guest's own */
    HW_EXIT,
};

/* A fault for the guest, and the rule behind it. */
struct hw_fault {
    uint8_t vector; /* 14 #PF, 13 #GP */
    uint32_t error_code;
    gva_t address; /* CR2 */
    enum guest_walk_end rule;
    uint8_t level;
    uint64_t entry, reserved;
};

struct hw_result {
    enum hw_end end;
    uint8_t *host;      /* DONE: of the byte; good until the vCPU leaves */
    gpa_t gpa;          /* DONE; of HW_SHADOW what the bus says */
    uint8_t page_shift; /* DONE: of the mapping that the TLB has: the bytes around it are reached alike */
    struct hw_fault fault;
    struct pt_exit exit;
};

#define HW_WALK_REFS_MAX 64

struct hw_counters {
    /*
     * Of accesses that were done, as a processor counts instructions that retire: one that faults or exits and is
     * tried again counts once. Misses are those of the last level of the TLB. With `model_tlb` off only
     * accesses that did not inline the front.
     */
    uint64_t accesses, l1_misses, misses;
    uint64_t walks; /* misses, and accesses that an entry was there for but not enough: the first write */
    uint64_t refs_guest, refs_nested;     /* entries read; those of shadow tables are nested ones */
    uint64_t histogram[HW_WALK_REFS_MAX]; /* walks by their references; the last has all above, too */
    uint64_t walks_aborted, refs_aborted; /* by a fault or an exit; in none of the above */
    uint64_t walk_cache_hits, nested_tlb_hits, nested_tlb_misses;
    uint64_t accessed_set, dirty_set, nested_accessed_set, nested_dirty_set;
    uint64_t faults, exits, flushes;
    uint64_t pml_entries;
};

/* Told of what happens on the slow way; each may be NULL, and the whole may be: then it costs nothing. */
struct hw_hooks {
    void *opaque;
    void (*step)(void *opaque, bool nested, unsigned level, uint64_t at, uint64_t entry);
    void (*fill)(void *opaque, gva_t gva, gpa_t gpa, unsigned page_shift, unsigned rights);
    void (*flush)(void *opaque, const char *what);
    void (*fault)(void *opaque, const struct hw_fault *fault);
};

int hw_mmu_create(const struct hw_options *options, struct hw_mmu **ret); /* 0, -EINVAL (geometry), -ENOMEM */
void hw_mmu_destroy(struct hw_mmu *mmu);
const struct hw_counters *hw_mmu_counters(const struct hw_mmu *mmu);
void hw_mmu_set_hooks(struct hw_mmu *mmu, const struct hw_hooks *hooks); /* kept by reference; or NULL */
void hw_mmu_set_bus(struct hw_mmu *mmu, struct hw_bus bus);

/* VMCS/VMCB: the nested root (or the shadow root), a tag for its translations, the VPID or ASID. */
void hw_mmu_set_root(struct hw_mmu *mmu, const pt_word_t *root, uint16_t vpid);

/*
 * HW_HYBRID instead. With `is_switched` even the guest's uppermost table is its own, and `root` that table's host
 * address. A walk is an exit (PT_EXIT_TIMER) after each `timer_walks` others; 0: never.
 */
struct hw_hybrid_roots {
    const pt_word_t *root, *nested;
    bool is_switched;
    uint32_t timer_walks;
};
void hw_mmu_set_hybrid_roots(struct hw_mmu *mmu, const struct hw_hybrid_roots *roots, uint16_t vpid);

/* Loading registers, with the invalidations that the manual asks for (Intel SDM, "Operations that Invalidate TLBs
 * and Paging-Structure Caches"). Values are valid: paging_regs_are_valid. */
void hw_mmu_set_regs(struct hw_mmu *mmu, const struct paging_regs *regs);
void hw_mmu_load_cr3(struct hw_mmu *mmu, uint64_t cr3, bool keep); /* keep: bit 63 was set */
void hw_mmu_set_keys(struct hw_mmu *mmu, uint32_t pkru, uint32_t pkrs);
const struct paging_regs *hw_mmu_regs(const struct hw_mmu *mmu);

/* Invalidations. */
void hw_mmu_invlpg(struct hw_mmu *mmu, gva_t gva);
/* False: #GP, as the manual says of the descriptor. */
bool hw_mmu_invpcid(struct hw_mmu *mmu, unsigned type, uint64_t pcid, gva_t gva);
void hw_mmu_invept(struct hw_mmu *mmu); /* this root's, all addresses; also combined mappings */
void hw_mmu_invvpid(struct hw_mmu *mmu, unsigned type, uint16_t vpid, gva_t gva);
void hw_mmu_flush_all(struct hw_mmu *mmu);
/*
 * NPT: what VMRUN does with this TLB_CONTROL (AMD APM, "TLB Flush"). 1: all ASIDs, 3: all of the present one, 7:
 * what is not global of it, and no nested translation. There is none of one nested page; INVLPGA is
 * hw_mmu_invvpid(), type 0.
 */
void hw_mmu_tlb_control(struct hw_mmu *mmu, unsigned command);

/* Translate one byte for an access. Inside. What DONE returns stays valid for the whole page until the vCPU
 * leaves. */
enum hw_end hw_translate(struct hw_mmu *mmu, gva_t gva, struct pt_access access, struct hw_result *ret);

/*
 * Translate a guest-physical byte for a read or a write of a guest's kernel through a mapping that its TLB has: no
 * walk is counted and no TLB is filled, but the second dimension is asked, and its bits are set. Inside. DONE or
 * EXIT.
 */
enum hw_end hw_translate_physical(struct hw_mmu *mmu, gpa_t gpa, enum mv_access kind, struct hw_result *ret);

/* The page-modification log. `buffer` has 512 entries of gpas; the index goes from 511 down, and is 0xffff when
 * full. */
#define HW_PML_ENTRIES 512u
struct hw_pml {
    bool is_on;
    uint16_t index;
    uint64_t buffer[HW_PML_ENTRIES];
};
struct hw_pml *hw_mmu_pml(struct hw_mmu *mmu);

/* For whoever inlines front_find() before hw_translate(); with `model_tlb` on nothing is ever in it. */
const struct front *hw_mmu_front(const struct hw_mmu *mmu);

#endif
