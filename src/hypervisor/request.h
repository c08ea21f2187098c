// SPDX-License-Identifier: MIT
/*
 * Requests: what a vCPU has to do before its next access, posted by anybody (KVM's vcpu->requests). The hypervisor
 * never touches a TLB: it asks.
 */
#ifndef HYPERVISOR_REQUEST_H
#define HYPERVISOR_REQUEST_H

#include <stdatomic.h>
#include <stdbool.h>

enum hv_request {
    HV_REQUEST_FLUSH = 1u << 0,       /* INVEPT, single context, or its like: all translations of this VM */
    HV_REQUEST_RELOAD_ROOT = 1u << 1, /* the root that it walks is obsolete; implies a flush */
    HV_REQUEST_DRAIN_PML = 1u << 2,   /* hand the buffer to the dirty log */
    HV_REQUEST_LOGGING = 1u << 3,     /* whether PML is on has changed */
    HV_REQUEST_STAY_OUT = 1u << 4,    /* see hv_hold_vcpus: it asks whether it may go on */
    HV_REQUEST_HELD = 1u << 30,       /* somebody does a vCPU's work in its place: it waits to take its requests */
};

struct hv_requests {
    atomic_uint pending;
};

static inline void hv_request_post(struct hv_requests *r, unsigned what)
{
    /* Release: the zap comes before; pairs with the acquire of the taker. */
    atomic_fetch_or_explicit(&r->pending, what, memory_order_release);
}

/* The fast check, inside. What was posted before a rendezvous is seen by that; acquire is for what another thread
 * has done in the vCPU's place: pairs with hv_request_let_go. */
static inline bool hv_request_is_pending(struct hv_requests *r)
{
    return atomic_load_explicit(&r->pending, memory_order_acquire) != 0;
}

/* Inside, by the vCPU's thread: all that is pending is its to do now. While another thread holds the vCPU, it
 * waits; who holds waits for nobody. */
static inline unsigned hv_request_take(struct hv_requests *r)
{
    unsigned pending = atomic_load_explicit(&r->pending, memory_order_relaxed);
    for (;;) {
        if (pending & HV_REQUEST_HELD) {
            __builtin_ia32_pause();
            pending = atomic_load_explicit(&r->pending, memory_order_relaxed);
        } else if (atomic_compare_exchange_weak_explicit(&r->pending, &pending, 0, memory_order_acquire,
                                                         memory_order_relaxed)) {
            return pending;
        }
    }
}

/*
 * By another thread, after it has posted `what` and a rendezvous: take it in the vCPU's place, which makes no
 * access until it is let go. False when the vCPU has taken it already.
 */
static inline bool hv_request_hold(struct hv_requests *r, unsigned what)
{
    unsigned pending = atomic_load_explicit(&r->pending, memory_order_relaxed);
    while (pending & what) {
        if (atomic_compare_exchange_weak_explicit(&r->pending, &pending, (pending & ~what) | HV_REQUEST_HELD,
                                                  memory_order_acquire, memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

static inline void hv_request_let_go(struct hv_requests *r)
{
    atomic_fetch_and_explicit(&r->pending, ~(unsigned)HV_REQUEST_HELD, memory_order_release);
}

#endif
