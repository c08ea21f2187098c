// SPDX-License-Identifier: MIT
/*
 * Inside a machine: the control lock, the open transaction and its undo log, and who takes part in a commit.
 *
 * Locking. `control` serialises the control plane. It is recursive, because an edit is a transaction of its own
 * and may be made inside another. It is held over listener callbacks: they are part of the transaction, and an
 * edit made by one is refused rather than nested. No reader of guest memory ever takes it.
 */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include <memvirt/machine.h>
#include <pthread.h>
#include <stdatomic.h>
#include <urcu/list.h>

#include "machine/block_table.h"

struct mtree_regions;
struct mv_region;
struct pool;
struct undo_log;

/*
 * Owned by the caller of mv_machine_create; every block, region and space holds a reference, so that it outlives
 * them. Invariants (control lock held, outside a commit): depth == 0  =>  undo log is empty, and every space's
 * view is what its tree renders to committing  =>  depth == 1
 */
struct mv_machine {
    atomic_uint refs;
    pthread_mutex_t control;
    unsigned held;              /* how often the holder of `control` holds it */
    unsigned depth;             /* of open transactions, all by the holder of `control` */
    bool committing;            /* listeners are being told */
    bool aborted;               /* the open transaction comes to nothing */
    bool dirty;                 /* something that a space shows changed since the outermost begin */
    bool watch_dirty;           /* or what is done instead of calling handlers */
    bool log_gained;            /* and so did what is logged: see dirty.h */
    pthread_mutex_t drain_lock; /* see coalesced.h; taken before `control` */
    struct cds_list_head drains;
    atomic_uint drain_count;
    uint64_t order_clock;       /* see struct region_state */
    struct cds_list_head flats; /* what the spaces show */
    struct cds_list_head spaces;
    struct block_table blocks;
    struct cds_list_head listeners; /* ascending priority, of equals the earliest first */
    struct cds_list_head deferred;  /* regions, by their deferred_link: see region_put_deferred */
    bool letting_go;                /* somebody gives them back, without the lock: */
    pthread_t who_lets_go;
    struct cds_list_head ended; /* the same, of those without a reference: see mv_region_put */
    struct undo_log *undo;
    struct pool *pool;                     /* what views are made of */
    enum mv_overlap_policy overlap_policy; /* see overlap.h */
    void (*overlap_tell)(void *opaque, const char *line);
    void *overlap_opaque;
    atomic_uint log_reasons;            /* why all is logged for migration; written with the lock */
    atomic_bool log_live;               /* whether writers mark for it */
    unsigned log_postponed;             /* of them, those that end when no VM is paused */
    unsigned log_pauses;                /* VMs that are paused */
    struct cds_list_head logged_blocks; /* see dirty_index.h */
    unsigned logs;  /* regions that are logged for the display, and 1 if all is for migration */
    uint64_t visit; /* stamps regions in graph searches: a region with this stamp has been seen */

    bool hollow; /* its memory has no blocks: it is to be looked at only (mtree_import.c) */
    const struct mtree_regions *paragraphs; /* alias targets that `info mtree` prints before others, or NULL */
};

struct mv_machine *machine_get(struct mv_machine *machine);
void machine_put(struct mv_machine *machine);

/* The control lock. The unlock that frees it also gives back the deferred references, without it. */
void machine_lock(struct mv_machine *machine);
void machine_unlock(struct mv_machine *machine);
/* Whether the calling thread has it. */
bool machine_is_locked_here(struct mv_machine *machine);
/* Before an edit: what devices have not heard of yet was written to what is there now. */
void machine_lock_flushed(struct mv_machine *machine);

#endif
