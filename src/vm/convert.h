// SPDX-License-Identifier: MIT
/* What a guest does with pages that may be private: it touches them as the other kind, or asks by itself. */
#ifndef VM_CONVERT_H
#define VM_CONVERT_H

#include "vm/vm.h"

/*
 * KVM_EXIT_MEMORY_FAULT: convert the pages to what the guest takes them for, so that the next run succeeds. In the
 * vCPU's thread.
 * @return 0; -EFAULT "memory-fault": there is nothing that converting could mend; or what mv_privacy_convert()
 * says
 */
int convert_on_fault(struct mv_vcpu *vcpu, struct mv_error *err);

/* KVM_HC_MAP_GPA_RANGE, and the refusal of every other hypercall: what the guest gets is in the run area. */
void convert_on_hypercall(struct mv_vcpu *vcpu);

#endif
