// SPDX-License-Identifier: MIT
/**
 * @file dirty.h
 * Dirty memory: which pages of RAM were written since somebody last asked.
 *
 * Three clients each have a bitmap of every block, in pages of MV_DIRTY_PAGE_BYTES. A write marks a page for those
 * clients that log the region written to: the display, if it was asked for that region (mv_region_set_log());
 * migration, while logging is on for the whole machine (mv_dirty_log_start()). What guests write is known to the
 * accelerator and is fetched from it by a sync; what the VMM writes through a space is marked at once. Who writes
 * by a pointer of his own says so with mv_dirty_set().
 *
 * Nothing is lost: a client takes the marks first, then looks at the bytes. A page that is written meanwhile is
 * marked again. Offsets are in the region; what is outside its block is left out.
 *
 * Any thread. Calls that sync or clear take the machine's control lock, and tell listeners (listener.h).
 */
#ifndef MEMVIRT_DIRTY_H
#define MEMVIRT_DIRTY_H

#include <memvirt/region.h>

MV_BEGIN_DECLS

/** The granularity of the log, in bytes. */
#define MV_DIRTY_PAGE_BYTES 4096

/** Who asks. The values are those of QEMU. */
enum mv_dirty_client {
    MV_DIRTY_DISPLAY,   /**< what has to be drawn again */
    MV_DIRTY_CODE,      /**< translated guest code: everything is dirty until somebody says otherwise */
    MV_DIRTY_MIGRATION, /**< what has to be sent again */
};
#define MV_DIRTY_CLIENTS 3

/** A set of clients, as listeners get it, has bit MV_DIRTY_BIT(client). */
#define MV_DIRTY_BIT(client) (1u << (client))

/** Why the whole machine is logged: reasons are ORed, logging ends with the last one. */
enum mv_dirty_log_reason {
    MV_DIRTY_LOG_MIGRATION = 1,
    MV_DIRTY_LOG_RATE = 2,
    MV_DIRTY_LOG_LIMIT = 4,
};

/**
 * Log a region for the display, or stop; counted. An edit like others: it may be part of a transaction, and
 * listeners hear of it by log_start and log_stop when the count leaves 0 or returns to it.
 * @return 0; -EINVAL ("bad-client": only the display's log is by region; "bad-region": it has no memory;
 *         "not-logged": more stops than starts); -ENOTSUP (the host has no membarrier(2)); or what the commit says
 */
MV_API int mv_region_set_log(struct mv_region *region, enum mv_dirty_client client, bool on, struct mv_error *err);

/** The set of clients that a region is logged for now. */
MV_API unsigned mv_region_log_mask(struct mv_region *region);

/**
 * Log every region that has memory, but for RAM devices, for migration. Listeners hear log_global_start, then a
 * commit with log_start for each range. Only the first reason does anything.
 * @param reasons  a set of enum mv_dirty_log_reason, not empty
 * @return 0; -EINVAL ("bad-reason"); -EBUSY (within a transaction); what a listener or the commit says: then
 *         nothing has changed
 */
MV_API int mv_dirty_log_start(struct mv_machine *machine, unsigned reasons, struct mv_error *err);

/**
 * Take reasons back. With the last one: a commit with log_stop for each range, then log_global_stop. While a VM of
 * the machine is paused that is put off until it runs again, and a start in between cancels it.
 */
MV_API int mv_dirty_log_stop(struct mv_machine *machine, unsigned reasons, struct mv_error *err);

/** The reasons for which the whole machine is logged, those included whose end is put off. */
MV_API unsigned mv_dirty_log_reasons(struct mv_machine *machine);

/** Fetch what guests wrote to a region (to its block, whichever region shows it) from whoever logs it. */
MV_API void mv_dirty_sync(struct mv_region *region);

/**
 * The same for all of the machine; then listeners with log_sync_global are told once, and all
 * log_global_after_sync.
 * @param last  the guest does not run any more: there will be no further sync
 */
MV_API void mv_dirty_sync_all(struct mv_machine *machine, bool last);

/** Say that bytes were written by other means than a space: marks their pages for the clients that log the region.
 */
MV_API void mv_dirty_set(struct mv_region *region, uint64_t offset, uint64_t length);

/** Whether any page of a range is marked; no sync. */
MV_API bool mv_dirty_get(struct mv_region *region, uint64_t offset, uint64_t length, enum mv_dirty_client client);

/** Take the marks of a range; no sync. @return whether there was any */
MV_API bool mv_dirty_test_and_clear(struct mv_region *region, uint64_t offset, uint64_t length,
                                    enum mv_dirty_client client);

/** The pages that were marked, as they were when their marks were taken. */
struct mv_dirty_snapshot;

/**
 * Sync, take the marks of a range, let the accelerator begin to log those pages anew. The range is widened to
 * groups of 64 pages of the block, within the region.
 * @param[out] ret  end it with mv_dirty_snapshot_free()
 * @return 0; -EINVAL ("bad-range": not in the region, or empty; "bad-region": it has no memory); -ENOMEM: no mark
 *         was taken
 */
MV_API int mv_dirty_snapshot_and_clear(struct mv_region *region, uint64_t offset, uint64_t length,
                                       enum mv_dirty_client client, struct mv_dirty_snapshot **ret,
                                       struct mv_error *err);
/**
 * The same, but the accelerator does not begin anew yet: where it keeps a log of its own that has to be cleared
 * (KVM_CLEAR_DIRTY_LOG), that is a great deal of work for a whole region at once, and a guest that writes
 * meanwhile waits for it. It is put off to mv_dirty_snapshot_clear(), chunk by chunk; what is never cleared will
 * be marked again by the next sync. Elsewhere (with dirty rings; on soft where all pages begin to be noticed
 * anew at once) nothing is put off, and marks that were taken do not come again.
 * @param chunk_bytes  how much is cleared at a time: a power of two of at least 64 pages. QEMU has 1 GiB
 * @return as mv_dirty_snapshot_and_clear(); -EINVAL ("bad-chunk")
 */
MV_API int mv_dirty_snapshot_take(struct mv_region *region, uint64_t offset, uint64_t length,
                                  enum mv_dirty_client client, uint64_t chunk_bytes,
                                  struct mv_dirty_snapshot **ret, struct mv_error *err);
/**
 * Somebody is about to look at the bytes of a range: let the accelerator log the chunks anew that have some of it
 * and were not cleared before. Must come before the look: a write after the look and before this would be lost.
 * What is outside the snapshot, or cleared already, costs nothing. One thread at a time for each snapshot.
 */
MV_API void mv_dirty_snapshot_clear(struct mv_dirty_snapshot *snapshot, uint64_t offset, uint64_t length);
/** Whether any page of a range of the region was marked. What is outside the snapshot was not. */
MV_API bool mv_dirty_snapshot_get(const struct mv_dirty_snapshot *snapshot, uint64_t offset, uint64_t length);
/**
 * The first marked pages at `offset` or after it, as many as follow each other. What is not marked is passed over
 * 64 pages at a time, or 4096.
 * @param[out] ret  offsets in the region, cut to it
 * @return false when there are none
 */
MV_API bool mv_dirty_snapshot_next(const struct mv_dirty_snapshot *snapshot, uint64_t offset,
                                   struct mv_range *ret);
/** How many pages are marked. */
MV_API uint64_t mv_dirty_snapshot_count(const struct mv_dirty_snapshot *snapshot);
/** NULL is allowed. */
MV_API void mv_dirty_snapshot_free(struct mv_dirty_snapshot *snapshot);

MV_END_DECLS

#endif
