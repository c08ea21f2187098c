// SPDX-License-Identifier: MIT
#include "vm/vcpu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/addr.h"
#include "base/error.h"
#include "base/line.h"
#include "vm/exits.h"
#include "vm/gate.h"

int vcpu_create(struct mv_vm *vm, unsigned index, struct mv_vcpu **ret, struct mv_error *err)
{
    struct mv_vcpu *vcpu = line_alloc(sizeof *vcpu);
    if (!vcpu) {
        return error_set(err, -ENOMEM, "no-memory", "vcpu", "vCPU %u: out of memory", index);
    }
    vcpu->vm = vm;
    vcpu->index = index;
    vcpu->activity = index == 0 ? VCPU_RUNNING : VCPU_WAIT_SIPI;
    int rc = vm->ops->vcpu_create(vm->accel, index, &vcpu->accel, err);
    if (rc < 0) {
        free(vcpu);
        return rc;
    }
    vcpu->run = vm->ops->run_area(vcpu->accel);
    rc = vm->ops->get_sregs(vcpu->accel, &vcpu->reset_sregs);
    if (rc == 0) {
        rc = vm->ops->get_regs(vcpu->accel, &vcpu->reset_regs);
    }
    if (rc < 0) {
        error_host(err, rc, "vcpu", "vCPU %u: its registers cannot be read", index);
        vcpu_destroy(vcpu);
        return rc;
    }
    *ret = vcpu;
    return 0;
}

void vcpu_destroy(struct mv_vcpu *vcpu)
{
    vcpu->vm->ops->vcpu_destroy(vcpu->accel);
    free(vcpu);
}

/* --- INIT and start-up ------------------------------------------------------------------------- */

static void host_error(struct mv_vcpu *vcpu, int rc, const char *what)
{
    struct mv_error err;
    error_host(&err, rc, "vcpu", "vCPU %u: %s", vcpu->index, what);
    mv_vm_stop(vcpu->vm, MV_STOP_HOST_ERROR, rc, err.text);
}

/*
 * Start-up IPI: real mode at vector:0000, everything else as after INIT (Intel SDM, "MP Initialization Protocol
 * Algorithm").
 */
static void start_at(struct mv_vcpu *vcpu, uint8_t vector)
{
    struct kvm_sregs sregs = vcpu->reset_sregs;
    struct kvm_regs regs = vcpu->reset_regs;
    sregs.cs.selector = (uint16_t)(vector << 8);
    sregs.cs.base = (uint64_t)vector << 12;
    regs.rip = 0;
    int rc = vcpu->vm->ops->set_sregs(vcpu->accel, &sregs);
    if (rc == 0) {
        rc = vcpu->vm->ops->set_regs(vcpu->accel, &regs);
    }
    if (rc < 0) {
        host_error(vcpu, rc, "its registers cannot be set at start-up");
    }
}

/*
 * Complete what the last exit left half done, without running anything more. True when the instruction is not
 * done: there is another exit, which nobody has dealt with.
 */
static bool complete_piece(struct mv_vcpu *vcpu)
{
    gate_enter_to_complete(vcpu);
    int rc = vcpu->vm->ops->run(vcpu->accel);
    gate_leave(vcpu);
    vcpu->pending_io = rc == 0 && exit_is_pending(vcpu->run);
    return vcpu->pending_io;
}

/*
 * Before the vCPU's state is given up. A write over the end of a page comes in pieces, one exit each, and the
 * instruction is done with the last. Another read is left: it begins the next round of a string instruction, of
 * which there may be more than anybody can wait for, and nothing of it has happened.
 */
static void complete_pending(struct mv_vcpu *vcpu)
{
    while (vcpu->pending_io && complete_piece(vcpu)) {
        vcpu->pending_io = vcpu->run->exit_reason == KVM_EXIT_MMIO && vcpu->run->mmio.is_write;
        if (vcpu->pending_io) {
            exit_handle(vcpu, 0);
        }
    }
}

/* KVM returns from a string instruction after 1024 rounds. */
#define PAUSE_PIECES_MAX 4096

/*
 * Before a pause, after which the vCPU goes on: every exit is dealt with. Should an instruction have no end, the
 * pause comes between two of its rounds.
 */
static void complete_before_pause(struct mv_vcpu *vcpu)
{
    for (unsigned i = 0; vcpu->pending_io && i < PAUSE_PIECES_MAX && !atomic_load(&vcpu->vm->stopping); i++) {
        if (complete_piece(vcpu)) {
            exit_handle(vcpu, 0);
        }
    }
}

/* Take the requests that are there. A start-up IPI counts only for a vCPU that waits for one. */
static void take_requests(struct mv_vcpu *vcpu)
{
    struct mv_vm *vm = vcpu->vm;
    complete_pending(vcpu);
    pthread_mutex_lock(&vm->lock);
    unsigned requests = atomic_exchange(&vcpu->requests, 0);
    if (requests & VCPU_REQUEST_INIT) {
        vcpu->activity = VCPU_WAIT_SIPI;
    }
    bool start = (requests & VCPU_REQUEST_SIPI) && vcpu->activity == VCPU_WAIT_SIPI;
    if (start) {
        vcpu->activity = VCPU_RUNNING;
    }
    uint8_t vector = vcpu->sipi_vector;
    pthread_mutex_unlock(&vm->lock);
    if (start) {
        start_at(vcpu, vector);
    }
}

/* --- at rest ----------------------------------------------------------------------------------- */

/* `lock` held. Whether some vCPU can still change anything: then the ones at rest may be woken by it. */
static bool anything_moves(const struct mv_vm *vm)
{
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        if (vm->vcpus[i]->activity == VCPU_RUNNING || atomic_load(&vm->vcpus[i]->requests) != 0) {
            return true;
        }
    }
    return false;
}

static const struct mv_vcpu *first_halted(const struct mv_vm *vm)
{
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        if (vm->vcpus[i]->activity == VCPU_HALTED) {
            return vm->vcpus[i];
        }
    }
    return NULL;
}

static void stop_at_rest(struct mv_vm *vm, const struct mv_vcpu *halted)
{
    char text[MV_ERROR_TEXT_SIZE];
    if (!halted) {
        snprintf(text, sizeof text, "every vCPU waits for a start-up IPI, and none is left to send one");
    } else {
        snprintf(text, sizeof text,
                 "vCPU %u: halted with interrupts %s at rip " PRI_ADDR ", and nothing can wake it", halted->index,
                 halted->halted_with_interrupts ? "on" : "off", halted->halted_at);
    }
    mv_vm_stop(vm, MV_STOP_HALTED, 0, text);
}

/* Until there is a request or the VM stops. The last vCPU to come to rest stops the VM: it would rest for good. */
static void rest(struct mv_vcpu *vcpu)
{
    struct mv_vm *vm = vcpu->vm;
    pthread_mutex_lock(&vm->lock);
    bool all_at_rest = !anything_moves(vm);
    const struct mv_vcpu *halted = first_halted(vm);
    gate_set_quiet(vcpu, !all_at_rest);
    while (!all_at_rest && !atomic_load(&vm->stopping) &&
           (atomic_load(&vcpu->requests) == 0 || atomic_load(&vm->pauses) != 0)) {
        pthread_cond_wait(&vm->changed, &vm->lock);
    }
    gate_set_quiet(vcpu, false);
    pthread_mutex_unlock(&vm->lock);
    if (all_at_rest) {
        stop_at_rest(vm, halted);
    }
}

/* --- the loop ---------------------------------------------------------------------------------- */

static void run_once(struct mv_vcpu *vcpu)
{
    int rc = vcpu->vm->ops->run(vcpu->accel);
    gate_leave(vcpu);
    vcpu->pending_io = rc == 0 && exit_is_pending(vcpu->run);
    exit_handle(vcpu, rc);
}

void *vcpu_thread(void *opaque)
{
    struct mv_vcpu *vcpu = opaque;
    struct mv_vm *vm = vcpu->vm;
    char name[16];
    snprintf(name, sizeof name, "mv-vcpu-%u", vcpu->index);
    pthread_setname_np(pthread_self(), name);
    gate_mask_signals(vm->options.kick_signal);
    while (!atomic_load(&vm->stopping)) {
        if (atomic_load(&vm->pauses) != 0) {
            complete_before_pause(vcpu);
            gate_park(vcpu);
        } else if (atomic_load(&vcpu->requests) != 0) {
            take_requests(vcpu);
        } else if (vcpu->activity != VCPU_RUNNING) { /* only this thread changes it */
            rest(vcpu);
        } else if (gate_enter(vcpu) == GATE_ENTERED) {
            run_once(vcpu);
        }
    }
    complete_pending(vcpu);
    pthread_mutex_lock(&vm->lock);
    gate_set_quiet(vcpu, true);
    pthread_mutex_unlock(&vm->lock);
    return NULL;
}
