// SPDX-License-Identifier: MIT
/*
 * Slots of blocks that have a record of private pages (privacy.h). Each has the block's guest_memfd
 * (KVM_MEM_GUEST_MEMFD), which is made with the first one; and what the record says of its pages is what the
 * accelerator is told of its guest addresses, from the slot's beginning to its end.
 *
 * All under the machine's control lock.
 */
#ifndef VM_PRIVATE_H
#define VM_PRIVATE_H

#include <urcu/list.h>

#include "vm/dirtylog.h"

/* A part of the slot table, with which it comes and goes; it owns the guest_memfds. */
struct private_blocks {
    const struct slot_port *port;
    struct mv_machine *machine;  /* of the blocks; NULL: there were none so far */
    struct cds_list_head blocks; /* that slots show */
    uint64_t conversions;        /* told so far */
};

void private_init(struct private_blocks *blocks, const struct slot_port *port);
/* The accelerator's VM is about to go, and its guest_memfds are of no use to another. Without the control lock. */
void private_finish(struct private_blocks *blocks);

/* Whether the slots of a section must have a guest_memfd. */
bool private_is_asked(const struct mv_section *section);

/* Whether there can be such a slot at all. @return 0; -ENOTSUP "private-rom", "private-log" */
int private_check(const struct slot *slot, struct mv_error *err);

/*
 * Before the accelerator is given a slot: make its block's guest_memfd if there is none, be told of conversions,
 * and have private what is. Other slots pass. private_leave() must follow, also if this fails.
 * @return 0; -ENOTSUP "no-guest-memfd", "no-private-pages"; -EBUSY "has-guest-memfd": another VM has the block;
 *         -ENOMEM; or what the host says
 */
int private_enter(struct private_blocks *blocks, struct slot *slot, struct mv_error *err);
/*
 * Before the accelerator loses a slot: all its pages are shared, for whatever comes to these addresses is until
 * its own record says otherwise. It can be undone. 0, or -errno and nothing has changed.
 */
int private_share(const struct private_blocks *blocks, const struct slot *slot);
void private_unshare(const struct private_blocks *blocks, const struct slot *slot);
/* The accelerator has the slot no more, or did not get it. */
void private_leave(struct slot *slot);

/* Give the accelerator a slot that has entered. 0 or -errno. */
int private_set_slot(const struct private_blocks *blocks, const struct slot *slot,
                     const struct kvm_userspace_memory_region *region);

#endif
