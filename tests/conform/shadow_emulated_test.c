// SPDX-License-Identifier: MIT
/* The shadow MMU where the hypervisor makes the supervisor's accesses itself, and where it does not cache MMIO. */
#include "tests/conform/soft_checks.h"

#define WINDOW UINT64_C(0x100000000000) /* of no table in common */
#define EMULATED "soft,mmu=shadow,emulate-supervisor=on"

static void ring(unsigned cpl)
{
    soft_guest_set(g, 0, 0, cpl);
}

static uint64_t read_at(uint64_t gva, enum mv_soft_end expected)
{
    struct mv_soft_outcome outcome;
    uint64_t value = 0;
    assert_int_equal(mv_soft_read(g->vcpu, mv_gva(gva), &value, 8, MV_SOFT_EXPLICIT, &outcome), expected);
    return value;
}

static void write_at(uint64_t gva, uint64_t value, size_t size)
{
    struct mv_soft_outcome outcome;
    assert_int_equal(mv_soft_write(g->vcpu, mv_gva(gva), &value, size, MV_SOFT_EXPLICIT, &outcome), MV_SOFT_DONE);
}

/* Its bytes, its A and D, its faults: all as ever, and no table of ours. Ring 3 is as ever. */
static void the_supervisor_uses_no_tables_of_ours(void **state)
{
    (void)state;
    soft_guest_make(g, EMULATED);
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS, 1);
    ring(0);
    uint64_t tables = counter("tables");
    write_at(GVA, 0x1234, 8);
    assert_int_equal(read_at(GVA, MV_SOFT_DONE), 0x1234);
    assert_int_equal(soft_guest_entry(g, GVA, 1) & (PTE_A | PTE_D), PTE_A | PTE_D);
    read_at(GVA + 4096, MV_SOFT_FAULT);
    assert_int_equal(counter("pf_guest"), 1);
    assert_int_equal(counter("pf_taken"), 0);
    assert_int_equal(counter("pages_4k"), 0);
    assert_int_equal(counter("tables"), tables);
    ring(3);
    assert_int_equal(read_at(GVA, MV_SOFT_DONE), 0x1234);
    assert_int_equal(counter("pf_fixed"), 1);
    assert_int_equal(counter("pages_4k"), 1);
    assert_int_equal(counter("tables"), tables + 3);
}

/* A descriptor's is the hypervisor's, too, whoever is running. */
static void so_do_implicit_accesses_of_ring_3(void **state)
{
    (void)state;
    struct mv_soft_outcome outcome;
    uint64_t value;
    soft_guest_make(g, EMULATED);
    soft_guest_map(g, GVA, GUEST_DATA, PTE_P | PTE_W, 1);
    ring(3);
    assert_int_equal(mv_soft_read(g->vcpu, mv_gva(GVA), &value, 8, MV_SOFT_IMPLICIT, &outcome), MV_SOFT_DONE);
    assert_int_equal(counter("pf_taken"), 0);
}

/* To a table at each level that ring 3 has used. Nothing is opened, whatever ring 0 writes how often; above the
 * lowest level a third write in a row ends the table. Each store is counted while there are tables. */
static void a_supervisors_store_takes_the_entry(void **state)
{
    (void)state;
    soft_guest_make(g, EMULATED ",walk-caches=off"); /* the guest flushes nothing, and sees what it did */
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS, 1);
    for (unsigned level = 1; level <= 4; level++) { /* windows, through which ring 0 edits */
        soft_guest_map(g, WINDOW + level * 4096, soft_guest_entry_gpa(g, GVA, level) & ~UINT64_C(0xfff),
                       PTE_P | PTE_W, 1);
    }
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned level = 1; level <= 4; level++) {
            uint64_t entry = soft_guest_entry(g, GVA, level), writes = counter("mmu_pte_write");
            uint64_t at = WINDOW + level * 4096 + (soft_guest_entry_gpa(g, GVA, level) & 0xfff);
            ring(3);
            read_at(GVA, MV_SOFT_DONE);
            uint64_t pages = counter("pages_4k");
            ring(0);
            write_at(at, 0, 8);
            assert_int_equal(counter("mmu_pte_write"), writes + 1);
            assert_int_equal(counter("pages_4k"), pages - (level == 1));
            ring(3);
            read_at(GVA, MV_SOFT_FAULT);
            ring(0);
            write_at(at, entry, 8);
        }
    }
    assert_int_equal(counter("mmu_pde_zapped"), 5 * 3); /* back to what it was: not those to 0 */
    assert_int_equal(counter("tables_opened"), 0);
    assert_int_equal(counter("mmu_flooded"), 0);
    write_at(GVA, 0, 8); /* no table, and counted all the same */
    assert_int_equal(counter("mmu_pte_write"), 5 * 4 * 2 + 1);
    for (unsigned i = 0; i < 3; i++) {
        write_at(WINDOW + 2 * 4096 + 8 * 300, 0, 8);
    }
    assert_int_equal(counter("mmu_flooded"), 1);
}

/* What ring 3 has opened is edited by ring 0: the entry goes at once, not at the next flush. */
static void a_supervisors_store_to_an_open_table(void **state)
{
    (void)state;
    soft_guest_make(g, EMULATED);
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS, 1);
    soft_guest_map(g, GVA + 0x200000, soft_guest_entry_gpa(g, GVA, 1) & ~UINT64_C(0xfff), RIGHTS, 1);
    uint64_t at = GVA + 0x200000 + (soft_guest_entry_gpa(g, GVA, 1) & 0xfff);
    ring(3);
    read_at(GVA, MV_SOFT_DONE);
    write_at(at + 8 * 100, 0, 8);
    assert_int_equal(counter("tables_opened"), 1);
    ring(0);
    write_at(at, 0, 8);
    assert_int_equal(counter("mmu_pte_write"), 1);
    ring(3);
    mv_soft_invlpg(g->vcpu, mv_gva(GVA));
    read_at(GVA, MV_SOFT_FAULT);
}

/* Another ring is no flush: what is unsync stays so. */
static void a_change_of_rings_synchronises_nothing(void **state)
{
    (void)state;
    soft_guest_make(g, "soft,mmu=shadow");
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS, 1);
    soft_guest_map(g, GVA + 0x200000, soft_guest_entry_gpa(g, GVA, 1) & ~UINT64_C(0xfff), RIGHTS, 1);
    uint64_t at = GVA + 0x200000 + (soft_guest_entry_gpa(g, GVA, 1) & 0xfff);
    ring(3);
    read_at(GVA, MV_SOFT_DONE);
    for (unsigned i = 0; i < 5; i++) {
        write_at(at + 8 * 100, i, 8);
        ring(0);
        ring(3);
    }
    assert_int_equal(counter("tables_opened"), 1);
}

/* Each access to a device is a fault that is taken, and nothing is kept of it. */
static void mmio_without_caching(void **state)
{
    soft_guest_make(g, *state);
    soft_guest_map(g, GVA, GUEST_DEVICE, RIGHTS, 1);
    ring(3);
    for (unsigned i = 1; i <= 4; i++) {
        uint64_t taken = counter("pf_taken");
        read_at(GVA, MV_SOFT_MMIO);
        assert_int_equal(counter("pf_emulate"), i);
        assert_true(counter("pf_taken") > taken);
        assert_int_equal(counter("pf_mmio_spte_created"), 0);
    }
}

#define TEST(name) cmocka_unit_test_teardown(name, end)
#define ON(test, accel)                                                                                           \
    {                                                                                                             \
        .name = #test "(" accel ")", .test_func = test, .teardown_func = end,                                     \
        .initial_state = (void *)(uintptr_t)accel                                                                 \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_supervisor_uses_no_tables_of_ours),
        TEST(so_do_implicit_accesses_of_ring_3),
        TEST(a_supervisors_store_takes_the_entry),
        TEST(a_supervisors_store_to_an_open_table),
        TEST(a_change_of_rings_synchronises_nothing),
        ON(mmio_without_caching, "soft,mmu=shadow,mmio-caching=off"),
        ON(mmio_without_caching, "soft,mmu=ept,mmio-caching=off"),
        ON(mmio_without_caching, "soft,mmu=npt,mmio-caching=off"),
    };
    return cmocka_run_group_tests_name("shadow_emulated", tests, NULL, NULL);
}
