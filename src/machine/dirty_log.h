// SPDX-License-Identifier: MIT
/* What is logged, and telling listeners to fetch and to clear. */
#ifndef MACHINE_DIRTY_LOG_H
#define MACHINE_DIRTY_LOG_H

#include "machine/dirty.h"

/* Marks of these pages were taken: whoever logs them may begin anew. Takes the control lock. */
void dirty_log_clear(struct mv_region *region, struct dirty_pages pages);

#endif
