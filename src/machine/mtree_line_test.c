// SPDX-License-Identifier: MIT
#include "machine/mtree_line.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct mtree_line parsed(const char *text)
{
    struct mtree_line line;
    const char *why = "";
    if (!mtree_line_parse((struct slice){text, strlen(text)}, &line, &why)) {
        fail_msg("%s: %s", text, why);
    }
    return line;
}

static void assert_refused(const char *text, const char *part)
{
    struct mtree_line line;
    const char *why = "";
    assert_false(mtree_line_parse((struct slice){text, strlen(text)}, &line, &why));
    if (!strstr(why, part)) {
        fail_msg("%s: %s", text, why);
    }
}

static void assert_slice(struct slice s, const char *expected)
{
    assert_int_equal(s.length, strlen(expected));
    assert_memory_equal(s.start, expected, s.length);
}

#define RANGE "0000000000001000-0000000000001fff"

static void headings(void **state)
{
    (void)state;
    assert_int_equal(parsed("").kind, MTREE_LINE_BLANK);
    assert_int_equal(parsed("\r").kind, MTREE_LINE_BLANK);
    assert_int_equal(parsed("(qemu) in\x1b[K").kind, MTREE_LINE_OTHER);
    assert_int_equal(parsed("QEMU 7.2.22 monitor - type 'help'").kind, MTREE_LINE_OTHER);
    assert_int_equal(parsed("FlatView #12").kind, MTREE_LINE_FLAT);
    struct mtree_line line = parsed("address-space: a b\r");
    assert_int_equal(line.kind, MTREE_LINE_SPACE);
    assert_slice(line.name, "a b");
    assert_int_equal(parsed("memory-region: ").kind, MTREE_LINE_TARGET);
}

static void a_region(void **state)
{
    (void)state;
    struct mtree_line line = parsed("    " RANGE " (prio -7, nv-ram): usb port #1");
    assert_int_equal(line.kind, MTREE_LINE_REGION);
    assert_int_equal(line.level, 2);
    assert_int_equal(line.range.first, 0x1000);
    assert_int_equal(line.range.last, 0x1fff);
    assert_int_equal(line.priority, -7);
    assert_int_equal(line.type, MTREE_RAM);
    assert_true(line.nonvolatile && line.enabled);
    assert_false(line.is_alias || line.says_owner);
    assert_slice(line.name, "usb port #1");
    assert_slice(parsed("  " RANGE " (prio 0, i/o): ").name, "");
    assert_int_equal(parsed("[DETECTED OVERFLOW!] [DETECTED OVERFLOW!]   " RANGE " (prio 0, i/o): x").level, 1);
}

static void types(void **state)
{
    static const struct {
        const char *word;
        enum mtree_type type;
    } types[] = {
        {"ram", MTREE_RAM},         {"rom", MTREE_ROM}, {"romd", MTREE_ROM_DEVICE},
        {"ramd", MTREE_RAM_DEVICE}, {"i/o", MTREE_IO},
    };
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        char text[128];
        snprintf(text, sizeof text, "  " RANGE " (prio 2147483647, %s): x", types[i].word);
        assert_int_equal(parsed(text).type, types[i].type);
        assert_int_equal(parsed(text).priority, INT_MAX);
    }
    assert_int_equal(parsed("  " RANGE " (prio -2147483648, i/o): x").priority, INT_MIN);
}

static void an_alias(void **state)
{
    (void)state;
    struct mtree_line line =
        parsed("  " RANGE " (prio 1, ram): alias a @ b @pc.ram 0000000000000010-000000000000100f [disabled]");
    assert_true(line.is_alias);
    assert_false(line.enabled);
    assert_slice(line.name, "a @ b");
    assert_slice(line.target, "pc.ram");
    assert_int_equal(line.target_first, 0x10);
}

/* A name may look like an alias: without as many bytes on both sides it is none. */
static void what_is_no_alias_is_a_name(void **state)
{
    (void)state;
    assert_false(parsed("  " RANGE " (prio 1, ram): alias a").is_alias);
    assert_slice(parsed("  " RANGE " (prio 1, ram): alias a").name, "alias a");
    struct mtree_line line = parsed("  " RANGE " (prio 1, ram): alias a @b 0000000000000000-0000000000000ffe");
    assert_false(line.is_alias);
    assert_slice(line.name, "alias a @b 0000000000000000-0000000000000ffe");
    assert_false(parsed("  " RANGE " (prio 1, ram): alias a b 0000000000000000-0000000000000fff").is_alias);
}

static void owners(void **state)
{
    (void)state;
    struct mtree_line line = parsed("  " RANGE " (prio 0, i/o): nic [disabled] owner:{dev path=/m/x[1]}");
    assert_slice(line.name, "nic");
    assert_slice(line.owner, "dev path=/m/x[1]");
    assert_true(line.says_owner && !line.enabled && !line.is_parent);
    line = parsed("  " RANGE " (prio 0, i/o): alias a @b 0000000000000000-0000000000000fff parent:{obj path=/m}");
    assert_true(line.is_alias && line.is_parent);
    assert_slice(line.owner, "obj path=/m");
    line = parsed("  " RANGE " (prio 0, i/o): nic orphan");
    assert_slice(line.name, "nic");
    assert_true(line.says_owner && !line.owner.start);
}

static void what_is_refused(void **state)
{
    char text[5000];
    (void)state;
    assert_refused("system", "neither a heading nor a region");
    assert_refused("   " RANGE " (prio 0, i/o): x", "two spaces");
    assert_refused("  0000000000001000-00000000000001fg (prio 0, i/o): x", "FIRST-LAST");
    assert_refused("  0000000000001000-000000000000FFFF (prio 0, i/o): x", "FIRST-LAST");
    assert_refused("  1000-1fff (prio 0, i/o): x", "FIRST-LAST");
    assert_refused("  " RANGE, "(prio N, TYPE)");
    assert_refused("  " RANGE " (prio 2147483648, i/o): x", "(prio N, TYPE)");
    assert_refused("  " RANGE " (prio -2147483649, i/o): x", "(prio N, TYPE)");
    assert_refused("  " RANGE " (prio 99999999999999999999, i/o): x", "(prio N, TYPE)");
    assert_refused("  " RANGE " (prio , i/o): x", "(prio N, TYPE)");
    assert_refused("  " RANGE " (prio 0, mmio): x", "none of ram");
    assert_refused("  " RANGE " (prio 0, ram)", "none of ram");
    assert_refused("  " RANGE " (prio 0, ram): \x1b[2J", "control character");
    assert_refused("address-space: \x7f", "control character");
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    assert_refused(text, "longer than 4096");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headings),
        cmocka_unit_test(a_region),
        cmocka_unit_test(types),
        cmocka_unit_test(an_alias),
        cmocka_unit_test(what_is_no_alias_is_a_name),
        cmocka_unit_test(owners),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests_name("mtree_line", tests, NULL, NULL);
}
