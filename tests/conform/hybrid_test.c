// SPDX-License-Identifier: MIT
/*
 * The hybrid MMU by <memvirt/soft.h>: what it costs, to the unit; that policies decide, and change their minds.
 * That it is as native is shown by the tests of shadow and of soft, which have it in their lists.
 */
#include "tests/conform/hybrid_checks.h"

#include <errno.h>
#include <stdio.h>

/* --- What it costs --------------------------------------------------------------------------------------- */

/*
 * Gandhi, Hill, Swift: "Agile Paging: Exceeding the Best of Nested and Shadow Paging", ISCA 2016, doi
 * 10.1145/3007787.3001212: a walk of which the lowest k of 4 levels are nested takes 4 + 4k references, from 4,
 * those of shadow paging, to 20: the guest's root needs no walk, so that it is never the 24 of two dimensions.
 */
static void a_walk_takes_4_plus_4k_references(void **state)
{
    (void)state;
    for (unsigned k = 0; k <= 4; k++) {
        char accel[128];
        const char *policy = k == 0 ? "shadow" : "nest-";
        snprintf(accel, sizeof accel,
                 k == 0 ? "soft,mmu=hybrid,policy=%s," TLB : "soft,mmu=hybrid,policy=%s%u," TLB, policy, k);
        make(accel);
        soft_guest_map(g, GVA, GUEST_DATA, USED, 1);
        assert_int_equal(refs_of(GVA), 4 + 4 * k);
        struct mv_soft_counts c = counts();
        assert_int_equal(c.walk_histogram[4 + 4 * k], c.walks);
        soft_guest_end(g);
    }
    make("soft,mmu=ept," TLB);
    soft_guest_map(g, GVA, GUEST_DATA, USED, 1);
    assert_int_equal(refs_of(GVA), 24);
}

/*
 * Large pages of the guest's end the walk earlier; pages of ours are of 2M, but around tables that are shadowed.
 * So a guest's page of 2M is, with k = 3, one reference to the shadow, one to the table that it leads to, 4 + 1
 * for the table below, and 3.
 */
static void large_pages_take_fewer(void **state)
{
    (void)state;
    static const unsigned refs[5][2] = {{3, 3}, {3, 3}, {6, 3}, {10, 5}, {12, 8}}; /* [k][2M, 1G] */
    for (unsigned k = 0; k <= 4; k++) {
        for (unsigned level = 2; level <= 3; level++) {
            char accel[128];
            snprintf(accel, sizeof accel, "soft,mmu=hybrid,policy=nest-%u,tlb=L1=64x4,host-page=2M", k ? k : 1);
            make(k ? accel : "soft,mmu=hybrid,policy=shadow,tlb=L1=64x4,host-page=2M");
            const uint64_t gva = UINT64_C(0x7f0040000000);
            soft_guest_map(g, gva, level == 2 ? GUEST_DATA : 0, USED, level);
            assert_int_equal(refs_of(gva + (level == 2 ? 0 : GUEST_DATA)), refs[k][level - 2]);
            soft_guest_end(g);
        }
    }
    make("soft,mmu=hybrid");
}

/* Guest page tables are written without exits where they are nested; one exit each where they are shadowed. */
static void writes_below_the_switch_are_no_exits(void **state)
{
    (void)state;
    for (unsigned k = 0; k <= 4; k++) {
        char accel[128];
        snprintf(accel, sizeof accel, "soft,mmu=hybrid,policy=nest-%u," TLB, k ? k : 1);
        make(k ? accel : "soft,mmu=hybrid,policy=shadow," TLB);
        soft_guest_map(g, GVA, GUEST_DATA, USED, 1);
        assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA);
        for (unsigned level = 1; level <= 4; level++) {
            for (unsigned i = 0; i < 4; i++) {
                uint64_t exits = counts().exits_total, writes = counts().exits_table_write;
                soft_guest_set_entry(g, GVA, level,
                                     soft_guest_entry(g, GVA, level) ^ (UINT64_C(1) << 11)); /* ignored */
                assert_int_equal(counts().exits_total - exits, level > k ? 1 : 0);
                assert_int_equal(counts().exits_table_write - writes, level > k ? 1 : 0);
                walk_again(GVA);
                assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA); /* it is in use: no flood */
            }
        }
        soft_guest_end(g);
    }
    make("soft,mmu=hybrid");
}

/* A guest's fault is the guest's own where it is nested, and an INVLPG never an exit. */
static void faults_below_the_switch_are_no_exits(void **state)
{
    (void)state;
    make("soft,mmu=hybrid,policy=nest-1," TLB);
    soft_guest_map(g, GVA, GUEST_DATA, USED, 1);
    soft_guest_map(g, GVA + 4096, GUEST_DATA + 4096, USED, 1);
    assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA);
    assert_maps(GVA + 4096, MV_ACCESS_WRITE, GUEST_DATA + 4096);
    struct mv_soft_counts before = counts();
    for (unsigned i = 0; i < 16; i++) {
        soft_guest_set_entry(g, GVA, 1, 0);
        mv_soft_invlpg(g->vcpu, mv_gva(GVA));
        assert_faults(GVA, MV_ACCESS_READ);
        soft_guest_set_entry(g, GVA, 1, (GUEST_DATA + i % 2 * 4096) | RIGHTS);
        assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA + i % 2 * 4096);
        assert_int_equal(soft_guest_entry(g, GVA, 1) & (PTE_A | PTE_D), PTE_A | PTE_D);
    }
    struct mv_soft_counts after = counts();
    assert_int_equal(after.exits_total, before.exits_total);
    assert_int_equal(after.guest_faults - before.guest_faults, 16);
    assert_int_equal(after.dirty_set - before.dirty_set, 16);
}

/* --- Policies ------------------------------------------------------------------------------------------------ */

/* As agile paging does: two writes in an interval and the table is nested; one interval without, and it is not. */
static void a_table_that_churns_is_nested_until_it_does_not(void **state)
{
    (void)state;
    make("soft,mmu=hybrid,policy-interval=64," TLB);
    soft_guest_map(g, GVA, GUEST_DATA, USED, 1);
    assert_int_equal(refs_of(GVA), 4);
    uint64_t entry = soft_guest_entry(g, GVA, 1);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(counter("hybrid_nested"), 0);
        soft_guest_set_entry(g, GVA, 1, entry);
    }
    assert_int_equal(counts().exits_table_write, 2);
    assert_int_equal(counter("hybrid_nested"), 1);
    assert_int_equal(refs_of(GVA), 8);
    soft_guest_set_entry(g, GVA, 1, entry);
    assert_int_equal(counts().exits_table_write, 2);
    /* It goes on to change: it stays. A and D are no change. */
    for (unsigned i = 0; i < 6 * 64; i++) {
        soft_guest_set_entry(g, GVA, 1, entry ^ (uint64_t)(i % 101) << 52); /* ignored */
        mv_soft_invlpg(g->vcpu, mv_gva(GVA));
        assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA);
    }
    assert_true(counts().exits_timer >= 5);
    assert_int_equal(counter("hybrid_shadowed"), 0);
    assert_int_equal(refs_of(GVA), 8);
    uint64_t timers = counts().exits_timer;
    for (unsigned i = 0; counts().exits_timer < timers + 2;
         i++) { /* the first of two looks may find the last change */
        assert_true(i < 200);
        soft_guest_set_entry(g, GVA, 1, i % 7 % 2 ? entry & ~(PTE_A | PTE_D) : entry);
        mv_soft_invlpg(g->vcpu, mv_gva(GVA));
        assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA);
    }
    assert_int_equal(counter("hybrid_shadowed"), 1);
    assert_int_equal(refs_of(GVA), 4);
    soft_guest_set_entry(g, GVA, 1, entry);
    assert_int_equal(counts().exits_table_write, 3);
}

/* A table of the next level is worth eight times as many writes; what lies below goes with it. */
static void what_lies_below_is_nested_with_it(void **state)
{
    (void)state;
    make("soft,mmu=hybrid," TLB);
    soft_guest_map(g, GVA, GUEST_DATA, USED, 1);
    assert_int_equal(refs_of(GVA), 4);
    uint64_t tables = counter("tables"), entry = soft_guest_entry(g, GVA, 2);
    for (unsigned i = 0; i < 15; i++) {
        soft_guest_set_entry(g, GVA, 2, entry);
        walk_again(GVA);
        assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
    }
    assert_int_equal(counter("hybrid_nested"), 0);
    assert_int_equal(counts().exits_table_write, 15);
    soft_guest_set_entry(g, GVA, 2, entry);
    assert_int_equal(counter("hybrid_nested"), 1);
    /* Neither it nor the table below is shadowed now. */
    assert_int_equal(counter("tables"), tables - 2);
    assert_int_equal(refs_of(GVA), 12);
    uint64_t exits = counts().exits_total;
    for (unsigned i = 0; i < 8; i++) {
        soft_guest_set_entry(g, GVA, 1, soft_guest_entry(g, GVA, 1));
        soft_guest_set_entry(g, GVA, 2, entry);
    }
    assert_int_equal(counts().exits_total, exits);
}

static void a_caller_has_a_policy(void **state)
{
    (void)state;
    make("soft,mmu=hybrid,policy=nested," TLB);
    struct asked asked = {0};
    const uint64_t other = GVA + (UINT64_C(1) << 21);
    soft_guest_map(g, GVA, GUEST_DATA, USED, 1);
    soft_guest_map(g, other, GUEST_DATA + 4096, USED, 1);
    assert_int_equal(refs_of(GVA), 20);
    asked.gpa = table_of(GVA, 1);
    struct mv_hybrid_policy policy = {.opaque = &asked, .nests = nests_one, .interval = 100};
    assert_int_equal(mv_soft_set_policy(g->vcpu, &policy), 0);
    assert_int_equal(refs_of(GVA), 8);
    assert_int_equal(refs_of(other), 4);
    assert_true(asked.reached >= 5 && asked.written == 0); /* so many tables lead to the two */
    for (unsigned i = 1; i <= 3; i++) {
        soft_guest_set_entry(g, other, 1, soft_guest_entry(g, other, 1));
        assert_int_equal(asked.written, i);
        assert_int_equal(asked.writes, i);
        walk_again(other);
        assert_maps(other, MV_ACCESS_READ, GUEST_DATA + 4096);
    }
    uint64_t exits = counts().exits_total;
    soft_guest_set_entry(g, GVA, 1, soft_guest_entry(g, GVA, 1));
    assert_int_equal(counts().exits_total, exits);
    /* Of one interval a hundred misses. */
    uint64_t timers = counts().exits_timer;
    for (unsigned i = 0; i < 200; i++) {
        mv_soft_invlpg(g->vcpu, mv_gva(GVA));
        assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
    }
    assert_int_equal(counts().exits_timer - timers, 2);
    assert_true(asked.looked_at >= 2);
    assert_int_equal(refs_of(GVA), 8);
    /* It changes its mind: it is asked when a root is looked for. */
    asked.gpa = g->root_table;
    assert_true(mv_soft_load_cr3(g->vcpu, g->root_table));
    assert_int_equal(refs_of(other), 20);
    asked.gpa = 0;
    assert_true(mv_soft_load_cr3(g->vcpu, g->root_table));
    assert_int_equal(refs_of(other), 4);
    asked.gpa = g->root_table;
    assert_int_equal(mv_soft_set_policy(g->vcpu, &policy), 0);
    assert_int_equal(refs_of(other), 20);
    assert_int_equal(mv_soft_set_policy(g->vcpu, NULL), 0);
    assert_int_equal(refs_of(GVA), 20);
    soft_guest_end(g);
    make("soft,mmu=shadow");
    assert_int_equal(mv_soft_set_policy(g->vcpu, &policy), -EOPNOTSUPP);
}

static void set_cr0(uint64_t cr0)
{
    struct kvm_sregs sregs;
    assert_int_equal(mv_vcpu_get_sregs(g->vcpu, &sregs, NULL), 0);
    sregs.cr0 = cr0;
    assert_int_equal(mv_vcpu_set_sregs(g->vcpu, &sregs, NULL), 0);
}

/* Where rights are judged in another way, or tables are of another kind, all of them are shadowed. */
static void without_wp_nothing_is_nested(void **state)
{
    (void)state;
    make("soft,mmu=hybrid,policy=nested," TLB);
    soft_guest_map(g, GVA, GUEST_DATA, USED & ~PTE_W, 1);
    assert_int_equal(refs_of(GVA), 20);
    assert_faults(GVA, MV_ACCESS_WRITE);
    set_cr0(CR0 & ~CR0_WP);
    assert_int_equal(refs_of(GVA), 4);
    assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA);
    set_cr0(CR0);
    assert_int_equal(refs_of(GVA), 20);
    assert_faults(GVA, MV_ACCESS_WRITE);
}

/* So has one of PAE, with the two tables of ours that are above its directories. */
static void tables_of_pae_are_shadowed(void **state)
{
    (void)state;
    make("soft,mmu=hybrid,policy=nested," TLB);
    const uint64_t gva = UINT64_C(0x40000000), root = GUEST_TABLES + 0x10000;
    uint64_t *tables = (uint64_t *)(void *)(g->host + root);
    tables[gva >> 30] = (root + 0x1000) | PTE_P;
    tables[512] = (root + 0x2000) | USED;
    tables[1024] = GUEST_DATA | USED;
    struct kvm_sregs sregs;
    assert_int_equal(mv_vcpu_get_sregs(g->vcpu, &sregs, NULL), 0);
    sregs.efer = 0;
    sregs.cr3 = root;
    assert_int_equal(mv_vcpu_set_sregs(g->vcpu, &sregs, NULL), 0);
    assert_int_equal(refs_of(gva), 4);
    assert_maps(gva, MV_ACCESS_WRITE, GUEST_DATA);
}

/* Pages are mapped in EPT before they are touched. */
static void what_is_mapped_before_costs_no_violation(void **state)
{
    (void)state;
    make("soft,mmu=hybrid,policy=nested," TLB);
    for (uint64_t i = 0; i < 16; i++) {
        soft_guest_map(g, GVA + i * 4096, GUEST_DATA + i * 4096, USED, 1);
    }
    assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA);
    mv_gpa_t gpa = mv_gpa(GUEST_DATA + 4096);
    uint64_t size = 8 * 4096;
    struct mv_soft_counts before = counts();
    while (size > 0) {
        assert_int_equal(mv_soft_pre_fault(g->vcpu, &gpa, &size), 0);
    }
    for (uint64_t i = 1; i < 16; i++) {
        assert_maps(GVA + i * 4096, MV_ACCESS_WRITE, GUEST_DATA + i * 4096);
        assert_int_equal(counts().exits_total - before.exits_total, i > 8 ? i - 8 : 0);
        assert_int_equal(counts().exits_ept_violation - before.exits_ept_violation, i > 8 ? i - 8 : 0);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, end)
    const struct CMUnitTest tests[] = {
        TEST(a_walk_takes_4_plus_4k_references),
        TEST(large_pages_take_fewer),
        TEST(writes_below_the_switch_are_no_exits),
        TEST(faults_below_the_switch_are_no_exits),
        TEST(a_table_that_churns_is_nested_until_it_does_not),
        TEST(what_lies_below_is_nested_with_it),
        TEST(a_caller_has_a_policy),
        TEST(without_wp_nothing_is_nested),
        TEST(tables_of_pae_are_shadowed),
        TEST(what_is_mapped_before_costs_no_violation),
    };
    return cmocka_run_group_tests_name("hybrid", tests, NULL, NULL);
}
