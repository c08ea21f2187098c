// SPDX-License-Identifier: MIT
/*
 * What a sync tells, against a walk of the views: random edits of regions, of their logs and of the log of
 * everything, in two spaces; after each the two must name the same pages of guest memory.
 */
#include <stdlib.h>
#include <time.h>

#include "machine/dirty.h"
#include "machine/machine_test.h"

#define PAGE UINT64_C(0x1000)
#define REGIONS 6
#define REGION_PAGES 64
#define SPACES 2
#define SPACE_PAGES 512
#define STEPS 3000

static uint64_t seed;

static unsigned draw(unsigned below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed % below);
}

/* For each page of a space: what a sync told, how often, and what the view says. */
struct watcher {
    unsigned told[SPACE_PAGES];
    const struct mv_region *region[SPACE_PAGES];
    uint64_t offset[SPACE_PAGES];
};

static void note(void *opaque, const struct mv_section *section)
{
    struct watcher *w = opaque;
    for (uint64_t at = section->range.first; at <= section->range.last; at += PAGE) {
        assert_true(at / PAGE < SPACE_PAGES);
        w->told[at / PAGE]++;
        w->region[at / PAGE] = section->region;
        w->offset[at / PAGE] = section->offset + (at - section->range.first);
    }
}

struct world {
    struct rig rig;
    struct mv_region *roots[SPACES];
    struct mv_region *regions[REGIONS];
    struct mv_region *aliases[REGIONS];
    unsigned logs[REGIONS];
    bool all_logged;
    struct mv_space *spaces[SPACES];
    struct mv_listener *listeners[SPACES];
    struct watcher watchers[SPACES];
};

/* Whether the view shows a page of `only`, or of any region if that is NULL, that is logged. */
static bool expected(struct world *w, unsigned space, uint64_t page, const struct mv_region *only)
{
    struct mv_section section;
    const struct mv_view *view = mv_space_view(w->spaces[space]);
    bool shown = mv_view_lookup(view, mv_gpa(page * PAGE), &section) && (!only || section.region == only) &&
                 mv_region_log_mask(section.region) != 0;
    mv_view_release(view);
    if (shown) {
        const struct watcher *watcher = &w->watchers[space];
        assert_ptr_equal(watcher->region[page], section.region);
        assert_int_equal(watcher->offset[page], section.offset + (page * PAGE - section.range.first));
    }
    return shown;
}

static void check(struct world *w, struct mv_region *only)
{
    memset(w->watchers, 0, sizeof w->watchers);
    if (only) {
        mv_dirty_sync(only);
    } else {
        mv_dirty_sync_all(w->rig.machine, false);
    }
    for (unsigned space = 0; space < SPACES; space++) {
        for (uint64_t page = 0; page < SPACE_PAGES; page++) {
            assert_int_equal(w->watchers[space].told[page], expected(w, space, page, only));
        }
    }
}

/* Where and in which space; what is there already may be covered. */
static void move(struct world *w, struct mv_region *region)
{
    (void)mv_region_remove(region, NULL);
    if (draw(4) > 0) {
        uint64_t page = draw(SPACE_PAGES - REGION_PAGES);
        assert_int_equal(mv_region_add(w->roots[draw(SPACES)], page * PAGE, region, (int)draw(3), NULL), 0);
    }
}

static void edit(struct world *w)
{
    unsigned i = draw(REGIONS);
    switch (draw(7)) {
    case 0: move(w, w->regions[i]); break;
    case 1: move(w, w->aliases[i]); break;
    case 2:
        assert_int_equal(mv_region_set_log(w->regions[i], MV_DIRTY_DISPLAY, w->logs[i] == 0, NULL), 0);
        w->logs[i] = !w->logs[i];
        break;
    case 3: assert_int_equal(mv_region_set_enabled(w->regions[i], draw(2), NULL), 0); break;
    case 4: assert_int_equal(mv_region_set_size(w->regions[i], (1 + draw(REGION_PAGES)) * PAGE, NULL), 0); break;
    case 5: assert_int_equal(mv_region_set_target_offset(w->aliases[i], draw(32) * PAGE, NULL), 0); break;
    default:
        if (draw(8) == 0) {
            assert_int_equal(w->all_logged ? mv_dirty_log_stop(w->rig.machine, 1, NULL)
                                           : mv_dirty_log_start(w->rig.machine, 1, NULL),
                             0);
            w->all_logged = !w->all_logged;
        }
    }
}

static const struct mv_listener_ops ops = {.log_sync = note};

static void sync_tells_what_views_show(void **state)
{
    static struct world w;
    (void)state;
    seed = (uint64_t)time(NULL) * 2654435761u | 1;
    printf("# seed %llu\n", (unsigned long long)seed);
    rig_open(&w.rig);
    for (unsigned i = 0; i < SPACES; i++) {
        w.roots[i] = container(&w.rig, "root", MV_SIZE_2_64);
        w.spaces[i] = show(&w.rig, "space", w.roots[i]);
        assert_int_equal(mv_listener_create(w.spaces[i], &ops, &w.watchers[i], 0, &w.listeners[i], NULL), 0);
    }
    for (unsigned i = 0; i < REGIONS; i++) {
        w.regions[i] = ram(&w.rig, "ram", REGION_PAGES * PAGE);
        w.aliases[i] = alias_of(&w.rig, "alias", w.regions[i], 0, 32 * PAGE);
    }
    for (unsigned step = 0; step < STEPS; step++) {
        edit(&w);
        check(&w, draw(2) ? NULL : w.regions[draw(REGIONS)]);
    }
    for (unsigned i = 0; i < SPACES; i++) {
        mv_listener_destroy(w.listeners[i]);
        mv_space_destroy(w.spaces[i]);
        mv_region_put(w.roots[i]);
    }
    for (unsigned i = 0; i < REGIONS; i++) {
        mv_region_put(w.aliases[i]);
        mv_region_put(w.regions[i]);
    }
    rig_close(&w.rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sync_tells_what_views_show),
    };
    return cmocka_run_group_tests_name("dirty_index", tests, NULL, NULL);
}
