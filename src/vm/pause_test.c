// SPDX-License-Identifier: MIT
/* Pausing running VMs: nothing moves meanwhile, registers are final and can be read and written, pauses nest. */
#include "vm/vm_test.h"

#include <sched.h>

#define COUNTER_GPA 0x5000

/* 1: inc dword [0x5000]; jmp 1b */
static const uint8_t count_up[] = {0x66, 0xff, 0x06, 0x00, 0x50, 0xeb, 0xf9};
/* in al, 0x10; out 0x10, al; jmp back */
static const uint8_t echo[] = {0xe4, TEST_PORT, 0xe6, TEST_PORT, 0xeb, 0xfa};

/* What the guest has counted so far, read as the guest's memory changes under it. */
static uint32_t counted(struct rig *rig)
{
    struct mv_hold hold;
    assert_int_equal(mv_space_hold(rig->memory, mv_gpa(COUNTER_GPA), 4, &hold), MV_OK);
    uint32_t value = __atomic_load_n((const uint32_t *)hold.bytes, __ATOMIC_RELAXED);
    mv_hold_release(&hold);
    return value;
}

static void stop_and_wait(struct rig *rig)
{
    struct mv_stop stop;
    mv_vm_stop(rig->vm, MV_STOP_REQUEST, 0, "done");
    mv_vm_wait(rig->vm, &stop);
    assert_int_equal(stop.reason, MV_STOP_REQUEST);
}

static void wait_for_count(struct rig *rig, uint32_t more_than)
{
    while (counted(rig) == more_than) {
        sleep_us(20);
    }
}

static void test_nothing_moves_while_paused(void **state)
{
    (void)state;
    need_kvm("test_nothing_moves_while_paused");
    struct rig rig;
    struct kvm_regs regs, again;
    rig_init(&rig, 1, count_up, sizeof count_up);
    struct mv_vcpu *vcpu = mv_vm_vcpu(rig.vm, 0);
    assert_int_equal(mv_vm_state(rig.vm), MV_VM_MADE);
    assert_int_equal(mv_vm_start(rig.vm, NULL), 0);
    assert_int_equal(mv_vm_state(rig.vm), MV_VM_RUNNING);
    for (unsigned i = 0; i < 300; i++) {
        wait_for_count(&rig, counted(&rig));
        mv_vm_pause(rig.vm);
        assert_int_equal(mv_vm_state(rig.vm), MV_VM_PAUSED);
        uint32_t before = counted(&rig);
        assert_int_equal(mv_vcpu_get_regs(vcpu, &regs, NULL), 0);
        assert_in_range(regs.rip, CODE_GPA, CODE_GPA + sizeof count_up - 1);
        if (i % 30 == 0) {
            sleep_us(1000);
        }
        assert_int_equal(mv_vcpu_get_regs(vcpu, &again, NULL), 0);
        assert_memory_equal(&regs, &again, sizeof regs);
        assert_int_equal(counted(&rig), before);
        mv_vm_resume(rig.vm);
    }
    assert_int_equal(mv_vcpu_get_regs(vcpu, &regs, NULL), -EBUSY);
    stop_and_wait(&rig);
    assert_int_equal(mv_vm_state(rig.vm), MV_VM_STOPPED);
    rig_finish(&rig);
}

static void test_pauses_nest(void **state)
{
    (void)state;
    need_kvm("test_pauses_nest");
    struct rig rig;
    rig_init(&rig, 1, count_up, sizeof count_up);
    assert_int_equal(mv_vm_start(rig.vm, NULL), 0);
    mv_vm_pause(rig.vm);
    mv_vm_pause(rig.vm);
    mv_vm_resume(rig.vm);
    uint32_t before = counted(&rig);
    sleep_us(2000);
    assert_int_equal(counted(&rig), before);
    mv_vm_resume(rig.vm);
    wait_for_count(&rig, before);
    stop_and_wait(&rig);
    rig_finish(&rig);
}

/* Paused before it is started, a VM starts paused, and its registers can be had at once. */
static void test_start_paused(void **state)
{
    (void)state;
    need_kvm("test_start_paused");
    for (unsigned i = 0; i < 50; i++) {
        struct rig rig;
        struct kvm_regs regs;
        rig_init(&rig, 2, count_up, sizeof count_up);
        mv_vm_pause(rig.vm);
        assert_int_equal(mv_vm_state(rig.vm), MV_VM_MADE);
        assert_int_equal(mv_vm_start(rig.vm, NULL), 0);
        assert_int_equal(mv_vm_state(rig.vm), MV_VM_PAUSED);
        assert_int_equal(mv_vcpu_get_regs(mv_vm_vcpu(rig.vm, 1), &regs, NULL), 0);
        assert_int_equal(mv_vcpu_get_regs(mv_vm_vcpu(rig.vm, 0), &regs, NULL), 0);
        assert_int_equal(regs.rip, CODE_GPA);
        assert_int_equal(counted(&rig), 0);
        if (i % 2 == 0) {
            mv_vm_resume(rig.vm);
            wait_for_count(&rig, 0);
        }
        stop_and_wait(&rig); /* also out of a pause */
        rig_finish(&rig);
    }
}

static enum mv_result port_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                struct mv_attrs attrs)
{
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    *ret_value = atomic_fetch_add((atomic_uint *)opaque, 1) & 0xff;
    return MV_OK;
}

/*
 * A pause falls between a handler and the end of its instruction: `in` has its value in al all the same. With the
 * instruction half done, rip would be its own and al the value before.
 */
static void test_registers_are_final(void **state)
{
    (void)state;
    need_kvm("test_registers_are_final");
    static const struct mv_mmio_ops ops = {.read = port_read};
    struct rig rig;
    struct kvm_regs regs;
    atomic_uint reads = 0;
    unsigned after_read = 0;
    rig_init(&rig, 1, echo, sizeof echo);
    struct mv_region *port =
        make(&rig, (struct mv_region_options){
                       .name = "in", .kind = MV_REGION_MMIO, .size_bytes = 1, .ops = &ops, .opaque = &reads});
    assert_int_equal(mv_region_add(rig.ports, TEST_PORT, port, 1, NULL), 0);
    assert_int_equal(mv_vm_start(rig.vm, NULL), 0);
    for (unsigned i = 0; i < 1000; i++) {
        unsigned before = atomic_load(&reads);
        while (atomic_load(&reads) == before) {
            sleep_us(1);
        }
        mv_vm_pause(rig.vm);
        unsigned done = atomic_load(&reads);
        assert_int_equal(mv_vcpu_get_regs(mv_vm_vcpu(rig.vm, 0), &regs, NULL), 0);
        assert_int_equal(regs.rax & 0xff, (done - 1) & 0xff);
        after_read += regs.rip == CODE_GPA + 2;
        mv_vm_resume(rig.vm);
    }
    printf("# %u of 1000 pauses came between in and out\n", after_read);
    assert_true(after_read > 0);
    stop_and_wait(&rig);
    mv_region_put(port);
    rig_finish(&rig);
}

static void test_registers_can_be_set(void **state)
{
    (void)state;
    need_kvm("test_registers_can_be_set");
    /* 1000: jmp .; 1002: inc dword [0x5000]; jmp back to 1002 */
    static const uint8_t code[] = {0xeb, 0xfe, 0x66, 0xff, 0x06, 0x00, 0x50, 0xeb, 0xf9};
    struct rig rig;
    struct kvm_regs regs;
    rig_init(&rig, 1, code, sizeof code);
    assert_int_equal(mv_vm_start(rig.vm, NULL), 0);
    sleep_us(1000);
    assert_int_equal(counted(&rig), 0);
    mv_vm_pause(rig.vm);
    assert_int_equal(mv_vcpu_get_regs(mv_vm_vcpu(rig.vm, 0), &regs, NULL), 0);
    assert_int_equal(regs.rip, CODE_GPA);
    regs.rip = CODE_GPA + 2;
    assert_int_equal(mv_vcpu_set_regs(mv_vm_vcpu(rig.vm, 0), &regs, NULL), 0);
    mv_vm_resume(rig.vm);
    wait_for_count(&rig, 0);
    stop_and_wait(&rig);
    rig_finish(&rig);
}

struct pauser {
    struct rig *rig;
    unsigned rounds;
};

static void *pause_often(void *opaque)
{
    struct pauser *p = opaque;
    for (unsigned i = 0; i < p->rounds; i++) {
        struct kvm_regs regs;
        mv_vm_pause(p->rig->vm);
        uint32_t before = counted(p->rig);
        assert_int_equal(mv_vcpu_get_regs(mv_vm_vcpu(p->rig->vm, 0), &regs, NULL), 0);
        assert_int_equal(mv_vcpu_get_regs(mv_vm_vcpu(p->rig->vm, 1), &regs, NULL), 0);
        assert_int_equal(counted(p->rig), before);
        mv_vm_resume(p->rig->vm);
    }
    return NULL;
}

/* Two threads pause, a third edits memory, a fourth sends INIT and start-up, under two running vCPUs. */
static void test_pauses_edits_and_ipis_at_once(void **state)
{
    (void)state;
    need_kvm("test_pauses_edits_and_ipis_at_once");
    struct rig rig;
    struct pauser pauser = {.rig = &rig, .rounds = 1000};
    pthread_t threads[2];
    rig_init(&rig, 2, count_up, sizeof count_up);
    struct mv_region *page = make_page(&rig, "page", 1);
    assert_int_equal(mv_vm_start(rig.vm, NULL), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, pause_often, &pauser), 0);
    }
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(mv_region_add(rig.root, 0x10000, page, 1, NULL), 0);
        mv_vm_startup_ipi(rig.vm, 1, CODE_GPA >> 12);
        assert_int_equal(mv_region_remove(page, NULL), 0);
        mv_vm_init_ipi(rig.vm, 1);
    }
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    wait_for_count(&rig, counted(&rig));
    stop_and_wait(&rig);
    mv_region_put(page);
    rig_finish(&rig);
}

static void count_write(void *opaque, uint8_t value, unsigned vcpu)
{
    (void)value;
    (void)vcpu;
    atomic_fetch_add((atomic_uint *)opaque, 1);
}

/*
 * Pauses that fall on every moment of a vCPU's way from a handler back into the guest, where it spins for good:
 * one that is missed would wait for good.
 */
static void test_no_pause_is_missed(void **state)
{
    (void)state;
    need_kvm("test_no_pause_is_missed");
    static const uint8_t code[] = {0xe6, TEST_PORT, 0xeb, 0xfe}; /* out 0x10, al; jmp . */
    struct rig rig;
    atomic_uint writes = 0;
    rig_init(&rig, 1, code, sizeof code);
    rig.on_write = count_write;
    rig.opaque = &writes;
    mv_vm_pause(rig.vm);
    assert_int_equal(mv_vm_start(rig.vm, NULL), 0);
    unsigned rounds = getenv("MEMVIRT_TEST_LONG") ? 30000 : 300;
    for (unsigned i = 0; i < rounds; i++) {
        struct kvm_regs regs = {.rip = CODE_GPA, .rflags = 2};
        assert_int_equal(mv_vcpu_set_regs(mv_vm_vcpu(rig.vm, 0), &regs, NULL), 0);
        mv_vm_resume(rig.vm);
        while (atomic_load(&writes) == i) {}
        for (volatile unsigned wait = 0; wait < i % 500; wait++) {}
        mv_vm_pause(rig.vm);
        assert_int_equal(atomic_load(&writes), i + 1);
    }
    stop_and_wait(&rig);
    rig_finish(&rig);
}

/* A start-up IPI that arrives during a pause waits for its end, and the vCPU that it is for stays quiet. */
static void test_an_ipi_in_a_pause(void **state)
{
    (void)state;
    need_kvm("test_an_ipi_in_a_pause");
    struct rig rig;
    struct kvm_regs regs;
    rig_init(&rig, 2, spin, sizeof spin);
    assert_int_equal(mv_vm_start(rig.vm, NULL), 0);
    for (unsigned i = 0; i < 100; i++) {
        sleep_us(i % 10 * 20);
        mv_vm_pause(rig.vm);
        mv_vm_startup_ipi(rig.vm, 1, CODE_GPA >> 12);
        for (unsigned j = 0; j < 20; j++) {
            sleep_us(5);
            assert_int_equal(mv_vcpu_get_regs(mv_vm_vcpu(rig.vm, 1), &regs, NULL), 0);
        }
        mv_vm_resume(rig.vm);
        mv_vm_init_ipi(rig.vm, 1);
    }
    stop_and_wait(&rig);
    rig_finish(&rig);
}

static void pause_once(void *opaque, uint8_t value, unsigned vcpu)
{
    struct rig *rig = opaque;
    (void)value;
    (void)vcpu;
    struct kvm_regs regs;
    mv_vm_pause(rig->vm);
    /* The instruction is not complete, whoever asks. */
    assert_int_equal(mv_vcpu_get_regs(mv_vm_vcpu(rig->vm, 0), &regs, NULL), -EBUSY);
}

/* A device pauses the VM: its vCPU comes to rest behind the instruction that told the device to. */
static void test_pause_in_a_handler(void **state)
{
    (void)state;
    need_kvm("test_pause_in_a_handler");
    static const uint8_t code[] = {0xe6, TEST_PORT, 0xeb, 0xfc}; /* out 0x10, al; jmp back */
    struct rig rig;
    struct kvm_regs regs;
    rig_init(&rig, 1, code, sizeof code);
    rig.on_write = pause_once;
    rig.opaque = &rig;
    assert_int_equal(mv_vm_start(rig.vm, NULL), 0);
    for (unsigned i = 0; i < 100; i++) {
        while (mv_vm_state(rig.vm) != MV_VM_PAUSED) {
            sleep_us(20);
        }
        mv_vm_pause(rig.vm);
        assert_int_equal(mv_vcpu_get_regs(mv_vm_vcpu(rig.vm, 0), &regs, NULL), 0);
        assert_int_equal(regs.rip, CODE_GPA + 2);
        mv_vm_resume(rig.vm);
        mv_vm_resume(rig.vm);
    }
    stop_and_wait(&rig);
    rig_finish(&rig);
}

/* A halted vCPU stops the VM for good, but not while it is paused. */
static void test_pause_and_halt(void **state)
{
    (void)state;
    need_kvm("test_pause_and_halt");
    static const uint8_t code[] = {0xfa, 0xf4}; /* cli; hlt */
    struct rig rig;
    struct mv_stop stop;
    struct kvm_regs regs;
    rig_init(&rig, 2, code, sizeof code);
    mv_vm_pause(rig.vm);
    assert_int_equal(mv_vm_start(rig.vm, NULL), 0);
    mv_vm_startup_ipi(rig.vm, 1, CODE_GPA >> 12);
    sleep_us(2000);
    assert_int_equal(mv_vm_state(rig.vm), MV_VM_PAUSED);
    assert_int_equal(mv_vcpu_get_regs(mv_vm_vcpu(rig.vm, 1), &regs, NULL), 0); /* it has not taken the IPI */
    mv_vm_resume(rig.vm);
    mv_vm_wait(rig.vm, &stop);
    assert_int_equal(stop.reason, MV_STOP_HALTED);
    mv_vm_pause(rig.vm); /* to no effect */
    assert_int_equal(mv_vm_state(rig.vm), MV_VM_STOPPED);
    rig_finish(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_moves_while_paused),
        cmocka_unit_test(test_pauses_nest),
        cmocka_unit_test(test_start_paused),
        cmocka_unit_test(test_registers_are_final),
        cmocka_unit_test(test_registers_can_be_set),
        cmocka_unit_test(test_pauses_edits_and_ipis_at_once),
        cmocka_unit_test(test_no_pause_is_missed),
        cmocka_unit_test(test_an_ipi_in_a_pause),
        cmocka_unit_test(test_pause_in_a_handler),
        cmocka_unit_test(test_pause_and_halt),
    };
    return cmocka_run_group_tests_name("pause", tests, NULL, NULL);
}
