// SPDX-License-Identifier: MIT
/* Line editing and history, for a monitor on a terminal. Where libedit is. */
#ifndef MONITOR_EDIT_H
#define MONITOR_EDIT_H

#include <memvirt/types.h>

struct channel;

/*
 * Serve standard input and output until the channel or the input ends. False when nothing was done: it is no
 * terminal, or libedit is not there.
 */
bool edit_serve(struct channel *channel);

#endif
