// SPDX-License-Identifier: MIT
/* The JSON that commands print. In a build without jansson there is none, and these say so. */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include <memvirt/accel.h>

struct explain_report;
struct replay_report;
struct report;

bool json_is_built_in(void);

/* One object, on stdout. False: out of memory or no JSON in this build; stdout's own errors are output_finish()'s.
 */
bool json_print_report(const struct report *report);
bool json_print_explain(const struct explain_report *report);
bool json_print_replay(const struct replay_report *report);
bool json_print_check(const struct mv_accel_status *accels, size_t count);

#endif
