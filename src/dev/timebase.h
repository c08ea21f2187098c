// SPDX-License-Identifier: MIT
/* Where devices that count get the time from: the host's clocks, or a test's. */
#ifndef DEV_TIMEBASE_H
#define DEV_TIMEBASE_H

#include <stdint.h>

#define NS_PER_S UINT64_C(1000000000)

/* Borrowed by the device. `now_ns` is called in the thread that makes an access, perhaps with the device's lock.
 */
struct timebase {
    uint64_t (*now_ns)(void *opaque);
    void *opaque;
};

/* Time that passes: it starts anywhere and never goes back. */
struct timebase timebase_host(void);
/* The time of day, since 1970 in UTC. */
struct timebase timebase_wall(void);

static inline uint64_t timebase_now(const struct timebase *timebase)
{
    return timebase->now_ns(timebase->opaque);
}

/* How often a clock of `hz` has ticked in `ns`. Does not overflow before 2^64 ticks, or 584 years. */
static inline uint64_t timebase_ticks(uint64_t ns, uint32_t hz)
{
    return ns / NS_PER_S * hz + ns % NS_PER_S * hz / NS_PER_S;
}

#endif
