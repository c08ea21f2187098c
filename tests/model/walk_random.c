/* SPDX-License-Identifier: MIT */
#include "walk_random.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define P UINT64_C(0x1)
#define PS UINT64_C(0x80)

void walk_random_seed(struct walk_random *random, uint64_t seed)
{
    random->state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    if (random->state == 0) {
        random->state = 1;
    }
    for (unsigned i = 0; i < 8; i++) {
        walk_random_bits(random);
    }
}

uint64_t walk_random_bits(struct walk_random *random)
{
    uint64_t x = random->state; /* xorshift64* */
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    random->state = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

/* The low bits are the weak ones. */
static uint64_t below(struct walk_random *random, uint64_t n)
{
    return (walk_random_bits(random) >> 16) % n;
}

bool walk_one_in(struct walk_random *random, unsigned n)
{
    return below(random, n) == 0;
}

struct walk_limits walk_all_limits(unsigned maxphyaddr, bool amd)
{
    return (struct walk_limits){.cpu = {.amd = amd,
                                        .maxphyaddr = maxphyaddr,
                                        .pse36 = true,
                                        .pat = true,
                                        .has_1g = true,
                                        .pae = true,
                                        .pge = true,
                                        .pse = true,
                                        .nx = true,
                                        .smep = true,
                                        .smap = true,
                                        .pku = true,
                                        .pks = !amd,
                                        .la57 = true,
                                        .pcid = true},
                                .modes = 1u << MODEL_OFF | 1u << MODEL_32BIT | 1u << MODEL_PAE |
                                         1u << MODEL_4LEVEL | 1u << MODEL_5LEVEL,
                                .nestings = 1u << MODEL_NO_NESTING | 1u << (amd ? MODEL_NPT : MODEL_EPT)};
}

static unsigned member(struct walk_random *random, unsigned set)
{
    assert(set != 0);
    for (;;) {
        const unsigned n = (unsigned)below(random, 8);
        if (set >> n & 1) {
            return n;
        }
    }
}

static uint64_t some_table(struct walk_random *random)
{
    return 4096 * (1 + below(random, WALK_TABLES));
}

/* Where a page or the next table is. Mostly a table, of which each can be one of any level. */
static uint64_t some_address(struct walk_random *random, unsigned maxphyaddr)
{
    switch (below(random, 24)) {
    case 0: return 4096 * below(random, WALK_MEMORY_PAGES);
    case 1: return 4096 * below(random, 2 * WALK_MEMORY_PAGES);
    case 2: return walk_random_bits(random) & ((UINT64_C(1) << maxphyaddr) - 1) & ~UINT64_C(0xfff);
    default: return some_table(random);
    }
}

static uint64_t some_large_page(struct walk_random *random, unsigned maxphyaddr)
{
    const uint64_t mask = (UINT64_C(1) << maxphyaddr) - 1;
    switch (below(random, 4)) {
    case 0: return 0;
    case 1: return UINT64_C(0x40000000);
    case 2: return walk_random_bits(random) & mask & ~UINT64_C(0x3fffffff);
    default: return walk_random_bits(random) & mask & ~UINT64_C(0x1fffff);
    }
}

static uint64_t odd_bit(struct walk_random *random, unsigned one_in, unsigned width)
{
    return walk_one_in(random, one_in) ? UINT64_C(1) << below(random, width) : 0;
}

static uint64_t random_entry(struct walk_random *random, const struct model_world *world, unsigned odd_one_in)
{
    const bool four_bytes = model_mode(&world->regs) == MODEL_32BIT;
    const bool large = walk_one_in(random, 10);
    uint64_t entry = P | (walk_one_in(random, 5) ? 0 : 2) | (walk_one_in(random, 4) ? 0 : 4);
    entry |= walk_random_bits(random) & 0xe78; /* PWT, PCD, A, D, ignored ones */
    if (large && four_bytes) {
        entry |= PS | (walk_random_bits(random) & 0xffc00000);
        entry |= walk_one_in(random, 3) ? walk_random_bits(random) & 0x1f000 : 0;
    } else if (large) {
        entry |= PS | some_large_page(random, world->cpu.maxphyaddr);
        entry |= walk_one_in(random, 4) ? 0x1000 : 0;
    } else {
        entry |= some_address(random, world->cpu.maxphyaddr);
    }
    entry |= walk_one_in(random, 6) ? 0x100 : 0; /* G */
    if (four_bytes) {
        return (entry ^ odd_bit(random, odd_one_in, 32)) & 0xffffffff;
    }
    if (model_mode(&world->regs) != MODEL_PAE && walk_one_in(random, 2)) {
        entry |= (walk_random_bits(random) & 0x7ff) << 52;
    }
    if (world->regs.efer & MODEL_EFER_NXE) {
        entry |= walk_one_in(random, 8) ? UINT64_C(1) << 63 : 0;
    }
    return entry ^ odd_bit(random, odd_one_in, 64);
}

uint64_t walk_random_entry(struct walk_random *random, const struct model_world *world)
{
    return random_entry(random, world, 20);
}

static uint64_t random_ept_entry(struct walk_random *random, const struct model_nested *nested,
                                 unsigned odd_one_in)
{
    uint64_t entry = walk_one_in(random, odd_one_in) ? walk_random_bits(random) & 7 : 7;
    if (walk_one_in(random, 8)) {
        entry |= PS | some_large_page(random, nested->maxphyaddr) | 6 << 3;
    } else {
        /* A leaf of 4 KiB or a table, as one gets there. A memory type is wrong in a table. */
        entry |= some_address(random, nested->maxphyaddr) | (walk_one_in(random, odd_one_in) ? 6 << 3 : 0);
    }
    entry |= walk_random_bits(random) & 0xb00;
    entry |= walk_one_in(random, 8) ? walk_random_bits(random) & UINT64_C(0xfff0000000000000) : 0;
    return entry ^ odd_bit(random, odd_one_in, 64);
}

static uint64_t random_npt_entry(struct walk_random *random, const struct model_nested *nested,
                                 unsigned odd_one_in)
{
    uint64_t entry = walk_one_in(random, odd_one_in) ? walk_random_bits(random) & 7 : 7;
    entry |= walk_random_bits(random) & 0xe78;
    if (walk_one_in(random, 8)) {
        entry |= PS | some_large_page(random, nested->maxphyaddr);
    } else {
        entry |= some_address(random, nested->maxphyaddr);
    }
    entry |= nested->nxe && walk_one_in(random, 12) ? UINT64_C(1) << 63 : 0;
    return entry ^ odd_bit(random, odd_one_in, 64);
}

static void random_registers(struct walk_random *random, const struct walk_limits *limits, struct model_regs *regs)
{
    const struct model_cpu *cpu = &limits->cpu;
    const enum model_mode mode = member(random, limits->modes);
    *regs = (struct model_regs){.cr0 = MODEL_CR0_PE, .cr3 = some_table(random)};
    regs->cr0 |= walk_one_in(random, 3) ? 0 : MODEL_CR0_WP;
    regs->cr0 |= mode == MODEL_OFF ? 0 : MODEL_CR0_PG;
    regs->cr4 |= cpu->pge && walk_one_in(random, 2) ? MODEL_CR4_PGE : 0;
    regs->cr4 |= cpu->pse && !walk_one_in(random, 4) ? MODEL_CR4_PSE : 0;
    regs->cr4 |= cpu->smep && walk_one_in(random, 2) ? MODEL_CR4_SMEP : 0;
    regs->cr4 |= cpu->smap && walk_one_in(random, 2) ? MODEL_CR4_SMAP : 0;
    regs->cr4 |= cpu->pku && walk_one_in(random, 2) ? MODEL_CR4_PKE : 0;
    regs->cr4 |= cpu->pks && walk_one_in(random, 2) ? MODEL_CR4_PKS : 0;
    regs->efer |= cpu->nx && !walk_one_in(random, 4) ? MODEL_EFER_NXE : 0;
    if (mode == MODEL_PAE || mode == MODEL_4LEVEL || mode == MODEL_5LEVEL) {
        regs->cr4 |= MODEL_CR4_PAE;
    }
    if (mode == MODEL_4LEVEL || mode == MODEL_5LEVEL) {
        regs->efer |= MODEL_EFER_LME | MODEL_EFER_LMA;
    }
    regs->cr4 |= mode == MODEL_5LEVEL ? MODEL_CR4_LA57 : 0;
    regs->pkru = (uint32_t)(walk_random_bits(random) & walk_random_bits(random));
    regs->pkrs = (uint32_t)(walk_random_bits(random) & walk_random_bits(random));
}

static void fill_nested(struct walk_random *random, const struct walk_limits *limits, struct walk_memory *host,
                        unsigned odd_one_in, struct model_nested *nested)
{
    *nested = (struct model_nested){.kind = member(random, limits->nestings)};
    if (nested->kind == MODEL_NO_NESTING) {
        return;
    }
    nested->memory = walk_memory(host);
    nested->maxphyaddr = limits->cpu.maxphyaddr;
    nested->has_1g = !walk_one_in(random, 4);
    nested->execute_only = walk_one_in(random, 2);
    nested->nxe = !walk_one_in(random, 4);
    nested->la57 = walk_one_in(random, 4);
    const uint64_t length = walk_one_in(random, 4) ? 4 : 3;
    const uint64_t flags = walk_one_in(random, 2) ? 0x40 : 0;
    nested->eptp = some_table(random) | length << 3 | 6 | flags;
    nested->ncr3 = some_table(random);
    for (uint64_t at = 4096; at < 4096 * (1 + WALK_TABLES); at += 8) {
        walk_poke(host, at, 8,
                  nested->kind == MODEL_EPT ? random_ept_entry(random, nested, odd_one_in)
                                            : random_npt_entry(random, nested, odd_one_in));
    }
}

/* As an operating system would: valid PDPTEs, and then CR3. */
static void fill_pdptes(struct walk_random *random, struct walk_memory *guest, struct model_regs *regs)
{
    regs->cr3 += 32 * below(random, 128);
    for (unsigned i = 0; i < 4; i++) {
        const uint64_t flags = (walk_random_bits(random) & 0xe18) | (walk_one_in(random, 6) ? 0 : P);
        regs->pdptr[i] = some_table(random) | flags;
        walk_poke(guest, regs->cr3 + 8 * i, 8, regs->pdptr[i]);
    }
}

void walk_random_world(struct walk_random *random, const struct walk_limits *limits, struct walk_memory *guest,
                       struct walk_memory *host, struct model_world *ret)
{
    static const unsigned odd[] = {6, 40, 400};
    const unsigned odd_one_in = odd[below(random, 3)];
    *ret = (struct model_world){.cpu = limits->cpu, .memory = walk_memory(guest)};
    random_registers(random, limits, &ret->regs);
    const unsigned size = model_mode(&ret->regs) == MODEL_32BIT ? 4 : 8;
    for (uint64_t at = 4096; at < 4096 * (1 + WALK_TABLES); at += size) {
        walk_poke(guest, at, size, random_entry(random, ret, odd_one_in));
    }
    if (model_mode(&ret->regs) == MODEL_PAE) {
        fill_pdptes(random, guest, &ret->regs);
    }
    fill_nested(random, limits, host, odd_one_in, &ret->nested);
}

void walk_random_access(struct walk_random *random, struct model_world *world, struct model_access *ret)
{
    const enum model_mode mode = model_mode(&world->regs);
    uint64_t gva = walk_random_bits(random);
    if (mode == MODEL_4LEVEL && !walk_one_in(random, 32)) {
        gva = (uint64_t)((int64_t)(gva << 16) >> 16);
    } else if (mode == MODEL_5LEVEL && !walk_one_in(random, 32)) {
        gva = (uint64_t)((int64_t)(gva << 7) >> 7);
    } else if (mode != MODEL_4LEVEL && mode != MODEL_5LEVEL) {
        gva &= 0xffffffff;
    }
    world->regs.cpl = walk_one_in(random, 2) ? 3 : (unsigned)below(random, 3);
    world->regs.rflags = walk_one_in(random, 2) ? MODEL_RFLAGS_AC : 0;
    *ret = (struct model_access){.gva = gva, .kind = (enum model_access_kind)below(random, 3)};
    ret->implicit = ret->kind != MODEL_FETCH && walk_one_in(random, 6);
}

const char *walk_outcome_name(enum model_outcome outcome)
{
    switch (outcome) {
    case MODEL_OK: return "ok";
    case MODEL_PAGE_FAULT: return "page fault";
    case MODEL_GP: return "#GP";
    case MODEL_EPT_VIOLATION: return "EPT violation";
    case MODEL_EPT_MISCONFIG: return "EPT misconfiguration";
    case MODEL_NPF:
    default: return "nested page fault";
    }
}

void walk_print(const struct model_world *world, const struct model_access *access,
                const struct model_result *result)
{
    const struct model_regs *regs = &world->regs;
    printf("# cr0 %" PRIx64 " cr3 %" PRIx64 " cr4 %" PRIx64 " efer %" PRIx64 " rflags %" PRIx64
           " pkru %x pkrs %x cpl %u maxphyaddr %u\n",
           regs->cr0, regs->cr3, regs->cr4, regs->efer, regs->rflags, regs->pkru, regs->pkrs, regs->cpl,
           world->cpu.maxphyaddr);
    if (world->nested.kind == MODEL_EPT) {
        printf("# eptp %" PRIx64 "\n", world->nested.eptp);
    } else if (world->nested.kind == MODEL_NPT) {
        printf("# ncr3 %" PRIx64 " nxe %d la57 %d\n", world->nested.ncr3, world->nested.nxe, world->nested.la57);
    }
    printf("# gva %" PRIx64 " %s%s: %s\n", access->gva, access->implicit ? "implicit " : "",
           access->kind == MODEL_READ    ? "read"
           : access->kind == MODEL_WRITE ? "write"
                                         : "fetch",
           walk_outcome_name(result->outcome));
    for (unsigned i = 0; i < result->nentries; i++) {
        printf("# entry at %" PRIx64 " (%" PRIx64 ") %" PRIx64 "\n", result->entry[i].gpa, result->entry[i].hpa,
               result->entry[i].value);
    }
    printf("# gpa %" PRIx64 " hpa %" PRIx64 " page %" PRIx64 "/%" PRIx64 " %c%c%c%c error %" PRIx64
           " qualification %" PRIx64 " faulting gpa %" PRIx64 "\n",
           result->gpa, result->hpa, result->guest_page_bytes, result->nested_page_bytes,
           result->writable ? 'w' : '-', result->user ? 'u' : '-', result->executable ? 'x' : '-',
           result->global ? 'g' : '-', result->error_code, result->qualification, result->faulting_gpa);
}
