// SPDX-License-Identifier: MIT
#include "replay/os_frames.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"

static uint64_t data_page_bytes(const struct os *os)
{
    return GUEST_PAGE_SIZE << (9 * (os->options.page_level - 1u));
}

static int no_memory(struct mv_error *err)
{
    return error_set(err, -ENOMEM, "no-memory", "guest", "guest: out of memory");
}

static int guest_is_full(const struct os *os, struct mv_error *err)
{
    return error_set(err, -ENOSPC, "guest-memory", "guest",
                     "guest: its memory of %llu MiB is full; give it more (--memory)",
                     (unsigned long long)(os->options.ram_bytes / MIB));
}

/* Whether a table more, or a page of data more, would meet the other kind. */
static bool fits(const struct os *os, uint64_t data_pages, uint64_t tables)
{
    return data_pages * data_page_bytes(os) + tables * GUEST_PAGE_SIZE <= os->options.ram_bytes;
}

/* Room for `count` elements of 4 or 8 bytes; doubled. */
static void *grown(void *array, size_t *capacity, size_t count, size_t element_bytes)
{
    if (count <= *capacity) {
        return array;
    }
    size_t wanted = *capacity ? *capacity * 2 : 1024;
    void *larger = reallocarray(array, wanted, element_bytes);
    if (larger) {
        *capacity = wanted;
    }
    return larger;
}

/* The stack has room for every frame that was ever taken, so giving one back cannot fail. */
static int take(struct os_frames *f, uint64_t *ret_index, struct mv_error *err)
{
    if (f->free_count > 0) {
        *ret_index = f->free[--f->free_count];
        return 0;
    }
    uint64_t *stack = grown(f->free, &f->free_capacity, (size_t)f->next + 1, sizeof *f->free);
    if (!stack) {
        return no_memory(err);
    }
    f->free = stack;
    *ret_index = f->next++;
    return 0;
}

int os_take_data(struct os *os, gpa_t *ret, struct mv_error *err)
{
    struct os_frames *f = &os->data;
    if (f->free_count == 0 && !fits(os, f->next + 1, os->tables.next)) {
        return guest_is_full(os, err);
    }
    uint32_t *owners = grown(f->owners, &f->owners_capacity, (size_t)f->next + 1, sizeof *f->owners);
    if (!owners) {
        return no_memory(err);
    }
    f->owners = owners;
    uint64_t index;
    int rc = take(f, &index, err);
    if (rc == 0) {
        f->owners[index] = 1;
        os->counts.pages++;
        *ret = mv_gpa(index * data_page_bytes(os));
    }
    return rc;
}

static uint64_t data_index(const struct os *os, gpa_t page)
{
    uint64_t index = page.raw / data_page_bytes(os);
    assert(index < os->data.next);
    return index;
}

void os_share_data(struct os *os, gpa_t page)
{
    os->data.owners[data_index(os, page)]++;
}

uint32_t os_owners_of(const struct os *os, gpa_t page)
{
    return os->data.owners[data_index(os, page)];
}

void os_drop_data(struct os *os, gpa_t page)
{
    uint64_t index = data_index(os, page);
    assert(os->data.owners[index] > 0);
    if (--os->data.owners[index] == 0) {
        os->data.free[os->data.free_count++] = index;
        os->counts.pages--;
    }
}

int os_take_table(struct os *os, gpa_t *ret, struct mv_error *err)
{
    struct os_frames *f = &os->tables;
    if (f->free_count == 0 && !fits(os, os->data.next, f->next + 1)) {
        return guest_is_full(os, err);
    }
    uint64_t index;
    int rc = take(f, &index, err);
    if (rc == 0) {
        os->counts.tables++;
        os->counts.tables_built++;
        *ret = mv_gpa(os->options.ram_bytes - (index + 1) * GUEST_PAGE_SIZE);
    }
    return rc;
}

void os_drop_table(struct os *os, gpa_t table)
{
    struct os_frames *f = &os->tables;
    f->free[f->free_count++] = (os->options.ram_bytes - table.raw) / GUEST_PAGE_SIZE - 1;
    os->counts.tables--;
}

void os_frames_finish(struct os *os)
{
    free(os->data.free);
    free(os->data.owners);
    free(os->tables.free);
}
