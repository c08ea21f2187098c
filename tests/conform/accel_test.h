// SPDX-License-Identifier: MIT
/*
 * For tests of what an accelerator does with slots, logs and guest writes: one body for each accelerator, through
 * the contract in accel/accel.h alone. A test's state is opened from the name of its accelerator, and closed, so
 * that the table of tests says which bodies run on which.
 */
#ifndef CONFORM_ACCEL_TEST_H
#define CONFORM_ACCEL_TEST_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "accel/accel.h"

#define PAGE UINT64_C(4096)
#define RAM_PAGES 256
#define RAM_BYTES (RAM_PAGES * PAGE)
#define CODE_BYTES (16 * PAGE) /* slot 0, at 0: the first part of the RAM, with the code and the stack */
#define CODE_GPA 0x1000
#define FREE_GPA UINT64_C(0x20000) /* from here to 1 MiB there is nothing unless a test puts it there */

/* One VM with one vCPU in real mode. */
struct guest {
    const struct accel *ops;
    struct accel_vm *vm;
    struct accel_vcpu *vcpu;
    struct kvm_run *run;
    unsigned char *ram; /* of the host, RAM_BYTES */
    struct mv_accel_status status;
};

/* --- slots ------------------------------------------------------------------------------------- */

static inline int set_slot(const struct guest *g, uint32_t id, uint32_t flags, uint64_t gpa, uint64_t size_bytes,
                           const void *host)
{
    const struct kvm_userspace_memory_region slot = {.slot = id,
                                                     .flags = flags,
                                                     .guest_phys_addr = gpa,
                                                     .memory_size = size_bytes,
                                                     .userspace_addr = (uintptr_t)host};
    return g->ops->set_slot(g->vm, &slot);
}

static inline unsigned char *ram_page(const struct guest *g, unsigned page)
{
    return g->ram + page * PAGE;
}

/* --- opening and closing ----------------------------------------------------------------------- */

static inline void guest_open_vm(struct guest *g, const struct accel_vm_options *options)
{
    struct mv_error err;
    if (g->ops->vm_create(options, &g->vm, &err) < 0 || g->ops->vcpu_create(g->vm, 0, &g->vcpu, &err) < 0) {
        fail_msg("%s", err.text);
    }
    g->run = g->ops->run_area(g->vcpu);
}

static inline void guest_close_vm(struct guest *g)
{
    g->ops->vcpu_destroy(g->vcpu);
    g->ops->vm_destroy(g->vm);
}

static inline int guest_open(void **state)
{
    static struct guest g;
    g = (struct guest){.ops = accel_by_name(*state)};
    assert_non_null(g.ops);
    g.ops->check(&g.status);
    if (g.status.usable) {
        g.ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(g.ram != MAP_FAILED);
        guest_open_vm(&g, &(struct accel_vm_options){.private_pages = false});
    }
    *state = &g;
    return 0;
}

static inline int guest_close(void **state)
{
    struct guest *g = *state;
    alarm(0);
    if (g->status.usable) {
        guest_close_vm(g);
        munmap(g->ram, RAM_BYTES);
    }
    return 0;
}

/* At the beginning of a test: the guest, or a skip. */
static inline struct guest *guest_of(void **state, const char *test)
{
    struct guest *g = *state;
    if (!g->status.usable) {
        print_message("# SKIP %s(%s): %s\n", test, g->ops->name, g->status.text);
        skip();
    }
    alarm(60); /* a guest that does not come back */
    return g;
}

/* The same, with the slot of the code. */
static inline struct guest *guest_with_code(void **state, const char *test)
{
    struct guest *g = guest_of(state, test);
    assert_int_equal(set_slot(g, 0, 0, 0, CODE_BYTES, g->ram), 0);
    return g;
}

/* --- running ----------------------------------------------------------------------------------- */

/* Go on where the guest is, until it leaves. A store that left is done, and a load has its value, when it goes on.
 */
static inline uint32_t guest_go_on(struct guest *g)
{
    int rc = g->ops->run(g->vcpu);
    while (rc == -EINTR) {
        rc = g->ops->run(g->vcpu);
    }
    if (rc < 0) {
        fail_msg("run: %s", strerror(-rc));
    }
    return g->run->exit_reason;
}

/* Finish the access that the last exit was for. */
static inline void guest_finish_access(struct guest *g)
{
    g->run->immediate_exit = 1;
    assert_int_equal(g->ops->run(g->vcpu), -EINTR);
    g->run->immediate_exit = 0;
}

/* Where code begins, and ds so that its offset 0 is `data_gpa`. */
static inline void guest_place(struct guest *g, uint64_t data_gpa)
{
    struct kvm_sregs sregs;
    const struct kvm_regs regs = {.rip = CODE_GPA, .rsp = 0xf000, .rax = 0x5a, .rflags = 2};
    assert_int_equal(g->ops->get_sregs(g->vcpu, &sregs), 0);
    sregs.cs.selector = 0;
    sregs.cs.base = 0;
    sregs.ds.selector = (uint16_t)(data_gpa >> 4);
    sregs.ds.base = data_gpa;
    assert_int_equal(g->ops->set_sregs(g->vcpu, &sregs), 0);
    assert_int_equal(g->ops->set_regs(g->vcpu, &regs), 0);
}

static inline uint32_t guest_run(struct guest *g, const void *code, size_t size, uint64_t data_gpa)
{
    if (g->run->exit_reason == KVM_EXIT_MMIO || g->run->exit_reason == KVM_EXIT_IO) {
        guest_finish_access(g);
    }
    memcpy(g->ram + CODE_GPA, code, size);
    guest_place(g, data_gpa);
    return guest_go_on(g);
}

/* mov al, [0]; hlt */
static const uint8_t load_byte[] = {0xa0, 0x00, 0x00, 0xf4};
/* mov [0], al, which is 0x5a; hlt */
static const uint8_t store_byte[] = {0xa2, 0x00, 0x00, 0xf4};

/* What a load at `gpa` gets; -1 if it is an exit instead. */
static inline int guest_load(struct guest *g, uint64_t gpa)
{
    struct kvm_regs regs;
    if (guest_run(g, load_byte, sizeof load_byte, gpa) != KVM_EXIT_HLT) {
        assert_int_equal(g->run->exit_reason, KVM_EXIT_MMIO);
        assert_int_equal(g->run->mmio.phys_addr, gpa);
        assert_int_equal(g->run->mmio.len, 1);
        assert_false(g->run->mmio.is_write);
        return -1;
    }
    assert_int_equal(g->ops->get_regs(g->vcpu, &regs), 0);
    return (int)(regs.rax & 0xff);
}

/* Whether a store at `gpa` is done by the guest itself; else it is an exit. */
static inline bool guest_store(struct guest *g, uint64_t gpa)
{
    if (guest_run(g, store_byte, sizeof store_byte, gpa) != KVM_EXIT_HLT) {
        assert_int_equal(g->run->exit_reason, KVM_EXIT_MMIO);
        assert_int_equal(g->run->mmio.phys_addr, gpa);
        assert_int_equal(g->run->mmio.len, 1);
        assert_int_equal(g->run->mmio.data[0], 0x5a);
        assert_true(g->run->mmio.is_write);
        return false;
    }
    return true;
}

/* A body on the real thing; another accelerator adds its line. */
#define ON_EACH_ACCELERATOR(body)                                                                                 \
    {                                                                                                             \
        .name = #body "(kvm)", .test_func = body, .setup_func = guest_open, .teardown_func = guest_close,         \
        .initial_state = (void *)(uintptr_t) "kvm"                                                                \
    }

#endif
