// SPDX-License-Identifier: MIT
/*
 * Reading memvirt's binary traces: a file is mapped and used as it is, a pipe is read. The header is not trusted:
 * a file must have exactly the records that it says.
 */
#include "replay/binary.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"
#include "replay/source.h"

#define MAPPED_BATCH 65536u

struct binary {
    struct mv_trace trace;
    struct byte_stream stream;
    uint64_t records; /* that there must be, or BINARY_UNKNOWN */
    uint64_t taken;
    /* A file. */
    void *map;
    size_t map_bytes;
    /* A pipe: whole records, and the bytes of one that is not complete yet behind them. */
    mv_trace_record_t *buffer;
    size_t leftover_bytes;
};

static int check_record(const struct binary *b, mv_trace_record_t record, uint64_t index, struct mv_error *err)
{
    if (mv_trace_kind_of(record) == MV_TRACE_EVENT && mv_trace_event_of(record) > MV_TRACE_UNMAP) {
        return error_set(err, -EINVAL, "malformed", b->trace.name, "%s: record %llu is an unknown event, %u",
                         b->trace.name, (unsigned long long)index, (unsigned)mv_trace_event_of(record));
    }
    return 0;
}

static int check_records(const struct binary *b, const mv_trace_record_t *records, size_t count,
                         struct mv_error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (__builtin_expect(mv_trace_kind_of(records[i]) == MV_TRACE_EVENT, 0)) {
            int rc = check_record(b, records[i], b->taken + i, err);
            if (rc < 0) {
                return rc;
            }
        }
    }
    return 0;
}

/* --- A file -------------------------------------------------------------------------------------- */

static int read_mapped(struct mv_trace *trace, const mv_trace_record_t **ret_records, size_t *ret_count,
                       struct mv_error *err)
{
    struct binary *b = (struct binary *)trace;
    uint64_t left = b->records - b->taken;
    size_t count = left < MAPPED_BATCH ? (size_t)left : MAPPED_BATCH;
    const mv_trace_record_t *records =
        (const mv_trace_record_t *)((const uint8_t *)b->map + BINARY_HEADER_BYTES) + b->taken;
    int rc = check_records(b, records, count, err);
    if (rc < 0) {
        return rc;
    }
    *ret_records = records;
    *ret_count = count;
    b->taken += count;
    return 0;
}

static double progress(const struct mv_trace *trace)
{
    const struct binary *b = (const struct binary *)trace;
    if (b->records == BINARY_UNKNOWN) {
        return -1;
    }
    return b->records == 0 ? 1 : (double)b->taken / (double)b->records;
}

static void close_binary(struct mv_trace *trace)
{
    struct binary *b = (struct binary *)trace;
    if (b->map) {
        munmap(b->map, b->map_bytes);
    }
    byte_stream_close(&b->stream);
    free(b->buffer);
    free(b);
}

static const struct source_kind mapped_kind = {"memvirt", read_mapped, progress, close_binary};

static int open_mapped(struct binary *b, struct mv_error *err)
{
    const char *name = b->trace.name;
    uint64_t body = b->stream.size_bytes - BINARY_HEADER_BYTES;
    if (body % sizeof(mv_trace_record_t) != 0) {
        return error_set(err, -EINVAL, "truncated", name,
                         "%s: cut off: %llu bytes are behind its last whole record", name,
                         (unsigned long long)(body % sizeof(mv_trace_record_t)));
    }
    uint64_t count = body / sizeof(mv_trace_record_t);
    if (b->records != BINARY_UNKNOWN && b->records != count) {
        return error_set(err, -EINVAL, b->records > count ? "truncated" : "bad-header", name,
                         "%s: its header says %llu records, and it has %llu", name, (unsigned long long)b->records,
                         (unsigned long long)count);
    }
    b->records = count;
    b->map_bytes = (size_t)b->stream.size_bytes;
    b->map = mmap(NULL, b->map_bytes, PROT_READ, MAP_PRIVATE, b->stream.fd, 0);
    if (b->map == MAP_FAILED) {
        b->map = NULL;
        return error_host(err, error_errno(), name, "%s: it cannot be mapped", name);
    }
    madvise(b->map, b->map_bytes, MADV_SEQUENTIAL);
    b->trace.kind = &mapped_kind;
    return 0;
}

/* --- A pipe -------------------------------------------------------------------------------------- */

static int end_of_pipe(const struct binary *b, struct mv_error *err)
{
    const char *name = b->trace.name;
    if (b->leftover_bytes > 0) {
        return error_set(err, -EINVAL, "truncated", name, "%s: cut off within record %llu", name,
                         (unsigned long long)b->taken);
    }
    if (b->records != BINARY_UNKNOWN && b->taken != b->records) {
        return error_set(err, -EINVAL, b->taken < b->records ? "truncated" : "bad-header", name,
                         "%s: its header says %llu records, and it has %llu", name, (unsigned long long)b->records,
                         (unsigned long long)b->taken);
    }
    return 0;
}

static int read_pipe(struct mv_trace *trace, const mv_trace_record_t **ret_records, size_t *ret_count,
                     struct mv_error *err)
{
    struct binary *b = (struct binary *)trace;
    uint8_t *bytes = (uint8_t *)b->buffer;
    size_t have = b->leftover_bytes, size = sizeof(mv_trace_record_t);
    while (have < size) {
        int64_t n = byte_stream_read(&b->stream, bytes + have, SOURCE_BATCH * size - have);
        if (n < 0) {
            return error_host(err, (int)n, b->trace.name, "%s", b->trace.name);
        }
        if (n == 0) {
            b->leftover_bytes = have;
            *ret_count = 0;
            return end_of_pipe(b, err);
        }
        have += (size_t)n;
    }
    /* The bytes behind the last whole record begin the next batch: they are kept beyond this one. */
    size_t count = have / size;
    memcpy(bytes + SOURCE_BATCH * size, bytes + count * size, have % size);
    int rc = check_records(b, b->buffer, count, err);
    if (rc < 0) {
        return rc;
    }
    *ret_records = b->buffer;
    *ret_count = count;
    b->taken += count;
    b->leftover_bytes = have % size;
    return 0;
}

/* What the last batch left is moved to the front only now: the caller has been reading there. */
static int read_pipe_next(struct mv_trace *trace, const mv_trace_record_t **ret_records, size_t *ret_count,
                          struct mv_error *err)
{
    struct binary *b = (struct binary *)trace;
    memmove(b->buffer, b->buffer + SOURCE_BATCH, b->leftover_bytes);
    return read_pipe(trace, ret_records, ret_count, err);
}

static const struct source_kind pipe_kind = {"memvirt", read_pipe_next, progress, close_binary};

static int open_pipe(struct binary *b, struct mv_error *err)
{
    b->buffer = malloc((SOURCE_BATCH + 1) * sizeof *b->buffer);
    if (!b->buffer) {
        return error_set(err, -ENOMEM, "no-memory", b->trace.name, "%s: out of memory", b->trace.name);
    }
    b->trace.kind = &pipe_kind;
    return 0;
}

/* --- Opening ------------------------------------------------------------------------------------- */

static int check_header(const struct binary_header *h, const char *name, struct mv_error *err)
{
    if (h->version != BINARY_VERSION || h->header_bytes != BINARY_HEADER_BYTES) {
        return error_set(err, -EINVAL, "bad-header", name,
                         "%s: version %u with a header of %u bytes; this memvirt reads version %u", name,
                         h->version, h->header_bytes, BINARY_VERSION);
    }
    for (size_t i = 0; i < sizeof h->zero; i++) {
        if (h->zero[i] != 0) {
            return error_set(err, -EINVAL, "bad-header", name, "%s: byte %zu of its header is not zero", name,
                             offsetof(struct binary_header, zero) + i);
        }
    }
    if (h->references != BINARY_UNKNOWN && h->references > h->records) {
        return error_set(err, -EINVAL, "bad-header", name, "%s: its header says more references than records",
                         name);
    }
    return 0;
}

int binary_open(struct byte_stream stream, const char *name, const void *head, size_t head_size,
                struct mv_trace **ret, struct mv_error *err)
{
    if (head_size < BINARY_HEADER_BYTES) {
        return error_set(err, -EINVAL, "truncated", name, "%s: cut off within its header", name);
    }
    struct binary_header header;
    memcpy(&header, head, sizeof header);
    int rc = check_header(&header, name, err);
    if (rc < 0) {
        return rc;
    }
    struct binary *b = calloc(1, sizeof *b);
    if (!b) {
        return error_set(err, -ENOMEM, "no-memory", name, "%s: out of memory", name);
    }
    snprintf(b->trace.name, sizeof b->trace.name, "%s", name);
    b->stream = stream;
    b->records = header.records;
    rc = stream.size_bytes > 0 ? open_mapped(b, err) : open_pipe(b, err);
    if (rc < 0) {
        free(b);
        return rc;
    }
    *ret = &b->trace;
    return 0;
}
