// SPDX-License-Identifier: MIT
/* The standard streams: that they are there, and that nothing is lost on stdout without a word. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stddef.h>

/*
 * First of all. If the caller closed a standard stream its descriptor is taken, so that no file that is opened
 * later gets it; writing there fails. A pipe that nobody reads is an error like others, not the end of the
 * process.
 */
void output_init(void);

/* Flush stdout. Returns `status`, or CLI_HOST_ERROR after saying so if not all of stdout could be written. */
int output_finish(int status);

/*
 * Write some of the bytes, as write(2) does, to a descriptor that may be non-blocking: whoever else has the same
 * pipe or terminal open decides that. Returns how many, or -errno.
 */
long output_write(int fd, const void *bytes, size_t length);

#endif
