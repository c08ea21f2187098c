// SPDX-License-Identifier: MIT
#include "base/epoch.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct object {
    struct epoch_head epoch;
    atomic_int *freed;
};

static void free_object(struct rcu_head *head)
{
    struct object *object = caa_container_of(head, struct object, epoch.rcu);
    epoch_retired(&object->epoch);
    atomic_fetch_add(object->freed, 1);
    free(object);
}

static struct object *make_object(atomic_int *freed)
{
    struct object *object = calloc(1, sizeof *object);
    assert_non_null(object);
    object->freed = freed;
    return object;
}

static void retired_objects_are_freed_once(void **state)
{
    (void)state;
    atomic_int freed = 0;
    for (int i = 0; i < 100; i++) {
        epoch_retire(&make_object(&freed)->epoch, free_object);
    }
    epoch_drain();
    assert_int_equal(atomic_load(&freed), 100);
    epoch_drain();
    assert_int_equal(atomic_load(&freed), 100);
}

struct reader {
    struct object **place;
    unsigned nested;
    bool quick;
    sem_t inside;
    sem_t may_leave;
    struct object *seen;
};

static void *read_slowly(void *opaque)
{
    struct reader *reader = opaque;
    struct epoch_quick epoch;
    epoch_enter();
    if (reader->quick) {
        epoch_exit();
        assert_true(epoch_quick_enter(&epoch)); /* there is membarrier: a_quick_reader made sure */
    }
    reader->seen = epoch_load(*reader->place);
    for (unsigned i = 0; i < reader->nested; i++) {
        epoch_enter();
        epoch_exit();
    }
    sem_post(&reader->inside);
    sem_wait(&reader->may_leave);
    if (reader->quick) {
        epoch_quick_exit(epoch);
    } else {
        epoch_exit();
    }
    return NULL;
}

static void a_moment(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
}

static void a_reader_holds_back_the_free(unsigned nested, bool quick)
{
    atomic_int freed = 0;
    struct object *place = make_object(&freed);
    struct object *old = place;
    struct reader reader = {.place = &place, .nested = nested, .quick = quick};
    pthread_t thread;
    sem_init(&reader.inside, 0, 0);
    sem_init(&reader.may_leave, 0, 0);
    assert_int_equal(pthread_create(&thread, NULL, read_slowly, &reader), 0);
    sem_wait(&reader.inside);
    assert_ptr_equal(reader.seen, old);

    epoch_publish(place, NULL);
    epoch_retire(&old->epoch, free_object);
    for (int i = 0; i < 5; i++) {
        a_moment();
        assert_int_equal(atomic_load(&freed), 0);
    }
    sem_post(&reader.may_leave);
    assert_int_equal(pthread_join(thread, NULL), 0);
    epoch_drain();
    assert_int_equal(atomic_load(&freed), 1);
    sem_destroy(&reader.inside);
    sem_destroy(&reader.may_leave);
}

static void one_reader(void **state)
{
    (void)state;
    a_reader_holds_back_the_free(0, false);
}

/* Leaving an inner epoch is not leaving. */
static void a_reader_within_a_reader(void **state)
{
    (void)state;
    a_reader_holds_back_the_free(2, false);
}

static void a_quick_reader(void **state)
{
    (void)state;
    struct epoch_quick epoch;
    epoch_enter();
    epoch_exit();
    if (!epoch_quick_enter(&epoch)) {
        printf("# SKIP a_quick_reader: the kernel has no membarrier\n");
        skip();
    }
    epoch_quick_exit(epoch);
    a_reader_holds_back_the_free(0, true);
    a_reader_holds_back_the_free(2, true);
}

/* Whichever way it is entered and left. */
static void the_quick_way(void **state)
{
    (void)state;
    struct epoch_quick outer, inner;
    epoch_enter(); /* so that this thread is known */
    epoch_exit();
    if (!epoch_quick_enter(&outer)) {
        printf("# SKIP the_quick_way: the kernel has no membarrier\n");
        skip();
    }
    for (int i = 0; i < 3; i++) {
        assert_true(epoch_is_inside());
        assert_true(epoch_quick_enter(&inner));
        epoch_enter();
        epoch_exit();
        epoch_quick_exit(inner);
        assert_true(epoch_is_inside());
        assert_true(epoch_quick_enter(&inner));
        epoch_exit();
        assert_true(epoch_is_inside());
        epoch_quick_exit(outer);
        assert_false(epoch_is_inside());
        assert_true(epoch_quick_enter(&outer));
    }
    epoch_exit();
    assert_false(epoch_is_inside());
    epoch_drain(); /* it has a new phase: what is left now is left for it too */
    assert_true(epoch_quick_enter(&outer));
    epoch_quick_exit(outer);
    epoch_drain();
}

static atomic_int alarms;

static void note_alarm(int signal)
{
    (void)signal;
    atomic_fetch_add(&alarms, 1);
}

/* With it blocked here, nobody is left who could handle it. */
static void no_signal_is_handled_in_liburcus_thread(void **state)
{
    (void)state;
    sigset_t set, pending;
    epoch_start();
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGALRM, note_alarm);
    kill(getpid(), SIGALRM);
    a_moment();
    assert_int_equal(atomic_load(&alarms), 0);
    sigpending(&pending);
    assert_true(sigismember(&pending, SIGALRM));
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    assert_int_equal(atomic_load(&alarms), 1);
    signal(SIGALRM, SIG_DFL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_signal_is_handled_in_liburcus_thread), /* first: while that thread is not there */
        cmocka_unit_test(retired_objects_are_freed_once),
        cmocka_unit_test(one_reader),
        cmocka_unit_test(a_reader_within_a_reader),
        cmocka_unit_test(a_quick_reader),
        cmocka_unit_test(the_quick_way),
    };
    return cmocka_run_group_tests_name("epoch", tests, NULL, NULL);
}
