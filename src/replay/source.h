// SPDX-License-Identifier: MIT
/* Inside a trace: a kind of source is three functions. */
#ifndef REPLAY_SOURCE_H
#define REPLAY_SOURCE_H

#include <memvirt/trace.h>

#define SOURCE_BATCH 16384u /* records that a source makes at a time */

struct source_kind {
    const char *name;
    /* As mv_trace_read. */
    int (*read)(struct mv_trace *trace, const mv_trace_record_t **ret_records, size_t *ret_count,
                struct mv_error *err);
    double (*progress)(const struct mv_trace *trace);
    void (*close)(struct mv_trace *trace);
};

/* The first member of each kind's own structure, which `close` frees. */
struct mv_trace {
    const struct source_kind *kind;
    char name[MV_ERROR_OBJECT_SIZE]; /* of the source, for errors */
};

/* Bytes of a file or a pipe, in order: what text readers read. */
struct byte_stream {
    int fd;
    uint64_t taken;      /* bytes read so far */
    uint64_t size_bytes; /* of the file, or 0: not known */
};

/* Some bytes; 0 at the end; or -errno. Goes on after a signal. */
int64_t byte_stream_read(struct byte_stream *stream, void *ret, size_t capacity);
void byte_stream_close(struct byte_stream *stream); /* not standard input */

/* What a file begins with decides which; `head` has been read already. The stream is closed by the trace. */
int lackey_open(struct byte_stream stream, const char *name, const void *head, size_t head_size,
                struct mv_trace **ret, struct mv_error *err);
int binary_open(struct byte_stream stream, const char *name, const void *head, size_t head_size,
                struct mv_trace **ret, struct mv_error *err);

/* NULL: no generator is called so; else its options, "" if it has none. */
const char *generator_options_of(const char *source);
int generator_open(const char *source, struct mv_trace **ret, struct mv_error *err);

/* The records of a reference; a page is crossed at most once, since sizes are at most 4096. Returns 1 or 2. */
static inline size_t source_reference(enum mv_trace_kind kind, uint64_t address, unsigned size_bytes,
                                      mv_trace_record_t ret[2])
{
    unsigned in_page = 4096u - (unsigned)(address & 4095);
    unsigned log2 = size_bytes <= 1 ? 0 : 32u - (unsigned)__builtin_clz(size_bytes - 1);
    ret[0] = mv_trace_record(kind, log2, address);
    if (__builtin_expect(size_bytes <= in_page, 1)) {
        return 1;
    }
    static const uint8_t more[] = {MV_TRACE_READ_MORE, MV_TRACE_WRITE_MORE, MV_TRACE_FETCH_MORE,
                                   MV_TRACE_WRITE_MORE};
    ret[1] = mv_trace_record((enum mv_trace_kind)more[kind], log2, address + in_page);
    return 2;
}

#endif
