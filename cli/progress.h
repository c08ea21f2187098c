// SPDX-License-Identifier: MIT
/* A progress bar on stderr, where that is a terminal, while a trace is read. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <time.h>

#include <memvirt/trace.h>

/* All zero is one that was not shown yet. */
struct progress {
    bool is_shown;
    struct timespec shown;
};

/* At most ten times a second. `records` is for a trace whose end is not known. */
void progress_show(struct progress *progress, const struct mv_trace *trace, uint64_t records);
void progress_end(const struct progress *progress);

#endif
