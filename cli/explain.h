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

#endif
