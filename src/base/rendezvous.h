// SPDX-License-Identifier: MIT
/*
 * A rendezvous: how one thread waits until several others have left what they are in, at no cost to them. A member
 * (a vCPU) is inside between rendezvous_enter and rendezvous_leave. Who takes something away from members makes it
 * unreachable first and then calls rendezvous_wait: when that returns, each member that was inside has left at
 * least once, so nobody holds what was taken away.
 *
 * The argument (Dekker's): the member writes `inside` and reads what is published; the waiter publishes, and reads
 * `inside`. One of them must see the other. The fence between the member's write and reads is the waiter's to pay
 * for: membarrier(2) makes every thread of the process execute one. Where the host has no membarrier, members
 * fence themselves.
 *
 * A member that comes and goes without a pause could be inside whenever the waiter looks. So each entry counts
 * `turn` up, before the fence: another turn than the one that the waiter found is a later stay. Who enters without
 * counting (a window, <memvirt/soft.h>) looks at `attention`, which is set while somebody waits, and then counts
 * like all others.
 *
 * Entering does not nest, and who is inside must neither wait for a rendezvous nor block on who does.
 */
#ifndef BASE_RENDEZVOUS_H
#define BASE_RENDEZVOUS_H

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* One cache line of its own, written by its thread alone. */
struct rendezvous_member {
    _Alignas(64) uint32_t inside; /* 1: it is */
    uint32_t attention;           /* written by who waits */
    uint64_t turn;
    bool fences; /* there is no membarrier */
    uint64_t fence;
    struct rendezvous_member *next;
};

/* Owned by who makes it; members are added and removed under `lock`. */
struct rendezvous {
    pthread_mutex_t lock; /* leaf; held over a wait */
    struct rendezvous_member *members;
    bool has_barrier; /* membarrier(2) */
    uint64_t fence;
};

void rendezvous_init(struct rendezvous *r);
void rendezvous_finish(struct rendezvous *r); /* no members are left */
void rendezvous_add(struct rendezvous *r, struct rendezvous_member *member);
void rendezvous_remove(struct rendezvous *r, struct rendezvous_member *member); /* it is not inside */

/* Wait until each member that is inside now has left. Any thread that is not inside. @return whether any was */
bool rendezvous_wait(struct rendezvous *r);

/* A full barrier for whoever can have none from the host: a locked operation, which ThreadSanitizer knows. */
static inline void rendezvous_fence(uint64_t *own)
{
    (void)__atomic_fetch_add(own, 0, __ATOMIC_SEQ_CST);
}

static inline void rendezvous_enter(struct rendezvous_member *m)
{
    assert(!__atomic_load_n(&m->inside, __ATOMIC_RELAXED));
    __atomic_store_n(&m->inside, 1, __ATOMIC_RELAXED);
    /* Release: the stay before is over for who sees this turn. */
    __atomic_store_n(&m->turn, __atomic_load_n(&m->turn, __ATOMIC_RELAXED) + 1, __ATOMIC_RELEASE);
    if (__builtin_expect(m->fences, 0)) {
        rendezvous_fence(&m->fence);
    }
    __atomic_signal_fence(__ATOMIC_SEQ_CST); /* pairs with the waiter's membarrier */
}

static inline void rendezvous_leave(struct rendezvous_member *m)
{
    /* Release: what was read inside was read before; pairs with the waiter's acquire. */
    __atomic_store_n(&m->inside, 0, __ATOMIC_RELEASE);
}

static inline bool rendezvous_is_inside(const struct rendezvous_member *m)
{
    return __atomic_load_n(&m->inside, __ATOMIC_RELAXED);
}

#endif
