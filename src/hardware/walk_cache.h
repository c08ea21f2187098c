// SPDX-License-Identifier: MIT
/*
 * Paging-structure caches: where a walk may begin instead of at the root (Intel SDM, "Caches for Paging
 * Structures"). One cache for each level of entries that point to tables: PDE, PDPTE, PML4E, PML5E. Where there is
 * a second dimension they are the SDM's "combined" ones: an entry has the table's host address, so it saves the
 * nested walk of the table too.
 */
#ifndef HARDWARE_WALK_CACHE_H
#define HARDWARE_WALK_CACHE_H

#include "hardware/assoc.h"
#include "hardware/context.h"
#include "paging/guest_walk.h"

/* By the level of the entry: 2 (PDE) to 5. */
struct walk_cache {
    struct assoc level[X86_LEVELS_MAX + 1];
};

/* What is known of the table of level `level`. */
struct walk_cache_hit {
    unsigned level;
    struct guest_walk_table table;
    uint8_t *host;    /* the table's page */
    bool is_writable; /* the host's side lets A and D be set in it */
    bool is_guest;    /* HW_HYBRID: the guest's own, and not the shadow's */
};

/* `geometry` by level, of 2 to 5. 0, -EINVAL, -ENOMEM. */
int walk_cache_init(struct walk_cache *c, const struct hw_tlb_geometry geometry[X86_LEVELS_MAX + 1]);
void walk_cache_finish(struct walk_cache *c);

/* The nearest to the leaf. False: none; begin at the root. */
bool walk_cache_find(struct walk_cache *c, const struct paging *p, uint64_t gva, uint64_t context,
                     struct walk_cache_hit *ret);

/* That the entry of level `hit->level + 1` for `gva` leads to this table. */
void walk_cache_insert(struct walk_cache *c, const struct paging *p, uint64_t gva, uint64_t context,
                       const struct walk_cache_hit *hit);

/* What would be found for `gva`, at all levels. */
void walk_cache_drop_found(struct walk_cache *c, const struct paging *p, uint64_t gva, uint64_t context);
/* What was found for it in any context that agrees with this one in the bits of `mask`. */
void walk_cache_drop_address(struct walk_cache *c, const struct paging *p, uint64_t gva, uint64_t mask,
                             uint64_t context);
void walk_cache_drop_contexts(struct walk_cache *c, uint64_t mask, uint64_t context);
void walk_cache_clear(struct walk_cache *c);

#endif
