// SPDX-License-Identifier: MIT
/*
 * How a processor translates at the moment: control registers, compiled into what a walk asks at each step. Made
 * anew when a register changes (rare), read at each access.
 */
#ifndef PAGING_STATE_H
#define PAGING_STATE_H

#include <memvirt/paging.h>

#include "base/addr.h"
#include "paging/x86.h"

/* Of the processor's model: CPUID. */
struct paging_cpu {
    uint8_t address_bits; /* MAXPHYADDR: 32 to 52 */
    bool has_1g_pages;
    bool has_pse36; /* 4 MiB pages above 4 GiB: bits 13-20 of the PDE are address bits 32-39, as far as they exist
                     */
    bool is_amd;    /* PML4E bit 8 is reserved */
};

/* All that decides on translation. `pdptr` is what a PAE processor loaded with CR3 (Intel SDM, "PDPTE Registers").
 */
struct paging_regs {
    uint64_t cr0, cr3, cr4, efer;
    uint64_t pdptr[4];
    uint32_t pkru, pkrs;
};

/* Rights of a page, ANDed over the levels: an index of three bits. */
#define PT_RIGHT_W 1u
#define PT_RIGHT_U 2u
#define PT_RIGHT_X 4u
#define PT_RIGHTS_ALL 7u

/* Whose access it is. The last two differ under SMAP only: explicit data accesses with EFLAGS.AC set. */
enum pt_who {
    PT_USER,
    PT_SUPERVISOR,
    PT_SUPERVISOR_AC,
};
#define PT_WHO_COUNT 3
#define PT_KIND_COUNT 3 /* of enum mv_access */

struct pt_access {
    enum mv_access kind;
    enum pt_who who;
};

struct paging {
    enum mv_paging_mode mode;
    /* Of tables that are walked in memory: 0 (off), 2, 2 (PAE: below the PDPTE registers; or 3), 4, 5. */
    uint8_t levels;
    uint8_t entry_bytes; /* 4 or 8 */
    uint8_t linear_bits; /* 32, 48 or 57: addresses must be canonical to that; 64: paging off in a model without */
    bool reports_fetch;  /* error code bit 4: EFER.NXE (with PAE paging or longer) or CR4.SMEP */
    bool has_keys_user;  /* CR4.PKE in long mode */
    bool has_keys_supervisor; /* CR4.PKS in long mode */
    bool write_protect;       /* CR0.WP */
    bool has_large_4m;        /* CR4.PSE: otherwise bit 7 of a 32-bit PDE is ignored */
    bool has_global;          /* CR4.PGE */
    gpa_t root;               /* the table of the highest level that is walked; PAE's is of PDPTEs */
    uint64_t root_mask;       /* of CR3 */
    uint64_t pdptr[4];        /* PAE */
    uint64_t reserved[2][X86_LEVELS_MAX + 1];    /* [PS is set][level]: bits that a present entry must not have */
    uint8_t denied[PT_KIND_COUNT][PT_WHO_COUNT]; /* bit r is set: rights r refuse such an access */
    uint32_t pkru, pkrs;
};

/* Compile. Any values are allowed: what a processor would have refused to load is masked away. */
void paging_compile(struct paging *ret, const struct paging_regs *regs, const struct paging_cpu *cpu);

/* CR3 alone changed, which says where the tables are and nothing of how they are read. */
static inline void paging_load_cr3(struct paging *p, uint64_t cr3)
{
    p->root = mv_gpa(cr3 & p->root_mask);
}

/*
 * What a processor obeys while it walks the hypervisor's tables in place of the guest's (paging/shadow.h): long
 * mode of 4 levels, or 5 where the guest's has 5, with WP and NX on; SMEP, SMAP and the keys are the guest's.
 */
void paging_compile_shadow(struct paging *ret, const struct paging_regs *regs, const void *root);

/*
 * PAE: PDPTEs are read in memory by each walk, and not kept in registers. So does a guest of AMD's nested paging
 * (AMD APM, "Nested Paging and Legacy PAE Mode"), and who looks at tables without a processor. Other modes:
 * nothing.
 */
void paging_walk_pdptrs(struct paging *p, const struct paging_cpu *cpu);

/* PAE: whether these four may be loaded; a present one with a reserved bit is a #GP (Intel SDM, "PDPTE
 * Registers"). */
bool paging_pdptrs_are_valid(const uint64_t pdptr[4], const struct paging_cpu *cpu);

/*
 * Whether a processor in `before` would take these values of CR0, CR3, CR4 and EFER (Intel SDM, "Control
 * Registers"; "Paging-Mode Modifiers"): false is a #GP. `is_cs_64bit`: CS.L is set. EFER.LMA is LME and CR0.PG.
 */
bool paging_regs_are_valid(const struct paging_regs *before, const struct paging_regs *after,
                           const struct paging_cpu *cpu, bool is_cs_64bit);

/* Rights and key of a page against an access. */
static inline bool paging_denies(const struct paging *p, struct pt_access access, unsigned rights)
{
    return (p->denied[access.kind][access.who] >> rights) & 1;
}

/*
 * Whether the protection key refuses (Intel SDM, "Protection Keys"): data accesses only; PKRU for user pages, by
 * whomever, PKRS for supervisor pages.
 */
static inline bool paging_key_denies(const struct paging *p, struct pt_access access, unsigned rights,
                                     unsigned key)
{
    if (access.kind == MV_ACCESS_FETCH) {
        return false;
    }
    bool is_user_page = (rights & PT_RIGHT_U) != 0;
    if (!(is_user_page ? p->has_keys_user : p->has_keys_supervisor)) {
        return false;
    }
    uint32_t bits = (is_user_page ? p->pkru : p->pkrs) >> (2 * key);
    if (bits & 1) {
        return true; /* AD: no access at all */
    }
    /* WD: writes of a user, with PKRU alone, and of a supervisor with CR0.WP. */
    bool user_write_or_wp = (is_user_page && access.who == PT_USER) || p->write_protect;
    return (bits & 2) && access.kind == MV_ACCESS_WRITE && user_write_or_wp;
}

/* Sign-extended from the highest linear bit. */
static inline bool paging_is_canonical(const struct paging *p, uint64_t gva)
{
    unsigned spare = 64u - p->linear_bits;
    return p->linear_bits == 32 ? gva >> 32 == 0 : (uint64_t)((int64_t)(gva << spare) >> spare) == gva;
}

#endif
