// SPDX-License-Identifier: MIT
/* A guest for tests of a caller's own CPU: RAM, a ROM, a device, and page tables made by hand, by public headers
 * only. */
#ifndef TESTS_CONFORM_SOFT_GUEST_H
#define TESTS_CONFORM_SOFT_GUEST_H

#include <linux/kvm.h>
#include <memvirt/memvirt.h>

#define GUEST_RAM_BYTES (UINT64_C(64) << 20)
#define GUEST_ROM UINT64_C(0x10000000)    /* 64 KiB */
#define GUEST_DEVICE UINT64_C(0x20000000) /* 4 KiB; without a handler */
#define GUEST_TABLES UINT64_C(0x100000)   /* tables are taken from here up */
#define GUEST_DATA UINT64_C(0x1000000)    /* and data from here */

#define PTE_P UINT64_C(1)
#define PTE_W UINT64_C(2)
#define PTE_U UINT64_C(4)
#define PTE_A UINT64_C(0x20)
#define PTE_D UINT64_C(0x40)
#define PTE_PS UINT64_C(0x80)
#define PTE_G UINT64_C(0x100)
#define PTE_NX (UINT64_C(1) << 63)

struct soft_guest {
    const char *accel;
    struct mv_machine *machine;
    struct mv_block *ram_block, *rom_block;
    struct mv_region *root, *ram, *rom, *device, *ports;
    struct mv_space *memory, *io;
    struct mv_vm *vm;
    struct mv_vcpu *vcpu;
    uint8_t *host; /* of guest-physical 0 */
    uint64_t root_table, next_table;
};

/* Paging on, 4 levels, CPL 0; nothing is mapped. `accel` as in "soft,mmu=npt". */
void soft_guest_make(struct soft_guest *g, const char *accel);
/* The same with a dirty ring of so many entries for each vCPU; 0: none. */
void soft_guest_make_with_ring(struct soft_guest *g, const char *accel, uint32_t entries);
/* The same with mv_vm_options.dirty_initially_set. */
void soft_guest_make_initially_set(struct soft_guest *g, const char *accel, bool initially_set);
void soft_guest_end(struct soft_guest *g);

/* One more vCPU with the same registers. */
struct mv_vcpu *soft_guest_add_vcpu(struct soft_guest *g);

/* `flags` of the leaf, with P; `level` 1 to 3. Upper entries have P, W and U. */
void soft_guest_map(struct soft_guest *g, uint64_t gva, uint64_t gpa, uint64_t flags, unsigned level);
/* Where the entry of `level` for gva is. */
uint64_t soft_guest_entry_gpa(const struct soft_guest *g, uint64_t gva, unsigned level);
uint64_t soft_guest_entry(const struct soft_guest *g, uint64_t gva, unsigned level);
/* As a guest's kernel edits: a shadow of the table hears of it. (Mapping where nothing was needs none of that.) */
void soft_guest_set_entry(struct soft_guest *g, uint64_t gva, unsigned level, uint64_t value);

/* Change control registers and CPL. */
void soft_guest_set(struct soft_guest *g, uint64_t cr0_set, uint64_t cr4_set, unsigned cpl);

#endif
