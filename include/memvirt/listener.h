// SPDX-License-Identifier: MIT
/**
 * @file listener.h
 * Listeners: told what a commit changes in a space (QEMU's MemoryListener).
 *
 * One commit is, for each listener: begin, then for every range that went region_del (lowest address first), then
 * for every range that is new region_add or that stayed region_nop (lowest first), then prepare. If every
 * listener's prepare returned 0 the new views are published and each gets commit; if one failed, all get abort, in
 * reverse order, and nothing has changed. So each begin is followed by exactly one commit or abort. Additions are
 * told in ascending priority, deletions in descending.
 *
 * A commit that touched nothing that a space shows tells nobody. What it costs is a matter of what it changed,
 * unless a listener has region_nop: then the whole view is told.
 *
 * Logs of dirty memory (dirty.h). When what a range is logged for changes, and nothing else of it, the commit
 * tells region_nop, then log_start if there is something new (ascending), log_stop if something ended
 * (descending). A range that is new is told with its log_mask by region_add alone; only a listener that comes
 * late, or goes early, hears log_start after each region_add, or log_stop before each region_del. log_sync and
 * log_clear, and log_global_*, which is told to every listener of the machine, are no part of a commit, nor is
 * anything begun for them. The former are told in order of what they show of a block, block by block; what is not
 * logged they cost nothing for.
 *
 * Eventfds (ioeventfd.h) are told after prepare, in order of address: first eventfd_del for those that went, then
 * eventfd_add for those that came. The former go to the lowest priority first, the latter to the highest, as in
 * QEMU. If one is refused, what was told is told the other way round, and all get abort. Where only eventfds
 * changed there is no begin, no prepare, no commit and no abort. A listener that comes late hears of those that
 * are there.
 *
 * Callbacks run in the committing thread, inside the transaction: they may read spaces, and must not edit the tree
 * (edits return -EBUSY).
 */
#ifndef MEMVIRT_LISTENER_H
#define MEMVIRT_LISTENER_H

#include <memvirt/ioeventfd.h>
#include <memvirt/space.h>

MV_BEGIN_DECLS

struct mv_listener;

/** Any callback may be NULL. Sections are good during the call; their region is borrowed, take a reference to keep
 * it. */
struct mv_listener_ops {
    void (*begin)(void *opaque);
    void (*region_del)(void *opaque, const struct mv_section *section);
    void (*region_add)(void *opaque, const struct mv_section *section);
    void (*region_nop)(void *opaque, const struct mv_section *section);
    /** Clients (bits MV_DIRTY_BIT) that log the section from now on, or no more. */
    void (*log_start)(void *opaque, const struct mv_section *section, unsigned old_mask, unsigned new_mask);
    void (*log_stop)(void *opaque, const struct mv_section *section, unsigned old_mask, unsigned new_mask);
    /** Mark what was written to the section. A listener has this or log_sync_global, or neither. */
    void (*log_sync)(void *opaque, const struct mv_section *section);
    /** The same for all; `last`: the guest does not run any more. */
    void (*log_sync_global)(void *opaque, bool last);
    /** The marks of these pages were taken: log them anew. */
    void (*log_clear)(void *opaque, const struct mv_section *section);
    /** Before the commit that starts the log of everything; ascending. @return 0 or a negative errno */
    int (*log_global_start)(void *opaque, struct mv_error *err);
    /** After the commit that ends it; descending. */
    void (*log_global_stop)(void *opaque);
    /** After all were told to sync; ascending. */
    void (*log_global_after_sync)(void *opaque);
    /** A write at `at->offset` of the space, which sets an eventfd. `fd` is the library's own descriptor of it,
     * good until eventfd_del. @return 0 or a negative errno */
    int (*eventfd_add)(void *opaque, const struct mv_ioeventfd *at, int fd, struct mv_error *err);
    void (*eventfd_del)(void *opaque, const struct mv_ioeventfd *at, int fd);
    /**
     * Writes to a range of the space, which the section has, may be gathered from now on, or no more. Told after
     * the section's region_add (ascending), and before its region_del (descending); where only this changed,
     * alone.
     */
    void (*coalesced_add)(void *opaque, const struct mv_section *section, struct mv_range range);
    void (*coalesced_del)(void *opaque, const struct mv_section *section, struct mv_range range);
    /** In a rehearsal (mv_machine_rehearse()), instead of prepare: say what it would do, a line for each step.
     * Then abort follows. */
    void (*describe)(void *opaque, void (*print)(void *print_opaque, const char *line), void *print_opaque);
    /** Do what can fail. On failure it must have undone its own part. @return 0 or a negative errno */
    int (*prepare)(void *opaque, struct mv_error *err);
    /** The views are published. Cannot fail. */
    void (*commit)(void *opaque);
    /** Take back what begin, region_* and, if it was called and returned 0, prepare did. Cannot fail. */
    void (*abort)(void *opaque);
};

/**
 * Listen to one space. The listener is told the present view at once, as additions.
 * @param ops       must stay valid until mv_listener_destroy()
 * @param priority  orders listeners of one machine: additions low to high, deletions high to low
 * @return 0; -EBUSY ("busy": a transaction is open, or a commit is going on); -ENOMEM; or what its prepare said
 */
MV_API int mv_listener_create(struct mv_space *space, const struct mv_listener_ops *ops, void *opaque,
                              int priority, struct mv_listener **ret, struct mv_error *err);

/** Stop listening: the listener is told the present view as deletions first. NULL is allowed. Not from a listener.
 */
MV_API void mv_listener_destroy(struct mv_listener *listener);

MV_END_DECLS

#endif
