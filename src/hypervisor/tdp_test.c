// SPDX-License-Identifier: MIT
/* What a fault makes of slots and options, and what takes it away again, one thing at a time. */
#include "hypervisor/tdp_test.h"

static const enum hv_mmu_kind kinds[] = {HV_MMU_EPT, HV_MMU_NPT};
#define EACH_KIND(k) for (unsigned k = 0; k < 2; k++)

static struct hv_options with(enum hv_mmu_kind kind)
{
    struct hv_options options = *rig_defaults();
    options.mmu = kind;
    return options;
}

/* S/4K, S/2M, S/1G violations of first touch; 515 tables for 1 GiB of small pages (published-numbers, 6.3). */
static void test_first_touch(void **state)
{
    (void)state;
    static const uint64_t faults[] = {0, GIB_PAGES, 512, 1}, tables[] = {0, 515, 3, 2};
    EACH_KIND(k)
    {
        for (unsigned level = 1; level <= 3; level++) {
            struct hv_options options = with(kinds[k]);
            options.level_max = (uint8_t)level;
            struct rig rig = rig_open(&options, 1 << 30);
            assert_int_equal(set_slot_of(&rig, 0, 0, 0, GIB_PAGES, 0), 0);
            for (uint64_t gfn = 0; gfn < GIB_PAGES; gfn++) {
                struct touched t = touch(&rig, gfn, MV_ACCESS_WRITE);
                assert_int_equal(t.hva, page_hva(&rig, gfn));
            }
            struct hv_counters c = counters_of(&rig);
            assert_int_equal(c.pf_taken, faults[level]);
            assert_int_equal(c.pf_fixed, faults[level]);
            assert_int_equal(c.tables, tables[level]);
            check_tables(&rig);
            rig_close(&rig);
        }
    }
}

/* The tables of a fully touched guest of 4 GiB, with what describes them: at most 0.25 % of it. */
static void test_overhead(void **state)
{
    (void)state;
    struct hv_options options = with(HV_MMU_EPT);
    options.level_max = 1;
    struct rig rig = rig_open(&options, UINT64_C(4) << 30);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 4 * GIB_PAGES, 0), 0);
    for (uint64_t gfn = 0; gfn < 4 * GIB_PAGES; gfn++) {
        (void)touch(&rig, gfn, MV_ACCESS_READ);
    }
    assert_int_equal(counters_of(&rig).tables, 4 * 512 + 4 + 1 + 1);
    uint64_t bytes = rig.vm->mmu->table_bytes(rig.vm);
    printf("# 4 GiB of 4K pages: %" PRIu64 " bytes of tables and what describes them: %.4f %%\n", bytes,
           100.0 * (double)bytes / (double)(UINT64_C(4) << 30));
    assert_true(bytes >= (4 * 512 + 6) * 4096u && bytes * 400 <= UINT64_C(4) << 30);
    rig_close(&rig);
}

/* A page is as large as the slot's ends, and the alignment of both sides to each other, allow. */
static void test_level(void **state)
{
    (void)state;
    struct hv_options options = with(HV_MMU_EPT);
    struct rig rig = rig_open(&options, UINT64_C(3) << 30);
    assert_int_equal(set_slot_of(&rig, 0, 0, 100, 2 * GIB_PAGES, 100), 0);
    assert_int_equal(set_slot_of(&rig, 1, 0, 8 * GIB_PAGES, 2048, 512 + 1), 0);
    static const struct {
        uint64_t gfn;
        unsigned level;
    } expected[] = {{100, 1},
                    {511, 1},
                    {512, 2},
                    {GIB_PAGES, 3},
                    {2 * GIB_PAGES, 1},
                    {8 * GIB_PAGES, 1},
                    {8 * GIB_PAGES + 600, 1}};
    for (unsigned i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        (void)touch(&rig, expected[i].gfn, MV_ACCESS_READ);
        struct seen s = see(&rig, expected[i].gfn);
        assert_true(s.is_present);
        assert_int_equal(s.level, expected[i].level);
    }
    check_tables(&rig);
    rig_close(&rig);
}

static void test_five_levels(void **state)
{
    (void)state;
    EACH_KIND(k)
    {
        struct hv_options options = with(kinds[k]);
        options.tdp_levels = 5;
        options.address_bits = 52;
        struct rig rig = rig_open(&options, 1 << 20);
        uint64_t high = (UINT64_C(1) << 39) + 7;
        assert_int_equal(set_slot_of(&rig, 0, 0, high, 16, 0), 0);
        assert_int_equal(touch(&rig, high + 3, MV_ACCESS_WRITE).hva, page_hva(&rig, 3));
        assert_int_equal(counters_of(&rig).tables, 5);
        /* A gpa with bit 51 is MMIO that no entry can stand for. */
        assert_int_equal(touch(&rig, (UINT64_C(1) << 39) + (UINT64_C(1) << 38), MV_ACCESS_READ).answer,
                         HV_EMULATE);
        check_tables(&rig);
        rig_close(&rig);
    }
}

/* Above what four levels reach there is nothing, and no exit without end. */
static void test_beyond_the_tables(void **state)
{
    (void)state;
    struct hv_options options = with(HV_MMU_EPT);
    options.address_bits = 52;
    struct rig rig = rig_open(&options, 1 << 20);
    assert_int_equal(set_slot_of(&rig, 0, 0, UINT64_C(1) << 37, 16, 0), 0);
    assert_int_equal(touch(&rig, 0, MV_ACCESS_READ).answer, HV_EMULATE);
    struct pt_exit exit = {.reason = PT_EXIT_EPT_VIOLATION, .code = 1, .gpa = mv_gpa(UINT64_C(1) << 49)};
    rendezvous_enter(&rig.vcpu->inside);
    take_requests(rig.vcpu);
    assert_int_equal(hv_handle_exit(rig.vcpu, &exit), HV_EMULATE);
    rendezvous_leave(&rig.vcpu->inside);
    struct hv_pre_fault range = {.gpa = UINT64_C(1) << 49, .size = 4096};
    assert_int_equal(hv_pre_fault(rig.vcpu, &range), -ENOENT);
    assert_false(see(&rig, 0).is_present);
    rig_close(&rig);
}

/* The first access to nothing makes an entry that the hardware refuses; it dies when a slot comes. */
static void test_mmio(void **state)
{
    (void)state;
    EACH_KIND(k)
    {
        struct hv_options options = with(kinds[k]);
        struct rig rig = rig_open(&options, 1 << 20);
        assert_int_equal(touch(&rig, 0xfee00, MV_ACCESS_READ).answer, HV_EMULATE);
        assert_true(see(&rig, 0xfee00).is_refused);
        assert_int_equal(rig.vcpu->mmio_gfn, 0xfee00);
        assert_int_equal(counters_of(&rig).pf_mmio_spte_created, 1);
        assert_int_equal(counters_of(&rig).pf_taken, 1);
        /* From now on by misconfiguration or reserved bit, which is no fault. */
        assert_int_equal(touch(&rig, 0xfee00, MV_ACCESS_WRITE).answer, HV_EMULATE);
        assert_int_equal(counters_of(&rig).pf_taken, 1);
        /* Another slot elsewhere: the generation is another one, and the entry is made anew. */
        assert_int_equal(set_slot_of(&rig, 0, 0, 0, 1, 0), 0);
        assert_int_equal(touch(&rig, 0xfee00, MV_ACCESS_READ).answer, HV_EMULATE);
        assert_int_equal(counters_of(&rig).pf_mmio_spte_created, 2);
        assert_int_equal(set_slot_of(&rig, 1, 0, 0xfee00, 1, 1), 0);
        assert_int_equal(touch(&rig, 0xfee00, MV_ACCESS_WRITE).hva, page_hva(&rig, 1));
        check_tables(&rig);
        rig_close(&rig);
    }
}

/* A guest that points everywhere does not get tables without end. */
static void test_mmio_is_bounded(void **state)
{
    (void)state;
    struct hv_options options = with(HV_MMU_EPT);
    struct rig rig = rig_open(&options, 1 << 20);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 1, 0), 0);
    for (uint64_t i = 0; i < 5000; i++) {
        assert_int_equal(touch(&rig, i * 0x12345678 % (UINT64_C(1) << 34) + 1, MV_ACCESS_READ).answer, HV_EMULATE);
    }
    assert_in_range(counters_of(&rig).tables, 1000, TDP_MMIO_TABLES_MAX + 5);
    assert_int_equal(touch(&rig, 0, MV_ACCESS_READ).hva, page_hva(&rig, 0));
    /* They go with the rest, and then there may be others. */
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 0, 0), 0);
    assert_int_equal(tdp_of(rig.vm)->mmio_tables, 0);
    rig_close(&rig);
}

static void test_read_only_slot(void **state)
{
    (void)state;
    EACH_KIND(k)
    {
        struct hv_options options = with(kinds[k]);
        struct rig rig = rig_open(&options, 1 << 20);
        assert_int_equal(set_slot_of(&rig, 0, KVM_MEM_READONLY, 16, 16, 0), 0);
        assert_int_equal(touch(&rig, 20, MV_ACCESS_WRITE).answer, HV_EMULATE);
        assert_false(see(&rig, 20).is_refused);
        assert_int_equal(touch(&rig, 20, MV_ACCESS_READ).answer, HV_RETRY);
        struct seen s = see(&rig, 20);
        assert_true(s.r && !s.w && s.x);
        assert_int_equal(touch(&rig, 20, MV_ACCESS_WRITE).answer, HV_EMULATE);
        check_tables(&rig);
        rig_close(&rig);
    }
}

/* An exit for what is there already: another vCPU was faster, or a TLB was stale. */
static void test_spurious(void **state)
{
    (void)state;
    struct rig rig = rig_open(rig_defaults(), 1 << 20);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 16, 0), 0);
    (void)touch(&rig, 3, MV_ACCESS_WRITE);
    struct pt_exit exit = {.reason = PT_EXIT_EPT_VIOLATION, .code = 2, .gpa = mv_gpa(3 << 12)};
    for (unsigned i = 0; i < 2; i++) {
        exit.code |= i ? 8 : 0; /* the slow way, and the fast one */
        rendezvous_enter(&rig.vcpu->inside);
        assert_int_equal(hv_handle_exit(rig.vcpu, &exit), HV_RETRY);
        rendezvous_leave(&rig.vcpu->inside);
    }
    assert_int_equal(counters_of(&rig).pf_spurious, 2);
    assert_int_equal(counters_of(&rig).pf_fixed, 1);
    rig_close(&rig);
}

/* By write-protection: each page of a round costs one fast fault, and a log that nobody writes stays empty. */
static void test_write_protection(void **state)
{
    (void)state;
    EACH_KIND(k)
    {
        struct hv_options options = with(kinds[k]);
        options.level_max = 1;
        struct rig rig = rig_open(&options, 1 << 20);
        assert_int_equal(set_slot_of(&rig, 0, 0, 64, 128, 0), 0);
        for (uint64_t gfn = 64; gfn < 192; gfn++) {
            (void)touch(&rig, gfn, MV_ACCESS_WRITE);
        }
        assert_int_equal(set_slot_of(&rig, 0, KVM_MEM_LOG_DIRTY_PAGES, 64, 128, 0), 0);
        uint64_t log[2];
        for (unsigned round = 1; round <= 3; round++) {
            assert_int_equal(touch(&rig, 64 + round, MV_ACCESS_WRITE).exits, 1);
            assert_int_equal(touch(&rig, 64 + round, MV_ACCESS_WRITE).exits, 0);
            assert_int_equal(touch(&rig, 80, MV_ACCESS_READ).exits, 0);
            assert_int_equal(counters_of(&rig).pf_fast, round);
            get_log(&rig, 0, log);
            assert_int_equal(log[0], 1u << round);
            assert_int_equal(log[1], 0);
        }
        check_tables(&rig);
        rig_close(&rig);
    }
}

/* By D bits: no exit at all. */
static void test_dirty_bits(void **state)
{
    (void)state;
    EACH_KIND(k)
    {
        struct hv_options options = with(kinds[k]);
        options.log_by = HV_LOG_BY_DIRTY_BIT;
        struct rig rig = rig_open(&options, 2 << 20);
        assert_int_equal(set_slot_of(&rig, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, 512, 0), 0);
        for (uint64_t gfn = 0; gfn < 512; gfn++) {
            (void)touch(&rig, gfn, MV_ACCESS_READ);
        }
        uint64_t log[8];
        for (unsigned round = 1; round <= 3; round++) {
            get_log(&rig, 0, log);
            assert_int_equal(log[1], round == 1 ? 0 : UINT64_C(1) << (round - 1));
            assert_int_equal(touch(&rig, 64 + round, MV_ACCESS_WRITE).exits, 0);
        }
        rig_close(&rig);
    }
}

static struct rig open_large_and_logged(enum hv_mmu_kind kind, enum hv_log_by log_by, bool eager)
{
    struct hv_options options = with(kind);
    options.log_by = log_by;
    options.eager_split = eager;
    options.level_max = 2;
    struct rig rig = rig_open(&options, 4 << 20);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 1024, 0), 0);
    (void)touch(&rig, 5, MV_ACCESS_WRITE);
    (void)touch(&rig, 700, MV_ACCESS_WRITE);
    assert_int_equal(counters_of(&rig).pages_2m, 2);
    assert_int_equal(set_slot_of(&rig, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, 1024, 0), 0);
    return rig;
}

/* Large pages are split when logging begins or at the first write, and come back when it has ended. */
static void test_split_and_collapse(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        enum hv_log_by log_by = i & 1 ? HV_LOG_BY_DIRTY_BIT : HV_LOG_BY_WRITE_PROTECTION;
        bool eager = i & 2;
        struct rig rig = open_large_and_logged(kinds[i >> 2], log_by, eager);
        assert_int_equal(counters_of(&rig).splits, eager ? 2 : 0);
        assert_int_equal(counters_of(&rig).pages_2m, eager ? 0 : 2);
        /* Reading costs nothing; the first write splits its page alone. */
        assert_int_equal(touch(&rig, 6, MV_ACCESS_READ).exits, 0);
        assert_int_equal(touch(&rig, 6, MV_ACCESS_WRITE).exits, !eager || !(i & 1) ? 1 : 0);
        assert_int_equal(counters_of(&rig).splits, eager ? 2 : 1);
        assert_int_equal(touch(&rig, 7, MV_ACCESS_WRITE).exits, i & 1 ? 0 : 1);
        uint64_t log[16];
        get_log(&rig, 0, log);
        assert_int_equal(log[0], 3 << 6);
        assert_int_equal(log[10], 0);
        check_tables(&rig);
        assert_int_equal(set_slot_of(&rig, 0, 0, 0, 1024, 0), 0);
        assert_int_equal(counters_of(&rig).pages_2m, eager ? 2 : 2);
        assert_int_equal(counters_of(&rig).collapses, eager ? 2 : 1);
        (void)touch(&rig, 700, MV_ACCESS_WRITE);
        assert_true(see(&rig, 700).w && see(&rig, 7).w);
        check_tables(&rig);
        rig_close(&rig);
    }
}

/* All bits are set at the start: a page is protected when its bit is cleared, and a large one by its first. */
static void test_initially_set(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        struct hv_options options = with(kinds[i & 1]);
        options.eager_split = i & 2;
        options.log_by = i & 4 ? HV_LOG_BY_DIRTY_BIT : HV_LOG_BY_WRITE_PROTECTION;
        struct rig rig = rig_open(&options, 4 << 20);
        assert_int_equal(hv_enable_manual_protect(rig.vm, 3), 0);
        assert_int_equal(set_slot_of(&rig, 0, 0, 0, 1024, 0), 0);
        (void)touch(&rig, 5, MV_ACCESS_WRITE);
        assert_int_equal(set_slot_of(&rig, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, 1024, 0), 0);
        assert_int_equal(counters_of(&rig).splits, 0);
        assert_int_equal(see(&rig, 5).w, !(i & 4));
        uint64_t log[16];
        get_log(&rig, 0, log);
        assert_true(log[0] == UINT64_MAX && log[15] == UINT64_MAX);
        uint64_t bits = 1u << 5;
        struct kvm_clear_dirty_log clear = {.slot = 0, .num_pages = 64, .first_page = 0, .dirty_bitmap = &bits};
        assert_int_equal(hv_clear_dirty_log(rig.vm, &clear), 0);
        assert_int_equal(counters_of(&rig).splits, i & 2 ? 1 : 0);
        struct seen s = see(&rig, 5);
        assert_true(i & 4 ? !s.d : !s.w);
        get_log(&rig, 0, log);
        assert_int_equal(log[0], ~(UINT64_C(1) << 5));
        (void)touch(&rig, 5, MV_ACCESS_WRITE);
        get_log(&rig, 0, log);
        assert_int_equal(log[0], UINT64_MAX);
        check_tables(&rig);
        rig_close(&rig);
    }
}

/* Of 512 pages one is cleared, wherever the range begins: it is protected, and not all of the range with it. */
static void test_a_little_is_cleared(void **state)
{
    (void)state;
    for (unsigned word = 0; word <= 8; word++) {
        struct rig rig = rig_open(rig_defaults(), 8 << 20);
        uint64_t log[32];
        unsigned exits = 0;
        assert_int_equal(hv_enable_manual_protect(rig.vm, 1), 0);
        assert_int_equal(set_slot_of(&rig, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, 2048, 0), 0);
        for (unsigned page = 512; page < 1024; page++) {
            (void)touch(&rig, page, MV_ACCESS_WRITE);
        }
        get_log(&rig, 0, log);
        memset(log, 0, sizeof log);
        log[8 - word] = 1; /* page 512 */
        struct kvm_clear_dirty_log clear = {.first_page = word * 64, .num_pages = 8 * 64, .dirty_bitmap = log};
        clear.num_pages += word == 0 ? 64 : 0;
        assert_int_equal(hv_clear_dirty_log(rig.vm, &clear), 0);
        for (unsigned page = 512; page < 1024; page++) {
            exits += touch(&rig, page, MV_ACCESS_WRITE).exits;
        }
        assert_int_equal(exits, 1);
        rig_close(&rig);
    }
}

/* A page that is aged is found young again when it was used, with A bits or by access tracking. */
static void test_age(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct hv_options options = with(kinds[i & 1]);
        options.access_dirty = i & 2;
        struct rig rig = rig_open(&options, 1 << 20);
        assert_int_equal(set_slot_of(&rig, 0, 0, 0, 16, 0), 0);
        assert_false(hv_notifier_age(rig.vm, hva_range(&rig, 0, 16)));
        (void)touch(&rig, 3, MV_ACCESS_WRITE);
        assert_true(hv_notifier_test_age(rig.vm, hva_range(&rig, 3, 1)));
        assert_false(hv_notifier_test_age(rig.vm, hva_range(&rig, 4, 12)));
        assert_true(hv_notifier_age(rig.vm, hva_range(&rig, 0, 16)));
        assert_false(hv_notifier_test_age(rig.vm, hva_range(&rig, 0, 16)));
        assert_false(hv_notifier_age(rig.vm, hva_range(&rig, 0, 16)));
        check_tables(&rig);
        assert_int_equal(touch(&rig, 3, MV_ACCESS_WRITE).exits, options.access_dirty ? 0 : 1);
        assert_int_equal(counters_of(&rig).pf_fast, options.access_dirty ? 0 : 1);
        assert_true(hv_notifier_test_age(rig.vm, hva_range(&rig, 3, 1)));
        assert_int_equal(counters_of(&rig).pages_4k, 1);
        rig_close(&rig);
    }
}

/* The host writes its page no more through us; the next write of the guest asks again. */
static void test_host_write_protect(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct hv_options options = with(kinds[i & 1]);
        options.access_dirty = i & 2;
        struct rig rig = rig_open(&options, 1 << 20);
        assert_int_equal(set_slot_of(&rig, 0, 0, 0, 16, 0), 0);
        (void)touch(&rig, 3, MV_ACCESS_WRITE);
        (void)touch(&rig, 4, MV_ACCESS_WRITE);
        hv_notifier_write_protect(rig.vm, hva_range(&rig, 3, 1));
        assert_true(see(&rig, 3).r && !see(&rig, 3).w && see(&rig, 4).w);
        check_tables(&rig);
        assert_int_equal(touch(&rig, 3, MV_ACCESS_READ).exits, 0);
        assert_int_equal(touch(&rig, 3, MV_ACCESS_WRITE).exits, 1);
        assert_int_equal(counters_of(&rig).pf_fast, 0);
        assert_int_equal(counters_of(&rig).pages_4k, 2);
        rig_close(&rig);
    }
}

static void test_execute_only(void **state)
{
    (void)state;
    struct hv_options options = with(HV_MMU_EPT);
    options.execute_only = true;
    struct rig rig = rig_open(&options, 1 << 20);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 16, 0), 0);
    (void)touch(&rig, 3, MV_ACCESS_FETCH);
    struct seen s = see(&rig, 3);
    assert_true(s.x && !s.r && !s.w);
    assert_int_equal(touch(&rig, 3, MV_ACCESS_READ).exits, 1);
    s = see(&rig, 3);
    assert_true(s.x && s.r && s.w);
    (void)touch(&rig, 4, MV_ACCESS_READ);
    assert_int_equal(touch(&rig, 4, MV_ACCESS_FETCH).exits, 0);
    /* What the host protects a read does not make writable. */
    (void)touch(&rig, 5, MV_ACCESS_FETCH);
    hv_notifier_write_protect(rig.vm, hva_range(&rig, 5, 1));
    assert_int_equal(touch(&rig, 5, MV_ACCESS_READ).exits, 1);
    assert_false(see(&rig, 5).w);
    assert_int_equal(touch(&rig, 5, MV_ACCESS_WRITE).exits, 1);
    check_tables(&rig);
    rig_close(&rig);
}

static bool recover(struct rig *rig, unsigned ratio)
{
    pthread_mutex_lock(&rig->vm->slots_lock);
    pthread_mutex_lock(&rig->vm->mmu_lock);
    bool flush = rig->vm->mmu->recover(rig->vm, ratio);
    if (flush) {
        hv_flush_all(rig->vm);
    }
    rig->vm->mmu->collect(rig->vm);
    pthread_mutex_unlock(&rig->vm->mmu_lock);
    pthread_mutex_unlock(&rig->vm->slots_lock);
    return flush;
}

/* A fetch splits a large page; after recovery it is large again when it is next read. */
static void test_nx_huge_pages(void **state)
{
    (void)state;
    EACH_KIND(k)
    {
        struct hv_options options = with(kinds[k]);
        options.nx_huge_pages = true;
        options.level_max = 2;
        struct rig rig = rig_open(&options, 20 << 20);
        assert_int_equal(set_slot_of(&rig, 0, 0, 0, 10 * 512, 0), 0);
        for (uint64_t i = 0; i < 10; i++) {
            (void)touch(&rig, i * 512, i == 9 ? MV_ACCESS_FETCH : MV_ACCESS_READ);
            assert_int_equal(see(&rig, i * 512).x, i == 9);
        }
        assert_int_equal(counters_of(&rig).pages_2m, 9);
        for (uint64_t i = 0; i < 10; i++) {
            assert_int_equal(touch(&rig, i * 512 + 3, MV_ACCESS_FETCH).exits, 1);
            assert_int_equal(touch(&rig, i * 512 + 4, MV_ACCESS_FETCH).exits,
                             i == 9 ? 1 : 0); /* split, not zapped */
        }
        assert_int_equal(counters_of(&rig).nx_lpage_splits, 10);
        assert_int_equal(counters_of(&rig).splits, 9);
        check_tables(&rig);
        assert_false(recover(&rig, 0));
        assert_true(recover(&rig, 4)); /* 3 of 10 */
        assert_int_equal(counters_of(&rig).nx_lpage_splits, 7);
        assert_true(recover(&rig, 2)); /* 4 of 7 */
        assert_true(recover(&rig, 1));
        assert_false(recover(&rig, 1));
        assert_int_equal(counters_of(&rig).nx_lpage_splits, 0);
        (void)touch(&rig, 0, MV_ACCESS_READ);
        assert_int_equal(see(&rig, 0).level, 2);
        check_tables(&rig);
        rig_close(&rig);
    }
}

/* Everything goes at once, and the vCPU gets another root. */
static void test_zap_all(void **state)
{
    (void)state;
    EACH_KIND(k)
    {
        struct hv_options options = with(kinds[k]);
        options.level_max = 1;
        struct rig rig = rig_open(&options, 1 << 24);
        assert_int_equal(set_slot_of(&rig, 0, 0, 0, 2048, 0), 0);
        assert_int_equal(set_slot_of(&rig, 1, 0, 4096, 2048, 2048), 0);
        for (uint64_t gfn = 0; gfn < 2048; gfn++) {
            (void)touch(&rig, gfn, MV_ACCESS_WRITE);
        }
        (void)touch(&rig, 4096, MV_ACCESS_WRITE);
        assert_int_equal(set_slot_of(&rig, 1, 0, 0, 0, 0), 0);
        assert_int_equal(counters_of(&rig).tables, 0);
        assert_int_equal(counters_of(&rig).pages_4k, 0);
        assert_int_equal(touch(&rig, 4096, MV_ACCESS_READ).answer, HV_EMULATE);
        assert_int_equal(touch(&rig, 5, MV_ACCESS_WRITE).hva, page_hva(&rig, 5));
        check_tables(&rig);
        rig_close(&rig);
    }
}

/* A fault that is still in a table which was unlinked finds it frozen: it can leave no leaf there. */
static void test_frozen(void **state)
{
    (void)state;
    struct hv_options options = with(HV_MMU_EPT);
    options.level_max = 1;
    struct rig rig = rig_open(&options, 4 << 20);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 1024, 0), 0);
    (void)touch(&rig, 5, MV_ACCESS_WRITE);
    struct hv_vm *vm = rig.vm;
    pt_word_t *mapped = (pt_word_t *)(void *)see(&rig, 5).word, *empty = (pt_word_t *)(void *)see(&rig, 6).word;
    pthread_mutex_lock(&vm->mmu_lock);
    assert_true(vm->mmu->zap_gfns(vm, hv_slot_of_id(vm->slots[0], 0), 0, 511));
    assert_int_equal(pt_load(mapped), SPTE_FROZEN);
    assert_int_equal(pt_load(empty), SPTE_FROZEN);
    assert_int_equal(see(&rig, 5).entry, 0);
    hv_flush_all(vm);
    vm->mmu->collect(vm);
    pthread_mutex_unlock(&vm->mmu_lock);
    assert_int_equal(counters_of(&rig).tables, 3);
    (void)touch(&rig, 6, MV_ACCESS_WRITE);
    check_tables(&rig);
    rig_close(&rig);
}

/* Pages that were split for fetches stay small when others come together after logging. */
static void test_nx_split_stays(void **state)
{
    (void)state;
    struct hv_options options = with(HV_MMU_EPT);
    options.nx_huge_pages = true;
    options.level_max = 2;
    struct rig rig = rig_open(&options, 4 << 20);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 1024, 0), 0);
    (void)touch(&rig, 5, MV_ACCESS_FETCH);
    (void)touch(&rig, 600, MV_ACCESS_READ);
    assert_int_equal(set_slot_of(&rig, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, 1024, 0), 0);
    (void)touch(&rig, 600, MV_ACCESS_WRITE);
    assert_int_equal(see(&rig, 600).level, 1);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 1024, 0), 0);
    assert_int_equal(see(&rig, 600).level, 2);
    assert_false(see(&rig, 600).x);
    assert_int_equal(see(&rig, 5).level, 1);
    assert_true(see(&rig, 5).x);
    check_tables(&rig);
    rig_close(&rig);
}

/* The other space has tables of its own. */
static void test_address_spaces(void **state)
{
    (void)state;
    struct rig rig = rig_open(rig_defaults(), 1 << 20);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 16, 0), 0);
    assert_int_equal(set_slot_of(&rig, 1 << 16, 0, 0, 16, 32), 0);
    assert_int_equal(touch(&rig, 3, MV_ACCESS_WRITE).hva, page_hva(&rig, 3));
    rig.vcpu->space = 1;
    hv_request_post(&rig.vcpu->requests, HV_REQUEST_RELOAD_ROOT);
    assert_int_equal(touch(&rig, 3, MV_ACCESS_WRITE).hva, page_hva(&rig, 35));
    assert_int_equal(counters_of(&rig).tables, 8);
    check_tables(&rig);
    rig_close(&rig);
}

/* No memory for tables: an error before anything changed, and it can be tried again. */
static void test_no_memory(void **state)
{
    (void)state;
    struct rig rig = rig_open(rig_defaults(), 1 << 20);
    struct tdp_pool *pool = &tdp_of(rig.vm)->pool;
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 16, 0), 0);
    assert_int_equal(set_slot_of(&rig, 1, 0, GIB_PAGES, 16, 16), 0);
    assert_int_equal(touch(&rig, 1, MV_ACCESS_READ).answer, HV_RETRY);
    tdp_cache_drain(pool, &tdp_vcpu_of(rig.vcpu)->cache);
    unsigned next = pool->next_in_chunk;
    pt_word_t *list = pool->free;
    pool->next_in_chunk = TDP_CHUNK_PAGES, pool->chunks_max = pool->chunk_count, pool->free = NULL;
    assert_int_equal(touch(&rig, GIB_PAGES, MV_ACCESS_READ).answer, HV_ERROR);
    assert_int_equal(rig.vcpu->error, -ENOMEM);
    check_tables(&rig);
    pool->next_in_chunk = next, pool->free = list;
    assert_int_equal(touch(&rig, GIB_PAGES, MV_ACCESS_READ).answer, HV_RETRY);
    check_tables(&rig);
    rig_close(&rig);
}

/* Everything was zapped, and there is no memory for a new root: an error, not a walk of the root that was freed.
 */
static void test_no_memory_for_a_root(void **state)
{
    (void)state;
    struct rig rig = rig_open(rig_defaults(), 1 << 20);
    struct hv_vcpu *vcpu = rig.vcpu;
    struct tdp_pool *pool = &tdp_of(rig.vm)->pool;
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 16, 0), 0);
    assert_int_equal(touch(&rig, 1, MV_ACCESS_READ).answer, HV_RETRY);
    const void *before = vcpu->root;
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 0, 0), 0); /* all goes with a slot */
    tdp_cache_drain(pool, &tdp_vcpu_of(vcpu)->cache);
    unsigned next = pool->next_in_chunk;
    pt_word_t *list = pool->free;
    pool->next_in_chunk = TDP_CHUNK_PAGES, pool->chunks_max = pool->chunk_count, pool->free = NULL;
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 16, 0), 0);
    rendezvous_enter(&vcpu->inside);
    assert_true(hv_request_take(&vcpu->requests) & HV_REQUEST_RELOAD_ROOT);
    assert_int_equal(vcpu->vm->mmu->load_root(vcpu), -ENOMEM);
    assert_true(vcpu->root != NULL && vcpu->root != before);
    struct seen s = see_by(rig.vm, vcpu->root, 1);
    assert_false(s.is_present);
    struct pt_exit exit = exit_of(rig.vm, 1, MV_ACCESS_READ, &s);
    assert_int_equal(hv_handle_exit(vcpu, &exit), HV_ERROR);
    assert_int_equal(vcpu->error, -ENOMEM);
    rendezvous_leave(&vcpu->inside);
    pool->next_in_chunk = next, pool->free = list;
    rendezvous_enter(&vcpu->inside);
    assert_int_equal(hv_handle_exit(vcpu, &exit), HV_RETRY);
    rendezvous_leave(&vcpu->inside);
    assert_int_equal(touch(&rig, 1, MV_ACCESS_READ).answer, HV_RETRY);
    check_tables(&rig);
    rig_close(&rig);
}

/* The host's page is made present first; where it has none the fault is an error, and maps nothing. */
static void test_populate(void **state)
{
    (void)state;
    struct hv_options options = with(HV_MMU_EPT);
    options.populate = true;
    struct rig rig = rig_open(&options, 1 << 20);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 16, 0), 0);
    unsigned char resident = 0;
    assert_int_equal(mincore(rig.ram + (3 << 12), 4096, &resident), 0);
    assert_int_equal(resident & 1, 0);
    (void)touch(&rig, 3, MV_ACCESS_WRITE);
    assert_int_equal(mincore(rig.ram + (3 << 12), 4096, &resident), 0);
    assert_int_equal(resident & 1, 1);
    assert_int_equal(mprotect(rig.ram + (5 << 12), 4096, PROT_NONE), 0);
    assert_int_equal(touch(&rig, 5, MV_ACCESS_WRITE).answer, HV_ERROR);
    assert_int_equal(rig.vcpu->error, -EFAULT);
    assert_false(see(&rig, 5).is_present);
    rig_close(&rig);
}

static void test_pre_fault(void **state)
{
    (void)state;
    EACH_KIND(k)
    {
        struct hv_options options = with(kinds[k]);
        struct rig rig = rig_open(&options, 8 << 20);
        assert_int_equal(set_slot_of(&rig, 0, 0, 0, 1024 + 3, 0), 0);
        struct hv_pre_fault range = {.gpa = 0x5000, .size = (1024 - 5 + 5) << 12};
        assert_int_equal(hv_pre_fault(rig.vcpu, &range), 0);
        assert_int_equal(range.gpa, (1024 + 3) << 12);
        assert_int_equal(range.size, 2 << 12);
        assert_int_equal(counters_of(&rig).pages_2m, 2);
        assert_int_equal(counters_of(&rig).pages_4k, 3);
        assert_int_equal(touch(&rig, 1025, MV_ACCESS_WRITE).exits, 0);
        assert_int_equal(hv_pre_fault(rig.vcpu, &range), -ENOENT);
        rig_close(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_touch),
        cmocka_unit_test(test_overhead),
        cmocka_unit_test(test_level),
        cmocka_unit_test(test_five_levels),
        cmocka_unit_test(test_beyond_the_tables),
        cmocka_unit_test(test_mmio),
        cmocka_unit_test(test_mmio_is_bounded),
        cmocka_unit_test(test_read_only_slot),
        cmocka_unit_test(test_spurious),
        cmocka_unit_test(test_write_protection),
        cmocka_unit_test(test_dirty_bits),
        cmocka_unit_test(test_split_and_collapse),
        cmocka_unit_test(test_initially_set),
        cmocka_unit_test(test_a_little_is_cleared),
        cmocka_unit_test(test_age),
        cmocka_unit_test(test_host_write_protect),
        cmocka_unit_test(test_execute_only),
        cmocka_unit_test(test_nx_huge_pages),
        cmocka_unit_test(test_zap_all),
        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_nx_split_stays),
        cmocka_unit_test(test_address_spaces),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_no_memory_for_a_root),
        cmocka_unit_test(test_populate),
        cmocka_unit_test(test_pre_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
