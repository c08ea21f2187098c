// SPDX-License-Identifier: MIT
#include "machine/view.h"

#include <stdlib.h>

#include "machine/dirty.h"
#include "machine/dirty_index.h"
#include "machine/flat.h"
#include "machine/machine.h"
#include "machine/watch.h"

struct section *section_create(struct mv_region *region, struct mv_range range, uint64_t offset,
                               struct rights rights)
{
    const unsigned log_mask = dirty_mask_of(region);
    struct dirty_place *place = log_mask ? malloc(sizeof *place) : NULL;
    if (log_mask && !place) {
        return NULL;
    }
    struct section *section = pool_take(region->machine->pool, POOL_SECTION);
    if (!section) {
        free(place);
        return NULL;
    }
    /* A ROM device out of ROM mode has its bytes, but shows them to nobody. */
    bool has_host = region_has_block(region) && (region->kind != MV_REGION_ROM_DEVICE || region->state.rom_mode);
    *section = (struct section){
        .range = range,
        .host_delta = has_host ? hva_of(region_host(region, offset)).raw - range.first : 0,
        .has_host = has_host,
        .direct_read = has_host && region->kind != MV_REGION_RAM_DEVICE,
        .direct_write = has_host && region->kind == MV_REGION_RAM && !rights.readonly,
        .log_mask = (uint8_t)log_mask,
        .rights = rights,
        .region = mv_region_get(region),
        .watch = watch_get(region->state.watch),
        .offset = offset,
        .place = place,
    };
    return section;
}

void section_finish(struct section *section)
{
    watch_put(section->watch);
    mv_region_put(section->region);
    free(section->place);
}

void section_describe(const struct section *section, struct mv_section *ret)
{
    *ret = (struct mv_section){
        .range = section->range,
        .region = section->region,
        .offset = section->offset,
        .readonly = section->rights.readonly,
        .nonvolatile = section->rights.nonvolatile,
        .writable =
            section->direct_write || (section->region->kind == MV_REGION_RAM_DEVICE && !section->rights.readonly),
        .log_mask = section->log_mask,
        .hva = section->has_host ? hva_of(section_host(section, section->range.first)) : mv_hva(0),
    };
}

bool view_check(const struct mv_view *view)
{
    const struct section *before = NULL;
    size_t count = 0;
    if (!pmap_check(&view->map)) {
        return false;
    }
    for (const struct section *s = view_next(view, 0); s;) {
        if (s->range.first > s->range.last || (s->has_host && !region_has_block(s->region))) {
            return false;
        }
        if (before && (before->range.last >= s->range.first || section_continues(before, s))) {
            return false;
        }
        count++;
        before = s;
        s = s->range.last == UINT64_MAX ? NULL : view_next(view, s->range.last + 1);
    }
    return count == view->count;
}

/* --- the public face --------------------------------------------------------------------------- */

void mv_view_release(const struct mv_view *view)
{
    /* The const is the borrower's promise; the bookkeeping is ours. */
    flat_release((struct mv_view *)(uintptr_t)view);
}

bool mv_view_lookup(const struct mv_view *view, mv_gpa_t address, struct mv_section *ret)
{
    const struct section *s = view_find(view, address.raw);
    if (s) {
        section_describe(s, ret);
    }
    return s != NULL;
}

bool mv_view_next(const struct mv_view *view, mv_gpa_t address, struct mv_section *ret)
{
    const struct section *s = view_next(view, address.raw);
    if (s) {
        section_describe(s, ret);
    }
    return s != NULL;
}

size_t mv_view_count(const struct mv_view *view)
{
    return view->count;
}
