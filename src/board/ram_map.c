// SPDX-License-Identifier: MIT
#include "board/ram_map.h"

#include "base/range.h"

static bool is_memory(const struct mv_section *section)
{
    enum mv_region_kind kind = mv_region_kind(section->region);
    return kind == MV_REGION_RAM || kind == MV_REGION_ROM;
}

static bool is_ram(const struct mv_section *section)
{
    return mv_region_kind(section->region) == MV_REGION_RAM && !section->readonly;
}

bool ram_map_gap(const struct mv_view *view, struct mv_range range, struct mv_range *ret_gap)
{
    struct mv_section section;
    for (uint64_t at = range.first;; at = section.range.last + 1) {
        if (!mv_view_next(view, mv_gpa(at), &section) || section.range.first > range.last) {
            *ret_gap = (struct mv_range){at, range.last};
            return true;
        }
        if (section.range.first > at) {
            *ret_gap = (struct mv_range){at, section.range.first - 1};
            return true;
        }
        const uint64_t last = section.range.last < range.last ? section.range.last : range.last;
        if (!is_memory(&section)) {
            *ret_gap = (struct mv_range){at, last};
            return true;
        }
        if (last == range.last) {
            return false;
        }
    }
}

bool ram_map_next(const struct mv_view *view, uint64_t address, struct mv_range *ret)
{
    struct mv_section section;
    bool found = false;
    for (uint64_t at = address; mv_view_next(view, mv_gpa(at), &section); at = section.range.last + 1) {
        if (found && (!is_ram(&section) || section.range.first != ret->last + 1)) {
            return true;
        }
        if (is_ram(&section)) {
            ret->first = found ? ret->first : section.range.first;
            ret->last = section.range.last;
            found = true;
        }
        if (section.range.last == UINT64_MAX) {
            break;
        }
    }
    return found;
}

bool ram_map_is_ram(const struct mv_view *view, struct mv_range range)
{
    struct mv_range ram;
    return ram_map_next(view, range.first, &ram) && range_covers(ram, range);
}
