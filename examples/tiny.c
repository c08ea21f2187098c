// SPDX-License-Identifier: MIT
/* A complete VMM: 1 MiB of RAM, one output port, one vCPU. The guest prints a line and halts. */
#include <error.h>
#include <memvirt/memvirt.h>
#include <stdio.h>

static const char guest[] = /* real mode, at gpa 0x1000 */
    "\xbe\x0b\x10\xac"      /*     mov si, message;  1: lodsb   */
    "\xe6\xe9\x3c\x0a"      /*     out 0xe9, al;  cmp al, '\n'  */
    "\x75\xf9\xf4"          /*     jne 1b;  hlt                 */
    "hello from the guest\n";

static struct mv_error why;

static void must(int rc)
{
    if (rc < 0) {
        error(1, 0, "%s", why.text);
    }
}

static enum mv_result print(void *opaque, uint64_t offset, unsigned size, uint64_t value, struct mv_attrs attrs)
{
    (void)opaque, (void)offset, (void)size, (void)attrs;
    return putchar((int)value) == EOF ? MV_DEVICE_ERROR : MV_OK;
}

int main(void)
{
    static const struct mv_mmio_ops ops = {.write = print};
    struct mv_machine *machine;
    struct mv_block *block;
    struct mv_region *ram, *io, *port;
    struct mv_region_options o;
    must(mv_machine_create(&machine, &why));
    must(mv_block_create(machine, &(struct mv_block_options){.name = "ram", .size_bytes = 1 << 20}, &block, &why));
    o = (struct mv_region_options){.name = "ram", .kind = MV_REGION_RAM, .size_bytes = 1 << 20, .block = block};
    must(mv_region_create(machine, &o, &ram, &why));
    o = (struct mv_region_options){.name = "io", .kind = MV_REGION_CONTAINER, .size_bytes = 1 << 16};
    must(mv_region_create(machine, &o, &io, &why));
    o = (struct mv_region_options){.name = "port", .kind = MV_REGION_MMIO, .size_bytes = 1, .ops = &ops};
    must(mv_region_create(machine, &o, &port, &why));
    must(mv_region_add(io, 0xe9, port, 0, &why));
    struct mv_vm_options vm_options = {.accel = "kvm"};
    must(mv_space_create(machine, "memory", ram, &vm_options.memory, &why));
    must(mv_space_create(machine, "I/O", io, &vm_options.io, &why));
    mv_space_write(vm_options.memory, mv_gpa(0x1000), guest, sizeof guest, MV_ATTRS_NONE);
    struct mv_vm *vm;
    struct mv_vcpu *vcpu;
    struct mv_stop stop;
    struct kvm_sregs sregs;
    must(mv_vm_create(&vm_options, &vm, &why));
    must(mv_vm_add_vcpu(vm, &vcpu, &why));
    must(mv_vcpu_get_sregs(vcpu, &sregs, &why));
    sregs.cs.base = sregs.cs.selector = 0;
    must(mv_vcpu_set_sregs(vcpu, &sregs, &why));
    must(mv_vcpu_set_regs(vcpu, &(struct kvm_regs){.rip = 0x1000, .rflags = 2}, &why));
    must(mv_vm_run(vm, &stop, &why));
    printf("%s\n", stop.text);
    return stop.reason == MV_STOP_HALTED ? 0 : 1;
}
