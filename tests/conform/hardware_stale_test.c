// SPDX-License-Identifier: MIT
/*
 * What the TLBs, paging-structure caches and the nested TLB keep, against the model of what they may keep
 * (tests/model/stale_model.h): tables change between accesses, sometimes the instruction follows that the
 * architecture asks for, sometimes not. A stale answer is legal only where the manual allows it.
 *
 * Shadow tables are to the hardware the tables of one dimension, whose addresses are the host's: so the model is
 * told that guest-physical memory begins at MEMORY, and that CR3 has the shadow's root. Here the tables are
 * changed as a hypervisor does; what it makes of a guest's changes is conform/shadow_stale.
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
#include "paging/shadow.h"
#include "tests/model/stale_model.h"
#include "tests/model/walk_random.h"

/* Guest-physical memory is here; the model's host-physical addresses are host virtual ones. */
#define MEMORY (UINT64_C(1) << 45)
#define GUEST_BYTES (UINT64_C(32) << 20)
/* EPT: a page for each level, from the root. NPT: a second lowest table, and the upper levels of a second root. */
#define NESTED (MEMORY + GUEST_BYTES)
#define NESTED_PAGES 8u
#define NESTED_BYTES (NESTED_PAGES * UINT64_C(4096))
#define SECOND_ROOT 5u
#define MEMORY_BYTES (GUEST_BYTES + NESTED_BYTES)
#define TABLES_BYTES (7 * UINT64_C(4096)) /* page 0 is none; PCID n begins at page n */
#define DATA 0x10000u
#define PCIDS 2u
#define VPIDS 2u
#define STEPS 400
#define P UINT64_C(0x1)
#define A UINT64_C(0x20)

static uint8_t *const memory = (uint8_t *)(uintptr_t)MEMORY;
static const uint64_t addresses[] = {0x0, 0x1000, 0x200000, 0x201000, 0x401000, UINT64_C(0x40000000)};
#define ADDRESSES (sizeof addresses / sizeof addresses[0])

static struct walk_random state;
static struct stale_memory history;
static struct stale_cpu cpu;
static struct stale_context context;
static struct model_world world;
static struct hw_mmu *mmu;
static struct paging_regs regs;
static uint8_t tables_before[TABLES_BYTES], nested_before[NESTED_BYTES];
static unsigned legal, unknown, stale_hits, exits;
static uint64_t seed;

static unsigned below(unsigned n)
{
    return (unsigned)((walk_random_bits(&state) >> 20) % n);
}

static enum hw_dimension dimension;

static bool is_ept(void)
{
    return world.nested.kind == MODEL_EPT;
}

static bool is_npt(void)
{
    return world.nested.kind == MODEL_NPT;
}

static bool is_nested(void)
{
    return world.nested.kind != MODEL_NO_NESTING;
}

static bool is_shadow(void)
{
    return dimension == HW_SHADOW;
}

/* Where the tables of the first dimension begin, to who walks them. */
static uint64_t base(void)
{
    return is_shadow() ? MEMORY : 0;
}

static void *bus(void *opaque, gpa_t gpa, enum mv_access kind, unsigned *ret_shift)
{
    (void)opaque;
    (void)kind;
    *ret_shift = 21;
    return gpa.raw < GUEST_BYTES ? memory + gpa.raw : NULL;
}

/* --- Tables ----------------------------------------------------------------------------------------- */

static void put(enum model_dimension of, uint64_t address, uint64_t entry)
{
    memcpy(of == MODEL_GUEST ? memory + (address - base()) : (uint8_t *)(uintptr_t)address, &entry, 8);
    stale_write(&history, of, address, 8, entry);
}

/* Bits that the walkers set: the history has to know. */
static void report_bits(void)
{
    for (uint64_t at = 0; at < TABLES_BYTES; at += 8) {
        if (memcmp(memory + at, tables_before + at, 8) != 0) {
            uint64_t entry;
            memcpy(&entry, memory + at, 8);
            stale_write(&history, MODEL_GUEST, base() + at, 8, entry);
        }
    }
    for (uint64_t at = 0; is_nested() && at < NESTED_BYTES; at += 8) {
        if (memcmp((uint8_t *)(uintptr_t)NESTED + at, nested_before + at, 8) != 0) {
            uint64_t entry;
            memcpy(&entry, (uint8_t *)(uintptr_t)NESTED + at, 8);
            stale_write(&history, MODEL_NESTED, NESTED + at, 8, entry);
        }
    }
}

static void remember_tables(void)
{
    memcpy(tables_before, memory, TABLES_BYTES);
    memcpy(nested_before, (uint8_t *)(uintptr_t)NESTED, NESTED_BYTES);
}

/* Entries of addresses in use; mostly to the table of the next level, that all share. */
static void change_entry(void)
{
    uint64_t gva = addresses[below(ADDRESSES)];
    unsigned level = below(4) == 0 ? 2 + below(3) : 1;
    uint64_t table = level == 4   ? 0x1000 * (1 + below(PCIDS))
                     : level == 3 ? 0x3000
                     : level == 2 ? 0x4000
                                  : 0x5000 + 0x1000 * below(2);
    uint64_t entry = P | 2 | (below(4) != 0 ? A : 0);
    bool is_large = level == 2 && below(3) == 0;
    if (level == 4) {
        entry |= 0x3000;
    } else if (level == 3) {
        entry |= 0x4000;
    } else if (is_large) {
        entry |= UINT64_C(0x200000) * (4 + below(8)) | 0x80 | (below(2) ? 0x140 : 0);
    } else if (level == 2) {
        entry |= 0x5000 + 0x1000 * below(2);
    } else {
        entry |= DATA + UINT64_C(0x1000) * below(64);
        entry |= (below(3) == 0 ? 0x100 : 0) | (below(2) == 0 ? 0x40 : 0);
    }
    entry &= ~(below(6) == 0 ? UINT64_C(2) : 0);
    entry &= ~(below(10) == 0 ? P : 0);
    entry += entry & P ? base() : 0; /* all of these are addresses */
    put(MODEL_GUEST, base() + table + 8 * (gva >> (12 + 9 * (level - 1)) & 511), entry);
}

/* Guest tables stay where they are, with all bits set; data moves and loses rights. */
static uint64_t ept_leaf(uint64_t gpa, unsigned level)
{
    static const unsigned rights[] = {7, 7, 7, 1, 5, 3, 0};
    uint64_t entry = (MEMORY + gpa) | 6 << 3 | (level > 1 ? 0x80 : 0);
    if (gpa < DATA) {
        return entry | 7 | EPT_A | EPT_D;
    }
    if (level == 1 && below(2)) {
        entry ^= 0x1000;
    }
    return entry | rights[below(7)] | (below(2) ? EPT_A : 0) | (below(2) ? EPT_A | EPT_D : 0);
}

/* A page of data for a change of its nested entry: mostly one that the guest's tables lead to. */
static unsigned data_page(void)
{
    uint64_t entry, gva = addresses[below(ADDRESSES)];
    memcpy(&entry, memory + 0x5000 + 0x1000 * (uint64_t)below(2) + 8 * (gva >> 12 & 511), 8);
    bool is_used = (entry & P) && below(4);
    return is_used ? (unsigned)(entry >> 12 & 0xfffff) : (DATA >> 12) + below(64);
}

static void change_ept(void)
{
    if (below(3)) {
        unsigned page = data_page();
        put(MODEL_NESTED, NESTED + 3 * 4096 + 8 * page, ept_leaf((uint64_t)page << 12, 1));
    } else {
        unsigned page = 4 + below(8);
        put(MODEL_NESTED, NESTED + 2 * 4096 + 8 * page, ept_leaf((uint64_t)page << 21, 2));
    }
}

static void make_ept(void)
{
    uint64_t *root = (uint64_t *)(uintptr_t)NESTED;
    memset(root, 0, NESTED_BYTES);
    for (unsigned i = 0; i < 3; i++) {
        root[i * 512] = (NESTED + (i + 1) * 4096) | 7 | EPT_A;
    }
    for (unsigned i = 0; i < 512; i++) {
        root[3 * 512 + i] = ept_leaf((uint64_t)i << 12, 1);
    }
    for (unsigned i = 4; i < 16; i++) {
        root[2 * 512 + i] = ept_leaf((uint64_t)i << 21, 2);
    }
}

/* --- NPT: two roots, tables of the guest that move into no other page but may lose rights, too -------------- */

static uint64_t nested_page(unsigned n)
{
    return NESTED + n * UINT64_C(4096);
}

/* Rights and flags at random, all of them more often than not. */
static uint64_t npt_bits(unsigned seldom)
{
    static const uint64_t less[] = {P | 4, 2 | 4, P | 2, 4, P | 2 | 4 | UINT64_C(1) << 63, P | 4};
    uint64_t bits = below(seldom) == 0 ? less[below(6)] : P | 2 | 4;
    return bits | (below(4) ? A : 0);
}

static uint64_t npt_leaf(uint64_t gpa, unsigned level)
{
    uint64_t entry = (MEMORY + gpa) | (level > 1 ? 0x80 : 0) | (below(2) ? A | 0x40 : 0);
    if (level == 1 && gpa >= DATA && below(2)) {
        entry ^= 0x1000;
    }
    return entry | npt_bits(gpa < DATA ? 12 : 3);
}

static void put_npt(unsigned table, unsigned index, uint64_t entry)
{
    put(MODEL_NESTED, nested_page(table) + 8 * (uint64_t)index, entry);
}

static void change_npt(void)
{
    bool second = below(2);
    unsigned what = below(16);
    if (what == 0) { /* where tables and small pages are: either table, or one large page */
        put_npt(second ? 7 : 2, 0, below(4) ? nested_page(3 + below(2)) | npt_bits(12) : npt_leaf(0, 2));
    } else if (what == 1 && below(2)) {
        put_npt(second ? 6 : 1, 0, nested_page(second ? 7 : 2) | npt_bits(6));
    } else if (what == 1) {
        put_npt(second ? SECOND_ROOT : 0, 0, nested_page(second ? 6 : 1) | npt_bits(6));
    } else if (what < 4) { /* where the guest's tables are */
        unsigned page = 1 + below(6);
        put_npt(3 + second, page, npt_leaf((uint64_t)page << 12, 1));
    } else if (what < 7) {
        unsigned page = 4 + below(8);
        put_npt(second ? 7 : 2, page,
                below(3) ? npt_leaf((uint64_t)page << 21, 2) : nested_page(3 + below(2)) | npt_bits(12));
    } else {
        unsigned page = data_page();
        put_npt(3 + second, page, npt_leaf((uint64_t)page << 12, 1));
    }
}

static void make_npt(void)
{
    static const uint8_t below_of[NESTED_PAGES] = {1, 2, 3, 0, 0, 6, 7, 4};
    uint64_t *root = (uint64_t *)(uintptr_t)NESTED;
    memset(root, 0, NESTED_BYTES);
    for (unsigned n = 0; n < NESTED_PAGES; n++) {
        for (unsigned i = 0; i < 512 && (n == 3 || n == 4); i++) {
            root[n * 512 + i] = npt_leaf((uint64_t)i << 12, 1);
        }
        if (below_of[n]) {
            root[n * 512] = nested_page(below_of[n]) | P | 2 | 4;
        }
        for (unsigned i = 4; i < 16 && (n == 2 || n == 7); i++) {
            root[n * 512 + i] = npt_leaf((uint64_t)i << 21, 2);
        }
    }
}

/* --- What happens ----------------------------------------------------------------------------------- */

/* What the hypervisor has for the hardware to walk. */
static const pt_word_t *root_of(unsigned pcid)
{
    uint64_t root = is_ept()      ? NESTED
                    : is_npt()    ? context.ncr3
                    : is_shadow() ? MEMORY + UINT64_C(0x1000) * pcid
                                  : 0;
    return (const pt_word_t *)(uintptr_t)root;
}

static void do_cr3(unsigned pcid, bool keep)
{
    regs.cr3 = UINT64_C(0x1000) * pcid | pcid;
    context.cr3 = base() + regs.cr3;
    context.pcid = pcid;
    stale_cr3(&cpu, context.cr3, pcid, keep, NULL);
    hw_mmu_load_cr3(mmu, regs.cr3 | (keep ? UINT64_C(1) << 63 : 0), keep);
    hw_mmu_set_root(mmu, root_of(pcid), (uint16_t)context.vpid);
}

/* Set and cleared, or cleared and set again. */
static void do_cr4(uint64_t bit, bool is_current_only)
{
    struct paging_regs other = regs;
    other.cr4 ^= bit;
    hw_mmu_set_regs(mmu, &other);
    hw_mmu_set_regs(mmu, &regs);
    if (is_npt() && bit == MODEL_CR4_SMEP) {
        return; /* not among those that AMD's manual names */
    }
    if (is_current_only) {
        stale_flush_current(&cpu);
    } else {
        stale_flush_all(&cpu);
    }
}

static void do_invpcid(void)
{
    unsigned type = below(20) == 0 ? 2 + below(2) : below(2), pcid = 1 + below(PCIDS);
    uint64_t gva = addresses[below(ADDRESSES)];
    stale_invpcid(&cpu, type, pcid, gva);
    assert_true(hw_mmu_invpcid(mmu, type, pcid, mv_gva(gva)));
}

static void do_invvpid(void)
{
    unsigned type = below(4), vpid = 1 + below(VPIDS);
    uint64_t gva = addresses[below(ADDRESSES)];
    stale_invvpid(&cpu, type, vpid, gva);
    hw_mmu_invvpid(mmu, type, (uint16_t)vpid, mv_gva(gva));
}

/* VMRUN with this TLB_CONTROL, which is for the ASID that it enters. */
static void do_tlb_control(unsigned command)
{
    stale_tlb_control(&cpu, command);
    hw_mmu_tlb_control(mmu, command);
}

static void do_invlpga(void)
{
    unsigned asid = 1 + below(VPIDS);
    uint64_t gva = addresses[below(ADDRESSES)];
    stale_invlpga(&cpu, asid, gva);
    hw_mmu_invvpid(mmu, 0, (uint16_t)asid, mv_gva(gva));
}

static void do_switch(void)
{
    bool is_other_root = is_npt() && below(3) == 0;
    context.vpid = 1 + below(VPIDS);
    if (is_other_root) {
        context.ncr3 ^= nested_page(0) ^ nested_page(SECOND_ROOT);
    }
    stale_switch(&cpu, &context);
    hw_mmu_set_root(mmu, root_of(context.pcid), (uint16_t)context.vpid);
    if (is_other_root && below(2)) {
        do_tlb_control(3);
    }
}

static void fill_seen(const struct hw_result *h, struct model_result *ret)
{
    *ret = (struct model_result){.outcome = MODEL_OK};
    if (h->end == HW_DONE) {
        ret->hpa = is_nested() || is_shadow() ? (uint64_t)(uintptr_t)h->host : h->gpa.raw;
    } else if (h->end == HW_FAULT) {
        ret->outcome = h->fault.vector == 14 ? MODEL_PAGE_FAULT : MODEL_GP;
        ret->error_code = h->fault.error_code;
    } else if (h->exit.reason == PT_EXIT_PAGE_FAULT) {
        ret->outcome = MODEL_PAGE_FAULT;
        ret->error_code = (uint32_t)h->exit.code;
    } else if (h->exit.reason == PT_EXIT_NPF) {
        ret->outcome = MODEL_NPF;
        ret->error_code = h->exit.code;
        ret->faulting_gpa = h->exit.gpa.raw;
    } else {
        ret->outcome = h->exit.reason == PT_EXIT_EPT_VIOLATION ? MODEL_EPT_VIOLATION : MODEL_EPT_MISCONFIG;
        ret->qualification = h->exit.code;
        ret->faulting_gpa = h->exit.gpa.raw;
    }
}

/* The tables as they are, at the addresses that they have to who walks them; flags are not written. */
static bool read_guest(void *opaque, uint64_t address, unsigned size, uint64_t *ret_value)
{
    (void)opaque;
    if (address < base() || address - base() > GUEST_BYTES - size) {
        return false;
    }
    *ret_value = 0;
    memcpy(ret_value, memory + (address - base()), size);
    return true;
}

static bool read_nested(void *opaque, uint64_t address, unsigned size, uint64_t *ret_value)
{
    (void)opaque;
    if (address < NESTED || address - NESTED > NESTED_BYTES - size) {
        return false;
    }
    memcpy(ret_value, (const void *)(uintptr_t)address, size);
    return true;
}

/* That a walk of the tables as they are says otherwise: the answer was of a cache. */
static bool is_stale(const struct model_access *access, const struct model_result *seen)
{
    struct model_result now;
    struct model_world fresh = world;
    fresh.memory = (struct model_memory){.read = read_guest};
    fresh.nested.memory = (struct model_memory){.read = read_nested};
    fresh.nested.ncr3 = context.ncr3;
    fresh.regs.cr3 = context.cr3;
    model_walk(&fresh, access, &now);
    return now.outcome != seen->outcome || now.hpa != seen->hpa;
}

static void one_access(void)
{
    struct hw_result h;
    struct model_result seen;
    const struct model_access access = {.gva = addresses[below(ADDRESSES)] + 8 * below(512),
                                        .kind =
                                            (enum model_access_kind)(below(3) == 0 ? MODEL_WRITE : MODEL_READ)};
    remember_tables();
    memset(&h, 0, sizeof h);
    (void)hw_translate(mmu, mv_gva(access.gva), (struct pt_access){(enum mv_access)access.kind, PT_SUPERVISOR},
                       &h);
    report_bits();
    fill_seen(&h, &seen);
    stale_hits += is_stale(&access, &seen);
    enum stale_answer answer = stale_legal(&cpu, &world, &access, &seen);
    legal += answer == STALE_LEGAL;
    unknown += answer == STALE_UNKNOWN;
    if (answer == STALE_ILLEGAL) {
        walk_print(&world, &access, &seen);
        fail_msg("seed %" PRIu64 ": what was seen may not be cached any more", seed);
    }
    exits += h.end == HW_EXIT;
    if (h.end == HW_FAULT) {
        stale_page_fault(&cpu, access.gva);
    } else if (seen.outcome == MODEL_NPF) {
        stale_nested_fault(&cpu, access.gva);
    }
}

static void make_mmu(void)
{
    const struct hw_tlb_geometry few = {8, 2}, more = {32, 4};
    struct hw_options options = {
        .dimension = dimension,
        .cpu = {.address_bits = 52, .has_1g_pages = true},
        .ept = {.address_bits = 52, .large_1g = true, .access_dirty = world.nested.eptp & 0x40},
        .nested_levels = 4,
        .model_tlb = below(4) != 0, /* else the front, which is a cache as well */
        .l1 = few,
        .l2 = below(2) ? more : (struct hw_tlb_geometry){0},
        .l1_2m = below(2) ? few : (struct hw_tlb_geometry){0},
        .has_walk_caches = below(4) != 0,
        .pml4 = few,
        .pdpt = few,
        .pd = few,
        .has_nested_tlb = below(2) != 0,
        .nested = few,
    };
    assert_int_equal(hw_mmu_create(&options, &mmu), 0);
    hw_mmu_set_bus(mmu, (struct hw_bus){.bytes = bus});
    hw_mmu_set_root(mmu, root_of(1), 1);
    regs =
        (struct paging_regs){.cr0 = world.regs.cr0, .cr3 = 0x1001, .cr4 = world.regs.cr4, .efer = world.regs.efer};
    hw_mmu_set_regs(mmu, &regs);
}

static void begin(void)
{
    memset(memory, 0, TABLES_BYTES);
    world = (struct model_world){
        .cpu = {.maxphyaddr = is_shadow() ? SHADOW_ADDRESS_BITS : 52, .pat = true, .has_1g = true},
        .regs = {.cr0 = MODEL_CR0_PE | MODEL_CR0_PG | MODEL_CR0_WP,
                 .cr3 = 0x1001,
                 .cr4 = MODEL_CR4_PAE | MODEL_CR4_PGE | MODEL_CR4_PCIDE,
                 .efer = MODEL_EFER_LME | MODEL_EFER_LMA | (is_shadow() ? MODEL_EFER_NXE : 0)},
    };
    context = (struct stale_context){.vpid = 1, .pcid = 1, .cr3 = base() + 0x1001};
    stale_memory_init(&history);
    stale_load(&history, MODEL_GUEST, base(), memory, TABLES_BYTES);
    if (dimension == HW_EPT) {
        context.eptp = NESTED | 3 << 3 | 6 | (below(2) ? 0x40 : 0);
        world.nested =
            (struct model_nested){.kind = MODEL_EPT, .maxphyaddr = 52, .has_1g = true, .eptp = context.eptp};
        make_ept();
    } else if (dimension == HW_NPT) {
        context.ncr3 = NESTED;
        world.cpu.amd = true;
        world.nested =
            (struct model_nested){.kind = MODEL_NPT, .maxphyaddr = NPT_ADDRESS_BITS, .has_1g = true, .nxe = true};
        make_npt();
    }
    if (is_nested()) {
        stale_load(&history, MODEL_NESTED, NESTED, (const void *)(uintptr_t)NESTED, NESTED_BYTES);
    }
    make_mmu();
    stale_cpu_init(&cpu, &history, &context);
    for (unsigned i = 0; i < 100; i++) {
        change_entry();
    }
}

static void step(void)
{
    uint64_t gva = addresses[below(ADDRESSES)];
    switch (below(48)) {
    case 0: do_cr3(1 + below(PCIDS), false); break;
    case 1:
    case 2: do_cr3(1 + below(PCIDS), true); break;
    case 3:
    case 4:
        stale_invlpg(&cpu, gva);
        hw_mmu_invlpg(mmu, mv_gva(gva));
        break;
    case 5: do_invpcid(); break;
    case 6:
        if (below(4) == 0) {
            do_cr4(is_npt() && below(2) ? MODEL_CR4_PKE : MODEL_CR4_PGE, false);
        } else if (below(2)) {
            do_cr4(MODEL_CR4_SMEP, true);
        }
        break;
    case 7: do_switch(); break;
    case 8:
        if (is_npt()) {
            do_invlpga();
        } else {
            do_invvpid();
        }
        break;
    case 9:
        if (is_npt() && below(2)) {
            static const unsigned commands[] = {1, 3, 7};
            do_tlb_control(commands[below(3)]);
        } else if (is_ept() && below(2)) {
            stale_invept(&cpu, 1, context.eptp);
            hw_mmu_invept(mmu);
        }
        break;
    case 10:
    case 11:
        if (is_ept()) {
            change_ept();
        } else if (is_npt()) {
            change_npt();
        }
        break;
    default:
        if (below(4) == 0) {
            change_entry();
        } else {
            one_access();
        }
    }
}

static void run(enum hw_dimension of)
{
    dimension = of;
    world = (struct model_world){0};
    begin();
    for (unsigned i = 0; i < STEPS; i++) {
        step();
    }
    hw_mmu_destroy(mmu);
    stale_cpu_finish(&cpu);
    stale_memory_finish(&history);
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

static void run_rounds(const enum hw_dimension *dimensions, unsigned count, unsigned rounds)
{
    seed = number_of("MEMVIRT_SEED", (uint64_t)time(NULL));
    print_message("# MEMVIRT_SEED=%" PRIu64 "\n", seed);
    walk_random_seed(&state, seed);
    legal = unknown = stale_hits = exits = 0;
    for (unsigned i = 0; i < rounds; i++) {
        run(dimensions[i % count]);
    }
    print_message(
        "# %u accesses are as they may be, of which %u at least were stale and %u exits; %u were too many to decide\n",
        legal, stale_hits, exits, unknown);
    assert_true(legal > rounds * STEPS / 3 && stale_hits > rounds && unknown < legal / 100);
}

static void test_only_what_may_be_stale(void **unused)
{
    static const enum hw_dimension dimensions[] = {HW_NATIVE, HW_NATIVE, HW_EPT};
    (void)unused;
    run_rounds(dimensions, 3, number_of("MEMVIRT_TEST_LONG", 0) ? 10000 : 150);
}

/* AMD's rules: ASIDs with two nested roots, TLB_CONTROL, INVLPGA. */
static void test_nested_tables_of_amd_too(void **unused)
{
    static const enum hw_dimension dimensions[] = {HW_NPT};
    (void)unused;
    run_rounds(dimensions, 1, number_of("MEMVIRT_TEST_LONG", 0) ? 3333 : 50);
}

/* A page fault is an exit here, and delivered to nobody, so it drops nothing. */
static void test_shadow_tables_too(void **unused)
{
    static const enum hw_dimension dimensions[] = {HW_SHADOW};
    (void)unused;
    run_rounds(dimensions, 1, number_of("MEMVIRT_TEST_LONG", 0) ? 4000 : 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_what_may_be_stale),
        cmocka_unit_test(test_nested_tables_of_amd_too),
        cmocka_unit_test(test_shadow_tables_too),
    };
    void *at = mmap(memory, MEMORY_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (at != memory) {
        printf("# SKIP no memory at %#" PRIx64 ": %s\n", MEMORY, strerror(errno));
        return 77;
    }
    return cmocka_run_group_tests_name("hardware_stale", tests, NULL, NULL);
}
