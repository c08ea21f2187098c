// SPDX-License-Identifier: MIT
/* A guest: all that a run needs, from the machine's memory to its console. */
#ifndef CLI_GUEST_H
#define CLI_GUEST_H

#include <memvirt/board.h>

#include "console.h"
#include "run_options.h"

/* Owns everything in it. Its address must not change: its threads know it. */
struct guest {
    struct mv_machine *machine;
    struct mv_board *board;
    struct mv_vm *vm;
    struct console console;
};

/*
 * Make the guest that was asked for, ready to run. Returns CLI_OK, or the exit status after saying what went
 * wrong; end it with guest_finish() in either case.
 */
int guest_init(struct guest *guest, const struct run_options *options);
void guest_finish(struct guest *guest);

/* Where the console is to go when a report of this form follows. */
int guest_console_fd(enum stats_form stats);

#endif
