// SPDX-License-Identifier: MIT
/*
 * A harvest by write-protection takes W from the largest tables alone, and writes push that down. What is marked
 * is exactly what was written, and each page that is written costs one exit.
 */
#include "hypervisor/tdp_shut.h"

#include "hypervisor/tdp_test.h"

#include <pthread.h>
#include <sched.h>

#include "paging/ept.h"
#include "paging/npt.h"

#define W 2u /* in both formats */
#define EACH_KIND(k) for (unsigned k = 0; k < 2; k++)

static const enum hv_mmu_kind kinds[] = {HV_MMU_EPT, HV_MMU_NPT};

static struct rig open_rig(enum hv_mmu_kind kind, unsigned level_max, uint64_t npages)
{
    struct hv_options options = *rig_defaults();
    options.mmu = kind;
    options.level_max = (uint8_t)level_max;
    return rig_open(&options, npages << 12);
}

static void harvest(struct rig *rig, uint64_t npages)
{
    uint64_t *log = calloc((npages + 63) / 64, 8);
    assert_non_null(log);
    get_log(rig, 0, log);
    free(log);
}

static bool leaf_has_w(const struct rig *rig, uint64_t gfn)
{
    struct seen s = see(rig, gfn);
    return s.is_present && (s.entry & W);
}

static bool table_has_w(const struct rig *rig, uint64_t gfn, unsigned level)
{
    struct seen s = see(rig, gfn);
    assert_non_null(s.path[level]);
    return (s.path_entries[level] & W) != 0;
}

#define SHUT_PAGES (GIB_PAGES + 512 + 5)

static struct rig open_shut(enum hv_mmu_kind kind)
{
    struct rig rig = open_rig(kind, 1, SHUT_PAGES);
    assert_int_equal(set_slot_of(&rig, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, SHUT_PAGES, 0), 0);
    const uint64_t written[] = {3, 700, 701, GIB_PAGES + 3, GIB_PAGES + 512 + 2};
    for (unsigned i = 0; i < sizeof written / sizeof written[0]; i++) {
        assert_int_equal(touch(&rig, written[i], MV_ACCESS_WRITE).exits, 1);
    }
    harvest(&rig, SHUT_PAGES);
    return rig;
}

static void a_harvest_shuts_the_largest_tables(void **state)
{
    (void)state;
    EACH_KIND(k)
    {
        struct rig rig = open_shut(kinds[k]);
        assert_false(table_has_w(&rig, 3, 3)); /* 1 GiB */
        assert_true(table_has_w(&rig, 3, 2) && table_has_w(&rig, 700, 2));
        assert_true(leaf_has_w(&rig, 3) && leaf_has_w(&rig, 700));
        assert_true(table_has_w(&rig, GIB_PAGES + 3, 3)); /* which the slot does not fill */
        assert_false(table_has_w(&rig, GIB_PAGES + 3, 2));
        assert_true(leaf_has_w(&rig, GIB_PAGES + 3));
        assert_true(table_has_w(&rig, GIB_PAGES + 512 + 2, 2));
        assert_false(leaf_has_w(&rig, GIB_PAGES + 512 + 2));
        assert_int_equal(touch(&rig, 3, MV_ACCESS_READ).exits, 0);
        check_tables(&rig);
        rig_close(&rig);
    }
}

static void a_write_opens_its_way_alone(void **state)
{
    (void)state;
    EACH_KIND(k)
    {
        struct rig rig = open_shut(kinds[k]);
        assert_int_equal(touch(&rig, 700, MV_ACCESS_WRITE).exits, 1);
        assert_true(table_has_w(&rig, 700, 3) && table_has_w(&rig, 700, 2) && leaf_has_w(&rig, 700));
        assert_false(leaf_has_w(&rig, 701)); /* beside it */
        assert_false(table_has_w(&rig, 3, 2));
        assert_true(leaf_has_w(&rig, 3));
        assert_int_equal(touch(&rig, 700, MV_ACCESS_WRITE).exits, 0);
        assert_int_equal(touch(&rig, 701, MV_ACCESS_WRITE).exits, 1);
        assert_int_equal(touch(&rig, 3, MV_ACCESS_WRITE).exits, 1);
        assert_int_equal(touch(&rig, 4, MV_ACCESS_WRITE).exits, 1); /* a page that was not mapped */
        assert_int_equal(touch(&rig, GIB_PAGES + 3, MV_ACCESS_WRITE).exits, 1);
        uint64_t *log = calloc(SHUT_PAGES / 64 + 1, 8);
        get_log(&rig, 0, log);
        uint64_t marked = 0;
        for (uint64_t i = 0; i < SHUT_PAGES / 64 + 1; i++) {
            marked += (uint64_t)__builtin_popcountll(log[i]);
        }
        assert_int_equal(marked, 5);
        assert_true(bit_of(log, 700) && bit_of(log, 701) && bit_of(log, 3) && bit_of(log, 4) &&
                    bit_of(log, GIB_PAGES + 3));
        free(log);
        check_tables(&rig);
        rig_close(&rig);
    }
}

/* A vCPU that took its time comes to open what another has opened, and used. */
static void what_is_open_is_not_opened_again(void **state)
{
    (void)state;
    struct rig rig = open_shut(HV_MMU_EPT);
    (void)touch(&rig, 700, MV_ACCESS_WRITE);
    struct seen s = see(&rig, 700);
    tdp_open(&pt_format_ept, tdp_of(rig.vm), (pt_word_t *)(void *)s.path[2], 2);
    assert_true(leaf_has_w(&rig, 700));
    rig_close(&rig);
}

/* Pages that could be written before anybody logged, and were split meanwhile. */
static void what_a_split_made_writable_is_found(void **state)
{
    (void)state;
    EACH_KIND(k)
    {
        struct hv_options options = *rig_defaults();
        options.mmu = kinds[k];
        options.level_max = 2;
        options.nx_huge_pages = true;
        struct rig rig = rig_open(&options, 2 << 20);
        assert_int_equal(set_slot_of(&rig, 0, 0, 0, 512, 0), 0);
        assert_int_equal(hv_enable_manual_protect(rig.vm, 3), 0);
        (void)touch(&rig, 5, MV_ACCESS_WRITE);
        (void)touch(&rig, 9, MV_ACCESS_FETCH); /* splits */
        assert_int_equal(set_slot_of(&rig, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, 512, 0),
                         0); /* all bits; none protected */
        assert_true(see(&rig, 5).w);
        assert_int_equal(hv_enable_manual_protect(rig.vm, 0), 0);
        harvest(&rig, 512);
        assert_int_equal(touch(&rig, 6, MV_ACCESS_WRITE).exits, 1);
        assert_int_equal(touch(&rig, 5, MV_ACCESS_WRITE).exits, 1);
        uint64_t log[8];
        get_log(&rig, 0, log);
        assert_int_equal(log[0], 3u << 5);
        rig_close(&rig);
    }
}

/* Logging ends below a table that is shut, and large pages come back. */
static void what_is_shut_can_collapse(void **state)
{
    (void)state;
    EACH_KIND(k)
    {
        struct rig rig = open_rig(kinds[k], 2, GIB_PAGES);
        assert_int_equal(set_slot_of(&rig, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, GIB_PAGES, 0), 0);
        (void)touch(&rig, 5, MV_ACCESS_WRITE);
        harvest(&rig, GIB_PAGES);
        assert_false(table_has_w(&rig, 5, 3));
        assert_int_equal(set_slot_of(&rig, 0, 0, 0, GIB_PAGES, 0), 0);
        assert_int_equal(see(&rig, 5).level, 2);
        assert_true(touch(&rig, 5, MV_ACCESS_WRITE).answer == HV_RETRY && see(&rig, 5).w);
        assert_int_equal(touch(&rig, 6, MV_ACCESS_WRITE).exits, 0);
        check_tables(&rig);
        rig_close(&rig);
    }
}

/* --- Random writes, harvests, clears and zaps, against a set of pages. */

#define MODEL_PAGES (3 * 512 + 70)
#define MODEL_FIRST 448 /* gfn: neither the slot's beginning nor its end is a table's */
#define ROUNDS 600

static uint64_t below(uint64_t *seed, uint64_t n)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (*seed >> 33) % n;
}

struct model {
    struct rig rig;
    bool marked[MODEL_PAGES], noticed[MODEL_PAGES]; /* the next write of a page that is noticed is an exit */
    bool manual;
    uint64_t seed;
};

static void write_some(struct model *m)
{
    uint64_t base = below(&m->seed, MODEL_PAGES);
    for (uint64_t n = below(&m->seed, 40); n > 0; n--) {
        uint64_t page =
            below(&m->seed, 3) ? (base + below(&m->seed, 64)) % MODEL_PAGES : below(&m->seed, MODEL_PAGES);
        unsigned exits = touch(&m->rig, MODEL_FIRST + page, MV_ACCESS_WRITE).exits;
        assert_true(exits <= 1);
        assert_true(exits == 1 || !m->noticed[page]);
        m->marked[page] = true;
        m->noticed[page] = false;
    }
}

static void compare_log(struct model *m, uint64_t *log)
{
    get_log(&m->rig, 0, log);
    for (uint64_t page = 0; page < MODEL_PAGES; page++) {
        assert_int_equal(bit_of(log, page), m->marked[page]);
        if (!m->manual) {
            m->noticed[page] = m->noticed[page] || m->marked[page];
            m->marked[page] = false;
        }
    }
}

static void clear_some(struct model *m, uint64_t *log)
{
    bool whole = below(&m->seed, 2);
    uint64_t first = whole ? 0 : below(&m->seed, MODEL_PAGES / 64) * 64, rest = MODEL_PAGES - first;
    uint64_t npages = whole || below(&m->seed, 2) ? rest : below(&m->seed, rest / 64 + 1) * 64;
    bool sparse = below(&m->seed, 2);
    for (uint64_t page = first; page < first + npages; page++) {
        uint64_t bit = UINT64_C(1) << page % 64;
        if (below(&m->seed, sparse ? 2 : 40) == 0) {
            log[page / 64] &= ~bit;
        }
        if ((log[page / 64] & bit) && m->marked[page]) {
            m->marked[page] = false;
            m->noticed[page] = true;
        }
    }
    const struct kvm_clear_dirty_log clear = {
        .first_page = first, .num_pages = (uint32_t)npages, .dirty_bitmap = &log[first / 64]};
    assert_int_equal(hv_clear_dirty_log(m->rig.vm, &clear), 0);
}

static void the_log_is_what_was_written(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        static struct model m;
        m = (struct model){.seed = 17 + i, .manual = i & 2};
        m.rig = open_rig(kinds[i & 1], i & 4 ? 2 : 1, MODEL_PAGES + 512);
        /* Aligned as the gfns are, so that pages may be large before they are logged. */
        assert_int_equal(set_slot_of(&m.rig, 0, KVM_MEM_LOG_DIRTY_PAGES, MODEL_FIRST, MODEL_PAGES, MODEL_FIRST),
                         0);
        assert_int_equal(hv_enable_manual_protect(m.rig.vm, m.manual), 0);
        memset(m.noticed, 1, sizeof m.noticed);
        for (unsigned round = 0; round < ROUNDS; round++) {
            uint64_t log[MODEL_PAGES / 64 + 1];
            write_some(&m);
            if (below(&m.seed, 3) == 0) {
                write_some(&m);
            }
            compare_log(&m, log);
            if (m.manual) {
                write_some(&m);
                clear_some(&m, log);
            }
            if (below(&m.seed, 20) == 0) {
                struct mv_range gone =
                    hva_range(&m.rig, MODEL_FIRST + below(&m.seed, 1000), 1 + below(&m.seed, 600));
                hv_notifier_begin(m.rig.vm, gone);
                hv_notifier_end(m.rig.vm, gone);
            }
            check_tables(&m.rig);
        }
        rig_close(&m.rig);
    }
}

/* --- Several vCPUs write while the log is harvested without a pause: who copies what is marked has it all. */

#define WRITERS 3
#define HOT_PAGES 1024 /* two tables' */

static struct {
    struct rig rig;
    struct hv_vcpu *vcpus[WRITERS];
    _Atomic uint64_t writes[HOT_PAGES], all;
    atomic_bool stop;
} race;

static void write_page(void *opaque, char *host)
{
    (void)host;
    atomic_fetch_add_explicit((_Atomic uint64_t *)opaque, 1, memory_order_relaxed);
}

static void *run_writer(void *opaque)
{
    struct hv_vcpu *vcpu = opaque;
    uint64_t seed = vcpu->index;
    while (!atomic_load_explicit(&race.stop, memory_order_relaxed)) {
        uint64_t gfn = below(&seed, HOT_PAGES);
        (void)touch_with(vcpu, gfn, MV_ACCESS_WRITE, write_page, &race.writes[gfn]);
        atomic_fetch_add_explicit(&race.all, 1, memory_order_relaxed);
    }
    return NULL;
}

static void many_harvests_miss_nothing(void **state)
{
    (void)state;
    static uint64_t log[GIB_PAGES / 64], copies[HOT_PAGES];
    const uint64_t harvests_min = getenv("MEMVIRT_TEST_LONG") ? 50000 : 500;
    EACH_KIND(k)
    {
        pthread_t threads[WRITERS];
        memset(&race, 0, sizeof race);
        memset(copies, 0, sizeof copies);
        race.rig = open_rig(kinds[k], 1, GIB_PAGES);
        assert_int_equal(set_slot_of(&race.rig, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, GIB_PAGES, 0), 0);
        for (unsigned i = 0; i < WRITERS; i++) {
            assert_int_equal(hv_vcpu_create(race.rig.vm, 1 + i, &race.vcpus[i]), 0);
            assert_int_equal(pthread_create(&threads[i], NULL, run_writer, race.vcpus[i]), 0);
        }
        uint64_t harvests = 0;
        for (bool is_last = false; !is_last; harvests++) {
            while (race.all < harvests * 64) {
                sched_yield();
            }
            is_last = harvests == harvests_min;
            if (is_last) {
                atomic_store(&race.stop, true);
                for (unsigned i = 0; i < WRITERS; i++) {
                    pthread_join(threads[i], NULL);
                }
            }
            get_log(&race.rig, 0, log);
            for (uint64_t i = 0; i < HOT_PAGES; i++) {
                copies[i] = bit_of(log, i) ? race.writes[i] : copies[i];
            }
        }
        unsigned missed = 0;
        for (uint64_t i = 0; i < HOT_PAGES; i++) {
            missed += copies[i] != race.writes[i];
        }
        printf("# %llu writes, %llu harvests, %llu faults\n", (unsigned long long)race.all,
               (unsigned long long)harvests, (unsigned long long)counters_of(&race.rig).pf_taken);
        assert_int_equal(missed, 0);
        for (unsigned i = 0; i < WRITERS; i++) {
            hv_vcpu_destroy(race.vcpus[i]);
        }
        rig_close(&race.rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_harvest_shuts_the_largest_tables),
        cmocka_unit_test(a_write_opens_its_way_alone),
        cmocka_unit_test(what_is_open_is_not_opened_again),
        cmocka_unit_test(what_a_split_made_writable_is_found),
        cmocka_unit_test(what_is_shut_can_collapse),
        cmocka_unit_test(the_log_is_what_was_written),
        cmocka_unit_test(many_harvests_miss_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
