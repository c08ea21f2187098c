// SPDX-License-Identifier: MIT
/*
 * Epochs: how readers use what writers replace, without waiting. liburcu's "bulletproof" flavour does the work:
 * any thread may enter without registering itself, which a library cannot ask of its callers.
 *
 * A reader brackets its use of a published pointer with epoch_enter and epoch_exit (they nest, and never block). A
 * writer publishes a replacement with epoch_publish, then hands the old object to epoch_retire, whose callback
 * runs in liburcu's thread once every reader that could have seen the object has left.
 */
#ifndef BASE_EPOCH_H
#define BASE_EPOCH_H

#define URCU_API_MAP
#define URCU_INLINE_SMALL_FUNCTIONS
#include <urcu/urcu-bp.h>

#include <urcu/compiler.h>

/* Embedded in an object that can be retired. */
struct epoch_head {
    struct rcu_head rcu;
};

static inline void epoch_enter(void)
{
    urcu_bp_read_lock();
}

static inline void epoch_exit(void)
{
    urcu_bp_read_unlock();
}

/* Pairs with epoch_load: what was written to *new before is visible to whoever loads the pointer. */
#define epoch_publish(place, new_pointer) rcu_assign_pointer(place, new_pointer)
#define epoch_load(place) rcu_dereference(place)

static inline void epoch_retire(struct epoch_head *head, void (*free_it)(struct rcu_head *))
{
    urcu_bp_call_rcu(&head->rcu, free_it);
}

/* Wait until everything retired so far is freed. Never inside an epoch, nor in a retire callback. */
static inline void epoch_drain(void)
{
    urcu_bp_barrier();
}

#endif
