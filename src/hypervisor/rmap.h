// SPDX-License-Identifier: MIT
/*
 * Reverse maps of the shadow MMU: from a page of host memory to the entries of shadow tables that map it. Guest
 * frames are named by their host address, so a frame that two slots show is one frame: what protects a table of
 * the guest's does so however it is reached.
 *
 * A list is one word: 0, one entry inline, or (bit 0 set) a chain of blocks. Only the first block is not full.
 * All under the shadow MMU's lock.
 */
#ifndef HYPERVISOR_RMAP_H
#define HYPERVISOR_RMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paging/word.h"

#define RMAP_BLOCK_ENTRIES 14u

struct rmap_list {
    uint64_t word;
};

struct rmap_block {
    struct rmap_block *next;
    uint64_t count;
    pt_word_t *entries[RMAP_BLOCK_ENTRIES];
};

static inline bool rmap_is_empty(const struct rmap_list *list)
{
    return list->word == 0;
}

/* False: out of memory, and nothing has changed. An entry is in a list once. */
bool rmap_add(struct rmap_list *list, pt_word_t *entry);
void rmap_remove(struct rmap_list *list, const pt_word_t *entry); /* it is there */
size_t rmap_count(const struct rmap_list *list);

/* Any one of them; NULL: none. */
pt_word_t *rmap_any(const struct rmap_list *list);

/* Over all of them, while none is added or removed. */
struct rmap_iter {
    const struct rmap_block *block;
    unsigned next;
};

pt_word_t *rmap_first(const struct rmap_list *list, struct rmap_iter *it);
pt_word_t *rmap_next(struct rmap_iter *it);

/* --- By page of host memory ------------------------------------------------------------------------- */

#define RMAP_GROUP_PAGES 64u
#define RMAP_CHUNK_GROUPS 8u

/*
 * 64 pages. Where each is mapped once at most, and the entries follow each other as the pages do, which a range of
 * memory that is mapped in one piece is, nothing is kept for each: `word` is the entry of the first page (or where
 * it would be), and `pages` says which are mapped. Else `word` is a pointer to RMAP_GROUP_PAGES lists, with bit 0
 * set, and `pages` says which are not empty. No page is mapped: 0 and 0.
 */
struct rmap_group {
    uint64_t word, pages;
};

/* Of 2 MiB of host memory. Never freed before the whole is. */
struct rmap_chunk {
    struct rmap_chunk *next; /* of its bucket */
    uint64_t number;         /* host address >> 21 */
    struct rmap_group groups[RMAP_CHUNK_GROUPS];
    struct rmap_list page_2m, page_1g; /* the second of the first chunk of a GiB alone */
    uint32_t tables;                   /* guest tables that are shadowed, in these 2 MiB */
    uint32_t tables_1g;                /* and in this GiB: of its first chunk */
    uint64_t lost; /* when an entry last lost the right to write here, and no TLB was flushed for it */
};

struct rmap {
    struct rmap_chunk **buckets;
    size_t bucket_count, chunk_count; /* a power of two, or 0 */
    size_t lists_count, block_count;  /* groups with lists; blocks of these lists */
};

void rmap_finish(struct rmap *map);

/* NULL: there is none. */
struct rmap_chunk *rmap_find(const struct rmap *map, uint64_t host);
/* NULL: out of memory. */
struct rmap_chunk *rmap_get(struct rmap *map, uint64_t host);
uint64_t rmap_bytes(const struct rmap *map);

/* The page of a level around `host`. `chunk` is of the first byte of that page. */
struct rmap_page {
    struct rmap_chunk *chunk;
    uint64_t host;
    unsigned level;
};

/* The entries that map it, to be read until some are added or removed. */
struct rmap_list rmap_entries(const struct rmap_page *page);
/* False: out of memory, and nothing has changed. */
bool rmap_add_to(struct rmap *map, const struct rmap_page *page, pt_word_t *entry);
void rmap_remove_from(struct rmap *map, const struct rmap_page *page, const pt_word_t *entry); /* it is there */

#endif
