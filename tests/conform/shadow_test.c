// SPDX-License-Identifier: MIT
/* The shadow MMU by <memvirt/soft.h>: what it costs, to the unit, and past bugs of KVM's as scenarios. */
#include "tests/conform/soft_guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define GVA UINT64_C(0x7f0000400000)
#define RIGHTS (PTE_P | PTE_W | PTE_U)
#define CR0_WP (UINT64_C(1) << 16)
#define CR4_PCIDE (UINT64_C(1) << 17)
#define CR4_SMEP (UINT64_C(1) << 20)
#define CR4_PKE (UINT64_C(1) << 22)
#define FAR (9 * UINT64_C(4096)) /* no neighbour, but of the same table */

static struct soft_guest guest, *const g = &guest;

static void make(const char *accel)
{
    soft_guest_make(g, accel);
}

static int end(void **state)
{
    (void)state;
    soft_guest_end(g);
    return 0;
}

static uint64_t counter(const char *name)
{
    struct mv_counter counters[64];
    size_t count = mv_vm_counters(g->vm, MV_COUNTERS_KERNEL, counters, 64);
    for (size_t i = 0; i < count && i < 64; i++) {
        if (strcmp(counters[i].name, name) == 0) {
            return counters[i].value;
        }
    }
    fail_msg("there is no counter %s", name);
    return 0;
}

static struct mv_soft_counts counts(void)
{
    struct mv_soft_counts ret;
    assert_int_equal(mv_soft_counts(g->vcpu, &ret), 0);
    return ret;
}

static enum mv_soft_end touch_by(struct mv_vcpu *vcpu, uint64_t gva, enum mv_access kind, uint64_t *ret_gpa)
{
    struct mv_soft_outcome outcome;
    struct mv_soft_place place = {0};
    enum mv_soft_end ret = mv_soft_touch(vcpu, mv_gva(gva), kind, &place, &outcome);
    *ret_gpa = place.gpa.raw;
    return ret;
}

static void assert_maps(uint64_t gva, enum mv_access kind, uint64_t gpa)
{
    uint64_t got;
    assert_int_equal(touch_by(g->vcpu, gva, kind, &got), MV_SOFT_DONE);
    assert_int_equal(got, gpa);
}

static void assert_faults(uint64_t gva, enum mv_access kind)
{
    uint64_t got;
    assert_int_equal(touch_by(g->vcpu, gva, kind, &got), MV_SOFT_FAULT);
}

/* As the guest's kernel does. */
static void store(uint64_t gpa, uint64_t value)
{
    struct mv_soft_outcome outcome;
    assert_int_equal(mv_soft_write_physical(g->vcpu, mv_gpa(gpa), value, &outcome), MV_SOFT_DONE);
}

static uint64_t load(uint64_t gpa)
{
    uint64_t value = 0;
    assert_true(mv_soft_peek_physical(g->vcpu, mv_gpa(gpa), &value));
    return value;
}

static uint64_t table_of(uint64_t gva, unsigned level)
{
    return soft_guest_entry_gpa(g, gva, level) & ~UINT64_C(0xfff);
}

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
        TEST(mmio_is_remembered),
        TEST(mmio_ends_with_its_generation),
        TEST(a_flush_is_for_all_roots),
        TEST(a_table_in_rom_stays_shadowed),
        TEST(a_discarded_table_says_nothing),
        TEST(a_table_is_seen_through_two_slots),
        TEST(a_table_is_edited_by_another_vcpu),
    };
    return cmocka_run_group_tests_name("shadow", tests, NULL, NULL);
}
