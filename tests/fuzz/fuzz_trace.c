// SPDX-License-Identifier: MIT
/*
 * libFuzzer target: any bytes as a trace, of either format. It is read to its end, or refused with one line; no
 * record is of an unknown kind, and a reference that goes on in the next page begins there.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memvirt/trace.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int truth)
{
    if (!truth) {
        abort();
    }
}

static void check_record(mv_trace_record_t record)
{
    enum mv_trace_kind kind = mv_trace_kind_of(record);
    must(kind != MV_TRACE_EVENT || mv_trace_event_of(record) <= MV_TRACE_UNMAP);
}

static void read_all(struct mv_trace *trace, struct mv_error *err)
{
    const mv_trace_record_t *records;
    size_t count;
    int rc;
    while ((rc = mv_trace_read(trace, &records, &count, err)) == 0 && count > 0) {
        for (size_t i = 0; i < count; i++) {
            check_record(records[i]);
        }
        must(mv_trace_progress(trace) <= 1);
    }
    must(rc == 0 || (err->code == rc && err->text[0] && !strchr(err->text, '\n')));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct mv_trace *trace;
    struct mv_error err = {0};
    int rc = mv_trace_open(path, &trace, &err);
    if (rc < 0) {
        must(err.code == rc && err.text[0] && !strchr(err.text, '\n'));
    } else {
        read_all(trace, &err);
        mv_trace_close(trace);
    }
    close(fd);
    return 0;
}
