// SPDX-License-Identifier: MIT
/*
 * A high precision event timer (IA-PC HPET specification, "Register Overview"): the main counter runs with time
 * while it is enabled. The three comparators are storage; they cannot interrupt, and say so: no route is possible.
 */
#ifndef DEV_HPET_H
#define DEV_HPET_H

#include <memvirt/region.h>

#include "dev/timebase.h"

#define HPET_SIZE 0x400

/* Make the device's region, to be mapped; the device goes with it. @return 0 or -ENOMEM */
int hpet_create(struct mv_machine *machine, const struct timebase *timebase, struct mv_region **ret,
                struct mv_error *err);

#endif
