// SPDX-License-Identifier: MIT
#include "machine/mtree_out.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define FIRST_CAPACITY 4096

static bool make_room(struct mtree_out *out, size_t more)
{
    size_t capacity = out->capacity ? out->capacity : FIRST_CAPACITY;
    while (capacity - out->length <= more) {
        capacity *= 2;
    }
    if (capacity != out->capacity) {
        char *text = realloc(out->text, capacity);
        if (!text) {
            out->failed = true;
            return false;
        }
        out->text = text;
        out->capacity = capacity;
    }
    return true;
}

void mtree_out_add(struct mtree_out *out, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (out->failed || length < 0 || !make_room(out, (size_t)length)) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(out->text + out->length, out->capacity - out->length, format, arguments);
    va_end(arguments);
    out->length += (size_t)length;
}

int mtree_out_tell(struct mtree_out *out, mv_print_fn *print, void *opaque, struct mv_error *err)
{
    int rc = 0;
    if (out->failed) {
        rc = error_set(err, -ENOMEM, "no-memory", NULL, "mtree: out of memory");
    } else if (out->length > 0) {
        char *line = out->text;
        char *end;
        while ((end = strchr(line, '\n')) != NULL) {
            *end = '\0';
            print(opaque, line);
            line = end + 1;
        }
        if (*line) {
            print(opaque, line);
        }
    }
    mtree_out_finish(out);
    return rc;
}

void mtree_out_finish(struct mtree_out *out)
{
    free(out->text);
    *out = (struct mtree_out){0};
}
