// SPDX-License-Identifier: MIT
/*
 * Making the next view. For each stale range: widen it to whole sections of the present version, draw it anew,
 * join what now continues the neighbours, and put the result in place of the old. What was neither stale nor next
 * to it is not looked at. What becomes of the old one is in flat_views.c.
 */
#include "machine/flat.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "machine/dirty_index.h"
#include "machine/machine.h"
#include "machine/render.h"

/* --- lists ------------------------------------------------------------------------------------- */

static int append_range(struct range_list *list, struct mv_range range)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 8;
        struct mv_range *ranges = realloc(list->ranges, capacity * sizeof *ranges);
        if (!ranges) {
            return -ENOMEM;
        }
        list->ranges = ranges;
        list->capacity = capacity;
    }
    list->ranges[list->count++] = range;
    return 0;
}

static int append_section(struct section_list *list, struct section *section)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 8;
        struct section **sections = realloc(list->sections, capacity * sizeof(struct section *));
        if (!sections) {
            return -ENOMEM;
        }
        list->sections = sections;
        list->capacity = capacity;
    }
    list->sections[list->count++] = section;
    return 0;
}

static int compare_sections(const void *a, const void *b)
{
    uint64_t x = (*(struct section *const *)a)->range.first;
    uint64_t y = (*(struct section *const *)b)->range.first;
    return (x > y) - (x < y);
}

static void sort_sections(struct section_list *list)
{
    if (list->count > 1) {
        qsort(list->sections, list->count, sizeof list->sections[0], compare_sections);
    }
}

static int compare_ranges(const void *a, const void *b)
{
    uint64_t x = ((const struct mv_range *)a)->first;
    uint64_t y = ((const struct mv_range *)b)->first;
    return (x > y) - (x < y);
}

/* Sort, and join what overlaps. */
static void tidy_ranges(struct range_list *list)
{
    size_t kept = 0;
    if (list->count > 1) {
        qsort(list->ranges, list->count, sizeof list->ranges[0], compare_ranges);
    }
    for (size_t i = 0; i < list->count; i++) {
        struct mv_range *before = kept > 0 ? &list->ranges[kept - 1] : NULL;
        if (before && list->ranges[i].first <= before->last) {
            before->last = list->ranges[i].last > before->last ? list->ranges[i].last : before->last;
        } else {
            list->ranges[kept++] = list->ranges[i];
        }
    }
    list->count = kept;
}

/* --- making and ending ------------------------------------------------------------------------- */

struct flat *flat_get(struct mv_region *root)
{
    struct flat *flat = root->flat;
    if (flat) {
        flat->users++;
        return flat;
    }
    flat = line_alloc(sizeof *flat);
    if (!flat) {
        return NULL;
    }
    flat->machine = root->machine;
    struct mv_view *view = flat_new_view(flat, 1);
    if (!view) {
        free(flat);
        return NULL;
    }
    machine_get(flat->machine);
    flat->root = mv_region_get(root);
    flat->users = 1;
    flat->view = view;
    atomic_init(&flat->logged, flat->machine->logs > 0);
    pthread_mutex_init(&flat->borrow_lock, NULL);
    atomic_init(&flat->live_views, 1);
    cds_list_add_tail(&flat->link, &flat->machine->flats);
    root->flat = flat;
    flat_mark(flat, RANGE_ALL);
    return flat;
}

/* Everything that is in a view. */
static void drop_all(struct mv_view *view)
{
    struct section *section = pmap_next(&view->map, 0);
    while (section) {
        section->link = view->garbage_sections;
        view->garbage_sections = section;
        section = section->range.last == UINT64_MAX ? NULL : pmap_next(&view->map, section->range.last + 1);
    }
    view->garbage_nsections = view->count;
    view->garbage_nodes = pmap_all_nodes(&view->map, &view->garbage_nnodes);
}

void flat_put(struct flat *flat)
{
    if (--flat->users > 0) {
        return;
    }
    flat->root->flat = NULL;
    cds_list_del(&flat->link);
    region_put_deferred(flat->root);
    flat->root = NULL;
    struct mv_view *last = flat->view;
    drop_all(last);
    for (struct section *section = last->garbage_sections; section; section = section->link) {
        dirty_index_remove(section);
    }
    flat_retire_view(last);
}

void flat_mark(struct flat *flat, struct mv_range range)
{
    flat->machine->dirty = true;
    /* A loop of edits at one place marks one range. */
    struct mv_range *last = flat->stale.count > 0 ? &flat->stale.ranges[flat->stale.count - 1] : NULL;
    if (flat->stale_all || (last && range_covers(*last, range))) {
        return;
    }
    if (append_range(&flat->stale, range) < 0) {
        flat->stale_all = true;
    }
}

/* --- the next view ----------------------------------------------------------------------------- */

/* Take note that a section is not in the next version. */
static int drop_section(struct flat *flat, struct section *section)
{
    flat->next->count--;
    if (section->version == flat->edit.version) {
        section->dropped = true; /* made and dropped in one commit: nobody hears of it */
        return 0;
    }
    section->link = flat->dropped;
    flat->dropped = section;
    flat->ndropped++;
    return append_section(&flat->removed, section);
}

static struct section *find(const struct flat *flat, uint64_t address)
{
    return pmap_find(&flat->edit.now, address);
}

/* Widen to whole sections of the version in hand. */
static struct mv_range widen(const struct flat *flat, struct mv_range range)
{
    const struct section *at_first = find(flat, range.first);
    const struct section *at_last = find(flat, range.last);
    if (at_first) {
        range.first = at_first->range.first;
    }
    if (at_last) {
        range.last = at_last->range.last;
    }
    return range;
}

static int drop_all_in(struct flat *flat, struct mv_range range)
{
    struct section *section = pmap_next(&flat->edit.now, range.first);
    while (section && section->range.first <= range.last) {
        int rc = drop_section(flat, section);
        if (rc < 0) {
            return rc;
        }
        section = section->range.last == UINT64_MAX ? NULL : pmap_next(&flat->edit.now, section->range.last + 1);
    }
    return 0;
}

static bool drawn_continues(const struct section *a, const struct drawn *b)
{
    return a->region == b->region && rights_equal(a->rights, b->rights) &&
           a->offset + (a->range.last - a->range.first) + 1 == b->offset;
}

static bool drawn_is_continued(const struct drawn *a, const struct section *b)
{
    return a->region == b->region && rights_equal(a->rights, b->rights) &&
           a->offset + (a->range.last - a->range.first) + 1 == b->offset;
}

/* Where the picture's edges continue the sections on either side, make one of both: *range grows over them. */
static void join_neighbours(const struct flat *flat, struct mv_range *range, struct picture *picture)
{
    if (picture->count == 0) {
        return;
    }
    struct drawn *head = &picture->items[0];
    struct drawn *tail = &picture->items[picture->count - 1];
    const struct section *before = range->first > 0 ? find(flat, range->first - 1) : NULL;
    const struct section *after = range->last < UINT64_MAX ? find(flat, range->last + 1) : NULL;
    if (after && tail->range.last == range->last && drawn_is_continued(tail, after)) {
        tail->range.last = range->last = after->range.last;
    }
    if (before && head->range.first == range->first && drawn_continues(before, head)) {
        head->range.first = range->first = before->range.first;
        head->offset = before->offset;
    }
}

static int add_drawn(struct flat *flat, const struct drawn *drawn)
{
    struct section *section = section_create(drawn->region, drawn->range, drawn->offset, drawn->rights);
    if (!section) {
        return -ENOMEM;
    }
    section->version = flat->edit.version;
    section->link = flat->born;
    flat->born = section;
    flat->next->count++;
    return pmap_set(&flat->edit, section->range, section);
}

/* Between the sections of a picture there is nothing. */
static int clear_gaps(struct flat *flat, struct mv_range range, const struct picture *picture)
{
    uint64_t first = range.first;
    for (size_t i = 0; i < picture->count; i++) {
        struct mv_range drawn = picture->items[i].range;
        if (drawn.first > first) {
            int rc = pmap_set(&flat->edit, (struct mv_range){first, drawn.first - 1}, NULL);
            if (rc < 0) {
                return rc;
            }
        }
        if (drawn.last >= range.last) {
            return 0;
        }
        first = drawn.last + 1;
    }
    return pmap_set(&flat->edit, (struct mv_range){first, range.last}, NULL);
}

static int remake_range(struct flat *flat, struct mv_range range)
{
    struct picture picture;
    range = widen(flat, range);
    int rc = render(flat->root, range, &picture);
    if (rc < 0) {
        return rc;
    }
    join_neighbours(flat, &range, &picture);
    shortcut_touch(&flat->touched, range);
    rc = drop_all_in(flat, range);
    if (rc == 0) {
        rc = clear_gaps(flat, range, &picture);
    }
    for (size_t i = 0; rc == 0 && i < picture.count; i++) {
        rc = add_drawn(flat, &picture.items[i]);
    }
    free(picture.items);
    return rc;
}

static int list_added(struct flat *flat)
{
    for (struct section *section = flat->born; section; section = section->link) {
        int rc = section->dropped ? 0 : append_section(&flat->added, section);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* A section that stayed where it is. */
static int note_stayed(struct flat *flat, struct section *before, struct section *after)
{
    if (before->log_mask == after->log_mask && before->watch == after->watch) {
        return 0;
    }
    int rc = append_section(&flat->before, before);
    return rc < 0 ? rc : append_section(&flat->after, after);
}

/* Both in order. What was drawn again just as it was neither went nor came. */
static int drop_equal_pairs(struct flat *flat)
{
    struct section_list *removed = &flat->removed;
    struct section_list *added = &flat->added;
    int rc = 0;
    size_t kept_r = 0, kept_a = 0;
    size_t i = 0, j = 0;
    while (i < removed->count || j < added->count) {
        struct section *r = i < removed->count ? removed->sections[i] : NULL;
        struct section *a = j < added->count ? added->sections[j] : NULL;
        if (r && a && section_equal(r, a)) {
            int noted = note_stayed(flat, r, a);
            rc = rc < 0 ? rc : noted;
            i++;
            j++;
        } else if (!a || (r && r->range.first <= a->range.first)) {
            removed->sections[kept_r++] = r;
            i++;
        } else {
            added->sections[kept_a++] = a;
            j++;
        }
    }
    removed->count = kept_r;
    added->count = kept_a;
    return rc;
}

static int make(struct flat *flat)
{
    int rc = 0;
    if (flat->stale_all) {
        rc = remake_range(flat, RANGE_ALL);
    } else {
        tidy_ranges(&flat->stale);
        for (size_t i = 0; rc == 0 && i < flat->stale.count; i++) {
            rc = remake_range(flat, flat->stale.ranges[i]);
        }
    }
    shortcut_touch_edited(&flat->touched, &flat->edit);
    if (rc == 0) {
        rc = list_added(flat);
    }
    if (rc == 0) {
        sort_sections(&flat->removed);
        sort_sections(&flat->added);
        rc = drop_equal_pairs(flat);
        rc = rc < 0 ? rc : ioeventfd_diff(flat, &flat->events);
        flat->next->map = flat->edit.now;
#ifdef MEMVIRT_EXPENSIVE_CHECKS
        assert(view_check(flat->next));
#endif
    }
    return rc;
}

static void forget_stale(struct flat *flat)
{
    flat->stale.count = 0;
    flat->stale_all = false;
}

int flat_prepare(struct flat *flat)
{
    if (flat->stale.count == 0 && !flat->stale_all) {
        return 0;
    }
    uint64_t version = flat->view->version + 1;
    flat->next = flat_new_view(flat, version);
    if (!flat->next) {
        return -ENOMEM;
    }
    flat->next->count = flat->view->count;
    flat->edit = pmap_edit_begin(flat->machine->pool, &flat->view->map, version);
    return make(flat);
}

/* Of the sections that were made in this commit, those that it dropped, or all, go at once. The others stay on the
 * list. */
static void give_born(struct flat *flat, bool all)
{
    struct section **link = &flat->born;
    while (*link) {
        struct section *section = *link;
        if (all || section->dropped) {
            *link = section->link;
            section_finish(section);
            pool_give(flat->machine->pool, POOL_SECTION, section);
        } else {
            link = &section->link;
        }
    }
}

/* Before anything of the old version is freed. */
static void index_logged(struct flat *flat)
{
    for (struct section *section = flat->dropped; section; section = section->link) {
        dirty_index_remove(section);
    }
    for (struct section *section = flat->born; section; section = section->link) {
        dirty_index_add(flat, section);
    }
}

static void forget_making(struct flat *flat)
{
    forget_stale(flat);
    flat->next = NULL;
    flat->born = flat->dropped = NULL;
    flat->ndropped = 0;
    flat->removed.count = flat->added.count = 0;
    flat->before.count = flat->after.count = 0;
    free(flat->events.ops);
    flat->events = (struct event_diff){0};
}

void flat_publish(struct flat *flat)
{
    if (flat->next) {
        struct mv_view *old = flat->view;
        old->garbage_nodes = pmap_edit_commit(&flat->edit, &old->garbage_nnodes);
        old->garbage_sections = flat->dropped;
        old->garbage_nsections = flat->ndropped;
        give_born(flat, false);
        index_logged(flat);
        flat_publish_view(flat, flat->next);
        flat_retire_view(old);
    }
    forget_making(flat);
}

void flat_discard(struct flat *flat)
{
    if (flat->next) {
        pmap_edit_abort(&flat->edit);
        give_born(flat, true);
        pool_give(flat->machine->pool, POOL_VIEW, flat->next);
        memset(&flat->touched, 0, sizeof flat->touched);
    }
    forget_making(flat);
}
