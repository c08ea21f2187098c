// SPDX-License-Identifier: MIT
/*
 * Where the shadow MMU could do otherwise, and does as KVM; and where KVM is wrong, and it does not. Each was
 * found by following a real guest (kvm_counters_test.c), and is here for hosts where that cannot be done.
 */
#include "tests/conform/soft_checks.h"

#define MIB2 UINT64_C(0x200000)
#define SMALL_TLB "soft,mmu=shadow,host-page=4K,tlb=L1=1x1" /* what it keeps hides nothing */

static int start(void **state)
{
    (void)state;
    soft_guest_make(g, SMALL_TLB);
    return 0;
}

static uint64_t table_writes(void)
{
    return counts().exits_table_write;
}

static uint64_t gpa_of(uint64_t gva, enum mv_access kind)
{
    struct mv_soft_outcome outcome;
    struct mv_soft_place place = {0};
    assert_int_equal(mv_soft_touch(g->vcpu, mv_gva(gva), kind, &place, &outcome), MV_SOFT_DONE);
    return place.gpa.raw;
}

/* Its entries are read again, and it may still be written to. */
static void an_unsync_table_that_is_linked_stays_so(void **state)
{
    (void)state;
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS | PTE_A, 1);
    (void)gpa_of(GVA, MV_ACCESS_READ);
    soft_guest_set_entry(g, GVA, 1, (GUEST_DATA + 0x3000) | RIGHTS | PTE_A);
    assert_int_equal(counter("mmu_unsync"), 1);
    soft_guest_set_entry(g, GVA + MIB2, 2, table_of(GVA, 1) | RIGHTS);
    assert_int_equal(gpa_of(GVA + MIB2, MV_ACCESS_READ), GUEST_DATA + 0x3000);
    assert_int_equal(counter("mmu_unsync"), 1);
    uint64_t writes = table_writes();
    soft_guest_set_entry(g, GVA, 1, (GUEST_DATA + 0x4000) | RIGHTS | PTE_A);
    assert_int_equal(table_writes(), writes);
    assert_true(mv_soft_load_cr3(g->vcpu, g->root_table));
    assert_int_equal(gpa_of(GVA, MV_ACCESS_READ), GUEST_DATA + 0x4000);
    assert_int_equal(counter("mmu_unsync"), 0);
}

/* Under other rights the table is another page of ours: writes are noticed again, but what was unsync is so until
 * the guest flushes. */
static void an_unsync_table_that_is_protected_stays_so(void **state)
{
    (void)state;
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS | PTE_A, 1);
    soft_guest_map(g, GVA + 9 * 4096, GUEST_DATA + 0x9000, RIGHTS | PTE_A, 1);
    (void)gpa_of(GVA, MV_ACCESS_READ);
    soft_guest_set_entry(g, GVA, 1, (GUEST_DATA + 0x3000) | RIGHTS | PTE_A);
    soft_guest_set_entry(g, GVA + MIB2, 2, table_of(GVA, 1) | PTE_P | PTE_U);
    assert_int_equal(gpa_of(GVA + MIB2, MV_ACCESS_READ), GUEST_DATA + 0x3000);
    assert_int_equal(counter("mmu_unsync"), 1);
    assert_int_equal(gpa_of(GVA + 9 * 4096, MV_ACCESS_READ),
                     GUEST_DATA + 0x9000); /* which makes use of the first */
    assert_int_equal(counter("mmu_unsync"), 1);
    uint64_t writes = table_writes();
    soft_guest_set_entry(g, GVA, 1, (GUEST_DATA + 0x4000) | RIGHTS | PTE_A);
    assert_int_equal(table_writes(), writes + 1);
    assert_int_equal(counter("mmu_unsync"), 2);
    assert_true(mv_soft_load_cr3(g->vcpu, g->root_table));
    assert_int_equal(counter("mmu_unsync"), 0);
    assert_int_equal(gpa_of(GVA, MV_ACCESS_READ), GUEST_DATA + 0x4000);
    assert_int_equal(gpa_of(GVA + MIB2, MV_ACCESS_READ), GUEST_DATA + 0x4000);
}

/* Until it is refused the guest may be shown the page as it was. */
static void a_refused_page_is_read_again(void **state)
{
    struct mv_soft_outcome outcome;
    struct mv_soft_place place;
    (void)state;
    soft_guest_map(g, GVA, GUEST_DATA, PTE_P | PTE_U | PTE_A, 1);
    assert_int_equal(gpa_of(GVA, MV_ACCESS_READ), GUEST_DATA);
    soft_guest_set_entry(g, GVA, 1, (GUEST_DATA + 0x3000) | PTE_P | PTE_U | PTE_A);
    assert_int_equal(gpa_of(GVA, MV_ACCESS_READ), GUEST_DATA);
    assert_int_equal(mv_soft_touch(g->vcpu, mv_gva(GVA), MV_ACCESS_WRITE, &place, &outcome), MV_SOFT_FAULT);
    assert_int_equal(outcome.fault.error_code & 1, 1);
    assert_int_equal(gpa_of(GVA, MV_ACCESS_READ), GUEST_DATA + 0x3000);
}

/* All of them, whoever has accessed them. */
static void neighbours_in_a_large_page(void **state)
{
    (void)state;
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS, 2);
    assert_int_equal(gpa_of(GVA + 3 * 4096, MV_ACCESS_READ), GUEST_DATA + 3 * 4096);
    assert_int_equal(counter("pages_4k"), 8);
}

/* A write to a table that is made for the guest maps it for reading, and its neighbours. */
static void neighbours_of_an_emulated_write(void **state)
{
    struct mv_soft_outcome outcome;
    uint64_t zero = 0;
    (void)state;
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS, 1);
    for (unsigned i = 1; i < 4; i++) {
        soft_guest_map(g, GVA + MIB2 + i * 4096, GUEST_DATA + i * 4096, RIGHTS | PTE_A, 1);
    }
    soft_guest_map(g, GVA + MIB2, table_of(GVA, 2), RIGHTS | PTE_A, 1);
    (void)gpa_of(GVA, MV_ACCESS_READ);
    assert_int_equal(mv_soft_write(g->vcpu, mv_gva(GVA + MIB2 + 8 * 300), &zero, 8, MV_SOFT_EXPLICIT, &outcome),
                     MV_SOFT_DONE);
    assert_int_equal(counter("pf_emulate"), 1);
    assert_int_equal(counter("pages_4k"), 1 + 4);
}

static int is_young(uint64_t gpa)
{
    uint64_t hva = (uint64_t)(uintptr_t)g->host + gpa;
    return mv_soft_test_age_host(g->vcpu, (struct mv_range){hva, hva + 4095});
}

static void what_synchronising_has_changed_is_young(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        soft_guest_map(g, GVA + i * 4096, GUEST_DATA + i * 4096, RIGHTS | PTE_A | PTE_D, 1);
    }
    (void)gpa_of(GVA, MV_ACCESS_READ);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(is_young(GUEST_DATA + i * 4096), i == 0); /* the others were prefetched */
    }
    soft_guest_set_entry(g, GVA + 4096, 1, (GUEST_DATA + 4096) | PTE_P | PTE_U | PTE_A | PTE_D);
    mv_soft_invlpg(g->vcpu, mv_gva(GVA + 4096));
    mv_soft_invlpg(g->vcpu, mv_gva(GVA + 2 * 4096));
    assert_int_equal(is_young(GUEST_DATA + 4096), 1);
    assert_int_equal(is_young(GUEST_DATA + 2 * 4096), 0);
}

/* To be loaded, when it was not, is a use: the third write after is one too many. A load of the root that is
 * loaded is none. */
static void a_root_that_comes_back_is_in_use(void **state)
{
    enum { OTHERS = 6 };
    (void)state;
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS | PTE_A, 1);
    (void)gpa_of(GVA, MV_ACCESS_READ);
    for (unsigned others = 1; others <= OTHERS; others += OTHERS - 1) { /* one; more than are kept */
        for (unsigned round = 0; round < 3; round++) {
            store(g->root_table + 8 * 300, 0);
            store(g->root_table + 8 * 301, 0);
            for (unsigned i = 0; i < others; i++) {
                assert_true(mv_soft_load_cr3(g->vcpu, g->next_table + i * 4096));
            }
            assert_true(mv_soft_load_cr3(g->vcpu, g->root_table));
        }
    }
    assert_int_equal(counter("mmu_flooded"), 0);
    store(g->root_table + 8 * 300, 0);
    store(g->root_table + 8 * 301, 0);
    assert_true(mv_soft_load_cr3(g->vcpu, g->root_table));
    store(g->root_table + 8 * 302, 0);
    assert_int_equal(counter("mmu_flooded"), 1);
}

/* KVM's tables are the same with EFER.NXE and without: a page that may not be executed is there also when the bit
 * is reserved, whatever the guest flushes. */
static void nx_without_nxe_is_reserved(void **state)
{
    struct mv_soft_outcome outcome;
    struct mv_soft_place place;
    struct kvm_sregs sregs;
    (void)state;
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS | PTE_A | PTE_NX, 1);
    (void)gpa_of(GVA, MV_ACCESS_READ);
    assert_int_equal(mv_vcpu_get_sregs(g->vcpu, &sregs, NULL), 0);
    sregs.efer &= ~(UINT64_C(1) << 11);
    assert_int_equal(mv_vcpu_set_sregs(g->vcpu, &sregs, NULL), 0);
    assert_true(mv_soft_load_cr3(g->vcpu, g->root_table));
    assert_int_equal(mv_soft_touch(g->vcpu, mv_gva(GVA), MV_ACCESS_READ, &place, &outcome), MV_SOFT_FAULT);
    assert_int_equal(outcome.fault.rule, MV_SOFT_RULE_RESERVED_BIT);
}

/* KVM takes four bytes for a part of the entry that they begin in: of the next it keeps what it had. */
static void four_bytes_of_two_entries_are_seen_in_both(void **state)
{
    struct mv_soft_outcome outcome;
    struct mv_soft_place place;
    uint32_t zero = 0;
    (void)state;
    soft_guest_end(g);
    soft_guest_make(g, SMALL_TLB ",unsync=off");
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS, 1);
    soft_guest_map(g, GVA + 4096, GUEST_DATA + 4096, RIGHTS, 1);
    soft_guest_map(g, GVA + MIB2, table_of(GVA, 1), RIGHTS, 1);
    (void)gpa_of(GVA + 4096, MV_ACCESS_READ);
    uint64_t at = GVA + MIB2 + (soft_guest_entry_gpa(g, GVA, 1) & 0xfff) + 6;
    assert_int_equal(mv_soft_write(g->vcpu, mv_gva(at), &zero, 4, MV_SOFT_EXPLICIT, &outcome), MV_SOFT_DONE);
    assert_int_equal(soft_guest_entry(g, GVA + 4096, 1) & PTE_P, 0);
    assert_true(mv_soft_load_cr3(g->vcpu, g->root_table));
    assert_int_equal(mv_soft_touch(g->vcpu, mv_gva(GVA + 4096), MV_ACCESS_READ, &place, &outcome), MV_SOFT_FAULT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)
    const struct CMUnitTest tests[] = {
        TEST(an_unsync_table_that_is_linked_stays_so),
        TEST(an_unsync_table_that_is_protected_stays_so),
        TEST(a_refused_page_is_read_again),
        TEST(neighbours_in_a_large_page),
        TEST(neighbours_of_an_emulated_write),
        TEST(what_synchronising_has_changed_is_young),
        TEST(a_root_that_comes_back_is_in_use),
        TEST(nx_without_nxe_is_reserved),
        TEST(four_bytes_of_two_entries_are_seen_in_both),
    };
    return cmocka_run_group_tests_name("shadow_kvm", tests, NULL, NULL);
}
