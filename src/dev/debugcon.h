// SPDX-License-Identifier: MIT
/* The debug console of Bochs and QEMU: one port; what is written is printed, and it reads as 0xe9: "I am here". */
#ifndef DEV_DEBUGCON_H
#define DEV_DEBUGCON_H

#include <memvirt/region.h>

#include "dev/sink.h"

#define DEBUGCON_PORTS 1

/* Make the device's region, of that name, to be mapped; the device goes with it. @return 0 or -ENOMEM */
int debugcon_create(struct mv_machine *machine, const char *name, const struct sink *sink, struct mv_region **ret,
                    struct mv_error *err);

#endif
