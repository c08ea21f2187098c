// SPDX-License-Identifier: MIT
/*
 * Where logged memory is shown: each block knows the sections, of all views that are published, that show some of
 * it and are logged. So a sync or a clear costs what is logged there, and not what the views show besides.
 *
 * Control lock held throughout.
 */
#ifndef MACHINE_DIRTY_INDEX_H
#define MACHINE_DIRTY_INDEX_H

#include <urcu/list.h>

#include "base/itree.h"
#include "machine/dirty.h"

struct section;

/* A logged section's place in the index; made and freed with the section. */
struct dirty_place {
    struct itree_node in_block; /* ranges are offsets in the block */
    struct flat *flat;          /* whose view it is in; borrowed */
    struct section *section;
};

/* A section is in a published view from now on, or no more. Those that are not logged are passed over. */
void dirty_index_add(struct flat *flat, struct section *section);
void dirty_index_remove(struct section *section);

typedef void dirty_section_fn(void *opaque, const struct section *section);

/* The logged sections of a flat that show some pages of a block, each cut to them, in order of offset. */
void dirty_index_each(struct mv_block *block, struct dirty_pages pages, const struct flat *flat,
                      dirty_section_fn *fn, void *opaque);
/* Those that show anything: block by block. */
void dirty_index_each_block(struct mv_machine *machine, const struct flat *flat, dirty_section_fn *fn,
                            void *opaque);

#endif
