// SPDX-License-Identifier: MIT
/*
 * The scheme without tables of ours: the hardware walks the guest's alone, and guest-physical memory is found by
 * slot (hv_guest_bytes) whenever a TLB is filled. What removes rights needs no more than a flush: the next access
 * asks the bus again.
 *
 * So is the dirty log kept: the bus marks a page when it is asked for it in order to write. The TLB keeps the
 * answer, and asks again after the harvest's flush.
 */
#include <errno.h>

#include "hypervisor/hv.h"
#include "hypervisor/mmu_ops.h"

static int vm_init(struct hv_vm *vm)
{
    (void)vm;
    return 0;
}

static void vm_finish(struct hv_vm *vm)
{
    (void)vm;
}

static int vcpu_init(struct hv_vcpu *vcpu)
{
    (void)vcpu;
    return 0;
}

static void vcpu_finish(struct hv_vcpu *vcpu)
{
    (void)vcpu;
}

/* The bus had nothing, or nothing to write. */
static enum hv_answer handle(struct hv_vcpu *vcpu, const struct pt_exit *exit)
{
    uint64_t gfn = exit->gpa.raw >> GUEST_PAGE_SHIFT;
    const struct hv_slots *slots = hv_slots(vcpu);
    uint64_t generation = atomic_load_explicit(&slots->generation, memory_order_relaxed);
    if (gfn == vcpu->mmio_gfn && generation == vcpu->mmio_generation) {
        return HV_EMULATE;
    }
    const struct hv_slot *slot = hv_slot_of_gfn(slots, gfn, &vcpu->slot_hint[vcpu->space]);
    if (!slot) {
        if ((generation & HV_GENERATION_UPDATING) == 0) {
            vcpu->mmio_gfn = gfn;
            vcpu->mmio_generation = generation;
        }
        return HV_EMULATE;
    }
    if (slot->flags & HV_SLOT_INVALID) {
        return HV_RETRY;
    }
    if (hv_slot_hva(slot, gfn).raw == 0) { /* as if nothing were mapped there, which is so but for odd hosts */
        vcpu->error = -EFAULT;
        return HV_ERROR;
    }
    bool is_refused = exit->access.kind == MV_ACCESS_WRITE && (slot->flags & KVM_MEM_READONLY);
    return is_refused ? HV_EMULATE : HV_RETRY;
}

static int load_root(struct hv_vcpu *vcpu)
{
    vcpu->root = NULL;
    return 0;
}

static bool flush_always(struct hv_vm *vm)
{
    (void)vm;
    return true;
}

static bool zap_gfns(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first, uint64_t last)
{
    (void)vm;
    (void)slot;
    (void)first;
    (void)last;
    return true;
}

/* Pages that the log has already, be it from the beginning, need not be noticed. */
static bool log_start(struct hv_vm *vm, const struct hv_slot *slot)
{
    (void)slot;
    return !vm->initially_set;
}

static bool log_nothing(struct hv_vm *vm, const struct hv_slot *slot)
{
    (void)vm;
    (void)slot;
    return false;
}

/* There are no A bits but the guest's. */
static bool age(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first, uint64_t last, bool test_only)
{
    (void)vm;
    (void)slot;
    (void)first;
    (void)last;
    (void)test_only;
    return false;
}

static void collect(struct hv_vm *vm)
{
    (void)vm;
}

static uint64_t table_bytes(const struct hv_vm *vm)
{
    (void)vm;
    return 0;
}

const struct hv_mmu_ops hv_mmu_native = {
    .name = "native",
    .vm_init = vm_init,
    .vm_finish = vm_finish,
    .vcpu_init = vcpu_init,
    .vcpu_finish = vcpu_finish,
    .handle = handle,
    .load_root = load_root,
    .zap_all = flush_always,
    .zap_gfns = zap_gfns,
    .log_start = log_start,
    .log_stop = log_nothing,
    .log_harvest = log_nothing,
    .age = age,
    .write_protect = zap_gfns,
    .collect = collect,
    .table_bytes = table_bytes,
};
