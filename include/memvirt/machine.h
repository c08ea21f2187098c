// SPDX-License-Identifier: MIT
/**
 * @file machine.h
 * A machine: the owner of everything that describes one guest's physical memory, and the transactions that change
 * it.
 *
 * Control plane: every call that changes a tree takes the machine's control lock for its duration, so any thread
 * may make it. A transaction holds that lock from begin to commit. Data plane (space.h): lock-free, any thread, at
 * any time.
 */
#ifndef MEMVIRT_MACHINE_H
#define MEMVIRT_MACHINE_H

#include <memvirt/types.h>

MV_BEGIN_DECLS

struct mv_machine;

/**
 * Make an empty machine.
 * @param[out] ret  the machine; end it with mv_machine_destroy()
 * @return 0, or -ENOMEM
 */
MV_API int mv_machine_create(struct mv_machine **ret, struct mv_error *err);

/**
 * Drop the caller's hold on a machine, after waiting until everything that earlier calls retired is freed.
 * The memory itself goes when the last block, region and space that belong to it are gone. NULL is allowed.
 * Must not be called from a device handler or a listener.
 */
MV_API void mv_machine_destroy(struct mv_machine *machine);

/**
 * Begin a transaction: the edits up to the matching mv_machine_commit() become visible together, and only then.
 * Transactions nest; only the outermost commit acts. The calling thread holds the machine's control lock until
 * then.
 * @return 0, or -EBUSY when called from a listener during a commit
 */
MV_API int mv_machine_begin(struct mv_machine *machine, struct mv_error *err);

/**
 * End a transaction. At the outermost level: render the new view of every space that changed, tell the listeners,
 * and publish the views if all of them agree.
 *
 * On failure (a listener refused, such as a kernel without a free slot, or memory ran out) every edit since the
 * outermost begin is undone and no view has changed.
 * @return 0; -ECANCELED after mv_machine_abort() in an inner transaction; or the negative errno of what failed. An
 * inner commit always returns 0.
 */
MV_API int mv_machine_commit(struct mv_machine *machine, struct mv_error *err);

/**
 * End a transaction without its edits: those since the outermost begin are undone. In an inner transaction the
 * outermost commit will undo them, and return -ECANCELED ("aborted").
 */
MV_API void mv_machine_abort(struct mv_machine *machine);

/**
 * End the outermost transaction as mv_machine_abort() does, but first let every listener say what a commit would
 * make it do: a VM prints the slot calls. Nothing is published, and no kernel is asked.
 * @param print  called with the control lock held, one line at a time, without a newline
 * @return 0; -EBUSY ("nested") in an inner transaction, which goes on; or what would have failed before the
 * listeners
 */
MV_API int mv_machine_rehearse(struct mv_machine *machine, void (*print)(void *opaque, const char *line),
                               void *opaque, struct mv_error *err);

/** What to make of regions that overlap their siblings. */
enum mv_overlap_policy {
    MV_OVERLAP_ALLOW,  /**< as QEMU: priorities and the order of addition decide, silently */
    MV_OVERLAP_REPORT, /**< tell "region A hides B at FIRST-LAST of CONTAINER" when one is put, moved or resized */
    MV_OVERLAP_STRICT, /**< the same, but refuse an overlap of equal priorities (-EEXIST, "overlap") */
};

/**
 * Choose what to make of overlaps from now on; what overlaps already stays.
 * @param tell  called with the control lock held: it must not edit. REPORT needs it; STRICT may do without
 * @return 0; -EINVAL
 */
MV_API int mv_machine_set_overlap_policy(struct mv_machine *machine, enum mv_overlap_policy policy,
                                         void (*tell)(void *opaque, const char *line), void *opaque,
                                         struct mv_error *err);

MV_END_DECLS

#endif
