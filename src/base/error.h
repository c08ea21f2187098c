// SPDX-License-Identifier: MIT
/* Filling in `struct mv_error`: the control plane's way of saying what failed, on which object and why. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <memvirt/types.h>

/*
 * Fill in *err, unless err is NULL, and return `code`, so that a failing call ends with `return error_set(...)`.
 * `code` is a negative errno, `reason` a static word. `object` is copied and may be NULL.
 */
int error_set(struct mv_error *err, int code, const char *reason, const char *object, const char *format, ...)
    MV_PRINTF(5, 6);

/* The same for a failed system call: appends ": " and the errno's text; reason is "host". `code` is -errno. */
int error_host(struct mv_error *err, int code, const char *object, const char *format, ...) MV_PRINTF(4, 5);

/* The errno of a call that just failed, as a negative code; -EIO if the call forgot to set it. */
int error_errno(void);

#endif
