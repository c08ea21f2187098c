// SPDX-License-Identifier: MIT
/* VMs for tests, on the real /dev/kvm: RAM at 0, a port that tells the test, real-mode code of a few bytes at
 * 0x1000. */
#ifndef VM_VM_TEST_H
#define VM_VM_TEST_H

#include "vm/vm.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/addr.h"

#define RAM_BYTES 0x100000
#define CODE_GPA 0x1000
#define TEST_PORT 0x10

/* Called for each byte that a guest writes to TEST_PORT. */
typedef void port_fn(void *opaque, uint8_t value, unsigned vcpu);

struct rig {
    struct mv_machine *machine;
    struct mv_block *block;
    struct mv_region *root, *ram, *ports, *port;
    struct mv_space *memory, *io;
    struct mv_vm *vm;
    port_fn *on_write;
    void *opaque;
};

static inline enum mv_result port_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                        struct mv_attrs attrs)
{
    (void)offset;
    (void)size_bytes;
    struct rig *rig = opaque;
    if (rig->on_write) {
        rig->on_write(rig->opaque, (uint8_t)value, attrs.requester - 1u);
    }
    return MV_OK;
}

static const struct mv_mmio_ops port_ops = {.write = port_write};

static inline void must(int rc, const struct mv_error *err)
{
    if (rc < 0) {
        fail_msg("%s", err->text);
    }
}

static inline struct mv_region *make(struct rig *rig, struct mv_region_options options)
{
    struct mv_region *region;
    struct mv_error err;
    must(mv_region_create(rig->machine, &options, &region, &err), &err);
    return region;
}

/* A page of RAM of its own, filled with one byte. */
static inline struct mv_region *make_page(struct rig *rig, const char *name, uint8_t fill)
{
    struct mv_block *block;
    struct mv_block_info info;
    struct mv_error err;
    must(mv_block_create(rig->machine, &(struct mv_block_options){.name = name, .size_bytes = 4096}, &block, &err),
         &err);
    mv_block_info(block, &info);
    memset(hva_pointer(info.hva), fill, 4096);
    struct mv_region *region = make(
        rig, (struct mv_region_options){.name = name, .kind = MV_REGION_RAM, .size_bytes = 4096, .block = block});
    mv_block_put(block);
    return region;
}

/* `options` besides those that every VM of a rig has. */
static inline void rig_init_with(struct rig *rig, struct mv_vm_options options, unsigned vcpus, const void *code,
                                 size_t size)
{
    struct mv_error err;
    memset(rig, 0, sizeof *rig);
    must(mv_machine_create(&rig->machine, &err), &err);
    must(mv_block_create(rig->machine, &(struct mv_block_options){.name = "ram", .size_bytes = RAM_BYTES},
                         &rig->block, &err),
         &err);
    rig->root = make(rig, (struct mv_region_options){.name = "system", .size_bytes = MV_SIZE_2_64});
    rig->ports = make(rig, (struct mv_region_options){.name = "io", .size_bytes = 65536});
    rig->ram = make(rig, (struct mv_region_options){
                             .name = "ram", .kind = MV_REGION_RAM, .size_bytes = RAM_BYTES, .block = rig->block});
    rig->port =
        make(rig, (struct mv_region_options){
                      .name = "port", .kind = MV_REGION_MMIO, .size_bytes = 1, .ops = &port_ops, .opaque = rig});
    must(mv_region_add(rig->root, 0, rig->ram, 0, &err), &err);
    must(mv_region_add(rig->ports, TEST_PORT, rig->port, 0, &err), &err);
    must(mv_space_create(rig->machine, "memory", rig->root, &rig->memory, &err), &err);
    must(mv_space_create(rig->machine, "I/O", rig->ports, &rig->io, &err), &err);
    assert_int_equal(mv_space_write(rig->memory, mv_gpa(CODE_GPA), code, size, MV_ATTRS_NONE), MV_OK);
    options.accel = "kvm";
    options.memory = rig->memory;
    options.io = rig->io;
    must(mv_vm_create(&options, &rig->vm, &err), &err);
    for (unsigned i = 0; i < vcpus; i++) {
        must(mv_vm_add_vcpu(rig->vm, NULL, &err), &err);
    }
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rip = CODE_GPA, .rflags = 2};
    struct mv_vcpu *bsp = mv_vm_vcpu(rig->vm, 0);
    must(mv_vcpu_get_sregs(bsp, &sregs, &err), &err);
    sregs.cs.selector = 0;
    sregs.cs.base = 0;
    must(mv_vcpu_set_sregs(bsp, &sregs, &err), &err);
    must(mv_vcpu_set_regs(bsp, &regs, &err), &err);
}

static inline void rig_init(struct rig *rig, unsigned vcpus, const void *code, size_t size)
{
    rig_init_with(rig, (struct mv_vm_options){0}, vcpus, code, size);
}

static inline void rig_finish(struct rig *rig)
{
    mv_vm_destroy(rig->vm);
    mv_space_destroy(rig->memory);
    mv_space_destroy(rig->io);
    mv_region_put(rig->port);
    mv_region_put(rig->ram);
    mv_region_put(rig->ports);
    mv_region_put(rig->root);
    mv_block_put(rig->block);
    mv_machine_destroy(rig->machine);
}

static inline void need_kvm(const char *test)
{
    struct mv_accel_status status;
    mv_accel_check(0, &status);
    if (!status.usable) {
        print_message("# SKIP %s: %s\n", test, status.text);
        skip();
    }
    alarm(120); /* a missed stop would hang: better to die of it */
}

/* What not every host has. */
static inline void need_option(const char *test, struct mv_vm_options options)
{
    struct rig rig = {0};
    struct mv_vm *vm = NULL;
    struct mv_error err;
    assert_int_equal(mv_machine_create(&rig.machine, NULL), 0);
    rig.root = make(&rig, (struct mv_region_options){.name = "root", .size_bytes = MV_SIZE_2_64});
    assert_int_equal(mv_space_create(rig.machine, "memory", rig.root, &rig.memory, NULL), 0);
    options.accel = "kvm";
    options.memory = options.io = rig.memory;
    int rc = mv_vm_create(&options, &vm, &err);
    mv_vm_destroy(vm);
    mv_space_destroy(rig.memory);
    mv_region_put(rig.root);
    mv_machine_destroy(rig.machine);
    if (rc == -ENOTSUP) {
        print_message("# SKIP %s: %s\n", test, err.text);
        skip();
    }
    must(rc, &err);
}

static inline uint64_t counter(struct mv_vm *vm, enum mv_counter_set set, const char *name)
{
    struct mv_counter counters[512];
    size_t count = mv_vm_counters(vm, set, counters, 512);
    assert_true(count <= 512);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(counters[i].name, name) == 0) {
            return counters[i].value;
        }
    }
    fail_msg("no counter %s", name);
    return 0;
}

__attribute__((unused)) static const uint8_t spin[] = {0xeb, 0xfe}; /* jmp . */

static inline void sleep_us(unsigned us)
{
    struct timespec t = {.tv_nsec = us * 1000L};
    nanosleep(&t, NULL);
}

#endif
