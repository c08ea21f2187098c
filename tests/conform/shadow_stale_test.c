// SPDX-License-Identifier: MIT
/*
 * What may be stale under shadow tables, and no more. Two vCPUs use the same tables; entries are edited, by the
 * one, the other, or by guest-physical address, and nobody has to flush. A translation that a vCPU uses must have
 * been what the tables said at some time since its own last flush of that address; a fault must be what they say
 * now.
 *
 * With paging-structure caches an upper entry may be an old one, and what is below it new: then it is each entry
 * of the way that must have been there at some time since the flush (Intel SDM, "Paging-Structure Caches").
 */
#include "tests/conform/soft_guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TABLES UINT64_C(0x200000)
#define TABLE_COUNT 12u
#define INDICES 3u
#define GVAS (INDICES * INDICES * INDICES * INDICES)
#define STATES_MAX 48u
#define VCPUS 2u
#define NOWHERE UINT64_MAX
#define VALUES_MAX 256u
#define ADDRESS UINT64_C(0x000ffffffffff000)

/* Where an address led since the last flush; NOWHERE: to nothing. */
struct history {
    unsigned count;
    uint64_t gpas[STATES_MAX];
};

/* What an entry has been, without what says nothing of where it leads, and since when. */
struct values {
    unsigned count;
    uint64_t value[VALUES_MAX];
    unsigned since[VALUES_MAX];
};

static struct {
    struct soft_guest guest;
    bool has_walk_caches;
    struct values values[TABLE_COUNT][INDICES];
    unsigned flushed[VCPUS][GVAS]; /* the step */
    struct mv_vcpu *vcpus[VCPUS];
    struct history histories[VCPUS][GVAS];
    uint64_t now[GVAS];
    uint64_t seed;
    unsigned step, stale, done;
} world;

static const unsigned indices[INDICES] = {0, 1, 8}; /* the last is no neighbour */

static uint64_t below(uint64_t n)
{
    world.seed ^= world.seed << 13;
    world.seed ^= world.seed >> 7;
    world.seed ^= world.seed << 17;
    return (world.seed * UINT64_C(0x2545f4914f6cdd1d) >> 11) % n;
}

static uint64_t gva_of(unsigned number)
{
    uint64_t gva = 0;
    for (unsigned level = 1; level <= 4; level++, number /= INDICES) {
        gva |= (uint64_t)indices[number % INDICES] << (12 + 9 * (level - 1));
    }
    return gva;
}

/* --- What the tables say -------------------------------------------------------------------------------- */

static void add_state(struct history *h, uint64_t gpa)
{
    for (unsigned i = 0; i < h->count; i++) {
        if (h->gpas[i] == gpa) {
            return;
        }
    }
    assert_true(h->count < STATES_MAX);
    h->gpas[h->count++] = gpa;
}

static bool has_state(const struct history *h, uint64_t gpa)
{
    for (unsigned i = 0; i < h->count; i++) {
        if (h->gpas[i] == gpa) {
            return true;
        }
    }
    return false;
}

static void note_values(void)
{
    for (unsigned t = 0; t < TABLE_COUNT; t++) {
        for (unsigned i = 0; i < INDICES; i++) {
            struct values *v = &world.values[t][i];
            uint64_t now;
            memcpy(&now, world.guest.host + TABLES + t * 4096 + indices[i] * 8, 8);
            now &= ADDRESS | PTE_P | PTE_PS;
            if (v->count == 0 || v->value[v->count - 1] != now) {
                assert_true(v->count < VALUES_MAX);
                v->value[v->count] = now;
                v->since[v->count++] = world.step;
            }
        }
    }
}

/* Whether entries that were there since the flush lead from this table to the page. */
static bool may_lead(unsigned v, unsigned number, uint64_t table, unsigned level, uint64_t gpa)
{
    unsigned place = number;
    for (unsigned i = 1; i < level; i++) {
        place /= INDICES;
    }
    if (table < TABLES || table >= TABLES + TABLE_COUNT * 4096) {
        return false;
    }
    const struct values *values = &world.values[(table - TABLES) / 4096][place % INDICES];
    uint64_t bytes = UINT64_C(4096) << (9 * (level - 1));
    for (unsigned i = 0; i < values->count; i++) {
        uint64_t value = values->value[i], address = value & ADDRESS;
        bool is_gone = i + 1 < values->count && values->since[i + 1] < world.flushed[v][number];
        bool is_leaf = level == 1 || (level < 4 && (value & PTE_PS));
        if (is_gone || !(value & PTE_P)) {
            continue;
        }
        if (is_leaf ? (address & (bytes - 1)) == 0 && address + (gva_of(number) & (bytes - 1)) == gpa
                    : !(value & PTE_PS) && may_lead(v, number, address, level - 1, gpa)) {
            return true;
        }
    }
    return false;
}

/* After each store. A look sets nothing, and asks no cache. */
static void note_states(void)
{
    note_values();
    for (unsigned i = 0; i < GVAS; i++) {
        struct mv_translation t;
        assert_int_equal(mv_vcpu_translate(world.vcpus[0], mv_gva(gva_of(i)), &t, NULL), 0);
        world.now[i] = t.valid ? t.gpa.raw : NOWHERE;
        for (unsigned v = 0; v < VCPUS; v++) {
            add_state(&world.histories[v][i], world.now[i]);
        }
    }
}

static void forget(unsigned v, unsigned i)
{
    world.histories[v][i].count = 0;
    world.flushed[v][i] = world.step;
    add_state(&world.histories[v][i], world.now[i]);
}

static void flush_all(unsigned v)
{
    assert_true(mv_soft_load_cr3(world.vcpus[v], TABLES));
    for (unsigned i = 0; i < GVAS; i++) {
        forget(v, i);
    }
}

static void make_room(void)
{
    for (unsigned v = 0; v < VCPUS; v++) {
        for (unsigned i = 0; i < GVAS; i++) {
            if (world.histories[v][i].count == STATES_MAX) {
                flush_all(v);
            }
        }
    }
}

/* --- Steps ------------------------------------------------------------------------------------------------ */

static uint64_t draw_entry(void)
{
    uint64_t e = TABLES + below(TABLE_COUNT) * 4096;
    e = below(24) ? e : GUEST_DEVICE;
    e |= below(12) ? PTE_P : 0;
    e |= (below(8) ? PTE_W : 0) | (below(2) ? PTE_A : 0) | (below(2) ? PTE_D : 0) | PTE_U;
    return below(30) ? e : (e & ~UINT64_C(0x1ff000)) | PTE_PS;
}

static void edit(void)
{
    struct mv_soft_outcome outcome;
    uint64_t at = TABLES + below(TABLE_COUNT) * 4096 + indices[below(INDICES)] * 8;
    make_room();
    assert_int_equal(mv_soft_write_physical(world.vcpus[below(VCPUS)], mv_gpa(at), draw_entry(), &outcome),
                     MV_SOFT_DONE);
    note_states();
}

static void check(unsigned v, unsigned i, const struct mv_soft_outcome *o, uint64_t gpa)
{
    if (o->end == MV_SOFT_FAULT) {
        if (world.now[i] != NOWHERE && o->fault.rule != MV_SOFT_RULE_RIGHTS) {
            fail_msg("step %u: vCPU %u, 0x%llx: a fault, but it leads to 0x%llx", world.step, v,
                     (unsigned long long)gva_of(i), (unsigned long long)world.now[i]);
        }
        return;
    }
    gpa &= ~UINT64_C(0xfff);
    if (world.has_walk_caches ? !may_lead(v, i, TABLES, 4, gpa) : !has_state(&world.histories[v][i], gpa)) {
        fail_msg("step %u: vCPU %u, 0x%llx: 0x%llx was never true since its flush; it leads to 0x%llx", world.step,
                 v, (unsigned long long)gva_of(i), (unsigned long long)gpa, (unsigned long long)world.now[i]);
    }
    world.stale += gpa != world.now[i];
    world.done++;
}

static void read_at(unsigned v, unsigned i)
{
    struct mv_soft_outcome o;
    struct mv_soft_place place = {0};
    mv_soft_touch(world.vcpus[v], mv_gva(gva_of(i)), MV_ACCESS_READ, &place, &o);
    check(v, i, &o, o.end == MV_SOFT_MMIO ? o.mmio.gpa.raw : place.gpa.raw);
}

/* By an address of the guest's: what is written may be a table, and the way there may be stale. */
static void write_one(void)
{
    struct mv_soft_outcome o;
    unsigned v = (unsigned)below(VCPUS), i = (unsigned)below(GVAS);
    uint64_t entry = draw_entry();
    make_room();
    mv_soft_write(world.vcpus[v], mv_gva(gva_of(i) + indices[below(INDICES)] * 8), &entry, 8, MV_SOFT_EXPLICIT,
                  &o);
    note_states();
}

static void flush(void)
{
    unsigned v = (unsigned)below(VCPUS), i = (unsigned)below(GVAS);
    if (below(4)) {
        mv_soft_invlpg(world.vcpus[v], mv_gva(gva_of(i)));
        forget(v, i);
    } else {
        flush_all(v);
    }
    read_at(v, i);
}

static void play(const char *accel, uint64_t seed)
{
    memset(&world, 0, sizeof world);
    world.seed = seed * 2 + 1;
    world.has_walk_caches = !strstr(accel, "walk-caches=off") && !strstr(accel, "tlb=");
    soft_guest_make(&world.guest, accel);
    world.vcpus[0] = world.guest.vcpu;
    world.vcpus[1] = soft_guest_add_vcpu(&world.guest);
    for (unsigned t = 0; t < TABLE_COUNT; t++) {
        for (unsigned i = 0; i < INDICES; i++) {
            uint64_t entry = draw_entry();
            memcpy(world.guest.host + TABLES + t * 4096 + indices[i] * 8, &entry, 8);
        }
    }
    for (unsigned v = 0; v < VCPUS; v++) {
        struct kvm_sregs sregs;
        assert_int_equal(mv_vcpu_get_sregs(world.vcpus[v], &sregs, NULL), 0);
        sregs.cr3 = TABLES;
        sregs.cr4 &= ~UINT64_C(0x80); /* no global pages */
        assert_int_equal(mv_vcpu_set_sregs(world.vcpus[v], &sregs, NULL), 0);
    }
    note_states();
    for (world.step = 0; world.step < 3000; world.step++) {
        switch (below(10)) {
        case 0: edit(); break;
        case 1: write_one(); break;
        case 2: flush(); break;
        default: read_at((unsigned)below(VCPUS), (unsigned)below(GVAS)); break;
        }
    }
    soft_guest_end(&world.guest);
}

static void what_is_stale_was_true(const char *accel)
{
    const char *given = getenv("MEMVIRT_TEST_SEED"), *is_long = getenv("MEMVIRT_TEST_LONG");
    uint64_t first = given ? strtoull(given, NULL, 0) : 1, count = given ? 1 : is_long ? 200 : 8;
    unsigned stale = 0, done = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        print_message("# %s: seed %llu\n", accel, (unsigned long long)seed);
        play(accel, seed);
        stale += world.stale;
        done += world.done;
    }
    print_message("# %u accesses went through, %u of them by what is true no longer\n", done, stale);
    assert_true(given || (done > 1000 && stale > 0));
}

static void with_unsync(void **state)
{
    (void)state;
    what_is_stale_was_true("soft,mmu=shadow");
    what_is_stale_was_true("soft,mmu=shadow,walk-caches=off");
}

static void without_unsync(void **state)
{
    (void)state;
    what_is_stale_was_true("soft,mmu=shadow,unsync=off");
    what_is_stale_was_true("soft,mmu=shadow,unsync=off,walk-caches=off");
}

static void with_few_pages_and_a_tlb(void **state)
{
    (void)state;
    what_is_stale_was_true("soft,mmu=shadow,shadow-pages=64,tlb=L1=64x4:L2=1536x12,host-page=4K");
}

static void hybrid_with_a_policy_that_changes_its_mind(void **state)
{
    (void)state;
    what_is_stale_was_true("soft,mmu=hybrid,policy-interval=32");
    what_is_stale_was_true("soft,mmu=hybrid,policy-interval=32,walk-caches=off");
}

static void hybrid_by_level(void **state)
{
    (void)state;
    what_is_stale_was_true("soft,mmu=hybrid,policy=nest-1,host-page=4K,tlb=L1=64x4:L2=1536x12");
    what_is_stale_was_true("soft,mmu=hybrid,policy=nest-3,shadow-pages=64");
    what_is_stale_was_true("soft,mmu=hybrid,policy=nest-3,shadow-pages=64,walk-caches=off");
}

static void hybrid_nested(void **state)
{
    (void)state;
    what_is_stale_was_true("soft,mmu=hybrid,policy=nested,tlb=L1=64x4:L2=1536x12");
    what_is_stale_was_true("soft,mmu=hybrid,policy=nested");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_unsync),
        cmocka_unit_test(without_unsync),
        cmocka_unit_test(with_few_pages_and_a_tlb),
        cmocka_unit_test(hybrid_with_a_policy_that_changes_its_mind),
        cmocka_unit_test(hybrid_by_level),
        cmocka_unit_test(hybrid_nested),
    };
    return cmocka_run_group_tests_name("shadow-stale", tests, NULL, NULL);
}
