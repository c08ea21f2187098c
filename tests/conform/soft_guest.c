// SPDX-License-Identifier: MIT
#include "tests/conform/soft_guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define CR0_LONG_MODE UINT64_C(0x80010001) /* PG, WP, PE */
#define CR4_LONG_MODE UINT64_C(0xa0)       /* PAE, PGE */
#define EFER_LONG_MODE UINT64_C(0xd00)     /* LME, LMA, NXE */

static void must(int rc, const struct mv_error *err)
{
    if (rc < 0) {
        fail_msg("%s", err->text);
    }
}

static struct mv_region *region(struct soft_guest *g, const char *name, enum mv_region_kind kind, uint64_t size,
                                struct mv_block *block)
{
    struct mv_region_options options = {.name = name, .kind = kind, .size_bytes = size, .block = block};
    struct mv_region *ret;
    struct mv_error err = {0};
    must(mv_region_create(g->machine, &options, &ret, &err), &err);
    return ret;
}

static void make_memory(struct soft_guest *g)
{
    static const struct mv_mmio_ops silent = {0};
    struct mv_error err = {0};
    struct mv_block_options ram = {.name = "ram", .size_bytes = GUEST_RAM_BYTES};
    struct mv_block_options rom = {.name = "rom", .size_bytes = 65536};
    struct mv_region_options device = {
        .name = "device", .kind = MV_REGION_MMIO, .size_bytes = 4096, .ops = &silent};
    struct mv_block_info info;
    must(mv_machine_create(&g->machine, &err), &err);
    must(mv_block_create(g->machine, &ram, &g->ram_block, &err), &err);
    must(mv_block_create(g->machine, &rom, &g->rom_block, &err), &err);
    g->root = region(g, "system", MV_REGION_CONTAINER, MV_SIZE_2_64, NULL);
    g->ports = region(g, "io", MV_REGION_CONTAINER, 65536, NULL);
    g->ram = region(g, "ram", MV_REGION_RAM, GUEST_RAM_BYTES, g->ram_block);
    g->rom = region(g, "rom", MV_REGION_ROM, 65536, g->rom_block);
    must(mv_region_create(g->machine, &device, &g->device, &err), &err);
    must(mv_region_add(g->root, 0, g->ram, 0, &err), &err);
    must(mv_region_add(g->root, GUEST_ROM, g->rom, 0, &err), &err);
    must(mv_region_add(g->root, GUEST_DEVICE, g->device, 0, &err), &err);
    must(mv_space_create(g->machine, "memory", g->root, &g->memory, &err), &err);
    must(mv_space_create(g->machine, "I/O", g->ports, &g->io, &err), &err);
    mv_block_info(g->ram_block, &info);
    g->host = (uint8_t *)(uintptr_t)info.hva.raw;
}

static void set_long_mode(struct soft_guest *g, struct mv_vcpu *vcpu)
{
    struct kvm_sregs sregs;
    struct mv_error err = {0};
    must(mv_vcpu_get_sregs(vcpu, &sregs, &err), &err);
    sregs.cr0 = CR0_LONG_MODE;
    sregs.cr3 = g->root_table;
    sregs.cr4 = CR4_LONG_MODE;
    sregs.efer = EFER_LONG_MODE;
    sregs.cs.l = 1;
    must(mv_vcpu_set_sregs(vcpu, &sregs, &err), &err);
}

struct mv_vcpu *soft_guest_add_vcpu(struct soft_guest *g)
{
    struct mv_vcpu *vcpu;
    struct mv_error err = {0};
    must(mv_vm_add_vcpu(g->vm, &vcpu, &err), &err);
    set_long_mode(g, vcpu);
    return vcpu;
}

/* `options` without what the guest has. */
static void make(struct soft_guest *g, struct mv_vm_options options)
{
    struct mv_error err = {0};
    *g =
        (struct soft_guest){.accel = options.accel, .root_table = GUEST_TABLES, .next_table = GUEST_TABLES + 4096};
    make_memory(g);
    options.memory = g->memory;
    options.io = g->io;
    must(mv_vm_create(&options, &g->vm, &err), &err);
    g->vcpu = soft_guest_add_vcpu(g);
}

void soft_guest_make(struct soft_guest *g, const char *accel)
{
    make(g, (struct mv_vm_options){.accel = accel});
}

void soft_guest_make_with_ring(struct soft_guest *g, const char *accel, uint32_t entries)
{
    make(g, (struct mv_vm_options){.accel = accel, .dirty_ring_entries = entries});
}

void soft_guest_make_initially_set(struct soft_guest *g, const char *accel, bool initially_set)
{
    make(g, (struct mv_vm_options){.accel = accel, .dirty_initially_set = initially_set});
}

void soft_guest_end(struct soft_guest *g)
{
    mv_vm_destroy(g->vm);
    mv_space_destroy(g->memory);
    mv_space_destroy(g->io);
    mv_region_put(g->ram);
    mv_region_put(g->rom);
    mv_region_put(g->device);
    mv_region_put(g->ports);
    mv_region_put(g->root);
    mv_block_put(g->ram_block);
    mv_block_put(g->rom_block);
    mv_machine_destroy(g->machine);
}

static uint64_t *word(const struct soft_guest *g, uint64_t gpa)
{
    return (uint64_t *)(void *)(g->host + gpa);
}

static unsigned index_of(uint64_t gva, unsigned level)
{
    return (unsigned)(gva >> (12 + 9 * (level - 1))) & 511;
}

uint64_t soft_guest_entry_gpa(const struct soft_guest *g, uint64_t gva, unsigned level)
{
    uint64_t table = g->root_table;
    for (unsigned l = 4; l > level; l--) {
        table = __atomic_load_n(word(g, table + 8 * index_of(gva, l)), __ATOMIC_RELAXED) &
                UINT64_C(0x000ffffffffff000);
    }
    return table + 8 * index_of(gva, level);
}

uint64_t soft_guest_entry(const struct soft_guest *g, uint64_t gva, unsigned level)
{
    return __atomic_load_n(word(g, soft_guest_entry_gpa(g, gva, level)), __ATOMIC_RELAXED);
}

void soft_guest_set_entry(struct soft_guest *g, uint64_t gva, unsigned level, uint64_t value)
{
    struct mv_soft_outcome outcome;
    mv_gpa_t at = mv_gpa(soft_guest_entry_gpa(g, gva, level));
    assert_int_equal(mv_soft_write_physical(g->vcpu, at, value, &outcome), MV_SOFT_DONE);
}

void soft_guest_map(struct soft_guest *g, uint64_t gva, uint64_t gpa, uint64_t flags, unsigned level)
{
    uint64_t table = g->root_table;
    for (unsigned l = 4; l > level; l--) {
        uint64_t *entry = word(g, table + 8 * index_of(gva, l));
        if (!(*entry & PTE_P)) {
            *entry = g->next_table | PTE_P | PTE_W | PTE_U;
            g->next_table += 4096;
        }
        table = *entry & UINT64_C(0x000ffffffffff000);
    }
    *word(g, table + 8 * index_of(gva, level)) = gpa | flags | (level > 1 ? PTE_PS : 0);
}

void soft_guest_set(struct soft_guest *g, uint64_t cr0_set, uint64_t cr4_set, unsigned cpl)
{
    struct kvm_sregs sregs;
    struct mv_error err = {0};
    must(mv_vcpu_get_sregs(g->vcpu, &sregs, &err), &err);
    sregs.cr0 = CR0_LONG_MODE | cr0_set;
    sregs.cr4 = CR4_LONG_MODE | cr4_set;
    sregs.cs.dpl = sregs.ss.dpl = cpl & 3;
    must(mv_vcpu_set_sregs(g->vcpu, &sregs, &err), &err);
}
