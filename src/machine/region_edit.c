// SPDX-License-Identifier: MIT
/* Edits of a tree: each is a transaction of its own, or part of one that is open. */
#include <errno.h>

#include "base/error.h"
#include "machine/flat.h"
#include "machine/machine.h"
#include "machine/overlap.h"
#include "machine/region.h"
#include "machine/undo.h"

/* On top of its equals. */
static void put_on_top(struct mv_region *region)
{
    region->state.order = ++region->machine->order_clock;
}

/*
 * Something in `range` of the region, in its own addresses, may show differently from now on: so it may in
 * whatever shows the region. What is disabled on the way shows nothing; when it is enabled, all of it is marked.
 */
static void mark(const struct mv_region *region, struct mv_range range)
{
    const struct region_state *state = &region->state;
    struct mv_range all, up;
    if (!state->enabled || !range_of(0, state->size_bytes, &all) || !range_intersect(range, all, &range)) {
        return;
    }
    if (region->flat) {
        flat_mark(region->flat, range);
    }
    if (state->container && !__builtin_add_overflow(range.first, state->address, &up.first)) {
        if (__builtin_add_overflow(range.last, state->address, &up.last)) {
            up.last = UINT64_MAX;
        }
        mark(state->container, up);
    }
    struct mv_region *alias;
    cds_list_for_each_entry (alias, &region->aliases, alias.link) {
        struct mv_range window = {alias->state.target_offset, UINT64_MAX};
        if (range_intersect(range, window, &up)) {
            mark(alias, (struct mv_range){up.first - window.first, up.last - window.first});
        }
    }
}

static void mark_all(const struct mv_region *region)
{
    mark(region, RANGE_ALL);
}

void region_mark(struct mv_region *region)
{
    mark_all(region);
}

/* Whether `child` is reached by going up from `region`: to containers, and to aliases that show one on the way. */
static bool is_above(struct mv_region *child, struct mv_region *region)
{
    if (region == child) {
        return true;
    }
    if (region->visit == region->machine->visit) {
        return false;
    }
    region->visit = region->machine->visit;
    if (region->state.container && is_above(child, region->state.container)) {
        return true;
    }
    struct mv_region *alias;
    cds_list_for_each_entry (alias, &region->aliases, alias.link) {
        if (is_above(child, alias)) {
            return true;
        }
    }
    return false;
}

static bool makes_cycle(struct mv_region *container, struct mv_region *child)
{
    container->machine->visit++;
    return is_above(child, container);
}

/*
 * Every edit is: begin; if it is legal and changes anything, record the region as it is, then change it; end. A
 * region that could not be recorded is not changed.
 */
static int edit_record(struct mv_region *region, struct mv_error *err)
{
    int rc = undo_record(region->machine->undo, region);
    if (rc < 0) {
        return error_set(err, rc, "no-memory", region->name, "region %s: out of memory", region->name);
    }
    return 0;
}

/* `rc` is what became of the edit so far. */
static int edit_end(struct mv_machine *machine, int rc, struct mv_error *err)
{
    int commit_rc = mv_machine_commit(machine, rc < 0 ? NULL : err);
    return rc < 0 ? rc : commit_rc;
}

static int check_add(struct mv_region *container, struct mv_region *child, struct mv_error *err)
{
    if (child->machine != container->machine) {
        return error_set(err, -EINVAL, "other-machine", child->name,
                         "region %s: it belongs to another machine than %s", child->name, container->name);
    }
    if (container->kind == MV_REGION_ALIAS) {
        return error_set(err, -EINVAL, "bad-region", container->name, "region %s: an alias has no children",
                         container->name);
    }
    if (child->state.container) {
        return error_set(err, -EBUSY, "mapped", child->name, "region %s: it is in %s already", child->name,
                         child->state.container->name);
    }
    if (makes_cycle(container, child)) {
        return error_set(err, -ELOOP, "cycle", child->name, "region %s: %s would contain itself", child->name,
                         container->name);
    }
    return 0;
}

int mv_region_add(struct mv_region *container, uint64_t offset, struct mv_region *child, int priority,
                  struct mv_error *err)
{
    int rc = mv_machine_begin(container->machine, err);
    if (rc < 0) {
        return rc;
    }
    struct region_state state = child->state;
    state.container = container;
    state.address = offset;
    state.priority = priority;
    rc = check_add(container, child, err);
    if (rc == 0) {
        rc = overlap_check(child, &state, err);
    }
    if (rc == 0) {
        rc = edit_record(child, err);
    }
    if (rc == 0) {
        child->state = state;
        put_on_top(child);
        region_link(child);
        mv_region_get(child);
        mark_all(child);
    }
    return edit_end(container->machine, rc, err);
}

/* Record a region that must be in a container. */
static int record_mapped(struct mv_region *region, struct mv_error *err)
{
    if (!region->state.container) {
        return error_set(err, -ENOENT, "not-mapped", region->name, "region %s: it is in no container",
                         region->name);
    }
    return edit_record(region, err);
}

int mv_region_remove(struct mv_region *child, struct mv_error *err)
{
    int rc = mv_machine_begin(child->machine, err);
    if (rc < 0) {
        return rc;
    }
    rc = record_mapped(child, err);
    if (rc == 0) {
        mark_all(child);
        region_unlink(child);
        child->state.container = NULL;
        mv_region_put(child); /* the container's reference; the undo log has one, so it is not the last */
    }
    return edit_end(child->machine, rc, err);
}

int mv_region_set_address(struct mv_region *region, uint64_t offset, struct mv_error *err)
{
    int rc = mv_machine_begin(region->machine, err);
    if (rc < 0) {
        return rc;
    }
    if (!region->state.container || region->state.address != offset) {
        struct region_state state = region->state;
        state.address = offset;
        rc = overlap_check(region, &state, err);
        if (rc == 0) {
            rc = record_mapped(region, err);
        }
        if (rc == 0) {
            mark_all(region);
            region_unlink(region);
            region->state.address = offset;
            put_on_top(region);
            region_link(region);
            mark_all(region);
        }
    }
    return edit_end(region->machine, rc, err);
}

int mv_region_set_enabled(struct mv_region *region, bool enabled, struct mv_error *err)
{
    int rc = mv_machine_begin(region->machine, err);
    if (rc < 0) {
        return rc;
    }
    if (region->state.enabled != enabled) {
        rc = edit_record(region, err);
        if (rc == 0) {
            mark_all(region);
            region->state.enabled = enabled;
            mark_all(region);
        }
    }
    return edit_end(region->machine, rc, err);
}

int mv_region_set_readonly(struct mv_region *region, bool readonly, struct mv_error *err)
{
    int rc = mv_machine_begin(region->machine, err);
    if (rc < 0) {
        return rc;
    }
    if (region->state.readonly != readonly) {
        rc = edit_record(region, err);
        if (rc == 0) {
            mark_all(region);
            region->state.readonly = readonly;
            mark_all(region);
        }
    }
    return edit_end(region->machine, rc, err);
}

int mv_region_set_nonvolatile(struct mv_region *region, bool nonvolatile, struct mv_error *err)
{
    int rc = mv_machine_begin(region->machine, err);
    if (rc < 0) {
        return rc;
    }
    if (region->state.nonvolatile != nonvolatile) {
        rc = edit_record(region, err);
        if (rc == 0) {
            mark_all(region);
            region->state.nonvolatile = nonvolatile;
            mark_all(region);
        }
    }
    return edit_end(region->machine, rc, err);
}

int mv_region_set_rom_mode(struct mv_region *region, bool rom_mode, struct mv_error *err)
{
    if (region->kind != MV_REGION_ROM_DEVICE) {
        return region_refuse(err, region->name, "only a ROM device has a ROM mode");
    }
    int rc = mv_machine_begin(region->machine, err);
    if (rc < 0) {
        return rc;
    }
    if (region->state.rom_mode != rom_mode) {
        rc = edit_record(region, err);
        if (rc == 0) {
            mark_all(region);
            region->state.rom_mode = rom_mode;
            mark_all(region);
        }
    }
    return edit_end(region->machine, rc, err);
}

int region_prepare_size(struct mv_region *region, uint64_t size_bytes, struct mv_error *err)
{
    struct region_state state = region->state;
    state.size_bytes = size_bytes;
    int rc = overlap_check(region, &state, err);
    return rc == 0 ? edit_record(region, err) : rc;
}

void region_set_size(struct mv_region *region, uint64_t size_bytes)
{
    mark_all(region);
    region_unlink(region);
    region->state.size_bytes = size_bytes;
    region_link(region);
    mark_all(region);
}

int mv_region_set_size(struct mv_region *region, uint64_t size_bytes, struct mv_error *err)
{
    if (region->follows_block) {
        return region_refuse(err, region->name, "it follows its block, which is what can be resized");
    }
    if (region_has_block(region) && !region_fits_block(region->ram.block, region->ram.offset, size_bytes)) {
        return region_refuse(err, region->name, "it cannot be larger than what its block has");
    }
    int rc = mv_machine_begin(region->machine, err);
    if (rc < 0) {
        return rc;
    }
    if (region->state.size_bytes != size_bytes) {
        rc = region_prepare_size(region, size_bytes, err);
        if (rc == 0) {
            region_set_size(region, size_bytes);
        }
    }
    return edit_end(region->machine, rc, err);
}

int mv_region_set_target_offset(struct mv_region *alias, uint64_t offset, struct mv_error *err)
{
    if (alias->kind != MV_REGION_ALIAS) {
        return region_refuse(err, alias->name, "only an alias has a target");
    }
    int rc = mv_machine_begin(alias->machine, err);
    if (rc < 0) {
        return rc;
    }
    if (alias->state.target_offset != offset) {
        rc = edit_record(alias, err);
        if (rc == 0) {
            mark_all(alias);
            alias->state.target_offset = offset;
            mark_all(alias);
        }
    }
    return edit_end(alias->machine, rc, err);
}
