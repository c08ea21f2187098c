// SPDX-License-Identifier: MIT
/* The standard streams: that they are there, and that nothing is lost on stdout without a word. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

/*
 * First of all. If the caller closed a standard stream its descriptor is taken, so that no file that is opened
 * later gets it; writing there fails. A pipe that nobody reads is an error like others, not the end of the
 * process.
 */
void output_init(void);

/* Flush stdout. Returns `status`, or CLI_HOST_ERROR after saying so if not all of stdout could be written. */
int output_finish(int status);

#endif
