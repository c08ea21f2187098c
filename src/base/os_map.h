// SPDX-License-Identifier: MIT
/*
 * Mappings of host memory: anonymous, of a memfd, of a file. Linux only. Calls return 0 or a negative errno.
 */
#ifndef BASE_OS_MAP_H
#define BASE_OS_MAP_H

#include "base/addr.h"

struct os_map_request {
    uint64_t size_bytes;  /* rounded up to the host's page size; of huge pages a multiple of theirs */
    uint64_t align_bytes; /* of the address: a power of two, at least that page size */
    int fd;               /* -1: anonymous */
    uint64_t fd_offset_bytes;
    bool shared;
    bool readonly;
    bool noreserve;
};

/*
 * Map, with an inaccessible page before and behind it, so that the host kernel joins no two mappings to one and a
 * run over an end is noticed. End it with os_map_end().
 */
int os_map(const struct os_map_request *request, void **ret);
void os_map_end(void *address, uint64_t size_bytes);

/* Whether all of a range is mapped. */
bool os_is_mapped(void *address, uint64_t size_bytes);

/*
 * A new memfd of that size, sealed against a change of it, so that nobody who is given the descriptor can make
 * the pages go away under those who mapped them. huge_page_bytes: 0, or a size that the host has.
 */
int os_memfd(const char *name, uint64_t size_bytes, uint64_t huge_page_bytes, int *ret_fd);

/* Of the pages that a mapping of the file consists of: larger than the host's own for hugetlbfs. */
uint64_t os_file_page_size(int fd);

/* Give a file's bytes back to the host; they read as zeros. Its size stays. */
int os_punch(int fd, uint64_t offset_bytes, uint64_t length_bytes);

/* madvise(2) */
int os_advise(void *address, uint64_t size_bytes, int advice);

#endif
