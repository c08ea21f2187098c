// SPDX-License-Identifier: MIT
/* What a caller asks of a VM on `soft` as a whole, by public calls: pre-fault, host ranges that change, large
 * pages again. */
#include "tests/conform/soft_guest.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define GVA UINT64_C(0x7f0000400000)
#define PAGE UINT64_C(4096)

static const char *const with_tables[] = {"soft,mmu=ept,host-page=4K", "soft,mmu=npt,host-page=4K",
                                          "soft,mmu=shadow,host-page=4K", "soft,mmu=hybrid,host-page=4K",
                                          "soft,mmu=hybrid,policy=nested,host-page=4K"};

static uint64_t exits(struct soft_guest *g)
{
    struct mv_soft_counts counts;
    assert_int_equal(mv_soft_counts(g->vcpu, &counts), 0);
    return counts.exits_total;
}

static uint64_t counter(struct soft_guest *g, const char *name)
{
    struct mv_counter counters[128];
    size_t count = mv_vm_counters(g->vm, MV_COUNTERS_KERNEL, counters, 128);
    for (size_t i = 0; i < count && i < 128; i++) {
        if (strcmp(counters[i].name, name) == 0) {
            return counters[i].value;
        }
    }
    fail_msg("there is no counter %s", name);
    return 0;
}

static void access_page(struct soft_guest *g, unsigned page, enum mv_access kind)
{
    struct mv_soft_place place;
    struct mv_soft_outcome outcome;
    assert_int_equal(mv_soft_touch(g->vcpu, mv_gva(GVA + page * PAGE), kind, &place, &outcome), MV_SOFT_DONE);
}

static void map_pages(struct soft_guest *g, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        soft_guest_map(g, GVA + i * PAGE, GUEST_DATA + i * PAGE, PTE_P | PTE_W | PTE_A | PTE_D, 1);
    }
}

static struct mv_range bytes_of(const struct soft_guest *g, unsigned page)
{
    uint64_t first = (uint64_t)(uintptr_t)g->host + GUEST_DATA + page * PAGE;
    return (struct mv_range){first, first + PAGE - 1};
}

static void what_is_mapped_before_costs_no_exit(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct soft_guest g;
        mv_gpa_t gpa = mv_gpa(GUEST_DATA);
        uint64_t size = 16 * PAGE;
        struct mv_soft_outcome outcome;
        soft_guest_make(&g, with_tables[i]);
        assert_int_equal(mv_soft_write_physical(g.vcpu, mv_gpa(GUEST_DATA + 16 * PAGE), 1, &outcome),
                         MV_SOFT_DONE);
        while (size > 0) {
            assert_int_equal(mv_soft_pre_fault(g.vcpu, &gpa, &size), 0);
        }
        assert_int_equal(gpa.raw, GUEST_DATA + 16 * PAGE);
        uint64_t before = exits(&g);
        for (unsigned p = 0; p < 16; p++) {
            assert_int_equal(mv_soft_write_physical(g.vcpu, mv_gpa(GUEST_DATA + p * PAGE), 1, &outcome),
                             MV_SOFT_DONE);
        }
        assert_int_equal(exits(&g), before);
        assert_int_equal(mv_soft_write_physical(g.vcpu, mv_gpa(GUEST_DATA + 17 * PAGE), 1, &outcome),
                         MV_SOFT_DONE);
        assert_int_equal(exits(&g), before + 1);
        soft_guest_end(&g);
    }
}

static void what_cannot_be_mapped_is_said(void **state)
{
    (void)state;
    struct soft_guest g;
    mv_gpa_t gpa = mv_gpa(GUEST_DATA + 1);
    uint64_t size = PAGE;
    soft_guest_make(&g, "soft,mmu=ept");
    assert_int_equal(mv_soft_pre_fault(g.vcpu, &gpa, &size), -EINVAL);
    gpa = mv_gpa(GUEST_DEVICE);
    assert_int_equal(mv_soft_pre_fault(g.vcpu, &gpa, &size), -ENOENT);
    assert_int_equal(size, PAGE);
    soft_guest_end(&g);
    soft_guest_make(&g, "soft,mmu=native");
    gpa = mv_gpa(GUEST_DATA);
    assert_int_equal(mv_soft_pre_fault(g.vcpu, &gpa, &size), -EOPNOTSUPP);
    assert_int_equal(mv_soft_recover_huge_pages(g.vcpu, 1), -EOPNOTSUPP);
    soft_guest_end(&g);
}

/* One exit, of the page that was protected; none of its neighbour. */
static void a_protected_page_asks_again(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof with_tables / sizeof with_tables[0]; i++) {
        struct soft_guest g;
        soft_guest_make(&g, with_tables[i]);
        map_pages(&g, 8);
        for (unsigned p = 0; p < 8; p++) {
            access_page(&g, p, MV_ACCESS_WRITE);
        }
        assert_int_equal(mv_soft_protect_host(g.vcpu, bytes_of(&g, 3)), 0);
        uint64_t before = exits(&g);
        access_page(&g, 2, MV_ACCESS_WRITE);
        access_page(&g, 3, MV_ACCESS_READ);
        assert_int_equal(exits(&g), before);
        access_page(&g, 3, MV_ACCESS_WRITE);
        assert_int_equal(exits(&g), before + 1);
        access_page(&g, 3, MV_ACCESS_WRITE);
        assert_int_equal(exits(&g), before + 1);
        soft_guest_end(&g);
    }
}

static void a_page_that_is_used_is_young(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof with_tables / sizeof with_tables[0]; i++) {
        struct soft_guest g;
        soft_guest_make(&g, with_tables[i]);
        map_pages(&g, 8);
        access_page(&g, 3, MV_ACCESS_READ);
        assert_int_equal(mv_soft_test_age_host(g.vcpu, bytes_of(&g, 3)), 1);
        assert_int_equal(mv_soft_test_age_host(g.vcpu, bytes_of(&g, 3)), 1);
        assert_int_equal(mv_soft_age_host(g.vcpu, bytes_of(&g, 3)), 1);
        assert_int_equal(mv_soft_test_age_host(g.vcpu, bytes_of(&g, 3)), 0);
        assert_int_equal(mv_soft_age_host(g.vcpu, bytes_of(&g, 3)), 0);
        mv_soft_invlpg(g.vcpu, mv_gva(GVA + 3 * PAGE));
        access_page(&g, 3, MV_ACCESS_READ);
        assert_int_equal(mv_soft_test_age_host(g.vcpu, bytes_of(&g, 3)), 1);
        soft_guest_end(&g);
    }
}

static void split_on(const char *accel)
{
    struct soft_guest g;
    soft_guest_make(&g, accel);
    map_pages(&g, 8);
    access_page(&g, 1, MV_ACCESS_READ);
    uint64_t large = counter(&g, "pages_2m");
    assert_int_equal(counter(&g, "nx_lpage_splits"), 0);
    access_page(&g, 1, MV_ACCESS_FETCH);
    assert_int_equal(counter(&g, "nx_lpage_splits"), 1);
    assert_int_equal(counter(&g, "pages_2m"), large - 1);
    assert_int_equal(mv_soft_recover_huge_pages(g.vcpu, 0), 0);
    assert_int_equal(counter(&g, "nx_lpage_splits"), 1);
    assert_int_equal(mv_soft_recover_huge_pages(g.vcpu, 1), 0);
    assert_int_equal(counter(&g, "nx_lpage_splits"), 0);
    access_page(&g, 1, MV_ACCESS_READ);
    assert_int_equal(counter(&g, "pages_2m"), large);
    soft_guest_end(&g);
}

static void split_pages_are_large_again(void **state)
{
    (void)state;
    split_on("soft,mmu=ept,host-page=2M,nx-huge-pages=on");
    split_on("soft,mmu=hybrid,policy=nested,host-page=2M,nx-huge-pages=on");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_mapped_before_costs_no_exit), cmocka_unit_test(what_cannot_be_mapped_is_said),
        cmocka_unit_test(a_protected_page_asks_again),         cmocka_unit_test(a_page_that_is_used_is_young),
        cmocka_unit_test(split_pages_are_large_again),
    };
    return cmocka_run_group_tests_name("soft_host", tests, NULL, NULL);
}
