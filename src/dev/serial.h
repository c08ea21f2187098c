// SPDX-License-Identifier: MIT
/*
 * A 16550 serial port as far as a polled console needs it: registers that read back as a driver's probe expects,
 * and a transmitter that is always ready.
 *
 * Missing: input (LSR never says "data ready"), every interrupt (IIR says that the transmitter would like one, and
 * nobody is told), and time (a byte is out as soon as it is written, whatever the divisor).
 */
#ifndef DEV_SERIAL_H
#define DEV_SERIAL_H

#include <memvirt/region.h>

#include "dev/sink.h"

#define SERIAL_PORTS 8

/* Make the device's region, to be mapped; the device goes with it. @return 0 or -ENOMEM */
int serial_create(struct mv_machine *machine, const struct sink *sink, struct mv_region **ret,
                  struct mv_error *err);

#endif
