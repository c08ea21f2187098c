// SPDX-License-Identifier: MIT
#include "dev/hpet.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/error.h"

#define REG_CAPABILITIES 0x000
#define REG_CONFIGURATION 0x010
#define REG_STATUS 0x020
#define REG_COUNTER 0x0f0
#define REG_TIMERS 0x100
#define TIMER_SPACING 0x20
#define TIMER_CONFIGURATION 0x00
#define TIMER_COMPARATOR 0x08

#define TIMERS 3
#define NS_PER_TICK 10
#define PERIOD_FS (UINT64_C(1000000) * NS_PER_TICK)
#define CAPABILITIES (PERIOD_FS << 32 | UINT64_C(0x8086a001) | (TIMERS - 1) << 8) /* 64 bits, legacy routes */
#define ENABLE 0x01
#define CONFIGURATION_BITS 0x03
#define TIMER_CAPABILITIES 0x30 /* periodic, 64 bits; no interrupt route */
#define TIMER_WRITABLE UINT64_C(0x7f4e)

/* Owned by its region: freed in release. `lock` protects everything but `timebase`. */
struct hpet {
    struct timebase timebase;
    pthread_mutex_t lock;
    uint64_t configuration;
    uint64_t counter; /* disabled: its value; enabled: what it would have been at time 0 */
    uint64_t timers[TIMERS];
    uint64_t comparators[TIMERS];
};

static uint64_t ticks_now(const struct hpet *hpet)
{
    return timebase_now(&hpet->timebase) / NS_PER_TICK;
}

static uint64_t counter_value(const struct hpet *hpet)
{
    return hpet->configuration & ENABLE ? hpet->counter + ticks_now(hpet) : hpet->counter;
}

static void set_counter(struct hpet *hpet, uint64_t value)
{
    hpet->counter = hpet->configuration & ENABLE ? value - ticks_now(hpet) : value;
}

static void set_configuration(struct hpet *hpet, uint64_t value)
{
    const uint64_t counter = counter_value(hpet);
    hpet->configuration = value & CONFIGURATION_BITS;
    set_counter(hpet, counter);
}

/* NULL when it is none of a timer's. */
static uint64_t *timer_register(struct hpet *hpet, uint64_t offset)
{
    const uint64_t timer = (offset - REG_TIMERS) / TIMER_SPACING;
    if (offset < REG_TIMERS || timer >= TIMERS) {
        return NULL;
    }
    switch (offset % TIMER_SPACING) {
    case TIMER_CONFIGURATION: return &hpet->timers[timer];
    case TIMER_COMPARATOR: return &hpet->comparators[timer];
    default: return NULL;
    }
}

static uint64_t register_value(struct hpet *hpet, uint64_t offset)
{
    const uint64_t *timer = timer_register(hpet, offset);
    if (timer) {
        return *timer;
    }
    switch (offset) {
    case REG_CAPABILITIES: return CAPABILITIES;
    case REG_CONFIGURATION: return hpet->configuration;
    case REG_COUNTER: return counter_value(hpet);
    default: return 0; /* REG_STATUS too: nothing is pending */
    }
}

static void register_set(struct hpet *hpet, uint64_t offset, uint64_t value)
{
    uint64_t *timer = timer_register(hpet, offset);
    if (timer) {
        *timer =
            offset % TIMER_SPACING == TIMER_CONFIGURATION ? (value & TIMER_WRITABLE) | TIMER_CAPABILITIES : value;
    } else if (offset == REG_CONFIGURATION) {
        set_configuration(hpet, value);
    } else if (offset == REG_COUNTER) {
        set_counter(hpet, value);
    }
}

/* Registers have 64 bits; an access of 32 is to one half. */
static enum mv_result hpet_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                struct mv_attrs attrs)
{
    (void)size_bytes;
    (void)attrs;
    struct hpet *hpet = opaque;
    pthread_mutex_lock(&hpet->lock);
    *ret_value = register_value(hpet, offset & ~UINT64_C(7)) >> (8 * (offset & 4));
    pthread_mutex_unlock(&hpet->lock);
    return MV_OK;
}

static enum mv_result hpet_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                 struct mv_attrs attrs)
{
    (void)attrs;
    struct hpet *hpet = opaque;
    const uint64_t reg = offset & ~UINT64_C(7);
    pthread_mutex_lock(&hpet->lock);
    if (size_bytes == 4) {
        const unsigned shift = 8 * (unsigned)(offset & 4);
        const uint64_t mask = UINT64_C(0xffffffff) << shift;
        value = (register_value(hpet, reg) & ~mask) | value << shift;
    }
    register_set(hpet, reg, value);
    pthread_mutex_unlock(&hpet->lock);
    return MV_OK;
}

static const struct mv_mmio_ops hpet_ops = {
    .read = hpet_read,
    .write = hpet_write,
    .valid = {.min_bytes = 4, .max_bytes = 8},
    .impl = {.min_bytes = 4, .max_bytes = 8},
};

static void hpet_release(void *opaque)
{
    struct hpet *hpet = opaque;
    pthread_mutex_destroy(&hpet->lock);
    free(hpet);
}

int hpet_create(struct mv_machine *machine, const struct timebase *timebase, struct mv_region **ret,
                struct mv_error *err)
{
    struct hpet *hpet = calloc(1, sizeof *hpet);
    if (!hpet) {
        return error_host(err, -ENOMEM, "hpet", "hpet: cannot make the device");
    }
    hpet->timebase = *timebase;
    pthread_mutex_init(&hpet->lock, NULL);
    for (unsigned i = 0; i < TIMERS; i++) {
        hpet->timers[i] = TIMER_CAPABILITIES;
        hpet->comparators[i] = UINT64_MAX;
    }
    const struct mv_region_options options = {
        .name = "hpet",
        .kind = MV_REGION_MMIO,
        .size_bytes = HPET_SIZE,
        .ops = &hpet_ops,
        .opaque = hpet,
        .release = hpet_release,
    };
    int rc = mv_region_create(machine, &options, ret, err);
    if (rc < 0) {
        hpet_release(hpet);
    }
    return rc;
}
