// SPDX-License-Identifier: MIT
/*
 * What benches share. Times are of one thread, in nanoseconds; what is compared is measured in turn in one run,
 * several times, and medians are printed: on a noisy machine ratios hold where figures do not.
 */
#ifndef BENCH_H
#define BENCH_H

#include <memvirt/memvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 5

static struct mv_error bench_error;

static inline void must(int rc)
{
    if (rc < 0) {
        fprintf(stderr, "bench: %s\n", bench_error.text);
        exit(1);
    }
}

/* CPU time of this thread. */
static inline double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare_doubles);
    return values[count / 2];
}

static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static inline struct mv_region *make_region(struct mv_machine *machine, struct mv_region_options options)
{
    struct mv_region *region;
    must(mv_region_create(machine, &options, &region, &bench_error));
    return region;
}

#endif
