// SPDX-License-Identifier: MIT
/*
 * The shadow MMU as slots, logs and the notifier see it, with a processor that is no more than a walk of its
 * tables (tdp_test.h). Paging is off, so the guest has no tables, and addresses are guest-physical. What guests
 * with tables see is in tests/conform/shadow*_test.c.
 */
#include "hypervisor/shadow.h"

#include "hypervisor/tdp_test.h"

static struct rig open_shadow(uint64_t ram_bytes)
{
    struct hv_options options = *rig_defaults();
    options.mmu = HV_MMU_SHADOW;
    return rig_open(&options, ram_bytes);
}

static struct seen look(const struct rig *rig, uint64_t gfn)
{
    return walk_npt(rig->vcpu->root, 4, gfn);
}

/* @return how many exits it took; `ret_answer` is the last one's answer */
static unsigned access_of(struct rig *rig, uint64_t gfn, enum mv_access kind, enum hv_answer *ret_answer)
{
    struct hv_vcpu *vcpu = rig->vcpu;
    *ret_answer = HV_RETRY;
    for (unsigned exits = 0;; exits++) {
        rendezvous_enter(&vcpu->inside);
        take_requests(vcpu);
        struct seen s = look(rig, gfn);
        if (seen_allows(&s, kind) || *ret_answer != HV_RETRY) {
            if (seen_allows(&s, kind)) {
                assert_true(replace(s.word, s.entry, s.entry | 1u << 5 | (kind == MV_ACCESS_WRITE ? 1u << 6 : 0)));
            }
            rendezvous_leave(&vcpu->inside);
            return exits;
        }
        struct pt_exit exit = {.reason = PT_EXIT_PAGE_FAULT,
                               .access = {.kind = kind, .who = PT_SUPERVISOR},
                               .gva = mv_gva(gfn << 12),
                               .code = (s.is_present || s.is_refused ? PF_PRESENT : 0) |
                                       (s.is_refused ? PF_RESERVED : 0) |
                                       (kind == MV_ACCESS_WRITE ? PF_WRITE : 0)};
        enum hv_answer answer = hv_handle_exit(vcpu, &exit);
        rendezvous_leave(&vcpu->inside);
        while (answer == HV_SETTLE) {
            hv_settle(rig->vm);
            rendezvous_enter(&vcpu->inside);
            take_requests(vcpu);
            answer = hv_handle_again(vcpu, &exit);
            rendezvous_leave(&vcpu->inside);
        }
        *ret_answer = answer;
    }
}

static unsigned use(struct rig *rig, uint64_t gfn, enum mv_access kind)
{
    enum hv_answer answer;
    unsigned exits = access_of(rig, gfn, kind, &answer);
    assert_int_equal(answer, HV_RETRY);
    return exits;
}

/* Every entry is one that spte.h describes, is in its reverse map, and counted. */
static void check_page(struct rig *rig, const struct shadow_page *page, uint64_t *pages)
{
    const struct shadow *s = shadow_of(rig->vm);
    unsigned level = page->role.level;
    for (unsigned i = 0; i < PT_ENTRIES; i++) {
        uint64_t e = pt_load(&page->table[i]);
        assert_true(spte_check(&pt_format_shadow, e, level));
        if (shadow_is_leaf(e, level)) {
            struct rmap_chunk *chunk = rmap_find(&s->rmap, pt_address(e));
            struct rmap_iter it;
            struct rmap_list list = rmap_entries(&(struct rmap_page){chunk, pt_address(e), level});
            pt_word_t *entry = rmap_first(&list, &it);
            while (entry != &page->table[i]) {
                assert_non_null(entry);
                entry = rmap_next(&it);
            }
            pages[level]++;
        }
    }
}

static void check_pages(struct rig *rig)
{
    const struct shadow *s = shadow_of(rig->vm);
    uint64_t pages[6] = {0}, tables = 0;
    for (const struct shadow_page *page = s->oldest; page; page = page->newer) {
        assert_ptr_equal(shadow_page_of_table(page->table), page);
        check_page(rig, page, pages);
        tables++;
    }
    struct hv_counters now = counters_of(rig);
    assert_int_equal(now.pages_4k, pages[1]);
    assert_int_equal(now.pages_2m, pages[2]);
    assert_int_equal(now.pages_1g, pages[3]);
    assert_int_equal(now.tables, tables);
    assert_int_equal(now.tables, now.tables_built - now.tables_zapped);
    assert_true(rig->vm->mmu->table_bytes(rig->vm) > tables * 4096);
}

static void without_paging_pages_are_large(void **state)
{
    (void)state;
    struct rig rig = open_shadow(UINT64_C(4) << 30);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 512, 0), 0);
    assert_int_equal(set_slot_of(&rig, 1, 0, GIB_PAGES, 2 * GIB_PAGES, GIB_PAGES), 0);
    assert_int_equal(set_slot_of(&rig, 2, 0, 4096, 1024, 513), 0); /* both addresses are not alike */
    assert_int_equal(use(&rig, 5, MV_ACCESS_READ), 1);
    assert_int_equal(look(&rig, 5).level, 2);
    assert_int_equal(use(&rig, GIB_PAGES + 77, MV_ACCESS_WRITE), 1);
    assert_int_equal(look(&rig, GIB_PAGES + 77).level, 3);
    assert_int_equal(look(&rig, GIB_PAGES + 77).hva, page_hva(&rig, GIB_PAGES + 77));
    assert_int_equal(use(&rig, 4096, MV_ACCESS_READ), 1);
    assert_int_equal(look(&rig, 4096).level, 1);
    check_pages(&rig);
    /* Of a large page all goes, wherever the part is that the host takes. */
    hv_notifier_begin(rig.vm, hva_range(&rig, GIB_PAGES + 200000, 1));
    hv_notifier_end(rig.vm, hva_range(&rig, GIB_PAGES + 200000, 1));
    assert_false(look(&rig, GIB_PAGES + 77).is_present);
    assert_true(look(&rig, 5).is_present);
    check_pages(&rig);
    rig_close(&rig);
}

static void logging_takes_large_pages_and_notices_writes(void **state)
{
    (void)state;
    uint64_t bits[16];
    struct rig rig = open_shadow(4 << 20);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 1024, 0), 0);
    assert_int_equal(use(&rig, 5, MV_ACCESS_WRITE), 1);
    assert_int_equal(look(&rig, 5).level, 2);
    assert_int_equal(set_slot_of(&rig, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, 1024, 0), 0);
    assert_false(look(&rig, 5).is_present);
    assert_int_equal(use(&rig, 5, MV_ACCESS_READ), 1);
    assert_int_equal(look(&rig, 5).level, 1);
    assert_false(look(&rig, 5).w);
    get_log(&rig, 0, bits);
    assert_false(bit_of(bits, 5));
    for (unsigned round = 1; round <= 3; round++) {
        assert_int_equal(use(&rig, 5, MV_ACCESS_WRITE), 1);
        assert_int_equal(use(&rig, 5, MV_ACCESS_WRITE), 0);
        assert_int_equal(counters_of(&rig).pf_fast, round);
        get_log(&rig, 0, bits);
        assert_true(bit_of(bits, 5));
        assert_false(bit_of(bits, 6));
    }
    check_pages(&rig);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 1024, 0), 0);
    assert_int_equal(use(&rig, 5, MV_ACCESS_WRITE), 1);
    assert_int_equal(look(&rig, 5).level, 2);
    check_pages(&rig);
    rig_close(&rig);
}

static void pages_are_aged(void **state)
{
    (void)state;
    struct rig rig = open_shadow(1 << 20);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 16, 0), 0);
    assert_false(hv_notifier_age(rig.vm, hva_range(&rig, 0, 16)));
    (void)use(&rig, 3, MV_ACCESS_WRITE);
    assert_true(hv_notifier_test_age(rig.vm, hva_range(&rig, 3, 1)));
    assert_false(hv_notifier_test_age(rig.vm, hva_range(&rig, 4, 12)));
    assert_true(hv_notifier_age(rig.vm, hva_range(&rig, 0, 16)));
    assert_false(hv_notifier_test_age(rig.vm, hva_range(&rig, 0, 16)));
    assert_int_equal(use(&rig, 3, MV_ACCESS_WRITE), 0); /* the processor sets A */
    assert_true(hv_notifier_test_age(rig.vm, hva_range(&rig, 3, 1)));
    check_pages(&rig);
    rig_close(&rig);
}

/* The host writes its page no more through us; the next write of the guest asks again. */
static void the_host_takes_writing(void **state)
{
    (void)state;
    struct rig rig = open_shadow(1 << 20);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 16, 0), 0);
    (void)use(&rig, 3, MV_ACCESS_WRITE);
    (void)use(&rig, 4, MV_ACCESS_WRITE);
    hv_notifier_write_protect(rig.vm, hva_range(&rig, 3, 1));
    assert_true(look(&rig, 3).is_present && !look(&rig, 3).w && look(&rig, 4).w);
    assert_int_equal(use(&rig, 3, MV_ACCESS_READ), 0);
    assert_int_equal(use(&rig, 3, MV_ACCESS_WRITE), 1);
    assert_int_equal(counters_of(&rig).pf_fast, 0);
    check_pages(&rig);
    rig_close(&rig);
}

static void a_host_range_goes(void **state)
{
    (void)state;
    struct rig rig = open_shadow(8 << 20);
    enum hv_answer answer;
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 1024, 0), 0);
    (void)use(&rig, 3, MV_ACCESS_WRITE);
    (void)use(&rig, 600, MV_ACCESS_WRITE);
    assert_int_equal(counters_of(&rig).pages_2m, 2);
    hv_notifier_begin(rig.vm, hva_range(&rig, 3, 1));
    assert_false(look(&rig, 3).is_present);
    assert_true(look(&rig, 600).is_present);
    /* Around it a smaller page is made; of itself, none. */
    assert_int_equal(use(&rig, 7, MV_ACCESS_WRITE), 1);
    assert_int_equal(look(&rig, 7).level, 1);
    rendezvous_enter(&rig.vcpu->inside);
    take_requests(rig.vcpu);
    struct pt_exit exit = {.reason = PT_EXIT_PAGE_FAULT, .gva = mv_gva(3 << 12)};
    assert_int_equal(hv_handle_exit(rig.vcpu, &exit), HV_RETRY);
    rendezvous_leave(&rig.vcpu->inside);
    assert_false(look(&rig, 3).is_present);
    hv_notifier_end(rig.vm, hva_range(&rig, 3, 1));
    assert_int_equal(access_of(&rig, 3, MV_ACCESS_WRITE, &answer), 1);
    check_pages(&rig);
    rig_close(&rig);
}

static void read_only_slots_and_nothing(void **state)
{
    (void)state;
    struct rig rig = open_shadow(1 << 20);
    enum hv_answer answer;
    assert_int_equal(set_slot_of(&rig, 0, KVM_MEM_READONLY, 0, 16, 0), 0);
    assert_int_equal(use(&rig, 3, MV_ACCESS_READ), 1);
    (void)access_of(&rig, 3, MV_ACCESS_WRITE, &answer);
    assert_int_equal(answer, HV_EMULATE);
    assert_false(look(&rig, 3).is_refused);
    (void)access_of(&rig, 20, MV_ACCESS_READ, &answer);
    assert_int_equal(answer, HV_EMULATE);
    check_pages(&rig);
    rig_close(&rig);
}

/* A slot alone takes its own translations; else all go, by generation. */
static void slots_take_their_translations(void **state)
{
    (void)state;
    for (unsigned only = 0; only < 2; only++) {
        struct hv_options options = *rig_defaults();
        options.mmu = HV_MMU_SHADOW;
        options.zap_slot_only = only;
        struct rig rig = rig_open(&options, 8 << 20);
        assert_int_equal(set_slot_of(&rig, 0, 0, 0, 16, 0), 0);
        assert_int_equal(set_slot_of(&rig, 1, 0, 1024, 16, 1024), 0);
        (void)use(&rig, 3, MV_ACCESS_WRITE);
        (void)use(&rig, 1027, MV_ACCESS_WRITE);
        uint64_t zapped = counters_of(&rig).tables_zapped;
        assert_int_equal(set_slot_of(&rig, 1, 0, 1024, 0, 1024), 0);
        assert_int_equal(counters_of(&rig).pages_4k, only ? 8 : 0); /* with its neighbours */
        assert_int_equal(counters_of(&rig).tables_zapped - zapped, only ? 0 : 5);
        assert_int_equal(use(&rig, 3, MV_ACCESS_WRITE), only ? 0 : 1);
        check_pages(&rig);
        rig_close(&rig);
    }
}

/* With every step the same: entries, reverse maps and counters agree. */
static void random_steps_keep_it_consistent(void **state)
{
    (void)state;
    const char *given = getenv("MEMVIRT_TEST_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : 1;
    print_message("# seed %u\n", seed);
    struct rig rig = open_shadow(8 << 20);
    uint64_t bits[32];
    enum hv_answer answer;
    uint32_t flags = 0;
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 2048, 0), 0);
    for (unsigned step = 0; step < 2000; step++) {
        seed = seed * 1103515245 + 12345;
        unsigned what = seed >> 28, page = seed >> 8 & 2047, count = 1 + (seed >> 20 & 63);
        struct mv_range range = hva_range(&rig, page, page + count <= 2048 ? count : 1);
        if (what == 0) {
            hv_notifier_begin(rig.vm, range);
            hv_notifier_end(rig.vm, range);
        } else if (what == 1) {
            hv_notifier_write_protect(rig.vm, range);
        } else if (what == 2) {
            (void)hv_notifier_age(rig.vm, range);
        } else if (what == 3) {
            flags ^= KVM_MEM_LOG_DIRTY_PAGES;
            assert_int_equal(set_slot_of(&rig, 0, flags, 0, 2048, 0), 0);
        } else if (what == 4 && flags) {
            get_log(&rig, 0, bits);
        } else if (what == 5 && page < 64) {
            assert_int_equal(set_slot_of(&rig, 0, flags, 0, 0, 0), 0);
            assert_int_equal(set_slot_of(&rig, 0, flags, 0, 2048, 0), 0);
        } else {
            (void)access_of(&rig, page, (enum mv_access)(seed >> 6 & 1), &answer);
            assert_int_equal(answer, HV_RETRY);
            assert_int_equal(look(&rig, page).hva, page_hva(&rig, page));
        }
        if (step % 8 == 0) {
            check_pages(&rig);
        }
    }
    rig_close(&rig);
}

/* The log took W from an entry a moment ago, and the guest the page's right: that TLBs have W still is noted, or a
 * table that comes to lie there would be filled before they forget. */
static void a_right_that_the_log_took_before_is_lost(void **state)
{
    (void)state;
    struct rig rig = open_shadow(4 << 20);
    struct shadow *s = shadow_of(rig.vm);
    assert_int_equal(set_slot_of(&rig, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, 1024, 0), 0);
    assert_int_equal(use(&rig, 5, MV_ACCESS_WRITE), 1);
    hv_settle(rig.vm);
    assert_true(rig.vm->mmu->log_protect(rig.vm, hv_slot_of_id(rig.vm->slots[0], 0), 5, 1));
    pthread_mutex_lock(&s->lock);
    struct seen seen = look(&rig, 5);
    uint64_t to = seen.entry & ~pt_format_shadow.software_mmu_writable;
    assert_true(shadow_set_leaf(rig.vm, (pt_word_t *)seen.word, 1, to));
    const struct shadow_wanted wanted = {
        .frame = page_hva(&rig, 5) >> 12, .gfn = 5, .role = {.level = 1, .levels = MV_PAGING_4LEVEL}};
    struct shadow_page *page = shadow_page_get(rig.vm, &wanted);
    assert_non_null(page);
    assert_false(shadow_is_ready(s, page));
    pthread_mutex_unlock(&s->lock);
    hv_settle(rig.vm);
    assert_true(shadow_is_ready(s, page));
    rig_close(&rig);
}

static const struct paging_cpu cpu = {.address_bits = 46};

static const struct paging_regs long_mode = {.cr0 = UINT64_C(0x80010001), .cr4 = 0x20, .efer = 0xd00};

/* vCPUs keep roots that they do not use at the moment. When one goes, they let go of it. */
static void kept_roots_that_went_are_freed(void **state)
{
    (void)state;
    struct rig rig = open_shadow(4 << 20);
    const struct shadow *s = shadow_of(rig.vm);
    struct paging_regs regs = long_mode;
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 512, 0), 0);
    assert_int_equal(set_slot_of(&rig, 1, 0, 512, 512, 512), 0);
    hv_set_regs(rig.vcpu, &regs, &cpu);
    for (uint64_t root = 0; root < 4; root++) {
        hv_load_cr3(rig.vcpu, (root == 3 ? 512 : root) << 12);
    }
    hv_settle(rig.vm);
    assert_int_equal(s->live_count, s->page_count);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 0, 0), 0);
    rendezvous_enter(&rig.vcpu->inside);
    take_requests(rig.vcpu);
    rendezvous_leave(&rig.vcpu->inside);
    hv_settle(rig.vm);
    assert_int_equal(s->live_count, s->page_count);
    check_pages(&rig);
    rig_close(&rig);
}

/* PAE: what CR3 points to was read when it was loaded, and is asked no more (Intel SDM, "PDPTE Registers"). */
static void pdpte_registers_need_no_memory(void **state)
{
    (void)state;
    struct rig rig = open_shadow(4 << 20);
    struct paging_regs regs = long_mode;
    const uint64_t directory = 512, table = 513, data = 514;
    regs.efer = 0;
    regs.cr3 = 5 << 12;
    regs.pdptr[0] = directory << 12 | 1;
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 512, 0), 0);
    assert_int_equal(set_slot_of(&rig, 1, 0, 512, 512, 512), 0);
    *(uint64_t *)(void *)(rig.ram + (directory << 12)) = table << 12 | 0x67;
    *(uint64_t *)(void *)(rig.ram + (table << 12) + 3 * 8) = data << 12 | 0x67;
    hv_set_regs(rig.vcpu, &regs, &cpu);
    assert_true(use(&rig, 3, MV_ACCESS_READ) > 0);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 0, 0), 0);
    assert_true(use(&rig, 3, MV_ACCESS_READ) <= 1);
    assert_int_equal(look(&rig, 3).hva, page_hva(&rig, data));
    hv_set_regs(rig.vcpu, &regs, &cpu);
    assert_int_equal(use(&rig, 3, MV_ACCESS_WRITE), 0);
    assert_int_equal(look(&rig, 3).hva, page_hva(&rig, data));
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_paging_pages_are_large),
        cmocka_unit_test(logging_takes_large_pages_and_notices_writes),
        cmocka_unit_test(pages_are_aged),
        cmocka_unit_test(the_host_takes_writing),
        cmocka_unit_test(a_host_range_goes),
        cmocka_unit_test(read_only_slots_and_nothing),
        cmocka_unit_test(slots_take_their_translations),
        cmocka_unit_test(random_steps_keep_it_consistent),
        cmocka_unit_test(a_right_that_the_log_took_before_is_lost),
        cmocka_unit_test(kept_roots_that_went_are_freed),
        cmocka_unit_test(pdpte_registers_need_no_memory),
    };
    return cmocka_run_group_tests_name("shadow", tests, NULL, NULL);
}
