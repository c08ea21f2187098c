// SPDX-License-Identifier: MIT
/*
 * Everybody at once, in every scheme: four vCPU threads that access pages, an editor of the tree, a harvester of
 * the dirty log and a discarder. Each vCPU judges what it reads (soft_world.h). Under ThreadSanitizer it is the
 * proof that they meet at nothing but what they share on purpose. MEMVIRT_SEED=N gives the same choices again;
 * MEMVIRT_TEST_LONG=1 makes more of them.
 */
#include "tests/conform/soft_world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define PAGE UINT64_C(4096)

static const struct {
    const char *accel;
    uint32_t ring_entries;
} schemes[] = {
    {"soft,mmu=native", 0},
    {"soft,mmu=native", 1024},
    {"soft,mmu=native,tlb=L1=64x4:L2=1536x12,walk-caches=on", 0},
    {"soft,mmu=ept,log-by=write-protection,eager-split=on", 0},
    {"soft,mmu=ept,log-by=write-protection,eager-split=on", 1024},
    {"soft,mmu=ept,log-by=write-protection,eager-split=off", 0},
    {"soft,mmu=ept,log-by=dirty-bit,eager-split=on", 0},
    {"soft,mmu=ept,log-by=dirty-bit,eager-split=off", 0},
    {"soft,mmu=ept,log-by=pml,eager-split=on", 0},
    {"soft,mmu=ept,log-by=pml,eager-split=off", 2048},
    {"soft,mmu=ept,access-dirty=off,eager-split=on", 0},
    {"soft,mmu=ept,access-dirty=off,eager-split=off", 0},
    {"soft,mmu=ept,nx-huge-pages=on,eager-split=on", 0},
    {"soft,mmu=ept,levels=5,host-page=4K,tlb=L1=64x4:L2=1536x12,walk-caches=on,nested-tlb=on", 0},
    {"soft,mmu=npt,log-by=write-protection,eager-split=on", 0},
    {"soft,mmu=npt,log-by=write-protection,eager-split=off", 1024},
    {"soft,mmu=npt,log-by=dirty-bit,eager-split=on", 0},
    {"soft,mmu=npt,log-by=dirty-bit,eager-split=off,nx-huge-pages=on", 0},
    {"soft,mmu=npt,tlb=L1=64x4:L2=1536x12,walk-caches=on,nested-tlb=on,populate=off", 0},
    {"soft,mmu=shadow", 0},
    {"soft,mmu=shadow", 1024},
    {"soft,mmu=shadow,unsync=off,host-page=4K,shadow-pages=64,tlb=L1=64x4:L2=1536x12", 0},
    {"soft,mmu=hybrid,policy-interval=64", 0},
    {"soft,mmu=hybrid,policy=nested,nested-tlb=on,tlb=L1=64x4:L2=1536x12", 1024},
    {"soft,mmu=hybrid,policy=nest-2,host-page=4K,shadow-pages=64", 0},
};
#define SCHEMES (sizeof schemes / sizeof schemes[0])

#define STEPS 4000u
#define EDITS 16u
#define HARVESTS 12u
#define DISCARDS 16u

struct other {
    struct world *world;
    pthread_t thread;
    uint64_t random, rounds, failures;
};

static void *run_editor(void *opaque)
{
    struct other *o = opaque;
    for (uint64_t i = 0; i < world_amount(EDITS); i++) {
        world_wait(o->world, 500);
        o->failures += !world_edit(o->world);
        o->rounds += mv_vm_counters(o->world->guest.vm, MV_COUNTERS_KERNEL, NULL, 0); /* any thread may look */
    }
    world_done(o->world);
    return NULL;
}

static void harvest(struct other *o, struct mv_region *region, uint64_t size, enum mv_dirty_client client)
{
    struct mv_dirty_snapshot *snapshot;
    if (world_random(&o->random) % 2) {
        o->failures += mv_dirty_snapshot_and_clear(region, 0, size, client, &snapshot, NULL) < 0;
    } else {
        o->failures += mv_dirty_snapshot_take(region, 0, size, client, UINT64_C(1) << 23, &snapshot, NULL) < 0;
        struct mv_range range;
        for (uint64_t at = 0; at < size && mv_dirty_snapshot_next(snapshot, at, &range); at = range.last + 1) {
            mv_dirty_snapshot_clear(snapshot, range.first, range.last - range.first + 1);
        }
    }
    o->rounds += mv_dirty_snapshot_count(snapshot);
    mv_dirty_snapshot_free(snapshot);
}

static void *run_harvester(void *opaque)
{
    struct other *o = opaque;
    struct world *w = o->world;
    struct mv_machine *machine = w->guest.machine;
    for (uint64_t i = 0; i < world_amount(HARVESTS); i++) {
        world_wait(w, 1500);
        if (i % 6 == 0) {
            o->failures += mv_dirty_log_start(machine, MV_DIRTY_LOG_MIGRATION, NULL) < 0;
        }
        if (i % 4 == 0) {
            o->failures += mv_region_set_log(w->bank, MV_DIRTY_DISPLAY, i % 8 == 0, NULL) < 0;
        }
        world_wait(w, 500);
        harvest(o, w->guest.ram, GUEST_RAM_BYTES, MV_DIRTY_MIGRATION);
        harvest(o, w->bank, WORLD_BANK_PAGES * PAGE, MV_DIRTY_MIGRATION);
        harvest(o, w->bank, WORLD_BANK_PAGES * PAGE, MV_DIRTY_DISPLAY);
        mv_dirty_sync_all(machine, false);
        if (i % 6 == 5) {
            o->failures += mv_dirty_log_stop(machine, MV_DIRTY_LOG_MIGRATION, NULL) < 0;
        }
    }
    world_done(w);
    return NULL;
}

static void *run_discarder(void *opaque)
{
    struct other *o = opaque;
    struct world *w = o->world;
    for (uint64_t i = 0; i < world_amount(DISCARDS); i++) {
        world_wait(w, 300);
        bool is_bank = world_random(&o->random) % 2;
        uint64_t end = is_bank ? WORLD_BANK_PAGES : WORLD_RAM_PAGES;
        uint64_t page = w->first_discarded + world_random(&o->random) % (end - w->first_discarded);
        uint64_t count = 1 + world_random(&o->random) % (i % 8 == 0 ? 600 : 16);
        count = count < end - page ? count : end - page;
        o->failures += mv_block_discard(is_bank ? w->bank_block : w->guest.ram_block,
                                        (is_bank ? 0 : GUEST_DATA) + page * PAGE, count * PAGE, NULL) < 0;
    }
    world_done(w);
    return NULL;
}

static void everybody_at_once(const char *accel, uint32_t ring_entries, uint64_t seed)
{
    static struct world w;
    static void *(*const runs[])(void *) = {run_editor, run_harvester, run_discarder};
    struct other others[3];
    world_make(&w, accel, ring_entries, seed);
    w.first_discarded = 1024;
    w.steps = world_amount(STEPS);
    world_start(&w, 3);
    for (unsigned i = 0; i < 3; i++) {
        others[i] = (struct other){.world = &w, .random = seed + 100 + i};
        assert_int_equal(pthread_create(&others[i].thread, NULL, runs[i], &others[i]), 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        pthread_join(others[i].thread, NULL);
    }
    world_join(&w);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(others[i].failures, 0);
    }
    if (others[1].rounds == 0) {
        fail_msg("%s: no page was ever dirty", accel);
    }
    world_end(&w);
}

static void every_scheme(void **state)
{
    (void)state;
    uint64_t seed = world_seed();
    for (size_t i = 0; i < SCHEMES; i++) {
        everybody_at_once(schemes[i].accel, schemes[i].ring_entries, seed + i);
    }
}

/* Edits, logs, discards and looks, while vCPUs are added. */
static void *run_all(void *opaque)
{
    struct other *o = opaque;
    struct world *w = o->world;
    for (unsigned i = 0; !world_is_over(w); i++) {
        o->failures += mv_region_set_enabled(w->cover, i % 2 != 0, NULL) < 0;
        if (i % 8 != 0) {
            continue;
        }
        o->failures += mv_dirty_log_start(w->guest.machine, MV_DIRTY_LOG_MIGRATION, NULL) < 0;
        mv_dirty_sync_all(w->guest.machine, false);
        o->failures += mv_dirty_log_stop(w->guest.machine, MV_DIRTY_LOG_MIGRATION, NULL) < 0;
        o->failures += mv_block_discard(w->bank_block, 0, 16 * PAGE, NULL) < 0;
        o->rounds += mv_vm_counters(w->guest.vm, MV_COUNTERS_KERNEL, NULL, 0);
    }
    return NULL;
}

/* Each takes part from its first access on. */
static void vcpus_come_meanwhile(void **state)
{
    (void)state;
    static const char *const accels[] = {"soft,mmu=native", "soft,mmu=ept,log-by=pml", "soft,mmu=npt"};
    static struct world w;
    uint64_t seed = world_seed();
    for (size_t i = 0; i < sizeof accels / sizeof accels[0]; i++) {
        struct other other = {.world = &w};
        struct mv_soft_outcome outcome;
        world_make(&w, accels[i], 0, seed);
        atomic_store(&w.working, 1);
        assert_int_equal(pthread_create(&other.thread, NULL, run_all, &other), 0);
        for (uint64_t k = 1; k < 100; k++) {
            struct mv_vcpu *vcpu = soft_guest_add_vcpu(&w.guest);
            uint64_t value = k, back = 0;
            mv_gva_t gva = mv_gva(WORLD_GVA_RAM);
            assert_int_equal(mv_soft_write(vcpu, gva, &value, 8, MV_SOFT_EXPLICIT, &outcome), MV_SOFT_DONE);
            assert_int_equal(mv_soft_read(w.guest.vcpu, gva, &back, 8, MV_SOFT_EXPLICIT, &outcome), MV_SOFT_DONE);
            assert_int_equal(back, k);
        }
        world_done(&w);
        pthread_join(other.thread, NULL);
        assert_int_equal(other.failures, 0);
        world_end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_scheme),
        cmocka_unit_test(vcpus_come_meanwhile),
    };
    return cmocka_run_group_tests_name("soft_stress", tests, NULL, NULL);
}
