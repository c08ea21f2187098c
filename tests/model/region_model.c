/* SPDX-License-Identifier: MIT */
#include "region_model.h"

#include <assert.h>
#include <stdlib.h>

/* Holds any sum of a few addresses, sizes and offsets, and may be negative (Q2). */
__extension__ typedef __int128 wide_t;

static const wide_t end_of_space = (wide_t)UINT64_MAX + 1;

static bool exists(const struct model *m, int id)
{
    return id >= 0 && id < m->nregions;
}

static wide_t size_of(const struct model_region *r)
{
    return r->size == MODEL_SIZE_2_64 ? end_of_space : (wide_t)r->size;
}

/* Building */

void model_init(struct model *m)
{
    m->nregions = 0;
    m->clock = 0;
}

static int create(struct model *m, const struct model_region *region)
{
    if (m->nregions == MODEL_MAX_REGIONS) {
        return -1;
    }
    m->region[m->nregions] = *region;
    return m->nregions++;
}

int model_create(struct model *m, enum model_kind kind, uint64_t size)
{
    if (kind == MODEL_ALIAS) {
        return -1;
    }
    return create(m, &(struct model_region){
                         .kind = kind,
                         .size = size,
                         .enabled = true,
                         .readonly = kind == MODEL_ROM,
                         .target = MODEL_NONE,
                         .container = MODEL_NONE,
                     });
}

int model_create_alias(struct model *m, int target, uint64_t offset, uint64_t size)
{
    if (!exists(m, target)) {
        return -1;
    }
    return create(m, &(struct model_region){
                         .kind = MODEL_ALIAS,
                         .size = size,
                         .enabled = true,
                         .target = target,
                         .alias_offset = offset,
                         .container = MODEL_NONE,
                     });
}

/* Whether going from a region to its children or its target can lead to `to`. */
static bool reaches(const struct model *m, int from, int to)
{
    if (from == to) {
        return true;
    }
    if (m->region[from].kind == MODEL_ALIAS) {
        return reaches(m, m->region[from].target, to);
    }
    for (int c = 0; c < m->nregions; c++) {
        if (m->region[c].container == from && reaches(m, c, to)) {
            return true;
        }
    }
    return false;
}

int model_add(struct model *m, int parent, int child, uint64_t addr, int priority)
{
    if (!exists(m, parent) || !exists(m, child)) {
        return -1;
    }
    if (m->region[child].container != MODEL_NONE) {
        return -1;
    }
    if (m->region[parent].kind == MODEL_ALIAS) {
        return -1;
    }
    if (reaches(m, child, parent)) {
        return -1;
    }
    m->region[child].container = parent;
    m->region[child].addr = addr;
    m->region[child].priority = priority;
    m->region[child].added = ++m->clock;
    return 0;
}

int model_del(struct model *m, int child)
{
    if (!exists(m, child) || m->region[child].container == MODEL_NONE) {
        return -1;
    }
    m->region[child].container = MODEL_NONE;
    return 0;
}

int model_set_address(struct model *m, int id, uint64_t addr)
{
    if (!exists(m, id)) {
        return -1;
    }
    if (m->region[id].addr != addr) {
        m->region[id].addr = addr;
        m->region[id].added = ++m->clock;
    }
    return 0;
}

int model_set_size(struct model *m, int id, uint64_t size)
{
    if (!exists(m, id)) {
        return -1;
    }
    m->region[id].size = size;
    return 0;
}

int model_set_enabled(struct model *m, int id, bool enabled)
{
    if (!exists(m, id)) {
        return -1;
    }
    m->region[id].enabled = enabled;
    return 0;
}

int model_set_readonly(struct model *m, int id, bool readonly)
{
    if (!exists(m, id)) {
        return -1;
    }
    m->region[id].readonly = readonly;
    return 0;
}

int model_set_nonvolatile(struct model *m, int id, bool nonvolatile)
{
    if (!exists(m, id)) {
        return -1;
    }
    m->region[id].nonvolatile = nonvolatile;
    return 0;
}

int model_set_alias_offset(struct model *m, int id, uint64_t offset)
{
    if (!exists(m, id) || m->region[id].kind != MODEL_ALIAS) {
        return -1;
    }
    m->region[id].alias_offset = offset;
    return 0;
}

/* One byte */

/* Whether sibling a lies on top of sibling b. */
static bool on_top_of(const struct model_region *a, const struct model_region *b)
{
    if (a->priority != b->priority) {
        return a->priority > b->priority;
    }
    return a->added > b->added;
}

/* What byte `offset` of region `id` is, the offset counted in its own coordinates. */
static bool byte_of(const struct model *m, int id, wide_t offset, struct model_byte *ret)
{
    const struct model_region *r = &m->region[id];
    const struct model_region *top = NULL;
    struct model_byte byte = {.region = MODEL_NONE};

    if (!r->enabled || offset < 0 || offset >= size_of(r)) {
        return false;
    }

    if (r->kind == MODEL_ALIAS) {
        if (!byte_of(m, r->target, offset + r->alias_offset, &byte)) {
            return false;
        }
    } else {
        /* Of the children that have something here, the topmost. */
        for (int c = 0; c < m->nregions; c++) {
            const struct model_region *child = &m->region[c];
            struct model_byte seen;

            if (child->container == id && (!top || on_top_of(child, top)) &&
                byte_of(m, c, offset - child->addr, &seen)) {
                top = child;
                byte = seen;
            }
        }
        /* Otherwise the region itself, if there is anything to it. */
        if (!top) {
            if (r->kind == MODEL_CONTAINER) {
                return false;
            }
            byte.region = id;
            byte.offset = (uint64_t)offset;
            byte.kind = r->kind;
        }
    }

    byte.readonly |= r->readonly;
    byte.nonvolatile |= r->nonvolatile;
    *ret = byte;
    return true;
}

bool model_at(const struct model *m, int root, uint64_t addr, struct model_byte *ret)
{
    assert(exists(m, root));
    return byte_of(m, root, (wide_t)addr - m->region[root].addr, ret);
}

/* Runs of bytes */

struct sections {
    struct model_section *out;
    size_t max;
    size_t count;
    struct model_section open; /* the run being grown; of use while is_open */
    bool is_open;
};

static void close_run(struct sections *s)
{
    if (s->is_open) {
        if (s->count < s->max) {
            s->out[s->count] = s->open;
        }
        s->count++;
    }
    s->is_open = false;
}

static bool continues(const struct model_section *run, const struct model_section *next)
{
    uint64_t length = next->first - run->first;

    return next->first == run->last + 1 && next->region == run->region && next->offset == run->offset + length &&
           next->readonly == run->readonly && next->nonvolatile == run->nonvolatile;
}

/* Takes [first, last], known to be alike from end to end, after all that lies below it. */
static void take(struct sections *s, const struct model *m, int root, uint64_t first, uint64_t last)
{
    struct model_byte byte;
    struct model_section next;

    if (!model_at(m, root, first, &byte)) {
        close_run(s);
        return;
    }
    next = (struct model_section){
        .first = first,
        .last = last,
        .region = byte.region,
        .offset = byte.offset,
        .readonly = byte.readonly,
        .nonvolatile = byte.nonvolatile,
    };
    if (s->is_open && continues(&s->open, &next)) {
        s->open.last = last;
        return;
    }
    close_run(s);
    s->open = next;
    s->is_open = true;
}

size_t model_sections(const struct model *m, int root, uint64_t lo, uint64_t hi, struct model_section *ret,
                      size_t max)
{
    struct sections s = {.out = ret, .max = max};

    assert(lo <= hi);
    for (uint64_t addr = lo;; addr++) {
        take(&s, m, root, addr, addr);
        if (addr == hi) {
            break;
        }
    }
    close_run(&s);
    return s.count;
}

/* Large windows */

struct cuts {
    wide_t lo;
    wide_t end; /* one past the window */
    wide_t *at;
    size_t count;
    size_t room;
};

static void add_cut(struct cuts *cuts, wide_t at)
{
    if (at < cuts->lo || at > cuts->end) {
        return;
    }
    if (cuts->count == cuts->room) {
        cuts->room = cuts->room ? 2 * cuts->room : 64;
        cuts->at = realloc(cuts->at, cuts->room * sizeof(*cuts->at));
        if (!cuts->at) {
            abort();
        }
    }
    cuts->at[cuts->count++] = at;
}

/* Where region `id` and all it leads to begin and end, its byte 0 being at `base`. */
static void find_cuts(const struct model *m, int id, wide_t base, struct cuts *cuts)
{
    const struct model_region *r = &m->region[id];

    add_cut(cuts, base);
    add_cut(cuts, base + size_of(r));
    if (r->kind == MODEL_ALIAS) {
        find_cuts(m, r->target, base - r->alias_offset, cuts);
        return;
    }
    for (int c = 0; c < m->nregions; c++) {
        if (m->region[c].container == id) {
            find_cuts(m, c, base + m->region[c].addr, cuts);
        }
    }
}

static int compare_cuts(const void *va, const void *vb)
{
    wide_t a = *(const wide_t *)va;
    wide_t b = *(const wide_t *)vb;

    return (a > b) - (a < b);
}

size_t model_flat(const struct model *m, int root, uint64_t lo, uint64_t hi, struct model_section *ret, size_t max)
{
    struct sections s = {.out = ret, .max = max};
    struct cuts cuts = {.lo = lo, .end = (wide_t)hi + 1};

    assert(exists(m, root) && lo <= hi);
    add_cut(&cuts, cuts.lo);
    add_cut(&cuts, cuts.end);
    find_cuts(m, root, m->region[root].addr, &cuts);
    qsort(cuts.at, cuts.count, sizeof(*cuts.at), compare_cuts);
    for (size_t i = 0; i + 1 < cuts.count; i++) {
        if (cuts.at[i] != cuts.at[i + 1]) {
            take(&s, m, root, (uint64_t)cuts.at[i], (uint64_t)(cuts.at[i + 1] - 1));
        }
    }
    close_run(&s);
    free(cuts.at);
    return s.count;
}

/* The rest */

bool model_find(const struct model *m, int id, uint64_t addr, uint64_t size, struct model_section *ret)
{
    uint64_t first = addr;
    uint64_t last;
    struct model_section found;
    int root = id;

    assert(exists(m, id));
    first += m->region[root].addr;
    while (m->region[root].container != MODEL_NONE) {
        root = m->region[root].container;
        first += m->region[root].addr;
    }
    if (size == 0) {
        return false;
    }
    last = size - 1 > UINT64_MAX - first ? UINT64_MAX : first + (size - 1);
    if (model_flat(m, root, first, last, &found, 1) == 0) {
        return false;
    }
    *ret = found;
    return true;
}

bool model_is_mapped(const struct model *m, int id)
{
    assert(exists(m, id));
    for (int r = 0; r < m->nregions; r++) {
        if (m->region[r].container == MODEL_NONE) {
            continue;
        }
        for (int seen = r; seen != MODEL_NONE; seen = m->region[seen].target) {
            if (seen == id) {
                return true;
            }
        }
    }
    return false;
}
