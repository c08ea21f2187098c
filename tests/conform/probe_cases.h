// SPDX-License-Identifier: MIT
#ifndef TESTS_CONFORM_PROBE_CASES_H
#define TESTS_CONFORM_PROBE_CASES_H

#include "guests/probe/probe.h"
#include "tests/model/walk_random.h"

#include <stddef.h>

/*
 * The cases of the probe guest: first a matrix, then random ones. In all of them an entry leads to the next table,
 * to the target, or to where nothing is; so nothing but the target is ever accessed.
 */

enum probe_group {
    PROBE_LEAVES,    /* each combination of P, W, U, NX, A, D in the leaf, of each size */
    PROBE_TABLES,    /* of the same bits in each entry above it */
    PROBE_RIGHTS,    /* W, U and NX at all levels at once */
    PROBE_RESERVED,  /* each bit that is reserved or ignored, at each level */
    PROBE_UNBACKED,  /* a table where no memory is */
    PROBE_NXE_CLEAR, /* P, W, U, NX with EFER.NXE = 0 */
    PROBE_TWICE,     /* two accesses without an invalidation between them */
    PROBE_RANDOM,
    PROBE_GROUPS,
};

const char *probe_group_name(enum probe_group group);

/* What the processor has. */
struct probe_cpu {
    unsigned maxphyaddr;
    bool has_1g;
    bool has_nx;
};

struct probe_list {
    struct probe_case *cases; /* PROBE_CASES_MAX, the caller's */
    size_t count;
    size_t begin[PROBE_GROUPS + 1]; /* of each group */
};

/* nrandom cases are of the last group. All there are of PROBE_RIGHTS if is_long, or every eighth. */
struct probe_wish {
    struct probe_cpu cpu;
    struct walk_random *random;
    size_t nrandom;
    bool is_long;
};

void probe_cases_make(struct probe_list *list, const struct probe_wish *wish);

#endif
