// SPDX-License-Identifier: MIT
#include "vm/host.h"

#include <memvirt/block.h>

#include "base/error.h"
#include "machine/space.h"

static struct mv_range bytes_of(const struct mv_block *block, uint64_t offset, uint64_t length)
{
    struct mv_block_info info;
    mv_block_info(block, &info);
    return (struct mv_range){info.hva.raw + offset, info.hva.raw + offset + (length - 1)};
}

static void discard_begin(void *opaque, struct mv_block *block, uint64_t offset, uint64_t length)
{
    struct mv_vm *vm = opaque;
    if (length > 0) {
        vm->ops->host_begin(vm->accel, bytes_of(block, offset, length));
    }
}

static void discard_end(void *opaque, struct mv_block *block, uint64_t offset, uint64_t length)
{
    struct mv_vm *vm = opaque;
    if (length > 0) {
        vm->ops->host_end(vm->accel, bytes_of(block, offset, length));
    }
}

/* What is mapped of it, to its maximum. */
static struct mv_range all_of(const struct mv_block *block)
{
    struct mv_block_info info;
    mv_block_info(block, &info);
    return bytes_of(block, 0, info.max_size_bytes);
}

static void added(void *opaque, struct mv_block *block)
{
    struct mv_vm *vm = opaque;
    int rc = vm->ops->host_watch(vm->accel, all_of(block));
    if (rc < 0 && vm->host_rc == 0 && vm->host_err) {
        struct mv_block_info info;
        mv_block_info(block, &info);
        vm->host_rc = error_host(vm->host_err, rc, info.name,
                                 "block %s: what the host does to it cannot be watched", info.name);
    }
}

static void removed(void *opaque, struct mv_block *block)
{
    struct mv_vm *vm = opaque;
    vm->ops->host_unwatch(vm->accel, all_of(block));
}

static const struct mv_block_notifier_ops ops = {
    .added = added, .removed = removed, .discard_begin = discard_begin, .discard_end = discard_end};

int host_watch(struct mv_vm *vm, struct mv_error *err)
{
    if (!vm->ops->host_begin) {
        return 0;
    }
    struct mv_error ignored;
    vm->host_err = err ? err : &ignored;
    int rc = mv_block_notifier_create(vm->options.memory->machine, &ops, vm, &vm->host, err);
    vm->host_err = NULL;
    return rc < 0 ? rc : vm->host_rc;
}

void host_unwatch(struct mv_vm *vm)
{
    mv_block_notifier_destroy(vm->host);
}
