// SPDX-License-Identifier: MIT
/* Which writes mark pages, for whom; and that none is missed by who takes the marks meanwhile. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "machine/dirty_log_test.h"

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
        WITH_RIG(writes_mark_for_who_logs),
        WITH_RIG(pointers_mark_too),
        WITH_RIG(what_does_not_write_does_not_mark),
        WITH_RIG(the_log_is_the_regions),
        WITH_RIG(edits_taken_back),
        WITH_RIG(no_write_is_missed),
    };
    return cmocka_run_group_tests_name("dirty_write", tests, NULL, NULL);
}
