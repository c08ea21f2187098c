// SPDX-License-Identifier: MIT
/*
 * Each allocation fails once. What needed it says so and leaves everything as it was; afterwards it works. Linked
 * with --wrap for the functions that allocate; the pool is one of them, or what it has spare would not fail.
 */
#include <stdlib.h>

#include "base/epoch.h"
#include "machine/machine_test.h"
#include "machine/pool.h"

static long countdown = -1; /* the allocation after so many fails; -1: none */

static bool fails(void)
{
    return countdown >= 0 && countdown-- == 0;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *text);
void *__real_pool_take(struct pool *pool, enum pool_kind kind);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *text);
void *__wrap_pool_take(struct pool *pool, enum pool_kind kind);

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : __real_aligned_alloc(alignment, size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return fails() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

void *__wrap_pool_take(struct pool *pool, enum pool_kind kind)
{
    return fails() ? NULL : __real_pool_take(pool, kind);
}

struct scene {
    struct rig rig;
    struct journal journal;
    struct witness witness;
    struct mv_listener *listener;
    struct mv_region *ram;       /* a reference; 64 KiB, shown by aliases in pieces */
    struct mv_region *pieces[8]; /* borrowed */
    struct mv_region *lone;      /* a reference; in no container */
    char picture[4096];
};

static void see(const struct scene *s, char *text, size_t size)
{
    const struct mv_view *view = mv_space_view(s->rig.space);
    picture(view, text, size);
    mv_view_release(view);
}

static void open_scene(struct scene *s)
{
    *s = (struct scene){.witness = {.name = "w", .journal = &s->journal}};
    rig_open(&s->rig);
    s->listener = attach(s->rig.space, &s->witness, 0);
    s->ram = ram(&s->rig, "ram", 0x10000);
    s->lone = container(&s->rig, "lone", 0x100000);
    for (unsigned i = 0; i < 8; i++) {
        s->pieces[i] = put_in(s->rig.root, i * UINT64_C(0x123456789),
                              alias_of(&s->rig, "piece", s->ram, i * UINT64_C(0x1000), 0x1000), 0);
    }
    s->journal.used = 0;
    see(s, s->picture, sizeof s->picture);
}

static void close_scene(struct scene *s)
{
    mv_listener_destroy(s->listener);
    mv_region_put(s->ram);
    mv_region_put(s->lone);
    rig_close(&s->rig);
}

typedef int act_fn(struct scene *, struct mv_error *);

static void assert_still(const struct scene *s)
{
    static char now[4096];
    see(s, now, sizeof now);
    assert_string_equal(now, s->picture);
}

/*
 * Do it with one allocation after the other failing, until it needs no more. Where it fails, nothing has changed,
 * and it is done again in the same scene. It may do without some (a list of what is stale only saves work): then
 * it must end as it does otherwise. Returns how often it failed.
 */
static unsigned try_all(act_fn *act)
{
    static char after[4096], now[4096];
    static struct scene s;
    struct mv_error err;
    unsigned failures = 0;
    open_scene(&s);
    assert_int_equal(act(&s, &err), 0);
    see(&s, after, sizeof after);
    for (long n = 0;; n++) {
        bool needed_less;
        close_scene(&s);
        open_scene(&s);
        do {
            err = (struct mv_error){0};
            s.journal.used = 0;
            countdown = n;
            int rc = act(&s, &err);
            needed_less = countdown >= 0;
            countdown = -1;
            if (rc == 0) {
                break;
            }
            assert_int_equal(rc, -ENOMEM);
            assert_int_equal(err.code, -ENOMEM);
            assert_string_equal(err.reason, "no-memory");
            assert_string_not_equal(err.text, "");
            assert_still(&s);
            failures++;
            n++;
        } while (n < 10000);
        see(&s, now, sizeof now);
        assert_string_equal(now, after);
        if (needed_less) {
            close_scene(&s);
            return failures;
        }
    }
}

/* --- one call ---------------------------------------------------------------------------------- */

static int make_machine(struct scene *s, struct mv_error *err)
{
    struct mv_machine *machine = NULL;
    (void)s;
    int rc = mv_machine_create(&machine, err);
    assert_int_equal(rc == 0, machine != NULL);
    mv_machine_destroy(machine);
    return rc;
}

static int make_block(struct scene *s, struct mv_error *err)
{
    struct mv_block *block = NULL;
    int rc =
        mv_block_create(s->rig.machine, &(struct mv_block_options){.name = "b", .size_bytes = 1}, &block, err);
    assert_int_equal(rc == 0, block != NULL);
    mv_block_put(block);
    return rc;
}

static int make_region(struct scene *s, struct mv_error *err)
{
    struct mv_region *region = NULL;
    int rc = mv_region_create(s->rig.machine,
                              &(struct mv_region_options){.name = "r", .kind = MV_REGION_ALIAS, .target = s->ram},
                              &region, err);
    assert_int_equal(rc == 0, region != NULL);
    mv_region_put(region);
    return rc;
}

static int make_space(struct scene *s, struct mv_error *err)
{
    struct mv_space *space = NULL;
    int rc = mv_space_create(s->rig.machine, "s", s->ram, &space, err);
    assert_int_equal(rc == 0, space != NULL);
    mv_space_destroy(space);
    return rc;
}

static int make_listener(struct scene *s, struct mv_error *err)
{
    struct mv_listener *listener = NULL;
    struct witness w = {.name = "late", .journal = &s->journal};
    int rc = mv_listener_create(s->rig.space, &witness_ops, &w, 1, &listener, err);
    assert_int_equal(rc == 0, listener != NULL);
    mv_listener_destroy(listener);
    return rc;
}

static void what_is_made(void **state)
{
    (void)state;
    assert_true(try_all(make_machine) >= 2);
    assert_true(try_all(make_block) >= 2);
    assert_true(try_all(make_region) >= 2);
    assert_true(try_all(make_space) >= 3);
    assert_true(try_all(make_listener) >= 1);
}

/* --- edits ------------------------------------------------------------------------------------- */

static int add_lone(struct scene *s, struct mv_error *err)
{
    return mv_region_add(s->rig.root, UINT64_C(0x80000000000), s->lone, 0, err);
}

static int hide_root(struct scene *s, struct mv_error *err)
{
    return mv_region_set_enabled(s->rig.root, false, err);
}

static int move_piece(struct scene *s, struct mv_error *err)
{
    return mv_region_set_address(s->pieces[3], UINT64_C(0x987654321), err);
}

static int remove_piece(struct scene *s, struct mv_error *err)
{
    return mv_region_remove(s->pieces[5], err);
}

static void single_edits(void **state)
{
    (void)state;
    static act_fn *const edits[] = {add_lone, hide_root, move_piece, remove_piece};
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        unsigned failures = try_all(edits[i]);
        printf("# edit %zu: %u failures\n", i, failures);
        assert_true(failures > 0);
    }
}

/* Many edits at once, more than any list has room for at first; some may fail and then all is given up. */
static int edit_much(struct scene *s, struct mv_error *err)
{
    int rc = mv_machine_begin(s->rig.machine, err);
    assert_int_equal(rc, 0);
    for (unsigned i = 0; rc == 0 && i < 8; i++) {
        rc = mv_region_set_address(s->pieces[i], i * UINT64_C(0x1111111111) + i, err);
        if (rc == 0) {
            rc = mv_region_set_readonly(s->pieces[i], i % 2 != 0, err);
        }
        if (rc == 0) {
            rc = mv_region_set_size(s->pieces[i], 0x1000 + i, err);
        }
    }
    if (rc < 0) {
        /* There is no call that gives a transaction up: a listener does. */
        s->witness.refuse = -ECANCELED;
        (void)mv_machine_commit(s->rig.machine, NULL);
        s->witness.refuse = 0;
        return rc;
    }
    return mv_machine_commit(s->rig.machine, err);
}

static void a_large_transaction(void **state)
{
    (void)state;
    unsigned failures = try_all(edit_much);
    printf("# %u failures\n", failures);
    assert_true(failures > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_made),
        cmocka_unit_test(single_edits),
        cmocka_unit_test(a_large_transaction),
    };
    /* liburcu's thread is started by the first that is retired; it aborts without memory. */
    epoch_drain();
    return cmocka_run_group_tests_name("no_memory", tests, NULL, NULL);
}
