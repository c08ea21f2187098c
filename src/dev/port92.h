// SPDX-License-Identifier: MIT
/* System control port A: a rise of bit 0 resets; bit 1 is the A20 gate, which is always open here: storage. */
#ifndef DEV_PORT92_H
#define DEV_PORT92_H

#include <memvirt/region.h>

#define PORT92_PORTS 1

struct port92_options {
    /* Told that the guest wants a reset, and by what. In the writing thread, without a lock. Borrowed. */
    void (*reset)(void *opaque, const char *how);
    void *opaque;
};

/* Make the device's region, to be mapped; the device goes with it. @return 0 or -ENOMEM */
int port92_create(struct mv_machine *machine, const struct port92_options *options, struct mv_region **ret,
                  struct mv_error *err);

#endif
