// SPDX-License-Identifier: MIT
#include "base/rendezvous.h"

#include <sched.h>
#include <time.h>

#include "base/os.h"

void rendezvous_init(struct rendezvous *r)
{
    *r = (struct rendezvous){.has_barrier = os_barrier_prepare() == 0};
    pthread_mutex_init(&r->lock, NULL);
}

void rendezvous_finish(struct rendezvous *r)
{
    assert(!r->members);
    pthread_mutex_destroy(&r->lock);
}

void rendezvous_add(struct rendezvous *r, struct rendezvous_member *member)
{
    *member = (struct rendezvous_member){.fences = !r->has_barrier};
    pthread_mutex_lock(&r->lock);
    member->next = r->members;
    r->members = member;
    pthread_mutex_unlock(&r->lock);
}

void rendezvous_remove(struct rendezvous *r, struct rendezvous_member *member)
{
    assert(!rendezvous_is_inside(member));
    pthread_mutex_lock(&r->lock);
    struct rendezvous_member **place = &r->members;
    while (*place != member) {
        place = &(*place)->next;
    }
    *place = member->next;
    pthread_mutex_unlock(&r->lock);
}

/* A stay is short as a rule: some hundred nanoseconds. It is long when its thread lost its processor, or waits for
 * the host to bring a page of guest memory. */
static void pause_a_little(unsigned tries)
{
    if (tries < 64) {
        __builtin_ia32_pause();
    } else if (tries < 128) {
        sched_yield();
    } else {
        nanosleep(&(struct timespec){.tv_nsec = 50 * 1000}, NULL);
    }
}

static bool wait_for(const struct rendezvous_member *member)
{
    uint64_t turn = __atomic_load_n(&member->turn, __ATOMIC_ACQUIRE);
    if (!__atomic_load_n(&member->inside, __ATOMIC_ACQUIRE)) {
        return false;
    }
    for (unsigned tries = 0; __atomic_load_n(&member->inside, __ATOMIC_ACQUIRE) &&
                             __atomic_load_n(&member->turn, __ATOMIC_ACQUIRE) == turn;
         tries++) {
        pause_a_little(tries);
    }
    return true;
}

static void ask_attention(struct rendezvous *r, bool on)
{
    for (struct rendezvous_member *m = r->members; m; m = m->next) {
        __atomic_store_n(&m->attention, on, __ATOMIC_RELAXED);
    }
}

bool rendezvous_wait(struct rendezvous *r)
{
    bool waited = false;
    pthread_mutex_lock(&r->lock);
    ask_attention(r, true);
    if (r->has_barrier) {
        os_barrier();
    } else {
        rendezvous_fence(&r->fence);
    }
    for (const struct rendezvous_member *m = r->members; m; m = m->next) {
        waited |= wait_for(m);
    }
    ask_attention(r, false);
    pthread_mutex_unlock(&r->lock);
    return waited;
}
