// SPDX-License-Identifier: MIT
#include "machine/ioeventfd.h"

#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "machine/coalesced.h"
#include "machine/flat.h"
#include "machine/listener.h"
#include "machine/mmio.h"
#include "machine/undo.h"

/* --- edits ------------------------------------------------------------------------------------- */

static int check(const struct mv_region *region, const struct mv_ioeventfd *e, struct mv_error *err)
{
    const char *name = region->name;
    if (region->kind != MV_REGION_MMIO && region->kind != MV_REGION_ROM_DEVICE) {
        return error_set(err, -EINVAL, "bad-region", name, "region %s: only writes to devices set eventfds", name);
    }
    bool size_exists = e->size_bytes <= 8 && (e->size_bytes == 0 || is_pow2(e->size_bytes));
    uint64_t last;
    if (!size_exists || (e->size_bytes == 0 && e->match) ||
        (e->match && e->size_bytes < 8 && e->data >> (e->size_bytes * 8) != 0) ||
        __builtin_add_overflow(e->offset, e->size_bytes, &last)) {
        return error_set(err, -EINVAL, "bad-eventfd", name,
                         "region %s: no write can match %u bytes at " PRI_ADDR " with that value", name,
                         e->size_bytes, e->offset);
    }
    return 0;
}

typedef int change_fn(const struct watch *watch, const struct mv_ioeventfd *eventfd, struct watch **ret);

static int explain(int rc, const struct mv_region *region, const struct mv_ioeventfd *e, struct mv_error *err)
{
    const char *name = region->name;
    switch (rc) {
    case -EEXIST:
        return error_set(err, rc, "collision", name,
                         "region %s: another eventfd at " PRI_ADDR " is for the same writes", name, e->offset);
    case -ENOENT:
        return error_set(err, rc, "no-eventfd", name, "region %s: it has no such eventfd at " PRI_ADDR, name,
                         e->offset);
    case -ENOMEM: return error_set(err, rc, "no-memory", name, "region %s: out of memory", name);
    default: return error_host(err, rc, name, "region %s: descriptor %d cannot be used", name, e->fd);
    }
}

/* Within a transaction. */
static int change(struct mv_region *region, const struct mv_ioeventfd *eventfd, change_fn *how,
                  struct mv_error *err)
{
    struct watch *made = NULL;
    int rc = how(region->state.watch, eventfd, &made);
    if (rc == 0) {
        rc = undo_record(region->machine->undo, region);
    }
    if (rc < 0) {
        watch_put(made);
        return explain(rc, region, eventfd, err);
    }
    coalesced_set_watch(region, made);
    return 0;
}

static int edit(struct mv_region *region, const struct mv_ioeventfd *eventfd, change_fn *how, struct mv_error *err)
{
    int rc = check(region, eventfd, err);
    if (rc == 0) {
        rc = mv_machine_begin(region->machine, err);
    }
    if (rc < 0) {
        return rc;
    }
    rc = change(region, eventfd, how, err);
    int commit_rc = mv_machine_commit(region->machine, rc < 0 ? NULL : err);
    return rc < 0 ? rc : commit_rc;
}

int mv_ioeventfd_add(struct mv_region *region, const struct mv_ioeventfd *eventfd, struct mv_error *err)
{
    return edit(region, eventfd, watch_with, err);
}

int mv_ioeventfd_del(struct mv_region *region, const struct mv_ioeventfd *eventfd, struct mv_error *err)
{
    return edit(region, eventfd, watch_without, err);
}

/* --- differences ------------------------------------------------------------------------------- */

static uint64_t swapped(uint64_t value, unsigned size_bytes)
{
    return size_bytes == 0 ? value : __builtin_bswap64(value) >> (64 - size_bytes * 8);
}

/* Where a section shows an event; false when the address is not in it. */
static bool place(const struct section *s, const struct watch_event *event, struct event_op *ret)
{
    uint64_t offset = event->is.offset - s->offset;
    if (event->is.offset < s->offset || offset > s->range.last - s->range.first) {
        return false;
    }
    *ret = (struct event_op){.at = event->is, .fd = watch_fd(event)};
    ret->at.offset = s->range.first + offset;
    if (s->region->mmio.ops && s->region->mmio.ops->endian == MV_ENDIAN_BIG) {
        ret->at.data = swapped(event->is.data, event->is.size_bytes);
    }
    return true;
}

static size_t count_events(const struct section_list *list)
{
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++) {
        count += list->sections[i]->watch ? list->sections[i]->watch->event_count : 0;
    }
    return count;
}

/* Append what the sections of a list show. */
static void gather(const struct section_list *list, bool is_addition, struct event_diff *to)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct watch *watch = list->sections[i]->watch;
        for (size_t k = 0; watch && k < watch->event_count; k++) {
            if (place(list->sections[i], &watch->events[k], &to->ops[to->count])) {
                to->ops[to->count++].is_addition = is_addition;
            }
        }
    }
}

static int compare_places(const void *a, const void *b)
{
    return watch_compare(&((const struct event_op *)a)->at, &((const struct event_op *)b)->at);
}

/* Deletions first: what comes may be for the same writes as what goes, and a kernel refuses two of those. */
static int compare_ops(const void *a, const void *b)
{
    const struct event_op *x = a, *y = b;
    return x->is_addition != y->is_addition ? (int)x->is_addition - (int)y->is_addition : compare_places(a, b);
}

/*
 * What goes and comes back just the same is no difference. Eventfds are compared by our own descriptors of them:
 * the number that it was added with may stand for another one by now.
 */
static void drop_pairs(struct event_diff *diff)
{
    size_t kept = 0;
    for (size_t i = 0; i < diff->count; i++) {
        if (i + 1 < diff->count && diff->ops[i].is_addition != diff->ops[i + 1].is_addition &&
            watch_compare(&diff->ops[i].at, &diff->ops[i + 1].at) == 0 && diff->ops[i].fd == diff->ops[i + 1].fd) {
            i++;
        } else {
            diff->ops[kept++] = diff->ops[i];
        }
    }
    diff->count = kept;
}

int ioeventfd_diff(const struct flat *flat, struct event_diff *ret)
{
    size_t most = count_events(&flat->removed) + count_events(&flat->added) + count_events(&flat->before) +
                  count_events(&flat->after);
    *ret = (struct event_diff){0};
    if (most == 0) {
        return 0;
    }
    ret->ops = calloc(most, sizeof *ret->ops);
    if (!ret->ops) {
        return -ENOMEM;
    }
    gather(&flat->removed, false, ret);
    gather(&flat->before, false, ret);
    gather(&flat->added, true, ret);
    gather(&flat->after, true, ret);
    qsort(ret->ops, ret->count, sizeof *ret->ops, compare_places);
    drop_pairs(ret);
    qsort(ret->ops, ret->count, sizeof *ret->ops, compare_ops);
    return 0;
}

/* --- telling ----------------------------------------------------------------------------------- */

/* One deletion, ascending. */
static void tell_del(struct flat *flat, const struct event_op *op)
{
    struct mv_listener *listener;
    cds_list_for_each_entry (listener, &flat->machine->listeners, link) {
        if (listener->space->flat == flat) {
            listener_eventfd_del(listener, &op->at, op->fd);
        }
    }
}

/* One addition, descending; those that were told before one refuses are told the deletion. */
static int tell_add(struct flat *flat, const struct event_op *op, struct mv_error *err)
{
    struct mv_listener *listener;
    cds_list_for_each_entry_reverse (listener, &flat->machine->listeners, link) {
        int rc = listener->space->flat == flat ? listener_eventfd_add(listener, &op->at, op->fd, err) : 0;
        if (rc < 0) {
            struct cds_list_head *told = listener->link.next;
            for (; told != &flat->machine->listeners; told = told->next) {
                struct mv_listener *above = cds_list_entry(told, struct mv_listener, link);
                if (above->space->flat == flat) {
                    listener_eventfd_del(above, &op->at, op->fd);
                }
            }
            return rc;
        }
    }
    return 0;
}

static void untell(struct flat *flat, const struct event_diff *diff, size_t count)
{
    while (count > 0) {
        const struct event_op *op = &diff->ops[--count];
        if (op->is_addition) {
            tell_del(flat, op);
        } else {
            (void)tell_add(flat, op, NULL); /* it was there a moment ago; else such writes take the long way */
        }
    }
}

void ioeventfd_untell(struct flat *flat, const struct event_diff *diff)
{
    untell(flat, diff, diff->count);
}

int ioeventfd_tell(struct flat *flat, const struct event_diff *diff, struct mv_error *err)
{
    for (size_t i = 0; i < diff->count; i++) {
        int rc = 0;
        if (diff->ops[i].is_addition) {
            rc = tell_add(flat, &diff->ops[i], err);
        } else {
            tell_del(flat, &diff->ops[i]);
        }
        if (rc < 0) {
            untell(flat, diff, i);
            return rc;
        }
    }
    return 0;
}

/* Every event of the present view in order, until `fn` returns less than 0 or `most` were told. *count: how many.
 */
static int each_present(struct mv_listener *listener, bool add, size_t most, size_t *count, struct mv_error *err)
{
    const struct mv_view *view = listener->space->flat->view;
    *count = 0;
    for (const struct section *s = view_next(view, 0); s;) {
        struct event_op op;
        for (size_t k = 0; s->watch && k < s->watch->event_count; k++) {
            if (*count == most || !place(s, &s->watch->events[k], &op)) {
                continue;
            }
            int rc = 0;
            if (add) {
                rc = listener_eventfd_add(listener, &op.at, op.fd, err);
            } else {
                listener_eventfd_del(listener, &op.at, op.fd);
            }
            if (rc < 0) {
                return rc;
            }
            ++*count;
        }
        s = s->range.last == UINT64_MAX ? NULL : view_next(view, s->range.last + 1);
    }
    return 0;
}

int ioeventfd_tell_all(struct mv_listener *listener, struct mv_error *err)
{
    size_t told, untold;
    int rc = each_present(listener, true, SIZE_MAX, &told, err);
    if (rc < 0) {
        (void)each_present(listener, false, told, &untold, NULL);
    }
    return rc;
}

void ioeventfd_untell_all(struct mv_listener *listener)
{
    size_t told;
    (void)each_present(listener, false, SIZE_MAX, &told, NULL);
}

/* --- without a kernel -------------------------------------------------------------------------- */

static bool write_sized(const struct section *s, uint64_t offset, const unsigned char *bytes, unsigned size_bytes)
{
    return watch_write(s->watch, offset, size_bytes, mmio_bytes_to_value(s->region, bytes, size_bytes));
}

unsigned ioeventfd_write(const struct section *section, uint64_t offset, const unsigned char *bytes, size_t length,
                         unsigned piece)
{
    /* As the kernel does, before anybody asks how the device would have it. */
    if (length <= 8 && is_pow2(length) && write_sized(section, offset, bytes, (unsigned)length)) {
        return (unsigned)length;
    }
    return piece != length && write_sized(section, offset, bytes, piece) ? piece : 0;
}
