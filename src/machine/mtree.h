// SPDX-License-Identifier: MIT
/* What the files of `info mtree` share. The machine's control lock is held throughout. */
#ifndef MACHINE_MTREE_H
#define MACHINE_MTREE_H

#include <memvirt/mtree.h>

#include "machine/mtree_out.h"

struct section;

/* Regions, in some order. All zero is an empty list. */
struct mtree_regions {
    struct mv_region **regions; /* borrowed */
    size_t count;
    size_t capacity;
};

/* @return 0; -ENOMEM */
int mtree_regions_add(struct mtree_regions *list, struct mv_region *region);
void mtree_regions_finish(struct mtree_regions *list);

/* A region's children by address, as they are printed; the caller frees them. @return 0; -ENOMEM */
int mtree_children(struct mv_region *region, struct mv_region ***ret, size_t *ret_count);

/* How many bytes lie behind its first: as QEMU prints ends, so 0 for a region without any. */
uint64_t mtree_span(const struct mv_region *region);

/* The parts of a region's line behind its indent; `base` is where its container is. No newline. */
void mtree_add_region(struct mtree_out *out, struct mv_region *region, uint64_t base, unsigned flags);
/* The same for a range of a flat view. */
void mtree_add_section(struct mtree_out *out, const struct section *section, unsigned flags);

/*
 * The region that a root comes down to: through aliases that show all of their target, and containers whose only
 * enabled child fills them from the start. NULL if nothing can be seen. Spaces that come down to the same region
 * show the same.
 */
struct mv_region *mtree_physical_root(struct mv_region *root);

void mtree_print_trees(struct mtree_out *out, struct mv_machine *machine, unsigned flags);
void mtree_print_flat(struct mtree_out *out, struct mv_machine *machine, unsigned flags,
                      const struct mv_mtree_accel *accel);
void mtree_print_dispatch(struct mtree_out *out, const struct mv_view *view, const struct mv_region *root);

#endif
