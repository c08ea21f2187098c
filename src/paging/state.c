// SPDX-License-Identifier: MIT
#include "paging/state.h"

#include "paging/shadow.h"

#define CR0_PE (UINT64_C(1) << 0)
#define CR0_NW (UINT64_C(1) << 29)
#define CR0_CD (UINT64_C(1) << 30)
#define CR4_PGE (UINT64_C(1) << 7)
#define CR4_PCIDE (UINT64_C(1) << 17)
#define CR4_SMEP (UINT64_C(1) << 20)
#define CR4_SMAP (UINT64_C(1) << 21)
#define CR4_PKE (UINT64_C(1) << 22)
#define CR4_PKS (UINT64_C(1) << 24)
#define EFER_LME (UINT64_C(1) << 8)
#define CR3_NO_FLUSH (UINT64_C(1) << 63)
#define CR3_PCID UINT64_C(0xfff)

/* Bits `first` to `last`, both included; none if first > last. */
static uint64_t bits(unsigned first, unsigned last)
{
    return first > last ? 0 : (UINT64_MAX >> (63 - last)) & (UINT64_MAX << first);
}

/* --- Reserved bits ("Paging", the tables of entry formats) -------------------------------------- */

static void reserve_32bit(struct paging *p, const struct paging_cpu *cpu)
{
    unsigned width = cpu->address_bits < 40 ? cpu->address_bits : 40;
    p->reserved[1][2] = cpu->has_pse36 ? bits(width - 19, 21) : bits(13, 21);
}

static void reserve_64bit(struct paging *p, const struct paging_cpu *cpu, bool nxe)
{
    uint64_t always = bits(cpu->address_bits, p->mode == MV_PAGING_PAE ? 62 : 51) | (nxe ? 0 : X86_ENTRY_NX);
    for (unsigned level = 1; level <= p->levels; level++) {
        p->reserved[0][level] = p->reserved[1][level] = always;
    }
    p->reserved[1][2] |= bits(13, 20);
    for (unsigned level = 3; level <= p->levels; level++) {
        if (level == 3) {
            p->reserved[1][3] |= cpu->has_1g_pages ? bits(13, 29) : X86_ENTRY_PS;
        } else {
            p->reserved[0][level] |= X86_ENTRY_PS | (cpu->is_amd ? X86_ENTRY_G : 0);
        }
    }
}

/* --- Rights ("Determination of Access Rights") -------------------------------------------------- */

struct rules {
    bool wp, smep, smap, nxe;
};

static bool denies(const struct rules *rules, enum mv_access kind, enum pt_who who, unsigned rights)
{
    bool w = rights & PT_RIGHT_W, u = rights & PT_RIGHT_U, x = rights & PT_RIGHT_X;
    if (who == PT_USER && !u) {
        return true;
    }
    if (kind == MV_ACCESS_FETCH) {
        return (rules->nxe && !x) || (who != PT_USER && u && rules->smep);
    }
    if (who == PT_SUPERVISOR && u && rules->smap) {
        return true;
    }
    return kind == MV_ACCESS_WRITE && !w && (who == PT_USER || rules->wp);
}

static void compile_rights(struct paging *p, const struct rules *rules)
{
    for (unsigned kind = 0; kind < PT_KIND_COUNT; kind++) {
        for (unsigned who = 0; who < PT_WHO_COUNT; who++) {
            p->denied[kind][who] = 0;
            for (unsigned rights = 0; rights <= PT_RIGHTS_ALL; rights++) {
                if (denies(rules, (enum mv_access)kind, (enum pt_who)who, rights)) {
                    p->denied[kind][who] |= (uint8_t)(1u << rights);
                }
            }
        }
    }
}

/* --- Compiling ----------------------------------------------------------------------------------- */

static enum mv_paging_mode mode_of(const struct paging_regs *regs)
{
    if (!(regs->cr0 & X86_CR0_PG)) {
        return MV_PAGING_OFF;
    }
    if (regs->efer & X86_EFER_LMA) {
        return regs->cr4 & X86_CR4_LA57 ? MV_PAGING_5LEVEL : MV_PAGING_4LEVEL;
    }
    return regs->cr4 & X86_CR4_PAE ? MV_PAGING_PAE : MV_PAGING_32BIT;
}

void paging_compile(struct paging *ret, const struct paging_regs *regs, const struct paging_cpu *cpu)
{
    static const uint8_t levels[] = {0, 2, 2, 4, 5};
    static const uint8_t linear_bits[] = {32, 32, 32, 48, 57};
    enum mv_paging_mode mode = mode_of(regs);
    bool is_long = (regs->efer & X86_EFER_LMA) && mode != MV_PAGING_OFF;
    bool nxe = (regs->efer & X86_EFER_NXE) && mode > MV_PAGING_32BIT;
    uint64_t addresses = bits(12, cpu->address_bits - 1u);
    *ret = (struct paging){
        .mode = mode,
        .levels = levels[mode],
        .entry_bytes = mode == MV_PAGING_32BIT ? 4 : 8,
        .linear_bits = linear_bits[mode],
        .reports_fetch = nxe || (regs->cr4 & CR4_SMEP),
        .has_keys_user = is_long && (regs->cr4 & CR4_PKE),
        .has_keys_supervisor = is_long && (regs->cr4 & CR4_PKS),
        .write_protect = regs->cr0 & X86_CR0_WP,
        .has_large_4m = regs->cr4 & X86_CR4_PSE,
        .has_global = regs->cr4 & CR4_PGE,
        .root_mask = is_long                 ? addresses
                     : mode == MV_PAGING_PAE ? bits(5, 31)
                                             : bits(12, 31),
        .pkru = regs->pkru,
        .pkrs = regs->pkrs,
    };
    paging_load_cr3(ret, regs->cr3);
    for (unsigned i = 0; i < 4; i++) {
        ret->pdptr[i] = regs->pdptr[i] & (addresses | X86_ENTRY_P);
    }
    if (mode == MV_PAGING_32BIT) {
        reserve_32bit(ret, cpu);
    } else if (mode != MV_PAGING_OFF) {
        reserve_64bit(ret, cpu, nxe);
    }
    compile_rights(ret, &(struct rules){.wp = regs->cr0 & X86_CR0_WP,
                                        .smep = regs->cr4 & CR4_SMEP,
                                        .smap = regs->cr4 & CR4_SMAP,
                                        .nxe = nxe});
}

void paging_compile_shadow(struct paging *ret, const struct paging_regs *regs, const void *root)
{
    const struct paging_cpu cpu = {.address_bits = SHADOW_ADDRESS_BITS, .has_1g_pages = true};
    struct paging_regs of_hardware = *regs;
    enum mv_paging_mode mode = mode_of(regs);
    of_hardware.cr0 |= X86_CR0_PG | X86_CR0_WP;
    of_hardware.cr4 |= X86_CR4_PAE;
    of_hardware.efer |= X86_EFER_LMA | X86_EFER_NXE;
    of_hardware.cr3 = 0;
    if (mode != MV_PAGING_5LEVEL) {
        of_hardware.cr4 &= ~X86_CR4_LA57;
    }
    if (mode < MV_PAGING_4LEVEL) {
        of_hardware.cr4 &= ~(CR4_PKE | CR4_PKS);
    }
    paging_compile(ret, &of_hardware, &cpu);
    ret->root = mv_gpa((uint64_t)(uintptr_t)root);
}

static uint64_t pdpte_reserved(const struct paging_cpu *cpu)
{
    return bits(1, 2) | bits(5, 8) | bits(cpu->address_bits, 63);
}

void paging_walk_pdptrs(struct paging *p, const struct paging_cpu *cpu)
{
    if (p->mode == MV_PAGING_PAE) {
        p->levels = 3;
        p->reserved[0][3] = p->reserved[1][3] = pdpte_reserved(cpu);
    }
}

/* --- What may be loaded -------------------------------------------------------------------------- */

bool paging_pdptrs_are_valid(const uint64_t pdptr[4], const struct paging_cpu *cpu)
{
    uint64_t reserved = pdpte_reserved(cpu);
    for (unsigned i = 0; i < 4; i++) {
        if ((pdptr[i] & X86_ENTRY_P) && (pdptr[i] & reserved)) {
            return false;
        }
    }
    return true;
}

static bool cr3_is_valid(const struct paging_regs *regs, const struct paging_cpu *cpu)
{
    if (!(regs->efer & X86_EFER_LMA)) {
        return true;
    }
    uint64_t ignored = regs->cr4 & CR4_PCIDE ? CR3_NO_FLUSH : 0;
    return (regs->cr3 & ~ignored & bits(cpu->address_bits, 63)) == 0;
}

bool paging_regs_are_valid(const struct paging_regs *before, const struct paging_regs *after,
                           const struct paging_cpu *cpu, bool is_cs_64bit)
{
    bool pg = after->cr0 & X86_CR0_PG, pg_before = before->cr0 & X86_CR0_PG;
    bool pcide = after->cr4 & CR4_PCIDE, pcide_before = before->cr4 & CR4_PCIDE;
    bool lma = after->efer & X86_EFER_LMA;
    if (pg && !(after->cr0 & CR0_PE)) {
        return false;
    }
    if ((after->cr0 & CR0_NW) && !(after->cr0 & CR0_CD)) {
        return false;
    }
    if (pg && (after->efer & EFER_LME) && !(after->cr4 & X86_CR4_PAE)) {
        return false;
    }
    if (pg_before && pg && ((before->efer ^ after->efer) & EFER_LME)) {
        return false;
    }
    if (pg_before && !pg && (pcide_before || ((before->efer & X86_EFER_LMA) && is_cs_64bit))) {
        return false;
    }
    if (!pg_before && pg && (after->efer & EFER_LME) && is_cs_64bit) {
        return false;
    }
    if (lma && pg_before && ((before->cr4 ^ after->cr4) & X86_CR4_LA57)) {
        return false;
    }
    if (pcide && !pcide_before && (!lma || (before->cr3 & CR3_PCID))) {
        return false;
    }
    /* What was there when long mode began is not looked at again. */
    return before->cr3 == after->cr3 || cr3_is_valid(after, cpu);
}
