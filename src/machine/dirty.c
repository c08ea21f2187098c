// SPDX-License-Identifier: MIT
/* Marking pages and taking the marks. Who is told of it is in dirty_log.c. */
#include "machine/dirty.h"

#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "machine/dirty_log.h"

#define PAGE ((uint64_t)MV_DIRTY_PAGE_BYTES)

/* The bits of word i that are pages of [first, last]. */
static uint64_t bits_of(uint64_t i, struct dirty_pages pages)
{
    uint64_t bits = UINT64_MAX;
    if (i == pages.first / 64) {
        bits &= UINT64_MAX << pages.first % 64;
    }
    if (i == pages.last / 64) {
        bits &= UINT64_MAX >> (63 - pages.last % 64);
    }
    return bits;
}

bool dirty_pages_of(const struct mv_region *region, uint64_t offset, uint64_t length, struct dirty_pages *ret)
{
    uint64_t first, last;
    if (!region_has_block(region) || length == 0 || __builtin_add_overflow(region->ram.offset, offset, &first)) {
        return false;
    }
    if (__builtin_add_overflow(first, length - 1, &last)) {
        last = UINT64_MAX;
    }
    uint64_t npages = region->ram.block->dirty.npages;
    if (first / PAGE >= npages) {
        return false;
    }
    ret->first = first / PAGE;
    ret->last = last / PAGE < npages ? last / PAGE : npages - 1;
    return true;
}

/* --- marking ----------------------------------------------------------------------------------- */

/* Of one word a mark that is not there yet is set by one atomic operation, after which the bytes cannot come; only
 * to leave one alone takes a fence. */
static void mark_word(struct dirty_map *map, uint64_t i, uint64_t bits, unsigned clients)
{
    for (unsigned client = 0; client < MV_DIRTY_CLIENTS; client++) {
        if (clients & MV_DIRTY_BIT(client)) {
            if ((dirty_map_load(map, client, i) & bits) == bits) {
                atomic_thread_fence(memory_order_seq_cst);
            }
            dirty_map_set(map, client, i, bits);
        }
    }
}

void dirty_mark_pages(struct mv_block *block, struct dirty_pages pages, unsigned clients)
{
    struct dirty_map *map = &block->dirty;
    if (pages.first / 64 == pages.last / 64) {
        mark_word(map, pages.first / 64, bits_of(pages.first / 64, pages), clients);
        return;
    }
    atomic_thread_fence(memory_order_seq_cst); /* see dirty.h */
    for (unsigned client = 0; client < MV_DIRTY_CLIENTS; client++) {
        if (clients & MV_DIRTY_BIT(client)) {
            for (uint64_t i = pages.first / 64; i <= pages.last / 64; i++) {
                dirty_map_set(map, client, i, bits_of(i, pages));
            }
        }
    }
}

/* 64 pages that need not begin at a multiple of 64. */
static void mark_64(struct dirty_map *map, uint64_t first, uint64_t bits, unsigned clients)
{
    uint64_t i = first / 64;
    unsigned shift = first % 64;
    for (unsigned client = 0; client < MV_DIRTY_CLIENTS; client++) {
        if (!(clients & MV_DIRTY_BIT(client))) {
            continue;
        }
        dirty_map_set(map, client, i, bits << shift);
        if (shift != 0 && bits >> (64 - shift) != 0) {
            dirty_map_set(map, client, i + 1, bits >> (64 - shift));
        }
    }
}

void dirty_mark_words(struct mv_block *block, uint64_t first, const uint64_t *words, uint64_t npages,
                      unsigned clients)
{
    struct dirty_map *map = &block->dirty;
    if (first >= map->npages) {
        return;
    }
    if (npages > map->npages - first) {
        npages = map->npages - first;
    }
    atomic_thread_fence(memory_order_seq_cst);
    for (uint64_t i = 0; i * 64 < npages; i++) {
        if (words[i] != 0) {
            uint64_t rest = npages - i * 64;
            mark_64(map, first + i * 64, rest >= 64 ? words[i] : words[i] & (UINT64_MAX >> (64 - rest)), clients);
        }
    }
}

/* For whom a region is logged now, as any thread may see it. */
static unsigned live_mask(struct mv_region *region)
{
    unsigned mask = atomic_load_explicit(&region->log_live, memory_order_relaxed);
    if (region_has_block(region) && region->kind != MV_REGION_RAM_DEVICE &&
        atomic_load_explicit(&region->machine->log_live, memory_order_relaxed)) {
        mask |= MV_DIRTY_BIT(MV_DIRTY_MIGRATION);
    }
    return mask;
}

unsigned mv_region_log_mask(struct mv_region *region)
{
    return live_mask(region);
}

void dirty_written(struct mv_region *region, const void *host, size_t length)
{
    unsigned clients = live_mask(region);
    if (clients != 0) {
        uint64_t at = hva_of(host).raw - hva_of(region->ram.block->host).raw;
        dirty_mark_pages(region->ram.block, (struct dirty_pages){at / PAGE, (at + length - 1) / PAGE}, clients);
    }
}

void mv_dirty_set(struct mv_region *region, uint64_t offset, uint64_t length)
{
    struct dirty_pages pages;
    unsigned clients = live_mask(region);
    if (clients != 0 && dirty_pages_of(region, offset, length, &pages)) {
        dirty_mark_pages(region->ram.block, pages, clients);
    }
}

/* --- taking ------------------------------------------------------------------------------------ */

bool mv_dirty_get(struct mv_region *region, uint64_t offset, uint64_t length, enum mv_dirty_client client)
{
    struct dirty_pages pages;
    if (!dirty_pages_of(region, offset, length, &pages)) {
        return false;
    }
    const struct dirty_map *map = &region->ram.block->dirty;
    uint64_t end = pages.last / 64 + 1;
    for (uint64_t i = pages.first / 64; (i = dirty_map_next(map, client, i, end)) < end; i++) {
        if (dirty_map_load(map, client, i) & bits_of(i, pages)) {
            return true;
        }
    }
    return false;
}

bool mv_dirty_test_and_clear(struct mv_region *region, uint64_t offset, uint64_t length,
                             enum mv_dirty_client client)
{
    struct dirty_pages pages;
    if (!dirty_pages_of(region, offset, length, &pages)) {
        return false;
    }
    struct dirty_map *map = &region->ram.block->dirty;
    bool any = false;
    uint64_t end = pages.last / 64 + 1;
    for (uint64_t i = pages.first / 64; (i = dirty_map_next(map, client, i, end)) < end; i++) {
        any = dirty_map_take(map, client, i, bits_of(i, pages)) != 0 || any;
    }
    if (any) {
        dirty_log_clear(region, pages);
    }
    return any;
}

/* --- snapshots --------------------------------------------------------------------------------- */

/*
 * Immutable, but for `pending`. `groups` has a bit for each word that is not 0, so that words in which nothing is
 * marked are neither written nor read: their memory stays untouched.
 */
struct mv_dirty_snapshot {
    uint64_t origin;          /* the block's page that has the region's offset 0 */
    uint64_t size_bytes;      /* of the region */
    struct dirty_pages pages; /* of the block; first is a multiple of 64 unless the region begins there */
    uint64_t nwords;          /* words[0] has page pages.first / 64 * 64 */
    uint64_t count;
    uint64_t *words;
    uint64_t *groups;
    struct mv_region *region; /* a reference */
    uint64_t chunk_pages;     /* of the block, from its page 0 on; 0: nothing is put off */
    uint64_t *pending;        /* a bit for each chunk, from that of pages.first on: it is not cleared yet */
};

void mv_dirty_snapshot_free(struct mv_dirty_snapshot *snapshot)
{
    if (snapshot) {
        free(snapshot->words);
        free(snapshot->groups);
        free(snapshot->pending);
        mv_region_put(snapshot->region);
        free(snapshot);
    }
}

static void snapshot_take(struct mv_dirty_snapshot *snapshot, struct dirty_map *map, enum mv_dirty_client client)
{
    uint64_t base = snapshot->pages.first / 64;
    uint64_t end = base + snapshot->nwords;
    for (uint64_t i = base; (i = dirty_map_next(map, client, i, end)) < end; i++) {
        uint64_t bits = dirty_map_take(map, client, i, bits_of(i, snapshot->pages));
        if (bits != 0) {
            snapshot->words[i - base] = bits;
            snapshot->groups[(i - base) / 64] |= UINT64_C(1) << (i - base) % 64;
            snapshot->count += (uint64_t)__builtin_popcountll(bits);
        }
    }
}

/* Whole groups of 64 pages of the block, but nothing outside the region. */
static struct dirty_pages widen(const struct mv_dirty_snapshot *snapshot, struct dirty_pages pages)
{
    struct dirty_pages all = {snapshot->origin, snapshot->origin + (snapshot->size_bytes - 1) / PAGE};
    uint64_t first = pages.first / 64 * 64;
    uint64_t last = pages.last / 64 * 64 + 63;
    pages.first = first > all.first ? first : all.first;
    pages.last = last < all.last ? last : all.last;
    return pages;
}

static uint64_t size_now(struct mv_region *region)
{
    machine_lock(region->machine);
    uint64_t size_bytes = region->state.size_bytes;
    machine_unlock(region->machine);
    return size_bytes;
}

static uint64_t chunk_count(const struct mv_dirty_snapshot *s)
{
    return s->chunk_pages ? s->pages.last / s->chunk_pages - s->pages.first / s->chunk_pages + 1 : 0;
}

/* All its arrays, or none. */
static bool allocate(struct mv_dirty_snapshot *s)
{
    s->words = calloc(s->nwords, sizeof(uint64_t));
    s->groups = calloc(s->nwords / 64 + 1, sizeof(uint64_t));
    s->pending = calloc(chunk_count(s) / 64 + 1, sizeof(uint64_t));
    if (s->words && s->groups && s->pending) {
        return true;
    }
    free(s->words);
    free(s->groups);
    free(s->pending);
    return false;
}

/* Check, and make an empty one. */
static int snapshot_begin(struct mv_region *region, uint64_t offset, uint64_t length, uint64_t chunk_pages,
                          struct mv_dirty_snapshot **ret, struct mv_error *err)
{
    const char *name = region->name;
    struct dirty_pages pages;
    struct mv_range range;
    if (!region_has_block(region)) {
        return error_set(err, -EINVAL, "bad-region", name, "region %s: it has no memory that could be dirty",
                         name);
    }
    struct mv_dirty_snapshot s = {
        .origin = region->ram.offset / PAGE, .size_bytes = size_now(region), .chunk_pages = chunk_pages};
    if (!range_of(offset, length, &range) || range.last >= s.size_bytes ||
        !dirty_pages_of(region, offset, length, &pages)) {
        return error_set(err, -EINVAL, "bad-range", name,
                         "region %s: %" PRIu64 " bytes at " PRI_ADDR " are not in it", name, length, offset);
    }
    s.pages = widen(&s, pages);
    s.nwords = s.pages.last / 64 - s.pages.first / 64 + 1;
    struct mv_dirty_snapshot *snapshot = malloc(sizeof *snapshot);
    if (!snapshot || !allocate(&s)) {
        free(snapshot);
        return error_set(err, -ENOMEM, "no-memory", name, "region %s: out of memory for its dirty pages", name);
    }
    s.region = mv_region_get(region);
    *snapshot = s;
    *ret = snapshot;
    return 0;
}

int mv_dirty_snapshot_and_clear(struct mv_region *region, uint64_t offset, uint64_t length,
                                enum mv_dirty_client client, struct mv_dirty_snapshot **ret, struct mv_error *err)
{
    struct mv_dirty_snapshot *snapshot = NULL;
    int rc = snapshot_begin(region, offset, length, 0, &snapshot, err);
    if (rc < 0) {
        return rc;
    }
    mv_dirty_sync(region);
    snapshot_take(snapshot, &region->ram.block->dirty, client);
    dirty_log_clear(region, snapshot->pages);
    *ret = snapshot;
    return 0;
}

/* --- clearing later ---------------------------------------------------------------------------- */

/* Chunks in which nothing was marked have nothing to clear. */
static void note_pending(struct mv_dirty_snapshot *s)
{
    const uint64_t words_of_chunk = s->chunk_pages / 64;
    const uint64_t first_word = s->pages.first / 64, first_chunk = first_word / words_of_chunk;
    for (uint64_t i = 0; i < s->nwords; i++) {
        if (s->groups[i / 64] == 0) {
            i |= 63;
        } else if (s->words[i] != 0) {
            uint64_t chunk = (first_word + i) / words_of_chunk - first_chunk;
            s->pending[chunk / 64] |= UINT64_C(1) << chunk % 64;
        }
    }
}

int mv_dirty_snapshot_take(struct mv_region *region, uint64_t offset, uint64_t length, enum mv_dirty_client client,
                           uint64_t chunk_bytes, struct mv_dirty_snapshot **ret, struct mv_error *err)
{
    struct mv_dirty_snapshot *snapshot = NULL;
    if (chunk_bytes < 64 * PAGE || (chunk_bytes & (chunk_bytes - 1)) != 0) {
        return error_set(err, -EINVAL, "bad-chunk", region->name,
                         "region %s: its log cannot be cleared by %" PRIu64
                         " bytes: it must be a power of two of at least 64 pages",
                         region->name, chunk_bytes);
    }
    int rc = snapshot_begin(region, offset, length, chunk_bytes / PAGE, &snapshot, err);
    if (rc < 0) {
        return rc;
    }
    mv_dirty_sync(region);
    snapshot_take(snapshot, &region->ram.block->dirty, client);
    note_pending(snapshot);
    *ret = snapshot;
    return 0;
}

static void clear_chunk(struct mv_dirty_snapshot *s, uint64_t chunk)
{
    uint64_t *word = &s->pending[chunk / 64];
    uint64_t first = (s->pages.first / s->chunk_pages + chunk) * s->chunk_pages;
    uint64_t last = first + s->chunk_pages - 1;
    if (*word >> chunk % 64 & 1) {
        *word &= ~(UINT64_C(1) << chunk % 64);
        dirty_log_clear(s->region, (struct dirty_pages){first > s->pages.first ? first : s->pages.first,
                                                        last < s->pages.last ? last : s->pages.last});
    }
}

void mv_dirty_snapshot_clear(struct mv_dirty_snapshot *snapshot, uint64_t offset, uint64_t length)
{
    struct mv_range range;
    if (snapshot->chunk_pages == 0 || !range_of(offset, length, &range) || offset >= snapshot->size_bytes) {
        return;
    }
    uint64_t first = snapshot->origin + range.first / PAGE, last = snapshot->origin + range.last / PAGE;
    first = first > snapshot->pages.first ? first : snapshot->pages.first;
    last = last < snapshot->pages.last ? last : snapshot->pages.last;
    uint64_t base = snapshot->pages.first / snapshot->chunk_pages;
    for (uint64_t page = first; page <= last; page = (page / snapshot->chunk_pages + 1) * snapshot->chunk_pages) {
        clear_chunk(snapshot, page / snapshot->chunk_pages - base);
    }
}

/* --- looking at a snapshot --------------------------------------------------------------------- */

/* The first marked page of the block at `page` or after it, which is in the snapshot. */
static bool next_marked(const struct mv_dirty_snapshot *s, uint64_t page, uint64_t *ret)
{
    uint64_t i = page / 64 - s->pages.first / 64;
    uint64_t bits = s->words[i] & UINT64_MAX << page % 64;
    if (bits == 0) {
        uint64_t group = ++i / 64;
        if (i >= s->nwords) {
            return false;
        }
        uint64_t words = s->groups[group] & UINT64_MAX << i % 64;
        while (words == 0) {
            if (++group > s->nwords / 64) {
                return false;
            }
            words = s->groups[group];
        }
        i = group * 64 + (uint64_t)__builtin_ctzll(words);
        bits = s->words[i];
    }
    *ret = (s->pages.first / 64 + i) * 64 + (uint64_t)__builtin_ctzll(bits);
    return true;
}

/* The first one after `page`, which is marked, that is not; one past the last if all are. */
static uint64_t next_clean(const struct mv_dirty_snapshot *s, uint64_t page)
{
    uint64_t base = s->pages.first / 64, i = page / 64 - base;
    if (page % 64 != 63 && !(s->words[i] >> page % 64 & 2)) { /* most often */
        return page + 1;
    }
    uint64_t clean = ~s->words[i] & UINT64_MAX << page % 64;
    while (clean == 0 && ++i < s->nwords) {
        clean = ~s->words[i];
    }
    uint64_t end = clean ? (base + i) * 64 + (uint64_t)__builtin_ctzll(clean) : s->pages.last + 1;
    return end <= s->pages.last ? end : s->pages.last + 1;
}

/* The pages of the snapshot at which offsets of the region from `offset` on are. */
static bool first_page(const struct mv_dirty_snapshot *s, uint64_t offset, uint64_t *ret)
{
    uint64_t page = s->origin + offset / PAGE;
    *ret = page > s->pages.first ? page : s->pages.first;
    return offset < s->size_bytes && page <= s->pages.last;
}

bool mv_dirty_snapshot_next(const struct mv_dirty_snapshot *snapshot, uint64_t offset, struct mv_range *ret)
{
    uint64_t page;
    if (!first_page(snapshot, offset, &page) || !next_marked(snapshot, page, &page)) {
        return false;
    }
    uint64_t end = next_clean(snapshot, page);
    uint64_t first = (page - snapshot->origin) * PAGE;
    uint64_t last = (end - snapshot->origin) * PAGE - 1;
    ret->first = first > offset ? first : offset;
    ret->last = last < snapshot->size_bytes ? last : snapshot->size_bytes - 1;
    return true;
}

bool mv_dirty_snapshot_get(const struct mv_dirty_snapshot *snapshot, uint64_t offset, uint64_t length)
{
    struct mv_range marked;
    return length > 0 && mv_dirty_snapshot_next(snapshot, offset, &marked) && marked.first - offset < length;
}

uint64_t mv_dirty_snapshot_count(const struct mv_dirty_snapshot *snapshot)
{
    return snapshot->count;
}
