// SPDX-License-Identifier: MIT
/* What is returned is used again, within bounds, and nothing is lost. Linked with --wrap for what allocates. */
#include "machine/pool.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "machine/view.h"

static atomic_long news, frees;

void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *memory);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void __wrap_free(void *memory);

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    atomic_fetch_add(&news, 1);
    return __real_aligned_alloc(alignment, size);
}

void __wrap_free(void *memory)
{
    atomic_fetch_add(&frees, 1);
    __real_free(memory);
}

static struct pool *open_pool(void)
{
    struct pool *pool = pool_create();
    assert_non_null(pool);
    atomic_store(&news, 0);
    atomic_store(&frees, 0);
    return pool;
}

/* All that was taken was given or returned: nothing may be left. */
static void close_pool(struct pool *pool)
{
    pool_destroy(pool);
    assert_int_equal(atomic_load(&frees), atomic_load(&news) + 1);
}

/* A view as it is when nobody can read it any more. */
static struct mv_view *make_parcel(struct pool *pool, unsigned nodes, unsigned sections)
{
    struct mv_view *view = pool_take(pool, POOL_VIEW);
    *view = (struct mv_view){.garbage_nnodes = nodes, .garbage_nsections = sections};
    for (unsigned i = 0; i < nodes; i++) {
        struct pmap_node *node = pool_take(pool, POOL_NODE);
        *node = (struct pmap_node){.link = view->garbage_nodes};
        view->garbage_nodes = node;
    }
    for (unsigned i = 0; i < sections; i++) {
        struct section *section = pool_take(pool, POOL_SECTION);
        *section = (struct section){.link = view->garbage_sections};
        view->garbage_sections = section;
    }
    return view;
}

static void what_is_given_is_taken_again(void **state)
{
    (void)state;
    struct pool *pool = open_pool();
    for (enum pool_kind kind = 0; kind < POOL_KINDS; kind++) {
        void *a = pool_take(pool, kind), *b = pool_take(pool, kind);
        assert_true((uintptr_t)a % CACHE_LINE == 0 && (uintptr_t)b % CACHE_LINE == 0 && a != b);
        pool_give(pool, kind, a);
        pool_give(pool, kind, b);
        void *c = pool_take(pool, kind), *d = pool_take(pool, kind);
        assert_true((c == a && d == b) || (c == b && d == a));
        pool_give(pool, kind, c);
        pool_give(pool, kind, d);
    }
    assert_int_equal(atomic_load(&news), 2 * POOL_KINDS);
    assert_int_equal(atomic_load(&frees), 0);
    close_pool(pool);
}

static void all_of_a_parcel_is_used_again(void **state)
{
    (void)state;
    struct pool *pool = open_pool();
    pool_return(pool, make_parcel(pool, 5, 3));
    assert_int_equal(atomic_load(&news), 1 + 5 + 3);
    pool_return(pool, make_parcel(pool, 2, 1));
    pool_return(pool, make_parcel(pool, 5, 3));
    assert_int_equal(atomic_load(&news), 1 + 5 + 3);
    assert_int_equal(atomic_load(&frees), 0);
    close_pool(pool);
}

static void spares_are_bounded(void **state)
{
    (void)state;
    struct pool *pool = open_pool();
    for (enum pool_kind kind = 0; kind < POOL_KINDS; kind++) {
        static void *taken[POOL_SPARES_MAX + 3];
        atomic_store(&frees, 0);
        for (unsigned i = 0; i < POOL_SPARES_MAX + 3; i++) {
            taken[i] = pool_take(pool, kind);
        }
        for (unsigned i = 0; i < POOL_SPARES_MAX + 3; i++) {
            pool_give(pool, kind, taken[i]);
        }
        assert_int_equal(atomic_load(&frees), 3);
    }
    atomic_store(&frees, 3 * POOL_KINDS);
    close_pool(pool);
}

/* The bound is on what lies there at a time; room that was made can be used. */
static void parcels_are_bounded(void **state)
{
    (void)state;
    const unsigned nodes = 1000, fit = POOL_PARCELS_BYTES_MAX / (nodes * sizeof(struct pmap_node)) - 1;
    struct pool *pool = open_pool();
    struct mv_view **parcels = calloc(fit + 9, sizeof(struct mv_view *));
    for (unsigned i = 0; i < fit + 9; i++) {
        parcels[i] = make_parcel(pool, nodes, 0);
    }
    for (unsigned i = 0; i < fit; i++) {
        pool_return(pool, parcels[i]);
        assert_int_equal(atomic_load(&frees), 0);
    }
    for (unsigned i = fit; i < fit + 8; i++) {
        pool_return(pool, parcels[i]);
    }
    long freed = atomic_load(&frees);
    assert_in_range(freed, 7 * (nodes + 1), 8 * (nodes + 1));
    struct pmap_node *opens_one = pool_take(pool, POOL_NODE);
    assert_int_equal(atomic_load(&frees), freed + (nodes - POOL_SPARES_MAX));
    freed = atomic_load(&frees);
    pool_return(pool, parcels[fit + 8]);
    assert_int_equal(atomic_load(&frees), freed);
    pool_give(pool, POOL_NODE, opens_one);
    free(parcels);
    atomic_fetch_sub(&frees, 1); /* that one was not of the pool's */
    close_pool(pool);
}

#define HANDED 3000

struct hand {
    struct pool *pool;
    struct mv_view *_Atomic view;
};

/* As liburcu's thread does. */
static void *return_all(void *opaque)
{
    struct hand *hand = opaque;
    for (unsigned i = 0; i < HANDED; i++) {
        struct mv_view *view;
        while (!(view = atomic_exchange(&hand->view, NULL))) {
            sched_yield();
        }
        assert_int_equal(view->garbage_nodes->version, i);
        pool_return(hand->pool, view);
    }
    return NULL;
}

static void another_thread_returns(void **state)
{
    (void)state;
    struct hand hand = {.pool = open_pool()};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, return_all, &hand), 0);
    for (unsigned i = 0; i < HANDED; i++) {
        struct mv_view *view = make_parcel(hand.pool, 1 + i % 4, i % 2);
        for (struct pmap_node *node = view->garbage_nodes; node; node = node->link) {
            node->version = i;
        }
        while (atomic_load(&hand.view)) {
            sched_yield();
        }
        atomic_store(&hand.view, view);
    }
    pthread_join(thread, NULL);
    close_pool(hand.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_given_is_taken_again), cmocka_unit_test(all_of_a_parcel_is_used_again),
        cmocka_unit_test(spares_are_bounded),           cmocka_unit_test(parcels_are_bounded),
        cmocka_unit_test(another_thread_returns),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
