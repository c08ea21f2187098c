// SPDX-License-Identifier: MIT
/* help, and info without a word after it. */
#include <string.h>

#include "monitor/command.h"

static void print_command(const struct command *command, struct text *out)
{
    text_print(out, "%s%s%s%s  -- %s\n", command->is_info ? "info " : "", command->hmp, command->usage ? " " : "",
               command->usage ? command->usage : "", command->help);
}

static void print_all(bool is_info, struct text *out)
{
    for (const struct command *c = monitor_commands; c->run; c++) {
        if (c->hmp && c->is_info == is_info) {
            print_command(c, out);
        }
    }
}

/* "x", "info", "info mtree" */
static void print_one(const char *words, struct text *out)
{
    size_t length = strcspn(words, " \t");
    const char *rest = words + length + strspn(words + length, " \t");
    const struct command *command = command_by_hmp(words, length, false);
    if (length == 4 && strncmp(words, "info", 4) == 0) {
        if (*rest == '\0') {
            print_all(true, out);
            return;
        }
        command = command_by_hmp(rest, strlen(rest), true);
    } else if (*rest != '\0') {
        command = NULL;
    }
    if (command) {
        print_command(command, out);
    } else {
        text_print(out, "unknown command: '%s'\n", words);
    }
}

int help_run(struct session *session, const struct value *arguments, struct value **ret, struct mv_error *err)
{
    (void)session;
    (void)err;
    const char *words = value_text_at(arguments, "command");
    struct text text;
    text_init(&text, COMMAND_TEXT_MAX);
    if (words) {
        print_one(words, &text);
    } else {
        print_all(false, &text);
    }
    *ret = command_text_result(&text);
    return 0;
}

int help_run_info(struct session *session, const struct value *arguments, struct value **ret, struct mv_error *err)
{
    (void)session;
    (void)arguments;
    (void)err;
    struct text text;
    text_init(&text, COMMAND_TEXT_MAX);
    print_all(true, &text);
    *ret = command_text_result(&text);
    return 0;
}
