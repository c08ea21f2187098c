// SPDX-License-Identifier: MIT
/* Places, rights, entries of the second dimension, and how all that is printed. */
#include "vm/explain_test.h"

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

/* --- printed ----------------------------------------------------------------------------------------------------
 */

struct page {
    char text[8192];
    size_t used;
};

static void keep_line(void *opaque, const char *line)
{
    struct page *page = opaque;
    page->used += (size_t)snprintf(page->text + page->used, sizeof page->text - page->used, "%s\n", line);
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
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (!strstr(page.text, parts[i])) {
            fail_msg("'%s' is not in\n%s", parts[i], page.text);
        }
    }
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
        cmocka_unit_test(a_chain_is_printed),
        cmocka_unit_test(bits_are_named),
    };
    return cmocka_run_group_tests_name("explain", tests, NULL, NULL);
}
