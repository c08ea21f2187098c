// SPDX-License-Identifier: MIT
/*
 * Writes that an accelerator gathers: the ranges of regions, and letting the writes go.
 *
 * Whoever has a buffer of them adds a drain to the machine. Drains run one at a time, under a lock that is held
 * while handlers are called: so whoever waits for it knows that what was gathered before has arrived. A handler's
 * own thread never waits: inside an epoch nothing is drained.
 */
#ifndef MACHINE_COALESCED_H
#define MACHINE_COALESCED_H

#include "machine/listener.h"
#include "machine/watch.h"

/* Owned by who has the buffer. */
struct coalesced_drain {
    void (*drain)(void *opaque);
    void *opaque;
    struct cds_list_head link; /* in the machine's drains */
};

void coalesced_add_drain(struct mv_machine *machine, struct coalesced_drain *drain);
/* After it no drain is running. Not from a handler. */
void coalesced_remove_drain(struct mv_machine *machine, struct coalesced_drain *drain);

/* Give a region whose state was recorded a new watch, which takes over the reference. Within a transaction. */
void coalesced_set_watch(struct mv_region *region, struct watch *watch);

/* Tell a listener, or all of a flat, the ranges that a section shows. */
void coalesced_tell_one(struct mv_listener *listener, const struct section *section, bool add);
void coalesced_tell(struct flat *flat, const struct section *section, bool add);
/* What differs in a section that stayed. */
void coalesced_tell_change(struct flat *flat, const struct section *before, const struct section *after);

#endif
