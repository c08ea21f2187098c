// SPDX-License-Identifier: MIT
#include "hypervisor/policy.h"

static bool nests_by_level(void *opaque, enum mv_hybrid_event event, const struct mv_hybrid_table *table)
{
    const struct policy_options *o = opaque;
    (void)event;
    return table->level <= o->nested_levels;
}

/* To nest a table of the next level costs references for 512 times as many pages: it must be written so much more
 * often. (Found by trying: docs/mmu.md, "Hybrid".) */
#define MORE_PER_LEVEL_SHIFT 3

static uint64_t writes_enough(const struct policy_options *o, const struct mv_hybrid_table *table)
{
    return (uint64_t)o->writes << (MORE_PER_LEVEL_SHIFT * (table->level - 1u));
}

/* As agile paging has it (Gandhi, Hill, Swift: ISCA 2016): what churns is nested, what is stable is shadowed. */
static bool nests_what_churns(void *opaque, enum mv_hybrid_event event, const struct mv_hybrid_table *table)
{
    const struct policy_options *o = opaque;
    switch (event) {
    case MV_HYBRID_REACHED: break;
    case MV_HYBRID_WRITTEN: return table->writes >= writes_enough(o, table);
    case MV_HYBRID_LOOKED_AT: return table->quiet == 0;
    }
    return table->is_nested;
}

struct mv_hybrid_policy policy_make(const struct policy_options *options)
{
    bool is_agile = options->kind == POLICY_AGILE;
    return (struct mv_hybrid_policy){.opaque = (void *)(uintptr_t)options, /* nobody writes to it */
                                     .nests = is_agile ? nests_what_churns : nests_by_level,
                                     .interval = is_agile ? options->interval : 0};
}
