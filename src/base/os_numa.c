// SPDX-License-Identifier: MIT
#include "base/os_numa.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MODE_PREFERRED_MANY 5 /* MPOL_PREFERRED_MANY, Linux 5.15 */
#define MODE_FLAGS 0xf000     /* static and relative nodes, balancing */
#define MOST_NODES 1024       /* the largest MAX_NUMNODES of any Linux; get_mempolicy(2) wants room for them all */

int os_numa_set(void *address, uint64_t size_bytes, enum os_numa policy, uint64_t nodes)
{
    /* MPOL_PREFERRED knows one node. */
    const bool many = (nodes & (nodes - 1)) != 0;
    int mode = MPOL_DEFAULT;
    switch (policy) {
    case OS_NUMA_DEFAULT: nodes = 0; break;
    case OS_NUMA_PREFERRED: mode = many ? MODE_PREFERRED_MANY : MPOL_PREFERRED; break;
    case OS_NUMA_BIND: mode = MPOL_BIND; break;
    case OS_NUMA_INTERLEAVE: mode = MPOL_INTERLEAVE; break;
    }
    /* The kernel looks at one bit less than it is told of. */
    long rc = syscall(SYS_mbind, address, size_bytes, mode, nodes ? &nodes : NULL, nodes ? 65UL : 0UL, 0U);
    return rc < 0 ? -errno : 0;
}

int os_numa_get(void *address, enum os_numa *ret_policy, uint64_t *ret_nodes)
{
    uint64_t nodes[MOST_NODES / 64] = {0};
    int mode = 0;
    if (syscall(SYS_get_mempolicy, &mode, nodes, MOST_NODES + 1UL, address, MPOL_F_ADDR) < 0) {
        return -errno;
    }
    switch (mode & ~MODE_FLAGS) {
    case MPOL_PREFERRED:
    case MODE_PREFERRED_MANY: *ret_policy = OS_NUMA_PREFERRED; break;
    case MPOL_BIND: *ret_policy = OS_NUMA_BIND; break;
    case MPOL_INTERLEAVE: *ret_policy = OS_NUMA_INTERLEAVE; break;
    default: *ret_policy = OS_NUMA_DEFAULT; break;
    }
    *ret_nodes = nodes[0];
    return 0;
}
