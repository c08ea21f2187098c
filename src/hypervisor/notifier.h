// SPDX-License-Identifier: MIT
/*
 * The notifier: what the hypervisor has to be told before host memory that it maps goes away or changes (KVM's use
 * of the kernel's MMU notifiers). Between begin and end no translation to a byte of the range exists in the
 * tables, nor is one made: a fault there is tried again until the end.
 *
 * The argument. begin publishes the range and waits for a rendezvous. A fault that has begun before is over then,
 * and what it has mapped is zapped; one that begins later finds the range. So what a fault has read of the host
 * before begin is never installed after it. Ranges that are active at once are joined to one that spans them.
 */
#ifndef HYPERVISOR_NOTIFIER_H
#define HYPERVISOR_NOTIFIER_H

#include "hypervisor/hv.h"

void hv_notifier_init(struct hv_notifier *notifier);
void hv_notifier_finish(struct hv_notifier *notifier); /* nothing is active */

/*
 * Not inside, with none of the VM's locks. Any number of threads at once; each begin has its end, which may come
 * from another thread. When begin returns no vCPU uses host bytes of the range, until the end.
 */
void hv_notifier_begin(struct hv_vm *vm, struct mv_range hva);
void hv_notifier_end(struct hv_vm *vm, struct mv_range hva);

/* The host will not write to the range through us until it is written to again: translations become read-only. */
void hv_notifier_write_protect(struct hv_vm *vm, struct mv_range hva);

/* Whether the range was accessed since it was last aged; and age it, or not. TLBs are not flushed. */
bool hv_notifier_age(struct hv_vm *vm, struct mv_range hva);
bool hv_notifier_test_age(struct hv_vm *vm, struct mv_range hva);

/*
 * For who publishes a set of slots: locks the notifier while nothing is active, which keeps begin out. Holding
 * neither mmu_lock nor a vCPU inside.
 */
void hv_notifier_lock_idle(struct hv_notifier *notifier);
void hv_notifier_unlock(struct hv_notifier *notifier);

/* Inside, or under mmu_lock: whether a byte of [first, last] is on its way out. */
static inline bool hv_notifier_blocks(const struct hv_vm *vm, uint64_t first, uint64_t last)
{
    const struct hv_notifier *n = &vm->notifier;
    if (__builtin_expect(atomic_load_explicit(&n->active, memory_order_acquire) == 0, 1)) {
        return false;
    }
    return first <= atomic_load_explicit(&n->last, memory_order_relaxed) &&
           last >= atomic_load_explicit(&n->first, memory_order_relaxed);
}

#endif
