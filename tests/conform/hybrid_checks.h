// SPDX-License-Identifier: MIT
/* For the tests of the hybrid MMU: what a walk costs, beside the short ways of soft_checks.h. */
#ifndef CONFORM_HYBRID_CHECKS_H
#define CONFORM_HYBRID_CHECKS_H

#include "tests/conform/soft_checks.h"

#define USED (RIGHTS | PTE_A | PTE_D)
#define CR0 UINT64_C(0x80010001) /* PG, WP, PE */

/* No TLB has it: the next access walks. */
static inline void walk_again(uint64_t gva)
{
    mv_soft_invlpg(g->vcpu, mv_gva(gva));
}

/* References of one walk of an address that needs no exit any more. */
static inline uint64_t refs_of(uint64_t gva)
{
    for (unsigned i = 0; i < 8; i++) {
        uint64_t gpa;
        walk_again(gva);
        struct mv_soft_counts before = counts();
        assert_int_equal(touch(gva, MV_ACCESS_READ, &gpa), MV_SOFT_DONE);
        struct mv_soft_counts after = counts();
        assert_int_equal(after.walks - before.walks, 1);
        if (after.exits_total == before.exits_total) {
            return after.walk_refs - before.walk_refs;
        }
    }
    fail_msg("0x%llx is an exit again and again", (unsigned long long)gva);
    return 0;
}

#define TLB "tlb=L1=64x4,host-page=4K"

/* A policy that nests one table, and what it was asked. */
struct asked {
    unsigned reached, written, looked_at;
    uint64_t gpa; /* of the table that is nested */
    uint32_t writes;
};

static inline bool nests_one(void *opaque, enum mv_hybrid_event event, const struct mv_hybrid_table *table)
{
    struct asked *a = opaque;
    a->reached += event == MV_HYBRID_REACHED;
    a->written += event == MV_HYBRID_WRITTEN;
    a->looked_at += event == MV_HYBRID_LOOKED_AT;
    if (event == MV_HYBRID_WRITTEN) {
        a->writes = table->writes;
    }
    assert_true(table->level >= 1 && table->level <= table->levels && table->levels == 4);
    return table->gpa.raw == a->gpa;
}

#endif
