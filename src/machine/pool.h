// SPDX-License-Identifier: MIT
/*
 * A machine's pool: memory of views, on its way from the last reader back to the next edit.
 *
 *      edit --- publishes ---> view --- is replaced, its epochs end ---> pool_return (any thread)
 *       ^                                                                      |
 *       +---- pool_take <---- racks of spares <---- opened when needed ---- parcels
 *
 * What one thread allocates another frees, liburcu's. Through malloc that costs a quarter of an edit: the two meet
 * at its lock, and nodes are put together and taken apart there. So a view that nobody reads any more becomes a
 * parcel: itself, and the nodes and sections that its successor did not take over. It is pushed in one piece, and
 * opened by an editor who runs out of spares.
 *
 * Bounds: parcels hold at most POOL_PARCELS_BYTES_MAX together, a rack POOL_SPARES_MAX. What is beyond is freed.
 */
#ifndef MACHINE_POOL_H
#define MACHINE_POOL_H

#include <stddef.h>

#define POOL_PARCELS_BYTES_MAX ((size_t)32 << 20) /* what an editor without a pause replaces in 20 ms */
#define POOL_SPARES_MAX 256u

enum pool_kind {
    POOL_VIEW,
    POOL_NODE,
    POOL_SECTION,
    POOL_KINDS,
};

struct mv_view;
struct pool;

/* Owned by its machine. NULL when out of memory. */
struct pool *pool_create(void);
/* Nobody may return anything any more. */
void pool_destroy(struct pool *pool);

/* Memory for one, not initialised: a spare, or else new. Control lock held. NULL when out of memory. */
void *pool_take(struct pool *pool, enum pool_kind kind);
/* What was taken, and no reader has seen. Control lock held. */
void pool_give(struct pool *pool, enum pool_kind kind, void *memory);
/*
 * A view that nobody can read any more, with its lists of garbage; the sections have given back their references.
 * Any thread.
 */
void pool_return(struct pool *pool, struct mv_view *view);

#endif
