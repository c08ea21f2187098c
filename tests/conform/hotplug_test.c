// SPDX-License-Identifier: MIT
/*
 * RAM comes and goes while two vCPUs write to it on the real /dev/kvm. Each counts in its own word of memory that
 * stays, and in a word of memory that is plugged and unplugged. When an unplugging commit has returned, no vCPU
 * writes there any more, not even by a translation that it had; what was written before is all there, and goes on
 * from there when the memory is plugged again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <memvirt/memvirt.h>

#define STAYS_BYTES 0x8000
#define PLUGGED_GPA 0x8000
#define PLUGGED_BYTES 0x4000

/* Real mode, CS base 0x1000 or 0x2000, DS base 0: 1: inc dword [COUNT]; mov eax, [COUNT]; mov [PLUGGED], eax; jmp
 * 1b */
#define CODE(count, plugged)                                                                                      \
    {                                                                                                             \
        0x66, 0xff, 0x06, (count)&0xff, (count) >> 8, 0x66, 0xa1, (count)&0xff, (count) >> 8, 0x66, 0xa3,         \
            (plugged)&0xff, (plugged) >> 8, 0xeb, 0xf1                                                            \
    }

static const uint8_t code[2][15] = {CODE(0x6000, 0x8000), CODE(0x6100, 0x9000)};

static struct mv_error err;

static void must(int rc)
{
    if (rc < 0) {
        fail_msg("%s", err.text);
    }
}

static struct mv_region *make_ram(struct mv_machine *machine, const char *name, uint64_t size,
                                  volatile uint32_t **ret)
{
    struct mv_block *block;
    struct mv_block_info info;
    struct mv_region *region;
    must(mv_block_create(machine,
                         &(struct mv_block_options){.name = name, .kind = MV_BLOCK_MEMFD, .size_bytes = size},
                         &block, &err));
    mv_block_info(block, &info);
    *ret = (volatile uint32_t *)(uintptr_t)info.hva.raw;
    must(mv_region_create(
        machine,
        &(struct mv_region_options){.name = name, .kind = MV_REGION_RAM, .size_bytes = size, .block = block},
        &region, &err));
    mv_block_put(block);
    return region;
}

static void start_at(struct mv_vm *vm, uint64_t base)
{
    struct kvm_sregs sregs;
    struct mv_vcpu *vcpu = mv_vm_vcpu(vm, 0);
    must(mv_vcpu_get_sregs(vcpu, &sregs, &err));
    sregs.cs.base = base;
    sregs.cs.selector = (uint16_t)(base >> 4);
    must(mv_vcpu_set_sregs(vcpu, &sregs, &err));
    must(mv_vcpu_set_regs(vcpu, &(struct kvm_regs){.rip = 0, .rflags = 2}, &err));
}

static void pause_us(long us)
{
    struct timespec t = {.tv_nsec = us * 1000};
    nanosleep(&t, NULL);
}

static void test_ram_comes_and_goes_under_load(void **state)
{
    (void)state;
    struct mv_accel_status status;
    mv_accel_check(0, &status);
    if (!status.usable) {
        printf("# SKIP test_ram_comes_and_goes_under_load: %s\n", status.text);
        skip();
    }
    alarm(120);
    struct mv_machine *machine;
    struct mv_region *root, *io;
    struct mv_vm *vm;
    struct mv_stop stop;
    volatile uint32_t *stays, *plugged;
    must(mv_machine_create(&machine, &err));
    must(mv_region_create(machine, &(struct mv_region_options){.name = "root", .size_bytes = MV_SIZE_2_64}, &root,
                          &err));
    must(mv_region_create(machine, &(struct mv_region_options){.name = "io", .size_bytes = 65536}, &io, &err));
    struct mv_region *base = make_ram(machine, "base", STAYS_BYTES, &stays);
    struct mv_region *dimm = make_ram(machine, "dimm", PLUGGED_BYTES, &plugged);
    must(mv_region_add(root, 0, base, 0, &err));
    struct mv_vm_options options = {.accel = "kvm"};
    must(mv_space_create(machine, "memory", root, &options.memory, &err));
    must(mv_space_create(machine, "I/O", io, &options.io, &err));
    assert_int_equal(mv_space_write(options.memory, mv_gpa(0x1000), code[0], sizeof code[0], MV_ATTRS_NONE),
                     MV_OK);
    assert_int_equal(mv_space_write(options.memory, mv_gpa(0x2000), code[1], sizeof code[1], MV_ATTRS_NONE),
                     MV_OK);
    must(mv_vm_create(&options, &vm, &err));
    must(mv_vm_add_vcpu(vm, NULL, &err));
    must(mv_vm_add_vcpu(vm, NULL, &err));
    start_at(vm, 0x1000);
    mv_vm_startup_ipi(vm, 1, 2);
    must(mv_vm_start(vm, &err));

    unsigned progress[2] = {0, 0};
    for (unsigned cycle = 0; cycle < 150; cycle++) {
        uint32_t before[2] = {plugged[0], plugged[0x1000 / 4]};
        must(mv_region_add(root, PLUGGED_GPA, dimm, 0, &err));
        pause_us(300);
        must(mv_region_remove(dimm, &err));
        uint32_t after[2] = {plugged[0], plugged[0x1000 / 4]};
        pause_us(100); /* they go on, elsewhere */
        for (unsigned i = 0; i < 2; i++) {
            assert_int_equal(plugged[i * 0x1000 / 4], after[i]);
            uint32_t step = (uint32_t)(after[i] - before[i]);
            assert_true(step < 0x80000000); /* it never goes back */
            progress[i] += step;
        }
    }
    uint32_t counts[2] = {stays[0x6000 / 4], stays[0x6100 / 4]};
    while (counts[0] == stays[0x6000 / 4] || counts[1] == stays[0x6100 / 4]) {
        pause_us(1000); /* both are still alive; if not, the alarm ends this */
    }
    mv_vm_stop(vm, MV_STOP_REQUEST, 0, NULL);
    mv_vm_wait(vm, &stop);
    assert_int_equal(stop.reason, MV_STOP_REQUEST);
    printf("# counted in memory that came and went: %u and %u\n", progress[0], progress[1]);
    assert_true(progress[0] + progress[1] > 0);
    mv_vm_destroy(vm);
    mv_space_destroy(options.memory);
    mv_space_destroy(options.io);
    mv_region_put(dimm);
    mv_region_put(base);
    mv_region_put(io);
    mv_region_put(root);
    mv_machine_destroy(machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ram_comes_and_goes_under_load)};
    return cmocka_run_group_tests_name("hotplug", tests, NULL, NULL);
}
