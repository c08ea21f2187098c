/* SPDX-License-Identifier: MIT */
#ifndef STALE_MODEL_H
#define STALE_MODEL_H

#include "walk_model.h"

/*
 * What a TLB may still say. All values that table words ever had are kept with the times of their writes, and for
 * each processor the instructions that invalidate. A translation is legal if some choice of values gives it in the
 * walk model, each of them one that a processor could still have (SDM, "Caching Translation Information", and
 * "Caching Translation Information" of "VMX Support for Address Translation"):
 *
 * - Paging-structure caches: the entry above was read no later than the one below it, and after all invalidations
 * that reach it. INVLPG reaches those of all addresses, INVPCID and INVVPID of one address and page faults only
 * those that the address uses.
 * - TLBs: a whole translation, as it was at some time with its PCID (or, if it is global, with any), and with what
 * the paging-structure caches could have been then, is kept until an invalidation reaches its page. A large page
 * is reached as a whole.
 * - Only present entries are cached, without reserved bits, whose accessed flag is set. A write needs a dirty flag
 * in what was cached, or walks anew. Thus what is not present or reserved must be in memory now.
 * - The registers but CR3 are those of now: protections and keys are not cached, other bits are not followed.
 * - Guest-physical mappings (EPT words) live until INVEPT. EPT violations reach none here, so the answer is
 * lenient about them.
 *
 * With NPT it is AMD's manual (APM volume 2, "TLB Management", "TLB Control", "Nested Paging"), which differs so:
 *
 * - All is tagged by the ASID, and nothing by nCR3: what the ASID had under another root may stay. VMRUN and
 *   #VMEXIT alone invalidate nothing. Global pages are global within their ASID.
 * - Nested entries are cached if present and accessed. TLB_CONTROL 1 and 3 reach them, nothing else does: not 7,
 *   which leaves what is global, nor the guest's own flushes and INVLPGA, which is given no guest-physical
 * address.
 * - A write needs the dirty flag of the nested leaf, too, and so does the reading of each guest entry, which is a
 *   write to nested tables ("Nested Table Walk").
 * - Faults are confirmed ("Invalidation of Table Entry Upgrades", "Use of Cached Entries When Reporting a Page
 *   Fault Exception"): a #PF by the guest's entries in memory and the present CR3, all of them; an NPF by the
 *   nested entries of the address that it names. What leads there in the other dimension may be cached: of that
 *   the manual says nothing.
 * - A page fault reaches its address as Intel's does. An NPF reaches the translation of the page that was made
 *   under the same nCR3: the manual's "any type of page fault exception" is taken to mean that one, too, but of no
 *   upper entry, and of nothing that cannot have led to the fault.
 * - INVLPG reaches upper entries of all addresses (EFER.TCE is 0), INVLPGA those that its address uses, both of
 *   one PCID: that of INVLPGA is the one that the ASID had last, for the manual names none.
 * - A large page over smaller nested ones is many translations ("Page Splintering"). INVLPG and INVPCID reach them
 *   all, as without SVM ("TLB Flush"); INVLPGA and faults that of 4 KBytes alone.
 *
 * Memory grows with every write and invalidation: begin anew from time to
 * time. Paging-structure caches may here hold what memory had while another PCID was current; that is lenient,
 * too.
 */

struct stale_version {
    uint64_t value;
    uint64_t from; /* until the next version's */
};

/* 8 bytes at an address aligned to as many. */
struct stale_word {
    enum model_dimension dimension;
    uint64_t address;
    unsigned nversions;
    struct stale_version *version;
};

/* The memory that all processors share. */
struct stale_memory {
    uint64_t now;
    size_t nwords;
    struct stale_word *word; /* sorted by dimension, then address */
};

void stale_memory_init(struct stale_memory *memory);
void stale_memory_finish(struct stale_memory *memory);

/* Whole words that were there from the beginning: size in bytes, a multiple of 8. Other memory is nothing there.
 */
void stale_load(struct stale_memory *memory, enum model_dimension dimension, uint64_t address, const void *bytes,
                size_t size);

/*
 * Each write to a table, also those of flags by walkers, in order: 1, 2, 4 or 8 bytes, aligned, guest-physical for
 * MODEL_GUEST and host-physical for MODEL_NESTED. The word must be there.
 */
void stale_write(struct stale_memory *memory, enum model_dimension dimension, uint64_t address, unsigned size,
                 uint64_t value);

/* The word that an address is in, or NULL. */
struct stale_word *stale_find_word(const struct stale_memory *memory, enum model_dimension dimension,
                                   uint64_t address);

/* What translations are tagged with, and where they begin. */
struct stale_context {
    unsigned vpid;
    unsigned pcid; /* 0 without CR4.PCIDE */
    uint64_t eptp; /* 0 without EPT */
    uint64_t ncr3; /* 0 without NPT; vpid is the ASID then */
    uint64_t cr3;
    uint64_t pdptr[4]; /* for PAE paging */
};

enum stale_kind {
    STALE_SWITCH, /* a change of context that invalidates nothing */
    STALE_INVLPG,
    STALE_PAGE_FAULT,
    STALE_CURRENT_PCID, /* all but global ones */
    STALE_ALL,          /* of the VPID */
    STALE_INVPCID,
    STALE_INVVPID,
    STALE_INVEPT,
    STALE_INVLPGA,
    STALE_TLB_CONTROL,
    STALE_NESTED_FAULT,
};

struct stale_event {
    enum stale_kind kind;
    unsigned type; /* of INVPCID, INVVPID, INVEPT and TLB_CONTROL */
    unsigned vpid, pcid;
    uint64_t gva;
    uint64_t eptp;
    uint64_t time;
    struct stale_context context; /* after it */
};

/* One logical processor. Borrows the memory. */
struct stale_cpu {
    struct stale_memory *memory;
    unsigned nevents;
    struct stale_event *event; /* the first is its beginning */
};

void stale_cpu_init(struct stale_cpu *cpu, struct stale_memory *memory, const struct stale_context *context);
void stale_cpu_finish(struct stale_cpu *cpu);

/* MOV to CR3. no_flush: bit 63 with CR4.PCIDE. pdptr may be NULL outside of PAE paging. */
void stale_cr3(struct stale_cpu *cpu, uint64_t cr3, unsigned pcid, bool no_flush, const uint64_t *pdptr);
void stale_invlpg(struct stale_cpu *cpu, uint64_t gva);
/* A page fault that was delivered (and not only looked up). */
void stale_page_fault(struct stale_cpu *cpu, uint64_t gva);
/* MOV to CR4 that changes PAE or sets SMEP. Intel only. */
void stale_flush_current(struct stale_cpu *cpu);
/*
 * MOV to CR4 that changes PGE or clears PCIDE; MOV to CR0 that clears PG; VM transitions without VPID. AMD: of the
 * ASID; MOV to CR4 that changes PGE, PAE or PSE, clears PCIDE or sets PKE; MOV to CR0 that changes PG.
 */
void stale_flush_all(struct stale_cpu *cpu);
/* 0: address, 1: PCID, 2: all with global ones, 3: all but global ones. pcid and gva are operands. */
void stale_invpcid(struct stale_cpu *cpu, unsigned type, unsigned pcid, uint64_t gva);
/* By the host. 0: address, 1: VPID, 2: all VPIDs but 0, 3: VPID but global ones. */
void stale_invvpid(struct stale_cpu *cpu, unsigned type, unsigned vpid, uint64_t gva);
/* By the host. 1: this EPTP, 2: all. */
void stale_invept(struct stale_cpu *cpu, unsigned type, uint64_t eptp);
/* AMD, by the host: what it reaches of a nested translation is nothing. */
void stale_invlpga(struct stale_cpu *cpu, unsigned asid, uint64_t gva);
/* AMD: VMRUN with this TLB_CONTROL. 1: all ASIDs, 3: this ASID, 7: this ASID but global ones. */
void stale_tlb_control(struct stale_cpu *cpu, unsigned command);
/* AMD: #VMEXIT(NPF) of an access to this address. */
void stale_nested_fault(struct stale_cpu *cpu, uint64_t gva);
/* Another guest, or none, runs on it. */
void stale_switch(struct stale_cpu *cpu, const struct stale_context *context);

enum stale_answer {
    STALE_LEGAL,
    STALE_ILLEGAL,
    STALE_UNKNOWN, /* too many choices to try them all */
};

/*
 * Whether the access may have this result now, on a processor in its present context. Of the world, the memories,
 * CR3, EPTP, nCR3 and PDPTEs are not looked at: those of the context and the history are. NPT: not with PAE
 * paging.
 *
 * Of `seen`: the outcome; hpa of MODEL_OK; error_code of a page fault or an NPF, but for its error_code_open;
 * qualification of an EPT violation, but for its qualification_open; faulting_gpa.
 */
enum stale_answer stale_legal(const struct stale_cpu *cpu, const struct model_world *world,
                              const struct model_access *access, const struct model_result *seen);

#endif
