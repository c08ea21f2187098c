// SPDX-License-Identifier: MIT
/* Dirty rings that run full, options that cannot be, and what becomes of the marks when a VM ends. */
#include <memvirt/dirty.h>

#include "vm/vm_test.h"

#define PAGE 4096u
#define HIGH_GPA 0x100000u /* behind the rig's RAM */
#define HIGH_PAGES 3840u   /* to 16 MiB */
#define ENTRIES 1024u
#define FEW_PAGES 100u /* than what a ring has room for */

/*
 * 64-bit, one byte into each page of HIGH, again and again:
 *      mov edi, 100000h
 *   1: inc byte [edi];  add edi, 1000h;  cmp edi, 1000000h;  jb 1
 *      out TEST_PORT, al;  jmp to the beginning
 */
static const uint8_t sweep[] = {0xbf, 0x00, 0x00, 0x10, 0x00, 0xfe, 0x07, 0x81, 0xc7, 0x00,      0x10, 0x00, 0x00,
                                0x81, 0xff, 0x00, 0x00, 0x00, 0x01, 0x72, 0xf0, 0xe6, TEST_PORT, 0xeb, 0xe7};

struct sweeper {
    struct rig rig;
    struct mv_block *block;
    struct mv_region *high;
};

static void stop_at_write(void *opaque, uint8_t value, unsigned vcpu)
{
    (void)value;
    (void)vcpu;
    struct sweeper *s = opaque;
    mv_vm_stop(s->rig.vm, MV_STOP_EXIT, 0, "swept");
}

#define PML4_GPA 0x2000u
#define PDPT_GPA 0x3000u
#define PD_GPA 0x4000u
#define PRESENT_WRITABLE 3u
#define LARGE 0x80u

/* Long mode, the first 16 MiB mapped as they are. */
static void map_16m(struct rig *rig)
{
    uint64_t pml4 = PDPT_GPA | PRESENT_WRITABLE, pdpt = PD_GPA | PRESENT_WRITABLE, pd[8];
    for (uint64_t i = 0; i < 8; i++) {
        pd[i] = i << 21 | LARGE | PRESENT_WRITABLE;
    }
    assert_int_equal(mv_space_write(rig->memory, mv_gpa(PML4_GPA), &pml4, 8, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(mv_space_write(rig->memory, mv_gpa(PDPT_GPA), &pdpt, 8, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(mv_space_write(rig->memory, mv_gpa(PD_GPA), pd, sizeof pd, MV_ATTRS_NONE), MV_OK);
}

static void enter_64bit(struct mv_vcpu *vcpu)
{
    struct kvm_sregs sregs;
    struct mv_error err;
    must(mv_vcpu_get_sregs(vcpu, &sregs, &err), &err);
    const struct kvm_segment code = {
        .limit = UINT32_MAX, .selector = 8, .type = 11, .present = 1, .l = 1, .s = 1, .g = 1};
    struct kvm_segment data = code;
    data.selector = 16;
    data.type = 3;
    data.l = 0;
    data.db = 1;
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.cr0 = 0x80000011; /* PG, ET, PE */
    sregs.cr3 = PML4_GPA;
    sregs.cr4 = 0x20;   /* PAE */
    sregs.efer = 0x500; /* LME, LMA */
    must(mv_vcpu_set_sregs(vcpu, &sregs, &err), &err);
}

#define END_IN_CODE 15 /* where the address is at which it begins again */

/* It writes the first pages of HIGH. */
static void open_sweeper(struct sweeper *s, struct mv_vm_options options, uint32_t npages)
{
    struct mv_error err;
    uint32_t end = HIGH_GPA + npages * PAGE;
    rig_init_with(&s->rig, options, 1, sweep, sizeof sweep);
    must(mv_block_create(s->rig.machine,
                         &(struct mv_block_options){.name = "high", .size_bytes = HIGH_PAGES * PAGE}, &s->block,
                         &err),
         &err);
    s->high = make(&s->rig,
                   (struct mv_region_options){
                       .name = "high", .kind = MV_REGION_RAM, .size_bytes = HIGH_PAGES * PAGE, .block = s->block});
    must(mv_region_add(s->rig.root, HIGH_GPA, s->high, 0, &err), &err);
    assert_int_equal(mv_space_write(s->rig.memory, mv_gpa(CODE_GPA + END_IN_CODE), &end, 4, MV_ATTRS_NONE), MV_OK);
    map_16m(&s->rig);
    enter_64bit(mv_vm_vcpu(s->rig.vm, 0));
    s->rig.on_write = stop_at_write;
    s->rig.opaque = s;
}

static void close_sweeper(struct sweeper *s)
{
    rig_finish(&s->rig);
    mv_region_put(s->high);
    mv_block_put(s->block);
}

/* How many pages of `high` are marked; the marks are taken. */
static uint64_t taken(struct sweeper *s)
{
    struct mv_dirty_snapshot *snapshot;
    struct mv_error err;
    must(mv_dirty_snapshot_and_clear(s->high, 0, HIGH_PAGES * PAGE, MV_DIRTY_MIGRATION, &snapshot, &err), &err);
    uint64_t count = mv_dirty_snapshot_count(snapshot);
    mv_dirty_snapshot_free(snapshot);
    return count;
}

/* While we edit nobody can empty the ring: the vCPU meets its end, waits for us, and goes on. */
static void test_a_full_ring_stops_the_vcpu_for_a_while(void **state)
{
    (void)state;
    const char *name = "test_a_full_ring_stops_the_vcpu_for_a_while";
    const struct mv_vm_options options = {.dirty_ring_entries = ENTRIES};
    need_kvm(name);
    need_option(name, options);
    struct sweeper s;
    struct mv_stop stop;
    struct mv_error err;
    open_sweeper(&s, options, HIGH_PAGES);
    must(mv_dirty_log_start(s.rig.machine, MV_DIRTY_LOG_MIGRATION, &err), &err);
    must(mv_machine_begin(s.rig.machine, &err), &err);
    must(mv_vm_start(s.rig.vm, &err), &err);
    while (counter(s.rig.vm, MV_COUNTERS_EXITS, "dirty_ring_full") == 0) {
        sleep_us(1000);
    }
    must(mv_machine_commit(s.rig.machine, &err), &err);
    mv_vm_wait(s.rig.vm, &stop);
    assert_int_equal(stop.reason, MV_STOP_EXIT);
    assert_int_equal(taken(&s), HIGH_PAGES);
    assert_int_equal(taken(&s), 0);
    close_sweeper(&s);
}

struct watcher {
    const volatile unsigned char *bytes;
    unsigned char last[HIGH_PAGES];
    bool suspect[HIGH_PAGES]; /* changed, and not logged so far */
    unsigned changed, missed;
};

static void look(struct sweeper *s, struct watcher *w)
{
    struct mv_dirty_snapshot *snapshot;
    struct mv_error err;
    must(mv_dirty_snapshot_and_clear(s->high, 0, HIGH_PAGES * PAGE, MV_DIRTY_MIGRATION, &snapshot, &err), &err);
    for (uint64_t p = 0; p < HIGH_PAGES; p++) {
        bool logged = mv_dirty_snapshot_get(snapshot, p * PAGE, PAGE);
        unsigned char now = w->bytes[p * PAGE];
        w->missed += w->suspect[p] && !logged;
        w->suspect[p] = now != w->last[p] && !logged;
        w->changed += now != w->last[p];
        w->last[p] = now;
    }
    mv_dirty_snapshot_free(snapshot);
}

/* A guest that writes far more than a ring has room for; kvm-pvm overruns it. */
static void test_no_page_is_missed_when_rings_run_over(void **state)
{
    (void)state;
    const char *name = "test_no_page_is_missed_when_rings_run_over";
    const struct mv_vm_options options = {.dirty_ring_entries = ENTRIES};
    need_kvm(name);
    need_option(name, options);
    static struct watcher w;
    struct sweeper s;
    struct mv_block_info info;
    struct mv_stop stop;
    struct mv_error err;
    open_sweeper(&s, options, HIGH_PAGES);
    s.rig.on_write = NULL;
    mv_block_info(s.block, &info);
    w = (struct watcher){.bytes = hva_pointer(info.hva)};
    must(mv_dirty_log_start(s.rig.machine, MV_DIRTY_LOG_MIGRATION, &err), &err);
    must(mv_vm_start(s.rig.vm, &err), &err);
    for (unsigned i = 0; i < 60; i++) {
        sleep_us(3000);
        look(&s, &w);
    }
    mv_vm_stop(s.rig.vm, MV_STOP_REQUEST, 0, NULL);
    mv_vm_wait(s.rig.vm, &stop);
    assert_int_equal(stop.reason, MV_STOP_REQUEST);
    look(&s, &w);
    for (uint64_t p = 0; p < HIGH_PAGES; p++) {
        w.missed += w.suspect[p]; /* nobody writes any more */
    }
    printf("# %u changes, %u missed, %llu times a ring was full\n", w.changed, w.missed,
           (unsigned long long)counter(s.rig.vm, MV_COUNTERS_EXITS, "dirty_ring_full"));
    assert_true(w.changed > HIGH_PAGES);
    assert_int_equal(w.missed, 0);
    close_sweeper(&s);
}

/* With a bitmap that is full at first: all counts as written, then nothing that was not. */
static void test_a_full_bitmap_is_full_once(void **state)
{
    (void)state;
    const char *name = "test_a_full_bitmap_is_full_once";
    const struct mv_vm_options options = {.dirty_initially_set = true};
    need_kvm(name);
    need_option(name, options);
    struct sweeper s;
    struct mv_stop stop;
    struct mv_error err;
    open_sweeper(&s, options, HIGH_PAGES);
    must(mv_dirty_log_start(s.rig.machine, MV_DIRTY_LOG_MIGRATION, &err), &err);
    assert_int_equal(taken(&s), HIGH_PAGES);
    assert_int_equal(taken(&s), 0);
    must(mv_vm_run(s.rig.vm, &stop, &err), &err);
    assert_int_equal(stop.reason, MV_STOP_EXIT);
    assert_int_equal(taken(&s), HIGH_PAGES);
    assert_int_equal(taken(&s), 0);
    close_sweeper(&s);
}

/* Nobody syncs before the VM goes, and with it the kernel's log. */
static void the_marks_outlive_the_vm(const char *name, struct mv_vm_options options)
{
    need_kvm(name);
    need_option(name, options);
    struct sweeper s;
    struct mv_stop stop;
    struct mv_error err;
    open_sweeper(&s, options, FEW_PAGES);
    must(mv_dirty_log_start(s.rig.machine, MV_DIRTY_LOG_MIGRATION, &err), &err);
    must(mv_vm_run(s.rig.vm, &stop, &err), &err);
    mv_vm_destroy(s.rig.vm);
    s.rig.vm = NULL;
    assert_int_equal(taken(&s), FEW_PAGES);
    close_sweeper(&s);
}

static void test_marks_of_bitmaps_outlive_the_vm(void **state)
{
    (void)state;
    the_marks_outlive_the_vm("test_marks_of_bitmaps_outlive_the_vm", (struct mv_vm_options){0});
}

static void test_marks_of_rings_outlive_the_vm(void **state)
{
    (void)state;
    the_marks_outlive_the_vm("test_marks_of_rings_outlive_the_vm",
                             (struct mv_vm_options){.dirty_ring_entries = ENTRIES});
}

/* What is in a ring goes by a slot's number, which means another one, or none, when the slot has gone. */
static void test_a_ring_is_emptied_before_a_slot_goes(void **state)
{
    (void)state;
    const char *name = "test_a_ring_is_emptied_before_a_slot_goes";
    const struct mv_vm_options options = {.dirty_ring_entries = ENTRIES};
    need_kvm(name);
    need_option(name, options);
    struct sweeper s;
    struct mv_stop stop;
    struct mv_error err;
    open_sweeper(&s, options, FEW_PAGES);
    must(mv_dirty_log_start(s.rig.machine, MV_DIRTY_LOG_MIGRATION, &err), &err);
    must(mv_vm_run(s.rig.vm, &stop, &err), &err);
    must(mv_region_remove(s.high, &err), &err);
    assert_int_equal(taken(&s), FEW_PAGES);
    assert_int_equal(taken(&s), 0);
    close_sweeper(&s);
}

static void assert_refused(struct rig *rig, struct mv_vm_options options)
{
    struct mv_vm *vm = NULL;
    struct mv_error err;
    options.accel = "kvm";
    options.memory = rig->memory;
    options.io = rig->io;
    assert_int_equal(mv_vm_create(&options, &vm, &err), -EINVAL);
    assert_string_equal(err.reason, "bad-ring");
    assert_null(vm);
}

static void test_rings_that_cannot_be(void **state)
{
    (void)state;
    const char *name = "test_rings_that_cannot_be";
    need_kvm(name);
    need_option(name, (struct mv_vm_options){.dirty_ring_entries = ENTRIES});
    struct rig rig;
    rig_init(&rig, 1, spin, sizeof spin);
    assert_refused(&rig, (struct mv_vm_options){.dirty_ring_entries = 1000});
    assert_refused(&rig, (struct mv_vm_options){.dirty_ring_entries = 16});
    assert_refused(&rig, (struct mv_vm_options){.dirty_ring_entries = 1u << 31});
    assert_refused(&rig, (struct mv_vm_options){.dirty_ring_entries = ENTRIES, .dirty_initially_set = true});
    rig_finish(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_full_ring_stops_the_vcpu_for_a_while),
        cmocka_unit_test(test_no_page_is_missed_when_rings_run_over),
        cmocka_unit_test(test_a_full_bitmap_is_full_once),
        cmocka_unit_test(test_marks_of_bitmaps_outlive_the_vm),
        cmocka_unit_test(test_marks_of_rings_outlive_the_vm),
        cmocka_unit_test(test_a_ring_is_emptied_before_a_slot_goes),
        cmocka_unit_test(test_rings_that_cannot_be),
    };
    return cmocka_run_group_tests_name("dirtyring", tests, NULL, NULL);
}
