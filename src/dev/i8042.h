// SPDX-License-Identifier: MIT
/*
 * The keyboard controller at 60 and 64 with a keyboard on which nobody types: enough for a driver to find and
 * initialise both. Commands of the controller: IBM PS/2 Hardware Interface Technical Reference, "Keyboard and
 * Auxiliary Device Controller"; of the keyboard: ibid., "Keyboard".
 *
 * Missing: interrupts, a mouse, keys, and A20, which is always open; the output port's bit is storage.
 */
#ifndef DEV_I8042_H
#define DEV_I8042_H

#include <memvirt/region.h>

struct i8042_options {
    /* Told that the guest wants a reset, and by what. In the writing thread, without a lock. Borrowed. */
    void (*reset)(void *opaque, const char *how);
    void *opaque;
};

/* Make the regions "i8042-data" and "i8042-cmd", of one port each; the device goes with the last.
 * @return 0 or -ENOMEM */
int i8042_create(struct mv_machine *machine, const struct i8042_options *options, struct mv_region **ret_data,
                 struct mv_region **ret_command, struct mv_error *err);

#endif
