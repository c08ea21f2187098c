// SPDX-License-Identifier: MIT
/*
 * The contract of an accelerator: what runs vCPUs, and learns of memory by slots alone. Its data structures and
 * its semantics are those of <linux/kvm.h> (Linux, "The Definitive KVM API Documentation"), whoever implements
 * them.
 *
 * Threads. A VM's calls may come from any thread, one at a time for slots, attributes and the dirty logs. A vCPU's
 * calls come from its own thread, or from any thread while no thread of its own exists.
 * `run_area()->immediate_exit` may be written by any thread.
 *
 * Failures are negative errnos; those with an `err` fill it in.
 */
#ifndef ACCEL_ACCEL_H
#define ACCEL_ACCEL_H

#include <linux/kvm.h>
#include <memvirt/accel.h>
#include <memvirt/types.h>

/* <linux/kvm.h> has these from Linux 6.8 on. */
#ifndef KVM_MEM_GUEST_MEMFD
#define KVM_MEM_GUEST_MEMFD (1UL << 2)
#endif
#ifndef KVM_MEMORY_ATTRIBUTE_PRIVATE
#define KVM_MEMORY_ATTRIBUTE_PRIVATE (1ULL << 3)
#endif
#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT 39
#endif

struct accel_vm;
struct accel_vcpu;

struct accel_cpu_ops; /* cpu.h */

struct accel_vm_options {
    const char *properties; /* what follows the accelerator's name and a comma, or NULL */
    bool private_pages;     /* the guest may convert pages; without: whatever the accelerator does by itself */
    uint32_t dirty_ring_entries; /* of each vCPU's ring; 0: slots have bitmaps instead */
    bool dirty_initially_set;    /* KVM_DIRTY_LOG_INITIALLY_SET */
};

/* Receives one counter; `name` lives as long as the VM. */
typedef void accel_counter_fn(void *opaque, const char *name, uint64_t value);

/* Receives bits of `npages` pages of a slot from `first` on, a multiple of 64; the rest of the last word is clear.
 * What lies between two calls is clear. */
typedef void accel_dirty_fn(void *opaque, uint64_t first, const uint64_t *words, uint64_t npages);

/* What a vCPU's CPUID says that its page tables depend on. */
struct accel_paging {
    unsigned address_bits; /* MAXPHYADDR */
    bool has_1g_pages;
    bool is_amd; /* or of a maker whose processors are as AMD's */
};

/* A vCPU's ring of pages that were written. */
struct accel_dirty_ring {
    struct kvm_dirty_gfn *entries; /* NULL: there is none */
    uint32_t count;
};

struct accel {
    const char *name;
    const struct accel_cpu_ops *cpu; /* NULL: it runs instructions itself, and nobody else's */

    void (*check)(struct mv_accel_status *ret);

    /* Options that this host does not have are refused: -ENOTSUP "missing-capability". */
    int (*vm_create)(const struct accel_vm_options *options, struct accel_vm **ret, struct mv_error *err);
    void (*vm_destroy)(struct accel_vm *vm); /* its vCPUs are gone */
    unsigned (*max_slots)(const struct accel_vm *vm);
    bool (*has_readonly_slots)(const struct accel_vm *vm);
    struct accel_paging (*paging)(const struct accel_vm *vm);
    /* KVM_SET_USER_MEMORY_REGION: size 0 deletes. 0 or -errno. */
    int (*set_slot)(struct accel_vm *vm, const struct kvm_userspace_memory_region *slot);

    /* Nests: between the two no vCPU makes an access, nor sees a slot that is set. NULL: vCPUs run by `run`, and
     * the caller knows how to end that. */
    void (*hold_vcpus)(struct accel_vm *vm);
    void (*release_vcpus)(struct accel_vm *vm);

    /* Private pages. Whether slots can have a guest_memfd; without, none of what follows is called. */
    bool (*has_guest_memfds)(const struct accel_vm *vm);
    /* KVM_CREATE_GUEST_MEMFD: a descriptor, which is the caller's, or -errno. */
    int (*create_guest_memfd)(struct accel_vm *vm, uint64_t size_bytes);
    /* KVM_SET_USER_MEMORY_REGION2 of a new slot with KVM_MEM_GUEST_MEMFD, which nothing can change any more;
     * set_slot deletes it. Until attributes say otherwise its pages are shared. 0 or -errno. */
    int (*set_private_slot)(struct accel_vm *vm, const struct kvm_userspace_memory_region *slot, int guest_memfd,
                            uint64_t offset_bytes);
    /* KVM_CAP_MEMORY_ATTRIBUTES: which ones set_attributes takes. */
    uint64_t (*attributes)(const struct accel_vm *vm);
    /* KVM_SET_MEMORY_ATTRIBUTES of guest addresses, in whole pages, whatever slots are there. 0 or -errno. */
    int (*set_attributes)(struct accel_vm *vm, uint64_t gpa, uint64_t size_bytes, uint64_t attributes);

    /*
     * Host memory goes away between the two: from the first on nobody has a translation to it, nor makes one
     * before the second (what a kernel tells KVM by its MMU notifiers). NULL: the accelerator sees for itself.
     */
    void (*host_begin)(struct accel_vm *vm, struct mv_range hva);
    void (*host_end)(struct accel_vm *vm, struct mv_range hva);
    /* If it was asked to watch host memory for what the rest of the process does to it: here is some, of whole
     * pages. 0, or -errno: it cannot. NULL with host_begin. */
    int (*host_watch)(struct accel_vm *vm, struct mv_range hva);
    void (*host_unwatch)(struct accel_vm *vm, struct mv_range hva);

    /* KVM_GET_DIRTY_LOG of a slot with KVM_MEM_LOG_DIRTY_PAGES. 0 or -errno. */
    int (*get_dirty_log)(struct accel_vm *vm, const struct kvm_dirty_log *log);
    /* KVM_CLEAR_DIRTY_LOG. 0 or -errno. */
    int (*clear_dirty_log)(struct accel_vm *vm, const struct kvm_clear_dirty_log *log);
    /* In place of both: `each` gets what the log has where it is, and it is cleared. 0 or -errno. */
    int (*harvest_dirty_log)(struct accel_vm *vm, uint32_t slot, accel_dirty_fn *each, void *opaque);
    /* KVM_RESET_DIRTY_RINGS: how many entries the kernel took back, or -errno; -EINTR: call again. */
    int (*reset_dirty_rings)(struct accel_vm *vm);
    /* Whether getting leaves the log as it is, so that it has to be cleared. */
    bool (*dirty_log_is_manual)(const struct accel_vm *vm);
    /* Whether to harvest is better than to get and clear. NULL: it cannot be done. */
    bool (*dirty_log_is_in_place)(const struct accel_vm *vm);
    /* KVM_IOEVENTFD. 0 or -errno; -ENOTSUP where there is none for such writes: they come as exits then. */
    int (*ioeventfd)(struct accel_vm *vm, const struct kvm_ioeventfd *eventfd);
    /* KVM_REGISTER_COALESCED_MMIO, or KVM_UNREGISTER_COALESCED_MMIO. 0 or -errno; -ENOTSUP where there is none. */
    int (*coalesce)(struct accel_vm *vm, const struct kvm_coalesced_mmio_zone *zone, bool add);
    /* Statistics of the VM as a whole. */
    void (*vm_counters)(struct accel_vm *vm, accel_counter_fn *each, void *opaque);

    int (*vcpu_create)(struct accel_vm *vm, unsigned index, struct accel_vcpu **ret, struct mv_error *err);
    void (*vcpu_destroy)(struct accel_vcpu *vcpu);
    struct kvm_run *(*run_area)(struct accel_vcpu *vcpu);
    /* The VM's one ring of gathered writes, as this vCPU has it mapped; NULL when there is none. */
    struct kvm_coalesced_mmio_ring *(*coalesced_ring)(struct accel_vcpu *vcpu);
    struct accel_dirty_ring (*dirty_ring)(struct accel_vcpu *vcpu);
    /* KVM_RUN: 0 and an exit in the run area, or -errno; -EINTR when a signal or immediate_exit ended it. A
     * KVM_EXIT_MEMORY_FAULT, which KVM tells with EFAULT, is an exit. */
    int (*run)(struct accel_vcpu *vcpu);
    int (*get_regs)(struct accel_vcpu *vcpu, struct kvm_regs *ret);
    int (*set_regs)(struct accel_vcpu *vcpu, const struct kvm_regs *regs);
    int (*get_sregs)(struct accel_vcpu *vcpu, struct kvm_sregs *ret);
    int (*set_sregs)(struct accel_vcpu *vcpu, const struct kvm_sregs *sregs);
    /* KVM_TRANSLATE: `linear_address` in, the rest out. */
    int (*translate)(struct accel_vcpu *vcpu, struct kvm_translation *translation);
    void (*vcpu_counters)(struct accel_vcpu *vcpu, accel_counter_fn *each, void *opaque);
};

/* `name` ends at a comma, behind which are properties, or with the string. NULL when there is none of that name.
 */
const struct accel *accel_by_name(const char *name);
/* What is behind the comma; NULL: nothing. */
const char *accel_properties(const char *name);

/* The largest slot is of 2^31 - 1 pages; pieces of this size keep their alignment. In bytes. */
#define ACCEL_SLOT_BYTES_MAX (UINT64_C(1) << 42)

/* Exit reasons are numbered as in <linux/kvm.h>; those beyond are not known by name here. */
#define ACCEL_EXIT_COUNT 64
/* A run that ended with -EINTR has no exit reason of its own; it is counted under this number. */
#define ACCEL_EXIT_INTERRUPTED (ACCEL_EXIT_COUNT - 1)

/* What a KVM_EXIT_MEMORY_FAULT has in the run area's union. */
struct accel_memory_fault {
    uint64_t flags; /* KVM_MEMORY_ATTRIBUTE_PRIVATE: the guest means the private page */
    uint64_t gpa;
    uint64_t size_bytes;
};
struct accel_memory_fault accel_memory_fault(const struct kvm_run *run);

/* The name of KVM_EXIT_<NAME>, in lower case, such as "mmio". NULL for a number that has none here. */
const char *accel_exit_name(uint32_t reason);

#endif
