// SPDX-License-Identifier: MIT
/*
 * The MMU scheme of two dimensions: what EPT and NPT have in common (KVM's "TDP MMU"). One tree of tables for each
 * address space maps guest-physical pages to host addresses.
 *
 * Who changes an entry:
 *   - a vCPU's fault, inside: from "none" to a leaf or a table, from a leaf to one with more rights, from a large
 *     leaf to a table that maps the same. By compare-and-swap alone.
 *   - who holds `mmu_lock`: anything. Takes the entry by compare-and-swap or exchange; a table that it unlinks is
 *     frozen, entry by entry, so no fault that is still in it can leave a leaf there; it goes to `unlinked` and is
 *     freed by tdp_collect, when the TLBs were flushed and each vCPU has left.
 *   - the hardware: A and D.
 * A leaf never changes its address: between two addresses there is a zap, and a flush.
 *
 * The code that knows the format is static inline over `const struct pt_format *` (tdp_fault.h, tdp_zap.h,
 * tdp_log.h, tdp_shut.h, tdp_age.h), and instantiated by tdp_ept.c and tdp_npt.c.
 */
#ifndef HYPERVISOR_TDP_H
#define HYPERVISOR_TDP_H

#include "hypervisor/hv.h"
#include "hypervisor/mmu_ops.h"
#include "hypervisor/spte.h"
#include "hypervisor/tdp_page.h"

#define TDP_INLINE static inline __attribute__((always_inline))

/* A fault builds a table for each level below the root, and splits a large page on the way twice at most. */
#define TDP_FAULT_TABLES 4u
/* Tables that MMIO entries may have cost: a guest can point anywhere. Beyond, MMIO is not cached. */
#define TDP_MMIO_TABLES_MAX 1024u

static_assert(SPTE_GENERATION_MASK == HV_GENERATION_MMIO_MASK, "MMIO goes before its generation comes round");

struct tdp {
    const struct pt_format *format;
    uint64_t ad;                         /* SPTE_AD_ of the leaves */
    unsigned levels;                     /* of the root */
    bool logs_by_dirty_bit;              /* or PML: the hardware notices writes */
    bool can_populate;                   /* the host answers where touching a page would be a signal */
    pt_word_t *roots[HV_ADDRESS_SPACES]; /* NULL: none yet. Atomic; taken away under `mmu_lock` */
    _Alignas(64) struct tdp_pool pool;
    atomic_uint mmio_tables;
    pthread_mutex_t shut_lock; /* leaf: see tdp_shut.h */
    atomic_bool any_shut;      /* there may be entries that are shut */
    pt_word_t *unlinked;       /* `mmu_lock` */
    uint64_t next_nx_gfn;      /* `mmu_lock`; where the recovery of large pages goes on */
    /* Hybrid, or NULL: whether the page of that level around a host address may not be written through these
     * tables, since somebody else wants to notice it. Then all changes of entries are made under his lock. */
    bool (*is_guarded)(const struct hv_vm *vm, uint64_t hva, unsigned level);
    /* What a vCPU walks that got no root for lack of memory: every access is a fault, which tries again. */
    _Alignas(4096) pt_word_t no_root[PT_ENTRIES];
};

struct tdp_vcpu {
    struct tdp_cache cache;
};

static inline struct tdp *tdp_of(const struct hv_vm *vm)
{
    return vm->nested_state;
}

static inline struct tdp_vcpu *tdp_vcpu_of(const struct hv_vcpu *vcpu)
{
    return vcpu->nested_state;
}

static inline pt_word_t *tdp_root(const struct tdp *tdp, unsigned space)
{
    return __atomic_load_n(&tdp->roots[space], __ATOMIC_ACQUIRE);
}

static inline bool tdp_is_guarded(const struct hv_vm *vm, uint64_t hva, unsigned level)
{
    const struct tdp *tdp = tdp_of(vm);
    return __builtin_expect(tdp->is_guarded != NULL, 0) && tdp->is_guarded(vm, hva, level);
}

static inline uint64_t tdp_level_pages(unsigned level)
{
    return pt_level_bytes(level) >> GUEST_PAGE_SHIFT;
}

/* Of a slot whose pages may not be large at the moment, and whose writes are noticed. */
static inline bool tdp_is_logging(const struct hv_slot *slot)
{
    return (slot->flags & KVM_MEM_LOG_DIRTY_PAGES) != 0;
}

static inline bool tdp_is_slot_writable(const struct hv_slot *slot)
{
    return !(slot->flags & KVM_MEM_READONLY);
}

/* The only ways to change an entry that may be reached. */
TDP_INLINE bool tdp_cas(const struct pt_format *f, pt_word_t *word, unsigned level, uint64_t *seen, uint64_t to)
{
    assert(spte_check(f, to, level));
    (void)level;
    if (!pt_cas(word, seen, to)) {
        return false;
    }
    if (spte_is_present(to) && (to & ~*seen & f->writable)) {
        tdp_note_writable(word);
    }
    return true;
}

TDP_INLINE uint64_t tdp_exchange(pt_word_t *word, uint64_t to)
{
    return pt_exchange(word, to);
}

/* The counter of leaves of a level. */
static inline uint64_t *tdp_pages_of(struct hv_counters *counters, unsigned level)
{
    return level == 1 ? &counters->pages_4k : level == 2 ? &counters->pages_2m : &counters->pages_1g;
}

/* What does not know the format: tdp.c. See struct hv_mmu_ops. */
int tdp_vm_init(struct hv_vm *vm, const struct pt_format *format);
void tdp_vm_finish(struct hv_vm *vm);
int tdp_vcpu_init(struct hv_vcpu *vcpu);
void tdp_vcpu_finish(struct hv_vcpu *vcpu);
int tdp_load_root(struct hv_vcpu *vcpu);
bool tdp_unlink_roots(struct hv_vm *vm);
void tdp_free_unlinked(struct hv_vm *vm);
const pt_word_t *tdp_present_root(const struct hv_vm *vm, unsigned space);
uint64_t tdp_table_bytes(const struct hv_vm *vm);

#endif
