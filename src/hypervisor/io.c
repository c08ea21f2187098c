// SPDX-License-Identifier: MIT
#include "hypervisor/io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "hypervisor/hv.h"

#define RING_BYTES 4096

static struct io_set *make_set(size_t count)
{
    struct io_set *set = malloc(sizeof *set + count * sizeof(struct io_device *));
    if (set) {
        set->count = count;
        set->has_zones = false;
    }
    return set;
}

int io_init(struct hv_vm *vm)
{
    vm->io.set = make_set(0);
    vm->io.ring = aligned_alloc(RING_BYTES, RING_BYTES);
    if (!vm->io.set || !vm->io.ring) {
        return -ENOMEM;
    }
    memset(vm->io.ring, 0, RING_BYTES);
    return 0;
}

static void free_device(struct io_device *device)
{
    if (!device->is_zone) {
        ioevent_close(device);
    }
    free(device);
}

/* Also after io_init has failed. */
void io_finish(struct hv_vm *vm)
{
    for (size_t i = 0; vm->io.set && i < vm->io.set->count; i++) {
        free_device(vm->io.set->device[i]);
    }
    free(vm->io.set);
    free(vm->io.ring);
    pthread_mutex_destroy(&vm->io.ring_lock);
}

/* --- changes ------------------------------------------------------------------------------------- */

static void publish(struct hv_vm *vm, struct io_set *set)
{
    struct io_set *before = vm->io.set;
    for (size_t i = 0; i < set->count; i++) {
        set->has_zones |= set->device[i]->is_zone;
    }
    __atomic_store_n(&vm->io.set, set, __ATOMIC_RELEASE);
    (void)rendezvous_wait(&vm->inside);
    free(before);
}

static bool is_above(const struct io_device *device, enum hv_io_bus bus, uint64_t addr)
{
    return device->bus != bus ? device->bus > bus : device->addr > addr;
}

/* How many devices come before one that is registered now. */
static size_t place_of(const struct io_set *set, enum hv_io_bus bus, uint64_t addr)
{
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (is_above(set->device[middle], bus, addr)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

int io_add(struct hv_vm *vm, struct io_device *device)
{
    const struct io_set *before = vm->io.set;
    struct io_set *set = make_set(before->count + 1);
    if (!set) {
        return -ENOMEM;
    }
    size_t at = place_of(before, device->bus, device->addr);
    memcpy(&set->device[0], &before->device[0], at * sizeof set->device[0]);
    set->device[at] = device;
    memcpy(&set->device[at + 1], &before->device[at], (before->count - at) * sizeof set->device[0]);
    publish(vm, set);
    return 0;
}

int io_remove(struct hv_vm *vm, io_gone_fn *is_gone, const void *opaque, size_t *ret_count)
{
    const struct io_set *before = vm->io.set;
    size_t gone = 0, left = 0;
    struct io_device **devices = malloc((before->count + 1) * sizeof(struct io_device *));
    struct io_set *set = make_set(before->count);
    if (!devices || !set) {
        free(devices);
        free(set);
        return -ENOMEM;
    }
    for (size_t i = 0; i < before->count; i++) {
        if (is_gone(before->device[i], opaque)) {
            devices[gone++] = before->device[i];
        } else {
            set->device[left++] = before->device[i];
        }
    }
    set->count = left;
    if (gone != 0) {
        publish(vm, set);
    } else {
        free(set);
    }
    for (size_t i = 0; i < gone; i++) {
        free_device(devices[i]);
    }
    free(devices);
    *ret_count = gone;
    return 0;
}

/* --- writes -------------------------------------------------------------------------------------- */

static bool take(struct hv_vm *vm, const struct io_device *device, uint64_t addr, const void *data,
                 unsigned length)
{
    if (device->is_zone) {
        return zone_contains(device, addr, length) && coalesce_append(vm, device, addr, data, length);
    }
    if (!ioevent_takes(device, addr, data, length)) {
        return false;
    }
    os_event_set(device->fd);
    return true;
}

bool hv_io_write(struct hv_vcpu *vcpu, enum hv_io_bus bus, uint64_t addr, const void *data, unsigned length)
{
    struct hv_vm *vm = vcpu->vm;
    const struct io_set *set = __atomic_load_n(&vm->io.set, __ATOMIC_ACQUIRE);
    size_t end = place_of(set, bus, addr);
    /* Zones that reach up to here may begin anywhere below; without any the search goes to the address at once. */
    size_t i = set->has_zones || addr == 0 ? 0 : place_of(set, bus, addr - 1);
    for (; i < end; i++) {
        const struct io_device *device = set->device[i];
        if (device->bus == bus && take(vm, device, addr, data, length)) {
            return true;
        }
    }
    return false;
}
