// SPDX-License-Identifier: MIT
/*
 * The shadow MMU by <memvirt/soft.h>: tables that are unsync, of other modes and sizes, that are recycled,
 * discarded or seen twice; past bugs of KVM's as scenarios.
 */
#include "tests/conform/soft_checks.h"

#include <stdio.h>

/* --- Unsync -------------------------------------------------------------------------------------------------- */

/* The guest changes a lowest table: the old translation may be seen until it flushes, and no longer. */
static void what_is_unsync_ends_with_a_flush(void **state)
{
    (void)state;
    make("soft,mmu=shadow");
    for (unsigned by_cr3 = 0; by_cr3 < 2; by_cr3++) {
        uint64_t gva = GVA + by_cr3 * 64 * 4096;
        soft_guest_map(g, gva, GUEST_DATA, RIGHTS | PTE_A, 1);
        assert_maps(gva, MV_ACCESS_READ, GUEST_DATA);
        soft_guest_set_entry(g, gva, 1, (GUEST_DATA + 0x3000) | RIGHTS | PTE_A);
        assert_maps(gva, MV_ACCESS_READ, GUEST_DATA);
        if (by_cr3) {
            assert_true(mv_soft_load_cr3(g->vcpu, g->root_table));
        } else {
            mv_soft_invlpg(g->vcpu, mv_gva(gva));
        }
        assert_maps(gva, MV_ACCESS_READ, GUEST_DATA + 0x3000);
    }
    assert_true(counter("tables_opened") > 0);
    assert_int_equal(counts().exits_invlpg, 1);
}

/*
 * Linux 65855ed8b034: the guest changes a lowest table, then links it where nothing was, which takes no flush.
 * What it reads there is new.
 */
static void a_link_shows_what_is_unsync(void **state)
{
    (void)state;
    make("soft,mmu=shadow");
    const uint64_t other = GVA + (UINT64_C(1) << 21);
    for (unsigned i = 0; i < 2; i++) {
        soft_guest_map(g, GVA + i * FAR, GUEST_DATA, RIGHTS | PTE_A, 1);
        assert_maps(GVA + i * FAR, MV_ACCESS_READ, GUEST_DATA);
    }
    for (unsigned i = 0; i < 2; i++) {
        soft_guest_set_entry(g, GVA + i * FAR, 1, (GUEST_DATA + 0x3000) | RIGHTS | PTE_A);
    }
    assert_int_equal(counter("tables_opened"), 1);
    soft_guest_set_entry(g, other, 2, table_of(GVA, 1) | RIGHTS);
    assert_maps(other, MV_ACCESS_READ, GUEST_DATA + 0x3000);
    assert_maps(other + FAR, MV_ACCESS_READ, GUEST_DATA + 0x3000);
}

/* The same two levels up: the directory that is linked leads to a table that has changed meanwhile. */
static void a_link_shows_what_is_unsync_below(void **state)
{
    (void)state;
    make("soft,mmu=shadow");
    const uint64_t other = GVA + (UINT64_C(1) << 30);
    for (unsigned i = 0; i < 2; i++) {
        soft_guest_map(g, GVA + i * FAR, GUEST_DATA, RIGHTS | PTE_A, 1);
        assert_maps(GVA + i * FAR, MV_ACCESS_READ, GUEST_DATA);
    }
    uint64_t table = table_of(GVA, 1), directory = table_of(GVA, 2);
    soft_guest_set_entry(g, GVA, 3, 0);
    assert_true(mv_soft_load_cr3(g->vcpu, g->root_table));
    assert_faults(GVA, MV_ACCESS_READ);
    for (unsigned i = 0; i < 2; i++) {
        store(table + ((GVA + i * FAR) >> 12 & 511) * 8, (GUEST_DATA + 0x3000) | RIGHTS | PTE_A);
    }
    assert_int_equal(counter("tables_opened"), 1);
    assert_true(mv_soft_load_cr3(g->vcpu, g->root_table));
    soft_guest_set_entry(g, other, 3, directory | RIGHTS);
    assert_maps(other, MV_ACCESS_READ, GUEST_DATA + 0x3000);
    assert_maps(other + FAR, MV_ACCESS_READ, GUEST_DATA + 0x3000);
}

/* A table that maps itself: its own entries through itself. */
static void a_table_that_maps_itself(void **state)
{
    (void)state;
    for (unsigned unsync = 0; unsync < 2; unsync++) {
        make(unsync ? "soft,mmu=shadow" : "soft,mmu=shadow,unsync=off");
        soft_guest_map(g, GVA, GUEST_DATA, RIGHTS | PTE_A, 1);
        uint64_t self = GVA + 4096, table = table_of(GVA, 1);
        soft_guest_map(g, self, table, RIGHTS, 1);
        assert_maps(GVA + 0, MV_ACCESS_READ, GUEST_DATA);
        struct mv_soft_outcome outcome;
        for (uint64_t i = 1; i < 10; i++) {
            uint64_t entry = (GUEST_DATA + i * 4096) | RIGHTS | PTE_A;
            assert_int_equal(mv_soft_write(g->vcpu, mv_gva(self + (GVA >> 12 & 511) * 8), &entry, 8,
                                           MV_SOFT_EXPLICIT, &outcome),
                             MV_SOFT_DONE);
            mv_soft_invlpg(g->vcpu, mv_gva(GVA));
            assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA + i * 4096);
        }
        if (!unsync) {
            soft_guest_end(g);
        }
    }
}

/* --- Modes, sizes, limits -------------------------------------------------------------------------------------
 */

static void set_32bit(uint64_t cr3)
{
    struct kvm_sregs sregs;
    assert_int_equal(mv_vcpu_get_sregs(g->vcpu, &sregs, NULL), 0);
    sregs.cr0 = 0x80010011;
    sregs.cr3 = cr3;
    sregs.cr4 = 0x10;
    sregs.efer = 0;
    assert_int_equal(mv_vcpu_set_sregs(g->vcpu, &sregs, NULL), 0);
}

/* 1024 entries of 4 bytes: a directory is shadowed by four of ours, a table by two; an entry of the directory is
 * two. */
static void tables_of_4_byte_entries_have_quadrants(void **state)
{
    (void)state;
    make("soft,mmu=shadow");
    const uint64_t directory = 0x300000, table = 0x301000;
    uint32_t *pd = (uint32_t *)(void *)(g->host + directory), *pt = (uint32_t *)(void *)(g->host + table);
    for (unsigned i = 0; i < 4; i++) {
        pd[i * 256] = (uint32_t)(table | RIGHTS);
    }
    pt[0] = (uint32_t)(GUEST_DATA | RIGHTS);
    pt[512] = (uint32_t)((GUEST_DATA + 4096) | RIGHTS);
    set_32bit(directory);
    uint64_t before = counter("mmu_cache_miss");
    for (uint64_t i = 0; i < 4; i++) {
        assert_maps(i << 30, MV_ACCESS_READ, GUEST_DATA);
        assert_maps((i << 30) + (UINT64_C(1) << 21), MV_ACCESS_READ, GUEST_DATA + 4096);
    }
    assert_int_equal(counter("mmu_cache_miss") - before, 4 + 2);
    /* A write to a directory's entry takes both halves along. */
    uint32_t entry = 2; /* not present, but something */
    struct mv_soft_outcome outcome;
    pt[1] = (uint32_t)(directory | RIGHTS);
    assert_int_equal(mv_soft_write(g->vcpu, mv_gva(4096), &entry, 4, MV_SOFT_EXPLICIT, &outcome), MV_SOFT_DONE);
    mv_soft_invlpg(g->vcpu, mv_gva(0));
    assert_faults(UINT64_C(1) << 21, MV_ACCESS_READ);
    assert_faults(0, MV_ACCESS_READ);
    assert_maps(UINT64_C(1) << 30, MV_ACCESS_READ, GUEST_DATA);
    assert_int_equal(counter("mmu_pde_zapped"), 2);
}

/* With two levels a root is two tables of ours; of the last ones they are kept, too. */
static void roots_of_two_levels_are_kept(void **state)
{
    (void)state;
    make("soft,mmu=shadow");
    for (unsigned i = 0; i < 4; i++) {
        uint32_t *pd = (uint32_t *)(void *)(g->host + 0x300000 + i * 4096);
        pd[0] = (uint32_t)(0x310000 | RIGHTS);
    }
    *(uint32_t *)(void *)(g->host + 0x310000) = (uint32_t)(GUEST_DATA | RIGHTS);
    set_32bit(0x300000);
    uint64_t built = 0;
    for (unsigned i = 0; i < 12; i++) {
        assert_true(mv_soft_load_cr3(g->vcpu, 0x300000 + i % 4 * 4096));
        assert_maps(0, MV_ACCESS_READ, GUEST_DATA);
        built = i == 3 ? counts().tables_built : built;
    }
    assert_int_equal(counts().tables_built, built);
}

/* Large if both sides are, and not where a table of the guest's lies in it. */
static void large_pages_are_large(void **state)
{
    (void)state;
    make("soft,mmu=shadow");
    const uint64_t large = UINT64_C(0x7f0000600000);
    soft_guest_map(g, large, GUEST_DATA, RIGHTS | PTE_D, 2);
    assert_maps(large + 0x5000, MV_ACCESS_WRITE, GUEST_DATA + 0x5000);
    assert_int_equal(counter("pages_2m"), 1);
    assert_int_equal(counter("pages_4k"), 0);
    /* Another table comes to lie in it. */
    soft_guest_set_entry(g, GVA, 2, 0);
    uint64_t table = GUEST_DATA + 0x7000;
    memset(g->host + table, 0, 4096);
    store(table, (GUEST_DATA + 0x9000) | RIGHTS | PTE_A);
    soft_guest_set_entry(g, GVA, 2, table | RIGHTS);
    assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA + 0x9000);
    assert_int_equal(counter("pages_2m"), 0);
    assert_maps(large + 0x5000, MV_ACCESS_WRITE, GUEST_DATA + 0x5000);
    assert_int_equal(counter("pages_2m"), 0);
    /* What is written to it there is seen. */
    struct mv_soft_outcome outcome;
    uint64_t entry = 0;
    assert_int_equal(mv_soft_write(g->vcpu, mv_gva(large + 0x7000), &entry, 8, MV_SOFT_EXPLICIT, &outcome),
                     MV_SOFT_DONE);
    mv_soft_invlpg(g->vcpu, mv_gva(GVA));
    assert_faults(GVA, MV_ACCESS_READ);
}

/* A large page of the guest's is mapped in parts: INVLPG of one address takes all of it (Intel SDM, "INVLPG"). */
static void invlpg_takes_all_of_a_large_page(void **state)
{
    (void)state;
    static const char *const schemes[] = {"soft,mmu=shadow,host-page=4K",
                                          "soft,mmu=shadow,host-page=4K,tlb=L1=64x4",
                                          "soft,mmu=shadow,unsync=off,host-page=4K,tlb=L1=64x4:L2=1536x12"};
    const uint64_t gva = UINT64_C(0x7f0000600000);
    for (unsigned i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        for (unsigned gone = 0; gone < 2; gone++) {
            make(schemes[i]);
            soft_guest_map(g, gva, GUEST_DATA, RIGHTS | PTE_A | PTE_D, 2);
            assert_maps(gva, MV_ACCESS_READ, GUEST_DATA);
            assert_maps(gva + 0x5000, MV_ACCESS_READ, GUEST_DATA + 0x5000);
            uint64_t pages;
            if (gone) { /* what led to the parts went before the guest has said anything */
                assert_int_equal(mv_soft_shrink_shadow(g->vcpu, 100, &pages), 0);
            }
            soft_guest_set_entry(g, gva, 2, (GUEST_DATA + 0x200000) | RIGHTS | PTE_A | PTE_D | PTE_PS);
            mv_soft_invlpg(g->vcpu, mv_gva(gva));
            assert_maps(gva + 0x5000, MV_ACCESS_READ, GUEST_DATA + 0x205000);
            soft_guest_end(g);
        }
    }
    make(schemes[0]);
}

/* A page of 4 MiB is two of ours. */
static void invlpg_takes_both_halves_of_4_mib(void **state)
{
    (void)state;
    make("soft,mmu=shadow,tlb=L1=64x4");
    const uint64_t directory = 0x300000, half = UINT64_C(1) << 21, other = GUEST_DATA + (UINT64_C(4) << 20);
    uint32_t *pd = (uint32_t *)(void *)(g->host + directory);
    pd[0] = (uint32_t)(GUEST_DATA | RIGHTS | PTE_A | PTE_D | PTE_PS);
    set_32bit(directory);
    assert_maps(0, MV_ACCESS_READ, GUEST_DATA);
    assert_maps(half, MV_ACCESS_READ, GUEST_DATA + half);
    store(directory, other | RIGHTS | PTE_A | PTE_D | PTE_PS);
    mv_soft_invlpg(g->vcpu, mv_gva(0));
    assert_maps(half, MV_ACCESS_READ, other + half);
    assert_maps(0, MV_ACCESS_READ, other);
}

static void there_is_a_limit(void **state)
{
    (void)state;
    make("soft,mmu=shadow,shadow-pages=64");
    for (unsigned round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < 200; i++) {
            uint64_t gva = GVA + (i << 21);
            if (round == 0) {
                soft_guest_map(g, gva, GUEST_DATA + i * 4096, RIGHTS, 1);
            }
            assert_maps(gva, MV_ACCESS_READ, GUEST_DATA + i * 4096);
            assert_true(counter("tables") <= 64);
        }
    }
    assert_true(counter("mmu_shadow_zapped") >= 300);
}

/* More mappings of one page than are kept. */
/* One more than the limit may be there; with the next all go, and it comes again. */
static void mappings_are_recycled_where_one_says(void **state)
{
    (void)state;
    for (unsigned max = 1; max < 40; max += 19) {
        char accel[64];
        snprintf(accel, sizeof accel, "soft,mmu=shadow,rmap-max=%u", max);
        if (max > 1) {
            soft_guest_end(g);
        }
        make(accel);
        for (uint64_t i = 0; i < max + 2; i++) {
            assert_int_equal(counter("rmap_recycled"), 0);
            uint64_t gva = GVA + i * 8 * 4096; /* no neighbours */
            soft_guest_map(g, gva, GUEST_DATA, RIGHTS, 1);
            assert_maps(gva, MV_ACCESS_WRITE, GUEST_DATA);
        }
        assert_int_equal(counter("rmap_recycled"), 1);
        assert_int_equal(counter("pages_4k"), 1);
    }
}

static void mappings_of_a_page_are_recycled(void **state)
{
    (void)state;
    make("soft,mmu=shadow");
    for (uint64_t i = 0; i < 1500; i++) {
        uint64_t gva = GVA + i * 8 * 4096; /* no neighbours */
        soft_guest_map(g, gva, GUEST_DATA, RIGHTS, 1);
        assert_maps(gva, MV_ACCESS_WRITE, GUEST_DATA);
    }
    assert_int_equal(counter("rmap_recycled"), 1);
    assert_int_equal(counter("pf_fixed"), 1500 + 1);
    assert_int_equal(counter("pages_4k"), 1500 - 1001); /* with the 1002nd all went, and it came again */
    assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA);
}

/* An entry says that there is no RAM; the next access asks no table of the guest's. */
static void mmio_is_remembered(void **state)
{
    (void)state;
    make("soft,mmu=shadow");
    struct mv_soft_outcome outcome;
    uint32_t value;
    soft_guest_map(g, GVA, GUEST_DEVICE, RIGHTS, 1);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(mv_soft_read(g->vcpu, mv_gva(GVA), &value, 4, MV_SOFT_EXPLICIT, &outcome), MV_SOFT_MMIO);
    }
    assert_int_equal(counter("pf_mmio_spte_created"), 1);
    assert_int_equal(counter("pf_taken"), 1);
    /* Rights are asked all the same. */
    soft_guest_set_entry(g, GVA, 1, GUEST_DEVICE | PTE_P | PTE_A);
    mv_soft_invlpg(g->vcpu, mv_gva(GVA));
    assert_int_equal(mv_soft_write(g->vcpu, mv_gva(GVA), &value, 4, MV_SOFT_EXPLICIT, &outcome), MV_SOFT_FAULT);
}

/* A slot that comes to be where an entry says that there is none. */
static void mmio_ends_with_its_generation(void **state)
{
    (void)state;
    make("soft,mmu=shadow");
    const uint64_t hole = 0x30000000;
    struct mv_soft_outcome outcome;
    uint32_t value = 7;
    soft_guest_map(g, GVA, hole, RIGHTS, 1);
    assert_int_equal(mv_soft_write(g->vcpu, mv_gva(GVA), &value, 4, MV_SOFT_EXPLICIT, &outcome), MV_SOFT_MMIO);
    struct mv_block *block;
    struct mv_region *region;
    struct mv_block_options of_block = {.name = "more", .size_bytes = 65536};
    assert_int_equal(mv_block_create(g->machine, &of_block, &block, NULL), 0);
    struct mv_region_options of_region = {
        .name = "more", .kind = MV_REGION_RAM, .size_bytes = 65536, .block = block};
    assert_int_equal(mv_region_create(g->machine, &of_region, &region, NULL), 0);
    assert_int_equal(mv_region_add(g->root, hole, region, 0, NULL), 0);
    assert_maps(GVA, MV_ACCESS_WRITE, hole);
    uint64_t exits = counts().exits_page_fault;
    assert_maps(GVA, MV_ACCESS_WRITE, hole);
    assert_int_equal(counts().exits_page_fault, exits); /* it is mapped, and not emulated */
    assert_int_equal(mv_region_remove(region, NULL), 0);
    assert_int_equal(mv_soft_write(g->vcpu, mv_gva(GVA), &value, 4, MV_SOFT_EXPLICIT, &outcome), MV_SOFT_MMIO);
    mv_region_put(region);
    mv_block_put(block);
}

/* What is taken must go from the TLB for every root that it has translations of, and not for the present one
 * alone: here a write under another PCID's root would not be noticed. */
static void a_flush_is_for_all_roots(void **state)
{
    (void)state;
    const uint64_t keep = UINT64_C(1) << 63, first = GUEST_TABLES | 1, second = (GUEST_TABLES + 0x80000) | 2;
    make("soft,mmu=shadow,tlb=L1=64x4");
    soft_guest_set(g, 0, CR4_PCIDE, 0);
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS | PTE_A | PTE_D, 1);
    memcpy(g->host + (second & ~UINT64_C(0xfff)), g->host + GUEST_TABLES, 4096);
    assert_int_equal(mv_dirty_log_start(g->machine, 1, NULL), 0);
    assert_true(mv_soft_load_cr3(g->vcpu, first));
    assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA);
    assert_true(mv_soft_load_cr3(g->vcpu, second | keep));
    mv_dirty_sync_all(g->machine, false);
    assert_true(
        mv_dirty_test_and_clear(g->ram, GUEST_DATA, 4096, MV_DIRTY_MIGRATION)); /* its next write is noticed */
    assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);                               /* the vCPU sees to its requests */
    assert_true(mv_soft_load_cr3(g->vcpu, first | keep));
    assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA);
    mv_dirty_sync_all(g->machine, false);
    assert_true(mv_dirty_test_and_clear(g->ram, GUEST_DATA, 4096, MV_DIRTY_MIGRATION));
    assert_int_equal(mv_dirty_log_stop(g->machine, 1, NULL), 0);
}

/* A guest's table in ROM: a write to it is no edit, and opens nothing. */
static void a_table_in_rom_stays_shadowed(void **state)
{
    (void)state;
    uint64_t gpa;
    const uint64_t window = GVA + (UINT64_C(1) << 30);
    struct mv_block_info rom;
    make("soft,mmu=shadow");
    mv_block_info(g->rom_block, &rom);
    uint64_t *table = (uint64_t *)(uintptr_t)rom.hva.raw;
    table[GVA >> 12 & 511] = GUEST_DATA | RIGHTS | PTE_A | PTE_D;
    soft_guest_map(g, GVA, 0, 0, 1);
    *(uint64_t *)(void *)(g->host + soft_guest_entry_gpa(g, GVA, 2)) = GUEST_ROM | RIGHTS;
    soft_guest_map(g, window, GUEST_ROM, RIGHTS, 1);
    assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(touch_by(g->vcpu, window, MV_ACCESS_WRITE, &gpa), MV_SOFT_MMIO);
        assert_maps(window, MV_ACCESS_READ, GUEST_ROM);
    }
    assert_int_equal(counts().exits_table_write, 0);
    assert_int_equal(counter("mmu_unsync"), 0);
    assert_int_equal(counter("mmu_pte_write"), 0);
}

/* The host takes a guest's table away: what it said is forgotten. */
static void a_discarded_table_says_nothing(void **state)
{
    (void)state;
    make("soft,mmu=shadow");
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS, 1);
    assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA);
    uint64_t table = table_of(GVA, 1);
    assert_int_equal(mv_block_discard(g->ram_block, table, 4096, NULL), 0);
    assert_faults(GVA, MV_ACCESS_READ);
    soft_guest_map(g, GVA, GUEST_DATA + 4096, RIGHTS, 1);
    assert_maps(GVA, MV_ACCESS_WRITE, GUEST_DATA + 4096);
}

/* RAM that is shown at a second place: a table is the same table, and a page says by which address it was reached.
 */
static void a_table_is_seen_through_two_slots(void **state)
{
    (void)state;
    make("soft,mmu=shadow");
    const uint64_t alias = 0x40000000;
    struct mv_region *region;
    struct mv_region_options options = {
        .name = "alias", .kind = MV_REGION_ALIAS, .size_bytes = GUEST_RAM_BYTES, .target = g->ram};
    struct mv_soft_outcome outcome;
    uint64_t entry = 0;
    assert_int_equal(mv_region_create(g->machine, &options, &region, NULL), 0);
    assert_int_equal(mv_region_add(g->root, alias, region, 0, NULL), 0);
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS, 1);
    soft_guest_map(g, GVA + 4096, alias + GUEST_DATA, RIGHTS, 1);
    soft_guest_map(g, GVA + 8192, alias + table_of(GVA, 2), RIGHTS, 1);
    assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA);
    assert_maps(GVA + 4096, MV_ACCESS_WRITE, alias + GUEST_DATA);
    assert_int_equal(
        mv_soft_write(g->vcpu, mv_gva(GVA + 8192 + (GVA >> 21 & 511) * 8), &entry, 8, MV_SOFT_EXPLICIT, &outcome),
        MV_SOFT_DONE);
    assert_int_equal(counter("mmu_pte_write"), 1);
    assert_true(mv_soft_load_cr3(g->vcpu, g->root_table));
    assert_faults(GVA, MV_ACCESS_READ);
    assert_int_equal(mv_region_remove(region, NULL), 0);
    mv_region_put(region);
}

/* --- Several vCPUs ---------------------------------------------------------------------------------------------
 */

/* One edits what another uses, by a mapping of the table that its own TLB has. */
static void a_table_is_edited_by_another_vcpu(void **state)
{
    (void)state;
    make("soft,mmu=shadow");
    struct mv_vcpu *other = soft_guest_add_vcpu(g);
    struct mv_soft_outcome outcome;
    uint64_t gpa, window = GVA + (UINT64_C(1) << 30);
    soft_guest_map(g, GVA, GUEST_DATA, RIGHTS | PTE_A, 1);
    soft_guest_map(g, window, table_of(GVA, 1), RIGHTS, 1);
    soft_guest_map(g, window + 4096, table_of(GVA, 2), RIGHTS, 1);
    /* The other one may write to both before they are tables to anybody. */
    uint64_t old = load(soft_guest_entry_gpa(g, GVA, 2));
    assert_int_equal(touch_by(other, window, MV_ACCESS_WRITE, &gpa), MV_SOFT_DONE);
    assert_int_equal(touch_by(other, window + 4096, MV_ACCESS_WRITE, &gpa), MV_SOFT_DONE);
    for (uint64_t i = 0; i < 8; i++) {
        uint64_t entry = (GUEST_DATA + i * 4096) | RIGHTS | PTE_A;
        assert_int_equal(
            mv_soft_write(other, mv_gva(window + (GVA >> 12 & 511) * 8), &entry, 8, MV_SOFT_EXPLICIT, &outcome),
            MV_SOFT_DONE);
        assert_true(
            mv_soft_load_cr3(g->vcpu, g->root_table)); /* which asks only tables that are known to differ */
        assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA + i * 4096);
    }
    uint64_t entry = 0, at = window + 4096 + (GVA >> 21 & 511) * 8;
    assert_int_equal(mv_soft_write(other, mv_gva(at), &entry, 8, MV_SOFT_EXPLICIT, &outcome), MV_SOFT_DONE);
    assert_true(mv_soft_load_cr3(g->vcpu, g->root_table));
    assert_faults(GVA, MV_ACCESS_READ);
    assert_int_equal(mv_soft_write(other, mv_gva(at), &old, 8, MV_SOFT_EXPLICIT, &outcome), MV_SOFT_DONE);
    assert_maps(GVA, MV_ACCESS_READ, GUEST_DATA + 7 * 4096);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, end)
    const struct CMUnitTest tests[] = {
        TEST(what_is_unsync_ends_with_a_flush),
        TEST(a_link_shows_what_is_unsync),
        TEST(a_link_shows_what_is_unsync_below),
        TEST(a_table_that_maps_itself),
        TEST(tables_of_4_byte_entries_have_quadrants),
        TEST(roots_of_two_levels_are_kept),
        TEST(large_pages_are_large),
        TEST(invlpg_takes_all_of_a_large_page),
        TEST(invlpg_takes_both_halves_of_4_mib),
        TEST(there_is_a_limit),
        TEST(mappings_of_a_page_are_recycled),
        TEST(mappings_are_recycled_where_one_says),
        TEST(mmio_is_remembered),
        TEST(mmio_ends_with_its_generation),
        TEST(a_flush_is_for_all_roots),
        TEST(a_table_in_rom_stays_shadowed),
        TEST(a_discarded_table_says_nothing),
        TEST(a_table_is_seen_through_two_slots),
        TEST(a_table_is_edited_by_another_vcpu),
    };
    return cmocka_run_group_tests_name("shadow_tables", tests, NULL, NULL);
}
