// SPDX-License-Identifier: MIT
/*
 * What the hypervisor counts. Each vCPU has counters of its own, which only its thread writes, so that faults of
 * two vCPUs share no cache line; the VM has another set for everybody else. What is shown is the sum. A number
 * that goes up on one side and down on another wraps around in each, and is right in the sum.
 */
#ifndef HYPERVISOR_COUNTERS_H
#define HYPERVISOR_COUNTERS_H

#include <stdint.h>

struct hv_vm;
struct hv_vcpu;

/* KVM's names where KVM has them. Written and read by the functions below alone. Only `pages_`, `tables`,
 * `mmu_unsync` and `nx_lpage_splits` go down. */
struct hv_counters {
    uint64_t pf_taken, pf_fixed, pf_spurious, pf_fast, pf_emulate, pf_mmio_spte_created;
    uint64_t pages_4k, pages_2m, pages_1g; /* leaves that map memory at the moment */
    uint64_t tables, tables_built, tables_zapped;
    uint64_t splits, collapses, nx_lpage_splits;
    uint64_t remote_tlb_flush, remote_tlb_flush_requests;
    uint64_t pml_entries, dirty_marked;
    /* Shadow. */
    uint64_t mmu_pte_write, mmu_pde_zapped; /* stores to guest tables made for it; entries above leaves that
                                               they changed, other than to 0 */
    uint64_t mmu_unsync;                    /* tables that may differ from the guest's at the moment */
    uint64_t tables_opened;                 /* that the guest may write to from then on; ours alone */
    uint64_t mmu_flooded, mmu_cache_miss, mmu_shadow_zapped;
    uint64_t mmu_recycled;  /* tables that went because there were too many, or somebody asked for memory */
    uint64_t rmap_recycled; /* pages that lost all their mappings because there were too many; ours alone */
    uint64_t invlpg;
    uint64_t hybrid_nested, hybrid_shadowed; /* tables of the guest's that became so */
};

/* The vCPU's own, by its thread: no locked operation. */
static inline void hv_count_own(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

/* The VM's, by any thread. */
static inline void hv_count(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

/* The sum of the VM's and its vCPUs'. `slots_lock` held: it keeps the vCPUs. */
void hv_counters_read(struct hv_vm *vm, struct hv_counters *ret);

/* A vCPU goes: what it counted stays the VM's. `slots_lock` held. */
void hv_counters_keep(struct hv_vcpu *vcpu);

#endif
