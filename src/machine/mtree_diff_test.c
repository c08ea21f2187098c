// SPDX-License-Identifier: MIT
#include "machine/mtree_test.h"

#define HEAD                                                                                                      \
    "address-space: memory\n"                                                                                     \
    "  0000000000000000-ffffffffffffffff (prio 0, i/o): system\n"

static const char *difference(const char *before, const char *after, size_t *ret_count)
{
    static struct page page;
    struct mv_error err;
    struct mv_mtree *a = imported(before), *b = imported(after);
    page.used = 0;
    page.text[0] = '\0';
    assert_int_equal(mv_mtree_diff(mv_mtree_machine(a), mv_mtree_machine(b), page_print, &page, ret_count, &err),
                     0);
    mv_mtree_destroy(a);
    mv_mtree_destroy(b);
    return page.text;
}

static void assert_difference(const char *before, const char *after, const char *expected)
{
    size_t count = 0, marks = 0;
    assert_string_equal(difference(before, after, &count), expected);
    for (const char *line = expected; *line; line = strchr(line, '\n') + 1) {
        marks += *line != ' ';
    }
    assert_int_equal(count, marks);
}

static const char bus[] = HEAD "    0000000000001000-0000000000001fff (prio 0, i/o): bus\n"
                               "      0000000000001000-000000000000100f (prio 0, i/o): timer\n"
                               "    0000000000008000-0000000000008fff (prio 0, ram): ram\n";

static void what_is_the_same_is_not_told(void **state)
{
    (void)state;
    assert_difference(bus, bus, "");
}

static void a_region_that_is_gone(void **state)
{
    static const char after[] = HEAD "    0000000000001000-0000000000001fff (prio 0, i/o): bus\n"
                                     "      0000000000001000-000000000000100f (prio 0, i/o): timer\n";
    (void)state;
    assert_difference(bus, after,
                      " address-space: memory\n"
                      "   0000000000000000-ffffffffffffffff (prio 0, i/o): system\n"
                      "-    0000000000008000-0000000000008fff (prio 0, ram): ram\n"
                      " FlatView: memory\n"
                      "-  0000000000008000-0000000000008fff (prio 0, ram): ram\n");
    assert_difference(after, bus,
                      " address-space: memory\n"
                      "   0000000000000000-ffffffffffffffff (prio 0, i/o): system\n"
                      "+    0000000000008000-0000000000008fff (prio 0, ram): ram\n"
                      " FlatView: memory\n"
                      "+  0000000000008000-0000000000008fff (prio 0, ram): ram\n");
}

/* The bus moves; what is in it does not, in the bus. Views tell where things went. */
static void a_region_that_moved(void **state)
{
    static const char after[] = HEAD "    0000000000002000-0000000000002fff (prio 0, i/o): bus\n"
                                     "      0000000000002000-000000000000200f (prio 0, i/o): timer\n"
                                     "    0000000000008000-0000000000008fff (prio 0, ram): ram\n";
    (void)state;
    assert_difference(bus, after,
                      " address-space: memory\n"
                      "   0000000000000000-ffffffffffffffff (prio 0, i/o): system\n"
                      "-    0000000000001000-0000000000001fff (prio 0, i/o): bus\n"
                      "+    0000000000002000-0000000000002fff (prio 0, i/o): bus\n"
                      " FlatView: memory\n"
                      "-  0000000000001000-000000000000100f (prio 0, i/o): timer\n"
                      "+  0000000000002000-000000000000200f (prio 0, i/o): timer\n");
}

static void a_region_that_changed_deep_down(void **state)
{
    static const char after[] = HEAD "    0000000000001000-0000000000001fff (prio 0, i/o): bus\n"
                                     "      0000000000001000-000000000000100f (prio 5, i/o): timer [disabled]\n"
                                     "    0000000000008000-0000000000008fff (prio 0, rom): ram\n";
    (void)state;
    assert_difference(bus, after,
                      " address-space: memory\n"
                      "   0000000000000000-ffffffffffffffff (prio 0, i/o): system\n"
                      "     0000000000001000-0000000000001fff (prio 0, i/o): bus\n"
                      "-      0000000000001000-000000000000100f (prio 0, i/o): timer\n"
                      "+      0000000000001000-000000000000100f (prio 5, i/o): timer [disabled]\n"
                      "-    0000000000008000-0000000000008fff (prio 0, ram): ram\n"
                      "+    0000000000008000-0000000000008fff (prio 0, rom): ram\n"
                      " FlatView: memory\n"
                      "-  0000000000001000-000000000000100f (prio 0, i/o): timer\n"
                      "-  0000000000008000-0000000000008fff (prio 0, ram): ram\n"
                      "+  0000000000008000-0000000000008fff (prio 0, rom): ram\n");
}

/* Of several of a name those in the same place correspond, the rest in order. */
static void names_may_repeat(void **state)
{
    static const char before[] = HEAD "    0000000000000010-0000000000000011 (prio 0, i/o): pic\n"
                                      "    0000000000000020-0000000000000021 (prio 0, i/o): pic\n"
                                      "    0000000000000030-0000000000000031 (prio 0, i/o): pic\n";
    static const char after[] = HEAD "    0000000000000020-0000000000000021 (prio 0, i/o): pic\n"
                                     "    0000000000000040-0000000000000041 (prio 0, i/o): pic\n";
    size_t count;
    (void)state;
    const char *text = difference(before, after, &count);
    assert_non_null(strstr(text, "-    0000000000000010-0000000000000011 (prio 0, i/o): pic\n"
                                 "+    0000000000000040-0000000000000041 (prio 0, i/o): pic\n"
                                 "-    0000000000000030-0000000000000031 (prio 0, i/o): pic\n"));
    assert_null(strstr(text, "0000000000000020"));
}

/* A space that came; and what only aliases show has a paragraph of its own. */
static void spaces_and_targets(void **state)
{
#define LOW                                                                                                       \
    "    0000000000000000-0000000000000fff (prio 0, ram): alias low @ram 0000000000000000-0000000000000fff\n"
    static const char before[] = HEAD LOW "\nmemory-region: ram\n"
                                          "  0000000000000000-0000000000000fff (prio 0, ram): ram\n";
    static const char after[] = HEAD LOW "\naddress-space: nic\n"
                                         "  0000000000000000-ffffffffffffffff (prio 0, i/o): bus\n"
                                         "\nmemory-region: ram\n"
                                         "  0000000000000000-0000000000001fff (prio 0, ram): ram\n";
    (void)state;
    assert_difference(before, after,
                      "+address-space: nic\n"
                      "+  0000000000000000-ffffffffffffffff (prio 0, i/o): bus\n"
                      " memory-region: ram\n"
                      "-  0000000000000000-0000000000000fff (prio 0, ram): ram\n"
                      "+  0000000000000000-0000000000001fff (prio 0, ram): ram\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_the_same_is_not_told),
        cmocka_unit_test(a_region_that_is_gone),
        cmocka_unit_test(a_region_that_moved),
        cmocka_unit_test(a_region_that_changed_deep_down),
        cmocka_unit_test(names_may_repeat),
        cmocka_unit_test(spaces_and_targets),
    };
    return cmocka_run_group_tests_name("mtree_diff", tests, NULL, NULL);
}
