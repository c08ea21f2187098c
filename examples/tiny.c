// SPDX-License-Identifier: MIT
/* A complete VMM: 1 MiB of RAM, one output port, one vCPU. The guest prints a line and halts. */
#include <error.h>
#include <memvirt/memvirt.h>
#include <stdio.h>

static const char guest[] = "\xbe\x0b\x10\xac" /* at 1000:  mov si, message;  1: lodsb   */
                            "\xe6\xe9\x3c\x0a" /*           out 0xe9, al;  cmp al, '\n'  */
                            "\x75\xf9\xf4"     /*           jne 1b;  hlt;  message:      */
                            "hello from the guest\n";
static struct mv_error why;

static void must(int rc)
{
    if (rc < 0) {
        error(1, 0, "%s", why.text);
    }
}

static enum mv_result print(void *opaque, uint64_t port, unsigned size, uint64_t value, struct mv_attrs attrs)
{
    (void)opaque, (void)size, (void)attrs;
    return port == 0xe9 && putchar((int)value) != EOF ? MV_OK : MV_DEVICE_ERROR;
}

int main(void)
{
    static const struct mv_mmio_ops ops = {.write = print};
    struct mv_block_options ram_bytes = {.name = "ram", .size_bytes = 1 << 20};
    struct mv_region_options ram = {.name = "ram", .kind = MV_REGION_RAM, .size_bytes = 1 << 20};
    struct mv_region_options ports = {.name = "io", .kind = MV_REGION_MMIO, .size_bytes = 1 << 16, .ops = &ops};
    struct mv_vm_options vm_options = {.accel = "kvm"};
    struct mv_machine *machine;
    struct mv_region *memory_root, *io_root;
    struct mv_vm *vm;
    struct mv_vcpu *vcpu;
    struct kvm_sregs sregs;
    struct mv_stop stop;
    must(mv_machine_create(&machine, &why));
    must(mv_block_create(machine, &ram_bytes, &ram.block, &why));
    must(mv_region_create(machine, &ram, &memory_root, &why));
    must(mv_region_create(machine, &ports, &io_root, &why));
    must(mv_space_create(machine, "memory", memory_root, &vm_options.memory, &why));
    must(mv_space_create(machine, "I/O", io_root, &vm_options.io, &why));
    mv_space_write(vm_options.memory, mv_gpa(0x1000), guest, sizeof guest, MV_ATTRS_NONE);
    must(mv_vm_create(&vm_options, &vm, &why));
    must(mv_vm_add_vcpu(vm, &vcpu, &why));
    must(mv_vcpu_get_sregs(vcpu, &sregs, &why));
    sregs.cs.base = sregs.cs.selector = 0;
    must(mv_vcpu_set_sregs(vcpu, &sregs, &why));
    must(mv_vcpu_set_regs(vcpu, &(struct kvm_regs){.rip = 0x1000, .rflags = 2}, &why));
    must(mv_vm_run(vm, &stop, &why));
    printf("%s\n", stop.text);
    mv_vm_destroy(vm);
    mv_space_destroy(vm_options.memory);
    mv_space_destroy(vm_options.io);
    mv_region_put(memory_root);
    mv_region_put(io_root);
    mv_block_put(ram.block);
    mv_machine_destroy(machine);
    return stop.reason == MV_STOP_HALTED ? 0 : 1;
}
