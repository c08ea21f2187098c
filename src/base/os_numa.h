// SPDX-License-Identifier: MIT
/* On which NUMA nodes the host takes pages from: mbind(2), without libnuma. Calls return 0 or a negative errno. */
#ifndef BASE_OS_NUMA_H
#define BASE_OS_NUMA_H

#include "base/addr.h"

enum os_numa {
    OS_NUMA_DEFAULT,
    OS_NUMA_PREFERRED,
    OS_NUMA_BIND,
    OS_NUMA_INTERLEAVE,
};

/* Bit n of `nodes` is node n. Pages that are there already stay where they are. */
int os_numa_set(void *address, uint64_t size_bytes, enum os_numa policy, uint64_t nodes);
/* The policy at an address, and its nodes: those of 0 to 63 that the host granted. */
int os_numa_get(void *address, enum os_numa *ret_policy, uint64_t *ret_nodes);

#endif
