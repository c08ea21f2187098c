// SPDX-License-Identifier: MIT
/* The shadow MMU by <memvirt/soft.h>: what it costs, to the unit; writes to tables; rights. */
#include "tests/conform/soft_checks.h"

/* Index `index` at all four levels. */
static uint64_t gva_of(unsigned index)
{
    uint64_t all = index | (uint64_t)index << 9 | (uint64_t)index << 18 | (uint64_t)index << 27;
    return all << 12;
}

/* --- What it costs --------------------------------------------------------------------------------------- */

/* An address whose entries are all missing, in four tables that are all shadowed: what its kernel writes then. */
static void map_all_levels(unsigned index, uint64_t gpa)
{
    uint64_t gva = gva_of(1);
    for (unsigned level = 4; level > 1; level--) {
        store(table_of(gva, level) + index * 8, table_of(gva, level - 1) | RIGHTS | PTE_A);
    }
    store(table_of(gva, 1) + index * 8, gpa | RIGHTS | PTE_A | PTE_D);
}

/*
 * PVM (SOSP 2023): a guest's page fault for which all n levels of its table are written costs n + 2 exits, and two
 * world switches each: the fault that is reflected, n stores that are made for it, the fault that is fixed.
 */
static void a_guest_fault_costs_n_plus_2_exits(void **state)
{
    (void)state;
    make("soft,mmu=shadow,unsync=off");
    soft_guest_map(g, gva_of(1), GUEST_DATA, RIGHTS, 1);
    assert_maps(gva_of(1), MV_ACCESS_READ, GUEST_DATA);
    struct mv_soft_counts before = counts();
    assert_faults(gva_of(100), MV_ACCESS_READ);
    map_all_levels(100, GUEST_DATA + 4096);
    assert_maps(gva_of(100), MV_ACCESS_READ, GUEST_DATA + 4096);
    struct mv_soft_counts after = counts();
    assert_int_equal(after.exits_total - before.exits_total, 4 + 2);
    assert_int_equal(2 * (after.exits_total - before.exits_total), 12);
    assert_int_equal(after.exits_table_write - before.exits_table_write, 4);
    assert_int_equal(after.exits_page_fault - before.exits_page_fault, 2);
    assert_int_equal(counter("mmu_pte_write"), 4);
    assert_int_equal(counter("pf_guest"), 1);
    assert_int_equal(after.guest_faults - before.guest_faults, 1);
}

/* With unsync leaf tables (Linux 4731d4c7a077) the steady state is two: reflected, and fixed. */
static void a_leaf_fault_costs_2_exits(void **state)
{
    (void)state;
    make("soft,mmu=shadow");
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS, 1);
    assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
    for (unsigned i = 1; i <= 20; i++) {
        uint64_t gva = GVA + i * 8 * 4096; /* no neighbours: these are prefetched */
        struct mv_soft_counts before = counts();
        assert_faults(gva, MV_ACCESS_WRITE);
        store(soft_guest_entry_gpa(g, gva, 1), (GUEST_DATA + i * 4096) | RIGHTS | PTE_A | PTE_D);
        assert_maps(gva, MV_ACCESS_WRITE, GUEST_DATA + i * 4096);
        struct mv_soft_counts after = counts();
        assert_int_equal(after.exits_total - before.exits_total, i == 1 ? 3 : 2);
    }
    assert_int_equal(counter("tables_opened"), 1);
    assert_int_equal(counter("mmu_pte_write"), 0);
}

/* Eight at a time, of what is present and accessed, up to the first that is not: KVM looks no further. */
static void neighbours_are_mapped_with_it(void **state)
{
    (void)state;
    make("soft,mmu=shadow");
    for (unsigned i = 0; i < 16; i++) {
        uint64_t bits = i == 3 ? 0 : PTE_A;
        soft_guest_map(g, GVA + i * 4096, GUEST_DATA + i * 4096, RIGHTS | bits, 1);
    }
    assert_maps(GVA + 4096, MV_ACCESS_READ, GUEST_DATA + 4096);
    assert_int_equal(counter("pages_4k"), 3);
    uint64_t faults = counts().exits_page_fault;
    assert_maps(GVA + 2 * 4096, MV_ACCESS_READ, GUEST_DATA + 2 * 4096);
    assert_int_equal(counts().exits_page_fault, faults);
    assert_maps(GVA + 3 * 4096, MV_ACCESS_READ, GUEST_DATA + 3 * 4096); /* its A has to be set */
    assert_int_equal(counts().exits_page_fault, faults + 1);
    assert_int_equal(soft_guest_entry(g, GVA + 3 * 4096, 1) & PTE_A, PTE_A);
    assert_int_equal(counter("pages_4k"), 8);
    assert_maps(GVA + 8 * 4096, MV_ACCESS_READ, GUEST_DATA + 8 * 4096);
    assert_int_equal(counts().exits_page_fault, faults + 2);
    assert_int_equal(counter("pages_4k"), 16);
}

/* The last three roots are kept, and a switch between them makes nothing. */
static void previous_roots_are_kept(void **state)
{
    (void)state;
    uint64_t roots[4];
    make("soft,mmu=shadow");
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS, 1);
    for (unsigned i = 0; i < 4; i++) {
        roots[i] = g->next_table;
        g->next_table += 4096;
        memcpy(g->host + roots[i], g->host + g->root_table, 4096);
        assert_true(mv_soft_load_cr3(g->vcpu, roots[i]));
        assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
    }
    struct mv_soft_counts before = counts();
    uint64_t misses = counter("mmu_cache_miss");
    for (unsigned i = 0; i < 40; i++) {
        assert_true(mv_soft_load_cr3(g->vcpu, roots[i % 4]));
        assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
    }
    struct mv_soft_counts after = counts();
    assert_int_equal(after.exits_cr3 - before.exits_cr3, 40);
    assert_int_equal(after.exits_total - before.exits_total, 40);
    assert_int_equal(counter("mmu_cache_miss"), misses);
    /* A page each for the roots, of which one was loaded when there was no entry yet, and three below them. */
    assert_int_equal(after.tables - 3, counter("tables") - 3);
}

/* One page of ours for each table, whoever leads to it with the same rights. */
static void tables_are_shared(void **state)
{
    (void)state;
    make("soft,mmu=shadow");
    soft_guest_map(g, gva_of(1), GUEST_DATA, RIGHTS, 1);
    uint64_t before = counts().tables;
    assert_maps(gva_of(1), MV_ACCESS_READ, GUEST_DATA);
    assert_int_equal(counts().tables - before, 3);
    map_all_levels(2, GUEST_DATA + 4096);
    assert_maps(gva_of(2), MV_ACCESS_READ, GUEST_DATA + 4096);
    assert_int_equal(counts().tables - before, 3);
}

/* --- Writes to tables ---------------------------------------------------------------------------------------- */

/* The third write to a table above the lowest that nobody has used in between. */
static void flooding_ends_a_table(void **state)
{
    (void)state;
    make("soft,mmu=shadow");
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS, 1);
    uint64_t directory = table_of(GVA, 2);
    for (unsigned round = 0; round < 4; round++) { /* used: no flood */
        assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
        store(directory + 8 * 300, 0);
        store(directory + 8 * 301, 0);
        assert_int_equal(counter("mmu_flooded"), 0);
        mv_soft_invlpg(g->vcpu, mv_gva(GVA));
        soft_guest_set_entry(g, GVA + 4096, 1, GUEST_DATA | RIGHTS); /* so that the next access faults */
        if (round == 3) {
            break;
        }
        assert_maps(GVA + 4096, MV_ACCESS_READ, GUEST_DATA);
        soft_guest_set_entry(g, GVA + 4096, 1, 0);
        mv_soft_invlpg(g->vcpu, mv_gva(GVA + 4096));
    }
    uint64_t zapped = counter("mmu_shadow_zapped");
    store(directory + 8 * 302, 0);
    assert_int_equal(counter("mmu_flooded"), 1);
    assert_int_equal(counter("mmu_shadow_zapped"), zapped + 1);
    uint64_t exits = counts().exits_table_write;
    store(directory + 8 * 303, 0); /* nobody notices any more */
    assert_int_equal(counts().exits_table_write, exits);
    assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
}

/* Less than an entry, or of two: it is no edit. One byte at an entry's start is. */
static void misaligned_writes_end_a_table(void **state)
{
    (void)state;
    static const struct {
        unsigned offset, size, flooded;
    } cases[] = {{0, 8, 0}, {4, 4, 0}, {0, 1, 0}, {1, 1, 1}, {0, 2, 1}, {4, 8, 1}, {6, 4, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mv_soft_outcome outcome;
        uint8_t zero[8] = {0};
        make("soft,mmu=shadow");
        soft_guest_map(g, GVA, GUEST_DATA, RIGHTS, 1);
        soft_guest_map(g, GVA + 4096, table_of(GVA, 2), RIGHTS, 1); /* the directory, to write to */
        assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
        uint64_t at = GVA + 4096 + 8 * 300 + cases[i].offset;
        assert_int_equal(mv_soft_write(g->vcpu, mv_gva(at), zero, cases[i].size, MV_SOFT_EXPLICIT, &outcome),
                         MV_SOFT_DONE);
        assert_int_equal(counter("mmu_flooded"), cases[i].flooded);
        assert_int_equal(counter("mmu_pte_write"), 1);
        assert_int_equal(counts().exits_table_write, 1);
        assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
        if (i + 1 < sizeof cases / sizeof cases[0]) {
            soft_guest_end(g);
        }
    }
}

/* --- Rights -------------------------------------------------------------------------------------------------- */

/*
 * Linux b1bd5cba3306 (role.access): one directory under two entries of different rights, whose own entries differ
 * too. Each of the four ways has the rights of its own way.
 */
static void rights_are_those_of_the_way(void **state)
{
    (void)state;
    make("soft,mmu=shadow");
    const uint64_t gib = UINT64_C(1) << 30, mib2 = UINT64_C(1) << 21;
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS, 1);
    soft_guest_map(g, GVA + mib2, GUEST_DATA + 4096, RIGHTS, 1);
    soft_guest_map(g, GVA + 4096, GUEST_DATA, RIGHTS | PTE_A | PTE_D, 1); /* a neighbour */
    uint64_t misses = counter("mmu_cache_miss"), pdpt = table_of(GVA, 3), pd = table_of(GVA, 2);
    unsigned i = (unsigned)(GVA >> 30) & 511;
    store(pdpt + 8 * (i + 1), pd | PTE_P | PTE_U);                                          /* not to be written */
    store(soft_guest_entry_gpa(g, GVA + mib2, 2), table_of(GVA + mib2, 1) | PTE_P | PTE_W); /* the supervisor's */
    const struct {
        uint64_t gva, gpa;
        bool user, writable;
    } ways[] = {{GVA, GUEST_DATA, true, true},
                {GVA + mib2, GUEST_DATA + 4096, false, true},
                {GVA + gib, GUEST_DATA, true, false},
                {GVA + gib + mib2, GUEST_DATA + 4096, false, false}};
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned k = 0; k < 4; k++) {
            unsigned w = round == 1 ? 3 - k : k;
            for (unsigned user = 0; user < 2; user++) {
                soft_guest_set(g, 0, 0, user ? 3 : 0);
                bool reads = ways[w].user || !user, writes = reads && ways[w].writable;
                uint64_t gpa;
                assert_int_equal(touch_by(g->vcpu, ways[w].gva, MV_ACCESS_READ, &gpa),
                                 reads ? MV_SOFT_DONE : MV_SOFT_FAULT);
                assert_int_equal(touch_by(g->vcpu, ways[w].gva, MV_ACCESS_WRITE, &gpa),
                                 writes ? MV_SOFT_DONE : MV_SOFT_FAULT);
                assert_true(!writes || gpa == ways[w].gpa);
                assert_int_equal(touch_by(g->vcpu, ways[2].gva + 4096, MV_ACCESS_WRITE, &gpa), MV_SOFT_FAULT);
            }
        }
    }
    /* Two of the directory, two of each lowest table, and the one above: none is made twice. */
    assert_int_equal(counter("mmu_cache_miss") - misses, 1 + 2 + 4);
}

/* A supervisor that may write to read-only pages gives a user nothing, and no fetches under SMEP. */
static void a_write_without_wp_is_the_supervisors_alone(void **state)
{
    (void)state;
    make("soft,mmu=shadow");
    struct kvm_sregs sregs;
    soft_guest_map(g, GVA, GUEST_DATA, PTE_P | PTE_U, 1);
    for (unsigned smep = 0; smep < 2; smep++) {
        for (unsigned round = 0; round < 2; round++) {
            assert_int_equal(mv_vcpu_get_sregs(g->vcpu, &sregs, NULL), 0);
            sregs.cr0 &= ~CR0_WP;
            sregs.cr4 = (sregs.cr4 & ~CR4_SMEP) | (smep ? CR4_SMEP : 0);
            sregs.ss.dpl = 0;
            assert_int_equal(mv_vcpu_set_sregs(g->vcpu, &sregs, NULL), 0);
            assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA);
            sregs.cr0 |= CR0_WP;
            assert_int_equal(mv_vcpu_set_sregs(g->vcpu, &sregs, NULL), 0);
            assert_faults(GVA, MV_ACCESS_WRITE);
            sregs.cr0 &= ~CR0_WP;
            assert_int_equal(mv_vcpu_set_sregs(g->vcpu, &sregs, NULL), 0);
            assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA);
            assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
            uint64_t gpa;
            assert_int_equal(touch_by(g->vcpu, GVA, MV_ACCESS_FETCH, &gpa), smep ? MV_SOFT_FAULT : MV_SOFT_DONE);
            sregs.ss.dpl = 3;
            assert_int_equal(mv_vcpu_set_sregs(g->vcpu, &sregs, NULL), 0);
            assert_faults(GVA, MV_ACCESS_WRITE);
            assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
            assert_maps(GVA, MV_ACCESS_FETCH, GUEST_DATA);
            assert_faults(GVA, MV_ACCESS_WRITE);
        }
    }
}

/* Nor does it take the page from its protection key. */
static void a_write_without_wp_keeps_the_key(void **state)
{
    (void)state;
    make("soft,mmu=shadow");
    struct kvm_sregs sregs;
    soft_guest_map(g, GVA, GUEST_DATA, PTE_P | PTE_U | UINT64_C(5) << 59, 1);
    assert_int_equal(mv_vcpu_get_sregs(g->vcpu, &sregs, NULL), 0);
    sregs.cr0 &= ~CR0_WP;
    sregs.cr4 |= CR4_PKE;
    assert_int_equal(mv_vcpu_set_sregs(g->vcpu, &sregs, NULL), 0);
    assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA);
    mv_soft_set_keys(g->vcpu, 1u << 10, 0);
    assert_faults(GVA, MV_ACCESS_READ);
    mv_soft_set_keys(g->vcpu, 2u << 10, 0); /* WD binds no supervisor without WP */
    assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA);
}

/* A large page that is mapped in parts, under two keys: each way has its own. */
static void parts_of_a_large_page_have_its_key(void **state)
{
    (void)state;
    make("soft,mmu=shadow,host-page=4K");
    struct kvm_sregs sregs;
    const uint64_t other = GVA + (UINT64_C(1) << 21);
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS | UINT64_C(1) << 59, 2);
    soft_guest_map(g, other, GUEST_DATA, RIGHTS | UINT64_C(2) << 59, 2);
    assert_int_equal(mv_vcpu_get_sregs(g->vcpu, &sregs, NULL), 0);
    sregs.cr4 |= CR4_PKE;
    sregs.ss.dpl = sregs.cs.dpl = 3;
    assert_int_equal(mv_vcpu_set_sregs(g->vcpu, &sregs, NULL), 0);
    mv_soft_set_keys(g->vcpu, 1u << 4, 0); /* AD of key 2 */
    for (unsigned round = 0; round < 2; round++) {
        assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
        assert_faults(other, MV_ACCESS_READ);
    }
    mv_soft_set_keys(g->vcpu, 1u << 2, 0); /* and of key 1 */
    assert_maps(other, MV_ACCESS_READ, GUEST_DATA);
    assert_faults(GVA, MV_ACCESS_READ);
    assert_faults(GVA + 4096, MV_ACCESS_READ); /* a neighbour */
    /* It changes hands; and back, by a store that only INVLPG tells of. */
    const uint64_t entry = GUEST_DATA | RIGHTS | PTE_PS | PTE_A;
    soft_guest_set_entry(g, GVA, 2, entry | UINT64_C(2) << 59);
    assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
    *(uint64_t *)(void *)(g->host + soft_guest_entry_gpa(g, GVA, 2)) = entry | UINT64_C(1) << 59;
    mv_soft_invlpg(g->vcpu, mv_gva(GVA));
    assert_faults(GVA, MV_ACCESS_READ);
}

/* Without keys these bits say nothing: an entry that comes again is the same one. */
static void keys_that_are_off_are_not_kept(void **state)
{
    (void)state;
    make("soft,mmu=shadow,host-page=4K");
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS | UINT64_C(1) << 59, 2);
    soft_guest_map(g, GVA + (UINT64_C(1) << 21), GUEST_DATA, RIGHTS | UINT64_C(2) << 59, 2);
    assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
    assert_maps(GVA + (UINT64_C(1) << 21), MV_ACCESS_READ, GUEST_DATA);
    assert_int_equal(counter("pf_fixed"), 1);
    assert_int_equal(counter("pf_spurious"), 1);
}

/* A page that was read is not writable yet, however often; D is set by the first write, large pages too. */
static void a_clean_page_is_read_only(void **state)
{
    (void)state;
    make("soft,mmu=shadow");
    const uint64_t large = UINT64_C(0x7f0000600000);
    soft_guest_map(g, large, GUEST_DATA, RIGHTS, 2);
    assert_maps(large + 0x5000, MV_ACCESS_READ, GUEST_DATA + 0x5000);
    assert_int_equal(soft_guest_entry(g, large, 2) & PTE_D, 0);
    assert_maps(large + 0x5000, MV_ACCESS_WRITE, GUEST_DATA + 0x5000);
    assert_int_equal(soft_guest_entry(g, large, 2) & PTE_D, PTE_D);
    soft_guest_set_entry(g, large, 2, soft_guest_entry(g, large, 2) & ~(PTE_D | PTE_A));
    mv_soft_invlpg(g->vcpu, mv_gva(large));
    assert_maps(large + 0x6000, MV_ACCESS_READ, GUEST_DATA + 0x6000);
    assert_int_equal(soft_guest_entry(g, large, 2) & (PTE_D | PTE_A), PTE_A);
    assert_maps(large + 0x5000, MV_ACCESS_WRITE, GUEST_DATA + 0x5000);
    assert_int_equal(soft_guest_entry(g, large, 2) & PTE_D, PTE_D);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, end)
    const struct CMUnitTest tests[] = {
        TEST(a_guest_fault_costs_n_plus_2_exits),
        TEST(a_leaf_fault_costs_2_exits),
        TEST(neighbours_are_mapped_with_it),
        TEST(previous_roots_are_kept),
        TEST(tables_are_shared),
        TEST(flooding_ends_a_table),
        TEST(misaligned_writes_end_a_table),
        TEST(rights_are_those_of_the_way),
        TEST(a_write_without_wp_is_the_supervisors_alone),
        TEST(a_write_without_wp_keeps_the_key),
        TEST(parts_of_a_large_page_have_its_key),
        TEST(keys_that_are_off_are_not_kept),
        TEST(a_clean_page_is_read_only),
    };
    return cmocka_run_group_tests_name("shadow", tests, NULL, NULL);
}
