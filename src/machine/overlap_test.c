// SPDX-License-Identifier: MIT
#include "machine/overlap.h"

#include <errno.h>

#include "machine/machine_test.h"

struct told {
    char text[1024];
};

static void tell(void *opaque, const char *line)
{
    struct told *told = opaque;
    strcat(strcat(told->text, line), "\n");
}

static void expect(struct told *told, const char *text)
{
    assert_string_equal(told->text, text);
    told->text[0] = '\0';
}

static void overlaps_are_told(void **state)
{
    (void)state;
    struct rig rig;
    struct told told = {""};
    rig_open(&rig);
    struct mv_region *a = ram(&rig, "a", 0x2000), *b = reservation(&rig, "b", 0x1000), *c = ram(&rig, "c", 0x1000);
    assert_int_equal(mv_machine_set_overlap_policy(rig.machine, MV_OVERLAP_REPORT, tell, &told, NULL), 0);
    assert_int_equal(mv_region_add(rig.root, 0x1000, a, 0, NULL), 0);
    expect(&told, "");
    assert_int_equal(mv_region_add(rig.root, 0x2800, b, 1, NULL), 0);
    expect(&told, "region b hides a at 0x2800-0x2fff of root\n");
    assert_int_equal(mv_region_add(rig.root, 0x2000, c, -1, NULL), 0);
    expect(&told, "region a hides c at 0x2000-0x2fff of root\nregion b hides c at 0x2800-0x2fff of root\n");
    assert_int_equal(mv_region_set_address(b, 0x8000, NULL), 0);
    expect(&told, "");
    assert_int_equal(mv_region_set_address(b, 0x1000, NULL), 0);
    expect(&told, "region b hides a at 0x1000-0x1fff of root\n");
    assert_int_equal(mv_region_set_size(b, 0x1800, NULL), 0);
    expect(&told, "region b hides a at 0x1000-0x27ff of root\nregion b hides c at 0x2000-0x27ff of root\n");
    assert_int_equal(mv_machine_set_overlap_policy(rig.machine, MV_OVERLAP_ALLOW, NULL, NULL, NULL), 0);
    assert_int_equal(mv_region_set_size(b, 0x2000, NULL), 0);
    expect(&told, "");
    mv_region_put(a);
    mv_region_put(b);
    mv_region_put(c);
    rig_close(&rig);
}

static void equals_are_refused_when_strict(void **state)
{
    (void)state;
    struct rig rig;
    struct mv_error err;
    rig_open(&rig);
    struct mv_region *a = ram(&rig, "a", 0x2000), *b = reservation(&rig, "b", 0x1000);
    assert_int_equal(mv_machine_set_overlap_policy(rig.machine, MV_OVERLAP_REPORT, NULL, NULL, &err), -EINVAL);
    assert_int_equal(mv_machine_set_overlap_policy(rig.machine, MV_OVERLAP_STRICT, NULL, NULL, &err), 0);
    assert_int_equal(mv_region_add(rig.root, 0x1000, a, 0, &err), 0);
    assert_int_equal(mv_region_add(rig.root, 0x2fff, b, 0, &err), -EEXIST);
    assert_string_equal(err.reason, "overlap");
    assert_string_equal(err.text, "region b: it overlaps a, of the same priority, at 0x2fff-0x2fff of root");
    assert_int_equal(mv_region_remove(b, &err), -ENOENT);             /* it is not there */
    assert_int_equal(mv_region_add(rig.root, 0x2fff, b, 1, &err), 0); /* with a priority, one says which */
    assert_int_equal(mv_region_remove(b, &err), 0);
    assert_int_equal(mv_region_add(rig.root, 0x3000, b, 0, &err), 0);
    assert_int_equal(mv_region_set_address(b, 0x1000, &err), -EEXIST);
    assert_int_equal(mv_region_set_address(a, 0x800, &err), 0); /* itself is no other */
    assert_picture(rig.space, "800-27ff a@0\n3000-3fff b@0\n");
    mv_region_put(a);
    mv_region_put(b);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overlaps_are_told),
        cmocka_unit_test(equals_are_refused_when_strict),
    };
    return cmocka_run_group_tests_name("overlap", tests, NULL, NULL);
}
