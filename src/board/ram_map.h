// SPDX-License-Identifier: MIT
/* What a loader asks of a view: where memory is. */
#ifndef BOARD_RAM_MAP_H
#define BOARD_RAM_MAP_H

#include <memvirt/space.h>

/* The first piece of a range that is neither RAM nor ROM. @return false when there is none: all of it is memory */
bool ram_map_gap(const struct mv_view *view, struct mv_range range, struct mv_range *ret_gap);

/* The first RAM, adjacent sections taken together, that ends at `address` or after it. @return false at the end */
bool ram_map_next(const struct mv_view *view, uint64_t address, struct mv_range *ret);

/* Whether all of a range is RAM that the guest can write. */
bool ram_map_is_ram(const struct mv_view *view, struct mv_range range);

#endif
