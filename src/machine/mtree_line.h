// SPDX-License-Identifier: MIT
/*
 * One line of what `info mtree` printed. Nothing is copied: the parts point into the line.
 *
 *     [DETECTED OVERFLOW!] <indent>FIRST-LAST (prio N, TYPE): NAME [disabled] owner:{dev id=x}
 *     <indent>FIRST-LAST (prio N, TYPE): alias NAME @TARGET FIRST-LAST [disabled] parent:{obj path=/x}
 */
#ifndef MACHINE_MTREE_LINE_H
#define MACHINE_MTREE_LINE_H

#include <memvirt/types.h>

/* Some bytes of a text that lives longer. */
struct slice {
    const char *start;
    size_t length;
};

#define SLICE(literal) ((struct slice){literal, sizeof(literal) - 1})

bool slice_equal(struct slice a, struct slice b);
bool slice_begins(struct slice s, struct slice with);
bool slice_ends(struct slice s, struct slice with);

enum mtree_line_kind {
    MTREE_LINE_BLANK,
    MTREE_LINE_SPACE,  /* address-space: NAME */
    MTREE_LINE_TARGET, /* memory-region: NAME */
    MTREE_LINE_FLAT,   /* FlatView #N */
    MTREE_LINE_REGION, /* a range, in a tree or in a flat view */
    MTREE_LINE_AS,     /*  AS "NAME", root: ROOT: in a flat view */
    MTREE_LINE_OTHER,  /* the monitor's prompt, or what belongs to a flat view */
};

enum mtree_type {
    MTREE_RAM,
    MTREE_ROM,
    MTREE_ROM_DEVICE,
    MTREE_RAM_DEVICE,
    MTREE_IO,
};

struct mtree_line {
    enum mtree_line_kind kind;
    struct slice name;

    /* REGION: */
    unsigned level; /* of its indent: 1, 2, ... */
    struct mv_range range;
    int priority;
    enum mtree_type type;
    bool nonvolatile;
    bool enabled;
    bool says_owner;    /* there is owner:{}, parent:{} or orphan */
    bool is_parent;     /* it is parent:{} */
    struct slice owner; /* what is in the braces; start is NULL if there are none */
    bool is_alias;
    struct slice target;
    uint64_t target_first;
};

/*
 * Take a line, without its newline, apart.
 * @param[out] ret_why  a phrase, static, when it is no line of a dump
 */
bool mtree_line_parse(struct slice text, struct mtree_line *ret, const char **ret_why);

#endif
