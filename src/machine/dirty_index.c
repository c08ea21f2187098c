// SPDX-License-Identifier: MIT
#include "machine/dirty_index.h"

#include <assert.h>

#include "base/range.h"
#include "machine/machine.h"
#include "machine/view.h"

#define PAGE ((uint64_t)MV_DIRTY_PAGE_BYTES)

static struct dirty_place *place_of_node(struct itree_node *node)
{
    return caa_container_of(node, struct dirty_place, in_block);
}

void dirty_index_add(struct flat *flat, struct section *section)
{
    struct dirty_place *place = section->place;
    if (!place) {
        return;
    }
    struct mv_block *block = section->region->ram.block;
    place->flat = flat;
    place->section = section;
    place->in_block.first = section->region->ram.offset + section->offset;
    place->in_block.last = place->in_block.first + (section->range.last - section->range.first);
    if (!block->logged.root) {
        cds_list_add_tail(&block->logged_link, &block->machine->logged_blocks);
    }
    itree_insert(&block->logged, &place->in_block);
}

void dirty_index_remove(struct section *section)
{
    struct dirty_place *place = section->place;
    if (!place) {
        return;
    }
    struct mv_block *block = section->region->ram.block;
    itree_remove(&block->logged, &place->in_block);
    if (!block->logged.root) {
        cds_list_del(&block->logged_link);
    }
}

void dirty_index_each(struct mv_block *block, struct dirty_pages pages, const struct flat *flat,
                      dirty_section_fn *fn, void *opaque)
{
    uint64_t first = pages.first * PAGE, last = pages.last * PAGE + (PAGE - 1);
    struct itree_node *node = itree_first_overlap(&block->logged, first, last);
    for (; node; node = itree_next_overlap(node, first, last)) {
        const struct dirty_place *place = place_of_node(node);
        if (place->flat != flat) {
            continue;
        }
        struct section part = *place->section;
        struct mv_range shown = {node->first, node->last};
        bool overlaps = range_intersect(shown, (struct mv_range){first, last}, &shown);
        assert(overlaps);
        part.offset += shown.first - node->first;
        part.range.first += shown.first - node->first;
        part.range.last = part.range.first + (shown.last - shown.first);
        fn(opaque, &part);
    }
}

void dirty_index_each_block(struct mv_machine *machine, const struct flat *flat, dirty_section_fn *fn,
                            void *opaque)
{
    const struct dirty_pages all = {0, UINT64_MAX / PAGE};
    struct mv_block *block;
    cds_list_for_each_entry (block, &machine->logged_blocks, logged_link) {
        dirty_index_each(block, all, flat, fn, opaque);
    }
}
