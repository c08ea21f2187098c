// SPDX-License-Identifier: MIT
/* What `memvirt run` was asked to do. */
#ifndef CLI_RUN_OPTIONS_H
#define CLI_RUN_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <memvirt/board.h>
#include <memvirt/image.h>

#include "mem_backend.h"
#include "monitors.h"

enum stats_form {
    STATS_NONE,
    STATS_TEXT,
    STATS_JSON,
};

struct run_options {
    bool help; /* only --help was asked for; the rest means nothing */
    const char *accel;
    uint64_t ram_bytes;
    struct mem_backend backend; /* Owned */
    unsigned vcpus;
    enum stats_form stats;
    enum mv_image_format format;
    enum mv_board_kind machine;
    const char *bios;  /* NULL: none */
    const char *image; /* NULL: there is a BIOS to start */
    char *arguments;   /* what follows "--", with spaces between; NULL: nothing. Owned */
    mv_gva_t *explain; /* Owned */
    size_t explain_count;
    struct monitor_options monitors;
};

/*
 * Parse all of a command line, and open nothing. Returns CLI_OK, or the exit status after saying what is wrong;
 * then there is nothing to finish.
 */
int run_options_parse(int argc, char **argv, struct run_options *ret);
void run_options_finish(struct run_options *options);

#endif
