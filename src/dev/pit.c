// SPDX-License-Identifier: MIT
#include "dev/pit.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/error.h"
#include "dev/parts.h"

#define COUNTERS 3
#define SPEAKER_COUNTER 2
#define REG_CONTROL 3

/* 8254 data sheet, "Control Word Format" and "Read-Back Command". */
#define CONTROL_COUNTER(value) ((value) >> 6 & 3)
#define CONTROL_ACCESS(value) ((value) >> 4 & 3)
#define CONTROL_MODE(value) ((value) >> 1 & 7)
#define READ_BACK 3
#define READ_BACK_NO_COUNT 0x20
#define READ_BACK_NO_STATUS 0x10
#define STATUS_OUT 0x80
#define STATUS_NULL_COUNT 0x40
#define FULL_COUNT 0x10000

#define PORT61_GATE 0x01
#define PORT61_DATA 0x02
#define PORT61_REFRESH 0x10
#define PORT61_OUT 0x20
#define REFRESH_NS 15085 /* a toggle of the refresh request, one every 18 ticks of the timer */

enum access {
    ACCESS_LATCH = 0,
    ACCESS_LOW = 1,
    ACCESS_HIGH = 2,
    ACCESS_BOTH = 3,
};

struct counter {
    uint8_t control;     /* access and mode, as written */
    bool loaded;         /* since the control word */
    uint32_t reload;     /* 1 to FULL_COUNT */
    uint64_t start_tick; /* when it began to count down from reload */
    bool gate;
    uint64_t stopped_at; /* !gate: how far it had counted */
    bool write_high;     /* ACCESS_BOTH: the next byte written is the high one */
    uint8_t low;         /* ACCESS_BOTH: the low one, until then */
    bool read_high;
    bool count_latched;
    uint16_t latch;
    bool status_latched;
    uint8_t status;
};

/* Owned by its regions: freed with the last. `lock` protects everything but `timebase`. */
struct pit {
    struct parts parts;
    struct timebase timebase;
    pthread_mutex_t lock;
    struct counter counters[COUNTERS];
    uint8_t speaker_data;
};

/* --- counting ---------------------------------------------------------------------------------- */

static uint64_t tick_now(const struct pit *pit)
{
    return timebase_ticks(timebase_now(&pit->timebase), PIT_HZ);
}

static unsigned counter_mode(const struct counter *counter)
{
    const unsigned mode = CONTROL_MODE(counter->control);
    return mode > 5 ? mode - 4 : mode; /* 6 and 7 are 2 and 3 */
}

/* Ticks since the count was loaded, without those while the gate was shut. */
static uint64_t counter_elapsed(const struct counter *counter, uint64_t tick)
{
    return counter->gate ? tick - counter->start_tick : counter->stopped_at;
}

static uint16_t counter_value(const struct counter *counter, uint64_t tick)
{
    const uint64_t elapsed = counter_elapsed(counter, tick);
    switch (counter_mode(counter)) {
    case 2: return (uint16_t)(counter->reload - elapsed % counter->reload);
    case 3: return (uint16_t)((counter->reload - 2 * elapsed % counter->reload) & ~1U);
    default: return (uint16_t)(counter->reload - elapsed); /* on from 0 to ffff */
    }
}

static bool counter_out(const struct counter *counter, uint64_t tick)
{
    const uint64_t elapsed = counter_elapsed(counter, tick);
    switch (counter_mode(counter)) {
    case 0:
    case 1: return counter->loaded && elapsed >= counter->reload;
    case 2: return elapsed % counter->reload != counter->reload - 1;
    case 3: return elapsed % counter->reload < (counter->reload + 1) / 2;
    default: return elapsed != counter->reload;
    }
}

static void counter_load(struct counter *counter, uint16_t value, uint64_t tick)
{
    counter->reload = value == 0 ? FULL_COUNT : value;
    counter->loaded = true;
    counter->start_tick = tick;
    counter->stopped_at = 0;
}

static void counter_set_gate(struct counter *counter, bool gate, uint64_t tick)
{
    const bool restarts = counter_mode(counter) != 0 && counter_mode(counter) != 4;
    if (counter->gate && !gate) {
        counter->stopped_at = counter_elapsed(counter, tick);
    } else if (!counter->gate && gate) {
        counter->start_tick = restarts ? tick : tick - counter->stopped_at;
    }
    counter->gate = gate;
}

/* --- ports 40 to 43 ---------------------------------------------------------------------------- */

static uint8_t counter_read(struct counter *counter, uint64_t tick)
{
    if (counter->status_latched) {
        counter->status_latched = false;
        return counter->status;
    }
    const uint16_t value = counter->count_latched ? counter->latch : counter_value(counter, tick);
    const enum access access = CONTROL_ACCESS(counter->control);
    const bool high = access == ACCESS_HIGH || (access == ACCESS_BOTH && counter->read_high);
    counter->read_high = access == ACCESS_BOTH && !counter->read_high;
    counter->count_latched = counter->count_latched && counter->read_high;
    return (uint8_t)(high ? value >> 8 : value);
}

static void counter_write(struct counter *counter, uint8_t byte, uint64_t tick)
{
    switch ((enum access)CONTROL_ACCESS(counter->control)) {
    case ACCESS_LOW: counter_load(counter, byte, tick); break;
    case ACCESS_HIGH: counter_load(counter, (uint16_t)(byte << 8), tick); break;
    case ACCESS_BOTH:
        if (counter->write_high) {
            counter_load(counter, (uint16_t)(byte << 8 | counter->low), tick);
        } else {
            counter->low = byte;
        }
        counter->write_high = !counter->write_high;
        break;
    case ACCESS_LATCH: break; /* no control word has been written */
    }
}

static void counter_latch(struct counter *counter, uint64_t tick)
{
    if (!counter->count_latched) {
        counter->latch = counter_value(counter, tick);
        counter->count_latched = true;
    }
}

static void counter_latch_status(struct counter *counter, uint64_t tick)
{
    if (!counter->status_latched) {
        const unsigned out = counter_out(counter, tick) ? STATUS_OUT : 0U;
        const unsigned null_count = counter->loaded ? 0U : STATUS_NULL_COUNT;
        counter->status = (uint8_t)(out | null_count | (counter->control & 0x3fU));
        counter->status_latched = true;
    }
}

static void read_back(struct pit *pit, uint8_t command, uint64_t tick)
{
    for (unsigned i = 0; i < COUNTERS; i++) {
        if (!(command & 2U << i)) {
            continue;
        }
        if (!(command & READ_BACK_NO_COUNT)) {
            counter_latch(&pit->counters[i], tick);
        }
        if (!(command & READ_BACK_NO_STATUS)) {
            counter_latch_status(&pit->counters[i], tick);
        }
    }
}

static void control_write(struct pit *pit, uint8_t value, uint64_t tick)
{
    if (CONTROL_COUNTER(value) == READ_BACK) {
        read_back(pit, value, tick);
        return;
    }
    struct counter *counter = &pit->counters[CONTROL_COUNTER(value)];
    if (CONTROL_ACCESS(value) == ACCESS_LATCH) {
        counter_latch(counter, tick);
        return;
    }
    const bool gate = counter->gate;
    *counter = (struct counter){
        .control = value & 0x3f,
        .reload = FULL_COUNT,
        .start_tick = tick,
        .gate = gate,
    };
}

static enum mv_result pit_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                               struct mv_attrs attrs)
{
    (void)size_bytes;
    (void)attrs;
    struct pit *pit = opaque;
    *ret_value = UINT64_MAX; /* the control word cannot be read */
    if (offset != REG_CONTROL) {
        pthread_mutex_lock(&pit->lock);
        *ret_value = counter_read(&pit->counters[offset], tick_now(pit));
        pthread_mutex_unlock(&pit->lock);
    }
    return MV_OK;
}

static enum mv_result pit_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                struct mv_attrs attrs)
{
    (void)size_bytes;
    (void)attrs;
    struct pit *pit = opaque;
    pthread_mutex_lock(&pit->lock);
    if (offset == REG_CONTROL) {
        control_write(pit, (uint8_t)value, tick_now(pit));
    } else {
        counter_write(&pit->counters[offset], (uint8_t)value, tick_now(pit));
    }
    pthread_mutex_unlock(&pit->lock);
    return MV_OK;
}

/* --- port 61 ----------------------------------------------------------------------------------- */

static enum mv_result speaker_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                   struct mv_attrs attrs)
{
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    struct pit *pit = opaque;
    pthread_mutex_lock(&pit->lock);
    const struct counter *counter = &pit->counters[SPEAKER_COUNTER];
    const uint64_t now = timebase_now(&pit->timebase);
    unsigned value = pit->speaker_data;
    value |= counter->gate ? PORT61_GATE : 0U;
    value |= now / REFRESH_NS % 2 ? PORT61_REFRESH : 0U;
    value |= counter_out(counter, timebase_ticks(now, PIT_HZ)) ? PORT61_OUT : 0U;
    pthread_mutex_unlock(&pit->lock);
    *ret_value = value;
    return MV_OK;
}

static enum mv_result speaker_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                    struct mv_attrs attrs)
{
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    struct pit *pit = opaque;
    pthread_mutex_lock(&pit->lock);
    counter_set_gate(&pit->counters[SPEAKER_COUNTER], value & PORT61_GATE, tick_now(pit));
    pit->speaker_data = value & PORT61_DATA;
    pthread_mutex_unlock(&pit->lock);
    return MV_OK;
}

/* --- life -------------------------------------------------------------------------------------- */

static const struct mv_mmio_ops pit_ops = {
    .read = pit_read,
    .write = pit_write,
    .valid = {.min_bytes = 1, .max_bytes = 4, .unaligned = true},
    .impl = {.min_bytes = 1, .max_bytes = 1},
};

static const struct mv_mmio_ops speaker_ops = {
    .read = speaker_read,
    .write = speaker_write,
    .valid = {.min_bytes = 1, .max_bytes = 4, .unaligned = true},
    .impl = {.min_bytes = 1, .max_bytes = 1},
};

static void pit_release(void *opaque)
{
    struct pit *pit = opaque;
    if (parts_drop(&pit->parts)) {
        pthread_mutex_destroy(&pit->lock);
        free(pit);
    }
}

static int add_region(struct pit *pit, struct mv_machine *machine, struct mv_region_options options,
                      struct mv_region **ret, struct mv_error *err)
{
    options.kind = MV_REGION_MMIO;
    options.opaque = pit;
    options.release = pit_release;
    parts_take(&pit->parts);
    int rc = mv_region_create(machine, &options, ret, err);
    if (rc < 0) {
        pit_release(pit);
    }
    return rc;
}

int pit_create(struct mv_machine *machine, const struct timebase *timebase, struct mv_region **ret_counters,
               struct mv_region **ret_speaker, struct mv_error *err)
{
    const struct mv_region_options counters = {.name = "pit", .size_bytes = PIT_PORTS, .ops = &pit_ops};
    const struct mv_region_options speaker = {
        .name = "pcspk", .size_bytes = PIT_SPEAKER_PORTS, .ops = &speaker_ops};
    struct pit *pit = calloc(1, sizeof *pit);
    if (!pit) {
        return error_host(err, -ENOMEM, "pit", "pit: cannot make the device");
    }
    parts_init(&pit->parts);
    pthread_mutex_init(&pit->lock, NULL);
    pit->timebase = *timebase;
    for (unsigned i = 0; i < COUNTERS; i++) {
        pit->counters[i].reload = FULL_COUNT;
        pit->counters[i].gate = i != SPEAKER_COUNTER;
    }
    struct mv_region *first = NULL;
    int rc = add_region(pit, machine, counters, &first, err);
    if (rc == 0) {
        rc = add_region(pit, machine, speaker, ret_speaker, err);
    }
    if (rc == 0) {
        *ret_counters = first;
    } else {
        mv_region_put(first);
    }
    pit_release(pit);
    return rc;
}
