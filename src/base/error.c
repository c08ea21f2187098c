// SPDX-License-Identifier: MIT
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fill(struct mv_error *err, int code, const char *reason, const char *object, const char *format,
                 va_list arguments)
{
    err->code = code;
    err->reason = reason;
    snprintf(err->object, sizeof err->object, "%s", object ? object : "");
    vsnprintf(err->text, sizeof err->text, format, arguments);
}

int error_set(struct mv_error *err, int code, const char *reason, const char *object, const char *format, ...)
{
    if (err) {
        va_list arguments;
        va_start(arguments, format);
        fill(err, code, reason, object, format, arguments);
        va_end(arguments);
    }
    return code;
}

int error_host(struct mv_error *err, int code, const char *object, const char *format, ...)
{
    if (err) {
        va_list arguments;
        va_start(arguments, format);
        fill(err, code, "host", object, format, arguments);
        va_end(arguments);
        size_t used = strlen(err->text);
        char buffer[128];
        /* The GNU strerror_r: returns the text, which may or may not be in the buffer. */
        snprintf(err->text + used, sizeof err->text - used, ": %s", strerror_r(-code, buffer, sizeof buffer));
    }
    return code;
}

int error_errno(void)
{
    return errno > 0 ? -errno : -EIO;
}
