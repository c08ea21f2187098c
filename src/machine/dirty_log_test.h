// SPDX-License-Identifier: MIT
/* For the tests of logs: a rig with a journal, writes, and what is marked. */
#ifndef MACHINE_DIRTY_LOG_TEST_H
#define MACHINE_DIRTY_LOG_TEST_H

#include <memvirt/access.h>
#include <stdlib.h>

#include "machine/dirty.h"
#include "machine/machine_test.h"

#define PAGE UINT64_C(0x1000)
#define DISPLAY MV_DIRTY_DISPLAY
#define MIGRATION MV_DIRTY_MIGRATION

static struct rig rig;
static struct journal journal;

static inline int open_rig(void **state)
{
    (void)state;
    rig_open(&rig);
    journal.used = 0;
    journal.text[0] = '\0';
    return 0;
}

static inline int close_rig(void **state)
{
    (void)state;
    rig_close(&rig);
    return 0;
}

static inline void set_log(struct mv_region *region, bool on)
{
    assert_int_equal(mv_region_set_log(region, DISPLAY, on, NULL), 0);
}

static inline void put(uint64_t address, size_t length)
{
    static const unsigned char bytes[4 * 0x1000];
    assert_true(length <= sizeof bytes);
    assert_int_equal(mv_space_write(rig.space, mv_gpa(address), bytes, length, MV_ATTRS_NONE), MV_OK);
}

/* "0 2-3 ": the marked pages of a region, taken. */
static inline void assert_taken(struct mv_region *region, enum mv_dirty_client client, uint64_t npages,
                                const char *expected)
{
    char text[256] = "";
    size_t used = 0;
    for (uint64_t i = 0; i < npages; i++) {
        bool seen = mv_dirty_get(region, i * PAGE, PAGE, client);
        assert_int_equal(mv_dirty_test_and_clear(region, i * PAGE, PAGE, client), seen);
        if (seen) {
            used += (size_t)snprintf(text + used, sizeof text - used, "%u ", (unsigned)i);
        }
    }
    assert_string_equal(text, expected);
}

#endif
