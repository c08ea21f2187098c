// SPDX-License-Identifier: MIT
/* Inside a block. */
#ifndef MACHINE_BLOCK_H
#define MACHINE_BLOCK_H

#include <memvirt/block.h>
#include <stdatomic.h>

#include "machine/dirty_map.h"

/* Immutable but for `refs` and what `dirty` points to. */
struct mv_block {
    struct mv_machine *machine;
    atomic_uint refs;
    char *name;
    enum mv_block_kind kind;
    uint64_t size_bytes; /* a multiple of the host's page size */
    unsigned char *host;
    int fd; /* -1: none */
    struct dirty_map dirty;
};

#endif
