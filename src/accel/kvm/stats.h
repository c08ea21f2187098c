// SPDX-License-Identifier: MIT
/* The kernel's own counters of a VM or a vCPU (KVM API, KVM_GET_STATS_FD). */
#ifndef ACCEL_KVM_STATS_H
#define ACCEL_KVM_STATS_H

#include "accel/accel.h"

/* Owned by what it is embedded in. With fd == -1 the kernel has no statistics, and there are no counters. */
struct kvm_stats {
    int fd;
    uint32_t count;
    uint32_t name_size;
    uint32_t data_offset;
    unsigned char *descriptors; /* `count` of them, each with its name behind */
};

#define KVM_STATS_NONE ((struct kvm_stats){.fd = -1})

/*
 * `fd` is a VM's or a vCPU's. A kernel without statistics leaves KVM_STATS_NONE, and is no error; any other reason
 * why there are none is one, for sums without them would be wrong. 0 or -errno.
 */
int kvm_stats_open(struct kvm_stats *stats, int fd);
void kvm_stats_close(struct kvm_stats *stats);

/* Tell every counter that is one number; histograms are left out. */
void kvm_stats_read(const struct kvm_stats *stats, accel_counter_fn *each, void *opaque);

#endif
