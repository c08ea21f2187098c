// SPDX-License-Identifier: MIT
/**
 * @file trace.h
 * Traces: what a program's references to memory were, as a sequence of records. They come from valgrind's lackey,
 * from memvirt's own binary files, or from generators, and all look alike: 8 bytes a record. docs/trace-format.md
 * has the file.
 *
 * A record is a reference, or an event of the operating system behind the program (another process runs, a process
 * forks, memory is unmapped). A reference lies in one 4 KiB page: one that crosses into the next is two records,
 * of which the second is marked as a continuation.
 */
#ifndef MEMVIRT_TRACE_H
#define MEMVIRT_TRACE_H

#include <memvirt/types.h>

MV_BEGIN_DECLS

enum mv_trace_kind {
    MV_TRACE_READ,
    MV_TRACE_WRITE,
    MV_TRACE_FETCH,
    MV_TRACE_MODIFY,     /**< read, then written, by one instruction */
    MV_TRACE_READ_MORE,  /**< the rest of the reference before it, in the next page */
    MV_TRACE_WRITE_MORE, /**< also of one that modifies */
    MV_TRACE_FETCH_MORE,
    MV_TRACE_EVENT,
};

/** What an event is; its argument is the record's address field. */
enum mv_trace_event {
    MV_TRACE_SWITCH, /**< process `argument` runs from here on; it is made if there is none. The first one is 0 */
    MV_TRACE_FORK,   /**< the running process forks; the child is `argument`, and does not run yet */
    MV_TRACE_EXIT,   /**< process `argument` ends; it is not the running one */
    MV_TRACE_LENGTH, /**< in bytes, of the UNMAP that follows */
    MV_TRACE_UNMAP,  /**< the running process unmaps what begins at `argument` */
};

/**
 * A record. Bits 63-61: the kind. Of a reference, bits 60-57 are the size in bytes as a power of two, rounded up;
 * of an event, which. Bits 56-0 are the address, which its bit 56 extends to 64, or the argument.
 */
typedef uint64_t mv_trace_record_t;

#define MV_TRACE_ADDRESS_BITS 57
#define MV_TRACE_ARGUMENT_MAX ((UINT64_C(1) << 56) - 1)

static inline mv_trace_record_t mv_trace_record(enum mv_trace_kind kind, unsigned size_log2, uint64_t address)
{
    return ((uint64_t)kind << 61) | ((uint64_t)(size_log2 & 15) << 57) |
           (address & ((UINT64_C(1) << MV_TRACE_ADDRESS_BITS) - 1));
}

static inline mv_trace_record_t mv_trace_event(enum mv_trace_event event, uint64_t argument)
{
    return mv_trace_record(MV_TRACE_EVENT, (unsigned)event, argument);
}

static inline enum mv_trace_kind mv_trace_kind_of(mv_trace_record_t record)
{
    return (enum mv_trace_kind)(record >> 61);
}

static inline uint64_t mv_trace_address_of(mv_trace_record_t record)
{
    return (uint64_t)((int64_t)(record << 7) >> 7);
}

static inline unsigned mv_trace_size_log2_of(mv_trace_record_t record)
{
    return (record >> 57) & 15;
}

static inline enum mv_trace_event mv_trace_event_of(mv_trace_record_t record)
{
    return (enum mv_trace_event)((record >> 57) & 15);
}

/** A source of records, open. One thread at a time. */
struct mv_trace;

/**
 * Open a source:
 *   - a file in memvirt's format, or of lackey's text, told apart by their first bytes; "-" is standard input;
 *   - a generator: "gups", "sequential", "cyclic", "chase", "btree", "fork", "switch" or "churn", with options
 * behind a colon: "gups:size=1G,refs=100M,seed=7"; `memvirt replay --help` lists them. A file of such a name is
 * "./gups".
 * @return 0; what open(2) says; -EINVAL with the reason "bad-option" for a generator's option, "not-a-trace",
 *         "truncated" or "bad-header" for a file; -ENOMEM
 */
MV_API int mv_trace_open(const char *source, struct mv_trace **ret, struct mv_error *err);

/** NULL is allowed. */
MV_API void mv_trace_close(struct mv_trace *trace);

/**
 * Read on.
 * @param ret_records  where they are, good until the next call; at most some 64 Ki
 * @param ret_count    how many; 0 at the end
 * @return 0; what read(2) says; -EINVAL with the reason "malformed", "truncated" or "bad-address" and the number
 * of the line or record. Records before that one have been returned.
 */
MV_API int mv_trace_read(struct mv_trace *trace, const mv_trace_record_t **ret_records, size_t *ret_count,
                         struct mv_error *err);

/** How far it is, from 0 to 1; negative where the end is not known (a pipe). */
MV_API double mv_trace_progress(const struct mv_trace *trace);

/** What it is, in words: "lackey", "memvirt" or the generator's name. As long as the trace. */
MV_API const char *mv_trace_format(const struct mv_trace *trace);

/** A file in memvirt's format, being written. */
struct mv_trace_writer;

/** Make it, or empty it. "-" is standard output, which must be a regular file or a pipe. @return 0 or what open(2)
 * says */
MV_API int mv_trace_writer_create(const char *path, struct mv_trace_writer **ret, struct mv_error *err);
/** @return 0 or what write(2) says */
MV_API int mv_trace_write(struct mv_trace_writer *writer, const mv_trace_record_t *records, size_t count,
                          struct mv_error *err);
/** Write what is left and the header, close, and free. A file that is not finished has a header which says so.
 * @return 0 or what write(2) or close(2) says; freed in any case */
MV_API int mv_trace_writer_finish(struct mv_trace_writer *writer, struct mv_error *err);
/** Close and free without finishing. NULL is allowed. */
MV_API void mv_trace_writer_abandon(struct mv_trace_writer *writer);

MV_END_DECLS

#endif
