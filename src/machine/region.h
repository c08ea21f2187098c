// SPDX-License-Identifier: MIT
/* Inside a region: a node of the tree. */
#ifndef MACHINE_REGION_H
#define MACHINE_REGION_H

#include <memvirt/region.h>
#include <stdatomic.h>
#include <urcu/compiler.h>
#include <urcu/list.h>

#include "base/itree.h"
#include "base/range.h"

struct flat;
struct watch;

/*
 * Where a region is in its tree, and what of it can be edited: what the undo log keeps.
 * Invariant: container == NULL <=> the region is on no list of children and in no tree of them.
 */
struct region_state {
    struct mv_region *container; /* holds a reference to the region; borrowed here */
    uint64_t address;            /* in the container */
    int priority;
    uint64_t order; /* among equal priorities the greater is on top: it was added later */
    bool enabled;
    bool readonly;
    bool nonvolatile;
    bool rom_mode;        /* ROM_DEVICE */
    struct watch *watch;  /* a reference, or NULL */
    unsigned display_log; /* how often it is to be logged for the display */
    uint64_t size_bytes;
    uint64_t target_offset; /* ALIAS */
};

/*
 * Owned by whoever holds references: the caller of mv_region_create, its container, aliases of it, spaces whose
 * root it is, views that show it, the undo log. All but `refs` and what never changes is protected by the
 * machine's control lock. Invariant: children are in descending priority; of equals the one added last comes
 * first.
 */
struct mv_region {
    struct mv_machine *machine;
    atomic_uint refs;
    char *name;
    enum mv_region_kind kind;
    struct region_state state;
    struct cds_list_head sibling;  /* in container's children */
    struct itree_node by_address;  /* in container's children_by_address */
    struct cds_list_head children; /* of struct mv_region.sibling; in no order */
    struct itree children_by_address;
    struct flat *flat;                  /* of the spaces that have it as their root, or NULL */
    struct cds_list_head aliases;       /* of struct mv_region.alias.link: those that target this region */
    struct cds_list_head deferred_link; /* in the machine's deferred while deferred_puts > 0; or in its ended */
    unsigned deferred_puts;
    uint64_t visit;       /* see struct mv_machine */
    bool follows_block;   /* ram.block->follower is this, until the last reference goes */
    char *owner;          /* or NULL */
    atomic_uint log_live; /* for whom writers mark, but for migration: follows state.display_log (dirty.h) */

    struct {
        struct mv_block *block;
        uint64_t offset;
    } ram; /* RAM, ROM, ROM_DEVICE, RAM_DEVICE */
    struct {
        const struct mv_mmio_ops *ops; /* NULL: a reservation */
        void *opaque;
        const void *device;
        uint8_t simple_sizes; /* a sum of sizes; see mmio_simple_sizes */
        void (*release)(void *opaque);
    } mmio; /* MMIO, ROM_DEVICE; opaque and release of an IOMMU; RAM_DEVICE has handlers of our own */
    struct {
        const struct mv_iommu_ops *ops;
        struct cds_list_head notifiers; /* of struct mv_iommu_notifier; control lock */
    } iommu;
    struct {
        struct mv_region *target;
        struct cds_list_head link;
    } alias;
};

/* Whether it has a piece of a block. */
static inline bool region_has_block(const struct mv_region *region)
{
    return region->ram.block != NULL;
}

/* Whether nobody can write its bytes, not even the host. */
bool region_block_is_readonly(const struct mv_region *region);

/*
 * Give a reference back as soon as the control lock, which is held, is free: with the last one a release callback
 * may be called, and that must not happen under the lock.
 */
void region_put_deferred(struct mv_region *region);
/* Control lock held. One region that was put off, to be let go without the lock; NULL when there is none. */
struct mv_region *region_pop_deferred(struct mv_machine *machine);
/* Give back the deferred reference; or, if it has none left, end it. */
void region_let_go(struct mv_region *region);

static inline struct mv_region *region_of_node(struct itree_node *by_address)
{
    return caa_container_of(by_address, struct mv_region, by_address);
}

/* What is wrong with a region: "region NAME: WHY", -EINVAL, reason "bad-region". */
int region_refuse(struct mv_error *err, const char *name, const char *why);
/* Whether a piece of this size lies within its block. */
bool region_fits_block(const struct mv_block *block, uint64_t offset, uint64_t size_bytes);
/* The range that a region takes in its container's addresses; false when it takes none. */
bool region_place(const struct region_state *state, struct mv_range *ret);

/* Take a region's ties to its container, as its state says, and drop them. Control lock held; no reference is
 * touched. */
void region_link(struct mv_region *region);
void region_unlink(struct mv_region *region);

/* The two halves of mv_region_set_size(), within a transaction: what may fail, then what cannot. */
int region_prepare_size(struct mv_region *region, uint64_t size_bytes, struct mv_error *err);
void region_set_size(struct mv_region *region, uint64_t size_bytes);

/* What shows the region may show it differently from now on. Within a transaction. */
void region_mark(struct mv_region *region);

/* The host byte of an offset, in a region that has a block. */
unsigned char *region_host(const struct mv_region *region, uint64_t offset);

#endif
