// SPDX-License-Identifier: MIT
/* A commit: make the next views, tell the listeners what changes, and publish if none refuses. */
#ifndef MACHINE_COMMIT_H
#define MACHINE_COMMIT_H

#include <memvirt/types.h>

struct mv_machine;

/*
 * Control lock held. On failure every listener that was told anything was told to abort, no view has changed, and
 * the caller undoes the edits.
 * @return 0; -ENOMEM; -ELOOP; what a listener's prepare returned
 */
int commit_spaces(struct mv_machine *machine, struct mv_error *err);

/* What a commit would do, as the listeners say; nothing is done, and the caller undoes the edits. */
int commit_rehearse(struct mv_machine *machine, void (*print)(void *opaque, const char *line), void *opaque,
                    struct mv_error *err);

/* Forget what is stale: the caller undoes the edits. */
void commit_nothing(struct mv_machine *machine);

/*
 * After a failed commit, when its edits are undone: spaces that were made in that transaction have shown nothing
 * so far; they show the tree as it is now, or, if that cannot be, nothing until the next commit that changes it.
 */
void commit_new_flats(struct mv_machine *machine);

#endif
