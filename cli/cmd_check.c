// SPDX-License-Identifier: MIT
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <memvirt/accel.h>

#include "command.h"
#include "json.h"
#include "message.h"

static const char help[] =
    "usage: memvirt check [--json]\n"
    "\n"
    "Say for each accelerator whether it can be used, and if not, why: no-device, no-permission or\n"
    "missing-capability, and a sentence.\n"
    "\n"
    "kvm runs guests; soft is for traces (memvirt replay) and a caller's own CPU.\n"
    "\n"
    "      --json  print a JSON object\n"
    "  -h, --help  print this text\n"
    "\n"
    "Exit status: 0 if at least one that runs guests can be used, else 3; 2 if the command line is wrong; 6 if the\n"
    "output cannot be written.\n";

enum {
    OPTION_JSON = 256,
};

static const struct option options[] = {
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, 'h'},
    {0},
};

enum form {
    FORM_TEXT,
    FORM_JSON,
    FORM_HELP,
};

static int parse(int argc, char **argv, enum form *ret)
{
    enum form form = FORM_TEXT;
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        switch (c) {
        case 'h': *ret = FORM_HELP; return CLI_OK;
        case OPTION_JSON: form = FORM_JSON; break;
        default: return option_error("check", c, argv);
        }
    }
    if (optind < argc) {
        return usage_error("check", "unexpected '%s'", argv[optind]);
    }
    if (form == FORM_JSON && !json_is_built_in()) {
        say("--json: this memvirt was built without jansson");
        return CLI_USAGE;
    }
    *ret = form;
    return CLI_OK;
}

static void print_text(const struct mv_accel_status *accels, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        printf("%s: %s: %s: %s\n", accels[i].name, accels[i].usable ? "usable" : "not usable", accels[i].reason,
               accels[i].text);
    }
}

static int print_all(enum form form)
{
    const size_t count = mv_accel_count();
    struct mv_accel_status *accels = calloc(count > 0 ? count : 1, sizeof *accels);
    bool printed = accels != NULL;
    bool usable = false;
    for (size_t i = 0; accels && i < count; i++) {
        mv_accel_check(i, &accels[i]);
        usable = usable || (accels[i].usable && accels[i].runs_guests);
    }
    if (accels && form == FORM_JSON) {
        printed = json_print_check(accels, count);
    } else if (accels) {
        print_text(accels, count);
    }
    free(accels);
    if (!printed) {
        say("check: out of memory");
        return CLI_HOST_ERROR;
    }
    return usable ? CLI_OK : CLI_NO_ACCEL;
}

static int run(int argc, char **argv)
{
    enum form form;
    int status = parse(argc, argv, &form);
    if (status != CLI_OK) {
        return status;
    }
    if (form == FORM_HELP) {
        fputs(help, stdout);
        return CLI_OK;
    }
    return print_all(form);
}

const struct command command_check = {
    .name = "check",
    .summary = "say which accelerators can be used here, and why not",
    .help = help,
    .run = run,
};
