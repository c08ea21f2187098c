/* SPDX-License-Identifier: MIT */

/* The tables under the guest: EPT and NPT. */
#include "walk_model.h"
#include "walk_model_bits.h"

#include <assert.h>
#include <string.h>

#define MAX_LEVELS 5

enum model_cas write_flags(const struct model_memory *memory, const struct model_write *write,
                           struct model_result *result)
{
    enum model_cas cas = MODEL_CAS_DONE;
    if (memory->cas != NULL) {
        cas = memory->cas(memory->opaque, write->address, write->size, write->old, write->new);
    }
    if (cas == MODEL_CAS_DONE) {
        assert(result->nwrites < MODEL_MAX_WRITES);
        result->write[result->nwrites] = *write;
        result->nwrites++;
    }
    return cas;
}

/* The entries of one nested walk. */
struct nested_walk {
    unsigned nentries;
    uint64_t address[MAX_LEVELS];
    uint64_t value[MAX_LEVELS];
};

static uint64_t read_nested_entry(const struct model_world *world, uint64_t table, uint64_t index,
                                  struct nested_walk *walk, struct model_result *result)
{
    const struct model_memory *memory = &world->nested.memory;
    uint64_t value;
    const uint64_t address = table + 8 * index;
    result->nested_reads++;
    if (!memory->read(memory->opaque, address, 8, &value)) {
        value = 0;
    }
    walk->address[walk->nentries] = address;
    walk->value[walk->nentries] = value;
    walk->nentries++;
    return value;
}

/* Flags of one nested entry. A nested table that cannot be written is left alone. */
static enum progress flag_nested(const struct model_world *world, const struct nested_walk *walk, unsigned i,
                                 uint64_t flags, struct model_result *result)
{
    if ((walk->value[i] | flags) == walk->value[i]) {
        return GO_ON;
    }
    const struct model_write write = {.dimension = MODEL_NESTED,
                                      .address = walk->address[i],
                                      .size = 8,
                                      .old = walk->value[i],
                                      .new = walk->value[i] | flags};
    if (write_flags(&world->nested.memory, &write, result) == MODEL_CAS_CHANGED) {
        return BEGIN_ANEW;
    }
    return GO_ON;
}

/* EPT */

/*
 * The qualification of SDM, "Exit Qualification for EPT Violations", without the bits of the access itself. rights
 * are 0 if an entry was not present.
 */
static enum progress ept_violation(uint64_t gpa, enum nested_use use, uint64_t access_bits, unsigned rights,
                                   struct model_result *result)
{
    uint64_t qualification = access_bits;
    if (bit(rights, 0)) {
        qualification |= MODEL_EPT_READABLE;
    }
    if (bit(rights, 1)) {
        qualification |= MODEL_EPT_WRITABLE;
    }
    if (bit(rights, 2)) {
        qualification |= MODEL_EPT_EXECUTABLE;
    }
    if (use != USE_PDPTE_LOAD) {
        qualification |= MODEL_EPT_LINEAR_VALID;
    }
    if (use == USE_FINAL) {
        qualification |= MODEL_EPT_LINEAR_FINAL;
    }
    result->outcome = MODEL_EPT_VIOLATION;
    result->qualification = qualification;
    result->qualification_open |= MODEL_EPT_USER_EXECUTABLE;
    if (use == USE_PDPTE_LOAD) {
        result->qualification_open |= MODEL_EPT_LINEAR_FINAL; /* undefined if bit 7 is 0 */
    }
    result->faulting_gpa = gpa;
    return ENDED;
}

void ept_flag_violation(const struct model_entry *entry, struct model_result *result)
{
    /* A read-modify-write: whether bit 0 is set is implementation-specific. */
    result->qualification_open |= MODEL_EPT_READ;
    ept_violation(entry->gpa, USE_TABLE, MODEL_EPT_WRITE, entry->nested_rights, result);
}

/* Bits 0 to 2 of the qualification; they are the rights that the access needs as well. */
static uint64_t ept_access_bits(const struct model_world *world, enum nested_use use, enum model_access_kind kind)
{
    if (use == USE_PDPTE_LOAD) {
        return MODEL_EPT_READ;
    }
    if (use == USE_TABLE) {
        /* With accessed and dirty flags for EPT, processor accesses to guest tables are treated as writes. */
        return bit(world->nested.eptp, 6) ? MODEL_EPT_READ | MODEL_EPT_WRITE : MODEL_EPT_READ;
    }
    switch (kind) {
    case MODEL_READ: return MODEL_EPT_READ;
    case MODEL_WRITE: return MODEL_EPT_WRITE;
    case MODEL_FETCH:
    default: return MODEL_EPT_FETCH;
    }
}

static bool ept_is_leaf(unsigned level, uint64_t entry)
{
    return level == 1 || ((level == 2 || level == 3) && bit(entry, 7));
}

/* SDM, "EPT Misconfigurations", of a present entry. */
static bool ept_misconfigured(const struct model_nested *nested, unsigned level, uint64_t entry)
{
    const bool r = bit(entry, 0);
    const bool w = bit(entry, 1);
    const bool x = bit(entry, 2);
    if (!r && w) {
        return true;
    }
    if (!r && !w && x && !nested->execute_only) {
        return true;
    }
    if (field(entry, 51, nested->maxphyaddr) != 0) {
        return true;
    }
    if (level == 5 || level == 4) {
        return field(entry, 7, 3) != 0;
    }
    if (!ept_is_leaf(level, entry)) {
        return field(entry, 6, 3) != 0;
    }
    const uint64_t memory_type = field(entry, 5, 3);
    if (memory_type == 2 || memory_type == 3 || memory_type == 7) {
        return true;
    }
    if (level == 3) {
        return !nested->has_1g || field(entry, 29, 12) != 0;
    }
    if (level == 2) {
        return field(entry, 20, 12) != 0;
    }
    return false;
}

/* SDM, "Accessed and Dirty Flags for EPT". */
static enum progress ept_set_flags(const struct model_world *world, const struct nested_walk *walk, bool dirty,
                                   struct model_result *result)
{
    if (!bit(world->nested.eptp, 6)) {
        return GO_ON;
    }
    for (unsigned i = 0; i < walk->nentries; i++) {
        uint64_t flags = UINT64_C(1) << 8;
        if (dirty && i == walk->nentries - 1) {
            flags |= UINT64_C(1) << 9;
        }
        const enum progress progress = flag_nested(world, walk, i, flags, result);
        if (progress != GO_ON) {
            return progress;
        }
    }
    return GO_ON;
}

static enum progress ept_translate(const struct model_world *world, uint64_t gpa, enum nested_use use,
                                   enum model_access_kind kind, struct model_result *result,
                                   struct nested_page *ret)
{
    const struct model_nested *nested = &world->nested;
    const uint64_t needed = ept_access_bits(world, use, kind);
    struct nested_walk walk = {0};
    unsigned level = (unsigned)field(nested->eptp, 5, 3) + 1;
    assert(level == 4 || level == 5);
    if (level == 4 && field(gpa, 63, 48) != 0) {
        return ept_violation(gpa, use, needed, 0, result);
    }
    uint64_t table = masked(nested->eptp, 51, 12);
    unsigned rights = 7;
    uint64_t entry;
    unsigned shift;
    for (;;) {
        shift = 12 + 9 * (level - 1);
        entry = read_nested_entry(world, table, field(gpa, shift + 8, shift), &walk, result);
        if (field(entry, 2, 0) == 0) {
            return ept_violation(gpa, use, needed, 0, result);
        }
        if (ept_misconfigured(nested, level, entry)) {
            result->outcome = MODEL_EPT_MISCONFIG;
            result->faulting_gpa = gpa;
            return ENDED;
        }
        rights &= (unsigned)field(entry, 2, 0);
        if (ept_is_leaf(level, entry)) {
            break;
        }
        table = masked(entry, 51, 12);
        level--;
    }
    for (unsigned n = 0; n <= 2; n++) {
        if (bit(needed, n) && !bit(rights, n)) {
            return ept_violation(gpa, use, needed, rights, result);
        }
    }
    *ret = (struct nested_page){.hpa = masked(entry, 51, shift) | field(gpa, shift - 1, 0),
                                .page_bytes = UINT64_C(1) << shift,
                                .rights = rights,
                                .memory_type = (unsigned)field(entry, 5, 3),
                                .ignore_pat = bit(entry, 6)};
    return ept_set_flags(world, &walk, bit(needed, 1), result);
}

/* NPT */

/* APM, "Nested versus Guest Page Faults, Fault Ordering". */
static enum progress npf(const struct model_world *world, uint64_t gpa, enum nested_use use,
                         enum model_access_kind kind, uint64_t more, struct model_result *result)
{
    uint64_t code = more | MODEL_PF_U; /* all nested accesses are a user's */
    if (use == USE_TABLE) {
        code |= MODEL_NPF_TABLE | MODEL_PF_W; /* always as data writes */
    } else {
        code |= MODEL_NPF_FINAL;
        if (kind == MODEL_WRITE) {
            code |= MODEL_PF_W;
        }
        if (kind == MODEL_FETCH) {
            /* A #PF has this bit with EFER.NXE only; of an NPF the APM does not say so. */
            code |= MODEL_PF_I;
            if (!world->nested.nxe) {
                result->error_code_open |= MODEL_PF_I;
            }
        }
    }
    result->outcome = MODEL_NPF;
    result->error_code = code & ~result->error_code_open;
    result->faulting_gpa = gpa;
    return ENDED;
}

static bool npt_reserved(const struct model_nested *nested, unsigned level, uint64_t entry)
{
    if (bit(entry, 63) && !nested->nxe) {
        return true;
    }
    if (field(entry, 51, nested->maxphyaddr) != 0) {
        return true;
    }
    if (level == 5 || level == 4) {
        return field(entry, 8, 7) != 0;
    }
    if (level == 3 && bit(entry, 7)) {
        return !nested->has_1g || field(entry, 29, 13) != 0;
    }
    if (level == 2 && bit(entry, 7)) {
        return field(entry, 20, 13) != 0;
    }
    return false;
}

static enum progress npt_set_flags(const struct model_world *world, const struct nested_walk *walk, bool dirty,
                                   struct model_result *result)
{
    for (unsigned i = 0; i < walk->nentries; i++) {
        uint64_t flags = UINT64_C(1) << 5;
        if (dirty && i == walk->nentries - 1) {
            flags |= UINT64_C(1) << 6;
        }
        const enum progress progress = flag_nested(world, walk, i, flags, result);
        if (progress != GO_ON) {
            return progress;
        }
    }
    return GO_ON;
}

static enum progress npt_translate(const struct model_world *world, uint64_t gpa, enum nested_use use,
                                   enum model_access_kind kind, struct model_result *result,
                                   struct nested_page *ret)
{
    const struct model_nested *nested = &world->nested;
    const bool write = use == USE_TABLE || kind == MODEL_WRITE;
    const bool fetch = use == USE_FINAL && kind == MODEL_FETCH;
    struct nested_walk walk = {0};
    unsigned level = nested->la57 ? 5 : 4;
    if (level == 4 && field(gpa, 63, 48) != 0) {
        return npf(world, gpa, use, kind, 0, result);
    }
    uint64_t table = masked(nested->ncr3, 51, 12);
    bool writable = true;
    bool user = true;
    bool executable = true;
    uint64_t entry;
    unsigned shift;
    for (;;) {
        shift = 12 + 9 * (level - 1);
        entry = read_nested_entry(world, table, field(gpa, shift + 8, shift), &walk, result);
        if (!bit(entry, 0)) {
            return npf(world, gpa, use, kind, 0, result);
        }
        if (npt_reserved(nested, level, entry)) {
            return npf(world, gpa, use, kind, MODEL_PF_P | MODEL_PF_RSVD, result);
        }
        writable = writable && bit(entry, 1);
        user = user && bit(entry, 2);
        executable = executable && !bit(entry, 63);
        if (level == 1 || (level <= 3 && bit(entry, 7))) {
            break;
        }
        table = masked(entry, 51, 12);
        level--;
    }
    if (!user || (write && !writable) || (fetch && !executable)) {
        return npf(world, gpa, use, kind, MODEL_PF_P, result);
    }
    *ret = (struct nested_page){.hpa = masked(entry, 51, shift) | field(gpa, shift - 1, 0),
                                .page_bytes = UINT64_C(1) << shift,
                                .rights = 1u + (writable ? 2 : 0) + (executable ? 4 : 0)};
    return npt_set_flags(world, &walk, write, result);
}

/* Either */

enum progress nested_translate(const struct model_world *world, uint64_t gpa, enum nested_use use,
                               enum model_access_kind kind, struct model_result *result, struct nested_page *ret)
{
    switch (world->nested.kind) {
    case MODEL_EPT: return ept_translate(world, gpa, use, kind, result, ret);
    case MODEL_NPT: return npt_translate(world, gpa, use, kind, result, ret);
    case MODEL_NO_NESTING:
    default: *ret = (struct nested_page){.hpa = gpa, .rights = 7}; return GO_ON;
    }
}

enum progress read_guest_entry(const struct model_world *world, uint64_t gpa, unsigned size, enum nested_use use,
                               struct model_result *result, struct model_entry *ret)
{
    struct nested_page page;
    const enum progress progress = nested_translate(world, gpa, use, MODEL_READ, result, &page);
    if (progress != GO_ON) {
        return progress;
    }
    const bool in_nested = world->nested.kind != MODEL_NO_NESTING && world->memory.read == NULL;
    const struct model_memory *memory = in_nested ? &world->nested.memory : &world->memory;
    uint64_t value;
    result->guest_reads++;
    if (!memory->read(memory->opaque, in_nested ? page.hpa : gpa, size, &value)) {
        value = 0;
    }
    *ret = (struct model_entry){
        .gpa = gpa, .hpa = page.hpa, .size = size, .value = value, .nested_rights = page.rights};
    return GO_ON;
}
