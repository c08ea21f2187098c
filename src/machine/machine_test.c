// SPDX-License-Identifier: MIT
/* Transactions: what is seen when, and by whom. */
#include "machine/machine_test.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

#include "machine/flat.h"
#include "machine/machine.h"
#include "machine/render.h"
#include "machine/space.h"

struct heard {
    struct rig rig;
    struct journal journal;
    struct witness witness;
    struct mv_listener *listener;
};

static int open_heard(void **state)
{
    static struct heard h;
    h = (struct heard){.witness = {.name = "w", .journal = &h.journal}};
    rig_open(&h.rig);
    h.listener = attach(h.rig.space, &h.witness, 0);
    h.journal.used = 0;
    *state = &h;
    return 0;
}

static int close_heard(void **state)
{
    struct heard *h = *state;
    mv_listener_destroy(h->listener);
    rig_close(&h->rig);
    return 0;
}

static void a_transaction_without_edits_is_nothing(void **state)
{
    struct heard *h = *state;
    const struct mv_view *before = mv_space_view(h->rig.space);
    begin(&h->rig);
    begin(&h->rig);
    commit(&h->rig);
    commit(&h->rig);
    const struct mv_view *after = mv_space_view(h->rig.space);
    assert_ptr_equal(before, after);
    assert_journal(&h->journal, "");
    mv_view_release(before);
    mv_view_release(after);
}

static void an_edit_is_a_transaction_of_its_own(void **state)
{
    struct heard *h = *state;
    put_in(h->rig.root, 0, ram(&h->rig, "r", 0x1000), 0);
    assert_journal(&h->journal, "w:begin\nw:+0-fff r@0\nw:prepare\nw:commit\n");
    assert_picture(h->rig.space, "0-fff r@0\n");
    /* And leaves nothing to be done by the next. */
    assert_int_equal(h->rig.space->flat->stale.count, 0);
    assert_false(h->rig.machine->dirty);
}

static void only_the_outermost_commit_acts(void **state)
{
    struct heard *h = *state;
    struct mv_error err;
    begin(&h->rig);
    struct mv_region *r = put_in(h->rig.root, 0, ram(&h->rig, "r", 0x1000), 0);
    assert_picture(h->rig.space, "");
    begin(&h->rig);
    put_in(h->rig.root, 0x1000, ram(&h->rig, "s", 0x1000), 0);
    begin(&h->rig);
    assert_int_equal(mv_region_set_address(r, 0x4000, &err), 0);
    commit(&h->rig);
    assert_picture(h->rig.space, "");
    commit(&h->rig);
    assert_picture(h->rig.space, "");
    assert_journal(&h->journal, "");
    unsigned char byte = 1;
    assert_int_equal(mv_space_read(h->rig.space, mv_gpa(0x4000), &byte, 1, MV_ATTRS_NONE), MV_DECODE_ERROR);
    commit(&h->rig);
    assert_picture(h->rig.space, "1000-1fff s@0\n4000-4fff r@0\n");
    assert_journal(&h->journal, "w:begin\nw:+1000-1fff s@0\nw:+4000-4fff r@0\nw:prepare\nw:commit\n");
}

/* What is back where it was is told as having stayed. */
static void edits_that_cancel_out_change_nothing(void **state)
{
    struct heard *h = *state;
    struct mv_error err;
    struct mv_region *r = put_in(h->rig.root, 0, ram(&h->rig, "r", 0x1000), 0);
    h->journal.used = 0;
    begin(&h->rig);
    mv_region_get(r);
    assert_int_equal(mv_region_remove(r, &err), 0);
    assert_int_equal(mv_region_add(h->rig.root, 0, r, 7, &err), 0);
    mv_region_put(r);
    commit(&h->rig);
    assert_journal(&h->journal, "w:begin\nw:=0-fff r@0\nw:prepare\nw:commit\n");
}

static void a_refused_edit_leaves_the_transaction_alone(void **state)
{
    struct heard *h = *state;
    struct mv_error err;
    begin(&h->rig);
    struct mv_region *r = put_in(h->rig.root, 0, ram(&h->rig, "r", 0x1000), 0);
    assert_int_equal(mv_region_add(h->rig.root, 0, r, 0, &err), -EBUSY);
    assert_int_equal(mv_region_add(r, 0, r, 0, &err), -EBUSY);
    assert_int_equal(mv_region_set_size(r, TOP, &err), -EINVAL);
    assert_int_equal(mv_region_set_target_offset(r, 0, &err), -EINVAL);
    assert_int_equal(mv_region_remove(h->rig.root, &err), -ENOENT);
    put_in(h->rig.root, 0x1000, ram(&h->rig, "s", 0x1000), 0);
    assert_journal(&h->journal, "");
    commit(&h->rig);
    assert_picture(h->rig.space, "0-fff r@0\n1000-1fff s@0\n");
}

static void an_inner_commit_is_always_0(void **state)
{
    struct heard *h = *state;
    struct mv_error err = {0};
    h->witness.refuse = -ENOSPC;
    begin(&h->rig);
    put_in(h->rig.root, 0, ram(&h->rig, "r", 0x1000), 0);
    begin(&h->rig);
    assert_int_equal(mv_machine_commit(h->rig.machine, &err), 0);
    assert_int_equal(mv_machine_commit(h->rig.machine, &err), -ENOSPC);
    assert_int_equal(err.code, -ENOSPC);
    assert_string_equal(err.reason, "refused");
    assert_string_equal(err.object, "w");
    assert_picture(h->rig.space, "");
    h->witness.refuse = 0;
    /* Nothing of it comes back later. */
    put_in(h->rig.root, 0x1000, ram(&h->rig, "s", 0x1000), 0);
    assert_picture(h->rig.space, "1000-1fff s@0\n");
}

/* --- spaces in transactions -------------------------------------------------------------------- */

static void a_space_made_in_a_transaction_shows_its_end(void **state)
{
    struct heard *h = *state;
    begin(&h->rig);
    struct mv_region *root = ram(&h->rig, "r", 0x1000);
    struct mv_space *space = show(&h->rig, "late", root);
    put_in(root, 0x800, reservation(&h->rig, "d", 0x100), 0);
    commit(&h->rig);
    assert_picture(space, "0-7ff r@0\n800-8ff d@0\n900-fff r@900\n");
    mv_space_destroy(space);
    mv_region_put(root);
}

/* Its edits are taken back; it is there all the same, and shows its tree as it then is. */
static void a_space_made_in_a_failed_transaction_is_right(void **state)
{
    struct heard *h = *state;
    struct mv_error err;
    struct mv_region *root = ram(&h->rig, "r", 0x1000);
    h->witness.refuse = -EIO;
    begin(&h->rig);
    struct mv_space *space = show(&h->rig, "late", root);
    put_in(root, 0x800, reservation(&h->rig, "d", 0x100), 0);
    assert_int_equal(mv_machine_commit(h->rig.machine, &err), -EIO);
    assert_picture(space, "0-fff r@0\n");
    h->witness.refuse = 0;
    mv_space_destroy(space);
    mv_region_put(root);
}

/* A space whose tree is too deep stays when it was made within a transaction; it shows all when that is mended. */
static void a_space_that_could_not_be_shown_is_whole_later(void **state)
{
    struct heard *h = *state;
    struct mv_error err = {0};
    struct mv_region *root = container(&h->rig, "root", MV_SIZE_2_64);
    put_in(root, 0x10000, ram(&h->rig, "r", 0x1000), 0);
    struct mv_region *deep = ram(&h->rig, "deep", 0x1000);
    for (unsigned i = 0; i < RENDER_DEPTH_MAX; i++) {
        struct mv_region *c = container(&h->rig, "c", 0x1000);
        put_in(c, 0, deep, 0);
        deep = c;
    }
    put_in(root, 0, deep, 0);
    begin(&h->rig);
    struct mv_space *space = show(&h->rig, "late", root);
    assert_int_equal(mv_machine_commit(h->rig.machine, &err), -ELOOP);
    assert_string_equal(err.reason, "too-deep");
    assert_int_equal(mv_region_remove(deep, &err), 0);
    assert_picture(space, "10000-10fff r@0\n");
    mv_space_destroy(space);
    mv_region_put(root);
}

static void spaces_may_share_a_tree(void **state)
{
    struct heard *h = *state;
    struct mv_region *c = put_in(h->rig.root, 0x1000, container(&h->rig, "c", 0x2000), 0);
    struct mv_space *part = show(&h->rig, "part", c);
    put_in(c, 0x800, ram(&h->rig, "r", 0x2000), 0);
    /* A space is seen from its root's own zero. */
    assert_picture(part, "800-1fff r@0\n");
    assert_picture(h->rig.space, "1800-2fff r@0\n");
    assert_string_equal(mv_space_name(part), "part");
    assert_ptr_equal(mv_space_root(part), c);
    mv_space_destroy(part);
    assert_picture(h->rig.space, "1800-2fff r@0\n");
}

/* When another space's listener refuses, this one's view stays too. */
static void spaces_change_together_or_not_at_all(void **state)
{
    struct heard *h = *state;
    struct mv_region *c = put_in(h->rig.root, 0, container(&h->rig, "c", 0x1000), 0);
    struct mv_space *part = show(&h->rig, "part", c);
    h->witness.refuse = -EIO;
    struct mv_region *r = ram(&h->rig, "r", 0x1000);
    const struct mv_view *before = mv_space_view(part);
    assert_int_equal(mv_region_add(c, 0, r, 0, NULL), -EIO);
    const struct mv_view *after = mv_space_view(part);
    assert_ptr_equal(before, after);
    assert_picture(part, "");
    assert_picture(h->rig.space, "");
    h->witness.refuse = 0;
    put_in(c, 0, r, 0);
    assert_picture(part, "0-fff r@0\n");
    assert_picture(h->rig.space, "0-fff r@0\n");
    mv_view_release(before);
    mv_view_release(after);
    mv_space_destroy(part);
}

static void a_space_that_cannot_be_is_not_made(void **state)
{
    struct heard *h = *state;
    struct mv_error err = {0};
    struct mv_space *space = NULL;
    struct mv_region *other = ram(&h->rig, "other", 0x1000);
    h->witness.refuse = -EIO;
    assert_int_equal(mv_space_create(h->rig.machine, "no", other, &space, &err), -EIO);
    assert_null(space);
    assert_string_equal(err.reason, "refused");
    /* One that shows what another shows already changes nothing that a listener could refuse. */
    assert_int_equal(mv_space_create(h->rig.machine, "same", h->rig.root, &space, &err), 0);
    mv_space_destroy(space);
    h->witness.refuse = 0;
    mv_space_destroy(NULL);
    mv_region_put(other);
}

static void a_transaction_may_be_given_up(void **state)
{
    struct heard *h = *state;
    struct mv_error err;
    struct mv_region *r = ram(&h->rig, "r", 0x1000), *other = ram(&h->rig, "other", 0x1000);
    begin(&h->rig);
    put_in(h->rig.root, 0, mv_region_get(r), 0);
    struct mv_space *made = show(&h->rig, "made", other);
    mv_machine_abort(h->rig.machine);
    assert_journal(&h->journal, "");
    assert_picture(h->rig.space, "");
    assert_picture(made, "0-fff other@0\n"); /* a space is no edit */
    assert_int_equal(mv_region_remove(r, &err), -ENOENT);
    begin(&h->rig);
    begin(&h->rig);
    put_in(h->rig.root, 0, mv_region_get(r), 0);
    mv_machine_abort(h->rig.machine); /* an inner one */
    put_in(h->rig.root, 0x2000, mv_region_get(other), 0);
    assert_int_equal(mv_machine_commit(h->rig.machine, &err), -ECANCELED);
    assert_string_equal(err.reason, "aborted");
    assert_picture(h->rig.space, "");
    put_in(h->rig.root, 0, mv_region_get(r), 0); /* and on */
    assert_picture(h->rig.space, "0-fff r@0\n");
    mv_space_destroy(made);
    mv_region_put(r);
    mv_region_put(other);
}

/* --- threads ----------------------------------------------------------------------------------- */

struct other_thread {
    const struct rig *rig;
    struct mv_region *region;
    sem_t started;
    atomic_bool done;
};

static void *add_from_another_thread(void *opaque)
{
    struct other_thread *t = opaque;
    sem_post(&t->started);
    assert_int_equal(mv_region_add(t->rig->root, 0x1000, t->region, 0, NULL), 0);
    atomic_store(&t->done, true);
    return NULL;
}

static void another_threads_edit_waits(void **state)
{
    struct heard *h = *state;
    struct other_thread t = {.rig = &h->rig, .region = ram(&h->rig, "other", 0x1000)};
    sem_init(&t.started, 0, 0);
    begin(&h->rig);
    put_in(h->rig.root, 0, ram(&h->rig, "mine", 0x1000), 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, add_from_another_thread, &t), 0);
    sem_wait(&t.started);
    nanosleep(&(struct timespec){.tv_nsec = 30 * 1000 * 1000}, NULL);
    assert_false(atomic_load(&t.done));
    commit(&h->rig);
    pthread_join(thread, NULL);
    assert_true(atomic_load(&t.done));
    assert_picture(h->rig.space, "0-fff mine@0\n1000-1fff other@0\n");
    assert_journal(&h->journal, "w:begin\nw:+0-fff mine@0\nw:prepare\nw:commit\n"
                                "w:begin\nw:=0-fff mine@0\nw:+1000-1fff other@0\nw:prepare\nw:commit\n");
    mv_region_put(t.region);
    sem_destroy(&t.started);
}

static void machines_are_apart(void **state)
{
    struct heard *h = *state;
    struct rig other;
    rig_open(&other);
    begin(&h->rig);
    put_in(h->rig.root, 0, ram(&h->rig, "r", 0x1000), 0);
    put_in(other.root, 0, ram(&other, "s", 0x1000), 0);
    assert_picture(other.space, "0-fff s@0\n");
    assert_picture(h->rig.space, "");
    commit(&h->rig);
    assert_picture(h->rig.space, "0-fff r@0\n");
    rig_close(&other);
    mv_machine_destroy(NULL);
}

#define test(name) cmocka_unit_test_setup_teardown(name, open_heard, close_heard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_transaction_may_be_given_up),
        test(a_transaction_without_edits_is_nothing),
        test(an_edit_is_a_transaction_of_its_own),
        test(only_the_outermost_commit_acts),
        test(edits_that_cancel_out_change_nothing),
        test(a_refused_edit_leaves_the_transaction_alone),
        test(an_inner_commit_is_always_0),
        test(a_space_made_in_a_transaction_shows_its_end),
        test(a_space_made_in_a_failed_transaction_is_right),
        test(a_space_that_could_not_be_shown_is_whole_later),
        test(spaces_may_share_a_tree),
        test(spaces_change_together_or_not_at_all),
        test(a_space_that_cannot_be_is_not_made),
        test(another_threads_edit_waits),
        test(machines_are_apart),
    };
    return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
