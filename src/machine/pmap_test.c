// SPDX-License-Identifier: MIT
/* The map against an array of one entry an address; and old versions, which must stay as they were. */
#include "machine/pmap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "machine/view.h"

#define ADDRESSES 6000 /* a little more than 64 * 64 */
#define VERSIONS 40

static uint64_t seed = 7;

static uint64_t random_below(uint64_t n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (seed >> 33) % n;
}

struct model {
    const struct section *at[ADDRESSES];
};

static void compare(const struct pmap *map, const struct model *model)
{
    assert_true(pmap_check(map));
    for (uint64_t a = 0; a < ADDRESSES; a++) {
        assert_ptr_equal(pmap_find(map, a), model->at[a]);
    }
    assert_null(pmap_find(map, UINT64_MAX));
    /* Going from section to section meets just those that the model has, in order. */
    uint64_t a = 0;
    for (const struct section *s = pmap_next(map, 0); s; s = pmap_next(map, s->range.last + 1)) {
        while (a < s->range.first) {
            assert_null(model->at[a++]);
        }
        assert_ptr_equal(model->at[a], s);
        a = s->range.last + 1;
    }
    while (a < ADDRESSES) {
        assert_null(model->at[a++]);
    }
}

/* Put a section, or nothing, over what is there; sections that it covers in part go altogether, as they do in a
 * commit. */
static void change(struct pmap_edit *edit, struct model *model, struct section *section, struct mv_range range)
{
    for (uint64_t a = range.first; a <= range.last; a++) {
        const struct section *old = model->at[a];
        if (old) {
            assert_int_equal(pmap_set(edit, old->range, NULL), 0);
            for (uint64_t b = old->range.first; b <= old->range.last; b++) {
                model->at[b] = NULL;
            }
        }
    }
    if (section) {
        section->range = range;
        for (uint64_t a = range.first; a <= range.last; a++) {
            model->at[a] = section;
        }
        assert_int_equal(pmap_set(edit, range, section), 0);
    }
}

static size_t length(const struct pmap_node *list)
{
    size_t count = 0;
    for (; list; list = list->link) {
        count++;
    }
    return count;
}

/* Nobody reads them any more. */
static void give(struct pool *pool, struct pmap_node *list)
{
    while (list) {
        struct pmap_node *next = list->link;
        pool_give(pool, POOL_NODE, list);
        list = next;
    }
}

static void give_all(struct pool *pool, const struct pmap *map)
{
    size_t count;
    struct pmap_node *list = pmap_all_nodes(map, &count);
    assert_int_equal(count, length(list));
    give(pool, list);
}

static void test_versions(void **state)
{
    (void)state;
    static struct section sections[VERSIONS * 4];
    static struct model models[VERSIONS];
    static struct pmap maps[VERSIONS];
    struct pmap_node *garbage[VERSIONS] = {NULL};
    struct pool *pool = pool_create();
    size_t used = 0;
    maps[0] = PMAP_EMPTY;
    for (unsigned v = 1; v < VERSIONS; v++) {
        struct pmap_edit edit = pmap_edit_begin(pool, &maps[v - 1], v);
        models[v] = models[v - 1];
        for (uint64_t n = 1 + random_below(4); n > 0; n--) {
            uint64_t first = random_below(ADDRESSES);
            uint64_t size = 1 + random_below(random_below(2) ? 10 : 3000);
            uint64_t last = first + size - 1 < ADDRESSES ? first + size - 1 : ADDRESSES - 1;
            struct section *s = random_below(4) == 0 ? NULL : &sections[used++];
            change(&edit, &models[v], s, (struct mv_range){first, last});
        }
        if (random_below(4) == 0) { /* it comes to nothing */
            pmap_edit_abort(&edit);
            maps[v] = maps[v - 1];
            models[v] = models[v - 1];
        } else {
            maps[v] = edit.now;
            size_t count;
            garbage[v] = pmap_edit_commit(&edit, &count);
            assert_int_equal(count, length(garbage[v]));
        }
        compare(&maps[v], &models[v]);
    }
    for (unsigned v = 0; v < VERSIONS; v++) { /* the old ones are all there still */
        compare(&maps[v], &models[v]);
    }
    for (unsigned v = 0; v < VERSIONS; v++) {
        give(pool, garbage[v]);
        for (unsigned later = v; later < VERSIONS; later += 7) {
            compare(&maps[later], &models[later]);
        }
    }
    give_all(pool, &maps[VERSIONS - 1]);
    pool_destroy(pool);
}

static void test_whole_address_space(void **state)
{
    (void)state;
    struct section all = {.range = RANGE_ALL};
    struct pool *pool = pool_create();
    struct section top = {.range = {UINT64_MAX, UINT64_MAX}};
    struct pmap_edit edit = pmap_edit_begin(pool, &PMAP_EMPTY, 1);
    assert_int_equal(pmap_set(&edit, RANGE_ALL, &all), 0);
    assert_ptr_equal(pmap_find(&edit.now, 0), &all);
    assert_ptr_equal(pmap_find(&edit.now, UINT64_MAX), &all);
    assert_ptr_equal(pmap_next(&edit.now, UINT64_MAX), &all);
    assert_int_equal(pmap_set(&edit, RANGE_ALL, NULL), 0);
    assert_int_equal(edit.now.root, 0);
    assert_int_equal(edit.now.shift, 0); /* and low again */
    assert_int_equal(pmap_set(&edit, top.range, &top), 0);
    assert_null(pmap_find(&edit.now, UINT64_MAX - 1));
    assert_ptr_equal(pmap_find(&edit.now, UINT64_MAX), &top);
    assert_ptr_equal(pmap_next(&edit.now, 0), &top);
    assert_true(pmap_check(&edit.now));
    pmap_edit_abort(&edit);
    pool_destroy(pool);
}

/* A small change of a large map makes few nodes. */
static void test_sharing(void **state)
{
    (void)state;
    static struct section sections[4096];
    struct pool *pool = pool_create();
    struct pmap_edit edit = pmap_edit_begin(pool, &PMAP_EMPTY, 1);
    for (uint64_t i = 0; i < 4096; i++) {
        sections[i].range = (struct mv_range){i * 8192, i * 8192 + 4095};
        assert_int_equal(pmap_set(&edit, sections[i].range, &sections[i]), 0);
    }
    struct pmap first = edit.now;
    size_t count;
    assert_null(pmap_edit_commit(&edit, &count));
    assert_int_equal(count, 0);
    edit = pmap_edit_begin(pool, &first, 2);
    assert_int_equal(pmap_set(&edit, sections[2000].range, NULL), 0);
    assert_in_range(length(edit.born), 1, 4);
    assert_int_equal(length(edit.born), length(edit.dropped));
    pmap_edit_abort(&edit);
    assert_ptr_equal(pmap_find(&first, sections[2000].range.first), &sections[2000]);
    give_all(pool, &first);
    pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_whole_address_space),
        cmocka_unit_test(test_sharing),
    };
    return cmocka_run_group_tests_name("pmap", tests, NULL, NULL);
}
