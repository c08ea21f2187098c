// SPDX-License-Identifier: MIT
/* Writing memvirt's binary traces. The header is written last: until then it says that the numbers are not known.
 */
#include <errno.h>
#include <fcntl.h>
#include <memvirt/trace.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "replay/binary.h"

#define BUFFER_RECORDS 8192u

struct mv_trace_writer {
    int fd;
    char name[MV_ERROR_OBJECT_SIZE];
    uint64_t records, references;
    size_t used;
    mv_trace_record_t buffer[BUFFER_RECORDS];
};

static int write_all(const struct mv_trace_writer *w, const void *bytes, size_t size, struct mv_error *err)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t n = write(w->fd, at, size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return error_host(err, error_errno(), w->name, "%s", w->name);
        }
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

static struct binary_header header_of(uint64_t records, uint64_t references)
{
    struct binary_header header = {
        .version = BINARY_VERSION,
        .header_bytes = BINARY_HEADER_BYTES,
        .records = records,
        .references = references,
    };
    memcpy(header.magic, BINARY_MAGIC, BINARY_MAGIC_BYTES);
    return header;
}

int mv_trace_writer_create(const char *path, struct mv_trace_writer **ret, struct mv_error *err)
{
    struct mv_trace_writer *w = malloc(sizeof *w);
    if (!w) {
        return error_set(err, -ENOMEM, "no-memory", path, "%s: out of memory", path);
    }
    bool is_stdout = strcmp(path, "-") == 0;
    w->fd = is_stdout ? STDOUT_FILENO : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    snprintf(w->name, sizeof w->name, "%s", is_stdout ? "standard output" : path);
    w->records = w->references = 0;
    w->used = 0;
    int rc = w->fd < 0 ? error_host(err, error_errno(), path, "%s", path) : 0;
    if (rc == 0) {
        struct binary_header header = header_of(BINARY_UNKNOWN, BINARY_UNKNOWN);
        rc = write_all(w, &header, sizeof header, err);
    }
    if (rc < 0) {
        mv_trace_writer_abandon(w);
        return rc;
    }
    *ret = w;
    return 0;
}

static int flush(struct mv_trace_writer *w, struct mv_error *err)
{
    int rc = write_all(w, w->buffer, w->used * sizeof w->buffer[0], err);
    w->used = 0;
    return rc;
}

int mv_trace_write(struct mv_trace_writer *w, const mv_trace_record_t *records, size_t count, struct mv_error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (w->used == BUFFER_RECORDS) {
            int rc = flush(w, err);
            if (rc < 0) {
                return rc;
            }
        }
        w->buffer[w->used++] = records[i];
        w->records++;
        w->references += mv_trace_kind_of(records[i]) <= MV_TRACE_MODIFY;
    }
    return 0;
}

int mv_trace_writer_finish(struct mv_trace_writer *w, struct mv_error *err)
{
    int rc = flush(w, err);
    if (rc == 0 && lseek(w->fd, 0, SEEK_SET) == 0) { /* a pipe keeps "not known" */
        struct binary_header header = header_of(w->records, w->references);
        rc = write_all(w, &header, sizeof header, err);
    }
    if (w->fd != STDOUT_FILENO && close(w->fd) < 0 && rc == 0) {
        rc = error_host(err, error_errno(), w->name, "%s", w->name);
    }
    free(w);
    return rc;
}

void mv_trace_writer_abandon(struct mv_trace_writer *w)
{
    if (w && w->fd > STDOUT_FILENO) {
        close(w->fd);
    }
    free(w);
}
