// SPDX-License-Identifier: MIT
/*
 * vCPUs under shadow tables, each in a thread: one edits the tables that the others use, through a mapping of its
 * own, and shoots their TLBs down as a kernel does; meanwhile slots come and go, host memory is discarded, the
 * dirty log is read, and tables go because there are too many or the host asks for memory. What must hold:
 *   - when all have flushed, nobody reaches the page that was mapped before;
 *   - who copies a page after the log has named it has at the end what is in memory;
 *   - there are never more tables than there may be.
 * Meant for ThreadSanitizer as well.
 */
#include "tests/conform/soft_guest.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define USERS 3u
#define SLOTS_OF_TABLE 16u /* pages that the editor maps anew: gvas */
#define FRAMES 64u         /* among these */
#define LOGGED 96u         /* pages that each user writes, mapped once */
#define GVA UINT64_C(0x7f0000400000)
#define WINDOW UINT64_C(0x7f0040000000)
#define LOGGED_GVA(user, page) (UINT64_C(0x7f0080000000) + ((uint64_t)(user) << 30) + (page)*world.stride)
#define FEW UINT64_C(64)
#define LOGGED_DATA(user) (GUEST_DATA + UINT64_C(0x400000) + ((uint64_t)(user) << 20))
#define RIGHTS (PTE_P | PTE_W | PTE_U)

static struct {
    struct soft_guest guest;
    struct mv_vcpu *vcpus[USERS + 1];
    atomic_uint_fast64_t epoch, acked[USERS]; /* of shootdowns */
    atomic_uint_fast64_t flushed_gva;
    atomic_uint failures, at_rest;
    atomic_bool stop;
    uint64_t copies[USERS][LOGGED];
    unsigned rounds;
    uint64_t stride; /* of logged pages: 2 MiB gives each a lowest table of its own */
    bool has_few;    /* FEW tables */
    uint64_t shrunk; /* tables that went when they were asked for */
} world;

/* How this run differs from the others. */
struct load {
    const char *accel;
    uint64_t stride;
    bool has_few;
};

static void expect(bool holds, const char *what)
{
    if (!holds && atomic_fetch_add(&world.failures, 1) < 5) {
        printf("# %s\n", what);
    }
}

static uint64_t below(uint64_t *seed, uint64_t n)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (*seed >> 33) % n;
}

static uint64_t frame_gpa(uint64_t frame)
{
    return GUEST_DATA + frame * 4096;
}

/* Whether a frame is mapped nowhere: its first word. */
static uint64_t *gone(uint64_t frame)
{
    return (uint64_t *)(void *)(world.guest.host + frame_gpa(frame));
}

/* What the editor has asked for. */
static void acknowledge(unsigned user, uint64_t *seed)
{
    uint64_t epoch = atomic_load_explicit(&world.epoch, memory_order_acquire);
    if (epoch == atomic_load_explicit(&world.acked[user], memory_order_relaxed)) {
        return;
    }
    if (below(seed, 2)) {
        mv_soft_invlpg(world.vcpus[user], mv_gva(atomic_load(&world.flushed_gva)));
    } else {
        expect(mv_soft_load_cr3(world.vcpus[user], world.guest.root_table), "CR3");
    }
    atomic_store_explicit(&world.acked[user], epoch, memory_order_release);
}

static void use(unsigned user, uint64_t *seed)
{
    struct mv_vcpu *vcpu = world.vcpus[user];
    struct mv_soft_outcome outcome;
    uint64_t value = 0;
    if (below(seed, 3) == 0) {
        mv_gva_t at = mv_gva(LOGGED_GVA(user, below(seed, LOGGED)) + 8);
        expect(mv_soft_read(vcpu, at, &value, 8, MV_SOFT_EXPLICIT, &outcome) == MV_SOFT_DONE, "a read");
        value++;
        expect(mv_soft_write(vcpu, at, &value, 8, MV_SOFT_EXPLICIT, &outcome) == MV_SOFT_DONE, "a write");
        return;
    }
    mv_gva_t at = mv_gva(GVA + below(seed, SLOTS_OF_TABLE) * 4096);
    expect(mv_soft_read(vcpu, at, &value, 8, MV_SOFT_EXPLICIT, &outcome) == MV_SOFT_DONE,
           "a read of what is edited");
    expect(value == 0, "a page is reached that all have been told to forget");
}

static void *run_user(void *opaque)
{
    unsigned user = (unsigned)(uintptr_t)opaque;
    uint64_t seed = user + 1;
    while (!atomic_load_explicit(&world.stop, memory_order_relaxed)) {
        acknowledge(user, &seed);
        use(user, &seed);
    }
    atomic_fetch_add(&world.at_rest, 1);
    return NULL;
}

static void shoot_down(uint64_t gva, uint64_t *seed)
{
    atomic_store(&world.flushed_gva, gva);
    uint64_t epoch = atomic_fetch_add_explicit(&world.epoch, 1, memory_order_release) + 1;
    mv_soft_invlpg(world.vcpus[USERS], mv_gva(gva));
    for (unsigned user = 0; user < USERS; user++) {
        while (atomic_load_explicit(&world.acked[user], memory_order_acquire) != epoch &&
               !atomic_load(&world.stop)) {
            sched_yield();
        }
    }
    (void)seed;
}

/* Entry i of the lowest table leads to frames[i]; now and then the directory is written as well. */
static void edit(uint64_t *frames, uint64_t *seed)
{
    struct mv_soft_outcome outcome;
    uint64_t i = below(seed, SLOTS_OF_TABLE), frame = below(seed, FRAMES), old = frames[i];
    for (unsigned k = 0; k < SLOTS_OF_TABLE; k++) {
        if (frames[k] == frame) {
            return;
        }
    }
    __atomic_store_n(gone(frame), 0, __ATOMIC_RELAXED);
    uint64_t entry = frame_gpa(frame) | RIGHTS | (below(seed, 2) ? PTE_A | PTE_D : 0);
    mv_gva_t at = mv_gva(WINDOW + ((GVA >> 12) + i) % 512 * 8);
    expect(mv_soft_write(world.vcpus[USERS], at, &entry, 8, MV_SOFT_EXPLICIT, &outcome) == MV_SOFT_DONE,
           "an edit");
    if (below(seed, 8) == 0) { /* the same again: the entries below are made anew */
        uint64_t directory = soft_guest_entry(&world.guest, GVA, 2);
        at = mv_gva(WINDOW + 4096 + (GVA >> 21 & 511) * 8);
        expect(mv_soft_write(world.vcpus[USERS], at, &directory, 8, MV_SOFT_EXPLICIT, &outcome) == MV_SOFT_DONE,
               "an edit of the directory");
    }
    frames[i] = frame;
    shoot_down(GVA + i * 4096, seed);
    if (!atomic_load(&world.stop)) {
        __atomic_store_n(gone(old), 1, __ATOMIC_RELAXED);
    }
}

static void *run_editor(void *opaque)
{
    uint64_t frames[SLOTS_OF_TABLE], seed = 99;
    (void)opaque;
    for (unsigned i = 0; i < SLOTS_OF_TABLE; i++) {
        frames[i] = i;
    }
    for (unsigned round = 0; round < world.rounds; round++) {
        edit(frames, &seed);
    }
    atomic_store(&world.stop, true);
    return NULL;
}

/* What the log names is copied, as a migration does. */
static void copy_dirty(void)
{
    struct soft_guest *g = &world.guest;
    mv_dirty_sync_all(g->machine, false);
    for (unsigned user = 0; user < USERS; user++) {
        for (unsigned page = 0; page < LOGGED; page++) {
            uint64_t gpa = LOGGED_DATA(user) + page * 4096;
            if (mv_dirty_test_and_clear(g->ram, gpa, 4096, MV_DIRTY_MIGRATION)) {
                const uint64_t *word = (const uint64_t *)(const void *)(g->host + gpa + 8);
                world.copies[user][page] = __atomic_load_n(word, __ATOMIC_RELAXED);
            }
        }
    }
}

static void add_and_remove_a_slot(void)
{
    struct soft_guest *g = &world.guest;
    assert_int_equal(mv_region_remove(g->rom, NULL), 0);
    assert_int_equal(mv_region_add(g->root, GUEST_ROM, g->rom, 0, NULL), 0);
}

static uint64_t counter(const char *name)
{
    struct mv_counter counters[64];
    size_t count = mv_vm_counters(world.guest.vm, MV_COUNTERS_KERNEL, counters, 64);
    for (size_t i = 0; i < count && i < 64; i++) {
        if (strcmp(counters[i].name, name) == 0) {
            return counters[i].value;
        }
    }
    expect(false, name);
    return 0;
}

/* The host runs short; who asks is no vCPU's thread. */
static void shrink_and_look(unsigned round)
{
    uint64_t pages = 0;
    expect(!world.has_few || counter("tables") <= FEW, "more tables than there may be");
    if (world.has_few && round % 2 == 0) {
        expect(mv_soft_shrink_shadow(world.guest.vcpu, 1 + round % 40, &pages) == 0, "shrinking");
        world.shrunk += pages;
    }
}

static void map_all(void)
{
    struct soft_guest *g = &world.guest;
    for (unsigned i = 0; i < SLOTS_OF_TABLE; i++) {
        soft_guest_map(g, GVA + i * 4096, frame_gpa(i), RIGHTS | PTE_A, 1);
    }
    for (unsigned i = SLOTS_OF_TABLE; i < FRAMES; i++) {
        *gone(i) = 1;
    }
    soft_guest_map(g, WINDOW, soft_guest_entry_gpa(g, GVA, 1) & ~UINT64_C(0xfff), RIGHTS, 1);
    soft_guest_map(g, WINDOW + 4096, soft_guest_entry_gpa(g, GVA, 2) & ~UINT64_C(0xfff), RIGHTS, 1);
    for (unsigned user = 0; user < USERS; user++) {
        for (unsigned page = 0; page < LOGGED; page++) {
            soft_guest_map(g, LOGGED_GVA(user, page), LOGGED_DATA(user) + page * 4096, RIGHTS, 1);
        }
    }
}

static void play(const struct load *load)
{
    pthread_t threads[USERS + 1];
    memset(&world, 0, sizeof world);
    world.stride = load->stride;
    world.has_few = load->has_few;
    struct soft_guest *g = &world.guest;
    const char *is_long = getenv("MEMVIRT_TEST_LONG");
    world.rounds = is_long ? 20000 : 100;
    soft_guest_make(g, load->accel);
    map_all();
    world.vcpus[0] = g->vcpu;
    for (unsigned i = 1; i <= USERS; i++) {
        world.vcpus[i] = soft_guest_add_vcpu(g);
    }
    assert_int_equal(mv_dirty_log_start(g->machine, 1, NULL), 0);
    for (unsigned i = 0; i < USERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, run_user, (void *)(uintptr_t)i), 0);
    }
    assert_int_equal(pthread_create(&threads[USERS], NULL, run_editor, NULL), 0);
    for (unsigned round = 0; !atomic_load(&world.stop); round++) {
        copy_dirty();
        shrink_and_look(round);
        if (round % 2 == 0 && !(world.has_few && round % 8)) { /* which gives all tables up */
            add_and_remove_a_slot();
        }
        if (round % 3 == 0) { /* pages that nobody has mapped: the rest of the block stays in use */
            assert_int_equal(mv_block_discard(g->ram_block, GUEST_DATA + 0x300000, 0x10000, NULL), 0);
        }
    }
    for (unsigned i = 0; i <= USERS; i++) {
        pthread_join(threads[i], NULL);
    }
    copy_dirty();
    for (unsigned user = 0; user < USERS; user++) {
        for (unsigned page = 0; page < LOGGED; page++) {
            uint64_t word;
            memcpy(&word, g->host + LOGGED_DATA(user) + page * 4096 + 8, 8);
            expect(word == world.copies[user][page], "a write that the log does not know");
        }
    }
    uint64_t recycled = counter("mmu_recycled");
    print_message("# %llu tables went of which %llu when they were asked for\n", (unsigned long long)recycled,
                  (unsigned long long)world.shrunk);
    assert_true(load->has_few ? recycled > world.shrunk && world.shrunk > 0 : recycled == 0);
    assert_int_equal(mv_dirty_log_stop(g->machine, 1, NULL), 0);
    assert_int_equal(atomic_load(&world.failures), 0);
    soft_guest_end(g);
}

static void with_unsync(void **state)
{
    (void)state;
    play(&(struct load){.accel = "soft,mmu=shadow", .stride = 4096});
}

static void without_unsync(void **state)
{
    (void)state;
    play(&(struct load){.accel = "soft,mmu=shadow,unsync=off", .stride = 4096});
}

static void with_a_tlb(void **state)
{
    (void)state;
    play(&(struct load){.accel = "soft,mmu=shadow,tlb=L1=64x4:L2=1536x12", .stride = 4096});
}

/* Some 300 tables are in use, and 64 may be. */
static void with_few_tables(void **state)
{
    (void)state;
    play(&(struct load){.accel = "soft,mmu=shadow,shadow-pages=64", .stride = 2 << 20, .has_few = true});
}

static void with_few_tables_without_unsync(void **state)
{
    (void)state;
    play(
        &(struct load){.accel = "soft,mmu=shadow,unsync=off,shadow-pages=64,tlb=L1=64x4:L2=1536x12,walk-caches=on",
                       .stride = 2 << 20,
                       .has_few = true});
}

static void hybrid_with_a_policy_that_changes_its_mind(void **state)
{
    (void)state;
    play(&(struct load){.accel = "soft,mmu=hybrid,policy-interval=32", .stride = 4096});
}

static void hybrid_by_level(void **state)
{
    (void)state;
    play(&(struct load){.accel = "soft,mmu=hybrid,policy=nest-1,tlb=L1=64x4:L2=1536x12", .stride = 4096});
    play(&(struct load){.accel = "soft,mmu=hybrid,policy=nested", .stride = 4096});
    play(&(struct load){.accel = "soft,mmu=hybrid,policy-interval=32,policy-writes=1", .stride = 2 << 20});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_unsync),
        cmocka_unit_test(without_unsync),
        cmocka_unit_test(with_a_tlb),
        cmocka_unit_test(with_few_tables),
        cmocka_unit_test(with_few_tables_without_unsync),
        cmocka_unit_test(hybrid_with_a_policy_that_changes_its_mind),
        cmocka_unit_test(hybrid_by_level),
    };
    return cmocka_run_group_tests_name("shadow-threads", tests, NULL, NULL);
}
