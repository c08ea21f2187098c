// SPDX-License-Identifier: MIT
/*
 * The shadow MMU against the guest's own tables: one random guest in two VMs, mmu=native and mmu=shadow. It edits
 * tables that lead to each other, to data, to ROM and to nothing, through entries of all kinds; switches among all
 * paging modes, WP, SMEP, SMAP, NXE and keys; and flushes what it has edited. Each access must end alike: bytes,
 * place, fault and its error code, MMIO; and so must each A and D bit in its tables.
 */
#include "tests/conform/soft_guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TABLES UINT64_C(0x200000) /* inside of what a large page may show */
#define TABLE_COUNT 16u
#define TABLE_BYTES ((size_t)TABLE_COUNT * 4096)

#define CR4_PSE (UINT64_C(1) << 4)
#define CR4_PAE (UINT64_C(1) << 5)
#define CR4_LA57 (UINT64_C(1) << 12)
#define CR4_SMEP (UINT64_C(1) << 20)
#define CR4_SMAP (UINT64_C(1) << 21)
#define CR4_PKE (UINT64_C(1) << 22)
#define CR4_PKS (UINT64_C(1) << 24)
#define CR0_WP (UINT64_C(1) << 16)
#define RFLAGS_AC (UINT64_C(1) << 18)

enum mode {
    MODE_OFF,
    MODE_32BIT,
    MODE_PAE,
    MODE_4LEVEL,
    MODE_5LEVEL,
    MODE_COUNT,
};

struct pair {
    struct soft_guest native, shadow;
    uint64_t seed;
    enum mode mode;
    bool no_execute;
    uint64_t cr3;
    unsigned step;
    unsigned done[MODE_COUNT]; /* accesses that went through */
    uint64_t whim;             /* what a policy of nonsense draws from, so that all else is drawn as without */
    char what[256];            /* the last thing that was done */
};

static uint64_t draw(struct pair *p)
{
    p->seed ^= p->seed << 13;
    p->seed ^= p->seed >> 7;
    p->seed ^= p->seed << 17;
    return p->seed * UINT64_C(0x2545f4914f6cdd1d) >> 11;
}

static uint64_t below(struct pair *p, uint64_t n)
{
    return draw(p) % n;
}

static bool one_in(struct pair *p, uint64_t n)
{
    return below(p, n) == 0;
}

/* --- What both are told to do ----------------------------------------------------------------------- */

static void differs(const struct pair *p, const char *what, uint64_t native, uint64_t shadow)
{
    fail_msg("step %u, mode %d: %s: %s is 0x%llx natively, 0x%llx with shadow", p->step, (int)p->mode, p->what,
             what, (unsigned long long)native, (unsigned long long)shadow);
}

#define SAME(p, what, a, b)                                                                                       \
    do {                                                                                                          \
        if ((a) != (b)) {                                                                                         \
            differs(p, what, (uint64_t)(a), (uint64_t)(b));                                                       \
        }                                                                                                         \
    } while (0)

static void compare_tables(const struct pair *p)
{
    const uint64_t *a = (const uint64_t *)(const void *)(p->native.host + TABLES);
    const uint64_t *b = (const uint64_t *)(const void *)(p->shadow.host + TABLES);
    if (memcmp(a, b, TABLE_BYTES) != 0) {
        for (size_t i = 0; i < TABLE_BYTES / 8; i++) {
            char what[64];
            snprintf(what, sizeof what, "the entry at 0x%llx", (unsigned long long)(TABLES + i * 8));
            SAME(p, what, a[i], b[i]);
        }
    }
}

/* A gva whose indices are few, so that paths cross. */
static uint64_t draw_gva(struct pair *p)
{
    static const unsigned indices[] = {0, 1, 511};
    uint64_t gva = 0;
    unsigned levels = p->mode == MODE_5LEVEL ? 5 : p->mode == MODE_4LEVEL ? 4 : p->mode == MODE_PAE ? 3 : 2;
    if (p->mode == MODE_OFF) {
        return below(p, 4) ? TABLES + below(p, 2 * TABLE_BYTES) : below(p, UINT64_C(1) << 32);
    }
    for (unsigned level = 1; level <= levels; level++) {
        if (p->mode == MODE_32BIT) {
            gva |= (uint64_t)(indices[below(p, 3)] + (one_in(p, 3) ? 512 : 0)) << (12 + 10 * (level - 1));
        } else {
            unsigned index = level == 3 && p->mode == MODE_PAE ? (unsigned)below(p, 2) : indices[below(p, 3)];
            gva |= (uint64_t)index << (12 + 9 * (level - 1));
        }
    }
    unsigned bits = p->mode == MODE_5LEVEL ? 57 : p->mode == MODE_4LEVEL ? 48 : 64;
    return (uint64_t)((int64_t)(gva << (64 - bits)) >> (64 - bits));
}

static void invlpg(struct pair *p, uint64_t gva)
{
    mv_soft_invlpg(p->native.vcpu, mv_gva(gva));
    mv_soft_invlpg(p->shadow.vcpu, mv_gva(gva));
}

/* All that an address of this mode may come from. */
static void invlpg_all(struct pair *p)
{
    static const unsigned indices[] = {0, 1, 511, 512, 513, 1023};
    unsigned bits = p->mode == MODE_32BIT ? 10 : 9, levels = p->mode == MODE_32BIT ? 2 : 3,
             n = p->mode == MODE_32BIT ? 6 : 3;
    levels = p->mode == MODE_4LEVEL ? 4 : p->mode == MODE_5LEVEL ? 5 : levels;
    unsigned count = 1;
    for (unsigned i = 0; i < levels; i++) {
        count *= n;
    }
    unsigned spare = p->mode == MODE_5LEVEL ? 7 : p->mode == MODE_4LEVEL ? 16 : 0;
    for (unsigned k = 0; k < count; k++) {
        uint64_t gva = 0;
        for (unsigned i = 0, rest = k; i < levels; i++, rest /= n) {
            gva |= (uint64_t)indices[rest % n] << (12 + bits * i);
        }
        gva = p->mode == MODE_PAE ? gva & 0xffffffff : gva;
        invlpg(p, (uint64_t)((int64_t)(gva << spare) >> spare));
    }
}

static void flush(struct pair *p)
{
    if (p->mode != MODE_OFF && one_in(p, 3)) {
        invlpg_all(p);
        return;
    }
    bool a = mv_soft_load_cr3(p->native.vcpu, p->cr3), b = mv_soft_load_cr3(p->shadow.vcpu, p->cr3);
    SAME(p, "whether CR3 is loaded", a, b);
    if (!a) { /* PDPTEs that are no such: what was stays, and all of it must go */
        invlpg_all(p);
    }
}

static uint64_t draw_one(struct pair *p)
{
    uint64_t e = TABLES + below(p, TABLE_COUNT) * 4096;
    switch (below(p, 24)) {
    case 0: e = GUEST_ROM + below(p, 4) * 4096; break;
    case 1: e = GUEST_DEVICE; break;
    case 2: e = UINT64_C(0x30000000); break;
    case 3:
    case 4: e = below(p, GUEST_RAM_BYTES >> 12) << 12; break;
    default: break;
    }
    e |= one_in(p, 20) ? 0 : PTE_P;
    e |= one_in(p, 6) ? 0 : PTE_W;
    e |= one_in(p, 6) ? 0 : PTE_U;
    e |= below(p, 2) ? PTE_A : 0;
    e |= below(p, 2) ? PTE_D : 0;
    if (one_in(p, 12)) { /* large, and mostly aligned */
        e = (one_in(p, 8) ? e : e & ~UINT64_C(0x1ff000)) | PTE_PS;
    }
    e |= p->no_execute && one_in(p, 8) ? PTE_NX : 0;
    e |= one_in(p, 8) ? below(p, 16) << 59 : 0;
    e |= one_in(p, 100) ? UINT64_C(1) << below(p, 64) : 0;
    return e;
}

static uint64_t draw_entry(struct pair *p)
{
    uint64_t e = draw_one(p);
    return p->mode == MODE_32BIT ? (e & 0xffffffff) | draw_one(p) << 32 : e;
}

static void store(struct pair *p, uint64_t gpa, uint64_t value)
{
    struct mv_soft_outcome a, b;
    mv_soft_write_physical(p->native.vcpu, mv_gpa(gpa), value, &a);
    mv_soft_write_physical(p->shadow.vcpu, mv_gpa(gpa), value, &b);
    SAME(p, "the end of a store", a.end, b.end);
}

static const unsigned edited[] = {0, 1, 511, 255, 256};

/* Everything new, for another mode. */
static void refill(struct pair *p)
{
    for (unsigned table = 0; table < TABLE_COUNT; table++) {
        for (unsigned i = 0; i < 5; i++) {
            store(p, TABLES + table * 4096 + edited[i] * 8, draw_entry(p));
        }
    }
    for (unsigned i = 0; p->mode == MODE_PAE && i < 3 * 8; i++) { /* PDPTEs have no rights */
        uint64_t e = TABLES + below(p, TABLE_COUNT) * 4096 + (one_in(p, 10) ? 0 : PTE_P);
        store(p, TABLES + i / 8 * 4096 + i % 8 * 8, e | (one_in(p, 40) ? PTE_W : 0));
    }
}

static void edit(struct pair *p)
{
    unsigned count = 1 + (unsigned)below(p, 4);
    for (unsigned i = 0; i < count; i++) {
        uint64_t at = TABLES + below(p, TABLE_COUNT) * 4096 + edited[below(p, 5)] * 8;
        uint64_t value = draw_entry(p);
        snprintf(p->what, sizeof p->what, "0x%llx is stored to 0x%llx", (unsigned long long)value,
                 (unsigned long long)at);
        store(p, at, value);
    }
    flush(p);
}

/* --- Registers ---------------------------------------------------------------------------------------- */

static void set_sregs(struct pair *p, struct mv_vcpu *vcpu, const struct kvm_sregs *from, int *ret)
{
    struct kvm_sregs sregs;
    assert_int_equal(mv_vcpu_get_sregs(vcpu, &sregs, NULL), 0);
    sregs.cr0 = from->cr0;
    sregs.cr3 = from->cr3;
    sregs.cr4 = from->cr4;
    sregs.efer = from->efer;
    sregs.ss.dpl = sregs.cs.dpl = from->ss.dpl;
    (void)p;
    *ret = mv_vcpu_set_sregs(vcpu, &sregs, NULL);
}

/* Who accesses, and what keys allow: no translation is concerned, and nothing need be flushed. */
static void set_privilege(struct pair *p)
{
    struct mv_vcpu *both[] = {p->native.vcpu, p->shadow.vcpu};
    const struct kvm_regs regs = {.rflags = 2 | (below(p, 2) ? RFLAGS_AC : 0)};
    uint32_t pkru = (uint32_t)draw(p) & (uint32_t)draw(p), pkrs = (uint32_t)draw(p) & (uint32_t)draw(p);
    uint8_t cpl = below(p, 2) ? 3 : 0;
    for (unsigned i = 0; i < 2; i++) {
        struct kvm_sregs sregs;
        assert_int_equal(mv_vcpu_get_sregs(both[i], &sregs, NULL), 0);
        sregs.ss.dpl = sregs.cs.dpl = cpl;
        if (p->mode != MODE_PAE) { /* whose PDPTEs it would load again */
            assert_int_equal(mv_vcpu_set_sregs(both[i], &sregs, NULL), 0);
        }
        assert_int_equal(mv_vcpu_set_regs(both[i], &regs, NULL), 0);
        mv_soft_set_keys(both[i], pkru, pkrs);
    }
}

static void set_registers(struct pair *p)
{
    struct kvm_sregs s = {0};
    enum mode mode = p->mode, before = p->mode;
    bool no_execute = below(p, 4) != 0;
    if (one_in(p, 5) || p->step == 0) {
        p->mode = mode = one_in(p, 12) ? MODE_OFF : (enum mode)(1 + below(p, MODE_COUNT - 1));
        p->no_execute = no_execute;
        refill(p);
        p->mode = before;
    } else {
        no_execute = p->no_execute;
    }
    uint64_t cr3 = TABLES + (one_in(p, 3) ? below(p, TABLE_COUNT) : below(p, 3)) * 4096;
    cr3 = one_in(p, 40) ? GUEST_DEVICE : cr3;
    cr3 = mode == before && below(p, 2) ? p->cr3 & ~UINT64_C(0xfff) : cr3;
    cr3 |= mode == MODE_PAE ? below(p, 2) * 32 : 0;
    s.cr0 = 0x11 | (mode == MODE_OFF ? 0 : UINT64_C(1) << 31) | (below(p, 2) ? CR0_WP : 0);
    s.cr4 = (mode >= MODE_PAE ? CR4_PAE : below(p, 2) ? CR4_PSE : 0) | (mode == MODE_5LEVEL ? CR4_LA57 : 0);
    s.cr4 |= (one_in(p, 3) ? CR4_SMEP : 0) | (one_in(p, 4) ? CR4_SMAP : 0);
    s.cr4 |= (one_in(p, 3) ? CR4_PKE : 0) | (one_in(p, 6) ? CR4_PKS : 0);
    s.efer = (mode >= MODE_4LEVEL ? 0x500 : 0) | (no_execute ? 0x800 : 0);
    s.cr3 = cr3;
    s.ss.dpl = below(p, 2) ? 3 : 0;
    int a, b;
    set_sregs(p, p->native.vcpu, &s, &a);
    set_sregs(p, p->shadow.vcpu, &s, &b);
    snprintf(p->what, sizeof p->what, "registers: cr0 %llx cr3 %llx cr4 %llx efer %llx cpl %d", s.cr0, s.cr3,
             s.cr4, s.efer, s.ss.dpl);
    SAME(p, "whether registers are taken", a, b);
    if (a == 0) {
        p->mode = mode;
        p->cr3 = cr3;
    }
    set_privilege(p);
    flush(p);
}

/* --- Accesses ------------------------------------------------------------------------------------------ */

static void compare_outcomes(const struct pair *p, const struct mv_soft_outcome *a,
                             const struct mv_soft_outcome *b)
{
    SAME(p, "the end", a->end, b->end);
    SAME(p, "the number of bytes", a->done_bytes, b->done_bytes);
    if (a->end == MV_SOFT_FAULT) {
        SAME(p, "the vector", a->fault.vector, b->fault.vector);
        SAME(p, "the rule", a->fault.rule, b->fault.rule);
        SAME(p, "CR2", a->fault.address.raw, b->fault.address.raw);
        SAME(p, "the entry", a->fault.entry, b->fault.entry);
        SAME(p, "the reserved bits", a->fault.reserved, b->fault.reserved);
        SAME(p, "the error code", a->fault.error_code, b->fault.error_code);
        SAME(p, "the level", a->fault.level, b->fault.level);
    } else if (a->end == MV_SOFT_MMIO) {
        SAME(p, "the MMIO address", a->mmio.gpa.raw, b->mmio.gpa.raw);
        SAME(p, "the MMIO size", a->mmio.size, b->mmio.size);
    }
}

static void access_one(struct pair *p)
{
    static const size_t sizes[] = {1, 2, 4, 8};
    uint64_t offset = below(p, 2) ? edited[below(p, 5)] * 8 + (one_in(p, 3) ? 4 : 0) : below(p, 512) * 8;
    uint64_t gva = draw_gva(p) + (one_in(p, 10) ? below(p, 4096) : offset);
    size_t size = sizes[below(p, 4)];
    enum mv_access kind = (enum mv_access)below(p, 3);
    enum mv_soft_mode mode = one_in(p, 8) ? MV_SOFT_IMPLICIT : MV_SOFT_EXPLICIT;
    uint64_t x = draw_entry(p), y = x;
    struct mv_soft_outcome a = {0}, b = {0};
    struct mv_soft_place at = {0}, other = {0};
    snprintf(p->what, sizeof p->what, "access %d of %zu bytes at 0x%llx", (int)kind, size,
             (unsigned long long)gva);
    mv_soft_touch(p->native.vcpu, mv_gva(gva), MV_ACCESS_READ, &at, &a);
    mv_soft_touch(p->shadow.vcpu, mv_gva(gva), MV_ACCESS_READ, &other, &b);
    SAME(p, "the end of a look", a.end, b.end);
    if (a.end == MV_SOFT_DONE) {
        SAME(p, "the place", at.gpa.raw, other.gpa.raw);
    }
    /* 0: an implicit write may reach what a look may not. */
    bool is_table = at.gpa.raw == 0 || (at.gpa.raw >= TABLES && at.gpa.raw < TABLES + TABLE_BYTES);
    if (kind == MV_ACCESS_WRITE && is_table && (gva & 4095) + size > 4096) {
        size = 4096 - (gva & 4095); /* what it writes may lead to the next page: a TLB may have what was, or not */
    }
    if (kind == MV_ACCESS_WRITE) {
        mv_soft_write(p->native.vcpu, mv_gva(gva), &x, size, mode, &a);
        mv_soft_write(p->shadow.vcpu, mv_gva(gva), &y, size, mode, &b);
    } else if (kind == MV_ACCESS_READ) {
        mv_soft_read(p->native.vcpu, mv_gva(gva), &x, size, mode, &a);
        mv_soft_read(p->shadow.vcpu, mv_gva(gva), &y, size, mode, &b);
    } else {
        mv_soft_fetch(p->native.vcpu, mv_gva(gva), &x, size, &a);
        mv_soft_fetch(p->shadow.vcpu, mv_gva(gva), &y, size, &b);
    }
    compare_outcomes(p, &a, &b);
    SAME(p, "what was read", x, y);
    p->done[p->mode] += a.end == MV_SOFT_DONE;
    compare_tables(p);
    if (kind == MV_ACCESS_WRITE && (is_table || (gva & 4095) + size > 4096)) {
        flush(p);
    }
}

/* --- A policy that says yes and no as it likes ------------------------------------------------------------- */

static bool nests_at_whim(void *opaque, enum mv_hybrid_event event, const struct mv_hybrid_table *table)
{
    uint64_t *whim = opaque;
    *whim = *whim * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    switch (*whim >> 60) { /* mostly by the table: something is to come of it */
    case 0: return !table->is_nested;
    case 1: return event == MV_HYBRID_WRITTEN;
    default: return (table->gpa.raw >> 12 ^ table->level) & 1;
    }
}

static void set_policy(struct pair *p)
{
    static const uint32_t intervals[] = {0, 1, 17, 1000};
    const struct mv_hybrid_policy policy = {
        .opaque = &p->whim, .nests = nests_at_whim, .interval = intervals[p->step / 1000 % 4]};
    assert_int_equal(mv_soft_set_policy(p->shadow.vcpu, &policy), 0);
}

static bool at_whim; /* the next runs are with it */

static void run(const char *accel, uint64_t seed, unsigned steps, unsigned *done)
{
    struct pair p = {.seed = seed * 2 + 1, .mode = MODE_4LEVEL, .cr3 = TABLES};
    soft_guest_make(&p.native, "soft,mmu=native,address-bits=52");
    soft_guest_make(&p.shadow, accel);
    set_registers(&p);
    p.whim = seed;
    for (p.step = 1; p.step < steps; p.step++) {
        if (at_whim && p.step % 1000 == 1) {
            set_policy(&p);
        }
        switch (below(&p, 8)) {
        case 0: edit(&p); break;
        case 1:
            if (one_in(&p, 4)) {
                set_registers(&p);
            }
            break;
        default: access_one(&p); break;
        }
    }
    for (unsigned mode = 0; mode < MODE_COUNT; mode++) {
        done[mode] += p.done[mode];
    }
    soft_guest_end(&p.native);
    soft_guest_end(&p.shadow);
}

static void as_natively(const char *accel)
{
    const char *given = getenv("MEMVIRT_TEST_SEED"), *is_long = getenv("MEMVIRT_TEST_LONG");
    uint64_t first = given ? strtoull(given, NULL, 0) : 1, count = given ? 1 : is_long ? 400 : 12;
    unsigned done[MODE_COUNT] = {0};
    for (uint64_t seed = first; seed < first + count; seed++) {
        print_message("# %s: seed %llu\n", accel, (unsigned long long)seed);
        run(accel, seed, 4000, done);
    }
    for (unsigned mode = 0; mode < MODE_COUNT; mode++) {
        print_message("# mode %u: %u accesses went through\n", mode, done[mode]);
        assert_true(given || done[mode] > 300); /* or it shows nothing */
    }
}

static void shadow_is_as_native(void **state)
{
    (void)state;
    as_natively("soft,mmu=shadow,address-bits=52");
}

static void without_unsync_too(void **state)
{
    (void)state;
    as_natively("soft,mmu=shadow,unsync=off,address-bits=52");
}

static void with_few_pages_too(void **state)
{
    (void)state;
    as_natively("soft,mmu=shadow,shadow-pages=64,host-page=4K,address-bits=52");
}

static void with_a_tlb_too(void **state)
{
    (void)state;
    as_natively("soft,mmu=shadow,tlb=L1=64x4:L2=1536x12,host-page=2M,address-bits=52");
    as_natively("soft,mmu=shadow,tlb=L1=4x4,walk-caches=on,slot-zap-all=off,address-bits=52");
}

/* What of the tables is nested changes under the guest, or all of them are, or those up to a level. */
static void hybrid_is_as_native(void **state)
{
    (void)state;
    as_natively("soft,mmu=hybrid,policy-writes=2,policy-interval=16,levels=5,address-bits=52");
}

static void nested_by_level_too(void **state)
{
    (void)state;
    as_natively("soft,mmu=hybrid,policy=nest-1,levels=5,address-bits=52");
    as_natively("soft,mmu=hybrid,policy=nest-2,host-page=4K,levels=5,address-bits=52");
    as_natively("soft,mmu=hybrid,policy=nest-3,levels=5,address-bits=52");
}

static void nested_altogether_too(void **state)
{
    (void)state;
    as_natively("soft,mmu=hybrid,policy=nested,levels=5,address-bits=52");
    as_natively(
        "soft,mmu=hybrid,policy=nested,tlb=L1=64x4:L2=1536x12,nested-tlb=on,host-page=2M,levels=5,address-bits=52");
}

static void hybrid_with_few_pages_too(void **state)
{
    (void)state;
    as_natively("soft,mmu=hybrid,policy-writes=1,policy-interval=5,shadow-pages=64,tlb=L1=64x4:L2=1536x12,"
                "levels=5,address-bits=52");
}

static void whatever_the_policy_says_too(void **state)
{
    (void)state;
    at_whim = true;
    as_natively("soft,mmu=hybrid,levels=5,address-bits=52");
    as_natively("soft,mmu=hybrid,tlb=L1=64x4:L2=1536x12,host-page=4K,shadow-pages=64,levels=5,address-bits=52");
    at_whim = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shadow_is_as_native),          cmocka_unit_test(without_unsync_too),
        cmocka_unit_test(with_few_pages_too),           cmocka_unit_test(with_a_tlb_too),
        cmocka_unit_test(hybrid_is_as_native),          cmocka_unit_test(nested_by_level_too),
        cmocka_unit_test(nested_altogether_too),        cmocka_unit_test(hybrid_with_few_pages_too),
        cmocka_unit_test(whatever_the_policy_says_too),
    };
    return cmocka_run_group_tests_name("shadow-lockstep", tests, NULL, NULL);
}
