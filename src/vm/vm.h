// SPDX-License-Identifier: MIT
/*
 * Inside a VM: an accelerator, the slots that it has, and vCPUs in threads of their own.
 *
 * Locking. `lock` protects the states below that say so, and is a leaf: nothing is called with it held but the
 * host's threads library. What a vCPU thread looks at between two runs is atomic, and written before its thread is
 * kicked.
 */
#ifndef VM_VM_H
#define VM_VM_H

#include <memvirt/vm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "accel/accel.h"
#include "machine/coalesced.h"
#include "vm/dirtyring.h"
#include "vm/slots.h"

#define VM_VCPUS_MAX 254 /* what an 8-bit APIC id can name, less the broadcast address */

/* What a vCPU thread does next. Written by that thread under `lock`, or before it exists. */
enum vcpu_activity {
    VCPU_RUNNING,
    VCPU_HALTED,    /* executed HLT; nothing but INIT brings it back */
    VCPU_WAIT_SIPI, /* after INIT, or never started */
};

enum vcpu_request {
    VCPU_REQUEST_INIT = 1u << 0,
    VCPU_REQUEST_SIPI = 1u << 1,
};

/* Owned by its VM. */
struct mv_vcpu {
    struct mv_vm *vm;
    unsigned index;
    struct accel_vcpu *accel;
    struct kvm_run *run;
    struct kvm_sregs reset_sregs; /* as the accelerator made it: what INIT brings back */
    struct kvm_regs reset_regs;

    pthread_t thread;
    bool has_thread;      /* `lock`; the thread exists and may be signalled */
    atomic_bool in_guest; /* between gate_enter and gate_leave */
    bool quiet;           /* `lock`; its thread leaves its registers alone, and they are final: see gate.h */
    bool pending_io;      /* own thread: the last exit's instruction is half done, the next run completes it */

    bool futile_fault; /* own thread: the last memory fault that nothing was converted for; see convert.c */
    uint64_t futile_gpa;
    uint64_t futile_conversions;
    struct dirty_ring ring; /* control lock */

    atomic_uint requests; /* of enum vcpu_request; set under `lock` */

    enum vcpu_activity activity; /* `lock` */
    uint8_t sipi_vector;         /* `lock` */
    bool halted_with_interrupts; /* `lock`; the IF flag when it halted */
    uint64_t halted_at;          /* `lock`; RIP */

    atomic_uint_fast64_t exits[ACCEL_EXIT_COUNT]; /* written by its own thread */
};

enum vm_phase {
    VM_MADE,
    VM_STARTED, /* vCPU threads may exist */
    VM_JOINED,  /* they are gone */
};

/* Owned by the caller of mv_vm_create. */
struct mv_vm {
    struct mv_vm_options options; /* its strings are not ours: accel is not kept */
    const struct accel *ops;
    struct accel_vm *accel;
    struct mv_listener *listener; /* feeds `slots` */
    struct slot_table *slots;
    struct dirty_reaper reaper;
    struct mv_listener *memory_zones; /* gathered writes */
    struct mv_listener *io_zones;
    struct kvm_coalesced_mmio_ring *ring; /* or NULL */
    struct coalesced_drain drain;
    struct mv_listener *memory_events; /* eventfds of the spaces */
    struct mv_listener *io_events;
    struct mv_block_notifier *host; /* discards, for accelerators that do not see them; or NULL */
    struct mv_error *host_err;      /* while that is made: of the first block that cannot be watched, */
    int host_rc;                    /* and what it was */

    pthread_mutex_t joining; /* held over the joins: of several threads that wait, one joins. Before `lock` */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* whenever a state that somebody may wait for changes */
    enum vm_phase phase;    /* `lock` */
    atomic_bool stopping;   /* no vCPU enters the guest any more */
    struct mv_stop stop;    /* `lock` */
    atomic_uint gate;       /* closed while > 0: no vCPU enters the guest */
    atomic_uint pauses;     /* while > 0 no vCPU executes guest instructions; changed under `lock` */

    unsigned vcpu_count; /* `lock` where it grows; it does not after the start, nor what follows */
    struct mv_vcpu *vcpus[VM_VCPUS_MAX];

    atomic_uint_fast64_t unassigned;
    atomic_uint_fast64_t rom_writes;
    atomic_uint_fast64_t device_errors;
    const struct mv_region *noticed[8]; /* `lock`; ROMs whose first write was told; never followed */
    unsigned noticed_count;             /* `lock` */
};

/* 0, or -EBUSY when vCPU threads may be using their registers. */
int vm_check_idle(struct mv_vm *vm, struct mv_error *err);

/* `lock` held. The index of the vCPU in whose thread we are, or -1. */
int vm_current_vcpu(const struct mv_vm *vm);

#endif
