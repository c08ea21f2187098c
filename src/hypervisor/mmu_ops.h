// SPDX-License-Identifier: MIT
/*
 * What an MMU scheme does for the hypervisor: native, tdp (EPT and NPT), shadow, hybrid. Called with the locks
 * that each names. What removes rights returns whether TLBs must be flushed; the caller flushes before it lets go
 * of what was mapped.
 */
#ifndef HYPERVISOR_MMU_OPS_H
#define HYPERVISOR_MMU_OPS_H

#include "hypervisor/hv.h"
#include "paging/word.h"

struct hv_shadow_look; /* shadow_look.h */

struct hv_mmu_ops {
    const char *name;
    int (*vm_init)(struct hv_vm *vm); /* 0 or -ENOMEM */
    void (*vm_finish)(struct hv_vm *vm);
    int (*vcpu_init)(struct hv_vcpu *vcpu);
    void (*vcpu_finish)(struct hv_vcpu *vcpu);

    /* Inside: a fault of the hardware. */
    enum hv_answer (*handle)(struct hv_vcpu *vcpu, const struct pt_exit *exit);
    /* Inside, for HV_REQUEST_RELOAD_ROOT: set vcpu->root. */
    int (*load_root)(struct hv_vcpu *vcpu);
    /* Inside, whatever the root is: map the page of gfn as a read would. The level that it was mapped at (1 to 3),
     * -ENOENT without a slot, -EAGAIN when it must be tried again, or another -errno. NULL: nothing is mapped by
     * guest-physical address. */
    int (*pre_fault)(struct hv_vcpu *vcpu, uint64_t gfn);

    /* What the hypervisor of a shadowed guest intercepts: see hv_set_regs, hv_store, hv_settle. NULL for others.
     */
    void (*set_regs)(struct hv_vcpu *vcpu, const struct paging_regs *regs, const struct paging_cpu *cpu);
    void (*load_cr3)(struct hv_vcpu *vcpu, uint64_t cr3);
    void (*set_keys)(struct hv_vcpu *vcpu, uint32_t pkru, uint32_t pkrs);
    void (*invalidate)(struct hv_vcpu *vcpu, gva_t gva);
    void (*invalidate_all)(struct hv_vcpu *vcpu);
    bool (*store)(struct hv_vcpu *vcpu, gpa_t gpa, const void *bytes, unsigned size_bytes, bool *ret_is_table);
    void (*give_up_tables)(struct hv_vcpu *vcpu, gpa_t gpa);
    void (*settle)(struct hv_vm *vm);

    /* Not inside; `slots_lock` and `mmu_lock` held. Gfns are of `slot`, both ends inclusive. */
    bool (*zap_all)(struct hv_vm *vm); /* by generation: fast, roots become obsolete */
    bool (*zap_gfns)(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first, uint64_t last);
    /* Logging begins: split or protect; bits of `initially_set` slots are left alone. */
    bool (*log_start)(struct hv_vm *vm, const struct hv_slot *slot);
    /* Logging has ended: large pages may come back. */
    bool (*log_stop)(struct hv_vm *vm, const struct hv_slot *slot);
    /* Before the log is read: what only the tables know (D bits) goes to the bitmap. */
    bool (*log_harvest)(struct hv_vm *vm, const struct hv_slot *slot);
    /* Pages first_gfn + i, for each bit i of mask: the next write is noticed again. The caller flushes if there
     * was any bit. NULL: a flush is all that it takes. */
    bool (*log_protect)(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first_gfn, uint64_t mask);
    /* The same for all pages from first to last; the caller flushes. False: do it page by page. An empty range
     * (first > last, and no slot) asks which. Or NULL. */
    bool (*log_protect_all)(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first, uint64_t last);
    /* A host range is aged: A bits go; returns whether any was set. */
    bool (*age)(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first, uint64_t last, bool test_only);
    /* A host range becomes read-only for us. */
    bool (*write_protect)(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first, uint64_t last);
    /* Every `ratio`th of the pages that were split to be executed may be large again; 0: none. Or NULL. */
    bool (*recover)(struct hv_vm *vm, unsigned ratio);
    /* Up to so many tables go, the least used first, TLBs forget them, and the host has their memory. @return how
     * many. NULL: only slots end tables. */
    uint64_t (*shrink)(struct hv_vm *vm, uint64_t pages);
    /* How many tables there are that hv_mmu_pages() limits. With `shrink`. */
    uint64_t (*limited_tables)(const struct hv_vm *vm);
    /* Tables that the calls above have unlinked are freed. Since then mmu_lock was held and hv_flush_all called.
     */
    void (*collect)(struct hv_vm *vm);
    /* Inside: the table that a vCPU of that space walks, or would if it saw to its requests; NULL when there is
     * none yet. Where the tables do not translate guest-physical addresses the member is NULL. */
    const pt_word_t *(*present_root)(const struct hv_vm *vm, unsigned space);
    /* Inside, and nothing changes: what tables that translate guest-virtual addresses have for one. NULL: none do.
     */
    void (*look)(struct hv_vcpu *vcpu, gva_t gva, struct pt_access access, struct hv_shadow_look *ret);
    /* Bytes of tables and what describes them. */
    uint64_t (*table_bytes)(const struct hv_vm *vm);
};

extern const struct hv_mmu_ops hv_mmu_native, hv_mmu_ept, hv_mmu_npt, hv_mmu_shadow, hv_mmu_hybrid;

#endif
