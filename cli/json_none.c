// SPDX-License-Identifier: MIT
/* In place of the other json files, in a build without jansson. */
#include "command.h"
#include "explain.h"
#include "json.h"
#include "message.h"

bool json_is_built_in(void)
{
    return false;
}

bool json_print_report(const struct report *report)
{
    (void)report;
    return false;
}

int explain_by_qmp(const struct explain_remote *remote)
{
    (void)remote;
    say("--qmp: this memvirt was built without jansson");
    return CLI_USAGE;
}

bool json_print_explain(const struct explain_report *report)
{
    (void)report;
    return false;
}

bool json_print_replay(const struct replay_report *report)
{
    (void)report;
    return false;
}

bool json_print_check(const struct mv_accel_status *accels, size_t count)
{
    (void)accels;
    (void)count;
    return false;
}
