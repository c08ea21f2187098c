// SPDX-License-Identifier: MIT
/*
 * The small guest operating system behind a trace: processes with page tables in guest memory, memory on demand,
 * fork with copy-on-write, unmap, context switch. It does what a kernel does to its tables, each store by
 * mv_soft_write_physical, so every MMU scheme sees and counts it. Contents of pages are nobody's concern here.
 *
 * Guest-physical memory: data from the bottom up, tables from the top down.
 */
#ifndef REPLAY_OS_H
#define REPLAY_OS_H

#include <memvirt/soft.h>

#include "base/addr.h"

/* More processes than this are refused: a trace may say any number. */
#define OS_PROCESSES_MAX 65536u
/* Above so many pages an unmap flushes all, and not each (Linux: tlb_single_page_flush_ceiling). */
#define OS_SINGLE_FLUSHES_MAX 33u

struct os_options {
    struct mv_vcpu *vcpu;
    uint8_t *ram; /* guest-physical 0; of `ram_bytes`, all zero */
    uint64_t ram_bytes;
    uint8_t page_level; /* 1, 2 or 3: 4K, 2M, 1G pages */
    uint8_t levels;     /* of its tables: 4 or 5 */
};

/* What it has done. */
struct os_counts {
    uint64_t demand_faults, cow_faults, cow_copies, spurious_faults, bad_references;
    uint64_t switches, forks, exits, unmaps, processes;
    uint64_t table_writes;
    uint64_t tables, tables_built; /* pages of its own tables: at the moment, ever */
    uint64_t pages;                /* of data, at the moment */
};

struct os_process;

/* One page is what `page_level` says. */
struct os_frames {
    uint64_t next;  /* the first one that was never used */
    uint64_t *free; /* a stack of those given back */
    size_t free_count, free_capacity;
    uint32_t *owners; /* how many entries lead there: of 0 to next - 1 */
    size_t owners_capacity;
};

struct os {
    struct os_options options;
    struct os_counts counts;
    struct os_frames data;
    struct os_frames tables; /* counted from the top, in pages of 4K; `owners` is not used */
    struct os_process **buckets;
    struct os_process *running;
};

/* Calls that return int: 0 or -errno with an error; -ENOSPC: guest memory is full ("guest-memory"). */
int os_init(struct os *os, const struct os_options *options, struct mv_error *err);
void os_finish(struct os *os);

/* A fault of the running process at a canonical address: repair it. */
int os_fault(struct os *os, const struct mv_soft_fault *fault, struct mv_error *err);

bool os_has_process(const struct os *os, uint64_t id);
int os_switch(struct os *os, uint64_t id, struct mv_error *err);
int os_fork(struct os *os, uint64_t id, struct mv_error *err);
int os_exit(struct os *os, uint64_t id, struct mv_error *err);
int os_unmap(struct os *os, uint64_t first, uint64_t size_bytes, struct mv_error *err);

#endif
