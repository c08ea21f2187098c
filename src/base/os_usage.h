// SPDX-License-Identifier: MIT
/* What the host kernel has for a mapping at present: /proc/self/smaps. Slow: it lists the whole process. */
#ifndef BASE_OS_USAGE_H
#define BASE_OS_USAGE_H

#include "base/addr.h"

/* In bytes. */
struct os_usage {
    uint64_t resident;    /* in memory, in pages of any size */
    uint64_t transparent; /* of these, mapped by transparent huge pages */
    uint64_t hugetlb;     /* of these, from a pool of huge pages */
    uint64_t merged;      /* of these, by KSM */
    uint64_t swapped;     /* not in memory */
    uint64_t locked;
};

/* Of all mappings within the range. @return 0 or a negative errno */
int os_usage(const void *address, uint64_t size_bytes, struct os_usage *ret);

#endif
