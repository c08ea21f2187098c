// SPDX-License-Identifier: MIT
/* Ports that keep what is written to them and do nothing: for registers of devices that are not there. */
#ifndef DEV_LATCH_H
#define DEV_LATCH_H

#include <memvirt/region.h>

#define LATCH_MAX_PORTS 16

/* Make a region of at most LATCH_MAX_PORTS ports, all 0, to be mapped. @return 0 or -ENOMEM */
int latch_create(struct mv_machine *machine, const char *name, unsigned ports, struct mv_region **ret,
                 struct mv_error *err);

#endif
