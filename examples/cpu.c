// SPDX-License-Identifier: MIT
/* Bring your own CPU: four instructions, and memvirt's MMU, EPT and all. Its code, data and page tables are guest
 * memory. */
#include <error.h>
#include <linux/kvm.h>
#include <memvirt/memvirt.h>
#include <stdio.h>
#include <string.h>

enum { LOAD, STORE, ADD, STOP }; /* each with one address or one number of 8 bytes behind it */

struct cpu {
    struct mv_vcpu *vcpu;
    uint64_t pc, accumulator;
    struct mv_soft_outcome outcome;
};
static struct mv_error why;

static void must(int rc)
{
    if (rc < 0) {
        error(1, 0, "%s", why.text);
    }
}

/* Whether to go on. A page fault is what an operating system would see; MMIO is a device's. */
static int step(struct cpu *c)
{
    uint64_t code[2];
    if (mv_soft_fetch(c->vcpu, mv_gva(c->pc), code, sizeof code, &c->outcome) != MV_SOFT_DONE) {
        return 0;
    }
    c->pc += sizeof code;
    switch (code[0]) {
    case LOAD:
        return mv_soft_read(c->vcpu, mv_gva(code[1]), &c->accumulator, 8, MV_SOFT_EXPLICIT, &c->outcome) ==
               MV_SOFT_DONE;
    case STORE:
        return mv_soft_write(c->vcpu, mv_gva(code[1]), &c->accumulator, 8, MV_SOFT_EXPLICIT, &c->outcome) ==
               MV_SOFT_DONE;
    case ADD: c->accumulator += code[1]; return 1;
    default: return 0;
    }
}

int main(void)
{
    static const uint64_t program[] = {LOAD, 0x400800, ADD, 2, STORE, 0x400808, STORE, 0x600000, STOP, 0};
    struct mv_block_options bytes = {.name = "ram", .size_bytes = 1 << 20};
    struct mv_region_options ram = {.name = "ram", .kind = MV_REGION_RAM, .size_bytes = 1 << 20};
    struct mv_region_options ports = {.name = "io", .size_bytes = 1 << 16};
    struct mv_vm_options options = {.accel = "soft,mmu=ept,tlb=L1=64x4:L2=1536x12"};
    struct mv_machine *machine;
    struct mv_region *memory, *io;
    struct mv_vm *vm;
    struct cpu cpu = {.pc = 0x400000};
    struct kvm_sregs sregs;
    struct mv_soft_counts counts;
    must(mv_machine_create(&machine, &why));
    must(mv_block_create(machine, &bytes, &ram.block, &why));
    must(mv_region_create(machine, &ram, &memory, &why));
    must(mv_region_create(machine, &ports, &io, &why));
    must(mv_space_create(machine, "memory", memory, &options.memory, &why));
    must(mv_space_create(machine, "I/O", io, &options.io, &why));
    must(mv_vm_create(&options, &vm, &why));
    must(mv_vm_add_vcpu(vm, &cpu.vcpu, &why));

    /* 0x400000 is at gpa 0x10000: PML4 at 0x1000, PDPT, PD and PT behind it; P, W. */
    const uint64_t tables[][2] = {{0x1000, 0x2003}, {0x2000, 0x3003}, {0x3010, 0x4003}, {0x4000, 0x10003}},
                   forty = 40;
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        mv_space_write(options.memory, mv_gpa(tables[i][0]), &tables[i][1], 8, MV_ATTRS_NONE);
    }
    mv_space_write(options.memory, mv_gpa(0x10000), program, sizeof program, MV_ATTRS_NONE);
    mv_space_write(options.memory, mv_gpa(0x10800), &forty, 8, MV_ATTRS_NONE);
    must(mv_vcpu_get_sregs(cpu.vcpu, &sregs, &why));
    sregs.cr0 = 0x80010001, sregs.cr3 = 0x1000, sregs.cr4 = 0x20, sregs.efer = 0x500; /* long mode */
    must(mv_vcpu_set_sregs(cpu.vcpu, &sregs, &why));

    while (step(&cpu)) {}
    must(mv_soft_counts(cpu.vcpu, &counts));
    printf("accumulator %llu; %s at 0x%llx, error code %u: %s\n", (unsigned long long)cpu.accumulator,
           cpu.outcome.end == MV_SOFT_FAULT ? "page fault" : "no fault",
           (unsigned long long)cpu.outcome.fault.address.raw, cpu.outcome.fault.error_code,
           mv_soft_rule_name(cpu.outcome.fault.rule));
    printf("%llu accesses, %llu TLB misses, %llu references to tables, %llu EPT violations\n",
           (unsigned long long)counts.accesses, (unsigned long long)counts.tlb_misses,
           (unsigned long long)counts.walk_refs, (unsigned long long)counts.exits_ept_violation);
    mv_vm_destroy(vm);
    mv_space_destroy(options.memory);
    mv_space_destroy(options.io);
    mv_region_put(memory);
    mv_region_put(io);
    mv_block_put(ram.block);
    mv_machine_destroy(machine);
    return 0;
}
