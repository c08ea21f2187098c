// SPDX-License-Identifier: MIT
/*
 * What the accelerator does not take comes as an exit, and the access path sets the eventfd (machine/ioeventfd.c).
 * So no moment between two calls is one in which a write is lost.
 */
#include "vm/ioeventfd.h"

#include <errno.h>

#include "base/addr.h"
#include "base/error.h"
#include "vm/vm.h"

static int call(struct mv_vm *vm, const struct mv_ioeventfd *at, int fd, uint32_t flags)
{
    const struct kvm_ioeventfd eventfd = {
        .datamatch = at->match ? at->data : 0,
        .addr = at->offset,
        .len = at->size_bytes,
        .fd = fd,
        .flags = flags | (at->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0),
    };
    if (eventfd.addr + eventfd.len < eventfd.addr) {
        return 0; /* the kernel refuses one that ends with the address space, where no guest can write */
    }
    int rc = vm->ops->ioeventfd(vm->accel, &eventfd);
    return rc == -ENOTSUP ? 0 : rc;
}

static int add(struct mv_vm *vm, const struct mv_ioeventfd *at, int fd, uint32_t flags, struct mv_error *err)
{
    int rc = call(vm, at, fd, flags);
    return rc < 0 ? error_host(err, rc, "ioeventfd", "eventfd at " PRI_ADDR ": the accelerator refuses it",
                               at->offset)
                  : 0;
}

static int add_memory(void *opaque, const struct mv_ioeventfd *at, int fd, struct mv_error *err)
{
    return add(opaque, at, fd, 0, err);
}

static int add_io(void *opaque, const struct mv_ioeventfd *at, int fd, struct mv_error *err)
{
    return add(opaque, at, fd, KVM_IOEVENTFD_FLAG_PIO, err);
}

static void del_memory(void *opaque, const struct mv_ioeventfd *at, int fd)
{
    (void)call(opaque, at, fd, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

static void del_io(void *opaque, const struct mv_ioeventfd *at, int fd)
{
    (void)call(opaque, at, fd, KVM_IOEVENTFD_FLAG_DEASSIGN | KVM_IOEVENTFD_FLAG_PIO);
}

const struct mv_listener_ops ioeventfd_memory_ops = {.eventfd_add = add_memory, .eventfd_del = del_memory};
const struct mv_listener_ops ioeventfd_io_ops = {.eventfd_add = add_io, .eventfd_del = del_io};
