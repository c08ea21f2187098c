// SPDX-License-Identifier: MIT
/*
 * A flat: what the spaces with one root region show. It has a current view, knows which ranges of it an open
 * transaction has made stale, and makes the next view of just those. Spaces with the same root share one.
 */
#ifndef MACHINE_FLAT_H
#define MACHINE_FLAT_H

#include <memvirt/reader.h>
#include <pthread.h>
#include <stdatomic.h>
#include <urcu/list.h>

#include "base/line.h"
#include "machine/ioeventfd.h"
#include "machine/shortcuts.h"
#include "machine/view.h"

/* Ranges, in any order, perhaps overlapping; all zero: none. */
struct range_list {
    struct mv_range *ranges;
    size_t count;
    size_t capacity;
};

/* Sections in order of address; the list does not own them. */
struct section_list {
    struct section **sections;
    size_t count;
    size_t capacity;
};

/*
 * Owned by the spaces that show it, counted in `users`, and then by its views. All under the control lock but
 * `view` and `logged`, which anyone may load inside an epoch, `live_views`, and what `borrow_lock` protects.
 */
struct flat {
    /* What accesses read is in lines that no commit writes (the flat begins with one: line_alloc) ... */
    struct shortcuts shortcuts; /* ... but for the slots that it changes ... */
    struct mv_machine *machine;
    struct mv_region *root; /* a reference; root->flat is this */
    atomic_bool logged;     /* anything in the machine is: writers look here (dirty.h) */
    char rest_of_line[CACHE_LINE - 2 * sizeof(void *) - sizeof(atomic_bool)];

    struct mv_view *view; /* ... and this one. Published; never NULL */
    char rest_of_views_line[CACHE_LINE - sizeof(void *)];

    struct range_list stale; /* since the outermost begin */
    bool stale_all;          /* the list could not be kept: anything may be stale */
    unsigned users;
    struct cds_list_head link; /* in the machine's flats */

    /* During a commit: the version in the making. */
    struct mv_view *next;
    struct pmap_edit edit;
    struct shortcut_set touched;
    struct section *born;    /* made for it */
    struct section *dropped; /* in `view`, not in it */
    size_t ndropped;
    struct section_list removed; /* what listeners are told, in order: dropped and born, but for equal pairs */
    struct section_list added;
    struct section_list before; /* those that stayed, but are logged or watched otherwise: as they were ... */
    struct section_list after;  /* ... and as they are */

    struct event_diff events; /* of the eventfds that they have */

    char line_between[CACHE_LINE];
    atomic_uint live_views;      /* liburcu's thread counts them down */
    pthread_mutex_t borrow_lock; /* a leaf */
    struct mv_view *borrowed;    /* views that somebody holds, the oldest first; also looked at without the lock */
    struct mv_reader *readers;   /* who has to forget when a view is published */
    struct mv_view *waiting; /* retired views that may show something to a borrower of them or of an older one */
};

_Static_assert(offsetof(struct flat, view) % CACHE_LINE == 0 && offsetof(struct flat, stale) % CACHE_LINE == 0,
               "what editors write is in other lines");

/* The section at `address` now, or NULL. Inside an epoch. */
static inline const struct section *flat_find(const struct flat *flat, uint64_t address)
{
    const struct section *s = shortcut_find(&flat->shortcuts, address);
    return __builtin_expect(s != NULL, 1) ? s : view_find(epoch_load(flat->view), address);
}

/* Find or make the flat of a root. Control lock held. NULL when out of memory. */
struct flat *flat_get(struct mv_region *root);
void flat_put(struct flat *flat);

/* Something in [range] of the root may show differently from now on. Control lock held. Cannot fail. */
void flat_mark(struct flat *flat, struct mv_range range);

/*
 * Make `next`, `removed` and `added` of what is stale; next stays NULL if nothing is. Control lock held.
 * @return 0; -ENOMEM; -ELOOP: the tree is too deep; either way flat_publish or flat_discard must follow
 */
int flat_prepare(struct flat *flat);
/* Publish what a successful flat_prepare made, if it made anything. */
void flat_publish(struct flat *flat);
/* Forget what flat_prepare made. The ranges are stale no more: the caller undoes the edits. */
void flat_discard(struct flat *flat);

/* --- its views: flat_views.c ------------------------------------------------------------------- */

/* An empty one, which nobody can find yet. Control lock held. NULL when out of memory. */
struct mv_view *flat_new_view(struct flat *flat, uint64_t version);
/* Let it be found, and make readers forget the one before. Control lock held. */
void flat_publish_view(struct flat *flat, struct mv_view *view);
/* It was replaced, or there is no flat any more: it and its garbage go when nobody can read them. */
void flat_retire_view(struct mv_view *view);

/* Who has to forget from now on; any thread. */
void flat_add_reader(struct flat *flat, struct mv_reader *reader);
void flat_remove_reader(struct flat *flat, struct mv_reader *reader);
void flat_forget_pieces(struct mv_reader *reader);

/* Borrow the current view, for longer than an epoch; any thread. */
struct mv_view *flat_borrow(struct flat *flat);
void flat_release(struct mv_view *view);

#endif
