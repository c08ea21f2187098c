// SPDX-License-Identifier: MIT
/*
 * The accelerator's dirty log of one slot: fetched into the bitmaps of the slot's block, and cleared there.
 *
 * With a manual log (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) fetching leaves the kernel's bits as they are. A bit is
 * cleared in the kernel only if it was fetched before, and so has been given to all clients: one client must not
 * clear what another has not heard of. `log` keeps what was fetched and is not cleared yet. An accelerator that
 * can is harvested in place: nothing is copied, and nothing has to be cleared.
 *
 * All under the machine's control lock.
 */
#ifndef VM_DIRTYLOG_H
#define VM_DIRTYLOG_H

#include <urcu/list.h>

#include "vm/slots.h"

struct private_block;

/* A slot as the table has it. The region is borrowed: a view shows it for as long as the slot is there. */
struct slot {
    struct mv_slot is;
    struct mv_region *region;
    uint64_t offset; /* in the region, of the slot's first byte */
    uint64_t *log;   /* KVM_MEM_LOG_DIRTY_PAGES, got by a copy: a bit for each page; else NULL */

    struct private_block *private; /* KVM_MEM_GUEST_MEMFD, in the tree: see private.h; else NULL */
    struct cds_list_head private_link;
};

static inline bool slot_is_logged(const struct slot *slot)
{
    return (slot->is.flags & KVM_MEM_LOG_DIRTY_PAGES) != 0;
}

/* Have `log` as the flags say. @return 0 or -ENOMEM, never for a slot that is not logged */
int dirtylog_follow_flags(const struct slot_port *port, struct slot *slot);

/* Mark what was written to the slot for whoever logs its region; all of it if the accelerator does not say. Where
 * vCPUs keep rings they have been emptied for that, and this does nothing. */
void dirtylog_fetch(const struct slot_port *port, struct slot *slot);
void dirtylog_mark_all(const struct slot *slot);
/* Those of 64 pages of the slot from `first` on whose bit is set. */
void dirtylog_mark(const struct slot *slot, uint64_t first, uint64_t bits);

/* The marks of what `range` of the guest's addresses shows were taken: log it anew. */
void dirtylog_clear(const struct slot_port *port, struct slot *slot, struct mv_range range);

#endif
