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

/**
 * Let the accelerator gather writes to a range of an MMIO region, instead of an exit for each: they reach the
 * handler later, in order, before any other access of a vCPU is dispatched, before a transaction begins, and when
 * somebody asks (mv_machine_flush_coalesced()). It may gather none of them. Reads are never gathered. The handler
 * is then called in whichever thread that is, so a thread that begins a transaction outside a handler must not
 * hold a lock that the handler takes.
 *
 * mv_region_set_coalescing() takes the whole region and forgets other ranges; clearing forgets all.
 * @return 0; -EINVAL ("bad-region": it has no handlers; "bad-range": empty, or past 2^64); -ENOMEM; what the
 * commit says
 */
MV_API int mv_region_set_coalescing(struct mv_region *region, struct mv_error *err);
MV_API int mv_region_add_coalescing(struct mv_region *region, uint64_t offset, uint64_t size_bytes,
                                    struct mv_error *err);
MV_API int mv_region_clear_coalescing(struct mv_region *region, struct mv_error *err);

/**
 * Whether an access that the VMM makes to this region lets the gathered writes go first, as one of a vCPU does
 * anyhow. Adding a range sets it, clearing unsets it; for a region that is a sibling of one that has ranges.
 */
MV_API int mv_region_set_flush_coalesced(struct mv_region *region, bool flush, struct mv_error *err);

/** Have all writes that were gathered so far reach their handlers. From a handler, or with a transaction open, it
 * does nothing. */
MV_API void mv_machine_flush_coalesced(struct mv_machine *machine);

MV_END_DECLS

#endif
