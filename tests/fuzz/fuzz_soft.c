// SPDX-License-Identifier: MIT
/*
 * libFuzzer target: any bytes as what a caller of <memvirt/soft.h> and an owner of the machine do: registers, page
 * tables that point anywhere (into RAM, at themselves, into a ROM, a device or nothing, with any reserved bit),
 * accesses of two vCPUs, edits of the tree, discards and dirty logs, in every scheme. Whatever the guest has made
 * of its tables, an access ends as the contract says, and nothing but the guest's own memory has changed.
 *
 * Input: the scheme, then records of 16 bytes. Machine and regions are made once; each input has a VM of its own.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include <memvirt/memvirt.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PAGE UINT64_C(4096)
#define RAM_BYTES (UINT64_C(4) << 20)
#define ROM_GPA UINT64_C(0x10000000)
#define ROM_BYTES (16 * PAGE)
#define DEVICE_GPA UINT64_C(0x20000000)
#define WINDOW_GPA UINT64_C(0x40000000)
#define WINDOW_BYTES (UINT64_C(2) << 20)
#define NOWHERE_GPA UINT64_C(0x30000000)
#define TABLES 16u /* the first pages of RAM are where tables are written as a rule */
#define VCPUS 2u
#define RECORDS_MAX 400u

static const char *const schemes[] = {
    "soft,mmu=native",
    "soft,mmu=native,tlb=L1=4x4,walk-caches=on",
    "soft,mmu=ept",
    "soft,mmu=ept,log-by=pml,tlb=L1=4x4:L2=16x4,walk-caches=on,nested-tlb=on",
    "soft,mmu=ept,log-by=write-protection,host-page=4K,address-bits=36",
    "soft,mmu=ept,access-dirty=off,nx-huge-pages=on",
    "soft,mmu=ept,levels=5,address-bits=52,eager-split=on",
    "soft,mmu=npt",
    "soft,mmu=npt,log-by=write-protection,tlb=L1=4x4,nested-tlb=on,populate=off",
    "soft,mmu=shadow",
    "soft,mmu=shadow,unsync=off,shadow-pages=64,tlb=L1=4x4",
    "soft,mmu=hybrid,policy-writes=1,policy-interval=4",
    "soft,mmu=hybrid,policy=nested,nested-tlb=on",
    "soft,mmu=hybrid,policy=nest-2,shadow-pages=64,tlb=L1=4x4",
};

static void must(int truth)
{
    if (!truth) {
        abort();
    }
}

struct record {
    uint8_t call, a, b, c;
    uint32_t x;
    uint64_t y;
};

static struct {
    struct mv_machine *machine;
    struct mv_block *block, *rom_block;
    struct mv_region *root, *ports, *ram, *rom, *device, *window;
    struct mv_space *memory, *io;
    uint8_t *host, *rom_host;
} world; /* as old as the process */

struct run {
    struct mv_vm *vm;
    struct mv_vcpu *vcpus[VCPUS];
    bool is_logging;
};

/* --- The machine ------------------------------------------------------------------------------------------ */

static struct mv_region *add(struct mv_region_options options, uint64_t gpa, int priority)
{
    struct mv_region *region;
    must(mv_region_create(world.machine, &options, &region, NULL) == 0);
    must(mv_region_add(world.root, gpa, region, priority, NULL) == 0);
    return region;
}

static uint8_t *make_block(const char *name, uint64_t size, struct mv_block **ret)
{
    const struct mv_block_options options = {.name = name, .size_bytes = size};
    struct mv_block_info info;
    must(mv_block_create(world.machine, &options, ret, NULL) == 0);
    mv_block_info(*ret, &info);
    return (uint8_t *)(uintptr_t)info.hva.raw;
}

static void make_world(void)
{
    static const struct mv_mmio_ops silent = {0};
    struct mv_region_options container = {.name = "root", .size_bytes = MV_SIZE_2_64};
    must(mv_machine_create(&world.machine, NULL) == 0);
    world.host = make_block("ram", RAM_BYTES, &world.block);
    world.rom_host = make_block("rom", ROM_BYTES, &world.rom_block);
    must(mv_region_create(world.machine, &container, &world.root, NULL) == 0);
    container.size_bytes = 65536;
    must(mv_region_create(world.machine, &container, &world.ports, NULL) == 0);
    world.ram = add(
        (struct mv_region_options){
            .name = "ram", .kind = MV_REGION_RAM, .size_bytes = RAM_BYTES, .block = world.block},
        0, 0);
    world.rom = add(
        (struct mv_region_options){
            .name = "rom", .kind = MV_REGION_ROM, .size_bytes = ROM_BYTES, .block = world.rom_block},
        ROM_GPA, 0);
    world.device = add(
        (struct mv_region_options){.name = "device", .kind = MV_REGION_MMIO, .size_bytes = PAGE, .ops = &silent},
        DEVICE_GPA, 1);
    world.window = add(
        (struct mv_region_options){
            .name = "window", .kind = MV_REGION_ALIAS, .size_bytes = WINDOW_BYTES, .target = world.ram},
        WINDOW_GPA, 0);
    must(mv_space_create(world.machine, "memory", world.root, &world.memory, NULL) == 0);
    must(mv_space_create(world.machine, "I/O", world.ports, &world.io, NULL) == 0);
}

/* As it was at first: inputs do not depend on each other. */
static void reset_world(void)
{
    must(mv_machine_begin(world.machine, NULL) == 0);
    must(mv_region_set_address(world.device, DEVICE_GPA, NULL) == 0);
    must(mv_region_set_address(world.window, WINDOW_GPA, NULL) == 0);
    must(mv_region_set_target_offset(world.window, 0, NULL) == 0);
    must(mv_region_set_enabled(world.window, true, NULL) == 0);
    must(mv_region_set_readonly(world.window, false, NULL) == 0);
    must(mv_region_set_readonly(world.ram, false, NULL) == 0);
    must(mv_region_set_enabled(world.ram, true, NULL) == 0);
    must(mv_machine_commit(world.machine, NULL) == 0);
    must(mv_block_discard(world.block, 0, RAM_BYTES, NULL) == 0);
}

/* --- Values ------------------------------------------------------------------------------------------------ */

static uint64_t place(uint8_t which, uint32_t x)
{
    switch (which % 8) {
    case 0:
    case 1:
    case 2: return x % TABLES * PAGE;
    case 3: return x % (RAM_BYTES / PAGE) * PAGE;
    case 4: return ROM_GPA + x % 16 * PAGE;
    case 5: return x & 1 ? DEVICE_GPA : NOWHERE_GPA;
    case 6: return WINDOW_GPA + x % 512 * PAGE;
    default: return (uint64_t)x << 20;
    }
}

/* An entry: where it points to, and the twelve low bits and the high ones of `y`, or all of `y`. */
static uint64_t entry_of(const struct record *r)
{
    if (r->c & 0x80) {
        return r->y;
    }
    uint64_t low = r->c & 0x40 ? r->y & 0xfff : (r->y & 0xff8) | 7;
    uint64_t high = r->c & 0x20 ? r->y & UINT64_C(0xfff0000000000000) : 0;
    return place(r->c, r->x) | low | high;
}

/* Few indices, so that an access meets what was written: 0, 1 and 511 of each level. */
static uint64_t gva_of(const struct record *r)
{
    static const uint64_t index[] = {0, 1, 511, 0};
    if (r->b & 0x80) {
        return r->y;
    }
    uint64_t gva = r->y & 0xfff;
    for (unsigned level = 0; level < 4; level++) {
        gva |= index[r->b >> (2 * (level % 3)) & 3] << (12 + 9 * level);
    }
    return gva >> 47 & 1 ? gva | UINT64_C(0xffff000000000000) : gva;
}

static void set_registers(struct run *run, const struct record *r)
{
    static const struct {
        uint64_t cr0, cr4, efer;
    } modes[] = {
        {0x11, 0, 0},                   /* no paging */
        {0x80010011, 0x10, 0},          /* 32-bit, PSE */
        {0x80010011, 0x20, 0x800},      /* PAE */
        {0x80010001, 0xa0, 0xd00},      /* 4 levels */
        {0x80010001, 0x10a0, 0xd00},    /* 5 levels */
        {0x80000001, 0x3200a0, 0xd00},  /* PCID, SMEP, SMAP, no WP */
        {0x80010001, 0x14000a0, 0xd00}, /* PKE, PKS */
    };
    struct kvm_sregs sregs, after;
    struct mv_vcpu *vcpu = run->vcpus[r->a % VCPUS];
    unsigned mode = r->b % 8;
    must(mv_vcpu_get_sregs(vcpu, &sregs, NULL) == 0);
    if (mode < 7) {
        sregs.cr0 = modes[mode].cr0;
        sregs.cr4 = modes[mode].cr4;
        sregs.efer = modes[mode].efer;
    } else {
        sregs.cr0 = r->x & 0xe005003f;
        sregs.cr4 = r->y & 0x1ffffff;
        sregs.efer = r->y >> 32 & 0xd01;
    }
    sregs.cr3 = r->c & 0x80 ? r->y : place(r->c & 0x3f, r->x) | (r->c & 0x40 ? 0x20 : 0);
    sregs.ss.dpl = sregs.cs.dpl = r->b & 0x40 ? 3 : 0;
    int rc = mv_vcpu_set_sregs(vcpu, &sregs, NULL);
    must(rc == 0 || rc == -EINVAL);
    must(mv_vcpu_get_sregs(vcpu, &after, NULL) == 0);
    must(rc < 0 || memcmp(&after, &sregs, sizeof after) == 0);
    const struct kvm_regs regs = {.rflags = 2 | (r->b & 0x20 ? UINT64_C(1) << 18 : 0)};
    must(mv_vcpu_set_regs(vcpu, &regs, NULL) == 0);
}

/* --- Accesses ---------------------------------------------------------------------------------------------- */

static void check_fault(const struct mv_soft_fault *fault, enum mv_access kind)
{
    must(fault->vector == 13 || fault->vector == 14);
    must(fault->rule != MV_SOFT_RULE_NONE && fault->level <= 5);
    if (fault->vector == 13) {
        must(fault->rule == MV_SOFT_RULE_NON_CANONICAL && fault->error_code == 0);
        return;
    }
    must((fault->error_code & ~0x3fu) == 0);
    must(!(fault->error_code & 2) == (kind != MV_ACCESS_WRITE));
    must(!(fault->error_code & 0x10) || kind == MV_ACCESS_FETCH);
    must(!(fault->error_code & 8) == (fault->rule != MV_SOFT_RULE_RESERVED_BIT));
    must((fault->error_code & 1) ==
         (fault->rule != MV_SOFT_RULE_NOT_PRESENT && fault->rule != MV_SOFT_RULE_NO_TABLE));
    must(fault->rule != MV_SOFT_RULE_RESERVED_BIT || (fault->reserved && (fault->entry & fault->reserved)));
}

static void check_outcome(enum mv_soft_end end, const struct mv_soft_outcome *o, uint64_t gva, size_t size,
                          enum mv_access kind)
{
    must(end == o->end);
    must(o->done_bytes <= size && (o->done_bytes == size) == (end == MV_SOFT_DONE));
    if (end == MV_SOFT_FAULT) {
        check_fault(&o->fault, kind);
        must(o->fault.vector == 13 || o->fault.address.raw == gva + o->done_bytes ||
             o->fault.address.raw == (uint32_t)(gva + o->done_bytes));
    } else if (end == MV_SOFT_MMIO) {
        must(o->mmio.size >= 1 && o->mmio.size <= 8 && o->done_bytes + o->mmio.size <= size);
        must(o->mmio.gpa.raw / PAGE == (o->mmio.gpa.raw + o->mmio.size - 1) / PAGE);
    } else {
        must(end == MV_SOFT_DONE);
    }
}

static void access_bytes(struct run *run, const struct record *r, enum mv_access kind)
{
    uint8_t bytes[300];
    struct mv_soft_outcome o;
    size_t size = r->c & 0x80 ? 1 + r->x % (sizeof bytes - 1) : (size_t)1 << (r->c & 3);
    enum mv_soft_mode mode = r->c & 0x40 ? MV_SOFT_IMPLICIT : MV_SOFT_EXPLICIT;
    struct mv_vcpu *vcpu = run->vcpus[r->a % VCPUS];
    mv_gva_t gva = mv_gva(gva_of(r));
    memset(bytes, (int)r->x, sizeof bytes);
    enum mv_soft_end end = kind == MV_ACCESS_READ    ? mv_soft_read(vcpu, gva, bytes, size, mode, &o)
                           : kind == MV_ACCESS_WRITE ? mv_soft_write(vcpu, gva, bytes, size, mode, &o)
                                                     : mv_soft_fetch(vcpu, gva, bytes, size, &o);
    check_outcome(end, &o, gva.raw, size, kind);
    for (size_t i = o.done_bytes; kind != MV_ACCESS_WRITE && i < sizeof bytes; i++) {
        must(bytes[i] == (uint8_t)r->x); /* nothing behind what was done is written to */
    }
}

/* What was translated lies in the memory that is shown there. */
static void touch(struct run *run, const struct record *r)
{
    static const enum mv_access kinds[] = {MV_ACCESS_READ, MV_ACCESS_WRITE, MV_ACCESS_FETCH};
    struct mv_soft_place at;
    struct mv_soft_outcome o = {0};
    struct mv_translation translation;
    struct mv_vcpu *vcpu = run->vcpus[r->a % VCPUS];
    mv_gva_t gva = mv_gva(gva_of(r));
    if (mv_soft_touch(vcpu, gva, kinds[r->c % 3], &at, &o) == MV_SOFT_DONE) {
        uint8_t *host = (uint8_t *)(uintptr_t)at.hva.raw;
        must((host >= world.host && host < world.host + RAM_BYTES) ||
             (host >= world.rom_host && host < world.rom_host + ROM_BYTES && kinds[r->c % 3] != MV_ACCESS_WRITE));
        must(((uint64_t)(uintptr_t)host ^ at.gpa.raw) % PAGE == 0);
    } else {
        must(o.end == MV_SOFT_FAULT || o.end == MV_SOFT_MMIO);
        if (o.end == MV_SOFT_FAULT) {
            check_fault(&o.fault, kinds[r->c % 3]);
        }
    }
    must(mv_vcpu_translate(vcpu, gva, &translation, NULL) == 0);
}

static void write_entry(struct run *run, const struct record *r)
{
    uint64_t gpa = place(r->b, r->x >> 16) + ((r->b & 0x40 ? r->a : r->a & 1) * 8u) % PAGE, value = entry_of(r);
    struct mv_soft_outcome o;
    if (r->b & 0x80) {
        (void)mv_soft_write_physical(run->vcpus[r->a % VCPUS], mv_gpa(gpa), value, &o);
        must(o.end == MV_SOFT_DONE || o.end == MV_SOFT_MMIO);
    } else if (gpa < RAM_BYTES) {
        memcpy(world.host + gpa, &value, sizeof value);
    } else if (gpa >= ROM_GPA && gpa < ROM_GPA + ROM_BYTES) {
        memcpy(world.rom_host + (gpa - ROM_GPA), &value, sizeof value);
    }
    (void)mv_soft_peek_physical(run->vcpus[0], mv_gpa(gpa), &value);
}

static void instruct(struct run *run, const struct record *r)
{
    struct mv_vcpu *vcpu = run->vcpus[r->a % VCPUS];
    switch (r->b % 4) {
    case 0: (void)mv_soft_load_cr3(vcpu, r->c & 0x80 ? r->y : place(r->c, r->x)); break;
    case 1: mv_soft_invlpg(vcpu, mv_gva(gva_of(r))); break;
    case 2: (void)mv_soft_invpcid(vcpu, r->c % 6, r->x % 4, mv_gva(gva_of(r))); break;
    default: mv_soft_set_keys(vcpu, r->x, (uint32_t)r->y); break;
    }
}

/* --- The machine's owner ------------------------------------------------------------------------------------ */

static void edit(const struct record *r)
{
    int rc = 0;
    switch (r->a % 7) {
    case 0: rc = mv_region_set_enabled(world.window, r->b & 1, NULL); break;
    case 1: rc = mv_region_set_address(world.window, WINDOW_GPA + r->b % 4 * PAGE, NULL); break;
    case 2: rc = mv_region_set_target_offset(world.window, r->x % 512 * PAGE, NULL); break;
    case 3: rc = mv_region_set_readonly(world.window, r->b & 1, NULL); break;
    case 4: rc = mv_region_set_readonly(world.ram, r->b & 1, NULL); break;
    case 5: rc = mv_region_set_address(world.device, r->b & 1 ? DEVICE_GPA : r->x % 32 * PAGE, NULL); break;
    default: rc = mv_region_set_enabled(world.ram, r->b & 1, NULL); break;
    }
    must(rc == 0);
}

static void log_writes(struct run *run, const struct record *r)
{
    struct mv_dirty_snapshot *snapshot;
    if (r->a % 4 == 0) {
        must((run->is_logging ? mv_dirty_log_stop(world.machine, MV_DIRTY_LOG_MIGRATION, NULL)
                              : mv_dirty_log_start(world.machine, MV_DIRTY_LOG_MIGRATION, NULL)) == 0);
        run->is_logging = !run->is_logging;
    } else if (r->a % 4 == 1) {
        mv_dirty_sync_all(world.machine, false);
    } else if (mv_dirty_snapshot_and_clear(world.ram, r->x % 1024 * PAGE, PAGE, MV_DIRTY_MIGRATION, &snapshot,
                                           NULL) == 0) {
        mv_dirty_snapshot_free(snapshot);
    }
}

static void discard(const struct record *r)
{
    uint64_t first = r->x % (RAM_BYTES / PAGE), left = RAM_BYTES / PAGE - first;
    uint64_t count = 1 + r->b % left;
    must(mv_block_discard(world.block, first * PAGE, count * PAGE, NULL) == 0);
}

static void look(struct run *run)
{
    struct mv_counter counters[64];
    struct mv_soft_counts counts;
    must(mv_vm_counters(run->vm, MV_COUNTERS_KERNEL, counters, 64) > 0);
    must(mv_soft_counts(run->vcpus[0], &counts) == 0);
    must(counts.walk_refs_nested <= counts.walk_refs && counts.tables < 4096);
}

static void step(struct run *run, const struct record *r)
{
    switch (r->call % 16) {
    case 0: set_registers(run, r); break;
    case 1:
    case 2:
    case 3:
    case 4: write_entry(run, r); break;
    case 5:
    case 6: access_bytes(run, r, MV_ACCESS_READ); break;
    case 7:
    case 8: access_bytes(run, r, MV_ACCESS_WRITE); break;
    case 9: access_bytes(run, r, MV_ACCESS_FETCH); break;
    case 10: touch(run, r); break;
    case 11: instruct(run, r); break;
    case 12: edit(r); break;
    case 13: log_writes(run, r); break;
    case 14: discard(r); break;
    default: look(run); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run run = {0};
    struct record r;
    if (size < 1) {
        return 0;
    }
    if (!world.machine) {
        make_world();
    }
    reset_world();
    const struct mv_vm_options options = {
        .accel = schemes[data[0] % (sizeof schemes / sizeof schemes[0])], .memory = world.memory, .io = world.io};
    must(mv_vm_create(&options, &run.vm, NULL) == 0);
    for (unsigned i = 0; i < VCPUS; i++) {
        must(mv_vm_add_vcpu(run.vm, &run.vcpus[i], NULL) == 0);
    }
    for (size_t at = 1; at + sizeof r <= size && at < RECORDS_MAX * sizeof r; at += sizeof r) {
        memcpy(&r, data + at, sizeof r);
        step(&run, &r);
    }
    if (run.is_logging) {
        must(mv_dirty_log_stop(world.machine, MV_DIRTY_LOG_MIGRATION, NULL) == 0);
    }
    mv_vm_destroy(run.vm);
    return 0;
}
