// SPDX-License-Identifier: MIT
#include "machine/region.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/os.h"
#include "base/range.h"
#include "machine/block.h"
#include "machine/dirty.h"
#include "machine/flat.h"
#include "machine/machine.h"
#include "machine/mmio.h"
#include "machine/undo.h"
#include "machine/watch.h"

unsigned char *region_host(const struct mv_region *region, uint64_t offset)
{
    assert(region_has_block(region));
    return region->ram.block->host + region->ram.offset + offset;
}

bool region_block_is_readonly(const struct mv_region *region)
{
    return region_has_block(region) && region->ram.block->readonly;
}

/* --- making and ending ------------------------------------------------------------------------- */

int region_refuse(struct mv_error *err, const char *name, const char *why)
{
    return error_set(err, -EINVAL, "bad-region", name, "region %s: %s", name, why);
}

bool region_fits_block(const struct mv_block *block, uint64_t offset, uint64_t size_bytes)
{
    return offset <= block->size_bytes && size_bytes <= block->size_bytes - offset;
}

static int check_memory(const struct mv_machine *machine, const struct mv_region_options *o, const char *name,
                        struct mv_error *err)
{
    if (!o->block) {
        return machine->hollow ? 0 : region_refuse(err, name, "memory needs a block");
    }
    if (!is_aligned(o->block_offset_bytes, os_page_size())) {
        return region_refuse(err, name, "its offset in the block is not a multiple of the host's page size");
    }
    if (o->follow_block && (o->block_offset_bytes != 0 || o->size_bytes != 0)) {
        return region_refuse(err, name, "it follows its block: it has no offset and no size of its own");
    }
    if (!region_fits_block(o->block, o->block_offset_bytes, o->size_bytes)) {
        return region_refuse(err, name, "it is larger than what its block has");
    }
    return 0;
}

static bool valid_sizes(struct mv_mmio_sizes s)
{
    bool powers = (s.min_bytes == 0 || is_pow2(s.min_bytes)) && (s.max_bytes == 0 || is_pow2(s.max_bytes));
    return powers && s.max_bytes <= 8 && s.min_bytes <= 8 && (s.max_bytes == 0 || s.min_bytes <= s.max_bytes);
}

static int check_ops(const struct mv_region_options *o, const char *name, struct mv_error *err)
{
    if (o->ops && (!valid_sizes(o->ops->valid) || !valid_sizes(o->ops->impl))) {
        return region_refuse(err, name, "access sizes must be powers of two up to 8, the least first");
    }
    if (!o->ops && o->kind == MV_REGION_ROM_DEVICE && o->block) {
        return region_refuse(err, name, "a ROM device needs handlers");
    }
    return 0;
}

/* What kinds of region have. */
static bool kind_has_block(enum mv_region_kind kind)
{
    return kind == MV_REGION_RAM || kind == MV_REGION_ROM || kind == MV_REGION_ROM_DEVICE ||
           kind == MV_REGION_RAM_DEVICE;
}

static bool kind_has_ops(enum mv_region_kind kind)
{
    return kind == MV_REGION_MMIO || kind == MV_REGION_ROM_DEVICE;
}

static int check_options(struct mv_machine *machine, const struct mv_region_options *o, const char *name,
                         struct mv_error *err)
{
    bool is_alias = o->kind == MV_REGION_ALIAS;
    if (o->kind > MV_REGION_IOMMU) {
        return region_refuse(err, name, "there is no such kind of region");
    }
    if (!o->name) {
        return region_refuse(err, name, "it needs a name");
    }
    if ((o->block || o->block_offset_bytes || o->follow_block) && !kind_has_block(o->kind)) {
        return region_refuse(err, name, "only memory has a block");
    }
    if (o->block && o->block->machine != machine) {
        return region_refuse(err, name, "its block belongs to another machine");
    }
    if ((o->iommu != NULL) != (o->kind == MV_REGION_IOMMU)) {
        return region_refuse(err, name, "an IOMMU has its own handlers, and only an IOMMU has them");
    }
    if ((o->ops || o->device) && !kind_has_ops(o->kind)) {
        return region_refuse(err, name, "only MMIO regions and ROM devices have handlers");
    }
    if ((o->opaque || o->release) && !kind_has_ops(o->kind) && o->kind != MV_REGION_IOMMU) {
        return region_refuse(err, name, "only MMIO regions and ROM devices have handlers");
    }
    if ((o->target || o->target_offset_bytes) && !is_alias) {
        return region_refuse(err, name, "only an alias has a target");
    }
    if (is_alias && !o->target) {
        return region_refuse(err, name, "an alias needs a target");
    }
    if (is_alias && o->target->machine != machine) {
        return region_refuse(err, name, "its target belongs to another machine");
    }
    int rc = kind_has_block(o->kind) ? check_memory(machine, o, name, err) : 0;
    return rc == 0 && kind_has_ops(o->kind) ? check_ops(o, name, err) : rc;
}

static void take_backing(struct mv_region *region, const struct mv_region_options *o)
{
    if (o->block) {
        region->ram.block = mv_block_get(o->block);
        region->ram.offset = o->block_offset_bytes;
    }
    if (kind_has_ops(region->kind)) {
        region->mmio.ops = o->ops;
        region->mmio.opaque = o->opaque;
        region->mmio.device = o->device;
        region->mmio.release = o->release;
    }
    if (region->kind == MV_REGION_IOMMU) {
        region->iommu.ops = o->iommu;
        region->mmio.opaque = o->opaque;
        region->mmio.release = o->release;
    }
    CDS_INIT_LIST_HEAD(&region->iommu.notifiers);
    if (region->kind == MV_REGION_RAM_DEVICE && o->block) {
        region->mmio.ops = &ram_device_ops;
        region->mmio.opaque = region;
    }
    region->mmio.simple_sizes = mmio_simple_sizes(region);
    if (region->kind == MV_REGION_ALIAS) {
        region->alias.target = mv_region_get(o->target);
        region->state.target_offset = o->target_offset_bytes;
        machine_lock(region->machine);
        cds_list_add(&region->alias.link, &o->target->aliases);
        machine_unlock(region->machine);
    }
}

static int follow_block(struct mv_region *region, struct mv_error *err)
{
    struct mv_block *block = region->ram.block;
    int rc = 0;
    machine_lock(region->machine);
    if (block->follower) {
        rc = error_set(err, -EBUSY, "followed", region->name, "region %s: %s follows block %s already",
                       region->name, block->follower->name, block->name);
    } else {
        block->follower = region;
        region->follows_block = true;
        region->state.size_bytes = block->exact_size_bytes;
    }
    machine_unlock(region->machine);
    return rc;
}

int mv_region_create(struct mv_machine *machine, const struct mv_region_options *options, struct mv_region **ret,
                     struct mv_error *err)
{
    const char *name = options->name ? options->name : "(unnamed)";
    int rc = check_options(machine, options, name, err);
    if (rc < 0) {
        return rc;
    }
    struct mv_region *region = calloc(1, sizeof *region);
    if (region) {
        region->name = strdup(name);
        region->owner = options->owner ? strdup(options->owner) : NULL;
    }
    if (!region || !region->name || (options->owner && !region->owner)) {
        free(region ? region->name : NULL);
        free(region);
        return error_set(err, -ENOMEM, "no-memory", name, "region %s: out of memory", name);
    }
    region->machine = machine_get(machine);
    atomic_init(&region->refs, 1);
    region->kind = options->kind;
    region->state = (struct region_state){
        .enabled = true,
        .readonly = options->readonly,
        .nonvolatile = options->nonvolatile,
        .rom_mode = options->kind == MV_REGION_ROM_DEVICE,
        .size_bytes = options->size_bytes,
    };
    CDS_INIT_LIST_HEAD(&region->children);
    CDS_INIT_LIST_HEAD(&region->aliases);
    take_backing(region, options);
    rc = options->follow_block ? follow_block(region, err) : 0;
    if (rc < 0) {
        region->mmio.release = NULL; /* it was never made */
        mv_region_put(region);
        return rc;
    }
    *ret = region;
    return 0;
}

struct mv_region *mv_region_get(struct mv_region *region)
{
    atomic_fetch_add_explicit(&region->refs, 1, memory_order_relaxed);
    return region;
}

static void drop_backing(struct mv_region *region)
{
    if (region->mmio.release) {
        region->mmio.release(region->mmio.opaque);
    }
    mv_block_put(region->ram.block);
    mv_region_put(region->alias.target);
}

/* The last reference is gone, and the control lock is held: let nobody find the region from now on. */
static void detach(struct mv_region *region)
{
    struct mv_region *child, *next;
    assert(!region->state.container && !region->flat && cds_list_empty(&region->aliases));
    cds_list_for_each_entry_safe (child, next, &region->children, sibling) {
        region_unlink(child);
        child->state.container = NULL;
        region_put_deferred(child);
    }
    if (region->follows_block) {
        region->ram.block->follower = NULL;
    }
    region->state.display_log = 0;
    dirty_settle(region);
    if (region->kind == MV_REGION_ALIAS) {
        cds_list_del(&region->alias.link);
    }
}

/* The rest of its end, for which the control lock must be free. */
static void end(struct mv_region *region)
{
    struct mv_machine *machine = region->machine;
    drop_backing(region);
    watch_put(region->state.watch);
    free(region->name);
    free(region->owner);
    free(region);
    machine_put(machine);
}

/*
 * The last reference goes under the control lock, in one step with the region's ties to its children: whoever
 * holds the lock and finds a container may take a reference to it.
 */
void mv_region_put(struct mv_region *region)
{
    if (!region) {
        return;
    }
    unsigned refs = atomic_load_explicit(&region->refs, memory_order_relaxed);
    while (refs > 1) {
        if (atomic_compare_exchange_weak_explicit(&region->refs, &refs, refs - 1, memory_order_release,
                                                  memory_order_relaxed)) {
            return;
        }
    }
    struct mv_machine *machine = region->machine;
    machine_lock(machine);
    bool last = atomic_fetch_sub_explicit(&region->refs, 1, memory_order_acq_rel) == 1;
    if (last) {
        detach(region);
    }
    bool in_transaction = machine->held > 1; /* of the caller: its end is still to come */
    if (last && in_transaction) {
        cds_list_add_tail(&region->deferred_link, &machine->ended);
    }
    machine_unlock(machine);
    if (last && !in_transaction) {
        end(region);
    }
}

void region_put_deferred(struct mv_region *region)
{
    if (region->deferred_puts++ == 0) {
        cds_list_add_tail(&region->deferred_link, &region->machine->deferred);
    }
}

struct mv_region *region_pop_deferred(struct mv_machine *machine)
{
    bool put = !cds_list_empty(&machine->deferred);
    if (!put && cds_list_empty(&machine->ended)) {
        return NULL;
    }
    struct cds_list_head *list = put ? &machine->deferred : &machine->ended;
    struct mv_region *region = cds_list_first_entry(list, struct mv_region, deferred_link);
    if (!put || --region->deferred_puts == 0) {
        cds_list_del(&region->deferred_link);
    }
    return region;
}

void region_let_go(struct mv_region *region)
{
    if (atomic_load_explicit(&region->refs, memory_order_relaxed) == 0) {
        end(region);
    } else {
        mv_region_put(region);
    }
}

/* --- looking ----------------------------------------------------------------------------------- */

const char *mv_region_name(const struct mv_region *region)
{
    return region->name;
}

enum mv_region_kind mv_region_kind(const struct mv_region *region)
{
    return region->kind;
}

const char *mv_region_type(const struct mv_region *region)
{
    while (region->kind == MV_REGION_ALIAS) {
        region = region->alias.target;
    }
    switch (region->kind) {
    case MV_REGION_RAM: return region->state.readonly || region_block_is_readonly(region) ? "rom" : "ram";
    case MV_REGION_ROM: return "rom";
    case MV_REGION_ROM_DEVICE: return region->state.rom_mode ? "romd" : "i/o";
    case MV_REGION_RAM_DEVICE: return "ramd";
    case MV_REGION_CONTAINER:
    case MV_REGION_MMIO:
    case MV_REGION_IOMMU:
    case MV_REGION_ALIAS: break;
    }
    return "i/o";
}

void *mv_region_opaque(const struct mv_region *region)
{
    return kind_has_ops(region->kind) ? region->mmio.opaque : NULL;
}

/* --- its place --------------------------------------------------------------------------------- */

/* What passes the end of the address space is not seen. */
bool region_place(const struct region_state *state, struct mv_range *ret)
{
    uint64_t last;
    if (state->size_bytes == 0) {
        return false;
    }
    if (state->size_bytes == MV_SIZE_2_64 ||
        __builtin_add_overflow(state->address, state->size_bytes - 1, &last)) {
        last = UINT64_MAX;
    }
    *ret = (struct mv_range){state->address, last};
    return true;
}

void region_link(struct mv_region *region)
{
    struct mv_region *container = region->state.container;
    struct mv_range place;
    if (!container) {
        return;
    }
    cds_list_add_tail(&region->sibling, &container->children);
    if (region_place(&region->state, &place)) {
        region->by_address.first = place.first;
        region->by_address.last = place.last;
        itree_insert(&container->children_by_address, &region->by_address);
    }
}

void region_unlink(struct mv_region *region)
{
    struct mv_region *container = region->state.container;
    struct mv_range place;
    if (!container) {
        return;
    }
    cds_list_del(&region->sibling);
    if (region_place(&region->state, &place)) {
        itree_remove(&container->children_by_address, &region->by_address);
    }
}

/* --- describing -------------------------------------------------------------------------------- */

void mv_region_info(struct mv_region *region, struct mv_region_info *ret)
{
    machine_lock(region->machine);
    const struct region_state *state = &region->state;
    *ret = (struct mv_region_info){
        .name = region->name,
        .owner = region->owner,
        .kind = region->kind,
        .size_bytes = state->size_bytes,
        .enabled = state->enabled,
        .readonly = state->readonly,
        .nonvolatile = state->nonvolatile,
        .rom_mode = state->rom_mode,
        .container = state->container,
        .offset = state->container ? state->address : 0,
        .priority = state->container ? state->priority : 0,
        .target = region->alias.target,
        .target_offset_bytes = state->target_offset,
    };
    machine_unlock(region->machine);
}

/* By address, then by rank; for qsort. */
static int compare_places(const void *a, const void *b)
{
    const struct region_state *x = &(*(struct mv_region *const *)a)->state;
    const struct region_state *y = &(*(struct mv_region *const *)b)->state;
    if (x->address != y->address) {
        return x->address < y->address ? -1 : 1;
    }
    if (x->priority != y->priority) {
        return x->priority > y->priority ? -1 : 1;
    }
    return x->order > y->order ? -1 : 1;
}

int mv_region_each_child(struct mv_region *container, bool (*each)(void *opaque, struct mv_region *child),
                         void *opaque)
{
    int rc = 0;
    size_t count = 0;
    struct mv_region *child;
    machine_lock(container->machine);
    cds_list_for_each_entry (child, &container->children, sibling) {
        count++;
    }
    struct mv_region **children = count > 0 ? malloc(count * sizeof(struct mv_region *)) : NULL;
    if (count > 0 && !children) {
        rc = -ENOMEM;
    } else if (count > 0) {
        size_t i = 0;
        cds_list_for_each_entry (child, &container->children, sibling) {
            children[i++] = child;
        }
        qsort(children, count, sizeof(struct mv_region *), compare_places);
        for (i = 0; i < count && each(opaque, children[i]); i++) {}
    }
    free(children);
    machine_unlock(container->machine);
    return rc;
}
