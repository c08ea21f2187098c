// SPDX-License-Identifier: MIT
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include <memvirt/trace.h>

#include "command.h"
#include "message.h"

static const char help[] =
    "usage: memvirt trace convert SOURCE FILE\n"
    "\n"
    "Write a trace in memvirt's own binary format, which is replayed several times as fast as text. SOURCE is what\n"
    "`memvirt replay` takes: lackey's text, such a file, a generator, or - for the standard input. FILE may be - for the\n"
    "standard output. docs/trace-format.md has the format.\n"
    "\n"
    "  -h, --help  print this text\n"
    "\n"
    "Exit status: 0; 2 if the command line is wrong; 4 if SOURCE cannot be read or is no trace; 6 if FILE cannot be\n"
    "written.\n";

static const struct option options[] = {
    {"help", no_argument, NULL, 'h'},
    {0},
};

static int copy(struct mv_trace *trace, struct mv_trace_writer *writer)
{
    struct mv_error err;
    for (;;) {
        const mv_trace_record_t *records;
        size_t count;
        if (mv_trace_read(trace, &records, &count, &err) < 0) {
            return say_refusal(&err);
        }
        if (count == 0) {
            return CLI_OK;
        }
        if (mv_trace_write(writer, records, count, &err) < 0) {
            say("%s", err.text);
            return CLI_HOST_ERROR;
        }
    }
}

static int convert(const char *source, const char *path)
{
    struct mv_trace *trace;
    struct mv_trace_writer *writer;
    struct mv_error err;
    if (mv_trace_open(source, &trace, &err) < 0) {
        return say_refusal(&err);
    }
    if (mv_trace_writer_create(path, &writer, &err) < 0) {
        mv_trace_close(trace);
        say("%s", err.text);
        return CLI_HOST_ERROR;
    }
    int status = copy(trace, writer);
    mv_trace_close(trace);
    if (status != CLI_OK) {
        mv_trace_writer_abandon(writer);
    } else if (mv_trace_writer_finish(writer, &err) < 0) {
        say("%s", err.text);
        status = CLI_HOST_ERROR;
    }
    return status;
}

static int run(int argc, char **argv)
{
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (c != 'h') {
            return option_error("trace", c, argv);
        }
        fputs(help, stdout);
        return CLI_OK;
    }
    if (optind == argc || strcmp(argv[optind], "convert") != 0) {
        return usage_error("trace", optind == argc ? "nothing to do given" : "unknown verb '%s'", argv[optind]);
    }
    if (argc - optind != 3) {
        return usage_error("trace", "convert: it takes a SOURCE and a FILE");
    }
    return convert(argv[optind + 1], argv[optind + 2]);
}

const struct command command_trace = {
    .name = "trace",
    .summary = "convert traces of memory references",
    .help = help,
    .run = run,
};
