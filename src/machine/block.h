// SPDX-License-Identifier: MIT
/*
 * Inside a block.
 *
 *   block.c           its life, and what is said of it
 *   block_check.c     which options go together
 *   block_file.c      opening what a file block is of
 *   block_map.c       from options to a mapping
 *   block_advise.c    huge pages, merging, dumps, children, NUMA nodes: asked, and granted
 *   block_prealloc.c  populating, with threads
 *   block_discard.c   giving pages back, and who may
 *   block_resize.c    the size in use
 *   block_table.c     the blocks of a machine, their ram_addr_t offsets and notifiers
 *   block_print.c     the table as text
 *   discard.c         managers of blocks of which only parts exist
 *   privacy.c         which pages are in a guest_memfd
 */
#ifndef MACHINE_BLOCK_H
#define MACHINE_BLOCK_H

#include <memvirt/block.h>
#include <stdatomic.h>
#include <urcu/list.h>

#include "base/itree.h"
#include "machine/dirty_map.h"

struct mv_region;
struct privacy;

/* Immutable but for what says otherwise. */
struct mv_block {
    struct mv_machine *machine;
    atomic_uint refs;
    char *name;
    char *id; /* or NULL */
    enum mv_block_kind kind;
    _Atomic uint64_t size_bytes; /* in use; a multiple of the page size; written under the control lock */
    uint64_t exact_size_bytes;   /* before rounding; under the control lock */
    struct mv_region *follower;  /* whose size is exact_size_bytes, or NULL; borrowed; under the control lock */
    uint64_t max_size_bytes;     /* mapped; a multiple of the page size */
    uint64_t page_size_bytes;
    unsigned char *host;
    int fd; /* -1: none */
    uint64_t fd_offset_bytes;
    bool own_bytes; /* nobody but who was given them by this block has them: a memfd, a file without a name */
    bool made_file; /* the file was not there before */
    bool resizeable;
    bool shared;
    bool readonly;
    void (*resized)(void *opaque, struct mv_block *block, uint64_t size_bytes);
    void *resized_opaque;
    struct mv_block_info grants; /* the grants, the NUMA and the prealloc members; the rest is not used */

    struct dirty_map dirty;           /* of all that is mapped; what it points to changes */
    struct itree logged;              /* where it is shown and logged (dirty_index.h); control lock */
    struct cds_list_head logged_link; /* in the machine's logged_blocks, if that is anywhere */

    /* The table of blocks' (block_table.c), under its lock. */
    uint64_t ram_offset;
    uint64_t serial; /* 1, 2, 3, ... in the order of making */
    struct cds_list_head by_size;
    struct cds_list_head by_offset;

    _Atomic(struct privacy *) privacy; /* NULL: no page is private. Written once, under the control lock. */
    _Atomic(struct mv_discard_manager *) manager; /* of it; NULL: none. Written under the control lock. */
};

/* -EINVAL if the options contradict one another or the kind. Before anything is opened. */
int block_check_options(const struct mv_block_options *options, const char *name, struct mv_error *err);

/*
 * Make block->host of the options, and all that describes the mapping. On failure nothing is left behind.
 * block_unmap() ends what it began.
 */
int block_map(struct mv_block *block, const struct mv_block_options *options, struct mv_error *err);
void block_unmap(struct mv_block *block);

/*
 * Open the file of a block. `end_bytes` is how long it must be at least. A file that was made for it, and only
 * that, is removed again by block_file_undo().
 */
struct block_file {
    int fd;
    uint64_t page_size_bytes;
    bool nameless; /* made in a directory: gone with its last descriptor */
    bool made;
};
int block_file_open(const struct mv_block_options *options, const char *name, struct block_file *ret,
                    struct mv_error *err);
/* Make it as long as it must be, if it is empty or new. */
int block_file_grow(const struct block_file *file, const struct mv_block_options *options, const char *name,
                    uint64_t end_bytes, struct mv_error *err);
void block_file_undo(const struct block_file *file, const struct mv_block_options *options);

/* Ask the host for what the options want of the mapping, and write down what it said. */
int block_advise(struct mv_block *block, const struct mv_block_options *options, struct mv_error *err);

/* mv_block_populate() after its checks. *ret_bytes and *ret_nthreads are written whatever happens. */
int block_populate(struct mv_block *block, uint64_t offset, uint64_t length,
                   const struct mv_populate_options *options, uint64_t *ret_bytes, unsigned *ret_nthreads,
                   struct mv_error *err);
/* -ENOMEM, with the state of the pool and how to enlarge it. */
int block_no_huge_pages(const char *name, uint64_t page_size_bytes, uint64_t needed_bytes, struct mv_error *err);

/* Whether the bytes of a block can be given back at all: -EOPNOTSUPP, with the reason. */
int block_check_discard(const struct mv_block *block, struct mv_error *err);
/* Hold MV_DISCARD_REQUIRE, so that nobody forbids it meanwhile. */
int block_claim_discard(const struct mv_block *block, struct mv_error *err);
/* mv_block_discard() without the question who may; checks the range. */
int block_discard(struct mv_block *block, uint64_t offset, uint64_t length, struct mv_error *err);

/* A transaction comes to nothing: the size before rounding is again what it was when it began. Control lock held.
 */
void block_size_back(struct mv_block *block, uint64_t exact_size_bytes);

/* -EINVAL unless [offset, offset + length) is not empty, of whole pages, and within `limit`. */
int block_check_range(const struct mv_block *block, uint64_t offset, uint64_t length, uint64_t limit,
                      struct mv_error *err);

#endif
