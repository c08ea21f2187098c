// SPDX-License-Identifier: MIT
/*
 * A block's dirty bitmaps. Bits of MV_DIRTY_CODE are kept inverted, so that fresh zeroes mean that all is dirty,
 * and no bitmap costs memory before it is used.
 */
#ifndef MACHINE_DIRTY_MAP_H
#define MACHINE_DIRTY_MAP_H

#include <memvirt/dirty.h>
#include <stdatomic.h>

/* Owned by its block. `words[client][page / 64]`, bit page % 64. */
struct dirty_map {
    uint64_t npages;
    _Atomic uint64_t *words[MV_DIRTY_CLIENTS];
};

/* @return 0 or -ENOMEM */
int dirty_map_init(struct dirty_map *map, uint64_t size_bytes);
void dirty_map_finish(struct dirty_map *map);

static inline uint64_t dirty_map_words(const struct dirty_map *map)
{
    return map->npages / 64 + (map->npages % 64 != 0);
}

static inline uint64_t dirty_map_clean(enum mv_dirty_client client)
{
    return client == MV_DIRTY_CODE ? UINT64_MAX : 0;
}

static inline uint64_t dirty_map_load(const struct dirty_map *map, enum mv_dirty_client client, uint64_t i)
{
    return atomic_load_explicit(&map->words[client][i], memory_order_relaxed) ^ dirty_map_clean(client);
}

/* Make `bits` dirty. The caller has executed a full fence since it stored what it marks, if any of them may be so
 * already. */
void dirty_map_set(struct dirty_map *map, enum mv_dirty_client client, uint64_t i, uint64_t bits);
/* Make `bits` clean. @return those that were dirty */
uint64_t dirty_map_take(struct dirty_map *map, enum mv_dirty_client client, uint64_t i, uint64_t bits);
/* The first word from i on, before `end`, that has a dirty bit; `end` when none has. */
uint64_t dirty_map_next(const struct dirty_map *map, enum mv_dirty_client client, uint64_t i, uint64_t end);

#endif
