// SPDX-License-Identifier: MIT
#include "vm/dirtyring.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "machine/machine.h"
#include "machine/space.h"
#include "vm/gate.h"
#include "vm/vm.h"

#define TAKEN_MAX 65536
#define REAP_INTERVAL_NS 100000000

int dirtyring_init(struct mv_vm *vm)
{
    struct dirty_reaper *reaper = &vm->reaper;
    if (vm->options.dirty_ring_entries == 0) {
        return 0;
    }
    reaper->taken_max = TAKEN_MAX;
    reaper->taken = calloc(reaper->taken_max, sizeof *reaper->taken); /* large: untouched memory is not there */
    if (!reaper->taken) {
        return -ENOMEM;
    }
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&reaper->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&reaper->lock, NULL);
    return 0;
}

void dirtyring_finish(struct mv_vm *vm)
{
    struct dirty_reaper *reaper = &vm->reaper;
    if (reaper->taken) {
        pthread_mutex_destroy(&reaper->lock);
        pthread_cond_destroy(&reaper->changed);
        free(reaper->taken);
        reaper->taken = NULL;
    }
}

/* --- emptying ---------------------------------------------------------------------------------- */

static struct kvm_dirty_gfn *entry_at(const struct dirty_ring *ring, uint32_t at)
{
    return &ring->entries[at & (ring->count - 1)];
}

/* Pairs with the kernel's store of the flags, the last it does to an entry. */
static bool is_dirty(const struct kvm_dirty_gfn *entry)
{
    return (__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY) != 0;
}

/* Ours is over: pairs with the kernel's load in KVM_RESET_DIRTY_RINGS. */
static void give_back(struct dirty_reaper *reaper, struct dirty_ring *ring)
{
    __atomic_store_n(&entry_at(ring, ring->next)->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
    ring->next++;
    reaper->given_back++;
}

/* Take entries until there are no more, the buffer is full, or `most` were taken. @return how many */
static uint32_t take(struct dirty_reaper *reaper, struct dirty_ring *ring, uint32_t most)
{
    uint32_t count = 0;
    while (count < most && reaper->taken_count < reaper->taken_max && is_dirty(entry_at(ring, ring->next))) {
        reaper->taken[reaper->taken_count++] = *entry_at(ring, ring->next);
        give_back(reaper, ring);
        count++;
    }
    return count;
}

/* Give back what is before the first entry there is. @return whether there is one */
static bool skip_to_first(struct dirty_reaper *reaper, struct dirty_ring *ring)
{
    uint32_t skip = 0;
    while (skip < ring->count && !is_dirty(entry_at(ring, ring->next + skip))) {
        skip++;
    }
    if (skip == ring->count) {
        return false;
    }
    while (skip-- > 0) {
        give_back(reaper, ring);
    }
    return true;
}

/* Mark what was taken, pages of one word of a bitmap together. */
static void mark_taken(struct mv_vm *vm)
{
    struct dirty_reaper *reaper = &vm->reaper;
    for (size_t i = 0; i < reaper->taken_count;) {
        const struct kvm_dirty_gfn *first = &reaper->taken[i];
        uint64_t base = first->offset / 64 * 64;
        uint64_t bits = 0;
        for (; i < reaper->taken_count; i++) {
            const struct kvm_dirty_gfn *at = &reaper->taken[i];
            if (at->slot != first->slot || at->offset - base >= 64) {
                break;
            }
            bits |= UINT64_C(1) << (at->offset - base);
        }
        slots_mark(vm->slots, first->slot, base, bits);
    }
    reaper->taken_count = 0;
}

static int give_up(struct mv_vm *vm, int rc, const char *why)
{
    vm->reaper.taken_count = vm->reaper.given_back = 0;
    slots_mark_all(vm->slots);
    mv_vm_stop(vm, MV_STOP_HOST_ERROR, rc, why);
    return rc;
}

/* A signal makes the kernel stop before it has done all. */
#define RESETS_MAX 1000

/* Have the kernel reset what was given back; then mark what was taken. */
static int flush(struct mv_vm *vm)
{
    struct dirty_reaper *reaper = &vm->reaper;
    for (unsigned i = 0; reaper->given_back > 0; i++) {
        int rc = vm->ops->reset_dirty_rings(vm->accel);
        if ((rc < 0 && rc != -EINTR) || i == RESETS_MAX) {
            return give_up(vm, rc < 0 ? rc : -EIO, "the host does not reset the dirty rings");
        }
        if (rc > 0) {
            reaper->given_back -= (size_t)rc < reaper->given_back ? (size_t)rc : reaper->given_back;
        }
    }
    mark_taken(vm);
    return 0;
}

/* Whether even the entry before the next one is filled. */
static bool is_overrun(const struct dirty_ring *ring)
{
    return is_dirty(entry_at(ring, ring->next - 1));
}

static int empty(struct mv_vm *vm, struct dirty_ring *ring)
{
    struct dirty_reaper *reaper = &vm->reaper;
    uint32_t total = 0;
    int rc = 0;
    if (is_overrun(ring)) {
        ring->drifted = true;
        rc = slots_log_anew(vm->slots);
        if (rc < 0) {
            return give_up(vm, rc, "the host wrote more into a dirty ring than there was room for");
        }
    }
    do {
        uint32_t count;
        do {
            count = take(reaper, ring, ring->count - total);
            total += count;
            rc = reaper->taken_count == reaper->taken_max ? flush(vm) : 0;
        } while (rc == 0 && count > 0 && total < ring->count);
    } while (rc == 0 && ring->drifted && total < ring->count && skip_to_first(reaper, ring));
    return rc;
}

/* Control lock held, and no vCPU in the guest. */
static void empty_all(struct mv_vm *vm)
{
    pthread_mutex_lock(&vm->lock); /* one may just be added */
    unsigned vcpus = vm->vcpu_count;
    pthread_mutex_unlock(&vm->lock);
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < vcpus; i++) {
        rc = empty(vm, &vm->vcpus[i]->ring);
    }
    if (rc == 0) {
        (void)flush(vm);
    }
}

static void enter(struct mv_vm *vm)
{
    machine_lock(vm->options.memory->machine);
    gate_close(vm);
}

static void leave(struct mv_vm *vm)
{
    gate_open(vm);
    machine_unlock(vm->options.memory->machine);
}

void dirtyring_reap(struct mv_vm *vm)
{
    enter(vm);
    empty_all(vm);
    leave(vm);
}

/*
 * It can be empty because another thread was here first. But if it is again, and nobody was, then the kernel was
 * so far ahead that giving back what is before the first entry was not enough. It counts at least half of the ring
 * as filled, so a quarter can be given back without overtaking it.
 */
static void full_and_empty(struct mv_vm *vm, struct dirty_ring *ring)
{
    if (!ring->vain || ring->vain_next != ring->next) {
        ring->vain = true;
        ring->vain_next = ring->next;
        return;
    }
    for (uint32_t i = 0; i < ring->count / 4; i++) {
        give_back(&vm->reaper, ring);
    }
    (void)flush(vm);
}

void dirtyring_full(struct mv_vcpu *vcpu)
{
    enter(vcpu->vm);
    uint32_t before = vcpu->ring.next;
    empty_all(vcpu->vm);
    if (vcpu->ring.next == before && vcpu->ring.drifted) {
        full_and_empty(vcpu->vm, &vcpu->ring);
    }
    leave(vcpu->vm);
}

/* --- the reaper -------------------------------------------------------------------------------- */

static bool wait_a_while(struct dirty_reaper *reaper)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += REAP_INTERVAL_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&reaper->lock);
    int rc = 0;
    while (!reaper->ending && rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&reaper->changed, &reaper->lock, &until);
    }
    bool go_on = !reaper->ending;
    pthread_mutex_unlock(&reaper->lock);
    return go_on;
}

static void *reaper_thread(void *opaque)
{
    struct mv_vm *vm = opaque;
    pthread_setname_np(pthread_self(), "mv-reaper");
    while (wait_a_while(&vm->reaper) && !atomic_load(&vm->stopping)) {
        dirtyring_reap(vm); /* of what is not logged there are no entries */
    }
    return NULL;
}

int dirtyring_start(struct mv_vm *vm)
{
    if (!vm->reaper.taken) {
        return 0;
    }
    int rc = -pthread_create(&vm->reaper.thread, NULL, reaper_thread, vm);
    vm->reaper.has_thread = rc == 0;
    return rc;
}

void dirtyring_end(struct mv_vm *vm)
{
    struct dirty_reaper *reaper = &vm->reaper;
    if (reaper->has_thread) {
        pthread_mutex_lock(&reaper->lock);
        reaper->ending = true;
        pthread_cond_signal(&reaper->changed);
        pthread_mutex_unlock(&reaper->lock);
        pthread_join(reaper->thread, NULL);
        reaper->has_thread = false;
    }
}
