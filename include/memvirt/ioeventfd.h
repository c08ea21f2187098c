// SPDX-License-Identifier: MIT
/**
 * @file ioeventfd.h
 * Writes that set an eventfd and do nothing else, and writes that are gathered (QEMU's ioeventfd and coalesced
 * MMIO).
 *
 * Both belong to an MMIO region and go with it wherever it is shown. An accelerator that can do them
 * (KVM_IOEVENTFD, KVM_REGISTER_COALESCED_MMIO) lets the guest go on without an exit; writes that reach the library
 * all the same are treated here to the same effect: an eventfd is set, and the handler not called.
 *
 * Every call is an edit, which may be part of a transaction. A commit in which nothing else changed tells
 * listeners eventfd_del, eventfd_add, coalesced_del and coalesced_add alone, without begin, prepare and commit.
 */
#ifndef MEMVIRT_IOEVENTFD_H
#define MEMVIRT_IOEVENTFD_H

#include <memvirt/region.h>

MV_BEGIN_DECLS

/** A write of `size_bytes` at `offset`, of `data` if `match` is set, sets the eventfd `fd`. */
struct mv_ioeventfd {
    uint64_t offset;     /**< in the region; for listeners: the address in the space */
    unsigned size_bytes; /**< 1, 2, 4, 8; 0: of any size, and then any value */
    bool match;          /**< only if the value is `data` */
    uint64_t data;       /**< as the region's handler would be given it; for listeners: as the guest writes it */
    int fd; /**< an eventfd: its number tells it from others; it is duplicated, the caller's may be closed */
};

/**
 * Have an eventfd set by a write to an MMIO region or ROM device. Only the exact address counts.
 * @return 0; -EINVAL ("bad-region", "bad-eventfd": a size that does not exist, any size with a value, a value that
 *         does not fit the size); -EEXIST ("collision": with one at the same offset, of the same size or either of
 * any size, with the same value or either with any); -EBADF; -ENOMEM; or what the commit says
 */
MV_API int mv_ioeventfd_add(struct mv_region *region, const struct mv_ioeventfd *eventfd, struct mv_error *err);

/**
 * Undo mv_ioeventfd_add() of the same values; one of any size stands for whatever is at its offset.
 * @return 0; -ENOENT ("no-eventfd"); ...
 */
MV_API int mv_ioeventfd_del(struct mv_region *region, const struct mv_ioeventfd *eventfd, struct mv_error *err);

MV_END_DECLS

#endif
