// SPDX-License-Identifier: MIT
/* What a VM does on each exit of a vCPU. */
#ifndef VM_EXITS_H
#define VM_EXITS_H

#include "vm/vm.h"

/* In the vCPU's thread, after a run that returned `rc`. Counts the exit and deals with it; may stop the VM. */
void exit_handle(struct mv_vcpu *vcpu, int rc);

/* Whether the exit's instruction is completed by the next run: its registers are not final before. */
bool exit_is_pending(const struct kvm_run *run);

#endif
