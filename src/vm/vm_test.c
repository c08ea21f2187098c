// SPDX-License-Identifier: MIT
/*
 * VMs on the real /dev/kvm, with guests of a few bytes of real-mode code at 0x1000: stopping, editing memory under
 * running vCPUs, INIT and start-up, and the ways in which a guest ends.
 */
#include "vm/vm_test.h"

/* Stops that fall on every moment of a vCPU's life: before its thread runs, on its way in, inside. */
static void test_no_stop_is_missed(void **state)
{
    (void)state;
    need_kvm("test_no_stop_is_missed");
    unsigned rounds = getenv("MEMVIRT_TEST_LONG") ? 2000 : 150;
    for (unsigned i = 0; i < rounds; i++) {
        struct rig rig;
        struct mv_stop stop;
        rig_init(&rig, 1, spin, sizeof spin);
        assert_int_equal(mv_vm_start(rig.vm, NULL), 0);
        sleep_us(i % 50 * 20);
        mv_vm_stop(rig.vm, MV_STOP_REQUEST, 7, "test");
        mv_vm_stop(rig.vm, MV_STOP_EXIT, 8, "too late");
        mv_vm_wait(rig.vm, &stop);
        assert_int_equal(stop.reason, MV_STOP_REQUEST);
        assert_int_equal(stop.status, 7);
        assert_int_equal(stop.vcpu, -1);
        rig_finish(&rig);
    }
}

static void test_stop_before_start(void **state)
{
    (void)state;
    need_kvm("test_stop_before_start");
    struct rig rig;
    struct mv_stop stop;
    rig_init(&rig, 1, spin, sizeof spin);
    mv_vm_stop(rig.vm, MV_STOP_REQUEST, 0, "early");
    assert_int_equal(mv_vm_run(rig.vm, &stop, NULL), 0);
    assert_string_equal(stop.text, "early");
    struct kvm_regs regs;
    assert_int_equal(mv_vcpu_get_regs(mv_vm_vcpu(rig.vm, 0), &regs, NULL), 0);
    assert_int_equal(regs.rip, CODE_GPA);
    rig_finish(&rig);
}

static pthread_t test_thread;
static atomic_uint alarms, strays;

static void note_alarm(int signal)
{
    (void)signal;
    atomic_fetch_add(pthread_equal(pthread_self(), test_thread) ? &alarms : &strays, 1);
}

/* An alarm every few microseconds while the threads are made: all are for the thread that the application has. */
static void test_signals_of_the_application(void **state)
{
    (void)state;
    need_kvm("test_signals_of_the_application");
    const struct sigaction handle = {.sa_handler = note_alarm, .sa_flags = SA_RESTART};
    const struct itimerval often = {{.tv_usec = 30}, {.tv_usec = 30}}, never = {{0}, {0}};
    struct sigaction before;
    sigset_t alarm_set;
    struct rig first;
    /* Not ours is liburcu's thread, which exists from the first retired view on: it must not take alarms either.
     */
    sigemptyset(&alarm_set);
    sigaddset(&alarm_set, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm_set, NULL);
    rig_init(&first, 1, spin, sizeof spin);
    rig_finish(&first);
    pthread_sigmask(SIG_UNBLOCK, &alarm_set, NULL);
    test_thread = pthread_self();
    for (unsigned round = 0; round < 20; round++) {
        struct rig rig;
        struct mv_stop stop;
        rig_init(&rig, 8, spin, sizeof spin);
        alarm(0);
        assert_int_equal(sigaction(SIGALRM, &handle, &before), 0);
        setitimer(ITIMER_REAL, &often, NULL);
        int rc = mv_vm_start(rig.vm, NULL);
        sleep_us(500);
        setitimer(ITIMER_REAL, &never, NULL);
        sigaction(SIGALRM, &before, NULL);
        alarm(120);
        assert_int_equal(rc, 0);
        mv_vm_stop(rig.vm, MV_STOP_REQUEST, 0, NULL);
        mv_vm_wait(rig.vm, &stop);
        rig_finish(&rig);
    }
    printf("# %u alarms\n", alarms);
    assert_int_equal(strays, 0);
}

static void test_without_a_vcpu(void **state)
{
    (void)state;
    need_kvm("test_without_a_vcpu");
    struct rig rig;
    struct mv_error err;
    struct mv_stop stop;
    memset(&rig, 0, sizeof rig);
    must(mv_machine_create(&rig.machine, &err), &err);
    struct mv_region *root = make(&rig, (struct mv_region_options){.name = "r", .size_bytes = 4096});
    must(mv_space_create(rig.machine, "memory", root, &rig.memory, &err), &err);
    struct mv_vm_options options = {.accel = "kvm", .memory = rig.memory, .io = rig.memory};
    must(mv_vm_create(&options, &rig.vm, &err), &err);
    assert_int_equal(mv_vm_run(rig.vm, &stop, &err), -EINVAL);
    assert_string_equal(err.reason, "no-vcpu");
    mv_vm_destroy(rig.vm);
    mv_space_destroy(rig.memory);
    mv_region_put(root);
    mv_machine_destroy(rig.machine);
}

static void test_calls_while_running(void **state)
{
    (void)state;
    need_kvm("test_calls_while_running");
    struct rig rig;
    struct mv_error err;
    struct kvm_regs regs;
    struct mv_stop stop;
    rig_init(&rig, 1, spin, sizeof spin);
    assert_int_equal(mv_vm_start(rig.vm, &err), 0);
    assert_int_equal(mv_vm_start(rig.vm, &err), -EBUSY);
    assert_int_equal(mv_vm_add_vcpu(rig.vm, NULL, &err), -EBUSY);
    assert_int_equal(mv_vcpu_get_regs(mv_vm_vcpu(rig.vm, 0), &regs, &err), -EBUSY);
    assert_string_equal(err.reason, "running");
    mv_vm_stop(rig.vm, MV_STOP_REQUEST, 0, NULL);
    mv_vm_wait(rig.vm, &stop);
    assert_int_equal(mv_vcpu_get_regs(mv_vm_vcpu(rig.vm, 0), &regs, &err), 0);
    assert_int_equal(regs.rip, CODE_GPA);
    assert_int_equal(mv_vm_start(rig.vm, &err), -EBUSY);
    rig_finish(&rig);
}

static void *wait_for(void *vm)
{
    struct mv_stop stop;
    mv_vm_wait(vm, &stop);
    return stop.reason == MV_STOP_REQUEST ? vm : NULL;
}

/* Both waiters come back, and with the same answer. */
static void test_two_threads_wait(void **state)
{
    (void)state;
    need_kvm("test_two_threads_wait");
    struct rig rig;
    struct mv_stop stop;
    pthread_t other;
    void *answer;
    rig_init(&rig, 2, spin, sizeof spin);
    assert_int_equal(mv_vm_start(rig.vm, NULL), 0);
    assert_int_equal(pthread_create(&other, NULL, wait_for, rig.vm), 0);
    sleep_us(5000);
    mv_vm_stop(rig.vm, MV_STOP_REQUEST, 0, NULL);
    mv_vm_wait(rig.vm, &stop);
    assert_int_equal(pthread_join(other, &answer), 0);
    assert_ptr_equal(answer, rig.vm);
    rig_finish(&rig);
}

/* Stops the VM at the first write, and counts the bytes of all. */
struct stopper {
    struct rig *rig;
    unsigned bytes;
};

static enum mv_result stop_on_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                    struct mv_attrs attrs)
{
    (void)offset;
    (void)value;
    (void)attrs;
    struct stopper *stopper = opaque;
    stopper->bytes += size_bytes;
    mv_vm_stop(stopper->rig->vm, MV_STOP_EXIT, 0, "a write");
    return MV_OK;
}

/* The first half of a write over the end of a page stops the VM: the device gets the other half too. */
static void test_a_write_is_done_whole_before_the_stop(void **state)
{
    (void)state;
    need_kvm("test_a_write_is_done_whole_before_the_stop");
    static const uint8_t code[] = {0x66, 0xa3, 0xfe, 0x9f, 0xeb, 0xfe}; /* mov [0x9ffe], eax; jmp . */
    static const struct mv_mmio_ops ops = {.write = stop_on_write};
    struct rig rig;
    struct mv_stop stop;
    struct kvm_regs regs;
    rig_init(&rig, 1, code, sizeof code);
    struct stopper stopper = {.rig = &rig};
    struct mv_region *device = make(
        &rig, (struct mv_region_options){
                  .name = "d", .kind = MV_REGION_MMIO, .size_bytes = 0x2000, .ops = &ops, .opaque = &stopper});
    assert_int_equal(mv_region_add(rig.root, 0x9000, device, 1, NULL), 0);
    assert_int_equal(mv_vm_run(rig.vm, &stop, NULL), 0);
    assert_int_equal(stopper.bytes, 4);
    assert_int_equal(mv_vcpu_get_regs(mv_vm_vcpu(rig.vm, 0), &regs, NULL), 0);
    assert_int_equal(regs.rip, CODE_GPA + 4);
    mv_region_put(device);
    rig_finish(&rig);
}

/* However few are copied, as many are there; and what is copied is whole. */
static void test_counters_of_several_vcpus(void **state)
{
    (void)state;
    need_kvm("test_counters_of_several_vcpus");
    struct rig rig;
    struct mv_counter all[512], some[512];
    rig_init(&rig, 3, spin, sizeof spin);
    const size_t count = mv_vm_counters(rig.vm, MV_COUNTERS_KERNEL, NULL, 0);
    assert_in_range(count, 0, 512);
    assert_int_equal(mv_vm_counters(rig.vm, MV_COUNTERS_KERNEL, all, 512), count);
    for (size_t capacity = 1; capacity < count; capacity++) {
        assert_int_equal(mv_vm_counters(rig.vm, MV_COUNTERS_KERNEL, some, capacity), count);
        assert_string_equal(some[capacity - 1].name, all[capacity - 1].name);
    }
    rig_finish(&rig);
}

/*
 * With too few descriptors for all that a vCPU takes (itself and its statistics), it is refused: without its
 * statistics the sums would be wrong, and nobody would know.
 */
static void test_too_few_descriptors(void **state)
{
    (void)state;
    need_kvm("test_too_few_descriptors");
    struct rig rig;
    struct mv_error err;
    struct rlimit before, few;
    rig_init(&rig, 1, spin, sizeof spin);
    const size_t counters = mv_vm_counters(rig.vm, MV_COUNTERS_KERNEL, NULL, 0);
    const int next = dup(0); /* the lowest that is free: the vCPU's own */
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = (rlim_t)next + 1;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    int rc = mv_vm_add_vcpu(rig.vm, NULL, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    if (counters > 0) { /* else this kernel has none, and needs no descriptor for them */
        assert_int_equal(rc, -EMFILE);
        assert_int_equal(mv_vm_vcpu_count(rig.vm), 1);
    }
    rig_finish(&rig);
}

/* --- memory edited under running vCPUs --------------------------------------------------------- */

/* mov al, [0x8000]; out 0x10, al; jmp back */
static const uint8_t watch_page[] = {0xa0, 0x00, 0x80, 0xe6, TEST_PORT, 0xeb, 0xf9};

struct seen {
    atomic_uint values[256];
};

static void note_value(void *opaque, uint8_t value, unsigned vcpu)
{
    (void)vcpu;
    atomic_fetch_add(&((struct seen *)opaque)->values[value], 1);
}

/*
 * Two pages change places at 0x8000, over RAM that holds 0, each time in one transaction. The guest must read one
 * or the other: never the RAM below, never a page that is gone.
 */
static void test_an_exchange_is_never_seen_half_done(void **state)
{
    (void)state;
    need_kvm("test_an_exchange_is_never_seen_half_done");
    struct rig rig;
    struct seen seen = {0};
    struct mv_stop stop;
    rig_init(&rig, 1, watch_page, sizeof watch_page);
    rig.on_write = note_value;
    rig.opaque = &seen;
    struct mv_region *pages[2] = {make_page(&rig, "one", 1), make_page(&rig, "two", 2)};
    assert_int_equal(mv_region_add(rig.root, 0x8000, pages[0], 1, NULL), 0);
    assert_int_equal(mv_vm_start(rig.vm, NULL), 0);
    for (unsigned i = 0; i < 400; i++) {
        assert_int_equal(mv_machine_begin(rig.machine, NULL), 0);
        assert_int_equal(mv_region_remove(pages[i % 2], NULL), 0);
        assert_int_equal(mv_region_add(rig.root, 0x8000, pages[(i + 1) % 2], 1, NULL), 0);
        assert_int_equal(mv_machine_commit(rig.machine, NULL), 0);
        if (i % 3 == 0) {
            sleep_us(200);
        }
    }
    mv_vm_stop(rig.vm, MV_STOP_REQUEST, 0, NULL);
    mv_vm_wait(rig.vm, &stop);
    assert_int_equal(stop.reason, MV_STOP_REQUEST);
    printf("# the guest read 1 %u times, 2 %u times\n", seen.values[1], seen.values[2]);
    assert_true(seen.values[1] > 0 && seen.values[2] > 0);
    for (unsigned i = 0; i < 256; i++) {
        assert_true(i == 1 || i == 2 || seen.values[i] == 0);
    }
    /* One slot goes and one comes; the RAM around stays as it is. */
    assert_int_equal(counter(rig.vm, MV_COUNTERS_SLOTS, "set_user_memory_region"), 1 + 4 + 400 * 2);
    mv_region_put(pages[0]);
    mv_region_put(pages[1]);
    rig_finish(&rig);
}

struct editor {
    struct rig *rig;
    struct mv_region *pages[2]; /* one for each vCPU */
    atomic_uint edits[2];
};

static void edit_own_page(void *opaque, uint8_t value, unsigned vcpu)
{
    (void)value;
    struct editor *e = opaque;
    unsigned n = atomic_fetch_add(&e->edits[vcpu], 1);
    int rc = n % 2 == 0 ? mv_region_add(e->rig->root, 0x10000 + 0x2000 * vcpu, e->pages[vcpu], 1, NULL)
                        : mv_region_remove(e->pages[vcpu], NULL);
    if (rc < 0 || (atomic_load(&e->edits[0]) > 100 && atomic_load(&e->edits[1]) > 100)) {
        mv_vm_stop(e->rig->vm, MV_STOP_EXIT, rc, "enough");
    }
}

/* Two vCPUs whose handlers edit the tree at the same time: each closes the gate on the other. No deadlock. */
static void test_handlers_edit_from_two_vcpus(void **state)
{
    (void)state;
    need_kvm("test_handlers_edit_from_two_vcpus");
    static const uint8_t code[] = {0xe6, TEST_PORT, 0xeb, 0xfc}; /* out 0x10, al; jmp back */
    struct rig rig;
    struct mv_stop stop;
    rig_init(&rig, 2, code, sizeof code);
    struct editor editor = {.rig = &rig, .pages = {make_page(&rig, "p0", 1), make_page(&rig, "p1", 2)}};
    rig.on_write = edit_own_page;
    rig.opaque = &editor;
    mv_vm_startup_ipi(rig.vm, 1, CODE_GPA >> 12);
    assert_int_equal(mv_vm_run(rig.vm, &stop, NULL), 0);
    assert_int_equal(stop.reason, MV_STOP_EXIT);
    assert_int_equal(stop.status, 0);
    assert_true(stop.vcpu == 0 || stop.vcpu == 1);
    mv_region_put(editor.pages[0]);
    mv_region_put(editor.pages[1]);
    rig_finish(&rig);
}

struct outsider {
    struct mv_region *page;
    atomic_bool done;
    atomic_int rc;
};

static void *edit_until_done(void *opaque)
{
    struct outsider *o = opaque;
    for (bool shown = false; !atomic_load(&o->done); shown = !shown) {
        int rc = mv_region_set_enabled(o->page, shown, NULL);
        if (rc < 0) {
            atomic_store(&o->rc, rc);
        }
    }
    return NULL;
}

/* VMs come and go while another thread edits what they show. Under ThreadSanitizer this has more to say. */
static void test_a_life_among_edits(void **state)
{
    (void)state;
    need_kvm("test_a_life_among_edits");
    struct rig rig;
    pthread_t thread;
    struct outsider outsider = {.done = false};
    rig_init(&rig, 1, spin, sizeof spin);
    const struct mv_vm_options options = {.accel = "kvm", .memory = rig.memory, .io = rig.io};
    outsider.page = make_page(&rig, "page", 1);
    assert_int_equal(mv_region_add(rig.root, 0x8000, outsider.page, 1, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, edit_until_done, &outsider), 0);
    for (unsigned i = 0; i < 20; i++) {
        struct mv_vm *vm;
        assert_int_equal(mv_vm_create(&options, &vm, NULL), 0);
        for (unsigned vcpu = 0; vcpu < 4; vcpu++) {
            assert_int_equal(mv_vm_add_vcpu(vm, NULL, NULL), 0);
        }
        mv_vm_destroy(vm);
    }
    atomic_store(&outsider.done, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(outsider.rc, 0);
    mv_region_put(outsider.page);
    rig_finish(&rig);
}

/* --- INIT and start-up ------------------------------------------------------------------------- */

static void test_init_and_startup(void **state)
{
    (void)state;
    need_kvm("test_init_and_startup");
    /* vCPU 0 spins; vCPU 1: inc byte [0x5000]; jmp back */
    static const uint8_t count[] = {0xfe, 0x06, 0x00, 0x50, 0xeb, 0xfa};
    struct rig rig;
    struct mv_stop stop;
    struct mv_hold hold;
    rig_init(&rig, 2, spin, sizeof spin);
    assert_int_equal(mv_space_write(rig.memory, mv_gpa(0x2000), count, sizeof count, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(mv_space_hold(rig.memory, mv_gpa(0x5000), 1, &hold), MV_OK);
    const volatile uint8_t *counted = hold.bytes;
    assert_int_equal(mv_vm_start(rig.vm, NULL), 0);
    sleep_us(2000);
    assert_int_equal(*counted, 0);
    for (unsigned round = 0; round < 20; round++) {
        uint8_t before = *counted;
        mv_vm_startup_ipi(rig.vm, 1, 2);
        while (*counted == before) {
            sleep_us(50);
        }
        mv_vm_init_ipi(rig.vm, 1);
        mv_vm_init_ipi(rig.vm, 99); /* nobody */
        do {                        /* it comes to rest */
            before = *counted;
            sleep_us(3000);
        } while (*counted != before);
    }
    mv_vm_stop(rig.vm, MV_STOP_REQUEST, 0, NULL);
    mv_vm_wait(rig.vm, &stop);
    mv_hold_release(&hold);
    rig_finish(&rig);
}

/* --- ends -------------------------------------------------------------------------------------- */

static struct mv_stop run_code(const void *code, size_t size, unsigned vcpus)
{
    struct rig rig;
    struct mv_stop stop;
    rig_init(&rig, vcpus, code, size);
    assert_int_equal(mv_vm_run(rig.vm, &stop, NULL), 0);
    rig_finish(&rig);
    return stop;
}

static void test_halt(void **state)
{
    (void)state;
    need_kvm("test_halt");
    static const uint8_t off[] = {0xfa, 0xf4};      /* cli; hlt */
    static const uint8_t on[] = {0xfb, 0x90, 0xf4}; /* sti; nop; hlt */
    struct mv_stop stop = run_code(off, sizeof off, 2);
    assert_int_equal(stop.reason, MV_STOP_HALTED);
    assert_string_equal(stop.text, "vCPU 0: halted with interrupts off at rip 0x1002, and nothing can wake it");
    stop = run_code(on, sizeof on, 1);
    assert_int_equal(stop.reason, MV_STOP_HALTED);
    assert_non_null(strstr(stop.text, "interrupts on"));
}

static void test_instruction_nobody_can_emulate(void **state)
{
    (void)state;
    need_kvm("test_instruction_nobody_can_emulate");
    static const uint8_t far_out[] = {0xea, 0x10, 0x00, 0xff,
                                      0xff}; /* ljmp ffff:0010, which is 0x100000: nothing */
    struct mv_stop stop = run_code(far_out, sizeof far_out, 1);
    assert_int_equal(stop.reason, MV_STOP_INTERNAL_ERROR);
    assert_non_null(strstr(stop.text, "where nothing is"));
}

/* 64-bit code, and a base in CS that it ignores: so does the line that says where it was. */
static void test_where_64_bit_code_was(void **state)
{
    (void)state;
    need_kvm("test_where_64_bit_code_was");
    static const uint8_t ud2[] = {0x0f, 0x0b};
    static const uint64_t entries[] = {0x11023, 0x12023, 0xe3}; /* the last one maps 2 MiB */
    struct rig rig;
    struct kvm_sregs sregs;
    struct mv_stop stop;
    rig_init(&rig, 1, ud2, sizeof ud2);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(mv_space_write(rig.memory, mv_gpa(0x10000 + i * 0x1000), &entries[i], 8, MV_ATTRS_NONE),
                         MV_OK);
    }
    struct mv_vcpu *vcpu = mv_vm_vcpu(rig.vm, 0);
    assert_int_equal(mv_vcpu_get_sregs(vcpu, &sregs, NULL), 0);
    sregs.cr0 = 0x80000011; /* PG ET PE */
    sregs.cr3 = 0x10000;
    sregs.cr4 = 0x20;   /* PAE */
    sregs.efer = 0x500; /* LMA LME */
    sregs.cs.base = 0x100000;
    sregs.cs.l = sregs.cs.g = 1;
    sregs.cs.db = 0;
    sregs.idt.limit = 0;
    assert_int_equal(mv_vcpu_set_sregs(vcpu, &sregs, NULL), 0);
    assert_int_equal(mv_vm_run(rig.vm, &stop, NULL), 0);
    assert_int_equal(stop.reason, MV_STOP_SHUTDOWN);
    assert_non_null(strstr(stop.text, "at rip 0x1000, which is gpa 0x1000 in ram (ram)"));
    rig_finish(&rig);
}

struct resizing {
    struct mv_vm *vm;
    struct mv_block *block;
    unsigned count;
    uint8_t seen[4];
};

/* Two pages, one page, two pages. */
static void resize_at_each_byte(void *opaque, uint8_t value, unsigned vcpu)
{
    (void)vcpu;
    struct resizing *r = opaque;
    r->seen[r->count++] = value;
    if (r->count == 4) {
        mv_vm_stop(r->vm, MV_STOP_REQUEST, 0, "seen");
        return;
    }
    assert_int_equal(mv_block_resize(r->block, r->count % 2 ? 0x2000 : 0x1000, NULL), 0);
}

/* What a block gains the running guest sees at once, and what it loses no more. */
static void test_a_block_is_resized_under_the_guest(void **state)
{
    (void)state;
    need_kvm("test_a_block_is_resized_under_the_guest");
    /* mov al,[0x7000]; out TEST_PORT,al; jmp to the first */
    static const uint8_t code[] = {0xa0, 0x00, 0x70, 0xe6, TEST_PORT, 0xeb, 0xf9};
    struct rig rig;
    struct mv_stop stop;
    struct mv_error err;
    struct mv_block_info info;
    struct resizing resizing = {0};
    rig_init(&rig, 1, code, sizeof code);
    struct mv_block_options options = {.name = "grows", .size_bytes = 0x1000, .max_size_bytes = 0x4000};
    must(mv_block_create(rig.machine, &options, &resizing.block, &err), &err);
    mv_block_info(resizing.block, &info);
    memset(hva_pointer(info.hva), 9, 0x4000);
    struct mv_region *region =
        make(&rig, (struct mv_region_options){
                       .name = "grows", .kind = MV_REGION_RAM, .block = resizing.block, .follow_block = true});
    must(mv_region_add(rig.root, 0x6000, region, 1, &err), &err);
    rig.on_write = resize_at_each_byte;
    rig.opaque = &resizing;
    resizing.vm = rig.vm;
    must(mv_vm_run(rig.vm, &stop, &err), &err);
    assert_int_equal(stop.reason, MV_STOP_REQUEST);
    static const uint8_t expected[] = {0, 9, 0, 9};
    assert_memory_equal(resizing.seen, expected, 4);
    mv_region_put(region);
    mv_block_put(resizing.block);
    rig_finish(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signals_of_the_application), /* first: see there */
        cmocka_unit_test(test_no_stop_is_missed),
        cmocka_unit_test(test_stop_before_start),
        cmocka_unit_test(test_without_a_vcpu),
        cmocka_unit_test(test_calls_while_running),
        cmocka_unit_test(test_two_threads_wait),
        cmocka_unit_test(test_a_write_is_done_whole_before_the_stop),
        cmocka_unit_test(test_an_exchange_is_never_seen_half_done),
        cmocka_unit_test(test_counters_of_several_vcpus),
        cmocka_unit_test(test_handlers_edit_from_two_vcpus),
        cmocka_unit_test(test_too_few_descriptors),
        cmocka_unit_test(test_a_life_among_edits),
        cmocka_unit_test(test_init_and_startup),
        cmocka_unit_test(test_halt),
        cmocka_unit_test(test_instruction_nobody_can_emulate),
        cmocka_unit_test(test_where_64_bit_code_was),
        cmocka_unit_test(test_a_block_is_resized_under_the_guest),
    };
    return cmocka_run_group_tests_name("vm", tests, NULL, NULL);
}
