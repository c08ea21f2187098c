// SPDX-License-Identifier: MIT
/*
 * Commands. Each has one implementation, which takes a value tree of arguments and returns a value tree. HMP
 * parses a line into the arguments and prints the result (hmp.h); QMP has both as JSON (qmp.h).
 */
#ifndef MONITOR_COMMAND_H
#define MONITOR_COMMAND_H

#include <memvirt/types.h>

#include "monitor/monitor.h"
#include "monitor/text.h"
#include "monitor/value.h"

/* What one command prints at most; more is refused. */
#define COMMAND_TEXT_MAX ((size_t)64 << 20)

/* What one client has set. Owned by the client's protocol. */
struct session {
    struct mv_monitor *monitor;
    unsigned vcpu;       /* whose registers and tables are meant */
    char format;         /* of the last x or xp, which is the next one's default: one of "xduoc" */
    unsigned unit_bytes; /* the same: 1, 2, 4 or 8 */
};

void session_init(struct session *session, struct mv_monitor *monitor);

enum parameter_kind {
    PARAMETER_NUMBER, /* HMP: an expression; QMP: an integer, or a string "0x..." */
    PARAMETER_FLAG,   /* HMP: -x, by `letter`; QMP: a boolean. Always optional */
    PARAMETER_FORMAT, /* HMP: /FMT, which sets three more: "count", "format" and "unit-bytes". Not in QMP */
    PARAMETER_WORDS,  /* HMP: the rest of the line; QMP: a string */
};

struct parameter {
    const char *name; /* NULL ends a list */
    enum parameter_kind kind;
    bool optional;
    char letter;
};

struct command {
    const char *hmp;      /* names in HMP, with '|' between; NULL: not there */
    bool is_info;         /* in HMP it follows "info" */
    const char *qmp;      /* name in QMP; NULL: not there */
    const char *qmp_text; /* another name in QMP: what HMP would print, as QEMU's HumanReadableText */
    const char *usage;    /* of its arguments in HMP; NULL: none */
    const char *help;     /* one line */
    const struct parameter *parameters; /* NULL: none */

    /* Returns 0 and a result, or a negative errno and `err`. `*ret` may be NULL with 0: out of memory. */
    int (*run)(struct session *session, const struct value *arguments, struct value **ret, struct mv_error *err);
    /* HMP's way to show a result; NULL: nothing is shown. */
    void (*print)(const struct value *result, struct text *out);
};

/* All of them; one with neither name is last. */
extern const struct command monitor_commands[];

/* NULL when there is none of that name. */
const struct command *command_by_hmp(const char *name, size_t length, bool is_info);
const struct command *command_by_qmp(const char *name);

/* Run it; a result that ran out of memory is an error too. */
int command_execute(const struct command *command, struct session *session, const struct value *arguments,
                    struct value **ret, struct mv_error *err);

/* {"human-readable-text": TEXT}, and its printing. Takes what the text has. */
struct value *command_text_result(struct text *text);
void command_print_text(const struct value *result, struct text *out);

/* --- implementations, by file ------------------------------------------------------------------------------- */

typedef int command_run_fn(struct session *session, const struct value *arguments, struct value **ret,
                           struct mv_error *err);
typedef void command_print_fn(const struct value *result, struct text *out);

/* state.c */
command_run_fn state_query, state_stop, state_cont, state_quit, state_version;
command_print_fn state_print, state_print_version;
struct value *state_version_value(void);

/* memory.c */
command_run_fn memory_dump_virtual, memory_dump_physical, memory_gva2gpa, memory_gpa2hva, memory_gpa2hpa;
command_print_fn memory_print_dump, memory_print_gva2gpa, memory_print_gpa2hva, memory_print_gpa2hpa;

/* explain.c */
command_run_fn explain_run;

/* map.c */
command_run_fn map_mtree, map_blocks, map_slots;
command_print_fn map_print_blocks, map_print_slots;

/* help.c */
command_run_fn help_run, help_run_info;

/* registers.c */
command_run_fn registers_query;
command_print_fn registers_print;
/* An expression_register_fn; opaque is the session. Pauses the VM for it. */
bool registers_find(void *opaque, const char *name, uint64_t *ret);
/* The session's vCPU, or NULL with an error. */
struct mv_vcpu *registers_vcpu(struct session *session, struct mv_error *err);

#endif
