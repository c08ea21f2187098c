// SPDX-License-Identifier: MIT
/* The second dimension: exits and their codes, accessed and dirty bits, the log. */
#include "hardware/mmu_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define GVA (3 * GIB)

#define R MV_ACCESS_READ
#define W MV_ACCESS_WRITE
#define X MV_ACCESS_FETCH

static struct rig rig;
static uint64_t *leaf; /* of gpa 0, where GVA leads */

/* Guest: GVA -> 0; all of memory by 4K in the first 2M, and the tables' 2M. */
static void start_with(const struct hw_options *options)
{
    rig_init(&rig, options, 4);
    rig_map(&rig, GVA, 0, 1, RIG_ALL);
    if (options->dimension == HW_NATIVE) {
        return;
    }
    rig_map_nested(&rig, 0, 2 * MIB, 1);
    rig_map_nested(&rig, RIG_TABLES, 2 * MIB, 1);
    rig_load(&rig);
    leaf = rig_nested_entry(&rig, 0, 1);
}

static void start(enum hw_dimension dimension)
{
    struct hw_options options = rig_default_options(dimension);
    options.model_tlb = true; /* of no entries: each access walks */
    start_with(&options);
}

static int finish(void **state)
{
    (void)state;
    rig_finish(&rig);
    return 0;
}

static void check_exit(enum mv_access kind, enum pt_exit_reason reason, uint64_t gpa, uint64_t code)
{
    struct hw_result result = rig_access(&rig, GVA + 8, kind, PT_USER);
    assert_int_equal(result.end, HW_EXIT);
    assert_int_equal(result.exit.reason, reason);
    assert_int_equal(result.exit.gpa.raw, gpa);
    assert_int_equal(result.exit.code, code);
    assert_int_equal(result.exit.gva.raw, GVA + 8);
    assert_int_equal(result.exit.access.kind, kind);
    assert_int_equal(result.exit.access.who, PT_USER);
}

static void check_done(enum mv_access kind)
{
    struct hw_result result = rig_access(&rig, GVA + 8, kind, PT_USER);
    assert_int_equal(result.end, HW_DONE);
    assert_ptr_equal(result.host, rig.memory + 8);
    assert_int_equal(result.gpa.raw, 8);
    assert_int_equal(result.page_shift, 12);
}

#define FINAL (EPT_QUAL_HAS_GVA | EPT_QUAL_FINAL)

static void set_rights(uint64_t rights)
{
    *leaf = (*leaf & ~EPT_RWX) | rights;
}

static void test_ept_qualification(void **state)
{
    (void)state;
    start(HW_EPT);
    check_done(R);
    set_rights(0);
    check_exit(R, PT_EXIT_EPT_VIOLATION, 8, FINAL | EPT_QUAL_READ);
    check_exit(W, PT_EXIT_EPT_VIOLATION, 8, FINAL | EPT_QUAL_WRITE);
    check_exit(X, PT_EXIT_EPT_VIOLATION, 8, FINAL | EPT_QUAL_FETCH);
    set_rights(EPT_R);
    check_done(R);
    check_exit(W, PT_EXIT_EPT_VIOLATION, 8, FINAL | EPT_QUAL_WRITE | EPT_QUAL_READABLE);
    check_exit(X, PT_EXIT_EPT_VIOLATION, 8, FINAL | EPT_QUAL_FETCH | EPT_QUAL_READABLE);
    set_rights(EPT_R | EPT_W);
    check_done(W);
    check_exit(X, PT_EXIT_EPT_VIOLATION, 8, FINAL | EPT_QUAL_FETCH | EPT_QUAL_READABLE | EPT_QUAL_WRITABLE);
    set_rights(EPT_X);
    check_done(X);
    check_exit(R, PT_EXIT_EPT_VIOLATION, 8, FINAL | EPT_QUAL_READ | EPT_QUAL_EXECUTABLE);
}

/* The rights are those of all levels together. */
static void test_ept_rights_of_upper_levels(void **state)
{
    (void)state;
    start(HW_EPT);
    *rig_nested_entry(&rig, 0, 2) &= ~EPT_W;
    check_done(R);
    check_exit(W, PT_EXIT_EPT_VIOLATION, 8, FINAL | EPT_QUAL_WRITE | EPT_QUAL_READABLE | EPT_QUAL_EXECUTABLE);
    *rig_nested_entry(&rig, 0, 2) = 0;
    check_exit(W, PT_EXIT_EPT_VIOLATION, 8, FINAL | EPT_QUAL_WRITE);
}

static void test_ept_misconfiguration(void **state)
{
    (void)state;
    struct hw_options options = rig_default_options(HW_EPT);
    options.ept.execute_only = false;
    options.model_tlb = true;
    start_with(&options);
    const uint64_t good = *leaf;
    const struct {
        uint64_t set, clear;
    } bad[] = {
        {EPT_W, EPT_RWX},
        {EPT_W | EPT_X, EPT_RWX},
        {EPT_X, EPT_RWX},
        {UINT64_C(2) << EPT_MEMTYPE_SHIFT, EPT_MEMTYPE_MASK},
        {UINT64_C(3) << EPT_MEMTYPE_SHIFT, EPT_MEMTYPE_MASK},
        {UINT64_C(7) << EPT_MEMTYPE_SHIFT, EPT_MEMTYPE_MASK},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        *leaf = (good & ~bad[i].clear) | bad[i].set;
        check_exit(R, PT_EXIT_EPT_MISCONFIG, 8, 0);
    }
    *leaf = good;
    check_done(R);
    *rig_nested_entry(&rig, 0, 2) |= UINT64_C(1) << 3; /* bits 6-3 of a pointer to a table */
    check_exit(R, PT_EXIT_EPT_MISCONFIG, 8, 0);
    *rig_nested_entry(&rig, 0, 2) &= ~(UINT64_C(1) << 3);
    *rig_nested_entry(&rig, 0, 4) |= EPT_LARGE;
    check_exit(R, PT_EXIT_EPT_MISCONFIG, RIG_TABLES + (GVA >> 39 & 511) * 8,
               0); /* the guest's root is there too */
    *rig_nested_entry(&rig, 0, 4) &= ~EPT_LARGE;
    *rig_nested_entry(&rig, 0, 2) = rig_nested_leaf(&rig, 0, 2) | 0x1000; /* address bits within 2M */
    check_exit(R, PT_EXIT_EPT_MISCONFIG, 8, 0);
}

/* A guest table in a page that may not be written: with A and D on it must be writable, and both bits are told. */
static void test_ept_guest_tables_count_as_writes(void **state)
{
    (void)state;
    start(HW_EPT);
    uint64_t at = RIG_TABLES + (GVA >> 39 & 511) * 8;
    *rig_nested_entry(&rig, RIG_TABLES, 1) &= ~EPT_W;
    check_exit(R, PT_EXIT_EPT_VIOLATION, at,
               EPT_QUAL_HAS_GVA | EPT_QUAL_READ | EPT_QUAL_WRITE | EPT_QUAL_READABLE | EPT_QUAL_EXECUTABLE);
    *rig_nested_entry(&rig, RIG_TABLES, 1) |= EPT_W;
    check_done(R);
    assert_int_equal(*rig_nested_entry(&rig, RIG_TABLES, 1) & (EPT_A | EPT_D), EPT_A | EPT_D);
    assert_int_equal(*leaf & (EPT_A | EPT_D), EPT_A);
    check_done(W);
    assert_int_equal(*leaf & (EPT_A | EPT_D), EPT_A | EPT_D);
    assert_int_equal(*rig_nested_entry(&rig, 0, 2) & (EPT_A | EPT_D), EPT_A);
}

/* Without: they are read, and what writes is an update of the guest's own bits. */
static void test_ept_without_access_dirty(void **state)
{
    (void)state;
    struct hw_options options = rig_default_options(HW_EPT);
    options.ept.access_dirty = false;
    options.model_tlb = true;
    start_with(&options);
    uint64_t at = RIG_TABLES + (GVA >> 39 & 511) * 8;
    *rig_nested_entry(&rig, RIG_TABLES, 1) &= ~EPT_W;
    check_exit(R, PT_EXIT_EPT_VIOLATION, at,
               EPT_QUAL_HAS_GVA | EPT_QUAL_READ | EPT_QUAL_WRITE | EPT_QUAL_READABLE | EPT_QUAL_EXECUTABLE);
    *(uint64_t *)(void *)(rig.memory + at) |= X86_ENTRY_A;
    check_done(R);
    assert_int_equal(*leaf & (EPT_A | EPT_D), 0);
    *rig_nested_entry(&rig, RIG_TABLES, 1) = 0;
    check_exit(W, PT_EXIT_EPT_VIOLATION, at, EPT_QUAL_HAS_GVA | EPT_QUAL_READ);
}

static void test_npf_codes(void **state)
{
    (void)state;
    start(HW_NPT);
    uint64_t good = *leaf, at = RIG_TABLES + (GVA >> 39 & 511) * 8;
    check_done(W);
    assert_int_equal(*leaf, good | RIG_AD);
    *leaf = 0;
    check_exit(R, PT_EXIT_NPF, 8, PF_GUEST_FINAL | PF_USER);
    check_exit(W, PT_EXIT_NPF, 8, PF_GUEST_FINAL | PF_USER | PF_WRITE);
    check_exit(X, PT_EXIT_NPF, 8, PF_GUEST_FINAL | PF_USER | PF_FETCH);
    *leaf = good & ~RIG_W;
    check_exit(W, PT_EXIT_NPF, 8, PF_GUEST_FINAL | PF_USER | PF_WRITE | PF_PRESENT);
    *leaf = good | X86_ENTRY_NX;
    check_exit(X, PT_EXIT_NPF, 8, PF_GUEST_FINAL | PF_USER | PF_FETCH | PF_PRESENT);
    *leaf = good & ~RIG_U; /* all is a user's */
    check_exit(R, PT_EXIT_NPF, 8, PF_GUEST_FINAL | PF_USER | PF_PRESENT);
    *leaf = good;
    *rig_nested_entry(&rig, 0, 4) |= X86_ENTRY_G;
    check_exit(R, PT_EXIT_NPF, at, PF_GUEST_TABLE | PF_USER | PF_WRITE | PF_PRESENT | PF_RESERVED);
    *rig_nested_entry(&rig, 0, 4) &= ~X86_ENTRY_G;
    *rig_nested_entry(&rig, RIG_TABLES, 1) &= ~RIG_W; /* read it is, but as by a write */
    check_exit(X, PT_EXIT_NPF, at, PF_GUEST_TABLE | PF_USER | PF_WRITE | PF_PRESENT);
}

/* 4 levels have 48 bits. */
static void test_gpa_beyond_the_tables(void **state)
{
    (void)state;
    start(HW_EPT);
    rig_map(&rig, GVA, UINT64_C(1) << 48, 1, RIG_ALL);
    check_exit(R, PT_EXIT_EPT_VIOLATION, (UINT64_C(1) << 48) + 8, FINAL | EPT_QUAL_READ);
}

/* 512 entries, one for each page that became dirty; then it is full, before anything is written. */
static void test_pml(void **state)
{
    (void)state;
    start(HW_EPT);
    check_done(W); /* the tables are dirty now, and gpa 0 */
    struct hw_pml *pml = hw_mmu_pml(rig.mmu);
    pml->is_on = true;
    assert_int_equal(pml->index, 511);
    for (unsigned i = 0; i < 512; i++) {
        *leaf &= ~EPT_D;
        check_done(R);
        assert_int_equal(pml->index, (uint16_t)(511 - i));
        check_done(W);
        assert_int_equal(pml->buffer[511 - i], 0);
        check_done(W);
    }
    assert_int_equal(pml->index, 0xffff);
    *leaf &= ~EPT_D;
    check_done(R);
    check_exit(W, PT_EXIT_PML_FULL, 8, 0);
    assert_int_equal(*leaf & EPT_D, 0);
    pml->index = 511;
    rig_map(&rig, GVA, 0x7000, 1, RIG_ALL | RIG_AD);
    assert_int_equal(rig_access(&rig, GVA + 0x123, W, PT_USER).end, HW_DONE);
    assert_int_equal(pml->buffer[511], 0x7000);
    assert_int_equal(hw_mmu_counters(rig.mmu)->pml_entries, 513);
}

/* A guest's table is logged, too, when a walk makes it dirty. */
static void test_pml_of_tables(void **state)
{
    (void)state;
    start(HW_EPT);
    struct hw_pml *pml = hw_mmu_pml(rig.mmu);
    pml->is_on = true;
    check_done(R);
    assert_int_equal(pml->index, 511 - 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pml->buffer[511 - i], RIG_TABLES + i * 4096);
    }
}

static void test_nested_tlb_needs_rights(void **state)
{
    (void)state;
    struct hw_options options = rig_default_options(HW_EPT);
    options.model_tlb = true;
    options.has_nested_tlb = true;
    options.nested = (struct hw_tlb_geometry){16, 4};
    start_with(&options);
    *leaf &= ~EPT_W;
    check_done(R);
    *leaf |= EPT_W;
    check_done(R);
    check_done(W); /* what is cached is not enough: the tables are asked */
    *leaf = 0;
    check_done(W); /* stale, until INVEPT */
    hw_mmu_invept(rig.mmu);
    check_exit(W, PT_EXIT_EPT_VIOLATION, 8, FINAL | EPT_QUAL_WRITE);
}

/* Nor is it without D, for a write; and an exit takes along what is cached. */
static void test_nested_tlb_needs_d(void **state)
{
    (void)state;
    struct hw_options options = rig_default_options(HW_EPT);
    options.model_tlb = true;
    options.has_nested_tlb = true;
    options.nested = (struct hw_tlb_geometry){16, 4};
    start_with(&options);
    check_done(R);
    assert_int_equal(*leaf & EPT_D, 0);
    check_done(W);
    assert_int_equal(*leaf & EPT_D, EPT_D);
    hw_mmu_invept(rig.mmu);
    uint64_t good = *leaf;
    *leaf = good & ~EPT_W;
    check_done(R);
    *leaf = 0;
    check_exit(W, PT_EXIT_EPT_VIOLATION, 8, FINAL | EPT_QUAL_WRITE);
    check_exit(R, PT_EXIT_EPT_VIOLATION, 8, FINAL | EPT_QUAL_READ);
}

/* A table that a paging-structure cache leads to is no more writable than it was. */
static void test_walk_cache_of_a_read_only_table(void **state)
{
    (void)state;
    struct hw_options options = rig_default_options(HW_EPT);
    options.ept.access_dirty = false;
    options.model_tlb = true;
    options.has_walk_caches = true;
    options.pd = (struct hw_tlb_geometry){32, 4};
    start_with(&options);
    rig_map(&rig, GVA + 4096, 4096, 1, RIG_ALL);
    check_done(R);
    uint64_t table = RIG_TABLES + 3 * 4096;
    *rig_nested_entry(&rig, table, 1) &= ~EPT_W;
    hw_mmu_flush_all(rig.mmu);
    check_done(R); /* its A bit is set */
    struct hw_result result = rig_access(&rig, GVA + 4096, R, PT_USER);
    assert_int_equal(hw_mmu_counters(rig.mmu)->walk_cache_hits, 1);
    assert_int_equal(result.end, HW_EXIT);
    assert_int_equal(result.exit.gpa.raw, table + ((GVA + 4096) >> 12 & 511) * 8);
    assert_int_equal(result.exit.code & 0x1ff,
                     EPT_QUAL_HAS_GVA | EPT_QUAL_READ | EPT_QUAL_WRITE | EPT_QUAL_READABLE | EPT_QUAL_EXECUTABLE);
}

/* A cache says that a table may not be written, the tables that it may: no exit comes of what is stale. */
static void test_a_table_becomes_writable(void **state)
{
    (void)state;
    for (unsigned with_nested_tlb = 0; with_nested_tlb < 2; with_nested_tlb++) {
        struct hw_options options = rig_default_options(HW_EPT);
        options.ept.access_dirty = false;
        options.model_tlb = true;
        options.has_walk_caches = !with_nested_tlb;
        options.pd = (struct hw_tlb_geometry){32, 4};
        options.has_nested_tlb = with_nested_tlb;
        options.nested = (struct hw_tlb_geometry){16, 4};
        start_with(&options);
        rig_map(&rig, GVA + 4096, 4096, 1, RIG_ALL);
        check_done(R);
        uint64_t table = RIG_TABLES + 3 * 4096;
        *rig_nested_entry(&rig, table, 1) &= ~EPT_W;
        hw_mmu_flush_all(rig.mmu);
        check_done(R);
        *rig_nested_entry(&rig, table, 1) |= EPT_W;
        assert_int_equal(rig_access(&rig, GVA + 4096, R, PT_USER).end, HW_DONE);
        rig_finish(&rig);
    }
}

/* Another processor moves the page between the reading of its entry and the setting of A. */
static void move_page(void *opaque, bool nested, unsigned level, uint64_t at, uint64_t entry)
{
    (void)entry;
    if (nested && level == 1 && at == (uint64_t)(uintptr_t)leaf) {
        unsigned *moves = opaque;
        if ((*moves)++ == 0) {
            *leaf += 0x3000;
        }
    }
}

static void test_an_entry_that_changes(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        unsigned moves = 0;
        const struct hw_hooks hooks = {.opaque = &moves, .step = move_page};
        start(i == 0 ? HW_EPT : HW_NPT);
        hw_mmu_set_hooks(rig.mmu, &hooks);
        struct hw_result result = rig_access(&rig, GVA + 8, W, PT_USER);
        assert_int_equal(result.end, HW_DONE);
        assert_ptr_equal(result.host, rig.memory + 0x3008);
        assert_int_equal(pt_address(*leaf), (uint64_t)(uintptr_t)rig.memory + 0x3000);
        assert_int_equal(moves, 2); /* it was read twice */
        rig_finish(&rig);
    }
}

/* Guest-physical, without a walk. */
static void test_physical(void **state)
{
    (void)state;
    struct hw_result r;
    start(HW_EPT);
    uint64_t walks = hw_mmu_counters(rig.mmu)->walks, refs = hw_mmu_counters(rig.mmu)->refs_nested;
    assert_int_equal(hw_translate_physical(rig.mmu, mv_gpa(0x123), R, &r), HW_DONE);
    assert_ptr_equal(r.host, rig.memory + 0x123);
    assert_int_equal(*leaf & (EPT_A | EPT_D), EPT_A);
    assert_int_equal(hw_translate_physical(rig.mmu, mv_gpa(0x123), W, &r), HW_DONE);
    assert_int_equal(*leaf & (EPT_A | EPT_D), EPT_A | EPT_D);
    *leaf &= ~EPT_W;
    assert_int_equal(hw_translate_physical(rig.mmu, mv_gpa(0x123), R, &r), HW_DONE);
    assert_int_equal(hw_translate_physical(rig.mmu, mv_gpa(0x123), W, &r), HW_EXIT);
    assert_int_equal(r.exit.reason, PT_EXIT_EPT_VIOLATION);
    assert_int_equal(r.exit.gpa.raw, 0x123);
    assert_int_equal(hw_mmu_counters(rig.mmu)->walks, walks);
    assert_int_equal(hw_mmu_counters(rig.mmu)->refs_nested, refs);
    rig_finish(&rig);
    start(HW_NATIVE);
    rig.is_read_only = true;
    assert_int_equal(hw_translate_physical(rig.mmu, mv_gpa(0x123), R, &r), HW_DONE);
    assert_ptr_equal(r.host, rig.memory + 0x123);
    assert_int_equal(hw_translate_physical(rig.mmu, mv_gpa(0x123), W, &r), HW_EXIT);
    assert_int_equal(r.exit.reason, PT_EXIT_NO_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_ept_qualification, finish),
        cmocka_unit_test_teardown(test_ept_rights_of_upper_levels, finish),
        cmocka_unit_test_teardown(test_ept_misconfiguration, finish),
        cmocka_unit_test_teardown(test_ept_guest_tables_count_as_writes, finish),
        cmocka_unit_test_teardown(test_ept_without_access_dirty, finish),
        cmocka_unit_test_teardown(test_npf_codes, finish),
        cmocka_unit_test_teardown(test_gpa_beyond_the_tables, finish),
        cmocka_unit_test_teardown(test_pml, finish),
        cmocka_unit_test_teardown(test_pml_of_tables, finish),
        cmocka_unit_test_teardown(test_nested_tlb_needs_rights, finish),
        cmocka_unit_test_teardown(test_nested_tlb_needs_d, finish),
        cmocka_unit_test_teardown(test_walk_cache_of_a_read_only_table, finish),
        cmocka_unit_test(test_a_table_becomes_writable),
        cmocka_unit_test(test_an_entry_that_changes),
        cmocka_unit_test_teardown(test_physical, finish),
    };
    return cmocka_run_group_tests_name("nested", tests, NULL, NULL);
}
