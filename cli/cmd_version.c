// SPDX-License-Identifier: MIT
#include <stdio.h>
#include <string.h>

#include <memvirt/types.h>

#include "command.h"
#include "message.h"

static const char help[] = "usage: memvirt version\n"
                           "       memvirt --version\n"
                           "\n"
                           "Print \"memvirt\" and its version.\n"
                           "\n"
                           "  -h, --help  print this text\n";

static int run(int argc, char **argv)
{
    if (argc == 1) {
        printf("memvirt %s\n", mv_version());
        return CLI_OK;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        fputs(help, stdout);
        return CLI_OK;
    }
    return usage_error("version", "unexpected '%s'", argv[1]);
}

const struct command command_version = {
    .name = "version",
    .summary = "print the version",
    .help = help,
    .run = run,
};
