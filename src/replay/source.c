// SPDX-License-Identifier: MIT
#include "replay/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "replay/binary.h"

int64_t byte_stream_read(struct byte_stream *stream, void *ret, size_t capacity)
{
    for (;;) {
        ssize_t n = read(stream->fd, ret, capacity);
        if (n >= 0) {
            stream->taken += (uint64_t)n;
            return n;
        }
        if (errno != EINTR) {
            return error_errno();
        }
    }
}

void byte_stream_close(struct byte_stream *stream)
{
    if (stream->fd != STDIN_FILENO) {
        close(stream->fd);
    }
}

static int open_stream(const char *source, struct byte_stream *ret, struct mv_error *err)
{
    int fd = strcmp(source, "-") == 0 ? STDIN_FILENO : open(source, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return error_host(err, error_errno(), source, "%s", source);
    }
    struct stat st;
    bool is_file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    *ret = (struct byte_stream){.fd = fd, .size_bytes = is_file ? (uint64_t)st.st_size : 0};
    return 0;
}

/* As many bytes as tell the formats apart, if there are so many. */
static int read_head(struct byte_stream *stream, uint8_t *head, size_t capacity, size_t *ret)
{
    *ret = 0;
    while (*ret < capacity) {
        int64_t n = byte_stream_read(stream, head + *ret, capacity - *ret);
        if (n <= 0) {
            return (int)n;
        }
        *ret += (size_t)n;
    }
    return 0;
}

int mv_trace_open(const char *source, struct mv_trace **ret, struct mv_error *err)
{
    if (generator_options_of(source)) {
        return generator_open(source, ret, err);
    }
    struct byte_stream stream;
    int rc = open_stream(source, &stream, err);
    if (rc < 0) {
        return rc;
    }
    const char *name = strcmp(source, "-") == 0 ? "standard input" : source;
    uint8_t head[BINARY_HEADER_BYTES];
    size_t size;
    rc = read_head(&stream, head, sizeof head, &size);
    if (rc < 0) {
        error_host(err, rc, name, "%s", name);
    } else if (size >= BINARY_MAGIC_BYTES && memcmp(head, BINARY_MAGIC, BINARY_MAGIC_BYTES) == 0) {
        rc = binary_open(stream, name, head, size, ret, err);
    } else {
        rc = lackey_open(stream, name, head, size, ret, err);
    }
    if (rc < 0) {
        byte_stream_close(&stream);
    }
    return rc;
}

void mv_trace_close(struct mv_trace *trace)
{
    if (trace) {
        trace->kind->close(trace);
    }
}

int mv_trace_read(struct mv_trace *trace, const mv_trace_record_t **ret_records, size_t *ret_count,
                  struct mv_error *err)
{
    return trace->kind->read(trace, ret_records, ret_count, err);
}

double mv_trace_progress(const struct mv_trace *trace)
{
    return trace->kind->progress(trace);
}

const char *mv_trace_format(const struct mv_trace *trace)
{
    return trace->kind->name;
}
