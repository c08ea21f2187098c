// SPDX-License-Identifier: MIT
/**
 * @file block.h
 * Blocks: host memory that backs guest RAM (QEMU's RAMBlock).
 *
 * Nothing is silent: what was asked of the host and what it granted are both in struct mv_block_info. Where a
 * shortfall would break a promise (huge pages, a NUMA binding, what is kept from a core dump or a child), making
 * the block fails instead. docs/blocks.md has the table.
 */
#ifndef MEMVIRT_BLOCK_H
#define MEMVIRT_BLOCK_H

#include <memvirt/machine.h>

MV_BEGIN_DECLS

struct mv_block;

/** Where the bytes of a block come from. */
enum mv_block_kind {
    MV_BLOCK_ANONYMOUS, /**< anonymous memory */
    MV_BLOCK_MEMFD,     /**< a memfd, sealed in size: another process can be given the descriptor */
    MV_BLOCK_FILE,      /**< a file, which may be on hugetlbfs */
    MV_BLOCK_HUGETLB,   /**< a memfd of huge pages from the host's pool; never anything less */
    MV_BLOCK_CALLER,    /**< memory of the caller's, which stays the caller's: never unmapped, never discarded */
};

/** All zero is the default, which each option has its own of. */
enum mv_choice {
    MV_DEFAULT,
    MV_ON,
    MV_OFF,
};

/** Which files a block of kind MV_BLOCK_FILE takes. */
enum mv_file_open {
    MV_FILE_OPEN_OR_CREATE, /**< a missing file is made, unless the block is read-only */
    MV_FILE_OPEN,           /**< it must exist */
    MV_FILE_CREATE,         /**< it must not */
};

/** Which nodes the host takes pages from. */
enum mv_numa_policy {
    MV_NUMA_DEFAULT,    /**< as the thread that touches them first says */
    MV_NUMA_PREFERRED,  /**< these, while they have any */
    MV_NUMA_BIND,       /**< these only */
    MV_NUMA_INTERLEAVE, /**< these in turn */
};

/**
 * How far populating has come, in bytes; called in the thread that populates or makes the block, with no lock of
 * the library held that `opaque` could need.
 * @return false to cancel
 */
typedef bool (*mv_progress)(void *opaque, uint64_t done_bytes, uint64_t total_bytes);

/** How to make pages be there before the guest touches them. */
struct mv_populate_options {
    unsigned nthreads;    /**< 0 and 1: the calling thread does it */
    mv_progress progress; /**< may be NULL */
    void *opaque;         /**< handed to `progress` */
};

struct mv_block_options {
    const char *name;        /**< not NULL; copied */
    const char *id;          /**< unique in the machine, as in a migration stream; copied; NULL: none */
    enum mv_block_kind kind; /**< default: anonymous */
    uint64_t size_bytes;     /**< at least 1; rounded up to the block's page size */
    uint64_t max_size_bytes; /**< what mv_block_resize() may make of it; 0: the size, and it stays that */
    /** Called by mv_block_resize() in its thread, inside the control lock: it may edit the tree. If a region
     * follows the block, it has its new size already. May be NULL. */
    void (*resized)(void *opaque, struct mv_block *block, uint64_t size_bytes);
    void *resized_opaque;

    const char *path;            /**< FILE: the file, or a directory to make one without a name in */
    enum mv_file_open file_open; /**< FILE */
    uint64_t file_offset_bytes;  /**< FILE: where the block begins in it; a multiple of the page size */
    void *memory;                /**< CALLER: page-aligned, mapped, and so until the block has ended */

    uint64_t
        page_size_bytes;   /**< HUGETLB: 0 is the host's default size; else what the kind must turn out to have */
    uint64_t align_bytes;  /**< of the host address: a power of two; 0: whatever huge pages need */
    enum mv_choice shared; /**< default: memfd and hugetlb are, the others are not */
    enum mv_choice readonly; /**< default: no. On: the host's mapping cannot be written either */
    enum mv_choice reserve;  /**< default: no, but for huge pages, which else may be SIGBUS when touched */

    enum mv_choice thp;       /**< transparent huge pages: madvise(2) for or against; default: the host's policy */
    enum mv_choice mergeable; /**< KSM; default: no */
    enum mv_choice dump;      /**< default: in core dumps */
    enum mv_choice fork;      /**< default: children have it; off: they do not */

    enum mv_numa_policy numa; /**< not for the caller's memory */
    uint64_t numa_nodes;      /**< bit n: node n */

    enum mv_choice prealloc; /**< default: no. On: all pages are there when the block is made, or it is not made */
    struct mv_populate_options populate; /**< how prealloc is done */
};

/** What was asked, and what came of it. */
struct mv_grant {
    enum mv_choice asked;
    bool granted;    /**< whether it is on, in effect */
    const char *why; /**< one line, static; NULL if there is nothing to say: it is as asked */
};

/** What a block turned out to be. */
struct mv_block_info {
    const char *name; /**< valid as long as the caller holds a reference to the block; so is `id` */
    const char *id;   /**< or NULL */
    enum mv_block_kind kind;
    uint64_t size_bytes;      /**< as rounded: QEMU's used_length */
    uint64_t max_size_bytes;  /**< what is mapped: QEMU's max_length */
    uint64_t page_size_bytes; /**< of the host pages behind it; transparent huge pages do not count */
    uint64_t ram_offset;      /**< in the machine's space of all blocks: QEMU's ram_addr_t */
    mv_hva_t hva;             /**< of its first byte */
    int fd;                   /**< of its memfd or file, owned by the block; -1 when it has none */
    uint64_t fd_offset_bytes;
    bool resizeable;
    bool shared;
    bool readonly;

    struct mv_grant reserve;
    struct mv_grant thp;
    struct mv_grant mergeable;
    struct mv_grant dump;
    struct mv_grant fork;
    struct mv_grant prealloc;
    uint64_t prealloc_bytes;    /**< how much was populated when the block was made */
    unsigned prealloc_nthreads; /**< by how many threads; fewer than asked if the host gave no more */
    enum mv_numa_policy numa_asked;
    enum mv_numa_policy numa_granted; /**< as the kernel says it */
    uint64_t numa_nodes_asked;
    uint64_t numa_nodes_granted; /**< nodes that do not exist, or that a cpuset forbids, are missing here */
};

/** What the host has for a block at present, in bytes. */
struct mv_block_usage {
    uint64_t resident_bytes;    /**< in memory */
    uint64_t transparent_bytes; /**< of these, in transparent huge pages */
    uint64_t hugetlb_bytes;     /**< of these, from a pool of huge pages */
    uint64_t merged_bytes;      /**< of these, shared by KSM */
    uint64_t swapped_bytes;
    uint64_t locked_bytes;
};

/**
 * Make a block. Memory is zeroed, unless a file or the caller has something in it; nothing is committed until it
 * is touched, unless `prealloc` is on.
 * @param[out] ret  the block, with one reference that is the caller's
 * @return 0; -EINVAL: "bad-size" (0, too large to round, larger than its maximum), "bad-block" (an option that its
 *         kind does not have, or that cannot be met); -EEXIST "duplicate-id"; -ENOMEM "no-huge-pages" (the text
 *         names the file that sets their number), "no-memory"; -ENOSPC "no-ram-offset"; -ECANCELED "cancelled";
 *         "host": what the host says to open(2), mmap(2), mbind(2), madvise(2)
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

/** "anonymous", "memfd", "file", "hugetlb" or "caller". Static. */
MV_API const char *mv_block_kind_name(enum mv_block_kind kind);

/**
 * Ask the host what it has for a block. Slow: the host lists the whole process. Any thread.
 * @return 0, or what the host says to reading /proc/self/smaps
 */
MV_API int mv_block_usage(const struct mv_block *block, struct mv_block_usage *ret, struct mv_error *err);

/**
 * Change how much of a block is in use, within its maximum. The mapping stays as it is. If the size that results
 * after rounding is the one it has, the call succeeds for any block, and `resized` is called only if the size
 * before rounding differs. Otherwise notifiers are told, the size is set, all that is in use is dirty for every
 * client, and `resized` is called.
 *
 * A region that follows the block (mv_region_options.follow_block) gets the size before rounding, in a transaction
 * or as part of the one that is open; if that fails, the block too has the size that it had, and notifiers are
 * told so. Without such a region this may be part of a transaction, but one that fails does not take it back.
 * @return 0; -EINVAL: "bad-size" (0), "not-resizeable", "too-large"; -EBUSY: in a listener; what the commit says
 */
MV_API int mv_block_resize(struct mv_block *block, uint64_t size_bytes, struct mv_error *err);

/**
 * Make the pages of a piece of a block be there, whatever they hold. Any thread.
 * @param options  may be NULL
 * @return 0; -EINVAL "bad-range" (empty, not of whole pages, beyond the end); -ECANCELED; -ENOMEM:
 * "no-huge-pages", "no-memory"; what was made stays
 */
MV_API int mv_block_populate(struct mv_block *block, uint64_t offset_bytes, uint64_t length_bytes,
                             const struct mv_populate_options *options, struct mv_error *err);

/**
 * Give pages back to the host; they read as zeros from then on. From a pool of huge pages they are no longer
 * reserved then: mv_block_populate() before the guest touches them again. Any thread.
 * @return 0; -EINVAL "bad-range" (empty, not of whole pages of the block, beyond its maximum); -EBUSY: discarding
 * is disabled (discard.h), or only a discard manager may do it for this block; -EOPNOTSUPP: "caller-memory",
 *         "readonly", "private-file" (the file's own bytes would be lost); "host"
 */
MV_API int mv_block_discard(struct mv_block *block, uint64_t offset_bytes, uint64_t length_bytes,
                            struct mv_error *err);

/* --- the blocks of a machine --------------------------------------------------------------------- */

/**
 * The blocks in QEMU's order: by maximal size, largest first; of equals the one made first.
 * @param previous  NULL to begin; its reference is given back
 * @return the next one, with a reference that is the caller's; NULL at the end. Any thread.
 */
MV_API struct mv_block *mv_block_next(struct mv_machine *machine, struct mv_block *previous);

/** The block with an id, that an address of this process or an offset of the ram_addr_t space is in, with a
 * reference that is the caller's; NULL when there is none. Any thread. */
MV_API struct mv_block *mv_block_by_id(struct mv_machine *machine, const char *id);
MV_API struct mv_block *mv_block_by_hva(struct mv_machine *machine, mv_hva_t hva, uint64_t *ret_offset_bytes);
MV_API struct mv_block *mv_block_by_ram_offset(struct mv_machine *machine, uint64_t ram_offset,
                                               uint64_t *ret_offset_bytes);

/** Changes whenever a block comes or goes. Any thread. */
MV_API uint64_t mv_block_version(struct mv_machine *machine);

/**
 * The table that QEMU's `info ramblock` prints, with its columns, blanks and lines. A block without an id is shown
 * by its name.
 * @param[out] ret  to be freed with free(3)
 * @return 0, or -ENOMEM
 */
MV_API int mv_block_table(struct mv_machine *machine, char **ret, struct mv_error *err);

struct mv_block_notifier;

/**
 * Any callback may be NULL. They are called in the thread that makes, resizes or drops a block, with the list of
 * blocks locked: they must not make, resize, iterate or drop blocks, nor edit a tree.
 */
struct mv_block_notifier_ops {
    void (*added)(void *opaque, struct mv_block *block);
    void (*removed)(void *opaque, struct mv_block *block); /**< its memory is still there */
    void (*resized)(void *opaque, struct mv_block *block, uint64_t old_size_bytes, uint64_t new_size_bytes);
    /** Pages are given back to the host between the two, in the thread that discards: who has translations to
     * their bytes drops them in the first, and makes none before the second (Linux, MMU notifiers). */
    void (*discard_begin)(void *opaque, struct mv_block *block, uint64_t offset_bytes, uint64_t length_bytes);
    void (*discard_end)(void *opaque, struct mv_block *block, uint64_t offset_bytes, uint64_t length_bytes);
};

/**
 * Be told of blocks. `added` is called at once for those that exist.
 * @param ops  must stay valid until mv_block_notifier_destroy()
 * @return 0, or -ENOMEM
 */
MV_API int mv_block_notifier_create(struct mv_machine *machine, const struct mv_block_notifier_ops *ops,
                                    void *opaque, struct mv_block_notifier **ret, struct mv_error *err);

/** Be told no more. `removed` is called for each block that exists. NULL is allowed. */
MV_API void mv_block_notifier_destroy(struct mv_block_notifier *notifier);

MV_END_DECLS

#endif
