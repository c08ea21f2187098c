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

/*
 * With this liburcu's short read-side functions are compiled into ours. Called through the shared library they
 * would cost more than the whole rest of a guest access. They are LGPL; memvirt's own licence is compatible with
 * that. Who distributes binaries under other terms builds with -Durcu_inline=false.
 */
#ifdef MEMVIRT_URCU_INLINE
#define _LGPL_SOURCE
#endif
#include <urcu/urcu-bp.h>

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <urcu/compiler.h>

/*
 * liburcu is not built for ThreadSanitizer, which therefore cannot see that what readers and the retiring thread
 * did comes before the free. These tell it.
 */
#if defined(__SANITIZE_THREAD__)
#define EPOCH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define EPOCH_TSAN 1
#endif
#endif
#ifdef EPOCH_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define EPOCH_ACQUIRE(address) __tsan_acquire(address)
#define EPOCH_RELEASE(address) __tsan_release(address)
#else
#define EPOCH_ACQUIRE(address) ((void)(address))
#define EPOCH_RELEASE(address) ((void)(address))
#endif

/* Any address will do that is the same everywhere: that of a function of liburcu's. */
#define EPOCH_READERS ((void *)(uintptr_t)urcu_bp_synchronize_rcu)

/* Embedded in an object that can be retired. */
struct epoch_head {
    struct rcu_head rcu;
};

/*
 * Before anything is retired: makes liburcu's thread, if this process does not have it yet, and in it no signal of
 * the application is handled.
 */
static inline void epoch_start(void)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    (void)urcu_bp_get_default_call_rcu_data();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static inline void epoch_enter(void)
{
    urcu_bp_read_lock();
}

static inline void epoch_exit(void)
{
    EPOCH_RELEASE(EPOCH_READERS);
    urcu_bp_read_unlock();
}

/*
 * The same in fewer instructions, for the fast paths of accesses: this thread's counter is looked up once, and so
 * is whether the kernel brings the fences (membarrier). epoch_quick_enter says no when this thread has not entered
 * an epoch before, or there is no membarrier: then nothing was entered, and epoch_enter does it all. What
 * epoch_quick_enter entered, epoch_exit may leave as well.
 */
struct epoch_quick {
    unsigned long *counter;
    unsigned long before; /* of it: to go back there is to leave */
};

static inline __attribute__((always_inline)) bool epoch_quick_enter(struct epoch_quick *ret)
{
#ifdef MEMVIRT_URCU_INLINE
    struct urcu_bp_reader *me = URCU_TLS(urcu_bp_reader);
    if (__builtin_expect(!me || !urcu_bp_has_sys_membarrier, 0)) {
        return false;
    }
    unsigned long before = me->ctr;
    bool nested = before & URCU_BP_GP_CTR_NEST_MASK;
    _CMM_STORE_SHARED(me->ctr,
                      __builtin_expect(nested, 0) ? before + URCU_BP_GP_COUNT : _CMM_LOAD_SHARED(urcu_bp_gp.ctr));
    cmm_barrier();
    *ret = (struct epoch_quick){&me->ctr, before};
#else
    epoch_enter();
    *ret = (struct epoch_quick){NULL, 0};
#endif
    return true;
}

static inline __attribute__((always_inline)) void epoch_quick_exit(struct epoch_quick quick)
{
#ifdef MEMVIRT_URCU_INLINE
    EPOCH_RELEASE(EPOCH_READERS);
    cmm_barrier();
    _CMM_STORE_SHARED(*quick.counter, quick.before);
    cmm_barrier();
#else
    (void)quick;
    epoch_exit();
#endif
}

/* Whether this thread is in an epoch: so it is in every handler. */
static inline bool epoch_is_inside(void)
{
    return urcu_bp_read_ongoing() != 0;
}

/* Pairs with epoch_load: what was written to *new before is visible to whoever loads the pointer. */
#define epoch_publish(place, new_pointer) __atomic_store_n(&(place), (new_pointer), __ATOMIC_RELEASE)
#define epoch_load(place) __atomic_load_n(&(place), __ATOMIC_ACQUIRE)

static inline void epoch_retire(struct epoch_head *head, void (*free_it)(struct rcu_head *))
{
    EPOCH_RELEASE(head);
    urcu_bp_call_rcu(&head->rcu, free_it);
}

/* First thing in a retire callback. */
static inline void epoch_retired(struct epoch_head *head)
{
    EPOCH_ACQUIRE(head);
    EPOCH_ACQUIRE(EPOCH_READERS);
}

/* Wait until everything retired so far is freed. Never inside an epoch, nor in a retire callback. */
static inline void epoch_drain(void)
{
    urcu_bp_barrier();
    EPOCH_ACQUIRE(EPOCH_READERS);
}

#endif
