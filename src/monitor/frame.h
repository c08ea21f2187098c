// SPDX-License-Identifier: MIT
/*
 * Framing of QMP: which bytes of a stream are one JSON value, found without knowing more of JSON than brackets and
 * strings. Everything is bounded, and after a mistake the stream is usable again from the next line on, or at once
 * after a byte that JSON cannot have (clients send 0xff to make sure).
 */
#ifndef MONITOR_FRAME_H
#define MONITOR_FRAME_H

#include "monitor/text.h"

#define FRAME_BYTES_MAX ((size_t)64 * 1024)
#define FRAME_DEPTH_MAX 64

struct frame {
    struct text bytes;          /* of the value so far */
    unsigned depth;             /* of open brackets */
    char open[FRAME_DEPTH_MAX]; /* what closes each */
    bool in_string;
    bool escaped;  /* behind a backslash in a string */
    bool skipping; /* up to the end of the line, after a mistake */
};

enum frame_event {
    FRAME_MORE,  /* nothing yet */
    FRAME_VALUE, /* `bytes` is one, or tries to be */
    FRAME_WRONG, /* see `ret_wrong` */
};

void frame_init(struct frame *frame);
void frame_finish(struct frame *frame);

/*
 * Take bytes up to the first event. After FRAME_VALUE call frame_clear().
 * Returns how many were taken, at least 1 of `length` > 0.
 */
size_t frame_take(struct frame *frame, const char *bytes, size_t length, enum frame_event *ret_event,
                  const char **ret_wrong);

/* Ready for the next value. */
void frame_clear(struct frame *frame);

#endif
