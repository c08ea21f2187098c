// SPDX-License-Identifier: MIT
/**
 * @file privacy.h
 * Blocks of which some pages are private to the guest: what the host cannot read is in a guest_memfd, and the
 * block's own memory has the pages that are shared. Which page is which is a record that is kept here; the
 * accelerator listens, and tells the kernel. docs/blocks.md says what an accelerator does with it.
 */
#ifndef MEMVIRT_PRIVACY_H
#define MEMVIRT_PRIVACY_H

#include <memvirt/block.h>

MV_BEGIN_DECLS

enum mv_privacy_kind {
    MV_PAGES_SHARED,  /**< in the block's own memory */
    MV_PAGES_PRIVATE, /**< in the guest_memfd */
};

/**
 * Keep a record of a block, whose pages are all of one kind at first. It ends with the block. The block must have
 * bytes that can be discarded, no discard manager, and a size that cannot change; and no space may show it yet,
 * for its slots will be others than those of a block without a record.
 * @return 0; -EBUSY "has-privacy", "managed", "shown"; -EINVAL "resizeable"; -EOPNOTSUPP as mv_block_discard();
 *         -ENOMEM
 */
MV_API int mv_privacy_create(struct mv_block *block, enum mv_privacy_kind kind, struct mv_error *err);

/** Whether a block has a record. Any thread. */
MV_API bool mv_privacy_has(const struct mv_block *block);

/**
 * Give the record the guest_memfd that an accelerator made for it (KVM_CREATE_GUEST_MEMFD wants a VM), at least as
 * large as the block. With success the descriptor is the block's, which closes it. A mv_vm does this by itself
 * when it makes the first slot of the block.
 * @param owner  whose it is, such as the VM: no other can use it. Compared only
 * @return 0; -EINVAL "no-privacy"; -EBUSY "has-guest-memfd"
 */
MV_API int mv_privacy_attach(struct mv_block *block, int guest_memfd, const void *owner, struct mv_error *err);

/**
 * Close the guest_memfd, if there is one: its owner is gone. What was in its pages is lost; which pages are
 * private stays as it is. Takes the control lock.
 */
MV_API void mv_privacy_detach(struct mv_block *block);

/** The descriptor, which stays the block's; -1 when there is none. Takes the control lock, as all that follow. */
MV_API int mv_privacy_fd(const struct mv_block *block);

/** Whose it is; NULL when there is none. */
MV_API const void *mv_privacy_owner(const struct mv_block *block);

/**
 * Convert pages. Those that are of the kind already stay. Listeners are told in their order; if one refuses, those
 * that were told are told of the contrary, and nothing has changed. Then the other half's pages are given back:
 * what was there is lost, as for the guest.
 * @return 0; -EINVAL "no-privacy", "bad-range" (empty, not of whole pages of the block, beyond its end); -EBUSY
 * (from a listener, or discarding is disabled); -ENOMEM; what a listener said; "host": converted, but the host did
 * not take all pages back
 */
MV_API int mv_privacy_convert(struct mv_block *block, uint64_t offset_bytes, uint64_t length_bytes,
                              enum mv_privacy_kind kind, struct mv_error *err);

/**
 * The kind of the pages at an offset of the block, and how many bytes from there on are of it.
 * @return false if the block has no record, or not so many bytes
 */
MV_API bool mv_privacy_lookup(const struct mv_block *block, uint64_t offset_bytes, enum mv_privacy_kind *ret_kind,
                              uint64_t *ret_length_bytes);

struct mv_privacy_listener;

struct mv_privacy_listener_ops {
    /** Pages of a block become of a kind. May refuse. Called inside the control lock; it must not edit a tree.
     * @return 0 or -errno */
    int (*convert)(void *opaque, struct mv_block *block, uint64_t offset_bytes, uint64_t length_bytes,
                   enum mv_privacy_kind kind, struct mv_error *err);
};

/**
 * Listen to the conversions of a block, which must have a record; what is private is told at once. The listener
 * holds a reference to the block.
 * @param ops  must stay valid until mv_privacy_listener_destroy()
 * @return 0; -EINVAL "no-privacy"; -EBUSY; -ENOMEM; what `convert` said, after being told of the contrary
 */
MV_API int mv_privacy_listener_create(struct mv_block *block, const struct mv_privacy_listener_ops *ops,
                                      void *opaque, struct mv_privacy_listener **ret, struct mv_error *err);

/** Listen no more; nothing is told. NULL is allowed. */
MV_API void mv_privacy_listener_destroy(struct mv_privacy_listener *listener);

MV_END_DECLS

#endif
