// SPDX-License-Identifier: MIT
/*
 * The trees, as `info mtree` prints them. For each root the names of its spaces, then what is in it; an alias is
 * not gone into, but its target waits in a queue, and is printed below in a paragraph of its own.
 */
#include "machine/mtree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "machine/machine.h"
#include "machine/region.h"
#include "machine/space.h"

/* --- lists of regions -------------------------------------------------------------------------------------- */

int mtree_regions_add(struct mtree_regions *list, struct mv_region *region)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 32;
        struct mv_region **regions = realloc(list->regions, capacity * sizeof(struct mv_region *));
        if (!regions) {
            return -ENOMEM;
        }
        list->regions = regions;
        list->capacity = capacity;
    }
    list->regions[list->count++] = region;
    return 0;
}

void mtree_regions_finish(struct mtree_regions *list)
{
    free(list->regions);
    *list = (struct mtree_regions){0};
}

static bool collect_child(void *opaque, struct mv_region *child)
{
    struct mtree_regions *list = opaque;
    return mtree_regions_add(list, child) == 0;
}

int mtree_children(struct mv_region *region, struct mv_region ***ret, size_t *ret_count)
{
    struct mtree_regions found = {0};
    size_t count = 0;
    struct mv_region *child;
    cds_list_for_each_entry (child, &region->children, sibling) {
        count++;
    }
    int rc = mv_region_each_child(region, collect_child, &found);
    if (rc < 0 || found.count != count) {
        mtree_regions_finish(&found);
        return -ENOMEM;
    }
    *ret = found.regions;
    *ret_count = found.count;
    return 0;
}

/* --- lines ------------------------------------------------------------------------------------------------- */

uint64_t mtree_span(const struct mv_region *region)
{
    uint64_t size = region->state.size_bytes;
    return size == MV_SIZE_2_64 ? UINT64_MAX : size > 0 ? size - 1 : 0;
}

/* An owner that begins so is not the region's device but only the object that it is a child of. */
#define PARENT "parent:"

static void add_owner(struct mtree_out *out, const struct mv_region *region)
{
    if (!region->owner) {
        mtree_out_add(out, " orphan");
    } else if (strncmp(region->owner, PARENT, sizeof PARENT - 1) == 0) {
        mtree_out_add(out, " parent:{%s}", region->owner + sizeof PARENT - 1);
    } else {
        mtree_out_add(out, " owner:{%s}", region->owner);
    }
}

void mtree_add_region(struct mtree_out *out, struct mv_region *region, uint64_t base, unsigned flags)
{
    const struct region_state *state = &region->state;
    uint64_t first = base + (state->container ? state->address : 0);
    uint64_t span = mtree_span(region);
    mtree_out_add(out, "%016" PRIx64 "-%016" PRIx64 " (prio %d, %s%s): ", first, first + span,
                  state->container ? state->priority : 0, state->nonvolatile ? "nv-" : "", mv_region_type(region));
    if (region->kind == MV_REGION_ALIAS) {
        mtree_out_add(out, "alias %s @%s %016" PRIx64 "-%016" PRIx64, region->name, region->alias.target->name,
                      state->target_offset, state->target_offset + span);
    } else {
        mtree_out_add(out, "%s", region->name);
    }
    mtree_out_add(out, "%s", state->enabled ? "" : " [disabled]");
    if (flags & MV_MTREE_OWNER) {
        add_owner(out, region);
    }
}

void mtree_add_section(struct mtree_out *out, const struct section *section, unsigned flags)
{
    const struct mv_region *region = section->region;
    mtree_out_add(out, "%016" PRIx64 "-%016" PRIx64 " (prio %d, %s%s): %s", section->range.first,
                  section->range.last, region->state.container ? region->state.priority : 0,
                  section->rights.nonvolatile ? "nv-" : "",
                  section->rights.readonly ? "rom" : mv_region_type(region), region->name);
    if (section->offset) {
        mtree_out_add(out, " @%016" PRIx64, section->offset);
    }
    if (flags & MV_MTREE_OWNER) {
        add_owner(out, region);
    }
}

/* --- trees ------------------------------------------------------------------------------------------------- */

struct printer {
    struct mtree_out *out;
    struct mv_machine *machine;
    unsigned flags;
    struct mtree_regions targets; /* of aliases that were met; each has the machine's stamp */
};

static void fail(struct printer *printer)
{
    printer->out->failed = true;
}

static void queue_target(struct printer *printer, struct mv_region *target)
{
    if (target->visit == printer->machine->visit) {
        return;
    }
    target->visit = printer->machine->visit;
    if (mtree_regions_add(&printer->targets, target) < 0) {
        fail(printer);
    }
}

static void print_tree(struct printer *printer, struct mv_region *region, unsigned level, uint64_t base)
{
    const struct region_state *state = &region->state;
    const bool shown = state->enabled || (printer->flags & MV_MTREE_DISABLED);
    uint64_t first = base + (state->container ? state->address : 0);
    struct mv_region **children;
    size_t count;
    if (printer->out->failed) {
        return;
    }
    /* As QEMU does: also for a region that is not shown, and then in front of the next line. */
    if (first < base || first + mtree_span(region) < first) {
        mtree_out_add(printer->out, "[DETECTED OVERFLOW!] ");
    }
    if (region->kind == MV_REGION_ALIAS) {
        queue_target(printer, region->alias.target);
    }
    if (shown) {
        mtree_out_add(printer->out, "%*s", (int)(2 * level), "");
        mtree_add_region(printer->out, region, base, printer->flags);
        mtree_out_add(printer->out, "\n");
    }
    if (mtree_children(region, &children, &count) < 0) {
        fail(printer);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        print_tree(printer, children[i], level + 1, first);
    }
    free(children);
}

/* --- spaces ------------------------------------------------------------------------------------------------ */

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(struct mv_space *const *)a)->name, (*(struct mv_space *const *)b)->name);
}

/* Whether no earlier space has the same root. */
static bool is_first_of_root(const struct mv_space *space)
{
    struct mv_space *other;
    cds_list_for_each_entry (other, &space->machine->spaces, link) {
        if (other == space) {
            break;
        }
        if (other->root == space->root) {
            return false;
        }
    }
    return true;
}

/* The names of all spaces with this root, sorted. */
static void print_names(struct printer *printer, const struct mv_region *root)
{
    struct mv_space *space;
    size_t count = 0, i = 0;
    cds_list_for_each_entry (space, &printer->machine->spaces, link) {
        count += space->root == root;
    }
    struct mv_space **group = calloc(count, sizeof(struct mv_space *));
    if (!group) {
        fail(printer);
        return;
    }
    cds_list_for_each_entry (space, &printer->machine->spaces, link) {
        if (space->root == root) {
            group[i++] = space;
        }
    }
    qsort(group, count, sizeof(struct mv_space *), compare_names);
    for (i = 0; i < count; i++) {
        mtree_out_add(printer->out, "address-space: %s\n", group[i]->name);
    }
    free(group);
}

void mtree_print_trees(struct mtree_out *out, struct mv_machine *machine, unsigned flags)
{
    struct printer printer = {.out = out, .machine = machine, .flags = flags};
    struct mv_space *space;
    machine->visit++;
    for (size_t i = 0; machine->paragraphs && i < machine->paragraphs->count; i++) {
        queue_target(&printer, machine->paragraphs->regions[i]);
    }
    cds_list_for_each_entry (space, &machine->spaces, link) {
        if (is_first_of_root(space)) {
            print_names(&printer, space->root);
            print_tree(&printer, space->root, 1, 0);
            mtree_out_add(out, "\n");
        }
    }
    for (size_t i = 0; i < printer.targets.count; i++) { /* it grows meanwhile */
        mtree_out_add(out, "memory-region: %s\n", printer.targets.regions[i]->name);
        print_tree(&printer, printer.targets.regions[i], 1, 0);
        mtree_out_add(out, "\n");
    }
    mtree_regions_finish(&printer.targets);
}

int mv_mtree_print(struct mv_machine *machine, unsigned flags, const struct mv_mtree_accel *accel,
                   mv_print_fn *print, void *opaque, struct mv_error *err)
{
    struct mtree_out out = {0};
    machine_lock(machine);
    if (flags & MV_MTREE_FLAT) {
        mtree_print_flat(&out, machine, flags, accel);
    } else {
        mtree_print_trees(&out, machine, flags);
    }
    machine_unlock(machine);
    return mtree_out_tell(&out, print, opaque, err);
}
