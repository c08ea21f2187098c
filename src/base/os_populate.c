// SPDX-License-Identifier: MIT
#include "base/os_populate.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/os_map.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

int os_populate(void *address, uint64_t size_bytes, enum os_populate how)
{
    int rc = os_advise(address, size_bytes, how == OS_POPULATE_WRITE ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
    return rc == -EINVAL ? -EOPNOTSUPP : rc;
}

void os_touch(void *address, uint64_t size_bytes, uint64_t page_size_bytes, enum os_populate how)
{
    for (uint64_t at = 0; at < size_bytes; at += page_size_bytes) {
        unsigned char *byte = (unsigned char *)address + at;
        if (how == OS_POPULATE_WRITE) {
            /* One instruction, so that a write of somebody else's is not undone. */
            __atomic_fetch_or(byte, 0, __ATOMIC_RELAXED);
        } else {
            (void)*(volatile unsigned char *)byte;
        }
    }
}
