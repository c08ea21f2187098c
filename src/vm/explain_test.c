// SPDX-License-Identifier: MIT
/* Places, rights, entries of the second dimension, and how all that is printed. */
#include "vm/explain_test.h"

#include <memvirt/dirty.h>

static void a_place_has_its_slot_and_its_way(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, "soft,mmu=ept");
    map_low(&rig);
    set_mode(&rig, &(struct mode){0});
    struct mv_chain chain = ask(&rig, 0x7123, MV_ACCESS_READ, MV_WHO_CURRENT);
    const struct mv_place *page = &chain.page;
    assert_int_equal(page->way_count, 3);
    assert_string_equal(mv_region_name(page->way[0].region), "system");
    assert_int_equal(page->way[0].offset, READONLY + 0x123);
    assert_string_equal(mv_region_name(page->way[1].region), "shadow");
    assert_int_equal(page->way[1].offset, 0x123);
    assert_string_equal(mv_region_name(page->way[2].region), "ram");
    assert_int_equal(page->way[2].offset, 0x20123);
    assert_int_equal(page->region_offset, 0x20123);
    assert_true(page->has_slot && page->readonly);
    assert_int_equal(page->slot.gpa.raw, READONLY);
    assert_int_equal(page->slot.flags, KVM_MEM_READONLY);
    assert_int_equal(page->hva.raw, (uintptr_t)rig.ram + 0x20123);
    assert_int_equal(chain.entries[3].at.gpa.raw, TABLE(3) + 7 * 8);
    assert_string_equal(mv_region_name(chain.entries[3].at.way[1].region), "low");
    mv_chain_release(&chain);
    rig_close(&rig);
}

static void rights_are_lost_on_the_way(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, "soft,mmu=native");
    map_low(&rig);
    set_entry(&rig, 1, 0, TABLE(2) | P | U | A | NX);
    set_mode(&rig, &(struct mode){.efer = EFER_NXE});
    struct mv_chain chain = ask(&rig, 0x3000, MV_ACCESS_FETCH, MV_WHO_SUPERVISOR);
    assert_int_equal(chain.entries[0].rights, MV_RIGHT_W | MV_RIGHT_U | MV_RIGHT_X);
    assert_int_equal(chain.entries[1].rights, MV_RIGHT_U);
    assert_int_equal(chain.entries[3].rights, 0);
    assert_int_equal(chain.verdict.level, 3);
    assert_string_equal(chain.verdict.text,
                        "a fetch from a page that is not executable: PDPTE[0] has NX=1, EFER.NXE=1");
    assert_int_equal(chain.page.nested.end, MV_NESTED_NONE);
    mv_chain_release(&chain);
    rig_close(&rig);
}

/* --- the second dimension ---------------------------------------------------------------------------------------
 */

static void ept_is_shown_before_and_after(void **state)
{
    struct rig rig;
    struct mv_soft_outcome outcome;
    struct mv_soft_place place;
    (void)state;
    rig_open(&rig, "soft,mmu=ept,host-page=4K");
    map_low(&rig);
    set_mode(&rig, &(struct mode){0});
    struct mv_chain chain = ask(&rig, 0x1008, MV_ACCESS_READ, MV_WHO_CURRENT);
    const struct mv_nested *n = &chain.entries[0].at.nested;
    assert_int_equal(n->end, MV_NESTED_NOT_PRESENT);
    assert_int_equal(n->entry_count, 0); /* not even a root */
    assert_string_equal(n->exit, "ept_violation");
    assert_int_equal(n->code, 0x83); /* read and write, no translation of the access itself */
    assert_int_equal(n->answer, MV_NESTED_REPAIR);
    assert_int_equal(chain.page.nested.code, 0x181);
    mv_chain_release(&chain);

    assert_int_equal(mv_soft_touch(rig.vcpu, mv_gva(0x1008), MV_ACCESS_READ, &place, &outcome), MV_SOFT_DONE);
    chain = ask(&rig, 0x1008, MV_ACCESS_WRITE, MV_WHO_CURRENT);
    n = &chain.page.nested;
    assert_int_equal(n->end, MV_NESTED_MAPPED);
    assert_null(n->exit);
    assert_int_equal(n->entry_count, 4);
    assert_int_equal(n->entries[3].level, 1);
    assert_int_equal(n->entries[3].index, 1);
    assert_int_equal(n->entries[3].value & UINT64_C(0xffffffff000), ((uintptr_t)rig.ram + 0x1000) & 0xffffffff000);
    assert_int_equal(n->rights, 7);
    assert_int_equal(n->need, 2);
    assert_int_equal(n->page_size_bytes, 4096);
    assert_int_equal(n->hva.raw, (uintptr_t)rig.ram + 0x1008);
    const char *flags[MV_ENTRY_FLAGS_MAX];
    size_t count = mv_nested_flags(n, 3, flags);
    assert_int_equal(count, 6);
    assert_string_equal(flags[3], "IPAT");
    assert_string_equal(flags[5], "D"); /* from the start, where nobody logs */
    mv_chain_release(&chain);
    rig_close(&rig);
}

static void an_mmio_entry_is_known_again(void **state)
{
    static const struct {
        const char *accel, *exit;
        uint64_t before, after;
    } cases[] = {{"soft,mmu=ept", "ept_violation", 0x181, 0}, {"soft,mmu=npt", "npf", 0x100000004, 0x10000000d}};
    for (size_t i = 0; i < 2; i++) {
        struct rig rig;
        struct mv_soft_outcome outcome;
        struct mv_soft_place place;
        (void)state;
        rig_open(&rig, cases[i].accel);
        map_low(&rig);
        set_mode(&rig, &(struct mode){0});
        struct mv_chain chain = ask(&rig, 0x5000, MV_ACCESS_READ, MV_WHO_CURRENT);
        assert_string_equal(chain.page.nested.exit, cases[i].exit);
        assert_int_equal(chain.page.nested.code, cases[i].before);
        assert_int_equal(chain.page.nested.answer, MV_NESTED_NO_SLOT);
        mv_chain_release(&chain);
        assert_int_equal(mv_soft_touch(rig.vcpu, mv_gva(0x5000), MV_ACCESS_READ, &place, &outcome), MV_SOFT_MMIO);
        chain = ask(&rig, 0x5000, MV_ACCESS_READ, MV_WHO_CURRENT);
        assert_int_equal(chain.page.nested.end, MV_NESTED_BAD_ENTRY);
        assert_string_equal(chain.page.nested.exit, i == 0 ? "ept_misconfig" : "npf");
        assert_int_equal(chain.page.nested.code, cases[i].after);
        mv_chain_release(&chain);
        rig_close(&rig);
    }
}

/* A write to a logged page, the write to a read-only slot: both are violations of rights, told apart by the
 * answer. */
static void a_readonly_slot_is_told(void **state)
{
    struct rig rig;
    struct mv_soft_outcome outcome;
    struct mv_soft_place place;
    (void)state;
    rig_open(&rig, "soft,mmu=ept");
    map_low(&rig);
    set_mode(&rig, &(struct mode){0});
    assert_int_equal(mv_soft_touch(rig.vcpu, mv_gva(0x6000), MV_ACCESS_READ, &place, &outcome), MV_SOFT_DONE);
    struct mv_chain chain = ask(&rig, 0x6000, MV_ACCESS_WRITE, MV_WHO_CURRENT);
    assert_int_equal(chain.page.nested.end, MV_NESTED_DENIED);
    assert_int_equal(chain.page.nested.code, 0x1aa); /* a write; R and X are allowed */
    assert_int_equal(chain.page.nested.answer, MV_NESTED_READONLY_SLOT);
    mv_chain_release(&chain);
    rig_close(&rig);
}

/* PAE's PDPTEs are registers; with NPT the walk reads them in memory. */
static void pdptes_are_where_the_walk_finds_them(void **state)
{
    (void)state;
    for (unsigned is_npt = 0; is_npt < 2; is_npt++) {
        struct rig rig;
        rig_open(&rig, is_npt ? "soft,mmu=npt" : "soft,mmu=ept");
        set_entry(&rig, 0, 1, TABLE(1) | P);
        set_entry(&rig, 1, 0, 0x80 | P | W | U | A);
        set_mode(&rig, &(struct mode){.paging = MV_PAGING_PAE});
        set_entry(&rig, 0, 1, TABLE(2) | P);
        struct mv_chain chain = ask(&rig, 0x40001234, MV_ACCESS_READ, MV_WHO_CURRENT);
        assert_string_equal(chain.entries[0].name, "PDPTE");
        assert_int_equal(chain.entries[0].index, 1);
        assert_int_equal(chain.entries[0].value, TABLE(is_npt ? 2 : 1) | P);
        assert_int_equal(chain.entries[0].at.gpa.raw, TABLE(0) + 8);
        assert_int_equal(chain.entries[0].at.nested.end, is_npt ? MV_NESTED_NOT_PRESENT : MV_NESTED_NONE);
        assert_int_equal(chain.verdict.rule, is_npt ? MV_RULE_NOT_PRESENT : MV_RULE_NONE);
        mv_chain_release(&chain);
        rig_close(&rig);
    }
}

/* --- shadow tables ----------------------------------------------------------------------------------------------
 */

static void shadow_is_shown_before_and_after(void **state)
{
    struct rig rig;
    struct mv_soft_outcome outcome;
    struct mv_soft_place place;
    (void)state;
    rig_open(&rig, "soft,mmu=shadow,host-page=4K");
    map_low(&rig);
    set_mode(&rig, &(struct mode){.cr0 = CR0_WP});
    struct mv_chain chain = ask(&rig, 0x1008, MV_ACCESS_WRITE, MV_WHO_CURRENT);
    assert_int_equal(chain.shadow.end, MV_NESTED_NOT_PRESENT);
    assert_int_equal(chain.shadow.entry_count, 1); /* the root is there from the load of CR3 */
    assert_string_equal(chain.shadow.exit, "page_fault");
    assert_int_equal(chain.shadow.code, 2);
    assert_int_equal(chain.shadow.answer, MV_SHADOW_FIX);
    mv_chain_release(&chain);

    assert_int_equal(mv_soft_touch(rig.vcpu, mv_gva(0x1008), MV_ACCESS_WRITE, &place, &outcome), MV_SOFT_DONE);
    chain = ask(&rig, 0x1008, MV_ACCESS_WRITE, MV_WHO_CURRENT);
    const struct mv_shadow *s = &chain.shadow;
    assert_int_equal(s->end, MV_NESTED_MAPPED);
    assert_null(s->exit);
    assert_int_equal(s->entry_count, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(s->entries[i].level, 4 - i);
        assert_true(s->entries[i].has_table && !s->entries[i].unsync && !s->entries[i].open);
        assert_int_equal(s->entries[i].table.raw, TABLE(i));
        assert_int_equal(s->entries[i].rights, MV_RIGHT_W | MV_RIGHT_U | MV_RIGHT_X);
        assert_int_equal(s->entries[i].role_count, 1);
        assert_string_equal(s->entries[i].role[0], "cr0.wp");
    }
    assert_int_equal(s->entries[3].index, 1);
    assert_int_equal(s->entries[3].value & UINT64_C(0xffffffff000), ((uintptr_t)rig.ram + 0x1000) & 0xffffffff000);
    assert_int_equal(s->page_size_bytes, 4096);
    assert_int_equal(s->hva.raw, (uintptr_t)rig.ram + 0x1008);
    assert_int_equal(s->rights, MV_RIGHT_W | MV_RIGHT_U | MV_RIGHT_X);
    assert_false(s->is_table);
    const char *flags[MV_ENTRY_FLAGS_MAX];
    assert_int_equal(mv_shadow_flags(s, 3, flags), 7);
    assert_string_equal(flags[5], "HOST-W");
    assert_string_equal(flags[6], "MMU-W");
    mv_chain_release(&chain);
    rig_close(&rig);
}

/* A page that is a table itself: read-only, until it is written. */
static void a_shadowed_table_is_told(void **state)
{
    struct rig rig;
    struct mv_soft_outcome outcome;
    struct mv_soft_place place;
    uint64_t entry = 0x2000 | P | W | U | A;
    (void)state;
    rig_open(&rig, "soft,mmu=shadow");
    map_low(&rig);
    set_entry(&rig, 3, 12, TABLE(3) | P | W | U | A | D);
    set_entry(&rig, 3, 13, TABLE(2) | P | W | U | A | D);
    set_mode(&rig, &(struct mode){0});
    for (unsigned i = 12; i < 14; i++) {
        assert_int_equal(mv_soft_touch(rig.vcpu, mv_gva(i * 0x1000), MV_ACCESS_READ, &place, &outcome),
                         MV_SOFT_DONE);
        struct mv_chain chain = ask(&rig, i * 0x1000, MV_ACCESS_WRITE, MV_WHO_CURRENT);
        assert_true(chain.shadow.is_table && chain.shadow.is_protected);
        assert_int_equal(chain.shadow.end, MV_NESTED_DENIED);
        assert_int_equal(chain.shadow.code, 3);
        assert_int_equal(chain.shadow.answer, i == 12 ? MV_SHADOW_OPEN : MV_SHADOW_STORE);
        assert_int_equal(chain.verdict.rule, MV_RULE_NONE);
        mv_chain_release(&chain);
    }
    assert_int_equal(mv_soft_write(rig.vcpu, mv_gva(0xc000 + 1 * 8), &entry, 8, MV_SOFT_EXPLICIT, &outcome),
                     MV_SOFT_DONE);
    struct mv_chain chain = ask(&rig, 0xc000, MV_ACCESS_WRITE, MV_WHO_CURRENT);
    assert_true(chain.shadow.is_table && !chain.shadow.is_protected);
    assert_int_equal(chain.shadow.answer, MV_SHADOW_NO_EXIT);
    assert_true(chain.shadow.entries[3].open && chain.shadow.entries[3].unsync);
    mv_chain_release(&chain);
    rig_close(&rig);
}

static void shadow_marks_mmio_too(void **state)
{
    struct rig rig;
    struct mv_soft_outcome outcome;
    struct mv_soft_place place;
    const char *flags[MV_ENTRY_FLAGS_MAX];
    (void)state;
    rig_open(&rig, "soft,mmu=shadow");
    map_low(&rig);
    set_mode(&rig, &(struct mode){0});
    assert_int_equal(mv_soft_touch(rig.vcpu, mv_gva(0x5000), MV_ACCESS_READ, &place, &outcome), MV_SOFT_MMIO);
    struct mv_chain chain = ask(&rig, 0x5000, MV_ACCESS_READ, MV_WHO_CURRENT);
    assert_int_equal(chain.shadow.end, MV_NESTED_BAD_ENTRY);
    assert_int_equal(chain.shadow.code, 9);
    assert_int_equal(chain.shadow.answer, MV_SHADOW_NO_SLOT);
    assert_int_equal(mv_shadow_flags(&chain.shadow, 3, flags), 1);
    assert_string_equal(flags[0], "MMIO");
    mv_chain_release(&chain);
    rig_close(&rig);
}

/* A slot that is new does not take entries along: what said that there is none is old. One that goes takes all. */
static void slots_end_what_was_known(void **state)
{
    struct rig rig;
    struct mv_soft_outcome outcome;
    struct mv_soft_place place;
    struct mv_error err;
    (void)state;
    rig_open(&rig, "soft,mmu=shadow");
    map_low(&rig);
    set_mode(&rig, &(struct mode){0});
    assert_int_equal(mv_soft_touch(rig.vcpu, mv_gva(0x9000), MV_ACCESS_READ, &place, &outcome), MV_SOFT_MMIO);
    struct mv_region *more =
        make(&rig, (struct mv_region_options){
                       .name = "more", .kind = MV_REGION_ROM, .size_bytes = 0x10000, .block = rig.rom_block});
    must(mv_region_add(rig.regions[0], NOTHING, more, 0, &err), &err);
    struct mv_chain chain = ask(&rig, 0x9000, MV_ACCESS_READ, MV_WHO_CURRENT);
    assert_int_equal(chain.shadow.end, MV_NESTED_BAD_ENTRY);
    assert_int_equal(chain.shadow.answer, MV_SHADOW_FIX);
    mv_chain_release(&chain);
    must(mv_region_remove(more, &err), &err);
    chain = ask(&rig, 0x9000, MV_ACCESS_READ, MV_WHO_CURRENT);
    assert_int_equal(chain.shadow.end, MV_NESTED_NOT_PRESENT);
    assert_int_equal(chain.shadow.entry_count, 0);
    assert_int_equal(chain.shadow.answer, MV_SHADOW_NO_SLOT);
    mv_chain_release(&chain);
    rig_close(&rig);
}

/* W that the dirty log took comes back without a look at the guest's tables. */
static void the_log_is_told(void **state)
{
    struct rig rig;
    struct mv_soft_outcome outcome;
    struct mv_soft_place place;
    (void)state;
    rig_open(&rig, "soft,mmu=shadow");
    map_low(&rig);
    set_mode(&rig, &(struct mode){0});
    assert_int_equal(mv_dirty_log_start(rig.machine, 1, NULL), 0);
    assert_int_equal(mv_soft_touch(rig.vcpu, mv_gva(0x1000), MV_ACCESS_WRITE, &place, &outcome), MV_SOFT_DONE);
    mv_dirty_sync_all(rig.machine, false);
    mv_dirty_test_and_clear(rig.regions[1], 0, RAM_BYTES, MV_DIRTY_MIGRATION);
    set_entry(&rig, 3, 1, 0);
    struct mv_chain chain = ask(&rig, 0x1000, MV_ACCESS_WRITE, MV_WHO_CURRENT);
    assert_int_equal(chain.verdict.rule, MV_RULE_NOT_PRESENT);
    assert_int_equal(chain.shadow.end, MV_NESTED_DENIED);
    assert_int_equal(chain.shadow.answer, MV_SHADOW_FIX);
    mv_chain_release(&chain);
    assert_int_equal(mv_soft_touch(rig.vcpu, mv_gva(0x1000), MV_ACCESS_WRITE, &place, &outcome), MV_SOFT_DONE);
    assert_int_equal(mv_dirty_log_stop(rig.machine, 1, NULL), 0);
    rig_close(&rig);
}

/* Ring 0 goes no way of the hardware's. */
static void who_is_emulated_has_no_exit(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, "soft,mmu=shadow,emulate-supervisor=on");
    map_low(&rig);
    set_mode(&rig, &(struct mode){0});
    struct mv_chain chain = ask(&rig, 0x1000, MV_ACCESS_READ, MV_WHO_SUPERVISOR);
    assert_int_equal(chain.shadow.answer, MV_SHADOW_NO_EXIT);
    assert_null(chain.shadow.exit);
    mv_chain_release(&chain);
    chain = ask(&rig, 0x1000, MV_ACCESS_READ, MV_WHO_USER);
    assert_int_equal(chain.shadow.answer, MV_SHADOW_FIX);
    assert_string_equal(chain.shadow.exit, "page_fault");
    mv_chain_release(&chain);
    rig_close(&rig);
}

/* Directories of 4-byte entries, with glue above; a large page that we map in parts. */
static void roles_are_named(void **state)
{
    struct rig rig;
    struct mv_soft_outcome outcome;
    struct mv_soft_place place;
    (void)state;
    rig_open(&rig, "soft,mmu=shadow,host-page=4K");
    uint32_t large = (uint32_t)(P | W | U | A | D | 0x80);
    memcpy(rig.ram + TABLE(0) + 4 * 0x301, &large, 4);
    set_mode(&rig, &(struct mode){.paging = MV_PAGING_32BIT, .cr4 = CR4_PSE, .cr0 = CR0_WP});
    assert_int_equal(mv_soft_touch(rig.vcpu, mv_gva(0xc0403000), MV_ACCESS_READ, &place, &outcome), MV_SOFT_DONE);
    struct mv_chain chain = ask(&rig, 0xc0403000, MV_ACCESS_READ, MV_WHO_CURRENT);
    const struct mv_shadow *s = &chain.shadow;
    assert_int_equal(s->entry_count, 4);
    assert_string_equal(s->entries[0].role[0], "glue");
    assert_string_equal(s->entries[1].role[0], "glue");
    assert_string_equal(s->entries[2].role[0], "quadrant 3");
    assert_string_equal(s->entries[2].role[1], "cr0.wp");
    assert_string_equal(s->entries[2].role[2], "cr4.pse");
    assert_string_equal(s->entries[3].role[0], "direct");
    assert_true(s->entries[2].has_table && !s->entries[3].has_table && !s->entries[0].has_table);
    assert_int_equal(s->entries[2].table.raw, TABLE(0));
    assert_int_equal(s->entries[3].table.raw, 0);
    mv_chain_release(&chain);
    /* The hardware's tables have 48 bits, the guest's addresses 32: what has more is the guest's own fault. */
    chain = ask(&rig, UINT64_C(0x1c0403000), MV_ACCESS_READ, MV_WHO_CURRENT);
    assert_int_equal(chain.verdict.rule, MV_RULE_NON_CANONICAL);
    assert_int_equal(chain.shadow.entry_count, 0);
    assert_null(chain.shadow.exit);
    mv_chain_release(&chain);
    rig_close(&rig);
}

/* --- printed ----------------------------------------------------------------------------------------------------
 */

struct page {
    char text[16384];
    size_t used;
};

static void keep_line(void *opaque, const char *line)
{
    struct page *page = opaque;
    page->used += (size_t)snprintf(page->text + page->used, sizeof page->text - page->used, "%s\n", line);
}

static void assert_has(const struct page *page, const char *const *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!strstr(page->text, parts[i])) {
            fail_msg("'%s' is not in\n%s", parts[i], page->text);
        }
    }
}

static void a_chain_is_printed(void **state)
{
    static struct page page;
    struct rig rig;
    (void)state;
    rig_open(&rig, "soft,mmu=ept");
    map_low(&rig);
    set_mode(&rig, &(struct mode){.cr0 = CR0_WP});
    struct mv_chain chain = ask(&rig, 0x2010, MV_ACCESS_WRITE, MV_WHO_SUPERVISOR);
    mv_chain_print(&chain, keep_line, &page);
    mv_chain_release(&chain);
    static const char *const parts[] = {
        "gva 0x2010, a write by a supervisor\n  4-level paging, cr3 0x10000, CPL 0; CR0.WP=1 EFER.NXE=0",
        "  PTE[2] = 0x0000000000002025  P US A; rights so far: U X\n    at gpa 0x13010\n"
        "      slot 0: 0x0-0xfffff\n      region: system > alias low > ram+0x13010 (ram)\n",
        "      EPT violation, qualification 0x83 (RW of a guest's table, allowed is none): not present; the "
        "hypervisor maps the slot's page, and the access is tried again\n",
        "  page: gpa 0x2010, in a page of 4K; rights: U X\n",
        "  write-protected: a supervisor's write to a read-only page: PTE[2] has R/W=0, CR0.WP=1\n"
        "  the guest takes #PF, error code 0x3, CR2 0x2010\n",
    };
    assert_has(&page, parts, sizeof parts / sizeof parts[0]);
    rig_close(&rig);
}

static void a_shadow_is_printed(void **state)
{
    static struct page page;
    struct rig rig;
    struct mv_soft_outcome outcome;
    struct mv_soft_place place;
    (void)state;
    rig_open(&rig, "soft,mmu=shadow");
    map_low(&rig);
    set_entry(&rig, 3, 13, TABLE(2) | P | W | U | A | D);
    set_mode(&rig, &(struct mode){.efer = EFER_NXE});
    mv_soft_touch(rig.vcpu, mv_gva(0x1000), MV_ACCESS_READ, &place, &outcome);
    for (unsigned i = 12; i < 14; i++) {
        mv_soft_touch(rig.vcpu, mv_gva(i * 0x1000), MV_ACCESS_READ, &place, &outcome);
        struct mv_chain chain = ask(&rig, i * 0x1000, MV_ACCESS_WRITE, MV_WHO_CURRENT);
        mv_chain_print(&chain, keep_line, &page);
        mv_chain_release(&chain);
    }
    static const char *const parts[] = {
        "    PTE[12] = 0x0000000000000000  not present\n"
        "      in place of the guest's table at gpa 0x13000, whose rights are W U X; role: efer.nxe\n"
        "    #PF of the shadow tables, error code 0x2: not present; the guest's own fault, which the hypervisor "
        "hands on\n  not-present: ",
        "  shadow tables:\n    PML4E[0] = 0x",
        "; rights: U X; a table of the guest's, write-protected\n"
        "    #PF of the shadow tables, error code 0x3: the entries do not allow it; the hypervisor makes the write, "
        "and takes along what it changes\n  verdict: ",
    };
    assert_has(&page, parts, sizeof parts / sizeof parts[0]);
    rig_close(&rig);
}

/* The guest's entry has changed, and nobody has flushed: the hardware goes on by the old one. */
static void what_is_stale_is_told(void **state)
{
    static struct page page;
    struct rig rig;
    struct mv_soft_outcome outcome;
    uint64_t value = 0;
    (void)state;
    rig_open(&rig, "soft,mmu=shadow");
    map_low(&rig);
    set_entry(&rig, 3, 12, TABLE(3) | P | W | U | A | D);
    set_entry(&rig, 3, 14, 0xe000 | P | W | U | A | D);
    set_mode(&rig, &(struct mode){0});
    assert_int_equal(mv_soft_read(rig.vcpu, mv_gva(0x1000), &value, 8, MV_SOFT_EXPLICIT, &outcome), MV_SOFT_DONE);
    value = 0;
    assert_int_equal(mv_soft_write(rig.vcpu, mv_gva(0xc000 + 1 * 8), &value, 8, MV_SOFT_EXPLICIT, &outcome),
                     MV_SOFT_DONE);
    struct mv_chain chain = ask(&rig, 0x1000, MV_ACCESS_READ, MV_WHO_CURRENT);
    assert_int_equal(chain.verdict.rule, MV_RULE_NOT_PRESENT);
    assert_int_equal(chain.shadow.answer, MV_SHADOW_NO_EXIT);
    assert_int_equal(chain.shadow.end, MV_NESTED_MAPPED);
    mv_chain_print(&chain, keep_line, &page);
    assert_non_null(strstr(page.text,
                           "    the hardware lets it through, by what the guest's tables said before: it "
                           "has not flushed since\n"));
    mv_chain_release(&chain);
    /* The same page, with fewer rights. */
    page.used = 0;
    assert_int_equal(mv_soft_read(rig.vcpu, mv_gva(0xe000), &value, 8, MV_SOFT_EXPLICIT, &outcome), MV_SOFT_DONE);
    value = 0xe000 | P | A | D;
    assert_int_equal(mv_soft_write(rig.vcpu, mv_gva(0xc000 + 14 * 8), &value, 8, MV_SOFT_EXPLICIT, &outcome),
                     MV_SOFT_DONE);
    chain = ask(&rig, 0xe000, MV_ACCESS_READ, MV_WHO_USER);
    assert_int_equal(chain.verdict.rule, MV_RULE_USER);
    mv_chain_print(&chain, keep_line, &page);
    assert_non_null(strstr(page.text, "it has not flushed since\n"));
    mv_chain_release(&chain);
    mv_soft_invlpg(rig.vcpu, mv_gva(0x1000));
    chain = ask(&rig, 0x1000, MV_ACCESS_READ, MV_WHO_CURRENT);
    assert_int_equal(chain.shadow.answer, MV_SHADOW_REFLECT);
    mv_chain_release(&chain);
    rig_close(&rig);
}

static void bits_are_named(void **state)
{
    char text[64];
    (void)state;
    assert_string_equal(mv_bits_text(0, text, sizeof text), "none");
    assert_string_equal(mv_bits_text(UINT64_C(1) << 63, text, sizeof text), "63");
    assert_string_equal(mv_bits_text(UINT64_C(0xf000000000001003), text, sizeof text), "0-1, 12, 60-63");
    assert_string_equal(mv_bits_text(UINT64_MAX, text, sizeof text), "0-63");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_has_its_slot_and_its_way),
        cmocka_unit_test(rights_are_lost_on_the_way),
        cmocka_unit_test(ept_is_shown_before_and_after),
        cmocka_unit_test(an_mmio_entry_is_known_again),
        cmocka_unit_test(a_readonly_slot_is_told),
        cmocka_unit_test(pdptes_are_where_the_walk_finds_them),
        cmocka_unit_test(shadow_is_shown_before_and_after),
        cmocka_unit_test(a_shadowed_table_is_told),
        cmocka_unit_test(shadow_marks_mmio_too),
        cmocka_unit_test(slots_end_what_was_known),
        cmocka_unit_test(the_log_is_told),
        cmocka_unit_test(who_is_emulated_has_no_exit),
        cmocka_unit_test(roles_are_named),
        cmocka_unit_test(a_chain_is_printed),
        cmocka_unit_test(a_shadow_is_printed),
        cmocka_unit_test(what_is_stale_is_told),
        cmocka_unit_test(bits_are_named),
    };
    return cmocka_run_group_tests_name("explain", tests, NULL, NULL);
}
