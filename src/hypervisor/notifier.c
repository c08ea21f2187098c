// SPDX-License-Identifier: MIT
#include "hypervisor/notifier.h"

#include <assert.h>

#include "hypervisor/mmu_ops.h"

void hv_notifier_init(struct hv_notifier *n)
{
    *n = (struct hv_notifier){.first = UINT64_MAX, .last = 0};
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->idle, NULL);
}

void hv_notifier_finish(struct hv_notifier *n)
{
    assert(n->active == 0);
    pthread_cond_destroy(&n->idle);
    pthread_mutex_destroy(&n->lock);
}

/* From here on no set of slots is replaced. An empty range (first > last) blocks no fault. */
static void hold(struct hv_notifier *n, uint64_t first, uint64_t last)
{
    pthread_mutex_lock(&n->lock);
    if (first < atomic_load_explicit(&n->first, memory_order_relaxed)) {
        atomic_store_explicit(&n->first, first, memory_order_relaxed);
    }
    if (last > atomic_load_explicit(&n->last, memory_order_relaxed)) {
        atomic_store_explicit(&n->last, last, memory_order_relaxed);
    }
    /* Releases the range; pairs with hv_notifier_blocks. */
    atomic_fetch_add_explicit(&n->active, 1, memory_order_release);
    pthread_mutex_unlock(&n->lock);
}

static void unhold(struct hv_notifier *n)
{
    pthread_mutex_lock(&n->lock);
    atomic_fetch_add_explicit(&n->sequence, 1, memory_order_relaxed);
    assert(n->active > 0);
    if (atomic_fetch_sub_explicit(&n->active, 1, memory_order_release) == 1) {
        atomic_store_explicit(&n->first, UINT64_MAX, memory_order_relaxed);
        atomic_store_explicit(&n->last, 0, memory_order_relaxed);
        pthread_cond_broadcast(&n->idle);
    }
    pthread_mutex_unlock(&n->lock);
}

void hv_notifier_lock_idle(struct hv_notifier *n)
{
    pthread_mutex_lock(&n->lock);
    while (atomic_load_explicit(&n->active, memory_order_relaxed) != 0) {
        pthread_cond_wait(&n->idle, &n->lock);
    }
}

void hv_notifier_unlock(struct hv_notifier *n)
{
    pthread_mutex_unlock(&n->lock);
}

/* What is done to each part of a slot that shows bytes of the range. */
struct visit {
    struct hv_vm *vm;
    enum { COUNT, ZAP, WRITE_PROTECT, AGE, TEST_AGE } what;
    bool any;
};

static void visit_slot(void *opaque, const struct hv_slot *slot, uint64_t first, uint64_t last)
{
    struct visit *v = opaque;
    const struct hv_mmu_ops *mmu = v->vm->mmu;
    switch (v->what) {
    case COUNT: v->any = true; break;
    case ZAP: v->any |= mmu->zap_gfns(v->vm, slot, first, last); break;
    case WRITE_PROTECT: v->any |= mmu->write_protect(v->vm, slot, first, last); break;
    case AGE: v->any |= mmu->age(v->vm, slot, first, last, false); break;
    case TEST_AGE: v->any |= mmu->age(v->vm, slot, first, last, true); break;
    }
}

/* With the notifier held: slots stay. */
static bool visit(struct visit v, struct mv_range hva)
{
    for (unsigned space = 0; space < HV_ADDRESS_SPACES; space++) {
        const struct hv_slots *slots = __atomic_load_n(&v.vm->slots[space], __ATOMIC_ACQUIRE);
        if (slots) {
            hv_slots_of_hva(slots, hva, visit_slot, &v);
        }
    }
    return v.any;
}

static bool visit_locked(struct visit v, struct mv_range hva)
{
    pthread_mutex_lock(&v.vm->mmu_lock);
    bool any = visit(v, hva);
    if (any && (v.what == ZAP || v.what == WRITE_PROTECT)) {
        hv_flush_all(v.vm);
        v.vm->mmu->collect(v.vm);
    }
    pthread_mutex_unlock(&v.vm->mmu_lock);
    return any;
}

void hv_notifier_begin(struct hv_vm *vm, struct mv_range hva)
{
    hold(&vm->notifier, hva.first, hva.last);
    /* Slots stay until the end: if none shows the range, no fault can map it. */
    if (!visit((struct visit){.vm = vm, .what = COUNT}, hva)) {
        return;
    }
    rendezvous_wait(&vm->inside);
    visit_locked((struct visit){.vm = vm, .what = ZAP}, hva);
}

void hv_notifier_end(struct hv_vm *vm, struct mv_range hva)
{
    (void)hva;
    unhold(&vm->notifier);
}

static bool visit_held(struct visit v, struct mv_range hva)
{
    hold(&v.vm->notifier, UINT64_MAX, 0);
    bool any = visit_locked(v, hva);
    unhold(&v.vm->notifier);
    return any;
}

void hv_notifier_write_protect(struct hv_vm *vm, struct mv_range hva)
{
    hold(&vm->notifier, hva.first, hva.last);
    rendezvous_wait(&vm->inside); /* as begin: no fault is between looking and installing */
    visit_locked((struct visit){.vm = vm, .what = WRITE_PROTECT}, hva);
    unhold(&vm->notifier);
}

bool hv_notifier_age(struct hv_vm *vm, struct mv_range hva)
{
    return visit_held((struct visit){.vm = vm, .what = AGE}, hva);
}

bool hv_notifier_test_age(struct hv_vm *vm, struct mv_range hva)
{
    return visit_held((struct visit){.vm = vm, .what = TEST_AGE}, hva);
}
