// SPDX-License-Identifier: MIT
/*
 * Gathered writes of the accelerator: zones follow the spaces; the ring is emptied before anything else is
 * dispatched.
 *
 * The ring has one consumer at a time (machine/coalesced.h). An entry is taken off it when its handler has
 * returned. Linux before 6.2 takes the ring for full at 85 entries of 169, depending on where they lie: writes
 * then come as exits, after the ring was emptied, and so in order.
 */
#ifndef VM_COALESCED_H
#define VM_COALESCED_H

#include <memvirt/listener.h>

struct mv_vm;

/* To be registered with the VM as opaque, one for each space. */
extern const struct mv_listener_ops coalesced_memory_ops;
extern const struct mv_listener_ops coalesced_io_ops;

/* There is a ring from now on: with the first vCPU. */
void coalesced_start(struct mv_vm *vm);
void coalesced_end(struct mv_vm *vm);

/* In a vCPU's thread, out of the guest, before its exit is dispatched; and when the vCPUs are gone. */
void coalesced_before_exit(struct mv_vm *vm);

#endif
