// SPDX-License-Identifier: MIT
/* What `memvirt replay` prints: a table, JSON or CSV. */
#ifndef CLI_REPLAY_H
#define CLI_REPLAY_H

#include <stdbool.h>
#include <stddef.h>

#include <memvirt/replay.h>

#define REPLAY_SCHEMES_MAX 8u

struct replay_column {
    const char *mmu;
    struct mv_replay_result result;
    struct mv_modelled modelled;
};

struct replay_report {
    const char *source, *source_format;
    struct mv_replay_options options; /* of all columns; `mmu` is not used */
    const struct mv_costs *costs;
    size_t count;
    struct replay_column columns[REPLAY_SCHEMES_MAX];
};

void replay_print_text(const struct replay_report *report);
void replay_print_csv(const struct replay_report *report);

/* One row: a name for people, one for programs, and the number of a column. */
struct replay_row {
    const char *title; /* NULL: not in the table */
    const char *name;
    double (*value)(const struct replay_column *column);
    bool is_mean; /* printed with decimals */
};

extern const struct replay_row replay_rows[];
extern const size_t replay_row_count;

#endif
