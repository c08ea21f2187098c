// SPDX-License-Identifier: MIT
/* What slots have to do with logs: flags, fetching, clearing. */
#include "vm/dirtylog.h"
#include "vm/slots_test.h"

static bool taken(struct mv_region *region, uint64_t page, enum mv_dirty_client client)
{
    return mv_dirty_test_and_clear(region, page * PAGE, PAGE, client);
}

/* One call for each slot that changes, and none for the others: as many slots as a section was cut into. */
static void test_a_log_costs_one_call_for_each_slot(void **state)
{
    (void)state;
    struct fixture f;
    struct slot_limits limits = {
        .max_slots = KERNEL_SLOTS, .max_slot_bytes = 64 * PAGE, .page_bytes = PAGE, .readonly_slots = true};
    assert_int_equal(set_up_limits(&f, limits), 0);
    struct mv_region *other = new_region(&f, "other", MV_REGION_RAM, PAGE, 0);
    struct mv_region *rom = new_region(&f, "rom", MV_REGION_ROM, PAGE, 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 1024 * PAGE, other, 0, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 1025 * PAGE, rom, 0, NULL), 0);
    assert_int_equal(f.kernel.calls, 6);
    set_log(f.ram, true); /* 256 pages in slots of 64 */
    assert_int_equal(f.kernel.calls, 10);
    struct mv_slot slots[6];
    assert_int_equal(slots_copy(f.table, slots, 6), 6);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(slots[i].flags, i < 4 ? KVM_MEM_LOG_DIRTY_PAGES : i == 4 ? 0 : KVM_MEM_READONLY);
        assert_int_equal(f.kernel.slots[slots[i].id].flags, slots[i].flags);
    }
    assert_int_equal(mv_dirty_log_start(f.machine, 1, NULL), 0); /* only `other` was not logged; a ROM is never */
    assert_int_equal(f.kernel.calls, 11);
    set_log(f.ram, false);
    assert_int_equal(f.kernel.calls, 11);
    assert_int_equal(mv_dirty_log_stop(f.machine, 1, NULL), 0);
    assert_int_equal(f.kernel.calls, 16);
    mv_region_put(other);
    mv_region_put(rom);
    tear_down(&f);
}

/* What a guest wrote is not lost when its slot goes: by a move, by a split, by the end of another region. */
static void fetched_before_its_slot_goes(enum logs way)
{
    struct fixture f;
    logs = way;
    set_up(&f);
    logs = LOGS_GET;
    struct mv_region *hole = new_region(&f, "hole", MV_REGION_MMIO, PAGE, 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    set_log(f.ram, true);
    assert_true(guest_writes(&f.kernel, 200 * PAGE));
    assert_int_equal(mv_region_add(f.root, 16 * PAGE, hole, 1, NULL), 0);
    check_equal(&f);
    assert_true(taken(f.ram, 200, MV_DIRTY_DISPLAY));
    assert_true(guest_writes(&f.kernel, 201 * PAGE));
    assert_int_equal(mv_region_set_address(f.ram, 512 * PAGE, NULL), 0);
    assert_true(taken(f.ram, 201, MV_DIRTY_DISPLAY));
    assert_true(guest_writes(&f.kernel, (512 + 202) * PAGE));
    assert_int_equal(mv_region_remove(f.ram, NULL), 0);
    assert_true(taken(f.ram, 202, MV_DIRTY_DISPLAY));
    assert_false(taken(f.ram, 200, MV_DIRTY_DISPLAY));
    mv_region_put(hole);
    tear_down(&f);
}

static void test_a_log_is_fetched_before_its_slot_goes(void **state)
{
    (void)state;
    for (enum logs way = LOGS_GET; way < LOGS; way++) {
        fetched_before_its_slot_goes(way);
    }
}

/* Every page that a guest writes is found, once, in slots whose first page is any in its block. */
static void test_sync_finds_each_page(void **state)
{
    (void)state;
    for (enum logs way = LOGS_GET; way < LOGS; way++) {
        struct fixture f;
        logs = way;
        set_up(&f);
        logs = LOGS_GET;
        struct mv_region *part = new_region(&f, "part", MV_REGION_RAM, 150 * PAGE, 37 * PAGE);
        assert_int_equal(mv_region_add(f.root, 1000 * PAGE, part, 0, NULL), 0);
        set_log(part, true);
        for (uint64_t p = 0; p < 150; p++) {
            assert_true(guest_writes(&f.kernel, (1000 + p) * PAGE + 5));
            mv_dirty_sync(part);
            for (uint64_t q = 0; q < 150; q++) {
                assert_int_equal(taken(part, q, MV_DIRTY_DISPLAY), q == p);
            }
        }
        assert_int_equal(f.kernel.clears, way == LOGS_MANUAL ? 150 : 0);
        assert_true(way == LOGS_IN_PLACE ? f.kernel.harvests >= 150 && f.kernel.gets == 0
                                         : f.kernel.harvests == 0);
        assert_true(f.kernel.cleared_pages <= 150 * 64); /* no more than the group of each */
        mv_region_put(part);
        tear_down(&f);
    }
}

/* With a manual log, one client's clear must not take what the other has not heard of. */
static void test_clients_do_not_clear_for_each_other(void **state)
{
    (void)state;
    struct fixture f;
    logs = LOGS_MANUAL;
    set_up(&f);
    logs = LOGS_GET;
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    set_log(f.ram, true);
    assert_int_equal(mv_dirty_log_start(f.machine, 1, NULL), 0);
    assert_true(guest_writes(&f.kernel, 5 * PAGE));
    mv_dirty_sync(f.ram);
    assert_true(taken(f.ram, 5, MV_DIRTY_DISPLAY));   /* cleared in the kernel by this one */
    assert_true(guest_writes(&f.kernel, 5 * PAGE));   /* written again */
    assert_true(taken(f.ram, 5, MV_DIRTY_MIGRATION)); /* for what was fetched before: no call */
    mv_dirty_sync(f.ram);
    assert_true(taken(f.ram, 5, MV_DIRTY_DISPLAY)); /* the second write */
    assert_int_equal(mv_dirty_log_stop(f.machine, 1, NULL), 0);
    tear_down(&f);
}

/* What is put off costs no call until then; a write before that is not lost, nor is what is never cleared. */
static void test_clears_that_are_put_off(void **state)
{
    (void)state;
    struct fixture f;
    struct mv_dirty_snapshot *snapshot;
    logs = LOGS_MANUAL;
    set_up(&f);
    logs = LOGS_GET;
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    set_log(f.ram, true);
    assert_true(guest_writes(&f.kernel, 5 * PAGE));
    assert_true(guest_writes(&f.kernel, 70 * PAGE));
    assert_int_equal(mv_dirty_snapshot_take(f.ram, 0, 256 * PAGE, MV_DIRTY_DISPLAY, 64 * PAGE, &snapshot, NULL),
                     0);
    assert_int_equal(f.kernel.clears, 0);
    assert_true(guest_writes(&f.kernel, 5 * PAGE)); /* before it is cleared: whoever looks after that sees it */
    mv_dirty_snapshot_clear(snapshot, 5 * PAGE, PAGE);
    assert_int_equal(f.kernel.clears, 1);
    assert_int_equal(f.kernel.cleared_pages, 64);
    assert_true(guest_writes(&f.kernel, 6 * PAGE));
    mv_dirty_snapshot_free(snapshot); /* and page 70 was never looked at */
    assert_int_equal(mv_dirty_snapshot_take(f.ram, 0, 256 * PAGE, MV_DIRTY_DISPLAY, 64 * PAGE, &snapshot, NULL),
                     0);
    assert_int_equal(mv_dirty_snapshot_count(snapshot), 2);
    assert_true(mv_dirty_snapshot_get(snapshot, 6 * PAGE, PAGE));
    assert_true(mv_dirty_snapshot_get(snapshot, 70 * PAGE, PAGE));
    mv_dirty_snapshot_free(snapshot);
    tear_down(&f);
}

/* A region over the same bytes takes a slot over as it is, and its log is its own. */
static void changes_hands(enum logs way)
{
    struct fixture f;
    logs = way;
    set_up(&f);
    logs = LOGS_GET;
    struct mv_region *other = new_region(&f, "other", MV_REGION_RAM, 256 * PAGE, 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    set_log(f.ram, true);
    assert_true(guest_writes(&f.kernel, 9 * PAGE));
    unsigned calls = f.kernel.calls;
    assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
    assert_int_equal(mv_region_remove(f.ram, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 0, other, 0, NULL), 0);
    assert_int_equal(mv_machine_commit(f.machine, NULL), 0);
    assert_int_equal(f.kernel.calls, calls + 1); /* its log ended */
    assert_true(taken(f.ram, 9, MV_DIRTY_DISPLAY));
    check_equal(&f);
    set_log(other, true);
    mv_region_put(f.ram); /* nothing of it may be used any more */
    f.ram = NULL;
    assert_true(guest_writes(&f.kernel, 10 * PAGE));
    mv_dirty_sync(other);
    assert_true(taken(other, 10, MV_DIRTY_DISPLAY));
    mv_region_put(other);
    tear_down(&f);
}

static void test_a_slot_changes_hands(void **state)
{
    (void)state;
    for (enum logs way = LOGS_GET; way < LOGS; way++) {
        changes_hands(way);
    }
}

/* A commit that fails after logs were switched: what may have been written unseen counts as written. */
static void test_a_log_that_was_off_for_a_while(void **state)
{
    (void)state;
    static const struct mv_listener_ops other_ops = {.prepare = answer};
    struct fixture f;
    struct mv_listener *other;
    int rc = 0;
    set_up(&f);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    assert_int_equal(mv_listener_create(f.space, &other_ops, &rc, 20, &other, NULL), 0);
    set_log(f.ram, true);
    rc = -EPERM;
    assert_int_equal(mv_region_set_log(f.ram, MV_DIRTY_DISPLAY, false, NULL), -EPERM);
    check_equal(&f);
    for (uint64_t p = 0; p < 256; p++) {
        assert_true(taken(f.ram, p, MV_DIRTY_DISPLAY));
    }
    rc = 0;
    mv_listener_destroy(other);
    tear_down(&f);
}

static int refuse_harvest(void *opaque, uint32_t id, slot_dirty_fn *each, void *each_opaque)
{
    (void)id, (void)each, (void)each_opaque;
    ((struct kernel *)opaque)->harvests++;
    return -ENOMEM;
}

/* An accelerator that does not say what was written: all may have been. */
static void test_a_harvest_that_fails(void **state)
{
    (void)state;
    struct fixture f;
    struct kernel kernel = {0};
    const struct slot_port port = {
        .opaque = &kernel, .get_dirty_log = kernel_get_log, .harvest_dirty_log = refuse_harvest};
    logs = LOGS_IN_PLACE;
    set_up(&f);
    logs = LOGS_GET;
    struct slot slot = {.is = {.size_bytes = 40 * PAGE, .flags = KVM_MEM_LOG_DIRTY_PAGES}, .region = f.ram};
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    set_log(f.ram, true);
    for (uint64_t p = 0; p < 256; p++) {
        (void)taken(f.ram, p, MV_DIRTY_DISPLAY);
    }
    assert_int_equal(dirtylog_follow_flags(&port, &slot), 0);
    assert_null(slot.log);
    dirtylog_fetch(&port, &slot);
    assert_int_equal(kernel.harvests, 1);
    for (uint64_t p = 0; p < 256; p++) {
        assert_int_equal(taken(f.ram, p, MV_DIRTY_DISPLAY), p < 40);
    }
    tear_down(&f);
}

/* A block that grows and shrinks: one slot goes and one comes, what was written is kept, and a refusal takes back
 * the block too. */
static void test_a_slot_follows_its_block(void **state)
{
    (void)state;
    struct fixture f;
    struct mv_block *block;
    struct mv_block_info info;
    struct mv_slot slots[2];
    set_up(&f);
    struct mv_block_options of_block = {.name = "r", .size_bytes = 8 * PAGE, .max_size_bytes = 64 * PAGE};
    assert_int_equal(mv_block_create(f.machine, &of_block, &block, NULL), 0);
    struct mv_region *region;
    struct mv_region_options of_region = {
        .name = "r", .kind = MV_REGION_RAM, .block = block, .follow_block = true};
    assert_int_equal(mv_region_create(f.machine, &of_region, &region, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 0, region, 0, NULL), 0);
    set_log(region, true);
    (void)mv_dirty_test_and_clear(region, 0, 8 * PAGE, MV_DIRTY_DISPLAY);
    unsigned calls = f.kernel.calls;
    assert_int_equal(mv_block_resize(block, 24 * PAGE + 1, NULL), 0);
    assert_int_equal(f.kernel.calls, calls + 2);
    check_equal(&f);
    assert_int_equal(slots_copy(f.table, slots, 2), 1);
    assert_int_equal(slots[0].size_bytes, 24 * PAGE); /* whole pages; the rest by the view */
    assert_true(taken(region, 23, MV_DIRTY_DISPLAY));
    (void)mv_dirty_test_and_clear(region, 0, 24 * PAGE, MV_DIRTY_DISPLAY);
    assert_true(guest_writes(&f.kernel, 3 * PAGE));
    assert_int_equal(mv_block_resize(block, 24 * PAGE + 2, NULL), 0); /* no page more or less */
    assert_int_equal(f.kernel.calls, calls + 2);
    mv_dirty_sync(region);
    assert_true(taken(region, 3, MV_DIRTY_DISPLAY));
    for (unsigned n = 1; n <= 2; n++) {
        f.kernel.refuse_call = f.kernel.calls + n;
        assert_int_equal(mv_block_resize(block, 4 * PAGE, NULL), -ENOMEM);
        f.kernel.refuse_call = 0;
        check_equal(&f);
        mv_block_info(block, &info);
        assert_int_equal(info.size_bytes, 25 * PAGE);
        assert_int_equal(slots_copy(f.table, slots, 2), 1);
        assert_int_equal(slots[0].size_bytes, 24 * PAGE);
    }
    assert_int_equal(mv_block_resize(block, 4 * PAGE, NULL), 0);
    check_equal(&f);
    assert_int_equal(mv_region_remove(region, NULL), 0);
    mv_region_put(region);
    mv_block_put(block);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_log_costs_one_call_for_each_slot),
        cmocka_unit_test(test_a_log_is_fetched_before_its_slot_goes),
        cmocka_unit_test(test_sync_finds_each_page),
        cmocka_unit_test(test_clients_do_not_clear_for_each_other),
        cmocka_unit_test(test_clears_that_are_put_off),
        cmocka_unit_test(test_a_slot_changes_hands),
        cmocka_unit_test(test_a_log_that_was_off_for_a_while),
        cmocka_unit_test(test_a_harvest_that_fails),
        cmocka_unit_test(test_a_slot_follows_its_block),
    };
    return cmocka_run_group_tests_name("slots_log", tests, NULL, NULL);
}
