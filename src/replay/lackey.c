// SPDX-License-Identifier: MIT
/*
 * Reading what valgrind's lackey prints with --trace-mem=yes. A line is some 14 bytes, and there are millions of
 * them, so each is read in one pass, without copies.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "replay/source.h"

#define TEXT_BYTES (256u * 1024u)
#define LINE_BYTES_MAX 4096u /* longer lines are nobody's */
#define SIZE_MAX_BYTES 4096u

struct lackey {
    struct mv_trace trace;
    struct byte_stream stream;
    uint64_t line; /* number of the next one, from 1 */
    bool is_at_end;
    int failure; /* of a line behind records that were good: told at the next read */
    struct mv_error failure_error;
    char *text;        /* TEXT_BYTES and a terminator */
    size_t first, end; /* bytes not read yet */
    mv_trace_record_t records[SOURCE_BATCH + 2];
};

/* 0 to 15, or 16 and more for what is no hexadecimal digit. */
static const uint8_t hex_value[256] = {
#define H(c, v) [(unsigned char)(c)] = (v) + 1
    H('0', 0),  H('1', 1),  H('2', 2),  H('3', 3),  H('4', 4),  H('5', 5),  H('6', 6),  H('7', 7),
    H('8', 8),  H('9', 9),  H('a', 10), H('b', 11), H('c', 12), H('d', 13), H('e', 14), H('f', 15),
    H('A', 10), H('B', 11), H('C', 12), H('D', 13), H('E', 14), H('F', 15),
#undef H
};

static int malformed(const struct lackey *t, const char *line, size_t length, const char *why,
                     struct mv_error *err)
{
    char shown[49];
    size_t n = length < sizeof shown - 1 ? length : sizeof shown - 1;
    for (size_t i = 0; i < n; i++) {
        shown[i] = line[i] >= ' ' && line[i] <= '~' ? line[i] : '?';
    }
    shown[n] = 0;
    return error_set(err, -EINVAL, "malformed", t->trace.name, "%s: line %llu: %s: \"%s\"", t->trace.name,
                     (unsigned long long)t->line, why, shown);
}

static bool kind_of_line(const char *line, enum mv_trace_kind *ret)
{
    if (line[0] == 'I') {
        *ret = MV_TRACE_FETCH;
        return line[1] == ' ' && line[2] == ' ';
    }
    switch (line[1]) {
    case 'L': *ret = MV_TRACE_READ; break;
    case 'S': *ret = MV_TRACE_WRITE; break;
    case 'M': *ret = MV_TRACE_MODIFY; break;
    default: return false;
    }
    return line[0] == ' ' && line[2] == ' ';
}

static bool is_remark(const char *line, size_t length)
{
    return length == 0 ||
           (length >= 2 && ((line[0] == '=' && line[1] == '=') || (line[0] == '-' && line[1] == '-')));
}

/* `line` has `length` bytes and one more that is readable and no digit. Returns how many records, or -errno. */
static int read_line(struct lackey *t, const char *line, size_t length, mv_trace_record_t *ret,
                     struct mv_error *err)
{
    enum mv_trace_kind kind;
    if (length < 6 || !kind_of_line(line, &kind)) {
        return is_remark(line, length) ? 0 : malformed(t, line, length, "neither a reference nor a remark", err);
    }
    const char *at = line + 3, *end = line + length;
    uint64_t address = 0;
    unsigned digit;
    while ((digit = hex_value[(unsigned char)*at]) != 0) {
        address = (address << 4) | (digit - 1);
        at++;
    }
    size_t digits = (size_t)(at - line) - 3;
    if (digits == 0 || *at != ',') {
        return malformed(t, line, length, "no address", err);
    }
    at++;
    unsigned size = 0;
    const char *size_at = at;
    while (at < end && (unsigned)(*at - '0') <= 9 && size <= SIZE_MAX_BYTES) {
        size = size * 10 + (unsigned)(*at++ - '0');
    }
    if (at != end || at == size_at || size == 0 || size > SIZE_MAX_BYTES) {
        return malformed(t, line, length, "no size from 1 to 4096", err);
    }
    uint64_t last = address + size - 1;
    bool fits =
        (uint64_t)((int64_t)(address << 7) >> 7) == address && (uint64_t)((int64_t)(last << 7) >> 7) == last;
    if (digits > 16 || last < address || !fits) {
        error_set(err, -EINVAL, "bad-address", t->trace.name, "%s: line %llu: no address of 57 bits",
                  t->trace.name, (unsigned long long)t->line);
        return -EINVAL;
    }
    return (int)source_reference(kind, address, size, ret);
}

/* More text behind what there is. 0 or -errno. */
static int fill(struct lackey *t, struct mv_error *err)
{
    memmove(t->text, t->text + t->first, t->end - t->first);
    t->end -= t->first;
    t->first = 0;
    int64_t n = byte_stream_read(&t->stream, t->text + t->end, TEXT_BYTES - t->end);
    if (n < 0) {
        return error_host(err, (int)n, t->trace.name, "%s", t->trace.name);
    }
    t->end += (size_t)n;
    t->is_at_end = n == 0;
    return 0;
}

/* The next line, without its newline. False: there is no whole one in the text. */
static bool next_line(const struct lackey *t, size_t *ret_length)
{
    const char *start = t->text + t->first;
    const char *newline = memchr(start, '\n', t->end - t->first);
    if (!newline) {
        return false;
    }
    *ret_length = (size_t)(newline - start);
    return true;
}

/* The last line has no newline: as good as any if it can be read, cut off if it cannot. */
static int read_tail(struct lackey *t, mv_trace_record_t *ret, struct mv_error *err)
{
    size_t length = t->end - t->first;
    if (length == 0) {
        return 0;
    }
    t->text[t->end] = '\n';
    int n = read_line(t, t->text + t->first, length, ret, NULL);
    t->first = t->end;
    if (n < 0) {
        return error_set(err, -EINVAL, "truncated", t->trace.name, "%s: cut off within line %llu", t->trace.name,
                         (unsigned long long)t->line);
    }
    return n;
}

/* Records of the lines in the text; stops at a full batch, at the end of the text, or at an error, which is kept.
 */
static size_t read_lines(struct lackey *t)
{
    size_t count = 0, length;
    while (count < SOURCE_BATCH && next_line(t, &length)) {
        int n = read_line(t, t->text + t->first, length, t->records + count, &t->failure_error);
        if (n < 0) {
            t->failure = n;
            break;
        }
        count += (size_t)n;
        t->first += length + 1;
        t->line++;
    }
    return count;
}

static int lackey_read(struct mv_trace *trace, const mv_trace_record_t **ret_records, size_t *ret_count,
                       struct mv_error *err)
{
    struct lackey *t = (struct lackey *)trace;
    *ret_records = t->records;
    for (;;) {
        if (t->failure < 0) {
            if (err) {
                *err = t->failure_error;
            }
            return t->failure;
        }
        size_t count = read_lines(t);
        if (count > 0) {
            *ret_count = count;
            return 0;
        }
        if (t->failure < 0) {
            continue;
        }
        if (t->is_at_end) {
            int n = read_tail(t, t->records, err);
            *ret_count = n > 0 ? (size_t)n : 0;
            return n < 0 ? n : 0;
        }
        if (t->end - t->first > LINE_BYTES_MAX) {
            return malformed(t, t->text + t->first, LINE_BYTES_MAX, "a line of more than 4096 bytes", err);
        }
        int rc = fill(t, err);
        if (rc < 0) {
            return rc;
        }
    }
}

static double lackey_progress(const struct mv_trace *trace)
{
    const struct lackey *t = (const struct lackey *)trace;
    if (t->stream.size_bytes == 0) {
        return -1;
    }
    return (double)(t->stream.taken - (t->end - t->first)) / (double)t->stream.size_bytes;
}

static void lackey_close(struct mv_trace *trace)
{
    struct lackey *t = (struct lackey *)trace;
    byte_stream_close(&t->stream);
    free(t->text);
    free(t);
}

static const struct source_kind lackey_kind = {"lackey", lackey_read, lackey_progress, lackey_close};

int lackey_open(struct byte_stream stream, const char *name, const void *head, size_t head_size,
                struct mv_trace **ret, struct mv_error *err)
{
    if (memchr(head, 0, head_size)) {
        return error_set(err, -EINVAL, "not-a-trace", name, "%s: neither lackey's text nor a trace of memvirt's",
                         name);
    }
    struct lackey *t = calloc(1, sizeof *t);
    char *text = malloc(TEXT_BYTES + 1);
    if (!t || !text) {
        free(t);
        free(text);
        return error_set(err, -ENOMEM, "no-memory", name, "%s: out of memory", name);
    }
    t->trace.kind = &lackey_kind;
    snprintf(t->trace.name, sizeof t->trace.name, "%s", name);
    t->stream = stream;
    t->line = 1;
    t->text = text;
    memcpy(text, head, head_size);
    t->end = head_size;
    *ret = &t->trace;
    return 0;
}
