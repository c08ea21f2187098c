// SPDX-License-Identifier: MIT
#include "vm/gate.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>

static void nothing(int signal)
{
    (void)signal; /* its arrival is all: KVM_RUN returns */
}

int gate_prepare_signal(int signal)
{
    struct sigaction action = {.sa_handler = nothing}; /* no SA_RESTART: that would go back into the guest */
    sigemptyset(&action.sa_mask);
    return sigaction(signal, &action, NULL) < 0 ? -errno : 0;
}

/* Those that a thread causes itself: blocked, they would end the process without its handlers (crash reporters).
 */
static void all_but_faults(sigset_t *ret)
{
    static const int faults[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
    sigfillset(ret);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        sigdelset(ret, faults[i]);
    }
}

void gate_block_signals(sigset_t *ret_before)
{
    sigset_t set;
    all_but_faults(&set);
    pthread_sigmask(SIG_BLOCK, &set, ret_before);
}

void gate_mask_signals(int signal)
{
    sigset_t set;
    all_but_faults(&set);
    sigdelset(&set, signal);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
}

/* The kernel reads it in KVM_RUN; other threads write it. */
static void set_immediate_exit(struct mv_vcpu *vcpu, uint8_t value)
{
    __atomic_store_n(&vcpu->run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

void gate_kick(struct mv_vcpu *vcpu)
{
    if (atomic_load(&vcpu->in_guest)) {
        set_immediate_exit(vcpu, 1);
        if (vcpu->has_thread) {
            pthread_kill(vcpu->thread, vcpu->vm->options.kick_signal);
        }
    }
}

void gate_kick_all(struct mv_vm *vm)
{
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        gate_kick(vm->vcpus[i]);
    }
}

static bool anybody_in_guest(struct mv_vm *vm)
{
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        if (atomic_load(&vm->vcpus[i]->in_guest)) {
            return true;
        }
    }
    return false;
}

void gate_close(struct mv_vm *vm)
{
    pthread_mutex_lock(&vm->lock);
    atomic_fetch_add(&vm->gate, 1);
    gate_kick_all(vm);
    while (anybody_in_guest(vm)) {
        pthread_cond_wait(&vm->changed, &vm->lock);
    }
    pthread_mutex_unlock(&vm->lock);
    if (vm->ops->hold_vcpus) {
        vm->ops->hold_vcpus(vm->accel);
    }
}

void gate_open(struct mv_vm *vm)
{
    if (vm->ops->release_vcpus) {
        vm->ops->release_vcpus(vm->accel);
    }
    pthread_mutex_lock(&vm->lock);
    atomic_fetch_sub(&vm->gate, 1);
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->lock);
}

static bool is_open(struct mv_vm *vm)
{
    return atomic_load(&vm->gate) == 0;
}

enum gate_answer gate_enter(struct mv_vcpu *vcpu)
{
    struct mv_vm *vm = vcpu->vm;
    for (;;) {
        set_immediate_exit(vcpu, 0);
        atomic_store(&vcpu->in_guest, true);
        bool stopping = atomic_load(&vm->stopping);
        bool paused = atomic_load(&vm->pauses) != 0;
        bool request = atomic_load(&vcpu->requests) != 0;
        if (!stopping && !paused && !request && is_open(vm)) {
            return GATE_ENTERED;
        }
        gate_leave(vcpu);
        if (stopping) {
            return GATE_STOPPING;
        }
        if (paused) {
            return GATE_PAUSED;
        }
        if (request) {
            return GATE_REQUEST;
        }
        pthread_mutex_lock(&vm->lock);
        while (!is_open(vm) && !atomic_load(&vm->stopping)) {
            pthread_cond_wait(&vm->changed, &vm->lock);
        }
        pthread_mutex_unlock(&vm->lock);
    }
}

void gate_leave(struct mv_vcpu *vcpu)
{
    struct mv_vm *vm = vcpu->vm;
    atomic_store(&vcpu->in_guest, false);
    if (!is_open(vm)) {
        pthread_mutex_lock(&vm->lock);
        pthread_cond_broadcast(&vm->changed);
        pthread_mutex_unlock(&vm->lock);
    }
}

void gate_enter_to_complete(struct mv_vcpu *vcpu)
{
    struct mv_vm *vm = vcpu->vm;
    set_immediate_exit(vcpu, 1);
    for (;;) {
        atomic_store(&vcpu->in_guest, true);
        if (is_open(vm)) {
            return;
        }
        gate_leave(vcpu);
        pthread_mutex_lock(&vm->lock);
        while (!is_open(vm)) {
            pthread_cond_wait(&vm->changed, &vm->lock);
        }
        pthread_mutex_unlock(&vm->lock);
    }
}

/* --- pauses ------------------------------------------------------------------------------------ */

bool gate_all_quiet(const struct mv_vm *vm)
{
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        if (vm->vcpus[i]->has_thread && !vm->vcpus[i]->quiet) {
            return false;
        }
    }
    return true;
}

void gate_wait_quiet(struct mv_vm *vm)
{
    while (!gate_all_quiet(vm) && !atomic_load(&vm->stopping)) {
        pthread_cond_wait(&vm->changed, &vm->lock);
    }
}

void gate_pause(struct mv_vm *vm)
{
    pthread_mutex_lock(&vm->lock);
    atomic_fetch_add(&vm->pauses, 1);
    gate_kick_all(vm);
    if (vm_current_vcpu(vm) < 0) {
        gate_wait_quiet(vm);
    }
    pthread_mutex_unlock(&vm->lock);
}

void gate_resume(struct mv_vm *vm)
{
    pthread_mutex_lock(&vm->lock);
    assert(atomic_load(&vm->pauses) > 0);
    atomic_fetch_sub(&vm->pauses, 1);
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->lock);
}

void gate_set_quiet(struct mv_vcpu *vcpu, bool quiet)
{
    vcpu->quiet = quiet;
    if (quiet) {
        pthread_cond_broadcast(&vcpu->vm->changed);
    }
}

void gate_park(struct mv_vcpu *vcpu)
{
    struct mv_vm *vm = vcpu->vm;
    pthread_mutex_lock(&vm->lock);
    gate_set_quiet(vcpu, true);
    while (atomic_load(&vm->pauses) != 0 && !atomic_load(&vm->stopping)) {
        pthread_cond_wait(&vm->changed, &vm->lock);
    }
    gate_set_quiet(vcpu, false);
    pthread_mutex_unlock(&vm->lock);
}
