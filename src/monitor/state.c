// SPDX-License-Identifier: MIT
/* Commands about the VM as a whole: whether it runs, and that it should or should not. */
#include <stdio.h>

#include "monitor/command.h"

static const char *state_word(const struct mv_monitor *monitor)
{
    if (mv_vm_state(monitor->options.vm) == MV_VM_STOPPED) {
        return "shutdown";
    }
    if (!atomic_load(&monitor->stopped)) {
        return "running";
    }
    return atomic_load(&monitor->prelaunch) ? "prelaunch" : "paused";
}

int state_query(struct session *session, const struct value *arguments, struct value **ret, struct mv_error *err)
{
    (void)arguments;
    (void)err;
    struct mv_monitor *monitor = session->monitor;
    const char *word = state_word(monitor);
    bool running = mv_vm_state(monitor->options.vm) != MV_VM_STOPPED && !atomic_load(&monitor->stopped);
    struct value *result = value_with(value_object(), "running", value_bool(running));
    result = value_with(result, "singlestep", value_bool(false));
    *ret = value_with(result, "status", value_text(word));
    return 0;
}

void state_print(const struct value *result, struct text *out)
{
    const char *word = value_text_at(result, "status");
    bool running = value_bool_at(result, "running");
    bool plain = word[0] == 'r' || (word[0] == 'p' && word[1] == 'a');
    if (plain) {
        text_print(out, "VM status: %s\n", word);
    } else {
        text_print(out, "VM status: %s (%s)\n", running ? "running" : "paused", word);
    }
}

int state_stop(struct session *session, const struct value *arguments, struct value **ret, struct mv_error *err)
{
    (void)arguments;
    (void)err;
    monitor_stop(session->monitor);
    *ret = value_object();
    return 0;
}

int state_cont(struct session *session, const struct value *arguments, struct value **ret, struct mv_error *err)
{
    (void)arguments;
    (void)err;
    monitor_cont(session->monitor);
    *ret = value_object();
    return 0;
}

int state_quit(struct session *session, const struct value *arguments, struct value **ret, struct mv_error *err)
{
    (void)arguments;
    (void)err;
    monitor_quit(session->monitor);
    *ret = value_object();
    return 0;
}

struct value *state_version_value(void)
{
    unsigned parts[3] = {0};
    char package[64];
    sscanf(mv_version(), "%u.%u.%u", &parts[0], &parts[1], &parts[2]);
    snprintf(package, sizeof package, "memvirt %s", mv_version());
    struct value *numbers = value_with(value_object(), "micro", value_number(parts[2]));
    numbers = value_with(numbers, "minor", value_number(parts[1]));
    numbers = value_with(numbers, "major", value_number(parts[0]));
    return value_with(value_with(value_object(), "qemu", numbers), "package", value_text(package));
}

int state_version(struct session *session, const struct value *arguments, struct value **ret, struct mv_error *err)
{
    (void)session;
    (void)arguments;
    (void)err;
    *ret = state_version_value();
    return 0;
}

void state_print_version(const struct value *result, struct text *out)
{
    text_print(out, "%s\n", value_text_at(result, "package"));
}
