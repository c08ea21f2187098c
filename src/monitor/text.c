// SPDX-License-Identifier: MIT
#include "monitor/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_init(struct text *text, size_t limit)
{
    *text = (struct text){.limit = limit};
}

void text_finish(struct text *text)
{
    free(text->bytes);
    text_init(text, text->limit);
}

static bool make_room(struct text *text, size_t length)
{
    if (length > text->limit - text->length) {
        return false;
    }
    if (length <= text->capacity - text->length) {
        return true;
    }
    size_t capacity = 2 * (text->length + length);
    char *bytes = realloc(text->bytes, capacity);
    if (!bytes) {
        return false;
    }
    text->bytes = bytes;
    text->capacity = capacity;
    return true;
}

void text_add(struct text *text, const char *bytes, size_t length)
{
    if (length == 0) {
        return;
    }
    if (text->overflowed || !make_room(text, length)) {
        text->overflowed = true; /* for good: a gap in the middle would be worse */
        return;
    }
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
}

void text_print(struct text *text, const char *format, ...)
{
    char small[256];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(small, sizeof small, format, arguments);
    va_end(arguments);
    if (n < 0) {
        text->overflowed = true;
    } else if ((size_t)n < sizeof small) {
        text_add(text, small, (size_t)n);
    } else {
        char *large = NULL;
        va_start(arguments, format);
        n = vasprintf(&large, format, arguments);
        va_end(arguments);
        if (n < 0) {
            text->overflowed = true;
            return;
        }
        text_add(text, large, (size_t)n);
        free(large);
    }
}

void text_drop(struct text *text, size_t length)
{
    text->length -= length;
    memmove(text->bytes, text->bytes + length, text->length);
}

void text_clear(struct text *text)
{
    text->length = 0;
    text->overflowed = false;
}
