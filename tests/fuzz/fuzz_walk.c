// SPDX-License-Identifier: MIT
/*
 * libFuzzer target: any bytes as a guest's registers, tables and accesses, under each dimension, with and without
 * caches. Nothing crashes or hangs; each access ends in a byte of the guest's memory, a fault or an exit; and what
 * is done once is done again, at the same place.
 */
#include "hardware/mmu_test.h"

#define GUEST_BYTES (64 * GUEST_PAGE_SIZE) /* all the memory there is; any of it may be a table */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t size;
};

static struct rig rig;

static void must(int truth)
{
    if (!truth) {
        abort();
    }
}

/* Zeros after the end. */
static uint64_t take(struct input *in, unsigned bytes)
{
    uint64_t value = 0;
    size_t n = in->size < bytes ? in->size : bytes;
    memcpy(&value, in->data, n);
    in->data += n;
    in->size -= n;
    return value;
}

static void *bus(void *opaque, gpa_t gpa, enum mv_access kind, unsigned *ret_shift)
{
    (void)opaque;
    *ret_shift = 12;
    /* The last pages are read-only. */
    bool is_there =
        gpa.raw < GUEST_BYTES && (kind != MV_ACCESS_WRITE || gpa.raw < GUEST_BYTES - 8 * GUEST_PAGE_SIZE);
    return is_there ? rig.memory + gpa.raw : NULL;
}

static struct hw_options options_from(struct input *in)
{
    static const enum hw_dimension dimensions[] = {HW_NATIVE, HW_EPT, HW_NPT, HW_SHADOW};
    uint64_t bits = take(in, 2);
    struct hw_options options = rig_default_options(dimensions[bits & 3]);
    const struct hw_tlb_geometry few = {8, 2}, more = {16, 16};
    options.cpu.address_bits = (uint8_t)(32 + (bits >> 2) % 21);
    options.cpu.has_1g_pages = bits & 0x80;
    options.cpu.has_pse36 = bits & 0x100;
    options.ept.access_dirty = bits & 0x200;
    options.ept.execute_only = bits & 0x400;
    options.nested_levels = (bits & 0x800) && options.dimension != HW_SHADOW ? 5 : 4;
    options.model_tlb = bits & 0x1000;
    options.l1 = few;
    options.l2 = more;
    options.has_walk_caches = bits & 0x2000;
    options.pml5 = options.pml4 = options.pdpt = options.pd = few;
    options.has_nested_tlb = bits & 0x4000;
    options.nested = few;
    return options;
}

/* Registers that a processor takes; others are left. */
static void load_registers(struct input *in)
{
    struct paging_regs before = *hw_mmu_regs(rig.mmu), regs = before;
    uint64_t which = take(in, 1);
    if (which & 1) {
        regs.cr0 = take(in, 4) | 1;
    }
    if (which & 2) {
        regs.cr4 = take(in, 4);
    }
    if (which & 4) {
        regs.efer = take(in, 2);
    }
    if (which & 8) {
        regs.cr3 = take(in, 8);
    }
    for (unsigned i = 0; (which & 16) && i < 4; i++) {
        regs.pdptr[i] = take(in, 4);
    }
    if (rig.options.dimension == HW_SHADOW) {
        regs.cr4 &= ~X86_CR4_LA57; /* the tables of ours would have five levels, too */
    }
    bool is_long = (regs.cr0 & X86_CR0_PG) && (regs.efer & (UINT64_C(1) << 8));
    regs.efer = (regs.efer & ~X86_EFER_LMA) | (is_long ? X86_EFER_LMA : 0);
    if (paging_regs_are_valid(&before, &regs, &rig.options.cpu, which & 32) &&
        paging_pdptrs_are_valid(regs.pdptr, &rig.options.cpu)) {
        hw_mmu_set_regs(rig.mmu, &regs);
    }
}

/* What a hypervisor does not write, of a leaf that it has: anything but the address. */
static void change_nested(struct input *in)
{
    if (rig.options.dimension == HW_NATIVE) {
        return;
    }
    uint64_t *leaf = rig_nested_entry(&rig, take(in, 1) % 64 * GUEST_PAGE_SIZE, 1);
    uint64_t address = *leaf & PT_ADDRESS_MASK;
    *leaf = (address ? address : (uint64_t)(uintptr_t)rig.memory) | (take(in, 8) & ~PT_ADDRESS_MASK);
}

static void check_done(const struct hw_result *r)
{
    must(r->host >= rig.memory && r->host < rig.memory + GUEST_BYTES);
    must(r->page_shift >= 12 && r->page_shift <= 30);
}

static void one_access(struct input *in)
{
    struct hw_result first, second;
    uint64_t bits = take(in, 1), gva = take(in, bits & 0x80 ? 8 : 4);
    struct pt_access access = {(enum mv_access)(bits % 3), (enum pt_who)(bits / 4 % 3)};
    enum hw_end end = hw_translate(rig.mmu, mv_gva(gva), access, &first);
    must(end == first.end);
    switch (end) {
    case HW_DONE:
        check_done(&first);
        must(hw_translate(rig.mmu, mv_gva(gva), access, &second) == HW_DONE && second.host == first.host);
        break;
    case HW_FAULT: must(first.fault.vector == 13 || first.fault.vector == 14); break;
    case HW_EXIT: must(first.exit.reason > PT_EXIT_NONE && first.exit.reason < PT_EXIT_COUNT); break;
    }
    if (first.end == HW_EXIT && first.exit.reason == PT_EXIT_PML_FULL) {
        hw_mmu_pml(rig.mmu)->index = 511;
    }
}

static void invalidate(struct input *in)
{
    uint64_t what = take(in, 1), gva = take(in, 8);
    switch (what % 6) {
    case 0: hw_mmu_invlpg(rig.mmu, mv_gva(gva)); break;
    case 1: (void)hw_mmu_invpcid(rig.mmu, (unsigned)(what / 8), what & 7, mv_gva(gva)); break;
    case 2: hw_mmu_invvpid(rig.mmu, (unsigned)(what / 64), (uint16_t)(what & 3), mv_gva(gva)); break;
    case 3: hw_mmu_invept(rig.mmu); break;
    case 4: hw_mmu_load_cr3(rig.mmu, gva & UINT64_C(0xfffff), what & 64); break;
    default: hw_mmu_set_keys(rig.mmu, (uint32_t)gva, (uint32_t)(gva >> 32)); break;
    }
}

/* A guest's table entry, by its place; shadow tables are ours and get leaves of ours. */
static void write_entry(struct input *in)
{
    uint64_t at = take(in, 2) * 8 % GUEST_BYTES, entry = take(in, 8);
    memcpy(rig.memory + at, &entry, 8);
    if (rig.options.dimension == HW_SHADOW) {
        uint64_t host = (uint64_t)(uintptr_t)rig.memory + entry / 4096 % 64 * GUEST_PAGE_SIZE;
        *rig_nested_entry(&rig, at * 4096 % GIB, 1) = host | (entry & ~PT_ADDRESS_MASK);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct hw_options options = options_from(&in);
    rig_init(&rig, &options, 4);
    hw_mmu_set_bus(rig.mmu, (struct hw_bus){.bytes = bus});
    memset(rig.memory, 0, GUEST_BYTES);
    if (options.dimension == HW_EPT || options.dimension == HW_NPT) {
        rig_map_nested(&rig, 0, GUEST_BYTES, 1);
    }
    hw_mmu_pml(rig.mmu)->is_on = size & 1;
    load_registers(&in);
    for (unsigned steps = 0; in.size > 0 && steps < 4096; steps++) {
        switch (take(&in, 1) % 8) {
        case 0:
        case 1: write_entry(&in); break;
        case 2: load_registers(&in); break;
        case 3: change_nested(&in); break;
        case 4: invalidate(&in); break;
        default: one_access(&in); break;
        }
    }
    rig_finish(&rig);
    return 0;
}
