// SPDX-License-Identifier: MIT
/* Eventfds in spaces: what a commit changes of them, and telling it. */
#ifndef MACHINE_IOEVENTFD_H
#define MACHINE_IOEVENTFD_H

#include "machine/watch.h"

struct flat;
struct mv_listener;
struct section;

/* An eventfd where a space shows it. `fd` is borrowed from a section. */
struct event_op {
    bool is_addition;
    struct mv_ioeventfd at;
    int fd;
};

/* What differs between two views, in order; all zero: nothing. */
struct event_diff {
    struct event_op *ops;
    size_t count;
};

/* Between the view of a flat and the next one, which flat_prepare has made. @return 0 or -ENOMEM */
int ioeventfd_diff(const struct flat *flat, struct event_diff *ret);

/*
 * Tell it to the listeners of a flat: deletions in ascending, additions in descending priority, as QEMU does. When
 * one refuses, what was told is told the other way round. Control lock held.
 */
int ioeventfd_tell(struct flat *flat, const struct event_diff *diff, struct mv_error *err);
void ioeventfd_untell(struct flat *flat, const struct event_diff *diff);

/* What the present view has, to a listener that comes or goes. */
int ioeventfd_tell_all(struct mv_listener *listener, struct mv_error *err);
void ioeventfd_untell_all(struct mv_listener *listener);

/*
 * A write of up to `length` bytes, of which a device would be given `piece` at once.
 * @return how many bytes an eventfd has taken; 0: none
 */
unsigned ioeventfd_write(const struct section *section, uint64_t offset, const unsigned char *bytes, size_t length,
                         unsigned piece);

#endif
