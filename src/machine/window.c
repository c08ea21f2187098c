// SPDX-License-Identifier: MIT
/* Windows: guest memory that is looked up once. */
#include <memvirt/access.h>
#include <string.h>

#include "machine/dirty.h"
#include "machine/space.h"

static bool serves(const struct section *s, unsigned rights)
{
    return s && (!(rights & MV_READ) || s->direct_read) && (!(rights & MV_WRITE) || s->direct_write);
}

enum mv_result mv_window_open(struct mv_space *space, mv_gpa_t first, size_t length, unsigned rights,
                              struct mv_window *ret)
{
    struct mv_range range = {first.raw, first.raw}; /* of an empty window: not looked at */
    struct mv_window window = {.space = space, .first = first, .length = length};
    if (length > 0 && !range_of(first.raw, length, &range)) {
        return MV_DECODE_ERROR;
    }
    epoch_enter();
    const struct mv_view *view = epoch_load(space->flat->view);
    const struct section *s = length > 0 ? view_find(view, first.raw) : NULL;
    window.view = view;
    if (serves(s, rights) && range.last <= s->range.last) {
        window.host = section_host(s, first.raw);
        window.region = mv_region_get(s->region);
    }
    epoch_exit();
    *ret = window;
    return MV_OK;
}

void mv_window_close(struct mv_window *window)
{
    mv_region_put(window->region);
    *window = (struct mv_window){0};
}

bool mv_window_is_current(const struct mv_window *window)
{
    return (const void *)epoch_load(window->space->flat->view) == window->view;
}

static bool is_inside(const struct mv_window *window, size_t offset, size_t length)
{
    return offset <= window->length && length <= window->length - offset;
}

enum mv_result mv_window_read(const struct mv_window *window, size_t offset, void *ret_bytes, size_t length)
{
    if (!is_inside(window, offset, length)) {
        return MV_ACCESS_ERROR;
    }
    if (window->host) {
        memcpy(ret_bytes, window->host + offset, length);
        return MV_OK;
    }
    return mv_space_read(window->space, gpa_add_wrapping(window->first, offset), ret_bytes, length, MV_ATTRS_NONE);
}

enum mv_result mv_window_write(struct mv_window *window, size_t offset, const void *bytes, size_t length)
{
    if (!is_inside(window, offset, length)) {
        return MV_ACCESS_ERROR;
    }
    if (window->host) {
        memcpy(window->host + offset, bytes, length);
        dirty_log_write(window->space->flat, window->region, window->host + offset, length);
        return MV_OK;
    }
    return mv_space_write(window->space, gpa_add_wrapping(window->first, offset), bytes, length, MV_ATTRS_NONE);
}
