/* SPDX-License-Identifier: MIT */
#include "stale_model.h"
#include "stale_npt.h"
#include "stale_reach.h"
#include "stale_search.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TRIES 20000 /* walks for one question */

/* Choices */

/* Bits of the address under the nth guest entry that is in memory. */
static unsigned guest_shift(const struct search *search, unsigned nth)
{
    switch (model_mode(&search->world.regs)) {
    case MODEL_32BIT: return nth == 0 ? 22 : 12;
    case MODEL_PAE: return nth == 0 ? 21 : 12;
    case MODEL_4LEVEL: return 39 - 9 * nth;
    case MODEL_5LEVEL:
    case MODEL_OFF:
    default: return 48 - 9 * nth;
    }
}

/* The number of the entry that leads to a table of 4-KByte pages. */
static unsigned lowest_structure(const struct search *search)
{
    switch (model_mode(&search->world.regs)) {
    case MODEL_32BIT:
    case MODEL_PAE: return 0;
    case MODEL_4LEVEL: return 2;
    case MODEL_5LEVEL:
    case MODEL_OFF:
    default: return 3;
    }
}

/* The last invalidation up to some time that reached what was cached of the nth guest entry; 0 if none. */
static uint64_t structure_since(const struct search *search, unsigned nth, uint64_t time)
{
    for (unsigned i = search->cpu->nevents; i-- > 0;) {
        const struct stale_event *event = &search->cpu->event[i];
        if (event->time <= time &&
            reaches_structure(event, context_of(search), search->access->gva, guest_shift(search, nth))) {
            return event->time;
        }
    }
    return 0;
}

/* Before this nothing of a word counts that is in the segment's caches. */
static uint64_t cached_since(const struct search *search, enum model_dimension dimension)
{
    if (dimension == MODEL_GUEST) {
        /* What an upper entry said may live on in the cache of the lowest, which has the smallest reach. */
        return structure_since(search, lowest_structure(search), search->end - 1);
    }
    for (unsigned i = search->segment + 1; i-- > 0;) {
        if (reaches_nested(&search->cpu->event[i], context_of(search))) {
            return search->cpu->event[i].time;
        }
    }
    return 0;
}

static bool cacheable(const struct search *search, const struct pick *pick)
{
    if (pick->is_register) {
        return true;
    }
    if (pick->dimension == MODEL_GUEST || search->world.nested.kind == MODEL_NPT) {
        return (pick->value & 1) && (pick->value & 0x20);
    }
    const bool flags = context_of(search)->eptp & 0x40;
    return (pick->value & 7) != 0 && (!flags || (pick->value & 0x100));
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Look at one version of the word. */
static void see(struct pick *pick, unsigned version)
{
    const unsigned n = pick->newest_first ? pick->word->nversions - 1 - version : version;
    pick->version = version;
    pick->value = pick->word->version[n].value;
    pick->from = pick->word->version[n].from;
    pick->to = FOREVER;
    if (n + 1 < pick->word->nversions) {
        pick->to = pick->word->version[n + 1].from;
    }
    if (pick->size == 4) {
        pick->value = pick->value >> (8 * pick->offset) & 0xffffffff;
    }
}

/* Only a walk now can use what is not cacheable, and only if it is still there. The rest is for in_order(). */
static bool possible(const struct search *search, const struct pick *pick)
{
    if (pick->from >= search->end || pick->to <= pick->since) {
        return false;
    }
    if (pick->dimension == MODEL_NESTED && later(pick->chain, later(pick->from, pick->since)) >= pick->to) {
        return false; /* make_slots() would say so */
    }
    if (cacheable(search, pick)) {
        return true;
    }
    return pick->to == FOREVER && is_last_segment(search);
}

/* The first version that is possible, from this one on. */
static bool see_next(const struct search *search, struct pick *pick, unsigned version)
{
    for (; version < pick->word->nversions; version++) {
        see(pick, version);
        if (possible(search, pick)) {
            return true;
        }
    }
    return false;
}

static struct pick *new_pick(struct search *search, enum model_dimension dimension)
{
    const unsigned n = search->npicks;
    assert(n < MAX_READS);
    struct pick *pick = &search->pick[n];
    *pick = (struct pick){.dimension = dimension, .to = FOREVER, .size = 8};
    pick->since = cached_since(search, dimension);
    if (dimension == MODEL_NESTED && n > 0 && pick[-1].dimension == MODEL_NESTED) {
        pick->chain = later(pick[-1].chain, later(pick[-1].from, pick[-1].since));
    }
    /* Only for speed: most answers are of a walk now, and what was cached was reached by something older. */
    pick->newest_first = dimension == MODEL_GUEST || is_last_segment(search);
    search->npicks++;
    if (n >= search->nchoices) {
        search->choice[n] = 0;
        search->nchoices = n + 1;
    }
    return pick;
}

static bool choose(struct search *search, struct pick *pick, uint64_t *ret_value)
{
    if (pick->word == NULL) {
        return false;
    }
    if (!see_next(search, pick, search->choice[pick - search->pick])) {
        search->impossible = true;
        return false;
    }
    *ret_value = pick->value;
    return true;
}

static bool read_choice(struct search *search, enum model_dimension dimension, uint64_t address, unsigned size,
                        uint64_t *ret_value)
{
    struct pick *pick = new_pick(search, dimension);
    pick->size = size;
    pick->offset = address % 8;
    pick->word = stale_find_word(search->cpu->memory, dimension, address);
    return choose(search, pick, ret_value);
}

/*
 * Only for speed. Of a chain that leads to a guest entry nothing counts but the time when all of it was there: a
 * choice of it that is no earlier than one which was tried with the same choices before it makes nothing legal.
 */
static bool is_worse_chain(struct search *search)
{
    const unsigned n = search->npicks;
    unsigned first = n;
    bool cached = true;
    while (first > 0 && search->pick[first - 1].dimension == MODEL_NESTED) {
        first--;
        cached = cached && cacheable(search, &search->pick[first]);
    }
    if (first == n || search->changed >= n) {
        return false; /* no chain, or that of the last try */
    }
    const struct pick *last = &search->pick[n - 1];
    const uint64_t time = later(last->chain, later(last->from, last->since));
    if (time >= search->best[first]) {
        return true;
    }
    if (cached && (search->world.nested.kind != MODEL_NPT || (last->value & STALE_DIRTY))) {
        search->best[first] = time; /* nothing else is asked of it */
    }
    return false;
}

static bool read_guest(void *opaque, uint64_t address, unsigned size, uint64_t *ret_value)
{
    struct search *search = opaque;
    if (is_worse_chain(search)) {
        search->impossible = true;
        return false;
    }
    return read_choice(search, MODEL_GUEST, address, size, ret_value);
}

static bool read_nested(void *opaque, uint64_t address, unsigned size, uint64_t *ret_value)
{
    struct search *search = opaque;
    if (search->world.nested.kind == MODEL_NPT && (address & ~UINT64_C(0xfff)) == STALE_NCR3) {
        struct pick *pick = new_pick(search, MODEL_NESTED);
        uint64_t ncr3;
        pick->is_register = true;
        pick->chain = 0;
        pick->word = &search->ncr3;
        if (!choose(search, pick, &ncr3)) {
            return false;
        }
        address = (ncr3 & UINT64_C(0xffffffffff000)) | (address & 0xfff);
    }
    return read_choice(search, MODEL_NESTED, address, size, ret_value);
}

static void forget_best(struct search *search, unsigned from)
{
    for (unsigned n = from; n < MAX_READS; n++) {
        search->best[n] = FOREVER;
    }
}

/* The next combination, counting up from the last read. False: that was the last one. */
static bool next_choice(struct search *search)
{
    unsigned n = search->npicks;
    while (n > 0) {
        n--;
        struct pick *pick = &search->pick[n];
        if (pick->word != NULL && see_next(search, pick, pick->version + 1)) {
            search->choice[n] = pick->version;
            search->nchoices = n + 1;
            search->changed = n;
            forget_best(search, n + 1);
            return true;
        }
    }
    return false;
}

/* Whether a choice can be */

/* Whether the guest's tables were walked to their end. */
static bool complete(const struct model_result *result)
{
    switch (result->outcome) {
    case MODEL_OK: return true;
    case MODEL_PAGE_FAULT: return (result->error_code & MODEL_PF_P) && !(result->error_code & MODEL_PF_RSVD);
    case MODEL_EPT_VIOLATION: return result->qualification & MODEL_EPT_LINEAR_FINAL;
    case MODEL_NPF: return result->error_code & MODEL_NPF_FINAL;
    case MODEL_GP:
    case MODEL_EPT_MISCONFIG:
    default: return false;
    }
}

/* Whether the last entry read is one that is never cached. */
static bool ends_in_bad_entry(const struct model_result *result)
{
    return result->outcome == MODEL_EPT_MISCONFIG ||
           ((result->outcome == MODEL_PAGE_FAULT || result->outcome == MODEL_NPF) &&
            (!(result->error_code & MODEL_PF_P) || (result->error_code & MODEL_PF_RSVD)));
}

/* A guest entry of the walk, and when it can have been read, by itself. */
struct slot {
    uint64_t begin, end;
};

/*
 * The slots of the guest's entries. Each chain of nested entries is in order by itself, in caches that nothing but
 * INVEPT or TLB_CONTROL reaches, and before the guest entry that it leads to. False: there is no time for a chain.
 */
static bool make_slots(const struct search *search, struct slot *slot, unsigned *ret_nslots)
{
    uint64_t chain_time = 0;
    unsigned n = 0;
    for (unsigned i = 0; i < search->npicks; i++) {
        const struct pick *pick = &search->pick[i];
        if (pick->dimension == MODEL_NESTED) {
            chain_time = later(chain_time, later(pick->from, pick->since));
            if (chain_time >= pick->to || chain_time >= search->end) {
                return false;
            }
            continue;
        }
        slot[n].begin = later(chain_time, later(pick->from, pick->since));
        slot[n].end = sooner(pick->to, search->end);
        chain_time = 0;
        n++;
    }
    if (n > 0) {
        slot[0].begin = later(slot[0].begin, search->root_begin);
        slot[0].end = sooner(slot[0].end, search->root_end);
    }
    *ret_nslots = n;
    return true;
}

/*
 * Whether there are times for all slots: in order, and each entry still in the paging-structure caches when the
 * next one is read. If any times are such, some are that cannot be earlier, because a slot or an invalidation
 * begins there.
 */
static bool in_order(const struct search *search, uint64_t last_not_before)
{
    struct slot slot[MODEL_MAX_ENTRIES + 1];
    unsigned n;
    if (!make_slots(search, slot, &n)) {
        return false;
    }
    if (n == 0) {
        return true;
    }
    if (search->pick[search->npicks - 1].dimension == MODEL_NESTED && !search->complete) {
        slot[n] = (struct slot){.end = FOREVER}; /* the entry that it was not let read */
        n++;
    }
    slot[n - 1].begin = later(slot[n - 1].begin, last_not_before);
    const unsigned ntimes = n + search->cpu->nevents;
    uint64_t *time = calloc(ntimes, sizeof *time);
    bool *possible_before = calloc(ntimes, sizeof *possible_before); /* for the entry above */
    bool *possible_at = calloc(ntimes, sizeof *possible_at);
    bool found = false;
    for (unsigned i = 0; i < ntimes; i++) {
        time[i] = i < n ? slot[i].begin : search->cpu->event[i - n].time;
    }
    for (unsigned nth = 0; nth < n; nth++) {
        found = false;
        for (unsigned i = 0; i < ntimes; i++) {
            possible_at[i] = false;
            if (time[i] < slot[nth].begin || time[i] >= slot[nth].end) {
                continue;
            }
            const uint64_t since = nth > 0 ? structure_since(search, nth - 1, time[i]) : 0;
            for (unsigned j = 0; j < ntimes && !possible_at[i]; j++) {
                possible_at[i] = nth == 0 || (possible_before[j] && time[j] >= since && time[j] <= time[i]);
            }
            found = found || possible_at[i];
        }
        memcpy(possible_before, possible_at, ntimes * sizeof *possible_at);
    }
    free(time);
    free(possible_before);
    free(possible_at);
    return found;
}

/* A walk at this moment, with what paging-structure caches and guest-physical mappings have. */
static bool legal_walk_now(const struct search *search, const struct model_result *result)
{
    if (!is_last_segment(search)) {
        return false;
    }
    for (unsigned i = 0; i < search->npicks; i++) {
        const struct pick *pick = &search->pick[i];
        const bool last = i == search->npicks - 1;
        if (pick->to == FOREVER) {
            continue;
        }
        if (!cacheable(search, pick) || (last && ends_in_bad_entry(result))) {
            return false;
        }
    }
    /* The last one is in no paging-structure cache: it is what is in memory. */
    return in_order(search, search->cpu->memory->now);
}

static unsigned page_shift(const struct model_result *result)
{
    unsigned shift = 12;
    while (UINT64_C(1) << shift < result->guest_page_bytes) {
        shift++;
    }
    return shift;
}

/* A translation that a TLB has had since the segment. page: of a walk that says more of it than a fault does. */
static bool legal_in_tlb(const struct search *search, const struct model_result *result,
                         const struct model_result *page)
{
    const struct pick *leaf = NULL;
    if (!search->complete || page->guest_page_bytes == 0) {
        return false;
    }
    for (unsigned i = 0; i < search->npicks; i++) {
        const struct pick *pick = &search->pick[i];
        if (!cacheable(search, pick)) {
            return false;
        }
        if (pick->dimension == MODEL_GUEST) {
            leaf = pick;
        }
    }
    if (leaf == NULL) {
        return false;
    }
    if (search->access->kind == MODEL_WRITE && result->outcome != MODEL_PAGE_FAULT && !(leaf->value & 0x40)) {
        return false; /* it walks to set the dirty flag */
    }
    const struct stale_context *now = &search->cpu->event[search->cpu->nevents - 1].context;
    const struct stale_context *then = context_of(search);
    if (then->pcid != now->pcid && !page->global) {
        return false;
    }
    for (unsigned i = search->segment + 1; i < search->cpu->nevents; i++) {
        if (reaches_tlb(&search->cpu->event[i], then, search->access->gva, page_shift(page), page->global)) {
            return false;
        }
    }
    return in_order(search, search->begin);
}

static bool same_result(const struct model_result *a, const struct model_result *seen)
{
    if (a->outcome != seen->outcome) {
        return false;
    }
    switch (a->outcome) {
    case MODEL_OK: return a->hpa == seen->hpa;
    case MODEL_PAGE_FAULT: return a->error_code == seen->error_code;
    case MODEL_EPT_VIOLATION: {
        const uint64_t open = a->qualification_open | seen->qualification_open;
        return (a->qualification & ~open) == (seen->qualification & ~open) &&
               a->faulting_gpa == seen->faulting_gpa;
    }
    case MODEL_NPF: {
        const uint64_t open = a->error_code_open | seen->error_code_open;
        return (a->error_code & ~open) == (seen->error_code & ~open) && a->faulting_gpa == seen->faulting_gpa;
    }
    case MODEL_EPT_MISCONFIG: return a->faulting_gpa == seen->faulting_gpa;
    case MODEL_GP:
    default: return true;
    }
}

/* The page behind a complete walk, whose rights forbade the access: as the kernel would read it without rules. */
static struct model_result page_behind(struct search *search, const struct model_result *result)
{
    if (result->outcome == MODEL_OK) {
        return *result;
    }
    struct model_result page;
    struct model_world world = search->world;
    const struct model_access read = {.gva = search->access->gva, .kind = MODEL_READ};
    world.regs.cpl = 0;
    world.regs.cr4 &= ~(MODEL_CR4_SMAP | MODEL_CR4_PKE | MODEL_CR4_PKS);
    world.nested.kind = MODEL_NO_NESTING;
    const unsigned npicks = search->npicks;
    struct pick picks[MAX_READS];
    unsigned choices[MAX_READS];
    memcpy(picks, search->pick, sizeof picks);
    memcpy(choices, search->choice, sizeof choices);
    /* Only the guest's entries are read this time. */
    unsigned n = 0;
    for (unsigned i = 0; i < npicks; i++) {
        if (picks[i].dimension == MODEL_GUEST) {
            search->choice[n] = picks[i].version;
            n++;
        }
    }
    const unsigned nchoices = search->nchoices;
    search->nchoices = n;
    search->npicks = 0;
    model_walk(&world, &read, &page);
    search->npicks = npicks;
    search->nchoices = nchoices;
    memcpy(search->pick, picks, sizeof picks);
    memcpy(search->choice, choices, sizeof choices);
    return page;
}

/* All choices for one segment and one root. */
static bool try_choices(struct search *search)
{
    search->nchoices = 0;
    search->changed = 0;
    forget_best(search, 0);
    do {
        struct model_result result;
        search->npicks = 0;
        search->impossible = false;
        search->tries++;
        if (search->tries > MAX_TRIES) {
            return false;
        }
        model_walk(&search->world, search->access, &result);
        if (search->impossible || !same_result(&result, search->seen)) {
            continue;
        }
        if (search->npicks == 0) {
            return true; /* no table has a say */
        }
        if (search->world.nested.kind == MODEL_NPT &&
            (!stale_npt_confirmed(search, &result) || !stale_npt_dirty(search, &result))) {
            continue;
        }
        search->complete = complete(&result);
        const struct model_result page = page_behind(search, &result);
        if (legal_walk_now(search, &result) || legal_in_tlb(search, &result, &page)) {
            return true;
        }
    } while (next_choice(search));
    return false;
}

static bool same_root(const struct stale_context *a, const struct stale_context *b)
{
    return a->vpid == b->vpid && a->pcid == b->pcid && a->cr3 == b->cr3 && a->eptp == b->eptp &&
           memcmp(a->pdptr, b->pdptr, sizeof a->pdptr) == 0;
}

/* All roots that the segment's PCID has had up to then: no-flush loads of CR3 leave caches of the former one. */
static bool try_roots(struct search *search)
{
    const struct stale_event *event = search->cpu->event;
    const struct stale_context *tag = context_of(search);
    for (unsigned i = search->segment + 1; i-- > 0;) {
        const struct stale_context *root = &event[i].context;
        if (root->vpid != tag->vpid || root->pcid != tag->pcid || root->eptp != tag->eptp) {
            continue;
        }
        if (i < search->segment && same_root(root, &event[i + 1].context)) {
            continue; /* has been tried, with the time from the first such event on */
        }
        unsigned first = i;
        while (first > 0 && same_root(&event[first - 1].context, root)) {
            first--;
        }
        search->root_begin = event[first].time;
        search->root_end = i + 1 < search->cpu->nevents ? event[i + 1].time : FOREVER;
        search->world.regs.cr3 = root->cr3;
        memcpy(search->world.regs.pdptr, root->pdptr, sizeof root->pdptr);
        if (try_choices(search)) {
            return true;
        }
    }
    return false;
}

/* From the present to the past. */
static enum stale_answer try_segments(struct search *search)
{
    const struct stale_cpu *cpu = search->cpu;
    const struct stale_context *now = &cpu->event[cpu->nevents - 1].context;
    for (unsigned i = cpu->nevents; i-- > 0;) {
        const struct stale_context *then = &cpu->event[i].context;
        search->segment = i;
        search->begin = cpu->event[i].time;
        search->end = i + 1 < cpu->nevents ? cpu->event[i + 1].time : FOREVER;
        if (then->vpid == now->vpid && then->eptp == now->eptp && try_roots(search)) {
            return STALE_LEGAL;
        }
        if (search->tries > MAX_TRIES) {
            return STALE_UNKNOWN;
        }
        /* What is before an invalidation of everything is over. */
        if (reaches_tlb(&cpu->event[i], now, search->access->gva, 12, true) &&
            reaches_tlb(&cpu->event[i], now, search->access->gva, 12, false)) {
            break;
        }
    }
    return STALE_ILLEGAL;
}

enum stale_answer stale_legal(const struct stale_cpu *cpu, const struct model_world *world,
                              const struct model_access *access, const struct model_result *seen)
{
    struct search search = {.cpu = cpu, .world = *world, .access = access, .seen = seen};
    const struct stale_context *now = &cpu->event[cpu->nevents - 1].context;
    assert((world->nested.kind == MODEL_EPT) == (now->eptp != 0));
    assert((world->nested.kind == MODEL_NPT) == (now->ncr3 != 0));
    assert(world->nested.kind != MODEL_NPT || model_mode(&world->regs) != MODEL_PAE);
    search.world.memory = (struct model_memory){.opaque = &search, .read = read_guest};
    search.world.nested.memory = (struct model_memory){.opaque = &search, .read = read_nested};
    search.world.nested.eptp = now->eptp;
    search.world.nested.ncr3 = STALE_NCR3;
    stale_npt_begin(&search);
    const enum stale_answer answer = try_segments(&search);
    stale_npt_finish(&search);
    return answer;
}
