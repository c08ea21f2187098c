// SPDX-License-Identifier: MIT
#include "monitor/command.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"

static const struct parameter dump_parameters[] = {
    {.name = "format", .kind = PARAMETER_FORMAT, .optional = true},
    {.name = "address", .kind = PARAMETER_NUMBER},
    {0},
};

static const struct parameter address_parameters[] = {
    {.name = "address", .kind = PARAMETER_NUMBER},
    {0},
};

static const struct parameter explain_parameters[] = {
    {.name = "write", .kind = PARAMETER_FLAG, .letter = 'w'},
    {.name = "fetch", .kind = PARAMETER_FLAG, .letter = 'f'},
    {.name = "user", .kind = PARAMETER_FLAG, .letter = 'u'},
    {.name = "supervisor", .kind = PARAMETER_FLAG, .letter = 's'},
    {.name = "implicit", .kind = PARAMETER_FLAG, .letter = 'i'},
    {.name = "address", .kind = PARAMETER_NUMBER},
    {0},
};

static const struct parameter mtree_parameters[] = {
    {.name = "flat", .kind = PARAMETER_FLAG, .letter = 'f'},
    {.name = "dispatch", .kind = PARAMETER_FLAG, .letter = 'd'},
    {.name = "owner", .kind = PARAMETER_FLAG, .letter = 'o'},
    {.name = "disabled", .kind = PARAMETER_FLAG, .letter = 'D'},
    {0},
};

static const struct parameter help_parameters[] = {
    {.name = "command", .kind = PARAMETER_WORDS, .optional = true},
    {0},
};

const struct command monitor_commands[] = {
    {.hmp = "cont|c", .qmp = "cont", .help = "let the VM go on", .run = state_cont},
    {.hmp = "explain",
     .qmp = "x-explain",
     .usage = "[-w][-f][-u][-s][-i] addr",
     .help = "where a guest virtual address leads, and what becomes of a read (-w: a write; -f: a fetch) by the "
             "current CPU (-u: by a user; -s: by a supervisor; -i: by the CPU itself)",
     .parameters = explain_parameters,
     .run = explain_run,
     .print = command_print_text},
    {.hmp = "gpa2hpa",
     .qmp = "x-gpa2hpa",
     .usage = "addr",
     .help = "the host physical address of a guest physical address",
     .parameters = address_parameters,
     .run = memory_gpa2hpa,
     .print = memory_print_gpa2hpa},
    {.hmp = "gpa2hva",
     .qmp = "x-gpa2hva",
     .usage = "addr",
     .help = "the host virtual address of a guest physical address",
     .parameters = address_parameters,
     .run = memory_gpa2hva,
     .print = memory_print_gpa2hva},
    {.hmp = "gva2gpa",
     .qmp = "x-gva2gpa",
     .usage = "addr",
     .help = "the guest physical address of a guest virtual address",
     .parameters = address_parameters,
     .run = memory_gva2gpa,
     .print = memory_print_gva2gpa},
    {.hmp = "help|?",
     .usage = "[command]",
     .help = "what commands there are, or what one does",
     .parameters = help_parameters,
     .run = help_run,
     .print = command_print_text},
    {.hmp = "info",
     .usage = "[subcommand]",
     .help = "show something of the VM",
     .run = help_run_info,
     .print = command_print_text},
    {.hmp = "quit|q", .qmp = "quit", .help = "end the VM", .run = state_quit},
    {.hmp = "stop|s", .qmp = "stop", .help = "pause the VM", .run = state_stop},
    {.hmp = "x",
     .qmp = "x-read-virtual",
     .usage = "/fmt addr",
     .help = "show memory from guest virtual address 'addr' on",
     .parameters = dump_parameters,
     .run = memory_dump_virtual,
     .print = memory_print_dump},
    {.hmp = "xp",
     .qmp = "x-read-physical",
     .usage = "/fmt addr",
     .help = "show memory from guest physical address 'addr' on",
     .parameters = dump_parameters,
     .run = memory_dump_physical,
     .print = memory_print_dump},
    {.hmp = "mtree",
     .is_info = true,
     .qmp_text = "x-query-mtree",
     .usage = "[-f][-d][-o][-D]",
     .help = "the memory tree (-f: the flat views; -d: with -f, how they are looked up; -o: owners; -D: disabled "
             "regions too)",
     .parameters = mtree_parameters,
     .run = map_mtree,
     .print = command_print_text},
    {.hmp = "ramblock",
     .is_info = true,
     .qmp = "x-query-blocks",
     .qmp_text = "x-query-ramblock",
     .help = "the blocks of host memory that back guest RAM",
     .run = map_blocks,
     .print = map_print_blocks},
    {.hmp = "registers",
     .is_info = true,
     .qmp = "x-query-cpu-registers",
     .qmp_text = "x-query-registers",
     .help = "the registers of the current CPU",
     .run = registers_query,
     .print = registers_print},
    {.hmp = "slots",
     .is_info = true,
     .qmp = "x-query-slots",
     .help = "the accelerator's memory slots",
     .run = map_slots,
     .print = map_print_slots},
    {.hmp = "status",
     .is_info = true,
     .qmp = "query-status",
     .help = "whether the VM runs",
     .run = state_query,
     .print = state_print},
    {.hmp = "version",
     .is_info = true,
     .qmp = "query-version",
     .help = "the version of memvirt",
     .run = state_version,
     .print = state_print_version},
    {0},
};

void session_init(struct session *session, struct mv_monitor *monitor)
{
    *session = (struct session){.monitor = monitor, .format = 'x', .unit_bytes = 4};
}

/* "stop|s" has "stop" and "s". */
static bool has_name(const char *names, const char *name, size_t length)
{
    for (;;) {
        size_t n = strcspn(names, "|");
        if (n == length && strncmp(names, name, n) == 0) {
            return true;
        }
        if (names[n] == '\0') {
            return false;
        }
        names += n + 1;
    }
}

const struct command *command_by_hmp(const char *name, size_t length, bool is_info)
{
    for (const struct command *c = monitor_commands; c->run; c++) {
        if (c->hmp && c->is_info == is_info && has_name(c->hmp, name, length)) {
            return c;
        }
    }
    return NULL;
}

const struct command *command_by_qmp(const char *name)
{
    for (const struct command *c = monitor_commands; c->run; c++) {
        if ((c->qmp && strcmp(c->qmp, name) == 0) || (c->qmp_text && strcmp(c->qmp_text, name) == 0)) {
            return c;
        }
    }
    return NULL;
}

int command_execute(const struct command *command, struct session *session, const struct value *arguments,
                    struct value **ret, struct mv_error *err)
{
    struct value *result = NULL;
    int rc = command->run(session, arguments, &result, err);
    if (rc == 0 && !result) {
        rc = error_set(err, -ENOMEM, "no-memory", NULL, "out of memory");
    }
    if (rc == 0) {
        *ret = result;
    }
    return rc;
}

struct value *command_text_result(struct text *text)
{
    struct value *whole = text->overflowed ? NULL : value_text_bytes(text->bytes, text->length);
    text_finish(text);
    return value_with(value_object(), "human-readable-text", whole);
}

void command_print_text(const struct value *result, struct text *out)
{
    const char *text = value_text_at(result, "human-readable-text");
    text_add(out, text, strlen(text));
}
