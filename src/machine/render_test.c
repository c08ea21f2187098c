// SPDX-License-Identifier: MIT
#include "machine/render.h"

#include <stdlib.h>

#include "machine/machine_test.h"

static int open_rig(void **state)
{
    static struct rig rig;
    rig_open(&rig);
    *state = &rig;
    return 0;
}

static int close_rig(void **state)
{
    rig_close(*state);
    return 0;
}

static void nothing_shows_nothing(void **state)
{
    struct rig *rig = *state;
    assert_picture(rig->space, "");
    put_in(rig->root, 0, container(rig, "c", MV_SIZE_2_64), 0);
    put_in(rig->root, 0x1000, ram(rig, "empty", 0), 0);
    put_in(rig->root, 0, reservation(rig, "nil", 0), 5);
    assert_picture(rig->space, "");
    struct picture picture;
    assert_int_equal(render(rig->root, RANGE_ALL, &picture), 0);
    assert_int_equal(picture.count, 0);
    free(picture.items);
}

/*
 * The example of QEMU's documentation of its memory API:
 *
 *             0      1000   2000   3000   4000   5000   6000   7000   8000
 *             |------|------|------|------|------|------|------|------|
 *   A:        [                                                       ]
 *   C:        [CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC]
 *   B:                      [                          ]
 *   D:                      [DDDDD]
 *   E:                                    [EEEEE]
 *   seen:     [CCCCCCCCCCCC][DDDDD][CCCCC][EEEEE][CCCCC]
 */
static void build_abcde(struct rig *rig, int b_priority)
{
    struct mv_region *a = put_in(rig->root, 0, container(rig, "A", 0x8000), 0);
    put_in(a, 0, ram(rig, "C", 0x6000), 1);
    struct mv_region *b = put_in(a, 0x2000, container(rig, "B", 0x4000), b_priority);
    put_in(b, 0, ram(rig, "D", 0x1000), 0);
    put_in(b, 0x2000, ram(rig, "E", 0x1000), 0);
}

static void holes_of_a_container_show_what_is_below(void **state)
{
    struct rig *rig = *state;
    build_abcde(rig, 2);
    assert_picture(rig->space, "0-1fff C@0\n"
                               "2000-2fff D@0\n"
                               "3000-3fff C@3000\n"
                               "4000-4fff E@0\n"
                               "5000-5fff C@5000\n");
}

/* With B below C, E and D cannot be seen, whatever their own priorities are. */
static void a_priority_counts_among_siblings_only(void **state)
{
    struct rig *rig = *state;
    struct mv_region *a = put_in(rig->root, 0, container(rig, "A", 0x8000), 0);
    put_in(a, 0, ram(rig, "C", 0x6000), 1);
    struct mv_region *b = put_in(a, 0x2000, container(rig, "B", 0x6000), 0);
    put_in(b, 0, ram(rig, "D", 0x1000), 1000);
    put_in(b, 0x3000, ram(rig, "E", 0x2000), 1000);
    assert_picture(rig->space, "0-5fff C@0\n"
                               "6000-6fff E@1000\n");
}

static void a_reservation_hides_and_a_container_does_not(void **state)
{
    struct rig *rig = *state;
    struct mv_region *a = put_in(rig->root, 0, container(rig, "A", 0x8000), 0);
    put_in(a, 0, ram(rig, "C", 0x6000), 1);
    struct mv_region *b = put_in(a, 0x2000, reservation(rig, "B", 0x5000), 2);
    put_in(b, 0, ram(rig, "D", 0x1000), 0);
    assert_picture(rig->space, "0-1fff C@0\n"
                               "2000-2fff D@0\n"
                               "3000-6fff B@1000\n");
}

static void of_equals_the_last_added_is_on_top(void **state)
{
    struct rig *rig = *state;
    put_in(rig->root, 0x0000, ram(rig, "one", 0x3000), 0);
    struct mv_region *two = put_in(rig->root, 0x1000, ram(rig, "two", 0x3000), 0);
    put_in(rig->root, 0x2000, ram(rig, "three", 0x3000), 0);
    assert_picture(rig->space, "0-fff one@0\n"
                               "1000-1fff two@0\n"
                               "2000-4fff three@0\n");
    /* Removed and added again, it is the last. */
    struct mv_error err;
    mv_region_get(two);
    assert_int_equal(mv_region_remove(two, &err), 0);
    put_in(rig->root, 0x1000, two, 0);
    assert_picture(rig->space, "0-fff one@0\n"
                               "1000-3fff two@0\n"
                               "4000-4fff three@2000\n");
}

static void priorities_are_signed(void **state)
{
    struct rig *rig = *state;
    put_in(rig->root, 0, ram(rig, "high", 0x1000), INT32_MAX);
    put_in(rig->root, 0, ram(rig, "zero", 0x2000), 0);
    put_in(rig->root, 0, ram(rig, "minus", 0x3000), -1);
    put_in(rig->root, 0, ram(rig, "low", 0x4000), INT32_MIN);
    put_in(rig->root, 0, ram(rig, "minus-too", 0x1800), -1);
    assert_picture(rig->space, "0-fff high@0\n"
                               "1000-1fff zero@1000\n"
                               "2000-2fff minus@2000\n"
                               "3000-3fff low@3000\n");
}

static void moving_brings_to_the_front(void **state)
{
    struct rig *rig = *state;
    struct mv_error err;
    struct mv_region *one = put_in(rig->root, 0, ram(rig, "one", 0x2000), 0);
    put_in(rig->root, 0, ram(rig, "two", 0x2000), 0);
    struct mv_region *below = put_in(rig->root, 0, ram(rig, "below", 0x4000), -1);
    assert_int_equal(mv_region_set_address(one, 0, &err), 0); /* where it is: no move */
    assert_picture(rig->space, "0-1fff two@0\n"
                               "2000-3fff below@2000\n");
    assert_int_equal(mv_region_set_address(one, 0x1000, &err), 0);
    assert_picture(rig->space, "0-fff two@0\n"
                               "1000-2fff one@0\n"
                               "3000-3fff below@3000\n");
    assert_int_equal(mv_region_set_address(below, 0x800, &err), 0); /* only among its equals */
    assert_picture(rig->space, "0-fff two@0\n"
                               "1000-2fff one@0\n"
                               "3000-47ff below@2800\n");
}

static void disabled_regions_hide_all_below_them(void **state)
{
    struct rig *rig = *state;
    struct mv_error err;
    struct mv_region *c = put_in(rig->root, 0x1000, container(rig, "c", 0x2000), 1);
    put_in(c, 0, ram(rig, "in", 0x1000), 0);
    struct mv_region *under = put_in(rig->root, 0, ram(rig, "under", 0x3000), 0);
    assert_int_equal(mv_region_set_enabled(c, false, &err), 0);
    assert_picture(rig->space, "0-2fff under@0\n");
    assert_int_equal(mv_region_set_enabled(under, false, &err), 0);
    assert_picture(rig->space, "");
    assert_int_equal(mv_region_set_enabled(c, true, &err), 0);
    assert_picture(rig->space, "1000-1fff in@0\n");
    assert_int_equal(mv_region_set_enabled(rig->root, false, &err), 0);
    assert_picture(rig->space, "");
}

/* RAM, ROM and devices may have children: those are on top, and cut at their parent's ends. */
static void children_are_on_top_of_what_answers(void **state)
{
    struct rig *rig = *state;
    struct mv_region *r = put_in(rig->root, 0x1000, ram(rig, "ram", 0x3000), 0);
    put_in(r, 0x1000, rom(rig, "rom", 0x800), -5);
    put_in(r, 0x2800, reservation(rig, "tail", 0x1000), 0);
    assert_picture(rig->space, "1000-1fff ram@0\n"
                               "2000-27ff rom@0 ro\n"
                               "2800-37ff ram@1800\n"
                               "3800-3fff tail@0\n");
}

static void a_region_is_cut_by_all_its_containers(void **state)
{
    struct rig *rig = *state;
    struct mv_region *outer = put_in(rig->root, 0x1000, container(rig, "outer", 0x2000), 0);
    struct mv_region *inner = put_in(outer, 0x800, container(rig, "inner", 0x10000), 0);
    put_in(inner, 0, ram(rig, "r", 0x10000), 0);
    assert_picture(rig->space, "1800-2fff r@0\n");
}

/* What ends a byte before its container does leaves that byte to others. */
static void the_last_byte_is_not_taken_along(void **state)
{
    struct rig *rig = *state;
    struct mv_region *c = put_in(rig->root, 0x1000, container(rig, "c", 0x1000), 0);
    put_in(c, 0, ram(rig, "short", 0xfff), 1);
    put_in(c, 0, ram(rig, "below", 0x1000), 0);
    assert_picture(rig->space, "1000-1ffe short@0\n"
                               "1fff-1fff below@fff\n");
}

/* --- aliases ----------------------------------------------------------------------------------- */

static void an_alias_shows_a_window(void **state)
{
    struct rig *rig = *state;
    struct mv_region *r = ram(rig, "r", 0x10000);
    put_in(rig->root, 0x4000, alias_of(rig, "a", r, 0x2000, 0x1000), 0);
    assert_picture(rig->space, "4000-4fff r@2000\n");
    mv_region_put(r);
}

/* Twice clipped: what lies past the end of the target is a hole. */
static void an_overlong_alias_ends_with_its_target(void **state)
{
    struct rig *rig = *state;
    struct mv_region *r = ram(rig, "r", 0x3000);
    put_in(rig->root, 0x8000, alias_of(rig, "a", r, 0x2000, 0x10000), 1);
    put_in(rig->root, 0x9000, alias_of(rig, "past", r, 0x3000, 0x1000), 1);
    put_in(rig->root, 0x8000, alias_of(rig, "all", r, 0, MV_SIZE_2_64), 0);
    assert_picture(rig->space, "8000-8fff r@2000\n"
                               "9000-afff r@1000\n");
    mv_region_put(r);
}

static void the_target_can_begin_below_zero(void **state)
{
    struct rig *rig = *state;
    struct mv_region *r = ram(rig, "r", 0x10000);
    struct mv_region *c = container(rig, "c", MV_SIZE_2_64);
    put_in(c, 0x20000, ram(rig, "far", 0x1000), 0);
    put_in(c, TOP - 0xfff, ram(rig, "last", 0x1000), 0);
    put_in(rig->root, 0x1000, alias_of(rig, "a", r, 0x8000, 0x1000), 0);
    put_in(rig->root, 0x2000, alias_of(rig, "b", c, 0x1f800, 0x1000), 0);
    put_in(rig->root, 0x3000, alias_of(rig, "d", c, TOP - 0xfff, 0x2000), 0);
    assert_picture(rig->space, "1000-1fff r@8000\n"
                               "2800-2fff far@0\n"
                               "3000-3fff last@0\n");
    mv_region_put(r);
    mv_region_put(c);
}

/* Far below zero and back: -2^64 and more in between. */
static void aliases_of_aliases_add_up(void **state)
{
    struct rig *rig = *state;
    struct mv_region *r = ram(rig, "r", 0x10000);
    struct mv_region *one = alias_of(rig, "one", r, 0x1000, 0x8000);
    struct mv_region *two = alias_of(rig, "two", one, 0x2000, 0x10000);
    put_in(rig->root, 0x100000, alias_of(rig, "three", two, 0x100, 0x10000), 0);
    assert_picture(rig->space, "100000-105eff r@3100\n");

    struct mv_region *deep = container(rig, "deep", MV_SIZE_2_64);
    put_in(deep, TOP, alias_of(rig, "x", r, 5, 1), 0);
    struct mv_region *deeper = container(rig, "deeper", MV_SIZE_2_64);
    put_in(deeper, TOP, alias_of(rig, "y", deep, TOP, 1), 0);
    put_in(rig->root, 0x10, alias_of(rig, "z", deeper, TOP, 1), 0);
    assert_picture(rig->space, "10-10 r@5\n"
                               "100000-105eff r@3100\n");
    mv_region_put(r);
    mv_region_put(one);
    mv_region_put(two);
    mv_region_put(deep);
    mv_region_put(deeper);
}

static void an_alias_of_a_container_shows_its_whole_tree(void **state)
{
    struct rig *rig = *state;
    struct mv_region *c = put_in(rig->root, 0, container(rig, "c", 0x4000), 0);
    put_in(c, 0x0000, ram(rig, "one", 0x2000), 0);
    put_in(c, 0x1000, ram(rig, "two", 0x2000), 1);
    put_in(rig->root, 0x10000, alias_of(rig, "a", c, 0x800, 0x1800), 0);
    assert_picture(rig->space, "0-fff one@0\n"
                               "1000-2fff two@0\n"
                               "10000-107ff one@800\n"
                               "10800-117ff two@0\n");
}

static void an_alias_of_what_is_disabled_shows_nothing(void **state)
{
    struct rig *rig = *state;
    struct mv_error err;
    struct mv_region *r = put_in(rig->root, 0x100000, ram(rig, "r", 0x1000), 0);
    put_in(rig->root, 0, alias_of(rig, "a", r, 0, 0x1000), 1);
    put_in(rig->root, 0, rom(rig, "under", 0x2000), 0);
    assert_int_equal(mv_region_set_enabled(r, false, &err), 0);
    assert_picture(rig->space, "0-1fff under@0 ro\n");
}

/* The address of the target in a container of its own has no part in it. */
static void a_target_is_seen_from_its_own_zero(void **state)
{
    struct rig *rig = *state;
    struct mv_region *r = put_in(rig->root, 0x100000, ram(rig, "r", 0x1000), 0);
    put_in(rig->root, 0, alias_of(rig, "a", r, 0, 0x1000), 0);
    assert_picture(rig->space, "0-fff r@0\n"
                               "100000-100fff r@0\n");
}

static void readonly_is_inherited_and_a_rom_stays_one(void **state)
{
    struct rig *rig = *state;
    struct mv_error err;
    struct mv_region *r = ram(rig, "r", 0x4000);
    struct mv_region *b = rom(rig, "b", 0x1000);
    struct mv_region *c = put_in(rig->root, 0, container(rig, "c", 0x10000), 0);
    struct mv_region *window = put_in(c, 0x1000, alias_of(rig, "w", r, 0x1000, 0x1000), 1);
    put_in(c, 0, alias_of(rig, "all", r, 0, 0x4000), 0);
    put_in(c, 0x8000, alias_of(rig, "rom", b, 0, 0x1000), 0);
    assert_picture(rig->space, "0-3fff r@0\n"
                               "8000-8fff b@0 ro\n");
    assert_int_equal(mv_region_set_readonly(window, true, &err), 0);
    assert_picture(rig->space, "0-fff r@0\n"
                               "1000-1fff r@1000 ro\n"
                               "2000-3fff r@2000\n"
                               "8000-8fff b@0 ro\n");
    assert_int_equal(mv_region_set_readonly(c, true, &err), 0);
    assert_picture(rig->space, "0-3fff r@0 ro\n"
                               "8000-8fff b@0 ro\n");
    assert_int_equal(mv_region_set_readonly(c, false, &err), 0);
    assert_int_equal(mv_region_set_readonly(window, false, &err), 0);
    assert_int_equal(mv_region_set_readonly(b, false, &err), 0);
    assert_picture(rig->space, "0-3fff r@0\n"
                               "8000-8fff b@0 ro\n");
    assert_int_equal(mv_region_set_readonly(r, true, &err), 0);
    assert_picture(rig->space, "0-3fff r@0 ro\n"
                               "8000-8fff b@0 ro\n");
    mv_region_put(r);
    mv_region_put(b);
}

/* What lies on a ROM is readonly as well. */
static void a_rom_is_readonly_with_all_below_it(void **state)
{
    struct rig *rig = *state;
    struct mv_error err;
    struct mv_region *o = put_in(rig->root, 0, rom(rig, "rom", 0x3000), 0);
    put_in(o, 0x1000, ram(rig, "ram", 0x1000), 0);
    put_in(o, 0x2800, reservation(rig, "d", 0x1000), 0);
    const char *picture = "0-fff rom@0 ro\n"
                          "1000-1fff ram@0 ro\n"
                          "2000-27ff rom@2000 ro\n"
                          "2800-2fff d@0 ro\n";
    assert_picture(rig->space, picture);
    assert_int_equal(mv_region_set_readonly(o, true, &err), 0);
    assert_picture(rig->space, picture);
    assert_int_equal(mv_region_set_readonly(o, false, &err), 0);
    assert_picture(rig->space, picture);
}

/* --- what becomes one section, and what does not ----------------------------------------------- */

static void pieces_that_continue_each_other_are_one(void **state)
{
    struct rig *rig = *state;
    struct mv_region *r = ram(rig, "r", 0x4000);
    put_in(rig->root, 0x3000, alias_of(rig, "d", r, 0x3000, 0x1000), 0);
    put_in(rig->root, 0x1000, alias_of(rig, "b", r, 0x1000, 0x1000), 0);
    put_in(rig->root, 0x2000, alias_of(rig, "c", r, 0x2000, 0x1000), 0);
    put_in(rig->root, 0x0000, alias_of(rig, "a", r, 0x0000, 0x1000), 0);
    assert_picture(rig->space, "0-3fff r@0\n");
    mv_region_put(r);
}

static void pieces_that_only_touch_are_not(void **state)
{
    struct rig *rig = *state;
    struct mv_region *r = ram(rig, "r", 0x4000);
    put_in(rig->root, 0x0000, alias_of(rig, "a", r, 0x0000, 0x1000), 0);
    put_in(rig->root, 0x1000, alias_of(rig, "again", r, 0x0000, 0x1000), 0);
    put_in(rig->root, 0x2000, alias_of(rig, "jump", r, 0x2800, 0x800), 0);
    put_in(rig->root, 0x3000, alias_of(rig, "after a hole", r, 0x3000, 0x800), 0);
    put_in(rig->root, 0x3800, ram(rig, "other", 0x1000), 0);
    assert_picture(rig->space, "0-fff r@0\n"
                               "1000-1fff r@0\n"
                               "2000-27ff r@2800\n"
                               "3000-37ff r@3000\n"
                               "3800-47ff other@0\n");
    mv_region_put(r);
}

/* The offsets fit, but there is a hole between: neither a new piece before it nor one after it grows over it. */
static void what_only_seems_to_go_on(void **state)
{
    struct rig *rig = *state;
    struct mv_error err;
    struct mv_region *r = ram(rig, "r", 0x4000);
    put_in(rig->root, 0x1000, alias_of(rig, "a", r, 0x0000, 0x1000), 0);
    put_in(rig->root, 0x3000, alias_of(rig, "b", r, 0x1000, 0x1000), 0);
    const char *picture = "1000-1fff r@0\n"
                          "3000-3fff r@1000\n";
    assert_picture(rig->space, picture);
    struct mv_region *x = put_in(rig->root, 0x1000, reservation(rig, "x", 0x2000), 1);
    assert_picture(rig->space, "1000-2fff x@0\n"
                               "3000-3fff r@1000\n");
    assert_int_equal(mv_region_remove(x, &err), 0);
    assert_picture(rig->space, picture);
    x = put_in(rig->root, 0x2000, reservation(rig, "x", 0x2000), 1);
    assert_picture(rig->space, "1000-1fff r@0\n"
                               "2000-3fff x@0\n");
    assert_int_equal(mv_region_remove(x, &err), 0);
    assert_picture(rig->space, picture);
    mv_region_put(r);
}

/* The pieces are edited one by one: each commit joins what it drew to what was there. */
static void pieces_join_what_is_there(void **state)
{
    struct rig *rig = *state;
    struct mv_error err;
    struct mv_region *r = ram(rig, "r", 0x5000);
    struct mv_region *pieces[5];
    static const unsigned order[] = {1, 3, 0, 4, 2};
    for (unsigned i = 0; i < 5; i++) {
        unsigned k = order[i];
        pieces[k] = put_in(rig->root, k * 0x1000, alias_of(rig, "p", r, k * UINT64_C(0x1000), 0x1000), 0);
    }
    assert_picture(rig->space, "0-4fff r@0\n");
    assert_int_equal(mv_region_set_readonly(pieces[2], true, &err), 0);
    assert_picture(rig->space, "0-1fff r@0\n"
                               "2000-2fff r@2000 ro\n"
                               "3000-4fff r@3000\n");
    assert_int_equal(mv_region_set_readonly(pieces[1], true, &err), 0);
    assert_int_equal(mv_region_set_readonly(pieces[3], true, &err), 0);
    assert_picture(rig->space, "0-fff r@0\n"
                               "1000-3fff r@1000 ro\n"
                               "4000-4fff r@4000\n");
    assert_int_equal(mv_region_set_enabled(pieces[2], false, &err), 0);
    assert_int_equal(mv_region_set_readonly(pieces[1], false, &err), 0);
    assert_picture(rig->space, "0-1fff r@0\n"
                               "3000-3fff r@3000 ro\n"
                               "4000-4fff r@4000\n");
    mv_region_put(r);
}

/* --- the ends of the space --------------------------------------------------------------------- */

static void a_region_can_be_as_large_as_the_space(void **state)
{
    struct rig *rig = *state;
    put_in(rig->root, 0, reservation(rig, "all", MV_SIZE_2_64), 0);
    assert_picture(rig->space, "0-ffffffffffffffff all@0\n");
    put_in(rig->root, 0, ram(rig, "first", 1), 0);
    put_in(rig->root, TOP, ram(rig, "last", 1), 0);
    assert_picture(rig->space, "0-0 first@0\n"
                               "1-fffffffffffffffe all@1\n"
                               "ffffffffffffffff-ffffffffffffffff last@0\n");
}

static void what_passes_the_end_is_cut(void **state)
{
    struct rig *rig = *state;
    put_in(rig->root, TOP - 0xfff, ram(rig, "r", 0x2000), 0);
    put_in(rig->root, 0x1000, reservation(rig, "all", MV_SIZE_2_64), -1);
    assert_picture(rig->space, "1000-ffffffffffffefff all@0\n"
                               "fffffffffffff000-ffffffffffffffff r@0\n");
}

/* The child of a container near the end does not come in again at 0. */
static void addresses_do_not_wrap(void **state)
{
    struct rig *rig = *state;
    struct mv_region *c = put_in(rig->root, TOP - 0xfff, container(rig, "c", MV_SIZE_2_64), 0);
    put_in(c, 0x1000, ram(rig, "r", 0x1000), 0);
    put_in(c, 0x800, ram(rig, "s", 0x1000), 0);
    put_in(c, 0x1000, reservation(rig, "large", MV_SIZE_2_64), 1);
    put_in(c, TOP, reservation(rig, "far", MV_SIZE_2_64), 1);
    assert_picture(rig->space, "fffffffffffff800-ffffffffffffffff s@0\n");
}

/* A large region in many gaps, from the first byte to the last. */
static void a_region_fills_every_gap(void **state)
{
    struct rig *rig = *state;
    char expected[4096];
    size_t used = 0;
    begin(rig);
    put_in(rig->root, 0, reservation(rig, "ground", 0x4000), -1);
    for (unsigned i = 0; i < 16; i++) {
        char name[8];
        snprintf(name, sizeof name, "%x", i * 7 % 16);
        put_in(rig->root, i * 7 % 16 * UINT64_C(0x400) + 0x100, reservation(rig, name, 0x100), 0);
    }
    commit(rig);
    for (unsigned i = 0; i < 16; i++) {
        unsigned at = i * 0x400;
        unsigned from = i ? at - 0x200 : 0;
        used += (size_t)snprintf(expected + used, sizeof expected - used, "%x-%x ground@%x\n%x-%x %x@0\n", from,
                                 at + 0xff, from, at + 0x100, at + 0x1ff, i);
    }
    snprintf(expected + used, sizeof expected - used, "3e00-3fff ground@3e00\n");
    assert_picture(rig->space, expected);
}

/* --- depth ------------------------------------------------------------------------------------- */

/* A chain of so many containers, with RAM in the last; returns the topmost, a reference. */
static struct mv_region *chain(const struct rig *rig, unsigned containers)
{
    struct mv_region *top = ram(rig, "leaf", 0x1000);
    for (unsigned i = 0; i < containers; i++) {
        struct mv_region *c = container(rig, "c", 0x2000);
        put_in(c, i == 0 ? 0x123 : 0, top, 0);
        top = c;
    }
    return top;
}

static void trees_may_be_so_deep(void **state)
{
    struct rig *rig = *state;
    struct mv_region *top = chain(rig, RENDER_DEPTH_MAX - 1);
    struct mv_space *space = show(rig, "deep", top);
    assert_picture(space, "123-1122 leaf@0\n");
    mv_space_destroy(space);
    mv_region_put(top);
}

static void and_no_deeper(void **state)
{
    struct rig *rig = *state;
    struct mv_error err = {0};
    struct mv_space *space = NULL;
    struct mv_region *top = chain(rig, RENDER_DEPTH_MAX);
    assert_int_equal(mv_space_create(rig->machine, "deep", top, &space, &err), -ELOOP);
    assert_null(space);
    assert_string_equal(err.reason, "too-deep");
    assert_string_equal(err.object, "deep");
    /* Under the root it is deeper yet: the edit is taken back. */
    put_in(rig->root, 0, ram(rig, "r", 0x1000), 0);
    assert_int_equal(mv_region_add(rig->root, 0, top, 1, &err), -ELOOP);
    assert_picture(rig->space, "0-fff r@0\n");
    assert_int_equal(mv_region_remove(top, &err), -ENOENT);
    mv_region_put(top);
}

#define test(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(nothing_shows_nothing),
        test(holes_of_a_container_show_what_is_below),
        test(a_priority_counts_among_siblings_only),
        test(a_reservation_hides_and_a_container_does_not),
        test(of_equals_the_last_added_is_on_top),
        test(priorities_are_signed),
        test(moving_brings_to_the_front),
        test(disabled_regions_hide_all_below_them),
        test(children_are_on_top_of_what_answers),
        test(a_region_is_cut_by_all_its_containers),
        test(the_last_byte_is_not_taken_along),
        test(an_alias_shows_a_window),
        test(an_overlong_alias_ends_with_its_target),
        test(the_target_can_begin_below_zero),
        test(aliases_of_aliases_add_up),
        test(an_alias_of_a_container_shows_its_whole_tree),
        test(an_alias_of_what_is_disabled_shows_nothing),
        test(a_target_is_seen_from_its_own_zero),
        test(readonly_is_inherited_and_a_rom_stays_one),
        test(a_rom_is_readonly_with_all_below_it),
        test(pieces_that_continue_each_other_are_one),
        test(pieces_that_only_touch_are_not),
        test(what_only_seems_to_go_on),
        test(pieces_join_what_is_there),
        test(a_region_can_be_as_large_as_the_space),
        test(what_passes_the_end_is_cut),
        test(addresses_do_not_wrap),
        test(a_region_fills_every_gap),
        test(trees_may_be_so_deep),
        test(and_no_deeper),
    };
    return cmocka_run_group_tests_name("render", tests, NULL, NULL);
}
