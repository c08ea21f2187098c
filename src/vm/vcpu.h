// SPDX-License-Identifier: MIT
/* A vCPU's thread: the run loop. */
#ifndef VM_VCPU_H
#define VM_VCPU_H

#include "vm/vm.h"

int vcpu_create(struct mv_vm *vm, unsigned index, struct mv_vcpu **ret, struct mv_error *err);
/* Its thread is gone. */
void vcpu_destroy(struct mv_vcpu *vcpu);

/* What a vCPU thread runs; the argument is the struct mv_vcpu. */
void *vcpu_thread(void *opaque);

#endif
