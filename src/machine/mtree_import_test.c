// SPDX-License-Identifier: MIT
/* Dumps made into machines. They are made up; tests/peers/qemu_mtree_test.py has real ones. */
#include "machine/mtree_test.h"

#include <stdlib.h>

#include "machine/mtree_resolve.h"

#define ROOT "  0000000000000000-ffffffffffffffff (prio 0, i/o): system\n"

static const char small[] =
    "address-space: memory\n" ROOT "    0000000000000000-0000000000ffffff (prio 0, ram): alias low @ram "
    "0000000000000000-0000000000ffffff\n"
    "    00000000000c0000-00000000000c3fff (prio 1, ram): alias pam-rom @ram "
    "00000000000c0000-00000000000c3fff\n"
    "    00000000fee00000-00000000feefffff (prio 4096, i/o): apic\n"
    "\n"
    "memory-region: ram\n"
    "  0000000000000000-0000000000ffffff (prio 0, ram): ram\n"
    "\n";

static void it_is_printed_back(void **state)
{
    (void)state;
    assert_round_trip(small);
}

static void its_view_is_what_was_seen(void **state)
{
    (void)state;
    assert_flat(small, "FlatView #0\n"
                       " AS \"memory\", root: system\n"
                       " Root memory region: system\n"
                       "  0000000000000000-00000000000bffff (prio 0, ram): ram\n"
                       "  00000000000c0000-00000000000c3fff (prio 0, rom): ram @00000000000c0000\n"
                       "  00000000000c4000-0000000000ffffff (prio 0, ram): ram @00000000000c4000\n"
                       "  00000000fee00000-00000000feefffff (prio 4096, i/o): apic\n"
                       "\n");
}

/* What the flat views of a text have in slots, its flat views have again; and nothing else has. */
static void slots_are_kept(void **state)
{
    static const char flat[] = "FlatView #0\n"
                               " AS \"memory\", root: system\n"
                               " AS \"smm\", root: system\n"
                               " Root memory region: system\n"
                               "  0000000000000000-00000000000bffff (prio 0, ram): ram KVM\n"
                               "  00000000000c0000-00000000000c3fff (prio 0, rom): ram @00000000000c0000 KVM KVM\n"
                               "  00000000000c4000-0000000000ffffff (prio 0, ram): ram @00000000000c4000\n"
                               "  00000000fee00000-00000000feefffff (prio 4096, i/o): apic\n"
                               "\n";
    static char text[4096];
    static struct page page;
    struct mv_error err;
    (void)state;
    char *trees = stpcpy(text, flat);
    stpcpy(stpcpy(trees, "address-space: memory\naddress-space: smm\n"), strchr(small, '\n') + 1);
    struct mv_mtree *mtree = imported(text);
    assert_non_null(mv_mtree_accel(mtree));
    page.used = 0;
    assert_int_equal(
        mv_mtree_print(mv_mtree_machine(mtree), MV_MTREE_FLAT, mv_mtree_accel(mtree), page_print, &page, &err), 0);
    assert_string_equal(page.text, flat);
    mv_mtree_destroy(mtree);
    mtree = imported(small);
    assert_null(mv_mtree_accel(mtree));
    mv_mtree_destroy(mtree);
}

/* There are no bytes: every access is a decode error, and no pointer is given away. */
static void its_memory_is_hollow(void **state)
{
    static const char dump[] =
        "address-space: memory\n" ROOT "    0000000000000000-0000000000000fff (prio 0, ram): ram\n"
        "    0000000000001000-0000000000001fff (prio 0, rom): rom\n"
        "    0000000000002000-0000000000002fff (prio 0, romd): flash\n"
        "    0000000000003000-0000000000003fff (prio 0, ramd): gpu\n"
        "    0000000000004000-ffffffffffffffff (prio 0, ram): huge\n"
        "\n";
    struct mv_mtree *mtree = imported(dump);
    struct mv_machine *machine = mv_mtree_machine(mtree);
    struct mv_error err;
    struct mv_region *window = NULL;
    struct mv_space *space;
    (void)state;
    /* The way to a region of it is a space of our own. */
    const struct mv_region_options options = {.name = "all", .kind = MV_REGION_RAM, .size_bytes = MV_SIZE_2_64};
    assert_int_equal(mv_region_create(machine, &options, &window, &err), 0);
    assert_int_equal(mv_space_create(machine, "own", window, &space, &err), 0);
    uint64_t value = 1;
    assert_int_equal(mv_space_read(space, mv_gpa(0x1000), &value, 8, MV_ATTRS_NONE), MV_DECODE_ERROR);
    assert_int_equal(value, 0);
    assert_int_equal(mv_space_write(space, mv_gpa(0x1000), &value, 8, MV_ATTRS_NONE), MV_DECODE_ERROR);
    assert_int_equal(mv_space_write_rom(space, mv_gpa(0x1000), &value, 8), MV_DECODE_ERROR);
    struct mv_hold hold;
    assert_int_equal(mv_space_hold(space, mv_gpa(0x1000), 8, &hold), MV_DECODE_ERROR);
    const struct mv_view *view = mv_space_view(space);
    struct mv_section section;
    assert_true(mv_view_lookup(view, mv_gpa(0), &section));
    assert_int_equal(section.hva.raw, 0);
    assert_false(section.writable);
    mv_view_release(view);
    mv_space_destroy(space);
    mv_region_put(window);
    const struct mv_region_options device = {.name = "device", .kind = MV_REGION_RAM_DEVICE, .size_bytes = 8};
    assert_int_equal(mv_region_create(machine, &device, &window, &err), 0);
    assert_int_equal(mv_space_create(machine, "own", window, &space, &err), 0);
    assert_int_equal(mv_space_read(space, mv_gpa(0), &value, 8, MV_ATTRS_NONE), MV_DECODE_ERROR);
    mv_space_destroy(space);
    mv_region_put(window);
    assert_non_null(strstr(printed(machine, MV_MTREE_FLAT), "fff (prio 0, romd): flash\n"));
    assert_non_null(strstr(printed(machine, MV_MTREE_FLAT), "ffffffffffffffff (prio 0, ram): huge\n"));
    mv_mtree_destroy(mtree);
}

/* A container of many spaces, an alias of an alias, roots elsewhere than at 0, regions of one name. */
static void paragraphs_keep_their_order_and_place(void **state)
{
    (void)state;
    assert_round_trip("address-space: a\n"
                      "address-space: b\n" ROOT "    0000000000001000-0000000000001fff (prio 3, i/o): bus\n"
                      "      0000000000001800-00000000000018ff (prio 0, i/o): alias one @same "
                      "0000000000000000-00000000000000ff\n"
                      "      0000000000001900-00000000000019ff (prio 0, ram): alias two @same "
                      "0000000000000000-00000000000000ff\n"
                      "    0000000000004000-00000000000040ff (prio 0, i/o): alias bus again @bus "
                      "0000000000000800-00000000000008ff\n"
                      "\n"
                      "address-space: c\n"
                      "  0000000000000000-00000000000000ff (prio 0, ram): alias root @two "
                      "0000000000000000-00000000000000ff\n"
                      "\n"
                      "memory-region: same\n"
                      "  0000000000007000-00000000000070ff (prio 5, i/o): same\n"
                      "\n"
                      "memory-region: same\n"
                      "  0000000000000000-0000000000000fff (prio 0, ram): same\n"
                      "\n"
                      "memory-region: bus\n"
                      "  0000000000001000-0000000000001fff (prio 3, i/o): bus\n"
                      "    0000000000001800-00000000000018ff (prio 0, i/o): alias one @same "
                      "0000000000000000-00000000000000ff\n"
                      "    0000000000001900-00000000000019ff (prio 0, ram): alias two @same "
                      "0000000000000000-00000000000000ff\n"
                      "\n"
                      "memory-region: two\n"
                      "  0000000000001900-00000000000019ff (prio 0, ram): alias two @same "
                      "0000000000000000-00000000000000ff\n"
                      "\n");
}

/* A root that is printed again as a target is one region: what comes down to it shares its view. */
static void what_is_printed_twice_is_one_region(void **state)
{
    (void)state;
    assert_flat("address-space: memory\n" ROOT "    0000000000001000-0000000000001fff (prio 0, ram): ram\n"
                "\n"
                "address-space: nic\n"
                "  0000000000000000-ffffffffffffffff (prio 0, i/o): bus master container\n"
                "    0000000000000000-ffffffffffffffff (prio 0, i/o): alias bus master @system "
                "0000000000000000-ffffffffffffffff\n"
                "\n"
                "memory-region: system\n" ROOT "    0000000000001000-0000000000001fff (prio 0, ram): ram\n"
                "\n",
                "FlatView #0\n"
                " AS \"memory\", root: system\n"
                " AS \"nic\", root: bus master container\n"
                " Root memory region: system\n"
                "  0000000000001000-0000000000001fff (prio 0, ram): ram\n"
                "\n");
}

/* Aliases that are not printed, as they are disabled, still have made QEMU print what they show. */
static void paragraphs_may_come_without_an_alias(void **state)
{
    (void)state;
    assert_round_trip("address-space: memory\n" ROOT
                      "    0000000000000000-0000000000000fff (prio 0, ram): alias low @ram "
                      "0000000000000000-0000000000000fff\n"
                      "\n"
                      "address-space: nic\n"
                      "  0000000000000000-ffffffffffffffff (prio 0, i/o): bus master container\n"
                      "\n"
                      "memory-region: smram\n"
                      "    00000000000a0000-00000000000bffff (prio 0, i/o): alias smram-low @vga "
                      "0000000000000000-000000000001ffff\n"
                      "\n"
                      "memory-region: ram\n"
                      "  0000000000000000-0000000000000fff (prio 0, ram): ram\n"
                      "\n"
                      "memory-region: vga\n"
                      "  0000000000000000-000000000001ffff (prio 0, i/o): vga\n"
                      "\n"
                      "memory-region: last\n"
                      "  0000000000000000-000000000001ffff (prio 0, i/o): last\n"
                      "\n");
}

/* Without -D: what is in a disabled region comes a level deeper than what is around it. */
static void hidden_regions_are_made_up(void **state)
{
    static const char dump[] = "address-space: I/O\n"
                               "  0000000000000000-000000000000ffff (prio 0, i/o): io\n"
                               "      0000000000000000-0000000000000003 (prio 0, i/o): acpi-evt\n"
                               "      0000000000000008-000000000000000b (prio 0, i/o): acpi-tmr\n"
                               "        0000000000000040-0000000000000047 (prio 0, i/o): deep\n"
                               "    0000000000000000-0000000000000007 (prio 0, i/o): dma-chan\n"
                               "    0000000000000070-0000000000000071 (prio 0, i/o): rtc\n"
                               "      0000000000000070-0000000000000070 (prio 0, i/o): rtc-index\n"
                               "      0000000000000090-0000000000000097 (prio 0, i/o): elsewhere\n"
                               "    00000000000000a0-00000000000000a1 (prio 0, i/o): alias pic2 @pic "
                               "0000000000000000-0000000000000001\n"
                               "      00000000000000a0-00000000000000a0 (prio 0, i/o): below\n"
                               "\n"
                               "memory-region: pic\n"
                               "  0000000000000020-0000000000000021 (prio 0, i/o): pic\n"
                               "\n";
    (void)state;
    assert_round_trip(dump);
    assert_flat(dump, "FlatView #0\n"
                      " AS \"I/O\", root: io\n"
                      " Root memory region: io\n"
                      "  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan\n"
                      "  0000000000000008-000000000000006f (prio 0, i/o): io @0000000000000008\n"
                      "  0000000000000070-0000000000000070 (prio 0, i/o): rtc-index\n"
                      "  0000000000000071-0000000000000071 (prio 0, i/o): rtc @0000000000000001\n"
                      "  0000000000000072-000000000000009f (prio 0, i/o): io @0000000000000072\n"
                      "  00000000000000a0-00000000000000a1 (prio 0, i/o): pic\n"
                      "  00000000000000a2-000000000000ffff (prio 0, i/o): io @00000000000000a2\n"
                      "\n");
}

static void all_that_a_line_says_is_kept(void **state)
{
    (void)state;
    assert_round_trip("address-space: s\n"
                      "  0000000000000000-ffffffffffffffff (prio 0, i/o): root parent:{obj path=/machine}\n"
                      "[DETECTED OVERFLOW!]     fffffffffffffff0-000000000000000f (prio -5, i/o): x orphan\n"
                      "\n");
    assert_round_trip("address-space: s\n" ROOT
                      "    0000000000000000-0000000000000fff (prio 0, nv-ram): alias a @b "
                      "0000000000000000-0000000000000fff [disabled]\n"
                      "    0000000000000000-0000000000000fff (prio 0, romd): \n"
                      "    0000000000000000-0000000000000fff (prio 0, ramd): usb3 port #1 [disabled]\n"
                      "    0000000000002000-0000000000002000 (prio 2147483647, i/o): one byte or none\n"
                      "\n"
                      "memory-region: b\n"
                      "  0000000000000000-0000000000000fff (prio 0, nv-ram): b\n"
                      "\n");
}

/* At one address the first line is on top; elsewhere the smaller region. */
static void ties_are_broken(void **state)
{
    (void)state;
    assert_flat("address-space: s\n" ROOT "    0000000000001000-0000000000001fff (prio 0, ram): top\n"
                "    0000000000001000-0000000000001fff (prio 0, ram): under\n"
                "    0000000000002000-0000000000004fff (prio 0, ram): large\n"
                "    0000000000003000-0000000000003fff (prio 0, ram): small\n"
                "\n",
                "FlatView #0\n"
                " AS \"s\", root: system\n"
                " Root memory region: system\n"
                "  0000000000001000-0000000000001fff (prio 0, ram): top\n"
                "  0000000000002000-0000000000002fff (prio 0, ram): large\n"
                "  0000000000003000-0000000000003fff (prio 0, ram): small\n"
                "  0000000000004000-0000000000004fff (prio 0, ram): large @0000000000002000\n"
                "\n");
}

/* Two bridges, each with a window: that of which something is in the window. The second has none: a guess. */
static void windows_tell_targets_apart(void **state)
{
    static const char dump[] =
        "address-space: s\n" ROOT "    0000000000001000-0000000000001fff (prio 0, i/o): alias w @bridge "
        "0000000000001000-0000000000001fff\n"
        "    0000000000002000-0000000000002fff (prio 0, i/o): alias w @bridge "
        "0000000000002000-0000000000002fff\n"
        "    0000000000003000-0000000000003fff (prio 0, i/o): alias v @bridge "
        "0000000000003000-0000000000003fff\n"
        "    0000000000004000-0000000000004fff (prio 0, i/o): alias v @bridge "
        "0000000000004000-0000000000004fff\n"
        "\n"
        "memory-region: bridge\n"
        "  0000000000000000-ffffffffffffffff (prio 0, i/o): bridge\n"
        "    0000000000004000-000000000000400f (prio 0, i/o): first\n"
        "\n"
        "memory-region: bridge\n"
        "  0000000000000000-ffffffffffffffff (prio 0, i/o): bridge\n"
        "    0000000000003000-000000000000300f (prio 0, i/o): second\n"
        "\n";
    (void)state;
    assert_round_trip(dump);
    assert_flat(dump, "FlatView #0\n"
                      " AS \"s\", root: system\n"
                      " Root memory region: system\n"
                      "  0000000000003000-000000000000300f (prio 0, i/o): second\n"
                      "  0000000000004000-000000000000400f (prio 0, i/o): first\n"
                      "\n");
}

/* A bridge behind a bridge: both windows of one lead to the same bridge, and none to what they are in. */
static void bridges_may_be_behind_bridges(void **state)
{
#define WINDOWS                                                                                                   \
    "    0000000000001000-0000000000001fff (prio 0, i/o): alias p @bridge 0000000000001000-0000000000001fff\n"    \
    "    0000000000003000-0000000000003fff (prio 0, i/o): alias m @bridge 0000000000003000-0000000000003fff\n"
#define BRIDGE                                                                                                    \
    "memory-region: bridge\n"                                                                                     \
    "  0000000000000000-ffffffffffffffff (prio 0, i/o): bridge\n"
    static const char dump[] = "address-space: s\n" ROOT WINDOWS "\n" BRIDGE WINDOWS "\n" BRIDGE WINDOWS
                               "\n" BRIDGE "    0000000000003000-000000000000300f (prio 0, i/o): nic\n\n";
    (void)state;
    assert_round_trip(dump);
    assert_flat(dump, "FlatView #0\n"
                      " AS \"s\", root: system\n"
                      " Root memory region: system\n"
                      "  0000000000003000-000000000000300f (prio 0, i/o): nic\n"
                      "\n");
}

#define BRIDGE_OF(owner)                                                                                          \
    "memory-region: bridge\n"                                                                                     \
    "  0000000000000000-ffffffffffffffff (prio 0, i/o): bridge owner:{dev id=" owner "}\n"

/* The owner decides, where it is told: the second window, by all else of the first bridge, is of the second. */
static void owners_tell_targets_apart(void **state)
{
    (void)state;
    assert_flat(
        "address-space: s\n" ROOT "    0000000000001000-0000000000001fff (prio 0, i/o): alias p @bridge "
        "0000000000001000-0000000000001fff owner:{dev id=a}\n"
        "    0000000000003000-0000000000003fff (prio 0, i/o): alias m @bridge "
        "0000000000003000-0000000000003fff owner:{dev id=b}\n"
        "\n" BRIDGE_OF("a") "    0000000000003000-000000000000300f (prio 0, i/o): of a orphan\n"
                            "\n" BRIDGE_OF(
                                "b") "    0000000000003010-000000000000301f (prio 0, i/o): of b orphan\n\n",
        "FlatView #0\n"
        " AS \"s\", root: system\n"
        " Root memory region: system\n"
        "  0000000000003010-000000000000301f (prio 0, i/o): of b\n"
        "\n");
}

/* A window of one byte on more is a closed one. */
static void closed_windows_show_nothing(void **state)
{
    (void)state;
    assert_flat("address-space: s\n" ROOT "    0000000000001000-0000000000001000 (prio 0, i/o): alias w @device "
                "0000000000000000-0000000000000000\n"
                "    0000000000002000-0000000000002000 (prio 0, i/o): alias v @port "
                "0000000000000000-0000000000000000\n"
                "\nmemory-region: device\n  0000000000000000-00000000000000ff (prio 0, i/o): device\n"
                "\nmemory-region: port\n  0000000000000000-0000000000000000 (prio 0, i/o): port\n",
                "FlatView #0\n"
                " AS \"s\", root: system\n"
                " Root memory region: system\n"
                "  0000000000002000-0000000000002000 (prio 0, i/o): port\n"
                "\n");
}

static void toss_ups_are_told(void **state)
{
    struct mv_mtree *mtree =
        imported("address-space: s\n" ROOT "    0000000000001000-0000000000001fff (prio 0, ram): alias a @x "
                 "0000000000000000-0000000000000fff\n"
                 "    0000000000002000-0000000000002fff (prio 0, ram): alias a @x "
                 "0000000000000000-0000000000000fff\n"
                 "    0000000000003000-0000000000003fff (prio 0, i/o): inner\n"
                 "      0000000000003000-0000000000003fff (prio 0, ram): alias b @x "
                 "0000000000000000-0000000000000fff\n"
                 "\n"
                 "memory-region: x\n"
                 "  0000000000000000-0000000000001fff (prio 0, ram): x\n"
                 "\n"
                 "memory-region: x\n"
                 "  0000000000000000-0000000000002fff (prio 0, ram): x\n"
                 "\n");
    (void)state;
    assert_string_equal(notes_of(mtree), "line 6: b: this alias may show any of several regions of a name: that "
                                         "of line 8 is taken\n");
    mv_mtree_destroy(mtree);
    mtree = imported(small);
    assert_string_equal(notes_of(mtree), "");
    mv_mtree_destroy(mtree);
}

/* A region of type i/o may be a device or a container: a flat view in the same text says which. */
static void flat_views_help(void **state)
{
    static const char tree[] =
        "address-space: s\n" ROOT "    0000000000001000-0000000000001fff (prio 0, i/o): with children\n"
        "      0000000000001000-000000000000100f (prio 0, i/o): child\n"
        "    0000000000002000-0000000000002fff (prio 0, i/o): without\n"
        "\n";
    static const char hints[] = "(qemu) info mtree -f\r\n"
                                "FlatView #0\r\n"
                                " AS \"s\", root: system\r\n"
                                " Root memory region: system\r\n"
                                "  0000000000001000-000000000000100f (prio 0, i/o): child KVM\r\n"
                                "  0000000000001010-0000000000001fff (prio 0, i/o): with children "
                                "@0000000000000010 KVM KVM\r\n"
                                "  Dispatch\r\n"
                                "    Physical sections\r\n"
                                "\t  0       skip=5  ptr=[5]\r\n"
                                "\r\n";
    char both[2048];
    (void)state;
    assert_flat(tree, "FlatView #0\n"
                      " AS \"s\", root: system\n"
                      " Root memory region: system\n"
                      "  0000000000001000-000000000000100f (prio 0, i/o): child\n"
                      "  0000000000002000-0000000000002fff (prio 0, i/o): without\n"
                      "\n");
    snprintf(both, sizeof both, "%s%s", tree, hints);
    assert_flat(both, "FlatView #0\n"
                      " AS \"s\", root: system\n"
                      " Root memory region: system\n"
                      "  0000000000001000-000000000000100f (prio 0, i/o): child\n"
                      "  0000000000001010-0000000000001fff (prio 0, i/o): with children @0000000000000010\n"
                      "\n");
}

/* --- what is refused --------------------------------------------------------------------------------------- */

static void assert_refused(const char *text, int code, const char *reason, const char *part)
{
    struct mv_mtree *mtree = NULL;
    struct mv_error err = {0};
    int rc = mv_mtree_import(text, strlen(text), &mtree, &err);
    assert_null(mtree);
    assert_int_equal(rc, code);
    assert_string_equal(err.reason, reason);
    if (!strstr(err.text, part)) {
        fail_msg("%s", err.text);
    }
}

static void errors_name_the_line(void **state)
{
    (void)state;
    assert_refused("", -EINVAL, "bad-dump", "there was no address space");
    assert_refused("hello\n", -EINVAL, "bad-dump", "line 1: ");
    assert_refused("address-space: s\n" ROOT "    00\n", -EINVAL, "bad-dump", "line 3: ");
    assert_refused("address-space: s\n" ROOT ROOT, -EINVAL, "bad-dump", "line 3: a tree has one root");
    assert_refused("address-space: s\n" ROOT "\n" ROOT, -EINVAL, "bad-dump", "line 4: a region outside");
    assert_refused("memory-region: s\naddress-space: t\n", -EINVAL, "bad-dump", "line 2: a heading");
    assert_refused("memory-region: s\n" ROOT, -EINVAL, "bad-dump", "line 2: the heading has another name");
    assert_refused("address-space: s\n" ROOT "\n(qemu) info mtree -D\naddress-space: s\n" ROOT, -EINVAL,
                   "bad-dump", "line 5: a second");
    assert_refused("address-space: s\n  0000000000000000-fffffffffffffffe (prio 0, i/o): s\n", -EINVAL, "bad-dump",
                   "line 2: no region has 2^64 - 1 bytes");
    assert_refused("address-space: s\n  0000000000000000-0000000000000fff (prio 0, i/o): alias a @b "
                   "0000000000000000-0000000000000fff\n    0000000000000000-0000000000000000 (prio 0, i/o): x\n",
                   -EINVAL, "bad-dump", "line 3: it is in an alias");
    assert_refused("address-space: s\n" ROOT "    0000000000000000-0000000000000fff (prio 0, i/o): alias a @b "
                   "0000000000000000-0000000000000fff\n",
                   -EINVAL, "bad-dump", "line 3: the dump has no memory-region: paragraph");
}

#define ALIAS_OF(target)                                                                                          \
    "    0000000000000000-0000000000000fff (prio 0, i/o): alias to @" target " 0000000000000000-0000000000000fff\n"
#define TARGET(name) "memory-region: " name "\n  0000000000000000-0000000000000fff (prio 0, i/o): " name "\n"

static void cycles_are_refused(void **state)
{
    (void)state;
    assert_refused("address-space: s\n" ROOT ALIAS_OF("a") "\n" TARGET("a") ALIAS_OF("b") "\n" TARGET("b")
                       ALIAS_OF("a"),
                   -ELOOP, "cycle", "would contain itself");
    assert_refused(
        "address-space: s\n" ROOT ALIAS_OF("system") "\nmemory-region: system\n" ROOT ALIAS_OF("system"), -ELOOP,
        "cycle", "region system would contain itself");
}

/* Each of 40 containers shows the next one twice: 2^40 regions in 120 lines. */
static void bombs_are_refused(void **state)
{
    char text[32768];
    size_t used = (size_t)snprintf(text, sizeof text, "address-space: s\n%s", ROOT);
    (void)state;
    for (int i = 0; i < 40; i++) {
        if (i > 0) {
            used += (size_t)snprintf(
                text + used, sizeof text - used,
                "memory-region: c%d\n  0000000000000000-ffffffffffffffff (prio 0, i/o): c%d\n", i, i);
        }
        for (int k = 0; k < 2; k++) {
            used += (size_t)snprintf(text + used, sizeof text - used,
                                     "    %016x-%016x (prio 0, i/o): alias a @c%d "
                                     "0000000000000000-0000000000000fff\n",
                                     k * 0x1000, k * 0x1000 + 0xfff, i + 1);
        }
    }
    snprintf(text + used, sizeof text - used, "memory-region: c40\n%s",
             "  0000000000000000-ffffffffffffffff (prio 0, i/o): c40\n");
    assert_refused(text, -E2BIG, "too-large", "unfold into more than 2097152 regions");
}

/* Few regions, but in the trees of very many spaces, each of which has a view of its own. */
static void what_all_spaces_show_is_bounded(void **state)
{
    static char text[1 << 20];
    size_t used = 0;
    (void)state;
    for (int i = 0; i < 700; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "address-space: s\n  0000000000000000-0000000000000fff (prio 0, i/o): r\n%s\n",
                                 ALIAS_OF("t"));
    }
    used += (size_t)snprintf(text + used, sizeof text - used, "%s", TARGET("t"));
    for (int i = 0; i < 400; i++) {
        used +=
            (size_t)snprintf(text + used, sizeof text - used, "    %016x-%016x (prio 0, i/o): d\n", i * 2, i * 2);
    }
    assert_refused(text, -E2BIG, "too-large", "show more than 262144 regions");
}

/* What a text says without aliases is bounded by its length, and so is what it costs. */
static void a_large_dump_is_none_too_large(void **state)
{
    enum { REGIONS = 270000, LINE_BYTES = 64 };
    static struct page page;
    struct mv_error err;
    char *text = malloc((size_t)(REGIONS + 4) * LINE_BYTES);
    (void)state;
    assert_non_null(text);
    char *end = stpcpy(text, "address-space: s\n" ROOT);
    for (int i = 0; i < REGIONS; i++) {
        end += sprintf(end, "    %016x-%016x (prio 0, i/o): d\n", i * 0x1000, i * 0x1000 + 0x7ff);
    }
    struct mv_mtree *mtree = imported(text);
    page.used = 0;
    assert_int_equal(mv_mtree_at(mv_mtree_machine(mtree), NULL, mv_gpa((uint64_t)(REGIONS - 1) * 0x1000 + 0x7ff),
                                 page_print, &page, &err),
                     0);
    assert_non_null(strstr(page.text, "    is d @00000000000007ff (i/o), through\n"));
    mv_mtree_destroy(mtree);
    free(text);
}

static void depth_is_bounded(void **state)
{
    static char text[1 << 20];
    size_t used = (size_t)snprintf(text, sizeof text, "address-space: s\n%s", ROOT);
    (void)state;
    for (int level = 2; level <= 129; level++) {
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "%*s0000000000000000-0000000000000fff (prio 0, i/o): c\n", 2 * level, "");
    }
    assert_refused(text, -E2BIG, "too-large", "line 130: it is more than 128 levels deep");
    used = (size_t)snprintf(text, sizeof text, "address-space: s\n%s%s", ROOT, ALIAS_OF("c0"));
    for (int i = 0; i < 600; i++) {
        used +=
            (size_t)snprintf(text + used, sizeof text - used,
                             "memory-region: c%d\n  0000000000000000-0000000000000fff (prio 0, i/o): c%d\n", i, i);
        if (i < 599) {
            used += (size_t)snprintf(text + used, sizeof text - used,
                                     "    0000000000000000-0000000000000fff (prio 0, i/o): alias to @c%d "
                                     "0000000000000000-0000000000000fff\n",
                                     i + 1);
        }
    }
    assert_refused(text, -E2BIG, "too-large", "nest more than 512 deep");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_printed_back),
        cmocka_unit_test(its_view_is_what_was_seen),
        cmocka_unit_test(slots_are_kept),
        cmocka_unit_test(its_memory_is_hollow),
        cmocka_unit_test(paragraphs_keep_their_order_and_place),
        cmocka_unit_test(what_is_printed_twice_is_one_region),
        cmocka_unit_test(paragraphs_may_come_without_an_alias),
        cmocka_unit_test(hidden_regions_are_made_up),
        cmocka_unit_test(all_that_a_line_says_is_kept),
        cmocka_unit_test(ties_are_broken),
        cmocka_unit_test(windows_tell_targets_apart),
        cmocka_unit_test(bridges_may_be_behind_bridges),
        cmocka_unit_test(owners_tell_targets_apart),
        cmocka_unit_test(closed_windows_show_nothing),
        cmocka_unit_test(toss_ups_are_told),
        cmocka_unit_test(flat_views_help),
        cmocka_unit_test(errors_name_the_line),
        cmocka_unit_test(cycles_are_refused),
        cmocka_unit_test(bombs_are_refused),
        cmocka_unit_test(what_all_spaces_show_is_bounded),
        cmocka_unit_test(a_large_dump_is_none_too_large),
        cmocka_unit_test(depth_is_bounded),
    };
    return cmocka_run_group_tests_name("mtree_import", tests, NULL, NULL);
}
