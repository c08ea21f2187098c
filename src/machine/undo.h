// SPDX-License-Identifier: MIT
/*
 * The undo log: what the edits of the open transaction changed, so that a commit that fails can take them back.
 * Each entry is the state of one region before one edit, with its place among its siblings; undoing them newest
 * first gives back the exact tree, order of equals included.
 */
#ifndef MACHINE_UNDO_H
#define MACHINE_UNDO_H

#include "machine/machine.h"
#include "machine/region.h"

struct undo_log *undo_create(void);
void undo_destroy(struct undo_log *log);

/* Remember `region` as it is now. Call it before the edit. @return 0 or -ENOMEM */
int undo_record(struct undo_log *log, struct mv_region *region);

/* Take back everything, newest first. The entries stay. */
void undo_all(struct undo_log *log);

/* Forget everything. */
void undo_clear(struct undo_log *log);

#endif
