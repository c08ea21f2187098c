// SPDX-License-Identifier: MIT
/* For the tests of mtree*.c: what is printed, as a text; and dumps, imported. */
#ifndef MACHINE_MTREE_TEST_H
#define MACHINE_MTREE_TEST_H

#include <memvirt/mtree.h>

#include "machine/machine_test.h"

struct page {
    char text[65536];
    size_t used;
};

static inline void page_print(void *opaque, const char *line)
{
    struct page *page = opaque;
    int n = snprintf(page->text + page->used, sizeof page->text - page->used, "%s\n", line);
    assert_true(n > 0 && (size_t)n < sizeof page->text - page->used);
    page->used += (size_t)n;
}

static inline const char *printed(struct mv_machine *machine, unsigned flags)
{
    static struct page page;
    struct mv_error err;
    page.used = 0;
    page.text[0] = '\0';
    assert_int_equal(mv_mtree_print(machine, flags, NULL, page_print, &page, &err), 0);
    return page.text;
}

static inline struct mv_mtree *imported(const char *text)
{
    struct mv_mtree *mtree = NULL;
    struct mv_error err = {0};
    if (mv_mtree_import(text, strlen(text), &mtree, &err) < 0) {
        fail_msg("%s", err.text);
    }
    assert_non_null(mtree);
    return mtree;
}

static inline const char *notes_of(const struct mv_mtree *mtree)
{
    static struct page page;
    page.used = 0;
    page.text[0] = '\0';
    mv_mtree_notes(mtree, page_print, &page);
    return page.text;
}

/* It is printed back as it was. */
static inline void assert_round_trip(const char *text)
{
    struct mv_mtree *mtree = imported(text);
    assert_string_equal(printed(mv_mtree_machine(mtree), mv_mtree_flags(mtree)), text);
    mv_mtree_destroy(mtree);
}

/* What is seen of it, without the headings' numbers. */
static inline void assert_flat(const char *text, const char *expected)
{
    struct mv_mtree *mtree = imported(text);
    assert_string_equal(printed(mv_mtree_machine(mtree), MV_MTREE_FLAT), expected);
    mv_mtree_destroy(mtree);
}

#endif
