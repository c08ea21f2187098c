// SPDX-License-Identifier: MIT
#include "hypervisor/tdp_page.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/os_populate.h"

#define PAGE ((uint64_t)PT_ENTRIES * sizeof(pt_word_t))
#define POPULATE_MIN 4        /* pages that are worth a system call */
#define CHUNKS_MAX (1u << 24) /* 32 TiB: in practice the host says no before */

/* Mapped memory; the first pages are descriptions, and the first of these, which describes none, links the chunks.
 */
struct tdp_chunk {
    struct tdp_chunk *next;
};

static_assert(PAGE == 4096, "a table is a page");
static_assert(TDP_CHUNK_PAGES * PAGE == TDP_CHUNK_SIZE, "tables and descriptions fill a chunk");
static_assert(TDP_CHUNK_PAGES * sizeof(struct tdp_about) == TDP_CHUNK_FIRST * PAGE, "descriptions fill pages");
static_assert(PAGE / 64 == 64, "a word has a bit for each line of a table");

void tdp_pool_init(struct tdp_pool *pool)
{
    *pool = (struct tdp_pool){.chunks_max = CHUNKS_MAX, .next_in_chunk = TDP_CHUNK_PAGES};
    pthread_mutex_init(&pool->lock, NULL);
}

void tdp_pool_finish(struct tdp_pool *pool)
{
    while (pool->chunks) {
        struct tdp_chunk *chunk = pool->chunks;
        pool->chunks = chunk->next;
        munmap(chunk, TDP_CHUNK_SIZE);
    }
    pthread_mutex_destroy(&pool->lock);
}

/* Twice the size, so that an aligned chunk is in it; the rest goes back. */
static struct tdp_chunk *map_chunk(void)
{
    char *at = mmap(NULL, 2 * TDP_CHUNK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        return NULL;
    }
    uint64_t before = -(uint64_t)(uintptr_t)at & (TDP_CHUNK_SIZE - 1);
    if (before > 0) {
        munmap(at, before);
    }
    munmap(at + before + TDP_CHUNK_SIZE, TDP_CHUNK_SIZE - before);
    return (struct tdp_chunk *)(void *)(at + before);
}

static pt_word_t *take_listed(pt_word_t **list, uint64_t *count)
{
    pt_word_t *table = tdp_page_pop(list);
    *count -= table != NULL;
    return table;
}

static pt_word_t *take_locked(struct tdp_pool *pool)
{
    pt_word_t *table = take_listed(&pool->free, &pool->free_count);
    table = table ? table : take_listed(&pool->given, &pool->given_count);
    if (table) {
        return table;
    }
    if (pool->next_in_chunk == TDP_CHUNK_PAGES) {
        struct tdp_chunk *chunk = pool->chunk_count < pool->chunks_max ? map_chunk() : NULL;
        if (!chunk) {
            return NULL;
        }
        chunk->next = pool->chunks;
        pool->chunks = chunk;
        pool->chunk_count++;
        pool->next_in_chunk = TDP_CHUNK_FIRST;
    }
    return (pt_word_t *)(void *)((char *)pool->chunks + PAGE * pool->next_in_chunk++);
}

static void give_locked(struct tdp_pool *pool, pt_word_t *table)
{
    tdp_page_push(&pool->free, table);
    pool->free_count++;
}

/*
 * New tables lie side by side, and the host makes their pages by one call. By a fault each it would take as long
 * as some of ours, and vCPUs that fault at the same time would meet in the host's kernel. A host that cannot is as
 * good.
 */
static void populate(pt_word_t *const *tables, unsigned count)
{
    for (unsigned first = 0, end; first < count; first = end) {
        for (end = first + 1; end < count && tables[end] == tables[end - 1] + PT_ENTRIES; end++) {}
        if (end - first >= POPULATE_MIN) {
            (void)os_populate((void *)tables[first], (end - first) * PAGE, OS_POPULATE_WRITE);
        }
    }
}

int tdp_cache_fill(struct tdp_pool *pool, struct tdp_cache *cache, unsigned want)
{
    assert(want <= TDP_CACHE_TABLES);
    unsigned had = cache->count;
    pthread_mutex_lock(&pool->lock);
    while (cache->count < TDP_CACHE_TABLES) {
        pt_word_t *table = take_locked(pool);
        if (!table) {
            break;
        }
        cache->tables[cache->count++] = table;
    }
    pthread_mutex_unlock(&pool->lock);
    populate(&cache->tables[had], cache->count - had);
    return cache->count >= want ? 0 : -ENOMEM;
}

void tdp_cache_drain(struct tdp_pool *pool, struct tdp_cache *cache)
{
    pthread_mutex_lock(&pool->lock);
    while (cache->count > 0) {
        give_locked(pool, cache->tables[--cache->count]);
    }
    pthread_mutex_unlock(&pool->lock);
}

void tdp_page_free(struct tdp_pool *pool, pt_word_t *table)
{
    memset(table, 0, PAGE);
    pthread_mutex_lock(&pool->lock);
    give_locked(pool, table);
    pthread_mutex_unlock(&pool->lock);
}

void tdp_pool_trim(struct tdp_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pt_word_t *table, *kept = NULL;
    uint64_t kept_count = 0;
    while ((table = take_listed(&pool->free, &pool->free_count)) != NULL) {
        bool is_given = madvise((void *)table, PAGE, MADV_DONTNEED) == 0;
        tdp_page_push(is_given ? &pool->given : &kept, table);
        *(is_given ? &pool->given_count : &kept_count) += 1;
    }
    pool->free = kept;
    pool->free_count = kept_count;
    pthread_mutex_unlock(&pool->lock);
}

uint64_t tdp_pool_bytes(const struct tdp_pool *pool)
{
    struct tdp_pool *locked = (struct tdp_pool *)(uintptr_t)pool;
    pthread_mutex_lock(&locked->lock);
    uint64_t untouched = pool->chunk_count > 0 ? PAGE * (TDP_CHUNK_PAGES - pool->next_in_chunk) : 0;
    uint64_t bytes = pool->chunk_count * TDP_CHUNK_SIZE - untouched - pool->given_count * PAGE;
    pthread_mutex_unlock(&locked->lock);
    return bytes;
}
