// SPDX-License-Identifier: MIT
/* The blocks of a machine: their order, their places in one space of offsets, and who is told of them. */
#ifndef MACHINE_BLOCK_TABLE_H
#define MACHINE_BLOCK_TABLE_H

#include <memvirt/types.h>
#include <pthread.h>
#include <urcu/list.h>

struct mv_block;
struct mv_machine;

#define MV_DISCARD_CLAIMS 4

/*
 * A member of the machine. Blocks enter it when they are made and leave it with their last reference; it holds
 * none. All under `lock`, which is taken with or without the control lock held, never the other way round; it is
 * held over notifiers.
 * Invariants: by_size is in descending order of max_size_bytes, of equals by ascending serial; by_offset is
 * ascending, and no two blocks overlap; holes is the number of neighbours in by_offset with room between them.
 */
struct block_table {
    pthread_mutex_t lock;
    struct cds_list_head by_size;
    struct cds_list_head by_offset;
    struct cds_list_head notifiers;
    uint64_t serial;  /* of the latest block */
    uint64_t version; /* additions and removals */
    size_t holes;
    unsigned claims[MV_DISCARD_CLAIMS]; /* how many of each hold (block_discard.c) */
};

void block_table_init(struct block_table *table);
void block_table_finish(struct block_table *table);

/* Give the block a place and tell the notifiers. @return 0; -EEXIST: its id is taken; -ENOSPC: no room */
int block_table_add(struct mv_machine *machine, struct mv_block *block, struct mv_error *err);
/* The block's references are 0. Tell the notifiers and take it out. */
void block_table_remove(struct mv_machine *machine, struct mv_block *block);
/* Tell the notifiers, then let it have the size. */
void block_table_resize(struct mv_machine *machine, struct mv_block *block, uint64_t size_bytes);

/* Bytes of the block go back to the host: around it. The first keeps the table locked until the second. */
void block_table_discard_begin(struct mv_block *block, uint64_t offset, uint64_t length);
void block_table_discard_end(struct mv_block *block, uint64_t offset, uint64_t length);

/* Whether the blocks are as the invariants say. */
bool block_table_check(struct block_table *table);

#endif
