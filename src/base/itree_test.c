// SPDX-License-Identifier: MIT
/* The tree against an array that is searched from one end to the other. */
#include "base/itree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NODES 200

static uint64_t seed = 1;

static uint64_t random_below(uint64_t n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (seed >> 33) % n;
}

static void test_empty(void **state)
{
    (void)state;
    struct itree tree = {0};
    assert_null(itree_first(&tree));
    assert_null(itree_first_overlap(&tree, 0, UINT64_MAX));
    assert_true(itree_check(&tree));
}

/* All overlaps, in order, and nothing else. */
static void compare(const struct itree *tree, const struct itree_node *nodes, const bool *in, uint64_t first,
                    uint64_t last)
{
    size_t expected = 0, found = 0;
    for (size_t i = 0; i < NODES; i++) {
        expected += in[i] && nodes[i].first <= last && nodes[i].last >= first;
    }
    uint64_t before = 0;
    struct itree_node *node = itree_first_overlap(tree, first, last);
    for (; node; node = itree_next_overlap(node, first, last)) {
        assert_true(node->first >= before && node->first <= last && node->last >= first);
        before = node->first;
        found++;
    }
    assert_int_equal(found, expected);
}

static void test_random(void **state)
{
    (void)state;
    static struct itree_node nodes[NODES];
    static bool in[NODES];
    struct itree tree = {0};
    for (unsigned step = 0; step < 20000; step++) {
        size_t i = random_below(NODES);
        if (in[i]) {
            itree_remove(&tree, &nodes[i]);
        } else {
            uint64_t base = random_below(8) == 0 ? UINT64_MAX - 2000 : 0;
            nodes[i].first = base + random_below(1000);
            nodes[i].last = nodes[i].first + random_below(random_below(4) ? 20 : 1000);
            itree_insert(&tree, &nodes[i]);
        }
        in[i] = !in[i];
        uint64_t first = random_below(1000);
        compare(&tree, nodes, in, first, first + random_below(50));
        if (step % 50 == 0) {
            assert_true(itree_check(&tree));
            compare(&tree, nodes, in, 0, UINT64_MAX);
            compare(&tree, nodes, in, UINT64_MAX - 1500, UINT64_MAX);
        }
    }
}

static void test_equal_firsts_keep_their_order(void **state)
{
    (void)state;
    struct itree_node nodes[50];
    struct itree tree = {0};
    for (size_t i = 0; i < 50; i++) {
        nodes[i].first = 7;
        nodes[i].last = 7 + i;
        itree_insert(&tree, &nodes[i]);
    }
    size_t i = 0;
    for (struct itree_node *node = itree_first(&tree); node; node = itree_next(node)) {
        assert_ptr_equal(node, &nodes[i++]);
    }
    assert_int_equal(i, 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_equal_firsts_keep_their_order),
    };
    return cmocka_run_group_tests_name("itree", tests, NULL, NULL);
}
