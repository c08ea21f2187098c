// SPDX-License-Identifier: MIT
/*
 * The hybrid MMU as the hypervisor has it: what its entries are, and what the host does between two faults. There
 * is no processor here; that walks take what they should is in tests/conform/hybrid_test.c.
 */
#include "hypervisor/hybrid.h"

#include "hypervisor/shadow.h"
#include "hypervisor/tdp_test.h"

#define GVA UINT64_C(0x7f0000400000)
#define ENTRY (X86_ENTRY_P | X86_ENTRY_RW | X86_ENTRY_US)
#define ROOT UINT64_C(1) /* gfns of the guest's tables: of level 4 to 1 */
#define DATA UINT64_C(16)
#define SLOT_PAGES UINT64_C(1024)

static uint64_t *guest_entry(const struct rig *rig, unsigned level)
{
    uint64_t gfn = ROOT + 4 - level;
    return (uint64_t *)(void *)(rig->ram + (gfn << 12)) + pt_index(GVA, level);
}

/* Four levels that lead to DATA; the third one takes W. */
static struct rig open_hybrid(unsigned nested_levels)
{
    struct hv_options options = *rig_defaults();
    options.mmu = HV_MMU_HYBRID;
    options.access_dirty = false;
    options.no_unsync = true;
    options.policy = (struct policy_options){.kind = POLICY_BY_LEVEL, .nested_levels = (uint8_t)nested_levels};
    struct rig rig = rig_open(&options, SLOT_PAGES << 12);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, SLOT_PAGES, 0), 0);
    for (unsigned level = 4; level > 1; level--) {
        *guest_entry(&rig, level) = (ROOT + 5 - level) << 12 | (ENTRY & ~(level == 3 ? X86_ENTRY_RW : 0));
    }
    *guest_entry(&rig, 1) = DATA << 12 | ENTRY;
    return rig;
}

static void load(struct rig *rig, uint64_t cr0)
{
    const struct paging_regs regs = {
        .cr0 = cr0, .cr3 = ROOT << 12, .cr4 = X86_CR4_PAE, .efer = X86_EFER_LMA | X86_EFER_NXE};
    const struct paging_cpu cpu = {.address_bits = 46, .has_1g_pages = true};
    hv_set_regs(rig->vcpu, &regs, &cpu);
}

#define CR0 (X86_CR0_PG | X86_CR0_WP)

static unsigned settled; /* how often all had to, for the last fault */

/* A #PF of the hardware's: what comes of it, when all have settled. */
static enum hv_answer fault_at(struct rig *rig, uint64_t gva, enum mv_access kind)
{
    struct hv_vcpu *vcpu = rig->vcpu;
    const struct pt_exit exit = {
        .reason = PT_EXIT_PAGE_FAULT, .access = {.kind = kind, .who = PT_USER}, .gva = mv_gva(gva)};
    settled = 0;
    rendezvous_enter(&vcpu->inside);
    take_requests(vcpu);
    enum hv_answer answer = hv_handle_exit(vcpu, &exit);
    while (answer == HV_SETTLE) {
        rendezvous_leave(&vcpu->inside);
        hv_settle(rig->vm);
        settled++;
        rendezvous_enter(&vcpu->inside);
        take_requests(vcpu);
        answer = hv_handle_again(vcpu, &exit);
    }
    rendezvous_leave(&vcpu->inside);
    return answer;
}

static enum hv_answer fault(struct rig *rig)
{
    return fault_at(rig, GVA, MV_ACCESS_READ);
}

static void requests(struct rig *rig)
{
    rendezvous_enter(&rig->vcpu->inside);
    take_requests(rig->vcpu);
    rendezvous_leave(&rig->vcpu->inside);
}

/* What is at the end of our way to GVA, and its level; 5: the root is the guest's. */
static uint64_t last_entry(struct rig *rig, unsigned *ret_level)
{
    const pt_word_t *table = rig->vcpu->root;
    *ret_level = 5;
    if (rig->vcpu->root_is_switched) {
        return (uint64_t)(uintptr_t)table;
    }
    for (unsigned level = 4;; level--) {
        uint64_t e = pt_load(&table[pt_index(GVA, level)]);
        if (level == 1 || !shadow_is_table(e, level)) {
            *ret_level = level;
            return e;
        }
        table = spte_table(e);
    }
}

/* Entries above give all rights; that which switches gives the guest's so far. */
static void an_entry_that_switches_has_the_guests_rights(void **state)
{
    (void)state;
    for (unsigned k = 0; k <= 4; k++) {
        struct rig rig = open_hybrid(k);
        unsigned level;
        load(&rig, CR0);
        assert_int_equal(rig.vcpu->root_is_switched, k == 4);
        if (k < 4) {
            assert_int_equal(fault(&rig), HV_RETRY);
        }
        uint64_t e = last_entry(&rig, &level);
        assert_int_equal(level, k == 0 ? 1 : k + 1);
        uint64_t page = k == 0 ? DATA : ROOT + 4 - k;
        assert_int_equal(pt_address(e), page_hva(&rig, page));
        if (k > 0 && k < 4) {
            assert_true(shadow_is_switch(e));
            assert_int_equal((e & X86_ENTRY_RW) != 0, k == 3); /* the third level's entry leads to the second */
            assert_true((e & X86_ENTRY_US) && (e & X86_ENTRY_A) && !(e & X86_ENTRY_NX));
            assert_int_equal(*guest_entry(&rig, k + 1) & X86_ENTRY_A, X86_ENTRY_A); /* above: we have set it */
            assert_int_equal(*guest_entry(&rig, k) & X86_ENTRY_A, X86_ENTRY_A);
        }
        /* Without CR0.WP all is shadowed. */
        load(&rig, X86_CR0_PG);
        assert_false(rig.vcpu->root_is_switched);
        assert_int_equal(fault(&rig), HV_RETRY);
        e = last_entry(&rig, &level);
        assert_int_equal(level, 1);
        assert_int_equal(pt_address(e), page_hva(&rig, DATA));
        rig_close(&rig);
    }
}

/* No page may be reached by its host address while the host takes it away, nor after. */
static void the_host_takes_a_table(void **state)
{
    (void)state;
    for (unsigned k = 1; k <= 4; k++) {
        struct rig rig = open_hybrid(k);
        unsigned level;
        load(&rig, CR0);
        if (k < 4) {
            assert_int_equal(fault(&rig), HV_RETRY);
        }
        (void)last_entry(&rig, &level);
        assert_int_equal(level, k + 1);
        const struct mv_range range = hva_range(&rig, ROOT + 4 - k, 1);
        hv_notifier_begin(rig.vm, range);
        requests(&rig);
        (void)last_entry(&rig, &level);
        assert_false(rig.vcpu->root_is_switched);
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(fault(&rig), HV_RETRY);
            requests(&rig);
            assert_false(rig.vcpu->root_is_switched);
            assert_true(k == 4 || !shadow_is_switch(last_entry(&rig, &level)));
        }
        hv_notifier_end(rig.vm, range);
        assert_int_equal(fault(&rig), HV_RETRY);
        requests(&rig);
        (void)last_entry(&rig, &level);
        assert_int_equal(level, k + 1);
        rig_close(&rig);
    }
}

/* The host writes a page no more through us, or asks whether it was used: a table that switches lead to has no
 * entry that could say so. */
static void the_host_takes_writing(void **state)
{
    (void)state;
    for (unsigned k = 1; k <= 3; k++) {
        struct rig rig = open_hybrid(k);
        const struct mv_range range = hva_range(&rig, ROOT + 4 - k, 1);
        unsigned level;
        load(&rig, CR0);
        assert_int_equal(fault(&rig), HV_RETRY);
        assert_false(hv_notifier_test_age(rig.vm, range));
        assert_true(shadow_is_switch(last_entry(&rig, &level)));
        hv_notifier_write_protect(rig.vm, range);
        assert_int_equal(last_entry(&rig, &level), 0);
        assert_int_equal(fault(&rig), HV_RETRY);
        assert_true(shadow_is_switch(last_entry(&rig, &level)));
        rig_close(&rig);
    }
}

/* So the log hears of A and D that the hardware sets there: it leads there no more until it is marked again. */
static void a_harvest_takes_what_switches(void **state)
{
    (void)state;
    for (unsigned k = 1; k <= 4; k++) {
        struct rig rig = open_hybrid(k);
        uint64_t bits[SLOT_PAGES / 64], table = ROOT + 4 - k;
        unsigned level;
        load(&rig, CR0);
        assert_int_equal(fault(&rig), HV_RETRY);
        assert_int_equal(set_slot_of(&rig, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, SLOT_PAGES, 0), 0);
        requests(&rig);
        for (unsigned round = 0; round < 3; round++) {
            (void)fault(&rig);
            requests(&rig);
            (void)last_entry(&rig, &level);
            assert_int_equal(level, k + 1);
            get_log(&rig, 0, bits);
            assert_true(bit_of(bits, table));
            assert_false(bit_of(bits, DATA));
            uint64_t e = rig.vcpu->root_is_switched ? 0 : last_entry(&rig, &level);
            assert_true(k == 4 || e == 0);
        }
        rig_close(&rig);
    }
}

/*
 * The log, or the host, took W from a page a moment ago, and TLBs have not been flushed yet: what comes to shadow
 * the table that lies there is not filled before. So with shadow alone.
 */
static void a_page_that_was_writable_a_moment_ago(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 4; how++) {
        struct hv_options options = *rig_defaults();
        options.mmu = how & 1 ? HV_MMU_SHADOW : HV_MMU_HYBRID;
        options.access_dirty = how & 1;
        options.no_unsync = true;
        options.policy = (struct policy_options){.kind = POLICY_BY_LEVEL};
        struct rig rig = rig_open(&options, SLOT_PAGES << 12);
        struct hv_vm *vm = rig.vm;
        assert_int_equal(set_slot_of(&rig, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, SLOT_PAGES, 0), 0);
        for (unsigned level = 4; level > 1; level--) {
            *guest_entry(&rig, level) = (ROOT + 5 - level) << 12 | ENTRY;
        }
        *guest_entry(&rig, 1) = DATA << 12 | ENTRY;
        *(guest_entry(&rig, 2) + 1) = DATA << 12 | ENTRY; /* 2 MiB on it is a table */
        load(&rig, CR0);
        assert_int_equal(fault_at(&rig, GVA, MV_ACCESS_WRITE), HV_RETRY);
        pthread_mutex_lock(&vm->mmu_lock);
        const struct hv_slot *slot = hv_slot_of_id(vm->slots[0], 0);
        assert_true(how & 2 ? vm->mmu->write_protect(vm, slot, DATA, DATA)
                            : vm->mmu->log_protect(vm, slot, DATA, 1));
        pthread_mutex_unlock(&vm->mmu_lock);
        *(uint64_t *)(void *)(rig.ram + (DATA << 12)) = (DATA + 1) << 12 | ENTRY;
        assert_int_equal(fault_at(&rig, (GVA & ~UINT64_C(0x1fffff)) + (UINT64_C(1) << 21), MV_ACCESS_READ),
                         HV_RETRY);
        assert_true(settled > 0);
        rig_close(&rig);
    }
}

/* A table that is used at two levels is two to a policy, and one that is shadowed to EPT. */
static void a_table_at_two_levels_is_two(void **state)
{
    (void)state;
    struct rig rig = open_hybrid(2);
    struct shadow *s = shadow_of(rig.vm);
    load(&rig, CR0);
    pthread_mutex_lock(&s->lock);
    struct hybrid_table *upper = hybrid_get(s->hybrid, 7, 4), *lower = hybrid_get(s->hybrid, 7, 3);
    assert_true(upper && lower && upper != lower);
    assert_ptr_equal(hybrid_find(s->hybrid, 7, 3), lower);
    assert_ptr_equal(hybrid_get(s->hybrid, 7, 4), upper);
    assert_null(hybrid_find(s->hybrid, 7, 2));
    assert_int_equal(s->hybrid->count, 2);
    hybrid_count_write(s->hybrid, lower);
    hybrid_count_write(s->hybrid, lower);
    assert_int_equal(lower->seen.writes, 2);
    s->hybrid->interval++;
    hybrid_count_write(s->hybrid, lower);
    assert_int_equal(lower->seen.writes, 1);
    /* Nobody has written to the other one in this interval, nor is it nested: it is forgotten. */
    hybrid_look(rig.vm);
    assert_int_equal(s->hybrid->count, 1);
    assert_null(hybrid_find(s->hybrid, 7, 4));
    pthread_mutex_unlock(&s->lock);
    rig_close(&rig);
}

/* A guest that says of all its memory that it is tables does not make us remember them all. */
static void records_have_a_limit(void **state)
{
    (void)state;
    struct rig rig = open_hybrid(0);
    struct shadow *s = shadow_of(rig.vm);
    pthread_mutex_lock(&s->lock);
    for (uint64_t frame = 0; frame < HYBRID_TABLES_MAX; frame++) {
        assert_non_null(hybrid_get(s->hybrid, frame, 1));
    }
    assert_null(hybrid_get(s->hybrid, HYBRID_TABLES_MAX, 1));
    assert_non_null(hybrid_get(s->hybrid, 0, 1));
    assert_true(hybrid_bytes(s->hybrid) > HYBRID_TABLES_MAX * sizeof(struct hybrid_table));
    hybrid_forget_all(s->hybrid);
    assert_int_equal(s->hybrid->count, 0);
    pthread_mutex_unlock(&s->lock);
    rig_close(&rig);
}

/* A TLB may have all of a page of 1G that goes for the sake of one table in it: the next table in there waits for
 * the same flush. */
static void a_huge_page_goes_for_a_table(void **state)
{
    (void)state;
    struct hv_options options = *rig_defaults();
    options.mmu = HV_MMU_HYBRID;
    options.access_dirty = false;
    options.no_unsync = true;
    options.policy = (struct policy_options){.kind = POLICY_BY_LEVEL};
    struct rig rig = rig_open(&options, UINT64_C(2) << 30);
    struct shadow *s = shadow_of(rig.vm);
    assert_int_equal(set_slot_of(&rig, 0, 0, 0, 2 * GIB_PAGES, 0), 0);
    requests(&rig);
    const struct pt_exit exit = {
        .reason = PT_EXIT_EPT_VIOLATION, .gpa = mv_gpa(GIB_PAGES << 12), .code = EPT_QUAL_WRITE};
    rendezvous_enter(&rig.vcpu->inside);
    assert_int_equal(hv_handle_exit(rig.vcpu, &exit), HV_RETRY);
    rendezvous_leave(&rig.vcpu->inside);
    assert_int_equal(counters_of(&rig).pages_1g, 1);
    hv_settle(rig.vm);
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t gfn = GIB_PAGES + i * 1024;
        const struct shadow_wanted wanted = {
            .frame = page_hva(&rig, gfn) >> 12, .gfn = gfn, .role = {.level = 1, .levels = MV_PAGING_4LEVEL}};
        struct shadow_page *page = shadow_page_get(rig.vm, &wanted);
        assert_non_null(page);
        assert_false(shadow_is_ready(s, page));
    }
    pthread_mutex_unlock(&s->lock);
    assert_int_equal(counters_of(&rig).pages_1g, 0);
    rig_close(&rig);
}

static void options_are_checked(void **state)
{
    (void)state;
    struct hv_vm *vm;
    struct hv_options options = {.mmu = HV_MMU_HYBRID, .tdp_levels = 4, .level_max = 3, .address_bits = 48};
    assert_int_equal(hv_vm_create(&options, &vm), -EINVAL); /* unsync */
    options.no_unsync = true;
    options.access_dirty = true;
    assert_int_equal(hv_vm_create(&options, &vm), -EINVAL);
    options.access_dirty = false;
    options.log_by = HV_LOG_BY_DIRTY_BIT;
    assert_int_equal(hv_vm_create(&options, &vm), -EINVAL);
    options.log_by = HV_LOG_BY_WRITE_PROTECTION;
    options.tdp_levels = 3;
    assert_int_equal(hv_vm_create(&options, &vm), -EINVAL);
    options.tdp_levels = 5;
    assert_int_equal(hv_vm_create(&options, &vm), 0);
    hv_vm_destroy(vm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_that_switches_has_the_guests_rights),
        cmocka_unit_test(the_host_takes_a_table),
        cmocka_unit_test(the_host_takes_writing),
        cmocka_unit_test(a_harvest_takes_what_switches),
        cmocka_unit_test(a_page_that_was_writable_a_moment_ago),
        cmocka_unit_test(a_table_at_two_levels_is_two),
        cmocka_unit_test(records_have_a_limit),
        cmocka_unit_test(a_huge_page_goes_for_a_table),
        cmocka_unit_test(options_are_checked),
    };
    return cmocka_run_group_tests_name("hybrid", tests, NULL, NULL);
}
