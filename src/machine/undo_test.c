// SPDX-License-Identifier: MIT
/* A commit that fails leaves the tree exactly as it was: every field, and the order of every list of children. */
#include "machine/undo.h"

#include <stdlib.h>

#include "base/epoch.h"
#include "machine/machine_test.h"

#define REGIONS 12

struct forest {
    struct rig rig;
    struct journal journal;
    struct witness witness;
    struct mv_listener *listener;
    struct mv_region *regions[REGIONS]; /* references; [0] is the root */
};

/* 4 containers, the root among them; 3 RAM, 2 devices; 3 aliases. */
static int open_forest(void **state)
{
    static struct forest f;
    f = (struct forest){.witness = {.name = "w", .journal = &f.journal}};
    rig_open(&f.rig);
    f.listener = attach(f.rig.space, &f.witness, 0);
    size_t n = 0;
    f.regions[n++] = mv_region_get(f.rig.root);
    f.regions[n++] = container(&f.rig, "c1", 0x1000);
    f.regions[n++] = container(&f.rig, "c2", 0x800);
    f.regions[n++] = container(&f.rig, "c3", 0x400);
    f.regions[n++] = ram(&f.rig, "r1", 0x1000);
    f.regions[n++] = ram(&f.rig, "r2", 0x300);
    f.regions[n++] = rom(&f.rig, "r3", 0x80);
    f.regions[n++] = reservation(&f.rig, "d1", 0x200);
    f.regions[n++] = reservation(&f.rig, "d2", 0x20);
    f.regions[n++] = alias_of(&f.rig, "a1", f.regions[4], 0x100, 0x200);
    f.regions[n++] = alias_of(&f.rig, "a2", f.regions[2], 0, 0x200);
    f.regions[n++] = alias_of(&f.rig, "a3", f.regions[9], 0x10, 0x100);
    assert_int_equal(n, REGIONS);
    *state = &f;
    return 0;
}

static int close_forest(void **state)
{
    struct forest *f = *state;
    mv_listener_destroy(f->listener);
    for (size_t i = 0; i < REGIONS; i++) {
        mv_region_put(f->regions[i]);
    }
    rig_close(&f->rig);
    return 0;
}

/* All that the tree is. Children by their index in `regions`, in list order, ended by -1. */
struct snapshot {
    struct region_state states[REGIONS];
    int children[REGIONS][REGIONS + 1];
    unsigned refs[REGIONS];
    const struct mv_view *view; /* not borrowed: only its address counts */
};

static int index_of(const struct forest *f, const struct mv_region *region)
{
    for (int i = 0; i < REGIONS; i++) {
        if (f->regions[i] == region) {
            return i;
        }
    }
    fail_msg("a stranger in the tree");
    return -1;
}

static int compare_ints(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void take_snapshot(const struct forest *f, struct snapshot *ret)
{
    memset(ret, 0, sizeof *ret);
    for (int i = 0; i < REGIONS; i++) {
        struct mv_region *child, *region = f->regions[i];
        ret->states[i] = region->state;
        ret->refs[i] = atomic_load(&region->refs);
        size_t n = 0;
        cds_list_for_each_entry (child, &region->children, sibling) {
            assert_ptr_equal(child->state.container, region);
            assert_true(n < REGIONS);
            ret->children[i][n++] = index_of(f, child);
        }
        ret->children[i][n] = -1;
        /* The list has no order; what is on top of what is in the states. */
        qsort(ret->children[i], n, sizeof ret->children[i][0], compare_ints);
        assert_true(itree_check(&region->children_by_address));
    }
    ret->view = mv_space_view(f->rig.space);
    mv_view_release(ret->view);
}

static void assert_same_state(const struct region_state *a, const struct region_state *b)
{
    assert_ptr_equal(a->container, b->container);
    assert_int_equal(a->address, b->address);
    assert_int_equal(a->priority, b->priority);
    assert_int_equal(a->order, b->order);
    assert_int_equal(a->enabled, b->enabled);
    assert_int_equal(a->readonly, b->readonly);
    assert_int_equal(a->size_bytes, b->size_bytes);
    assert_int_equal(a->target_offset, b->target_offset);
}

static void assert_unchanged(const struct forest *f, const struct snapshot *before)
{
    struct snapshot now;
    take_snapshot(f, &now);
    for (int i = 0; i < REGIONS; i++) {
        assert_same_state(&now.states[i], &before->states[i]);
        assert_memory_equal(now.children[i], before->children[i], sizeof now.children[i]);
    }
    assert_ptr_equal(now.view, before->view);
}

/* References too. Views on their way out still count, hence the waiting; which is slow. */
static void assert_all_unchanged(const struct forest *f, const struct snapshot *before)
{
    assert_unchanged(f, before);
    epoch_drain();
    for (int i = 0; i < REGIONS; i++) {
        assert_int_equal(atomic_load(&f->regions[i]->refs), before->refs[i]);
    }
}

static void take_snapshot_of_all(const struct forest *f, struct snapshot *ret)
{
    epoch_drain();
    take_snapshot(f, ret);
}

static void fail_commit(struct forest *f)
{
    struct mv_error err = {0};
    f->witness.refuse = -EIO;
    assert_int_equal(mv_machine_commit(f->rig.machine, &err), -EIO);
    f->witness.refuse = 0;
    f->journal.used = 0;
}

static void add(struct mv_region *parent, uint64_t offset, struct mv_region *child, int priority)
{
    struct mv_error err;
    assert_int_equal(mv_region_add(parent, offset, child, priority, &err), 0);
}

/* --- one edit of each kind --------------------------------------------------------------------- */

static void each_edit_is_taken_back(void **state)
{
    struct forest *f = *state;
    struct mv_region **r = f->regions;
    struct snapshot before;
    add(r[0], 0, r[1], 0);
    add(r[1], 0x10, r[4], 3);
    add(r[1], 0x20, r[9], 3);
    take_snapshot_of_all(f, &before);
    for (int edit = 0; edit < 8; edit++) {
        begin(&f->rig);
        switch (edit) {
        case 0: add(r[1], 5, r[7], 3); break;
        case 1: assert_int_equal(mv_region_remove(r[4], NULL), 0); break;
        case 2: assert_int_equal(mv_region_set_enabled(r[1], false, NULL), 0); break;
        case 3: assert_int_equal(mv_region_set_readonly(r[4], true, NULL), 0); break;
        case 4: assert_int_equal(mv_region_set_address(r[4], 0x11, NULL), 0); break;
        case 5: assert_int_equal(mv_region_set_size(r[4], 0x123, NULL), 0); break;
        case 6: assert_int_equal(mv_region_set_target_offset(r[9], 7, NULL), 0); break;
        default: assert_int_equal(mv_region_set_size(r[0], 0, NULL), 0); break;
        }
        fail_commit(f);
        assert_all_unchanged(f, &before);
    }
}

/* Not in a transaction: the edit itself says what the commit said. */
static void an_edit_alone_fails_with_its_commit(void **state)
{
    struct forest *f = *state;
    struct mv_region **r = f->regions;
    struct snapshot before;
    struct mv_error err = {0};
    add(r[0], 0, r[4], 0);
    add(r[0], 0, r[9], 0);
    take_snapshot_of_all(f, &before);
    f->witness.refuse = -ENOSPC;
    assert_int_equal(mv_region_add(r[0], 0, r[7], 0, &err), -ENOSPC);
    assert_string_equal(err.text, "listener w refuses");
    assert_int_equal(mv_region_remove(r[4], &err), -ENOSPC);
    assert_int_equal(mv_region_set_enabled(r[4], false, &err), -ENOSPC);
    assert_int_equal(mv_region_set_readonly(r[4], true, &err), -ENOSPC);
    assert_int_equal(mv_region_set_address(r[4], 1, &err), -ENOSPC);
    assert_int_equal(mv_region_set_size(r[4], 1, &err), -ENOSPC);
    assert_int_equal(mv_region_set_target_offset(r[9], 0, &err), -ENOSPC);
    assert_all_unchanged(f, &before);
    f->witness.refuse = 0;
}

/* --- ties: the place among equals -------------------------------------------------------------- */

static void ties_come_back_in_order(void **state)
{
    struct forest *f = *state;
    struct mv_region **r = f->regions;
    struct snapshot before;
    for (int i = 4; i < 9; i++) {
        add(r[0], 0, r[i], i == 6 ? 1 : 0);
    }
    take_snapshot_of_all(f, &before);
    for (int i = 4; i < 9; i++) {
        begin(&f->rig);
        assert_int_equal(mv_region_set_address(r[i], 0x100, NULL), 0);
        fail_commit(f);
        assert_all_unchanged(f, &before);

        begin(&f->rig);
        assert_int_equal(mv_region_remove(r[i], NULL), 0);
        fail_commit(f);
        assert_all_unchanged(f, &before);

        begin(&f->rig);
        assert_int_equal(mv_region_remove(r[i], NULL), 0);
        add(r[0], 0, r[i], 0);
        assert_int_equal(mv_region_remove(r[i], NULL), 0);
        add(r[1], 0, r[i], -3);
        fail_commit(f);
        assert_all_unchanged(f, &before);
    }
    /* All of them at once, in both directions. */
    begin(&f->rig);
    for (int i = 4; i < 9; i++) {
        assert_int_equal(mv_region_remove(r[i], NULL), 0);
    }
    fail_commit(f);
    assert_all_unchanged(f, &before);
    begin(&f->rig);
    for (int i = 8; i >= 4; i--) {
        assert_int_equal(mv_region_remove(r[i], NULL), 0);
    }
    for (int i = 4; i < 9; i++) {
        add(r[1], 0, r[i], 0);
    }
    fail_commit(f);
    assert_all_unchanged(f, &before);
}

/* --- what ends within the transaction ---------------------------------------------------------- */

/* A container that nobody holds any more but the tree is removed, and comes back with its children. */
static void what_only_the_tree_held_comes_back(void **state)
{
    struct forest *f = *state;
    struct mv_region **r = f->regions;
    struct mv_region *box = put_in(f->rig.root, 0, container(&f->rig, "box", 0x1000), 0);
    add(box, 0, r[4], 0);
    put_in(box, 0, ram(&f->rig, "inside", 0x10), 0);
    const char *picture = "0-f inside@0\n10-fff r1@10\n";
    assert_picture(f->rig.space, picture);
    begin(&f->rig);
    assert_int_equal(mv_region_remove(r[4], NULL), 0);
    assert_int_equal(mv_region_remove(box, NULL), 0);
    add(r[0], 0x4000, r[4], 0);
    fail_commit(f);
    assert_picture(f->rig.space, picture);
    begin(&f->rig);
    assert_int_equal(mv_region_remove(box, NULL), 0);
    assert_int_equal(mv_region_remove(r[4], NULL), 0);
    fail_commit(f);
    assert_picture(f->rig.space, picture);
    assert_int_equal(mv_region_remove(box, NULL), 0);
    assert_picture(f->rig.space, "");
    assert_int_equal(mv_region_remove(r[4], NULL), -ENOENT);
}

/* A container made, used and forgotten within the transaction. */
static void what_was_made_in_it_may_be_gone(void **state)
{
    struct forest *f = *state;
    struct mv_region **r = f->regions;
    struct snapshot before;
    add(r[0], 0, r[4], 0);
    add(r[0], 0, r[5], 0);
    take_snapshot_of_all(f, &before);
    begin(&f->rig);
    assert_int_equal(mv_region_remove(r[4], NULL), 0);
    struct mv_region *box = container(&f->rig, "box", 0x1000);
    add(box, 0, r[4], 0);
    mv_region_put(box);
    assert_null(r[4]->state.container);
    fail_commit(f);
    assert_all_unchanged(f, &before);

    begin(&f->rig);
    box = container(&f->rig, "box", 0x1000);
    assert_int_equal(mv_region_remove(r[5], NULL), 0);
    add(box, 0, r[5], 0);
    put_in(r[0], 0, box, 0);
    fail_commit(f);
    assert_all_unchanged(f, &before);
}

/* --- random edits, against the copy ------------------------------------------------------------ */

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void edit_at_random(struct forest *f, uint64_t *seed)
{
    struct mv_region *one = f->regions[next_random(seed) % REGIONS];
    struct mv_region *two = f->regions[next_random(seed) % REGIONS];
    uint64_t number = next_random(seed) % 0x300;
    switch (next_random(seed) % 10) {
    case 0:
    case 1:
    case 2: (void)mv_region_add(one, number, two, (int)(number % 3) - 1, NULL); break;
    case 3:
    case 4: (void)mv_region_remove(one, NULL); break;
    case 5: (void)mv_region_set_enabled(one, number % 3 != 0, NULL); break;
    case 6: (void)mv_region_set_readonly(one, number % 2 != 0, NULL); break;
    case 7: (void)mv_region_set_address(one, number, NULL); break;
    case 8: (void)mv_region_set_size(one, number, NULL); break;
    default: (void)mv_region_set_target_offset(one, number, NULL); break;
    }
}

static void random_edits_come_back(void **state)
{
    struct forest *f = *state;
    uint64_t seed = 20260611;
    struct snapshot before;
    for (int round = 0; round < 2000; round++) {
        unsigned edits = 1 + (unsigned)(next_random(&seed) % 20);
        bool fails = next_random(&seed) % 3 != 0;
        bool all = round % 50 == 0;
        (all ? take_snapshot_of_all : take_snapshot)(f, &before);
        begin(&f->rig);
        for (unsigned i = 0; i < edits; i++) {
            edit_at_random(f, &seed);
        }
        if (fails && f->rig.machine->dirty) { /* else nobody sees what changed, and nothing can fail */
            fail_commit(f);
            (all ? assert_all_unchanged : assert_unchanged)(f, &before);
        } else {
            commit(&f->rig);
            f->journal.used = 0;
        }
    }
}

#define test(name) cmocka_unit_test_setup_teardown(name, open_forest, close_forest)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(each_edit_is_taken_back),         test(an_edit_alone_fails_with_its_commit),
        test(ties_come_back_in_order),         test(what_only_the_tree_held_comes_back),
        test(what_was_made_in_it_may_be_gone), test(random_edits_come_back),
    };
    return cmocka_run_group_tests_name("undo", tests, NULL, NULL);
}
