// SPDX-License-Identifier: MIT
/**
 * @file vm.h
 * A virtual machine: a machine's memory and I/O spaces, an accelerator, and vCPUs that run in threads of their
 * own.
 *
 * Registers have the layout of <linux/kvm.h>. The order of calls is: create, add vCPUs, set their registers, run
 * (or start and wait), look, destroy. To look in between, pause. Regions may be edited at any time by any thread,
 * while the vCPUs run and from their handlers: a vCPU sees the memory before the commit or after it, never
 * between.
 */
#ifndef MEMVIRT_VM_H
#define MEMVIRT_VM_H

#include <linux/kvm.h>

#include <memvirt/space.h>

MV_BEGIN_DECLS

struct mv_vm;
struct mv_vcpu;

/** Why a VM stopped. */
enum mv_stop_reason {
    MV_STOP_NONE,           /**< it has not */
    MV_STOP_EXIT,           /**< the guest asked for it, with a status */
    MV_STOP_REQUEST,        /**< the host asked for it */
    MV_STOP_SHUTDOWN,       /**< triple fault */
    MV_STOP_HALTED,         /**< every vCPU is halted and nothing can wake one */
    MV_STOP_INTERNAL_ERROR, /**< the accelerator could not go on with the guest's instruction */
    MV_STOP_ENTRY_FAILED,   /**< the processor refused the guest's state */
    MV_STOP_UNHANDLED_EXIT, /**< an exit that this VM has no use for */
    MV_STOP_HOST_ERROR,     /**< the host refused to run the vCPU */
};

struct mv_stop {
    enum mv_stop_reason reason;
    int status;                    /**< EXIT, REQUEST: the status given; HOST_ERROR: the negative errno */
    int vcpu;                      /**< index of the vCPU concerned, or -1 */
    char text[MV_ERROR_TEXT_SIZE]; /**< one line for people */
};

/** The word for a reason, such as "exit" or "shutdown". Static storage. */
MV_API const char *mv_stop_reason_name(enum mv_stop_reason reason);

struct mv_vm_options {
    const char *accel; /**< "kvm", or "soft" with properties (soft.h); required: nothing is chosen silently */
    struct mv_space *memory; /**< guest physical memory; must outlive the VM */
    struct mv_space *io;     /**< I/O ports; must outlive the VM */
    /** A signal that the VM may use to interrupt its vCPU threads; 0: SIGRTMIN. Its handler in this process is
     * replaced, by one that does nothing, and stays so; a handler's system call may return EINTR for it. */
    int kick_signal;
    unsigned max_slots; /**< use no more slots than this; 0: as many as the accelerator has */
    /** The guest may make pages private (privacy.h): with "kvm" a VM of type KVM_X86_SW_PROTECTED_VM, where the
     * host has that, and else an error. Without it a block may have a record, if all of its pages stay shared. */
    bool private_pages;

    /**
     * What guests write is logged (dirty.h) in a ring for each vCPU, of this many entries, and not in a bitmap for
     * each slot: a sync costs what was written. A power of two; KVM takes 1024 (on some hosts less) to 65536. A
     * vCPU that fills its ring stops to empty it; a thread of the VM's does so now and then. 0: bitmaps.
     */
    uint32_t dirty_ring_entries;
    /**
     * With bitmaps: when a log starts all pages count as written, and what it costs to catch writes is paid for
     * each page when its mark is taken, not for all at the start (KVM_DIRTY_LOG_INITIALLY_SET).
     */
    bool dirty_initially_set;

    /**
     * Told of what a guest does that hardware would pass over in silence and that is most often a mistake, such as
     * the first write to each ROM; one line of text. Called in the vCPU's thread. May be NULL.
     */
    void (*notice)(void *opaque, const char *text);
    void *notice_opaque;
};

/**
 * Make a VM without vCPUs; its slots are made from the present view of its memory space.
 * @return 0; -ENODEV (reason "no-device"), -EACCES ("no-permission"), -ENOTSUP ("missing-capability"), -EINVAL
 *         ("no-accel": an accelerator of that name does not exist; "bad-ring": no such dirty rings can be, or they
 *         were asked for with dirty_initially_set); -ENOSPC ("no-slot"); -EBUSY
 * ("has-guest-memfd"), -ENOTSUP ("no-guest-memfd", "no-private-pages", "private-rom", "private-log"): blocks with
 * private pages; or what the host says
 */
MV_API int mv_vm_create(const struct mv_vm_options *options, struct mv_vm **ret, struct mv_error *err);

/** Stop, join the vCPU threads, free everything. NULL is allowed. Not from a handler, nor inside a transaction: a
 * vCPU whose handler edits the tree could not end. */
MV_API void mv_vm_destroy(struct mv_vm *vm);

/**
 * Add a vCPU, before the VM is started. The first one runs from its registers; the others wait for a start-up IPI
 * (mv_vm_startup_ipi()).
 * @return 0; -EBUSY after the start; or what the host says. The vCPU lives as long as the VM.
 */
MV_API int mv_vm_add_vcpu(struct mv_vm *vm, struct mv_vcpu **ret, struct mv_error *err);

/** The spaces that it was made with. */
MV_API struct mv_space *mv_vm_memory(const struct mv_vm *vm);
MV_API struct mv_space *mv_vm_io(const struct mv_vm *vm);

/** How many vCPUs have been added. */
MV_API unsigned mv_vm_vcpu_count(const struct mv_vm *vm);
/** @return NULL when there is no vCPU `index` */
MV_API struct mv_vcpu *mv_vm_vcpu(struct mv_vm *vm, unsigned index);

/** Registers. Only while the VM is not running, or by who paused it. @return 0; -EBUSY; or what the host says */
MV_API int mv_vcpu_get_regs(struct mv_vcpu *vcpu, struct kvm_regs *ret, struct mv_error *err);
MV_API int mv_vcpu_set_regs(struct mv_vcpu *vcpu, const struct kvm_regs *regs, struct mv_error *err);
MV_API int mv_vcpu_get_sregs(struct mv_vcpu *vcpu, struct kvm_sregs *ret, struct mv_error *err);
MV_API int mv_vcpu_set_sregs(struct mv_vcpu *vcpu, const struct kvm_sregs *sregs, struct mv_error *err);

/** INIT and start-up IPI to vCPU `index`, as its local APIC would take them. Any thread. An absent vCPU ignores
 * them. */
MV_API void mv_vm_init_ipi(struct mv_vm *vm, unsigned index);
MV_API void mv_vm_startup_ipi(struct mv_vm *vm, unsigned index, uint8_t vector);

/** Start the vCPU threads. @return 0; -EBUSY when started before; -EINVAL ("no-vcpu"); -ENOTSUP ("no-cpu": the
 * accelerator executes no instructions); or what pthread_create(3)
 * says */
MV_API int mv_vm_start(struct mv_vm *vm, struct mv_error *err);

/** Wait until the VM has stopped and its vCPU threads are gone. Any thread, also several; not a handler. */
MV_API void mv_vm_wait(struct mv_vm *vm, struct mv_stop *ret);

/** Start and wait. @return as mv_vm_start(); `ret` is written when it is 0 */
MV_API int mv_vm_run(struct mv_vm *vm, struct mv_stop *ret, struct mv_error *err);

/**
 * Stop the VM; the first call's reason stays. It returns at once, and no vCPU executes another guest instruction
 * after it left the guest. Any thread, also a handler's; not a signal handler.
 */
MV_API void mv_vm_stop(struct mv_vm *vm, enum mv_stop_reason reason, int status, const char *text);

/**
 * Pause the VM: when this returns no vCPU executes guest instructions, each one's last instruction is complete,
 * and registers can be read and written, until as many mv_vm_resume() followed as there were pauses. Any thread,
 * any time, also before the start; guest memory stays accessible and editable. It waits for handlers that vCPUs
 * are in the middle of, so the caller must hold nothing that they may wait for, an open transaction above all.
 *
 * In a handler, which is in the middle of an instruction, it only asks: the vCPUs come to rest when their handlers
 * return. If the VM stops meanwhile it returns too; registers are -EBUSY then until the vCPU threads are done.
 */
MV_API void mv_vm_pause(struct mv_vm *vm);
/** Take one pause back. Any thread. */
MV_API void mv_vm_resume(struct mv_vm *vm);

/** What a VM is doing. */
enum mv_vm_state {
    MV_VM_MADE,    /**< not started yet */
    MV_VM_RUNNING, /**< started, and not paused by anybody */
    MV_VM_PAUSED,
    MV_VM_STOPPED, /**< for good: its vCPU threads end, or have ended */
};

/** Any thread; it may be out of date at once, unless the caller makes sure that it is not. */
MV_API enum mv_vm_state mv_vm_state(struct mv_vm *vm);

/** A count with its name: an exit reason, or a counter of the kernel's own. */
struct mv_counter {
    const char *name; /**< valid as long as the VM lives */
    uint64_t value;
};

/** Which counters. */
enum mv_counter_set {
    MV_COUNTERS_EXITS,  /**< exits by reason, over all vCPUs */
    MV_COUNTERS_KERNEL, /**< the accelerator's own statistics, VM and all vCPUs added up (KVM_GET_STATS_FD) */
    MV_COUNTERS_SLOTS,  /**< what the slot listener did: "set_user_memory_region" and "commits" */
    MV_COUNTERS_ACCESS, /**< what guests did to no good: "unassigned", "rom_write", "device_error" */
};

/**
 * Copy up to `capacity` counters. Any thread, also while the VM runs.
 * @return how many there are, which may be more than `capacity`; 0 when the accelerator has none
 */
MV_API size_t mv_vm_counters(struct mv_vm *vm, enum mv_counter_set set, struct mv_counter *ret, size_t capacity);

/** A slot: a piece of guest physical memory as the accelerator knows it. */
struct mv_slot {
    uint32_t id;
    uint32_t flags; /**< KVM_MEM_READONLY, KVM_MEM_GUEST_MEMFD (1 << 2), ... */
    mv_gpa_t gpa;
    uint64_t size_bytes;
    mv_hva_t hva;
};

/** Copy up to `capacity` slots in order of gpa. Any thread. @return how many there are */
MV_API size_t mv_vm_slots(struct mv_vm *vm, struct mv_slot *ret, size_t capacity);

/** Whether slots have all of a range of a space: mv_mtree_print() asks for that (mtree.h). Any thread, also with
 * the machine's control lock held. */
MV_API bool mv_vm_has_slot(struct mv_vm *vm, const struct mv_space *space, struct mv_range range);

/** What the accelerator itself makes of an address (KVM_TRANSLATE). */
struct mv_translation {
    bool valid;
    mv_gpa_t gpa;
};

/** As for an explicit read by a supervisor: SMAP and protection keys may refuse it. "kvm" sets A in the guest's
 * entries on the way; "soft" only looks. Only while the VM is not running, or by who paused it.
 * @return 0; -EBUSY; or what the host says */
MV_API int mv_vcpu_translate(struct mv_vcpu *vcpu, mv_gva_t gva, struct mv_translation *ret, struct mv_error *err);

MV_END_DECLS

#endif
