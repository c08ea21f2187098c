// SPDX-License-Identifier: MIT
#include "dev/rtc.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/error.h"
#include "dev/parts.h"

enum {
    REG_SECONDS = 0x00,
    REG_MINUTES = 0x02,
    REG_HOURS = 0x04,
    REG_WEEKDAY = 0x06,
    REG_DAY = 0x07,
    REG_MONTH = 0x08,
    REG_YEAR = 0x09,
    REG_A = 0x0a,
    REG_B = 0x0b,
    REG_C = 0x0c,
    REG_D = 0x0d,
    REG_CENTURY = 0x32,
};

#define A_RESET 0x26 /* 32.768 kHz, 1024 Hz */
#define A_UPDATING 0x80
#define A_UPDATE_NS 244000 /* how long before a new second the bit is set */
#define B_24_HOURS 0x02
#define B_BINARY 0x04
#define B_BITS 0x7f
#define D_VALID 0x80
#define HOUR_PM 0x80

/* Owned by its regions: freed with the last. `lock` protects everything but `wall`. */
struct rtc {
    struct parts parts;
    struct timebase wall;
    pthread_mutex_t lock;
    uint8_t index;
    uint8_t bytes[RTC_BYTES];
};

static uint8_t coded(const struct rtc *rtc, int value)
{
    const unsigned v = (unsigned)value;
    return (uint8_t)(rtc->bytes[REG_B] & B_BINARY ? v : v / 10 % 10 << 4 | v % 10);
}

static uint8_t coded_hour(const struct rtc *rtc, int hour)
{
    if (rtc->bytes[REG_B] & B_24_HOURS) {
        return coded(rtc, hour);
    }
    const unsigned pm = hour >= 12 ? HOUR_PM : 0;
    return (uint8_t)(coded(rtc, hour % 12 == 0 ? 12 : hour % 12) | pm);
}

/* `lock` held. */
static uint8_t byte_at(const struct rtc *rtc, unsigned index)
{
    const uint64_t now = timebase_now(&rtc->wall);
    const time_t seconds = (time_t)(now / NS_PER_S);
    struct tm tm = {0};
    (void)gmtime_r(&seconds, &tm); /* fails for years that do not fit an int */
    switch (index) {
    case REG_SECONDS: return coded(rtc, tm.tm_sec);
    case REG_MINUTES: return coded(rtc, tm.tm_min);
    case REG_HOURS: return coded_hour(rtc, tm.tm_hour);
    case REG_WEEKDAY: return coded(rtc, tm.tm_wday + 1);
    case REG_DAY: return coded(rtc, tm.tm_mday);
    case REG_MONTH: return coded(rtc, tm.tm_mon + 1);
    case REG_YEAR: return coded(rtc, tm.tm_year % 100);
    case REG_CENTURY: return coded(rtc, (tm.tm_year + 1900) / 100);
    case REG_A: return rtc->bytes[REG_A] | (now % NS_PER_S >= NS_PER_S - A_UPDATE_NS ? A_UPDATING : 0);
    case REG_C: return 0; /* no interrupt is pending */
    case REG_D: return D_VALID;
    default: return rtc->bytes[index];
    }
}

/* `lock` held. */
static void set_byte(struct rtc *rtc, unsigned index, uint8_t value)
{
    switch (index) {
    case REG_A: rtc->bytes[index] = value & (uint8_t)~A_UPDATING; break;
    case REG_B: rtc->bytes[index] = value & B_BITS; break;
    case REG_C:
    case REG_D: break; /* for reading only */
    default: rtc->bytes[index] = value; break;
    }
}

static enum mv_result rtc_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                               struct mv_attrs attrs)
{
    (void)size_bytes;
    (void)attrs;
    struct rtc *rtc = opaque;
    *ret_value = UINT64_MAX; /* the index cannot be read */
    if (offset == 1) {
        pthread_mutex_lock(&rtc->lock);
        *ret_value = byte_at(rtc, rtc->index);
        pthread_mutex_unlock(&rtc->lock);
    }
    return MV_OK;
}

static enum mv_result rtc_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                struct mv_attrs attrs)
{
    (void)size_bytes;
    (void)attrs;
    struct rtc *rtc = opaque;
    pthread_mutex_lock(&rtc->lock);
    if (offset == 0) {
        rtc->index = (uint8_t)(value % RTC_BYTES);
    } else {
        set_byte(rtc, rtc->index, (uint8_t)value);
    }
    pthread_mutex_unlock(&rtc->lock);
    return MV_OK;
}

static const struct mv_mmio_ops rtc_ops = {
    .read = rtc_read,
    .write = rtc_write,
    .valid = {.min_bytes = 1, .max_bytes = 4, .unaligned = true},
    .impl = {.min_bytes = 1, .max_bytes = 1},
};

static void rtc_release(void *opaque)
{
    struct rtc *rtc = opaque;
    if (parts_drop(&rtc->parts)) {
        pthread_mutex_destroy(&rtc->lock);
        free(rtc);
    }
}

static int add_region(struct rtc *rtc, struct mv_machine *machine, const char *name, uint64_t ports,
                      struct mv_region **ret, struct mv_error *err)
{
    const struct mv_region_options options = {
        .name = name,
        .kind = MV_REGION_MMIO,
        .size_bytes = ports,
        .ops = &rtc_ops,
        .opaque = rtc,
        .release = rtc_release,
    };
    parts_take(&rtc->parts);
    int rc = mv_region_create(machine, &options, ret, err);
    if (rc < 0) {
        rtc_release(rtc);
    }
    return rc;
}

/* The index port is a region of its own on top, as in QEMU, which coalesces its writes. */
static int add_regions(struct rtc *rtc, struct mv_machine *machine, struct mv_region **ret, struct mv_error *err)
{
    struct mv_region *both, *index;
    int rc = add_region(rtc, machine, "rtc", RTC_PORTS, &both, err);
    if (rc < 0) {
        return rc;
    }
    rc = add_region(rtc, machine, "rtc-index", 1, &index, err);
    if (rc == 0) {
        rc = mv_region_add(both, 0, index, 0, err);
        mv_region_put(index);
    }
    if (rc < 0) {
        mv_region_put(both);
        return rc;
    }
    *ret = both;
    return 0;
}

int rtc_create(struct mv_machine *machine, const struct timebase *wall, struct mv_region **ret,
               struct mv_error *err)
{
    struct rtc *rtc = calloc(1, sizeof *rtc);
    if (!rtc) {
        return error_host(err, -ENOMEM, "rtc", "rtc: cannot make the device");
    }
    parts_init(&rtc->parts);
    pthread_mutex_init(&rtc->lock, NULL);
    rtc->wall = *wall;
    rtc->bytes[REG_A] = A_RESET;
    rtc->bytes[REG_B] = B_24_HOURS;
    int rc = add_regions(rtc, machine, ret, err);
    rtc_release(rtc);
    return rc;
}

void rtc_set(struct mv_region *region, unsigned index, uint8_t value)
{
    struct rtc *rtc = mv_region_opaque(region);
    assert(index >= RTC_FIRST_FREE && index < RTC_BYTES);
    pthread_mutex_lock(&rtc->lock);
    rtc->bytes[index] = value;
    pthread_mutex_unlock(&rtc->lock);
}
