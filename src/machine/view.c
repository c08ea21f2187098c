// SPDX-License-Identifier: MIT
#include "machine/view.h"

#include <assert.h>
#include <stdlib.h>

struct mv_view *view_create(size_t count)
{
    struct mv_view *view = calloc(1, sizeof *view + count * sizeof view->sections[0]);
    if (view) {
        atomic_init(&view->refs, 1);
        view->count = count;
    }
    return view;
}

static void view_free(struct rcu_head *head)
{
    struct mv_view *view = caa_container_of(head, struct mv_view, epoch.rcu);
    epoch_retired(&view->epoch);
    for (size_t i = 0; i < view->count; i++) {
        mv_region_put(view->sections[i].region);
    }
    free(view);
    EPOCH_RELEASE(EPOCH_READERS); /* for who waits in epoch_drain */
}

void view_put(struct mv_view *view)
{
    /* Release what this thread did with the view; acquire what the others did before it is freed. */
    if (view && atomic_fetch_sub_explicit(&view->refs, 1, memory_order_acq_rel) == 1) {
        epoch_retire(&view->epoch, view_free);
    }
}

bool view_try_get(struct mv_view *view)
{
    unsigned refs = atomic_load_explicit(&view->refs, memory_order_relaxed);
    while (refs != 0) {
        if (atomic_compare_exchange_weak_explicit(&view->refs, &refs, refs + 1, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

bool view_check(const struct mv_view *view)
{
    for (size_t i = 0; i < view->count; i++) {
        const struct section *s = &view->sections[i];
        if (s->range.first > s->range.last || (s->host != NULL) != region_is_memory(s->region)) {
            return false;
        }
        if (i > 0 && (view->sections[i - 1].range.last >= s->range.first || section_continues(s - 1, s))) {
            return false;
        }
    }
    return true;
}

void section_describe(const struct section *section, struct mv_section *ret)
{
    *ret = (struct mv_section){
        .range = section->range,
        .region = section->region,
        .offset = section->offset,
        .readonly = section->readonly,
        .hva = hva_of(section->host),
    };
}

/* --- the public face -------------------------------------------------------------------------------------------
 */

void mv_view_release(const struct mv_view *view)
{
    /* The const is the borrower's promise; the count is ours. */
    view_put((struct mv_view *)(uintptr_t)view);
}

bool mv_view_lookup(const struct mv_view *view, mv_gpa_t address, struct mv_section *ret)
{
    const struct section *s = view_find(view, address.raw);
    if (!s) {
        return false;
    }
    section_describe(s, ret);
    return true;
}

bool mv_view_next(const struct mv_view *view, mv_gpa_t address, struct mv_section *ret)
{
    size_t i = view_index(view, address.raw);
    if (i == view->count) {
        return false;
    }
    section_describe(&view->sections[i], ret);
    return true;
}

size_t mv_view_count(const struct mv_view *view)
{
    return view->count;
}
