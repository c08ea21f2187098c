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

#endif
