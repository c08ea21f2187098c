// SPDX-License-Identifier: MIT
#include "machine/dirty_map.h"

#include <errno.h>
#include <stdlib.h>

#define WORDS_AT_ONCE 8 /* a cache line */

int dirty_map_init(struct dirty_map *map, uint64_t size_bytes)
{
    *map =
        (struct dirty_map){.npages = size_bytes / MV_DIRTY_PAGE_BYTES + (size_bytes % MV_DIRTY_PAGE_BYTES != 0)};
    uint64_t words = dirty_map_words(map);
    _Atomic uint64_t *all = calloc(words * MV_DIRTY_CLIENTS, sizeof *all); /* large: not touched, so not there */
    if (!all) {
        return -ENOMEM;
    }
    for (unsigned client = 0; client < MV_DIRTY_CLIENTS; client++) {
        map->words[client] = all + client * words;
    }
    return 0;
}

void dirty_map_finish(struct dirty_map *map)
{
    free(map->words[0]);
    *map = (struct dirty_map){0};
}

void dirty_map_set(struct dirty_map *map, enum mv_dirty_client client, uint64_t i, uint64_t bits)
{
    _Atomic uint64_t *word = &map->words[client][i];
    if ((dirty_map_load(map, client, i) & bits) == bits) {
        return; /* no need to own the line */
    }
    if (dirty_map_clean(client) == 0) {
        atomic_fetch_or(word, bits);
    } else {
        atomic_fetch_and(word, ~bits);
    }
}

uint64_t dirty_map_take(struct dirty_map *map, enum mv_dirty_client client, uint64_t i, uint64_t bits)
{
    _Atomic uint64_t *word = &map->words[client][i];
    if ((dirty_map_load(map, client, i) & bits) == 0) {
        return 0;
    }
    uint64_t before = dirty_map_clean(client) == 0 ? atomic_fetch_and(word, ~bits) : ~atomic_fetch_or(word, bits);
    return before & bits;
}

uint64_t dirty_map_next(const struct dirty_map *map, enum mv_dirty_client client, uint64_t i, uint64_t end)
{
    while (i < end) {
        if (i % WORDS_AT_ONCE == 0 && end - i >= WORDS_AT_ONCE) {
            uint64_t any = 0;
            for (unsigned k = 0; k < WORDS_AT_ONCE; k++) {
                any |= dirty_map_load(map, client, i + k);
            }
            if (any == 0) {
                i += WORDS_AT_ONCE;
                continue;
            }
        }
        if (dirty_map_load(map, client, i) != 0) {
            return i;
        }
        i++;
    }
    return end;
}
