// SPDX-License-Identifier: MIT
/* What is logged, and what listeners are told of it, in which order. */
#include <memvirt/access.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "machine/dirty.h"
#include "machine/machine_test.h"

#define PAGE UINT64_C(0x1000)
#define DISPLAY MV_DIRTY_DISPLAY
#define MIGRATION MV_DIRTY_MIGRATION

static struct rig rig;
static struct journal journal;

static int open_rig(void **state)
{
    (void)state;
    rig_open(&rig);
    journal.used = 0;
    journal.text[0] = '\0';
    return 0;
}

static int close_rig(void **state)
{
    (void)state;
    rig_close(&rig);
    return 0;
}

static void set_log(struct mv_region *region, bool on)
{
    assert_int_equal(mv_region_set_log(region, DISPLAY, on, NULL), 0);
}

static void put(uint64_t address, size_t length)
{
    static const unsigned char bytes[4 * 0x1000];
    assert_true(length <= sizeof bytes);
    assert_int_equal(mv_space_write(rig.space, mv_gpa(address), bytes, length, MV_ATTRS_NONE), MV_OK);
}

/* "0 2-3 ": the marked pages of a region, taken. */
static void assert_taken(struct mv_region *region, enum mv_dirty_client client, uint64_t npages,
                         const char *expected)
{
    char text[256] = "";
    size_t used = 0;
    for (uint64_t i = 0; i < npages; i++) {
        bool seen = mv_dirty_get(region, i * PAGE, PAGE, client);
        assert_int_equal(mv_dirty_test_and_clear(region, i * PAGE, PAGE, client), seen);
        if (seen) {
            used += (size_t)snprintf(text + used, sizeof text - used, "%u ", (unsigned)i);
        }
    }
    assert_string_equal(text, expected);
}

/* --- orders ------------------------------------------------------------------------------------ */

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

/* --- writes ------------------------------------------------------------------------------------ */

static void writes_mark_for_who_logs(void **state)
{
    (void)state;
    struct mv_region *r = put_in(rig.root, 0, ram(&rig, "r", 8 * PAGE), 0);
    put(0, 1);
    assert_taken(r, DISPLAY, 8, "");
    assert_taken(r, MIGRATION, 8, "");
    set_log(r, true);
    put(PAGE, 8);
    put(2 * PAGE - 1, 2);        /* both pages */
    put(5 * PAGE - 4, PAGE + 4); /* the end of one and all of the next */
    assert_taken(r, MIGRATION, 8, "");
    assert_taken(r, DISPLAY, 8, "1 2 4 5 ");
    assert_taken(r, DISPLAY, 8, "");
    assert_int_equal(mv_dirty_log_start(rig.machine, 1, NULL), 0);
    for (size_t size = 1; size <= 16; size++) {
        put(7 * PAGE, size);
        assert_taken(r, DISPLAY, 8, "7 ");
        assert_taken(r, MIGRATION, 8, "7 ");
    }
    set_log(r, false);
    put(0, 4);
    assert_taken(r, DISPLAY, 8, "");
    assert_taken(r, MIGRATION, 8, "0 ");
    mv_dirty_set(r, PAGE, PAGE + 1);
    mv_dirty_set(r, 8 * PAGE, 1); /* not in it */
    mv_dirty_set(r, UINT64_MAX, UINT64_MAX);
    assert_taken(r, MIGRATION, 8, "1 2 ");
    assert_int_equal(mv_dirty_log_stop(rig.machine, 1, NULL), 0);
    put(0, 4);
    mv_dirty_set(r, 0, PAGE);
    assert_taken(r, MIGRATION, 8, "");
}

/* Windows and mappings are opened before the log goes on. */
static void pointers_mark_too(void **state)
{
    (void)state;
    struct mv_window window;
    struct mv_map map;
    struct mv_region *r = put_in(rig.root, 0, ram(&rig, "r", 8 * PAGE), 0);
    assert_int_equal(mv_window_open(rig.space, mv_gpa(PAGE), 2 * PAGE, MV_WRITE, &window), MV_OK);
    assert_int_equal(mv_space_map(rig.space, mv_gpa(4 * PAGE), 3 * PAGE, MV_WRITE, &map), 0);
    set_log(r, true);
    assert_int_equal(mv_window_write(&window, PAGE - 1, "ab", 2), MV_OK);
    assert_int_equal(mv_window_write(&window, 5, "ab", 0), MV_OK);
    assert_taken(r, DISPLAY, 8, "1 2 ");
    memset(map.bytes, 1, PAGE + 1);
    assert_taken(r, DISPLAY, 8, "");
    assert_int_equal(mv_space_unmap(&map, PAGE + 1), MV_OK);
    assert_taken(r, DISPLAY, 8, "4 5 ");
    assert_int_equal(mv_space_map(rig.space, mv_gpa(0), PAGE, MV_READ, &map), 0);
    assert_int_equal(mv_space_unmap(&map, PAGE), MV_OK);
    assert_taken(r, DISPLAY, 8, "");
    mv_window_close(&window);
}

static void what_does_not_write_does_not_mark(void **state)
{
    (void)state;
    unsigned char bytes[16] = {0};
    struct mv_region *r = put_in(rig.root, 0, rom(&rig, "rom", 4 * PAGE), 0);
    assert_int_equal(mv_dirty_log_start(rig.machine, 1, NULL), 0);
    assert_int_equal(mv_space_write(rig.space, mv_gpa(0), bytes, 4, MV_ATTRS_NONE), MV_DECODE_ERROR);
    assert_int_equal(mv_space_read(rig.space, mv_gpa(PAGE), bytes, 4, MV_ATTRS_NONE), MV_OK);
    assert_taken(r, MIGRATION, 4, "");
    assert_int_equal(mv_space_write_rom(rig.space, mv_gpa(2 * PAGE), bytes, 4), MV_OK);
    assert_taken(r, MIGRATION, 4, "2 ");
    assert_int_equal(mv_dirty_log_stop(rig.machine, 1, NULL), 0);
    struct mv_error err;
    assert_int_equal(mv_region_set_log(r, MIGRATION, true, &err), -EINVAL);
    assert_string_equal(err.reason, "bad-client");
    assert_int_equal(mv_region_set_log(rig.root, DISPLAY, true, &err), -EINVAL);
    assert_string_equal(err.reason, "bad-region");
    assert_false(mv_dirty_get(rig.root, 0, 1, DISPLAY));
}

/* Through an alias a write is the region's own; another region over the same bytes has a log of its own. */
static void the_log_is_the_regions(void **state)
{
    (void)state;
    struct mv_error err;
    struct mv_block *block = NULL;
    assert_int_equal(mv_block_create(rig.machine, &(struct mv_block_options){.name = "b", .size_bytes = 8 * PAGE},
                                     &block, &err),
                     0);
    struct mv_region_options o = {.name = "one", .kind = MV_REGION_RAM, .size_bytes = 8 * PAGE, .block = block};
    struct mv_region *one = put_in(rig.root, 0, make(rig.machine, &o), 0);
    o = (struct mv_region_options){.name = "two",
                                   .kind = MV_REGION_RAM,
                                   .size_bytes = 4 * PAGE,
                                   .block = block,
                                   .block_offset_bytes = 2 * PAGE};
    struct mv_region *two = put_in(rig.root, 0x10000, make(rig.machine, &o), 0);
    put_in(rig.root, 0x20000, alias_of(&rig, "a", two, PAGE, PAGE), 0);
    mv_block_put(block);
    set_log(two, true);
    put(0, 1);
    assert_taken(one, DISPLAY, 8, "");
    put(0x10000, 1);
    put(0x20010, 1);
    assert_true(mv_dirty_get(two, PAGE, 1, DISPLAY));
    assert_taken(one, DISPLAY, 8, "2 3 "); /* the same pages */
    assert_taken(two, DISPLAY, 4, "");
}

/* An edit that is taken back takes its log with it; a logged region that goes leaves nothing behind. */
static void edits_taken_back(void **state)
{
    (void)state;
    struct witness w = {.name = "w", .journal = &journal, .refuse = 0};
    struct mv_listener *l = attach(rig.space, &w, 0);
    struct mv_region *r = put_in(rig.root, 0, ram(&rig, "r", PAGE), 0);
    struct mv_region *s = ram(&rig, "s", PAGE);
    w.refuse = -EPERM;
    begin(&rig);
    assert_int_equal(mv_region_set_log(r, DISPLAY, true, NULL), 0);
    assert_int_equal(mv_region_set_log(r, DISPLAY, true, NULL), 0);
    assert_int_equal(mv_region_set_log(s, DISPLAY, true, NULL), 0);
    assert_int_equal(mv_machine_commit(rig.machine, NULL), -EPERM);
    w.refuse = 0;
    assert_int_equal(mv_region_log_mask(r), 0);
    assert_int_equal(mv_region_set_log(r, DISPLAY, false, NULL), -EINVAL);
    set_log(s, true); /* not mapped */
    assert_int_equal(mv_region_add(rig.root, PAGE, s, 0, NULL), 0);
    put(0, 1);
    put(PAGE, 1);
    assert_taken(r, DISPLAY, 1, "");
    assert_taken(s, DISPLAY, 1, "0 ");
    assert_int_equal(mv_region_remove(s, NULL), 0);
    mv_region_put(s);
    mv_listener_destroy(l);
}

/* --- writers and a client at the same time ----------------------------------------------------- */

#define RACE_PAGES 64
#define RACE_WRITERS 2

struct race {
    struct mv_region *region;
    const unsigned char *bytes;
    uint32_t copy[RACE_PAGES][RACE_WRITERS]; /* what a migration would have sent */
    atomic_bool stop, pause;
    atomic_uint number, paused;
    uint64_t copied;
};

/* Ever greater numbers to random pages. */
static void *race_writer(void *opaque)
{
    struct race *race = opaque;
    unsigned self = atomic_fetch_add(&race->number, 1);
    uint64_t random = 88172645463325252u + self;
    for (uint32_t i = 1; !atomic_load(&race->stop); i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        mv_space_write(rig.space, mv_gpa(random % RACE_PAGES * PAGE + self * 8), &i, 4, MV_ATTRS_NONE);
        if (atomic_load(&race->pause)) {
            atomic_fetch_add(&race->paused, 1);
            while (atomic_load(&race->pause)) {
                sched_yield();
            }
            atomic_fetch_sub(&race->paused, 1);
        }
    }
    return NULL;
}

/* All writers rest, or all are on their way again. */
static void race_pause(struct race *race, bool pause)
{
    atomic_store(&race->pause, pause);
    while (atomic_load(&race->paused) != (pause ? RACE_WRITERS : 0)) {
        sched_yield();
    }
}

/* A guest's memory is written while it is read, which is a race by intention. */
#ifdef __SANITIZE_THREAD__
__attribute__((no_sanitize("thread")))
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
__attribute__((no_sanitize("thread")))
#endif
#endif
static uint32_t
look(const unsigned char *at)
{
    return *(const volatile uint32_t *)(const volatile void *)at;
}

static void copy_page(struct race *race, uint64_t page)
{
    for (unsigned w = 0; w < RACE_WRITERS; w++) {
        race->copy[page][w] = look(race->bytes + page * PAGE + w * 8);
    }
}

static void copy_marked(struct race *race)
{
    struct mv_dirty_snapshot *snapshot = NULL;
    struct mv_range run;
    assert_int_equal(mv_dirty_snapshot_and_clear(race->region, 0, RACE_PAGES * PAGE, MIGRATION, &snapshot, NULL),
                     0);
    for (uint64_t at = 0; mv_dirty_snapshot_next(snapshot, at, &run); at = run.last + 1) {
        for (uint64_t page = run.first / PAGE; page <= run.last / PAGE; page++) {
            copy_page(race, page);
        }
    }
    race->copied += mv_dirty_snapshot_count(snapshot);
    mv_dirty_snapshot_free(snapshot);
}

/*
 * As a migration goes: log, copy everything, copy what was marked, a few times; let the writers rest, copy what
 * was marked: the copy must be the original. Logging begins while the writers write.
 */
static unsigned migrate(struct race *race)
{
    unsigned missed = 0;
    assert_int_equal(mv_dirty_log_start(rig.machine, 1, NULL), 0);
    for (uint64_t page = 0; page < RACE_PAGES; page++) {
        copy_page(race, page);
    }
    for (unsigned i = 0; i < 5; i++) {
        sched_yield();
        copy_marked(race);
    }
    race_pause(race, true);
    copy_marked(race);
    for (uint64_t page = 0; page < RACE_PAGES; page++) {
        for (unsigned w = 0; w < RACE_WRITERS; w++) {
            missed += race->copy[page][w] != look(race->bytes + page * PAGE + w * 8);
        }
    }
    assert_int_equal(mv_dirty_log_stop(rig.machine, 1, NULL), 0);
    race_pause(race, false);
    return missed;
}

static void no_write_is_missed(void **state)
{
    (void)state;
    static struct race race;
    struct mv_hold hold;
    race.region = put_in(rig.root, 0, ram(&rig, "r", RACE_PAGES * PAGE), 0);
    assert_int_equal(mv_space_hold(rig.space, mv_gpa(0), RACE_PAGES * PAGE, &hold), MV_OK);
    race.bytes = hold.bytes;
    pthread_t threads[RACE_WRITERS];
    for (int i = 0; i < RACE_WRITERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, race_writer, &race), 0);
    }
    unsigned missed = 0, rounds = 0;
    time_t end = time(NULL) + (getenv("MEMVIRT_TEST_LONG") ? 60 : 2);
    while (rounds < 10 || time(NULL) < end) {
        missed += migrate(&race);
        rounds++;
    }
    atomic_store(&race.stop, true);
    for (int i = 0; i < RACE_WRITERS; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("# %u migrations, %" PRIu64 " pages copied again, %u words missed\n", rounds, race.copied, missed);
    assert_true(race.copied > 0);
    assert_int_equal(missed, 0);
    mv_hold_release(&hold);
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
        WITH_RIG(writes_mark_for_who_logs),
        WITH_RIG(pointers_mark_too),
        WITH_RIG(what_does_not_write_does_not_mark),
        WITH_RIG(the_log_is_the_regions),
        WITH_RIG(edits_taken_back),
        WITH_RIG(no_write_is_missed),
    };
    return cmocka_run_group_tests_name("dirty_log", tests, NULL, NULL);
}
