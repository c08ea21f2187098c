// SPDX-License-Identifier: MIT
/* For the tests of the hypervisor: VMs with the native scheme, and slots in few words. */
#ifndef HYPERVISOR_HV_TEST_H
#define HYPERVISOR_HV_TEST_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hypervisor/hv.h"
#include "hypervisor/mmu_ops.h"

#define PAGE GUEST_PAGE_SIZE
#define HVA UINT64_C(0x7f0000000000) /* for slots that nobody reads: nothing needs to be there */
#define LOG ((uint32_t)KVM_MEM_LOG_DIRTY_PAGES)
#define RO ((uint32_t)KVM_MEM_READONLY)

static inline struct hv_vm *new_vm_of(struct hv_options options)
{
    struct hv_vm *vm;
    options.level_max = 3;
    options.address_bits = 48;
    options.tdp_levels = 4;
    assert_int_equal(hv_vm_create(&options, &vm), 0);
    return vm;
}

static inline struct hv_vm *new_vm(void)
{
    return new_vm_of((struct hv_options){.mmu = HV_MMU_NATIVE});
}

static inline struct hv_vcpu *new_vcpu(struct hv_vm *vm, unsigned index)
{
    struct hv_vcpu *vcpu;
    assert_int_equal(hv_vcpu_create(vm, index, &vcpu), 0);
    (void)hv_request_take(&vcpu->requests);
    return vcpu;
}

static inline int set(struct hv_vm *vm, uint32_t id, uint32_t flags, uint64_t gfn, uint64_t npages, uint64_t hva)
{
    const struct kvm_userspace_memory_region r = {id, flags, gfn * PAGE, npages * PAGE, hva};
    return hv_set_slot(vm, &r);
}

static inline void *bytes_at(struct hv_vcpu *vcpu, uint64_t gpa, enum mv_access kind)
{
    rendezvous_enter(&vcpu->inside);
    void *bytes = hv_guest_bytes(vcpu, mv_gpa(gpa), kind);
    rendezvous_leave(&vcpu->inside);
    return bytes;
}

/* The vCPU writes to a page, as far as the log is concerned. */
static inline void dirty_page(struct hv_vcpu *vcpu, uint64_t gfn)
{
    assert_non_null(bytes_at(vcpu, gfn * PAGE + 8, MV_ACCESS_WRITE));
}

static inline int get_log(struct hv_vm *vm, uint32_t id, void *bits)
{
    const struct kvm_dirty_log log = {.slot = id, .dirty_bitmap = bits};
    return hv_get_dirty_log(vm, &log);
}

static inline int clear_log(struct hv_vm *vm, uint32_t id, uint64_t first, uint32_t npages, void *bits)
{
    const struct kvm_clear_dirty_log log = {
        .slot = id, .num_pages = npages, .first_page = first, .dirty_bitmap = bits};
    return hv_clear_dirty_log(vm, &log);
}

static inline uint64_t flushes(const struct hv_vm *vm)
{
    return __atomic_load_n(&vm->counters.remote_tlb_flush_requests, __ATOMIC_RELAXED);
}

#endif
