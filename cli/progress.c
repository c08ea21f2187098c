// SPDX-License-Identifier: MIT
#include "progress.h"

#include <stdio.h>
#include <unistd.h>

void progress_show(struct progress *progress, const struct mv_trace *trace, uint64_t records)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double since =
        (double)(now.tv_sec - progress->shown.tv_sec) + (double)(now.tv_nsec - progress->shown.tv_nsec) / 1e9;
    if (since < 0.1 || !isatty(STDERR_FILENO)) {
        return;
    }
    progress->is_shown = true;
    progress->shown = now;
    double part = mv_trace_progress(trace);
    if (part < 0) {
        fprintf(stderr, "\r%12llu records", (unsigned long long)records);
        return;
    }
    char bar[41];
    for (int i = 0; i < 40; i++) {
        bar[i] = (double)i < part * 40 ? '#' : '.';
    }
    bar[40] = 0;
    fprintf(stderr, "\r[%s] %3.0f %%", bar, part * 100);
}

void progress_end(const struct progress *progress)
{
    if (progress->is_shown) {
        fprintf(stderr, "\r%60s\r", "");
    }
}
