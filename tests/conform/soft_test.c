// SPDX-License-Identifier: MIT
/* A caller's own CPU on `soft`, by <memvirt/soft.h>: one body for every scheme. */
#include "tests/conform/soft_guest.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define CR4_SMEP (UINT64_C(1) << 20)
#define CR4_SMAP (UINT64_C(1) << 21)
#define CR4_PKE (UINT64_C(1) << 22)
#define RFLAGS_AC (UINT64_C(1) << 18)
#define GVA UINT64_C(0x7f0000400000)

static const char *const schemes[] = {
    "soft,mmu=native",
    "soft,mmu=ept",
    "soft,mmu=npt",
    "soft,mmu=ept,host-page=4K,tlb=L1=64x4:L2=1536x12",
    "soft,mmu=npt,walk-caches=on,nested-tlb=on,tlb=L1=64x4:L2=1536x12",
    "soft,mmu=ept,access-dirty=off",
    "soft,mmu=ept,execute-only=on,nx-huge-pages=on",
    "soft,mmu=ept,levels=5,address-bits=52",
    "soft,mmu=shadow",
    "soft,mmu=shadow,unsync=off,host-page=4K,tlb=L1=64x4:L2=1536x12",
    "soft,mmu=shadow,walk-caches=on,tlb=L1=64x4:L2=1536x12,slot-zap-all=off",
    "soft,mmu=hybrid,policy-interval=64",
    "soft,mmu=hybrid,policy=nest-2,host-page=4K,tlb=L1=64x4:L2=1536x12",
    "soft,mmu=hybrid,policy=nested,levels=5,address-bits=52,nested-tlb=on",
};
#define SCHEMES (sizeof schemes / sizeof schemes[0])

static enum mv_soft_end read_byte(struct soft_guest *g, uint64_t gva, struct mv_soft_outcome *outcome)
{
    uint8_t byte;
    return mv_soft_read(g->vcpu, mv_gva(gva), &byte, 1, MV_SOFT_EXPLICIT, outcome);
}

static enum mv_soft_end write_byte(struct soft_guest *g, uint64_t gva, struct mv_soft_outcome *outcome)
{
    uint8_t byte = 0x5a;
    return mv_soft_write(g->vcpu, mv_gva(gva), &byte, 1, MV_SOFT_EXPLICIT, outcome);
}

static enum mv_soft_end fetch_byte(struct soft_guest *g, uint64_t gva, struct mv_soft_outcome *outcome)
{
    uint8_t byte;
    return mv_soft_fetch(g->vcpu, mv_gva(gva), &byte, 1, outcome);
}

static void assert_fault(const struct mv_soft_outcome *outcome, uint32_t code, enum mv_soft_rule rule,
                         uint64_t gva)
{
    assert_int_equal(outcome->end, MV_SOFT_FAULT);
    assert_int_equal(outcome->fault.vector, 14);
    assert_int_equal(outcome->fault.error_code, code);
    assert_int_equal(outcome->fault.rule, rule);
    assert_int_equal(outcome->fault.address.raw, gva);
}

/* --- In every scheme ------------------------------------------------------------------------------------- */

static void bytes_go_where_the_tables_say(struct soft_guest *g)
{
    static const char text[] = "across two pages";
    char back[sizeof text] = "";
    struct mv_soft_outcome outcome;
    soft_guest_map(g, GVA, GUEST_DATA + 0x5000, PTE_P | PTE_W, 1);
    soft_guest_map(g, GVA + 4096, GUEST_DATA + 0x2000, PTE_P | PTE_W, 1);
    assert_int_equal(mv_soft_write(g->vcpu, mv_gva(GVA + 4090), text, sizeof text, MV_SOFT_EXPLICIT, &outcome),
                     MV_SOFT_DONE);
    assert_int_equal(outcome.done_bytes, sizeof text);
    assert_memory_equal(g->host + GUEST_DATA + 0x5000 + 4090, text, 6);
    assert_memory_equal(g->host + GUEST_DATA + 0x2000, text + 6, sizeof text - 6);
    assert_int_equal(mv_soft_read(g->vcpu, mv_gva(GVA + 4090), back, sizeof back, MV_SOFT_EXPLICIT, &outcome),
                     MV_SOFT_DONE);
    assert_string_equal(back, text);
    assert_int_equal(mv_soft_fetch(g->vcpu, mv_gva(GVA + 4090), back, sizeof back, &outcome), MV_SOFT_DONE);
    struct mv_soft_place place;
    assert_int_equal(mv_soft_touch(g->vcpu, mv_gva(GVA + 4097), MV_ACCESS_READ, &place, &outcome), MV_SOFT_DONE);
    assert_int_equal(place.gpa.raw, GUEST_DATA + 0x2001);
    assert_ptr_equal((void *)(uintptr_t)place.hva.raw, g->host + GUEST_DATA + 0x2001);
    struct mv_translation translation;
    assert_int_equal(mv_vcpu_translate(g->vcpu, mv_gva(GVA + 4097), &translation, NULL), 0);
    assert_true(translation.valid);
    assert_int_equal(translation.gpa.raw, GUEST_DATA + 0x2001);
}

static bool is_translated(struct soft_guest *g, uint64_t gva)
{
    struct mv_translation translation;
    assert_int_equal(mv_vcpu_translate(g->vcpu, mv_gva(gva), &translation, NULL), 0);
    return translation.valid;
}

/* conform/translate_test has all but what the host's processor may lack. */
static void translating_is_a_supervisors_read(struct soft_guest *g)
{
    soft_guest_map(g, GVA, GUEST_DATA, PTE_P | PTE_U, 1);
    soft_guest_set(g, 0, CR4_SMAP, 3);
    assert_false(is_translated(g, GVA));
    assert_int_equal(mv_vcpu_set_regs(g->vcpu, &(struct kvm_regs){.rflags = 2 | RFLAGS_AC}, NULL), 0);
    assert_true(is_translated(g, GVA));
    assert_int_equal(soft_guest_entry(g, GVA, 4) & PTE_A, 0); /* but it only looks */
    soft_guest_set(g, 0, CR4_PKE, 0);
    mv_soft_set_keys(g->vcpu, 1, 0);
    assert_false(is_translated(g, GVA));
}

static void bits_are_set_as_a_processor_does(struct soft_guest *g)
{
    struct mv_soft_outcome outcome;
    soft_guest_map(g, GVA, GUEST_DATA, PTE_P | PTE_W, 1);
    assert_int_equal(read_byte(g, GVA, &outcome), MV_SOFT_DONE);
    for (unsigned level = 1; level <= 4; level++) {
        assert_int_equal(soft_guest_entry(g, GVA, level) & (PTE_A | PTE_D), PTE_A);
    }
    assert_int_equal(write_byte(g, GVA, &outcome), MV_SOFT_DONE);
    assert_int_equal(soft_guest_entry(g, GVA, 1) & (PTE_A | PTE_D), PTE_A | PTE_D);
    assert_int_equal(soft_guest_entry(g, GVA, 2) & PTE_D, 0);
    /* A guest that clears D and says so sees it set again. */
    soft_guest_set_entry(g, GVA, 1, soft_guest_entry(g, GVA, 1) & ~PTE_D);
    mv_soft_invlpg(g->vcpu, mv_gva(GVA));
    assert_int_equal(write_byte(g, GVA + 1, &outcome), MV_SOFT_DONE);
    assert_int_equal(soft_guest_entry(g, GVA, 1) & PTE_D, PTE_D);
}

static void a_fault_sets_no_bit(struct soft_guest *g)
{
    struct mv_soft_outcome outcome;
    soft_guest_map(g, GVA, GUEST_DATA, PTE_P, 1);
    assert_int_equal(write_byte(g, GVA, &outcome), MV_SOFT_FAULT);
    assert_fault(&outcome, 3, MV_SOFT_RULE_RIGHTS, GVA);
    assert_int_equal(soft_guest_entry(g, GVA, 1) & (PTE_A | PTE_D), 0);
}

static void faults_say_the_rule(struct soft_guest *g)
{
    struct mv_soft_outcome outcome;
    assert_int_equal(read_byte(g, GVA, &outcome), MV_SOFT_FAULT);
    assert_fault(&outcome, 0, MV_SOFT_RULE_NOT_PRESENT, GVA);
    assert_int_equal(outcome.fault.level, 4);
    soft_guest_map(g, GVA, GUEST_DATA, PTE_P | PTE_NX, 1);
    assert_int_equal(fetch_byte(g, GVA, &outcome), MV_SOFT_FAULT);
    assert_fault(&outcome, 0x11, MV_SOFT_RULE_RIGHTS, GVA);
    soft_guest_set(g, 0, 0, 3);
    assert_int_equal(read_byte(g, GVA, &outcome), MV_SOFT_FAULT);
    assert_fault(&outcome, 5, MV_SOFT_RULE_RIGHTS, GVA);
    soft_guest_set(g, 0, 0, 0);
    soft_guest_map(g, UINT64_C(0x7f0000600000), GUEST_DATA | 1 << 13, PTE_P, 2);
    assert_int_equal(read_byte(g, UINT64_C(0x7f0000600000), &outcome), MV_SOFT_FAULT);
    assert_fault(&outcome, 9, MV_SOFT_RULE_RESERVED_BIT, UINT64_C(0x7f0000600000));
    assert_int_equal(outcome.fault.reserved, 1 << 13);
    assert_int_equal(read_byte(g, UINT64_C(1) << 47, &outcome), MV_SOFT_FAULT);
    assert_int_equal(outcome.fault.vector, 13);
    assert_int_equal(outcome.fault.rule, MV_SOFT_RULE_NON_CANONICAL);
}

/* What was done before the fault is told, and has been done. */
static void a_fault_in_the_middle_keeps_what_was_done(struct soft_guest *g)
{
    static const char text[16] = "0123456789abcdef";
    struct mv_soft_outcome outcome;
    soft_guest_map(g, GVA, GUEST_DATA, PTE_P | PTE_W, 1);
    assert_int_equal(mv_soft_write(g->vcpu, mv_gva(GVA + 4086), text, 16, MV_SOFT_EXPLICIT, &outcome),
                     MV_SOFT_FAULT);
    assert_int_equal(outcome.done_bytes, 10);
    assert_int_equal(outcome.fault.address.raw, GVA + 4096);
    assert_memory_equal(g->host + GUEST_DATA + 4086, text, 10);
}

static void smap_and_smep_hold(struct soft_guest *g)
{
    struct mv_soft_outcome outcome;
    uint8_t byte;
    soft_guest_map(g, GVA, GUEST_DATA, PTE_P | PTE_W | PTE_U, 1);
    soft_guest_set(g, 0, CR4_SMAP | CR4_SMEP, 0);
    assert_int_equal(read_byte(g, GVA, &outcome), MV_SOFT_FAULT);
    assert_fault(&outcome, 1, MV_SOFT_RULE_RIGHTS, GVA);
    assert_int_equal(fetch_byte(g, GVA, &outcome), MV_SOFT_FAULT);
    assert_fault(&outcome, 0x11, MV_SOFT_RULE_RIGHTS, GVA);
    assert_int_equal(mv_vcpu_set_regs(g->vcpu, &(struct kvm_regs){.rflags = 2 | RFLAGS_AC}, NULL), 0);
    assert_int_equal(read_byte(g, GVA, &outcome), MV_SOFT_DONE);
    assert_int_equal(fetch_byte(g, GVA, &outcome), MV_SOFT_FAULT);
    /* What the processor does by itself does not ask AC. */
    assert_int_equal(mv_soft_read(g->vcpu, mv_gva(GVA), &byte, 1, MV_SOFT_IMPLICIT, &outcome), MV_SOFT_FAULT);
    assert_int_equal(mv_vcpu_set_regs(g->vcpu, &(struct kvm_regs){.rflags = 2}, NULL), 0);
    soft_guest_set(g, 0, CR4_SMAP | CR4_SMEP, 3);
    assert_int_equal(read_byte(g, GVA, &outcome), MV_SOFT_DONE);
    assert_int_equal(mv_soft_read(g->vcpu, mv_gva(GVA), &byte, 1, MV_SOFT_IMPLICIT, &outcome), MV_SOFT_FAULT);
}

static void keys_hold(struct soft_guest *g)
{
    struct mv_soft_outcome outcome;
    soft_guest_map(g, GVA, GUEST_DATA, PTE_P | PTE_W | PTE_U | UINT64_C(5) << 59, 1);
    soft_guest_set(g, 0, CR4_PKE, 3);
    assert_int_equal(write_byte(g, GVA, &outcome), MV_SOFT_DONE);
    mv_soft_set_keys(g->vcpu, 2u << 10, 0); /* WD of key 5 */
    assert_int_equal(read_byte(g, GVA, &outcome), MV_SOFT_DONE);
    assert_int_equal(write_byte(g, GVA, &outcome), MV_SOFT_FAULT);
    assert_fault(&outcome, 0x27, MV_SOFT_RULE_KEY, GVA);
    mv_soft_set_keys(g->vcpu, 1u << 10, 0); /* AD */
    assert_int_equal(read_byte(g, GVA, &outcome), MV_SOFT_FAULT);
    assert_fault(&outcome, 0x25, MV_SOFT_RULE_KEY, GVA);
    assert_int_equal(fetch_byte(g, GVA, &outcome), MV_SOFT_DONE);
}

static void what_is_no_ram_is_a_value(struct soft_guest *g)
{
    struct mv_soft_outcome outcome;
    uint64_t value = 7;
    soft_guest_map(g, GVA, GUEST_DEVICE, PTE_P | PTE_W, 1);
    soft_guest_map(g, GVA + 4096, GUEST_ROM, PTE_P | PTE_W, 1);
    assert_int_equal(mv_soft_read(g->vcpu, mv_gva(GVA + 16), &value, 4, MV_SOFT_EXPLICIT, &outcome), MV_SOFT_MMIO);
    assert_int_equal(outcome.mmio.gpa.raw, GUEST_DEVICE + 16);
    assert_int_equal(outcome.mmio.size, 4);
    assert_int_equal(outcome.done_bytes, 0);
    /* ROM is read, and a write to it is told. */
    assert_int_equal(mv_soft_read(g->vcpu, mv_gva(GVA + 4096), &value, 8, MV_SOFT_EXPLICIT, &outcome),
                     MV_SOFT_DONE);
    assert_int_equal(value, 0);
    assert_int_equal(mv_soft_write(g->vcpu, mv_gva(GVA + 4096), &value, 8, MV_SOFT_EXPLICIT, &outcome),
                     MV_SOFT_MMIO);
    assert_int_equal(outcome.mmio.gpa.raw, GUEST_ROM);
    /* From RAM into the device. */
    soft_guest_map(g, GVA - 4096, GUEST_DATA, PTE_P | PTE_W, 1);
    uint8_t bytes[32] = {0};
    assert_int_equal(mv_soft_write(g->vcpu, mv_gva(GVA - 8), bytes, 32, MV_SOFT_EXPLICIT, &outcome), MV_SOFT_MMIO);
    assert_int_equal(outcome.done_bytes, 8);
    assert_int_equal(outcome.mmio.gpa.raw, GUEST_DEVICE);
    assert_int_equal(outcome.mmio.size, 8);
}

/* Tables in ROM go without A and D; tables where nothing is are as if not present. */
static void tables_may_be_anywhere(struct soft_guest *g)
{
    struct mv_soft_outcome outcome;
    struct mv_block_info info;
    soft_guest_map(g, GVA, GUEST_DATA, PTE_P | PTE_W, 1);
    mv_block_info(g->rom_block, &info);
    uint64_t *rom = (uint64_t *)(uintptr_t)info.hva.raw;
    rom[0] = (GUEST_DATA + 0x3000) | PTE_P | PTE_W;
    soft_guest_set_entry(g, GVA, 2, GUEST_ROM | PTE_P | PTE_W | PTE_U);
    assert_int_equal(mv_soft_load_cr3(g->vcpu, g->root_table), true);
    assert_int_equal(write_byte(g, GVA, &outcome), MV_SOFT_DONE);
    assert_int_equal(g->host[GUEST_DATA + 0x3000], 0x5a);
    assert_int_equal(rom[0] & (PTE_A | PTE_D), 0);
    soft_guest_set_entry(g, GVA, 2, UINT64_C(0x30000000) | PTE_P | PTE_W | PTE_U);
    mv_soft_load_cr3(g->vcpu, g->root_table);
    assert_int_equal(write_byte(g, GVA, &outcome), MV_SOFT_FAULT);
    assert_fault(&outcome, 2, MV_SOFT_RULE_NO_TABLE, GVA);
    soft_guest_set_entry(g, GVA, 2, GUEST_DEVICE | PTE_P | PTE_W | PTE_U);
    mv_soft_load_cr3(g->vcpu, g->root_table);
    assert_int_equal(read_byte(g, GVA, &outcome), MV_SOFT_FAULT);
    assert_fault(&outcome, 0, MV_SOFT_RULE_NO_TABLE, GVA);
}

/* After a commit the guest sees the new memory, without any instruction of its own. */
static void edits_are_seen_at_once(struct soft_guest *g)
{
    struct mv_soft_outcome outcome;
    soft_guest_map(g, GVA, GUEST_DATA, PTE_P | PTE_W, 1);
    assert_int_equal(write_byte(g, GVA, &outcome), MV_SOFT_DONE);
    struct mv_region *hole;
    struct mv_region_options options = {.name = "hole", .kind = MV_REGION_MMIO, .size_bytes = 4096};
    static const struct mv_mmio_ops silent = {0};
    options.ops = &silent;
    assert_int_equal(mv_region_create(g->machine, &options, &hole, NULL), 0);
    assert_int_equal(mv_region_add(g->root, GUEST_DATA, hole, 1, NULL), 0);
    assert_int_equal(write_byte(g, GVA, &outcome), MV_SOFT_MMIO);
    assert_int_equal(mv_region_remove(hole, NULL), 0);
    assert_int_equal(write_byte(g, GVA, &outcome), MV_SOFT_DONE);
    mv_region_put(hole);
}

/* The counter that says how many pages the hypervisor maps, or UINT64_MAX. */
static uint64_t counter(struct soft_guest *g, const char *name)
{
    struct mv_counter counters[64];
    size_t count = mv_vm_counters(g->vm, MV_COUNTERS_KERNEL, counters, 64);
    for (size_t i = 0; i < count && i < 64; i++) {
        if (strcmp(counters[i].name, name) == 0) {
            return counters[i].value;
        }
    }
    return UINT64_MAX;
}

/* What is given back to the host is gone from the tables, and nothing else is. */
static void a_discard_drops_just_its_pages(struct soft_guest *g)
{
    struct mv_soft_outcome outcome;
    for (unsigned i = 0; i < 16; i++) {
        soft_guest_map(g, GVA + i * 4096, GUEST_DATA + i * 4096, PTE_P | PTE_W, 1);
        assert_int_equal(write_byte(g, GVA + i * 4096, &outcome), MV_SOFT_DONE);
    }
    uint64_t before = counter(g, "pages_4k");
    assert_int_equal(mv_block_discard(g->ram_block, GUEST_DATA + 4 * 4096, 3 * 4096, NULL), 0);
    uint64_t after = counter(g, "pages_4k");
    if (counter(g, "pages_2m") == 0 && before > 0) {
        assert_int_equal(before - after, 3);
    }
    uint8_t byte = 1;
    assert_int_equal(mv_soft_read(g->vcpu, mv_gva(GVA + 5 * 4096), &byte, 1, MV_SOFT_EXPLICIT, &outcome),
                     MV_SOFT_DONE);
    assert_int_equal(byte, 0);
    assert_int_equal(mv_soft_read(g->vcpu, mv_gva(GVA + 7 * 4096), &byte, 1, MV_SOFT_EXPLICIT, &outcome),
                     MV_SOFT_DONE);
    assert_int_equal(byte, 0x5a);
}

static void an_eventfd_takes_its_write(struct soft_guest *g)
{
    struct mv_soft_outcome outcome;
    uint32_t word = 5;
    int fd = eventfd(0, EFD_NONBLOCK);
    struct mv_ioeventfd event = {.offset = 8, .size_bytes = 4, .match = true, .data = 5, .fd = fd};
    assert_int_equal(mv_ioeventfd_add(g->device, &event, NULL), 0);
    soft_guest_map(g, GVA, GUEST_DEVICE, PTE_P | PTE_W, 1);
    assert_int_equal(mv_soft_write(g->vcpu, mv_gva(GVA + 8), &word, 4, MV_SOFT_EXPLICIT, &outcome), MV_SOFT_DONE);
    uint64_t told = 0;
    assert_int_equal(read(fd, &told, 8), 8);
    assert_int_equal(told, 1);
    word = 6;
    assert_int_equal(mv_soft_write(g->vcpu, mv_gva(GVA + 8), &word, 4, MV_SOFT_EXPLICIT, &outcome), MV_SOFT_MMIO);
    assert_int_equal(mv_ioeventfd_del(g->device, &event, NULL), 0);
    close(fd);
}

static void physical_writes_are_seen(struct soft_guest *g)
{
    struct mv_soft_outcome outcome;
    struct mv_soft_counts before, after;
    uint64_t value = 0;
    mv_soft_counts(g->vcpu, &before);
    assert_int_equal(mv_soft_write_physical(g->vcpu, mv_gpa(GUEST_DATA + 8), 0x1234, &outcome), MV_SOFT_DONE);
    mv_soft_counts(g->vcpu, &after);
    assert_int_equal(after.accesses, before.accesses);
    assert_int_equal(after.walk_refs, before.walk_refs);
    assert_true(mv_soft_peek_physical(g->vcpu, mv_gpa(GUEST_DATA + 8), &value));
    assert_int_equal(value, 0x1234);
    assert_false(mv_soft_peek_physical(g->vcpu, mv_gpa(GUEST_DEVICE), &value));
    assert_int_equal(mv_soft_write_physical(g->vcpu, mv_gpa(GUEST_ROM), 1, &outcome), MV_SOFT_MMIO);
    assert_int_equal(mv_soft_write_physical(g->vcpu, mv_gpa(GUEST_DEVICE), 1, &outcome), MV_SOFT_MMIO);
}

static void bad_registers_are_refused(struct soft_guest *g)
{
    struct kvm_sregs sregs, kept;
    assert_int_equal(mv_vcpu_get_sregs(g->vcpu, &sregs, NULL), 0);
    kept = sregs;
    sregs.cr4 &= ~UINT64_C(0x20); /* long mode without PAE */
    assert_int_equal(mv_vcpu_set_sregs(g->vcpu, &sregs, NULL), -EINVAL);
    assert_int_equal(mv_vcpu_get_sregs(g->vcpu, &sregs, NULL), 0);
    assert_memory_equal(&sregs, &kept, sizeof kept);
    assert_false(mv_soft_load_cr3(g->vcpu, UINT64_C(1) << 60));
    assert_true(mv_soft_load_cr3(g->vcpu, g->root_table));
    assert_false(mv_soft_invpcid(g->vcpu, 4, 0, mv_gva(0)));
    assert_true(mv_soft_invpcid(g->vcpu, 2, 0, mv_gva(0)));
}

/* What hooks are told adds up to what is counted. */
struct told {
    uint64_t steps, fills, faults, exits;
};

static void told_step(void *opaque, bool nested, unsigned level, uint64_t at, uint64_t entry)
{
    (void)nested, (void)level, (void)at, (void)entry;
    ((struct told *)opaque)->steps++;
}

static void told_fill(void *opaque, mv_gva_t gva, mv_gpa_t gpa, unsigned shift)
{
    (void)gva, (void)gpa, (void)shift;
    ((struct told *)opaque)->fills++;
}

static void told_fault(void *opaque, const struct mv_soft_fault *fault)
{
    (void)fault;
    ((struct told *)opaque)->faults++;
}

static void told_exit(void *opaque, const char *reason, mv_gpa_t gpa, uint64_t code)
{
    (void)reason, (void)gpa, (void)code;
    ((struct told *)opaque)->exits++;
}

static void hooks_are_told(struct soft_guest *g)
{
    struct told told = {0};
    const struct mv_soft_hooks hooks = {
        .opaque = &told, .step = told_step, .fill = told_fill, .fault = told_fault, .exit = told_exit};
    struct mv_soft_outcome outcome;
    struct mv_soft_counts before, after;
    soft_guest_map(g, GVA, GUEST_DATA, PTE_P, 1);
    assert_int_equal(read_byte(g, GVA, &outcome), MV_SOFT_DONE);
    mv_soft_invlpg(g->vcpu, mv_gva(GVA));
    assert_int_equal(mv_soft_set_hooks(g->vcpu, &hooks), 0);
    mv_soft_counts(g->vcpu, &before);
    assert_int_equal(read_byte(g, GVA, &outcome), MV_SOFT_DONE);
    mv_soft_counts(g->vcpu, &after);
    assert_int_equal(told.steps, after.walk_refs - before.walk_refs);
    assert_int_equal(told.fills, 1);
    assert_int_equal(told.exits, 0);
    assert_int_equal(write_byte(g, GVA, &outcome), MV_SOFT_FAULT);
    assert_int_equal(told.faults, 1);
    mv_soft_set_hooks(g->vcpu, NULL);
    assert_int_equal(write_byte(g, GVA, &outcome), MV_SOFT_FAULT);
    assert_int_equal(told.faults, 1);
}

/* --- Modes --------------------------------------------------------------------------------------------------- */

static void set_mode(struct soft_guest *g, uint64_t cr0, uint64_t cr3, uint64_t cr4)
{
    struct kvm_sregs sregs;
    assert_int_equal(mv_vcpu_get_sregs(g->vcpu, &sregs, NULL), 0);
    sregs.cr0 = cr0;
    sregs.cr3 = cr3;
    sregs.cr4 = cr4;
    sregs.efer = 0;
    assert_int_equal(mv_vcpu_set_sregs(g->vcpu, &sregs, NULL), 0);
}

static void other_modes_translate(struct soft_guest *g)
{
    struct mv_soft_outcome outcome;
    struct mv_soft_place place;
    set_mode(g, 0x11, 0, 0); /* paging off */
    assert_int_equal(mv_soft_touch(g->vcpu, mv_gva(GUEST_DATA + 5), MV_ACCESS_WRITE, &place, &outcome),
                     MV_SOFT_DONE);
    assert_int_equal(place.gpa.raw, GUEST_DATA + 5);
    /* 32-bit: a 4 MiB page, and a 4 KiB one. */
    uint32_t *directory = (uint32_t *)(void *)(g->host + 0x200000), *table = directory + 1024;
    directory[1] = (uint32_t)(GUEST_DATA | PTE_P | PTE_W | PTE_PS);
    directory[2] = (uint32_t)(0x201000 | PTE_P | PTE_W);
    table[3] = (uint32_t)((GUEST_DATA + 0x7000) | PTE_P);
    set_mode(g, 0x80010011, 0x200000, 0x10);
    assert_int_equal(mv_soft_touch(g->vcpu, mv_gva(0x412345), MV_ACCESS_WRITE, &place, &outcome), MV_SOFT_DONE);
    assert_int_equal(place.gpa.raw, GUEST_DATA + 0x12345);
    assert_int_equal(mv_soft_touch(g->vcpu, mv_gva(0x803004), MV_ACCESS_READ, &place, &outcome), MV_SOFT_DONE);
    assert_int_equal(place.gpa.raw, GUEST_DATA + 0x7004);
    assert_int_equal(mv_soft_touch(g->vcpu, mv_gva(0x803004), MV_ACCESS_WRITE, &place, &outcome), MV_SOFT_FAULT);
    assert_fault(&outcome, 3, MV_SOFT_RULE_RIGHTS, 0x803004);
    /* PAE: the four PDPTEs are loaded with CR3; memory may change behind it. */
    uint64_t *pdpt = (uint64_t *)(void *)(g->host + 0x300020), *pd = (uint64_t *)(void *)(g->host + 0x301000);
    pdpt[0] = 0x301000 | PTE_P;
    pd[0] = GUEST_DATA | PTE_P | PTE_PS;
    set_mode(g, 0x80010011, 0x300020, 0x20);
    pdpt[0] = 0;
    /* Not with NPT, where the processor reads them when it walks (AMD APM, "Nested Paging", legacy PAE mode). */
    bool is_npt = strstr(g->accel, "mmu=npt") != NULL;
    enum mv_soft_end end = mv_soft_touch(g->vcpu, mv_gva(0x1234), MV_ACCESS_READ, &place, &outcome);
    assert_int_equal(end, is_npt ? MV_SOFT_FAULT : MV_SOFT_DONE);
    assert_true(is_npt || place.gpa.raw == GUEST_DATA + 0x1234);
    assert_true(mv_soft_load_cr3(g->vcpu, 0x300020));
    assert_int_equal(mv_soft_touch(g->vcpu, mv_gva(0x1234), MV_ACCESS_READ, &place, &outcome), MV_SOFT_FAULT);
    assert_fault(&outcome, 0, MV_SOFT_RULE_NOT_PRESENT, 0x1234);
    pdpt[0] = 0x301000 | PTE_P | 2; /* a reserved bit: #GP, and nothing changes */
    assert_false(mv_soft_load_cr3(g->vcpu, 0x300020));
}

/* --- Stale translations: those that the architecture allows, and no longer -------------------------------- */

static void invlpg_ends_what_is_stale(void **state)
{
    (void)state;
    struct soft_guest g;
    struct mv_soft_outcome outcome;
    struct mv_soft_place place;
    soft_guest_make(&g, "soft,mmu=ept,tlb=L1=64x4:L2=1536x12");
    soft_guest_map(&g, GVA, GUEST_DATA, PTE_P, 1);
    assert_int_equal(read_byte(&g, GVA, &outcome), MV_SOFT_DONE);
    soft_guest_map(&g, GVA, GUEST_DATA + 0x9000, PTE_P, 1);
    assert_int_equal(mv_soft_touch(g.vcpu, mv_gva(GVA), MV_ACCESS_READ, &place, &outcome), MV_SOFT_DONE);
    assert_int_equal(place.gpa.raw, GUEST_DATA); /* the TLB has it: what an exact count needs */
    mv_soft_invlpg(g.vcpu, mv_gva(GVA));
    assert_int_equal(mv_soft_touch(g.vcpu, mv_gva(GVA), MV_ACCESS_READ, &place, &outcome), MV_SOFT_DONE);
    assert_int_equal(place.gpa.raw, GUEST_DATA + 0x9000);
    soft_guest_end(&g);
}

/* --- Properties ------------------------------------------------------------------------------------------- */

/* A GiB of RAM as the hypervisor would like it, and how much of it one translation has: paging is off. */
static unsigned page_shift_of_a_gib(struct soft_guest *g)
{
    const struct mv_block_options gib = {.name = "gib", .size_bytes = 1 << 30, .align_bytes = 1 << 30};
    struct mv_region_options ram = {.name = "gib", .kind = MV_REGION_RAM, .size_bytes = 1 << 30};
    struct mv_region *region;
    struct mv_soft_place place;
    struct mv_soft_outcome outcome;
    assert_int_equal(mv_block_create(g->machine, &gib, &ram.block, NULL), 0);
    assert_int_equal(mv_region_create(g->machine, &ram, &region, NULL), 0);
    assert_int_equal(mv_region_add(g->root, 1 << 30, region, 0, NULL), 0);
    set_mode(g, 0x11, 0, 0);
    assert_int_equal(mv_soft_touch(g->vcpu, mv_gva(1 << 30), MV_ACCESS_READ, &place, &outcome), MV_SOFT_DONE);
    mv_region_put(region);
    mv_block_put(ram.block);
    return place.page_shift;
}

/* Its hypervisor has none, either. */
/* How many faults the page that was written costs when a slot beside it has gone. */
static uint64_t faults_after_a_slot_went(const char *accel)
{
    struct soft_guest guest, *g = &guest;
    struct mv_soft_outcome outcome;
    soft_guest_make(g, accel);
    soft_guest_map(g, GVA, GUEST_DATA, PTE_P | PTE_W, 1);
    assert_int_equal(write_byte(g, GVA, &outcome), MV_SOFT_DONE);
    uint64_t before = counter(g, "pf_fixed");
    assert_int_equal(mv_region_set_enabled(g->rom, false, NULL), 0);
    assert_int_equal(write_byte(g, GVA, &outcome), MV_SOFT_DONE);
    uint64_t ret = counter(g, "pf_fixed") - before;
    soft_guest_end(g);
    return ret;
}

static void a_slot_takes_all_along_or_its_own(void **state)
{
    (void)state;
    for (const char *const *mmu = (const char *const[]){"ept", "npt", "shadow", "hybrid", NULL}; *mmu; mmu++) {
        char accel[64];
        snprintf(accel, sizeof accel, "soft,mmu=%s", *mmu);
        assert_true(faults_after_a_slot_went(accel) > 0);
        snprintf(accel, sizeof accel, "soft,mmu=%s,slot-zap-all=off", *mmu);
        assert_int_equal(faults_after_a_slot_went(accel), 0);
    }
}

static void a_processor_may_lack_1g_pages(void **state)
{
    static const struct {
        const char *accel;
        unsigned page_shift; /* 0: there is no second dimension */
    } cases[] = {
        {"soft,mmu=native,1g-pages=off", 0},           {"soft,tlb=L1=64x4,mmu=ept,1g-pages=off", 21},
        {"soft,tlb=L1=64x4,mmu=npt,1g-pages=off", 21}, {"soft,tlb=L1=64x4,mmu=ept,1g-pages=on", 30},
        {"soft,tlb=L1=64x4,mmu=npt,1g-pages=on", 30},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct soft_guest g;
        struct mv_soft_outcome outcome;
        soft_guest_make(&g, cases[i].accel);
        soft_guest_map(&g, GVA, 0, PTE_P, 3);
        if (cases[i].page_shift != 30) {
            assert_int_equal(read_byte(&g, GVA, &outcome), MV_SOFT_FAULT);
            assert_fault(&outcome, 9, MV_SOFT_RULE_RESERVED_BIT, GVA);
            assert_int_equal(outcome.fault.reserved, PTE_PS);
        } else {
            assert_int_equal(read_byte(&g, GVA, &outcome), MV_SOFT_DONE);
        }
        if (cases[i].page_shift != 0) {
            assert_int_equal(page_shift_of_a_gib(&g), cases[i].page_shift);
        }
        soft_guest_end(&g);
    }
}

/* Bit 8 of a PML4E. */
static void a_processor_may_be_of_amd(void **state)
{
    (void)state;
    struct soft_guest g;
    struct mv_soft_outcome outcome;
    soft_guest_make(&g, "soft,vendor=amd");
    soft_guest_map(&g, GVA, GUEST_DATA, PTE_P, 1);
    soft_guest_set_entry(&g, GVA, 4, soft_guest_entry(&g, GVA, 4) | PTE_G);
    assert_int_equal(read_byte(&g, GVA, &outcome), MV_SOFT_FAULT);
    assert_fault(&outcome, 9, MV_SOFT_RULE_RESERVED_BIT, GVA);
    soft_guest_end(&g);
}

static void bad_properties_are_named(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "soft,",
        "soft,mmu",
        "soft,mmu=",
        "soft,mmu=vax",
        "soft,speed=high",
        "soft,tlb=64x4",
        "soft,tlb=L1=64",
        "soft,tlb=L1=64x5",
        "soft,tlb=L1=0x0",
        "soft,tlb=L1=96x4",
        "soft,levels=3",
        "soft,host-page=8K",
        "soft,log-by=magic",
        "soft,address-bits=53",
        "soft,address-bits=49",
        "soft,unsync=perhaps",
        "soft,shadow-pages=63",
        "soft,mmu=shadow,log-by=pml",
        "soft,mmu=shadow,access-dirty=off",
        "soft,mmu=hybrid,log-by=pml",
        "soft,mmu=hybrid,access-dirty=on",
        "soft,mmu=hybrid,unsync=on",
        "soft,mmu=hybrid,execute-only=on",
        "soft,policy=none",
        "soft,policy=nested",
        "soft,mmu=shadow,policy-interval=100",
        "soft,unsync=off",
        "soft,mmu=native,rmap-max=10",
        "soft,mmu=shadow,rmap-max=0",
        "soft,mmu=npt,shadow-pages=100",
        "soft,mmu=shadow,eager-split=on",
        "soft,mmu=shadow,log-by=dirty-bit",
        "soft,mmu=shadow,nested-tlb=on",
        "soft,mmu=native,slot-zap-all=off",
        "soft,mmu=native,host-page=4K",
        "soft,mmu=native,populate=on",
        "soft,mmu=shadow,levels=5",
        "soft,mmu=native,nx-huge-pages=on",
        "soft,mmu=native,mmio-caching=off",
        "soft,slot-zap-all=",
        "soft,access-dirty=off,log-by=dirty-bit",
        "soft,policy-writes=0",
        "soft,policy-interval=",
        "soft,mmu=npt,log-by=pml",
        "soft,mmu=npt,access-dirty=off",
        "soft,mmu=npt,execute-only=on",
        "soft,mmu=ept,emulate-supervisor=on",
        "soft,mmio-caching=maybe",
        "soft,walk-caches=perhaps",
        "soft,watch-host=perhaps",
        "soft,1g-pages=2",
        "soft,vendor=cyrix",
        "kvm,mmu=ept",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct soft_guest g = {0};
        struct mv_error err = {0};
        struct mv_vm_options options = {.accel = bad[i]};
        soft_guest_make(&g, "soft");
        options.memory = g.memory;
        options.io = g.io;
        struct mv_vm *vm;
        int rc = mv_vm_create(&options, &vm, &err);
        if (rc == 0) {
            fail_msg("%s is taken", bad[i]);
        }
        assert_int_equal(rc, -EINVAL);
        assert_string_equal(err.reason, "bad-property");
        soft_guest_end(&g);
    }
}

static void rings_do_not_go_with_dirty_bits(void **state)
{
    (void)state;
    struct soft_guest g;
    struct mv_vm *vm;
    struct mv_error err = {0};
    soft_guest_make(&g, "soft");
    const struct mv_vm_options options = {
        .accel = "soft,log-by=dirty-bit", .memory = g.memory, .io = g.io, .dirty_ring_entries = 1024};
    assert_int_equal(mv_vm_create(&options, &vm, &err), -EINVAL);
    assert_string_equal(err.reason, "bad-property");
    soft_guest_end(&g);
}

static void it_runs_nothing(void **state)
{
    (void)state;
    struct soft_guest g;
    struct mv_error err = {0};
    soft_guest_make(&g, "soft");
    assert_int_equal(mv_vm_start(g.vm, &err), -ENOTSUP);
    assert_string_equal(err.reason, "no-cpu");
    soft_guest_end(&g);
}

static void in_every_scheme(void (*test)(struct soft_guest *))
{
    for (size_t i = 0; i < SCHEMES; i++) {
        struct soft_guest g;
        soft_guest_make(&g, schemes[i]);
        test(&g);
        soft_guest_end(&g);
    }
}

#define EVERY(test)                                                                                               \
    static void every_##test(void **state)                                                                        \
    {                                                                                                             \
        (void)state;                                                                                              \
        in_every_scheme(test);                                                                                    \
    }
EVERY(bytes_go_where_the_tables_say)
EVERY(translating_is_a_supervisors_read)
EVERY(bits_are_set_as_a_processor_does)
EVERY(a_fault_sets_no_bit)
EVERY(faults_say_the_rule)
EVERY(a_fault_in_the_middle_keeps_what_was_done)
EVERY(smap_and_smep_hold)
EVERY(keys_hold)
EVERY(what_is_no_ram_is_a_value)
EVERY(tables_may_be_anywhere)
EVERY(edits_are_seen_at_once)
EVERY(a_discard_drops_just_its_pages)
EVERY(an_eventfd_takes_its_write)
EVERY(physical_writes_are_seen)
EVERY(bad_registers_are_refused)
EVERY(hooks_are_told)
EVERY(other_modes_translate)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bytes_go_where_the_tables_say),
        cmocka_unit_test(every_translating_is_a_supervisors_read),
        cmocka_unit_test(every_bits_are_set_as_a_processor_does),
        cmocka_unit_test(every_a_fault_sets_no_bit),
        cmocka_unit_test(every_faults_say_the_rule),
        cmocka_unit_test(every_a_fault_in_the_middle_keeps_what_was_done),
        cmocka_unit_test(every_smap_and_smep_hold),
        cmocka_unit_test(every_keys_hold),
        cmocka_unit_test(every_what_is_no_ram_is_a_value),
        cmocka_unit_test(every_tables_may_be_anywhere),
        cmocka_unit_test(every_edits_are_seen_at_once),
        cmocka_unit_test(every_a_discard_drops_just_its_pages),
        cmocka_unit_test(every_an_eventfd_takes_its_write),
        cmocka_unit_test(every_physical_writes_are_seen),
        cmocka_unit_test(every_bad_registers_are_refused),
        cmocka_unit_test(every_hooks_are_told),
        cmocka_unit_test(every_other_modes_translate),
        cmocka_unit_test(invlpg_ends_what_is_stale),
        cmocka_unit_test(a_slot_takes_all_along_or_its_own),
        cmocka_unit_test(a_processor_may_lack_1g_pages),
        cmocka_unit_test(a_processor_may_be_of_amd),
        cmocka_unit_test(bad_properties_are_named),
        cmocka_unit_test(rings_do_not_go_with_dirty_bits),
        cmocka_unit_test(it_runs_nothing),
    };
    return cmocka_run_group_tests_name("soft", tests, NULL, NULL);
}
