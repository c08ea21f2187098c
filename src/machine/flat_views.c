// SPDX-License-Identifier: MIT
/*
 * The views of a flat: made, published, borrowed, and freed. A view and what its successor no longer shows may go
 * when
 *   1. all epochs in which a reader could have found it are over: so it is retired when it is replaced;
 *   2. nobody borrows it, nor an older view, which may share those sections: so a view whose epochs are over waits
 * on a list while such a borrower is there.
 * Then it goes to the machine's pool (pool.h).
 */
#include <assert.h>
#include <stdlib.h>

#include "machine/flat.h"
#include "machine/machine.h"

struct mv_view *flat_new_view(struct flat *flat, uint64_t version)
{
    struct mv_view *view = pool_take(flat->machine->pool, POOL_VIEW);
    if (view) {
        *view = (struct mv_view){.flat = flat, .version = version, .map = PMAP_EMPTY};
    }
    return view;
}

static void free_flat(struct flat *flat)
{
    struct mv_machine *machine = flat->machine;
    pthread_mutex_destroy(&flat->borrow_lock);
    free(flat->stale.ranges);
    free(flat->removed.sections);
    free(flat->added.sections);
    free(flat->before.sections);
    free(flat->after.sections);
    free(flat);
    machine_put(machine);
}

/* Views are freed one by one, and the flat with the last one. */
static void free_view(struct mv_view *view)
{
    struct flat *flat = view->flat;
    for (struct section *section = view->garbage_sections; section; section = section->link) {
        section_finish(section);
    }
    pool_return(flat->machine->pool, view);
    if (atomic_fetch_sub_explicit(&flat->live_views, 1, memory_order_acq_rel) == 1) {
        free_flat(flat);
    }
}

/* Let a view whose epochs are over wait if a borrower needs it. */
static bool wait_for_borrowers(struct flat *flat, struct mv_view *view)
{
    /*
     * Who borrows this view, or an older one, was on the list before its epochs were over. So without anybody
     * there is nothing to wait for, and no reason to meet the editor at the lock. The acquire pairs with the
     * release in flat_release: the last borrower has read what he wanted.
     */
    if (!__atomic_load_n(&flat->borrowed, __ATOMIC_ACQUIRE)) {
        return false;
    }
    pthread_mutex_lock(&flat->borrow_lock);
    bool needed = flat->borrowed && flat->borrowed->version <= view->version;
    if (needed) {
        view->next_waiting = flat->waiting;
        flat->waiting = view;
    }
    pthread_mutex_unlock(&flat->borrow_lock);
    return needed;
}

/* The epochs in which the view could be found are over. In liburcu's thread. */
static void view_retired(struct rcu_head *head)
{
    struct mv_view *view = caa_container_of(head, struct mv_view, epoch.rcu);
    epoch_retired(&view->epoch);
    if (!wait_for_borrowers(view->flat, view)) {
        free_view(view);
    }
    EPOCH_RELEASE(EPOCH_READERS); /* for who waits in epoch_drain */
}

void flat_retire_view(struct mv_view *view)
{
    epoch_retire(&view->epoch, view_retired);
}

void flat_publish_view(struct flat *flat, struct mv_view *view)
{
    atomic_fetch_add_explicit(&flat->live_views, 1, memory_order_relaxed);
    shortcut_close(&flat->shortcuts, &flat->touched);
    pthread_mutex_lock(&flat->borrow_lock);
    epoch_publish(flat->view, view);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* see reader.c */
    for (struct mv_reader *reader = flat->readers; reader; reader = reader->next) {
        flat_forget_pieces(reader);
    }
    pthread_mutex_unlock(&flat->borrow_lock);
    shortcut_fill(&flat->shortcuts, &flat->touched, &view->map);
#ifdef MEMVIRT_EXPENSIVE_CHECKS
    assert(shortcut_check(&flat->shortcuts, &view->map));
#endif
}

struct mv_view *flat_borrow(struct flat *flat)
{
    epoch_enter(); /* until it is on the list, that is what keeps it */
    struct mv_view *view = epoch_load(flat->view);
    pthread_mutex_lock(&flat->borrow_lock);
    if (view->borrowers++ == 0) {
        struct mv_view **link = &flat->borrowed;
        while (*link && (*link)->version < view->version) {
            link = &(*link)->next_borrowed;
        }
        view->next_borrowed = *link;
        __atomic_store_n(link, view, __ATOMIC_RELEASE); /* see wait_for_borrowers */
    }
    pthread_mutex_unlock(&flat->borrow_lock);
    epoch_exit();
    return view;
}

/* Take the waiting views out that no borrower needs. `borrow_lock` held. */
static struct mv_view *take_unneeded(struct flat *flat)
{
    struct mv_view *taken = NULL;
    struct mv_view **link = &flat->waiting;
    while (*link) {
        struct mv_view *view = *link;
        if (flat->borrowed && flat->borrowed->version <= view->version) {
            link = &view->next_waiting;
        } else {
            *link = view->next_waiting;
            view->next_waiting = taken;
            taken = view;
        }
    }
    return taken;
}

void flat_release(struct mv_view *view)
{
    struct flat *flat = view->flat;
    struct mv_view *unneeded = NULL;
    pthread_mutex_lock(&flat->borrow_lock);
    assert(view->borrowers > 0);
    if (--view->borrowers == 0) {
        struct mv_view **link = &flat->borrowed;
        while (*link != view) {
            link = &(*link)->next_borrowed;
        }
        __atomic_store_n(link, view->next_borrowed, __ATOMIC_RELEASE);
        unneeded = take_unneeded(flat);
    }
    pthread_mutex_unlock(&flat->borrow_lock);
    while (unneeded) {
        struct mv_view *next = unneeded->next_waiting;
        free_view(unneeded);
        unneeded = next;
    }
}

void flat_forget_pieces(struct mv_reader *reader)
{
    size_t end = __atomic_load_n(&reader->end, __ATOMIC_RELAXED);
    for (size_t i = __atomic_load_n(&reader->first, __ATOMIC_RELAXED); i < end; i++) {
        __atomic_store_n(&reader->host_deltas[i], 0, __ATOMIC_RELAXED);
    }
}

void flat_add_reader(struct flat *flat, struct mv_reader *reader)
{
    pthread_mutex_lock(&flat->borrow_lock);
    reader->next = flat->readers;
    flat->readers = reader;
    pthread_mutex_unlock(&flat->borrow_lock);
}

void flat_remove_reader(struct flat *flat, struct mv_reader *reader)
{
    pthread_mutex_lock(&flat->borrow_lock);
    struct mv_reader **link = &flat->readers;
    while (*link != reader) {
        link = &(*link)->next;
    }
    *link = reader->next;
    pthread_mutex_unlock(&flat->borrow_lock);
}
