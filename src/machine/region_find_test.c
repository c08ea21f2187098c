// SPDX-License-Identifier: MIT
/* What is seen in the place of a region. */
#include "machine/machine_test.h"

static struct rig rig;

static int open_rig(void **state)
{
    (void)state;
    rig_open(&rig);
    return 0;
}

static int close_rig(void **state)
{
    (void)state;
    rig_close(&rig);
    return 0;
}

/* As in a picture; "" when nothing is found. */
static void assert_found(struct mv_region *region, uint64_t offset, uint64_t size_bytes, const char *expected)
{
    struct mv_section s;
    char text[256] = "";
    if (mv_region_find(region, offset, size_bytes, &s)) {
        picture_of(&s, text, sizeof text);
        mv_region_put(s.region);
    }
    assert_string_equal(text, expected);
}

static void the_first_of_a_range_is_found(void **state)
{
    (void)state;
    struct mv_region *bus = put_in(rig.root, 0x10000, container(&rig, "bus", 0x8000), 0);
    struct mv_region *slot = put_in(bus, 0x1000, container(&rig, "slot", 0x4000), 0);
    struct mv_region *r = put_in(slot, 0x1000, ram(&rig, "r", 0x2000), 0);
    put_in(rig.root, 0x12800, reservation(&rig, "on top", 0x100), 5);
    assert_found(slot, 0, 0x1000, "");
    assert_found(slot, 0, 0x1001, "12000-12000 r@0\n"); /* cut at both ends */
    assert_found(slot, 0x1400, 0x4000, "12400-127ff r@400\n");
    assert_found(slot, 0x1800, 1, "12800-12800 on top@0\n"); /* whatever is seen, not what is inside */
    assert_found(r, 0x810, 0x10, "12810-1281f on top@10\n");
    assert_found(r, 0x900, MV_SIZE_2_64 - 1, ""); /* there is no such range */
    assert_found(r, 0x900, 0x10000, "12900-13fff r@900\n");
    assert_found(rig.root, 0, MV_SIZE_2_64, "12000-127ff r@0\n");
    assert_found(bus, 0, 0, "");
}

/* The bytes are those of the part that was found. */
static void its_bytes_are_there(void **state)
{
    (void)state;
    struct mv_section s;
    struct mv_region *c = put_in(rig.root, 0x10000, container(&rig, "c", 0x8000), 0);
    put_in(c, 0x1000, ram(&rig, "r", 0x2000), 0);
    assert_int_equal(mv_space_write(rig.space, mv_gpa(0x11800), "x", 1, MV_ATTRS_NONE), MV_OK);
    assert_true(mv_region_find(c, 0x1800, 1, &s));
    assert_int_equal(*(const unsigned char *)(uintptr_t)s.hva.raw, 'x');
    assert_true(s.writable);
    assert_int_equal(mv_region_remove(c, NULL), 0);
    assert_string_equal(mv_region_name(s.region), "r"); /* kept by the reference */
    mv_region_put(s.region);
}

static void what_no_space_shows_is_not_found(void **state)
{
    (void)state;
    struct mv_region *c = container(&rig, "c", 0x4000);
    struct mv_region *r = put_in(c, 0, ram(&rig, "r", 0x1000), 0);
    assert_found(r, 0, 1, "");
    put_in(rig.root, 0x8000, alias_of(&rig, "a", c, 0, 0x4000), 0);
    assert_found(r, 0, 1, ""); /* aliases lead down only */
    struct mv_space *space = show(&rig, "of c", c);
    assert_found(r, 0, 1, "0-0 r@0\n");
    assert_int_equal(mv_region_add(rig.root, 0x20000, c, 0, NULL), 0);
    assert_found(r, 0, 1, "20000-20000 r@0\n"); /* the outermost one */
    assert_int_equal(mv_region_set_enabled(c, false, NULL), 0);
    assert_found(r, 0, 1, "");
    mv_space_destroy(space);
    mv_region_put(c);
}

static void what_passes_the_end_is_not_found(void **state)
{
    (void)state;
    struct mv_region *c = put_in(rig.root, TOP - 0xfff, container(&rig, "c", MV_SIZE_2_64), 0);
    struct mv_region *r = put_in(c, 0, ram(&rig, "r", 0x2000), 0);
    assert_found(r, 0xff0, 0x1000, "fffffffffffffff0-ffffffffffffffff r@ff0\n");
    assert_found(r, 0x1000, 1, "");
    assert_found(c, TOP, 1, "");
}

#define test(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(the_first_of_a_range_is_found),
        test(its_bytes_are_there),
        test(what_no_space_shows_is_not_found),
        test(what_passes_the_end_is_not_found),
    };
    return cmocka_run_group_tests_name("region_find", tests, NULL, NULL);
}
