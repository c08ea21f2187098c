// SPDX-License-Identifier: MIT
/*
 * How many memory references a walk makes, against what is published:
 *   two dimensions: (g + 1)(h + 1) - 1 for g guest levels and h nested ones. Bhargava, Serebrin, Spadini, Manne,
 *     "Accelerating Two-Dimensional Page Walks for Virtualized Systems" (ASPLOS 2008): 24 for 4 and 4. The tables
 *     of all sizes, and of 5 levels, are that formula.
 *   one dimension: one for each level.
 *   with paging-structure caches: Bhargava et al.; Barr, Cox, Rixner, "Translation Caching: Skip, Don't Walk (the
 *     Page Table)" (ISCA 2010).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "hardware/mmu_test.h"

#define GVA (3 * GIB)

static uint64_t refs_of(struct rig *rig, uint64_t gva)
{
    const struct hw_counters *c = hw_mmu_counters(rig->mmu);
    uint64_t before = c->refs_guest + c->refs_nested;
    struct hw_result result = rig_access(rig, gva, MV_ACCESS_WRITE, PT_USER);
    assert_int_equal(result.end, HW_DONE);
    uint64_t refs = c->refs_guest + c->refs_nested - before;
    assert_true(c->histogram[refs] > 0);
    return refs;
}

/* One walk: guest of g levels with pages of level gl, nested tables of h with pages of level hl. */
static uint64_t nested_refs(enum hw_dimension dimension, unsigned g, unsigned gl, unsigned h, unsigned hl)
{
    struct rig rig;
    struct hw_options options = rig_default_options(dimension);
    options.nested_levels = (uint8_t)h;
    options.model_tlb = true; /* without entries: each access walks */
    rig_init(&rig, &options, g);
    rig_map(&rig, GVA, 0, gl, RIG_ALL);
    if (hl == 1) {
        rig_map_nested(&rig, 0, 2 * MIB, 1);
        rig_map_nested(&rig, RIG_TABLES, 2 * MIB, 1);
    } else {
        rig_map_nested(&rig, 0, RIG_BYTES, hl);
    }
    rig_load(&rig);
    uint64_t refs = refs_of(&rig, GVA);
    assert_int_equal(refs_of(&rig, GVA), refs); /* A and D are set now: the same */
    rig_finish(&rig);
    return refs;
}

static void check_matrix(unsigned g, unsigned h, const unsigned expected[3][3])
{
    for (unsigned gl = 1; gl <= 3; gl++) {
        for (unsigned hl = 1; hl <= 3; hl++) {
            assert_int_equal(nested_refs(HW_EPT, g, gl, h, hl), expected[gl - 1][hl - 1]);
            assert_int_equal(nested_refs(HW_NPT, g, gl, h, hl), expected[gl - 1][hl - 1]);
        }
    }
}

/* Rows: guest pages of 4K, 2M, 1G; columns: the host's. */
static void test_4_by_4(void **state)
{
    (void)state;
    check_matrix(4, 4, (const unsigned[3][3]){{24, 19, 14}, {19, 15, 11}, {14, 11, 8}});
}

static void test_5_by_5(void **state)
{
    (void)state;
    check_matrix(5, 5, (const unsigned[3][3]){{35, 29, 23}, {29, 24, 19}, {23, 19, 15}});
}

static void test_5_by_4(void **state)
{
    (void)state;
    check_matrix(5, 4, (const unsigned[3][3]){{29, 23, 17}, {24, 19, 14}, {19, 15, 11}});
}

static void test_4_by_5(void **state)
{
    (void)state;
    check_matrix(4, 5, (const unsigned[3][3]){{29, 24, 19}, {23, 19, 15}, {17, 14, 11}});
}

static uint64_t one_dimension_refs(enum hw_dimension dimension, unsigned g, unsigned gl)
{
    struct rig rig;
    struct hw_options options = rig_default_options(dimension);
    options.model_tlb = true;
    rig_init(&rig, &options, g);
    rig_map(&rig, GVA, 0, gl, RIG_ALL);
    rig_load(&rig);
    uint64_t refs = refs_of(&rig, GVA);
    rig_finish(&rig);
    return refs;
}

static void test_native(void **state)
{
    (void)state;
    for (unsigned level = 1; level <= 3; level++) {
        assert_int_equal(one_dimension_refs(HW_NATIVE, 4, level), 5 - level);
        assert_int_equal(one_dimension_refs(HW_NATIVE, 5, level), 6 - level);
    }
    assert_int_equal(one_dimension_refs(HW_NATIVE, 3, 1), 2); /* PAE: PDPTEs are registers */
    assert_int_equal(one_dimension_refs(HW_NATIVE, 3, 2), 1);
    assert_int_equal(one_dimension_refs(HW_NATIVE, 2, 1), 2);
    assert_int_equal(one_dimension_refs(HW_NATIVE, 2, 2), 1);
}

/* The hypervisor's tables in place of the guest's: as native. */
static void test_shadow(void **state)
{
    (void)state;
    for (unsigned level = 1; level <= 3; level++) {
        struct rig rig;
        struct hw_options options = rig_default_options(HW_SHADOW);
        options.model_tlb = true;
        rig_init(&rig, &options, 4);
        *rig_nested_entry(&rig, GVA, level) =
            (uint64_t)(uintptr_t)rig.memory | RIG_ALL | (level > 1 ? X86_ENTRY_PS : 0);
        rig_load(&rig);
        assert_int_equal(refs_of(&rig, GVA), 5 - level);
        rig_finish(&rig);
    }
}

static void test_paging_off(void **state)
{
    (void)state;
    for (unsigned h = 4; h <= 5; h++) {
        for (unsigned level = 1; level <= 3; level++) {
            struct rig rig;
            struct hw_options options = rig_default_options(HW_EPT);
            options.nested_levels = (uint8_t)h;
            options.model_tlb = true;
            rig_init(&rig, &options, 4);
            rig_map_nested(&rig, 0, pt_level_bytes(level), level);
            assert_int_equal(refs_of(&rig, 0), h + 1 - level);
            rig_finish(&rig);
        }
    }
}

/* PAE: 2 (h + 1) + h with the PDPTEs in registers, as Intel's; AMD reads them in the walk: 3 (h + 1) + h. */
static void test_pae(void **state)
{
    (void)state;
    assert_int_equal(nested_refs(HW_EPT, 3, 1, 4, 1), 14);
    assert_int_equal(nested_refs(HW_EPT, 3, 2, 4, 1), 9);
    assert_int_equal(nested_refs(HW_NPT, 3, 1, 4, 1), 19);
    assert_int_equal(nested_refs(HW_EPT, 2, 1, 4, 1), 14);
}

/* g (h_pt + 1) + h_data: the guest's tables in pages of one size, its data in another. */
static void test_tables_in_other_pages_than_data(void **state)
{
    (void)state;
    for (unsigned table_level = 1; table_level <= 2; table_level++) {
        for (unsigned data_level = 1; data_level <= 2; data_level++) {
            struct rig rig;
            struct hw_options options = rig_default_options(HW_EPT);
            options.model_tlb = true;
            rig_init(&rig, &options, 4);
            rig_map(&rig, GVA, 0, 1, RIG_ALL);
            rig_map_nested(&rig, 0, 2 * MIB, data_level);
            rig_map_nested(&rig, RIG_TABLES, 2 * MIB, table_level);
            rig_load(&rig);
            assert_int_equal(refs_of(&rig, GVA), 4 * (5 - table_level + 1) + 5 - data_level);
            rig_finish(&rig);
        }
    }
}

/* --- With caches ---------------------------------------------------------------------------------- */

/* Of 1 GiB, mapped by 4 KiB pages of which all lead to one page of memory. */
static void map_a_gib(struct rig *rig, uint64_t bytes)
{
    for (uint64_t offset = 0; offset < bytes; offset += 4 * KIB) {
        rig_map(rig, GVA + offset, 0, 1, RIG_ALL | RIG_AD);
    }
}

static uint64_t random_state = 88172645463325252u;

static uint64_t random_bits(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/*
 * Uniform random pages of 1 GiB, PDE cache of 32 entries (2 MiB each), PDPTE cache of one or more: a hit rate of
 * 32 * 2 MiB / 1 GiB = 6.25 %, and a mean of a + 2 (1 - a) b + 3 (1 - a)(1 - b) c + 4 (1 - a)(1 - b)(1 - c).
 */
static void test_walk_cache_formula(void **state)
{
    (void)state;
    struct rig rig;
    struct hw_options options = rig_default_options(HW_NATIVE);
    options.model_tlb = true;
    options.has_walk_caches = true;
    options.pd = (struct hw_tlb_geometry){32, 32};
    options.pdpt = (struct hw_tlb_geometry){4, 4};
    options.pml4 = (struct hw_tlb_geometry){2, 2};
    rig_init(&rig, &options, 4);
    map_a_gib(&rig, GIB);
    rig_load(&rig);
    const unsigned count = 400000;
    uint64_t refs = 0;
    for (unsigned i = 0; i < count; i++) {
        refs += refs_of(&rig, GVA + random_bits() % (GIB >> 12) * 4096);
    }
    const struct hw_counters *c = hw_mmu_counters(rig.mmu);
    assert_int_equal(c->histogram[3], 0);
    assert_int_equal(c->histogram[4], 1); /* the first: nothing is cached */
    /* The rate within four standard deviations: sqrt(a (1 - a) / n) = 0.00038. */
    double a = (double)c->histogram[1] / count;
    assert_true(a > 0.0625 - 0.0016 && a < 0.0625 + 0.0016);
    double mean = a + (1 - a) * 2;
    assert_true((double)refs / count > mean - 0.0001 && (double)refs / count < mean + 0.0001);
    rig_finish(&rig);
}

/* In two dimensions a PDE cache's hit saves the nested walk of the table as well: 1 + h. */
static void test_combined_walk_cache(void **state)
{
    (void)state;
    struct rig rig;
    struct hw_options options = rig_default_options(HW_EPT);
    options.model_tlb = true;
    options.has_walk_caches = true;
    options.pd = (struct hw_tlb_geometry){32, 4};
    rig_init(&rig, &options, 4);
    rig_map(&rig, GVA, 0, 1, RIG_ALL);
    rig_map(&rig, GVA + 4096, 4096, 1, RIG_ALL);
    rig_map_nested(&rig, 0, 2 * MIB, 1);
    rig_map_nested(&rig, RIG_TABLES, 2 * MIB, 1);
    rig_load(&rig);
    assert_int_equal(refs_of(&rig, GVA), 24);
    assert_int_equal(refs_of(&rig, GVA), 5);
    assert_int_equal(refs_of(&rig, GVA + 4096), 5);
    rig_finish(&rig);
}

/* A nested TLB that holds all: the guest's references are left, and nothing else. */
static void test_nested_tlb(void **state)
{
    (void)state;
    struct rig rig;
    struct hw_options options = rig_default_options(HW_NPT);
    options.model_tlb = true;
    options.has_nested_tlb = true;
    options.nested = (struct hw_tlb_geometry){16, 16};
    rig_init(&rig, &options, 4);
    rig_map(&rig, GVA, 0, 1, RIG_ALL);
    rig_map_nested(&rig, 0, 2 * MIB, 1);
    rig_map_nested(&rig, RIG_TABLES, 2 * MIB, 1);
    rig_load(&rig);
    assert_int_equal(refs_of(&rig, GVA), 24);
    assert_int_equal(refs_of(&rig, GVA), 4);
    assert_int_equal(hw_mmu_counters(rig.mmu)->nested_tlb_hits, 5);
    assert_int_equal(hw_mmu_counters(rig.mmu)->nested_tlb_misses, 5);
    rig_finish(&rig);
}

/* --- The TLB -------------------------------------------------------------------------------------- */

/*
 * Three sweeps over 4096 pages with L1 64x4 and L2 1536x12 and LRU: each access misses. The oracle is smoke.c of
 * SagePTE's artifact (github.com/amirmnoohi/SagePTE-AE): 12288.
 */
static void test_cyclic_sweep(void **state)
{
    (void)state;
    struct rig rig;
    struct hw_options options = rig_default_options(HW_NATIVE);
    options.model_tlb = true;
    options.l1 = (struct hw_tlb_geometry){64, 4};
    options.l2 = (struct hw_tlb_geometry){1536, 12};
    rig_init(&rig, &options, 4);
    map_a_gib(&rig, 16 * MIB);
    rig_load(&rig);
    for (unsigned pass = 0; pass < 3; pass++) {
        for (unsigned page = 0; page < 4096; page++) {
            (void)rig_access(&rig, GVA + page * UINT64_C(4096), MV_ACCESS_READ, PT_USER);
        }
    }
    const struct hw_counters *c = hw_mmu_counters(rig.mmu);
    assert_int_equal(c->accesses, 12288);
    assert_int_equal(c->misses, 12288);
    assert_int_equal(c->walks, 12288);
    /* 1536 pages fit: the first sweep misses, no other. */
    hw_mmu_flush_all(rig.mmu);
    for (unsigned pass = 0; pass < 3; pass++) {
        for (unsigned page = 0; page < 1536; page++) {
            (void)rig_access(&rig, GVA + page * UINT64_C(4096), MV_ACCESS_READ, PT_USER);
        }
    }
    assert_int_equal(c->misses, 12288 + 1536);
    rig_finish(&rig);
}

/* GUPS: uniform random over P pages, E entries: 1 - E / P of the accesses miss. */
static void test_random_miss_ratio(void **state)
{
    (void)state;
    struct rig rig;
    struct hw_options options = rig_default_options(HW_NATIVE);
    options.model_tlb = true;
    options.l1 = (struct hw_tlb_geometry){64, 4};
    options.l2 = (struct hw_tlb_geometry){1536, 12};
    rig_init(&rig, &options, 4);
    map_a_gib(&rig, 16 * MIB);
    rig_load(&rig);
    const struct hw_counters *c = hw_mmu_counters(rig.mmu);
    const unsigned warm = 100000, count = 1000000;
    uint64_t before = 0;
    for (unsigned i = 0; i < warm + count; i++) {
        if (i == warm) {
            before = c->misses;
        }
        (void)rig_access(&rig, GVA + random_bits() % 4096 * 4096, MV_ACCESS_READ, PT_USER);
    }
    /* L2 alone holds 1536; L1 adds what L2 has evicted of its 64. Within four standard deviations: 0.0005 each. */
    double ratio = (double)(c->misses - before) / count;
    print_message("# GUPS: miss ratio %.4f, 1 - E/P = 0.6250\n", ratio);
    assert_true(ratio > 0.625 - 64.0 / 4096 - 0.002 && ratio < 0.625 + 0.002);
    rig_finish(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_4_by_4),
        cmocka_unit_test(test_5_by_5),
        cmocka_unit_test(test_5_by_4),
        cmocka_unit_test(test_4_by_5),
        cmocka_unit_test(test_native),
        cmocka_unit_test(test_shadow),
        cmocka_unit_test(test_paging_off),
        cmocka_unit_test(test_pae),
        cmocka_unit_test(test_tables_in_other_pages_than_data),
        cmocka_unit_test(test_walk_cache_formula),
        cmocka_unit_test(test_combined_walk_cache),
        cmocka_unit_test(test_nested_tlb),
        cmocka_unit_test(test_cyclic_sweep),
        cmocka_unit_test(test_random_miss_ratio),
    };
    return cmocka_run_group_tests_name("walk_refs", tests, NULL, NULL);
}
