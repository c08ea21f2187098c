// SPDX-License-Identifier: MIT
/*
 * What a dump does not say in so many words: which trees are the same region printed twice, which region of a name
 * an alias shows, and which regions answer. docs/mtree.md, "What a dump leaves open", has the rules.
 */
#ifndef MACHINE_MTREE_RESOLVE_H
#define MACHINE_MTREE_RESOLVE_H

#include "machine/mtree_dump.h"
#include "machine/mtree_out.h"

/*
 * A few lines of aliases can unfold into any number of regions. So it is counted how many are met when each
 * region's tree is walked through aliases, which bounds the time that building takes, and how many of them in the
 * trees of the spaces, which bounds the memory of their views: some 5 KiB for each in the worst case. Large dumps
 * may have more than small ones, so that what they say without aliases is never too much.
 */
#define MTREE_UNFOLDED_MIN (UINT64_C(1) << 21)
#define MTREE_UNFOLDED_BY_NODE 16
#define MTREE_SEEN_MIN (UINT64_C(1) << 18)

static inline uint64_t mtree_unfolded_max(const struct mtree_dump *dump)
{
    uint64_t scaled = (uint64_t)dump->node_count * MTREE_UNFOLDED_BY_NODE;
    return scaled > MTREE_UNFOLDED_MIN ? scaled : MTREE_UNFOLDED_MIN;
}

static inline uint64_t mtree_seen_max(const struct mtree_dump *dump)
{
    return dump->node_count > MTREE_SEEN_MIN ? dump->node_count : MTREE_SEEN_MIN;
}

/* How many guesses are told. */
#define MTREE_NOTES_MAX 8

/* @param notes  is given a line for each guess. @return 0; -EINVAL, -ELOOP, -E2BIG, -ENOMEM */
int mtree_resolve(struct mtree_dump *dump, struct mtree_out *notes, struct mv_error *err);

/* Its parts, in this order. */
int mtree_find_same(struct mtree_dump *dump, struct mtree_out *notes, struct mv_error *err);
int mtree_bind_aliases(struct mtree_dump *dump, struct mtree_out *notes, struct mv_error *err);

/* One more guess: `what` is open at a line, and what line `taken` has was taken. Of very many the first will do.
 */
void mtree_note(struct mtree_dump *dump, struct mtree_out *notes, unsigned line, struct slice name,
                const char *what, unsigned taken);

/* The node that a root stands for: itself, or where else it is. */
uint32_t mtree_node_of_tree(const struct mtree_tree *tree);

#endif
