// SPDX-License-Identifier: MIT
/* Pages of tables: zero when taken, found again, counted, and never more than the limit. */
#include "hypervisor/tdp_page.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define TABLES 2000u

static void assert_zero(const pt_word_t *table)
{
    for (unsigned i = 0; i < PT_ENTRIES; i++) {
        assert_int_equal(pt_load(&table[i]), 0);
    }
}

static pt_word_t *take(struct tdp_pool *pool, struct tdp_cache *cache, unsigned level, uint64_t why)
{
    assert_int_equal(tdp_cache_fill(pool, cache, 1), 0);
    return tdp_cache_take(cache, level, why);
}

static void test_take_and_free(void **state)
{
    (void)state;
    static pt_word_t *tables[TABLES];
    struct tdp_pool pool;
    struct tdp_cache cache = {0};
    tdp_pool_init(&pool);
    assert_int_equal(tdp_pool_bytes(&pool), 0);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < TABLES; i++) {
            tables[i] = take(&pool, &cache, 1 + i % 4, i % 2 ? TDP_PAGE_NX : 0);
            assert_int_equal((uintptr_t)tables[i] % 4096, 0);
            assert_true((uintptr_t)tables[i] % TDP_CHUNK_SIZE != 0); /* the descriptions' place */
            assert_zero(tables[i]);
            memset((void *)tables[i], 0xff, 4096);
        }
        for (unsigned i = 0; i < TABLES; i++) {
            assert_int_equal(tdp_page_level(tables[i]), 1 + i % 4);
            assert_int_equal(*tdp_page_header(tables[i]) & TDP_PAGE_NX, i % 2 ? TDP_PAGE_NX : 0);
        }
        /* What was freed is used again: no more chunks than the tables need. */
        assert_int_equal(pool.chunk_count, 4);
        for (unsigned i = 0; i < TABLES; i++) {
            tdp_page_free(&pool, tables[i]);
        }
    }
    uint64_t bytes = tdp_pool_bytes(&pool);
    uint64_t pages = TABLES + 4 * TDP_CHUNK_FIRST;
    assert_true(bytes >= pages * 4096 && bytes <= (pages + TDP_CACHE_TABLES) * 4096);
    tdp_cache_drain(&pool, &cache);
    assert_int_equal(cache.count, 0);
    tdp_pool_finish(&pool);
}

/* Memory that went back is not counted, and is zero when it comes again. */
static void test_trim(void **state)
{
    (void)state;
    static pt_word_t *tables[TABLES];
    struct tdp_pool pool;
    struct tdp_cache cache = {0};
    tdp_pool_init(&pool);
    for (unsigned i = 0; i < TABLES; i++) {
        tables[i] = take(&pool, &cache, 1, 0);
        memset((void *)tables[i], 0xff, 4096);
    }
    uint64_t bytes = tdp_pool_bytes(&pool);
    for (unsigned i = 0; i < TABLES / 2; i++) {
        tdp_page_free(&pool, tables[i]);
    }
    assert_int_equal(tdp_pool_bytes(&pool), bytes);
    tdp_pool_trim(&pool);
    assert_int_equal(tdp_pool_bytes(&pool), bytes - TABLES / 2 * 4096);
    for (unsigned i = TABLES / 2; i < TABLES; i++) {
        assert_int_equal(pt_load(&tables[i][7]), UINT64_MAX); /* those in use are left alone */
    }
    for (unsigned i = 0; i < TABLES / 2; i++) {
        tables[i] = take(&pool, &cache, 1, 0);
        assert_zero(tables[i]);
        memset((void *)tables[i], 0xff, 4096);
    }
    uint64_t again = tdp_pool_bytes(&pool);
    assert_true(again >= bytes && again <= bytes + TDP_CACHE_TABLES * UINT64_C(4096));
    assert_int_equal(pool.chunk_count, 4);
    tdp_pool_finish(&pool);
}

/* A list through the descriptions: the tables' own bytes stay, and so does what is said of them. */
static void test_list(void **state)
{
    (void)state;
    struct tdp_pool pool;
    struct tdp_cache cache = {0};
    tdp_pool_init(&pool);
    pt_word_t *list = NULL, *tables[3];
    for (unsigned i = 0; i < 3; i++) {
        tables[i] = take(&pool, &cache, i + 1, TDP_PAGE_MMIO);
        pt_init(&tables[i][0], 42);
        tdp_page_push(&list, tables[i]);
    }
    for (unsigned i = 3; i-- > 0;) {
        pt_word_t *table = tdp_page_pop(&list);
        assert_ptr_equal(table, tables[i]);
        assert_int_equal(pt_load(&table[0]), 42);
        assert_int_equal(tdp_page_level(table), i + 1);
        assert_true(*tdp_page_header(table) & TDP_PAGE_MMIO);
    }
    assert_null(tdp_page_pop(&list));
    tdp_pool_finish(&pool);
}

static void test_limit(void **state)
{
    (void)state;
    struct tdp_pool pool;
    struct tdp_cache cache = {0};
    tdp_pool_init(&pool);
    pool.chunks_max = 1;
    for (unsigned i = 0; i < TDP_CHUNK_TABLES; i++) {
        (void)take(&pool, &cache, 1, 0);
    }
    assert_int_equal(tdp_cache_fill(&pool, &cache, 1), -ENOMEM);
    pool.chunks_max = 2;
    assert_int_equal(tdp_cache_fill(&pool, &cache, 4), 0);
    assert_int_equal(cache.count, TDP_CACHE_TABLES);
    tdp_pool_finish(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_take_and_free),
        cmocka_unit_test(test_trim),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
