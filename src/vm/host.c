// SPDX-License-Identifier: MIT
#include "vm/host.h"

#include <memvirt/block.h>

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

static const struct mv_block_notifier_ops ops = {.discard_begin = discard_begin, .discard_end = discard_end};

int host_watch(struct mv_vm *vm, struct mv_error *err)
{
    if (!vm->ops->host_begin) {
        return 0;
    }
    return mv_block_notifier_create(vm->options.memory->machine, &ops, vm, &vm->host, err);
}

void host_unwatch(struct mv_vm *vm)
{
    mv_block_notifier_destroy(vm->host);
}
