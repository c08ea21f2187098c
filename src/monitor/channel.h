// SPDX-License-Identifier: MIT
/*
 * A channel: an address that a monitor listens on, the thread that serves it, and the one client that it has at a
 * time. What a client is sent waits in a queue; while much of it waits, nothing more is read from the client, so
 * a client that does not read holds up nobody but itself. Events that find the queue full are dropped.
 */
#ifndef MONITOR_CHANNEL_H
#define MONITOR_CHANNEL_H

#include "monitor/address.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "monitor/qmp.h"

/* While more than this is queued no command is begun, and no event added. */
#define CHANNEL_QUEUE_FULL ((size_t)256 * 1024)
/* How long what is queued at the end may take. */
#define CHANNEL_FLUSH_NS (UINT64_C(1000) * 1000 * 1000)
#define CHANNEL_INPUT_SIZE 4096

/* Owned by its monitor. What has no other word is its thread's own. */
struct channel {
    struct mv_monitor *monitor;
    struct cds_list_head link; /* the monitor's `lock` */
    enum mv_monitor_protocol protocol;
    struct address address;
    struct address_file file;
    int listen_fd; /* -1: stdio */
    int wake_fd;   /* an eventfd: look at `ending` and at the queue */
    atomic_bool ending;
    pthread_t thread;

    int in_fd; /* of the client; -1: there is none */
    int out_fd;
    bool at_end; /* the client will send nothing more */
    char input[CHANNEL_INPUT_SIZE];
    size_t input_begin, input_end;
    union {
        struct hmp hmp;
        struct qmp qmp;
    };

    pthread_mutex_t lock;  /* a leaf */
    struct text queue;     /* `lock` */
    bool takes_events;     /* `lock`; a QMP client that negotiated */
    size_t dropped_events; /* `lock`; since the client came */
};

int channel_create(struct mv_monitor *monitor, enum mv_monitor_protocol protocol, const char *address,
                   struct channel **ret, struct mv_error *err);

/* Any thread; waits for nobody. */
void channel_event(struct channel *channel, const char *name, const char *data);

/* In this order: ask the thread to end, wait for it, free everything. */
void channel_end(struct channel *channel);
void channel_join(struct channel *channel);
void channel_destroy(struct channel *channel);

/* --- for edit.c ------------------------------------------------------------------------------------------- */

/* Wait until `fd` is ready for `events`, or the channel ends: then false. */
bool channel_wait(struct channel *channel, int fd, short events);

#endif
