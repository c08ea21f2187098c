// SPDX-License-Identifier: MIT
/* Against a list in order of use, and the edges of geometry. */
#include "hardware/assoc.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static uint64_t random_state;

static uint64_t random_bits(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* One set, the last used first. */
struct list {
    struct assoc_entry entry[64];
    unsigned count;
};

static int list_index(const struct list *l, uint64_t tag, uint64_t context, uint64_t other)
{
    for (unsigned i = 0; i < l->count; i++) {
        if (l->entry[i].tag == tag && (l->entry[i].context == context || l->entry[i].context == other)) {
            return (int)i;
        }
    }
    return -1;
}

static struct assoc_entry list_remove(struct list *l, unsigned i)
{
    struct assoc_entry entry = l->entry[i];
    memmove(&l->entry[i], &l->entry[i + 1], (l->count - i - 1) * sizeof entry);
    l->count--;
    return entry;
}

static void list_push(struct list *l, struct assoc_entry entry, unsigned ways)
{
    if (l->count == ways) {
        l->count--;
    }
    memmove(&l->entry[1], &l->entry[0], l->count * sizeof entry);
    l->entry[0] = entry;
    l->count++;
}

struct pair {
    struct assoc assoc;
    struct list list[16];
    unsigned sets, ways;
};

static struct list *list_of(struct pair *p, uint64_t tag)
{
    return &p->list[(tag >> 12) % p->sets];
}

static void check_find(struct pair *p, uint64_t tag, uint64_t context, uint64_t other)
{
    struct list *l = list_of(p, tag);
    int i = list_index(l, tag, context, other);
    const struct assoc_entry *found = assoc_find(&p->assoc, tag, 12, context, other);
    assert_int_equal(found != NULL, i >= 0);
    if (found) {
        struct assoc_entry entry = list_remove(l, (unsigned)i);
        list_push(l, entry, p->ways);
        assert_int_equal(found->host, entry.host);
    }
}

static void check_insert(struct pair *p, uint64_t tag, uint64_t context)
{
    struct assoc_entry entry = {.tag = tag, .context = context, .host = random_bits()};
    struct list *l = list_of(p, tag);
    int i = list_index(l, tag, context, context);
    if (i >= 0) {
        (void)list_remove(l, (unsigned)i);
    }
    list_push(l, entry, p->ways);
    assoc_insert(&p->assoc, &entry, 12);
}

static void check_drop(struct pair *p, uint64_t tag, uint64_t context, uint64_t other)
{
    struct list *l = list_of(p, tag);
    for (int i; (i = list_index(l, tag, context, other)) >= 0;) {
        (void)list_remove(l, (unsigned)i);
    }
    assoc_drop(&p->assoc, tag, 12, context, other);
}

static void check_drop_contexts(struct pair *p, uint64_t mask, uint64_t context)
{
    for (unsigned s = 0; s < p->sets; s++) {
        for (unsigned i = 0; i < p->list[s].count;) {
            if (((p->list[s].entry[i].context ^ context) & mask) == 0) {
                (void)list_remove(&p->list[s], i);
            } else {
                i++;
            }
        }
    }
    assoc_drop_contexts(&p->assoc, mask, context);
}

static void check_live(const struct pair *p)
{
    unsigned live[ASSOC_SIZES] = {0};
    for (unsigned s = 0; s < p->sets; s++) {
        for (unsigned i = 0; i < p->list[s].count; i++) {
            live[assoc_class(p->list[s].entry[i].tag)]++;
        }
    }
    for (unsigned size = 0; size < ASSOC_SIZES; size++) {
        assert_int_equal(p->assoc.live[size], live[size]);
    }
}

static void run_against_list(unsigned sets, unsigned ways)
{
    struct pair *p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->sets = sets;
    p->ways = ways;
    assert_int_equal(assoc_init(&p->assoc, (struct hw_tlb_geometry){sets * ways, ways}), 0);
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t tag = assoc_tag(random_bits() % (2 * (uint64_t)sets * ways) << 12, 12,
                                 (unsigned)(random_bits() % ASSOC_SIZES));
        uint64_t context = random_bits() % 3, other = random_bits() % 3;
        switch (random_bits() % 16) {
        case 0: check_drop(p, tag, context, other); break;
        case 1:
            if (random_bits() % 16 == 0) {
                check_drop_contexts(p, random_bits() % 4, context);
            }
            break;
        case 2:
        case 3:
        case 4:
        case 5:
        case 6: check_insert(p, tag, context); break;
        default: check_find(p, tag, context, other); break;
        }
        check_live(p);
    }
    assoc_clear(&p->assoc);
    assert_true(assoc_is_empty(&p->assoc));
    assoc_finish(&p->assoc);
    free(p);
}

static void test_against_a_list(void **state)
{
    (void)state;
    random_state = (uint64_t)time(NULL) * 2 + 1;
    print_message("# seed %llu\n", (unsigned long long)random_state);
    run_against_list(1, 1);
    run_against_list(16, 1);
    run_against_list(16, 4);
    run_against_list(4, 12);
    run_against_list(1, 64);
}

static void test_geometry(void **state)
{
    (void)state;
    struct assoc a;
    assert_int_equal(assoc_init(&a, (struct hw_tlb_geometry){0, 0}), 0);
    assert_null(a.entries);
    assert_int_equal(assoc_init(&a, (struct hw_tlb_geometry){1536, 12}), 0);
    assoc_finish(&a);
    assert_int_equal(assoc_init(&a, (struct hw_tlb_geometry){64, 0}), -EINVAL);
    assert_int_equal(assoc_init(&a, (struct hw_tlb_geometry){64, 5}), -EINVAL);
    assert_int_equal(assoc_init(&a, (struct hw_tlb_geometry){48, 4}), -EINVAL); /* 12 sets */
    assert_int_equal(assoc_init(&a, (struct hw_tlb_geometry){ASSOC_ENTRIES_MAX * 2, 4}), -EINVAL);
}

static bool is_odd(void *opaque, const struct assoc_entry *entry)
{
    (void)opaque;
    return entry->host & 1;
}

static void test_drop_if(void **state)
{
    (void)state;
    struct assoc a;
    assert_int_equal(assoc_init(&a, (struct hw_tlb_geometry){8, 8}), 0);
    for (uint64_t i = 0; i < 8; i++) {
        assoc_insert(&a, &(struct assoc_entry){.tag = assoc_tag(i << 12, 12, 0), .host = i}, 12);
    }
    assoc_drop_if(&a, is_odd, NULL);
    assert_int_equal(a.live[0], 4);
    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(assoc_find(&a, assoc_tag(i << 12, 12, 0), 12, 0, 0) != NULL, i % 2 == 0);
    }
    assoc_finish(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_a_list),
        cmocka_unit_test(test_geometry),
        cmocka_unit_test(test_drop_if),
    };
    return cmocka_run_group_tests_name("assoc", tests, NULL, NULL);
}
