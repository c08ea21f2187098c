// SPDX-License-Identifier: MIT
#include "monitor/monitor.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "monitor/channel.h"

int mv_monitor_create(const struct mv_monitor_options *options, struct mv_monitor **ret, struct mv_error *err)
{
    struct mv_monitor *monitor = calloc(1, sizeof *monitor);
    if (!monitor) {
        return error_set(err, -ENOMEM, "no-memory", "monitor", "monitor: out of memory");
    }
    monitor->options = *options;
    pthread_mutex_init(&monitor->control, NULL);
    pthread_mutex_init(&monitor->lock, NULL);
    CDS_INIT_LIST_HEAD(&monitor->channels);
    if (options->paused) {
        atomic_store(&monitor->stopped, true);
        atomic_store(&monitor->prelaunch, true);
        mv_vm_pause(options->vm);
    }
    *ret = monitor;
    return 0;
}

void mv_monitor_destroy(struct mv_monitor *monitor)
{
    struct channel *channel, *next;
    if (!monitor) {
        return;
    }
    /* The list is not locked: nobody else uses the monitor any more but the threads, which only read it. */
    cds_list_for_each_entry (channel, &monitor->channels, link) {
        channel_end(channel);
    }
    /* All threads before the first channel: a command in one may send an event to another. */
    cds_list_for_each_entry (channel, &monitor->channels, link) {
        channel_join(channel);
    }
    cds_list_for_each_entry_safe (channel, next, &monitor->channels, link) {
        channel_destroy(channel);
    }
    if (atomic_load(&monitor->stopped)) {
        mv_vm_resume(monitor->options.vm);
    }
    pthread_mutex_destroy(&monitor->lock);
    pthread_mutex_destroy(&monitor->control);
    free(monitor);
}

int mv_monitor_check_address(enum mv_monitor_protocol protocol, const char *address, struct mv_error *err)
{
    struct address parsed;
    int rc = address_parse(address, &parsed, err);
    if (rc < 0) {
        return rc;
    }
    if (protocol == MV_MONITOR_QMP && parsed.kind == ADDRESS_STDIO) {
        return error_set(err, -EINVAL, "bad-address", address, "%s: QMP is spoken over sockets only", address);
    }
    if (protocol == MV_MONITOR_QMP && !qmp_is_built_in()) {
        return error_set(err, -ENOTSUP, "no-json", address, "%s: QMP is not there: built without jansson",
                         address);
    }
    return 0;
}

int mv_monitor_listen(struct mv_monitor *monitor, enum mv_monitor_protocol protocol, const char *address,
                      struct mv_error *err)
{
    struct channel *channel;
    int rc = mv_monitor_check_address(protocol, address, err);
    if (rc == 0) {
        rc = channel_create(monitor, protocol, address, &channel, err);
    }
    if (rc == 0) {
        pthread_mutex_lock(&monitor->lock);
        cds_list_add_tail(&channel->link, &monitor->channels);
        pthread_mutex_unlock(&monitor->lock);
    }
    return rc;
}

int mv_monitor_line(struct mv_monitor *monitor, const char *line, char **ret, struct mv_error *err)
{
    struct session session;
    struct text out;
    session_init(&session, monitor);
    text_init(&out, COMMAND_TEXT_MAX);
    hmp_line(&session, line, &out);
    text_add(&out, "", 1);
    if (out.overflowed) {
        text_finish(&out);
        return error_set(err, -ENOMEM, "no-memory", "monitor", "monitor: there is too much to show");
    }
    *ret = out.bytes;
    return 0;
}

/* --- what commands do to the VM ---------------------------------------------------------------- */

bool monitor_stop(struct mv_monitor *monitor)
{
    pthread_mutex_lock(&monitor->control);
    bool changed = !atomic_load(&monitor->stopped);
    if (changed) {
        mv_vm_pause(monitor->options.vm);
        atomic_store(&monitor->stopped, true);
        monitor_event(monitor, "STOP", NULL);
    }
    pthread_mutex_unlock(&monitor->control);
    return changed;
}

bool monitor_cont(struct mv_monitor *monitor)
{
    pthread_mutex_lock(&monitor->control);
    bool changed = atomic_load(&monitor->stopped);
    if (changed) {
        atomic_store(&monitor->prelaunch, false);
        atomic_store(&monitor->stopped, false);
        monitor_event(monitor, "RESUME", NULL);
        mv_vm_resume(monitor->options.vm);
    }
    pthread_mutex_unlock(&monitor->control);
    return changed;
}

void monitor_quit(struct mv_monitor *monitor)
{
    atomic_store(&monitor->quitting, true);
    mv_vm_stop(monitor->options.vm, MV_STOP_REQUEST, 0, "ended by a monitor's quit");
}

void monitor_event(struct mv_monitor *monitor, const char *name, const char *data)
{
    struct channel *channel;
    pthread_mutex_lock(&monitor->lock);
    cds_list_for_each_entry (channel, &monitor->channels, link) {
        channel_event(channel, name, data);
    }
    pthread_mutex_unlock(&monitor->lock);
}

/* QEMU's words for why a VM is gone (its enum ShutdownCause). */
static const char *cause_of(const struct mv_monitor *monitor, const struct mv_stop *stop)
{
    switch (stop->reason) {
    case MV_STOP_EXIT: return "guest-shutdown";
    case MV_STOP_SHUTDOWN: return "guest-reset"; /* what a triple fault is to a PC */
    case MV_STOP_HALTED:
    case MV_STOP_INTERNAL_ERROR:
    case MV_STOP_ENTRY_FAILED:
    case MV_STOP_UNHANDLED_EXIT: return "guest-panic";
    case MV_STOP_REQUEST: return atomic_load(&monitor->quitting) ? "host-qmp-quit" : "host-signal";
    case MV_STOP_NONE:
    case MV_STOP_HOST_ERROR: break;
    }
    return "host-error";
}

void mv_monitor_shutdown(struct mv_monitor *monitor, const struct mv_stop *stop)
{
    char data[96];
    const char *cause = cause_of(monitor, stop);
    snprintf(data, sizeof data, "{\"guest\": %s, \"reason\": \"%s\"}",
             strncmp(cause, "guest", 5) == 0 ? "true" : "false", cause);
    monitor_event(monitor, "SHUTDOWN", data);
}
