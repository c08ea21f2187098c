/* SPDX-License-Identifier: MIT */
#ifndef STALE_SEARCH_H
#define STALE_SEARCH_H

/* What stale_model.c tries, for it and stale_npt.c. */
#include "stale_model.h"

#define MAX_READS 64
#define FOREVER UINT64_MAX

/* One read of the walk, and which version it saw. */
struct pick {
    enum model_dimension dimension;
    bool is_register;              /* nCR3, at the beginning of a chain of nested entries */
    const struct stale_word *word; /* NULL: nothing is there */
    bool newest_first;             /* in which order the versions are tried */
    unsigned version;              /* in this order */
    uint64_t value;                /* as read */
    uint64_t from, to;
    uint64_t since; /* the last invalidation that reached what was cached of it */
    uint64_t chain; /* when all above it in its chain of nested entries were there */
    unsigned size, offset;
};

/*
 * All that is fixed while choices are tried: the translation is one of the segment between two events, and its top
 * table is one of the root's.
 */
struct search {
    const struct stale_cpu *cpu;
    struct model_world world;
    const struct model_access *access;
    const struct model_result *seen;
    struct stale_word ncr3; /* NPT: those that the ASID has had; no memory */
    unsigned segment;       /* after this event, before the next */
    uint64_t begin, end;
    uint64_t root_begin, root_end;

    unsigned npicks;
    struct pick pick[MAX_READS];
    unsigned choice[MAX_READS]; /* which of the versions to see; beyond nchoices it is the first one */
    unsigned nchoices;
    unsigned changed;         /* the read whose choice is another one than in the last try */
    uint64_t best[MAX_READS]; /* for the chain of nested entries that begins there: see is_worse_chain() */
    bool impossible;          /* a word had no version left */
    bool complete;            /* the guest's tables were walked to their end */
    unsigned tries;
};

static inline const struct stale_context *context_of(const struct search *search)
{
    return &search->cpu->event[search->segment].context;
}

static inline bool is_last_segment(const struct search *search)
{
    return search->segment == search->cpu->nevents - 1;
}

#endif
