// SPDX-License-Identifier: MIT
/* The hybrid MMU by <memvirt/soft.h>: what must hold where its two parts meet. */
#include "tests/conform/hybrid_checks.h"

#include <stdio.h>

/* --- Where both meet --------------------------------------------------------------------------------------------
 */

static void poke(uint64_t gva, uint64_t value)
{
    struct mv_soft_outcome outcome;
    assert_int_equal(mv_soft_write(g->vcpu, mv_gva(gva), &value, 8, MV_SOFT_EXPLICIT, &outcome), MV_SOFT_DONE);
}

/*
 * A page that is a table, and shadowed, is mapped below a switch: the guest's write through EPT is noticed all the
 * same, and the entry that it changes is true at once. So it was to begin with, or becomes while the TLB has it.
 */
static void a_shadowed_table_is_written_through_ept(void **state)
{
    (void)state;
    const uint64_t window = UINT64_C(0x600000000000);
    for (unsigned first = 0; first < 2; first++) {
        for (unsigned large = 0; large < 2; large++) {
            make(large ? "soft,mmu=hybrid,policy=shadow,tlb=L1=64x4,host-page=2M"
                       : "soft,mmu=hybrid,policy=shadow," TLB);
            struct asked asked = {0};
            struct mv_hybrid_policy policy = {.opaque = &asked, .nests = nests_one};
            soft_guest_map(g, GVA, GUEST_DATA, USED, 1);
            soft_guest_map(g, window, table_of(GVA, 1), USED, 1);
            soft_guest_map(g, window + 4096, GUEST_DATA + 8192, USED, 1);
            asked.gpa = table_of(window, 1);
            assert_int_equal(mv_soft_set_policy(g->vcpu, &policy), 0);
            const uint64_t at = window + (GVA >> 12 & 511) * 8;
            if (first) {
                assert_maps(at, MV_ACCESS_WRITE, soft_guest_entry_gpa(g, GVA, 1)); /* no table yet to anybody */
            }
            assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
            uint64_t writes = counts().exits_table_write;
            poke(at, (GUEST_DATA + 4096) | USED);
            assert_int_equal(counts().exits_table_write, writes + 1);
            mv_soft_invlpg(g->vcpu, mv_gva(GVA));
            assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA + 4096);
            poke(at, 0);
            mv_soft_invlpg(g->vcpu, mv_gva(GVA));
            assert_faults(GVA, MV_ACCESS_READ);
            assert_maps(window + 4096, MV_ACCESS_WRITE, GUEST_DATA + 8192);
            soft_guest_end(g);
        }
    }
    make("soft,mmu=hybrid");
}

/* The page of ours around it is large, and was writable, before a table comes to lie there. */
static void a_table_comes_to_lie_in_a_large_page(void **state)
{
    (void)state;
    const uint64_t window = UINT64_C(0x600000000000), table = GUEST_DATA + 0x7000;
    make("soft,mmu=hybrid,policy=shadow,tlb=L1=64x4,host-page=2M");
    struct asked asked = {0};
    struct mv_hybrid_policy policy = {.opaque = &asked, .nests = nests_one};
    soft_guest_map(g, GVA, GUEST_DATA, USED, 1);
    soft_guest_map(g, window, table, USED, 1);
    asked.gpa = table_of(window, 1);
    assert_int_equal(mv_soft_set_policy(g->vcpu, &policy), 0);
    assert_maps(window, MV_ACCESS_WRITE, table);
    assert_int_equal(counter("pages_2m"), 1);
    poke(window, (GUEST_DATA + 4096) | USED);
    soft_guest_set_entry(g, GVA, 2, table | USED);
    const uint64_t gva = GVA & ~UINT64_C(0x1fffff);
    assert_maps(gva, MV_ACCESS_READ, GUEST_DATA + 4096);
    assert_int_equal(counter("pages_2m"), 0);
    uint64_t writes = counts().exits_table_write;
    poke(window, (GUEST_DATA + 8192) | USED);
    assert_int_equal(counts().exits_table_write, writes + 1);
    walk_again(gva);
    assert_maps(gva, MV_ACCESS_READ, GUEST_DATA + 8192);
}

/*
 * One vCPU may write to a page by its TLB, for the guest has taken the mapping and not yet told that vCPU; then
 * the page becomes a table. Who has nothing to flush for must not say that all have flushed.
 */
static void a_table_waits_for_the_flush_that_it_needs(void **state)
{
    (void)state;
    const uint64_t window = UINT64_C(0x600000000000), table = GUEST_DATA + 0x7000;
    make("soft,mmu=hybrid,policy=shadow," TLB);
    struct mv_vcpu *first = g->vcpu, *second = soft_guest_add_vcpu(g);
    soft_guest_map(g, GVA, GUEST_DATA, USED, 1);
    soft_guest_map(g, window, table, USED, 1);
    const uint64_t gva = GVA & ~UINT64_C(0x1fffff);
    g->vcpu = second;
    poke(window, (GUEST_DATA + 4096) | USED);
    g->vcpu = first;
    assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
    soft_guest_set_entry(g, window, 1, 0);
    const uint64_t elsewhere = (uint64_t)(uintptr_t)g->host + GUEST_RAM_BYTES - 4096;
    assert_int_equal(mv_soft_protect_host(first, (struct mv_range){elsewhere, elsewhere + 4095}), 0);
    assert_int_equal(mv_soft_recover_huge_pages(first, 1), 0);
    soft_guest_set_entry(g, GVA, 2, table | USED);
    walk_again(gva);
    assert_maps(gva, MV_ACCESS_READ, GUEST_DATA + 4096);
    g->vcpu = second;
    uint64_t entry = (GUEST_DATA + 8192) | USED;
    struct mv_soft_outcome outcome;
    bool is_written = mv_soft_write(second, mv_gva(window), &entry, 8, MV_SOFT_EXPLICIT, &outcome) == MV_SOFT_DONE;
    g->vcpu = first;
    walk_again(gva);
    assert_maps(gva, MV_ACCESS_READ, GUEST_DATA + (is_written ? 8192 : 4096)); /* else its TLB was flushed */
}

/* When logging ends small pages become a large one again, but not around a table. */
static void a_table_does_not_become_part_of_a_large_page(void **state)
{
    (void)state;
    const uint64_t window = UINT64_C(0x600000000000), table = GUEST_DATA + 0x7000;
    make("soft,mmu=hybrid,policy=shadow,tlb=L1=64x4,host-page=2M");
    struct asked asked = {0};
    struct mv_hybrid_policy policy = {.opaque = &asked, .nests = nests_one};
    soft_guest_map(g, GVA, GUEST_DATA, USED, 1);
    soft_guest_map(g, window, table, USED, 1);
    soft_guest_map(g, window + 4096, GUEST_DATA + 4096, USED, 1);
    asked.gpa = table_of(window, 1);
    assert_int_equal(mv_soft_set_policy(g->vcpu, &policy), 0);
    assert_int_equal(mv_dirty_log_start(g->machine, 1, NULL), 0);
    ((uint64_t *)(void *)(g->host + table))[0] = (GUEST_DATA + 4096) | USED;
    soft_guest_set_entry(g, GVA, 2, table | USED);
    const uint64_t gva = GVA & ~UINT64_C(0x1fffff);
    assert_maps(gva, MV_ACCESS_READ, GUEST_DATA + 4096);
    assert_maps(window + 4096, MV_ACCESS_WRITE, GUEST_DATA + 4096);
    assert_int_equal(mv_dirty_log_stop(g->machine, 1, NULL), 0);
    uint64_t writes = counts().exits_table_write;
    poke(window, (GUEST_DATA + 8192) | USED);
    assert_int_equal(counts().exits_table_write, writes + 1);
    walk_again(gva);
    assert_maps(gva, MV_ACCESS_READ, GUEST_DATA + 8192);
}

/* The hardware sets A and D in tables that nobody of ours maps: their pages are in the log. */
static void bits_that_the_hardware_sets_are_logged(void **state)
{
    (void)state;
    for (unsigned k = 1; k <= 4; k++) {
        char accel[128];
        snprintf(accel, sizeof accel, "soft,mmu=hybrid,policy=nest-%u," TLB, k);
        make(accel);
        soft_guest_map(g, GVA, GUEST_DATA, USED, 1);
        assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA);
        assert_int_equal(mv_dirty_log_start(g->machine, 1, NULL), 0);
        for (unsigned round = 0; round < 3; round++) {
            mv_dirty_sync_all(g->machine, false);
            mv_dirty_test_and_clear(g->ram, 0, GUEST_RAM_BYTES, MV_DIRTY_MIGRATION);
            /* Behind everybody's back: a bit for the hardware to set again, in each table that is nested. */
            for (unsigned level = 1; level <= k; level++) {
                *(uint64_t *)(void *)(g->host + soft_guest_entry_gpa(g, GVA, level)) &= ~PTE_A;
            }
            walk_again(GVA);
            assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
            mv_dirty_sync_all(g->machine, false);
            for (unsigned level = 1; level <= k; level++) {
                assert_true(soft_guest_entry(g, GVA, level) & PTE_A);
                assert_true(mv_dirty_get(g->ram, table_of(GVA, level), 4096, MV_DIRTY_MIGRATION));
            }
            assert_false(mv_dirty_get(g->ram, GUEST_DATA + 4096, 4096, MV_DIRTY_MIGRATION));
        }
        assert_int_equal(mv_dirty_log_stop(g->machine, 1, NULL), 0);
        soft_guest_end(g);
    }
    make("soft,mmu=hybrid");
}

/* A root that is nested is marked when it is loaded; a ring that is full has no room for it. */
static void roots_do_not_overflow_a_ring(void **state)
{
    (void)state;
    soft_guest_make_with_ring(g, "soft,mmu=hybrid,policy=nested," TLB, 1024);
    soft_guest_map(g, GVA, GUEST_DATA, USED, 1);
    assert_int_equal(mv_dirty_log_start(g->machine, 1, NULL), 0);
    for (uint64_t i = 0; i < 4000; i++) {
        assert_true(mv_soft_load_cr3(g->vcpu, GUEST_DATA + i * 4096));
    }
    assert_true(mv_soft_load_cr3(g->vcpu, g->root_table));
    struct mv_soft_outcome outcome;
    struct mv_soft_place place;
    assert_int_equal(mv_soft_touch(g->vcpu, mv_gva(GVA), MV_ACCESS_READ, &place, &outcome), MV_SOFT_RING_FULL);
    mv_dirty_sync_all(g->machine, false);
    for (unsigned i = 0; i < 900; i++) { /* marked, and the ring is emptied */
        assert_true(mv_dirty_get(g->ram, GUEST_DATA + i * 4096, 4096, MV_DIRTY_MIGRATION));
    }
    assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
    assert_true(mv_soft_load_cr3(g->vcpu, g->root_table));
    assert_int_equal(refs_of(GVA), 20);
    assert_int_equal(mv_dirty_log_stop(g->machine, 1, NULL), 0);
}

/* A guest with more processes than roots are kept, of which none faults: what each load of CR3 makes is freed. */
static void loads_of_cr3_cost_no_memory(void **state)
{
    (void)state;
    make("soft,mmu=hybrid,policy=nested," TLB);
    soft_guest_map(g, GVA, GUEST_DATA, USED, 1);
    const uint64_t roots = GUEST_TABLES + 0x100000;
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < 8; i++) {
        memcpy(g->host + roots + i * 4096, g->host + g->root_table, 4096);
    }
    for (uint64_t i = 0; i < 10000; i++) {
        assert_true(mv_soft_load_cr3(g->vcpu, roots + i % 8 * 4096));
        assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA);
        bytes = i == 1000 ? counts().table_bytes : bytes;
    }
    struct mv_soft_counts c = counts();
    assert_true(c.exits_total - c.exits_cr3 < 100);
    assert_true(c.table_bytes <= bytes);
}

/* One table behind very many entries: not all of them are kept. */
static void what_leads_to_a_table_is_recycled(void **state)
{
    (void)state;
    make("soft,mmu=hybrid,policy=nest-1," TLB);
    soft_guest_map(g, GVA, GUEST_DATA, USED, 1);
    uint64_t table = table_of(GVA, 1), next = GVA;
    for (unsigned i = 0; i < 1500; i++, next += UINT64_C(1) << 21) {
        if (i > 0) {
            soft_guest_map(g, next, 0, 0, 2);
            *(uint64_t *)(void *)(g->host + soft_guest_entry_gpa(g, next, 2)) = table | USED;
        }
        assert_maps(next + (GVA & 0x1ff000), MV_ACCESS_WRITE, GUEST_DATA);
    }
    assert_int_equal(counter("rmap_recycled"), 1);
    assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA);
    assert_int_equal(refs_of(GVA), 8);
}

/* The host takes a table away that the hardware walks by its address. */
static void a_discarded_table_says_nothing(void **state)
{
    (void)state;
    for (unsigned k = 1; k <= 4; k++) {
        for (unsigned level = 1; level <= 4; level++) {
            char accel[128];
            snprintf(accel, sizeof accel, "soft,mmu=hybrid,policy=nest-%u," TLB, k);
            make(accel);
            soft_guest_map(g, GVA, GUEST_DATA, USED, 1);
            assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA);
            uint64_t table = table_of(GVA, level);
            assert_int_equal(mv_block_discard(g->ram_block, table, 4096, NULL), 0);
            assert_faults(GVA, MV_ACCESS_READ);
            soft_guest_map(g, GVA, GUEST_DATA + 4096, USED, 1);
            assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA + 4096);
            soft_guest_end(g);
        }
    }
    make("soft,mmu=hybrid");
}

/* A large page of the guest's is mapped in parts: INVLPG of one address takes all of it (Intel SDM, "INVLPG"). */
static void invlpg_takes_all_of_a_large_page(void **state)
{
    (void)state;
    static const char *const schemes[] = {
        "soft,mmu=hybrid,policy=shadow," TLB, "soft,mmu=hybrid,policy=shadow,host-page=4K",
        "soft,mmu=hybrid,policy=nest-2," TLB, "soft,mmu=hybrid,policy=nested,host-page=4K"};
    const uint64_t gva = UINT64_C(0x7f0000600000);
    for (unsigned i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        for (unsigned gone = 0; gone < 2; gone++) {
            make(schemes[i]);
            soft_guest_map(g, gva, GUEST_DATA, USED, 2);
            assert_maps(gva, MV_ACCESS_READ, GUEST_DATA);
            assert_maps(gva + 0x5000, MV_ACCESS_READ, GUEST_DATA + 0x5000);
            uint64_t pages;
            if (gone) { /* what led to the parts went before the guest has said anything */
                assert_int_equal(mv_soft_shrink_shadow(g->vcpu, 100, &pages), 0);
            }
            soft_guest_set_entry(g, gva, 2, (GUEST_DATA + 0x200000) | USED | PTE_PS);
            mv_soft_invlpg(g->vcpu, mv_gva(gva));
            assert_maps(gva + 0x5000, MV_ACCESS_READ, GUEST_DATA + 0x205000);
            soft_guest_end(g);
        }
    }
    make(schemes[0]);
}

/* Tables of ours above a switch are used by each walk that goes through them, and stay when some have to go. */
static void what_leads_to_a_switch_is_used(void **state)
{
    (void)state;
    make("soft,mmu=hybrid,policy=nest-1," TLB);
    const uint64_t other = UINT64_C(0x500000400000);
    uint64_t pages;
    soft_guest_map(g, GVA, GUEST_DATA, USED, 1);
    soft_guest_map(g, other, GUEST_DATA + 4096, USED, 1);
    for (unsigned round = 0; round < 4; round++) {
        assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
        assert_maps(other, MV_ACCESS_READ, GUEST_DATA + 4096);
        assert_int_equal(mv_soft_shrink_shadow(g->vcpu, 1, &pages), 0); /* which looks at all of them */
        assert_int_equal(pages, 1);
        assert_int_equal(refs_of(other), 8);
        assert_int_equal(refs_of(GVA), 8);
        assert_int_equal(mv_soft_shrink_shadow(g->vcpu, 1, &pages), 0);
        walk_again(round % 2 ? GVA : other);
        assert_int_equal(refs_of(round % 2 ? GVA : other), 8);
        assert_int_equal(mv_soft_shrink_shadow(g->vcpu, 1, &pages), 0);
        uint64_t exits = counts().exits_total;
        assert_int_equal(refs_of(round % 2 ? GVA : other), 8);
        assert_int_equal(counts().exits_total, exits);
    }
}

/* Tables of EPT are not among those that there may be so many of. */
static void the_limit_is_for_shadow_tables(void **state)
{
    (void)state;
    make("soft,mmu=hybrid,policy=nest-1," TLB);
    for (uint64_t i = 0; i < 30; i++) { /* one table of EPT for each 2 MiB, but of the shadow three in all */
        soft_guest_map(g, GVA + i * 4096, i << 21, USED, 1);
        assert_maps(GVA + i * 4096, MV_ACCESS_READ, i << 21);
    }
    const uint64_t upper = UINT64_C(0x500000400000);
    for (uint64_t i = 0; i < 30; i++) { /* and thirty more */
        soft_guest_map(g, upper + (i << 30), GUEST_DATA, USED, 1);
        assert_maps(upper + (i << 30), MV_ACCESS_READ, GUEST_DATA);
    }
    uint64_t tables = counter("tables"), exits = counts().exits_total;
    assert_true(tables > 64);
    assert_int_equal(mv_soft_set_shadow_pages(g->vcpu, 64), 0);
    assert_int_equal(counter("tables"), tables);
    assert_int_equal(refs_of(upper), 8);
    assert_int_equal(counts().exits_total, exits);
}

/* One table, at two levels of one walk. */
static void a_table_that_maps_itself(void **state)
{
    (void)state;
    for (unsigned k = 1; k <= 4; k++) {
        char accel[128];
        snprintf(accel, sizeof accel, "soft,mmu=hybrid,policy=nest-%u," TLB, k);
        make(accel);
        soft_guest_map(g, GVA, GUEST_DATA, USED, 1);
        uint64_t *root = (uint64_t *)(void *)(g->host + g->root_table);
        root[510] = g->root_table | USED;
        const uint64_t self =
            UINT64_C(0xffffff0000000000); /* index 510, then 0: what the root's first entries are */
        /* The root as a page: index 510 four times. */
        const uint64_t page = self | UINT64_C(510) << 30 | UINT64_C(510) << 21 | UINT64_C(510) << 12;
        assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
        for (unsigned i = 0; i < 4; i++) {
            poke(page + 8 * 300, i << 12 | PTE_A);
            assert_int_equal(root[300], i << 12 | PTE_A);
            assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
            uint64_t table = root[GVA >> 39 & 511];
            poke(page + 8 * (GVA >> 39 & 511), 0);
            mv_soft_invlpg(g->vcpu, mv_gva(GVA));
            assert_faults(GVA, MV_ACCESS_READ);
            poke(page + 8 * (GVA >> 39 & 511), table);
            assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA);
        }
        soft_guest_end(g);
    }
    make("soft,mmu=hybrid");
}

/* An entry for MMIO has a part of the generation of slots where one that switches has its bit. */
static void mmio_is_no_switch_after_many_changes_of_slots(void **state)
{
    (void)state;
    make("soft,mmu=hybrid,policy=shadow," TLB);
    soft_guest_map(g, GVA, GUEST_DEVICE, USED, 1);
    for (unsigned i = 0; i < 3000; i++) {
        assert_int_equal(mv_region_set_enabled(g->rom, i % 2, NULL), 0);
        for (unsigned j = 0; i % 50 == 0 && j < 2; j++) { /* the second one meets the entry */
            uint64_t gpa;
            assert_int_equal(touch(GVA, MV_ACCESS_READ, &gpa), MV_SOFT_MMIO);
        }
    }
}

/* Tables in memory that is read-only go without A and D; a write to it is MMIO. */
static void tables_in_rom_are_shadowed(void **state)
{
    (void)state;
    static const char *const schemes[] = {"soft,mmu=hybrid,policy=nested," TLB,
                                          "soft,mmu=hybrid,policy=nest-1," TLB};
    for (unsigned i = 0; i < 2; i++) {
        make(schemes[i]);
        soft_guest_map(g, GVA, GUEST_DATA, USED, 1);
        /* The directory leads to a table in ROM, which has what was put there before. */
        struct mv_block_info rom;
        mv_block_info(g->rom_block, &rom);
        uint64_t *table = (uint64_t *)(uintptr_t)rom.hva.raw;
        table[GVA >> 12 & 511] = (GUEST_DATA + 4096) | RIGHTS;
        soft_guest_set_entry(g, GVA, 2, GUEST_ROM | USED);
        assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA + 4096);
        assert_int_equal(table[GVA >> 12 & 511], (GUEST_DATA + 4096) | RIGHTS);
        soft_guest_end(g);
    }
    make("soft,mmu=hybrid");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, end)
    const struct CMUnitTest tests[] = {
        TEST(a_shadowed_table_is_written_through_ept),
        TEST(a_table_comes_to_lie_in_a_large_page),
        TEST(a_table_waits_for_the_flush_that_it_needs),
        TEST(a_table_does_not_become_part_of_a_large_page),
        TEST(bits_that_the_hardware_sets_are_logged),
        TEST(roots_do_not_overflow_a_ring),
        TEST(loads_of_cr3_cost_no_memory),
        TEST(what_leads_to_a_table_is_recycled),
        TEST(a_discarded_table_says_nothing),
        TEST(invlpg_takes_all_of_a_large_page),
        TEST(what_leads_to_a_switch_is_used),
        TEST(the_limit_is_for_shadow_tables),
        TEST(a_table_that_maps_itself),
        TEST(mmio_is_no_switch_after_many_changes_of_slots),
        TEST(tables_in_rom_are_shadowed),
    };
    return cmocka_run_group_tests_name("hybrid_tables", tests, NULL, NULL);
}
