// SPDX-License-Identifier: MIT
#include "machine/machine.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/epoch.h"
#include "base/error.h"
#include "machine/coalesced.h"
#include "machine/commit.h"
#include "machine/pool.h"
#include "machine/region.h"
#include "machine/undo.h"

static int no_memory(struct mv_error *err)
{
    return error_set(err, -ENOMEM, "no-memory", NULL, "machine: out of memory");
}

int mv_machine_create(struct mv_machine **ret, struct mv_error *err)
{
    struct mv_machine *machine = calloc(1, sizeof *machine);
    if (!machine) {
        return no_memory(err);
    }
    machine->undo = undo_create();
    machine->pool = pool_create();
    if (!machine->undo || !machine->pool) {
        undo_destroy(machine->undo);
        pool_destroy(machine->pool);
        free(machine);
        return no_memory(err);
    }
    epoch_start();
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&machine->control, &recursive);
    pthread_mutexattr_destroy(&recursive);
    CDS_INIT_LIST_HEAD(&machine->flats);
    CDS_INIT_LIST_HEAD(&machine->spaces);
    CDS_INIT_LIST_HEAD(&machine->listeners);
    CDS_INIT_LIST_HEAD(&machine->deferred);
    CDS_INIT_LIST_HEAD(&machine->ended);
    CDS_INIT_LIST_HEAD(&machine->drains);
    CDS_INIT_LIST_HEAD(&machine->logged_blocks);
    pthread_mutex_init(&machine->drain_lock, NULL);
    block_table_init(&machine->blocks);
    atomic_init(&machine->refs, 1);
    *ret = machine;
    return 0;
}

struct mv_machine *machine_get(struct mv_machine *machine)
{
    atomic_fetch_add_explicit(&machine->refs, 1, memory_order_relaxed);
    return machine;
}

void machine_put(struct mv_machine *machine)
{
    if (atomic_fetch_sub_explicit(&machine->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    undo_destroy(machine->undo);
    pool_destroy(machine->pool);
    block_table_finish(&machine->blocks);
    pthread_mutex_destroy(&machine->control);
    pthread_mutex_destroy(&machine->drain_lock);
    free(machine);
}

void mv_machine_destroy(struct mv_machine *machine)
{
    if (machine) {
        epoch_drain();
        machine_put(machine);
    }
}

void machine_lock(struct mv_machine *machine)
{
    pthread_mutex_lock(&machine->control);
    machine->held++;
}

/*
 * A reference that is given back may be the last, and then this thread comes here again, with its children on the
 * list: they are left to the loop that is under way, or a long list would be a deep stack. Another thread's loop
 * may end meanwhile and take the mark away; then this thread begins one more.
 */
static void let_go_of_deferred(struct mv_machine *machine)
{
    struct mv_region *region;
    if (machine->letting_go && pthread_equal(machine->who_lets_go, pthread_self())) {
        return;
    }
    while ((region = region_pop_deferred(machine)) != NULL) {
        machine->letting_go = true;
        machine->who_lets_go = pthread_self();
        machine->held = 0;
        pthread_mutex_unlock(&machine->control);
        region_let_go(region);
        pthread_mutex_lock(&machine->control);
        machine->held = 1;
    }
    machine->letting_go = false;
}

void machine_unlock(struct mv_machine *machine)
{
    if (machine->held == 1) {
        let_go_of_deferred(machine);
    }
    machine->held--;
    pthread_mutex_unlock(&machine->control);
}

bool machine_is_locked_here(struct mv_machine *machine)
{
    if (pthread_mutex_trylock(&machine->control) != 0) {
        return false;
    }
    bool held = machine->held > 0;
    pthread_mutex_unlock(&machine->control);
    return held;
}

void machine_lock_flushed(struct mv_machine *machine)
{
    machine_lock(machine);
    if (machine->held == 1 && atomic_load(&machine->drain_count) > 0) {
        machine_unlock(machine); /* handlers are called without it */
        mv_machine_flush_coalesced(machine);
        machine_lock(machine);
    }
}

int mv_machine_begin(struct mv_machine *machine, struct mv_error *err)
{
    machine_lock_flushed(machine);
    if (machine->committing) {
        machine_unlock(machine);
        return error_set(err, -EBUSY, "busy", NULL, "machine: a listener cannot edit the tree during a commit");
    }
    machine->depth++;
    return 0;
}

/* The outermost transaction comes to nothing, for whatever reason. */
static void take_back(struct mv_machine *machine)
{
    undo_all(machine->undo);
    commit_new_flats(machine);
}

static int end_outermost(struct mv_machine *machine, struct mv_error *err)
{
    int rc = 0;
    if (machine->aborted) {
        rc = error_set(err, -ECANCELED, "aborted", NULL, "machine: the transaction was aborted");
        commit_nothing(machine);
        take_back(machine);
    } else if (machine->dirty || machine->watch_dirty) {
        machine->committing = true;
        rc = commit_spaces(machine, err);
        machine->committing = false;
        if (rc < 0) {
            take_back(machine);
        }
    }
    machine->aborted = machine->dirty = machine->watch_dirty = machine->log_gained = false;
    undo_clear(machine->undo);
    return rc;
}

int mv_machine_commit(struct mv_machine *machine, struct mv_error *err)
{
    assert(machine->depth > 0 && !machine->committing);
    int rc = machine->depth == 1 ? end_outermost(machine, err) : 0;
    machine->depth--;
    machine_unlock(machine);
    return rc;
}

void mv_machine_abort(struct mv_machine *machine)
{
    machine->aborted = true;
    (void)mv_machine_commit(machine, NULL);
}

int mv_machine_rehearse(struct mv_machine *machine, void (*print)(void *opaque, const char *line), void *opaque,
                        struct mv_error *err)
{
    assert(machine->depth > 0 && !machine->committing);
    int rc = 0;
    if (machine->depth > 1) {
        return error_set(err, -EBUSY, "nested", NULL, "machine: only the outermost transaction can be rehearsed");
    }
    if (machine->dirty && !machine->aborted) {
        machine->committing = true;
        rc = commit_rehearse(machine, print, opaque, err);
        machine->committing = false;
    }
    mv_machine_abort(machine);
    return rc;
}
