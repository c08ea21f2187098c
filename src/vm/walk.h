// SPDX-License-Identifier: MIT
/* Guest page tables, read in a VM's memory. Only RAM and ROM is read: looking has no side effects. */
#ifndef VM_WALK_H
#define VM_WALK_H

#include "paging/state.h"
#include "vm/vm.h"

/* How a vCPU with these registers translates. PDPTEs of PAE are read in memory. */
struct paging walk_paging(const struct mv_vm *vm, const struct kvm_sregs *sregs);

/* The linear address of the next instruction. 64-bit code ignores CS's base; other code has 32 address bits. */
gva_t walk_next_instruction(const struct kvm_regs *regs, const struct kvm_sregs *sregs);

/* An x86_read_fn; opaque is the memory space. */
bool walk_read(void *opaque, gpa_t at, unsigned size_bytes, uint64_t *ret);

/* False when the guest's tables do not map it. */
bool walk_to_gpa(struct mv_vm *vm, const struct kvm_sregs *sregs, gva_t gva, gpa_t *ret);

#endif
