// SPDX-License-Identifier: MIT
/**
 * @file block.h
 * Blocks: host memory that backs guest RAM (QEMU's RAMBlock).
 */
#ifndef MEMVIRT_BLOCK_H
#define MEMVIRT_BLOCK_H

#include <memvirt/machine.h>

MV_BEGIN_DECLS

struct mv_block;

/** Where the bytes of a block come from. */
enum mv_block_kind {
    MV_BLOCK_ANONYMOUS, /**< private anonymous memory */
    MV_BLOCK_MEMFD,     /**< a memfd, mapped shared: another process can be given the descriptor */
};

struct mv_block_options {
    const char *name;        /**< not NULL; copied */
    enum mv_block_kind kind; /**< default: anonymous */
    uint64_t size_bytes;     /**< at least 1; rounded up to the host's page size */
};

/** What a block turned out to be. */
struct mv_block_info {
    const char *name; /**< valid as long as the caller holds a reference to the block */
    enum mv_block_kind kind;
    uint64_t size_bytes;      /**< as rounded */
    uint64_t page_size_bytes; /**< of the host pages behind it */
    mv_hva_t hva;             /**< of its first byte */
    int fd;                   /**< of its memfd, owned by the block; -1 when it has none */
};

/**
 * Make a block of zeroed memory. Nothing is committed until it is touched.
 * @param[out] ret  the block, with one reference that is the caller's
 * @return 0; -EINVAL (size 0 or too large to round); -ENOMEM or what mmap(2) and memfd_create(2) say
 */
MV_API int mv_block_create(struct mv_machine *machine, const struct mv_block_options *options,
                           struct mv_block **ret, struct mv_error *err);

/** Take one more reference. Any thread. Returns its argument. */
MV_API struct mv_block *mv_block_get(struct mv_block *block);

/**
 * Give a reference back; with the last one the memory is unmapped. Regions and views hold references of their own,
 * so guest memory in use stays. NULL is allowed. Any thread.
 */
MV_API void mv_block_put(struct mv_block *block);

/** Describe a block. Any thread. */
MV_API void mv_block_info(const struct mv_block *block, struct mv_block_info *ret);

MV_END_DECLS

#endif
