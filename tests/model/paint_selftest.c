/* SPDX-License-Identifier: MIT */

/*
 * Holds the region model against a second formulation of the same rules, on
 * random trees: where the model asks single bytes top down, this paints ranges
 * bottom up, lowest first, each clipped on the way down.
 *
 * Usage: paint_selftest [seed]
 */
#include "region_model.h"
#include "selftest.h"

#include <inttypes.h>
#include <stdlib.h>

static struct model m;

static bool same_section(const struct model_section *a, const struct model_section *b)
{
    return a->first == b->first && a->last == b->last && a->region == b->region && a->offset == b->offset &&
           a->readonly == b->readonly && a->nonvolatile == b->nonvolatile;
}

__extension__ typedef __int128 wide_t;

enum { WINDOW = 0x180 };

static struct model_byte canvas[WINDOW]; /* region MODEL_NONE where nothing is */

struct brush {
    wide_t base; /* of the container */
    wide_t lo;
    wide_t end;
    bool readonly;
    bool nonvolatile;
};

static void paint(int id, wide_t shift, struct brush brush);

static void paint_children(int id, struct brush brush)
{
    bool done[MODEL_MAX_REGIONS] = {false};

    for (;;) {
        int lowest = MODEL_NONE;

        for (int c = 0; c < m.nregions; c++) {
            const struct model_region *child = &m.region[c];

            if (child->container == id && !done[c] &&
                (lowest == MODEL_NONE || child->priority < m.region[lowest].priority ||
                 (child->priority == m.region[lowest].priority && child->added < m.region[lowest].added))) {
                lowest = c;
            }
        }
        if (lowest == MODEL_NONE) {
            return;
        }
        done[lowest] = true;
        paint(lowest, 0, brush);
    }
}

/* An alias takes back the address of its target, which paint() is about to add. */
static void paint(int id, wide_t shift, struct brush brush)
{
    const struct model_region *r = &m.region[id];
    wide_t size = r->size == MODEL_SIZE_2_64 ? (wide_t)1 << 64 : (wide_t)r->size;

    if (!r->enabled) {
        return;
    }
    brush.base += (wide_t)r->addr + shift;
    brush.lo = brush.lo > brush.base ? brush.lo : brush.base;
    brush.end = brush.end < brush.base + size ? brush.end : brush.base + size;
    brush.readonly |= r->readonly;
    brush.nonvolatile |= r->nonvolatile;
    if (r->kind == MODEL_ALIAS) {
        paint(r->target, -(wide_t)m.region[r->target].addr - (wide_t)r->alias_offset, brush);
        return;
    }
    if (r->kind != MODEL_CONTAINER) {
        for (wide_t at = brush.lo; at < brush.end; at++) {
            canvas[at] = (struct model_byte){
                .region = id,
                .offset = (uint64_t)(at - brush.base),
                .readonly = brush.readonly,
                .nonvolatile = brush.nonvolatile,
                .kind = r->kind,
            };
        }
    }
    paint_children(id, brush);
}

static bool canvas_agrees(int root)
{
    for (int i = 0; i < WINDOW; i++) {
        canvas[i].region = MODEL_NONE;
    }
    paint(root, 0, (struct brush){.end = WINDOW});
    for (int i = 0; i < WINDOW; i++) {
        struct model_byte byte = {.region = MODEL_NONE};
        bool found = model_at(&m, root, (uint64_t)i, &byte);

        if (byte.region != canvas[i].region || found != (byte.region != MODEL_NONE)) {
            return false;
        }
        if (found && (byte.offset != canvas[i].offset || byte.kind != canvas[i].kind ||
                      byte.readonly != canvas[i].readonly || byte.nonvolatile != canvas[i].nonvolatile)) {
            return false;
        }
    }
    return true;
}

static bool runs_agree(int root)
{
    static struct model_section slow[WINDOW];
    static struct model_section fast[WINDOW];
    size_t n = model_sections(&m, root, 0, WINDOW - 1, slow, WINDOW);

    if (model_flat(&m, root, 0, WINDOW - 1, fast, WINDOW) != n) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!same_section(&slow[i], &fast[i])) {
            return false;
        }
    }
    return true;
}

static uint64_t rng_state;

static uint64_t rng(uint64_t below)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state % below;
}

static uint64_t random_size(void)
{
    uint64_t choice = rng(16);

    return choice == 0 ? MODEL_SIZE_2_64 : choice == 1 ? 0 : 1 + rng(WINDOW);
}

/* Mostly inside the window; now and then near 2^64. */
static uint64_t random_address(void)
{
    return rng(12) == 0 ? UINT64_MAX - rng(WINDOW) : rng(WINDOW);
}

/* The root, region 0, stays as it is: a tree without one has nothing to compare. */
static void random_step(int nregions)
{
    int id = 1 + (int)rng((uint64_t)nregions - 1);
    int other = (int)rng((uint64_t)nregions);

    switch (rng(12)) {
    case 0: (void)model_del(&m, id); break;
    case 1: (void)model_set_address(&m, id, random_address()); break;
    case 2: (void)model_set_size(&m, id, random_size()); break;
    case 3: (void)model_set_enabled(&m, id, rng(8) != 0); break;
    case 4: (void)model_set_readonly(&m, id, rng(2) != 0); break;
    case 5: (void)model_set_alias_offset(&m, id, random_address()); break;
    case 6: (void)model_set_nonvolatile(&m, id, rng(4) == 0); break;
    default: (void)model_add(&m, other, id, random_address(), (int)rng(4) - 1); break;
    }
}

static void random_regions(int nregions)
{
    model_init(&m);
    (void)model_create(&m, MODEL_CONTAINER, MODEL_SIZE_2_64);
    while (m.nregions < nregions) {
        int target = (int)rng((uint64_t)m.nregions);
        enum model_kind kind = (enum model_kind)rng(MODEL_ALIAS + 1);

        if (kind == MODEL_ALIAS) {
            (void)model_create_alias(&m, target, random_address(), random_size());
        } else {
            (void)model_create(&m, kind, random_size());
        }
        /* Fails where the target turned out to be an alias. */
        (void)model_add(&m, rng(2) ? target : 0, m.nregions - 1, random_address(), 0);
    }
}

static void test_two_formulations(uint64_t seed)
{
    unsigned long nbytes = 0;

    rng_state = seed | 1;
    for (int round = 0; round < 300; round++) {
        int nregions = 2 + (int)rng(14);

        random_regions(nregions);
        for (int step = 0; step < 40; step++) {
            int root = rng(4) == 0 ? (int)rng((uint64_t)nregions) : 0;
            bool agree;

            random_step(nregions);
            agree = canvas_agrees(root) && runs_agree(root);
            CHECK(agree);
            if (!agree) {
                printf("# seed 0x%" PRIx64 " round %d step %d\n", seed, round, step);
                return;
            }
            for (int i = 0; i < WINDOW; i++) {
                nbytes += canvas[i].region != MODEL_NONE;
            }
        }
    }
    CHECK(nbytes > 1000000); /* or the trees were too empty to say anything */
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : UINT64_C(0x6d656d76697274);

    printf("# seed 0x%" PRIx64 "\n", seed);
    test_two_formulations(seed);
    return finish();
}
