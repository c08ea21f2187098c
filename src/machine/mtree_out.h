// SPDX-License-Identifier: MIT
/* A text in the making: collected under the control lock, told without it. */
#ifndef MACHINE_MTREE_OUT_H
#define MACHINE_MTREE_OUT_H

#include <memvirt/mtree.h>

/* Owned by whoever prints. All zero is an empty one. */
struct mtree_out {
    char *text; /* lines, each with its newline */
    size_t length;
    size_t capacity;
    bool failed; /* memory ran out: nothing will be told */
};

void mtree_out_add(struct mtree_out *out, const char *format, ...) MV_PRINTF(2, 3);

/* Tell all lines, and free it. @return 0; -ENOMEM if some of it is missing: then nothing is told */
int mtree_out_tell(struct mtree_out *out, mv_print_fn *print, void *opaque, struct mv_error *err);

void mtree_out_finish(struct mtree_out *out);

#endif
