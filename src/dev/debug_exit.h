// SPDX-License-Identifier: MIT
/* The exit port: a guest that writes to it is done, and what it writes is its status. */
#ifndef DEV_DEBUG_EXIT_H
#define DEV_DEBUG_EXIT_H

#include <memvirt/region.h>

#define DEBUG_EXIT_PORTS 4

struct debug_exit_options {
    const char *name; /* of the region */
    /* Told each value written, of 1, 2 or 4 bytes, in the writing thread. Borrowed, as `opaque` is. */
    void (*exit)(void *opaque, uint32_t value);
    void *opaque;
};

/* Make the device's region, to be mapped; the device goes with it. @return 0 or -ENOMEM */
int debug_exit_create(struct mv_machine *machine, const struct debug_exit_options *options, struct mv_region **ret,
                      struct mv_error *err);

#endif
