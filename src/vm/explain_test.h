// SPDX-License-Identifier: MIT
/*
 * A VM on `soft` for questions: RAM, ROM, a device, RAM that is shown read-only, RAM that no slot has, and
 * nothing.
 */
#ifndef VM_EXPLAIN_TEST_H
#define VM_EXPLAIN_TEST_H

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <memvirt/explain.h>
#include <memvirt/machine.h>
#include <memvirt/soft.h>

#define RAM_BYTES UINT64_C(0x100000)
#define TABLES UINT64_C(0x10000)
#define TABLE_COUNT 8u
#define TABLE(n) (TABLES + (n)*UINT64_C(0x1000))
#define ROM UINT64_C(0x100000)
#define UART UINT64_C(0x200000)
#define READONLY UINT64_C(0x300000) /* shows RAM from 0x20000 on */
#define ODD UINT64_C(0x400800)      /* RAM in less than a page: no slot */
#define NOTHING UINT64_C(0x500000)

#define TOUCHED_BYTES 0x28000u /* of RAM: tables are below, also those in the shadow */

#define P UINT64_C(1)
#define W UINT64_C(2)
#define U UINT64_C(4)
#define A UINT64_C(0x20)
#define D UINT64_C(0x40)
#define NX (UINT64_C(1) << 63)
#define CR0_LONG UINT64_C(0x80000001)
#define CR0_WP UINT64_C(0x10000)
#define CR4_PAE UINT64_C(0x20)
#define CR4_PSE UINT64_C(0x10)
#define CR4_LA57 UINT64_C(0x1000)
#define CR4_SMEP (UINT64_C(1) << 20)
#define CR4_SMAP (UINT64_C(1) << 21)
#define CR4_PKE (UINT64_C(1) << 22)
#define CR4_PKS (UINT64_C(1) << 24)
#define EFER_LONG UINT64_C(0x500)
#define EFER_NXE UINT64_C(0x800)
#define RFLAGS_AC (UINT64_C(1) << 18)

/* --- a VM -------------------------------------------------------------------------------------------------------
 */

struct rig {
    struct mv_machine *machine;
    struct mv_block *ram_block, *rom_block;
    struct mv_region *regions[10];
    size_t region_count;
    struct mv_space *memory, *io;
    struct mv_vm *vm;
    struct mv_vcpu *vcpu;
    uint8_t *ram;
    bool is_long;
    struct {
        unsigned count;
        char reason[32];
        uint64_t gpa, code;
    } first_exit;
};

static inline void must(int rc, const struct mv_error *err)
{
    if (rc < 0) {
        fail_msg("%s", err->text);
    }
}

static inline struct mv_region *make(struct rig *rig, struct mv_region_options options)
{
    struct mv_error err;
    must(mv_region_create(rig->machine, &options, &rig->regions[rig->region_count], &err), &err);
    return rig->regions[rig->region_count++];
}

static inline void put(struct rig *rig, uint64_t gpa, struct mv_region *region)
{
    struct mv_error err;
    must(mv_region_add(rig->regions[0], gpa, region, 0, &err), &err);
}

static inline struct mv_block *make_block(struct rig *rig, const char *name, uint64_t size)
{
    struct mv_block *block;
    struct mv_error err;
    must(mv_block_create(rig->machine, &(struct mv_block_options){.name = name, .size_bytes = size}, &block, &err),
         &err);
    return block;
}

static inline void make_map(struct rig *rig)
{
    make(rig, (struct mv_region_options){
                  .name = "system", .kind = MV_REGION_CONTAINER, .size_bytes = UINT64_C(1) << 46});
    struct mv_region *ram =
        make(rig, (struct mv_region_options){
                      .name = "ram", .kind = MV_REGION_RAM, .size_bytes = RAM_BYTES, .block = rig->ram_block});
    struct mv_region_options low = {
        .name = "low", .kind = MV_REGION_ALIAS, .size_bytes = RAM_BYTES, .target = ram};
    struct mv_region_options readonly = {.name = "shadow",
                                         .kind = MV_REGION_ALIAS,
                                         .size_bytes = 0x10000,
                                         .target = ram,
                                         .target_offset_bytes = 0x20000,
                                         .readonly = true};
    struct mv_region_options odd = {.name = "odd", .kind = MV_REGION_ALIAS, .size_bytes = 0x800, .target = ram};
    struct mv_region_options rom = {
        .name = "bios", .kind = MV_REGION_ROM, .size_bytes = 0x10000, .block = rig->rom_block};
    struct mv_region_options uart = {.name = "uart", .kind = MV_REGION_MMIO, .size_bytes = 0x1000};
    put(rig, 0, make(rig, low));
    put(rig, ROM, make(rig, rom));
    put(rig, UART, make(rig, uart));
    put(rig, READONLY, make(rig, readonly));
    put(rig, ODD, make(rig, odd));
}

static inline void keep_exit(void *opaque, const char *reason, mv_gpa_t gpa, uint64_t code)
{
    struct rig *rig = opaque;
    if (rig->first_exit.count++ == 0) {
        snprintf(rig->first_exit.reason, sizeof rig->first_exit.reason, "%s", reason);
        rig->first_exit.gpa = gpa.raw;
        rig->first_exit.code = code;
    }
}

static inline void rig_open(struct rig *rig, const char *accel)
{
    struct mv_error err;
    struct mv_block_info info;
    memset(rig, 0, sizeof *rig);
    must(mv_machine_create(&rig->machine, &err), &err);
    rig->ram_block = make_block(rig, "ram", RAM_BYTES);
    rig->rom_block = make_block(rig, "bios", 0x10000);
    make_map(rig);
    struct mv_region *ports =
        make(rig, (struct mv_region_options){.name = "io", .kind = MV_REGION_CONTAINER, .size_bytes = 65536});
    must(mv_space_create(rig->machine, "memory", rig->regions[0], &rig->memory, &err), &err);
    must(mv_space_create(rig->machine, "I/O", ports, &rig->io, &err), &err);
    struct mv_vm_options vm = {.accel = accel, .memory = rig->memory, .io = rig->io};
    must(mv_vm_create(&vm, &rig->vm, &err), &err);
    must(mv_vm_add_vcpu(rig->vm, &rig->vcpu, &err), &err);
    mv_block_info(rig->ram_block, &info);
    rig->ram = (uint8_t *)(uintptr_t)info.hva.raw;
    mv_soft_set_hooks(rig->vcpu, &(struct mv_soft_hooks){.opaque = rig, .exit = keep_exit});
}

static inline void rig_close(struct rig *rig)
{
    mv_vm_destroy(rig->vm);
    mv_space_destroy(rig->memory);
    mv_space_destroy(rig->io);
    while (rig->region_count > 0) {
        mv_region_put(rig->regions[--rig->region_count]);
    }
    mv_block_put(rig->ram_block);
    mv_block_put(rig->rom_block);
    mv_machine_destroy(rig->machine);
}

struct mode {
    enum mv_paging_mode paging; /* OFF: 4-level */
    uint64_t cr0, cr4, efer, rflags;
    bool is_user;
    uint32_t pkru, pkrs;
};

static inline void set_mode(struct rig *rig, const struct mode *mode)
{
    struct mv_error err;
    struct kvm_sregs sregs;
    struct kvm_regs regs;
    must(mv_vcpu_get_sregs(rig->vcpu, &sregs, &err), &err);
    must(mv_vcpu_get_regs(rig->vcpu, &regs, &err), &err);
    sregs.cr0 = CR0_LONG | mode->cr0;
    sregs.cr3 = TABLE(0);
    bool is_long = mode->paging != MV_PAGING_32BIT && mode->paging != MV_PAGING_PAE;
    sregs.cr4 = (mode->paging == MV_PAGING_32BIT ? 0 : CR4_PAE) |
                (mode->paging == MV_PAGING_5LEVEL ? CR4_LA57 : 0) | mode->cr4;
    sregs.efer = (is_long ? EFER_LONG : 0) | mode->efer;
    sregs.cs.l = is_long;
    sregs.ss.dpl = sregs.cs.dpl = mode->is_user ? 3 : 0;
    regs.rflags = 2 | mode->rflags;
    must(mv_vcpu_set_sregs(rig->vcpu, &sregs, &err), &err);
    must(mv_vcpu_set_regs(rig->vcpu, &regs, &err), &err);
    mv_soft_set_keys(rig->vcpu, mode->pkru, mode->pkrs);
}

static inline void set_entry(struct rig *rig, unsigned table, unsigned index, uint64_t value)
{
    memcpy(rig->ram + TABLE(table) + index * UINT64_C(8), &value, 8);
}

static inline struct mv_chain explained(struct rig *rig, uint64_t gva, enum mv_access access, enum mv_who who)
{
    struct mv_chain chain;
    struct mv_error err;
    must(mv_explain_access(rig->vcpu, mv_gva(gva), &(struct mv_asked){.access = access, .who = who}, &chain, &err),
         &err);
    return chain;
}

/* Asks, and looks that nothing changed. */
static inline struct mv_chain ask(struct rig *rig, uint64_t gva, enum mv_access access, enum mv_who who)
{
    static uint8_t before[TOUCHED_BYTES];
    static struct mv_soft_counts counts_before, counts;
    memcpy(before, rig->ram, TOUCHED_BYTES);
    mv_soft_counts(rig->vcpu, &counts_before);
    rig->first_exit.count = 0;
    struct mv_chain chain = explained(rig, gva, access, who);
    mv_soft_counts(rig->vcpu, &counts);
    assert_memory_equal(before, rig->ram, TOUCHED_BYTES);
    assert_memory_equal(&counts_before, &counts, sizeof counts);
    assert_int_equal(rig->first_exit.count, 0);
    return chain;
}

/* gva 0x1000 * n is mapped by PTE n. */
static inline void map_low(struct rig *rig)
{
    set_entry(rig, 0, 0, TABLE(1) | P | W | U | A);
    set_entry(rig, 1, 0, TABLE(2) | P | W | U | A);
    set_entry(rig, 2, 0, TABLE(3) | P | W | U | A);
    set_entry(rig, 3, 1, 0x1000 | P | W | U | A);
    set_entry(rig, 3, 2, 0x2000 | P | U | A);
    set_entry(rig, 3, 3, 0x3000 | P | W | A | UINT64_C(5) << 59);
    set_entry(rig, 3, 4, 0x4000 | P | W | U | A | NX);
    set_entry(rig, 3, 5, UART | P | W | U | A);
    set_entry(rig, 3, 6, ROM | P | W | U | A);
    set_entry(rig, 3, 7, READONLY | P | W | U | A);
    set_entry(rig, 3, 8, (ODD & ~UINT64_C(0xfff)) | P | W | U | A);
    set_entry(rig, 3, 9, NOTHING | P | W | U | A);
    set_entry(rig, 3, 10, 0xa000 | P | W | U | A | UINT64_C(3) << 50);
    set_entry(rig, 3, 11, 0xb000 | P | W | U | A | UINT64_C(7) << 59);
    set_entry(rig, 2, 1, NOTHING | P | W | U);
}

#endif
