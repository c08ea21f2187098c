// SPDX-License-Identifier: MIT
#include "hypervisor/counters.h"

#include <assert.h>

#include "hypervisor/hv.h"

/* The struct is an array of one type. */
#define COUNT (sizeof(struct hv_counters) / sizeof(uint64_t))
static_assert(COUNT * sizeof(uint64_t) == sizeof(struct hv_counters), "an array");

static void add(struct hv_counters *to, struct hv_counters *from)
{
    uint64_t *sum = (uint64_t *)to, *part = (uint64_t *)from;
    for (unsigned i = 0; i < COUNT; i++) {
        hv_count(&sum[i], __atomic_load_n(&part[i], __ATOMIC_RELAXED));
    }
}

void hv_counters_read(struct hv_vm *vm, struct hv_counters *ret)
{
    *ret = (struct hv_counters){0};
    add(ret, &vm->counters);
    for (struct hv_vcpu *vcpu = vm->vcpus; vcpu; vcpu = vcpu->next) {
        add(ret, &vcpu->counters);
    }
}

void hv_counters_keep(struct hv_vcpu *vcpu)
{
    add(&vcpu->vm->counters, &vcpu->counters);
}
