// SPDX-License-Identifier: MIT
#include "machine/view.h"

#include "machine/machine.h"
#include "machine/machine_test.h"
#include "machine/space.h"

/* 1000-1fff a, 2000-2fff rom (touching), 8000-8fff device, and the last page of the space. */
static void build(struct rig *rig)
{
    rig_open(rig);
    begin(rig);
    put_in(rig->root, 0x1000, ram(rig, "a", 0x1000), 0);
    put_in(rig->root, 0x2000, rom(rig, "rom", 0x1000), 0);
    put_in(rig->root, 0x8000, reservation(rig, "device", 0x1000), 0);
    put_in(rig->root, TOP - 0xfff, ram(rig, "last", 0x1000), 0);
    commit(rig);
}

static const char *name_at(const struct mv_view *view, uint64_t address)
{
    struct mv_section s;
    if (!mv_view_lookup(view, mv_gpa(address), &s)) {
        return "";
    }
    assert_true(s.range.first <= address && address <= s.range.last);
    return mv_region_name(s.region);
}

static void lookup_finds_what_contains_the_address(void **state)
{
    (void)state;
    struct rig rig;
    build(&rig);
    const struct mv_view *view = mv_space_view(rig.space);
    const struct {
        uint64_t address;
        const char *name;
    } cases[] = {
        {0, ""},         {0xfff, ""},   {0x1000, "a"},      {0x1fff, "a"},         {0x2000, "rom"},
        {0x2fff, "rom"}, {0x3000, ""},  {0x7fff, ""},       {0x8000, "device"},    {0x8fff, "device"},
        {0x9000, ""},    {TOP / 2, ""}, {TOP - 0x1000, ""}, {TOP - 0xfff, "last"}, {TOP, "last"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_string_equal(name_at(view, cases[i].address), cases[i].name);
    }
    mv_view_release(view);
    rig_close(&rig);
}

static void sections_say_what_answers(void **state)
{
    (void)state;
    struct rig rig;
    build(&rig);
    put_in(rig.root, 0x1100, ram(&rig, "hole", 0x100), 1);
    const struct mv_view *view = mv_space_view(rig.space);
    struct mv_section s, before;
    assert_true(mv_view_lookup(view, mv_gpa(0x1050), &before));
    assert_true(mv_view_lookup(view, mv_gpa(0x1300), &s));
    assert_int_equal(s.range.first, 0x1200);
    assert_int_equal(s.range.last, 0x1fff);
    assert_int_equal(s.offset, 0x200);
    assert_ptr_equal(s.region, before.region);
    assert_int_equal(s.hva.raw, before.hva.raw + 0x200);
    assert_true(s.hva.raw != 0);
    assert_false(s.readonly);
    assert_true(mv_view_lookup(view, mv_gpa(0x2fff), &s));
    assert_true(s.readonly && s.hva.raw != 0);
    assert_int_equal(mv_region_kind(s.region), MV_REGION_ROM);
    assert_true(mv_view_lookup(view, mv_gpa(0x8123), &s));
    assert_int_equal(s.hva.raw, 0);
    assert_int_equal(mv_region_kind(s.region), MV_REGION_MMIO);
    mv_view_release(view);
    rig_close(&rig);
}

static void next_goes_through_in_order(void **state)
{
    (void)state;
    struct rig rig;
    build(&rig);
    const struct mv_view *view = mv_space_view(rig.space);
    const struct {
        uint64_t address;
        const char *name;
    } cases[] = {
        {0, "a"},           {0x1000, "a"},      {0x1fff, "a"},    {0x2000, "rom"}, {0x2fff, "rom"},
        {0x3000, "device"}, {0x8fff, "device"}, {0x9000, "last"}, {TOP, "last"},
    };
    struct mv_section s;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_true(mv_view_next(view, mv_gpa(cases[i].address), &s));
        assert_string_equal(mv_region_name(s.region), cases[i].name);
        assert_int_equal(s.offset, 0);
    }
    assert_int_equal(mv_view_count(view), 4);
    mv_view_release(view);
    rig_close(&rig);
}

static void nothing_is_found_at_the_end(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_section s = {.offset = 77};
    const struct mv_view *view = mv_space_view(rig.space);
    assert_int_equal(mv_view_count(view), 0);
    assert_false(mv_view_next(view, mv_gpa(0), &s));
    assert_false(mv_view_lookup(view, mv_gpa(0), &s));
    mv_view_release(view);
    put_in(rig.root, 0x1000, ram(&rig, "a", 0x1000), 0);
    view = mv_space_view(rig.space);
    assert_true(mv_view_next(view, mv_gpa(0x1fff), &s));
    s.offset = 77;
    assert_false(mv_view_next(view, mv_gpa(0x2000), &s));
    assert_false(mv_view_next(view, mv_gpa(TOP), &s));
    assert_int_equal(s.offset, 77);
    mv_view_release(view);
    rig_close(&rig);
}

static void a_borrowed_view_stays_as_it_was(void **state)
{
    (void)state;
    struct rig rig;
    build(&rig);
    char before[1024], after[1024];
    const struct mv_view *view = mv_space_view(rig.space);
    picture(view, before, sizeof before);
    struct mv_section s;
    struct mv_error err;
    assert_true(mv_view_lookup(view, mv_gpa(0x1000), &s));
    volatile unsigned char *byte = (volatile unsigned char *)(uintptr_t)s.hva.raw;
    *byte = 9;
    assert_int_equal(mv_region_remove(s.region, &err), 0);
    assert_int_equal(mv_region_set_enabled(rig.root, false, &err), 0);
    assert_picture(rig.space, "");
    epoch_drain();
    picture(view, after, sizeof after);
    assert_string_equal(before, after);
    assert_int_equal(*byte, 9);
    mv_view_release(view);
    rig_close(&rig);
}

static void an_unchanged_space_may_be_borrowed_twice(void **state)
{
    (void)state;
    struct rig rig;
    build(&rig);
    const struct mv_view *one = mv_space_view(rig.space);
    const struct mv_view *two = mv_space_view(rig.space);
    assert_ptr_equal(one, two);
    mv_view_release(one);
    assert_string_equal(name_at(two, 0x1000), "a");
    mv_view_release(two);
    rig_close(&rig);
}

/* What a view shows stays for whoever borrowed it, or an older one, and goes when the last of them gives it back.
 */
static void old_views_wait_for_their_borrowers(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_region *r = ram(&rig, "r", 0x1000);
    const struct mv_view *views[4];
    for (unsigned i = 0; i < 4; i++) {
        views[i] = mv_space_view(rig.space);
        assert_int_equal(mv_view_count(views[i]), i % 2);
        if (i % 2 == 0) {
            assert_int_equal(mv_region_add(rig.root, 0x1000, r, 0, NULL), 0);
        } else {
            assert_int_equal(mv_region_remove(r, NULL), 0);
        }
    }
    struct flat *flat = rig.space->flat;
    epoch_drain();
    assert_int_equal(flat->live_views, 5); /* the four and the present one */
    mv_view_release(views[2]);
    mv_view_release(views[1]);
    assert_int_equal(flat->live_views, 5); /* all for the sake of the oldest */
    mv_view_release(views[0]);
    assert_int_equal(flat->live_views, 2);
    mv_view_release(views[3]);
    assert_int_equal(flat->live_views, 1);
    mv_region_put(r);
    rig_close(&rig);
}

/* view_check() finds each way to break the invariant. */
static void the_check_sees_what_is_wrong(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_region *r = ram(&rig, "r", 0x10000);
    struct mv_region *d = reservation(&rig, "d", 0x10000);
    struct section *a = section_create(r, (struct mv_range){0, 0xfff}, 0, (struct rights){false, false});
    struct section *b = section_create(d, (struct mv_range){0x1000, 0x1fff}, 0, (struct rights){false, false});
    struct pmap_edit edit = pmap_edit_begin(rig.machine->pool, &PMAP_EMPTY, 1);
    assert_int_equal(pmap_set(&edit, a->range, a), 0);
    assert_int_equal(pmap_set(&edit, b->range, b), 0);
    struct mv_view view = {.map = edit.now, .count = 2};
    const struct section good_a = *a, good_b = *b;
    assert_true(view_check(&view));
    view.count = 1;
    assert_false(view_check(&view));
    view.count = 2;
    a->range.first = 0x1000; /* it is not where the map has it */
    assert_false(view_check(&view));
    *a = good_a;
    b->range.first = 0xfff; /* they overlap */
    assert_false(view_check(&view));
    *b = good_b;
    b->has_host = true;
    assert_false(view_check(&view));
    *b = good_b;
    b->region = r; /* the two could be one */
    b->offset = 0x1000;
    b->has_host = true;
    assert_false(view_check(&view));
    *b = good_b;
    pmap_edit_abort(&edit);
    section_finish(a);
    section_finish(b);
    pool_give(rig.machine->pool, POOL_SECTION, a);
    pool_give(rig.machine->pool, POOL_SECTION, b);
    mv_region_put(r);
    mv_region_put(d);
    rig_close(&rig);
}

static void sections_are_equal_in_all(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_region *r = ram(&rig, "r", 0x10000);
    const struct section a = {.range = {1, 2}, .region = r, .offset = 1};
    struct section b = a;
    assert_true(section_equal(&a, &b));
    b.range.first = 0;
    assert_false(section_equal(&a, &b));
    b = a;
    b.range.last = 3;
    assert_false(section_equal(&a, &b));
    b = a;
    b.region = rig.root;
    assert_false(section_equal(&a, &b));
    b = a;
    b.offset = 2;
    assert_false(section_equal(&a, &b));
    b = a;
    b.rights.readonly = true;
    assert_false(section_equal(&a, &b));
    mv_region_put(r);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lookup_finds_what_contains_the_address),
        cmocka_unit_test(sections_say_what_answers),
        cmocka_unit_test(next_goes_through_in_order),
        cmocka_unit_test(nothing_is_found_at_the_end),
        cmocka_unit_test(a_borrowed_view_stays_as_it_was),
        cmocka_unit_test(an_unchanged_space_may_be_borrowed_twice),
        cmocka_unit_test(old_views_wait_for_their_borrowers),
        cmocka_unit_test(the_check_sees_what_is_wrong),
        cmocka_unit_test(sections_are_equal_in_all),
    };
    return cmocka_run_group_tests_name("view", tests, NULL, NULL);
}
