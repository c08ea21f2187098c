// SPDX-License-Identifier: MIT
/*
 * A view: the flat picture of a tree (QEMU's FlatView). Immutable once published; successive views share all that
 * did not change (pmap.h).
 */
#ifndef MACHINE_VIEW_H
#define MACHINE_VIEW_H

#include <memvirt/space.h>

#include "base/epoch.h"
#include "base/line.h"
#include "base/range.h"
#include "machine/pmap.h"
#include "machine/region.h"
#include "machine/render.h"

struct flat;

/*
 * One range of a view and what answers there. Made by one commit, shared by all views from then on until a commit
 * takes it out; freed with the last view that shows it. It holds a reference to its region.
 */
struct section {
    _Alignas(CACHE_LINE) struct mv_range range; /* the first line is what accesses read */
    uint64_t host_delta; /* host_delta + address is the host address of the byte, modulo 2^64 */
    bool has_host;       /* there are such bytes: a guest may be given them by a slot */
    bool direct_read;    /* reads are copies of them; else a handler is called */
    bool direct_write;   /* the same for writes */
    uint8_t log_mask;    /* for which clients it is logged (dirty.h) */
    struct rights rights;
    struct mv_region *region;
    struct watch *watch;       /* a reference: the region's; or NULL */
    uint64_t offset;           /* in the region, of range.first */
    uint64_t version;          /* of the view that showed it first */
    struct dirty_place *place; /* in the index of what is logged; NULL: it is not logged */
    bool dropped;              /* made and taken out again by one commit */
    struct section *link;      /* on a list of its commit's, and later on one of garbage */
};

/*
 * Owned by its flat. What a view shows and its successor does not is freed with it: when every reader has left the
 * epochs in which it could be found, and nobody has borrowed it or an older one.
 * Invariant: sections in order do not overlap, and no two neighbours could be one section.
 */
struct mv_view {
    /* What accesses read of a view is in one line of the cache: after a commit it is new to all readers. */
    _Alignas(CACHE_LINE) struct epoch_head epoch; /* first: the retire callback is handed its address */
    struct flat *flat;
    uint64_t version; /* 1, 2, 3, ... within a flat */
    struct pmap map;
    size_t count; /* of sections */

    /* From here on: the flat's business. */
    struct pmap_node *garbage_nodes; /* set before the view is retired */
    struct section *garbage_sections;
    size_t garbage_nnodes;
    size_t garbage_nsections;
    unsigned borrowers;            /* the rest: under the flat's borrow_lock */
    struct mv_view *next_borrowed; /* in order of version */
    struct mv_view *next_waiting;  /* for borrowers; later on: the next parcel (pool.h) */
};

/* The section that contains `address`, or NULL. */
static inline const struct section *view_find(const struct mv_view *view, uint64_t address)
{
    return pmap_find(&view->map, address);
}

/* The first section that ends at `address` or after it, or NULL. */
static inline const struct section *view_next(const struct mv_view *view, uint64_t address)
{
    return pmap_next(&view->map, address);
}

static inline unsigned char *section_host(const struct section *section, uint64_t address)
{
    return hva_pointer(mv_hva(section->host_delta + address));
}

/* The same place, region, offset and rights: not gone and come. */
static inline bool section_equal(const struct section *a, const struct section *b)
{
    return range_equal(a->range, b->range) && a->region == b->region && a->offset == b->offset &&
           rights_equal(a->rights, b->rights) && a->has_host == b->has_host;
}

/* Whether b goes on where a ends, so that the two are one section. */
static inline bool section_continues(const struct section *a, const struct section *b)
{
    return a->range.last + 1 == b->range.first && a->region == b->region && rights_equal(a->rights, b->rights) &&
           a->offset + (a->range.last - a->range.first) + 1 == b->offset;
}

/* A new section in memory of the machine's pool, with a reference to its region, and nothing linked. Control lock
 * held. NULL when out of memory. */
struct section *section_create(struct mv_region *region, struct mv_range range, uint64_t offset,
                               struct rights rights);
/* Give back its references; its memory is the caller's. */
void section_finish(struct section *section);

void section_describe(const struct section *section, struct mv_section *ret);

/* Execute the invariants. O(sections). */
bool view_check(const struct mv_view *view);

#endif
