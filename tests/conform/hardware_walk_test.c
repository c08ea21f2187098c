// SPDX-License-Identifier: MIT
/*
 * The walkers against a model that shares nothing with them (tests/model/walk_model.h): random tables, registers
 * and accesses, without a second dimension, with EPT and with NPT. Result, error code, qualification, entries
 * written and references counted have to agree.
 *
 * Both look at the same bytes: memory is mapped at MEMORY, and the model's host-physical addresses are host
 * virtual ones. The model goes first; what it wrote is taken back, and must be what the walkers write.
 *
 * Of MEMORY's 4 GiB:
 *   0          guest memory, 64 pages; tables are in pages 1 to 8
 *   3 GiB      nested tables, PER_LEVEL pages for each level: 5, 4, 3, 2, 1
 * All else reads as zero, so wherever an entry leads something is there. No leaf leads to nested tables: a guest's
 * entry of 4 bytes could there set bits of an address.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <cmocka.h>

#include "hardware/mmu.h"
#include "tests/model/walk_random.h"

#define MEMORY (UINT64_C(1) << 45)
#define MEMORY_BYTES (UINT64_C(1) << 32)
#define LEAVES (MEMORY_BYTES / 2)
#define NESTED_TABLES (UINT64_C(3) << 30)
#define PER_LEVEL 4u
#define GUEST_BYTES WALK_MEMORY_BYTES
#define NESTED_BYTES (5 * PER_LEVEL * 4096u)
#define ACCESSES 100 /* of each world */

/* What is compared as a whole. */
struct image {
    uint8_t guest[GUEST_BYTES];
    uint8_t nested[NESTED_BYTES];
};

static struct walk_random state;
static struct walk_memory guest_pages, unused_pages;
static struct image expected;
static uint64_t seed;
static unsigned outcomes[3][6];
static bool is_anew; /* the model's walk began anew; where ours does is its own matter, so references differ */

static uint8_t *const memory = (uint8_t *)(uintptr_t)MEMORY;

static uint64_t below(uint64_t n)
{
    return (walk_random_bits(&state) >> 16) % n;
}

/* --- The model's memory --------------------------------------------------------------------------- */

static uint64_t load(const uint8_t *at, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, at, size);
    return value;
}

static bool host_read(void *opaque, uint64_t address, unsigned size, uint64_t *ret)
{
    (void)opaque;
    assert_true(address >= MEMORY && address < MEMORY + MEMORY_BYTES);
    *ret = load((const uint8_t *)(uintptr_t)address, size);
    return true;
}

static enum model_cas host_cas(void *opaque, uint64_t address, unsigned size, uint64_t old, uint64_t new)
{
    (void)opaque;
    if (load((const uint8_t *)(uintptr_t)address, size) != old) {
        is_anew = true; /* one word is the entry of two levels */
        return MODEL_CAS_CHANGED;
    }
    memcpy((uint8_t *)(uintptr_t)address, &new, size);
    return MODEL_CAS_DONE;
}

static bool guest_read(void *opaque, uint64_t address, unsigned size, uint64_t *ret)
{
    if (address >= GUEST_BYTES || guest_pages.page[address / 4096] == WALK_HOLE) {
        return false;
    }
    return host_read(opaque, MEMORY + address, size, ret);
}

static enum model_cas guest_cas(void *opaque, uint64_t address, unsigned size, uint64_t old, uint64_t new)
{
    return guest_pages.page[address / 4096] == WALK_READ_ONLY ? MODEL_CAS_READ_ONLY
                                                              : host_cas(opaque, MEMORY + address, size, old, new);
}

static void *bus(void *opaque, gpa_t gpa, enum mv_access kind, unsigned *ret_shift)
{
    (void)opaque;
    *ret_shift = 12;
    if (gpa.raw >= GUEST_BYTES || guest_pages.page[gpa.raw / 4096] == WALK_HOLE ||
        (kind == MV_ACCESS_WRITE && guest_pages.page[gpa.raw / 4096] == WALK_READ_ONLY)) {
        return NULL;
    }
    return memory + gpa.raw;
}

/* --- A world --------------------------------------------------------------------------------------- */

static uint64_t nested_table(unsigned level)
{
    return MEMORY + NESTED_TABLES + ((uint64_t)(5 - level) * PER_LEVEL + below(PER_LEVEL)) * 4096;
}

/* Of the address, only bits that stay where it may lead; of what is above it, `odd`. */
static uint64_t within_memory(unsigned level, uint64_t entry, uint64_t odd)
{
    bool is_leaf = level == 1 || (entry & 0x80);
    uint64_t address = entry & PT_ADDRESS_MASK;
    uint64_t within = is_leaf ? MEMORY | (address & (LEAVES - 1)) : nested_table(level - 1);
    return (entry & ~PT_ADDRESS_MASK) | within | odd;
}

static uint64_t nested_entry(const struct model_nested *nested, unsigned level, unsigned odd_one_in)
{
    bool is_ept = nested->kind == MODEL_EPT;
    uint64_t entry = below(odd_one_in) ? 7 : walk_random_bits(&state) & 7;
    bool is_large = level > 1 && level < 4 && below(8) == 0;
    if (is_large) {
        entry |=
            0x80 |
            (below(2) ? 0 : walk_random_bits(&state) & PT_ADDRESS_MASK & -(UINT64_C(1) << (12 + 9 * (level - 1))));
    } else if (level == 1) {
        entry |= below(8) ? (1 + below(WALK_TABLES)) * 4096 : walk_random_bits(&state) & PT_ADDRESS_MASK;
    }
    if (is_ept) {
        entry |= is_large || level == 1 ? (below(4) ? 6 : walk_random_bits(&state) & 1) << 3 : 0;
        entry |= walk_random_bits(&state) & 0xb00;
    } else {
        entry |= walk_random_bits(&state) & 0xe78;
        entry |= below(12) ? 0 : UINT64_C(1) << 63;
    }
    entry |= below(8) ? 0 : walk_random_bits(&state) & UINT64_C(0x7ff0000000000000);
    if (below(odd_one_in) == 0) {
        entry ^= UINT64_C(1) << below(64);
    }
    /* Reserved: address bits above the width. */
    uint64_t odd = entry & PT_ADDRESS_MASK & -(UINT64_C(1) << nested->maxphyaddr);
    return within_memory(level, entry, below(4) ? 0 : odd);
}

static void make_nested(struct model_world *world)
{
    static const unsigned odds[] = {6, 60, 1000};
    struct model_nested *nested = &world->nested;
    unsigned odd_one_in = odds[below(3)];
    nested->memory = (struct model_memory){.read = host_read, .cas = host_cas};
    nested->maxphyaddr = nested->kind == MODEL_NPT ? 51 : below(2) ? 46 : 52;
    nested->nxe = true;
    if (nested->kind == MODEL_NPT) {
        nested->has_1g = world->cpu.has_1g;
    }
    unsigned levels = below(4) ? 4 : 5;
    nested->la57 = levels == 5;
    nested->ncr3 = nested_table(levels);
    nested->eptp = nested->ncr3 | (levels - 1) << 3 | 6 | (below(2) ? 0x40 : 0);
    for (unsigned level = 5; level >= 1; level--) {
        for (unsigned i = 0; i < PER_LEVEL * 512; i++) {
            uint64_t entry = nested_entry(nested, level, odd_one_in);
            memcpy(memory + NESTED_TABLES + (5 - level) * PER_LEVEL * 4096 + i * 8, &entry, 8);
        }
    }
    world->memory = (struct model_memory){0};
}

static void make_world(enum model_nesting nesting, struct model_world *ret)
{
    struct walk_limits limits = walk_all_limits(36 + (unsigned)below(17), nesting == MODEL_NPT);
    limits.nestings = 1u << MODEL_NO_NESTING;
    limits.cpu.has_1g = below(4) != 0;
    walk_random_world(&state, &limits, &guest_pages, &unused_pages, ret);
    memcpy(memory, guest_pages.bytes, GUEST_BYTES);
    memset(guest_pages.page, 0, sizeof guest_pages.page);
    ret->ad_before_final = true;
    ret->nested = (struct model_nested){.kind = nesting, .has_1g = below(4) != 0, .execute_only = below(2) != 0};
    if (nesting != MODEL_NO_NESTING) {
        make_nested(ret);
        return;
    }
    for (unsigned i = 0; i < WALK_MEMORY_PAGES; i++) {
        guest_pages.page[i] = below(16) ? WALK_RAM : below(2) ? WALK_READ_ONLY : WALK_HOLE;
    }
    ret->memory = (struct model_memory){.read = guest_read, .cas = guest_cas};
}

/* What the TLB was told. */
static struct {
    unsigned count, page_shift, rights;
    uint64_t gpa;
} filled;

static void on_fill(void *opaque, gva_t gva, gpa_t gpa, unsigned page_shift, unsigned rights)
{
    (void)opaque;
    (void)gva;
    filled.count++;
    filled.gpa = gpa.raw;
    filled.page_shift = page_shift;
    filled.rights = rights;
}

static struct hw_mmu *make_mmu(const struct model_world *world, bool with_caches)
{
    const struct hw_tlb_geometry few = {16, 4};
    struct hw_options options = {
        .dimension = world->nested.kind == MODEL_EPT   ? HW_EPT
                     : world->nested.kind == MODEL_NPT ? HW_NPT
                                                       : HW_NATIVE,
        .cpu = {.address_bits = (uint8_t)world->cpu.maxphyaddr,
                .has_1g_pages = world->cpu.has_1g,
                .has_pse36 = world->cpu.pse36,
                .is_amd = world->cpu.amd},
        .ept = {.address_bits = (uint8_t)world->nested.maxphyaddr,
                .execute_only = world->nested.execute_only,
                .large_1g = world->nested.has_1g,
                .access_dirty = world->nested.eptp & 0x40},
        .nested_levels = world->nested.la57 ? 5 : 4,
        .model_tlb = true, /* of no entries: each access walks */
        .has_walk_caches = with_caches,
        .pml5 = few,
        .pml4 = few,
        .pdpt = few,
        .pd = few,
        .has_nested_tlb = with_caches,
        .nested = few,
    };
    struct hw_mmu *mmu;
    assert_int_equal(hw_mmu_create(&options, &mmu), 0);
    static const struct hw_hooks hooks = {.fill = on_fill};
    hw_mmu_set_hooks(mmu, &hooks);
    hw_mmu_set_bus(mmu, (struct hw_bus){.bytes = bus});
    hw_mmu_set_root(mmu, (const pt_word_t *)(uintptr_t)world->nested.ncr3, 1);
    struct paging_regs regs = {
        .cr0 = world->regs.cr0,
        .cr3 = world->regs.cr3,
        .cr4 = world->regs.cr4,
        .efer = world->regs.efer,
        .pkru = world->regs.pkru,
        .pkrs = world->regs.pkrs,
    };
    memcpy(regs.pdptr, world->regs.pdptr, sizeof regs.pdptr);
    hw_mmu_set_regs(mmu, &regs);
    return mmu;
}

static struct pt_access access_of(const struct model_world *world, const struct model_access *access)
{
    bool is_user = world->regs.cpl == 3 && !access->implicit;
    bool has_ac = (world->regs.rflags & MODEL_RFLAGS_AC) && !access->implicit;
    return (struct pt_access){(enum mv_access)access->kind, is_user  ? PT_USER
                                                            : has_ac ? PT_SUPERVISOR_AC
                                                                     : PT_SUPERVISOR};
}

/* --- Agreement ------------------------------------------------------------------------------------- */

static const struct model_world *current_world; /* for the message */
static const struct model_access *current_access;
static const struct model_result *current_result;
static const struct hw_result *current_hw;

static void disagree(const char *what, uint64_t ours, uint64_t models)
{
    walk_print(current_world, current_access, current_result);
    printf("# ours: end %d gpa %" PRIx64 " fault %u error %x rule %d level %u; exit %d gpa %" PRIx64
           " code %" PRIx64 "\n",
           current_hw->end, current_hw->gpa.raw, current_hw->fault.vector, current_hw->fault.error_code,
           current_hw->fault.rule, current_hw->fault.level, current_hw->exit.reason, current_hw->exit.gpa.raw,
           current_hw->exit.code);
    fail_msg("seed %" PRIu64 ": %s: ours %" PRIx64 ", the model's %" PRIx64, seed, what, ours, models);
}

static void agree(const char *what, uint64_t ours, uint64_t models)
{
    if (ours != models) {
        disagree(what, ours, models);
    }
}

static unsigned shift_of(uint64_t bytes)
{
    return bytes == 0 ? 63 : (unsigned)__builtin_ctzll(bytes);
}

/* As the TLB has it: 4K, 2M, 1G. */
static unsigned cached_shift(const struct model_world *world, const struct model_result *m)
{
    unsigned guest = shift_of(m->guest_page_bytes);
    unsigned host = world->nested.kind == MODEL_NO_NESTING ? 12 : shift_of(m->nested_page_bytes);
    unsigned shift = guest < host ? guest : host;
    return shift >= 30 ? 30 : shift >= 21 ? 21 : 12;
}

static void agree_on_done(const struct model_world *world, const struct model_result *m, const struct hw_result *h)
{
    agree("gpa", h->gpa.raw, m->gpa);
    uint64_t host = world->nested.kind == MODEL_NO_NESTING ? MEMORY + m->gpa : m->hpa;
    agree("host address", (uint64_t)(uintptr_t)h->host, host);
    agree("page", h->page_shift, cached_shift(world, m));
}

static void agree_on_exit(const struct model_world *world, const struct model_access *access,
                          const struct model_result *m, const struct hw_result *h)
{
    agree("gpa of exit", h->exit.gpa.raw, m->outcome == MODEL_OK ? m->gpa : m->faulting_gpa);
    agree("gva of exit", h->exit.gva.raw, access->gva);
    agree("kind of exit", h->exit.access.kind, access->kind);
    switch (m->outcome) {
    case MODEL_EPT_VIOLATION:
        agree("reason", h->exit.reason, PT_EXIT_EPT_VIOLATION);
        agree("qualification", h->exit.code & ~m->qualification_open, m->qualification);
        break;
    case MODEL_EPT_MISCONFIG: agree("reason", h->exit.reason, PT_EXIT_EPT_MISCONFIG); break;
    case MODEL_NPF:
        agree("reason", h->exit.reason, PT_EXIT_NPF);
        agree("error code of #NPF", h->exit.code & ~m->error_code_open, m->error_code);
        break;
    case MODEL_OK: /* of the guest's tables; there is no memory */
        agree("reason", h->exit.reason, PT_EXIT_NO_MEMORY);
        agree("nesting", world->nested.kind, MODEL_NO_NESTING);
        assert_null(bus(NULL, mv_gpa(m->gpa), (enum mv_access)access->kind, &(unsigned){0}));
        break;
    case MODEL_PAGE_FAULT:
    case MODEL_GP:
    default: disagree("an exit", h->exit.reason, m->outcome);
    }
}

static void agree_on_fault(const struct model_access *access, const struct model_result *m,
                           const struct hw_result *h)
{
    agree("vector", h->fault.vector, m->outcome == MODEL_GP ? 13 : 14);
    agree("outcome", m->outcome == MODEL_GP || m->outcome == MODEL_PAGE_FAULT, true);
    agree("error code", h->fault.error_code, m->error_code);
    agree("address", h->fault.address.raw, access->gva);
}

static void agree_on_writes(const struct model_world *world, const struct model_result *m)
{
    for (unsigned i = 0; i < m->nwrites; i++) {
        const struct model_write *w = &m->write[i];
        uint64_t base = w->dimension == MODEL_GUEST && world->nested.kind == MODEL_NO_NESTING ? MEMORY : 0;
        uint64_t host = w->dimension == MODEL_GUEST && base == 0 ? 0 : base + w->address;
        if (host) {
            /* A later write of the same walk has its bits, too. */
            agree("bits written", load((uint8_t *)(uintptr_t)host, w->size) & w->new, w->new);
        }
    }
}

static void agree_on_fill(const struct model_result *m)
{
    agree("fills", filled.count, m->outcome == MODEL_OK && current_hw->end == HW_DONE);
    if (filled.count) {
        agree("gpa of fill", filled.gpa, m->gpa);
        agree("page of fill", filled.page_shift, cached_shift(current_world, m));
        agree("rights", filled.rights,
              (m->writable ? PT_RIGHT_W : 0) | (m->user ? PT_RIGHT_U : 0) | (m->executable ? PT_RIGHT_X : 0));
    }
}

static void take_image(struct image *image)
{
    memcpy(image->guest, memory, GUEST_BYTES);
    memcpy(image->nested, memory + NESTED_TABLES, NESTED_BYTES);
}

static void put_image(const struct image *image)
{
    memcpy(memory, image->guest, GUEST_BYTES);
    memcpy(memory + NESTED_TABLES, image->nested, NESTED_BYTES);
}

static void agree_on_memory(void)
{
    if (memcmp(memory, expected.guest, GUEST_BYTES) != 0) {
        disagree("guest memory", 0, 0);
    }
    if (memcmp(memory + NESTED_TABLES, expected.nested, NESTED_BYTES) != 0) {
        disagree("nested tables", 0, 0);
    }
}

static void agree_on_references(const struct hw_counters *before, const struct hw_counters *after,
                                const struct model_result *m, const struct hw_result *h)
{
    if (h->end == HW_FAULT && h->fault.rule == GUEST_WALK_NO_MEMORY) {
        return; /* the model reads even where nothing is */
    }
    if (h->end == HW_DONE) {
        agree("guest references", after->refs_guest - before->refs_guest, m->guest_reads);
        agree("nested references", after->refs_nested - before->refs_nested, m->nested_reads);
    } else {
        agree("references", after->refs_aborted - before->refs_aborted, m->guest_reads + m->nested_reads);
    }
}

/* The model's writes have been taken back; `expected` is with them. */
static void check_one(struct hw_mmu *mmu, const struct model_world *world, const struct model_access *access,
                      const struct model_result *m, bool has_caches)
{
    struct hw_result h;
    memset(&h, 0, sizeof h);
    current_world = world;
    current_access = access;
    current_result = m;
    current_hw = &h;
    filled.count = 0;
    struct hw_counters before = *hw_mmu_counters(mmu);
    enum hw_end end = hw_translate(mmu, mv_gva(access->gva), access_of(world, access), &h);
    agree("end", h.end, end);
    outcomes[world->nested.kind][m->outcome]++;
    switch (end) {
    case HW_DONE:
        agree("outcome", m->outcome, MODEL_OK);
        agree_on_done(world, m, &h);
        break;
    case HW_FAULT: agree_on_fault(access, m, &h); break;
    case HW_EXIT: agree_on_exit(world, access, m, &h); break;
    }
    agree_on_fill(m);
    agree_on_writes(world, m);
    agree_on_memory();
    if (!has_caches && !is_anew) {
        agree_on_references(&before, hw_mmu_counters(mmu), m, &h);
    }
}

static void run_world(enum model_nesting nesting)
{
    static struct image image;
    struct model_world world;
    make_world(nesting, &world);
    bool has_caches = below(4) == 0;
    struct hw_mmu *mmu = make_mmu(&world, has_caches);
    take_image(&image);
    for (unsigned i = 0; i < ACCESSES; i++) {
        struct model_access access;
        struct model_result result;
        walk_random_access(&state, &world, &access);
        is_anew = false;
        model_walk(&world, &access, &result);
        if (result.nwrites > 0) {
            take_image(&expected);
            put_image(&image);
        } else {
            expected = image;
        }
        if (has_caches) {
            hw_mmu_flush_all(mmu); /* what they keep within one walk must not show */
        }
        check_one(mmu, &world, &access, &result, has_caches);
        image = expected;
    }
    hw_mmu_destroy(mmu);
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

static void test_random_worlds(void **unused)
{
    (void)unused;
    bool is_long = number_of("MEMVIRT_TEST_LONG", 0) != 0;
    uint64_t count = is_long ? 10000000 : 100000;
    seed = number_of("MEMVIRT_SEED", (uint64_t)time(NULL));
    print_message("# MEMVIRT_SEED=%" PRIu64 "\n", seed);
    walk_random_seed(&state, seed);
    for (uint64_t i = 0; i < count / ACCESSES; i++) {
        run_world((enum model_nesting)(i % 3));
    }
    static const char *const names[] = {"native", "ept", "npt"};
    for (unsigned n = 0; n < 3; n++) {
        print_message("# %s: ok %u, page fault %u, #GP %u, violation %u, misconfiguration %u, npf %u\n", names[n],
                      outcomes[n][0], outcomes[n][1], outcomes[n][2], outcomes[n][3], outcomes[n][4],
                      outcomes[n][5]);
        assert_true(outcomes[n][MODEL_OK] > count / 60 && outcomes[n][MODEL_PAGE_FAULT] > count / 60);
    }
    assert_true(outcomes[MODEL_EPT][MODEL_EPT_VIOLATION] > 100 && outcomes[MODEL_EPT][MODEL_EPT_MISCONFIG] > 100);
    assert_true(outcomes[MODEL_NPT][MODEL_NPF] > 100);
}

/* --- What may be loaded into registers ----------------------------------------------------------- */

static uint64_t change_some(uint64_t value, const uint64_t *bits, unsigned count)
{
    for (unsigned i = 1 + (unsigned)below(2); i > 0; i--) {
        value ^= bits[below(count)];
    }
    return value;
}

static uint64_t new_value(const struct model_regs *regs, enum model_register which)
{
    static const uint64_t cr0[] = {MODEL_CR0_PE, MODEL_CR0_WP, MODEL_CR0_NW, MODEL_CR0_CD, MODEL_CR0_PG};
    static const uint64_t cr4[] = {MODEL_CR4_PSE,  MODEL_CR4_PAE,  MODEL_CR4_PGE, MODEL_CR4_LA57,
                                   MODEL_CR4_SMEP, MODEL_CR4_SMAP, MODEL_CR4_PKE, MODEL_CR4_PCIDE};
    static const uint64_t efer[] = {MODEL_EFER_LME, MODEL_EFER_NXE};
    switch (which) {
    case MODEL_CR0: return change_some(regs->cr0, cr0, 5);
    case MODEL_CR3: return regs->cr3 ^ (below(2) ? UINT64_C(1) << below(64) : walk_random_bits(&state));
    case MODEL_CR4: return change_some(regs->cr4, cr4, 8);
    case MODEL_EFER:
    default: return change_some(regs->efer, efer, 2);
    }
}

static struct paging_regs regs_of(const struct model_regs *regs)
{
    bool is_long = (regs->cr0 & MODEL_CR0_PG) && (regs->efer & MODEL_EFER_LME);
    return (struct paging_regs){.cr0 = regs->cr0,
                                .cr3 = regs->cr3,
                                .cr4 = regs->cr4,
                                .efer = (regs->efer & ~MODEL_EFER_LMA) | (is_long ? MODEL_EFER_LMA : 0)};
}

static void test_what_may_be_loaded(void **unused)
{
    (void)unused;
    unsigned taken = 0, refused = 0;
    walk_random_seed(&state, seed + 1);
    for (unsigned i = 0; i < 2000; i++) {
        struct walk_limits limits = walk_all_limits(36 + (unsigned)below(17), false);
        struct model_world world;
        limits.nestings = 1u << MODEL_NO_NESTING;
        walk_random_world(&state, &limits, &guest_pages, &unused_pages, &world);
        if ((world.regs.efer & MODEL_EFER_LMA) && below(2)) {
            world.regs.cr4 |= MODEL_CR4_PCIDE;
            world.regs.cr3 += below(2);
        }
        const struct paging_cpu cpu = {.address_bits = (uint8_t)limits.cpu.maxphyaddr};
        for (unsigned j = 0; j < 50; j++) {
            enum model_register which = (enum model_register)below(4);
            uint64_t value = new_value(&world.regs, which);
            bool cs_64bit = below(2);
            bool is_taken = model_cr_check(&limits.cpu, &world.regs, cs_64bit, which, value);
            struct model_regs after = world.regs;
            *(which == MODEL_CR0   ? &after.cr0
              : which == MODEL_CR3 ? &after.cr3
              : which == MODEL_CR4 ? &after.cr4
                                   : &after.efer) = value;
            struct paging_regs before = regs_of(&world.regs), now = regs_of(&after);
            if (paging_regs_are_valid(&before, &now, &cpu, cs_64bit) != is_taken) {
                fail_msg("seed %" PRIu64 ": register %d to %" PRIx64 " from cr0 %" PRIx64 " cr3 %" PRIx64
                         " cr4 %" PRIx64 " efer %" PRIx64 ", CS.L %d: the model says %d",
                         seed, which, value, before.cr0, before.cr3, before.cr4, before.efer, cs_64bit, is_taken);
            }
            taken += is_taken;
            refused += !is_taken;
            if (is_taken) {
                world.regs = after;
                world.regs.efer = now.efer;
                world.regs.cr3 &= ~(UINT64_C(1) << 63); /* is not stored */
            }
        }
    }
    print_message("# %u values taken, %u refused\n", taken, refused);
    assert_true(taken > 10000 && refused > 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_worlds),
        cmocka_unit_test(test_what_may_be_loaded),
    };
    void *at = mmap(memory, MEMORY_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (at != memory) {
        printf("# SKIP no memory at %#" PRIx64 ": %s\n", MEMORY, strerror(errno));
        return 77;
    }
    (void)madvise(at, MEMORY_BYTES, MADV_NOHUGEPAGE);
    return cmocka_run_group_tests_name("hardware_walk", tests, NULL, NULL);
}
