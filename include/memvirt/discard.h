// SPDX-License-Identifier: MIT
/**
 * @file discard.h
 * Who may give guest memory back to the host, and managers of blocks of which only parts exist (QEMU's
 * RamDiscardManager): what virtio-mem needs.
 *
 * Who pins guest memory, such as a device assigned to the guest, must know before pages are replaced. It either
 * disables discarding, or disables the uncoordinated kind and listens to the managers.
 */
#ifndef MEMVIRT_DISCARD_H
#define MEMVIRT_DISCARD_H

#include <memvirt/space.h>

MV_BEGIN_DECLS

/** Claims on a machine; each may be held many times. */
enum mv_discard_claim {
    MV_DISCARD_DISABLE,               /**< nobody discards: excludes both requirements */
    MV_DISCARD_DISABLE_UNCOORDINATED, /**< only managers do, who tell: excludes MV_DISCARD_REQUIRE */
    MV_DISCARD_REQUIRE,               /**< somebody discards at will, such as a balloon */
    MV_DISCARD_REQUIRE_COORDINATED,   /**< somebody discards through a manager */
};

/**
 * Hold a claim, until mv_discard_unclaim(). Any thread.
 * @return 0; -EBUSY "claimed": somebody holds one that excludes it, or a mv_block_discard() is going on
 */
MV_API int mv_discard_claim(struct mv_machine *machine, enum mv_discard_claim claim, struct mv_error *err);
/** Give back a claim that is held. */
MV_API void mv_discard_unclaim(struct mv_machine *machine, enum mv_discard_claim claim);
/** Whether discarding at will is disabled. */
MV_API bool mv_discard_is_disabled(struct mv_machine *machine);

struct mv_discard_manager;

struct mv_discard_manager_options {
    /** Parts come and go in multiples of it: a power of two, at least the block's page size; 0: that. */
    uint64_t granularity_bytes;
    /** Make pages when they are populated, or refuse to. Default: for huge pages of a pool, and for blocks that
     * were made with prealloc. */
    enum mv_choice prealloc;
};

/**
 * Manage a block: all of it is discarded at once, and exists no more until it is populated. Its size must not be
 * changeable, and no space may show any of it yet. Holds MV_DISCARD_REQUIRE_COORDINATED and a reference to the
 * block.
 * @return 0; -EINVAL "bad-granularity", "resizeable"; -EBUSY "managed", "has-privacy", "mapped", "claimed";
 * -ENOMEM; what mv_block_discard() says
 */
MV_API int mv_discard_manager_create(struct mv_block *block, const struct mv_discard_manager_options *options,
                                     struct mv_discard_manager **ret, struct mv_error *err);

/**
 * Manage no more: all of the block counts as populated again. There must be no listener and no space that shows
 * the block. NULL is allowed.
 */
MV_API void mv_discard_manager_destroy(struct mv_discard_manager *manager);

/** The manager of a block, or NULL. It is borrowed: from its owner. Any thread. */
MV_API struct mv_discard_manager *mv_block_discard_manager(const struct mv_block *block);

/** The same of what a section shows, and where in the block its first byte is. NULL if it shows no block, or one
 * without a manager. */
MV_API struct mv_discard_manager *mv_section_discard_manager(const struct mv_section *section,
                                                             uint64_t *ret_offset_bytes);

/** In bytes. */
MV_API uint64_t mv_discard_granularity(const struct mv_discard_manager *manager);

/** Whether all of a piece of the block is populated. Takes the control lock, as all that follow. */
MV_API bool mv_discard_is_populated(struct mv_discard_manager *manager, uint64_t offset_bytes,
                                    uint64_t length_bytes);

/** @return 0 to go on; another value ends the replay, which returns it */
typedef int (*mv_discard_piece)(void *opaque, uint64_t offset_bytes, uint64_t length_bytes);

/** Call back for each populated, or each discarded, piece within a piece of the block, in order. */
MV_API int mv_discard_replay_populated(struct mv_discard_manager *manager, uint64_t offset_bytes,
                                       uint64_t length_bytes, mv_discard_piece piece, void *opaque);
MV_API int mv_discard_replay_discarded(struct mv_discard_manager *manager, uint64_t offset_bytes,
                                       uint64_t length_bytes, mv_discard_piece piece, void *opaque);

/**
 * Populate a piece; what is populated already stays. Each listener is told; if one refuses, those that were told
 * are told that it is discarded again, and nothing has changed. Pages of a pool, and of blocks that were made with
 * prealloc, are made at once.
 * @return 0; -EINVAL "bad-range" (empty, not of whole granules, beyond the end); -EBUSY (from a listener);
 * -ENOMEM; what the listener said
 */
MV_API int mv_discard_populate(struct mv_discard_manager *manager, uint64_t offset_bytes, uint64_t length_bytes,
                               struct mv_error *err);

/**
 * Discard a piece; its pages go back to the host, then the listeners are told.
 * @return 0; -EINVAL, -EBUSY, -ENOMEM as above; or what the host said: pieces of lower address may be gone then
 */
MV_API int mv_discard_discard(struct mv_discard_manager *manager, uint64_t offset_bytes, uint64_t length_bytes,
                              struct mv_error *err);

struct mv_discard_listener;

/** Offsets are in the block, and within what the listener listens to. Called inside the control lock. */
struct mv_discard_listener_ops {
    /** There are pages from now on. May refuse. @return 0 or a negative errno */
    int (*populate)(void *opaque, uint64_t offset_bytes, uint64_t length_bytes, struct mv_error *err);
    /** There are no more. */
    void (*discard)(void *opaque, uint64_t offset_bytes, uint64_t length_bytes);
    /** It may be told that what is discarded is discarded: then it is told of a long piece in one call. */
    bool double_discard;
};

/**
 * Listen to a piece of the block; what is populated is told at once. A view's listener (listener.h) may call this
 * from region_add.
 * @param ops  must stay valid until mv_discard_listener_destroy()
 * @return 0; -EINVAL "bad-range"; -ENOMEM; what `populate` said, after `discard` for what was told
 */
MV_API int mv_discard_listener_create(struct mv_discard_manager *manager, uint64_t offset_bytes,
                                      uint64_t length_bytes, const struct mv_discard_listener_ops *ops,
                                      void *opaque, struct mv_discard_listener **ret, struct mv_error *err);

/** Listen no more: what is populated is told to be discarded. NULL is allowed. */
MV_API void mv_discard_listener_destroy(struct mv_discard_listener *listener);

MV_END_DECLS

#endif
