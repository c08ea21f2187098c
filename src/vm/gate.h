// SPDX-License-Identifier: MIT
/*
 * The gate: who may be in the guest. A vCPU is in the guest between gate_enter and gate_leave; whoever changes
 * what the guest could see half of closes the gate, which is done when no vCPU is in, and opens it again.
 *
 * Nothing is missed, by the same argument both ways (all accesses are sequentially consistent):
 *
 *     vCPU thread                           closer (or whoever stops or pauses the VM)
 *     immediate_exit = 0
 *     in_guest = 1                          gate++ (or stopping = 1, pauses++, requests |= ...)
 *     reads gate, stopping, pauses,         reads in_guest:
 *     requests:                               0: the vCPU will see it
 *       any set: in_guest = 0, sees to it     1: immediate_exit = 1, signal: the run ends, or does not begin
 *       none set: runs
 *
 * A closed gate is short and keeps vCPUs out wherever they are. A pause lasts as long as somebody likes, and asks
 * for more: each vCPU's last instruction is complete and its thread will not touch its registers. Then it is
 * quiet. Completing an instruction is a run that executes nothing more, but may access memory, so it passes a gate
 * that an edit has closed no more than any run does; a pause does not keep it out. So a pause may have to wait for
 * an edit, and no edit waits for a pause to end.
 */
#ifndef VM_GATE_H
#define VM_GATE_H

#include <signal.h>

#include "vm/vm.h"

/* Close and wait until no vCPU is in the guest. Closings nest. Also from a vCPU thread, which is out of the guest
 * then. */
void gate_close(struct mv_vm *vm);
void gate_open(struct mv_vm *vm);

enum gate_answer {
    GATE_ENTERED,
    GATE_STOPPING, /* the VM stops: do not run again */
    GATE_PAUSED,   /* come to rest first */
    GATE_REQUEST,  /* the vCPU has a request to look at first */
};

/* In the vCPU's thread. Waits while the gate is closed. Only after GATE_ENTERED must gate_leave follow. */
enum gate_answer gate_enter(struct mv_vcpu *vcpu);
void gate_leave(struct mv_vcpu *vcpu);

/* The same for a run with immediate_exit set, which only completes an instruction: nothing but a closed gate keeps
 * it out. */
void gate_enter_to_complete(struct mv_vcpu *vcpu);

/* Keep vCPUs from running guest instructions, and wait until all are quiet or the VM stops; a vCPU's own thread
 * does not wait. Nests. */
void gate_pause(struct mv_vm *vm);
void gate_resume(struct mv_vm *vm);

/* `lock` held. Whether nobody but a pause's holder uses registers. */
bool gate_all_quiet(const struct mv_vm *vm);
/* `lock` held. Wait until that is so, or the VM stops. */
void gate_wait_quiet(struct mv_vm *vm);

/* In the vCPU's thread, nothing pending: be quiet until the VM is not paused, or stops. */
void gate_park(struct mv_vcpu *vcpu);
/* `lock` held, in the vCPU's thread: it is quiet from now on, or not any more. */
void gate_set_quiet(struct mv_vcpu *vcpu, bool quiet);

/* Make a vCPU leave the guest, or not enter it, so that it looks at its state again. `lock` held. */
void gate_kick(struct mv_vcpu *vcpu);
void gate_kick_all(struct mv_vm *vm);

/* Let this process's vCPU threads be interrupted by `signal`. @return 0 or -errno */
int gate_prepare_signal(int signal);
/*
 * While vCPU threads are made: they inherit what is blocked, so that no signal of the application is handled in
 * one of them before gate_mask_signals. Undone by pthread_sigmask(SIG_SETMASK, ret_before, NULL).
 */
void gate_block_signals(sigset_t *ret_before);
/* In a new vCPU thread: receive no other signal, but for those that it causes itself. */
void gate_mask_signals(int signal);

#endif
