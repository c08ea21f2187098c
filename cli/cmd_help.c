// SPDX-License-Identifier: MIT
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "message.h"

static const char help[] = "usage: memvirt help [COMMAND]\n"
                           "       memvirt --help\n"
                           "       memvirt COMMAND --help\n"
                           "\n"
                           "Print what there is, or what a command does.\n"
                           "\n"
                           "  -h, --help  print this text\n";

static int print_overview(void)
{
    fputs("usage: memvirt COMMAND [ARGUMENT]...\n"
          "\n"
          "Runs a guest, and shows how its memory gets from guest virtual to host physical addresses.\n"
          "\n",
          stdout);
    for (size_t i = 0; commands[i]; i++) {
        printf("  %-10s%s\n", commands[i]->name, commands[i]->summary);
    }
    fputs("\n"
          "  -h, --help      print this text; after a COMMAND, print its own\n"
          "      --version   print the version\n",
          stdout);
    return CLI_OK;
}

static int run(int argc, char **argv)
{
    if (argc == 1) {
        return print_overview();
    }
    if (argc > 2) {
        return usage_error("help", "unexpected '%s'", argv[2]);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        fputs(help, stdout);
        return CLI_OK;
    }
    const struct command *command = command_find(argv[1]);
    if (!command) {
        return usage_error("help", "unknown command '%s'", argv[1]);
    }
    fputs(command->help, stdout);
    return CLI_OK;
}

const struct command command_help = {
    .name = "help",
    .summary = "print what a command does",
    .help = help,
    .run = run,
};
