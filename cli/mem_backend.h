// SPDX-License-Identifier: MIT
/*
 * What the guest's RAM is made of: --mem-backend KIND[,OPTION=VALUE]..., with the names that QEMU's
 * memory-backend-* objects have.
 */
#ifndef CLI_MEM_BACKEND_H
#define CLI_MEM_BACKEND_H

#include <memvirt/block.h>

/* All zero: anonymous memory with every option at its default. */
struct mem_backend {
    struct mv_block_options block; /* without name and size, which are the board's */
    char *path;                    /* block.path; owned; NULL: none */
};

/* Open nothing. Returns CLI_OK, or CLI_USAGE after saying what is wrong; *ret is written with success only. */
int mem_backend_parse(const char *text, struct mem_backend *ret);
void mem_backend_finish(struct mem_backend *backend);

/* What QEMU calls a policy: "default", "preferred", "bind" or "interleave". Static. */
const char *mem_backend_policy_name(enum mv_numa_policy policy);

/* "0-2,5", of the nodes whose bits are set; "" when none is. */
#define MEM_BACKEND_NODES_SIZE 192
const char *mem_backend_nodes_text(uint64_t nodes, char ret[MEM_BACKEND_NODES_SIZE]);

#endif
