// SPDX-License-Identifier: MIT
/*
 * The slot table against a naive kernel, which checks every call as KVM_SET_USER_MEMORY_REGION does and can be
 * told to refuse the n-th. The table is fed by a real machine's commits.
 */
#include "vm/slots_test.h"

static void test_split_and_merge_reuse_ids(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct mv_region *hole = new_region(&f, "hole", MV_REGION_MMIO, PAGE, 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    check_equal(&f);
    assert_int_equal(f.kernel.calls, 1);
    assert_int_equal(mv_region_add(f.root, 16 * PAGE, hole, 1, NULL), 0); /* split: one goes, two come */
    check_equal(&f);
    assert_int_equal(f.kernel.calls, 4);
    assert_int_equal(mv_region_remove(hole, NULL), 0); /* merge: two go, one comes */
    check_equal(&f);
    assert_int_equal(f.kernel.calls, 7);
    for (unsigned i = 2; i < KERNEL_SLOTS; i++) {
        assert_int_equal(f.kernel.slots[i].slot, 0); /* ids 0 and 1 were enough */
    }
    mv_region_put(hole);
    tear_down(&f);
}

static void test_readonly_flips_by_delete_and_add(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    assert_int_equal(mv_region_set_readonly(f.ram, true, NULL), 0);
    check_equal(&f);
    assert_int_equal(f.kernel.calls, 3);
    tear_down(&f);
}

static void test_only_whole_pages(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct mv_region *sliver = new_region(&f, "sliver", MV_REGION_MMIO, 16, 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 8 * PAGE + 64, sliver, 1, NULL), 0);
    check_equal(&f); /* the page with the sliver has no slot, the rest of it is reached through the view */
    struct mv_slot slots[4];
    assert_int_equal(slots_copy(f.table, slots, 4), 2);
    assert_int_equal(slots[0].size_bytes, 8 * PAGE);
    assert_int_equal(slots[1].gpa.raw, 9 * PAGE);
    mv_region_put(sliver);
    tear_down(&f);
}

static void test_unaligned_ram_has_no_slot(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    assert_int_equal(mv_region_add(f.root, 64, f.ram, 0, NULL), 0); /* frame and host page do not lie together */
    assert_int_equal(f.kernel.calls, 0);
    tear_down(&f);
}

static void test_no_readonly_slots(void **state)
{
    (void)state;
    struct fixture f;
    struct slot_limits limits = {.max_slots = 8, .max_slot_bytes = 1 << 30, .page_bytes = PAGE};
    assert_int_equal(set_up_limits(&f, limits), 0);
    assert_int_equal(mv_region_set_readonly(f.ram, true, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    assert_int_equal(f.kernel.calls, 0);
    tear_down(&f);
}

static void test_large_section_is_cut(void **state)
{
    (void)state;
    struct fixture f;
    struct slot_limits limits = {
        .max_slots = 64, .max_slot_bytes = 100 * PAGE, .page_bytes = PAGE, .readonly_slots = true};
    assert_int_equal(set_up_limits(&f, limits), 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    struct mv_slot slots[8];
    assert_int_equal(slots_copy(f.table, slots, 8), 3);
    struct mv_range all = {slots[0].gpa.raw, slots[2].gpa.raw + (slots[2].size_bytes - 1)};
    assert_true(slots_have(f.table, all)); /* all three together */
    assert_false(slots_have(f.table, (struct mv_range){all.first, all.last + 1}));
    assert_false(slots_have(f.table, (struct mv_range){all.last + 1, all.last + 1}));
    assert_false(all.first > 0 && slots_have(f.table, (struct mv_range){all.first - 1, all.last}));
    assert_int_equal(slots[2].gpa.raw, 200 * PAGE);
    assert_int_equal(slots[2].size_bytes, 56 * PAGE);
    assert_int_equal(slots[2].hva.raw, slots[0].hva.raw + 200 * PAGE);
    assert_int_equal(mv_region_remove(f.ram, NULL), 0);
    assert_int_equal(slots_copy(f.table, slots, 8), 0);
    tear_down(&f);
}

static void test_out_of_slots_changes_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct slot_limits limits = {
        .max_slots = 2, .max_slot_bytes = 1 << 30, .page_bytes = PAGE, .readonly_slots = true};
    struct mv_error err;
    assert_int_equal(set_up_limits(&f, limits), 0);
    struct mv_region *hole = new_region(&f, "hole", MV_REGION_MMIO, PAGE, 0);
    struct mv_region *hole2 = new_region(&f, "hole2", MV_REGION_MMIO, PAGE, 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 16 * PAGE, hole, 1, NULL), 0);
    unsigned calls = f.kernel.calls;
    assert_int_equal(mv_region_add(f.root, 32 * PAGE, hole2, 1, &err), -ENOSPC);
    assert_string_equal(err.reason, "no-slot");
    assert_non_null(strstr(err.text, "needs 3"));
    assert_int_equal(f.kernel.calls, calls);
    check_equal(&f);
    assert_int_equal(mv_region_remove(hole2, NULL), -ENOENT); /* the edit was undone */
    mv_region_put(hole);
    mv_region_put(hole2);
    tear_down(&f);
}

/* Every call of a larger commit refused in turn: each time everything is as before. */
static void test_refusals_are_taken_back(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct mv_region *hole = new_region(&f, "hole", MV_REGION_MMIO, PAGE, 0);
    struct mv_region *rom = new_region(&f, "rom", MV_REGION_ROM, 4 * PAGE, 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    unsigned refused = 0;
    for (unsigned n = 1;; n++) {
        struct kernel before = f.kernel;
        f.kernel.refuse_call = f.kernel.calls + n;
        assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
        assert_int_equal(mv_region_add(f.root, 16 * PAGE, hole, 1, NULL), 0);
        assert_int_equal(mv_region_add(f.root, 100 * PAGE, rom, 1, NULL), 0);
        struct mv_error err;
        int rc = mv_machine_commit(f.machine, &err);
        f.kernel.refuse_call = 0;
        check_equal(&f);
        if (rc == 0) {
            break;
        }
        refused++;
        assert_int_equal(rc, -ENOMEM);
        for (unsigned i = 0; i < KERNEL_SLOTS; i++) {
            assert_int_equal(before.slots[i].memory_size, f.kernel.slots[i].memory_size);
            if (before.slots[i].memory_size != 0) {
                assert_int_equal(before.slots[i].guest_phys_addr, f.kernel.slots[i].guest_phys_addr);
            }
        }
    }
    assert_int_equal(refused, 5); /* 1 removal and 4 additions */
    mv_region_put(hole);
    mv_region_put(rom);
    tear_down(&f);
}

/* Another listener refuses after the slots were changed. */
static void test_abort_takes_back(void **state)
{
    (void)state;
    static const struct mv_listener_ops other_ops = {.prepare = answer};
    struct fixture f;
    struct mv_listener *other;
    int rc = 0;
    set_up(&f);
    assert_int_equal(mv_listener_create(f.space, &other_ops, &rc, 20, &other, NULL), 0);
    rc = -EPERM;
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), -EPERM);
    assert_int_equal(f.kernel.calls, 2); /* there and back */
    check_equal(&f);
    rc = 0;
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    check_equal(&f);
    mv_listener_destroy(other);
    tear_down(&f);
}

/* The same range with the same bytes through another alias: nothing for the kernel to do. */
static void test_equal_slots_cancel(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct mv_region *other = new_region(&f, "other", MV_REGION_RAM, 256 * PAGE, 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    unsigned calls = f.kernel.calls;
    assert_int_equal(mv_region_add(f.root, 0, other, 1, NULL), 0); /* another region over the same block */
    assert_int_equal(f.kernel.calls, calls);
    check_equal(&f);
    mv_region_put(other);
    tear_down(&f);
}

static void append_line(void *opaque, const char *line)
{
    char *text = opaque;
    const char *end = strstr(line, " hva "); /* which differs from run to run */
    strncat(text, line, (size_t)(end - line));
    strcat(text, strstr(line, ", logged") ? " logged" : "");
    strcat(text, strstr(line, "read-only") ? " ro\n" : "\n");
}

/* A rehearsal says what a commit would ask of the kernel, and asks nothing. */
static void test_a_rehearsal_does_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct mv_error err;
    char text[1024] = "";
    set_up(&f);
    struct mv_region *hole = new_region(&f, "hole", MV_REGION_MMIO, PAGE, 0);
    struct mv_region *rom = new_region(&f, "rom", MV_REGION_ROM, 4 * PAGE, 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    unsigned calls = f.kernel.calls;
    assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 16 * PAGE, hole, 1, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 0x200000, rom, 1, NULL), 0);
    assert_int_equal(mv_machine_rehearse(f.machine, append_line, text, &err), 0);
    assert_string_equal(text, "slot: delete gpa 0x0-0xfffff\n"
                              "slot: create gpa 0x0-0xffff\n"
                              "slot: create gpa 0x11000-0xfffff\n"
                              "slot: create gpa 0x200000-0x203fff ro\n");
    assert_int_equal(f.kernel.calls, calls);
    check_equal(&f);
    assert_int_equal(mv_region_remove(hole, NULL), -ENOENT); /* its edits are undone */
    text[0] = '\0';
    assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
    assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
    assert_int_equal(mv_machine_rehearse(f.machine, append_line, text, &err), -EBUSY);
    assert_int_equal(mv_machine_commit(f.machine, NULL), 0);
    assert_int_equal(mv_machine_rehearse(f.machine, append_line, text, &err), 0); /* nothing to say */
    assert_string_equal(text, "");
    assert_int_equal(mv_region_add(f.root, 16 * PAGE, hole, 1, NULL), 0); /* and on */
    check_equal(&f);
    mv_region_put(hole);
    mv_region_put(rom);
    tear_down(&f);
}

/* The log of a slot that goes on or off is one call, and is said as one. */
static void test_a_rehearsal_tells_of_logs(void **state)
{
    (void)state;
    struct fixture f;
    char text[1024] = "";
    set_up(&f);
    struct mv_region *other = new_region(&f, "other", MV_REGION_RAM, 256 * PAGE, 0);
    struct mv_region *far = new_region(&f, "far", MV_REGION_RAM, PAGE, 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 0x200000, far, 0, NULL), 0);
    unsigned calls = f.kernel.calls;
    assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
    set_log(f.ram, true);
    assert_int_equal(mv_machine_rehearse(f.machine, append_line, text, NULL), 0);
    assert_string_equal(text, "slot: start the log of gpa 0x0-0xfffff logged\n");
    assert_int_equal(f.kernel.calls, calls);
    check_equal(&f); /* and it is not logged */
    set_log(f.ram, true);
    assert_int_equal(f.kernel.calls, calls + 1);
    text[0] = '\0';
    assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
    set_log(f.ram, false);
    set_log(far, true);
    assert_int_equal(mv_machine_rehearse(f.machine, append_line, text, NULL), 0);
    assert_string_equal(text, "slot: stop the log of gpa 0x0-0xfffff\n"
                              "slot: start the log of gpa 0x200000-0x200fff logged\n");
    text[0] = '\0';
    assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 0, other, 1, NULL), 0); /* the same bytes, not logged */
    assert_int_equal(mv_region_remove(far, NULL), 0);
    assert_int_equal(mv_machine_rehearse(f.machine, append_line, text, NULL), 0);
    assert_string_equal(text, "slot: delete gpa 0x200000-0x200fff\n"
                              "slot: stop the log of gpa 0x0-0xfffff\n");
    set_log(f.ram, false);
    text[0] = '\0';
    assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 0, other, 1, NULL), 0); /* nothing for the kernel to do */
    assert_int_equal(mv_machine_rehearse(f.machine, append_line, text, NULL), 0);
    assert_string_equal(text, "");
    check_equal(&f);
    mv_region_put(other);
    mv_region_put(far);
    tear_down(&f);
}

static int held_at_add = -1;

static int note_held(void *opaque, const struct mv_ioeventfd *at, int fd, struct mv_error *err)
{
    (void)at, (void)fd, (void)err;
    held_at_add = ((struct kernel *)opaque)->held;
    return 0;
}

/* A commit that changes slots holds the vCPUs until the kernel knows its eventfds too; one of eventfds alone does
 * not stop the guest. */
static void test_vcpus_are_held_until_eventfds_are_told(void **state)
{
    (void)state;
    static const struct mv_listener_ops other_ops = {.eventfd_add = note_held};
    struct fixture f;
    struct mv_listener *other;
    set_up(&f);
    struct mv_region *bell = new_region(&f, "bell", MV_REGION_MMIO, PAGE, 0);
    struct mv_ioeventfd eventfd = {.offset = 0, .size_bytes = 2, .fd = 0};
    assert_int_equal(mv_ioeventfd_add(bell, &eventfd, NULL), 0);
    assert_int_equal(mv_listener_create(f.space, &other_ops, &f.kernel, 20, &other, NULL), 0);
    assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 512 * PAGE, bell, 0, NULL), 0);
    assert_int_equal(mv_machine_commit(f.machine, NULL), 0);
    assert_int_equal(held_at_add, 1);
    held_at_add = -1;
    eventfd.offset = 8;
    assert_int_equal(mv_ioeventfd_add(bell, &eventfd, NULL), 0);
    assert_int_equal(held_at_add, 0);
    mv_listener_destroy(other);
    mv_region_put(bell);
    tear_down(&f);
}

/* With ever more regions around it, one region's change costs the same calls. */
static void test_calls_do_not_grow(void **state)
{
    (void)state;
    unsigned costs[3];
    for (unsigned round = 0; round < 3; round++) {
        struct fixture f;
        set_up(&f);
        unsigned others = round * 20 + 1;
        for (unsigned i = 0; i < others; i++) {
            struct mv_region *r = new_region(&f, "r", MV_REGION_RAM, PAGE, i * PAGE);
            assert_int_equal(mv_region_add(f.root, i * 2 * PAGE, r, 0, NULL), 0);
            mv_region_put(r);
        }
        struct mv_region *last = new_region(&f, "last", MV_REGION_RAM, PAGE, 0);
        unsigned calls = f.kernel.calls;
        assert_int_equal(mv_region_add(f.root, 1000 * PAGE, last, 0, NULL), 0);
        assert_int_equal(mv_region_remove(last, NULL), 0);
        costs[round] = f.kernel.calls - calls;
        assert_int_equal(slots_counts(f.table).set_slot_calls, f.kernel.calls);
        mv_region_put(last);
        tear_down(&f);
    }
    assert_int_equal(costs[0], 2);
    assert_int_equal(costs[1], 2);
    assert_int_equal(costs[2], 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split_and_merge_reuse_ids),
        cmocka_unit_test(test_readonly_flips_by_delete_and_add),
        cmocka_unit_test(test_only_whole_pages),
        cmocka_unit_test(test_unaligned_ram_has_no_slot),
        cmocka_unit_test(test_no_readonly_slots),
        cmocka_unit_test(test_large_section_is_cut),
        cmocka_unit_test(test_out_of_slots_changes_nothing),
        cmocka_unit_test(test_refusals_are_taken_back),
        cmocka_unit_test(test_abort_takes_back),
        cmocka_unit_test(test_equal_slots_cancel),
        cmocka_unit_test(test_a_rehearsal_does_nothing),
        cmocka_unit_test(test_a_rehearsal_tells_of_logs),
        cmocka_unit_test(test_vcpus_are_held_until_eventfds_are_told),
        cmocka_unit_test(test_calls_do_not_grow),
    };
    return cmocka_run_group_tests_name("slots", tests, NULL, NULL);
}
