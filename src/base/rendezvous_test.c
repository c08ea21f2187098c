// SPDX-License-Identifier: MIT
#include "base/rendezvous.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static void a_moment(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
}

struct waiter {
    struct rendezvous *rendezvous;
    atomic_bool done;
    bool waited;
};

static void *wait_once(void *opaque)
{
    struct waiter *w = opaque;
    w->waited = rendezvous_wait(w->rendezvous);
    atomic_store(&w->done, true);
    return NULL;
}

/* With nobody inside there is nothing to wait for. */
static void an_empty_house(void **state)
{
    (void)state;
    struct rendezvous r;
    struct rendezvous_member a, b;
    rendezvous_init(&r);
    assert_false(rendezvous_wait(&r));
    rendezvous_add(&r, &a);
    rendezvous_add(&r, &b);
    assert_false(rendezvous_wait(&r));
    rendezvous_enter(&a);
    assert_true(rendezvous_is_inside(&a));
    rendezvous_leave(&a);
    assert_false(rendezvous_is_inside(&a));
    assert_false(rendezvous_wait(&r));
    rendezvous_remove(&r, &a);
    rendezvous_remove(&r, &b);
    rendezvous_finish(&r);
}

/* This thread is the member. Who was inside has to leave; whether it comes back at once does not matter. */
static void a_member_holds_back_the_waiter(struct rendezvous *r)
{
    struct rendezvous_member member;
    struct waiter waiter = {.rendezvous = r};
    pthread_t thread;
    rendezvous_add(r, &member);
    rendezvous_enter(&member);
    assert_int_equal(pthread_create(&thread, NULL, wait_once, &waiter), 0);
    for (int i = 0; i < 5; i++) {
        a_moment();
        assert_false(atomic_load(&waiter.done));
    }
    rendezvous_leave(&member);
    rendezvous_enter(&member);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(waiter.waited);
    rendezvous_leave(&member);
    rendezvous_remove(r, &member);
}

static void with_membarrier(void **state)
{
    (void)state;
    struct rendezvous r;
    rendezvous_init(&r);
    if (!r.has_barrier) {
        rendezvous_finish(&r);
        printf("# SKIP with_membarrier: this host has no membarrier(2)\n");
        skip();
    }
    a_member_holds_back_the_waiter(&r);
    rendezvous_finish(&r);
}

static void without_membarrier(void **state)
{
    (void)state;
    struct rendezvous r;
    rendezvous_init(&r);
    r.has_barrier = false;
    a_member_holds_back_the_waiter(&r);
    rendezvous_finish(&r);
}

#define READERS 3
#define ROUNDS 1000

/* What is published, and taken away: plain memory, which ThreadSanitizer watches. */
struct page {
    uint64_t alive, copy;
};

struct place {
    struct rendezvous rendezvous;
    struct page *page;
    atomic_bool stop;
};

struct reader {
    struct rendezvous_member member;
    struct place *place;
    uint64_t bad;
    atomic_uint_fast64_t reads;
};

static void *read_on(void *opaque)
{
    struct reader *r = opaque;
    while (!atomic_load_explicit(&r->place->stop, memory_order_relaxed)) {
        rendezvous_enter(&r->member);
        const struct page *page = __atomic_load_n(&r->place->page, __ATOMIC_ACQUIRE);
        for (int i = 0; i < 8; i++) {
            r->bad += page->alive == 0 || page->alive != page->copy;
        }
        rendezvous_leave(&r->member);
        atomic_fetch_add_explicit(&r->reads, 1, memory_order_relaxed);
    }
    return NULL;
}

/* Nobody sees what was taken away after the wait. */
static void nobody_holds_what_was_taken_away(bool has_barrier)
{
    struct page pages[2] = {{1, 1}, {0, 0}};
    struct place place = {.page = &pages[0]};
    struct reader readers[READERS];
    pthread_t threads[READERS];
    rendezvous_init(&place.rendezvous);
    place.rendezvous.has_barrier &= has_barrier;
    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.place = &place};
        rendezvous_add(&place.rendezvous, &readers[i].member);
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readers[i]), 0);
    }
    for (unsigned i = 0; i < READERS; i++) {
        while (atomic_load(&readers[i].reads) == 0) {
            sched_yield();
        }
    }
    for (unsigned round = 1; round <= ROUNDS; round++) {
        struct page *next = &pages[round & 1], *old = &pages[~round & 1];
        next->alive = next->copy = round + 1;
        __atomic_store_n(&place.page, next, __ATOMIC_RELEASE);
        (void)rendezvous_wait(&place.rendezvous);
        old->alive = 0;
        old->copy = 1;
    }
    atomic_store(&place.stop, true);
    uint64_t reads = 0;
    for (unsigned i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(readers[i].bad, 0);
        reads += readers[i].reads;
        rendezvous_remove(&place.rendezvous, &readers[i].member);
    }
    printf("# %u times taken away, %llu stays\n", ROUNDS, (unsigned long long)reads);
    rendezvous_finish(&place.rendezvous);
}

static void taken_away_with_membarrier(void **state)
{
    (void)state;
    nobody_holds_what_was_taken_away(true);
}

static void taken_away_with_fences(void **state)
{
    (void)state;
    nobody_holds_what_was_taken_away(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_house),         cmocka_unit_test(with_membarrier),
        cmocka_unit_test(without_membarrier),     cmocka_unit_test(taken_away_with_membarrier),
        cmocka_unit_test(taken_away_with_fences),
    };
    return cmocka_run_group_tests_name("rendezvous", tests, NULL, NULL);
}
