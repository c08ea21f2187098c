// SPDX-License-Identifier: MIT
/*
 * `soft` follows a real guest: it makes the accesses of each instruction, those that the processor adds by itself
 * (descriptors, what an exception pushes), and the changes of registers. Its memory has been in the same state, so
 * instructions, faults and error codes have to be the same.
 */
#ifndef CONFORM_FOLLOWED_H
#define CONFORM_FOLLOWED_H

#include <memvirt/soft.h>

#include "tests/conform/stepped.h"

struct followed {
    struct mv_vcpu *vcpu;
    struct stepped *real;
    uint64_t steps, ring_3_steps, accesses;
    uint64_t faults, supervisor_faults; /* page faults; those of ring 0 */
    uint64_t stores;                    /* of instructions */
    uint64_t pushes;                    /* of exceptions, with paging on */
    char wrong[512];                    /* empty: all is as it should be */
};

/* A vCPU of `soft`, whose VM has the same image in its memory; its registers are the image's. */
void followed_begin(struct followed *f, struct mv_vcpu *vcpu, struct stepped *real);
/* After the real guest's step. False: `wrong` says what is not the same. */
bool followed_step(struct followed *f, const struct step *step);

#endif
