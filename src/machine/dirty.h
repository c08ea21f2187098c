// SPDX-License-Identifier: MIT
/*
 * Dirty memory inside: a bitmap of each block for each client, one bit a page.
 *
 * Order. A writer stores its bytes, then marks; a client takes marks, then loads bytes. The fence in dirty_mark
 * pairs with the exchange in dirty_take: either the client sees the bytes, or its exchange comes before the mark,
 * which stays for the next time. So a writer may leave alone a mark that it finds set.
 *
 * Whether there is anything to mark is looked up after the bytes are stored, too, and not in the view that the
 * writer uses, which may be older than the log: in the flat's `logged` and the region's `log_mask`. Whoever
 * switches a log on publishes these first and then has every running thread pass a barrier (os_barrier), instead
 * of having every writer execute a fence for the case that somebody does.
 */
#ifndef MACHINE_DIRTY_H
#define MACHINE_DIRTY_H

#include <memvirt/dirty.h>
#include <stdatomic.h>

#include "machine/block.h"
#include "machine/flat.h"
#include "machine/machine.h"
#include "machine/region.h"

#define DIRTY_ALL_CLIENTS ((1u << MV_DIRTY_CLIENTS) - 1)

/* Pages of a block, both inclusive. */
struct dirty_pages {
    uint64_t first;
    uint64_t last;
};

/* The pages that a range of a region touches; false when there are none in its block. */
bool dirty_pages_of(const struct mv_region *region, uint64_t offset, uint64_t length, struct dirty_pages *ret);

/* Mark pages, which must be in the block, for a set of clients. Any thread. */
void dirty_mark_pages(struct mv_block *block, struct dirty_pages pages, unsigned clients);
/* The same for those of the `npages` pages from `first` on whose bit is set. What is outside the block is left
 * out. */
void dirty_mark_words(struct mv_block *block, uint64_t first, const uint64_t *words, uint64_t npages,
                      unsigned clients);

/* Bytes of a region's block were written, `length` > 0: mark them for whoever logs the region now. */
void dirty_written(struct mv_region *region, const void *host, size_t length);

/* Whether anything in the machine is logged: asked after bytes were stored, and not before. */
static inline bool dirty_is_logged(const struct flat *flat)
{
    atomic_signal_fence(memory_order_seq_cst);
    return atomic_load_explicit(&flat->logged, memory_order_relaxed);
}

static inline void dirty_log_write(const struct flat *flat, struct mv_region *region, const void *host,
                                   size_t length)
{
    if (__builtin_expect(dirty_is_logged(flat), 0) && length > 0) {
        dirty_written(region, host, length);
    }
}

/* --- what is logged: control lock held --------------------------------------------------------- */

/* For whom the region is to be logged, as the tree says. */
unsigned dirty_mask_of(const struct mv_region *region);
/*
 * Let writers know what the region's state says. Until a transaction is over they may have to mark more, but never
 * less, than before it: it may be undone. So a log that goes on is announced at once, and one that goes off when
 * the transaction is settled.
 */
void dirty_announce(struct mv_region *region);
void dirty_settle(struct mv_region *region);

/*
 * A VM of the machine is paused, or runs again: a stop of the global log is put off meanwhile. Calls nest.
 * Within a transaction it stays put off until the next time.
 */
void dirty_pause(struct mv_machine *machine);
void dirty_resume(struct mv_machine *machine);

#endif
