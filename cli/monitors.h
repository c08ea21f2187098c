// SPDX-License-Identifier: MIT
/* The monitors that a run was asked for: --monitor, --qmp and --paused. */
#ifndef CLI_MONITORS_H
#define CLI_MONITORS_H

#include <stdbool.h>
#include <stddef.h>

#include <memvirt/monitor.h>

struct monitor_address {
    enum mv_monitor_protocol protocol;
    const char *text; /* borrowed from the command line */
};

struct monitor_options {
    struct monitor_address *addresses; /* with room for as many as there are arguments. Owned */
    size_t count;
    bool paused;
};

/* Each returns CLI_OK, or the exit status after saying what is wrong. */
int monitor_options_add(struct monitor_options *options, enum mv_monitor_protocol protocol, const char *text);
/* When all is parsed: `has_json` if the report will have standard output for itself. */
int monitor_options_check(const struct monitor_options *options, bool has_json);

/*
 * Make the monitor and listen everywhere, before the VM is started. Without addresses there is none, and `*ret` is
 * NULL. Returns CLI_OK, or the exit status after saying what went wrong.
 */
int monitors_start(struct mv_machine *machine, struct mv_vm *vm, const struct monitor_options *options,
                   struct mv_monitor **ret);

#endif
