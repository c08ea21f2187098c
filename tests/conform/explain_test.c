// SPDX-License-Identifier: MIT
/*
 * mv_explain() against KVM_TRANSLATE: random page tables, most of whose entries lead to one another, with the bits
 * of every kind that this processor may or may not have. No guest runs.
 */
#include <memvirt/memvirt.h>

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define RAM_BYTES (UINT64_C(16) << 20)
#define TABLES_GPA UINT64_C(0x10000)
#define TABLES 8
#define ROUNDS 200
#define WALKS 200

#define CR0 0x80000011u /* PG ET PE */
#define CR4_PAE 0x20u
#define EFER_LONG 0x500u /* LME LMA */
#define EFER_NXE 0x800u
#define ENTRY_P UINT64_C(1)
#define ENTRY_PS UINT64_C(0x80)

static uint64_t state_of_random;
static uint64_t tables_before[TABLES * 512];

static uint64_t random_bits(void)
{
    uint64_t x = state_of_random; /* xorshift64 */
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return state_of_random = x;
}

static bool one_in(unsigned n)
{
    return random_bits() % n == 0;
}

static uint64_t random_address(void)
{
    switch (random_bits() % 16) {
    case 0: return (random_bits() & 0xfff) << 12;                        /* in RAM, mostly no table */
    case 1: return random_bits() & UINT64_C(0x000ffffffffff000);         /* anywhere */
    case 2: return random_bits() % 4 << 30 | (one_in(2) ? ENTRY_PS : 0); /* a page of 1 GiB */
    case 3: return random_bits() % 16 << 21 | ENTRY_PS;                  /* a page of 2 MiB */
    case 4: return UINT64_C(0xd0000000);                                 /* a device */
    default: return TABLES_GPA + random_bits() % TABLES * 4096;
    }
}

static uint64_t random_entry(void)
{
    uint64_t entry = random_address() | (random_bits() & 0xf7e) | (one_in(12) ? 0 : ENTRY_P);
    entry |= one_in(10) ? ENTRY_PS : 0;
    entry |= one_in(16) ? UINT64_C(1) << 12 : 0; /* PAT of a large page */
    entry |= one_in(16) ? UINT64_C(1) << 63 : 0; /* NX */
    entry |= one_in(8) ? (random_bits() & 0x7ff) << 52 : 0;
    return entry;
}

struct rig {
    struct mv_machine *machine;
    struct mv_board *board;
    struct mv_vm *vm;
    struct mv_vcpu *vcpu;
};

static void must(int rc, const struct mv_error *err)
{
    if (rc < 0) {
        fail_msg("%s", err->text);
    }
}

static void rig_init(struct rig *rig)
{
    struct mv_error err;
    const struct mv_board_options board = {.ram_bytes = RAM_BYTES, .vcpus = 1};
    must(mv_machine_create(&rig->machine, &err), &err);
    must(mv_board_create(rig->machine, &board, &rig->board, &err), &err);
    const struct mv_vm_options vm = {
        .accel = "kvm", .memory = mv_board_memory(rig->board), .io = mv_board_io(rig->board)};
    must(mv_vm_create(&vm, &rig->vm, &err), &err);
    must(mv_vm_add_vcpu(rig->vm, &rig->vcpu, &err), &err);
}

static void rig_finish(struct rig *rig)
{
    mv_vm_destroy(rig->vm);
    mv_board_destroy(rig->board);
    mv_machine_destroy(rig->machine);
}

static void set_long_mode(struct rig *rig)
{
    struct mv_error err;
    struct kvm_sregs sregs;
    must(mv_vcpu_get_sregs(rig->vcpu, &sregs, &err), &err);
    sregs.cr0 = CR0;
    sregs.cr3 = TABLES_GPA;
    sregs.cr4 = CR4_PAE;
    sregs.efer = EFER_LONG | (one_in(2) ? EFER_NXE : 0);
    sregs.cs.l = 1;
    sregs.cs.db = 0;
    must(mv_vcpu_set_sregs(rig->vcpu, &sregs, &err), &err);
}

static void fill_tables(struct rig *rig)
{
    uint64_t table[512];
    for (unsigned t = 0; t < TABLES; t++) {
        for (unsigned i = 0; i < 512; i++) {
            table[i] = random_entry();
        }
        assert_int_equal(mv_space_write(mv_board_memory(rig->board), mv_gpa(TABLES_GPA + t * 4096), table,
                                        sizeof table, MV_ATTRS_NONE),
                         MV_OK);
    }
}

static void read_tables(struct rig *rig)
{
    assert_int_equal(mv_space_read(mv_board_memory(rig->board), mv_gpa(TABLES_GPA), tables_before,
                                   sizeof tables_before, MV_ATTRS_NONE),
                     MV_OK);
}

/* The entries that are shown are those that were there: KVM sets A in them when it is asked. */
static void check_entries(const struct mv_chain *chain)
{
    for (size_t i = 0; i < chain->entry_count; i++) {
        const uint64_t at = chain->entries[i].at.gpa.raw - TABLES_GPA;
        if (at < sizeof tables_before) {
            assert_int_equal(chain->entries[i].value, tables_before[at / 8]);
        }
    }
}

/* Without KVM's own answer nothing changes. */
static void check_untouched(struct rig *rig, mv_gva_t gva)
{
    struct mv_error err;
    struct mv_chain chain;
    static uint64_t tables_after[TABLES * 512];
    must(mv_explain_access(rig->vcpu, gva, &(struct mv_asked){.access = MV_ACCESS_WRITE}, &chain, &err), &err);
    assert_false(chain.asks_accel);
    mv_chain_release(&chain);
    assert_int_equal(mv_space_read(mv_board_memory(rig->board), mv_gpa(TABLES_GPA), tables_after,
                                   sizeof tables_after, MV_ATTRS_NONE),
                     MV_OK);
    assert_memory_equal(tables_before, tables_after, sizeof tables_before);
}

/* One canonical address: both find the same page, or neither finds any. */
static bool walk_one(struct rig *rig)
{
    struct mv_error err;
    struct mv_chain chain;
    const mv_gva_t gva = mv_gva((uint64_t)((int64_t)(random_bits() << 16) >> 16));
    read_tables(rig);
    check_untouched(rig, gva);
    must(mv_explain(rig->vcpu, gva, &chain, &err), &err);
    check_entries(&chain);
    const bool found = chain.end == MV_CHAIN_COMPLETE || chain.end == MV_CHAIN_NOT_RAM;
    if (found != chain.accel.valid || (found && chain.page.gpa.raw != chain.accel.gpa.raw)) {
        for (size_t i = 0; i < chain.entry_count; i++) {
            printf("# %s = 0x%016" PRIx64 "\n", chain.entries[i].name, chain.entries[i].value);
        }
        fail_msg("gva 0x%" PRIx64 ": %s, gpa 0x%" PRIx64 "; KVM_TRANSLATE: %s, gpa 0x%" PRIx64, gva.raw,
                 mv_chain_end_name(chain.end), chain.page.gpa.raw, chain.accel.valid ? "valid" : "none",
                 chain.accel.gpa.raw);
    }
    mv_chain_release(&chain);
    return found;
}

static void test_random_tables(void **state)
{
    (void)state;
    struct mv_accel_status status;
    mv_accel_check(0, &status);
    if (!status.usable) {
        printf("# SKIP test_random_tables: %s\n", status.text);
        skip();
    }
    const char *given = getenv("MEMVIRT_SEED");
    const uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    printf("# MEMVIRT_SEED=%" PRIu64 "\n", seed);
    state_of_random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

    struct rig rig;
    unsigned found = 0;
    rig_init(&rig);
    for (unsigned round = 0; round < ROUNDS; round++) {
        set_long_mode(&rig);
        fill_tables(&rig);
        for (unsigned i = 0; i < WALKS; i++) {
            found += walk_one(&rig);
        }
    }
    printf("# %u of %u addresses lead somewhere\n", found, ROUNDS * WALKS);
    assert_true(found > ROUNDS);
    rig_finish(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_tables),
    };
    return cmocka_run_group_tests_name("explain", tests, NULL, NULL);
}
