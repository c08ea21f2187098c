// SPDX-License-Identifier: MIT
/*
 * Host memory that goes away under running vCPUs: exactly the translations to it go, in every scheme, be it
 * through the library (mv_block_discard()) or by code of the process that knows nothing of the VM (watch-host).
 */
#include "tests/conform/soft_guest.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <cmocka.h>

#define GVA UINT64_C(0x7f0000400000)
#define PAGE UINT64_C(4096)
#define PAGES 64u /* those in the lower half come and go; the upper half is what the vCPUs use meanwhile */

static const char *const schemes[] = {
    "soft,mmu=native",
    "soft,mmu=ept,host-page=4K",
    "soft,mmu=ept,host-page=4K,access-dirty=off",
    "soft,mmu=npt,host-page=4K,tlb=L1=64x4:L2=1536x12,walk-caches=on,nested-tlb=on",
    "soft,mmu=shadow,host-page=4K",
    "soft,mmu=hybrid,policy=nest-1,host-page=4K",
    "soft,mmu=hybrid,policy=nested,host-page=4K",
};
#define SCHEMES (sizeof schemes / sizeof schemes[0])

struct runner {
    struct mv_vcpu *vcpu;
    pthread_t thread;
    atomic_bool *is_over;
    atomic_uint_fast64_t rounds;
    bool is_wrong;
};

static bool write_page(struct mv_vcpu *vcpu, unsigned page, uint64_t value)
{
    struct mv_soft_outcome outcome;
    return mv_soft_write(vcpu, mv_gva(GVA + page * PAGE), &value, 8, MV_SOFT_EXPLICIT, &outcome) == MV_SOFT_DONE;
}

static uint64_t read_page(struct mv_vcpu *vcpu, unsigned page)
{
    struct mv_soft_outcome outcome;
    uint64_t value = UINT64_MAX;
    (void)mv_soft_read(vcpu, mv_gva(GVA + page * PAGE), &value, 8, MV_SOFT_EXPLICIT, &outcome);
    return value;
}

static void *run(void *opaque)
{
    struct runner *r = opaque;
    const struct timespec moment = {.tv_nsec = 50000};
    while (!atomic_load(r->is_over)) {
        for (unsigned page = PAGES / 2; page < PAGES; page++) {
            r->is_wrong |= read_page(r->vcpu, page) != page + 1 || !write_page(r->vcpu, page, page + 1);
        }
        atomic_fetch_add(&r->rounds, 1);
        nanosleep(&moment, NULL); /* fewer processors than threads: let others wait less */
    }
    return NULL;
}

static uint64_t counter(struct mv_vm *vm, const char *name)
{
    struct mv_counter counters[64];
    size_t count = mv_vm_counters(vm, MV_COUNTERS_KERNEL, counters, 64);
    for (size_t i = 0; i < count && i < 64; i++) {
        if (strcmp(counters[i].name, name) == 0) {
            return counters[i].value;
        }
    }
    fail_msg("there is no counter %s", name);
    return 0;
}

/* The event is read before the call of the process goes on, and carried out soon after. */
static void wait_for_events(struct mv_vm *vm, uint64_t n)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    while (counter(vm, "host_events") < n) {
        nanosleep(&moment, NULL);
    }
}

static void fill(struct soft_guest *g)
{
    for (unsigned page = 0; page < PAGES; page++) {
        assert_true(write_page(g->vcpu, page, page + 1));
    }
}

/* Pages [first, first + count) are gone, and no others. */
static void check_gone(struct soft_guest *g, uint64_t mapped_before, unsigned first, unsigned count)
{
    if (!strstr(g->accel, "native")) {
        assert_int_equal(mapped_before - counter(g->vm, "pages_4k"), count);
    }
    for (unsigned page = 0; page < PAGES; page++) {
        bool is_gone = page >= first && page < first + count;
        assert_int_equal(read_page(g->vcpu, page), is_gone ? 0 : page + 1);
    }
}

static void take_by_library(struct soft_guest *g)
{
    for (unsigned i = 0; i < 20; i++) {
        fill(g);
        uint64_t before = counter(g->vm, "pages_4k");
        assert_int_equal(mv_block_discard(g->ram_block, GUEST_DATA + (i + 2) * PAGE, 5 * PAGE, NULL), 0);
        check_gone(g, before, i + 2, 5);
    }
}

/* By who knows the host's address, and nothing else. */
static void take_by_others(struct soft_guest *g)
{
    uint64_t events = counter(g->vm, "host_events");
    uint8_t *host = g->host + GUEST_DATA;
    for (unsigned i = 0; i < 20; i++) {
        fill(g);
        uint64_t before = counter(g->vm, "pages_4k");
        assert_int_equal(madvise(host + (i + 2) * PAGE, 5 * PAGE, MADV_DONTNEED), 0);
        wait_for_events(g->vm, ++events);
        check_gone(g, before, i + 2, 5);
    }
    fill(g);
    uint64_t before = counter(g->vm, "pages_4k");
    assert_int_equal(munmap(host + 8 * PAGE, 3 * PAGE), 0);
    wait_for_events(g->vm, ++events);
    void *again = mmap(host + 8 * PAGE, 3 * PAGE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    assert_ptr_equal(again, host + 8 * PAGE);
    check_gone(g, before, 8, 3);
    fill(g);
    before = counter(g->vm, "pages_4k");
    void *away = mremap(host + 20 * PAGE, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    assert_true(away != MAP_FAILED);
    wait_for_events(g->vm, ++events);
    check_gone(g, before, 20, 2);
    munmap(away, 2 * PAGE);
}

static void add_runners(struct soft_guest *g, struct runner *runners, atomic_bool *is_over)
{
    atomic_store(is_over, false);
    for (unsigned i = 0; i < 2; i++) {
        runners[i] = (struct runner){.vcpu = soft_guest_add_vcpu(g), .is_over = is_over};
        assert_int_equal(pthread_create(&runners[i].thread, NULL, run, &runners[i]), 0);
    }
}

static void end_runners(struct runner *runners, atomic_bool *is_over)
{
    for (unsigned i = 0; i < 2; i++) {
        while (atomic_load(&runners[i].rounds) < 4) {
            const struct timespec moment = {.tv_nsec = 50000};
            nanosleep(&moment, NULL);
        }
    }
    atomic_store(is_over, true);
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(runners[i].thread, NULL);
    }
    assert_false(runners[0].is_wrong || runners[1].is_wrong);
}

/* Two vCPUs use the pages that stay meanwhile. */
static void in_every_scheme(const char *watch, void (*take)(struct soft_guest *g))
{
    for (size_t i = 0; i < SCHEMES; i++) {
        struct soft_guest g;
        struct runner runners[2];
        atomic_bool is_over;
        char accel[160];
        snprintf(accel, sizeof accel, "%s,watch-host=%s", schemes[i], watch);
        soft_guest_make(&g, accel);
        for (unsigned page = 0; page < PAGES; page++) {
            soft_guest_map(&g, GVA + page * PAGE, GUEST_DATA + page * PAGE, PTE_P | PTE_W, 1);
        }
        fill(&g);
        add_runners(&g, runners, &is_over);
        take(&g);
        end_runners(runners, &is_over);
        soft_guest_end(&g);
    }
}

static void just_what_is_discarded_goes(void **state)
{
    (void)state;
    in_every_scheme("off", take_by_library);
}

/* Why the host does not let memory be watched, or NULL. */
static const char *why_not(struct mv_error *err)
{
    struct soft_guest g;
    struct mv_vm *vm;
    soft_guest_make(&g, "soft");
    struct mv_vm_options options = {.accel = "soft,watch-host=on", .memory = g.memory, .io = g.io};
    int rc = mv_vm_create(&options, &vm, err);
    if (rc == 0) {
        mv_vm_destroy(vm);
    }
    soft_guest_end(&g);
    return rc == 0 || rc == -EBUSY ? NULL : err->text;
}

static void just_what_others_take_goes(void **state)
{
    (void)state;
    struct mv_error err = {0};
    const char *why = why_not(&err);
    if (why) {
        print_message("# SKIP just_what_others_take_goes: %s\n", why);
        skip();
    }
    in_every_scheme("on", take_by_others);
}

static void nobody_else_may_watch_it(void **state)
{
    (void)state;
    struct soft_guest g;
    struct mv_error err = {0};
    struct mv_vm *vm;
    const char *why = why_not(&err);
    if (why) {
        print_message("# SKIP nobody_else_may_watch_it: %s\n", why);
        skip();
    }
    soft_guest_make(&g, "soft,watch-host=on");
    assert_int_equal(counter(g.vm, "host_blocks_unwatched"), 0);
    struct mv_vm_options options = {.accel = "soft,watch-host=on", .memory = g.memory, .io = g.io};
    assert_int_equal(mv_vm_create(&options, &vm, &err), -EBUSY);
    assert_non_null(strstr(err.text, "block "));
    soft_guest_end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(just_what_is_discarded_goes),
        cmocka_unit_test(just_what_others_take_goes),
        cmocka_unit_test(nobody_else_may_watch_it),
    };
    return cmocka_run_group_tests_name("soft_watch", tests, NULL, NULL);
}
