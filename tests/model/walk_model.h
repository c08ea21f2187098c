/* SPDX-License-Identifier: MIT */
#ifndef WALK_MODEL_H
#define WALK_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A naive model of x86 address translation, written from the manuals and from nothing else: Intel SDM volume 3,
 * "Paging" and "VMX Support for Address Translation"; AMD APM volume 2, "Page Translation and Protection" and
 * "Nested Paging". It walks all levels of every table for every access, one bit at a time, and caches nothing.
 *
 * What is chosen where the manuals leave room, or where they and the reference facts (M1-M15) disagree:
 *
 * - PAE entries: bits 62:MAXPHYADDR are reserved, and 63:MAXPHYADDR of a PDPTE. M9 (and KVM) has 51:MAXPHYADDR and
 * bit 63 only. Both manuals say otherwise.
 * - PSE-36 has min(40, MAXPHYADDR) bits. M1: KVM models 36 of them.
 * - The I bit of an error code wants CR4.SMEP, or CR4.PAE and EFER.NXE. M4 leaves CR4.PAE out, which differs for
 *   32-bit paging with NXE set.
 * - A table that is nowhere in memory reads as zero, so as not present (M10). No manual knows such memory. A PDPTE
 * that is loaded from there is not present, too (KVM: #GP).
 * - A faulting access sets no accessed flag in the guest's tables (M7; hardware may have set the upper ones).
 * - Guest accessed and dirty flags are set after the final guest-physical address has been translated, as KVM does
 *   it, so a nested fault of that address leaves them alone. `ad_before_final` chooses the other order. The SDM
 *   ("Prioritization of EPT Misconfigurations and EPT Violations") orders neither.
 * - Flags of nested tables are set when the address that used them has been translated, whatever follows.
 * - Flags are not set in tables that are read-only to the processor; the walk goes on.
 * - Protection keys: PK is set by the letter of "Page-Fault Exceptions", whatever else is wrong with the access:
 * so also for a user's access to a supervisor page whose key PKRS disables.
 * - Qualification bits that the SDM calls undefined or implementation-specific are in `qualification_open`, and 0
 * in `qualification`. The same for `error_code_open` of an NPF.
 * - A guest-physical address too wide for the nested tables is not present in them.
 * - The paging of the host that NPT uses is long mode's.
 *
 * Not modelled: shadow stacks, LASS, LAM and upper address ignore, HLAT, mode-based execute control, sub-page
 * permissions, SGX, SEV, the memory types of the tables themselves.
 */

#define MODEL_CR0_PE (UINT64_C(1) << 0)
#define MODEL_CR0_WP (UINT64_C(1) << 16)
#define MODEL_CR0_NW (UINT64_C(1) << 29)
#define MODEL_CR0_CD (UINT64_C(1) << 30)
#define MODEL_CR0_PG (UINT64_C(1) << 31)
#define MODEL_CR4_PSE (UINT64_C(1) << 4)
#define MODEL_CR4_PAE (UINT64_C(1) << 5)
#define MODEL_CR4_PGE (UINT64_C(1) << 7)
#define MODEL_CR4_LA57 (UINT64_C(1) << 12)
#define MODEL_CR4_PCIDE (UINT64_C(1) << 17)
#define MODEL_CR4_SMEP (UINT64_C(1) << 20)
#define MODEL_CR4_SMAP (UINT64_C(1) << 21)
#define MODEL_CR4_PKE (UINT64_C(1) << 22)
#define MODEL_CR4_PKS (UINT64_C(1) << 24)
#define MODEL_EFER_LME (UINT64_C(1) << 8)
#define MODEL_EFER_LMA (UINT64_C(1) << 10)
#define MODEL_EFER_NXE (UINT64_C(1) << 11)
#define MODEL_RFLAGS_AC (UINT64_C(1) << 18)

/* Page-fault error code. */
#define MODEL_PF_P (UINT64_C(1) << 0)
#define MODEL_PF_W (UINT64_C(1) << 1)
#define MODEL_PF_U (UINT64_C(1) << 2)
#define MODEL_PF_RSVD (UINT64_C(1) << 3)
#define MODEL_PF_I (UINT64_C(1) << 4)
#define MODEL_PF_PK (UINT64_C(1) << 5)
#define MODEL_NPF_FINAL (UINT64_C(1) << 32) /* the final guest-physical address */
#define MODEL_NPF_TABLE (UINT64_C(1) << 33) /* that of a guest table */

/* Exit qualification of an EPT violation. */
#define MODEL_EPT_READ (UINT64_C(1) << 0)
#define MODEL_EPT_WRITE (UINT64_C(1) << 1)
#define MODEL_EPT_FETCH (UINT64_C(1) << 2)
#define MODEL_EPT_READABLE (UINT64_C(1) << 3)
#define MODEL_EPT_WRITABLE (UINT64_C(1) << 4)
#define MODEL_EPT_EXECUTABLE (UINT64_C(1) << 5)
#define MODEL_EPT_USER_EXECUTABLE (UINT64_C(1) << 6) /* undefined without mode-based execute control */
#define MODEL_EPT_LINEAR_VALID (UINT64_C(1) << 7)
#define MODEL_EPT_LINEAR_FINAL (UINT64_C(1) << 8) /* the translation of a linear address, not a table entry */

/* What the processor can do. */
struct model_cpu {
    bool amd;
    unsigned maxphyaddr; /* 32 to 52 */
    bool pse36;
    bool pat;
    bool has_1g;
    /* The rest is for model_cr_check() only: a walk takes the registers as they are. */
    bool pae, pge, pse, nx, smep, smap, pku, pks, la57, pcid;
    uint64_t cr4_other; /* further bits of CR4 that are not reserved */
};

/* EFER.LMA is LME and CR0.PG, as in a processor. cpl is that of the access. */
struct model_regs {
    uint64_t cr0, cr3, cr4, efer, rflags;
    uint32_t pkru, pkrs;
    uint64_t pdptr[4]; /* PAE paging: as loaded; see model_load_pdptes() */
    unsigned cpl;
};

enum model_access_kind { MODEL_READ, MODEL_WRITE, MODEL_FETCH };

struct model_access {
    uint64_t gva; /* its high half is not looked at outside of long mode */
    enum model_access_kind kind;
    bool implicit; /* by the processor itself, as supervisor whatever the cpl: GDT, LDT, IDT, TSS */
};

enum model_cas {
    MODEL_CAS_DONE,
    MODEL_CAS_CHANGED,   /* it was not the old value: nothing is written, the walk begins anew */
    MODEL_CAS_READ_ONLY, /* nothing is written, the walk goes on */
    MODEL_CAS_NOTHING,   /* there is no memory any more: a page fault, as not present (M7) */
};

/* 4 or 8 bytes at an address aligned to as many. cas may be NULL: all is done, and nothing is written. */
struct model_memory {
    void *opaque;
    bool (*read)(void *opaque, uint64_t address, unsigned size, uint64_t *ret_value); /* false: nothing there */
    enum model_cas (*cas)(void *opaque, uint64_t address, unsigned size, uint64_t old, uint64_t new);
};

enum model_nesting { MODEL_NO_NESTING, MODEL_EPT, MODEL_NPT };

struct model_nested {
    enum model_nesting kind;
    struct model_memory memory; /* by host-physical address: the nested tables */
    unsigned maxphyaddr;
    bool has_1g;
    bool execute_only; /* EPT */
    uint64_t eptp;
    uint64_t ncr3; /* NPT, with the host's CR4.LA57 and EFER.NXE */
    bool la57;
    bool nxe;
};

struct model_world {
    struct model_cpu cpu;
    struct model_regs regs;
    /*
     * By guest-physical address: the guest's tables. Its read may be NULL if there is nesting: they are then in
     * nested.memory, at the host-physical addresses that they translate to.
     */
    struct model_memory memory;
    struct model_nested nested;
    bool ad_before_final; /* see the top */
};

enum model_outcome {
    MODEL_OK,
    MODEL_PAGE_FAULT,
    MODEL_GP, /* not canonical: #GP, or #SS through SS */
    MODEL_EPT_VIOLATION,
    MODEL_EPT_MISCONFIG,
    MODEL_NPF,
};

enum model_dimension { MODEL_GUEST, MODEL_NESTED };

struct model_write {
    enum model_dimension dimension;
    uint64_t address; /* guest-physical for MODEL_GUEST, else host-physical */
    unsigned size;
    uint64_t old, new;
};

/* A guest entry that was looked at, top down. */
struct model_entry {
    uint64_t gpa, hpa;
    unsigned size; /* 0: a PDPTE register, which is no memory */
    uint64_t value;
    unsigned nested_rights; /* R 1, W 2, X 4 of the page that it is in; all without nesting */
};

#define MODEL_MAX_ENTRIES 5
#define MODEL_MAX_WRITES 64

/* What is not named for an outcome is 0. Counts, entries and writes are there for every outcome. */
struct model_result {
    enum model_outcome outcome;
    /* MODEL_OK */
    uint64_t gpa;
    uint64_t hpa;                    /* the gpa if there is no nesting */
    uint64_t guest_page_bytes;       /* 0: paging is off */
    uint64_t nested_page_bytes;      /* 0: no nesting */
    bool writable, user, executable; /* by the guest's tables: all levels, whatever the access and the registers */
    bool global;                     /* CR4.PGE is set, too */
    unsigned pat_index;              /* PAT, PCD, PWT of the leaf; 0 if paging is off */
    unsigned protection_key;         /* 0 if there are none */
    unsigned ept_memory_type;
    bool ept_ignore_pat;
    /* MODEL_PAGE_FAULT, MODEL_NPF */
    uint64_t error_code, error_code_open;
    /* MODEL_EPT_VIOLATION */
    uint64_t qualification, qualification_open;
    /* MODEL_EPT_VIOLATION, MODEL_EPT_MISCONFIG, MODEL_NPF */
    uint64_t faulting_gpa;

    unsigned guest_reads, nested_reads; /* table entries read, in the last try */
    unsigned nentries;
    struct model_entry entry[MODEL_MAX_ENTRIES];
    unsigned nwrites; /* accessed and dirty flags, in order, of all tries */
    struct model_write write[MODEL_MAX_WRITES];
};

/* One access. Writes to memory are made as they are listed. */
void model_walk(const struct model_world *world, const struct model_access *access, struct model_result *ret);

enum model_mode { MODEL_OFF, MODEL_32BIT, MODEL_PAE, MODEL_4LEVEL, MODEL_5LEVEL };

enum model_mode model_mode(const struct model_regs *regs);

/* Registers */

enum model_register { MODEL_CR0, MODEL_CR3, MODEL_CR4, MODEL_EFER };

/*
 * Whether a write by MOV or WRMSR is taken (true) or a #GP. cs_long: the present code segment is a 64-bit one.
 * What the PDPTEs may have against it is model_load_pdptes()' matter.
 */
bool model_cr_check(const struct model_cpu *cpu, const struct model_regs *regs, bool cs_long,
                    enum model_register which, uint64_t value);

/* Whether a write that model_cr_check() takes loads the PDPTEs. */
bool model_cr_loads_pdptes(const struct model_regs *regs, enum model_register which, uint64_t value);

/*
 * Load the PDPTEs from where cr3 says: MODEL_OK writes all four to ret_pdptr, MODEL_GP none. With EPT it may be
 * MODEL_EPT_VIOLATION or MODEL_EPT_MISCONFIG as well, whose details are in ret. Of NPT it is a mistake to ask: AMD
 * reads PDPTEs in the walk then (APM, "Legacy PAE Mode" of nested paging), and so does model_walk().
 */
enum model_outcome model_load_pdptes(const struct model_world *world, uint64_t cr3, struct model_result *ret,
                                     uint64_t ret_pdptr[4]);

/* Whether VM entry takes this EPTP. level5, ad: what the processor has. */
bool model_eptp_check(uint64_t eptp, unsigned maxphyaddr, bool level5, bool ad);

#endif
