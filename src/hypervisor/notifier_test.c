// SPDX-License-Identifier: MIT
/* Host ranges that go away: which translations go, what a fault does meanwhile, who waits for whom. */
#include "hypervisor/tdp_test.h"

#include <sched.h>
#include <unistd.h>

#include "hypervisor/notifier_uffd.h"

static struct pt_exit violation(uint64_t gfn)
{
    return (struct pt_exit){.reason = PT_EXIT_EPT_VIOLATION, .code = 1, .gpa = mv_gpa(gfn << 12)};
}

static enum hv_answer fault_once(struct rig *rig, uint64_t gfn)
{
    struct pt_exit exit = violation(gfn);
    rendezvous_enter(&rig->vcpu->inside);
    take_requests(rig->vcpu);
    enum hv_answer answer = hv_handle_exit(rig->vcpu, &exit);
    rendezvous_leave(&rig->vcpu->inside);
    return answer;
}

/* A range under two slots: all translations to it, and no others. */
static void test_range(void **state)
{
    (void)state;
    struct rig rig = rig_open(rig_defaults(), 1 << 20);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 16, 0), 0);
    assert_int_equal(set_slot_of(&rig, 1, 0, 64, 8, 4), 0); /* host pages 4 to 11 again */
    for (uint64_t gfn = 0; gfn < 16; gfn++) {
        (void)touch(&rig, gfn, MV_ACCESS_WRITE);
        (void)touch(&rig, 64 + gfn % 8, MV_ACCESS_WRITE);
    }
    hv_notifier_begin(rig.vm, hva_range(&rig, 3, 3)); /* host pages 3, 4, 5 */
    for (uint64_t gfn = 0; gfn < 16; gfn++) {
        assert_int_equal(see(&rig, gfn).is_present, gfn < 3 || gfn > 5);
    }
    for (uint64_t gfn = 64; gfn < 72; gfn++) {
        assert_int_equal(see(&rig, gfn).is_present, gfn >= 66);
    }
    /* The notification is still going on: nothing comes back. */
    assert_int_equal(fault_once(&rig, 4), HV_RETRY);
    assert_int_equal(fault_once(&rig, 64), HV_RETRY);
    assert_false(see(&rig, 4).is_present || see(&rig, 64).is_present);
    /* Two at once are one that spans both; it ends with the last. */
    hv_notifier_begin(rig.vm, hva_range(&rig, 8, 1));
    hv_notifier_end(rig.vm, hva_range(&rig, 3, 3));
    assert_int_equal(fault_once(&rig, 4), HV_RETRY);
    assert_false(see(&rig, 4).is_present);
    hv_notifier_end(rig.vm, hva_range(&rig, 8, 1));
    assert_int_equal(rig.vm->notifier.sequence, 2);
    assert_int_equal(touch(&rig, 4, MV_ACCESS_READ).hva, page_hva(&rig, 4));
    check_tables(&rig);
    rig_close(&rig);
}

/* Memory that no slot shows costs neither a wait nor a flush. */
static void test_elsewhere(void **state)
{
    (void)state;
    struct rig rig = rig_open(rig_defaults(), 1 << 20);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 16, 0), 0);
    (void)touch(&rig, 3, MV_ACCESS_WRITE);
    uint64_t flushes = counters_of(&rig).remote_tlb_flush_requests;
    rendezvous_enter(&rig.vcpu->inside); /* a wait would not end */
    hv_notifier_begin(rig.vm, hva_range(&rig, 100, 10));
    hv_notifier_end(rig.vm, hva_range(&rig, 100, 10));
    rendezvous_leave(&rig.vcpu->inside);
    assert_int_equal(counters_of(&rig).remote_tlb_flush_requests, flushes);
    rig_close(&rig);
}

/* A large page of which a part goes: goes, and comes back small until the rest may be used too. */
static void test_part_of_a_large_page(void **state)
{
    (void)state;
    struct rig rig = rig_open(rig_defaults(), 4 << 20);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 1024, 0), 0);
    (void)touch(&rig, 0, MV_ACCESS_READ);
    (void)touch(&rig, 512, MV_ACCESS_READ);
    hv_notifier_begin(rig.vm, hva_range(&rig, 5, 1));
    assert_false(see(&rig, 6).is_present);
    assert_int_equal(see(&rig, 512).level, 2);
    (void)touch(&rig, 6, MV_ACCESS_READ);
    assert_int_equal(see(&rig, 6).level, 1);
    assert_false(see(&rig, 5).is_present);
    hv_notifier_end(rig.vm, hva_range(&rig, 5, 1));
    assert_int_equal(touch(&rig, 5, MV_ACCESS_READ).exits, 1);
    check_tables(&rig);
    rig_close(&rig);
}

struct begin {
    struct rig *rig;
    atomic_bool has_begun;
};

static void *run_begin(void *opaque)
{
    struct begin *b = opaque;
    hv_notifier_begin(b->rig->vm, hva_range(b->rig, 3, 1));
    atomic_store(&b->has_begun, true);
    return NULL;
}

/* A fault that began before waits for nobody, and what it maps does not outlive begin. */
static void test_fault_before_begin(void **state)
{
    (void)state;
    struct rig rig = rig_open(rig_defaults(), 1 << 20);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 16, 0), 0);
    (void)touch(&rig, 9, MV_ACCESS_READ);
    struct begin b = {.rig = &rig};
    pthread_t thread;
    rendezvous_enter(&rig.vcpu->inside);
    assert_int_equal(pthread_create(&thread, NULL, run_begin, &b), 0);
    while (rig.vm->notifier.active == 0) {
        sched_yield();
    }
    /* Inside since before: begin cannot be over, whatever is installed now. */
    pt_word_t *root = tdp_root(tdp_of(rig.vm), 0);
    struct seen s = see_by(rig.vm, root, 9);
    uint64_t leaf = s.entry - page_hva(&rig, 9) + page_hva(&rig, 3);
    struct seen to = see_by(rig.vm, root, 3);
    pt_word_t *word = (pt_word_t *)(void *)to.word;
    (void)pt_exchange(word, leaf);
    hv_count_own(&rig.vcpu->counters.pages_4k, 1);
    for (unsigned i = 0; i < 100; i++) {
        sched_yield();
    }
    assert_false(b.has_begun);
    rendezvous_leave(&rig.vcpu->inside);
    pthread_join(thread, NULL);
    assert_false(see(&rig, 3).is_present);
    check_tables(&rig);
    hv_notifier_end(rig.vm, hva_range(&rig, 3, 1));
    rig_close(&rig);
}

static void *run_editor(void *opaque)
{
    struct begin *b = opaque;
    assert_int_equal(set_slot_of(b->rig, 1, 0, 64, 16, 64), 0);
    atomic_store(&b->has_begun, true);
    return NULL;
}

/* Slots are not replaced between begin and end: KVM keeps both balanced in this way. */
static void test_slots_wait(void **state)
{
    (void)state;
    struct rig rig = rig_open(rig_defaults(), 1 << 20);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 16, 0), 0);
    struct begin b = {.rig = &rig};
    pthread_t thread;
    hv_notifier_begin(rig.vm, hva_range(&rig, 3, 1));
    assert_int_equal(pthread_create(&thread, NULL, run_editor, &b), 0);
    for (unsigned i = 0; i < 100; i++) {
        sched_yield();
    }
    assert_false(b.has_begun);
    hv_notifier_end(rig.vm, hva_range(&rig, 3, 1));
    pthread_join(thread, NULL);
    assert_true(b.has_begun);
    rig_close(&rig);
}

/* --- userfaultfd. */

static bool wait_for_events(const struct hv_uffd *u, uint64_t n)
{
    for (unsigned i = 0; i < 5000 && hv_uffd_events(u) < n; i++) {
        usleep(1000);
    }
    return hv_uffd_events(u) >= n;
}

/* Code of the process that knows nothing of the VM takes memory away. */
static void test_uffd(void **state)
{
    (void)state;
    struct rig rig = rig_open(rig_defaults(), 1 << 20);
    struct hv_uffd *u = NULL;
    int rc = hv_uffd_create(rig.vm, &u);
    if (rc == -EPERM || rc == -ENOSYS) {
        printf("# SKIP test_uffd: userfaultfd(2): %s\n", strerror(-rc));
        rig_close(&rig);
        skip();
    }
    assert_int_equal(rc, 0);
    assert_int_equal(hv_uffd_watch(u, hva_range(&rig, 0, 256)), 0);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 256, 0), 0);
    for (uint64_t gfn = 0; gfn < 256; gfn++) {
        *(volatile char *)(uintptr_t)touch(&rig, gfn, MV_ACCESS_WRITE).hva = 7;
    }
    assert_int_equal(madvise(rig.ram + (8 << 12), 4 << 12, MADV_DONTNEED), 0);
    assert_true(wait_for_events(u, 1));
    for (uint64_t gfn = 0; gfn < 256; gfn++) {
        assert_int_equal(see(&rig, gfn).is_present, gfn < 8 || gfn >= 12);
    }
    assert_int_equal(*(volatile char *)(uintptr_t)touch(&rig, 9, MV_ACCESS_READ).hva, 0);
    assert_int_equal(*(volatile char *)(uintptr_t)touch(&rig, 7, MV_ACCESS_READ).hva, 7);
    assert_int_equal(munmap(rig.ram + (100 << 12), 10 << 12), 0);
    assert_true(wait_for_events(u, 2));
    assert_true(see(&rig, 99).is_present && !see(&rig, 100).is_present);
    assert_true(!see(&rig, 109).is_present && see(&rig, 110).is_present);
    void *moved =
        mremap(rig.ram + (200 << 12), 8 << 12, 8 << 12, MREMAP_MAYMOVE | MREMAP_FIXED, rig.ram + (100 << 12));
    assert_true(moved == rig.ram + (100 << 12));
    assert_true(wait_for_events(u, 3));
    assert_true(see(&rig, 199).is_present && !see(&rig, 200).is_present && !see(&rig, 207).is_present);
    hv_uffd_unwatch(u, hva_range(&rig, 0, 64));
    assert_int_equal(madvise(rig.ram + (20 << 12), 4 << 12, MADV_DONTNEED), 0);
    hv_uffd_destroy(u);
    assert_true(see(&rig, 20).is_present);
    check_tables(&rig);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_elsewhere),
        cmocka_unit_test(test_part_of_a_large_page),
        cmocka_unit_test(test_fault_before_begin),
        cmocka_unit_test(test_slots_wait),
        cmocka_unit_test(test_uffd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
