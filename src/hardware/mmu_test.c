// SPDX-License-Identifier: MIT
/* Translating: faults, what the TLB keeps and what it judges anew, the front, the hooks. */
#include "hardware/mmu_test.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define GVA (3 * GIB)
#define CR4_SMEP (UINT64_C(1) << 20)
#define CR4_PKE (UINT64_C(1) << 22)

#define R MV_ACCESS_READ
#define W MV_ACCESS_WRITE
#define X MV_ACCESS_FETCH

static struct rig rig;
static uint64_t *pte;

static void start_with(const struct hw_options *options)
{
    rig_init(&rig, options, 4);
    rig_map(&rig, GVA, 0x5000, 1, RIG_ALL);
    if (options->dimension == HW_EPT || options->dimension == HW_NPT) {
        rig_map_nested(&rig, 0, 2 * MIB, 1);
        rig_map_nested(&rig, RIG_TABLES, 2 * MIB, 1);
    }
    rig_load(&rig);
    pte = rig_guest_entry(&rig, GVA, 1, RIG_ALL);
}

static struct hw_options options_of(enum hw_dimension dimension)
{
    struct hw_options options = rig_default_options(dimension);
    options.model_tlb = true;
    options.l1 = (struct hw_tlb_geometry){64, 4};
    options.l2 = (struct hw_tlb_geometry){1536, 12};
    return options;
}

static void start(enum hw_dimension dimension)
{
    struct hw_options options = options_of(dimension);
    start_with(&options);
}

static int finish(void **state)
{
    (void)state;
    rig_finish(&rig);
    return 0;
}

static void check_done(uint64_t gva, enum mv_access kind, uint64_t gpa)
{
    struct hw_result result = rig_access(&rig, gva, kind, PT_USER);
    assert_int_equal(result.end, HW_DONE);
    assert_ptr_equal(result.host, rig.memory + gpa);
    assert_int_equal(result.gpa.raw, gpa);
}

static struct hw_fault check_fault(uint64_t gva, enum mv_access kind, enum pt_who who, uint32_t code)
{
    struct hw_result result = rig_access(&rig, gva, kind, who);
    assert_int_equal(result.end, HW_FAULT);
    assert_int_equal(result.fault.vector, 14);
    assert_int_equal(result.fault.error_code, code);
    assert_int_equal(result.fault.address.raw, gva);
    return result.fault;
}

static uint64_t walks(void)
{
    return hw_mmu_counters(rig.mmu)->walks;
}

static const enum hw_dimension dimensions[] = {HW_NATIVE, HW_EPT, HW_NPT};

static void test_a_hit_does_not_walk(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        start(dimensions[i]);
        check_done(GVA + 4, R, 0x5004);
        check_done(GVA + 4095, R, 0x5fff);
        check_done(GVA, X, 0x5000);
        assert_int_equal(walks(), 1);
        assert_int_equal(hw_mmu_counters(rig.mmu)->accesses, 3);
        assert_int_equal(hw_mmu_counters(rig.mmu)->misses, 1);
        rig_finish(&rig);
    }
}

/* What only the second level has goes into the first. */
static void test_two_levels(void **state)
{
    (void)state;
    struct hw_options options = options_of(HW_NATIVE);
    options.l1 = (struct hw_tlb_geometry){4, 4};
    start_with(&options);
    const struct hw_counters *c = hw_mmu_counters(rig.mmu);
    for (uint64_t i = 0; i < 5; i++) {
        rig_map(&rig, GVA + i * 4096, i * 4096, 1, RIG_ALL);
        check_done(GVA + i * 4096, R, i * 4096);
    }
    assert_int_equal(c->l1_misses, 5);
    check_done(GVA, R, 0);
    assert_int_equal(c->l1_misses, 6);
    assert_int_equal(c->misses, 5);
    check_done(GVA, R, 0);
    assert_int_equal(c->l1_misses, 6);
    assert_int_equal(c->accesses, 7);
}

/* An exit takes along what is cached for its address (Intel SDM, "Operations that Invalidate Cached Mappings"). */
static void test_an_exit_drops_the_page(void **state)
{
    (void)state;
    for (unsigned model = 0; model < 2; model++) {
        struct hw_options options = options_of(HW_EPT);
        options.model_tlb = model;
        start_with(&options);
        uint64_t *leaf = rig_nested_entry(&rig, 0x5000, 1);
        *leaf &= ~EPT_W;
        check_done(GVA, R, 0x5000);
        *leaf = 0;
        check_done(GVA, R, 0x5000); /* stale */
        assert_int_equal(rig_access(&rig, GVA, W, PT_USER).end, HW_EXIT);
        assert_int_equal(rig_access(&rig, GVA, R, PT_USER).end, HW_EXIT);
        rig_finish(&rig);
    }
}

/* The first write walks again, to set D; later ones do not. */
static void test_the_first_write_sets_d(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        start(dimensions[i]);
        check_done(GVA, R, 0x5000);
        assert_int_equal(*pte & RIG_AD, X86_ENTRY_A);
        check_done(GVA, W, 0x5000);
        assert_int_equal(*pte & RIG_AD, RIG_AD);
        assert_int_equal(walks(), 2);
        check_done(GVA, W, 0x5000);
        assert_int_equal(walks(), 2);
        assert_int_equal(hw_mmu_counters(rig.mmu)->misses, 1);
        assert_int_equal(hw_mmu_counters(rig.mmu)->accessed_set, 4);
        assert_int_equal(hw_mmu_counters(rig.mmu)->dirty_set, 1);
        rig_finish(&rig);
    }
}

/* With D set already a write after a read is no walk natively; the bus is asked all the same. */
static void test_native_write_asks_the_bus(void **state)
{
    (void)state;
    start(HW_NATIVE);
    *pte |= RIG_AD;
    check_done(GVA, R, 0x5000);
    rig.is_read_only = true;
    struct hw_result result = rig_access(&rig, GVA, W, PT_USER);
    assert_int_equal(result.end, HW_EXIT);
    assert_int_equal(result.exit.reason, PT_EXIT_NO_MEMORY);
    assert_int_equal(result.exit.gpa.raw, 0x5000);
    rig.is_read_only = false;
    check_done(GVA, R, 0x5000);
    uint64_t before = walks();
    check_done(GVA, W, 0x5000);
    assert_int_equal(walks(), before);
}

/* A table in read-only memory goes without its bits, and there is no fault. */
static void test_native_tables_may_be_read_only(void **state)
{
    (void)state;
    start(HW_NATIVE);
    rig.is_read_only = true;
    check_done(GVA, R, 0x5000);
    assert_int_equal(*pte & RIG_AD, 0);
}

static void test_faults(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        start(dimensions[i]);
        struct hw_fault fault = check_fault(GVA + 4096, W, PT_USER, PF_USER | PF_WRITE);
        assert_int_equal(fault.rule, GUEST_WALK_NOT_PRESENT);
        assert_int_equal(fault.level, 1);
        *pte |= X86_ENTRY_NX;
        fault = check_fault(GVA, X, PT_USER, PF_USER | PF_FETCH | PF_PRESENT);
        assert_int_equal(fault.rule, GUEST_WALK_DENIED);
        assert_int_equal(fault.entry, *pte);
        assert_int_equal(*pte & RIG_AD, 0); /* nothing is set by who is refused */
        *pte &= ~RIG_U;
        check_fault(GVA, R, PT_USER, PF_USER | PF_PRESENT);
        uint64_t *pde = rig_guest_entry(&rig, GVA, 2, RIG_ALL), good = *pde;
        *pde |= X86_ENTRY_PS;
        fault = check_fault(GVA, R, PT_SUPERVISOR, PF_PRESENT | PF_RESERVED);
        assert_int_equal(fault.rule, GUEST_WALK_RESERVED);
        assert_int_equal(fault.level, 2);
        assert_int_equal(fault.reserved, good & 0x1fe000);
        struct hw_result result = rig_access(&rig, UINT64_C(1) << 47, R, PT_USER);
        assert_int_equal(result.end, HW_FAULT);
        assert_int_equal(result.fault.vector, 13);
        assert_int_equal(hw_mmu_counters(rig.mmu)->faults, 5);
        rig_finish(&rig);
    }
}

/* Rights are judged at each access: what changes in the registers counts at once. */
static void test_rights_are_judged_anew(void **state)
{
    (void)state;
    start(HW_EPT);
    check_done(GVA, X, 0x5000);
    assert_int_equal(rig_access(&rig, GVA, X, PT_SUPERVISOR).end, HW_DONE);
    struct paging_regs regs = rig_regs(&rig);
    regs.cr4 |= CR4_SMEP;
    hw_mmu_set_regs(rig.mmu, &regs);
    check_fault(GVA, X, PT_SUPERVISOR, PF_PRESENT | PF_FETCH);
    check_done(GVA, X, 0x5000);
    regs.cr4 |= CR4_PKE;
    *pte |= UINT64_C(5) << 59;
    hw_mmu_flush_all(rig.mmu);
    hw_mmu_set_regs(rig.mmu, &regs);
    check_done(GVA, W, 0x5000);
    hw_mmu_set_keys(rig.mmu, 2u << 10, 0);
    check_done(GVA, R, 0x5000);
    check_fault(GVA, W, PT_USER, PF_PRESENT | PF_WRITE | PF_USER | PF_KEY);
    hw_mmu_set_keys(rig.mmu, 1u << 10, 0);
    check_fault(GVA, R, PT_USER, PF_PRESENT | PF_USER | PF_KEY);
    hw_mmu_set_keys(rig.mmu, 0, 0);
    check_done(GVA, W, 0x5000);
}

/* More rights in the tables than in the TLB: no spurious fault, as the tables are asked before. */
static void test_more_rights_without_invalidation(void **state)
{
    (void)state;
    start(HW_NPT);
    *pte &= ~RIG_W;
    check_done(GVA, R, 0x5000);
    check_fault(GVA, W, PT_USER, PF_PRESENT | PF_WRITE | PF_USER);
    check_done(GVA, R, 0x5000);
    *pte |= RIG_W;
    check_done(GVA, W, 0x5000);
}

/* A page is as large as the smaller of the guest's and the host's. */
static void test_page_sizes(void **state)
{
    (void)state;
    struct hw_options options = options_of(HW_EPT);
    rig_init(&rig, &options, 4);
    rig_map(&rig, GVA, 0, 3, RIG_ALL | RIG_AD);
    rig_map_nested(&rig, 0, 2 * MIB, 1);
    rig_map_nested(&rig, 2 * MIB, RIG_BYTES - 2 * MIB, 2);
    rig_load(&rig);
    assert_int_equal(rig_access(&rig, GVA + 0x1234, W, PT_USER).page_shift, 12);
    assert_int_equal(rig_access(&rig, GVA + 0x2234, W, PT_USER).page_shift, 12);
    assert_int_equal(walks(), 2);
    struct hw_result result = rig_access(&rig, GVA + 5 * MIB + 3, W, PT_USER);
    assert_int_equal(result.page_shift, 21);
    assert_ptr_equal(result.host, rig.memory + 5 * MIB + 3);
    check_done(GVA + 4 * MIB, R, 4 * MIB);
    check_done(GVA + 6 * MIB - 1, W, 6 * MIB - 1);
    assert_int_equal(walks(), 3);
    check_done(GVA + 6 * MIB, W, 6 * MIB);
    assert_int_equal(walks(), 4);
}

/* A page fault takes along what is cached for its page: the whole of a large one, in whatever parts. */
static void test_a_fault_drops_the_page(void **state)
{
    (void)state;
    for (unsigned model = 0; model < 2; model++) {
        struct hw_options options = options_of(HW_EPT);
        options.model_tlb = model;
        rig_init(&rig, &options, 4);
        rig_map(&rig, GVA, 0, 2, RIG_ALL | RIG_AD);
        rig_map_nested(&rig, 0, 4 * MIB, 1);
        rig_map_nested(&rig, RIG_TABLES, 2 * MIB, 1);
        rig_load(&rig);
        check_done(GVA, R, 0);
        check_done(GVA + 4096, R, 4096);
        rig_map(&rig, GVA, 2 * MIB, 2, (RIG_P | RIG_U | RIG_AD));
        check_done(GVA, R, 0); /* stale */
        check_fault(GVA + 4096, W, PT_USER, PF_PRESENT | PF_WRITE | PF_USER);
        check_done(GVA + 4096, R, 2 * MIB + 4096);
        check_done(GVA, R, 2 * MIB);
        rig_finish(&rig);
    }
}

static void test_4m_pages(void **state)
{
    (void)state;
    struct hw_options options = options_of(HW_NATIVE);
    rig_init(&rig, &options, 2);
    rig_map(&rig, 0x400000, 0x800000, 2, RIG_ALL | RIG_AD);
    rig_load(&rig);
    check_done(0x400000, R, 0x800000);
    check_done(0x5fffff, R, 0x9fffff);
    assert_int_equal(walks(), 1);
    check_done(0x600000, R, 0xa00000); /* in the TLB it is two of 2M */
    assert_int_equal(walks(), 2);
    hw_mmu_invlpg(rig.mmu, mv_gva(0x400000)); /* and both go */
    check_done(0x600000, R, 0xa00000);
    assert_int_equal(walks(), 3);
}

static void test_the_front_when_nobody_counts(void **state)
{
    (void)state;
    struct hw_options options = rig_default_options(HW_EPT);
    start_with(&options);
    const struct front *front = hw_mmu_front(rig.mmu);
    assert_null(front_find(front, GVA, 8, R, PT_USER));
    check_done(GVA + 16, R, 0x5010);
    assert_ptr_equal(front_find(front, GVA + 8, 8, R, PT_USER), rig.memory + 0x5008);
    assert_null(front_find(front, GVA, 8, R, PT_SUPERVISOR));
    assert_int_equal(rig_access(&rig, GVA, X, PT_SUPERVISOR).end, HW_DONE);
    assert_non_null(front_find(front, GVA, 8, X, PT_SUPERVISOR));
    assert_null(front_find(front, GVA, 8, X, PT_USER));
    assert_null(front_find(front, GVA, 8, W, PT_USER)); /* D is not set */
    uint64_t before = walks();
    check_done(GVA + 20, R, 0x5014);
    assert_int_equal(walks(), before);
    check_done(GVA, W, 0x5000);
    assert_non_null(front_find(front, GVA, 8, W, PT_USER));
    assert_non_null(front_find(front, GVA, 8, R, PT_USER));
    hw_mmu_invlpg(rig.mmu, mv_gva(GVA));
    assert_null(front_find(front, GVA, 8, R, PT_USER));
    /* Whatever the permission depends on empties it. */
    check_done(GVA, R, 0x5000);
    hw_mmu_set_keys(rig.mmu, 4, 0);
    assert_null(front_find(front, GVA, 8, R, PT_USER));
    check_done(GVA, R, 0x5000);
    struct paging_regs regs = *hw_mmu_regs(rig.mmu);
    regs.cr4 |= CR4_SMEP;
    hw_mmu_set_regs(rig.mmu, &regs);
    assert_null(front_find(front, GVA, 8, R, PT_USER));
    check_done(GVA, R, 0x5000);
    hw_mmu_load_cr3(rig.mmu, regs.cr3, false);
    assert_null(front_find(front, GVA, 8, R, PT_USER));
    check_done(GVA, R, 0x5000);
    hw_mmu_invept(rig.mmu);
    assert_null(front_find(front, GVA, 8, R, PT_USER));
    check_done(GVA, R, 0x5000);
    hw_mmu_set_root(rig.mmu, rig.nested_root, 2);
    assert_null(front_find(front, GVA, 8, R, PT_USER));
}

/* A walk that begins in a stale cache and faults is repeated from the root: no fault that the tables do not say.
 */
static void test_a_fault_from_a_walk_cache_is_checked(void **state)
{
    (void)state;
    struct hw_options options = options_of(HW_EPT);
    options.has_walk_caches = true;
    options.pd = (struct hw_tlb_geometry){32, 4};
    start_with(&options);
    check_done(GVA, R, 0x5000);
    uint64_t *pde = rig_guest_entry(&rig, GVA, 2, RIG_ALL);
    uint64_t table = rig_new_table(&rig); /* the PDE leads to another table, without INVLPG */
    memcpy(rig.memory + table + 8, &(uint64_t){0x6000 | RIG_ALL}, 8);
    *pde = table | RIG_ALL;
    check_done(GVA + 4096, R, 0x6000);
    assert_int_equal(hw_mmu_counters(rig.mmu)->walk_cache_hits, 1);
    check_done(GVA + 4096, W, 0x6000);
    assert_int_equal(hw_mmu_counters(rig.mmu)->walk_cache_hits, 2);
}

/* Another processor links another table and changes the entry: the walk goes on at the root, and finds that table.
 */
static void change_tables(struct rig *r)
{
    uint64_t table = rig_new_table(r);
    memcpy(r->memory + table + 8, &(uint64_t){0x7000 | RIG_ALL}, 8);
    *(uint64_t *)rig_guest_entry(r, GVA + 4096, 1, RIG_ALL) ^= UINT64_C(1) << 9;
    *(uint64_t *)rig_guest_entry(r, GVA, 2, RIG_ALL) = table | RIG_ALL;
}

static void test_a_walk_from_a_cache_that_begins_anew(void **state)
{
    (void)state;
    struct hw_options options = options_of(HW_NATIVE);
    options.has_walk_caches = true;
    options.pd = (struct hw_tlb_geometry){32, 4};
    start_with(&options);
    rig_map(&rig, GVA + 4096, 0x6000, 1, RIG_ALL);
    check_done(GVA, R, 0x5000);
    rig.on_write = change_tables;
    check_done(GVA + 4096, R, 0x7000);
    assert_int_equal(hw_mmu_counters(rig.mmu)->walk_cache_hits, 1);
}

/* A page fault over shadow tables is the hypervisor's, an address that is none is the guest's. */
static void test_shadow(void **state)
{
    (void)state;
    struct hw_options options = options_of(HW_SHADOW);
    rig_init(&rig, &options, 4);
    struct paging_regs regs = rig_regs(&rig);
    regs.cr0 &= ~X86_CR0_WP;
    hw_mmu_set_regs(rig.mmu, &regs);
    struct hw_result result = rig_access(&rig, GVA, W, PT_USER);
    assert_int_equal(result.end, HW_EXIT);
    assert_int_equal(result.exit.reason, PT_EXIT_PAGE_FAULT);
    assert_int_equal(result.exit.code, PF_WRITE | PF_USER);
    assert_int_equal(result.exit.gva.raw, GVA);
    uint64_t *spte = rig_nested_entry(&rig, GVA, 1);
    *spte = (uint64_t)(uintptr_t)(rig.memory + 0x9000) | RIG_P | RIG_U;
    result = rig_access(&rig, GVA + 5, R, PT_USER);
    assert_int_equal(result.end, HW_DONE);
    assert_ptr_equal(result.host, rig.memory + 0x9005);
    result = rig_access(&rig, GVA, W, PT_SUPERVISOR);
    assert_int_equal(result.exit.code, PF_WRITE | PF_PRESENT); /* WP is on, whatever the guest's is */
    *spte |= RIG_W;
    assert_int_equal(rig_access(&rig, GVA, W, PT_USER).end, HW_DONE);
    assert_int_equal(*spte & RIG_AD, RIG_AD);
    result = rig_access(&rig, UINT64_C(1) << 50, R, PT_USER);
    assert_int_equal(result.end, HW_FAULT);
    assert_int_equal(result.fault.vector, 13);
}

static unsigned steps, nested_steps, fills, flushes, faults;

static void on_step(void *opaque, bool nested, unsigned level, uint64_t at, uint64_t entry)
{
    (void)opaque;
    (void)at;
    (void)entry;
    assert_in_range(level, 1, 4);
    if (nested) {
        nested_steps++;
    } else {
        steps++;
    }
}

static void on_fill(void *opaque, gva_t gva, gpa_t gpa, unsigned page_shift, unsigned rights)
{
    (void)opaque;
    assert_int_equal(gva.raw, GVA);
    assert_int_equal(gpa.raw, 0x5000);
    assert_int_equal(page_shift, 12);
    assert_int_equal(rights, PT_RIGHTS_ALL);
    fills++;
}

static void on_flush(void *opaque, const char *what)
{
    (void)opaque;
    assert_non_null(what);
    flushes++;
}

static void on_fault(void *opaque, const struct hw_fault *fault)
{
    (void)opaque;
    assert_int_equal(fault->vector, 14);
    faults++;
}

static void test_hooks(void **state)
{
    (void)state;
    static const struct hw_hooks hooks = {.step = on_step, .fill = on_fill, .flush = on_flush, .fault = on_fault};
    start(HW_EPT);
    hw_mmu_set_hooks(rig.mmu, &hooks);
    check_done(GVA, R, 0x5000);
    assert_int_equal(steps, 4);
    assert_int_equal(nested_steps, 20);
    assert_int_equal(fills, 1);
    check_fault(GVA + 4096, R, PT_USER, PF_USER);
    assert_int_equal(faults, 1);
    hw_mmu_invept(rig.mmu);
    assert_int_equal(flushes, 1);
    hw_mmu_set_hooks(rig.mmu, NULL);
    check_done(GVA, R, 0x5000);
    assert_int_equal(fills, 1);
}

static void test_geometry_is_checked(void **state)
{
    (void)state;
    struct hw_mmu *mmu = NULL;
    struct hw_options options = options_of(HW_EPT);
    options.l2 = (struct hw_tlb_geometry){1000, 12};
    assert_int_equal(hw_mmu_create(&options, &mmu), -EINVAL);
    options = options_of(HW_EPT);
    options.has_walk_caches = true;
    options.pd = (struct hw_tlb_geometry){3, 1};
    assert_int_equal(hw_mmu_create(&options, &mmu), -EINVAL);
    options.pd = (struct hw_tlb_geometry){0};
    options.has_nested_tlb = true;
    options.nested = (struct hw_tlb_geometry){3, 1};
    assert_int_equal(hw_mmu_create(&options, &mmu), -EINVAL);
    assert_null(mmu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_hit_does_not_walk),
        cmocka_unit_test_teardown(test_two_levels, finish),
        cmocka_unit_test(test_an_exit_drops_the_page),
        cmocka_unit_test(test_the_first_write_sets_d),
        cmocka_unit_test_teardown(test_native_write_asks_the_bus, finish),
        cmocka_unit_test_teardown(test_native_tables_may_be_read_only, finish),
        cmocka_unit_test(test_faults),
        cmocka_unit_test_teardown(test_rights_are_judged_anew, finish),
        cmocka_unit_test_teardown(test_more_rights_without_invalidation, finish),
        cmocka_unit_test_teardown(test_page_sizes, finish),
        cmocka_unit_test(test_a_fault_drops_the_page),
        cmocka_unit_test_teardown(test_4m_pages, finish),
        cmocka_unit_test_teardown(test_the_front_when_nobody_counts, finish),
        cmocka_unit_test_teardown(test_a_fault_from_a_walk_cache_is_checked, finish),
        cmocka_unit_test_teardown(test_a_walk_from_a_cache_that_begins_anew, finish),
        cmocka_unit_test_teardown(test_shadow, finish),
        cmocka_unit_test_teardown(test_hooks, finish),
        cmocka_unit_test(test_geometry_is_checked),
    };
    return cmocka_run_group_tests_name("mmu", tests, NULL, NULL);
}
