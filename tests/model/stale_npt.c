/* SPDX-License-Identifier: MIT */
#include "stale_npt.h"

#include <stdlib.h>

void stale_npt_begin(struct search *search)
{
    const struct stale_event *event = search->cpu->event;
    const unsigned nevents = search->cpu->nevents;
    const unsigned asid = event[nevents - 1].context.vpid;
    struct stale_word *word = &search->ncr3;
    *word = (struct stale_word){.dimension = MODEL_NESTED};
    if (search->world.nested.kind != MODEL_NPT) {
        return;
    }
    word->version = calloc(nevents, sizeof *word->version);
    if (word->version == NULL) {
        abort();
    }
    for (unsigned i = 0; i < nevents; i++) {
        const struct stale_context *context = &event[i].context;
        const bool same = word->nversions > 0 && word->version[word->nversions - 1].value == context->ncr3;
        if (context->vpid != asid || same) {
            continue;
        }
        word->version[word->nversions] = (struct stale_version){.value = context->ncr3, .from = event[i].time};
        word->nversions++;
    }
}

void stale_npt_finish(struct search *search)
{
    free(search->ncr3.version);
    search->ncr3.version = NULL;
}

/* The last pick of the chain of nested entries that this one is of. */
static bool ends_chain(const struct search *search, unsigned i)
{
    if (search->pick[i].dimension != MODEL_NESTED || search->pick[i].is_register) {
        return false;
    }
    return i + 1 == search->npicks || search->pick[i + 1].dimension != MODEL_NESTED ||
           search->pick[i + 1].is_register;
}

/* Whether memory, or the register, has this value (again), whatever the flags. */
static bool is_present(const struct pick *pick)
{
    const struct stale_word *word = pick->word;
    if (word == NULL) {
        return true;
    }
    const uint64_t flags = pick->is_register ? 0 : STALE_ACCESSED | STALE_DIRTY;
    return (word->version[word->nversions - 1].value | flags) == (pick->value | flags);
}

bool stale_npt_confirmed(const struct search *search, const struct model_result *result)
{
    if (result->outcome == MODEL_PAGE_FAULT) {
        /* The guest's entries are those in memory; what leads to them may be cached. */
        for (unsigned i = 0; i < search->npicks; i++) {
            if (search->pick[i].dimension == MODEL_GUEST && search->pick[i].to != FOREVER) {
                return false;
            }
        }
        return is_last_segment(search) && search->root_end == FOREVER;
    }
    if (result->outcome == MODEL_NPF) {
        /* The nested entries of the chain that faults are. */
        for (unsigned i = search->npicks; i-- > 0;) {
            if (!is_present(&search->pick[i])) {
                return false;
            }
            if (search->pick[i].is_register) {
                break;
            }
        }
    }
    return true;
}

bool stale_npt_dirty(const struct search *search, const struct model_result *result)
{
    for (unsigned i = 0; i < search->npicks; i++) {
        const struct pick *pick = &search->pick[i];
        const bool last = i + 1 == search->npicks;
        if (!ends_chain(search, i) || (pick->value & STALE_DIRTY) ||
            (pick->to == FOREVER && is_last_segment(search))) {
            continue;
        }
        if (last && (result->outcome == MODEL_NPF ||
                     (result->outcome == MODEL_OK && search->access->kind != MODEL_WRITE))) {
            continue;
        }
        return false;
    }
    return true;
}
