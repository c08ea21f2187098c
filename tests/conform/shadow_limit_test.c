// SPDX-License-Identifier: MIT
/*
 * How many shadow tables there may be, and which go: KVM_SET_NR_MMU_PAGES and KVM's shrinker, by public calls.
 * Under load, with threads: shadow_threads_test.c.
 */
#include "tests/conform/soft_checks.h"

#include <errno.h>

#define FIRST_GVA UINT64_C(0x7f0000000000)
#define TABLES 40u
#define UPPER 3u /* of four levels, all but the lowest: a table each */
#define ROOTS 2u /* of all, what the vCPU keeps: of these the first, and the root of when paging was off */
#define OTHER (UPPER + ROOTS - 1)
#define USED (RIGHTS | PTE_A | PTE_D)

static uint64_t gva_of(unsigned table)
{
    return FIRST_GVA + ((uint64_t)table << 21);
}

/* A page in each of many lowest tables, which are made in order. */
static void make_tables(const char *accel)
{
    make(accel);
    for (unsigned i = 0; i < TABLES; i++) {
        soft_guest_map(g, gva_of(i), GUEST_DATA + i * 4096, USED, 1);
    }
}

/* @return whether it took a fault of ours */
static bool use(unsigned table)
{
    struct mv_soft_place place;
    struct mv_soft_outcome outcome;
    uint64_t before = counts().exits_total;
    assert_int_equal(mv_soft_touch(g->vcpu, mv_gva(gva_of(table)), MV_ACCESS_READ, &place, &outcome),
                     MV_SOFT_DONE);
    assert_int_equal(place.gpa.raw, GUEST_DATA + table * 4096);
    return counts().exits_total > before;
}

static void touch_all(void)
{
    for (unsigned i = 0; i < TABLES; i++) {
        (void)use(i);
    }
}

static uint64_t shrink(uint64_t pages)
{
    uint64_t gone = UINT64_MAX;
    assert_int_equal(mv_soft_shrink_shadow(g->vcpu, pages, &gone), 0);
    return gone;
}

/* All were used when they were made: then the oldest goes. */
static void the_oldest_goes_first(void **state)
{
    (void)state;
    make_tables("soft,mmu=shadow,host-page=4K");
    touch_all();
    assert_int_equal(counter("tables"), TABLES + OTHER);
    assert_int_equal(shrink(4), 4);
    assert_int_equal(counter("tables"), TABLES + OTHER - 4);
    /* The way down is as old as anything: PDPT, PD, and the first two of the lowest. The others were kept. */
    uint64_t made = counter("mmu_cache_miss");
    for (unsigned i = 2; i < TABLES; i++) {
        (void)use(i);
    }
    assert_int_equal(counter("mmu_cache_miss"), made + 2);
    (void)use(0);
    (void)use(1);
    assert_int_equal(counter("mmu_cache_miss"), made + 4);
}

/* Every other one is used again: of the rest, and only of these, all go. */
static void who_was_used_stays(void **state)
{
    (void)state;
    make_tables("soft,mmu=shadow,host-page=4K");
    touch_all();
    assert_int_equal(shrink(1), 1);
    touch_all();
    assert_int_equal(shrink(1), 1);
    for (unsigned i = 0; i < TABLES; i += 2) {
        (void)use(i);
    }
    uint64_t tables = counter("tables");
    assert_int_equal(shrink(TABLES / 2), TABLES / 2);
    assert_int_equal(counter("tables"), tables - TABLES / 2);
    for (unsigned i = 0; i < TABLES; i += 2) {
        assert_false(use(i));
    }
    for (unsigned i = 1; i < TABLES; i += 2) {
        assert_true(use(i));
    }
}

/* A limit's own evictions obey the same order: what is used between faults stays, however many come. */
static void a_limit_spares_what_is_used(void **state)
{
    (void)state;
    make_tables("soft,mmu=shadow,host-page=4K,shadow-pages=64,tlb=L1=4x4");
    for (unsigned i = TABLES; i < 500; i++) {
        soft_guest_map(g, gva_of(i), GUEST_DATA + i * 4096, USED, 1);
    }
    unsigned faults = 0;
    for (unsigned i = 8; i < 500; i++) {
        (void)use(i);
        for (unsigned hot = 0; hot < 8; hot++) {
            faults += use(hot);
        }
        assert_true(counter("tables") <= 64);
    }
    assert_int_equal(faults,
                     8 + 8); /* when they were made; and when there were too many first, all had been used */
    assert_in_range(counter("mmu_recycled"), 500 + OTHER - 64, 500 + OTHER - 64 + 8 + 25);
}

/* Nothing leads to a root: that a vCPU had it counts. */
static void a_root_that_was_used_stays(void **state)
{
    (void)state;
    make_tables("soft,mmu=shadow,host-page=4K");
    uint64_t roots[6]; /* a vCPU keeps 4 */
    for (unsigned i = 0; i < 6; i++) {
        roots[i] = i == 0 ? g->root_table : g->next_table + i * 4096;
        assert_true(mv_soft_load_cr3(g->vcpu, roots[i]));
    }
    assert_int_equal(shrink(1), 1); /* that of no paging; and now nobody is known to have used the first two */
    for (unsigned i = 0; i < 6; i++) {
        assert_true(i == 1 || mv_soft_load_cr3(g->vcpu, roots[i]));
    }
    uint64_t made = counter("mmu_cache_miss");
    assert_int_equal(shrink(1), 1);
    assert_true(mv_soft_load_cr3(g->vcpu, roots[0]));
    assert_int_equal(counter("mmu_cache_miss"), made);
    assert_true(mv_soft_load_cr3(g->vcpu, roots[1]));
    assert_int_equal(counter("mmu_cache_miss"), made + 1);
}

static void memory_goes_back(void **state)
{
    (void)state;
    make_tables("soft,mmu=shadow,host-page=4K");
    touch_all();
    struct mv_soft_counts before = counts();
    assert_int_equal(shrink(0), 0);
    assert_int_equal(shrink(30), 30);
    struct mv_soft_counts after = counts();
    assert_int_equal(after.tables, before.tables - 30);
    assert_true(after.table_bytes <= before.table_bytes - 30 * UINT64_C(4096));
    assert_int_equal(counter("mmu_recycled"), 30);
    assert_int_equal(counter("mmu_shadow_zapped"), 30);
    /* More than there is: the vCPU's roots stay, and it goes on. */
    assert_int_equal(shrink(1000), TABLES + OTHER - 30 - ROOTS);
    assert_int_equal(counter("tables"), ROOTS);
    touch_all();
    assert_int_equal(counter("tables"), TABLES + OTHER);
    assert_true(counts().table_bytes <= before.table_bytes);
}

/* KVM: 2 % of the slots' pages and 64 at least; -EINVAL below; what is too many goes at once. */
static void a_limit_as_kvm_has_it(void **state)
{
    (void)state;
    uint64_t limit = 0;
    make_tables("soft,mmu=shadow,host-page=4K");
    assert_int_equal(mv_soft_shadow_pages(g->vcpu, &limit), 0);
    assert_int_equal(limit, (GUEST_RAM_BYTES + 65536) / 4096 / 50);
    assert_int_equal(mv_soft_set_shadow_pages(g->vcpu, 63), -EINVAL);
    for (unsigned i = TABLES; i < 100; i++) {
        soft_guest_map(g, gva_of(i), GUEST_DATA + i * 4096, USED, 1);
    }
    for (unsigned i = 0; i < 100; i++) {
        (void)use(i);
    }
    assert_int_equal(counter("tables"), 100 + OTHER);
    assert_int_equal(mv_soft_set_shadow_pages(g->vcpu, 64), 0);
    assert_int_equal(counter("tables"), 64);
    assert_int_equal(counter("mmu_recycled"), 100 + OTHER - 64);
    assert_int_equal(mv_soft_shadow_pages(g->vcpu, &limit), 0);
    assert_int_equal(limit, 64);
    assert_int_equal(mv_soft_set_shadow_pages(g->vcpu, 200), 0);
    for (unsigned i = 0; i < 100; i++) {
        (void)use(i);
    }
    assert_int_equal(counter("tables"), 100 + OTHER);
}

static void a_small_memory_has_64(void **state)
{
    (void)state;
    uint64_t limit = 0;
    make_tables("soft,mmu=shadow");
    assert_int_equal(mv_region_remove(g->ram, NULL), 0);
    assert_int_equal(mv_soft_shadow_pages(g->vcpu, &limit), 0);
    assert_int_equal(limit, 64);
}

/* Other schemes have no such tables, and KVM takes the number all the same. */
static void under_other_schemes(void **state)
{
    (void)state;
    uint64_t limit = 0;
    make_tables("soft,mmu=ept");
    touch_all();
    uint64_t tables = counter("tables");
    assert_int_equal(mv_soft_set_shadow_pages(g->vcpu, 63), -EINVAL);
    assert_int_equal(mv_soft_set_shadow_pages(g->vcpu, 77), 0);
    assert_int_equal(mv_soft_shadow_pages(g->vcpu, &limit), 0);
    assert_int_equal(limit, 77);
    assert_int_equal(shrink(10), 0);
    assert_int_equal(counter("tables"), tables);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, end)
    const struct CMUnitTest tests[] = {
        TEST(the_oldest_goes_first),      TEST(who_was_used_stays),  TEST(a_limit_spares_what_is_used),
        TEST(a_root_that_was_used_stays), TEST(memory_goes_back),    TEST(a_limit_as_kvm_has_it),
        TEST(a_small_memory_has_64),      TEST(under_other_schemes),
    };
    return cmocka_run_group_tests_name("shadow-limit", tests, NULL, NULL);
}
