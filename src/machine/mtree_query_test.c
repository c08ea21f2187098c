// SPDX-License-Identifier: MIT
/* What is at an address, the way to it, and what it hides. */
#include "machine/mtree_test.h"

static const char dump[] = "address-space: memory\n"
                           "  0000000000000000-ffffffffffffffff (prio 0, i/o): system\n"
                           "    0000000000000000-000000000000ffff (prio 0, ram): alias low @ram "
                           "0000000000010000-000000000001ffff\n"
                           "    0000000000001000-0000000000001fff (prio 1, ram): alias pam-rom @ram "
                           "0000000000000000-0000000000000fff\n"
                           "    0000000000001000-0000000000001fff (prio 2, i/o): off [disabled]\n"
                           "\n"
                           "address-space: nic\n"
                           "  0000000000000000-ffffffffffffffff (prio 0, i/o): bus master container\n"
                           "    0000000000000000-ffffffffffffffff (prio 0, i/o): alias bus master @system "
                           "0000000000000000-ffffffffffffffff\n"
                           "\n"
                           "memory-region: ram\n"
                           "  0000000000000000-00000000000fffff (prio 0, ram): ram\n"
                           "\n"
                           "memory-region: system\n"
                           "  0000000000000000-ffffffffffffffff (prio 0, i/o): system\n"
                           "    0000000000000000-000000000000ffff (prio 0, ram): alias low @ram "
                           "0000000000010000-000000000001ffff\n"
                           "    0000000000001000-0000000000001fff (prio 1, ram): alias pam-rom @ram "
                           "0000000000000000-0000000000000fff\n"
                           "    0000000000001000-0000000000001fff (prio 2, i/o): off [disabled]\n"
                           "\n";

static const char *asked(struct mv_machine *machine, const char *space, uint64_t address)
{
    static struct page page;
    struct mv_error err;
    page.used = 0;
    page.text[0] = '\0';
    assert_int_equal(mv_mtree_at(machine, space, mv_gpa(address), page_print, &page, &err), 0);
    return page.text;
}

#define ROOT "      0000000000000000-ffffffffffffffff (prio 0, i/o): system\n"

static void the_way_leads_through_aliases(void **state)
{
    struct mv_mtree *mtree = imported(dump);
    (void)state;
    assert_string_equal(asked(mv_mtree_machine(mtree), "memory", 0x1234),
                        "address-space: memory\n"
                        "  0000000000001000-0000000000001fff (prio 0, rom): ram\n"
                        "    is ram @0000000000000234 (rom), through\n" ROOT
                        "      0000000000001000-0000000000001fff (prio 1, ram): alias pam-rom @ram "
                        "0000000000000000-0000000000000fff\n"
                        "      0000000000001000-0000000000100fff (prio 0, ram): ram\n"
                        "    hides ram @0000000000011234 (ram), through\n" ROOT
                        "      0000000000000000-000000000000ffff (prio 0, ram): alias low @ram "
                        "0000000000010000-000000000001ffff\n"
                        "      ffffffffffff0000-00000000000effff (prio 0, ram): ram\n"
                        "\n");
    mv_mtree_destroy(mtree);
}

/* Spaces that show the same are asked once, unless one is asked for. */
static void spaces_are_asked_together(void **state)
{
    struct mv_mtree *mtree = imported(dump);
    struct mv_machine *machine = mv_mtree_machine(mtree);
    (void)state;
    assert_string_equal(asked(machine, NULL, 0x5000),
                        "address-space: memory\n"
                        "address-space: nic\n"
                        "  0000000000002000-000000000000ffff (prio 0, ram): ram @0000000000012000\n"
                        "    is ram @0000000000015000 (ram), through\n" ROOT
                        "      0000000000000000-000000000000ffff (prio 0, ram): alias low @ram "
                        "0000000000010000-000000000001ffff\n"
                        "      ffffffffffff0000-00000000000effff (prio 0, ram): ram\n"
                        "\n");
    assert_non_null(strstr(asked(machine, "nic", 0x5000), "alias bus master @system"));
    assert_null(strstr(asked(machine, "memory", 0x5000), "nic"));
    mv_mtree_destroy(mtree);
}

static void nothing_is_told_too(void **state)
{
    struct mv_mtree *mtree = imported(dump);
    struct mv_machine *machine = mv_mtree_machine(mtree);
    struct mv_error err;
    (void)state;
    assert_string_equal(asked(machine, NULL, 0x10000), "nothing is at 0000000000010000 in any address space\n");
    assert_string_equal(asked(machine, "memory", 0x10000),
                        "address-space: memory\n  nothing is at 0000000000010000\n\n");
    assert_int_equal(mv_mtree_at(machine, "x", mv_gpa(0), page_print, NULL, &err), -ENOENT);
    assert_string_equal(err.reason, "no-space");
    mv_mtree_destroy(mtree);
}

/* From the root to what the view has, each offset as its place in the one before says. */
static void compare_way(const struct rig *rig, const struct mv_view *view, uint64_t address)
{
    struct mv_way_step way[4] = {0};
    struct mv_section section;
    size_t count = mv_space_way(rig->space, mv_gpa(address), NULL, 0);
    bool answers = mv_view_lookup(view, mv_gpa(address), &section);
    assert_int_equal(count > 0, answers);
    assert_true(count < 4);
    assert_int_equal(mv_space_way(rig->space, mv_gpa(address), way, count), count);
    assert_null(way[count].region);
    if (!answers) {
        return;
    }
    assert_ptr_equal(way[0].region, rig->root);
    assert_int_equal(way[0].offset, address);
    assert_ptr_equal(way[count - 1].region, section.region);
    assert_int_equal(way[count - 1].offset, section.offset + (address - section.range.first));
    for (size_t i = 0; i < count; i++) {
        mv_region_put(way[i].region);
    }
}

/* A device hides itself where a child of its own is on top. The view agrees at every address. */
static void the_first_found_is_what_the_view_has(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig);
    struct mv_region *device = put_in(rig.root, 0x10, reservation(&rig, "device", 0x20), 0);
    put_in(device, 8, reservation(&rig, "inner", 8), 0);
    put_in(rig.root, 0x20, reservation(&rig, "over", 4), 1);
    put_in(rig.root, 0x28, reservation(&rig, "same a", 8), 0);
    put_in(rig.root, 0x28, reservation(&rig, "same b", 8), 0);
    const struct mv_view *view = mv_space_view(rig.space);
    for (uint64_t address = 0; address < 0x40; address++) {
        struct mv_section section;
        char expected[64];
        if (mv_view_lookup(view, mv_gpa(address), &section)) {
            snprintf(expected, sizeof expected, "    is %s @%016" PRIx64, mv_region_name(section.region),
                     section.offset + (address - section.range.first));
        } else {
            snprintf(expected, sizeof expected, "  nothing is at %016" PRIx64, address);
        }
        assert_non_null(strstr(asked(rig.machine, "space", address), expected));
        compare_way(&rig, view, address);
    }
    mv_view_release(view);
    assert_non_null(strstr(asked(rig.machine, NULL, 0x18), "    hides device @0000000000000008 (i/o), through\n"));
    rig_close(&rig);
}

static void many_hidden_regions_are_counted(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig);
    for (int i = 0; i < 70; i++) {
        put_in(rig.root, 0, reservation(&rig, "same", 8), 0);
    }
    assert_non_null(strstr(asked(rig.machine, NULL, 0), "    and 5 more\n"));
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_way_leads_through_aliases),
        cmocka_unit_test(spaces_are_asked_together),
        cmocka_unit_test(nothing_is_told_too),
        cmocka_unit_test(the_first_found_is_what_the_view_has),
        cmocka_unit_test(many_hidden_regions_are_counted),
    };
    return cmocka_run_group_tests_name("mtree_query", tests, NULL, NULL);
}
