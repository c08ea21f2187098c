// SPDX-License-Identifier: MIT
#include <assert.h>

#include "hardware/mmu_state.h"
#include "hardware/nested.h"

static bool reach(struct hw_mmu *mmu, gpa_t gpa, enum mv_access kind, struct nested_page *ret,
                  struct pt_exit *ret_exit)
{
    unsigned need = 1u << kind;
    if (mmu->options.dimension == HW_EPT) {
        return nested_walk(mmu, true, gpa.raw, need, NESTED_FINAL, ret, ret_exit);
    }
    return nested_walk(mmu, false, gpa.raw, need, NESTED_FINAL, ret, ret_exit);
}

static bool reach_by_bus(struct hw_mmu *mmu, gpa_t gpa, enum mv_access kind, struct nested_page *ret,
                         struct pt_exit *ret_exit)
{
    unsigned shift;
    ret->host = mmu->bus.bytes(mmu->bus.opaque, gpa, kind, &shift);
    ret->shift = (uint8_t)shift;
    if (!ret->host) {
        *ret_exit = (struct pt_exit){.reason = PT_EXIT_NO_MEMORY, .gpa = gpa};
    }
    return ret->host != NULL;
}

enum hw_end hw_translate_physical(struct hw_mmu *mmu, gpa_t gpa, enum mv_access kind, struct hw_result *ret)
{
    assert(mmu->options.dimension != HW_SHADOW && mmu->options.dimension != HW_HYBRID && kind != MV_ACCESS_FETCH);
    struct nested_page page;
    uint64_t refs = mmu->counters.refs_nested;
    const struct hw_hooks *hooks = mmu->hooks;
    mmu->hooks = NULL;
    bool is_reached = hw_has_nested(mmu) ? reach(mmu, gpa, kind, &page, &ret->exit)
                                         : reach_by_bus(mmu, gpa, kind, &page, &ret->exit);
    mmu->hooks = hooks;
    mmu->counters.refs_nested = refs;
    if (!is_reached) {
        ret->exit.access = (struct pt_access){kind, PT_SUPERVISOR_AC};
        ret->exit.gva = mv_gva(0);
        ret->end = HW_EXIT;
        mmu->counters.exits++;
        return HW_EXIT;
    }
    ret->end = HW_DONE;
    ret->host = page.host;
    ret->gpa = gpa;
    ret->page_shift = page.shift;
    return HW_DONE;
}
