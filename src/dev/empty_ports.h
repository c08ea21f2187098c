// SPDX-License-Identifier: MIT
/*
 * Ports without a device: nobody drives the bus, so they read as ones and writes are lost. This is what software
 * probes for.
 */
#ifndef DEV_EMPTY_PORTS_H
#define DEV_EMPTY_PORTS_H

#include <memvirt/region.h>

/* Make a region of `ports` ports, to be mapped. @return 0 or -ENOMEM */
int empty_ports_create(struct mv_machine *machine, const char *name, uint64_t ports, struct mv_region **ret,
                       struct mv_error *err);

#endif
