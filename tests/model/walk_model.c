/* SPDX-License-Identifier: MIT */

/* The guest's tables. walk_nested.c has those under them, walk_registers.c the registers. */
#include "walk_model.h"
#include "walk_model_bits.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TRIES 100

enum model_mode model_mode(const struct model_regs *regs)
{
    if (!(regs->cr0 & MODEL_CR0_PG)) {
        return MODEL_OFF;
    }
    if (!(regs->cr4 & MODEL_CR4_PAE)) {
        return MODEL_32BIT;
    }
    if (!(regs->efer & MODEL_EFER_LMA)) {
        return MODEL_PAE;
    }
    if (!(regs->cr4 & MODEL_CR4_LA57)) {
        return MODEL_4LEVEL;
    }
    return MODEL_5LEVEL;
}

static bool long_mode(const struct model_regs *regs)
{
    return model_mode(regs) == MODEL_4LEVEL || model_mode(regs) == MODEL_5LEVEL;
}

static bool user_access(const struct model_regs *regs, const struct model_access *access)
{
    return regs->cpl == 3 && !access->implicit;
}

/* SDM, "Page-Fault Exceptions". more: the bits that depend on the reason. */
static enum progress page_fault(const struct model_world *world, const struct model_access *access, uint64_t more,
                                struct model_result *result)
{
    const struct model_regs *regs = &world->regs;
    uint64_t code = more;
    if (access->kind == MODEL_WRITE) {
        code |= MODEL_PF_W;
    }
    if (user_access(regs, access)) {
        code |= MODEL_PF_U;
    }
    if (access->kind == MODEL_FETCH) {
        if (regs->cr4 & MODEL_CR4_SMEP) {
            code |= MODEL_PF_I;
        }
        if ((regs->cr4 & MODEL_CR4_PAE) && (regs->efer & MODEL_EFER_NXE)) {
            code |= MODEL_PF_I;
        }
    }
    result->outcome = MODEL_PAGE_FAULT;
    result->error_code = code;
    return ENDED;
}

static bool canonical(uint64_t gva, unsigned width)
{
    const bool sign = bit(gva, width - 1);
    for (unsigned n = width; n <= 63; n++) {
        if (bit(gva, n) != sign) {
            return false;
        }
    }
    return true;
}

/* Whether the entry maps a page, and does not lead to another table. */
static bool is_leaf(const struct model_world *world, unsigned level, uint64_t entry)
{
    switch (model_mode(&world->regs)) {
    case MODEL_32BIT:
        if (level == 1) {
            return true;
        }
        return (world->regs.cr4 & MODEL_CR4_PSE) && bit(entry, 7);
    case MODEL_PAE:
        if (level == 1) {
            return true;
        }
        return level == 2 && bit(entry, 7);
    case MODEL_4LEVEL:
    case MODEL_5LEVEL:
    case MODEL_OFF:
    default:
        if (level == 1) {
            return true;
        }
        return (level == 2 || level == 3) && bit(entry, 7);
    }
}

static unsigned pse_width(const struct model_cpu *cpu)
{
    if (!cpu->pse36) {
        return 32;
    }
    if (cpu->maxphyaddr > 40) {
        return 40;
    }
    return cpu->maxphyaddr;
}

/* SDM, "32-Bit Paging": "Use of CR3", "Format of a 32-Bit Page-Directory Entry that Maps a 4-MByte Page". */
static bool reserved_32bit(const struct model_world *world, unsigned level, uint64_t entry)
{
    if (level == 1) {
        return !world->cpu.pat && bit(entry, 7);
    }
    if (!is_leaf(world, level, entry)) {
        return false;
    }
    if (!world->cpu.pat && bit(entry, 12)) {
        return true;
    }
    /* Bit 13 is bit 32 of the address, and so on up to the width; the rest up to 21 is reserved. */
    return field(entry, 21, pse_width(&world->cpu) - 19) != 0;
}

/* SDM, "Formats of CR3 and Paging-Structure Entries with PAE Paging". */
bool pdpte_reserved(const struct model_cpu *cpu, uint64_t pdpte)
{
    return field(pdpte, 2, 1) != 0 || field(pdpte, 8, 5) != 0 || field(pdpte, 63, cpu->maxphyaddr) != 0;
}

static bool reserved_pae(const struct model_world *world, unsigned level, uint64_t entry)
{
    if (level == 3) {
        return pdpte_reserved(&world->cpu, entry);
    }
    if (bit(entry, 63) && !(world->regs.efer & MODEL_EFER_NXE)) {
        return true;
    }
    if (field(entry, 62, world->cpu.maxphyaddr) != 0) {
        return true;
    }
    if (level == 1) {
        return !world->cpu.pat && bit(entry, 7);
    }
    if (is_leaf(world, level, entry)) {
        return field(entry, 20, 13) != 0 || (!world->cpu.pat && bit(entry, 12));
    }
    return false;
}

/* SDM, "Formats of CR3 and Paging-Structure Entries with 4-Level Paging and 5-Level Paging". */
static bool reserved_long(const struct model_world *world, unsigned level, uint64_t entry)
{
    if (bit(entry, 63) && !(world->regs.efer & MODEL_EFER_NXE)) {
        return true;
    }
    if (field(entry, 51, world->cpu.maxphyaddr) != 0) {
        return true;
    }
    if (level == 5 || level == 4) {
        /* APM, "4-Kbyte Page Translation" of long mode: bit 8 must be zero in a PML5E and a PML4E, too. */
        return bit(entry, 7) || (world->cpu.amd && bit(entry, 8));
    }
    if (level == 3 && bit(entry, 7)) {
        if (!world->cpu.has_1g) {
            return true;
        }
        return field(entry, 29, 13) != 0 || (!world->cpu.pat && bit(entry, 12));
    }
    if (level == 2 && bit(entry, 7)) {
        return field(entry, 20, 13) != 0 || (!world->cpu.pat && bit(entry, 12));
    }
    if (level == 1) {
        return !world->cpu.pat && bit(entry, 7);
    }
    return false;
}

static bool reserved(const struct model_world *world, unsigned level, uint64_t entry)
{
    switch (model_mode(&world->regs)) {
    case MODEL_32BIT: return reserved_32bit(world, level, entry);
    case MODEL_PAE: return reserved_pae(world, level, entry);
    case MODEL_4LEVEL:
    case MODEL_5LEVEL:
    case MODEL_OFF:
    default: return reserved_long(world, level, entry);
    }
}

/* PAE paging has no rights in its PDPTEs. */
static bool has_rights(const struct model_world *world, unsigned level)
{
    return !(model_mode(&world->regs) == MODEL_PAE && level == 3);
}

/* Bits of the linear address under an entry of this level: 12 for a 4-KByte page. */
static unsigned shift_of(const struct model_world *world, unsigned level)
{
    if (model_mode(&world->regs) == MODEL_32BIT) {
        return level == 1 ? 12 : 22;
    }
    return 12 + 9 * (level - 1);
}

static unsigned levels_of(const struct model_world *world)
{
    switch (model_mode(&world->regs)) {
    case MODEL_32BIT: return 2;
    case MODEL_PAE: return 3;
    case MODEL_4LEVEL: return 4;
    case MODEL_5LEVEL:
    case MODEL_OFF:
    default: return 5;
    }
}

/* Where the entry of a level is. above: the entry of the level above it; of the highest there is none. */
static uint64_t entry_address(const struct model_world *world, unsigned level, uint64_t above, uint64_t gva)
{
    const enum model_mode mode = model_mode(&world->regs);
    const bool first = level == levels_of(world);
    if (mode == MODEL_32BIT) {
        const uint64_t index = level == 2 ? field(gva, 31, 22) : field(gva, 21, 12);
        const uint64_t table = masked(first ? world->regs.cr3 : above, 31, 12);
        return table + 4 * index;
    }
    if (mode == MODEL_PAE && level == 3) {
        return masked(world->regs.cr3, 31, 5) + 8 * field(gva, 31, 30);
    }
    const unsigned shift = shift_of(world, level);
    const uint64_t table = masked(first ? world->regs.cr3 : above, 51, 12);
    return table + 8 * field(gva, shift + 8, shift);
}

static uint64_t leaf_gpa(const struct model_world *world, unsigned level, uint64_t entry, uint64_t gva)
{
    const unsigned shift = shift_of(world, level);
    const uint64_t offset = field(gva, shift - 1, 0);
    if (model_mode(&world->regs) == MODEL_32BIT) {
        if (level == 2) {
            const unsigned width = pse_width(&world->cpu);
            return field(entry, width - 20, 13) << 32 | masked(entry, 31, 22) | offset;
        }
        return masked(entry, 31, 12) | offset;
    }
    return masked(entry, 51, shift) | offset;
}

/* One level: read the entry and look whether it is one. */
static enum progress take_entry(const struct model_world *world, const struct model_access *access, unsigned level,
                                uint64_t gva, struct model_result *result)
{
    struct model_entry *entry = &result->entry[result->nentries];
    const uint64_t above = result->nentries > 0 ? entry[-1].value : 0;
    *entry = (struct model_entry){0};
    if (model_mode(&world->regs) == MODEL_PAE && level == 3 && world->nested.kind != MODEL_NPT) {
        entry->value = world->regs.pdptr[field(gva, 31, 30)];
    } else {
        const unsigned size = model_mode(&world->regs) == MODEL_32BIT ? 4 : 8;
        const uint64_t gpa = entry_address(world, level, above, gva);
        const enum progress progress = read_guest_entry(world, gpa, size, USE_TABLE, result, entry);
        if (progress != GO_ON) {
            return progress;
        }
    }
    result->nentries++;
    if (!bit(entry->value, 0)) {
        return page_fault(world, access, 0, result);
    }
    if (reserved(world, level, entry->value)) {
        return page_fault(world, access, MODEL_PF_P | MODEL_PF_RSVD, result);
    }
    return GO_ON;
}

/* SDM, "Determination of Access Rights", without protection keys. */
static bool permitted(const struct model_regs *regs, const struct model_access *access,
                      const struct model_result *page)
{
    if (user_access(regs, access)) {
        if (!page->user) {
            return false;
        }
        if (access->kind == MODEL_WRITE && !page->writable) {
            return false;
        }
        if (access->kind == MODEL_FETCH && !page->executable) {
            return false;
        }
        return true;
    }
    if (access->kind == MODEL_FETCH) {
        if (!page->executable) {
            return false;
        }
        if ((regs->cr4 & MODEL_CR4_SMEP) && page->user) {
            return false;
        }
        return true;
    }
    if (access->kind == MODEL_WRITE && !page->writable && (regs->cr0 & MODEL_CR0_WP)) {
        return false;
    }
    if ((regs->cr4 & MODEL_CR4_SMAP) && page->user) {
        if (access->implicit) {
            return false;
        }
        if (!(regs->rflags & MODEL_RFLAGS_AC)) {
            return false;
        }
    }
    return true;
}

/* SDM, "Protection Keys". */
static bool key_forbids(const struct model_regs *regs, const struct model_access *access,
                        const struct model_result *page)
{
    if (!long_mode(regs) || access->kind == MODEL_FETCH) {
        return false;
    }
    const unsigned key = page->protection_key;
    if (page->user) {
        if (!(regs->cr4 & MODEL_CR4_PKE)) {
            return false;
        }
        const bool access_disable = bit(regs->pkru, 2 * key);
        const bool write_disable = bit(regs->pkru, 2 * key + 1);
        if (access_disable) {
            return true;
        }
        if (access->kind == MODEL_WRITE && write_disable) {
            return user_access(regs, access) || (regs->cr0 & MODEL_CR0_WP);
        }
        return false;
    }
    if (!(regs->cr4 & MODEL_CR4_PKS)) {
        return false;
    }
    const bool access_disable = bit(regs->pkrs, 2 * key);
    const bool write_disable = bit(regs->pkrs, 2 * key + 1);
    if (access_disable) {
        return true;
    }
    return access->kind == MODEL_WRITE && write_disable && (regs->cr0 & MODEL_CR0_WP);
}

/* What the entries say together. */
static void describe_page(const struct model_world *world, unsigned leaf_level, uint64_t gva,
                          struct model_result *result)
{
    const struct model_regs *regs = &world->regs;
    const uint64_t leaf = result->entry[result->nentries - 1].value;
    result->writable = true;
    result->user = true;
    result->executable = true;
    for (unsigned i = 0; i < result->nentries; i++) {
        const unsigned level = levels_of(world) - i;
        const uint64_t entry = result->entry[i].value;
        if (has_rights(world, level)) {
            result->writable = result->writable && bit(entry, 1);
            result->user = result->user && bit(entry, 2);
            /* Not reserved, so NXE is set if this is, and it is no bit of a 4-byte entry. */
            result->executable = result->executable && !bit(entry, 63);
        }
    }
    result->global = bit(leaf, 8) && (regs->cr4 & MODEL_CR4_PGE);
    result->guest_page_bytes = UINT64_C(1) << shift_of(world, leaf_level);
    const bool pat = world->cpu.pat && bit(leaf, leaf_level == 1 ? 7 : 12);
    result->pat_index = (pat ? 4u : 0) + (bit(leaf, 4) ? 2u : 0) + (bit(leaf, 3) ? 1u : 0);
    if (long_mode(regs) && (regs->cr4 & (MODEL_CR4_PKE | MODEL_CR4_PKS))) {
        result->protection_key = (unsigned)field(leaf, 62, 59);
    }
    result->gpa = leaf_gpa(world, leaf_level, leaf, gva);
}

/* SDM, "Accessed and Dirty Flags". */
static enum progress set_flags(const struct model_world *world, const struct model_access *access,
                               struct model_result *result)
{
    const bool in_nested = world->nested.kind != MODEL_NO_NESTING && world->memory.read == NULL;
    for (unsigned i = 0; i < result->nentries; i++) {
        const struct model_entry *entry = &result->entry[i];
        if (!has_rights(world, levels_of(world) - i)) {
            continue; /* a PDPTE of PAE paging has no flags either */
        }
        uint64_t flagged = entry->value | UINT64_C(1) << 5;
        if (access->kind == MODEL_WRITE && i == result->nentries - 1) {
            flagged |= UINT64_C(1) << 6;
        }
        if (flagged == entry->value) {
            continue;
        }
        if (world->nested.kind == MODEL_EPT && !bit(entry->nested_rights, 1)) {
            ept_flag_violation(entry, result);
            return ENDED;
        }
        const struct model_write write = {.dimension = MODEL_GUEST,
                                          .address = in_nested ? entry->hpa : entry->gpa,
                                          .size = entry->size,
                                          .old = entry->value,
                                          .new = flagged};
        const enum model_cas cas = write_flags(in_nested ? &world->nested.memory : &world->memory, &write, result);
        if (cas == MODEL_CAS_DONE) {
            result->write[result->nwrites - 1].address = entry->gpa;
        } else if (cas == MODEL_CAS_CHANGED) {
            return BEGIN_ANEW;
        } else if (cas == MODEL_CAS_NOTHING) {
            return page_fault(world, access, 0, result);
        }
    }
    return GO_ON;
}

static enum progress translate_final(const struct model_world *world, const struct model_access *access,
                                     struct model_result *result)
{
    struct nested_page page;
    const enum progress progress = nested_translate(world, result->gpa, USE_FINAL, access->kind, result, &page);
    if (progress == GO_ON) {
        result->hpa = page.hpa;
        result->nested_page_bytes = page.page_bytes;
        result->ept_memory_type = page.memory_type;
        result->ept_ignore_pat = page.ignore_pat;
    }
    return progress;
}

static enum progress walk_tables(const struct model_world *world, const struct model_access *access, uint64_t gva,
                                 struct model_result *result)
{
    enum progress progress;
    unsigned level = levels_of(world);
    for (;;) {
        progress = take_entry(world, access, level, gva, result);
        if (progress != GO_ON) {
            return progress;
        }
        if (is_leaf(world, level, result->entry[result->nentries - 1].value)) {
            break;
        }
        level--;
    }
    describe_page(world, level, gva, result);
    const bool may = permitted(&world->regs, access, result);
    const bool key = key_forbids(&world->regs, access, result);
    if (!may || key) {
        return page_fault(world, access, MODEL_PF_P | (key ? MODEL_PF_PK : 0), result);
    }
    if (world->ad_before_final) {
        progress = set_flags(world, access, result);
        return progress != GO_ON ? progress : translate_final(world, access, result);
    }
    progress = translate_final(world, access, result);
    return progress != GO_ON ? progress : set_flags(world, access, result);
}

static enum progress walk_once(const struct model_world *world, const struct model_access *access,
                               struct model_result *result)
{
    const enum model_mode mode = model_mode(&world->regs);
    uint64_t gva = access->gva;
    if (mode == MODEL_OFF) {
        /* Without paging there is no long mode either, so linear addresses have 32 bits. */
        result->gpa = field(gva, 31, 0);
        result->writable = true;
        result->user = true;
        result->executable = true;
        return translate_final(world, access, result);
    }
    if (mode == MODEL_4LEVEL || mode == MODEL_5LEVEL) {
        if (!canonical(gva, mode == MODEL_4LEVEL ? 48 : 57)) {
            result->outcome = MODEL_GP;
            return ENDED;
        }
    } else {
        gva = field(gva, 31, 0);
    }
    return walk_tables(world, access, gva, result);
}

/* What only a translation has. */
static void forget_page(struct model_result *result)
{
    result->gpa = 0;
    result->hpa = 0;
    result->guest_page_bytes = 0;
    result->nested_page_bytes = 0;
    result->writable = false;
    result->user = false;
    result->executable = false;
    result->global = false;
    result->pat_index = 0;
    result->protection_key = 0;
    result->ept_memory_type = 0;
    result->ept_ignore_pat = false;
}

void model_walk(const struct model_world *world, const struct model_access *access, struct model_result *ret)
{
    memset(ret, 0, sizeof *ret);
    for (unsigned try = 0; try < MAX_TRIES; try++) {
        ret->outcome = MODEL_OK;
        ret->guest_reads = 0;
        ret->nested_reads = 0;
        ret->nentries = 0;
        forget_page(ret);
        const enum progress progress = walk_once(world, access, ret);
        if (progress == BEGIN_ANEW) {
            continue;
        }
        if (ret->outcome != MODEL_OK) {
            forget_page(ret);
        }
        return;
    }
    abort(); /* tables that change under each of a hundred walks */
}
