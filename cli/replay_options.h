// SPDX-License-Identifier: MIT
/* Options that commands with a replayed guest share. */
#ifndef CLI_REPLAY_OPTIONS_H
#define CLI_REPLAY_OPTIONS_H

#include <memvirt/replay.h>

/* Each checks the value of an option and keeps it. Returns CLI_OK, or CLI_USAGE after it has said why, as
 * `command`. */
int replay_parse_page(const char *command, const char *option, const char *value, const char **ret);
int replay_parse_levels(const char *command, const char *value, struct mv_replay_options *ret);
int replay_parse_memory(const char *command, const char *value, struct mv_replay_options *ret);

/* An error of mv_replay_feed(): the library does not know which trace it was that made the guest do so. Returns
 * `rc`. */
int replay_name_source(const char *source, int rc, struct mv_error *err);

#endif
