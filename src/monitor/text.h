// SPDX-License-Identifier: MIT
/* Text that grows up to a limit. What does not fit is left out, and `overflowed` says so. */
#ifndef MONITOR_TEXT_H
#define MONITOR_TEXT_H

#include <memvirt/types.h>

/* Owned by whoever initialised it. Invariant: length <= capacity, length <= limit. */
struct text {
    char *bytes; /* not terminated */
    size_t length;
    size_t capacity;
    size_t limit;
    bool overflowed; /* something is missing: the limit, or the host's memory, was reached */
};

void text_init(struct text *text, size_t limit);
void text_finish(struct text *text);

void text_add(struct text *text, const char *bytes, size_t length);
void text_print(struct text *text, const char *format, ...) MV_PRINTF(2, 3);

/* Drop the first `length` bytes. */
void text_drop(struct text *text, size_t length);
void text_clear(struct text *text);

#endif
