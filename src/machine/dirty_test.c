// SPDX-License-Identifier: MIT
/* Bitmaps and snapshots against arrays of bools, with random operations. */
#include "machine/dirty.h"

#include <stdlib.h>
#include <time.h>

#include "machine/machine_test.h"

#define PAGE UINT64_C(0x1000)
#define PAGES 1000 /* of the block: neither a multiple of 64 nor of 512 */
#define REGIONS 3

static uint64_t random_state;

static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state << 13; /* xorshift64 */
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

static void seed(const char *test)
{
    const char *given = getenv("MEMVIRT_TEST_SEED");
    random_state = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u + 1;
    printf("# %s: MEMVIRT_TEST_SEED=%#" PRIx64 "\n", test, random_state);
}

struct model {
    struct rig rig;
    struct mv_block *block;
    struct mv_region *regions[REGIONS];
    uint64_t origin[REGIONS], npages[REGIONS];
    bool dirty[MV_DIRTY_CLIENTS][PAGES];
};

static void open_model(struct model *m)
{
    memset(m, 0, sizeof *m);
    rig_open(&m->rig);
    assert_int_equal(mv_block_create(m->rig.machine,
                                     &(struct mv_block_options){.name = "b", .size_bytes = PAGES * PAGE},
                                     &m->block, NULL),
                     0);
    for (unsigned i = 0; i < REGIONS; i++) {
        m->origin[i] = i == 0 ? 0 : random_below(PAGES - 1);
        m->npages[i] = i == 0 ? PAGES : 1 + random_below(PAGES - m->origin[i]);
        m->regions[i] =
            make(m->rig.machine, &(struct mv_region_options){.name = "r",
                                                             .kind = MV_REGION_RAM,
                                                             .size_bytes = m->npages[i] * PAGE,
                                                             .block = m->block,
                                                             .block_offset_bytes = m->origin[i] * PAGE});
    }
    for (unsigned i = 0; i < PAGES; i++) {
        m->dirty[MV_DIRTY_CODE][i] = true; /* until somebody says otherwise */
    }
}

static void close_model(struct model *m)
{
    for (unsigned i = 0; i < REGIONS; i++) {
        mv_region_put(m->regions[i]);
    }
    mv_block_put(m->block);
    rig_close(&m->rig);
}

static struct dirty_pages random_pages(uint64_t npages)
{
    uint64_t first = random_below(npages);
    uint64_t most = random_below(3) ? npages - first : 1 + random_below(5);
    uint64_t last = first + random_below(most);
    return (struct dirty_pages){first, last < npages ? last : npages - 1};
}

static void set_some(struct model *m)
{
    struct dirty_pages p = random_pages(PAGES);
    unsigned clients = (unsigned)random_below(8);
    if (random_below(2)) {
        dirty_mark_pages(m->block, p, clients);
    } else { /* every page of them by a bitmap that is longer and has others too, which are cut off */
        uint64_t words[PAGES / 64 + 2], n = p.last - p.first + 1;
        for (unsigned i = 0; i < PAGES / 64 + 2; i++) {
            words[i] = UINT64_MAX;
        }
        uint64_t hole = p.first + random_below(n);
        words[(hole - p.first) / 64] &= ~(UINT64_C(1) << (hole - p.first) % 64);
        dirty_mark_words(m->block, p.first, words, p.last == PAGES - 1 ? n + 60 : n, clients);
        for (unsigned c = 0; c < MV_DIRTY_CLIENTS; c++) {
            bool was = m->dirty[c][hole];
            for (uint64_t i = p.first; i <= p.last; i++) {
                m->dirty[c][i] = m->dirty[c][i] || (clients >> c & 1);
            }
            m->dirty[c][hole] = was;
        }
        return;
    }
    for (unsigned c = 0; c < MV_DIRTY_CLIENTS; c++) {
        for (uint64_t i = p.first; i <= p.last; i++) {
            m->dirty[c][i] = m->dirty[c][i] || (clients >> c & 1);
        }
    }
}

static bool take(bool *dirty, uint64_t first, uint64_t last)
{
    bool any = false;
    for (uint64_t i = first; i <= last; i++) {
        any = any || dirty[i];
        dirty[i] = false;
    }
    return any;
}

static void take_some(struct model *m)
{
    unsigned r = (unsigned)random_below(REGIONS);
    enum mv_dirty_client c = (enum mv_dirty_client)random_below(MV_DIRTY_CLIENTS);
    struct dirty_pages p = random_pages(m->npages[r]);
    uint64_t into = random_below(PAGE);
    uint64_t length = (p.last - p.first) * PAGE + 1 + random_below(PAGE - into);
    bool any = false;
    for (uint64_t i = p.first; i <= p.last; i++) {
        any = any || m->dirty[c][m->origin[r] + i];
    }
    assert_int_equal(mv_dirty_get(m->regions[r], p.first * PAGE + into, length, c), any);
    if (random_below(2)) {
        assert_int_equal(mv_dirty_test_and_clear(m->regions[r], p.first * PAGE + into, length, c), any);
        take(m->dirty[c], m->origin[r] + p.first, m->origin[r] + p.last);
    }
}

static void snapshot_some(struct model *m)
{
    unsigned r = (unsigned)random_below(REGIONS);
    enum mv_dirty_client c = (enum mv_dirty_client)random_below(MV_DIRTY_CLIENTS);
    struct dirty_pages p = random_pages(m->npages[r]);
    struct mv_dirty_snapshot *snapshot = NULL;
    bool seen[PAGES] = {false};
    uint64_t origin = m->origin[r], count = 0;
    uint64_t first = (origin + p.first) / 64 * 64, last = (origin + p.last) / 64 * 64 + 63;
    first = first > origin ? first : origin;
    last = last < origin + m->npages[r] ? last : origin + m->npages[r] - 1;
    assert_int_equal(mv_dirty_snapshot_and_clear(m->regions[r], p.first * PAGE, (p.last - p.first + 1) * PAGE, c,
                                                 &snapshot, NULL),
                     0);
    struct mv_range run;
    for (uint64_t at = 0; mv_dirty_snapshot_next(snapshot, at, &run); at = run.last + 1) {
        assert_true(run.first % PAGE == 0 && run.last % PAGE == PAGE - 1 && run.first >= at);
        assert_true(at == 0 || run.first > at); /* runs are as long as can be */
        for (uint64_t i = run.first / PAGE; i <= run.last / PAGE; i++) {
            assert_true(i < m->npages[r]);
            seen[origin + i] = true;
            count++;
        }
    }
    assert_int_equal(mv_dirty_snapshot_count(snapshot), count);
    for (uint64_t i = 0; i < PAGES; i++) {
        bool expected = i >= first && i <= last && m->dirty[c][i];
        assert_int_equal(seen[i], expected);
        if (i >= origin && i < origin + m->npages[r]) {
            assert_int_equal(mv_dirty_snapshot_get(snapshot, (i - origin) * PAGE + 7, 1), expected);
        }
    }
    take(m->dirty[c], first, last);
    mv_dirty_snapshot_free(snapshot);
}

static void random_operations(void **state)
{
    (void)state;
    seed("random_operations");
    for (unsigned round = 0; round < 30; round++) {
        struct model *m = malloc(sizeof *m);
        assert_non_null(m);
        open_model(m);
        for (unsigned i = 0; i < 200; i++) {
            switch (random_below(4)) {
            case 0:
            case 1: set_some(m); break;
            case 2: take_some(m); break;
            default: snapshot_some(m); break;
            }
        }
        close_model(m);
        free(m);
    }
}

static void bad_ranges(void **state)
{
    (void)state;
    struct model *m = malloc(sizeof *m);
    struct mv_dirty_snapshot *snapshot = NULL;
    struct mv_error err;
    assert_non_null(m);
    seed("bad_ranges");
    open_model(m);
    struct mv_region *r = m->regions[0];
    const uint64_t size = PAGES * PAGE;
    const struct mv_range bad[] = {{0, 0},        {size, 1},       {0, size + 1},
                                   {size - 1, 2}, {UINT64_MAX, 1}, {1, UINT64_MAX}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(mv_dirty_snapshot_and_clear(r, bad[i].first, bad[i].last, MV_DIRTY_CODE, &snapshot, &err),
                         -EINVAL);
        assert_string_equal(err.reason, "bad-range");
    }
    assert_int_equal(mv_dirty_snapshot_and_clear(m->rig.root, 0, 1, MV_DIRTY_CODE, &snapshot, &err), -EINVAL);
    assert_string_equal(err.reason, "bad-region");
    assert_false(mv_dirty_get(r, 0, 0, MV_DIRTY_CODE));
    assert_false(mv_dirty_get(r, size, UINT64_MAX, MV_DIRTY_CODE));
    assert_true(mv_dirty_get(r, size - 1, UINT64_MAX, MV_DIRTY_CODE)); /* cut off at the end */
    assert_int_equal(mv_dirty_snapshot_and_clear(r, 0, 1, MV_DIRTY_CODE, &snapshot, NULL), 0);
    assert_false(mv_dirty_snapshot_get(snapshot, size - 1, UINT64_MAX));
    assert_false(mv_dirty_snapshot_get(snapshot, UINT64_MAX, UINT64_MAX));
    assert_false(mv_dirty_snapshot_get(snapshot, 0, 0));
    assert_int_equal(mv_dirty_snapshot_count(snapshot), 64);
    mv_dirty_snapshot_free(snapshot);
    mv_dirty_snapshot_free(NULL);
    close_model(m);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations),
        cmocka_unit_test(bad_ranges),
    };
    return cmocka_run_group_tests_name("dirty", tests, NULL, NULL);
}
