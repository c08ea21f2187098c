// SPDX-License-Identifier: MIT
/*
 * What the hypervisor counts. Each vCPU has counters of its own, which only its thread writes, so that faults of
 * two vCPUs share no cache line; the VM has another set for everybody else. What is shown is the sum. A number
 * that goes up on one side and down on another wraps around in each, and is right in the sum.
 */
#ifndef HYPERVISOR_COUNTERS_H
#define HYPERVISOR_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

struct hv_vm;
struct hv_vcpu;

/* KVM's names where KVM has them. Only `pages_` and `tables` and `nx_lpage_splits` go down. */
struct hv_counters {
    atomic_uint_fast64_t pf_taken, pf_fixed, pf_spurious, pf_fast, pf_emulate, pf_mmio_spte_created;
    atomic_uint_fast64_t pages_4k, pages_2m, pages_1g; /* leaves that map memory at the moment */
    atomic_uint_fast64_t tables, tables_built, tables_zapped;
    atomic_uint_fast64_t splits, collapses, nx_lpage_splits;
    atomic_uint_fast64_t remote_tlb_flush, remote_tlb_flush_requests;
    atomic_uint_fast64_t pml_entries, dirty_marked;
};

/* The vCPU's own, by its thread: no locked operation. */
static inline void hv_count_own(atomic_uint_fast64_t *counter, uint64_t n)
{
    uint64_t before = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, before + n, memory_order_relaxed);
}

/* The VM's, by any thread. */
static inline void hv_count(atomic_uint_fast64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* The sum of the VM's and its vCPUs'. `slots_lock` held: it keeps the vCPUs. */
void hv_counters_read(struct hv_vm *vm, struct hv_counters *ret);

/* A vCPU goes: what it counted stays the VM's. `slots_lock` held. */
void hv_counters_keep(struct hv_vcpu *vcpu);

#endif
