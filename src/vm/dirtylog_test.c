// SPDX-License-Identifier: MIT
/*
 * The log of a real guest's writes, and of ours, against an oracle that knows nothing of it: a hash of every page.
 * What has another hash than at the last look was logged then, or is logged at the next look, since the guest goes
 * on writing while we look; when it rests, everything must be there.
 */
#include <memvirt/dirty.h>

#include "vm/vm_test.h"

#define PAGE 4096u
#define PAGES (RAM_BYTES / PAGE)
#define FIRST_WRITTEN 0x10000
#define EPOCHS 60

/*
 * Real mode; ds = 1000h to 5000h in turn:
 *      mov si, 0
 *   1: mov ax, 1000h
 *   2: mov ds, ax;  add si, 0x3a57;  inc byte [si];  add ax, 1000h;  cmp ax, 6000h;  jne 2;  out TEST_PORT, al;
 * jmp 1
 */
static const uint8_t scribble[] = {0xbe, 0x00, 0x00, 0xb8, 0x00, 0x10,      0x8e, 0xd8, 0x81,
                                   0xc6, 0x57, 0x3a, 0xfe, 0x04, 0x05,      0x00, 0x10, 0x3d,
                                   0x00, 0x60, 0x75, 0xf0, 0xe6, TEST_PORT, 0xeb, 0xe9};

struct oracle {
    struct rig rig;
    const unsigned char *bytes;
    uint64_t hash[PAGES];
    bool suspect[PAGES]; /* changed, and not logged so far */
    unsigned changed, logged, missed;
};

static uint64_t hash_of(const unsigned char *page)
{
    uint64_t hash = 14695981039346656037u;
    for (unsigned i = 0; i < PAGE; i += 8) {
        hash = (hash ^ *(const volatile uint64_t *)(const volatile void *)(page + i)) * 1099511628211u;
    }
    return hash;
}

/* One look. `drop` is a page whose mark is taken away behind the oracle's back, or PAGES. */
static void look(struct oracle *o, uint64_t drop)
{
    struct mv_dirty_snapshot *snapshot = NULL;
    struct mv_error err;
    must(mv_dirty_snapshot_and_clear(o->rig.ram, 0, RAM_BYTES, MV_DIRTY_MIGRATION, &snapshot, &err), &err);
    for (uint64_t p = 0; p < PAGES; p++) {
        bool logged = p != drop && mv_dirty_snapshot_get(snapshot, p * PAGE, PAGE);
        uint64_t hash = hash_of(o->bytes + p * PAGE);
        o->logged += logged;
        if (o->suspect[p] && !logged) {
            o->missed++;
        }
        o->suspect[p] = hash != o->hash[p] && !logged;
        o->changed += hash != o->hash[p];
        o->hash[p] = hash;
    }
    mv_dirty_snapshot_free(snapshot);
}

static void open_oracle(struct oracle *o, struct mv_vm_options options)
{
    struct mv_hold hold;
    struct mv_error err;
    memset(o, 0, sizeof *o);
    rig_init_with(&o->rig, options, 2, scribble, sizeof scribble);
    assert_int_equal(mv_space_hold(o->rig.memory, mv_gpa(0), RAM_BYTES, &hold), MV_OK);
    o->bytes = hold.bytes;
    mv_hold_release(&hold); /* the block outlives it */
    must(mv_dirty_log_start(o->rig.machine, MV_DIRTY_LOG_MIGRATION, &err), &err);
    for (uint64_t p = 0; p < PAGES; p++) {
        o->hash[p] = hash_of(o->bytes + p * PAGE);
    }
}

static unsigned suspects(const struct oracle *o)
{
    unsigned count = 0;
    for (uint64_t p = 0; p < PAGES; p++) {
        count += o->suspect[p];
    }
    return count;
}

static void no_page_is_missed(const char *test, struct mv_vm_options options)
{
    need_kvm(test);
    need_option(test, options);
    static struct oracle o;
    struct mv_stop stop;
    open_oracle(&o, options);
    mv_vm_startup_ipi(o.rig.vm, 1, CODE_GPA >> 12); /* both do the same */
    assert_int_equal(mv_vm_start(o.rig.vm, NULL), 0);
    for (unsigned epoch = 0; epoch < EPOCHS; epoch++) {
        uint32_t value = epoch + 1;
        assert_int_equal(
            mv_space_write(o.rig.memory, mv_gpa(0x80000 + epoch % 8 * PAGE), &value, 4, MV_ATTRS_NONE), MV_OK);
        if (epoch % 20 == 19) { /* the slot goes, and another comes */
            assert_int_equal(mv_region_set_address(o.rig.ram, 0, NULL), 0);
            assert_int_equal(mv_region_set_size(o.rig.ram, epoch % 40 == 19 ? RAM_BYTES - PAGE : RAM_BYTES, NULL),
                             0);
            assert_int_equal(mv_region_set_size(o.rig.ram, RAM_BYTES, NULL), 0);
        }
        sleep_us(500);
        look(&o, PAGES);
    }
    mv_vm_stop(o.rig.vm, MV_STOP_REQUEST, 0, NULL);
    mv_vm_wait(o.rig.vm, &stop);
    look(&o, PAGES);
    o.missed += suspects(&o); /* nobody writes any more */
    printf("# %u changes, %u pages logged, %u missed\n", o.changed, o.logged, o.missed);
    assert_true(o.changed > EPOCHS);
    assert_int_equal(o.missed, 0);
    /* The log is clean, and nothing is logged but what is written. */
    unsigned logged = o.logged;
    look(&o, PAGES);
    assert_int_equal(o.logged, logged);
    rig_finish(&o.rig);
}

static void test_no_page_is_missed(void **state)
{
    (void)state;
    no_page_is_missed("test_no_page_is_missed", (struct mv_vm_options){0});
}

static void test_no_page_is_missed_from_a_full_bitmap(void **state)
{
    (void)state;
    no_page_is_missed("test_no_page_is_missed_from_a_full_bitmap",
                      (struct mv_vm_options){.dirty_initially_set = true});
}

static void test_no_page_is_missed_in_a_ring(void **state)
{
    (void)state;
    no_page_is_missed("test_no_page_is_missed_in_a_ring", (struct mv_vm_options){.dirty_ring_entries = 1024});
}

/* The oracle can tell: a mark that is dropped on purpose is found. */
static void the_oracle_finds_a_dropped_mark(const char *test, struct mv_vm_options options)
{
    need_kvm(test);
    need_option(test, options);
    static struct oracle o;
    struct mv_stop stop;
    open_oracle(&o, options);
    assert_int_equal(mv_vm_start(o.rig.vm, NULL), 0);
    sleep_us(20000);
    mv_vm_stop(o.rig.vm, MV_STOP_REQUEST, 0, NULL);
    mv_vm_wait(o.rig.vm, &stop);
    look(&o, FIRST_WRITTEN / PAGE + 1);
    assert_true(o.changed > 10);
    assert_int_equal(suspects(&o), 1);
    assert_true(o.suspect[FIRST_WRITTEN / PAGE + 1]);
    look(&o, PAGES);
    assert_int_equal(o.missed, 1);
    rig_finish(&o.rig);
}

static void test_the_oracle_finds_a_dropped_mark(void **state)
{
    (void)state;
    the_oracle_finds_a_dropped_mark("test_the_oracle_finds_a_dropped_mark", (struct mv_vm_options){0});
}

static void test_the_oracle_finds_a_dropped_mark_of_a_ring(void **state)
{
    (void)state;
    the_oracle_finds_a_dropped_mark("test_the_oracle_finds_a_dropped_mark_of_a_ring",
                                    (struct mv_vm_options){.dirty_ring_entries = 1024});
}

/* One call for each slot that begins to be logged, and one when it ends. */
static void test_a_log_is_one_call(void **state)
{
    (void)state;
    need_kvm("test_a_log_is_one_call");
    struct rig rig;
    struct mv_slot slot;
    rig_init(&rig, 1, scribble, sizeof scribble);
    uint64_t calls = counter(rig.vm, MV_COUNTERS_SLOTS, "set_user_memory_region");
    assert_int_equal(mv_region_set_log(rig.ram, MV_DIRTY_DISPLAY, true, NULL), 0);
    assert_int_equal(mv_dirty_log_start(rig.machine, 1, NULL), 0);
    assert_int_equal(mv_vm_slots(rig.vm, &slot, 1), 1);
    assert_int_equal(slot.flags, KVM_MEM_LOG_DIRTY_PAGES);
    assert_int_equal(counter(rig.vm, MV_COUNTERS_SLOTS, "set_user_memory_region"), calls + 1);
    assert_int_equal(mv_region_set_log(rig.ram, MV_DIRTY_DISPLAY, false, NULL), 0);
    mv_vm_pause(rig.vm);
    assert_int_equal(mv_dirty_log_stop(rig.machine, 1, NULL), 0); /* put off */
    assert_int_equal(counter(rig.vm, MV_COUNTERS_SLOTS, "set_user_memory_region"), calls + 1);
    mv_vm_resume(rig.vm);
    assert_int_equal(counter(rig.vm, MV_COUNTERS_SLOTS, "set_user_memory_region"), calls + 2);
    assert_int_equal(mv_vm_slots(rig.vm, &slot, 1), 1);
    assert_int_equal(slot.flags, 0);
    rig_finish(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_page_is_missed),
        cmocka_unit_test(test_no_page_is_missed_from_a_full_bitmap),
        cmocka_unit_test(test_no_page_is_missed_in_a_ring),
        cmocka_unit_test(test_the_oracle_finds_a_dropped_mark),
        cmocka_unit_test(test_the_oracle_finds_a_dropped_mark_of_a_ring),
        cmocka_unit_test(test_a_log_is_one_call),
    };
    return cmocka_run_group_tests_name("dirtylog", tests, NULL, NULL);
}
