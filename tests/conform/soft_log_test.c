// SPDX-License-Identifier: MIT
/* What dirty logs cost on `soft`, in exits: the ways of noticing a write, side by side. */
#include "tests/conform/soft_guest.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define GVA UINT64_C(0x7f0000400000)

static enum mv_soft_end write_byte(struct soft_guest *g, uint64_t gva, struct mv_soft_outcome *outcome)
{
    uint8_t byte = 0x5a;
    return mv_soft_write(g->vcpu, mv_gva(gva), &byte, 1, MV_SOFT_EXPLICIT, outcome);
}

static void write_pages(struct soft_guest *g, unsigned count)
{
    struct mv_soft_outcome outcome;
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(write_byte(g, GVA + i * 4096, &outcome), MV_SOFT_DONE);
    }
}

static struct mv_soft_counts counts_of(struct soft_guest *g)
{
    struct mv_soft_counts counts;
    assert_int_equal(mv_soft_counts(g->vcpu, &counts), 0);
    return counts;
}

/* Tables of those pages: PML4, PDPT, PD and 4 of the lowest level. Walks write to them: they have A and D bits. */
#define LOWEST_TABLES 4
#define LOGGED_TABLES (LOWEST_TABLES + 3)

/*
 * Write-protection is one exit a dirty page; PML one for each 512; D bits none (AMD's SVM-PML v4 series and
 * Intel's SDM, "Page-Modification Logging": the index goes from 511 down).
 */
static void logs_cost_what_is_published(void **state)
{
    (void)state;
    static const struct {
        const char *accel;
        uint64_t exits, pml_full;
    } cases[] = {
        {"soft,mmu=ept,host-page=4K,log-by=write-protection", 2048 + LOGGED_TABLES, 0},
        {"soft,mmu=npt,host-page=4K,log-by=write-protection", 2048 + LOGGED_TABLES, 0},
        {"soft,mmu=ept,host-page=4K,log-by=dirty-bit", 0, 0},
        {"soft,mmu=npt,host-page=4K,log-by=dirty-bit", 0, 0},
        {"soft,mmu=ept,host-page=4K,log-by=pml", 0, (2048 + LOGGED_TABLES) / 512},
        {"soft,mmu=native", 0, 0},
        {"soft,mmu=shadow", 2048, 0}, /* the hardware writes to none of the guest's tables */
        {"soft,mmu=hybrid,policy=shadow", 2048, 0},
        {"soft,mmu=hybrid,policy=nest-1,host-page=4K", 2048 + LOWEST_TABLES, 0}, /* what leads to them went */
        {"soft,mmu=hybrid,policy=nested,host-page=4K", 2048, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct soft_guest g;
        soft_guest_make(&g, cases[i].accel);
        for (unsigned k = 0; k < 2048; k++) {
            soft_guest_map(&g, GVA + k * 4096, GUEST_DATA + k * 4096, PTE_P | PTE_W | PTE_A | PTE_D, 1);
        }
        write_pages(&g, 2048);
        assert_int_equal(mv_dirty_log_start(g.machine, 1, NULL), 0);
        mv_dirty_sync_all(g.machine, false);
        mv_dirty_test_and_clear(g.ram, 0, GUEST_RAM_BYTES, MV_DIRTY_MIGRATION);
        struct mv_soft_counts before = counts_of(&g);
        write_pages(&g, 2048);
        struct mv_soft_counts after = counts_of(&g);
        assert_int_equal(after.exits_ept_violation + after.exits_npf + after.exits_page_fault -
                             before.exits_ept_violation - before.exits_npf - before.exits_page_fault,
                         cases[i].exits);
        assert_int_equal(after.exits_pml_full - before.exits_pml_full, cases[i].pml_full);
        mv_dirty_sync_all(g.machine, false);
        for (unsigned k = 0; k < 2048; k++) {
            assert_true(mv_dirty_get(g.ram, GUEST_DATA + k * 4096, 4096, MV_DIRTY_MIGRATION));
        }
        assert_false(mv_dirty_get(g.ram, GUEST_DATA + 2048 * 4096, 4096, MV_DIRTY_MIGRATION));
        assert_int_equal(mv_dirty_log_stop(g.machine, 1, NULL), 0);
        soft_guest_end(&g);
    }
}

/* What has its marks taken is noticed again, page by page, and until then costs nothing more (dirty.h). Where all
 * is noticed again at once each sync does it. */
static void who_takes_pays(void **state)
{
    (void)state;
    static const struct {
        const char *accel;
        bool initially_set;
        uint64_t exits[4]; /* after: the log began; a sync; another; the marks were taken */
    } cases[] = {
        {"soft,mmu=shadow", false, {2048, 0, 0, 2048}},
        {"soft,mmu=shadow", true, {0, 0, 0, 2048}},
        {"soft,mmu=hybrid,policy=shadow", false, {2048, 0, 0, 2048}},
        {"soft,mmu=ept,host-page=4K", true, {0, 0, 0, 2048 + LOGGED_TABLES}},
        {"soft,mmu=ept,host-page=4K",
         false,
         {2048 + LOGGED_TABLES, 2048 + LOGGED_TABLES, 2048 + LOGGED_TABLES, 2048 + LOGGED_TABLES}},
        {"soft,mmu=native", false, {0, 0, 0, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct soft_guest g;
        struct mv_dirty_snapshot *snapshot;
        soft_guest_make_initially_set(&g, cases[i].accel, cases[i].initially_set);
        for (unsigned k = 0; k < 2048; k++) {
            soft_guest_map(&g, GVA + k * 4096, GUEST_DATA + k * 4096, PTE_P | PTE_W | PTE_A | PTE_D, 1);
        }
        write_pages(&g, 2048);
        assert_int_equal(mv_dirty_log_start(g.machine, 1, NULL), 0);
        for (unsigned n = 0; n < 4; n++) {
            if (n == 1 || n == 2) {
                mv_dirty_sync_all(g.machine, false);
            } else if (n == 3) {
                assert_int_equal(
                    mv_dirty_snapshot_and_clear(g.ram, 0, GUEST_RAM_BYTES, MV_DIRTY_MIGRATION, &snapshot, NULL),
                    0);
                assert_true(mv_dirty_snapshot_get(snapshot, GUEST_DATA + 2047 * 4096, 4096));
                mv_dirty_snapshot_free(snapshot);
            }
            struct mv_soft_counts before = counts_of(&g);
            write_pages(&g, 2048);
            struct mv_soft_counts after = counts_of(&g);
            assert_int_equal(after.exits_ept_violation + after.exits_page_fault - before.exits_ept_violation -
                                 before.exits_page_fault,
                             cases[i].exits[n]);
        }
        assert_int_equal(mv_dirty_log_stop(g.machine, 1, NULL), 0);
        soft_guest_end(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logs_cost_what_is_published),
        cmocka_unit_test(who_takes_pays),
    };
    return cmocka_run_group_tests_name("soft_log", tests, NULL, NULL);
}
