/* SPDX-License-Identifier: MIT */
#ifndef WALK_RANDOM_H
#define WALK_RANDOM_H

#include "walk_memory.h"
#include "walk_model.h"

/*
 * Random worlds for users of the walk model, the same for the same seed: entries that mostly lead somewhere and
 * are mostly as they should be, often with one odd bit.
 */

struct walk_random {
    uint64_t state;
};

void walk_random_seed(struct walk_random *random, uint64_t seed);
uint64_t walk_random_bits(struct walk_random *random);
bool walk_one_in(struct walk_random *random, unsigned n);

/* What a world may have. */
struct walk_limits {
    struct model_cpu cpu; /* taken as it is; its features say which bits of CR4 and EFER may be set */
    unsigned modes;       /* a set of 1 << enum model_mode; not empty */
    unsigned nestings;    /* a set of 1 << enum model_nesting; not empty */
};

/* All that the model knows, of a processor with that MAXPHYADDR. */
struct walk_limits walk_all_limits(unsigned maxphyaddr, bool amd);

#define WALK_TABLES 8 /* pages 1 to 8 of either memory are tables, of every level at once */

/*
 * Registers, guest tables and, if there is nesting, nested ones. Borrows both memories, whose pages may be changed
 * to holes or read-only ones later; host is not touched without nesting. PDPTEs are loaded from memory, and valid.
 */
void walk_random_world(struct walk_random *random, const struct walk_limits *limits, struct walk_memory *guest,
                       struct walk_memory *host, struct model_world *ret);

/* An access, and the registers that belong to it: CPL and AC. Mostly canonical. */
void walk_random_access(struct walk_random *random, struct model_world *world, struct model_access *ret);

/* One entry of a guest table as they are made for walk_random_world(). */
uint64_t walk_random_entry(struct walk_random *random, const struct model_world *world);

const char *walk_outcome_name(enum model_outcome outcome);

/* Lines that begin with "# ", on stdout. */
void walk_print(const struct model_world *world, const struct model_access *access,
                const struct model_result *result);

#endif
