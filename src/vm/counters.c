// SPDX-License-Identifier: MIT
/* The counters of a VM, gathered when somebody asks. */
#include <string.h>

#include "vm/vm.h"

/* Adds up counters of the same name. */
struct tally {
    struct mv_counter *to;
    size_t capacity;
    size_t count;
};

static void tally_append(struct tally *tally, const char *name, uint64_t value)
{
    if (tally->count < tally->capacity) {
        tally->to[tally->count] = (struct mv_counter){.name = name, .value = value};
    }
    tally->count++;
}

/* For the counters of several vCPUs: one of that name is there already, if the first vCPU was told before. */
static void tally_add(void *opaque, const char *name, uint64_t value)
{
    struct tally *tally = opaque;
    size_t known = tally->count < tally->capacity ? tally->count : tally->capacity;
    for (size_t i = 0; i < known; i++) {
        if (strcmp(tally->to[i].name, name) == 0) {
            tally->to[i].value += value;
            return;
        }
    }
    tally_append(tally, name, value);
}

/* One may just be added. */
static unsigned count_vcpus(struct mv_vm *vm)
{
    pthread_mutex_lock(&vm->lock);
    unsigned count = vm->vcpu_count;
    pthread_mutex_unlock(&vm->lock);
    return count;
}

static void gather_exits(struct mv_vm *vm, struct tally *tally)
{
    const unsigned vcpus = count_vcpus(vm);
    for (uint32_t reason = 0; reason < ACCEL_EXIT_COUNT; reason++) {
        uint64_t sum = 0;
        for (unsigned i = 0; i < vcpus; i++) {
            sum += atomic_load_explicit(&vm->vcpus[i]->exits[reason], memory_order_relaxed);
        }
        const char *name = accel_exit_name(reason);
        if (name) {
            tally_append(tally, name, sum);
        }
    }
}

/* To a counter that is there; one that there was no room for is known to be counted. */
static void tally_add_known(void *opaque, const char *name, uint64_t value)
{
    struct tally *tally = opaque;
    const size_t count = tally->count;
    tally_add(tally, name, value);
    tally->count = count;
}

/* Every vCPU has the same counters, so the first one's are all that there are. */
static void gather_kernel(struct mv_vm *vm, struct tally *tally)
{
    const unsigned vcpus = count_vcpus(vm);
    vm->ops->vm_counters(vm->accel, tally_add, tally);
    for (unsigned i = 0; i < vcpus; i++) {
        vm->ops->vcpu_counters(vm->vcpus[i]->accel, i == 0 ? tally_add : tally_add_known, tally);
    }
}

size_t mv_vm_counters(struct mv_vm *vm, enum mv_counter_set set, struct mv_counter *ret, size_t capacity)
{
    struct tally tally = {.to = ret, .capacity = capacity};
    struct slot_counts slots;
    switch (set) {
    case MV_COUNTERS_EXITS: gather_exits(vm, &tally); break;
    case MV_COUNTERS_KERNEL: gather_kernel(vm, &tally); break;
    case MV_COUNTERS_SLOTS:
        slots = slots_counts(vm->slots);
        tally_append(&tally, "commits", slots.commits);
        tally_append(&tally, "set_user_memory_region", slots.set_slot_calls);
        break;
    case MV_COUNTERS_ACCESS:
        tally_append(&tally, "unassigned", atomic_load(&vm->unassigned));
        tally_append(&tally, "rom_write", atomic_load(&vm->rom_writes));
        tally_append(&tally, "device_error", atomic_load(&vm->device_errors));
        break;
    }
    return tally.count;
}
