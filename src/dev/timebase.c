// SPDX-License-Identifier: MIT
#include "dev/timebase.h"

#include <stddef.h>
#include <time.h>

static uint64_t read_clock(clockid_t id)
{
    struct timespec now = {0};
    (void)clock_gettime(id, &now); /* cannot fail for these two */
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t host_now(void *opaque)
{
    (void)opaque;
    return read_clock(CLOCK_MONOTONIC);
}

static uint64_t wall_now(void *opaque)
{
    (void)opaque;
    return read_clock(CLOCK_REALTIME);
}

struct timebase timebase_host(void)
{
    return (struct timebase){.now_ns = host_now};
}

struct timebase timebase_wall(void)
{
    return (struct timebase){.now_ns = wall_now};
}
