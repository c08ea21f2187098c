// SPDX-License-Identifier: MIT
/*
 * Any intermediate state is legal, of shadow tables: whenever an entry of theirs is written, both vCPUs walk all
 * addresses (shadow_history_test.h). The shadow MMU is compiled into this program with its writes told (word.h).
 */
#include "hypervisor/shadow_history_test.h"

void pt_observe(const pt_word_t *word, uint64_t before, uint64_t after)
{
    (void)word;
    if (h.is_on && before != after) {
        h.changes++;
        judge_all();
    }
}

/* --- The guest, as it begins ------------------------------------------------------------------------- */

static void add_gvas(uint64_t gva, unsigned pages)
{
    for (unsigned i = 0; i < pages; i++) {
        assert_true(h.gva_count < GVAS_MAX);
        h.gvas[h.gva_count++] = gva + i * UINT64_C(4096);
    }
}

static void add_gvas_of_tables(unsigned first, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        add_gvas((first + i) * MIB2, 1);
        add_gvas(LOW_GVA + ((uint64_t)(64 + i) << 12), 1);
    }
}

static void make_gvas(void)
{
    add_gvas(0, 8);
    add_gvas(MIB2, 8);
    add_gvas(LARGE_GVA, 2);
    add_gvas(LARGE_GVA + (PTC % 512 << 12), 1);
    add_gvas(KERNEL_GVA, KERNEL_PAGES);
    add_gvas(4 * MIB2, 4);
    add_gvas(LOW_GVA + (PD << 12), 3); /* PD, PTA, PTB */
    add_gvas(LOW_GVA + (DATA << 12), 1);
    add_gvas(ALIAS_GVA, 4);
    add_gvas(ALIAS_GVA + LARGE_GVA, 1);
    add_gvas(ALIAS_GVA + KERNEL_GVA + 4 * 4096, 1);
    add_gvas(SELF_GVA, 5);
}

static uint64_t kernel_entry(unsigned i)
{
    return (uint64_t)(i < KERNEL_PAGES - 1 ? ROOT0 + i : PTC) << 12 | G_PAGE;
}

static void make_tables(void)
{
    for (unsigned root = ROOT0; root <= ROOT1; root++) {
        table_at(root)[0] = (root == ROOT0 ? PDPT : PDPT1) * UINT64_C(4096) | G_TABLE;
        table_at(root)[1] = PDPT << 12 | (G_TABLE & ~G_W);
        table_at(root)[2] = (uint64_t)root << 12 | G_TABLE;
    }
    table_at(PDPT)[0] = table_at(PDPT1)[0] = PD << 12 | G_TABLE;
    const uint64_t directory[] = {
        PTA << 12 | G_TABLE,    PTB << 12 | G_TABLE,           SLOT_PAGES << 12 | G_PAGE | G_LARGE,
        KERNEL << 12 | G_TABLE, (uint64_t)PTC << 12 | G_TABLE, G_PAGE | G_LARGE};
    memcpy(table_at(PD), directory, sizeof directory);
    for (unsigned i = 0; i < 8; i++) {
        table_at(PTA)[i] = (DATA + i) << 12 | G_PAGE;
        table_at(PTB)[i] = (DATA + 8 + i) << 12 | (G_PAGE & ~G_D);
        table_at(PTC)[i] = (DATA + 2 * i) << 12 | (G_PAGE & ~G_W);
    }
    for (unsigned i = 0; i < KERNEL_PAGES; i++) {
        table_at(KERNEL)[i] = kernel_entry(i);
    }
}

static uint64_t kernel_gva(uint64_t table_gfn, unsigned index)
{
    return KERNEL_GVA + ((table_gfn == PTC ? KERNEL_PAGES - 1 : table_gfn - ROOT0) << 12) + index * 8;
}

static unsigned number_of_gva(uint64_t gva)
{
    unsigned g = 0;
    while (h.gvas[g] != (gva & T_HOST)) {
        g++;
        assert_true(g < h.gva_count);
    }
    return g;
}

/* --- A vCPU ------------------------------------------------------------------------------------------ */

static void load_cr3(unsigned v, unsigned root)
{
    const struct paging_regs regs = {
        .cr0 = 0x80010001, .cr3 = (uint64_t)(ROOT0 + root) << 12, .cr4 = 0x20, .efer = 0xd00};
    const struct paging_cpu cpu = {.address_bits = 46, .has_1g_pages = true};
    h.busy = (int)v;
    hv_set_regs(h.vcpus[v], &regs, &cpu);
    h.root[v] = root;
    h.busy = -1;
    forget_all(v);
    judge_step();
}

static void invalidate(unsigned v, unsigned g)
{
    hv_invalidate(h.vcpus[v], mv_gva(h.gvas[g]));
    forget_page(v, g);
    judge_step();
}

static void enter(unsigned v)
{
    struct hv_vcpu *vcpu = h.vcpus[v];
    rendezvous_enter(&vcpu->inside);
    h.busy = (int)v;
    unsigned what = hv_request_take(&vcpu->requests);
    if (what & HV_REQUEST_RELOAD_ROOT) {
        assert_int_equal(vcpu->vm->mmu->load_root(vcpu), 0);
    }
    h.busy = -1;
    if (what & (HV_REQUEST_RELOAD_ROOT | HV_REQUEST_FLUSH)) {
        flush_cached(v);
    }
    judge_all();
}

struct wanted {
    uint64_t gva;
    enum mv_access kind;
    bool is_user;
    uint64_t value; /* of a write */
    unsigned size_bytes;
};

static bool allows(uint64_t truth, const struct wanted *w)
{
    return truth && (w->kind != MV_ACCESS_WRITE || (truth & T_W)) &&
           (w->kind != MV_ACCESS_FETCH || (truth & T_X)) && (!w->is_user || (truth & T_U));
}

static void set_accessed(const struct found *f, bool is_write)
{
    for (unsigned level = 4; level >= f->level; level--) {
        __atomic_fetch_or(f->words[level], G_A, __ATOMIC_ACQ_REL);
    }
    assert_true(!is_write || (f->leaf & G_D)); /* nobody looks at D, so it is there from the beginning */
}

/* It was let through. */
static void use(const struct found *f, const struct wanted *w)
{
    set_accessed(f, w->kind == MV_ACCESS_WRITE);
    if (w->kind == MV_ACCESS_WRITE && w->size_bytes) {
        memcpy((char *)(uintptr_t)(f->truth & T_HOST) + (w->gva & 4095), &w->value, w->size_bytes);
    }
}

/* As an emulator does: by the guest's tables. */
static void emulate(unsigned v, const struct wanted *w)
{
    uint64_t truth = walk_guest_tables(h.root[v], w->gva & T_HOST, true);
    if (!allows(truth, w) || w->kind != MV_ACCESS_WRITE || w->size_bytes == 0) {
        return;
    }
    bool is_table;
    gpa_t gpa = mv_gpa((number_of(truth & T_HOST) << 12) + (w->gva & 4095));
    rendezvous_enter(&h.vcpus[v]->inside);
    assert_true(hv_store(h.vcpus[v], gpa, &w->value, w->size_bytes, &is_table));
    rendezvous_leave(&h.vcpus[v]->inside);
}

/* A fault drops what the processor has of the page. */
static void drop(unsigned v, uint64_t gva)
{
    for (unsigned g = 0; g < h.gva_count; g++) {
        h.tlb[v][g] = h.gvas[g] == (gva & T_HOST) ? 0 : h.tlb[v][g];
    }
}

static enum hv_answer handle(unsigned v, const struct found *f, const struct wanted *w)
{
    struct hv_vcpu *vcpu = h.vcpus[v];
    drop(v, w->gva);
    bool is_refused = f->leaf & G_P && !f->truth;
    struct pt_exit exit = {.reason = PT_EXIT_PAGE_FAULT,
                           .access = {.kind = w->kind, .who = w->is_user ? PT_USER : PT_SUPERVISOR},
                           .gva = mv_gva(w->gva),
                           .code = (f->truth || is_refused ? PF_PRESENT : 0) | (is_refused ? PF_RESERVED : 0) |
                                   (w->kind == MV_ACCESS_WRITE ? PF_WRITE : 0) |
                                   (w->kind == MV_ACCESS_FETCH ? PF_FETCH : 0) | (w->is_user ? PF_USER : 0)};
    enum hv_answer answer = hv_handle_exit(vcpu, &exit);
    rendezvous_leave(&vcpu->inside);
    while (answer == HV_SETTLE) {
        hv_settle(h.rig.vm);
        enter(v);
        answer = hv_handle_again(vcpu, &exit);
        rendezvous_leave(&vcpu->inside);
    }
    return answer;
}

/* @return RETRY: it went through, or the host has the page */
static enum hv_answer access_by(unsigned v, const struct wanted *w)
{
    for (unsigned exits = 0;; exits++) {
        assert_true(exits < 16);
        enter(v);
        struct found f = find(v, w->gva & T_HOST);
        if (allows(f.truth, w)) {
            use(&f, w);
            rendezvous_leave(&h.vcpus[v]->inside);
            judge_step();
            return HV_RETRY;
        }
        enum hv_answer answer = handle(v, &f, w);
        if (answer == HV_EMULATE) {
            emulate(v, w);
        } else if (answer == HV_FAULT) {
            assert_false(allows(walk_guest_tables(h.root[v], w->gva & T_HOST, true), w));
            if ((h.vcpus[v]->fault.error_code & PF_PRESENT)) { /* the processor drops what it has of the page */
                forget_page(v, number_of_gva(w->gva));
            }
        }
        judge_step();
        if (answer != HV_RETRY || (h.taken_last && exits > 2)) {
            return answer;
        }
    }
}

static enum hv_answer touch_gva(unsigned v, uint64_t gva, enum mv_access kind)
{
    return access_by(v, &(struct wanted){.gva = gva, .kind = kind});
}

/* Or an edit of a table, where it is mapped. */
static enum hv_answer store(unsigned v, uint64_t gva, uint64_t value, unsigned size_bytes)
{
    return access_by(
        v, &(struct wanted){.gva = gva, .kind = MV_ACCESS_WRITE, .value = value, .size_bytes = size_bytes});
}

/* An entry of the guest's tables is written by the guest. */
static void edit(unsigned v, uint64_t table_gfn, unsigned index, uint64_t value)
{
    (void)store(v, kernel_gva(table_gfn, index), value, 8);
}

static void keep_all(bool kept)
{
    for (unsigned v = 0; v < VCPUS; v++) {
        for (unsigned g = 0; g < h.gva_count; g++) {
            h.is_kept[v][g] = kept && is_walking(v) && find(v, h.gvas[g]).truth;
        }
    }
}

/* --- Slots ------------------------------------------------------------------------------------------- */

static uint64_t copies[GFNS][512]; /* of pages of logged slots, when the log was read */

static bool is_compared(uint64_t gfn)
{
    return (gfn >= ROOT0 && gfn < DATA + 16) || (gfn >= SLOT_PAGES && gfn <= PTC);
}

static void copy_slot(unsigned slot)
{
    for (uint64_t gfn = slot * SLOT_PAGES; gfn < (slot + 1) * SLOT_PAGES; gfn++) {
        if (is_compared(gfn)) {
            memcpy(copies[gfn], table_at(gfn), sizeof copies[gfn]);
        }
    }
}

static void set_slot_to(unsigned slot, uint32_t flags)
{
    bool begins = (flags & ~h.flags[slot] & KVM_MEM_LOG_DIRTY_PAGES) && h.has_slot[slot];
    assert_int_equal(set_slot_of(&h.rig, slot, flags, slot * SLOT_PAGES, SLOT_PAGES, slot * SLOT_PAGES), 0);
    h.flags[slot] = flags;
    h.has_slot[slot] = true;
    if (begins) {
        assert_nobody_writes(slot * SLOT_PAGES, (slot + 1) * SLOT_PAGES - 1);
    }
    copy_slot(slot);
    judge_step();
}

static void delete_slot(unsigned slot)
{
    assert_int_equal(set_slot_of(&h.rig, slot, h.flags[slot], slot * SLOT_PAGES, 0, slot * SLOT_PAGES), 0);
    h.has_slot[slot] = false;
    forget_slot(slot);
    judge_step();
    for (unsigned v = 0; v < VCPUS; v++) {
        assert_false(any_bit(h.cached[v], slot * SLOT_PAGES, (slot + 1) * SLOT_PAGES - 1));
    }
}

/* What was written since is in it, and the next write of each page will be noticed. */
static void harvest(unsigned slot)
{
    uint64_t bits[SLOT_PAGES / 64];
    get_log(&h.rig, slot, bits);
    assert_nobody_writes(slot * SLOT_PAGES, (slot + 1) * SLOT_PAGES - 1);
    for (uint64_t gfn = slot * SLOT_PAGES; gfn < (slot + 1) * SLOT_PAGES; gfn++) {
        assert_true(!is_compared(gfn) || bit_of(bits, gfn % SLOT_PAGES) ||
                    memcmp(copies[gfn], table_at(gfn), sizeof copies[gfn]) == 0);
    }
    copy_slot(slot);
    judge_step();
}

static void write_protect(uint64_t first, uint64_t npages)
{
    hv_notifier_write_protect(h.rig.vm, hva_range(&h.rig, first, npages));
    assert_nobody_writes(first, first + npages - 1);
    judge_step();
}

static void take(uint64_t first, uint64_t npages)
{
    hv_notifier_begin(h.rig.vm, hva_range(&h.rig, first, npages));
    h.taken_first = first, h.taken_last = first + npages - 1;
    judge_step();
}

static void give_back(void)
{
    struct mv_range range = hva_range(&h.rig, h.taken_first, h.taken_last + 1 - h.taken_first);
    h.taken_last = 0;
    hv_notifier_end(h.rig.vm, range);
    judge_step();
}

/* --- From the beginning to the end -------------------------------------------------------------------- */

static void start(const struct hv_options *given)
{
    memset(&h, 0, sizeof h);
    struct hv_options options = *given;
    options.mmu = HV_MMU_SHADOW;
    h.busy = -1;
    h.is_strict = options.no_unsync;
    h.rig = rig_open(&options, (uint64_t)GFNS << 12);
    assert_int_equal(hv_vcpu_create(h.rig.vm, 1, &h.vcpus[1]), 0);
    h.vcpus[0] = h.rig.vcpu;
    make_gvas();
    make_tables();
    set_slot_to(0, 0);
    set_slot_to(1, 0);
    h.is_on = true;
    load_cr3(0, 0);
    load_cr3(1, 0);
}

static void finish(void)
{
    assert_true(h.changes > 0 && h.judged > 0);
    print_message("# %ju changes, %ju translations judged\n", (uintmax_t)h.changes, (uintmax_t)h.judged);
    h.is_on = false;
    hv_vcpu_destroy(h.vcpus[1]);
    rig_close(&h.rig);
}

/* Of everything that the guest lets be read. */
static void touch_all(unsigned v, enum mv_access kind)
{
    for (unsigned g = 0; g < h.gva_count; g++) {
        (void)touch_gva(v, h.gvas[g], kind);
    }
}

/* --- Scripts ----------------------------------------------------------------------------------------- */

static bool is_large(unsigned v, uint64_t gva)
{
    return find(v, gva).truth & T_LARGE;
}

/* Rights come and go, the page stays. */
static void what_nobody_takes_stays(void **state)
{
    (void)state;
    for (unsigned no_unsync = 0; no_unsync < 2; no_unsync++) {
        struct hv_options options = *rig_defaults();
        options.no_unsync = no_unsync;
        options.level_max = 1;
        start(&options);
        for (unsigned v = 0; v < VCPUS; v++) {
            touch_all(v, MV_ACCESS_READ);
        }
        keep_all(true);
        touch_all(1, MV_ACCESS_FETCH);
        for (unsigned round = 0; round < 3; round++) {
            touch_all(0, MV_ACCESS_WRITE); /* clean pages; tables, which are opened, or stored to */
            touch_all(1, MV_ACCESS_READ);
            assert_true(hv_notifier_age(h.rig.vm, hva_range(&h.rig, 0, GFNS)));
            write_protect(0, GFNS);
            touch_all(1, MV_ACCESS_WRITE);
            set_slot_to(0, h.flags[0] ^ KVM_MEM_LOG_DIRTY_PAGES);
            if (h.flags[0]) {
                touch_all(0, MV_ACCESS_WRITE);
                harvest(0);
            }
            for (unsigned g = 0; g < h.gva_count; g++) {
                invalidate(round & 1, g);
            }
        }
        assert_true(no_unsync || counters_of(&h.rig).tables_opened > 0);
        finish();
    }
}

/* A large page is there until a table comes to lie in it; and again when that has gone. */
static void large_pages_beside_tables(void **state)
{
    (void)state;
    for (unsigned no_unsync = 0; no_unsync < 2; no_unsync++) {
        struct hv_options options = *rig_defaults();
        options.no_unsync = no_unsync;
        start(&options);
        for (unsigned round = 0; round < 3; round++) {
            edit(0, PD, 4, 0);
            (void)touch_gva(0, LARGE_GVA, MV_ACCESS_WRITE);
            assert_true(is_large(0, LARGE_GVA) || round > 0);
            (void)touch_gva(1, LARGE_GVA, MV_ACCESS_WRITE);
            set_slot_to(1, KVM_MEM_LOG_DIRTY_PAGES);
            for (unsigned i = 0; i < 2; i++) { /* the write of each page is noticed */
                (void)store(0, LARGE_GVA + 4096, 2 * h.changes, 8);
                (void)store(1, LARGE_GVA, 2 * h.changes, 8);
                harvest(1);
            }
            set_slot_to(1, 0);
            edit(1, PD, 4, (uint64_t)PTC << 12 | G_TABLE);
            (void)touch_gva(0, 4 * MIB2, MV_ACCESS_READ);
            assert_false(is_large(0, LARGE_GVA));
            (void)touch_gva(1, LARGE_GVA + (PTC % 512 << 12), MV_ACCESS_WRITE);
            edit(1, PTC, 1, (DATA + 5) << 12 | G_PAGE);
            (void)touch_gva(0, 4 * MIB2 + 4096, MV_ACCESS_WRITE);
            set_slot_to(1, KVM_MEM_LOG_DIRTY_PAGES);
            (void)touch_gva(round & 1, LARGE_GVA, MV_ACCESS_WRITE);
            harvest(1);
            set_slot_to(1, 0);
            take(SLOT_PAGES + 4, 2); /* of what would be a large page */
            (void)touch_gva(1, LARGE_GVA, MV_ACCESS_WRITE);
            give_back();
            take(SLOT_PAGES, 16); /* the table, too */
            (void)touch_gva(0, LARGE_GVA, MV_ACCESS_WRITE);
            (void)touch_gva(0, 4 * MIB2, MV_ACCESS_READ);
            give_back();
            edit(0, PD, 2, round ? SLOT_PAGES << 12 | G_PAGE | G_LARGE : PTB << 12 | G_TABLE);
            touch_all(0, MV_ACCESS_READ);
            touch_all(1, MV_ACCESS_WRITE);
        }
        finish();
    }
}

/* A table that is written again and again, and more tables than there may be. */
static void tables_go(void **state)
{
    (void)state;
    enum { FIRST = 64, TABLES = 60, PLACE = 16 }; /* gfn; how many; in PD */
    for (unsigned no_unsync = 0; no_unsync < 2; no_unsync++) {
        struct hv_options options = *rig_defaults();
        options.no_unsync = no_unsync;
        start(&options);
        add_gvas_of_tables(PLACE, TABLES);
        for (unsigned i = 0; i < TABLES; i++) {
            edit(0, PD, PLACE + i, (uint64_t)(FIRST + i) << 12 | G_TABLE);
            (void)store(0, LOW_GVA + ((uint64_t)(FIRST + i) << 12), (uint64_t)DATA << 12 | G_PAGE, 8);
            (void)touch_gva(i & 1, (PLACE + i) * MIB2, (enum mv_access)(i & 1));
        }
        for (unsigned i = 0; i < TABLES; i += 7) {
            (void)store(1, LOW_GVA + ((uint64_t)(FIRST + i) << 12), (uint64_t)(DATA + 1) << 12 | G_PAGE, 8);
            (void)touch_gva(0, (PLACE + i) * MIB2, MV_ACCESS_WRITE);
            load_cr3(1, i & 1);
        }
        for (unsigned i = 0; i < 4; i++) {
            (void)store(0, LOW_GVA + (PDPT1 << 12) + 8, 0, 8);
        }
        assert_true(counters_of(&h.rig).mmu_recycled > 0 && counters_of(&h.rig).mmu_flooded > 0);
        finish();
    }
}

/* A vCPU whose root went flushes, and finds again what another made and has not synchronised. */
static void a_root_that_another_made(void **state)
{
    (void)state;
    start(rig_defaults());
    touch_all(0, MV_ACCESS_READ);
    delete_slot(1); /* and everything with it */
    set_slot_to(1, 0);
    (void)touch_gva(1, 0x2000, MV_ACCESS_WRITE);
    edit(1, PTA, 2, (DATA + 7) << 12 | G_PAGE);
    assert_int_equal(number_of(find(1, 0x2000).truth), DATA + 2); /* as it may be */
    invalidate(0, number_of_gva(0x2000));
    (void)touch_gva(0, 0x1000, MV_ACCESS_READ);
    finish();
}

/* A page that the guest made read-only, of which the other vCPU has not heard, becomes a table. */
static void a_page_becomes_a_table(void **state)
{
    (void)state;
    enum { PLACE = 6 };
    start(rig_defaults());
    add_gvas(PLACE * MIB2, 1);
    (void)store(1, 0x3000, (uint64_t)DATA << 12 | G_PAGE, 8);
    edit(0, PTA, 3, (DATA + 3) << 12 | (G_PAGE & ~G_W));
    invalidate(0, number_of_gva(0x3000));
    assert_true(any_bit(h.cached_w[1], DATA + 3, DATA + 3));
    edit(0, PD, PLACE, (DATA + 3) << 12 | G_TABLE);
    (void)touch_gva(0, PLACE * MIB2, MV_ACCESS_READ);
    assert_int_equal(number_of(find(0, PLACE * MIB2).truth), DATA);
    finish();
}

/* --- Random ------------------------------------------------------------------------------------------ */

static unsigned draw(unsigned below)
{
    h.seed ^= h.seed << 13, h.seed ^= h.seed >> 7, h.seed ^= h.seed << 17;
    return (unsigned)(h.seed >> 20) % below;
}

static uint64_t draw_bits(uint64_t flags)
{
    flags &= draw(8) ? ~UINT64_C(0) : ~G_P;
    flags &= draw(4) ? ~UINT64_C(0) : ~G_W;
    flags &= draw(4) ? ~UINT64_C(0) : ~G_U;
    flags &= draw(4) ? ~UINT64_C(0) : ~G_A;
    flags &= draw(2) ? ~UINT64_C(0) : ~G_D;
    return flags | (draw(4) ? 0 : G_NX);
}

static uint64_t draw_page(void)
{
    switch (draw(6)) {
    case 0: return ROOT0 + draw(TABLES_END - ROOT0);
    case 1: return SLOT_PAGES + draw(9);
    default: return DATA + draw(16);
    }
}

static void random_edit(unsigned v)
{
    static const uint64_t lowest[] = {PTA, PTB, PTC};
    switch (draw(10)) {
    case 0: edit(v, PD, 0 + 4 * draw(2), lowest[draw(3)] << 12 | draw_bits(G_TABLE)); break;
    case 1: edit(v, PD, 1, lowest[draw(3)] << 12 | draw_bits(G_TABLE)); break;
    case 2:
        edit(v, PD, 2,
             draw(2) ? (uint64_t)draw(2) * SLOT_PAGES << 12 | draw_bits(G_PAGE) | G_LARGE
                     : PTB << 12 | draw_bits(G_TABLE));
        break;
    case 3: edit(v, ROOT0 + draw(2), 1, PDPT << 12 | draw_bits(G_TABLE)); break;
    case 4: edit(v, PD, 5, draw_bits(G_PAGE | G_LARGE)); break;
    case 5: { /* not more than A and D: a guest that locks itself out has nothing more to show */
        unsigned i = draw(KERNEL_PAGES);
        edit(v, KERNEL, i, kernel_entry(i) & ~(draw(2) ? G_A : 0) & ~(draw(2) ? G_D : 0));
        break;
    }
    default: edit(v, lowest[draw(3)], draw(8), draw_page() << 12 | draw_bits(G_PAGE)); break;
    }
}

static void random_store(unsigned v)
{
    static const uint64_t tables[] = {PTA, PTB, PTC, PD};
    uint64_t gfn = tables[draw(4)], at = kernel_gva(gfn, draw(gfn == PD ? 3 : 6));
    switch (draw(3)) {
    case 0: (void)store(v, at + 1, draw(256), 1); break; /* no edit of an entry: bits 8 to 15 */
    case 1: (void)store(v, at, (uint64_t)(gfn == PD ? PTA : DATA) << 12 | (uint32_t)draw_bits(G_TABLE), 4); break;
    default: /* the last entry of a table, which is not present; and what the log is compared by */
        (void)store(v, h.gvas[draw(h.gva_count)] + 4088, (uint64_t)h.changes << 1, 8);
        break;
    }
}

static void random_host(void)
{
    uint64_t first = draw(4) ? ROOT0 + draw(32) : SLOT_PAGES - 8 + draw(32), npages = 1 + draw(12);
    switch (draw(4)) {
    case 0: write_protect(first, npages); break;
    case 1: (void)hv_notifier_age(h.rig.vm, hva_range(&h.rig, first, npages)); break;
    default:
        take(first, npages);
        for (unsigned i = draw(4); i > 0; i--) {
            (void)touch_gva(draw(VCPUS), h.gvas[draw(h.gva_count)], (enum mv_access)draw(3));
        }
        give_back();
        break;
    }
}

static void random_slots(void)
{
    unsigned slot = draw(2);
    switch (draw(8)) {
    case 0:
        delete_slot(slot);
        (void)touch_gva(draw(VCPUS), h.gvas[draw(h.gva_count)], (enum mv_access)draw(3));
        set_slot_to(slot, slot && draw(2) ? KVM_MEM_READONLY : 0);
        break;
    case 1: (void)hv_shrink(h.rig.vm, 1 + draw(8)); break;
    case 2:
    case 3: set_slot_to(slot, h.flags[slot] ^ KVM_MEM_LOG_DIRTY_PAGES); break;
    default:
        if (h.flags[slot] & KVM_MEM_LOG_DIRTY_PAGES) {
            harvest(slot);
        }
        break;
    }
}

static void random_step(void)
{
    unsigned v = draw(VCPUS), what = draw(100);
    if (what < 50) {
        (void)access_by(v, &(struct wanted){.gva = h.gvas[draw(h.gva_count)],
                                            .kind = (enum mv_access)draw(3),
                                            .is_user = draw(3) == 0});
    } else if (what < 75) {
        random_edit(v);
    } else if (what < 80) {
        random_store(v);
    } else if (what < 88) {
        invalidate(v, draw(h.gva_count));
    } else if (what < 92) {
        load_cr3(v, draw(2));
    } else if (what < 93) {
        h.busy = (int)v;
        hv_invalidate_all(h.vcpus[v]);
        h.busy = -1;
        forget_all(v);
    } else if (what < 96) {
        random_host();
    } else {
        random_slots();
    }
    judge_step();
}

static void random_events(const struct hv_options *options, uint64_t seed)
{
    start(options);
    h.seed = seed;
    print_message("# seed %ju\n", (uintmax_t)h.seed);
    for (unsigned step = 0; step < 10000; step++) {
        random_step();
    }
    finish();
}

static void random_seeds(bool no_unsync)
{
    const char *given = getenv("MEMVIRT_TEST_SEED");
    uint64_t first = given ? strtoull(given, NULL, 0) : 1, count = getenv("MEMVIRT_TEST_LONG") ? 50 : 1;
    for (uint64_t seed = first; seed < first + count; seed++) {
        struct hv_options options = *rig_defaults();
        options.no_unsync = no_unsync;
        random_events(&options, seed);
        options.zap_slot_only = true;
        random_events(&options, seed);
    }
}

static void random_with_unsync(void **state)
{
    (void)state;
    random_seeds(false);
}

static void random_without_unsync(void **state)
{
    (void)state;
    random_seeds(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_nobody_takes_stays),
        cmocka_unit_test(large_pages_beside_tables),
        cmocka_unit_test(tables_go),
        cmocka_unit_test(a_root_that_another_made),
        cmocka_unit_test(a_page_becomes_a_table),
        cmocka_unit_test(random_with_unsync),
        cmocka_unit_test(random_without_unsync),
    };
    return cmocka_run_group_tests_name("shadow_history", tests, NULL, NULL);
}
