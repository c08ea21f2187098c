// SPDX-License-Identifier: MIT
/*
 * The MC146818 clock with its memory at 70-71: the time of day in UTC, and 128 bytes, of which the firmware's
 * begin at 0e (MC146818A data sheet, "Address Map").
 *
 * Missing: interrupts and alarms, setting the time (what is written there is lost), and the NMI mask in port 70.
 */
#ifndef DEV_RTC_H
#define DEV_RTC_H

#include <memvirt/region.h>

#include "dev/timebase.h"

#define RTC_PORTS 2
#define RTC_BYTES 128
#define RTC_FIRST_FREE 0x0e

/* Make the region "rtc", to be mapped; the device goes with it. `wall` says the time. @return 0 or -ENOMEM */
int rtc_create(struct mv_machine *machine, const struct timebase *wall, struct mv_region **ret,
               struct mv_error *err);

/* Set a byte from RTC_FIRST_FREE up, as the board's maker would. */
void rtc_set(struct mv_region *region, unsigned index, uint8_t value);

#endif
