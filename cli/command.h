// SPDX-License-Identifier: MIT
/* What a command is, and what its exit status means. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

/*
 * Exit statuses. A guest ends with a status of its own, 0 to 255, which may be one of these too: the report's
 * `stop` tells whose it is. 1 is not used, so that it is the guest's.
 */
enum cli_status {
    CLI_OK = 0,
    CLI_USAGE = 2,        /* the command line is wrong */
    CLI_NO_ACCEL = 3,     /* the accelerator cannot be used on this host by this user */
    CLI_REFUSED = 4,      /* the image, the machine or the host said no before the guest started */
    CLI_GUEST_FAILED = 5, /* the guest did what it cannot go on from */
    CLI_HOST_ERROR = 6,   /* the host failed while the guest ran or its report was written */
    CLI_SIGNAL = 128,     /* plus the signal's number: stopped by it */
};

struct command {
    const char *name;
    const char *summary; /* one line */
    const char *help;    /* all of --help */

    /* argv[0] is the command's name. Returns the exit status; what it wrote to stdout may not be flushed yet. */
    int (*run)(int argc, char **argv);
};

extern const struct command command_run;
extern const struct command command_check;
extern const struct command command_mtree;
extern const struct command command_replay;
extern const struct command command_explain;
extern const struct command command_trace;
extern const struct command command_help;
extern const struct command command_version;

/* All commands, in the order in which help shows them; NULL is last. */
extern const struct command *const commands[];

/* NULL: there is none of that name. */
const struct command *command_find(const char *name);

#endif
