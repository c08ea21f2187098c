// SPDX-License-Identifier: MIT
/*
 * The hypervisor as accel/soft calls it: a VM with slots, an MMU scheme that turns slots into tables which the
 * hardware walks, vCPUs with requests. Its data structures and errors are those of <linux/kvm.h>.
 *
 * Threads. vCPU calls come from the vCPU's own thread, those marked "inside" between rendezvous_enter and
 * rendezvous_leave of its member. Everything else comes from any thread that is not inside, and serialises itself
 * by `slots_lock`, but for the notifier, which has its own count.
 */
#ifndef HYPERVISOR_HV_H
#define HYPERVISOR_HV_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/addr.h"
#include "base/rendezvous.h"
#include "hypervisor/counters.h"
#include "hypervisor/io.h"
#include "hypervisor/policy.h"
#include "hypervisor/request.h"
#include "hypervisor/slot.h"
#include "paging/guest_walk.h"

enum hv_mmu_kind {
    HV_MMU_NATIVE, /* no tables of ours */
    HV_MMU_EPT,
    HV_MMU_NPT,
    HV_MMU_SHADOW,
    HV_MMU_HYBRID, /* shadow above, EPT below: what of the guest's tables is which a policy says */
};

/* How a write to a page of a logged slot is noticed. */
enum hv_log_by {
    HV_LOG_BY_WRITE_PROTECTION,
    HV_LOG_BY_DIRTY_BIT, /* scan the D bits when the log is read */
    HV_LOG_BY_PML,       /* EPT only */
};

struct hv_options {
    enum hv_mmu_kind mmu;
    uint8_t tdp_levels;   /* 4 or 5 */
    uint8_t level_max;    /* largest page of ours: 1 (4K), 2 (2M), 3 (1G) */
    uint8_t address_bits; /* of guest-physical addresses: up to 52 */
    enum hv_log_by log_by;
    bool access_dirty;  /* the tables have A and D bits; without, access tracking */
    bool execute_only;  /* EPT */
    bool eager_split;   /* large pages are split when logging begins, and not at the first write */
    bool nx_huge_pages; /* a large page is not executable; a fetch splits it */
    bool populate;      /* a fault makes the host page present before it is mapped, as KVM's get_user_pages does */
    bool no_unsync;     /* shadow: each write to a guest table that is shadowed is made by us */
    bool no_mmio_caching;      /* no entry says that there is no slot: each access there is a fault to look up */
    bool emulate_supervisor;   /* shadow: so is each access that ring 3 does not make; none is by our tables */
    uint32_t shadow_pages_max; /* as if by hv_set_mmu_pages; 0: by the slots */
    uint32_t
        rmap_max; /* shadow: mappings of one page that are kept, and one more: beyond, all of them go; 0: as KVM */
    struct policy_options policy; /* hybrid */
    bool zap_slot_only; /* a slot that goes takes its own translations along, and not all of the VM's, as KVM does
                           unless KVM_X86_QUIRK_SLOT_ZAP_ALL is disabled */
};

/* Why a vCPU left the hardware, and what became of it. */
enum hv_answer {
    HV_RETRY,   /* done: try the access again */
    HV_EMULATE, /* not RAM for this access: look the gpa up and do it by hand */
    HV_ERROR,   /* the host says no: see `error` of the vCPU, a negative errno */
    HV_FAULT,   /* the guest's own after all: see `fault` of the vCPU */
    HV_SETTLE,  /* leave, call hv_settle, enter, and hand the same exit to hv_handle_again */
};

/* A #PF for the guest, found by who walks its tables in place of the hardware. */
struct hv_guest_fault {
    enum guest_walk_end rule;
    uint32_t error_code;
    uint8_t level;
    uint64_t entry, reserved;
};

struct hv_mmu_ops; /* mmu_ops.h: what a scheme does */

/*
 * The notifier's state: host ranges on their way out (notifier.h). While `active` is not 0 no set of slots is
 * replaced: who publishes one does so with `lock` held and `active` 0, waiting for `idle` before (with neither
 * `mmu_lock` nor a vCPU inside).
 */
struct hv_notifier {
    atomic_uint active; /* begins without an end */
    atomic_uint_fast64_t sequence;
    atomic_uint_fast64_t first, last; /* the union of the active ranges */
    pthread_mutex_t lock;
    pthread_cond_t idle; /* `active` became 0 */
};

/* Who keeps vCPUs out (hv_hold_vcpus). */
struct hv_hold {
    atomic_uint count;    /* holds that have not ended */
    pthread_mutex_t lock; /* a leaf */
    pthread_cond_t ended; /* `count` became 0 */
};

struct hv_vcpu;
struct dirty_ring;

struct hv_vm {
    struct hv_options options;
    const struct hv_mmu_ops *mmu;
    void *mmu_state;    /* the scheme's; that of shadow tables, if it has both */
    void *nested_state; /* that of the second dimension's tables */
    struct rendezvous inside;
    pthread_mutex_t slots_lock;                /* changes of slots, logs, vCPUs. Before mmu_lock */
    pthread_mutex_t mmu_lock;                  /* who walks tables and is no vCPU's fault */
    struct hv_slots *slots[HV_ADDRESS_SPACES]; /* published: load it by hv_slots, or under `slots_lock` */
    struct hv_notifier notifier;
    struct hv_hold hold;
    struct io io;                /* ioeventfds and coalesced zones */
    struct hv_counters counters; /* without the vCPUs': see hv_counters_read */
    pthread_mutex_t vcpus_lock;  /* the list; a leaf */
    struct hv_vcpu *vcpus;
    uint64_t max_gfn;                   /* the last one that a slot may have */
    uint64_t hva_end;                   /* where the host's user addresses end */
    uint64_t slot_pages;                /* of all slots */
    uint64_t mmu_pages;                 /* KVM_SET_NR_MMU_PAGES; 0: not called */
    atomic_uint logged_slots;           /* with KVM_MEM_LOG_DIRTY_PAGES; PML is on while there are any */
    bool manual_protect, initially_set; /* KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 */
    uint32_t ring_bytes;                /* KVM_CAP_DIRTY_LOG_RING; 0: bitmaps */
};

struct hv_vcpu {
    struct rendezvous_member inside;
    struct hv_requests requests;
    struct hv_vm *vm;
    struct hv_vcpu *next;
    unsigned index;
    unsigned slot_hint[HV_ADDRESS_SPACES];
    uint8_t space;         /* 0, or 1 in SMM */
    void *root;            /* the table that its hardware walks; changes with HV_REQUEST_RELOAD_ROOT */
    void *nested_root;     /* the second dimension's, likewise */
    bool root_is_switched; /* hybrid: `root` is the guest's own uppermost table */
    uint32_t timer_walks;  /* hybrid: after so many walks its hardware makes an exit; 0: never */
    void *mmu_state;       /* as of the VM */
    void *nested_state;
    struct dirty_ring *ring; /* or NULL */
    /* Set by who has the hardware, with `vcpus_lock` held: hand the page-modification log to hv_mark_dirty_gfn,
     * and empty it. By the vCPU's thread, or another while the vCPU is held. */
    void (*drain_pml)(void *opaque);
    void *drain_opaque;
    int error;                   /* of HV_ERROR */
    struct hv_guest_fault fault; /* of HV_FAULT */
    bool wrote_table;            /* the last exit was a write to a guest table that is shadowed */
    /* Of the last HV_EMULATE for a gpa without a slot: good while the generation is the same (KVM's MMIO cache).
     */
    uint64_t mmio_gfn, mmio_generation;
    _Alignas(64) struct hv_counters counters; /* written by its thread alone */
};

/* struct kvm_userspace_memory_region2 and struct kvm_pre_fault_memory, which older headers lack. */
struct hv_region2 {
    uint32_t slot, flags;
    uint64_t guest_phys_addr, memory_size, userspace_addr;
    uint64_t guest_memfd_offset;
    uint32_t guest_memfd;
};

struct hv_pre_fault {
    uint64_t gpa, size, flags;
};

int hv_vm_create(const struct hv_options *options, struct hv_vm **ret);
void hv_vm_destroy(struct hv_vm *vm); /* its vCPUs are gone */
int hv_vcpu_create(struct hv_vm *vm, unsigned index, struct hv_vcpu **ret);
void hv_vcpu_destroy(struct hv_vcpu *vcpu);

/* KVM_SET_USER_MEMORY_REGION and KVM_SET_USER_MEMORY_REGION2, with the checks in KVM's order. 0 or -errno. */
int hv_set_slot(struct hv_vm *vm, const struct kvm_userspace_memory_region *region);
int hv_set_slot2(struct hv_vm *vm, const struct hv_region2 *region);

/* KVM_GET_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG, KVM_ENABLE_CAP of the two capabilities, KVM_RESET_DIRTY_RINGS. */
int hv_get_dirty_log(struct hv_vm *vm, const struct kvm_dirty_log *log);
int hv_clear_dirty_log(struct hv_vm *vm, const struct kvm_clear_dirty_log *log);

/* Receives bits of `npages` pages of a slot from `first` on, a multiple of 64; the rest of the last word is clear.
 * What lies between two calls is clear. */
typedef void hv_dirty_fn(void *opaque, uint64_t first, const uint64_t *words, uint64_t npages);

/* The log is got and cleared, whether it is manual or not, and read in place. `each` is called under `slots_lock`;
 * the words are good until it returns. 0 or -errno, as for KVM_GET_DIRTY_LOG. */
int hv_harvest_dirty_log(struct hv_vm *vm, uint32_t slot_and_space, hv_dirty_fn *each, void *opaque);
/* Writes to the pages of a log need not be noticed, or all begin to be at once, whatever was marked: a harvest
 * does not go page by page. */
bool hv_protects_at_once(struct hv_vm *vm);
int hv_enable_cap(struct hv_vm *vm, const struct kvm_enable_cap *cap); /* -EINVAL: not one of the two */
int hv_enable_manual_protect(struct hv_vm *vm, uint64_t flags);
int hv_enable_dirty_ring(struct hv_vm *vm, uint32_t bytes);
int hv_reset_dirty_rings(struct hv_vm *vm); /* how many entries were taken back, or -errno */

/* Not inside: what vCPUs have in their page-modification logs goes to the dirty log; KVM's kick. The calls above
 * do it themselves where it matters to them; a ring wants it before it is read. */
void hv_sync_dirty(struct hv_vm *vm);

/* The vCPU's own thread, before it enters the guest: KVM_EXIT_DIRTY_RING_FULL, until entries are taken back. */
bool hv_ring_is_full(const struct hv_vcpu *vcpu);
/* The ring as KVM shows it at KVM_DIRTY_LOG_PAGE_OFFSET of the vCPU: `ret_count` entries. NULL without rings. */
struct kvm_dirty_gfn *hv_ring_entries(const struct hv_vcpu *vcpu, uint32_t *ret_count);

/* Inside. The slots of the vCPU's space, good until it leaves. */
static inline const struct hv_slots *hv_slots(const struct hv_vcpu *vcpu)
{
    return __atomic_load_n(&vcpu->vm->slots[vcpu->space], __ATOMIC_ACQUIRE);
}

/* Inside. Look at an exit of the hardware, and repair what can be repaired. PML_FULL is not for here: who has the
 * hardware empties its log. */
enum hv_answer hv_handle_exit(struct hv_vcpu *vcpu, const struct pt_exit *exit);

/* After HV_SETTLE: it is the same exit, and is not counted again. */
enum hv_answer hv_handle_again(struct hv_vcpu *vcpu, const struct pt_exit *exit);
/* Not inside: every vCPU forgets what was taken from it. */
void hv_settle(struct hv_vm *vm);

/*
 * Not inside, by the vCPU's thread: what the hypervisor of a shadowed guest intercepts. Registers that decide on
 * translation have other values (which are valid): `root` is another one then; whoever has the hardware loads it.
 * INVLPG and its likes of an address, and of all. For other schemes: nothing.
 */
void hv_set_regs(struct hv_vcpu *vcpu, const struct paging_regs *regs, const struct paging_cpu *cpu);
void hv_load_cr3(struct hv_vcpu *vcpu, uint64_t cr3); /* the same, of CR3 alone; not with PAE paging */
void hv_set_keys(struct hv_vcpu *vcpu, uint32_t pkru, uint32_t pkrs);
void hv_invalidate(struct hv_vcpu *vcpu, gva_t gva);
void hv_invalidate_all(struct hv_vcpu *vcpu);

/*
 * Inside, shadow only: a store into guest memory that the hardware does not make, be it to a table. False: no RAM.
 * `ret_is_table`: it was to a table that is shadowed, so the hardware would have made an exit of it.
 */
bool hv_store(struct hv_vcpu *vcpu, gpa_t gpa, const void *bytes, unsigned size_bytes, bool *ret_is_table);
/* Inside, shadow only: the page will be written in ways that nobody sees. If it is a table, it is shadowed no
 * more. */
void hv_give_up_tables(struct hv_vcpu *vcpu, gpa_t gpa);

/* KVM's limits. */
#define HV_MMU_PAGES_MIN 64u
#define HV_MMU_PAGES_PER_SLOT_PAGES 50u

/*
 * KVM_SET_NR_MMU_PAGES: so many shadow pages at most, from HV_MMU_PAGES_MIN on (-EINVAL below); if there are more,
 * some go now. KVM_GET_NR_MMU_PAGES: until then 2 % of the slots' pages, and no less than the minimum. Schemes
 * without shadow pages keep the number alone.
 */
int hv_set_mmu_pages(struct hv_vm *vm, uint64_t pages);
uint64_t hv_mmu_pages(const struct hv_vm *vm);

/* The host runs short of memory, as KVM's shrinker is told: up to so many shadow pages go, those first that were
 * used least of late. @return how many; their memory is the host's again */
uint64_t hv_shrink(struct hv_vm *vm, uint64_t pages);

/* Inside. At how many places a byte of the host's is in guest-physical memory; `ret` is one of them, if any. */
unsigned hv_gpa_of(const struct hv_vcpu *vcpu, uint64_t host, gpa_t *ret);

/*
 * Inside. The host bytes of a guest-physical byte for an access that the hypervisor makes itself (emulation,
 * native). NULL: no slot, or a write to a read-only one. A write is entered into the dirty log.
 */
void *hv_guest_bytes(struct hv_vcpu *vcpu, gpa_t gpa, enum mv_access kind);

/* A page was written by somebody else than the hardware: into the bitmap of its slot, or the vCPU's ring. Inside.
 */
void hv_mark_dirty(struct hv_vcpu *vcpu, const struct hv_slot *slot, uint64_t gfn);
/* The same by the number alone; of one without a slot nothing is kept. */
void hv_mark_dirty_gfn(struct hv_vcpu *vcpu, uint64_t gfn);

/* Any thread: post to every vCPU, and wait for none. */
void hv_post_all(struct hv_vm *vm, unsigned requests);

/*
 * Not inside, with none of the VM's locks: keep every vCPU out, between two changes that it must not see apart,
 * and wait until none is inside. What vCPUs have in their page-modification logs is in the dirty log then, as with
 * KVM after an exit. Nests, from any threads. Nobody who is inside ends up waiting: it leaves first.
 */
void hv_hold_vcpus(struct hv_vm *vm);
void hv_release_vcpus(struct hv_vm *vm);

/* Inside, by the vCPU's thread, when it has taken its requests: leave while vCPUs are held, and enter again. Then
 * other requests may be pending. @return whether it had to */
bool hv_stay_out(struct hv_vcpu *vcpu);

/*
 * Not inside: post HV_REQUEST_FLUSH to every vCPU and wait until none uses the old translations. With any locks
 * held: a notifier has mmu_lock and not slots_lock.
 */
void hv_flush_all(struct hv_vm *vm);

/*
 * KVM_PRE_FAULT_MEMORY, by the vCPU's own thread, which is not inside. What is done is taken off the front of
 * `range`; 0 when at least one page was, or there was nothing in the way. -EINVAL, -ENOENT (no slot), -EOPNOTSUPP
 * (the scheme maps nothing by guest-physical address), or what the scheme says.
 */
int hv_pre_fault(struct hv_vcpu *vcpu, struct hv_pre_fault *range);

#endif
