// SPDX-License-Identifier: MIT
/* What listeners are told, in which order; tests commit.c as well. */
#include "machine/machine_test.h"

static struct rig rig;
static struct journal journal;

static int open_rig(void **state)
{
    (void)state;
    rig_open(&rig);
    journal.used = 0;
    journal.text[0] = '\0';
    return 0;
}

static int close_rig(void **state)
{
    (void)state;
    rig_close(&rig);
    return 0;
}

/* Three listeners, made in an order that is not that of their priorities. */
struct three {
    struct witness w[3];
    struct mv_listener *l[3];
};

static void attach_three(struct three *t)
{
    static const char *const names[] = {"low", "mid", "high"};
    static const int order[] = {1, 2, 0};
    *t = (struct three){0};
    for (int i = 0; i < 3; i++) {
        int k = order[i];
        t->w[k] = (struct witness){.name = names[k], .journal = &journal};
        t->l[k] = attach(rig.space, &t->w[k], 10 * k);
    }
    journal.used = 0;
}

static void detach_three(struct three *t)
{
    for (int i = 0; i < 3; i++) {
        mv_listener_destroy(t->l[i]);
    }
}

static void additions_go_up_and_deletions_down(void **state)
{
    (void)state;
    struct three t;
    struct mv_error err;
    attach_three(&t);
    struct mv_region *r = put_in(rig.root, 0, ram(&rig, "r", 0x1000), 0);
    assert_journal(&journal, "low:begin\nmid:begin\nhigh:begin\n"
                             "low:+0-fff r@0\nmid:+0-fff r@0\nhigh:+0-fff r@0\n"
                             "low:prepare\nmid:prepare\nhigh:prepare\n"
                             "low:commit\nmid:commit\nhigh:commit\n");
    assert_int_equal(mv_region_remove(r, &err), 0);
    assert_journal(&journal, "low:begin\nmid:begin\nhigh:begin\n"
                             "high:-0-fff r@0\nmid:-0-fff r@0\nlow:-0-fff r@0\n"
                             "low:prepare\nmid:prepare\nhigh:prepare\n"
                             "low:commit\nmid:commit\nhigh:commit\n");
    detach_three(&t);
}

/* Of equal priorities the earliest comes first; priorities are signed. */
static void equals_stay_in_order(void **state)
{
    (void)state;
    struct witness a = {.name = "a", .journal = &journal};
    struct witness b = {.name = "b", .journal = &journal};
    struct witness c = {.name = "c", .journal = &journal};
    struct witness d = {.name = "d", .journal = &journal};
    struct mv_listener *la = attach(rig.space, &a, 0);
    struct mv_listener *lb = attach(rig.space, &b, 0);
    struct mv_listener *lc = attach(rig.space, &c, INT32_MIN);
    struct mv_listener *ld = attach(rig.space, &d, INT32_MAX);
    journal.used = 0;
    struct mv_region *r = put_in(rig.root, 0, reservation(&rig, "r", 1), 0);
    assert_journal(&journal, "c:begin\na:begin\nb:begin\nd:begin\n"
                             "c:+0-0 r@0\na:+0-0 r@0\nb:+0-0 r@0\nd:+0-0 r@0\n"
                             "c:prepare\na:prepare\nb:prepare\nd:prepare\n"
                             "c:commit\na:commit\nb:commit\nd:commit\n");
    mv_listener_destroy(la);
    journal.used = 0;
    assert_int_equal(mv_region_remove(r, NULL), 0);
    assert_journal(&journal, "c:begin\nb:begin\nd:begin\n"
                             "d:-0-0 r@0\nb:-0-0 r@0\nc:-0-0 r@0\n"
                             "c:prepare\nb:prepare\nd:prepare\n"
                             "c:commit\nb:commit\nd:commit\n");
    mv_listener_destroy(lb);
    mv_listener_destroy(lc);
    mv_listener_destroy(ld);
}

/* All deletions before all additions, both from the lowest address up, what stayed in its place among the latter.
 */
static void ranges_go_up(void **state)
{
    (void)state;
    struct witness w = {.name = "w", .journal = &journal};
    struct mv_region *r[4];
    begin(&rig);
    for (unsigned i = 0; i < 4; i++) {
        const char name[] = {(char)('a' + i), '\0'};
        r[i] = put_in(rig.root, i * 0x1000, ram(&rig, name, 0x1000), 0);
    }
    commit(&rig);
    struct mv_listener *l = attach(rig.space, &w, 0);
    assert_journal(&journal, "w:begin\n"
                             "w:+0-fff a@0\nw:+1000-1fff b@0\nw:+2000-2fff c@0\nw:+3000-3fff d@0\n"
                             "w:prepare\nw:commit\n");
    begin(&rig);
    assert_int_equal(mv_region_set_enabled(r[3], false, NULL), 0);
    assert_int_equal(mv_region_set_address(r[0], 0x8000, NULL), 0);
    put_in(rig.root, 0x2800, rom(&rig, "e", 0x400), 1);
    commit(&rig);
    assert_journal(&journal, "w:begin\n"
                             "w:-0-fff a@0\nw:-2000-2fff c@0\nw:-3000-3fff d@0\n"
                             "w:=1000-1fff b@0\nw:+2000-27ff c@0\nw:+2800-2bff e@0 ro\nw:+2c00-2fff c@c00\n"
                             "w:+8000-8fff a@0\n"
                             "w:prepare\nw:commit\n");
    mv_listener_destroy(l);
    assert_journal(&journal, "w:begin\n"
                             "w:-1000-1fff b@0\nw:-2000-27ff c@0\nw:-2800-2bff e@0 ro\nw:-2c00-2fff c@c00\n"
                             "w:-8000-8fff a@0\n"
                             "w:prepare\nw:commit\n");
}

/* Each way in which a section can differ makes it another one. */
static void any_difference_is_a_change(void **state)
{
    (void)state;
    struct witness w = {.name = "w", .journal = &journal};
    struct mv_region *r = ram(&rig, "r", 0x4000);
    struct mv_region *a = put_in(rig.root, 0x1000, alias_of(&rig, "a", r, 0, 0x1000), 0);
    struct mv_listener *l = attach(rig.space, &w, 0);
    journal.used = 0;
    assert_int_equal(mv_region_set_readonly(a, true, NULL), 0);
    assert_journal(&journal, "w:begin\nw:-1000-1fff r@0\nw:+1000-1fff r@0 ro\nw:prepare\nw:commit\n");
    assert_int_equal(mv_region_set_target_offset(a, 0x1000, NULL), 0);
    assert_journal(&journal, "w:begin\nw:-1000-1fff r@0 ro\nw:+1000-1fff r@1000 ro\nw:prepare\nw:commit\n");
    assert_int_equal(mv_region_set_size(a, 0x1800, NULL), 0);
    assert_journal(&journal, "w:begin\nw:-1000-1fff r@1000 ro\nw:+1000-27ff r@1000 ro\nw:prepare\nw:commit\n");
    put_in(rig.root, 0x1000, reservation(&rig, "over", 0x1800), 1);
    assert_journal(&journal, "w:begin\nw:-1000-27ff r@1000 ro\nw:+1000-27ff over@0\nw:prepare\nw:commit\n");
    put_in(rig.root, 0x1000, reservation(&rig, "over", 0x1800), 2);
    assert_journal(&journal, "w:begin\nw:-1000-27ff over@0\nw:+1000-27ff over@0\nw:prepare\nw:commit\n");
    mv_listener_destroy(l);
    mv_region_put(r);
}

static void sections_are_told_whole(void **state)
{
    (void)state;
    struct witness w = {.name = "w", .journal = &journal};
    struct mv_region *r = put_in(rig.root, 0x1000, ram(&rig, "r", 0x1000), 0);
    put_in(r, 0x800, reservation(&rig, "d", 0x100), 0);
    struct mv_listener *l = attach(rig.space, &w, 0);
    assert_journal(&journal, "w:begin\nw:+1000-17ff r@0\nw:+1800-18ff d@0\nw:+1900-1fff r@900\n"
                             "w:prepare\nw:commit\n");
    mv_listener_destroy(l);
}

/* An edit that no space can show is no commit of any. */
static void what_is_hidden_is_not_told(void **state)
{
    (void)state;
    struct witness w = {.name = "w", .journal = &journal};
    struct mv_region *c = put_in(rig.root, 0x1000, container(&rig, "c", 0x1000), 0);
    struct mv_region *lone = container(&rig, "lone", 0x1000);
    assert_int_equal(mv_region_set_enabled(c, false, NULL), 0);
    struct mv_listener *l = attach(rig.space, &w, 0);
    journal.used = 0;
    struct mv_region *r = put_in(c, 0, ram(&rig, "r", 0x1000), 0);
    put_in(lone, 0, ram(&rig, "s", 0x1000), 0);
    assert_int_equal(mv_region_set_address(r, 0x10, NULL), 0);
    assert_int_equal(mv_region_set_size(c, 0x100, NULL), 0);
    assert_journal(&journal, "");
    assert_int_equal(mv_region_set_enabled(c, true, NULL), 0);
    assert_journal(&journal, "w:begin\nw:+1010-10ff r@0\nw:prepare\nw:commit\n");
    mv_listener_destroy(l);
    mv_region_put(lone);
}

/* --- several spaces ---------------------------------------------------------------------------- */

static void a_listener_hears_of_its_own_space_only(void **state)
{
    (void)state;
    struct witness one = {.name = "one", .journal = &journal};
    struct witness two = {.name = "two", .journal = &journal};
    struct mv_region *io = container(&rig, "io", 0x10000);
    struct mv_space *space = show(&rig, "io", io);
    struct mv_listener *l1 = attach(rig.space, &one, 5);
    struct mv_listener *l2 = attach(space, &two, 1);
    journal.used = 0;
    struct mv_region *serial = put_in(io, 0x3f8, reservation(&rig, "serial", 8), 0);
    assert_journal(&journal, "two:begin\none:begin\n"
                             "two:+3f8-3ff serial@0\n"
                             "two:prepare\none:prepare\n"
                             "two:commit\none:commit\n");
    assert_int_equal(mv_region_remove(serial, NULL), 0);
    assert_journal(&journal, "two:begin\none:begin\n"
                             "two:-3f8-3ff serial@0\n"
                             "two:prepare\none:prepare\n"
                             "two:commit\none:commit\n");
    mv_listener_destroy(l1);
    mv_listener_destroy(l2);
    mv_space_destroy(space);
    mv_region_put(io);
}

/* --- refusals ---------------------------------------------------------------------------------- */

/* Who comes after the one that refuses is not asked; all are told to abort, the last first. */
static void a_refusal_aborts_all_in_reverse(void **state)
{
    (void)state;
    struct three t;
    struct mv_error err = {0};
    attach_three(&t);
    struct mv_region *r = ram(&rig, "r", 0x1000);
    t.w[1].refuse = -ENOSPC;
    assert_int_equal(mv_region_add(rig.root, 0, r, 0, &err), -ENOSPC);
    assert_string_equal(err.object, "mid");
    assert_string_equal(err.text, "listener mid refuses");
    assert_journal(&journal, "low:begin\nmid:begin\nhigh:begin\n"
                             "low:+0-fff r@0\nmid:+0-fff r@0\nhigh:+0-fff r@0\n"
                             "low:prepare\nmid:prepare\n"
                             "high:abort\nmid:abort\nlow:abort\n");
    assert_picture(rig.space, "");
    t.w[1].refuse = 0;
    t.w[2].refuse = -EIO;
    assert_int_equal(mv_region_add(rig.root, 0, r, 0, NULL), -EIO);
    journal.used = 0;
    t.w[2].refuse = 0;
    put_in(rig.root, 0, r, 0);
    assert_picture(rig.space, "0-fff r@0\n");
    detach_three(&t);
}

static int refuse_silently(void *opaque, struct mv_error *err)
{
    (void)opaque, (void)err;
    return -ENXIO;
}

/* A listener that says nothing still gives its caller an error that can be shown. */
static void a_silent_refusal_has_words_all_the_same(void **state)
{
    (void)state;
    int refuses = 0;
    struct mv_listener_ops ops = {.commit = NULL};
    struct mv_listener *l = NULL, *never = NULL;
    struct mv_error err;
    assert_int_equal(mv_listener_create(rig.space, &ops, &refuses, 0, &l, &err), 0);
    ops.prepare = refuse_silently;
    struct mv_region *r = ram(&rig, "r", 1);
    memset(&err, 0, sizeof err);
    assert_int_equal(mv_region_add(rig.root, 0, r, 0, &err), -ENXIO);
    assert_int_equal(err.code, -ENXIO);
    assert_non_null(err.reason);
    assert_string_not_equal(err.text, "");
    ops.prepare = NULL;
    mv_listener_destroy(l);
    ops.prepare = refuse_silently;
    memset(&err, 0, sizeof err);
    assert_int_equal(mv_listener_create(rig.space, &ops, NULL, 0, &never, &err), -ENXIO);
    assert_null(never);
    assert_int_equal(err.code, -ENXIO);
    assert_non_null(err.reason);
    assert_string_not_equal(err.text, "");
    mv_region_put(r);
}

/* --- coming late and leaving ------------------------------------------------------------------- */

static void a_late_listener_that_refuses_is_none(void **state)
{
    (void)state;
    struct witness w = {.name = "w", .journal = &journal, .refuse = -ENOSPC};
    struct mv_error err = {0};
    struct mv_listener *l = NULL;
    put_in(rig.root, 0, ram(&rig, "r", 0x1000), 0);
    assert_int_equal(mv_listener_create(rig.space, &witness_ops, &w, 0, &l, &err), -ENOSPC);
    assert_null(l);
    assert_string_equal(err.object, "w");
    assert_journal(&journal, "w:begin\nw:+0-fff r@0\nw:prepare\nw:abort\n");
    put_in(rig.root, 0, ram(&rig, "s", 0x1000), 0);
    assert_journal(&journal, "");
    mv_listener_destroy(NULL);
}

/* Others hear nothing of one who comes or goes. */
static void coming_and_going_is_private(void **state)
{
    (void)state;
    struct witness one = {.name = "one", .journal = &journal};
    struct witness two = {.name = "two", .journal = &journal};
    struct mv_listener *l1 = attach(rig.space, &one, 0);
    journal.used = 0;
    struct mv_listener *l2 = attach(rig.space, &two, 0);
    assert_journal(&journal, "two:begin\ntwo:prepare\ntwo:commit\n");
    mv_listener_destroy(l2);
    assert_journal(&journal, "two:begin\ntwo:prepare\ntwo:commit\n");
    put_in(rig.root, 0, ram(&rig, "r", 1), 0);
    assert_journal(&journal, "one:begin\none:+0-0 r@0\none:prepare\none:commit\n");
    mv_listener_destroy(l1);
}

static void not_while_a_transaction_is_open(void **state)
{
    (void)state;
    struct witness w = {.name = "w", .journal = &journal};
    struct mv_error err = {0};
    struct mv_listener *l = NULL;
    begin(&rig);
    assert_int_equal(mv_listener_create(rig.space, &witness_ops, &w, 0, &l, &err), -EBUSY);
    assert_string_equal(err.reason, "busy");
    assert_null(l);
    commit(&rig);
    assert_journal(&journal, "");
}

static void a_listener_need_not_listen(void **state)
{
    (void)state;
    static const struct mv_listener_ops deaf = {.begin = NULL};
    struct mv_error err;
    struct mv_listener *l = NULL;
    struct mv_region *r = put_in(rig.root, 0, ram(&rig, "r", 0x1000), 0);
    assert_int_equal(mv_listener_create(rig.space, &deaf, NULL, 0, &l, &err), 0);
    assert_int_equal(mv_region_set_address(r, 0x1000, &err), 0);
    assert_int_equal(mv_region_remove(r, &err), 0);
    struct witness w = {.name = "w", .journal = &journal, .refuse = 0};
    struct mv_listener *other = attach(rig.space, &w, 1);
    w.refuse = -EIO;
    r = ram(&rig, "r", 0x1000);
    assert_int_equal(mv_region_add(rig.root, 0, r, 0, &err), -EIO); /* deaf to abort as well */
    w.refuse = 0;
    mv_region_put(r);
    mv_listener_destroy(other);
    mv_listener_destroy(l);
}

/* --- what a listener may do -------------------------------------------------------------------- */

struct meddler {
    struct mv_region *region; /* in the root */
    struct mv_region *lone;   /* in no container */
    unsigned refused;
    unsigned calls;
};

static void meddle(struct witness *w, const char *word)
{
    struct meddler *m = w->opaque;
    struct mv_error err = {0};
    struct mv_space *space = NULL;
    struct mv_listener *listener = NULL;
    (void)word;
    m->calls++;
    const int results[] = {
        mv_region_set_enabled(m->region, false, &err),
        mv_region_set_address(m->region, 0x9999, &err),
        mv_region_set_size(m->region, 1, &err),
        mv_region_set_readonly(m->region, true, &err),
        mv_region_remove(m->region, &err),
        mv_region_add(rig.root, 0, m->lone, 0, &err),
        mv_machine_begin(rig.machine, &err),
        mv_space_create(rig.machine, "new", rig.root, &space, &err),
        mv_listener_create(rig.space, &witness_ops, w, 0, &listener, &err),
    };
    bool all = true;
    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++) {
        all = all && results[i] == -EBUSY;
    }
    m->refused += all && strcmp(err.reason, "busy") == 0;
}

/* In every callback, those of a late listener and of one that leaves among them. */
static void edits_by_a_listener_are_refused(void **state)
{
    (void)state;
    struct meddler m = {.lone = container(&rig, "lone", 1)};
    struct witness w = {.name = "w", .journal = &journal, .action = meddle, .opaque = &m};
    m.region = put_in(rig.root, 0, ram(&rig, "r", 0x1000), 0);
    struct mv_region *other = put_in(rig.root, 0x2000, ram(&rig, "other", 0x1000), 0);
    struct mv_listener *l = attach(rig.space, &w, 0);
    assert_int_equal(m.calls, 5);
    assert_int_equal(mv_region_set_address(other, 0x3000, NULL), 0);
    assert_int_equal(m.calls, 11);
    w.refuse = -EIO;
    assert_int_equal(mv_region_set_address(other, 0x4000, NULL), -EIO);
    assert_int_equal(m.calls, 17);
    w.refuse = 0;
    assert_picture(rig.space, "0-fff r@0\n3000-3fff other@0\n");
    mv_listener_destroy(l);
    assert_int_equal(m.calls, 22);
    assert_int_equal(m.refused, m.calls);
    /* And afterwards all is as ever. */
    assert_int_equal(mv_region_remove(m.region, NULL), 0);
    assert_picture(rig.space, "3000-3fff other@0\n");
    mv_region_put(m.lone);
}

/* What a read in a callback sees: the old view up to prepare, the new one at commit, the old one at abort. */
static void look(struct witness *w, const char *word)
{
    char *seen = w->opaque;
    unsigned char byte = 0xee;
    enum mv_result result = mv_space_read(rig.space, mv_gpa(0), &byte, 1, MV_ATTRS_NONE);
    sprintf(seen + strlen(seen), "%c%d", word[0], result == MV_OK ? byte : -1);
}

static void a_listener_may_read(void **state)
{
    (void)state;
    char seen[256] = "";
    struct witness w = {.name = "w", .journal = &journal};
    struct mv_region *r = put_in(rig.root, 0, ram(&rig, "r", 0x1000), 0);
    struct mv_listener *l = attach(rig.space, &w, 0);
    assert_int_equal(mv_space_write(rig.space, mv_gpa(0), "\7", 1, MV_ATTRS_NONE), MV_OK);
    w.action = look;
    w.opaque = seen;
    assert_int_equal(mv_region_set_address(r, 0x1000, NULL), 0);
    assert_string_equal(seen, "b7-7+7p7c-1");
    seen[0] = '\0';
    w.refuse = -EIO;
    assert_int_equal(mv_region_set_address(r, 0, NULL), -EIO);
    assert_string_equal(seen, "b-1--1+-1p-1a-1");
    w.action = NULL;
    w.refuse = 0;
    mv_listener_destroy(l);
}

#define test(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(additions_go_up_and_deletions_down),
        test(equals_stay_in_order),
        test(ranges_go_up),
        test(any_difference_is_a_change),
        test(sections_are_told_whole),
        test(what_is_hidden_is_not_told),
        test(a_listener_hears_of_its_own_space_only),
        test(a_refusal_aborts_all_in_reverse),
        test(a_silent_refusal_has_words_all_the_same),
        test(a_late_listener_that_refuses_is_none),
        test(coming_and_going_is_private),
        test(not_while_a_transaction_is_open),
        test(a_listener_need_not_listen),
        test(edits_by_a_listener_are_refused),
        test(a_listener_may_read),
    };
    return cmocka_run_group_tests_name("listener", tests, NULL, NULL);
}
