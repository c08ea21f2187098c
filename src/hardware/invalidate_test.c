// SPDX-License-Identifier: MIT
/*
 * What is stale after what: each page is cached, then its entry is changed in memory, then something happens; a
 * read shows whether the old translation is still there (Intel SDM, "Operations that Invalidate TLBs and
 * Paging-Structure Caches"; the sections on INVPCID, INVEPT, INVVPID).
 */
#include "hardware/mmu_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define CR4_PGE (UINT64_C(1) << 7)
#define CR4_PCIDE (UINT64_C(1) << 17)
#define CR4_SMEP (UINT64_C(1) << 20)
#define CR4_SMAP (UINT64_C(1) << 21)
#define CR4_PKE (UINT64_C(1) << 22)
#define KEEP (UINT64_C(1) << 63)

#define LOCAL (3 * GIB)
#define OTHER (3 * GIB + 64 * KIB)
#define GLOBAL (5 * GIB)
#define LARGE (7 * GIB)

static struct rig rig;
static struct paging_regs regs;

static void set_leaf(uint64_t gva, uint64_t gpa)
{
    rig_map(&rig, gva, gpa, gva >= LARGE ? 2 : 1, RIG_ALL | RIG_AD | (gva == GLOBAL ? X86_ENTRY_G : 0));
}

static void start(enum hw_dimension dimension)
{
    struct hw_options options = rig_default_options(dimension);
    options.model_tlb = true;
    options.l1 = (struct hw_tlb_geometry){64, 4};
    options.l2 = (struct hw_tlb_geometry){1536, 12};
    rig_init(&rig, &options, 4);
    if (dimension != HW_NATIVE) {
        rig_map_nested(&rig, 0, 8 * MIB, 1);
        rig_map_nested(&rig, RIG_TABLES, 2 * MIB, 1);
    }
    set_leaf(LOCAL, 0);
    set_leaf(OTHER, 0);
    set_leaf(GLOBAL, 0);
    set_leaf(LARGE, 0);
    regs = rig_regs(&rig);
    regs.cr4 |= CR4_PGE | CR4_PCIDE;
    regs.cr3 |= 1;
    hw_mmu_set_regs(rig.mmu, &regs);
}

static uint64_t gpa_of(uint64_t gva)
{
    struct hw_result result = rig_access(&rig, gva, MV_ACCESS_READ, PT_USER);
    assert_int_equal(result.end, HW_DONE);
    return result.gpa.raw;
}

/* All four cached as being at 0, and in the tables at 2M. */
static void make_stale(void)
{
    static const uint64_t all[] = {LOCAL, OTHER, GLOBAL, LARGE};
    for (unsigned i = 0; i < 4; i++) {
        set_leaf(all[i], 0);
    }
    hw_mmu_flush_all(rig.mmu);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(gpa_of(all[i]), 0);
        set_leaf(all[i], 2 * MIB);
    }
}

static bool is_stale(uint64_t gva)
{
    return gpa_of(gva) == 0;
}

static void check_stale(bool local, bool other, bool global)
{
    assert_int_equal(is_stale(LOCAL), local);
    assert_int_equal(is_stale(OTHER), other);
    assert_int_equal(is_stale(GLOBAL), global);
}

static int finish(void **state)
{
    (void)state;
    rig_finish(&rig);
    return 0;
}

static void test_nothing_goes_by_itself(void **state)
{
    (void)state;
    start(HW_EPT);
    make_stale();
    check_stale(true, true, true);
    hw_mmu_set_regs(rig.mmu, &regs);
    check_stale(true, true, true);
}

static void test_mov_to_cr3(void **state)
{
    (void)state;
    start(HW_NATIVE);
    make_stale();
    hw_mmu_load_cr3(rig.mmu, regs.cr3, false);
    check_stale(false, false, true);
    make_stale();
    hw_mmu_load_cr3(rig.mmu, regs.cr3 | KEEP, true);
    check_stale(true, true, true);
    hw_mmu_load_cr3(rig.mmu, regs.cr3 + 1, false); /* another PCID: not this one's, but globals are there */
    check_stale(false, false, true);
    hw_mmu_load_cr3(rig.mmu, regs.cr3 | KEEP, true);
    check_stale(true, true, true);
}

/* Without PCIDE there is one PCID, and bit 63 says nothing. */
static void test_mov_to_cr3_without_pcid(void **state)
{
    (void)state;
    start(HW_NATIVE);
    regs.cr4 &= ~CR4_PCIDE;
    regs.cr3 &= ~UINT64_C(1);
    hw_mmu_set_regs(rig.mmu, &regs);
    make_stale();
    hw_mmu_load_cr3(rig.mmu, regs.cr3, true);
    check_stale(false, false, true);
    make_stale();
    regs.cr3 += 8; /* a bit of caching */
    hw_mmu_set_regs(rig.mmu, &regs);
    check_stale(false, false, true);
}

static void check_cr4(uint64_t flip, bool local, bool global)
{
    make_stale();
    struct paging_regs now = regs;
    now.cr4 ^= flip;
    hw_mmu_set_regs(rig.mmu, &now);
    check_stale(local, local, global);
    hw_mmu_set_regs(rig.mmu, &regs);
}

static void test_mov_to_cr0_and_cr4(void **state)
{
    (void)state;
    start(HW_NPT);
    check_cr4(CR4_PGE, false, false);
    check_cr4(CR4_SMEP, false, false); /* set: the PCID's, globals as well */
    check_cr4(CR4_SMAP, true, true);
    check_cr4(CR4_PKE, false, false); /* set: AMD's drops all */
    regs.cr4 |= CR4_SMEP;
    hw_mmu_set_regs(rig.mmu, &regs);
    check_cr4(CR4_SMEP, true, true); /* cleared: nothing */
    regs.cr4 |= CR4_PKE;
    hw_mmu_set_regs(rig.mmu, &regs);
    check_cr4(CR4_PKE, true, true);
    make_stale();
    struct paging_regs now = regs;
    now.cr0 &= ~X86_CR0_WP;
    hw_mmu_set_regs(rig.mmu, &now);
    check_stale(true, true, true);
    now.cr0 &= ~X86_CR0_PG; /* alone: no other bit that would do */
    hw_mmu_set_regs(rig.mmu, &now);
    hw_mmu_set_regs(rig.mmu, &regs);
    check_stale(false, false, false);
}

static void test_pcide_cleared(void **state)
{
    (void)state;
    start(HW_EPT);
    regs.cr3 &= ~UINT64_C(1);
    hw_mmu_set_regs(rig.mmu, &regs);
    check_cr4(CR4_PCIDE, false, false);
}

static void test_invlpg(void **state)
{
    (void)state;
    start(HW_NATIVE);
    make_stale();
    hw_mmu_invlpg(rig.mmu, mv_gva(LOCAL + 77));
    check_stale(false, true, true);
    hw_mmu_invlpg(rig.mmu, mv_gva(GLOBAL));
    check_stale(false, true, false);
    hw_mmu_invlpg(rig.mmu, mv_gva(UINT64_C(1) << 60)); /* no address: nothing */
    check_stale(false, true, false);
}

/* Over 4K pages of the host's, a page of 2M is in many entries: all go. */
static void test_invlpg_of_a_fractured_page(void **state)
{
    (void)state;
    start(HW_EPT);
    make_stale();
    assert_int_equal(gpa_of(LARGE + 4096), 2 * MIB + 4096);
    set_leaf(LARGE, 4 * MIB);
    assert_int_equal(gpa_of(LARGE), 0);
    assert_int_equal(gpa_of(LARGE + 4096), 2 * MIB + 4096);
    hw_mmu_invlpg(rig.mmu, mv_gva(LARGE + 2 * MIB - 1));
    assert_int_equal(gpa_of(LARGE), 4 * MIB);
    assert_int_equal(gpa_of(LARGE + 4096), 4 * MIB + 4096);
    check_stale(true, true, true);
}

static void test_invpcid(void **state)
{
    (void)state;
    start(HW_EPT);
    make_stale();
    assert_true(hw_mmu_invpcid(rig.mmu, 0, 1, mv_gva(LOCAL)));
    check_stale(false, true, true);
    assert_true(hw_mmu_invpcid(rig.mmu, 0, 1, mv_gva(GLOBAL))); /* not globals */
    check_stale(false, true, true);
    assert_true(hw_mmu_invpcid(rig.mmu, 1, 2, mv_gva(0))); /* somebody else's */
    check_stale(false, true, true);
    assert_true(hw_mmu_invpcid(rig.mmu, 1, 1, mv_gva(0)));
    check_stale(false, false, true);
    make_stale();
    assert_true(hw_mmu_invpcid(rig.mmu, 3, 0, mv_gva(0)));
    check_stale(false, false, true);
    assert_true(hw_mmu_invpcid(rig.mmu, 2, 0, mv_gva(0)));
    check_stale(false, false, false);
}

static void test_invpcid_refuses(void **state)
{
    (void)state;
    start(HW_EPT);
    assert_false(hw_mmu_invpcid(rig.mmu, 4, 0, mv_gva(0)));
    assert_false(hw_mmu_invpcid(rig.mmu, 2, 0x1000, mv_gva(0)));
    assert_false(hw_mmu_invpcid(rig.mmu, 0, 1, mv_gva(UINT64_C(1) << 47)));
    assert_true(hw_mmu_invpcid(rig.mmu, 1, 1, mv_gva(UINT64_C(1) << 47)));
    regs.cr4 &= ~CR4_PCIDE;
    regs.cr3 &= ~UINT64_C(1);
    hw_mmu_set_regs(rig.mmu, &regs);
    assert_false(hw_mmu_invpcid(rig.mmu, 0, 1, mv_gva(0)));
    assert_false(hw_mmu_invpcid(rig.mmu, 1, 1, mv_gva(0)));
    assert_true(hw_mmu_invpcid(rig.mmu, 1, 0, mv_gva(0)));
}

static void test_invept(void **state)
{
    (void)state;
    start(HW_EPT);
    make_stale();
    hw_mmu_set_root(rig.mmu, rig.nested_root, 2); /* another VPID: nothing of it is there */
    check_stale(false, false, false);
    hw_mmu_set_root(rig.mmu, rig.nested_root, 1);
    check_stale(true, true, true);
    hw_mmu_invept(rig.mmu); /* of all VPIDs and PCIDs */
    check_stale(false, false, false);
    make_stale();
    pt_word_t *other_root = rig_new_nested(&rig);
    memcpy(other_root, rig.nested_root, GUEST_PAGE_SIZE);
    hw_mmu_set_root(rig.mmu, other_root, 1);
    check_stale(false, false, false);
    hw_mmu_invept(rig.mmu); /* of the other root */
    hw_mmu_set_root(rig.mmu, rig.nested_root, 1);
    check_stale(true, true, true);
}

/* INVLPG under one root reaches what another root has of the same VPID. */
static void test_invlpg_with_two_roots(void **state)
{
    (void)state;
    start(HW_EPT);
    assert_int_equal(gpa_of(LOCAL), 0); /* and no page that is in parts */
    assert_int_equal(gpa_of(OTHER), 0);
    set_leaf(LOCAL, 2 * MIB);
    set_leaf(OTHER, 2 * MIB);
    pt_word_t *other_root = rig_new_nested(&rig);
    memcpy(other_root, rig.nested_root, GUEST_PAGE_SIZE);
    hw_mmu_set_root(rig.mmu, other_root, 1);
    hw_mmu_invlpg(rig.mmu, mv_gva(LOCAL));
    hw_mmu_set_root(rig.mmu, rig.nested_root, 1);
    assert_false(is_stale(LOCAL));
    assert_true(is_stale(OTHER));
}

static void test_invvpid(void **state)
{
    (void)state;
    start(HW_EPT);
    make_stale();
    hw_mmu_invvpid(rig.mmu, 0, 2, mv_gva(LOCAL));
    check_stale(true, true, true);
    hw_mmu_invvpid(rig.mmu, 0, 1, mv_gva(LOCAL));
    hw_mmu_invvpid(rig.mmu, 0, 1, mv_gva(GLOBAL));
    check_stale(false, true, false);
    make_stale();
    hw_mmu_invvpid(rig.mmu, 3, 1, mv_gva(0));
    check_stale(false, false, true);
    hw_mmu_invvpid(rig.mmu, 1, 2, mv_gva(0));
    check_stale(false, false, true);
    hw_mmu_invvpid(rig.mmu, 1, 1, mv_gva(0));
    check_stale(false, false, false);
    make_stale();
    hw_mmu_invvpid(rig.mmu, 2, 0, mv_gva(0));
    check_stale(false, false, false);
}

/* --- AMD's: TLB_CONTROL, and ASIDs over all that is cached --------------------------------------------- */

static pt_word_t *new_root(void)
{
    pt_word_t *root = rig_new_nested(&rig);
    memcpy(root, rig.nested_root, GUEST_PAGE_SIZE);
    return root;
}

static void test_tlb_control(void **state)
{
    (void)state;
    start(HW_NPT);
    make_stale();
    hw_mmu_tlb_control(rig.mmu, 7);
    check_stale(false, false, true);
    make_stale();
    hw_mmu_tlb_control(rig.mmu, 3);
    check_stale(false, false, false);
    make_stale();
    hw_mmu_tlb_control(rig.mmu, 1);
    check_stale(false, false, false);
    /* 3 and 7 are for the ASID that is entered, 1 is for all. */
    make_stale();
    hw_mmu_set_root(rig.mmu, rig.nested_root, 2);
    hw_mmu_tlb_control(rig.mmu, 3);
    hw_mmu_tlb_control(rig.mmu, 7);
    hw_mmu_set_root(rig.mmu, rig.nested_root, 1);
    check_stale(true, true, true);
    hw_mmu_set_root(rig.mmu, rig.nested_root, 2);
    hw_mmu_tlb_control(rig.mmu, 1);
    hw_mmu_set_root(rig.mmu, rig.nested_root, 1);
    check_stale(false, false, false);
    /* And for all roots that the ASID has had. */
    make_stale();
    hw_mmu_set_root(rig.mmu, new_root(), 1);
    hw_mmu_tlb_control(rig.mmu, 3);
    hw_mmu_set_root(rig.mmu, rig.nested_root, 1);
    check_stale(false, false, false);
}

static uint64_t host_of_local(void)
{
    struct hw_result result = rig_access(&rig, LOCAL, MV_ACCESS_READ, PT_USER);
    assert_int_equal(result.end, HW_DONE);
    return (uint64_t)(result.host - rig.memory);
}

/* LOCAL is at gpa 0, whose nested page is cached as the first, and is the second in memory. */
static void make_nested_stale(void)
{
    *rig_nested_entry(&rig, 0, 1) = rig_nested_leaf(&rig, 0, 1);
    hw_mmu_flush_all(rig.mmu);
    assert_int_equal(host_of_local(), 0);
    *rig_nested_entry(&rig, 0, 1) = rig_nested_leaf(&rig, GUEST_PAGE_SIZE, 1);
    assert_int_equal(host_of_local(), 0);
}

/* A new ASID is a flush of what is guest-physical as well. */
static void test_nested_tlb_of_asids(void **state)
{
    (void)state;
    struct hw_options options = rig_default_options(HW_NPT);
    options.model_tlb = true; /* of no entries */
    options.has_nested_tlb = true;
    options.nested = (struct hw_tlb_geometry){16, 4};
    rig_init(&rig, &options, 4);
    rig_map_nested(&rig, 0, 8 * MIB, 1);
    rig_map_nested(&rig, RIG_TABLES, 2 * MIB, 1);
    set_leaf(LOCAL, 0);
    rig_load(&rig);
    make_nested_stale();
    hw_mmu_set_root(rig.mmu, rig.nested_root, 2);
    assert_int_equal(host_of_local(), GUEST_PAGE_SIZE);
    hw_mmu_tlb_control(rig.mmu, 3);
    hw_mmu_set_root(rig.mmu, rig.nested_root, 1);
    assert_int_equal(host_of_local(), 0);
    hw_mmu_tlb_control(rig.mmu, 7);
    assert_int_equal(host_of_local(), 0);
    hw_mmu_tlb_control(rig.mmu, 3);
    assert_int_equal(host_of_local(), GUEST_PAGE_SIZE);
    make_nested_stale();
    hw_mmu_set_root(rig.mmu, rig.nested_root, 2);
    hw_mmu_tlb_control(rig.mmu, 1);
    hw_mmu_set_root(rig.mmu, rig.nested_root, 1);
    assert_int_equal(host_of_local(), GUEST_PAGE_SIZE);
    make_nested_stale();
    hw_mmu_set_root(rig.mmu, new_root(), 1);
    hw_mmu_tlb_control(rig.mmu, 3);
    hw_mmu_set_root(rig.mmu, rig.nested_root, 1);
    assert_int_equal(host_of_local(), GUEST_PAGE_SIZE);
}

/* --- Paging-structure caches: a PDE is changed to lead to another table ---------------------------- */

static void start_with_walk_cache(void)
{
    struct hw_options options = rig_default_options(HW_NATIVE);
    options.model_tlb = true; /* of no entries */
    options.has_walk_caches = true;
    options.pd = (struct hw_tlb_geometry){32, 4};
    rig_init(&rig, &options, 4);
    set_leaf(LOCAL, 0);
    regs = rig_regs(&rig);
    regs.cr4 |= CR4_PGE | CR4_PCIDE;
    regs.cr3 |= 1;
    hw_mmu_set_regs(rig.mmu, &regs);
}

static void make_pde_stale(void)
{
    uint64_t *pde = rig_guest_entry(&rig, LOCAL, 2, RIG_ALL);
    *pde = 0;
    set_leaf(LOCAL, 0);
    hw_mmu_flush_all(rig.mmu);
    assert_int_equal(gpa_of(LOCAL), 0);
    *pde = 0;
    set_leaf(LOCAL, 2 * MIB);
    assert_true(is_stale(LOCAL));
}

/* A page fault takes upper entries of its address along, whatever root they were found under; another switch of
 * roots does not. */
static void test_a_fault_under_another_root(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct hw_options options = rig_default_options(i < 2 ? HW_EPT : HW_NPT);
        bool faults = i % 2;
        options.model_tlb = true; /* of no entries */
        options.has_walk_caches = true;
        options.pd = (struct hw_tlb_geometry){32, 4};
        rig_init(&rig, &options, 4);
        rig_map_nested(&rig, 0, 8 * MIB, 1);
        rig_map_nested(&rig, RIG_TABLES, 2 * MIB, 1);
        set_leaf(LOCAL, 0);
        rig_load(&rig);
        assert_int_equal(gpa_of(LOCAL), 0);
        *(uint64_t *)rig_guest_entry(&rig, LOCAL, 2, RIG_ALL) = 0;
        assert_int_equal(gpa_of(LOCAL), 0);
        hw_mmu_set_root(rig.mmu, new_root(), 1);
        if (faults) { /* of the same upper entry */
            assert_int_equal(rig_access(&rig, OTHER, MV_ACCESS_READ, PT_USER).end, HW_FAULT);
        }
        hw_mmu_set_root(rig.mmu, rig.nested_root, 1);
        assert_int_equal(rig_access(&rig, LOCAL, MV_ACCESS_READ, PT_USER).end, faults ? HW_FAULT : HW_DONE);
        rig_finish(&rig);
    }
}

static void test_walk_caches_go_too(void **state)
{
    (void)state;
    start_with_walk_cache();
    make_pde_stale();
    hw_mmu_invlpg(rig.mmu, mv_gva(0)); /* whatever the address */
    assert_false(is_stale(LOCAL));
    make_pde_stale();
    hw_mmu_load_cr3(rig.mmu, regs.cr3 | KEEP, true);
    assert_true(is_stale(LOCAL));
    hw_mmu_load_cr3(rig.mmu, regs.cr3, false);
    assert_false(is_stale(LOCAL));
    make_pde_stale();
    assert_true(hw_mmu_invpcid(rig.mmu, 1, 2, mv_gva(0)));
    assert_true(is_stale(LOCAL));
    assert_true(hw_mmu_invpcid(rig.mmu, 0, 1, mv_gva(0)));
    assert_false(is_stale(LOCAL));
    make_pde_stale();
    assert_true(hw_mmu_invpcid(rig.mmu, 3, 0, mv_gva(0)));
    assert_false(is_stale(LOCAL));
    make_pde_stale();
    hw_mmu_invvpid(rig.mmu, 3, 1, mv_gva(0));
    assert_false(is_stale(LOCAL));
    make_pde_stale();
    hw_mmu_invept(rig.mmu);
    assert_false(is_stale(LOCAL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_nothing_goes_by_itself, finish),
        cmocka_unit_test_teardown(test_mov_to_cr3, finish),
        cmocka_unit_test_teardown(test_mov_to_cr3_without_pcid, finish),
        cmocka_unit_test_teardown(test_mov_to_cr0_and_cr4, finish),
        cmocka_unit_test_teardown(test_pcide_cleared, finish),
        cmocka_unit_test_teardown(test_invlpg, finish),
        cmocka_unit_test_teardown(test_invlpg_of_a_fractured_page, finish),
        cmocka_unit_test_teardown(test_invpcid, finish),
        cmocka_unit_test_teardown(test_invpcid_refuses, finish),
        cmocka_unit_test_teardown(test_invept, finish),
        cmocka_unit_test_teardown(test_invlpg_with_two_roots, finish),
        cmocka_unit_test_teardown(test_invvpid, finish),
        cmocka_unit_test_teardown(test_tlb_control, finish),
        cmocka_unit_test_teardown(test_nested_tlb_of_asids, finish),
        cmocka_unit_test(test_a_fault_under_another_root),
        cmocka_unit_test_teardown(test_walk_caches_go_too, finish),
    };
    return cmocka_run_group_tests_name("invalidate", tests, NULL, NULL);
}
