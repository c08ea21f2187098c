// SPDX-License-Identifier: MIT
/*
 * Reverse maps of the shadow MMU: from a page of host memory to the entries of shadow tables that map it. Guest
 * frames are named by their host address, so a frame that two slots show is one frame: what protects a table of
 * the guest's does so however it is reached.
 *
 * A list is one word, told by its two lowest bits: 0, or one entry inline; 1: a chain of blocks, of which only the
 * first is not full; 2: what a group of pages has for one of them, which is no list of its own but can be read as
 * one. All under the shadow MMU's lock.
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
bool rmap_has_more(const struct rmap_list *list, size_t than);

/* Any one of them; NULL: none. */
pt_word_t *rmap_any(const struct rmap_list *list);

/* Over all of them, while none is added or removed. */
struct rmap_iter {
    const struct rmap_block *block;
    const struct rmap_runs *runs;
    unsigned next, page; /* of the runs: the next one, and which page of the group */
};

pt_word_t *rmap_first(const struct rmap_list *list, struct rmap_iter *it);
pt_word_t *rmap_next(struct rmap_iter *it);

/* --- By page of host memory ------------------------------------------------------------------------- */

#define RMAP_GROUP_PAGES 64u
#define RMAP_CHUNK_GROUPS 8u

/* Pages of a group that are mapped by entries which follow each other as the pages do: `word` is the entry of the
 * first page of the group, or where it would be; `pages` says which. */
struct rmap_run {
    uint64_t word, pages;
};

/* Aligned to 256 bytes: a list's word has the number of a page beside it. */
struct rmap_runs {
    uint32_t count, capacity;
    uint32_t mappings; /* bits of all runs */
    uint32_t last;     /* the run that was added to */
    struct rmap_run run[];
};

/*
 * 64 pages. Memory is mostly mapped in pieces, once or by several processes: then nothing is kept for each page,
 * but a run for each piece. `word`, by its two lowest bits:
 *   0  one run, inline: `word` and `pages` are its; or no page is mapped, and both are 0
 *   2  a struct rmap_runs
 *   1  RMAP_GROUP_PAGES lists, where runs would be as many as mappings. Until the group is empty
 * In each case `pages` says which are mapped.
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
    size_t run_bytes;
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
