// SPDX-License-Identifier: MIT
#include "hypervisor/rmap.h"

#include <assert.h>
#include <stdlib.h>

/* --- Lists ---------------------------------------------------------------------------------------- */

static struct rmap_block *block_of(const struct rmap_list *list)
{
    return list->word & 1 ? (struct rmap_block *)(uintptr_t)(list->word - 1) : NULL;
}

static pt_word_t *single_of(const struct rmap_list *list)
{
    return list->word & 1 ? NULL : (pt_word_t *)(uintptr_t)list->word;
}

static void set_block(struct rmap_list *list, const struct rmap_block *block)
{
    list->word = (uint64_t)(uintptr_t)block | 1;
}

static void set_single(struct rmap_list *list, const pt_word_t *entry)
{
    list->word = (uint64_t)(uintptr_t)entry;
}

bool rmap_add(struct rmap_list *list, pt_word_t *entry)
{
    struct rmap_block *first = block_of(list);
    if (list->word == 0) {
        set_single(list, entry);
        return true;
    }
    if (!first || first->count == RMAP_BLOCK_ENTRIES) {
        struct rmap_block *made = malloc(sizeof *made);
        if (!made) {
            return false;
        }
        made->next = first;
        made->count = 0;
        if (!first) {
            made->entries[made->count++] = single_of(list);
        }
        first = made;
        set_block(list, first);
    }
    first->entries[first->count++] = entry;
    return true;
}

/* The last entry of the first block goes, wherever it has been moved to. */
static void shrink(struct rmap_list *list, struct rmap_block *first)
{
    if (--first->count > 0) {
        if (first->count == 1 && !first->next) {
            set_single(list, first->entries[0]);
            free(first);
        }
        return;
    }
    set_block(list, first->next); /* one block alone never falls below two entries */
    free(first);
}

void rmap_remove(struct rmap_list *list, const pt_word_t *entry)
{
    struct rmap_block *first = block_of(list);
    if (!first) {
        assert(single_of(list) == entry);
        list->word = 0;
        return;
    }
    for (struct rmap_block *block = first; block; block = block->next) {
        for (unsigned i = 0; i < block->count; i++) {
            if (block->entries[i] == entry) {
                block->entries[i] = first->entries[first->count - 1];
                shrink(list, first);
                return;
            }
        }
    }
    assert(false && "an entry is in its list");
}

size_t rmap_count(const struct rmap_list *list)
{
    const struct rmap_block *block = block_of(list);
    size_t count = list->word && !block;
    for (; block; block = block->next) {
        count += block->count;
    }
    return count;
}

pt_word_t *rmap_any(const struct rmap_list *list)
{
    const struct rmap_block *first = block_of(list);
    return first ? first->entries[first->count - 1] : single_of(list);
}

pt_word_t *rmap_first(const struct rmap_list *list, struct rmap_iter *it)
{
    *it = (struct rmap_iter){.block = block_of(list)};
    return it->block ? rmap_next(it) : single_of(list);
}

pt_word_t *rmap_next(struct rmap_iter *it)
{
    if (it->block && it->next == it->block->count) {
        it->block = it->block->next;
        it->next = 0;
    }
    return it->block ? it->block->entries[it->next++] : NULL;
}

/* --- Groups --------------------------------------------------------------------------------------- */

static struct rmap_list *lists_of(const struct rmap_group *group)
{
    return group->word & 1 ? (struct rmap_list *)(uintptr_t)(group->word - 1) : NULL;
}

static struct rmap_group *group_of(const struct rmap_page *page, unsigned *ret_index)
{
    unsigned number = (unsigned)(page->host >> 12) % (RMAP_GROUP_PAGES * RMAP_CHUNK_GROUPS);
    *ret_index = number % RMAP_GROUP_PAGES;
    return &page->chunk->groups[number / RMAP_GROUP_PAGES];
}

/* A page's entry in a group without lists. */
static uint64_t entry_in_order(const struct rmap_group *group, unsigned index)
{
    return group->word + index * sizeof(pt_word_t);
}

/* From now on each page has a list. */
static bool expand(struct rmap *map, struct rmap_group *group)
{
    struct rmap_list *lists = calloc(RMAP_GROUP_PAGES, sizeof *lists);
    if (!lists) {
        return false;
    }
    for (uint64_t left = group->pages; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        lists[i].word = entry_in_order(group, i);
    }
    group->word = (uint64_t)(uintptr_t)lists | 1;
    map->lists_count++;
    return true;
}

static struct rmap_list *large_of(const struct rmap_page *page)
{
    return page->level == 2 ? &page->chunk->page_2m : &page->chunk->page_1g;
}

struct rmap_list rmap_entries(const struct rmap_page *page)
{
    unsigned i;
    if (page->level > 1) {
        return *large_of(page);
    }
    const struct rmap_group *group = group_of(page, &i);
    if (!(group->pages >> i & 1)) {
        return (struct rmap_list){0};
    }
    const struct rmap_list *lists = lists_of(group);
    return lists ? lists[i] : (struct rmap_list){entry_in_order(group, i)};
}

static bool add_counted(struct rmap *map, struct rmap_list *list, pt_word_t *entry)
{
    const struct rmap_block *before = block_of(list);
    bool is_added = rmap_add(list, entry);
    map->block_count += block_of(list) != before;
    return is_added;
}

static void remove_counted(struct rmap *map, struct rmap_list *list, const pt_word_t *entry)
{
    const struct rmap_block *before = block_of(list);
    rmap_remove(list, entry);
    map->block_count -= block_of(list) != before;
}

bool rmap_add_to(struct rmap *map, const struct rmap_page *page, pt_word_t *entry)
{
    unsigned i;
    if (page->level > 1) {
        return add_counted(map, large_of(page), entry);
    }
    struct rmap_group *group = group_of(page, &i);
    uint64_t bit = UINT64_C(1) << i;
    if (group->pages == 0) {
        group->word = (uint64_t)(uintptr_t)entry - i * sizeof *entry;
    }
    bool is_in_order = entry_in_order(group, i) == (uint64_t)(uintptr_t)entry;
    if (!lists_of(group) && !is_in_order && !expand(map, group)) {
        return false;
    }
    if (lists_of(group) && !add_counted(map, &lists_of(group)[i], entry)) {
        return false;
    }
    group->pages |= bit;
    return true;
}

void rmap_remove_from(struct rmap *map, const struct rmap_page *page, const pt_word_t *entry)
{
    unsigned i;
    if (page->level > 1) {
        remove_counted(map, large_of(page), entry);
        return;
    }
    struct rmap_group *group = group_of(page, &i);
    struct rmap_list *lists = lists_of(group);
    if (lists) {
        remove_counted(map, &lists[i], entry);
    } else {
        assert((group->pages >> i & 1) && entry_in_order(group, i) == (uint64_t)(uintptr_t)entry);
    }
    if (!lists || rmap_is_empty(&lists[i])) {
        group->pages &= ~(UINT64_C(1) << i);
    }
    if (group->pages == 0) {
        free(lists);
        map->lists_count -= lists != NULL;
        group->word = 0;
    }
}

/* --- Chunks --------------------------------------------------------------------------------------- */

#define CHUNK_SHIFT 21
#define BUCKETS_MIN 64u

static size_t bucket_of(size_t bucket_count, uint64_t number)
{
    return (size_t)((number * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (bucket_count - 1);
}

static void free_list(struct rmap_list *list)
{
    struct rmap_block *block = block_of(list);
    while (block) {
        struct rmap_block *next = block->next;
        free(block);
        block = next;
    }
}

static void free_group(struct rmap_group *group)
{
    struct rmap_list *lists = lists_of(group);
    for (unsigned i = 0; lists && i < RMAP_GROUP_PAGES; i++) {
        free_list(&lists[i]);
    }
    free(lists);
}

void rmap_finish(struct rmap *map)
{
    for (size_t i = 0; i < map->bucket_count; i++) {
        while (map->buckets[i]) {
            struct rmap_chunk *chunk = map->buckets[i];
            map->buckets[i] = chunk->next;
            for (unsigned k = 0; k < RMAP_CHUNK_GROUPS; k++) {
                free_group(&chunk->groups[k]);
            }
            free_list(&chunk->page_2m);
            free_list(&chunk->page_1g);
            free(chunk);
        }
    }
    free(map->buckets);
    *map = (struct rmap){0};
}

struct rmap_chunk *rmap_find(const struct rmap *map, uint64_t host)
{
    uint64_t number = host >> CHUNK_SHIFT;
    if (map->bucket_count == 0) {
        return NULL;
    }
    struct rmap_chunk *chunk = map->buckets[bucket_of(map->bucket_count, number)];
    while (chunk && chunk->number != number) {
        chunk = chunk->next;
    }
    return chunk;
}

/* At most one chunk a bucket on average. False: out of memory, and it stays as it is. */
static bool grow(struct rmap *map)
{
    size_t count = map->bucket_count ? map->bucket_count * 2 : BUCKETS_MIN;
    struct rmap_chunk **buckets = calloc(count, sizeof *buckets);
    if (!buckets) {
        return false;
    }
    for (size_t i = 0; i < map->bucket_count; i++) {
        while (map->buckets[i]) {
            struct rmap_chunk *chunk = map->buckets[i], **place = &buckets[bucket_of(count, chunk->number)];
            map->buckets[i] = chunk->next;
            chunk->next = *place;
            *place = chunk;
        }
    }
    free(map->buckets);
    map->buckets = buckets;
    map->bucket_count = count;
    return true;
}

struct rmap_chunk *rmap_get(struct rmap *map, uint64_t host)
{
    struct rmap_chunk *chunk = rmap_find(map, host);
    if (chunk) {
        return chunk;
    }
    if (map->chunk_count >= map->bucket_count && !grow(map) && map->bucket_count == 0) {
        return NULL;
    }
    chunk = calloc(1, sizeof *chunk);
    if (chunk) {
        chunk->number = host >> CHUNK_SHIFT;
        struct rmap_chunk **place = &map->buckets[bucket_of(map->bucket_count, chunk->number)];
        chunk->next = *place;
        *place = chunk;
        map->chunk_count++;
    }
    return chunk;
}

uint64_t rmap_bytes(const struct rmap *map)
{
    return map->bucket_count * sizeof(struct rmap_chunk *) + map->chunk_count * sizeof(struct rmap_chunk) +
           map->lists_count * RMAP_GROUP_PAGES * sizeof(struct rmap_list) +
           map->block_count * sizeof(struct rmap_block);
}
