// SPDX-License-Identifier: MIT
#include "machine/pool.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/line.h"
#include "machine/view.h"

/*
 * Memory that is used again would hide from AddressSanitizer who reads a view too late. So for it what is in the
 * pool is forbidden, but for the links.
 */
#if defined(__SANITIZE_ADDRESS__)
#define POOL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_ASAN 1
#endif
#endif
#ifdef POOL_ASAN
#include <sanitizer/asan_interface.h>
#define FORBID(memory, size_bytes) ASAN_POISON_MEMORY_REGION(memory, size_bytes)
#define ALLOW(memory, size_bytes) ASAN_UNPOISON_MEMORY_REGION(memory, size_bytes)
#else
#define FORBID(memory, size_bytes) ((void)(memory), (void)(size_bytes))
#define ALLOW(memory, size_bytes) ((void)(memory), (void)(size_bytes))
#endif

/* Written over the beginning of what is spare. */
struct spare {
    struct spare *next;
};

struct rack {
    struct spare *first;
    unsigned count;
};

/* Its halves are written by different threads, so each has its own lines. */
struct pool {
    _Alignas(CACHE_LINE) struct mv_view *returned; /* parcels, the latest first; pushed by anyone, taken whole */
    size_t bytes;                                  /* of the parcels, wherever they are; atomic */

    _Alignas(CACHE_LINE) struct mv_view *parcels; /* taken; from here on: control lock held */
    struct rack racks[POOL_KINDS];
};

static const size_t sizes[POOL_KINDS] = {
    [POOL_VIEW] = sizeof(struct mv_view),
    [POOL_NODE] = sizeof(struct pmap_node),
    [POOL_SECTION] = sizeof(struct section),
};

_Static_assert(sizeof(struct mv_view) % CACHE_LINE == 0, "all kinds are in whole lines");
_Static_assert(sizeof(struct pmap_node) % CACHE_LINE == 0, "all kinds are in whole lines");
_Static_assert(sizeof(struct section) % CACHE_LINE == 0, "all kinds are in whole lines");

struct pool *pool_create(void)
{
    return line_alloc(sizeof(struct pool));
}

static void drop(enum pool_kind kind, void *memory)
{
    ALLOW(memory, sizes[kind]);
    free(memory);
}

/* --- spares ------------------------------------------------------------------------------------ */

void pool_give(struct pool *pool, enum pool_kind kind, void *memory)
{
    struct rack *rack = &pool->racks[kind];
    if (rack->count == POOL_SPARES_MAX) {
        drop(kind, memory);
        return;
    }
    struct spare *spare = memory;
    ALLOW(memory, sizeof *spare);
    spare->next = rack->first;
    FORBID(spare + 1, sizes[kind] - sizeof *spare);
    rack->first = spare;
    rack->count++;
}

static void *take_spare(struct rack *rack, enum pool_kind kind)
{
    struct spare *spare = rack->first;
    if (spare) {
        rack->first = spare->next;
        rack->count--;
        ALLOW(spare, sizes[kind]);
    }
    return spare;
}

/* --- parcels ----------------------------------------------------------------------------------- */

static size_t bytes_of(const struct mv_view *parcel)
{
    return sizeof(struct mv_view) + parcel->garbage_nnodes * sizeof(struct pmap_node) +
           parcel->garbage_nsections * sizeof(struct section);
}

typedef void piece_fn(struct pool *pool, enum pool_kind kind, void *memory);

static void each_piece(struct pool *pool, struct mv_view *parcel, piece_fn *act)
{
    for (struct pmap_node *node = parcel->garbage_nodes, *next; node; node = next) {
        next = node->link;
        act(pool, POOL_NODE, node);
    }
    for (struct section *section = parcel->garbage_sections, *next; section; section = next) {
        next = section->link;
        act(pool, POOL_SECTION, section);
    }
    act(pool, POOL_VIEW, parcel);
}

static void drop_piece(struct pool *pool, enum pool_kind kind, void *memory)
{
    (void)pool;
    drop(kind, memory);
}

#ifdef POOL_ASAN
static void forbid_piece(struct pool *pool, enum pool_kind kind, void *memory)
{
    (void)pool;
    switch (kind) {
    case POOL_VIEW: FORBID(&((struct mv_view *)memory)->map, sizeof(struct pmap)); break;
    case POOL_NODE: FORBID(memory, offsetof(struct pmap_node, version)); break;
    case POOL_SECTION: FORBID(memory, offsetof(struct section, version)); break;
    case POOL_KINDS: break;
    }
}
#endif

void pool_return(struct pool *pool, struct mv_view *view)
{
    size_t bytes = bytes_of(view);
    if (__atomic_add_fetch(&pool->bytes, bytes, __ATOMIC_RELAXED) > POOL_PARCELS_BYTES_MAX) {
        __atomic_sub_fetch(&pool->bytes, bytes, __ATOMIC_RELAXED);
        each_piece(pool, view, drop_piece);
        return;
    }
#ifdef POOL_ASAN
    each_piece(pool, view, forbid_piece);
#endif
    struct mv_view *latest = __atomic_load_n(&pool->returned, __ATOMIC_RELAXED);
    do {
        view->next_waiting = latest;
    } while (!__atomic_compare_exchange_n(&pool->returned, &latest, view, true, __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED)); /* pairs with the acquire in take_parcel */
}

static struct mv_view *take_parcel(struct pool *pool)
{
    if (!pool->parcels && __atomic_load_n(&pool->returned, __ATOMIC_RELAXED)) {
        pool->parcels = __atomic_exchange_n(&pool->returned, NULL, __ATOMIC_ACQUIRE);
    }
    struct mv_view *parcel = pool->parcels;
    if (parcel) {
        pool->parcels = parcel->next_waiting;
        __atomic_sub_fetch(&pool->bytes, bytes_of(parcel), __ATOMIC_RELAXED);
    }
    return parcel;
}

void *pool_take(struct pool *pool, enum pool_kind kind)
{
    struct rack *rack = &pool->racks[kind];
    struct mv_view *parcel;
    /* Few parcels have a section: none is opened for one. */
    while (!rack->first && kind != POOL_SECTION && (parcel = take_parcel(pool)) != NULL) {
        each_piece(pool, parcel, pool_give);
    }
    void *spare = take_spare(rack, kind);
    return spare ? spare : aligned_alloc(CACHE_LINE, sizes[kind]);
}

void pool_destroy(struct pool *pool)
{
    if (!pool) {
        return;
    }
    for (struct mv_view *parcel; (parcel = take_parcel(pool)) != NULL;) {
        each_piece(pool, parcel, drop_piece);
    }
    for (enum pool_kind kind = 0; kind < POOL_KINDS; kind++) {
        for (void *spare; (spare = take_spare(&pool->racks[kind], kind)) != NULL;) {
            free(spare);
        }
    }
    free(pool);
}
