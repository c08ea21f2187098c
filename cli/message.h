// SPDX-License-Identifier: MIT
/* Lines for people, on stderr: each is one line and begins with "memvirt: ". */
#ifndef CLI_MESSAGE_H
#define CLI_MESSAGE_H

#include <memvirt/types.h>

/* Any thread. Control characters, which names of files may have, are shown as '?'. */
void say(const char *format, ...) MV_PRINTF(1, 2);

/* Say what is wrong with the command line and where help is: that of `command`, or of all if NULL. Returns
 * CLI_USAGE. */
int usage_error(const char *command, const char *format, ...) MV_PRINTF(2, 3);

/* The same for an option that getopt_long() answered with `c`, '?' or ':'. */
int option_error(const char *command, int c, char *const *argv);

/* Say why not. Returns the exit status: CLI_REFUSED, or CLI_NO_ACCEL where it is the accelerator that cannot be
 * used. */
int say_refusal(const struct mv_error *err);

#endif
