// SPDX-License-Identifier: MIT
/* Inside a listener. */
#ifndef MACHINE_LISTENER_H
#define MACHINE_LISTENER_H

#include <memvirt/listener.h>
#include <urcu/list.h>

#include "machine/space.h"

/* Owned by the caller of mv_listener_create. Its list is protected by the control lock. */
struct mv_listener {
    struct mv_space *space;
    const struct mv_listener_ops *ops;
    void *opaque;
    int priority;
    struct cds_list_head link; /* in the machine's listeners */
};

/* Each calls one callback, if the listener has it. */
void listener_begin(struct mv_listener *listener);
void listener_region_del(struct mv_listener *listener, const struct section *section);
void listener_region_add(struct mv_listener *listener, const struct section *section);
void listener_region_nop(struct mv_listener *listener, const struct section *section);
/* `old_mask`: what the section's log_mask was. */
void listener_log_start(struct mv_listener *listener, const struct section *section, unsigned old_mask);
void listener_log_stop(struct mv_listener *listener, const struct section *section, unsigned old_mask);
void listener_log_sync(struct mv_listener *listener, const struct section *section);
void listener_log_clear(struct mv_listener *listener, const struct section *section);
void listener_log_sync_global(struct mv_listener *listener, bool last);
int listener_log_global_start(struct mv_listener *listener, struct mv_error *err);
void listener_log_global_stop(struct mv_listener *listener);
void listener_log_global_after_sync(struct mv_listener *listener);
int listener_eventfd_add(struct mv_listener *listener, const struct mv_ioeventfd *at, int fd,
                         struct mv_error *err);
void listener_eventfd_del(struct mv_listener *listener, const struct mv_ioeventfd *at, int fd);
void listener_coalesced(struct mv_listener *listener, const struct section *section, struct mv_range range,
                        bool add);
int listener_prepare(struct mv_listener *listener, struct mv_error *err);
void listener_describe(struct mv_listener *listener, void (*print)(void *opaque, const char *line), void *opaque);
void listener_commit(struct mv_listener *listener);
void listener_abort(struct mv_listener *listener);

#endif
