// SPDX-License-Identifier: MIT
/* What listeners are told of logs, in which order. */
#include "machine/dirty_log_test.h"

/* A toggle is told as region_nop, then the log; starts go up, stops down; only 0 <-> 1 is told at all. */
static void toggles_are_counted(void **state)
{
    (void)state;
    struct witness low = {.name = "low", .journal = &journal};
    struct witness high = {.name = "high", .journal = &journal};
    struct mv_region *r = put_in(rig.root, 0x1000, ram(&rig, "r", 0x4000), 0);
    put_in(rig.root, 0x2000, reservation(&rig, "hole", 0x1000), 1);
    struct mv_listener *l1 = attach(rig.space, &high, 5);
    struct mv_listener *l2 = attach(rig.space, &low, 1);
    journal.used = 0;
    set_log(r, true);
    assert_journal(&journal, "low:begin\nhigh:begin\n"
                             "low:=1000-1fff r@0\nhigh:=1000-1fff r@0\n"
                             "low:log_start 0>1 1000-1fff r@0\nhigh:log_start 0>1 1000-1fff r@0\n"
                             "low:=2000-2fff hole@0\nhigh:=2000-2fff hole@0\n"
                             "low:=3000-4fff r@2000\nhigh:=3000-4fff r@2000\n"
                             "low:log_start 0>1 3000-4fff r@2000\nhigh:log_start 0>1 3000-4fff r@2000\n"
                             "low:prepare\nhigh:prepare\nlow:commit\nhigh:commit\n");
    set_log(r, true);
    set_log(r, false);
    assert_journal(&journal, "");
    assert_int_equal(mv_region_log_mask(r), 1);
    set_log(r, false);
    assert_journal(&journal, "low:begin\nhigh:begin\n"
                             "low:=1000-1fff r@0\nhigh:=1000-1fff r@0\n"
                             "high:log_stop 1>0 1000-1fff r@0\nlow:log_stop 1>0 1000-1fff r@0\n"
                             "low:=2000-2fff hole@0\nhigh:=2000-2fff hole@0\n"
                             "low:=3000-4fff r@2000\nhigh:=3000-4fff r@2000\n"
                             "high:log_stop 1>0 3000-4fff r@2000\nlow:log_stop 1>0 3000-4fff r@2000\n"
                             "low:prepare\nhigh:prepare\nlow:commit\nhigh:commit\n");
    struct mv_error err;
    assert_int_equal(mv_region_set_log(r, DISPLAY, false, &err), -EINVAL);
    assert_string_equal(err.reason, "not-logged");
    mv_listener_destroy(l1);
    mv_listener_destroy(l2);
}

/* A listener without region_nop hears of what changed, and of nothing else, in order with what came. */
static void only_what_changed_is_told(void **state)
{
    (void)state;
    static struct mv_listener_ops ops;
    ops = witness_ops;
    ops.region_nop = NULL;
    struct witness w = {.name = "w", .journal = &journal};
    struct mv_listener *l = NULL;
    struct mv_region *a = put_in(rig.root, 0x1000, ram(&rig, "a", 0x1000), 0);
    struct mv_region *b = put_in(rig.root, 0x4000, ram(&rig, "b", 0x1000), 0);
    put_in(rig.root, 0x5000, ram(&rig, "quiet", 0x1000), 0);
    assert_int_equal(mv_listener_create(rig.space, &ops, &w, 0, &l, NULL), 0);
    journal.used = 0;
    begin(&rig);
    set_log(b, true);
    put_in(rig.root, 0x2000, ram(&rig, "new", 0x1000), 0);
    set_log(a, true);
    commit(&rig);
    assert_journal(&journal, "w:begin\n"
                             "w:log_start 0>1 1000-1fff a@0\n"
                             "w:+2000-2fff new@0\n"
                             "w:log_start 0>1 4000-4fff b@0\n"
                             "w:prepare\nw:commit\n");
    /* What goes and comes is told by its mask alone. */
    begin(&rig);
    assert_int_equal(mv_region_set_address(a, 0x9000, NULL), 0);
    set_log(b, false);
    set_log(b, true);
    commit(&rig);
    assert_journal(&journal, "w:begin\nw:-1000-1fff a@0\nw:+9000-9fff a@0\nw:prepare\nw:commit\n");
    mv_listener_destroy(l);
}

static void global_start_precedes_and_stop_follows(void **state)
{
    (void)state;
    struct witness low = {.name = "low", .journal = &journal};
    struct witness high = {.name = "high", .journal = &journal};
    struct mv_listener *l1 = attach(rig.space, &low, 1);
    struct mv_listener *l2 = attach(rig.space, &high, 5);
    struct mv_region *r = put_in(rig.root, 0, ram(&rig, "r", 0x1000), 0);
    journal.used = 0;
    assert_int_equal(mv_dirty_log_start(rig.machine, MV_DIRTY_LOG_RATE, NULL), 0);
    assert_journal(&journal, "low:global_start\nhigh:global_start\n"
                             "low:begin\nhigh:begin\n"
                             "low:=0-fff r@0\nhigh:=0-fff r@0\n"
                             "low:log_start 0>4 0-fff r@0\nhigh:log_start 0>4 0-fff r@0\n"
                             "low:prepare\nhigh:prepare\nlow:commit\nhigh:commit\n");
    /* Another reason changes nothing, nor does one less of two. */
    assert_int_equal(mv_dirty_log_start(rig.machine, MV_DIRTY_LOG_MIGRATION | MV_DIRTY_LOG_RATE, NULL), 0);
    assert_int_equal(mv_dirty_log_reasons(rig.machine), 3);
    assert_int_equal(mv_dirty_log_stop(rig.machine, MV_DIRTY_LOG_RATE, NULL), 0);
    assert_journal(&journal, "");
    /* On top of the display's the mask grows and shrinks. */
    set_log(r, true);
    assert_journal(&journal, "low:begin\nhigh:begin\n"
                             "low:=0-fff r@0\nhigh:=0-fff r@0\n"
                             "low:log_start 4>5 0-fff r@0\nhigh:log_start 4>5 0-fff r@0\n"
                             "low:prepare\nhigh:prepare\nlow:commit\nhigh:commit\n");
    assert_int_equal(mv_dirty_log_stop(rig.machine, MV_DIRTY_LOG_MIGRATION, NULL), 0);
    assert_journal(&journal, "low:begin\nhigh:begin\n"
                             "low:=0-fff r@0\nhigh:=0-fff r@0\n"
                             "high:log_stop 5>1 0-fff r@0\nlow:log_stop 5>1 0-fff r@0\n"
                             "low:prepare\nhigh:prepare\nlow:commit\nhigh:commit\n"
                             "high:global_stop\nlow:global_stop\n");
    struct mv_error err;
    assert_int_equal(mv_dirty_log_start(rig.machine, 8, &err), -EINVAL);
    assert_int_equal(mv_dirty_log_stop(rig.machine, 0, &err), -EINVAL);
    begin(&rig);
    assert_int_equal(mv_dirty_log_start(rig.machine, 1, &err), -EBUSY);
    commit(&rig);
    assert_int_equal(mv_dirty_log_reasons(rig.machine), 0);
    mv_listener_destroy(l1);
    mv_listener_destroy(l2);
}

/* Who was told to start is told to stop when a later one refuses, the start or the commit after it. */
static void a_refused_start_changes_nothing(void **state)
{
    (void)state;
    struct witness w[3] = {{.name = "a", .journal = &journal},
                           {.name = "b", .journal = &journal},
                           {.name = "c", .journal = &journal}};
    struct mv_listener *l[3];
    struct mv_error err;
    struct mv_region *r = put_in(rig.root, 0, ram(&rig, "r", 0x1000), 0);
    for (int i = 0; i < 3; i++) {
        l[i] = attach(rig.space, &w[i], i);
    }
    journal.used = 0;
    w[2].refuse_log = -EPERM;
    assert_int_equal(mv_dirty_log_start(rig.machine, 1, &err), -EPERM);
    assert_string_equal(err.reason, "refused");
    assert_journal(&journal, "a:global_start\nb:global_start\nc:global_start\nb:global_stop\na:global_stop\n");
    assert_int_equal(mv_dirty_log_reasons(rig.machine), 0);
    w[2].refuse_log = 0;
    w[1].refuse = -ENOSPC;
    assert_int_equal(mv_dirty_log_start(rig.machine, 1, &err), -ENOSPC);
    journal.text[journal.used] = '\0';
    assert_non_null(strstr(journal.text, "a:abort\nc:global_stop\nb:global_stop\na:global_stop\n"));
    assert_int_equal(mv_region_log_mask(r), 0);
    put(0, 1);
    assert_taken(r, MIGRATION, 1, "");
    /* The same for one region. */
    assert_int_equal(mv_region_set_log(r, DISPLAY, true, &err), -ENOSPC);
    assert_int_equal(mv_region_log_mask(r), 0);
    put(0, 1);
    assert_taken(r, DISPLAY, 1, "");
    w[1].refuse = 0;
    set_log(r, true);
    put(0, 1);
    assert_taken(r, DISPLAY, 1, "0 ");
    /* A stop that is refused leaves the log on. */
    w[1].refuse = -ENOSPC;
    assert_int_equal(mv_region_set_log(r, DISPLAY, false, &err), -ENOSPC);
    put(0, 1);
    assert_taken(r, DISPLAY, 1, "0 ");
    w[1].refuse = 0;
    for (int i = 0; i < 3; i++) {
        mv_listener_destroy(l[i]);
    }
}

static void a_stop_waits_for_a_paused_vm(void **state)
{
    (void)state;
    struct witness w = {.name = "w", .journal = &journal};
    struct mv_listener *l = attach(rig.space, &w, 0);
    put_in(rig.root, 0, ram(&rig, "r", 0x1000), 0);
    assert_int_equal(mv_dirty_log_start(rig.machine, 3, NULL), 0);
    dirty_pause(rig.machine);
    journal.used = 0;
    assert_int_equal(mv_dirty_log_stop(rig.machine, 1, NULL), 0);
    assert_int_equal(mv_dirty_log_stop(rig.machine, 2, NULL), 0);
    assert_int_equal(mv_dirty_log_reasons(rig.machine), 3);
    assert_journal(&journal, "");
    dirty_resume(rig.machine);
    assert_int_equal(mv_dirty_log_reasons(rig.machine), 0);
    assert_journal(&journal,
                   "w:begin\nw:=0-fff r@0\nw:log_stop 4>0 0-fff r@0\nw:prepare\nw:commit\nw:global_stop\n");
    /* A start in between cancels it: nobody hears anything. */
    assert_int_equal(mv_dirty_log_start(rig.machine, 1, NULL), 0);
    dirty_pause(rig.machine);
    journal.used = 0;
    assert_int_equal(mv_dirty_log_stop(rig.machine, 1, NULL), 0);
    assert_int_equal(mv_dirty_log_start(rig.machine, 1, NULL), 0);
    dirty_resume(rig.machine);
    assert_int_equal(mv_dirty_log_reasons(rig.machine), 1);
    assert_journal(&journal, "");
    assert_int_equal(mv_dirty_log_stop(rig.machine, 1, NULL), 0);
    mv_listener_destroy(l);
}

/* Who comes late hears of what is logged; who goes early hears of its end. */
static void late_and_early(void **state)
{
    (void)state;
    struct witness w = {.name = "w", .journal = &journal};
    struct mv_region *r = put_in(rig.root, 0x1000, ram(&rig, "r", 0x1000), 0);
    put_in(rig.root, 0x3000, ram(&rig, "s", 0x1000), 0);
    set_log(r, true);
    struct mv_listener *l = attach(rig.space, &w, 0);
    assert_journal(&journal, "w:begin\nw:+1000-1fff r@0\nw:log_start 0>1 1000-1fff r@0\nw:+3000-3fff s@0\n"
                             "w:prepare\nw:commit\n");
    mv_listener_destroy(l);
    assert_journal(&journal, "w:begin\nw:log_stop 1>0 1000-1fff r@0\nw:-1000-1fff r@0\nw:-3000-3fff s@0\n"
                             "w:prepare\nw:commit\n");
    assert_int_equal(mv_dirty_log_start(rig.machine, 1, NULL), 0);
    l = attach(rig.space, &w, 0);
    assert_journal(&journal, "w:begin\nw:global_start\nw:+1000-1fff r@0\nw:log_start 0>5 1000-1fff r@0\n"
                             "w:+3000-3fff s@0\nw:log_start 0>4 3000-3fff s@0\nw:prepare\nw:commit\n");
    mv_listener_destroy(l);
    /* One that refuses what it is told is told that the log of everything is over, too. */
    journal.used = 0;
    w.refuse = -EPERM;
    assert_int_equal(mv_listener_create(rig.space, &witness_ops, &w, 0, &l, NULL), -EPERM);
    assert_journal(&journal, "w:begin\nw:global_start\nw:+1000-1fff r@0\nw:log_start 0>5 1000-1fff r@0\n"
                             "w:+3000-3fff s@0\nw:log_start 0>4 3000-3fff s@0\nw:prepare\nw:abort\n"
                             "w:global_stop\n");
    assert_int_equal(mv_dirty_log_stop(rig.machine, 1, NULL), 0);
}

static void note_global_sync(void *opaque, bool last)
{
    witness_write(opaque, last ? "sync_global last" : "sync_global", NULL);
}

static void sync_and_clear_are_clipped(void **state)
{
    (void)state;
    static struct mv_listener_ops global_ops;
    global_ops = (struct mv_listener_ops){.log_sync_global = note_global_sync};
    struct witness w = {.name = "w", .journal = &journal};
    struct witness g = {.name = "g", .journal = &journal};
    struct mv_region *r = put_in(rig.root, 0x100000, ram(&rig, "r", 0x80000), 0);
    put_in(rig.root, 0x110000, reservation(&rig, "hole", 0x1000), 1);
    put_in(rig.root, 0x900000, alias_of(&rig, "a", r, 0x8000, 0x2000), 0);
    struct mv_region *other = put_in(rig.root, 0, ram(&rig, "other", 0x1000), 0);
    struct mv_listener *l = attach(rig.space, &w, 0), *lg = NULL;
    assert_int_equal(mv_listener_create(rig.space, &global_ops, &g, 1, &lg, NULL), 0);
    mv_dirty_sync(r); /* not logged: nobody to ask */
    set_log(r, true);
    journal.used = 0;
    mv_dirty_sync(r);
    assert_journal(&journal,
                   "w:sync 100000-10ffff r@0\nw:sync 900000-901fff r@8000\nw:sync 111000-17ffff r@11000\n"
                   "g:sync_global\n");
    mv_dirty_sync(other);
    assert_journal(&journal, "g:sync_global\n");
    mv_dirty_sync_all(rig.machine, true);
    assert_journal(&journal,
                   "w:sync 100000-10ffff r@0\nw:sync 900000-901fff r@8000\nw:sync 111000-17ffff r@11000\n"
                   "g:sync_global last\nw:after_sync\n");
    put(0x100000, 1);
    put(0x109000, 1);
    assert_true(mv_dirty_test_and_clear(r, 0x1000, 0x8fff, DISPLAY));
    assert_journal(&journal, "w:clear 101000-109fff r@1000\nw:clear 900000-901fff r@8000\n");
    assert_false(mv_dirty_test_and_clear(r, 0x1000, 0x8fff, DISPLAY)); /* nothing taken: nothing to clear */
    assert_journal(&journal, "");
    /* Sync before, clear after, both once; widened to 64 pages within the region. */
    struct mv_dirty_snapshot *snapshot = NULL;
    assert_int_equal(mv_dirty_snapshot_and_clear(r, 0x10000, 1, DISPLAY, &snapshot, NULL), 0);
    assert_journal(&journal,
                   "w:sync 100000-10ffff r@0\nw:sync 900000-901fff r@8000\nw:sync 111000-17ffff r@11000\n"
                   "g:sync_global\n"
                   "w:clear 100000-10ffff r@0\nw:clear 900000-901fff r@8000\nw:clear 111000-13ffff r@11000\n");
    assert_true(mv_dirty_snapshot_get(snapshot, 0, PAGE));
    assert_false(mv_dirty_snapshot_get(snapshot, PAGE, 0x80000));
    mv_dirty_snapshot_free(snapshot);
    mv_listener_destroy(l);
    mv_listener_destroy(lg);
}

/* What is put off is told by chunks, once each, and only those in which something was marked. */
static void clears_can_be_put_off(void **state)
{
    (void)state;
    struct witness w = {.name = "w", .journal = &journal};
    struct mv_region *r = put_in(rig.root, 0x100000, ram(&rig, "r", 0x200000), 0);
    struct mv_listener *l = attach(rig.space, &w, 0);
    struct mv_dirty_snapshot *snapshot = NULL;
    struct mv_error err;
    set_log(r, true);
    put(0x100000, 1);
    put(0x143000, 1);
    put(0x150000, 1);
    put(0x2f0000, 1);
    journal.used = 0;
    assert_int_equal(mv_dirty_snapshot_take(r, 0, 0x200000, DISPLAY, 0x40000, &snapshot, &err), 0);
    assert_journal(&journal, "w:sync 100000-2fffff r@0\n");
    assert_int_equal(mv_dirty_snapshot_count(snapshot), 4);
    assert_taken(r, DISPLAY, 512, "");
    mv_dirty_snapshot_clear(snapshot, 0x50000, 1);
    assert_journal(&journal, "w:clear 140000-17ffff r@40000\n");
    mv_dirty_snapshot_clear(snapshot, 0x43000, PAGE);    /* the same chunk */
    mv_dirty_snapshot_clear(snapshot, 0x80000, 0x40000); /* nothing was marked */
    mv_dirty_snapshot_clear(snapshot, 0x200000, PAGE);   /* not in it */
    assert_journal(&journal, "");
    mv_dirty_snapshot_clear(snapshot, 0, UINT64_MAX);
    assert_journal(&journal, "w:clear 100000-13ffff r@0\nw:clear 2c0000-2fffff r@1c0000\n");
    mv_dirty_snapshot_clear(snapshot, 0, 0x200000);
    assert_journal(&journal, "");
    mv_dirty_snapshot_free(snapshot);
    /* A part of the region, whose first chunk is cut. */
    put(0x1a0000, 1);
    journal.used = 0;
    assert_int_equal(mv_dirty_snapshot_take(r, 0xa0000, 0x1000, DISPLAY, 0x80000, &snapshot, &err), 0);
    journal.used = 0;
    mv_dirty_snapshot_clear(snapshot, 0xa0000, 1);
    assert_journal(&journal, "w:clear 180000-1bffff r@80000\n");
    mv_dirty_snapshot_free(snapshot);
    assert_int_equal(mv_dirty_snapshot_take(r, 0, 1, DISPLAY, 0x1000, &snapshot, &err), -EINVAL);
    assert_string_equal(err.reason, "bad-chunk");
    assert_int_equal(mv_dirty_snapshot_take(r, 0, 1, DISPLAY, 0x60000, &snapshot, &err), -EINVAL);
    mv_listener_destroy(l);
}

#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, open_rig, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_RIG(toggles_are_counted),
        WITH_RIG(only_what_changed_is_told),
        WITH_RIG(global_start_precedes_and_stop_follows),
        WITH_RIG(a_refused_start_changes_nothing),
        WITH_RIG(a_stop_waits_for_a_paused_vm),
        WITH_RIG(late_and_early),
        WITH_RIG(sync_and_clear_are_clipped),
        WITH_RIG(clears_can_be_put_off),
    };
    return cmocka_run_group_tests_name("dirty_log", tests, NULL, NULL);
}
