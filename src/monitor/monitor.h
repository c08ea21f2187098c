// SPDX-License-Identifier: MIT
/* Inside a monitor. */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include <memvirt/monitor.h>
#include <pthread.h>
#include <stdatomic.h>
#include <urcu/list.h>

/*
 * Owned by the caller of mv_monitor_create.
 *
 * Locking. `control` serialises stop and cont, and is held while one waits for the vCPUs: only monitor threads
 * take it, and a monitor's caller. `lock` is a leaf. Invariant (control held): stopped <=> the monitor holds one
 * pause of the VM
 */
struct mv_monitor {
    struct mv_monitor_options options;
    pthread_mutex_t control;
    atomic_bool stopped;   /* changed under `control` */
    atomic_bool prelaunch; /* paused, and was never anything else */
    atomic_bool quitting;  /* a client said quit */
    pthread_mutex_t lock;
    struct cds_list_head channels; /* `lock` */
};

/* True when it was not so before. */
bool monitor_stop(struct mv_monitor *monitor);
bool monitor_cont(struct mv_monitor *monitor);
void monitor_quit(struct mv_monitor *monitor);

/* Tell all QMP clients. `data` is JSON, or NULL. Any thread; never waits for a client. */
void monitor_event(struct mv_monitor *monitor, const char *name, const char *data);

#endif
