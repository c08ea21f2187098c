// SPDX-License-Identifier: MIT
/* Ranges whose writes are gathered: what listeners are told; and when buffers are emptied. */
#include "machine/coalesced.h"

#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include "machine/machine_test.h"

static struct rig rig;
static struct journal journal;
static unsigned drained, handled, drained_at_call;

static enum mv_result handle(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                             struct mv_attrs attrs)
{
    (void)opaque, (void)offset, (void)size_bytes, (void)value, (void)attrs;
    handled++;
    drained_at_call = drained;
    mv_machine_flush_coalesced(rig.machine); /* from a handler: nothing */
    assert_int_equal(drained, drained_at_call);
    return MV_OK;
}

static const struct mv_mmio_ops ops = {.write = handle};

static int open_rig(void **state)
{
    (void)state;
    rig_open(&rig);
    journal.used = 0;
    journal.text[0] = '\0';
    drained = handled = 0;
    return 0;
}

static int close_rig(void **state)
{
    (void)state;
    rig_close(&rig);
    return 0;
}

static void what_is_told(void **state)
{
    (void)state;
    struct witness low = {.name = "low", .journal = &journal};
    struct witness high = {.name = "high", .journal = &journal};
    struct mv_region *r = put_in(rig.root, 0x1000, mmio(&rig, "r", 0x100, &ops, NULL), 0);
    struct mv_listener *l1 = attach(rig.space, &low, 1);
    struct mv_listener *l2 = attach(rig.space, &high, 2);
    journal.used = 0;
    assert_int_equal(mv_region_add_coalescing(r, 0x10, 0x20, NULL), 0);
    assert_int_equal(mv_region_add_coalescing(r, 0x80, 0x1000, NULL), 0); /* clipped */
    assert_journal(&journal, "low:gather+ 1010-102f\nhigh:gather+ 1010-102f\n"
                             "low:gather+ 1080-10ff\nhigh:gather+ 1080-10ff\n");
    assert_int_equal(mv_region_set_address(r, 0x2000, NULL), 0);
    assert_journal(&journal, "low:begin\nhigh:begin\n"
                             "high:gather- 1010-102f\nlow:gather- 1010-102f\n"
                             "high:gather- 1080-10ff\nlow:gather- 1080-10ff\n"
                             "high:-1000-10ff r@0\nlow:-1000-10ff r@0\n"
                             "low:+2000-20ff r@0\nhigh:+2000-20ff r@0\n"
                             "low:gather+ 2010-202f\nhigh:gather+ 2010-202f\n"
                             "low:gather+ 2080-20ff\nhigh:gather+ 2080-20ff\n"
                             "low:prepare\nhigh:prepare\nlow:commit\nhigh:commit\n");
    mv_listener_destroy(l1);
    journal.used = 0;
    assert_int_equal(mv_region_set_coalescing(r, NULL), 0);
    assert_journal(&journal, "high:gather- 2010-202f\nhigh:gather- 2080-20ff\nhigh:gather+ 2000-20ff\n");
    /* A commit that is refused: the other way round. */
    high.refuse = -EPERM;
    assert_int_equal(mv_region_set_enabled(r, false, NULL), -EPERM);
    assert_journal(&journal, "high:begin\nhigh:gather- 2000-20ff\nhigh:-2000-20ff r@0\nhigh:prepare\n"
                             "high:gather+ 2000-20ff\nhigh:abort\n");
    high.refuse = 0;
    l1 = attach(rig.space, &low, 1); /* late */
    assert_journal(&journal, "low:begin\nlow:+2000-20ff r@0\nlow:gather+ 2000-20ff\nlow:prepare\nlow:commit\n");
    mv_listener_destroy(l1);
    assert_journal(&journal, "low:begin\nlow:gather- 2000-20ff\nlow:-2000-20ff r@0\nlow:prepare\nlow:commit\n");
    assert_int_equal(mv_region_clear_coalescing(r, NULL), 0);
    assert_journal(&journal, "high:gather- 2000-20ff\n");
    assert_int_equal(mv_region_clear_coalescing(r, NULL), 0);
    assert_journal(&journal, "");
    mv_listener_destroy(l2);
    struct mv_error err;
    assert_int_equal(mv_region_add_coalescing(r, UINT64_MAX, 2, &err), -EINVAL);
    assert_string_equal(err.reason, "bad-range");
    assert_int_equal(mv_region_set_coalescing(rig.root, &err), -EINVAL);
    assert_string_equal(err.reason, "bad-region");
}

static void count_drain(void *opaque)
{
    (void)opaque;
    drained++;
}

static void when_buffers_are_emptied(void **state)
{
    (void)state;
    struct coalesced_drain drain = {.drain = count_drain};
    struct mv_region *r = put_in(rig.root, 0, mmio(&rig, "r", 0x100, &ops, NULL), 0);
    struct mv_region *s = put_in(rig.root, 0x1000, mmio(&rig, "s", 0x100, &ops, NULL), 0);
    coalesced_add_drain(rig.machine, &drain);
    begin(&rig);
    assert_int_equal(drained, 1); /* before the outermost transaction */
    begin(&rig);
    assert_int_equal(drained, 1);
    commit(&rig);
    commit(&rig);
    assert_int_equal(mv_region_add_coalescing(r, 0, 4, NULL), 0);
    assert_int_equal(drained, 2);
    const uint32_t value = 1;
    assert_int_equal(mv_space_write(rig.space, mv_gpa(0x10), &value, 4, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(drained_at_call, 3); /* before the handler */
    assert_int_equal(mv_space_write(rig.space, mv_gpa(0x1010), &value, 4, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(drained, 3); /* that one does not ask for it */
    assert_int_equal(mv_region_set_flush_coalesced(s, true, NULL), 0);
    assert_int_equal(mv_space_write(rig.space, mv_gpa(0x1010), &value, 4, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(drained_at_call, 5);
    mv_machine_flush_coalesced(rig.machine);
    assert_int_equal(drained, 6);
    coalesced_remove_drain(rig.machine, &drain);
    mv_machine_flush_coalesced(rig.machine);
    assert_int_equal(drained, 6);
    assert_int_equal(handled, 3);
}

/* A kernel lets go of every zone that contains a range that is taken back: those that stay are told again. */
static void ranges_that_stay_around_one_that_goes(void **state)
{
    (void)state;
    struct witness w = {.name = "w", .journal = &journal};
    struct mv_region *r = put_in(rig.root, 0x1000, mmio(&rig, "r", 0x100, &ops, NULL), 0);
    struct mv_listener *l = attach(rig.space, &w, 1);
    assert_int_equal(mv_region_set_coalescing(r, NULL), 0);
    assert_int_equal(mv_region_add_coalescing(r, 0x10, 4, NULL), 0);
    journal.used = 0;
    assert_int_equal(mv_region_set_coalescing(r, NULL), 0);
    assert_journal(&journal, "w:gather- 1000-10ff\nw:gather- 1010-1013\nw:gather+ 1000-10ff\n");
    /* Nothing goes: nothing is told again. */
    assert_int_equal(mv_region_add_coalescing(r, 0x10, 4, NULL), 0);
    assert_journal(&journal, "w:gather+ 1010-1013\n");
    mv_listener_destroy(l);
}

/* One thread empties buffers, whose handler waits to edit; another one is in a transaction and asks for the same.
 */
struct meeting {
    struct coalesced_drain drain;
    struct mv_region *edited;
    sem_t in_drain, in_transaction;
};

static void drain_and_edit(void *opaque)
{
    struct meeting *m = opaque;
    drained++;
    if (drained == 1) {
        return; /* the one that the transaction begins with */
    }
    sem_post(&m->in_drain);
    sem_wait(&m->in_transaction);
    assert_int_equal(mv_region_set_enabled(m->edited, false, NULL), 0); /* waits for the transaction's end */
}

static void *flush(void *opaque)
{
    (void)opaque;
    mv_machine_flush_coalesced(rig.machine);
    return NULL;
}

static void a_transaction_does_not_wait_for_buffers(void **state)
{
    (void)state;
    struct meeting m = {.drain = {.drain = drain_and_edit, .opaque = &m}};
    struct mv_region *r = put_in(rig.root, 0, mmio(&rig, "r", 0x100, &ops, NULL), 0);
    const uint32_t value = 1;
    pthread_t thread;
    m.edited = put_in(rig.root, 0x1000, mmio(&rig, "s", 0x100, &ops, NULL), 0);
    assert_int_equal(mv_region_set_flush_coalesced(r, true, NULL), 0);
    sem_init(&m.in_drain, 0, 0);
    sem_init(&m.in_transaction, 0, 0);
    coalesced_add_drain(rig.machine, &m.drain);
    alarm(60); /* two who wait for each other would wait for ever */
    begin(&rig);
    assert_int_equal(pthread_create(&thread, NULL, flush, NULL), 0);
    sem_wait(&m.in_drain);
    sem_post(&m.in_transaction);
    mv_machine_flush_coalesced(rig.machine);
    assert_int_equal(mv_space_write(rig.space, mv_gpa(0), &value, 4, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(handled, 1);
    commit(&rig);
    assert_int_equal(pthread_join(thread, NULL), 0);
    alarm(0);
    assert_int_equal(drained, 2);
    coalesced_remove_drain(rig.machine, &m.drain);
    sem_destroy(&m.in_drain);
    sem_destroy(&m.in_transaction);
}

#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, open_rig, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_RIG(what_is_told),
        WITH_RIG(when_buffers_are_emptied),
        WITH_RIG(ranges_that_stay_around_one_that_goes),
        WITH_RIG(a_transaction_does_not_wait_for_buffers),
    };
    return cmocka_run_group_tests_name("coalesced", tests, NULL, NULL);
}
