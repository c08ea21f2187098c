// SPDX-License-Identifier: MIT
/* What `memvirt explain` has found out. */
#ifndef CLI_EXPLAIN_H
#define CLI_EXPLAIN_H

#include <memvirt/explain.h>

struct explain_report {
    const char *source, *source_format;
    const char *mmu;
    uint64_t references; /* that were replayed */
    const struct mv_chain *chains;
    size_t count;
};

/* Addresses of a guest that runs, asked of its monitor. */
struct explain_remote {
    const char *address; /* of the monitor, which speaks QMP */
    struct mv_asked asked;
    bool is_json;
    char *const *gvas; /* numbers, as they were given */
    size_t count;
};

/* Ask and print. Returns the exit status after it has said what is wrong. A build without jansson has none. */
int explain_by_qmp(const struct explain_remote *remote);

#endif
