// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "hypervisor/hv.h"
#include "hypervisor/io.h"

#define FLAG_CCW (1u << 3) /* KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY */

static enum hv_io_bus bus_of(uint32_t flags)
{
    if (flags & KVM_IOEVENTFD_FLAG_PIO) {
        return HV_IO_PORTS;
    }
    return flags & FLAG_CCW ? HV_IO_CCW : HV_IO_MEMORY;
}

static int check(const struct kvm_ioeventfd *args)
{
    bool is_size = args->len == 0 || args->len == 1 || args->len == 2 || args->len == 4 || args->len == 8;
    if (!is_size || args->addr + args->len < args->addr) {
        return -EINVAL;
    }
    if ((args->flags & ~(uint32_t)KVM_IOEVENTFD_VALID_FLAG_MASK) != 0) {
        return -EINVAL;
    }
    return args->len == 0 && (args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH) ? -EINVAL : 0;
}

/* Which eventfd a number stands for: two numbers may stand for one, and one for another by and by. */
static int identify(int fd, uint64_t *ret)
{
    char path[64], line[128];
    unsigned long long id;
    bool found = false;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    FILE *file = fopen(path, "re");
    if (!file) {
        return errno == ENOENT ? -EBADF : -errno;
    }
    while (!found && fgets(line, sizeof line, file)) {
        found = sscanf(line, "eventfd-id: %llu", &id) == 1;
    }
    fclose(file);
    if (!found) {
        return -EINVAL;
    }
    *ret = id;
    return 0;
}

static uint64_t low_bytes(uint64_t value, uint32_t length)
{
    return length >= 8 ? value : value & ((UINT64_C(1) << (8 * length)) - 1);
}

static bool is_same_write(const struct io_device *a, const struct io_device *b)
{
    if (a->is_zone || a->bus != b->bus || a->addr != b->addr) {
        return false;
    }
    if (a->length == 0 || b->length == 0) {
        return true;
    }
    return a->length == b->length && (a->is_wildcard || b->is_wildcard || a->match == b->match);
}

static bool collides(const struct io_set *set, const struct io_device *device)
{
    for (size_t i = 0; i < set->count; i++) {
        if (is_same_write(set->device[i], device)) {
            return true;
        }
    }
    return false;
}

static struct io_device device_of(const struct kvm_ioeventfd *args)
{
    return (struct io_device){
        .bus = bus_of(args->flags),
        .addr = args->addr,
        .length = args->len,
        .is_wildcard = (args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH) == 0,
        .match = args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH ? args->datamatch : 0,
        .fd = -1,
    };
}

static int assign(struct hv_vm *vm, const struct kvm_ioeventfd *args)
{
    int rc = check(args);
    if (rc < 0) {
        return rc;
    }
    struct io_device like = device_of(args);
    rc = identify(args->fd, &like.eventfd);
    if (rc < 0) {
        return rc;
    }
    if (collides(vm->io.set, &like)) {
        return -EEXIST;
    }
    struct io_device *device = malloc(sizeof *device);
    if (!device) {
        return -ENOMEM;
    }
    *device = like;
    device->fd = os_duplicate(args->fd);
    rc = device->fd < 0 ? device->fd : io_add(vm, device);
    if (rc < 0) {
        ioevent_close(device);
        free(device);
    }
    return rc;
}

static bool is_the_one(const struct io_device *device, const void *opaque)
{
    const struct io_device *like = opaque;
    return !device->is_zone && device->bus == like->bus && device->eventfd == like->eventfd &&
           device->addr == like->addr && device->length == like->length &&
           device->is_wildcard == like->is_wildcard && device->match == like->match;
}

/* KVM checks nothing but the eventfd here: what does not exist is not found. */
static int deassign(struct hv_vm *vm, const struct kvm_ioeventfd *args)
{
    struct io_device like = device_of(args);
    size_t count = 0;
    int rc = identify(args->fd, &like.eventfd);
    if (rc == 0) {
        rc = io_remove(vm, is_the_one, &like, &count);
    }
    return rc == 0 && count == 0 ? -ENOENT : rc;
}

int hv_ioeventfd(struct hv_vm *vm, const struct kvm_ioeventfd *args)
{
    pthread_mutex_lock(&vm->slots_lock);
    int rc = args->flags & KVM_IOEVENTFD_FLAG_DEASSIGN ? deassign(vm, args) : assign(vm, args);
    pthread_mutex_unlock(&vm->slots_lock);
    return rc;
}

bool ioevent_takes(const struct io_device *device, uint64_t addr, const void *data, unsigned length)
{
    uint64_t value = 0;
    if (addr != device->addr || (device->length != 0 && device->length != length)) {
        return false;
    }
    if (device->is_wildcard) {
        return true;
    }
    memcpy(&value, data, length);
    return value == low_bytes(device->match, length);
}

void ioevent_close(struct io_device *device)
{
    if (device->fd >= 0) {
        os_close(device->fd);
    }
}
