// SPDX-License-Identifier: MIT
/* Making pages be there before they are used. Calls return 0 or a negative errno. */
#ifndef BASE_OS_POPULATE_H
#define BASE_OS_POPULATE_H

#include "base/addr.h"

enum os_populate {
    OS_POPULATE_READ,  /* of mappings that cannot be written */
    OS_POPULATE_WRITE, /* private copies are made; the bytes stay what they are, whoever writes meanwhile */
};

/*
 * Have the kernel make the pages, which answers where touching them would be a signal.
 * @return 0; -ENOMEM, -EFAULT, -EHWPOISON: not all could be made; -EOPNOTSUPP: Linux before 5.14
 */
int os_populate(void *address, uint64_t size_bytes, enum os_populate how);

/* The same by touching each page. SIGBUS where the host has none: for memory that is known to be there. */
void os_touch(void *address, uint64_t size_bytes, uint64_t page_size_bytes, enum os_populate how);

#endif
