// SPDX-License-Identifier: MIT
/*
 * What is at an address: each region that would answer is written down with the way to it. The first one answers;
 * it hides the others.
 */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "machine/machine.h"
#include "machine/mtree.h"
#include "machine/space.h"
#include "machine/way.h"

/* How many hidden regions are told of. */
#define HIDDEN_MAX 64

struct query {
    struct mtree_out *out;
    const struct mv_view *view;
    uint64_t address;
    size_t hits;
};

static void print_way(struct query *query, const struct way_step *step)
{
    if (step->up) {
        print_way(query, step->up);
    }
    const struct region_state *state = &step->region->state;
    uint64_t place = state->container ? state->address : 0;
    mtree_out_add(query->out, "      ");
    mtree_add_region(query->out, step->region, query->address - step->offset - place, 0);
    mtree_out_add(query->out, "\n");
}

static bool hit(void *opaque, const struct way_step *step)
{
    struct query *query = opaque;
    const char *type = step->rights.readonly ? "rom" : mv_region_type(step->region);
    query->hits++;
    if (query->hits == 1) {
        const struct section *section = view_find(query->view, query->address);
        if (section) { /* not if a transaction is open */
            mtree_out_add(query->out, "  ");
            mtree_add_section(query->out, section, 0);
            mtree_out_add(query->out, "\n");
        }
    }
    if (query->hits <= HIDDEN_MAX + 1) {
        mtree_out_add(query->out, "    %s %s @%016" PRIx64 " (%s), through\n", query->hits == 1 ? "is" : "hides",
                      step->region->name, step->offset, type);
        print_way(query, step);
    }
    return !query->out->failed;
}

/* --- which spaces ------------------------------------------------------------------------------------------ */

/*
 * Asked for all spaces, those that show the same are one: what they have in common is told of the one whose root
 * it is, or else of the first. Asked for a name, each tree of its own is told.
 */
static bool same_answer(const struct mv_space *a, const struct mv_space *b, const char *name)
{
    if (name) {
        return a->root == b->root && strcmp(a->name, b->name) == 0;
    }
    return mtree_physical_root(a->root) == mtree_physical_root(b->root);
}

static bool is_plain(const struct mv_space *space)
{
    return mtree_physical_root(space->root) == space->root;
}

/* Whether another space speaks for this one. */
static bool is_spoken_for(const struct mv_space *space, const char *name)
{
    struct mv_space *other;
    bool before = true;
    cds_list_for_each_entry (other, &space->machine->spaces, link) {
        if (other == space) {
            before = false;
        } else if (same_answer(other, space, name) && is_plain(other) >= is_plain(space) &&
                   (before || is_plain(other) > is_plain(space))) {
            return true;
        }
    }
    return false;
}

static void print_names(struct mtree_out *out, const struct mv_space *speaker, const char *name)
{
    struct mv_space *space;
    cds_list_for_each_entry (space, &speaker->machine->spaces, link) {
        if (same_answer(space, speaker, name)) {
            mtree_out_add(out, "address-space: %s\n", space->name);
        }
    }
}

/* @return whether anything is there */
static bool ask(struct mtree_out *out, struct mv_space *space, const char *name, uint64_t address)
{
    struct query query = {.out = out, .view = mv_space_view(space), .address = address};
    size_t before = out->length;
    print_names(out, space, name);
    if (way_visit(space->root, address, hit, &query) < 0) {
        out->failed = true;
    }
    if (query.hits > HIDDEN_MAX + 1) {
        mtree_out_add(out, "    and %zu more\n", query.hits - HIDDEN_MAX - 1);
    }
    if (query.hits == 0 && name) {
        mtree_out_add(out, "  nothing is at %016" PRIx64 "\n", address);
    }
    mtree_out_add(out, "\n");
    if (query.hits == 0 && !name && !out->failed) {
        out->length = before; /* its name too */
        out->text[before] = '\0';
    }
    mv_view_release(query.view);
    return query.hits > 0;
}

int mv_mtree_at(struct mv_machine *machine, const char *space_name, mv_gpa_t address, mv_print_fn *print,
                void *opaque, struct mv_error *err)
{
    struct mtree_out out = {0};
    struct mv_space *space;
    bool found = false, hits = false;
    machine_lock(machine);
    cds_list_for_each_entry (space, &machine->spaces, link) {
        if ((!space_name || strcmp(space->name, space_name) == 0) && !is_spoken_for(space, space_name)) {
            found = true;
            hits = ask(&out, space, space_name, address.raw) || hits;
        }
    }
    machine_unlock(machine);
    if (!found && space_name) {
        mtree_out_finish(&out);
        return error_set(err, -ENOENT, "no-space", space_name, "space %s: there is none of that name", space_name);
    }
    if (!hits && !space_name) {
        mtree_out_add(&out, "nothing is at %016" PRIx64 " in any address space\n", address.raw);
    }
    return mtree_out_tell(&out, print, opaque, err);
}
