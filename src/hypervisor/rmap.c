// SPDX-License-Identifier: MIT
#include "hypervisor/rmap.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* --- Lists ---------------------------------------------------------------------------------------- */

#define TAG UINT64_C(3)
#define TAG_CHAIN UINT64_C(1) /* of a list; of a group: lists */
#define TAG_RUNS UINT64_C(2)
#define RUNS_ALIGNMENT 256u

/* What a list that is read out of a group has in its word besides the tag. */
static const struct rmap_runs *runs_of(const struct rmap_list *list, unsigned *ret_page)
{
    *ret_page = (unsigned)(list->word % RUNS_ALIGNMENT) >> 2;
    return (list->word & TAG) == TAG_RUNS
               ? (const struct rmap_runs *)(uintptr_t)(list->word & ~(uint64_t)(RUNS_ALIGNMENT - 1))
               : NULL;
}

static pt_word_t *entry_of(const struct rmap_run *run, unsigned page)
{
    return (pt_word_t *)(uintptr_t)(run->word + page * sizeof(pt_word_t));
}

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
    unsigned page;
    const struct rmap_runs *runs = runs_of(list, &page);
    size_t count = list->word && !block && !runs;
    for (; block; block = block->next) {
        count += block->count;
    }
    for (unsigned i = 0; runs && i < runs->count; i++) {
        count += runs->run[i].pages >> page & 1;
    }
    return count;
}

bool rmap_has_more(const struct rmap_list *list, size_t than)
{
    unsigned page;
    const struct rmap_runs *runs = runs_of(list, &page);
    return !rmap_is_empty(list) && !(runs && runs->count <= than) && rmap_count(list) > than;
}

/* The last of the runs, since who takes entries away one by one begins there. */
static pt_word_t *any_of_runs(const struct rmap_runs *runs, unsigned page)
{
    unsigned i = runs->count - 1;
    while (!(runs->run[i].pages >> page & 1)) {
        i--;
    }
    return entry_of(&runs->run[i], page);
}

pt_word_t *rmap_any(const struct rmap_list *list)
{
    const struct rmap_block *first = block_of(list);
    unsigned page;
    const struct rmap_runs *runs = runs_of(list, &page);
    return runs ? any_of_runs(runs, page) : first ? first->entries[first->count - 1] : single_of(list);
}

pt_word_t *rmap_first(const struct rmap_list *list, struct rmap_iter *it)
{
    *it = (struct rmap_iter){.block = block_of(list)};
    it->runs = runs_of(list, &it->page);
    return it->block || it->runs ? rmap_next(it) : single_of(list);
}

pt_word_t *rmap_next(struct rmap_iter *it)
{
    while (it->runs && it->next < it->runs->count) {
        const struct rmap_run *run = &it->runs->run[it->next++];
        if (run->pages >> it->page & 1) {
            return entry_of(run, it->page);
        }
    }
    if (it->block && it->next == it->block->count) {
        it->block = it->block->next;
        it->next = 0;
    }
    return it->block ? it->block->entries[it->next++] : NULL;
}

/* --- Groups --------------------------------------------------------------------------------------- */

#define MAPPINGS_OF_A_RUN 3u /* on average, or lists take less, which are half of a run for each mapping */

static struct rmap_list *lists_of(const struct rmap_group *group)
{
    return (group->word & TAG) == TAG_CHAIN ? (struct rmap_list *)(uintptr_t)(group->word - TAG_CHAIN) : NULL;
}

static struct rmap_runs *several_of(const struct rmap_group *group)
{
    return (group->word & TAG) == TAG_RUNS ? (struct rmap_runs *)(uintptr_t)(group->word - TAG_RUNS) : NULL;
}

static struct rmap_group *group_of(const struct rmap_page *page, unsigned *ret_index)
{
    unsigned number = (unsigned)(page->host >> 12) % (RMAP_GROUP_PAGES * RMAP_CHUNK_GROUPS);
    *ret_index = number % RMAP_GROUP_PAGES;
    return &page->chunk->groups[number / RMAP_GROUP_PAGES];
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
    if (lists) {
        return lists[i];
    }
    if (several_of(group)) {
        return (struct rmap_list){group->word | (uint64_t)i << 2};
    }
    return (struct rmap_list){(uint64_t)(uintptr_t)entry_of(&(struct rmap_run){group->word, 0}, i)};
}

static size_t size_of_runs(unsigned capacity)
{
    return sizeof(struct rmap_runs) + capacity * sizeof(struct rmap_run);
}

static void free_runs(struct rmap *map, struct rmap_runs *runs)
{
    map->run_bytes -= size_of_runs(runs->capacity);
    free(runs);
}

/* One with room for more than the old one, which goes. NULL: out of memory, and it stays. */
static struct rmap_runs *larger_runs(struct rmap *map, struct rmap_runs *old)
{
    size_t bytes = old ? 2 * size_of_runs(old->capacity) : RUNS_ALIGNMENT;
    struct rmap_runs *runs = aligned_alloc(RUNS_ALIGNMENT, bytes);
    if (!runs) {
        return NULL;
    }
    *runs = (struct rmap_runs){0};
    if (old) {
        memcpy(runs, old, size_of_runs(old->count));
        free_runs(map, old);
    }
    runs->capacity = (uint32_t)((bytes - sizeof *runs) / sizeof(struct rmap_run));
    map->run_bytes += bytes;
    return runs;
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

static void free_list(struct rmap *map, struct rmap_list *list)
{
    struct rmap_block *block = block_of(list);
    while (block) {
        struct rmap_block *next = block->next;
        free(block);
        map->block_count--;
        block = next;
    }
}

static void free_lists(struct rmap *map, struct rmap_list *lists)
{
    for (unsigned i = 0; i < RMAP_GROUP_PAGES; i++) {
        free_list(map, &lists[i]);
    }
    free(lists);
    map->lists_count--;
}

/* A list for each page in place of the runs. False: out of memory, and these stay. */
static bool make_lists(struct rmap *map, struct rmap_group *group, struct rmap_runs *runs)
{
    struct rmap_list *lists = calloc(RMAP_GROUP_PAGES, sizeof *lists);
    if (!lists) {
        return false;
    }
    map->lists_count++;
    for (unsigned r = 0; r < runs->count; r++) {
        for (uint64_t left = runs->run[r].pages; left; left &= left - 1) {
            unsigned i = (unsigned)__builtin_ctzll(left);
            if (!add_counted(map, &lists[i], entry_of(&runs->run[r], i))) {
                free_lists(map, lists);
                return false;
            }
        }
    }
    group->word = (uint64_t)(uintptr_t)lists | TAG_CHAIN;
    free_runs(map, runs);
    return true;
}

/* The run that begins at the word, the one that was added to before all others. NULL: there is none. */
static struct rmap_run *find_run(struct rmap_runs *runs, uint64_t word)
{
    if (runs->last < runs->count && runs->run[runs->last].word == word) {
        return &runs->run[runs->last];
    }
    for (unsigned r = runs->count; r-- > 0;) {
        if (runs->run[r].word == word) {
            return &runs->run[r];
        }
    }
    return NULL;
}

/* Another run. NULL: out of memory. */
static struct rmap_run *append_run(struct rmap *map, struct rmap_group *group, struct rmap_run run)
{
    struct rmap_runs *runs = several_of(group);
    if (!runs || runs->count == runs->capacity) {
        runs = larger_runs(map, runs);
        if (!runs) {
            return NULL;
        }
        group->word = (uint64_t)(uintptr_t)runs | TAG_RUNS;
    }
    runs->mappings += (uint32_t)__builtin_popcountll(run.pages);
    runs->run[runs->count] = run;
    return &runs->run[runs->count++];
}

/* From one run inline to several, of which that is the first. */
static bool make_several(struct rmap *map, struct rmap_group *group)
{
    return several_of(group) || append_run(map, group, (struct rmap_run){group->word, group->pages});
}

static bool add_to_runs(struct rmap *map, struct rmap_group *group, uint64_t word, uint64_t bit)
{
    if (!make_several(map, group)) {
        return false;
    }
    struct rmap_runs *runs = several_of(group);
    struct rmap_run *run = find_run(runs, word);
    if (!run) {
        run = append_run(map, group, (struct rmap_run){word, 0});
        if (!run) {
            return false;
        }
        runs = several_of(group);
    }
    assert(!(run->pages & bit));
    run->pages |= bit;
    runs->mappings++;
    runs->last = (uint32_t)(run - runs->run);
    return true;
}

/* Whether more runs are no gain: each has a page or two. */
static bool is_scattered(const struct rmap_runs *runs)
{
    return runs && runs->count == runs->capacity && runs->mappings < MAPPINGS_OF_A_RUN * runs->count;
}

bool rmap_add_to(struct rmap *map, const struct rmap_page *page, pt_word_t *entry)
{
    unsigned i;
    if (page->level > 1) {
        return add_counted(map, large_of(page), entry);
    }
    struct rmap_group *group = group_of(page, &i);
    uint64_t bit = UINT64_C(1) << i, word = (uint64_t)(uintptr_t)entry - i * sizeof *entry;
    if (group->pages == 0) {
        group->word = word;
    }
    if (is_scattered(several_of(group))) {
        (void)make_lists(map, group, several_of(group)); /* without memory it goes on as it is */
    }
    bool is_added = lists_of(group)       ? add_counted(map, &lists_of(group)[i], entry)
                    : group->word == word ? true
                                          : add_to_runs(map, group, word, bit);
    group->pages |= is_added ? bit : 0;
    return is_added;
}

/* Whether the page is still mapped. */
static bool remove_from_runs(struct rmap_runs *runs, uint64_t word, uint64_t bit)
{
    struct rmap_run *run = find_run(runs, word);
    assert(run && (run->pages & bit));
    run->pages &= ~bit;
    runs->mappings--;
    if (run->pages == 0) {
        *run = runs->run[--runs->count];
    }
    for (unsigned r = runs->count; r-- > 0;) {
        if (runs->run[r].pages & bit) {
            return true;
        }
    }
    return false;
}

static void end_group(struct rmap *map, struct rmap_group *group)
{
    if (lists_of(group)) {
        free_lists(map, lists_of(group));
    } else if (several_of(group)) {
        free_runs(map, several_of(group));
    }
    *group = (struct rmap_group){0};
}

void rmap_remove_from(struct rmap *map, const struct rmap_page *page, const pt_word_t *entry)
{
    unsigned i;
    if (page->level > 1) {
        remove_counted(map, large_of(page), entry);
        return;
    }
    struct rmap_group *group = group_of(page, &i);
    uint64_t bit = UINT64_C(1) << i, word = (uint64_t)(uintptr_t)entry - i * sizeof *entry;
    struct rmap_list *lists = lists_of(group);
    bool is_left = false;
    if (lists) {
        remove_counted(map, &lists[i], entry);
        is_left = !rmap_is_empty(&lists[i]);
    } else if (several_of(group)) {
        is_left = remove_from_runs(several_of(group), word, bit);
    } else {
        assert((group->pages & bit) && group->word == word);
    }
    group->pages &= is_left ? UINT64_MAX : ~bit;
    if (group->pages == 0) {
        end_group(map, group);
    }
}

/* --- Chunks --------------------------------------------------------------------------------------- */

#define CHUNK_SHIFT 21
#define BUCKETS_MIN 64u

static size_t bucket_of(size_t bucket_count, uint64_t number)
{
    return (size_t)((number * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (bucket_count - 1);
}

void rmap_finish(struct rmap *map)
{
    for (size_t i = 0; i < map->bucket_count; i++) {
        while (map->buckets[i]) {
            struct rmap_chunk *chunk = map->buckets[i];
            map->buckets[i] = chunk->next;
            for (unsigned k = 0; k < RMAP_CHUNK_GROUPS; k++) {
                end_group(map, &chunk->groups[k]);
            }
            free_list(map, &chunk->page_2m);
            free_list(map, &chunk->page_1g);
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
           map->block_count * sizeof(struct rmap_block) + map->run_bytes;
}
