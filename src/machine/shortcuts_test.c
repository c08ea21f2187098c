// SPDX-License-Identifier: MIT
#include "machine/shortcuts.h"

#include <stdlib.h>

#include "machine/flat.h"
#include "machine/machine_test.h"
#include "machine/space.h"

#define STEPS 4000
#define REGIONS 24

/* Each slot is what the map says, and none is empty that could be filled. */
static void assert_right(const struct rig *rig)
{
    const struct flat *flat = rig->space->flat;
    for (uint64_t i = 0; i < SHORTCUTS; i++) {
        assert_int_equal(flat->shortcuts.slots[i],
                         pmap_entry_at(&flat->view->map, i << SHORTCUT_SHIFT, SHORTCUT_SHIFT));
    }
    assert_true(shortcut_check(&flat->shortcuts, &flat->view->map));
}

static unsigned filled(const struct rig *rig)
{
    unsigned n = 0;
    for (unsigned i = 0; i < SHORTCUTS; i++) {
        n += rig->space->flat->shortcuts.slots[i] != 0;
    }
    return n;
}

static const char *name_at(const struct rig *rig, uint64_t address)
{
    epoch_enter();
    const struct section *s = shortcut_find(&rig->space->flat->shortcuts, address);
    const char *name = s ? mv_region_name(s->region) : "";
    epoch_exit();
    return name;
}

static void they_lead_to_what_is_there(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    begin(&rig);
    put_in(rig.root, 0x1000, reservation(&rig, "small", 0x1000), 0);
    put_in(rig.root, UINT64_C(0x1000000), reservation(&rig, "large", UINT64_C(0x3000000)), 0);
    put_in(rig.root, UINT64_C(0x3fffffff8), reservation(&rig, "over the end", 16), 0);
    commit(&rig);
    assert_right(&rig);
    assert_string_equal(name_at(&rig, 0x1000), "small");
    assert_string_equal(name_at(&rig, 0x1fff), "small");
    assert_string_equal(name_at(&rig, 0x2000), "");
    assert_string_equal(name_at(&rig, UINT64_C(0xffffff)), "");
    assert_string_equal(name_at(&rig, UINT64_C(0x1000000)), "large");
    assert_string_equal(name_at(&rig, UINT64_C(0x3ffffff)), "large");
    assert_string_equal(name_at(&rig, UINT64_C(0x4000000)), "");
    assert_string_equal(name_at(&rig, UINT64_C(0x3ffffffff)), "over the end");
    assert_string_equal(name_at(&rig, UINT64_C(0x400000000)), ""); /* the view has it */
    assert_int_equal(filled(&rig), 5);
    rig_close(&rig);
}

static void an_edit_writes_no_other_slot(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    put_in(rig.root, 0, reservation(&rig, "low", 0x1000), 0);
    put_in(rig.root, UINT64_C(0x80000000), reservation(&rig, "high", 0x1000), 0);
    struct shortcuts *shortcuts = &rig.space->flat->shortcuts;
    pmap_entry low = shortcuts->slots[0];
    assert_true(low != 0);
    shortcuts->slots[0] = 0; /* would be put right by who writes it */
    struct mv_region *extra = put_in(rig.root, UINT64_C(0x80002000), reservation(&rig, "extra", 0x1000), 0);
    assert_string_equal(name_at(&rig, UINT64_C(0x80002000)), "extra");
    struct mv_error err;
    assert_int_equal(mv_region_remove(extra, &err), 0);
    assert_string_equal(name_at(&rig, UINT64_C(0x80002000)), "");
    assert_int_equal(shortcuts->slots[0], 0);
    shortcuts->slots[0] = low;
    assert_right(&rig);
    rig_close(&rig);
}

/* Threads cannot be made to look between two stores, so that they are closed first is seen here. */
static void what_will_change_is_closed_first(void **state)
{
    (void)state;
    static struct shortcuts shortcuts;
    struct shortcut_set set = {{0}};
    memset(&shortcuts, 0xff, sizeof shortcuts);
    shortcut_touch(&set, (struct mv_range){UINT64_C(0x1ffffff), UINT64_C(0x2000000)}); /* of slots 1 and 2 */
    shortcut_touch(&set, (struct mv_range){UINT64_C(0x3ffffffff), TOP});               /* of the last */
    shortcut_touch(&set, (struct mv_range){UINT64_C(0x400000000), TOP});
    shortcut_close(&shortcuts, &set);
    for (unsigned i = 0; i < SHORTCUTS; i++) {
        bool closed = i == 1 || i == 2 || i == SHORTCUTS - 1;
        assert_int_equal(shortcuts.slots[i] == 0, closed);
    }
}

/* The node that stands for the first slot goes when the map becomes so low that it needs it no more. */
static void a_low_map_has_no_slots(void **state)
{
    (void)state;
    struct rig rig;
    struct mv_error err;
    rig_open(&rig);
    put_in(rig.root, 0x1000, reservation(&rig, "low", 0x1000), 0);
    assert_int_equal(filled(&rig), 0);
    struct mv_region *high = put_in(rig.root, UINT64_C(0x5000000), reservation(&rig, "high", 0x1000), 0);
    assert_int_equal(filled(&rig), 2);
    assert_right(&rig);
    assert_int_equal(mv_region_remove(high, &err), 0);
    assert_int_equal(filled(&rig), 0);
    assert_right(&rig);
    rig_close(&rig);
}

/* Low for a moment in the midst of a transaction: another node stands for the first slot then. */
static void a_map_that_was_low_meanwhile(void **state)
{
    (void)state;
    struct rig rig;
    struct mv_error err;
    rig_open(&rig);
    put_in(rig.root, 0x1000, reservation(&rig, "low", 0x1000), 0);
    struct mv_region *high = put_in(rig.root, UINT64_C(0x5000000), reservation(&rig, "high", 0x1000), 0);
    pmap_entry before = rig.space->flat->shortcuts.slots[0];
    /* What is stale is drawn in order of address: the old place is cleared before the new one is filled. */
    assert_int_equal(mv_region_set_address(high, UINT64_C(0x7000000), &err), 0);
    assert_true(rig.space->flat->shortcuts.slots[0] != before);
    assert_right(&rig);
    assert_string_equal(name_at(&rig, 0x1000), "low");
    rig_close(&rig);
}

/* Regions of all sizes come, go and move, also several in one transaction, and transactions that come to nothing.
 */
static void they_follow_all_edits(void **state)
{
    (void)state;
    struct rig rig;
    struct mv_error err;
    struct mv_region *regions[REGIONS];
    rig_open(&rig);
    srandom(7);
    for (unsigned i = 0; i < REGIONS; i++) {
        regions[i] = reservation(&rig, "r", 1);
        assert_int_equal(mv_region_add(rig.root, i, regions[i], (int)(i % 5), &err), 0);
    }
    unsigned most = 0;
    for (unsigned step = 0; step < STEPS; step++) {
        begin(&rig);
        for (long edits = random() % 3; edits >= 0; edits--) {
            struct mv_region *r = regions[random() % REGIONS];
            uint64_t at = (uint64_t)random() << random() % 6 << random() % 6;
            uint64_t size = ((uint64_t)random() & 0xffff) + 1;
            switch (random() % 4) {
            case 0: (void)mv_region_set_enabled(r, random() % 2, &err); break;
            case 1: (void)mv_region_set_size(r, size << random() % 17, &err); break;
            case 2: (void)mv_region_set_address(r, at >> random() % 24 & ~UINT64_C(0xfff), &err); break;
            default: (void)mv_region_set_address(r, at, &err); break;
            }
        }
        commit(&rig);
        assert_right(&rig);
        most = filled(&rig) > most ? filled(&rig) : most;
    }
    assert_true(most > 100);
    for (unsigned i = 0; i < REGIONS; i++) {
        assert_int_equal(mv_region_remove(regions[i], &err), 0);
        assert_right(&rig);
        mv_region_put(regions[i]);
    }
    assert_int_equal(filled(&rig), 0);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_lead_to_what_is_there),       cmocka_unit_test(an_edit_writes_no_other_slot),
        cmocka_unit_test(what_will_change_is_closed_first), cmocka_unit_test(a_low_map_has_no_slots),
        cmocka_unit_test(a_map_that_was_low_meanwhile),     cmocka_unit_test(they_follow_all_edits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
