// SPDX-License-Identifier: MIT
/*
 * Random sequences against a naive model of each gfn: faults of all kinds, slots that come, go, move and are
 * logged, logs that are read and cleared, host ranges that go away, age and are write-protected. After every step
 * the tables are walked for every gfn: what is mapped is what the slots say, with the rights that it may have, and
 * what must be there or must not is as the model has it; every log is exact.
 */
#include "hypervisor/tdp_test.h"

#define GFNS 3072u /* looked at; slots lie in there */
#define RAM_PAGES 4096u
#define SLOTS 4u

/* What is expected of a gfn. */
struct page {
    bool is_mapped;    /* certainly, since it was touched and nothing took it away */
    bool may_map;      /* perhaps, with a large page around something that was touched */
    bool is_dirty;     /* of a logged slot: its bit */
    bool may_be_young; /* used since it was aged, or a page around it was */
    bool is_young;
    bool is_protected; /* by the host, and not written since */
};

struct slot {
    bool is_there;
    uint32_t flags;
    uint64_t gfn, npages, at_page;
};

struct world {
    struct rig rig;
    struct page pages[GFNS];
    struct slot slots[SLOTS];
    bool is_manual, is_all_set;
    unsigned step, what; /* for who looks for a mistake */
};

static uint64_t seed;

static uint64_t below(uint64_t n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (seed >> 33) % n;
}

static const struct slot *slot_of(const struct world *w, uint64_t gfn)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (w->slots[i].is_there && gfn >= w->slots[i].gfn && gfn - w->slots[i].gfn < w->slots[i].npages) {
            return &w->slots[i];
        }
    }
    return NULL;
}

static uint64_t hva_of_gfn(const struct world *w, const struct slot *slot, uint64_t gfn)
{
    return page_hva(&w->rig, slot->at_page + gfn - slot->gfn);
}

static uint64_t large_pages(const struct world *w)
{
    return UINT64_C(1) << (9 * (w->rig.vm->options.level_max - 1));
}

/* Mapping or taking away a gfn may do so to the large page that it is in. */
static void around(struct world *w, uint64_t gfn, void (*what)(struct page *))
{
    uint64_t n = large_pages(w), first = gfn & ~(n - 1);
    for (uint64_t i = first; i < first + n && i < GFNS; i++) {
        what(&w->pages[i]);
    }
}

static void perhaps(struct page *page)
{
    page->may_map = true;
    page->may_be_young = true;
}

static void perhaps_young(struct page *page)
{
    page->may_be_young = true;
}

static void not_surely(struct page *page)
{
    page->is_mapped = false;
    page->is_young = false;
}

/* What a step must not have changed, and must have. */
static void check_world(struct world *w)
{
    const struct hv_options *o = &w->rig.vm->options;
    for (uint64_t gfn = 0; gfn < GFNS; gfn++) {
        struct seen s = see(&w->rig, gfn);
        const struct slot *slot = slot_of(w, gfn);
        struct page *page = &w->pages[gfn];
        bool has_leaf = s.is_present || spte_is_tracked(tdp_of(w->rig.vm)->format, s.entry);
        if ((has_leaf ? !page->may_map : page->is_mapped)) {
            printf("# step %u (%u), gfn %" PRIu64 ": entry %#" PRIx64 " at level %u\n", w->step, w->what, gfn,
                   s.entry, s.level);
        }
        assert_true(has_leaf || !page->is_mapped);
        assert_true(!has_leaf || page->may_map);
        if (!has_leaf) {
            page->is_protected = false; /* the protection was the leaf's: the host's page is asked for again */
            continue;
        }
        assert_non_null(slot);
        assert_false(s.is_refused);
        if (!s.is_present) {
            assert_false(o->access_dirty);
            continue;
        }
        assert_int_equal(s.hva, hva_of_gfn(w, slot, gfn));
        assert_true(s.level <= o->level_max);
        assert_true(!s.w || (!(slot->flags & KVM_MEM_READONLY) && !page->is_protected));
        assert_true(!o->nx_huge_pages || s.level == 1 || !s.x);
        if (slot->flags & KVM_MEM_LOG_DIRTY_PAGES) {
            /* Who can write unnoticed is in the log. */
            bool is_noticed = o->log_by != HV_LOG_BY_WRITE_PROTECTION ? !s.d && s.level == 1 : !s.w;
            assert_true(is_noticed || !s.w || page->is_dirty);
        }
    }
    check_tables(&w->rig);
}

static void forget_all(struct world *w)
{
    for (uint64_t gfn = 0; gfn < GFNS; gfn++) {
        w->pages[gfn].is_mapped = w->pages[gfn].may_map = false;
        w->pages[gfn].is_young = w->pages[gfn].may_be_young = false;
        w->pages[gfn].is_protected = false;
    }
}

static void step_touch(struct world *w)
{
    uint64_t gfn = below(GFNS);
    enum mv_access kind = (enum mv_access)below(3);
    const struct slot *slot = slot_of(w, gfn);
    struct touched t = touch(&w->rig, gfn, kind);
    if (!slot || (kind == MV_ACCESS_WRITE && (slot->flags & KVM_MEM_READONLY))) {
        assert_int_equal(t.answer, HV_EMULATE);
        if (slot && t.exits > 1) {
            around(w, gfn,
                   perhaps); /* an old entry for MMIO: a misconfiguration does not say what the access is */
        }
        return;
    }
    assert_int_equal(t.answer, HV_RETRY);
    assert_int_equal(t.hva, hva_of_gfn(w, slot, gfn));
    assert_true(t.exits <= 2);
    struct seen s = see(&w->rig, gfn);
    assert_true(seen_allows(&s, kind) && s.a);
    if (t.exits > 0) {
        around(w, gfn, perhaps);
    } else {
        around(w, gfn, perhaps_young);
    }
    struct page *page = &w->pages[gfn];
    page->is_mapped = page->is_young = true;
    if (kind == MV_ACCESS_WRITE) {
        around(w, gfn, s.level > 1 ? perhaps : perhaps_young);
        page->is_dirty |= (slot->flags & KVM_MEM_LOG_DIRTY_PAGES) != 0;
        if (s.level == 1) {
            page->is_protected = false;
        } else {
            for (uint64_t i = gfn & ~(large_pages(w) - 1), n = 0; n < large_pages(w) && i < GFNS; i++, n++) {
                w->pages[i].is_protected = false;
            }
        }
    }
}

static bool overlaps_another(const struct world *w, unsigned id, uint64_t gfn, uint64_t npages)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        const struct slot *s = &w->slots[i];
        if (i != id && s->is_there && gfn < s->gfn + s->npages && s->gfn < gfn + npages) {
            return true;
        }
    }
    return false;
}

static void apply(struct world *w, unsigned id)
{
    const struct slot *s = &w->slots[id];
    assert_int_equal(set_slot_of(&w->rig, id, s->flags, s->gfn, s->is_there ? s->npages : 0, s->at_page), 0);
}

static void start_log(struct world *w, const struct slot *slot)
{
    for (uint64_t i = 0; i < slot->npages; i++) {
        w->pages[slot->gfn + i].is_dirty = w->is_manual && w->is_all_set;
    }
}

/* Half of the ends are those of large pages. */
static uint64_t some_end(uint64_t limit)
{
    uint64_t n = below(limit);
    return below(2) ? n & ~UINT64_C(511) : n;
}

static void step_slot(struct world *w)
{
    unsigned id = (unsigned)below(SLOTS);
    struct slot *slot = &w->slots[id];
    if (!slot->is_there) {
        uint64_t gfn = some_end(GFNS - 1), end = gfn + 1 + some_end(GFNS - gfn);
        uint64_t at = (gfn & 511) + 512 * below(2) + (below(4) == 0);
        if (overlaps_another(w, id, gfn, end - gfn) || at + end - gfn > RAM_PAGES) {
            return;
        }
        *slot = (struct slot){true, below(5) == 0 ? KVM_MEM_READONLY : 0, gfn, end - gfn, at};
        slot->flags |= below(3) == 0 ? KVM_MEM_LOG_DIRTY_PAGES : 0;
        apply(w, id);
        start_log(w, slot);
    } else if (below(3) == 0) {
        slot->is_there = false;
        apply(w, id);
        forget_all(w);
    } else if (below(3) == 0) {
        uint64_t gfn = (slot->gfn & 511) + 512 * below(6);
        if (gfn == slot->gfn || gfn + slot->npages > GFNS || overlaps_another(w, id, gfn, slot->npages)) {
            return;
        }
        bool was_logged = slot->flags & KVM_MEM_LOG_DIRTY_PAGES;
        bool dirty[GFNS];
        for (uint64_t i = 0; i < slot->npages; i++) {
            dirty[i] = w->pages[slot->gfn + i].is_dirty;
        }
        slot->gfn = gfn;
        for (uint64_t i = 0; was_logged && i < slot->npages; i++) {
            w->pages[gfn + i].is_dirty = dirty[i];
        }
        apply(w, id);
        forget_all(w);
    } else {
        slot->flags ^= KVM_MEM_LOG_DIRTY_PAGES;
        apply(w, id);
        if (slot->flags & KVM_MEM_LOG_DIRTY_PAGES) {
            start_log(w, slot);
        } else {
            /* Pages that come together are mapped all over, and nothing is left protected in them by logging. */
            for (uint64_t i = 0; i < slot->npages; i++) {
                if (w->pages[slot->gfn + i].may_map) {
                    around(w, slot->gfn + i, perhaps);
                }
            }
        }
    }
}

static void check_log(struct world *w, const struct slot *slot, const uint64_t *log)
{
    for (uint64_t i = 0; i < slot->npages; i++) {
        if (bit_of(log, i) != w->pages[slot->gfn + i].is_dirty) {
            printf("# step %u, gfn %" PRIu64 " of a slot from %" PRIu64 ": logged %u\n", w->step, slot->gfn + i,
                   slot->gfn, bit_of(log, i));
        }
        assert_int_equal(bit_of(log, i), w->pages[slot->gfn + i].is_dirty);
    }
}

static void step_log(struct world *w)
{
    unsigned id = (unsigned)below(SLOTS);
    struct slot *slot = &w->slots[id];
    if (!slot->is_there || !(slot->flags & KVM_MEM_LOG_DIRTY_PAGES)) {
        return;
    }
    uint64_t log[GFNS / 64 + 1];
    get_log(&w->rig, id, log);
    check_log(w, slot, log);
    if (!w->is_manual) {
        for (uint64_t i = 0; i < slot->npages; i++) {
            w->pages[slot->gfn + i].is_dirty = false;
        }
        return;
    }
    /* Some words, and of them some bits. */
    uint64_t first = below(slot->npages) & ~UINT64_C(63), npages = slot->npages - first;
    if (npages > 64 && below(2)) {
        npages = 64;
    }
    uint64_t bits[GFNS / 64 + 1];
    for (unsigned i = 0; i < GFNS / 64 + 1; i++) {
        bits[i] = below(2) ? UINT64_MAX : below(UINT64_C(1) << 31) << 13;
    }
    struct kvm_clear_dirty_log clear = {
        .slot = id, .num_pages = (uint32_t)npages, .first_page = first, .dirty_bitmap = bits};
    assert_int_equal(hv_clear_dirty_log(w->rig.vm, &clear), 0);
    for (uint64_t i = 0; i < npages; i++) {
        w->pages[slot->gfn + first + i].is_dirty &= !bit_of(bits, i);
    }
}

struct span {
    uint64_t at, npages;
};

static struct span some_host_range(void)
{
    uint64_t at = some_end(RAM_PAGES - 1);
    return (struct span){at, 1 + (below(2) ? below(16) : below(RAM_PAGES - at))};
}

static bool shows(const struct slot *slot, uint64_t gfn, struct span span)
{
    uint64_t page = slot->at_page + gfn - slot->gfn;
    return page >= span.at && page - span.at < span.npages;
}

/* begin: gone, and exactly that is gone. In between a fault there changes nothing. */
static void step_notifier(struct world *w)
{
    struct span span = some_host_range();
    hv_notifier_begin(w->rig.vm, hva_range(&w->rig, span.at, span.npages));
    for (uint64_t gfn = 0; gfn < GFNS; gfn++) {
        const struct slot *slot = slot_of(w, gfn);
        if (slot && shows(slot, gfn, span)) {
            around(w, gfn, not_surely);
            w->pages[gfn].is_protected = false;
            w->pages[gfn].may_map = w->pages[gfn].may_be_young = false;
        }
    }
    check_world(w);
    uint64_t gfn = below(GFNS);
    const struct slot *slot = slot_of(w, gfn);
    if (slot && shows(slot, gfn, span)) {
        struct seen s = see(&w->rig, gfn);
        assert_false(s.is_present);
        struct pt_exit exit = exit_of(w->rig.vm, gfn, MV_ACCESS_READ, &s);
        rendezvous_enter(&w->rig.vcpu->inside);
        take_requests(w->rig.vcpu);
        assert_int_equal(hv_handle_exit(w->rig.vcpu, &exit), HV_RETRY);
        rendezvous_leave(&w->rig.vcpu->inside);
        assert_false(see(&w->rig, gfn).is_present);
    } else if (below(2)) {
        /* Another page, which may share a large one's place with the range: as it is, small. */
        struct touched t = touch(&w->rig, gfn, MV_ACCESS_READ);
        assert_int_equal(t.answer, slot ? HV_RETRY : HV_EMULATE);
        if (slot) {
            w->pages[gfn].is_mapped = w->pages[gfn].is_young = true;
            around(w, gfn, perhaps);
            for (uint64_t i = 0; i < GFNS; i++) {
                const struct slot *other = slot_of(w, i);
                if (other && shows(other, i, span)) {
                    w->pages[i].may_map = w->pages[i].may_be_young = false;
                }
            }
        }
    }
    check_world(w);
    hv_notifier_end(w->rig.vm, hva_range(&w->rig, span.at, span.npages));
}

static void step_age(struct world *w)
{
    struct span span = some_host_range();
    bool must = false, may = false;
    for (uint64_t gfn = 0; gfn < GFNS; gfn++) {
        const struct slot *slot = slot_of(w, gfn);
        if (slot && shows(slot, gfn, span)) {
            must |= w->pages[gfn].is_young;
            may |= w->pages[gfn].may_be_young;
        }
    }
    bool test_only = below(2), found;
    struct mv_range range = hva_range(&w->rig, span.at, span.npages);
    found = test_only ? hv_notifier_test_age(w->rig.vm, range) : hv_notifier_age(w->rig.vm, range);
    assert_true(found || !must);
    assert_true(!found || may);
    for (uint64_t gfn = 0; !test_only && gfn < GFNS; gfn++) {
        const struct slot *slot = slot_of(w, gfn);
        if (slot && shows(slot, gfn, span)) {
            w->pages[gfn].may_be_young = false;
            uint64_t n = large_pages(w), first = gfn & ~(n - 1);
            for (uint64_t i = first; i < first + n && i < GFNS; i++) {
                w->pages[i].is_young = false;
            }
        }
    }
}

static void step_write_protect(struct world *w)
{
    struct span span = some_host_range();
    hv_notifier_write_protect(w->rig.vm, hva_range(&w->rig, span.at, span.npages));
    for (uint64_t gfn = 0; gfn < GFNS; gfn++) {
        const struct slot *slot = slot_of(w, gfn);
        if (slot && shows(slot, gfn, span) && see(&w->rig, gfn).is_present) {
            w->pages[gfn].is_protected = true;
        }
    }
}

static void step_recover(struct world *w)
{
    struct hv_vm *vm = w->rig.vm;
    pthread_mutex_lock(&vm->slots_lock);
    pthread_mutex_lock(&vm->mmu_lock);
    if (vm->mmu->recover(vm, 1 + (unsigned)below(3))) {
        hv_flush_all(vm);
        vm->mmu->collect(vm);
        for (uint64_t gfn = 0; gfn < GFNS; gfn++) {
            not_surely(&w->pages[gfn]);
            w->pages[gfn].is_protected &= see(&w->rig, gfn).is_present;
        }
    }
    pthread_mutex_unlock(&vm->mmu_lock);
    pthread_mutex_unlock(&vm->slots_lock);
}

static void run(const struct hv_options *options, unsigned manual, unsigned steps)
{
    struct world *w = calloc(1, sizeof(*w));
    w->rig = rig_open(options, (uint64_t)RAM_PAGES << 12);
    w->is_manual = manual > 0, w->is_all_set = manual > 1;
    if (w->is_manual) {
        assert_int_equal(hv_enable_manual_protect(w->rig.vm, w->is_all_set ? 3 : 1), 0);
    }
    for (unsigned step = 0; step < steps; step++) {
        w->step = step, w->what = (unsigned)below(24);
        switch (w->what) {
        case 0:
        case 1: step_slot(w); break;
        case 2:
        case 3: step_log(w); break;
        case 4: step_notifier(w); break;
        case 5: step_age(w); break;
        case 6: step_write_protect(w); break;
        case 7: step_recover(w); break;
        default:
            for (unsigned i = 0; i < 8; i++) {
                step_touch(w);
            }
        }
        check_world(w);
    }
    rig_close(&w->rig);
    free(w);
}

/* Every combination of what changes how entries are made. */
static void test_random(void **state)
{
    (void)state;
    unsigned steps = getenv("MEMVIRT_TEST_LONG") ? 800 : 80;
    const char *given = getenv("MEMVIRT_TEST_SEED");
    uint64_t start = given ? strtoull(given, NULL, 0) : 1;
    printf("# seed %" PRIu64 ", %u steps\n", start, steps);
    for (unsigned i = 0; i < 2 * 4 * 2 * 2 * 2 * 3; i++) {
        struct hv_options options = *rig_defaults();
        options.mmu = i % 2 ? HV_MMU_NPT : HV_MMU_EPT;
        unsigned log = i / 2 % 4; /* the fourth: no A and D bits */
        options.access_dirty = log != 3;
        options.log_by = log == 3 ? HV_LOG_BY_WRITE_PROTECTION : (enum hv_log_by)log;
        if (options.mmu == HV_MMU_NPT && log == 2) {
            continue; /* no PML */
        }
        options.level_max = i / 8 % 2 ? 2 : 1;
        options.eager_split = i / 16 % 2;
        options.nx_huge_pages = i / 32 % 2;
        options.execute_only = options.mmu == HV_MMU_EPT && i / 32 % 2;
        seed = start + i;
        run(&options, i / 64, steps);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
