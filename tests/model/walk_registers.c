/* SPDX-License-Identifier: MIT */

/* What may be written to the registers of translation. */
#include "walk_model.h"
#include "walk_model_bits.h"

#include <assert.h>
#include <string.h>

/* SDM, "MOV - Move to/from Control Registers"; "Control Registers"; "Initializing IA-32e Mode". */
static bool check_cr0(const struct model_regs *regs, bool cs_long, uint64_t value)
{
    if (field(value, 63, 32) != 0) {
        return false; /* the reserved bits below are ignored */
    }
    if ((value & MODEL_CR0_PG) && !(value & MODEL_CR0_PE)) {
        return false;
    }
    if ((value & MODEL_CR0_NW) && !(value & MODEL_CR0_CD)) {
        return false;
    }
    const bool had_paging = regs->cr0 & MODEL_CR0_PG;
    const bool has_paging = value & MODEL_CR0_PG;
    if (had_paging && !has_paging) {
        if (regs->cr4 & MODEL_CR4_PCIDE) {
            return false;
        }
        if ((regs->efer & MODEL_EFER_LMA) && cs_long) {
            return false;
        }
    }
    if (!had_paging && has_paging && (regs->efer & MODEL_EFER_LME)) {
        if (!(regs->cr4 & MODEL_CR4_PAE)) {
            return false;
        }
        if (cs_long) {
            return false;
        }
    }
    return true;
}

/* Only long mode checks bits of CR3 at all. Bit 63 says whether to flush if CR4.PCIDE, and is not stored. */
static bool check_cr3(const struct model_cpu *cpu, const struct model_regs *regs, uint64_t value)
{
    if (!(regs->efer & MODEL_EFER_LMA)) {
        return true;
    }
    if (field(value, 62, cpu->maxphyaddr) != 0) {
        return false;
    }
    return !bit(value, 63) || (regs->cr4 & MODEL_CR4_PCIDE);
}

static uint64_t cr4_known(const struct model_cpu *cpu)
{
    uint64_t known = cpu->cr4_other;
    known |= cpu->pse ? MODEL_CR4_PSE : 0;
    known |= cpu->pae ? MODEL_CR4_PAE : 0;
    known |= cpu->pge ? MODEL_CR4_PGE : 0;
    known |= cpu->la57 ? MODEL_CR4_LA57 : 0;
    known |= cpu->pcid ? MODEL_CR4_PCIDE : 0;
    known |= cpu->smep ? MODEL_CR4_SMEP : 0;
    known |= cpu->smap ? MODEL_CR4_SMAP : 0;
    known |= cpu->pku ? MODEL_CR4_PKE : 0;
    known |= cpu->pks ? MODEL_CR4_PKS : 0;
    return known;
}

static bool check_cr4(const struct model_cpu *cpu, const struct model_regs *regs, uint64_t value)
{
    const uint64_t changed = regs->cr4 ^ value;
    if (value & ~cr4_known(cpu)) {
        return false;
    }
    if (regs->efer & MODEL_EFER_LMA) {
        if (!(value & MODEL_CR4_PAE)) {
            return false;
        }
        if (changed & MODEL_CR4_LA57) {
            return false;
        }
    }
    if ((changed & MODEL_CR4_PCIDE) && (value & MODEL_CR4_PCIDE)) {
        if (!(regs->efer & MODEL_EFER_LMA)) {
            return false;
        }
        if (field(regs->cr3, 11, 0) != 0) {
            return false;
        }
    }
    return true;
}

/* Of what translation uses; the other bits are as the caller likes. A written LMA is ignored. */
static bool check_efer(const struct model_cpu *cpu, const struct model_regs *regs, uint64_t value)
{
    if ((value & MODEL_EFER_NXE) && !cpu->nx) {
        return false;
    }
    return !((regs->efer ^ value) & MODEL_EFER_LME) || !(regs->cr0 & MODEL_CR0_PG);
}

bool model_cr_check(const struct model_cpu *cpu, const struct model_regs *regs, bool cs_long,
                    enum model_register which, uint64_t value)
{
    switch (which) {
    case MODEL_CR0: return check_cr0(regs, cs_long, value);
    case MODEL_CR3: return check_cr3(cpu, regs, value);
    case MODEL_CR4: return check_cr4(cpu, regs, value);
    case MODEL_EFER:
    default: return check_efer(cpu, regs, value);
    }
}

/* SDM, "PDPTE Registers". */
bool model_cr_loads_pdptes(const struct model_regs *regs, enum model_register which, uint64_t value)
{
    struct model_regs after = *regs;
    uint64_t watched;
    switch (which) {
    case MODEL_CR0:
        after.cr0 = value;
        if ((value & MODEL_CR0_PG) && (regs->efer & MODEL_EFER_LME)) {
            after.efer |= MODEL_EFER_LMA;
        }
        watched = (regs->cr0 ^ value) & (MODEL_CR0_CD | MODEL_CR0_NW | MODEL_CR0_PG);
        break;
    case MODEL_CR3: watched = 1; break;
    case MODEL_CR4:
        after.cr4 = value;
        watched = (regs->cr4 ^ value) & (MODEL_CR4_PAE | MODEL_CR4_PGE | MODEL_CR4_PSE | MODEL_CR4_SMEP);
        break;
    case MODEL_EFER:
    default: return false;
    }
    return model_mode(&after) == MODEL_PAE && watched != 0;
}

enum model_outcome model_load_pdptes(const struct model_world *world, uint64_t cr3, struct model_result *ret,
                                     uint64_t ret_pdptr[4])
{
    uint64_t pdptr[4];
    assert(world->nested.kind != MODEL_NPT);
    memset(ret, 0, sizeof *ret);
    for (unsigned i = 0; i < 4; i++) {
        struct model_entry entry;
        enum progress progress;
        do {
            progress = read_guest_entry(world, masked(cr3, 31, 5) + 8 * i, 8, USE_PDPTE_LOAD, ret, &entry);
        } while (progress == BEGIN_ANEW);
        if (progress == ENDED) {
            return ret->outcome;
        }
        pdptr[i] = entry.value;
    }
    for (unsigned i = 0; i < 4; i++) {
        if (bit(pdptr[i], 0) && pdpte_reserved(&world->cpu, pdptr[i])) {
            ret->outcome = MODEL_GP;
            return MODEL_GP;
        }
    }
    memcpy(ret_pdptr, pdptr, sizeof pdptr);
    return MODEL_OK;
}

/* SDM, "Checks on VMX Controls": "VM-Execution Control Fields", of enabled EPT. */
bool model_eptp_check(uint64_t eptp, unsigned maxphyaddr, bool level5, bool ad)
{
    const uint64_t memory_type = field(eptp, 2, 0);
    if (memory_type != 0 && memory_type != 6) {
        return false;
    }
    const uint64_t length = field(eptp, 5, 3);
    if (length != 3 && !(length == 4 && level5)) {
        return false;
    }
    if (bit(eptp, 6) && !ad) {
        return false;
    }
    return field(eptp, 11, 7) == 0 && field(eptp, 63, maxphyaddr) == 0;
}
