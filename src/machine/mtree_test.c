// SPDX-License-Identifier: MIT
/* What `info mtree` prints of trees and views that are made here. */
#include "machine/mtree_test.h"

static struct mv_region *with(const struct rig *rig, struct mv_region_options options)
{
    options.name = options.name ? options.name : "region";
    return make(rig->machine, &options);
}

static void a_tree_is_indented_by_depth(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig);
    struct mv_region *bus = put_in(rig.root, 0x1000, container(&rig, "bus", 0x2000), -1);
    put_in(bus, 0x10, reservation(&rig, "device", 0x10), 3);
    put_in(rig.root, 0, ram(&rig, "ram", 0x1000), 0);
    put_in(rig.root, 0xf000, rom(&rig, "rom", 0x1000), 0);
    assert_string_equal(printed(rig.machine, 0), "address-space: space\n"
                                                 "  0000000000000000-ffffffffffffffff (prio 0, i/o): root\n"
                                                 "    0000000000000000-0000000000000fff (prio 0, ram): ram\n"
                                                 "    0000000000001000-0000000000002fff (prio -1, i/o): bus\n"
                                                 "      0000000000001010-000000000000101f (prio 3, i/o): device\n"
                                                 "    000000000000f000-000000000000ffff (prio 0, rom): rom\n"
                                                 "\n");
    rig_close(&rig);
}

static void siblings_are_sorted_by_address_then_priority_then_rank(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig);
    put_in(rig.root, 0x10, reservation(&rig, "low", 1), 0);
    put_in(rig.root, 0x10, reservation(&rig, "first", 1), 1);
    put_in(rig.root, 0x10, reservation(&rig, "second", 1), 1);
    put_in(rig.root, 0, reservation(&rig, "empty", 0), 0);
    assert_string_equal(printed(rig.machine, 0), "address-space: space\n"
                                                 "  0000000000000000-ffffffffffffffff (prio 0, i/o): root\n"
                                                 "    0000000000000000-0000000000000000 (prio 0, i/o): empty\n"
                                                 "    0000000000000010-0000000000000010 (prio 1, i/o): second\n"
                                                 "    0000000000000010-0000000000000010 (prio 1, i/o): first\n"
                                                 "    0000000000000010-0000000000000010 (prio 0, i/o): low\n"
                                                 "\n");
    rig_close(&rig);
}

/* The paragraph has the target as it is in its own container, and comes once, in the order of the aliases. */
static void targets_have_paragraphs(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig);
    struct mv_region *inside = put_in(rig.root, 0x8000, container(&rig, "inside", 0x100), 2);
    struct mv_region *outside = container(&rig, "outside", 0x100);
    struct mv_region *last = ram(&rig, "last", 0x1000);
    put_in(outside, 0x20, alias_of(&rig, "c", last, 0x30, 0x40), 0);
    put_in(rig.root, 0, alias_of(&rig, "a", outside, 0, 0x100), 0);
    put_in(rig.root, 0x100, alias_of(&rig, "b", inside, 0x10, 0x20), 0);
    put_in(rig.root, 0x200, alias_of(&rig, "again", outside, 0, 0x100), 0);
    mv_region_put(outside);
    mv_region_put(last);
    assert_string_equal(printed(rig.machine, 0),
                        "address-space: space\n"
                        "  0000000000000000-ffffffffffffffff (prio 0, i/o): root\n"
                        "    0000000000000000-00000000000000ff (prio 0, i/o): alias a @outside "
                        "0000000000000000-00000000000000ff\n"
                        "    0000000000000100-000000000000011f (prio 0, i/o): alias b @inside "
                        "0000000000000010-000000000000002f\n"
                        "    0000000000000200-00000000000002ff (prio 0, i/o): alias again @outside "
                        "0000000000000000-00000000000000ff\n"
                        "    0000000000008000-00000000000080ff (prio 2, i/o): inside\n"
                        "\n"
                        "memory-region: outside\n"
                        "  0000000000000000-00000000000000ff (prio 0, i/o): outside\n"
                        "    0000000000000020-000000000000005f (prio 0, ram): alias c @last "
                        "0000000000000030-000000000000006f\n"
                        "\n"
                        "memory-region: inside\n"
                        "  0000000000008000-00000000000080ff (prio 2, i/o): inside\n"
                        "\n"
                        "memory-region: last\n"
                        "  0000000000000000-0000000000000fff (prio 0, ram): last\n"
                        "\n");
    rig_close(&rig);
}

/* What is in a disabled region is shown without it, as deep as it is; its alias's target too. */
static void disabled_regions_are_shown_on_request(void **state)
{
    struct rig rig;
    struct mv_error err;
    (void)state;
    rig_open(&rig);
    struct mv_region *bus = put_in(rig.root, 0x1000, container(&rig, "bus", 0x2000), 0);
    put_in(bus, 0x10, reservation(&rig, "device", 0x10), 0);
    struct mv_region *low = ram(&rig, "ram", 0x1000);
    struct mv_region *window = put_in(rig.root, 0x4000, alias_of(&rig, "window", low, 0, 0x1000), 0);
    mv_region_put(low);
    assert_int_equal(mv_region_set_enabled(bus, false, &err), 0);
    assert_int_equal(mv_region_set_enabled(window, false, &err), 0);
    assert_string_equal(printed(rig.machine, 0), "address-space: space\n"
                                                 "  0000000000000000-ffffffffffffffff (prio 0, i/o): root\n"
                                                 "      0000000000001010-000000000000101f (prio 0, i/o): device\n"
                                                 "\n"
                                                 "memory-region: ram\n"
                                                 "  0000000000000000-0000000000000fff (prio 0, ram): ram\n"
                                                 "\n");
    assert_string_equal(printed(rig.machine, MV_MTREE_DISABLED),
                        "address-space: space\n"
                        "  0000000000000000-ffffffffffffffff (prio 0, i/o): root\n"
                        "    0000000000001000-0000000000002fff (prio 0, i/o): bus [disabled]\n"
                        "      0000000000001010-000000000000101f (prio 0, i/o): device\n"
                        "    0000000000004000-0000000000004fff (prio 0, ram): alias window @ram "
                        "0000000000000000-0000000000000fff [disabled]\n"
                        "\n"
                        "memory-region: ram\n"
                        "  0000000000000000-0000000000000fff (prio 0, ram): ram\n"
                        "\n");
    rig_close(&rig);
}

/* Spaces whose roots come down to the same region have one view; until one of them shows it otherwise. */
static void views_part_when_a_root_slides(void **state)
{
    static const char together[] =
        "FlatView #0\n AS \"space\", root: root\n AS \"window\", root: window, alias root\n";
    struct rig rig;
    (void)state;
    rig_open(&rig);
    put_in(rig.root, 0, ram(&rig, "ram", 0x2000), 0);
    struct mv_region *window = alias_of(&rig, "window", rig.root, 0, MV_SIZE_2_64);
    struct mv_space *space = show(&rig, "window", window);
    assert_non_null(strstr(printed(rig.machine, MV_MTREE_FLAT), together));
    assert_picture(space, "0-1fff ram@0\n");
    assert_int_equal(mv_region_set_target_offset(window, 0x1000, NULL), 0);
    assert_picture(space, "0-fff ram@1000\n");
    assert_picture(rig.space, "0-1fff ram@0\n");
    assert_null(strstr(printed(rig.machine, MV_MTREE_FLAT), together));
    assert_int_equal(mv_region_set_target_offset(window, 0, NULL), 0);
    assert_non_null(strstr(printed(rig.machine, MV_MTREE_FLAT), together));
    assert_int_equal(mv_region_set_size(window, 0x1800, NULL), 0);
    assert_picture(space, "0-17ff ram@0\n");
    assert_null(strstr(printed(rig.machine, MV_MTREE_FLAT), together));
    mv_space_destroy(space);
    mv_region_put(window);
    rig_close(&rig);
}

/* One that is not shown has its warning in front of the next line. */
static void overflows_are_told(void **state)
{
    struct rig rig;
    struct mv_error err;
    (void)state;
    rig_open(&rig);
    put_in(rig.root, 0xfffffffffffffff0, reservation(&rig, "over", 0x20), 0);
    struct mv_region *far = put_in(rig.root, 0xfffffffffffff000, container(&rig, "far", 0x1000), 0);
    struct mv_region *hidden = put_in(far, 0x2000, reservation(&rig, "hidden", 1), 0);
    assert_int_equal(mv_region_set_enabled(hidden, false, &err), 0);
    assert_string_equal(printed(rig.machine, 0),
                        "address-space: space\n"
                        "  0000000000000000-ffffffffffffffff (prio 0, i/o): root\n"
                        "    fffffffffffff000-ffffffffffffffff (prio 0, i/o): far\n"
                        "[DETECTED OVERFLOW!] [DETECTED OVERFLOW!]     fffffffffffffff0-000000000000000f (prio 0, "
                        "i/o): over\n"
                        "\n");
    rig_close(&rig);
}

static void owners_are_shown_on_request(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig);
    const struct mv_region_options nic = {
        .name = "nic", .kind = MV_REGION_MMIO, .size_bytes = 1, .owner = "dev id=nic0"};
    const struct mv_region_options child = {
        .name = "child", .kind = MV_REGION_MMIO, .size_bytes = 1, .owner = "parent:obj path=/machine"};
    put_in(rig.root, 0, with(&rig, nic), 0);
    put_in(rig.root, 1, with(&rig, child), 0);
    assert_string_equal(printed(rig.machine, MV_MTREE_OWNER),
                        "address-space: space\n"
                        "  0000000000000000-ffffffffffffffff (prio 0, i/o): root orphan\n"
                        "    0000000000000000-0000000000000000 (prio 0, i/o): nic owner:{dev id=nic0}\n"
                        "    0000000000000001-0000000000000001 (prio 0, i/o): child parent:{obj path=/machine}\n"
                        "\n");
    assert_string_equal(printed(rig.machine, MV_MTREE_OWNER | MV_MTREE_FLAT),
                        "FlatView #0\n"
                        " AS \"space\", root: root\n"
                        " Root memory region: root\n"
                        "  0000000000000000-0000000000000000 (prio 0, i/o): nic owner:{dev id=nic0}\n"
                        "  0000000000000001-0000000000000001 (prio 0, i/o): child parent:{obj path=/machine}\n"
                        "\n");
    rig_close(&rig);
}

static void types_are_words(void **state)
{
    static const struct mv_mmio_ops ops;
    struct rig rig;
    struct mv_error err;
    struct mv_block *block;
    const struct mv_block_options block_options = {.name = "block", .size_bytes = 0x1000};
    (void)state;
    rig_open(&rig);
    assert_int_equal(mv_block_create(rig.machine, &block_options, &block, &err), 0);
    const struct mv_region_options flash = {
        .name = "flash", .kind = MV_REGION_ROM_DEVICE, .size_bytes = 0x1000, .block = block, .ops = &ops};
    const struct mv_region_options gpu = {
        .name = "gpu", .kind = MV_REGION_RAM_DEVICE, .size_bytes = 0x1000, .block = block};
    const struct mv_region_options pmem = {
        .name = "pmem", .kind = MV_REGION_RAM, .size_bytes = 0x1000, .block = block, .nonvolatile = true};
    put_in(rig.root, 0, with(&rig, flash), 0);
    struct mv_region *off = put_in(rig.root, 0x1000, with(&rig, flash), 0);
    put_in(rig.root, 0x2000, with(&rig, gpu), 0);
    put_in(rig.root, 0x3000, with(&rig, pmem), 0);
    mv_block_put(block);
    assert_int_equal(mv_region_set_rom_mode(off, false, &err), 0);
    assert_string_equal(printed(rig.machine, MV_MTREE_FLAT),
                        "FlatView #0\n"
                        " AS \"space\", root: root\n"
                        " Root memory region: root\n"
                        "  0000000000000000-0000000000000fff (prio 0, romd): flash\n"
                        "  0000000000001000-0000000000001fff (prio 0, i/o): flash\n"
                        "  0000000000002000-0000000000002fff (prio 0, ramd): gpu\n"
                        "  0000000000003000-0000000000003fff (prio 0, nv-ram): pmem\n"
                        "\n");
    rig_close(&rig);
}

/* Spaces that come down to one region share a paragraph, in which the accelerator's word stands for each. */
static bool has_low_slot(void *opaque, struct mv_space *space, struct mv_range range)
{
    return space != opaque && range.first == 0;
}

static void views_are_shared(void **state)
{
    static struct page page;
    struct rig rig;
    struct mv_error err;
    (void)state;
    rig_open(&rig);
    struct mv_region *low = put_in(rig.root, 0, ram(&rig, "ram", 0x2000), 0);
    struct mv_region *hole = put_in(rig.root, 0x1000, alias_of(&rig, "rom", low, 0, 0x1000), 1);
    assert_int_equal(mv_region_set_readonly(hole, true, &err), 0);
    struct mv_region *whole = alias_of(&rig, "whole", rig.root, 0, MV_SIZE_2_64);
    struct mv_region *master = container(&rig, "master", MV_SIZE_2_64);
    struct mv_region *window = put_in(master, 0, alias_of(&rig, "window", rig.root, 0, MV_SIZE_2_64), 0);
    struct mv_space *by_alias = show(&rig, "by alias", whole);
    struct mv_space *bus = show(&rig, "bus", master);
    const struct mv_mtree_accel accel = {.name = "KVM", .has_slot = has_low_slot, .opaque = bus};
    page.used = 0;
    assert_int_equal(mv_mtree_print(rig.machine, MV_MTREE_FLAT, &accel, page_print, &page, &err), 0);
    assert_string_equal(page.text, "FlatView #0\n"
                                   " AS \"space\", root: root\n"
                                   " AS \"by alias\", root: whole, alias root\n"
                                   " AS \"bus\", root: master\n"
                                   " Root memory region: root\n"
                                   "  0000000000000000-0000000000000fff (prio 0, ram): ram KVM KVM\n"
                                   "  0000000000001000-0000000000001fff (prio 0, rom): ram\n"
                                   "\n");
    assert_int_equal(mv_region_set_enabled(window, false, &err), 0);
    assert_non_null(strstr(printed(rig.machine, MV_MTREE_FLAT), "FlatView #1\n"
                                                                " AS \"bus\", root: master\n"
                                                                " Root memory region: (none)\n"
                                                                "  No rendered FlatView\n"
                                                                "\n"));
    mv_space_destroy(by_alias);
    mv_space_destroy(bus);
    mv_region_put(whole);
    mv_region_put(master);
    rig_close(&rig);
}

/* A root on the way down that makes all below it read-only is as far as it goes. */
static void rights_are_not_lost_on_the_way_down(void **state)
{
    struct rig rig;
    struct mv_error err;
    (void)state;
    rig_open(&rig);
    put_in(rig.root, 0, ram(&rig, "ram", 0x1000), 0);
    struct mv_region *window = alias_of(&rig, "window", rig.root, 0, MV_SIZE_2_64);
    assert_int_equal(mv_region_set_readonly(window, true, &err), 0);
    struct mv_space *space = show(&rig, "other", window);
    assert_non_null(strstr(printed(rig.machine, MV_MTREE_FLAT),
                           " AS \"other\", root: window, alias root\n"
                           " Root memory region: window\n"
                           "  0000000000000000-0000000000000fff (prio 0, rom): ram\n"));
    mv_space_destroy(space);
    mv_region_put(window);
    rig_close(&rig);
}

static void the_map_is_shown_as_it_is(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig);
    put_in(rig.root, 0, ram(&rig, "ram", 0x2000), 0);
    put_in(rig.root, 0x3000, reservation(&rig, "device", 2), 0);
    assert_string_equal(printed(rig.machine, MV_MTREE_FLAT | MV_MTREE_DISPATCH),
                        "FlatView #0\n"
                        " AS \"space\", root: root\n"
                        " Root memory region: root\n"
                        "  0000000000000000-0000000000001fff (prio 0, ram): ram\n"
                        "  0000000000003000-0000000000003001 (prio 0, i/o): device\n"
                        "  Dispatch\n"
                        "    Physical sections\n"
                        "      #0 @0000000000000000..ffffffffffffffff (noname) [unassigned]\n"
                        "      #1 @0000000000000000..0000000000001fff ram\n"
                        "      #2 @0000000000003000..0000000000003001 device\n"
                        "    Nodes (6 bits per level, 11 levels) ptr=[0] skip=9\n"
                        "      [0]\n"
                        "\t  0..1    skip=0  ptr=#1\n"
                        "\t  2       skip=1  ptr=NIL\n"
                        "\t  3       skip=1  ptr=[1]\n"
                        "\t  4..63   skip=1  ptr=NIL\n"
                        "      [1]\n"
                        "\t  0       skip=1  ptr=[2]\n"
                        "\t  1..63   skip=1  ptr=NIL\n"
                        "      [2]\n"
                        "\t  0..1    skip=0  ptr=#2\n"
                        "\t  2..63   skip=1  ptr=NIL\n"
                        "\n");
    rig_close(&rig);
}

static void a_map_of_one_section_has_no_nodes(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig);
    put_in(rig.root, 0, reservation(&rig, "all", MV_SIZE_2_64), 0);
    assert_non_null(strstr(printed(rig.machine, MV_MTREE_FLAT | MV_MTREE_DISPATCH),
                           "      #1 @0000000000000000..ffffffffffffffff all [ROOT]\n"
                           "    Nodes (6 bits per level, 11 levels) ptr=#1 skip=0\n"
                           "\n"));
    rig_close(&rig);
}

static void spaces_of_one_root_are_named_together(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig);
    struct mv_space *b = show(&rig, "b", rig.root), *a = show(&rig, "a", rig.root);
    assert_string_equal(printed(rig.machine, 0), "address-space: a\n"
                                                 "address-space: b\n"
                                                 "address-space: space\n"
                                                 "  0000000000000000-ffffffffffffffff (prio 0, i/o): root\n"
                                                 "\n");
    mv_space_destroy(a);
    mv_space_destroy(b);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_is_indented_by_depth),
        cmocka_unit_test(siblings_are_sorted_by_address_then_priority_then_rank),
        cmocka_unit_test(targets_have_paragraphs),
        cmocka_unit_test(disabled_regions_are_shown_on_request),
        cmocka_unit_test(overflows_are_told),
        cmocka_unit_test(owners_are_shown_on_request),
        cmocka_unit_test(types_are_words),
        cmocka_unit_test(views_are_shared),
        cmocka_unit_test(views_part_when_a_root_slides),
        cmocka_unit_test(rights_are_not_lost_on_the_way_down),
        cmocka_unit_test(the_map_is_shown_as_it_is),
        cmocka_unit_test(a_map_of_one_section_has_no_nodes),
        cmocka_unit_test(spaces_of_one_root_are_named_together),
    };
    return cmocka_run_group_tests_name("mtree", tests, NULL, NULL);
}
