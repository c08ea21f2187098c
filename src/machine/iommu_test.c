// SPDX-License-Identifier: MIT
/* An IOMMU with one table of pages for each of two indexes, in front of a space of RAM and a device. */
#include "machine/iommu.h"

#include <errno.h>
#include <memvirt/access.h>

#include "machine/machine_test.h"

#define PAGES 8
#define PAGE UINT64_C(0x1000)

struct unit {
    struct mv_space *target;
    uint64_t to[2][PAGES]; /* where a page leads */
    unsigned rights[2][PAGES];
    unsigned translations, events, refuse;
};

static struct mv_iommu_entry translate(void *opaque, uint64_t offset, unsigned rights, unsigned index)
{
    struct unit *u = opaque;
    uint64_t page = offset / PAGE;
    (void)rights;
    u->translations++;
    return (struct mv_iommu_entry){
        .target = u->target,
        .first = page * PAGE,
        .translated = u->to[index][page],
        .mask = PAGE - 1,
        .rights = u->rights[index][page],
    };
}

static unsigned index_of(void *opaque, struct mv_attrs attrs)
{
    (void)opaque;
    return attrs.requester == 7 ? 1 : 0;
}

static int events_changed(void *opaque, unsigned before, unsigned after, struct mv_error *err)
{
    struct unit *u = opaque;
    (void)before;
    (void)err;
    if (u->refuse & after) {
        return -ENOTSUP;
    }
    u->events = after;
    return 0;
}

static const struct mv_iommu_ops ops = {.translate = translate,
                                        .index_of = index_of,
                                        .indexes = 2,
                                        .min_page_bytes = PAGE,
                                        .events_changed = events_changed};

/* The device's side: IOMMU at 0x10000; behind it the machine's own space, RAM at 0 of 8 pages. */
struct scene {
    struct rig rig;
    struct mv_region *root, *iommu;
    struct mv_space *bus;
    struct unit unit;
};

static struct mv_region *iommu_region(struct rig *rig, struct unit *unit)
{
    struct mv_region *r;
    struct mv_iommu_options options = {.name = "iommu", .size_bytes = PAGES * PAGE, .ops = &ops, .opaque = unit};
    assert_int_equal(mv_iommu_create(rig->machine, &options, &r, NULL), 0);
    return r;
}

static int open_scene(void **state)
{
    static struct scene s;
    memset(&s, 0, sizeof s);
    rig_open(&s.rig);
    put_in(s.rig.root, 0, ram(&s.rig, "ram", PAGES * PAGE), 0);
    for (uint64_t i = 0; i < PAGES * PAGE; i += 8) {
        assert_int_equal(mv_space_write(s.rig.space, mv_gpa(i), &i, 8, MV_ATTRS_NONE), MV_OK);
    }
    s.root = container(&s.rig, "bus", MV_SIZE_2_64);
    s.iommu = iommu_region(&s.rig, &s.unit);
    assert_int_equal(mv_region_add(s.root, 0x10000, s.iommu, 0, NULL), 0);
    assert_int_equal(mv_space_create(s.rig.machine, "bus", s.root, &s.bus, NULL), 0);
    s.unit.target = s.rig.space;
    *state = &s;
    return 0;
}

static int close_scene(void **state)
{
    struct scene *s = *state;
    mv_space_destroy(s->bus);
    mv_region_put(s->iommu);
    mv_region_put(s->root);
    rig_close(&s->rig);
    return 0;
}

static void map_page(struct scene *s, unsigned index, unsigned page, uint64_t to, unsigned rights)
{
    s->unit.to[index][page] = to;
    s->unit.rights[index][page] = rights;
}

static void accesses_are_translated(void **state)
{
    struct scene *s = *state;
    uint64_t value = 1;
    map_page(s, 0, 0, 3 * PAGE, MV_IOMMU_READ);
    map_page(s, 0, 1, 1 * PAGE, MV_IOMMU_READ | MV_IOMMU_WRITE);
    assert_int_equal(mv_space_read(s->bus, mv_gpa(0x10010), &value, 8, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(value, 3 * PAGE + 0x10);
    assert_int_equal(mv_space_write(s->bus, mv_gpa(0x10010), &value, 8, MV_ATTRS_NONE), MV_DECODE_ERROR);
    assert_true(mv_space_accepts(s->bus, mv_gpa(0x10010), 8, MV_READ, MV_ATTRS_NONE));
    assert_false(mv_space_accepts(s->bus, mv_gpa(0x10010), 8, MV_WRITE, MV_ATTRS_NONE));
    assert_true(mv_space_accepts(s->bus, mv_gpa(0x10ff8), 16, MV_READ, MV_ATTRS_NONE)); /* two translations */
    assert_false(mv_space_accepts(s->bus, mv_gpa(0x11ff8), 16, MV_READ, MV_ATTRS_NONE));
    value = 77;
    assert_int_equal(mv_space_write(s->bus, mv_gpa(0x11010), &value, 8, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(mv_space_load(s->rig.space, mv_gpa(PAGE + 0x10), 8, MV_ENDIAN_LITTLE, &value, MV_ATTRS_NONE),
                     MV_OK);
    assert_int_equal(value, 77);
    assert_int_equal(mv_space_read(s->bus, mv_gpa(0x12000), &value, 8, MV_ATTRS_NONE), MV_DECODE_ERROR);
    assert_int_equal(value, 0);
    assert_int_equal(mv_space_load(s->bus, mv_gpa(0x10018), 4, MV_ENDIAN_LITTLE, &value, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(value, 3 * PAGE + 0x18);
}

/* Neighbouring pages lead apart: the access is cut, and what is not permitted is a hole in it. */
static void accesses_are_cut_where_translations_end(void **state)
{
    struct scene *s = *state;
    static unsigned char bytes[3 * 0x1000], expected[3 * 0x1000];
    map_page(s, 0, 0, 5 * PAGE, MV_IOMMU_READ);
    map_page(s, 0, 2, 2 * PAGE, MV_IOMMU_READ);
    memset(bytes, 0xee, sizeof bytes);
    assert_int_equal(mv_space_read(s->bus, mv_gpa(0x10000), bytes, sizeof bytes, MV_ATTRS_NONE), MV_DECODE_ERROR);
    assert_int_equal(mv_space_read(s->rig.space, mv_gpa(5 * PAGE), expected, PAGE, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(mv_space_read(s->rig.space, mv_gpa(2 * PAGE), expected + 2 * PAGE, PAGE, MV_ATTRS_NONE),
                     MV_OK);
    assert_memory_equal(bytes, expected, sizeof bytes);
    assert_int_equal(s->unit.translations, 3);
}

static void whose_access_it_is_matters(void **state)
{
    struct scene *s = *state;
    uint64_t value;
    map_page(s, 0, 0, 0, MV_IOMMU_READ);
    map_page(s, 1, 0, 4 * PAGE, MV_IOMMU_READ);
    assert_int_equal(mv_space_read(s->bus, mv_gpa(0x10008), &value, 8, (struct mv_attrs){.requester = 7}), MV_OK);
    assert_int_equal(value, 4 * PAGE + 8);
    assert_int_equal(mv_space_read(s->bus, mv_gpa(0x10008), &value, 8, (struct mv_attrs){.requester = 8}), MV_OK);
    assert_int_equal(value, 8);
}

/* One behind another; and one that leads to itself, which ends. */
static void iommus_in_a_row(void **state)
{
    struct scene *s = *state;
    uint64_t value;
    struct unit outer = {.target = s->bus};
    struct mv_region *root = container(&s->rig, "outer", MV_SIZE_2_64);
    struct mv_region *iommu = iommu_region(&s->rig, &outer);
    struct mv_space *space;
    assert_int_equal(mv_region_add(root, 0, iommu, 0, NULL), 0);
    assert_int_equal(mv_space_create(s->rig.machine, "outer", root, &space, NULL), 0);
    outer.to[0][1] = 0x12000; /* page 1 -> bus page 2 -> RAM page 6 */
    outer.rights[0][1] = MV_IOMMU_READ;
    map_page(s, 0, 2, 6 * PAGE, MV_IOMMU_READ);
    assert_int_equal(mv_space_read(space, mv_gpa(0x1020), &value, 8, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(value, 6 * PAGE + 0x20);
    outer.target = space;
    outer.to[0][1] = 0x1000;
    assert_int_equal(mv_space_read(space, mv_gpa(0x1020), &value, 8, MV_ATTRS_NONE), MV_DECODE_ERROR);
    mv_space_destroy(space);
    mv_region_put(iommu);
    mv_region_put(root);
}

static void maps_go_through_it_by_bounce_buffers(void **state)
{
    struct scene *s = *state;
    struct mv_map map;
    struct mv_hold hold;
    map_page(s, 0, 0, 3 * PAGE, MV_IOMMU_READ | MV_IOMMU_WRITE);
    assert_int_equal(mv_space_map(s->bus, mv_gpa(0x10040), 8, MV_READ | MV_WRITE, &map), 0);
    assert_int_equal(*(uint64_t *)map.bytes, 3 * PAGE + 0x40);
    *(uint64_t *)map.bytes = 5;
    assert_int_equal(mv_space_unmap(&map, 8), MV_OK);
    uint64_t value;
    assert_int_equal(mv_space_read(s->rig.space, mv_gpa(3 * PAGE + 0x40), &value, 8, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(value, 5);
    assert_int_equal(mv_space_hold(s->bus, mv_gpa(0x10040), 8, &hold), MV_DECODE_ERROR);
}

/* --- notifiers --------------------------------------------------------------------------------- */

struct told {
    unsigned count;
    struct mv_iommu_entry entries[16];
};

static void note(void *opaque, const struct mv_iommu_entry *entry)
{
    struct told *told = opaque;
    assert_true(told->count < 16);
    told->entries[told->count++] = *entry;
}

static struct mv_iommu_notifier *listen(struct scene *s, struct told *told, unsigned events, uint64_t first,
                                        uint64_t last, unsigned index)
{
    struct mv_iommu_notifier *n = NULL;
    struct mv_iommu_notifier_options options = {events, {first, last}, index, note, told};
    assert_int_equal(mv_iommu_notifier_create(s->iommu, &options, &n, NULL), 0);
    return n;
}

static void notifiers_hear_what_they_want(void **state)
{
    struct scene *s = *state;
    struct told a = {0}, b = {0}, c = {0};
    struct mv_error err;
    struct mv_iommu_notifier *n[3] = {
        listen(s, &a, MV_IOMMU_UNMAP | MV_IOMMU_MAP, 0, 0x1fff, 0),
        listen(s, &b, MV_IOMMU_UNMAP, 0x1000, 0x7fff, 0),
        listen(s, &c, MV_IOMMU_DEVICE_UNMAP, 0x1800, 0x4fff, 0),
    };
    assert_int_equal(s->unit.events, 7);
    struct mv_iommu_entry entry = {
        .target = s->rig.space, .first = 0x1000, .mask = PAGE - 1, .rights = MV_IOMMU_READ};
    assert_int_equal(mv_iommu_notify(s->iommu, 0, MV_IOMMU_MAP, &entry, &err), 0);
    assert_int_equal(a.count, 1);
    assert_int_equal(b.count + c.count, 0);
    assert_int_equal(mv_iommu_notify(s->iommu, 1, MV_IOMMU_MAP, &entry, &err), 0); /* another index */
    assert_int_equal(a.count, 1);
    assert_int_equal(mv_iommu_notify(s->iommu, 0, MV_IOMMU_UNMAP, &entry, &err),
                     -EINVAL); /* gone, but with rights? */
    entry.rights = MV_IOMMU_NONE;
    assert_int_equal(mv_iommu_notify(s->iommu, 0, MV_IOMMU_MAP, &entry, &err), -EINVAL);
    assert_int_equal(mv_iommu_notify(s->iommu, 0, MV_IOMMU_UNMAP, &entry, &err), 0);
    assert_int_equal(a.count, 2);
    assert_int_equal(b.count, 1);
    /* A device unmap is cut to the notifier's range, in pieces that are aligned: 1800-1fff, 2000-3fff, 4000-4fff.
     */
    entry = (struct mv_iommu_entry){.first = 0, .mask = 0x7fff, .translated = 0x10000};
    assert_int_equal(mv_iommu_notify(s->iommu, 0, MV_IOMMU_DEVICE_UNMAP, &entry, &err), 0);
    assert_int_equal(c.count, 3);
    assert_int_equal(c.entries[0].first, 0x1800);
    assert_int_equal(c.entries[0].mask, 0x7ff);
    assert_int_equal(c.entries[0].translated, 0x11800);
    assert_int_equal(c.entries[1].first, 0x2000);
    assert_int_equal(c.entries[1].mask, 0x1fff);
    assert_int_equal(c.entries[2].first, 0x4000);
    assert_int_equal(c.entries[2].mask, 0xfff);
    mv_iommu_notifier_destroy(n[2]);
    assert_int_equal(s->unit.events, MV_IOMMU_UNMAP | MV_IOMMU_MAP);
    mv_iommu_notifier_destroy(n[0]);
    mv_iommu_notifier_destroy(n[1]);
    assert_int_equal(s->unit.events, 0);
}

static void an_iommu_may_refuse(void **state)
{
    struct scene *s = *state;
    struct told told = {0};
    struct mv_error err = {0};
    struct mv_iommu_notifier *n = NULL;
    struct mv_iommu_notifier_options options = {MV_IOMMU_MAP, {0, 0xfff}, 0, note, &told};
    s->unit.refuse = MV_IOMMU_MAP;
    assert_int_equal(mv_iommu_notifier_create(s->iommu, &options, &n, &err), -ENOTSUP);
    options.events = MV_IOMMU_UNMAP;
    options.index = 2;
    assert_int_equal(mv_iommu_notifier_create(s->iommu, &options, &n, &err), -EINVAL);
    options.index = 0;
    assert_int_equal(mv_iommu_notifier_create(s->root, &options, &n, &err), -EINVAL);
    assert_null(n);
    struct mv_iommu_options bad = {.name = "bad", .size_bytes = 1};
    struct mv_region *r = NULL;
    assert_int_equal(mv_iommu_create(s->rig.machine, &bad, &r, &err), -EINVAL);
    assert_string_equal(err.object, "bad");
}

static void a_replay_tells_what_there_is(void **state)
{
    struct scene *s = *state;
    struct told told = {0};
    struct mv_iommu_notifier *n = listen(s, &told, MV_IOMMU_MAP, 0x1000, UINT64_MAX, 1);
    map_page(s, 1, 0, 0, MV_IOMMU_READ); /* not in its range */
    map_page(s, 1, 3, 2 * PAGE, MV_IOMMU_WRITE);
    map_page(s, 1, 7, 0, MV_IOMMU_READ);
    map_page(s, 0, 5, 0, MV_IOMMU_READ); /* not its index */
    mv_iommu_replay(n);
    assert_int_equal(told.count, 2);
    assert_int_equal(told.entries[0].first, 0x3000);
    assert_int_equal(told.entries[0].translated, 0x2000);
    assert_int_equal(told.entries[1].first, 0x7000);
    mv_iommu_notifier_destroy(n);
}

#define test(name) cmocka_unit_test_setup_teardown(name, open_scene, close_scene)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(accesses_are_translated),
        test(accesses_are_cut_where_translations_end),
        test(whose_access_it_is_matters),
        test(iommus_in_a_row),
        test(maps_go_through_it_by_bounce_buffers),
        test(notifiers_hear_what_they_want),
        test(an_iommu_may_refuse),
        test(a_replay_tells_what_there_is),
    };
    return cmocka_run_group_tests_name("iommu", tests, NULL, NULL);
}
