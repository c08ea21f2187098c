// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hypervisor/hv.h"
#include "hypervisor/io.h"

static enum hv_io_bus bus_of(const struct kvm_coalesced_mmio_zone *zone)
{
    return zone->pio ? HV_IO_PORTS : HV_IO_MEMORY;
}

static size_t zones_on(const struct io_set *set, enum hv_io_bus bus)
{
    size_t count = 0;
    for (size_t i = 0; i < set->count; i++) {
        count += set->device[i]->is_zone && set->device[i]->bus == bus;
    }
    return count;
}

static int add_locked(struct hv_vm *vm, const struct kvm_coalesced_mmio_zone *zone)
{
    if (zones_on(vm->io.set, bus_of(zone)) >= HV_IO_DEVICES_MAX) {
        return -ENOSPC;
    }
    struct io_device *device = malloc(sizeof *device);
    if (!device) {
        return -ENOMEM;
    }
    *device = (struct io_device){
        .bus = bus_of(zone), .addr = zone->addr, .length = zone->size, .is_zone = true, .fd = -1};
    int rc = io_add(vm, device);
    if (rc < 0) {
        free(device);
    }
    return rc;
}

int hv_coalesce(struct hv_vm *vm, const struct kvm_coalesced_mmio_zone *zone)
{
    if (zone->pio > 1) {
        return -EINVAL;
    }
    pthread_mutex_lock(&vm->slots_lock);
    int rc = add_locked(vm, zone);
    pthread_mutex_unlock(&vm->slots_lock);
    return rc;
}

bool zone_contains(const struct io_device *device, uint64_t addr, uint64_t length)
{
    uint64_t end, zone_end;
    return !__builtin_add_overflow(addr, length, &end) &&
           !__builtin_add_overflow(device->addr, (uint64_t)device->length, &zone_end) && addr >= device->addr &&
           end <= zone_end;
}

static bool lies_in(const struct io_device *device, const void *opaque)
{
    const struct kvm_coalesced_mmio_zone *zone = opaque;
    return device->is_zone && device->bus == bus_of(zone) && zone_contains(device, zone->addr, zone->size);
}

int hv_uncoalesce(struct hv_vm *vm, const struct kvm_coalesced_mmio_zone *zone)
{
    size_t count;
    if (zone->pio > 1) {
        return -EINVAL;
    }
    pthread_mutex_lock(&vm->slots_lock);
    int rc = io_remove(vm, lies_in, zone, &count);
    pthread_mutex_unlock(&vm->slots_lock);
    return rc;
}

struct kvm_coalesced_mmio_ring *hv_coalesced_ring(const struct hv_vm *vm)
{
    return vm->io.ring;
}

/*
 * False when the ring is full: one entry always stays free, as the API documents it (KVM of Linux 6.1 says that it
 * is full after 85 in some places; that is not imitated). The reader may write what it wants into the ring.
 */
bool coalesce_append(struct hv_vm *vm, const struct io_device *zone, uint64_t addr, const void *data,
                     unsigned length)
{
    struct kvm_coalesced_mmio_ring *ring = vm->io.ring;
    bool done = false;
    pthread_mutex_lock(&vm->io.ring_lock);
    uint32_t last = __atomic_load_n(&ring->last, __ATOMIC_RELAXED);
    /* Acquire: who counted `first` up has read the entry. */
    uint32_t first = __atomic_load_n(&ring->first, __ATOMIC_ACQUIRE);
    uint32_t next = last + 1 == HV_COALESCED_ENTRIES ? 0 : last + 1;
    if (last < HV_COALESCED_ENTRIES && next != first) {
        struct kvm_coalesced_mmio entry = {.phys_addr = addr, .len = length, .pio = zone->bus == HV_IO_PORTS};
        memcpy(entry.data, data, length);
        ring->coalesced_mmio[last] = entry;
        __atomic_store_n(&ring->last, next, __ATOMIC_RELEASE);
        done = true;
    }
    pthread_mutex_unlock(&vm->io.ring_lock);
    return done;
}
