// SPDX-License-Identifier: MIT
/*
 * The gate: who may be in the guest. A vCPU is in the guest between vcpu_enter and vcpu_leave; whoever changes
 * what the guest could see half of closes the gate, which is done when no vCPU is in, and opens it again.
 *
 * Nothing is missed, by the same argument both ways (all accesses are sequentially consistent):
 *
 *     vCPU thread                           closer (or whoever stops the VM)
 *     immediate_exit = 0
 *     in_guest = 1                          gate++ (or stopping = 1, or requests |= ...)
 *     reads gate, stopping, requests:       reads in_guest:
 *       any set: in_guest = 0, sees to it     0: the vCPU will see it
 *       none set: runs                        1: immediate_exit = 1, signal: the run ends, or does not begin
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
    GATE_REQUEST,  /* the vCPU has a request to look at first */
};

/* In the vCPU's thread. Waits while the gate is closed. Only after GATE_ENTERED must gate_leave follow. */
enum gate_answer gate_enter(struct mv_vcpu *vcpu);
void gate_leave(struct mv_vcpu *vcpu);

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
