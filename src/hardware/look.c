// SPDX-License-Identifier: MIT
#include "hardware/look.h"

#include <assert.h>

#include "hardware/mmu_state.h"
#include "hardware/nested.h"

/* As nested_entry() of walk.c asks for tables. */
static unsigned need_of(const struct hw_mmu *mmu, bool is_ept, enum hw_look_use use)
{
    switch (use) {
    case HW_LOOK_READ: return NESTED_R;
    case HW_LOOK_WRITE: return NESTED_W;
    case HW_LOOK_FETCH: return NESTED_X;
    case HW_LOOK_TABLE:
    case HW_LOOK_TABLE_UPDATE: break;
    }
    if (!is_ept) {
        return NESTED_W;
    }
    bool writes = mmu->options.ept.access_dirty || use == HW_LOOK_TABLE_UPDATE;
    return writes ? NESTED_R | NESTED_W : NESTED_R;
}

/* From the root to where it ends. `entries` are those that are present and good. */
static enum hw_look_end descend(const struct hw_mmu *mmu, bool is_ept, const pt_word_t *root, gpa_t gpa,
                                struct hw_look *look, uint64_t *entries)
{
    const struct pt_format *f = is_ept ? &pt_format_ept : &pt_format_npt;
    unsigned top = mmu->options.nested_levels;
    if (!root || gpa.raw >> pt_level_shift(top + 1)) {
        return HW_LOOK_NOT_PRESENT;
    }
    look->rights = NESTED_RWX;
    const pt_word_t *table = root;
    for (unsigned level = top;; level--) {
        const pt_word_t *word = &table[pt_index(gpa.raw, level)];
        uint64_t entry = pt_load(word);
        look->steps[look->count++] = (struct hw_look_step){(uint8_t)level, word, entry};
        if (!pt_is_present(f, entry)) {
            look->rights = 0;
            return HW_LOOK_NOT_PRESENT;
        }
        if (nested_is_bad(mmu, is_ept, entry, level)) {
            return HW_LOOK_BAD_ENTRY;
        }
        look->rights &= nested_entry_rights(is_ept, entry);
        entries[level] = entry;
        if (pt_is_leaf(f, entry, level)) {
            uint64_t offset = gpa.raw & (pt_level_bytes(level) - 1);
            look->shift = (uint8_t)pt_level_shift(level);
            look->host = (uint8_t *)(uintptr_t)((pt_address(entry) & ~(pt_level_bytes(level) - 1)) + offset);
            return (look->rights & look->need) == look->need ? HW_LOOK_MAPPED : HW_LOOK_DENIED;
        }
        table = (const pt_word_t *)(uintptr_t)pt_address(entry);
    }
}

static enum nested_why why_of(enum hw_look_end end)
{
    switch (end) {
    case HW_LOOK_DENIED: return NESTED_DENIED;
    case HW_LOOK_BAD_ENTRY: return NESTED_BAD_ENTRY;
    case HW_LOOK_LOG_FULL: return NESTED_LOG_FULL;
    case HW_LOOK_MAPPED:
    case HW_LOOK_NOT_PRESENT: break;
    }
    return NESTED_NOT_PRESENT;
}

void hw_look_nested(const struct hw_mmu *mmu, const pt_word_t *root, gpa_t gpa, enum hw_look_use use,
                    struct hw_look *ret)
{
    assert(hw_has_nested(mmu));
    bool is_ept = mmu->options.dimension != HW_NPT;
    bool is_table = use == HW_LOOK_TABLE || use == HW_LOOK_TABLE_UPDATE;
    uint64_t entries[X86_LEVELS_MAX + 1];
    *ret = (struct hw_look){.need = need_of(mmu, is_ept, use)};
    ret->end = descend(mmu, is_ept, root, gpa, ret, entries);
    if (is_ept && !mmu->options.ept.access_dirty && use == HW_LOOK_TABLE_UPDATE && !(ret->rights & NESTED_R)) {
        ret->need = NESTED_R; /* it is read before it is written */
    }
    if (ret->end == HW_LOOK_MAPPED && is_ept && mmu->options.ept.access_dirty) {
        unsigned top = mmu->options.nested_levels, leaf = ret->steps[ret->count - 1].level;
        if (nested_log_is_full(mmu, entries, top, leaf, ret->need & NESTED_W)) {
            ret->end = HW_LOOK_LOG_FULL;
        }
    }
    if (ret->end != HW_LOOK_MAPPED) {
        nested_exit(mmu, is_ept, gpa.raw, ret->need, is_table ? NESTED_TABLE : NESTED_FINAL, why_of(ret->end),
                    ret->rights, &ret->exit);
    }
}
