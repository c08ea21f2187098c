// SPDX-License-Identifier: MIT
/* What a vCPU's CPUID instruction says. */
#ifndef ACCEL_KVM_CPUID_H
#define ACCEL_KVM_CPUID_H

#include "accel/accel.h"

/* Everything that the host can virtualize, less what needs an in-kernel APIC. free(3) it. 0 or -errno. */
int kvm_cpuid_supported(int kvm_fd, struct kvm_cpuid2 **ret, struct mv_error *err);

/* Give it to vCPU `index`, with that as its APIC id. Changes *cpuid. 0 or -errno. */
int kvm_cpuid_set(int vcpu_fd, struct kvm_cpuid2 *cpuid, unsigned index, struct mv_error *err);

/* What it says of paging. */
struct accel_paging kvm_cpuid_paging(const struct kvm_cpuid2 *cpuid);

#endif
