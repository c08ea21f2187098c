// SPDX-License-Identifier: MIT
#include "vm/coalesced.h"

#include "base/os.h"
#include "base/range.h"
#include "machine/space.h"
#include "vm/vm.h"

/* --- zones: what the accelerator does not take comes as exits --- */

static void call(struct mv_vm *vm, struct mv_range range, bool pio, bool add)
{
    uint64_t size = range_size(range);
    if (size <= UINT32_MAX) {
        const struct kvm_coalesced_mmio_zone zone = {.addr = range.first, .size = (uint32_t)size, .pio = pio};
        (void)vm->ops->coalesce(vm->accel, &zone, add);
    }
}

static void add_memory(void *opaque, const struct mv_section *section, struct mv_range range)
{
    (void)section;
    call(opaque, range, false, true);
}

static void del_memory(void *opaque, const struct mv_section *section, struct mv_range range)
{
    (void)section;
    call(opaque, range, false, false);
}

static void add_io(void *opaque, const struct mv_section *section, struct mv_range range)
{
    (void)section;
    call(opaque, range, true, true);
}

static void del_io(void *opaque, const struct mv_section *section, struct mv_range range)
{
    (void)section;
    call(opaque, range, true, false);
}

const struct mv_listener_ops coalesced_memory_ops = {.coalesced_add = add_memory, .coalesced_del = del_memory};
const struct mv_listener_ops coalesced_io_ops = {.coalesced_add = add_io, .coalesced_del = del_io};

/* --- the ring --- */

static uint32_t ring_entries(void)
{
    size_t bytes = (size_t)os_page_size() - sizeof(struct kvm_coalesced_mmio_ring);
    return (uint32_t)(bytes / sizeof(struct kvm_coalesced_mmio));
}

static bool is_empty(const struct kvm_coalesced_mmio_ring *ring)
{
    return __atomic_load_n(&ring->first, __ATOMIC_RELAXED) == __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE);
}

static void deliver(struct mv_vm *vm, const struct kvm_coalesced_mmio *entry)
{
    struct mv_space *space = entry->pio ? vm->options.io : vm->options.memory;
    size_t length = entry->len <= sizeof entry->data ? entry->len : sizeof entry->data;
    (void)mv_space_write(space, mv_gpa(entry->phys_addr), entry->data, length, MV_ATTRS_NONE);
}

static void drain(void *opaque)
{
    struct mv_vm *vm = opaque;
    struct kvm_coalesced_mmio_ring *ring = vm->ring;
    uint32_t count = ring_entries();
    while (!is_empty(ring)) {
        uint32_t first = __atomic_load_n(&ring->first, __ATOMIC_RELAXED);
        deliver(vm, &ring->coalesced_mmio[first % count]);
        __atomic_store_n(&ring->first, (first + 1) % count, __ATOMIC_RELEASE);
    }
}

void coalesced_start(struct mv_vm *vm)
{
    if (!vm->ring) {
        vm->ring = vm->ops->coalesced_ring(vm->vcpus[0]->accel);
        vm->drain = (struct coalesced_drain){.drain = drain, .opaque = vm};
        if (vm->ring) {
            coalesced_add_drain(vm->options.memory->machine, &vm->drain);
        }
    }
}

void coalesced_end(struct mv_vm *vm)
{
    if (vm->ring) {
        coalesced_remove_drain(vm->options.memory->machine, &vm->drain);
        vm->ring = NULL;
    }
}

void coalesced_before_exit(struct mv_vm *vm)
{
    if (vm->ring && !is_empty(vm->ring)) {
        mv_machine_flush_coalesced(vm->options.memory->machine);
    }
}
