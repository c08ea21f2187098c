// SPDX-License-Identifier: MIT
/*
 * The edge to the host's operating system: all that base/ and machine/ ask of it. Linux only.
 * Calls return 0 or a negative errno.
 */
#ifndef BASE_OS_H
#define BASE_OS_H

#include "base/addr.h"

/* Of the host's base pages, in bytes. */
uint64_t os_page_size(void);

/*
 * A full memory barrier in every running thread of the process: what lets the other side of a race do without one.
 * Prepare first, at least once; it fails where the host has no membarrier(2). Any thread.
 */
int os_barrier_prepare(void);
void os_barrier(void);

/* A second descriptor of the same file, closed on exec. @return it, or -errno */
int os_duplicate(int fd);
void os_close(int fd);
/* Add 1 to an eventfd. */
void os_event_set(int fd);

/* Where the host kernel has the page of an address: the answer of /proc/self/pagemap. */
enum os_hpa_result {
    OS_HPA_OK,
    OS_HPA_NOT_PRESENT,   /* never touched, or swapped out */
    OS_HPA_NO_PERMISSION, /* the kernel hides frame numbers from processes without CAP_SYS_ADMIN */
    OS_HPA_NO_PAGEMAP,    /* /proc/self/pagemap cannot be read at all */
};
enum os_hpa_result os_hpa_of(hva_t hva, hpa_t *ret);
/* "not-present", "no-permission", "no-pagemap"; NULL for OS_HPA_OK */
const char *os_hpa_result_name(enum os_hpa_result result);

#endif
