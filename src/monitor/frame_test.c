// SPDX-License-Identifier: MIT
/* Framing: where values end, in whatever pieces they come, and that the stream recovers from every mistake. */
#include "monitor/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The events of a stream, as text: each value, "!" for a mistake; '|' between. */
static void frames(const char *bytes, size_t length, size_t piece, char *ret, size_t size)
{
    struct frame frame;
    size_t done = 0;
    size_t used = 0;
    frame_init(&frame);
    ret[0] = '\0';
    while (done < length) {
        enum frame_event event;
        const char *wrong = NULL;
        size_t n = length - done < piece ? length - done : piece;
        size_t taken = frame_take(&frame, bytes + done, n, &event, &wrong);
        assert_in_range(taken, 1, n);
        done += taken;
        if (event == FRAME_VALUE) {
            used += (size_t)snprintf(ret + used, size - used, "%.*s|", (int)frame.bytes.length, frame.bytes.bytes);
            frame_clear(&frame);
        } else if (event == FRAME_WRONG) {
            assert_non_null(wrong);
            used += (size_t)snprintf(ret + used, size - used, "!|");
        }
        assert_in_range(frame.depth, 0, FRAME_DEPTH_MAX);
    }
    frame_finish(&frame);
}

static void are(const char *text, const char *wanted)
{
    char got[1024];
    for (size_t piece = 1; piece < 8; piece++) {
        frames(text, strlen(text), piece, got, sizeof got);
        assert_string_equal(got, wanted);
    }
}

static void test_values(void **state)
{
    (void)state;
    are("{}", "{}|");
    are("{}{}\n{}", "{}|{}|{}|");
    are(" { \"a\": [ {} , 1 ] }\r\n", "{ \"a\": [ {} , 1 ] }|");
    are("{\"}\\\"\": \"{[\\\\\"}", "{\"}\\\"\": \"{[\\\\\"}|");
    are("12 true\nnull\n", "12|true|null|");
    are("\"text\"{}", "\"text\"|{}|");
    are("{\n}\n", "{\n}|");
}

static void test_mistakes(void **state)
{
    (void)state;
    are("}\n{}", "!|{}|");
    are("{]{}\n{}", "!|{}|");
    are("{\"a\n{}\n", "!|{}|");
    are("{\"a\": \xff{}", "!|{}|");
    are("[[[\x01{}", "!|{}|");
    are("}}}} \xff{}", "!|{}|");
    are("\xff\xff{}", "!|!|{}|");
}

static void test_limits(void **state)
{
    (void)state;
    static char text[3 * FRAME_BYTES_MAX];
    static char got[2 * FRAME_BYTES_MAX];
    memset(text, '[', FRAME_DEPTH_MAX + 1);
    strcpy(text + FRAME_DEPTH_MAX + 1, "]]]\n{}");
    frames(text, strlen(text), 100, got, sizeof got);
    assert_string_equal(got, "!|{}|");
    memset(text, '[', FRAME_DEPTH_MAX);
    memset(text + FRAME_DEPTH_MAX, ']', FRAME_DEPTH_MAX);
    frames(text, 2 * FRAME_DEPTH_MAX, 100, got, sizeof got);
    assert_int_equal(strlen(got), 2 * FRAME_DEPTH_MAX + 1);
    memset(text, 'x', FRAME_BYTES_MAX + 10);
    strcpy(text + FRAME_BYTES_MAX + 10, "\n{}");
    frames(text, strlen(text), 4096, got, sizeof got);
    assert_string_equal(got, "!|{}|");
    /* The largest that fits. */
    memset(text, 'x', FRAME_BYTES_MAX);
    strcpy(text + FRAME_BYTES_MAX, "\n");
    frames(text, strlen(text), 4096, got, sizeof got);
    assert_int_equal(strlen(got), FRAME_BYTES_MAX + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
