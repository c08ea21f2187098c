// SPDX-License-Identifier: MIT
/*
 * A guest that writes nonsense over its page tables while other vCPUs walk them: entries that point at tables
 * themselves, outside RAM, into a ROM and a device, with every reserved bit. In every scheme each access ends as
 * an architecture's would, and the hypervisor's tables do not grow beyond what the guest's memory needs.
 * MEMVIRT_SEED=N gives the same choices again.
 */
#include "tests/conform/soft_guest.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define WALKERS 3
#define TABLES 8u /* from the root on */
#define STEPS 20000u

static const char *const schemes[] = {
    "soft,mmu=native",
    "soft,mmu=native,walk-caches=on,tlb=L1=64x4",
    "soft,mmu=ept",
    "soft,mmu=ept,host-page=4K,walk-caches=on,nested-tlb=on,tlb=L1=64x4:L2=1536x12",
    "soft,mmu=ept,access-dirty=off",
    "soft,mmu=npt,host-page=4K",
    "soft,mmu=npt,walk-caches=on,nested-tlb=on,tlb=L1=64x4",
    "soft,mmu=shadow",
    "soft,mmu=shadow,unsync=off,host-page=4K,shadow-pages=64,tlb=L1=64x4,walk-caches=on",
    "soft,mmu=hybrid,policy-writes=1,policy-interval=16",
    "soft,mmu=hybrid,policy=nested,host-page=4K,tlb=L1=64x4",
    "soft,mmu=hybrid,policy=nest-2,shadow-pages=64",
};

struct walker {
    struct soft_guest *guest;
    struct mv_vcpu *vcpu;
    pthread_t thread;
    atomic_bool *is_over;
    atomic_uint_fast64_t steps;
    uint64_t random, done, faults, mmios;
    char wrong[120];
};

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 11;
}

/* The first entries of each table are the ones that are scribbled on, and used. */
static uint64_t random_gva(uint64_t *random)
{
    uint64_t bits = next(random), gva = bits & 0xff8;
    for (unsigned level = 0; level < 4; level++) {
        gva |= (bits >> (12 + 2 * level) & 3) << (12 + 9 * level);
    }
    return gva;
}

static uint64_t random_entry(uint64_t *random)
{
    uint64_t bits = next(random), flags = PTE_P | PTE_W | (bits >> 32 & 4), where;
    switch (bits % 16) {
    case 0: return bits << 11; /* any bits at all */
    case 1: where = GUEST_DEVICE; break;
    case 2: where = GUEST_ROM; break;
    case 3: where = UINT64_C(0x30000000); break; /* nothing is there */
    case 4: where = UINT64_C(1) << (36 + bits / 16 % 16); break;
    case 5: flags |= PTE_PS; /* fall through */
    case 6: flags |= PTE_NX; /* fall through */
    default: where = GUEST_TABLES + bits / 16 % (TABLES + 2) * 4096; break;
    }
    if (bits >> 20 & 1) {
        where = GUEST_DATA + (bits / 16 % 64 << 12);
    }
    return where | flags;
}

static bool is_expected(const struct walker *w, const struct mv_soft_outcome *o)
{
    (void)w;
    switch (o->end) {
    case MV_SOFT_DONE: return o->done_bytes == 8;
    case MV_SOFT_MMIO: return o->mmio.size == 8 && o->done_bytes == 0;
    case MV_SOFT_FAULT:
        return o->fault.vector == 14 && o->fault.rule != MV_SOFT_RULE_NONE && o->fault.level >= 1 &&
               o->fault.level <= 4;
    case MV_SOFT_RING_FULL:
    case MV_SOFT_HOST_ERROR: break;
    }
    return false;
}

static void walk_once(struct walker *w)
{
    struct mv_soft_outcome o = {0};
    uint64_t value = random_entry(&w->random), choice = next(&w->random);
    mv_gva_t gva = mv_gva(random_gva(&w->random));
    switch (choice % 8) {
    case 0:
    case 1: (void)mv_soft_write(w->vcpu, gva, &value, 8, MV_SOFT_EXPLICIT, &o); break;
    case 2: (void)mv_soft_fetch(w->vcpu, gva, &value, 8, &o); break;
    case 3: mv_soft_invlpg(w->vcpu, gva); return;
    case 4: (void)mv_soft_load_cr3(w->vcpu, w->guest->root_table); return;
    default: (void)mv_soft_read(w->vcpu, gva, &value, 8, MV_SOFT_EXPLICIT, &o); break;
    }
    w->done += o.end == MV_SOFT_DONE;
    w->faults += o.end == MV_SOFT_FAULT;
    w->mmios += o.end == MV_SOFT_MMIO;
    if (!is_expected(w, &o) && !w->wrong[0]) {
        snprintf(w->wrong, sizeof w->wrong, "gva %llx ends with %u, rule %u, vector %u, level %u, error %d",
                 (unsigned long long)gva.raw, o.end, o.fault.rule, o.fault.vector, o.fault.level, o.error);
    }
}

static void *run_walker(void *opaque)
{
    struct walker *w = opaque;
    while (!atomic_load(w->is_over)) {
        walk_once(w);
        atomic_fetch_add_explicit(&w->steps, 1, memory_order_relaxed);
    }
    return NULL;
}

/* By a vCPU of its own, as a guest's kernel would, and by the host, as a device would. */
static void scribble(struct soft_guest *g, uint64_t steps, uint64_t *random)
{
    for (uint64_t i = 0; i < steps; i++) {
        uint64_t bits = next(random), value = random_entry(random);
        uint64_t gpa = GUEST_TABLES + bits / 64 % TABLES * 4096 + bits / 16 % 4 * 8;
        struct mv_soft_outcome o;
        if (bits % 2) {
            assert_int_equal(mv_soft_write_physical(g->vcpu, mv_gpa(gpa), value, &o), MV_SOFT_DONE);
        } else {
            __atomic_store_n((uint64_t *)(void *)(g->host + gpa), value, __ATOMIC_RELAXED);
        }
    }
}

/* Until each walker has met some of it. */
static void scribble_long(struct soft_guest *g, struct walker *walkers, uint64_t *random)
{
    const uint64_t enough = getenv("MEMVIRT_TEST_LONG") ? 50 * STEPS : STEPS;
    for (unsigned i = 0; i < WALKERS; i++) {
        while (atomic_load_explicit(&walkers[i].steps, memory_order_relaxed) < enough) {
            scribble(g, 16, random);
        }
    }
}

static void hostile(const char *accel, uint64_t seed)
{
    struct soft_guest g;
    struct walker walkers[WALKERS];
    struct mv_soft_counts counts;
    atomic_bool is_over = false;
    soft_guest_make(&g, accel);
    scribble(&g, 200, &seed);
    for (unsigned i = 0; i < WALKERS; i++) {
        walkers[i] = (struct walker){
            .guest = &g, .vcpu = soft_guest_add_vcpu(&g), .is_over = &is_over, .random = seed + 1000 * (i + 1)};
        assert_int_equal(pthread_create(&walkers[i].thread, NULL, run_walker, &walkers[i]), 0);
    }
    scribble_long(&g, walkers, &seed);
    atomic_store(&is_over, true);
    uint64_t done = 0, faults = 0;
    for (unsigned i = 0; i < WALKERS; i++) {
        pthread_join(walkers[i].thread, NULL);
    }
    for (unsigned i = 0; i < WALKERS; i++) {
        if (walkers[i].wrong[0]) {
            fail_msg("%s: %s", accel, walkers[i].wrong);
        }
        for (unsigned k = 0; k < 20000; k++) { /* one by one: whatever the threads had time for */
            scribble(&g, k % 4 == 0, &seed);
            walk_once(&walkers[i]);
        }
        done += walkers[i].done;
        faults += walkers[i].faults;
    }
    assert_true(done > 0 && faults > 0);
    assert_int_equal(mv_soft_counts(g.vcpu, &counts), 0);
    /* 64 MiB by 4K pages, and what MMIO has entries for: the device, nothing, and the 16 far places. */
    assert_true(counts.tables < 32 + 3 + 4 * 20 + 8);
    soft_guest_end(&g);
}

static void nonsense_in_tables_ends_in_faults(void **state)
{
    (void)state;
    const char *text = getenv("MEMVIRT_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    print_message("MEMVIRT_SEED=%llu\n", (unsigned long long)seed);
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        hostile(schemes[i], seed + i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nonsense_in_tables_ends_in_faults),
    };
    return cmocka_run_group_tests_name("soft_hostile", tests, NULL, NULL);
}
