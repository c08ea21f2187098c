// SPDX-License-Identifier: MIT
/*
 * Any intermediate state is legal: an instance of the scheme whose every write to an entry that the hardware may
 * reach is followed by a walk of all gfns. Each walk finds the translation that the slots give, with rights that
 * the slot has, or none at all; and a page that nobody takes away can be read at every instant.
 */
#include <stdint.h>

#define PT_OBSERVED

#include "hypervisor/tdp_instance.h"
#include "hypervisor/tdp_test.h"

/* Of a format that is no constant here: one instance for both. */
static struct pt_format format;
TDP_INSTANCE(observed, format, "observed")

#define GFNS 2048u

static struct {
    struct rig rig;
    bool is_on;
    uint64_t writes;
    bool is_kept[GFNS]; /* was mapped, and nothing takes it away */
    bool is_read_only;  /* the slot */
} history;

void pt_observe(const pt_word_t *word, uint64_t before, uint64_t after)
{
    (void)word;
    if (!history.is_on || before == after) {
        return;
    }
    history.writes++;
    for (uint64_t gfn = 0; gfn < GFNS; gfn++) {
        struct seen s = see(&history.rig, gfn);
        assert_false(s.is_refused);
        assert_true(!s.is_present || s.hva == page_hva(&history.rig, gfn));
        assert_true(!s.is_present || !s.w || !history.is_read_only);
        assert_true(s.is_present || !history.is_kept[gfn]);
    }
}

static void keep(uint64_t first, uint64_t last, bool kept)
{
    for (uint64_t gfn = first; gfn <= last; gfn++) {
        history.is_kept[gfn] = kept && see(&history.rig, gfn).is_present;
    }
}

/* The scheme is changed for the one with the observer before it has done anything. */
static void start(enum hv_mmu_kind kind, const struct hv_options *given, uint32_t flags)
{
    memset(&history, 0, sizeof(history));
    struct hv_options options = *given;
    options.mmu = kind;
    history.rig = rig_open(&options, GFNS << 12);
    memcpy(&format, tdp_of(history.rig.vm)->format, sizeof(format));
    history.rig.vm->mmu = &observed;
    history.is_read_only = flags & KVM_MEM_READONLY;
    assert_int_equal(set_slot_of(&history.rig, 0, flags, 0, GFNS, 0), 0);
    history.is_on = true;
}

static void finish(void)
{
    assert_true(history.writes > 0);
    history.is_on = false;
    check_tables(&history.rig);
    rig_close(&history.rig);
}

static void touch_some(enum mv_access kind)
{
    for (uint64_t gfn = 3; gfn < GFNS; gfn += 193) {
        (void)touch(&history.rig, gfn, kind);
        keep(0, GFNS - 1, true);
    }
}

/* Large pages are split at once and by writes, protected, read, and joined again. */
static void test_logging(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        struct hv_options options = *rig_defaults();
        options.level_max = 2;
        options.eager_split = i & 1;
        options.log_by = i & 2 ? HV_LOG_BY_DIRTY_BIT : HV_LOG_BY_WRITE_PROTECTION;
        start(i & 4 ? HV_MMU_NPT : HV_MMU_EPT, &options, 0);
        touch_some(MV_ACCESS_WRITE);
        uint64_t log[GFNS / 64];
        for (unsigned round = 0; round < 2; round++) {
            assert_int_equal(set_slot_of(&history.rig, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, GFNS, 0), 0);
            touch_some(MV_ACCESS_WRITE);
            get_log(&history.rig, 0, log);
            touch_some(MV_ACCESS_READ);
            touch_some(MV_ACCESS_WRITE);
            assert_int_equal(set_slot_of(&history.rig, 0, 0, 0, GFNS, 0), 0);
        }
        assert_true(counters_of(&history.rig).collapses >= 4 && counters_of(&history.rig).splits >= 4);
        finish();
    }
}

/* What goes is gone, what stays is there all the time, and nothing is ever wrong. */
static void test_zaps(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct hv_options options = *rig_defaults();
        options.level_max = i & 1 ? 2 : 1;
        start(i & 2 ? HV_MMU_NPT : HV_MMU_EPT, &options, 0);
        touch_some(MV_ACCESS_WRITE);
        keep(512, 1535, false);
        hv_notifier_begin(history.rig.vm, hva_range(&history.rig, 600, 700));
        hv_notifier_end(history.rig.vm, hva_range(&history.rig, 600, 700));
        touch_some(MV_ACCESS_READ);
        keep(0, GFNS - 1, false);
        hv_notifier_begin(history.rig.vm, hva_range(&history.rig, 0, GFNS));
        hv_notifier_end(history.rig.vm, hva_range(&history.rig, 0, GFNS));
        touch_some(MV_ACCESS_WRITE);
        hv_notifier_write_protect(history.rig.vm, hva_range(&history.rig, 0, GFNS));
        touch_some(MV_ACCESS_WRITE);
        keep(0, GFNS - 1, false);
        assert_int_equal(set_slot_of(&history.rig, 0, 0, 0, 0, 0), 0);
        assert_int_equal(counters_of(&history.rig).pages_4k, 0);
        finish();
    }
}

/* Splits for fetches, and rights that come one by one. */
static void test_rights(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct hv_options options = *rig_defaults();
        options.level_max = 2;
        options.nx_huge_pages = true;
        options.execute_only = !(i & 1);
        start(i & 1 ? HV_MMU_NPT : HV_MMU_EPT, &options, i & 2 ? KVM_MEM_READONLY : 0);
        touch_some(MV_ACCESS_READ);
        touch_some(MV_ACCESS_FETCH);
        touch_some(MV_ACCESS_WRITE);
        assert_true(counters_of(&history.rig).nx_lpage_splits > 0);
        finish();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logging),
        cmocka_unit_test(test_zaps),
        cmocka_unit_test(test_rights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
