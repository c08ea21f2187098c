// SPDX-License-Identifier: MIT
/*
 * What the host's administrator has set for huge pages, page merging and overcommitment: files of /sys and /proc.
 * A file that cannot be read counts as the feature being absent.
 */
#ifndef BASE_OS_POLICY_H
#define BASE_OS_POLICY_H

#include "base/addr.h"

/* Transparent huge pages. */
enum os_thp {
    OS_THP_ABSENT, /* the kernel has none of them */
    OS_THP_NEVER,
    OS_THP_ADVISED, /* for memory that asks */
    OS_THP_ALWAYS,  /* unless memory asks not to */
};
enum os_thp os_thp_anonymous(void);
/* Of memfds and shared anonymous memory. */
enum os_thp os_thp_shmem(void);
/* The word between brackets, as in "always [madvise] never", of a policy file's text. */
enum os_thp os_thp_parse(const char *text);
/* In bytes; 2 MiB where the kernel does not say. */
uint64_t os_thp_size(void);

/* Whether ksmd merges the pages that are marked for it. */
bool os_ksm_runs(void);

/* vm.overcommit_memory: 0 heuristic, 1 always, 2 never. */
unsigned os_overcommit(void);

/* The pool of huge pages of one size. */
struct os_huge_pool {
    uint64_t total;
    uint64_t free;
    uint64_t reserved;   /* of the free ones: promised to mappings */
    uint64_t overcommit; /* may be added to the pool on demand */
};
/* False when the host has no pages of that size. */
bool os_huge_pool(uint64_t page_size_bytes, struct os_huge_pool *ret);
/* Of huge pages when none is named, in bytes; 0 when the host has none. */
uint64_t os_huge_default(void);
/* The file that sets the number of pages of a pool. */
#define OS_HUGE_PATH_SIZE 80
void os_huge_path(uint64_t page_size_bytes, char path[OS_HUGE_PATH_SIZE]);

#endif
