// SPDX-License-Identifier: MIT
#include "machine/watch.h"

#include <errno.h>
#include <stdlib.h>

#include "base/os.h"

struct event {
    atomic_uint refs;
    int fd;
};

static struct event *event_get(struct event *event)
{
    atomic_fetch_add_explicit(&event->refs, 1, memory_order_relaxed);
    return event;
}

static void event_put(struct event *event)
{
    if (event && atomic_fetch_sub_explicit(&event->refs, 1, memory_order_acq_rel) == 1) {
        os_close(event->fd);
        free(event);
    }
}

static int event_create(int fd, struct event **ret)
{
    struct event *event = malloc(sizeof *event);
    if (!event) {
        return -ENOMEM;
    }
    int own = os_duplicate(fd);
    if (own < 0) {
        free(event);
        return own;
    }
    atomic_init(&event->refs, 1);
    event->fd = own;
    *ret = event;
    return 0;
}

struct watch *watch_get(struct watch *watch)
{
    if (watch) {
        atomic_fetch_add_explicit(&watch->refs, 1, memory_order_relaxed);
    }
    return watch;
}

void watch_put(struct watch *watch)
{
    if (watch && atomic_fetch_sub_explicit(&watch->refs, 1, memory_order_acq_rel) == 1) {
        for (size_t i = 0; i < watch->event_count; i++) {
            event_put(watch->events[i].event);
        }
        free(watch->events);
        free(watch->ranges);
        free(watch);
    }
}

static int compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

int watch_compare(const struct mv_ioeventfd *a, const struct mv_ioeventfd *b)
{
    int order = compare(a->offset, b->offset);
    order = order ? order : compare(a->size_bytes, b->size_bytes);
    order = order ? order : compare(a->match, b->match);
    order = order ? order : compare(a->match ? a->data : 0, b->match ? b->data : 0);
    return order ? order : (a->fd > b->fd) - (a->fd < b->fd);
}

/* The same offset, and one is of any size, or all else is the same. */
static bool equal(const struct mv_ioeventfd *a, const struct mv_ioeventfd *b)
{
    return a->offset == b->offset && (a->size_bytes == 0 || b->size_bytes == 0 || watch_compare(a, b) == 0);
}

/* Some write matches both. */
static bool collide(const struct mv_ioeventfd *a, const struct mv_ioeventfd *b)
{
    return a->offset == b->offset &&
           (a->size_bytes == 0 || b->size_bytes == 0 ||
            (a->size_bytes == b->size_bytes && (!a->match || !b->match || a->data == b->data)));
}

/* Room for so many events and ranges. */
static struct watch *watch_create(size_t events, size_t ranges)
{
    struct watch *watch = calloc(1, sizeof *watch);
    if (watch) {
        atomic_init(&watch->refs, 1);
        watch->events = calloc(events + 1, sizeof *watch->events);
        watch->ranges = calloc(ranges + 1, sizeof *watch->ranges);
        if (!watch->events || !watch->ranges) {
            watch_put(watch);
            watch = NULL;
        }
    }
    return watch;
}

/* The ranges and the flag of another one, if any. */
static struct watch *with_ranges_of(const struct watch *watch, size_t events)
{
    size_t count = watch ? watch->range_count : 0;
    struct watch *made = watch_create(events, count);
    for (size_t i = 0; made && i < count; i++) {
        made->ranges[made->range_count++] = watch->ranges[i];
    }
    if (made && watch) {
        made->flush = watch->flush;
    }
    return made;
}

static void append(struct watch *watch, const struct watch_event *event)
{
    watch->events[watch->event_count++] = (struct watch_event){event->is, event_get(event->event)};
}

int watch_with(const struct watch *watch, const struct mv_ioeventfd *eventfd, struct watch **ret)
{
    size_t count = watch ? watch->event_count : 0;
    struct watch_event added = {.is = *eventfd};
    for (size_t i = 0; i < count; i++) {
        if (collide(&watch->events[i].is, eventfd)) {
            return -EEXIST;
        }
    }
    int rc = event_create(eventfd->fd, &added.event);
    if (rc < 0) {
        return rc;
    }
    struct watch *made = with_ranges_of(watch, count + 1);
    size_t i = 0;
    if (made) {
        for (; i < count && watch_compare(&watch->events[i].is, eventfd) < 0; i++) {
            append(made, &watch->events[i]);
        }
        append(made, &added);
        for (; i < count; i++) {
            append(made, &watch->events[i]);
        }
    }
    event_put(added.event); /* the watch has its own */
    *ret = made;
    return made ? 0 : -ENOMEM;
}

int watch_without(const struct watch *watch, const struct mv_ioeventfd *eventfd, struct watch **ret)
{
    size_t count = watch ? watch->event_count : 0;
    size_t gone = 0;
    while (gone < count && !equal(&watch->events[gone].is, eventfd)) {
        gone++;
    }
    if (gone == count) {
        return -ENOENT;
    }
    struct watch *made = NULL;
    if (count > 1 || watch->range_count > 0 || watch->flush) {
        made = with_ranges_of(watch, count - 1);
        if (!made) {
            return -ENOMEM;
        }
        for (size_t i = 0; i < count; i++) {
            if (i != gone) {
                append(made, &watch->events[i]);
            }
        }
    }
    *ret = made;
    return 0;
}

/* The events of another one, if any, and room for so many ranges. */
static struct watch *with_events_of(const struct watch *watch, size_t ranges)
{
    size_t count = watch ? watch->event_count : 0;
    struct watch *made = watch_create(count, ranges);
    for (size_t i = 0; made && i < count; i++) {
        append(made, &watch->events[i]);
    }
    return made;
}

int watch_with_range(const struct watch *watch, struct mv_range range, struct watch **ret)
{
    size_t count = watch ? watch->range_count : 0;
    struct watch *made = with_events_of(watch, count + 1);
    if (!made) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        made->ranges[made->range_count++] = watch->ranges[i];
    }
    made->ranges[made->range_count++] = range;
    made->flush = true;
    *ret = made;
    return 0;
}

int watch_without_ranges(const struct watch *watch, struct watch **ret)
{
    *ret = NULL;
    if (watch && watch->event_count > 0) {
        *ret = with_events_of(watch, 0);
        return *ret ? 0 : -ENOMEM;
    }
    return 0;
}

int watch_with_flush(const struct watch *watch, bool flush, struct watch **ret)
{
    struct watch *made = with_events_of(watch, watch ? watch->range_count : 0);
    if (!made) {
        return -ENOMEM;
    }
    for (size_t i = 0; watch && i < watch->range_count; i++) {
        made->ranges[made->range_count++] = watch->ranges[i];
    }
    made->flush = flush;
    *ret = made;
    return 0;
}

bool watch_write(const struct watch *watch, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    for (size_t i = 0; i < watch->event_count; i++) {
        const struct mv_ioeventfd *is = &watch->events[i].is;
        if (is->offset == offset &&
            (is->size_bytes == 0 || (is->size_bytes == size_bytes && (!is->match || is->data == value)))) {
            os_event_set(watch->events[i].event->fd);
            return true;
        }
    }
    return false;
}

int watch_fd(const struct watch_event *event)
{
    return event->event->fd;
}
