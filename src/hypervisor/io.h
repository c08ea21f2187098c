// SPDX-License-Identifier: MIT
/*
 * Guest writes that no exit is made of: to ioeventfds (KVM_IOEVENTFD), and into coalesced zones
 * (KVM_REGISTER_COALESCED_MMIO). Devices on a bus are in the order of their addresses, and of their registration
 * where these are equal; the first that takes a write has it.
 *
 * The set of devices is immutable and published as slots are: a change waits until no vCPU uses the old set.
 */
#ifndef HYPERVISOR_IO_H
#define HYPERVISOR_IO_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hv_vm;
struct hv_vcpu;

/* Besides ioeventfds, on one bus. */
#define HV_IO_DEVICES_MAX 1000u

enum hv_io_bus {
    HV_IO_MEMORY,
    HV_IO_PORTS,
    HV_IO_CCW, /* of s390: taken and never written to, as KVM does elsewhere */
};

/* KVM_IOEVENTFD. 0; -EINVAL, -EBADF, -EEXIST (the same writes), -ENOENT (nothing such to take away), -ENOMEM,
 * -EMFILE. */
int hv_ioeventfd(struct hv_vm *vm, const struct kvm_ioeventfd *args);

/* KVM_REGISTER_COALESCED_MMIO. 0, -EINVAL, -ENOSPC, -ENOMEM. */
int hv_coalesce(struct hv_vm *vm, const struct kvm_coalesced_mmio_zone *zone);
/* KVM_UNREGISTER_COALESCED_MMIO: every zone that the range lies in. 0, -EINVAL, -ENOMEM. */
int hv_uncoalesce(struct hv_vm *vm, const struct kvm_coalesced_mmio_zone *zone);

/* One page. Whoever reads it also writes `first`; vCPUs write the entries and `last`. */
struct kvm_coalesced_mmio_ring *hv_coalesced_ring(const struct hv_vm *vm);
#define HV_COALESCED_ENTRIES                                                                                      \
    ((4096 - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio)) /* 170, 169 in use */

/* Inside. A write that is not to RAM, of 1 to 8 bytes: whether it is done. */
bool hv_io_write(struct hv_vcpu *vcpu, enum hv_io_bus bus, uint64_t addr, const void *data, unsigned length);

/* --- between io, ioevent and coalesce ----------------------------------------------------------- */

struct io_device {
    enum hv_io_bus bus;
    uint64_t addr;
    uint32_t length; /* of an ioeventfd 0: any */
    bool is_zone;
    /* An ioeventfd. */
    bool is_wildcard; /* any data */
    uint64_t match;
    int fd;           /* our own */
    uint64_t eventfd; /* which it is, whatever its number */
};

/* Sorted by bus, address, and registration. */
struct io_set {
    size_t count;
    bool has_zones;
    struct io_device *device[];
};

struct io {
    struct io_set *set; /* published */
    struct kvm_coalesced_mmio_ring *ring;
    pthread_mutex_t ring_lock; /* among vCPUs; a leaf */
};

int io_init(struct hv_vm *vm);
void io_finish(struct hv_vm *vm);

/* Under `slots_lock`: add one, which is taken over on success; or remove all that `is_gone` says. 0 or -ENOMEM. */
int io_add(struct hv_vm *vm, struct io_device *device);
typedef bool io_gone_fn(const struct io_device *device, const void *opaque);
int io_remove(struct hv_vm *vm, io_gone_fn *is_gone, const void *opaque, size_t *ret_count);

bool ioevent_takes(const struct io_device *device, uint64_t addr, const void *data, unsigned length);
void ioevent_close(struct io_device *device);
bool zone_contains(const struct io_device *device, uint64_t addr, uint64_t length);
bool coalesce_append(struct hv_vm *vm, const struct io_device *zone, uint64_t addr, const void *data,
                     unsigned length);

#endif
