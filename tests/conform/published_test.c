// SPDX-License-Identifier: MIT
/*
 * Numbers that others have published or that follow from a formula, to the unit. Each test says whose it is.
 */
#include <memvirt/replay.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct mv_replay_result replay(const struct mv_replay_options *options, const char *source)
{
    struct mv_replay *r;
    struct mv_trace *trace = NULL;
    struct mv_error err = {0};
    const mv_trace_record_t *records;
    size_t count;
    if (mv_replay_create(options, &r, &err) < 0 || mv_trace_open(source, &trace, &err) < 0) {
        fail_msg("%s", err.text);
    }
    do {
        if (mv_trace_read(trace, &records, &count, &err) < 0 || mv_replay_feed(r, records, count, &err) < 0) {
            fail_msg("%s: %s", source, err.text);
        }
    } while (count > 0);
    struct mv_replay_result result;
    mv_replay_result(r, &result);
    mv_trace_close(trace);
    mv_replay_destroy(r);
    return result;
}

static const char *const schemes[] = {"native", "ept", "npt", "shadow", "hybrid"};

/* SagePTE's artifact (github amirmnoohi/SagePTE-AE): 3 passes over 4096 pages miss a 1536-entry LRU TLB 12288
 * times. */
static void a_cyclic_sweep_always_misses(void **state)
{
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        struct mv_replay_result r = replay(&(struct mv_replay_options){.mmu = schemes[i]}, "cyclic:size=16M");
        assert_int_equal(r.soft.accesses, 12288);
        assert_int_equal(r.soft.tlb_misses, 12288);
        assert_int_equal(r.soft.l1_misses, 12288);
    }
}

/* One that fits misses only where it is cold. */
static void a_sweep_that_fits_is_cold_only(void **state)
{
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        struct mv_replay_result r =
            replay(&(struct mv_replay_options){.mmu = schemes[i]}, "cyclic:size=4M,refs=100K");
        assert_int_equal(r.soft.tlb_misses, 1024);
    }
}

/*
 * Uniform random over P pages, E entries: 1 - E/P in the steady state. References from the first one on, so cold
 * misses are allowed for; five standard deviations of a binomial besides.
 */
static void gups_misses_as_the_formula_says(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        double refs, pages;
    } cases[] = {{"gups:size=16M,refs=1M", 1e6, 4096},
                 {"gups:size=64M,refs=1M", 1e6, 16384},
                 {"gups:size=256M,refs=1M", 1e6, 65536}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mv_replay_result r = replay(&(struct mv_replay_options){.mmu = "native"}, cases[i].source);
        double expected = 1 - 1536 / cases[i].pages, got = (double)r.soft.tlb_misses / cases[i].refs;
        double sigma = 0.5 / 1000, cold = 1536 / cases[i].refs;
        print_message("# %s: %.4f of the references miss, 1 - E/P is %.4f\n", cases[i].source, got, expected);
        assert_true(got >= expected - 5 * sigma && got <= expected + 5 * sigma + cold);
    }
}

/* A page-table footprint: 1 GiB at 4K is 512 + 1 + 1 + 1 tables. */
static void a_gigabyte_takes_515_tables(void **state)
{
    (void)state;
    struct mv_replay_result r =
        replay(&(struct mv_replay_options){.mmu = "native"}, "sequential:size=1G,stride=4K");
    assert_int_equal(r.guest_tables, 515);
}

struct matrix {
    unsigned levels;
    unsigned refs[3][3]; /* [guest page][host page] */
};

/*
 * Bhargava, Serebrin, Spadini, Manne, "Accelerating Two-Dimensional Page Walks for Virtualized Systems", ASPLOS
 * 2008: (g + 1)(h + 1) - 1 references, of g guest and h host levels.
 */
static void walks_take_the_published_references(void **state)
{
    (void)state;
    static const struct matrix matrices[] = {{4, {{24, 19, 14}, {19, 15, 11}, {14, 11, 8}}},
                                             {5, {{35, 29, 23}, {29, 24, 19}, {23, 19, 15}}}};
    static const char *const pages[] = {"4K", "2M", "1G"};
    static const unsigned native[2][3] = {{4, 3, 2}, {5, 4, 3}};
    for (size_t m = 0; m < 2; m++) {
        for (size_t guest = 0; guest < 3; guest++) {
            struct mv_replay_options options = {
                .levels = matrices[m].levels, .guest_page = pages[guest], .mmu = "native"};
            struct mv_replay_result r = replay(&options, "gups:size=8G,refs=5K");
            assert_int_equal(r.soft.walk_histogram[native[m][guest]], r.soft.walks);
            for (size_t host = 0; host < 3; host++) {
                for (size_t i = 1; i < 3; i++) {
                    options.mmu = schemes[i];
                    options.host_page = pages[host];
                    r = replay(&options, "gups:size=8G,refs=5K");
                    assert_true(r.soft.walks > 0);
                    assert_int_equal(r.soft.walk_histogram[matrices[m].refs[guest][host]], r.soft.walks);
                }
                /* Shadow tables: one dimension, as native, of the smaller of both pages. */
                options.mmu = "shadow";
                r = replay(&options, "gups:size=8G,refs=5K");
                assert_true(r.soft.walks > 0);
                assert_int_equal(r.soft.walk_histogram[native[m][guest < host ? guest : host]], r.soft.walks);
            }
        }
    }
}

/*
 * Gandhi, Hill, Swift: "Agile Paging: Exceeding the Best of Nested and Shadow Paging", ISCA 2016, doi
 * 10.1145/3007787.3001212: 4 + 4k references with the lowest k of 4 levels nested; of 5 levels, on 5, it is 5 +
 * 5k.
 */
static void agile_walks_take_the_published_references(void **state)
{
    (void)state;
    static const char *const mmus[] = {"hybrid,policy=shadow", "hybrid,policy=nest-1", "hybrid,policy=nest-2",
                                       "hybrid,policy=nest-3", "hybrid,policy=nest-4", "hybrid,policy=nested"};
    for (unsigned levels = 4; levels <= 5; levels++) {
        for (unsigned k = 0; k <= levels; k++) {
            struct mv_replay_options options = {.levels = levels, .mmu = mmus[k]};
            struct mv_replay_result r = replay(&options, "gups:size=8G,refs=5K");
            assert_true(r.soft.walks > 0);
            assert_int_equal(r.soft.walk_histogram[levels + levels * k], r.soft.walks);
        }
    }
}

/* The paper's title, in modelled cycles: better than the better one of nested and shadow paging. */
static void agile_paging_costs_less_than_either(void **state)
{
    (void)state;
    static const char *const sources[] = {"gups:size=256M,refs=256K", "fork:size=8M", "churn:size=4M,refs=32K",
                                          "switch:size=2M,refs=256K"};
    static const char *const mmus[] = {"native", "ept", "shadow", "hybrid"};
    struct mv_costs *costs;
    assert_int_equal(mv_costs_load(NULL, &costs, NULL), 0);
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        struct mv_modelled m[4];
        for (size_t k = 0; k < 4; k++) {
            struct mv_replay_result r = replay(&(struct mv_replay_options){.mmu = mmus[k]}, sources[i]);
            mv_model(costs, &r, &m[k]);
        }
        print_message("# %s: ept %.0f, shadow %.0f, hybrid %.0f\n", sources[i], m[1].total, m[2].total,
                      m[3].total);
        assert_true(m[3].total < m[1].total && m[3].total < m[2].total && m[3].total > m[0].total);
    }
    mv_costs_destroy(costs);
}

static double ratio_of_shadow_to_ept(const struct mv_costs *costs, const char *source, double *ret_misses_each)
{
    struct mv_replay_result ept = replay(&(struct mv_replay_options){.mmu = "ept"}, source),
                            shadow = replay(&(struct mv_replay_options){.mmu = "shadow"}, source);
    struct mv_modelled of_ept, of_shadow;
    mv_model(costs, &ept, &of_ept);
    mv_model(costs, &shadow, &of_shadow);
    uint64_t events = strncmp(source, "switch", 6) == 0 ? shadow.soft.exits_cr3 : ept.soft.guest_faults;
    *ret_misses_each = (double)ept.soft.tlb_misses / (double)events;
    print_message("# %s: %.2f misses for each, shadow to EPT %.3f\n", source, *ret_misses_each,
                  of_shadow.total / of_ept.total);
    return of_shadow.total / of_ept.total;
}

/*
 * Where shadow paging and EPT cost the same (docs/mmu.md): an exit to the 20 references of a walk that a TLB miss
 * saves is 2000 / 280. A guest fault has two, a switch one. Below, EPT is cheaper, and above, shadow.
 */
static void the_crossover_is_where_it_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        double crossover; /* in misses for each event */
    } cases[] = {
        {"churn:size=8M,passes=4", 4000.0 / 280},         {"churn:size=8M,passes=12", 4000.0 / 280},
        {"churn:size=8M,passes=16", 4000.0 / 280},        {"churn:size=8M,passes=24", 4000.0 / 280},
        {"switch:size=1M,refs=1M,slice=2", 2000.0 / 280}, {"switch:size=1M,refs=1M,slice=6", 2000.0 / 280},
        {"switch:size=1M,refs=1M,slice=9", 2000.0 / 280}, {"switch:size=1M,refs=1M,slice=32", 2000.0 / 280}};
    struct mv_costs *costs;
    unsigned cheaper[2] = {0};
    assert_int_equal(mv_costs_load(NULL, &costs, NULL), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double misses, ratio = ratio_of_shadow_to_ept(costs, cases[i].source, &misses);
        assert_int_equal(ratio<1, misses> cases[i].crossover);
        cheaper[ratio < 1]++;
    }
    assert_int_equal(cheaper[0], 4);
    assert_int_equal(cheaper[1], 4);
    mv_costs_destroy(costs);
}

/* The same memory in more processes: each has a set of shadow tables, as it has one of its own. */
static void shadow_tables_grow_with_processes(void **state)
{
    (void)state;
    static const char *const sources[] = {"switch:size=16M,refs=256K,processes=2",
                                          "switch:size=2M,refs=256K,processes=16"};
    uint64_t ept[2], shadow[2], guests[2];
    for (size_t i = 0; i < 2; i++) {
        ept[i] = replay(&(struct mv_replay_options){.mmu = "ept"}, sources[i]).soft.tables;
        struct mv_replay_result r = replay(&(struct mv_replay_options){.mmu = "shadow"}, sources[i]);
        shadow[i] = r.soft.tables;
        guests[i] = r.guest_tables;
    }
    assert_int_equal(ept[0], ept[1]);
    assert_int_equal(shadow[1] - shadow[0], guests[1] - guests[0]);
    assert_true(shadow[1] > 2 * shadow[0]);
}

/* QEMU commit 4cdc489e: a 4 MiB chunk at 4K is 1024 exits. S bytes are S/4K, S/2M or S/1G of them. */
static void first_touches_are_one_violation_a_page(void **state)
{
    (void)state;
    static const struct {
        const char *source, *host_page;
        uint64_t violations;
    } cases[] = {{"sequential:size=4M,stride=4K", "4K", 1024},
                 {"sequential:size=256M,stride=4K", "4K", 65536},
                 {"sequential:size=256M,stride=4K", "2M", 128},
                 {"sequential:size=4G,stride=4K", "1G", 4}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mv_replay_options options = {.mmu = "ept", .host_page = cases[i].host_page};
        struct mv_replay_result r = replay(&options, cases[i].source);
        assert_int_equal(r.soft.exits_ept_violation - r.soft.exits_physical, cases[i].violations);
        assert_int_equal(r.soft.exits_total, r.soft.exits_ept_violation);
        options.mmu = "npt";
        r = replay(&options, cases[i].source);
        assert_int_equal(r.soft.exits_npf - r.soft.exits_physical, cases[i].violations);
    }
}

/*
 * PVM (SOSP 2023), the counts for one level of virtualization with EPT: a guest's page fault on memory that is
 * backed costs no exit, on memory that is not, one.
 */
static void guest_faults_on_backed_memory_cost_no_exit(void **state)
{
    (void)state;
    /* The first round backs all memory; unmapping gives the same frames again. */
    struct mv_replay_options options = {.mmu = "ept"};
    struct mv_replay_result once = replay(&options, "churn:size=4M,refs=1024");
    struct mv_replay_result many = replay(&options, "churn:size=4M,refs=16384");
    assert_int_equal(once.soft.guest_faults, 1024);
    assert_int_equal(many.soft.guest_faults, 16384);
    assert_int_equal(once.soft.exits_ept_violation - once.soft.exits_physical, 1024);
    assert_int_equal(many.soft.exits_ept_violation, once.soft.exits_ept_violation);
}

/*
 * The same under shadow tables, steady state: one exit for the fault that is reflected, one for the fault that is
 * fixed, and no more with unsync leaf tables (Linux 4731d4c7a077: only tables above are write-protected).
 */
static void guest_faults_cost_two_exits_under_shadow(void **state)
{
    (void)state;
    struct mv_replay_options options = {.mmu = "shadow"};
    struct mv_replay_result once = replay(&options, "sequential:size=4M,stride=4K");
    struct mv_replay_result twice = replay(&options, "sequential:size=8M,stride=4K");
    assert_int_equal(once.soft.guest_faults, 1024);
    assert_int_equal(once.soft.exits_page_fault, 2 * 1024);
    assert_int_equal(twice.soft.exits_page_fault, 2 * 2048);
    /* Each of the two lowest tables more costs two stores: to the directory, and the first one of its own. */
    assert_int_equal(twice.soft.exits_table_write - once.soft.exits_table_write, 2 * 2);
    assert_int_equal(once.soft.exits_total, once.soft.exits_page_fault + once.soft.exits_table_write);
    options.mmu = "shadow,unsync=off";
    twice = replay(&options, "sequential:size=8M,stride=4K");
    /* Now each page's store is an exit, but the first to each of 4 tables, which nobody has used yet; so is each
     * table's store to the directory but the first's; and the directory's way begins at the root, which is known.
     */
    assert_int_equal(twice.soft.exits_page_fault, 2 * 2048);
    assert_int_equal(twice.soft.exits_table_write, (2048 - 4) + (4 - 1) + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cyclic_sweep_always_misses),
        cmocka_unit_test(a_sweep_that_fits_is_cold_only),
        cmocka_unit_test(gups_misses_as_the_formula_says),
        cmocka_unit_test(a_gigabyte_takes_515_tables),
        cmocka_unit_test(walks_take_the_published_references),
        cmocka_unit_test(agile_walks_take_the_published_references),
        cmocka_unit_test(agile_paging_costs_less_than_either),
        cmocka_unit_test(first_touches_are_one_violation_a_page),
        cmocka_unit_test(guest_faults_on_backed_memory_cost_no_exit),
        cmocka_unit_test(guest_faults_cost_two_exits_under_shadow),
        cmocka_unit_test(the_crossover_is_where_it_is_said),
        cmocka_unit_test(shadow_tables_grow_with_processes),
    };
    return cmocka_run_group_tests_name("published", tests, NULL, NULL);
}
