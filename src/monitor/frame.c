// SPDX-License-Identifier: MIT
#include "monitor/frame.h"

#include <string.h>

void frame_init(struct frame *frame)
{
    *frame = (struct frame){.depth = 0};
    text_init(&frame->bytes, FRAME_BYTES_MAX);
}

void frame_finish(struct frame *frame)
{
    text_finish(&frame->bytes);
}

void frame_clear(struct frame *frame)
{
    bool skipping = frame->skipping;
    frame_finish(frame);
    frame_init(frame);
    frame->skipping = skipping;
}

static enum frame_event wrong(struct frame *frame, const char *what, const char **ret_wrong)
{
    frame->skipping = true;
    frame_clear(frame);
    *ret_wrong = what;
    return FRAME_WRONG;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static enum frame_event take_in_string(struct frame *frame, char c)
{
    if (frame->escaped) {
        frame->escaped = false;
    } else if (c == '\\') {
        frame->escaped = true;
    } else if (c == '"') {
        frame->in_string = false;
        return frame->depth == 0 ? FRAME_VALUE : FRAME_MORE;
    }
    return FRAME_MORE;
}

/* What a byte outside of strings does to the brackets. */
static enum frame_event take_outside(struct frame *frame, char c, const char **ret_wrong)
{
    switch (c) {
    case '"': frame->in_string = true; return FRAME_MORE;
    case '{':
    case '[':
        if (frame->depth == FRAME_DEPTH_MAX) {
            return wrong(frame, "JSON nesting is too deep", ret_wrong);
        }
        frame->open[frame->depth++] = c == '{' ? '}' : ']';
        return FRAME_MORE;
    case '}':
    case ']':
        if (frame->depth == 0 || frame->open[frame->depth - 1] != c) {
            return wrong(frame, "JSON parse error, brackets do not match", ret_wrong);
        }
        frame->depth--;
        return frame->depth == 0 ? FRAME_VALUE : FRAME_MORE;
    default: return FRAME_MORE;
    }
}

static enum frame_event take_byte(struct frame *frame, char c, const char **ret_wrong)
{
    unsigned char byte = (unsigned char)c;
    bool empty = frame->bytes.length == 0;
    if (byte == 0xff || (byte < ' ' && !is_blank(c)) || (frame->in_string && (c == '\n' || c == '\r'))) {
        enum frame_event event = wrong(frame, "JSON parse error, stray byte", ret_wrong);
        frame->skipping = false; /* such a byte ends it: what follows is new */
        return event;
    }
    if (!frame->in_string && frame->depth == 0 && is_blank(c)) {
        return empty ? FRAME_MORE : FRAME_VALUE; /* a blank ends a number or a word */
    }
    text_add(&frame->bytes, &c, 1);
    if (frame->bytes.overflowed) {
        return wrong(frame, "JSON value is too large", ret_wrong);
    }
    return frame->in_string ? take_in_string(frame, c) : take_outside(frame, c, ret_wrong);
}

size_t frame_take(struct frame *frame, const char *bytes, size_t length, enum frame_event *ret_event,
                  const char **ret_wrong)
{
    enum frame_event event = FRAME_MORE;
    size_t taken = 0;
    while (taken < length && event == FRAME_MORE) {
        char c = bytes[taken++];
        if (frame->skipping) {
            frame->skipping = c != '\n' && (unsigned char)c != 0xff;
        } else {
            event = take_byte(frame, c, ret_wrong);
        }
    }
    *ret_event = event;
    return taken;
}
