// SPDX-License-Identifier: MIT
/*
 * A watch: what writes to a region do instead of calling its handler. Immutable, so that views can have the one of
 * their time; an edit makes a new one.
 */
#ifndef MACHINE_WATCH_H
#define MACHINE_WATCH_H

#include <memvirt/ioeventfd.h>
#include <stdatomic.h>

/* A descriptor of our own, shared by the watches that have it. */
struct event;

struct watch_event {
    struct mv_ioeventfd is;
    struct event *event; /* a reference */
};

/* Owned by whoever has references: a region's state, its sections, the undo log. NULL: nothing is watched. */
struct watch {
    atomic_uint refs;
    size_t event_count;
    struct watch_event *events; /* in order: see watch_compare */
    size_t range_count;
    struct mv_range *ranges; /* of offsets to which writes may be gathered */
    bool flush;              /* before the VMM's own accesses */
};

/* Any thread. NULL is allowed. */
struct watch *watch_get(struct watch *watch);
void watch_put(struct watch *watch);

/* By offset, size, match, data (if it matters), fd: the order in which listeners are told. */
int watch_compare(const struct mv_ioeventfd *a, const struct mv_ioeventfd *b);

/*
 * A new watch with one event more, or less, in *ret, which is NULL when nothing is left.
 * @return 0; -ENOMEM; -EEXIST; -ENOENT; or what fcntl(2) says of the descriptor
 */
int watch_with(const struct watch *watch, const struct mv_ioeventfd *eventfd, struct watch **ret);
int watch_without(const struct watch *watch, const struct mv_ioeventfd *eventfd, struct watch **ret);

/* With one more range, without any, with another flag: the rest as it was. @return 0 or -ENOMEM */
int watch_with_range(const struct watch *watch, struct mv_range range, struct watch **ret);
int watch_without_ranges(const struct watch *watch, struct watch **ret);
int watch_with_flush(const struct watch *watch, bool flush, struct watch **ret);

/* Set the first event that a write matches. @return false when there is none */
bool watch_write(const struct watch *watch, uint64_t offset, unsigned size_bytes, uint64_t value);

int watch_fd(const struct watch_event *event);

#endif
