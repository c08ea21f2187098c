// SPDX-License-Identifier: MIT
/* The command: finds which of its commands is meant. Everything else is theirs. */
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "message.h"
#include "output.h"

const struct command *const commands[] = {
    &command_run,     &command_mtree,   &command_replay,
    &command_explain, &command_trace,   &command_check,
    &command_help,    &command_version, NULL,
};

const struct command *command_find(const char *name)
{
    for (size_t i = 0; commands[i]; i++) {
        if (strcmp(commands[i]->name, name) == 0) {
            return commands[i];
        }
    }
    return NULL;
}

/* What options without a command mean. */
static const char *command_name(const char *word)
{
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        return "help";
    }
    return strcmp(word, "--version") == 0 ? "version" : word;
}

int main(int argc, char **argv)
{
    output_init();
    if (argc < 2) {
        return usage_error(NULL, "no command given");
    }
    const struct command *command = command_find(command_name(argv[1]));
    if (!command) {
        return usage_error(NULL, "unknown %s '%s'", argv[1][0] == '-' ? "option" : "command", argv[1]);
    }
    return output_finish(command->run(argc - 1, argv + 1));
}
