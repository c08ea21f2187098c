// SPDX-License-Identifier: MIT
/*
 * A guest on /dev/kvm, one instruction at a time, with what each did: for a KVM that shadows page tables and
 * emulates ring 0, as it does on a host without hardware virtualization.
 *
 * Ring 0 stops after each instruction (KVM_GUESTDBG_SINGLESTEP). Ring 3 runs on the processor, where such a KVM
 * lets the guest have its own #DB. So whenever the guest returns to ring 3 its RFLAGS.TF is set, in the frame of
 * its IRET; when the #DB has arrived in ring 0, the guest is sent back by that IRET. None of this is in what is
 * told, but the guest's memory has it below the top of its ring 0 stack. The first instruction of the guest's
 * handler of #DB must change no register but RSP and RIP.
 */
#ifndef CONFORM_STEPPED_H
#define CONFORM_STEPPED_H

#include <memvirt/board.h>
#include <memvirt/image.h>
#include <memvirt/vm.h>

#include "tests/conform/instruction.h"

#define STEPPED_VECTORS 32u
#define STEPPED_NO_VECTOR (-1)

struct step {
    struct cpu_state before, after; /* after: as the exception's handler is entered, if there was one */
    struct instruction instruction;
    int vector;           /* of the exception that it ended with, or STEPPED_NO_VECTOR */
    uint64_t frame_gva;   /* of what the exception pushed: RIP, CS, RFLAGS and in long mode RSP, SS */
    uint32_t error_code;  /* if the vector has one */
    uint64_t repetitions; /* of a string instruction's one element; else 1 */
};

struct stepped {
    struct mv_vm *vm;
    struct mv_vcpu *vcpu;
    struct cpu_state now;
    struct step pending; /* the handler's first instruction */
    bool has_pending, is_over;
    bool is_in_ring_3;                     /* as told; the vCPU may be about to get there */
    uint64_t iret_rip;                     /* of the guest's way to ring 3 */
    uint64_t handlers_of;                  /* the IDT's address that the next is of */
    uint64_t after_first[STEPPED_VECTORS]; /* RIP after the first instruction of each handler */
};

/* The VM has been made and its vCPU's registers set, and it was not started. */
void stepped_begin(struct stepped *s, struct mv_vm *vm, struct mv_vcpu *vcpu);
/* The next instruction. False: there is none, the guest has stopped. */
bool stepped_next(struct stepped *s, struct step *ret);

/* Bytes of the guest's memory as ring 0 sees them; nothing changes. False: some are not mapped, or no RAM. */
bool stepped_read(struct stepped *s, const struct cpu_state *state, uint64_t gva, void *ret, size_t size_bytes);

/* Whether the processor pushes an error code. */
bool stepped_has_error_code(int vector);

#endif
