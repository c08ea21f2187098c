// SPDX-License-Identifier: MIT
/* Entries: which are legal, and that what is taken from one comes back. */
#include "hypervisor/spte.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "paging/ept.h"
#include "paging/npt.h"

#define HVA UINT64_C(0x7f1234400000)

static const struct pt_format *const formats[] = {&pt_format_ept, &pt_format_npt};
#define EACH_FORMAT(f)                                                                                            \
    for (const struct pt_format *const *at = formats, *f = *at; at < formats + 2;                                 \
         at++, f = at < formats + 2 ? *at : f)

static uint64_t leaf_of(const struct pt_format *f, unsigned level, uint64_t ad, bool slot_writable, bool writable)
{
    struct spte_leaf leaf = {.hva = HVA,
                             .level = level,
                             .readable = true,
                             .executable = true,
                             .is_slot_writable = slot_writable,
                             .writable = writable,
                             .accessed = true,
                             .ad = ad};
    return spte_make_leaf(f, &leaf);
}

/* H, M, W: four of the eight are legal. */
static void test_truth_table(void **state)
{
    (void)state;
    static const bool legal[8] = {true, false, false, false, true, false, true, true};
    EACH_FORMAT(f)
    {
        for (unsigned trio = 0; trio < 8; trio++) {
            uint64_t e = leaf_of(f, 1, SPTE_AD_ENABLED, false, false);
            e |= trio & 4 ? f->software_host_writable : 0;
            e |= trio & 2 ? f->software_mmu_writable : 0;
            e |= trio & 1 ? f->writable : 0;
            assert_int_equal(spte_check(f, e, 1), legal[trio]);
        }
    }
}

static void test_leaves(void **state)
{
    (void)state;
    EACH_FORMAT(f)
    {
        for (unsigned level = 1; level <= 3; level++) {
            uint64_t e = leaf_of(f, level, SPTE_AD_WRITE_PROTECT, true, true);
            bool is_aligned_to_it = (HVA & (pt_level_bytes(level) - 1)) == 0;
            assert_int_equal(spte_check(f, e, level), is_aligned_to_it);
            assert_true(spte_is_leaf(f, e, level) && !spte_is_table(f, e, level) && !spte_is_mmio(f, e));
            assert_int_equal(pt_address(e), HVA);
            assert_true(spte_allows(f, e, MV_ACCESS_WRITE) && spte_allows(f, e, MV_ACCESS_FETCH));
        }
        uint64_t e = leaf_of(f, 2, SPTE_AD_ENABLED, true, false);
        assert_true(spte_allows(f, e, MV_ACCESS_READ) && !spte_allows(f, e, MV_ACCESS_WRITE));
        uint64_t child = spte_child(f, e, 2, 7);
        assert_int_equal(pt_address(child), HVA + 7 * 4096);
        assert_true(spte_check(f, child, 1) && !(child & f->large));
        assert_false(spte_check(f, e, 4));
        assert_false(spte_check(f, e & ~SPTE_PRESENT, 2));
    }
    /* What EPT would call misconfigured. */
    assert_false(spte_check(&pt_format_ept, leaf_of(&pt_format_ept, 1, 0, true, true) & ~EPT_R, 1));
}

/* Access-tracked: no rights for the hardware, and all but W comes back. */
static void test_tracking(void **state)
{
    (void)state;
    EACH_FORMAT(f)
    {
        for (unsigned i = 0; i < 4; i++) {
            struct spte_leaf leaf = {.hva = HVA,
                                     .level = 1,
                                     .readable = true,
                                     .executable = i & 1,
                                     .is_slot_writable = true,
                                     .writable = i & 2,
                                     .ad = SPTE_AD_DISABLED};
            uint64_t e = spte_make_leaf(f, &leaf), tracked = spte_track(f, e);
            assert_true(spte_check(f, e, 1) && spte_check(f, tracked, 1));
            assert_true(spte_is_tracked(f, tracked) && !spte_is_tracked(f, e));
            for (unsigned kind = 0; kind < 3; kind++) {
                assert_false(spte_allows(f, tracked, (enum mv_access)kind));
            }
            assert_true(spte_is_leaf(f, tracked, 1) && !pt_is_present(f, tracked));
            assert_int_equal(spte_restore(f, tracked), e & ~f->writable);
        }
        /* Only where there are no A bits. */
        assert_false(spte_check(f, spte_track(f, leaf_of(f, 1, SPTE_AD_ENABLED, true, true)), 1));
    }
}

/* The hardware refuses it, it is nothing else, and the generation comes back: all 19 bits. */
static void test_mmio(void **state)
{
    (void)state;
    const struct ept_caps caps = {.address_bits = 52, .execute_only = true, .large_1g = true};
    EACH_FORMAT(f)
    {
        uint64_t gpa = UINT64_C(0x7ffffffff000);
        for (uint64_t generation = 0; generation <= SPTE_GENERATION_MASK; generation++) {
            uint64_t e = spte_make_mmio(f, gpa, generation);
            assert_int_equal(spte_mmio_generation(e), generation);
            assert_int_equal(e & SPTE_MMIO_GPA_MASK, gpa);
            assert_true(spte_is_mmio(f, e) && !spte_is_present(e) && spte_check(f, e, 1) && !spte_check(f, e, 2));
            assert_true(f != &pt_format_ept || ept_is_misconfigured(&caps, e, 1));
            assert_true(f != &pt_format_npt || ((e & 1) && (e & NPT_RESERVED)));
        }
        assert_int_equal(spte_mmio_generation(spte_make_mmio(f, gpa, SPTE_GENERATION_MASK + 6)), 5);
        assert_false(spte_is_mmio(f, SPTE_FROZEN));
        assert_false(pt_is_present(f, SPTE_FROZEN));
        assert_true(spte_check(f, 0, 4) && spte_check(f, SPTE_FROZEN, 4));
    }
}

static void test_tables(void **state)
{
    (void)state;
    static _Alignas(4096) pt_word_t table[PT_ENTRIES];
    EACH_FORMAT(f)
    {
        uint64_t e = spte_make_table(f, table);
        for (unsigned level = 2; level <= 5; level++) {
            assert_true(spte_is_table(f, e, level) && spte_check(f, e, level) &&
                        spte_check(f, e | f->accessed, level));
        }
        assert_ptr_equal(spte_table(e), table);
        assert_true(spte_is_table(f, e & ~f->writable, 3) && spte_check(f, e & ~f->writable, 3)); /* shut */
        assert_false(spte_check(f, e & ~f->readable, 3));
        assert_false(spte_check(f, e & ~PT_ADDRESS_MASK, 3));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truth_table), cmocka_unit_test(test_leaves), cmocka_unit_test(test_tracking),
        cmocka_unit_test(test_mmio),        cmocka_unit_test(test_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
