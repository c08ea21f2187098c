// SPDX-License-Identifier: MIT
/*
 * Pages of tables: 4 KiB each, out of chunks of 2 MiB. A chunk's first two pages hold a description of each of the
 * other 510, so a table is found to be of a chunk, a chunk of a table, by its address; all in all 0.196 % of what
 * is mapped by pages of 4 KiB.
 *
 * A vCPU takes tables from a cache of its own, which is filled before its fault begins: a fault neither locks nor
 * allocates, and does not fail in its middle. A table that is taken is all zero.
 */
#ifndef HYPERVISOR_TDP_PAGE_H
#define HYPERVISOR_TDP_PAGE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "paging/format.h"
#include "paging/word.h"

#define TDP_CHUNK_SIZE (UINT64_C(2) << 20)
#define TDP_CHUNK_PAGES 512u
#define TDP_CHUNK_FIRST 2u /* the page of the first table */
#define TDP_CHUNK_TABLES (TDP_CHUNK_PAGES - TDP_CHUNK_FIRST)
#define TDP_CACHE_TABLES 32u

/* What is said of a table: its level; why it exists. Written before it is linked. */
#define TDP_PAGE_LEVEL_MASK UINT64_C(7)
#define TDP_PAGE_NX (UINT64_C(1) << 3)   /* in the place of a large page that may not be executable */
#define TDP_PAGE_MMIO (UINT64_C(1) << 4) /* made for MMIO entries */
#define TDP_PAGE_ROOT (UINT64_C(1) << 5)
#define TDP_PAGE_SMM (UINT64_C(1) << 6) /* a root of address space 1 */

/* A description. */
struct tdp_about {
    uint64_t header; /* the above; and links */
    uint64_t lines;  /* of the table's lines of the cache (8 entries): an entry there may have W, see tdp_shut.h */
};

struct tdp_chunk;

/* Owned by a VM's scheme. */
struct tdp_pool {
    pthread_mutex_t lock; /* leaf; never held over a wait */
    struct tdp_chunk *chunks;
    unsigned chunk_count, chunks_max; /* a limit: more is -ENOMEM */
    unsigned next_in_chunk;           /* of the newest; those from here on were never touched */
    pt_word_t *free;                  /* zero; linked through their descriptions */
    pt_word_t *given;                 /* the same, and the host has their memory */
    uint64_t free_count, given_count;
};

/* A vCPU's; or on the stack of who splits pages. */
struct tdp_cache {
    unsigned count;
    pt_word_t *tables[TDP_CACHE_TABLES];
};

void tdp_pool_init(struct tdp_pool *pool);
void tdp_pool_finish(struct tdp_pool *pool);

/* Until the cache has `want` tables at least: 0 or -ENOMEM, and then it has fewer. */
int tdp_cache_fill(struct tdp_pool *pool, struct tdp_cache *cache, unsigned want);
void tdp_cache_drain(struct tdp_pool *pool, struct tdp_cache *cache);

/* A table that was used comes back: nobody can reach it any more. */
void tdp_page_free(struct tdp_pool *pool, pt_word_t *table);

/* The memory of free tables goes back to the host; they come again when there are no others. */
void tdp_pool_trim(struct tdp_pool *pool);

/* Bytes of memory that tables and descriptions have touched: free ones too, until they are trimmed. */
uint64_t tdp_pool_bytes(const struct tdp_pool *pool);

/* Of the table that an entry is in. */
static inline struct tdp_about *tdp_about(const pt_word_t *word)
{
    uint64_t at = (uint64_t)(uintptr_t)word;
    struct tdp_about *all = (struct tdp_about *)(uintptr_t)(at & ~(TDP_CHUNK_SIZE - 1));
    return &all[(at & (TDP_CHUNK_SIZE - 1)) >> 12];
}

static inline uint64_t *tdp_page_header(const pt_word_t *table)
{
    return &tdp_about(table)->header;
}

/* After an entry was given W. In the order of pt_cas. */
static inline void tdp_note_writable(const pt_word_t *word)
{
    uint64_t *lines = &tdp_about(word)->lines;
    uint64_t bit = UINT64_C(1) << ((uintptr_t)word >> 6 & 63);
    if (!(__atomic_load_n(lines, __ATOMIC_SEQ_CST) & bit)) {
        (void)__atomic_fetch_or(lines, bit, __ATOMIC_SEQ_CST);
    }
}

/* Of a table that nobody can reach yet. */
static inline void tdp_note_all_writable(const pt_word_t *table)
{
    __atomic_store_n(&tdp_about(table)->lines, UINT64_MAX, __ATOMIC_RELAXED);
}

static inline unsigned tdp_page_level(const pt_word_t *table)
{
    return (unsigned)(*tdp_page_header(table) & TDP_PAGE_LEVEL_MASK);
}

/* The cache is not empty. */
static inline pt_word_t *tdp_cache_take(struct tdp_cache *cache, unsigned level, uint64_t why)
{
    pt_word_t *table = cache->tables[--cache->count];
    *tdp_about(table) = (struct tdp_about){.header = level | why};
    return table;
}

/* A table that was taken just now and not linked; zero again. */
static inline void tdp_cache_return(struct tdp_cache *cache, pt_word_t *table)
{
    cache->tables[cache->count++] = table;
}

/* Lists of tables that are unlinked and wait for a flush, through their descriptions. */
static inline void tdp_page_push(pt_word_t **list, pt_word_t *table)
{
    uint64_t *header = tdp_page_header(table);
    *header = (*header & ~PT_ADDRESS_MASK) | (uint64_t)(uintptr_t)*list;
    *list = table;
}

static inline pt_word_t *tdp_page_pop(pt_word_t **list)
{
    pt_word_t *table = *list;
    if (table) {
        *list = (pt_word_t *)(uintptr_t)(*tdp_page_header(table) & PT_ADDRESS_MASK);
    }
    return table;
}

#endif
