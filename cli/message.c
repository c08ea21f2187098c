// SPDX-License-Identifier: MIT
#include "message.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "command.h"

/* What a library's error and the words around it need, and a path of some length. */
#define LINE_SIZE 1024

static void clean(char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f) {
            *text = '?';
        }
    }
}

/* One call, so that lines of several threads do not mix. */
static void say_line(char *text, const char *after)
{
    clean(text);
    fprintf(stderr, "memvirt: %s%s\n", text, after);
}

void say(const char *format, ...)
{
    char text[LINE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    say_line(text, "");
}

int usage_error(const char *command, const char *format, ...)
{
    char text[LINE_SIZE];
    char hint[64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    snprintf(hint, sizeof hint, "; try 'memvirt %s%s--help'", command ? command : "", command ? " " : "");
    say_line(text, hint);
    return CLI_USAGE;
}

int option_error(const char *command, int c, char *const *argv)
{
    char letter[] = {'-', (char)optopt, '\0'};
    const bool is_letter = optopt > ' ' && optopt < 0x7f;
    const char *name = is_letter ? letter : argv[optind - 1];
    if (c == ':') {
        return usage_error(command, "option '%s' needs a value", name);
    }
    if (optopt != 0 && !is_letter) { /* getopt_long() knows it */
        return usage_error(command, "option '%s': it takes no value", name);
    }
    return usage_error(command, "unknown option '%s'", name);
}

/* That it could be used when it was checked was a moment ago. */
int say_refusal(const struct mv_error *err)
{
    static const char *const reasons[] = {"no-device", "no-permission", "missing-capability"};
    say("%s", err->text);
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (strcmp(err->reason, reasons[i]) == 0) {
            return CLI_NO_ACCEL;
        }
    }
    return CLI_REFUSED;
}
