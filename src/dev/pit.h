// SPDX-License-Identifier: MIT
/*
 * The 8254 timer at 40-43, whose three counters run with time, and port 61, which has counter 2's gate and output
 * (Intel 8254 data sheet; "NMI Status and Control Register" of the PIIX3).
 *
 * Missing: interrupts of counter 0, sound, BCD counting (counts in binary), and hardware triggers (modes 1 and 5
 * count from when they are written).
 */
#ifndef DEV_PIT_H
#define DEV_PIT_H

#include <memvirt/region.h>

#include "dev/timebase.h"

#define PIT_PORTS 4
#define PIT_SPEAKER_PORTS 1
#define PIT_HZ 1193182

/* Make the regions "pit" and "pcspk", to be mapped; the device goes with the last. @return 0 or -ENOMEM */
int pit_create(struct mv_machine *machine, const struct timebase *timebase, struct mv_region **ret_counters,
               struct mv_region **ret_speaker, struct mv_error *err);

#endif
