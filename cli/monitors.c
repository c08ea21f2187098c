// SPDX-License-Identifier: MIT
#include "monitors.h"

#include <string.h>

#include "command.h"
#include "message.h"

int monitor_options_add(struct monitor_options *options, enum mv_monitor_protocol protocol, const char *text)
{
    const char *option = protocol == MV_MONITOR_QMP ? "--qmp" : "--monitor";
    struct mv_error err;
    if (mv_monitor_check_address(protocol, text, &err) < 0) {
        return usage_error("run", "%s %s", option, err.text);
    }
    for (size_t i = 0; i < options->count; i++) {
        if (strcmp(options->addresses[i].text, text) == 0) {
            return usage_error("run", "%s %s: it is another monitor's already", option, text);
        }
    }
    options->addresses[options->count++] = (struct monitor_address){.protocol = protocol, .text = text};
    return CLI_OK;
}

int monitor_options_check(const struct monitor_options *options, bool has_json)
{
    if (options->paused && options->count == 0) {
        return usage_error("run", "--paused: without --monitor or --qmp nobody could let the guest go on");
    }
    for (size_t i = 0; has_json && i < options->count; i++) {
        if (strcmp(options->addresses[i].text, "stdio") == 0) {
            return usage_error("run", "--monitor stdio: with --stats json standard output is the report's");
        }
    }
    return CLI_OK;
}

int monitors_start(struct mv_machine *machine, struct mv_vm *vm, const struct monitor_options *options,
                   struct mv_monitor **ret)
{
    const struct mv_monitor_options monitor_options = {.machine = machine, .vm = vm, .paused = options->paused};
    struct mv_monitor *monitor = NULL;
    struct mv_error err;
    int rc = options->count > 0 ? mv_monitor_create(&monitor_options, &monitor, &err) : 0;
    for (size_t i = 0; rc == 0 && i < options->count; i++) {
        rc = mv_monitor_listen(monitor, options->addresses[i].protocol, options->addresses[i].text, &err);
    }
    if (rc < 0) {
        say("%s", err.text);
        mv_monitor_destroy(monitor);
        return CLI_REFUSED;
    }
    *ret = monitor;
    return CLI_OK;
}
