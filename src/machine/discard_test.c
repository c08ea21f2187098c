// SPDX-License-Identifier: MIT
#include <memvirt/discard.h>

#include <time.h>

#include "machine/block_test.h"

#define PAGE UINT64_C(4096)
#define GRANULE (4 * PAGE)
#define GRANULES 32

struct listener {
    const char *name;
    char *log; /* shared by several */
    struct mv_discard_manager *manager;
    uint64_t refuse_at; /* an offset that it refuses to have populated; 0: none */
    bool bitmap[GRANULES];
};

static int on_populate(void *opaque, uint64_t offset, uint64_t length, struct mv_error *err)
{
    (void)err;
    struct listener *listener = opaque;
    if (listener->log) {
        sprintf(listener->log + strlen(listener->log), "%s+%u,%u ", listener->name, (unsigned)(offset / GRANULE),
                (unsigned)(length / GRANULE));
    }
    if (listener->refuse_at && offset <= listener->refuse_at && listener->refuse_at < offset + length) {
        return -EIO;
    }
    for (uint64_t i = offset / GRANULE; i < (offset + length) / GRANULE; i++) {
        assert_false(listener->bitmap[i]);
        listener->bitmap[i] = true;
    }
    return 0;
}

static void on_discard(void *opaque, uint64_t offset, uint64_t length)
{
    struct listener *listener = opaque;
    if (listener->log) {
        sprintf(listener->log + strlen(listener->log), "%s-%u,%u ", listener->name, (unsigned)(offset / GRANULE),
                (unsigned)(length / GRANULE));
    }
    for (uint64_t i = offset / GRANULE; i < (offset + length) / GRANULE; i++) {
        listener->bitmap[i] = false;
    }
}

static const struct mv_discard_listener_ops listener_ops = {.populate = on_populate, .discard = on_discard};
static const struct mv_discard_listener_ops double_ops = {
    .populate = on_populate, .discard = on_discard, .double_discard = true};

struct managed {
    struct rig rig;
    struct mv_block *block;
    struct mv_discard_manager *manager;
    char log[2000];
};

static void managed_open(struct managed *m)
{
    struct mv_error err;
    memset(m, 0, sizeof *m);
    rig_open(&m->rig);
    m->block = block_with(&m->rig, &(struct mv_block_options){.size_bytes = GRANULES * GRANULE, .thp = MV_OFF});
    const struct mv_discard_manager_options options = {.granularity_bytes = GRANULE};
    assert_int_equal(mv_discard_manager_create(m->block, &options, &m->manager, &err), 0);
}

static void managed_close(struct managed *m)
{
    mv_discard_manager_destroy(m->manager);
    mv_block_put(m->block);
    rig_close(&m->rig);
}

static int populate(struct managed *m, unsigned granule, unsigned n)
{
    return mv_discard_populate(m->manager, granule * GRANULE, n * GRANULE, NULL);
}

static int discard(struct managed *m, unsigned granule, unsigned n)
{
    return mv_discard_discard(m->manager, granule * GRANULE, n * GRANULE, NULL);
}

static struct mv_discard_listener *listen(struct managed *m, struct listener *listener, unsigned granule,
                                          unsigned n, const struct mv_discard_listener_ops *ops)
{
    struct mv_discard_listener *ret = NULL;
    listener->log = m->log;
    listener->manager = m->manager;
    assert_int_equal(
        mv_discard_listener_create(m->manager, granule * GRANULE, n * GRANULE, ops, listener, &ret, NULL), 0);
    return ret;
}

static void assert_log(struct managed *m, const char *text)
{
    assert_string_equal(m->log, text);
    m->log[0] = '\0';
}

static int log_piece(void *opaque, uint64_t offset, uint64_t length)
{
    sprintf((char *)opaque + strlen(opaque), "%u,%u ", (unsigned)(offset / PAGE), (unsigned)(length / PAGE));
    return strlen(opaque) > 20 ? 5 : 0;
}

static void parts_come_and_go(void **state)
{
    (void)state;
    struct managed m;
    managed_open(&m);
    unsigned char *bytes = bytes_of(m.block);
    assert_ptr_equal(mv_block_discard_manager(m.block), m.manager);
    assert_int_equal(mv_discard_granularity(m.manager), GRANULE);
    assert_false(mv_discard_is_populated(m.manager, 0, 1));
    assert_int_equal(populate(&m, 2, 3), 0);
    assert_int_equal(populate(&m, 4, 3), 0);
    assert_int_equal(populate(&m, 20, 1), 0);
    assert_true(mv_discard_is_populated(m.manager, 2 * GRANULE, 5 * GRANULE));
    assert_true(mv_discard_is_populated(m.manager, 2 * GRANULE + 1, 17));
    assert_false(mv_discard_is_populated(m.manager, 2 * GRANULE - 1, 2));
    assert_false(mv_discard_is_populated(m.manager, 2 * GRANULE, 5 * GRANULE + 1));
    assert_false(mv_discard_is_populated(m.manager, 0, 0));
    assert_false(mv_discard_is_populated(m.manager, 1, TOP - 1));

    assert_int_equal(mv_discard_replay_populated(m.manager, PAGE, GRANULES * GRANULE, log_piece, m.log), 0);
    assert_log(&m, "8,20 80,4 ");
    assert_int_equal(mv_discard_replay_populated(m.manager, 9 * PAGE, PAGE, log_piece, m.log), 0);
    assert_log(&m, "9,1 ");
    assert_int_equal(mv_discard_replay_discarded(m.manager, PAGE, 100 * PAGE, log_piece, m.log), 0);
    assert_log(&m, "1,7 28,52 84,17 ");
    strcpy(m.log, "long enough to stop ");
    assert_int_equal(mv_discard_replay_discarded(m.manager, 0, 100 * PAGE, log_piece, m.log), 5);
    assert_log(&m, "long enough to stop 0,8 ");

    memset(bytes + 2 * GRANULE, 7, 5 * GRANULE);
    assert_int_equal(discard(&m, 3, 2), 0);
    assert_int_equal(pages_present(bytes, 32 * GRANULE), 12);
    assert_int_equal(bytes[3 * GRANULE], 0);
    assert_int_equal(bytes[2 * GRANULE], 7);
    assert_int_equal(bytes[5 * GRANULE], 7);
    assert_true(mv_discard_is_populated(m.manager, 5 * GRANULE, 2 * GRANULE));
    assert_false(mv_discard_is_populated(m.manager, 3 * GRANULE, GRANULE));
    managed_close(&m);
}

static void what_is_populated_can_be_made_at_once(void **state)
{
    (void)state;
    struct managed m;
    managed_open(&m);
    assert_int_equal(populate(&m, 0, 2), 0);
    assert_int_equal(pages_present(bytes_of(m.block), GRANULES * GRANULE), 0);
    mv_discard_manager_destroy(m.manager);
    const struct mv_discard_manager_options options = {.granularity_bytes = GRANULE, .prealloc = MV_ON};
    assert_int_equal(mv_discard_manager_create(m.block, &options, &m.manager, NULL), 0);
    assert_int_equal(populate(&m, 1, 2), 0);
    assert_int_equal(pages_present(bytes_of(m.block), GRANULES * GRANULE), 8);
    assert_int_equal(pages_present(bytes_of(m.block) + GRANULE, 2 * GRANULE), 8);
    /* What is refused goes back. */
    struct listener a = {.name = "a", .refuse_at = 9 * GRANULE};
    struct mv_discard_listener *la = listen(&m, &a, 0, GRANULES, &listener_ops);
    assert_int_equal(populate(&m, 8, 2), -EIO);
    assert_int_equal(pages_present(bytes_of(m.block), GRANULES * GRANULE), 8);
    mv_discard_listener_destroy(la);
    managed_close(&m);
}

static void making_one_is_checked(void **state)
{
    (void)state;
    struct managed m;
    managed_open(&m);
    struct mv_discard_manager *manager = NULL;
    struct mv_error err = {0};
    const struct mv_discard_manager_options plain = {0};
    assert_int_equal(mv_discard_manager_create(m.block, &plain, &manager, &err), -EBUSY);
    assert_string_equal(err.reason, "managed");
    assert_string_equal(err.object, "b");
    /* Nobody but the manager discards, and nobody may forbid it to. */
    assert_int_equal(mv_block_discard(m.block, 0, PAGE, &err), -EBUSY);
    assert_string_equal(err.reason, "managed");
    assert_int_equal(mv_discard_claim(m.rig.machine, MV_DISCARD_DISABLE, &err), -EBUSY);
    assert_string_equal(err.reason, "claimed");
    assert_int_equal(mv_discard_claim(m.rig.machine, MV_DISCARD_DISABLE_UNCOORDINATED, &err), 0);
    assert_int_equal(populate(&m, 0, 1), 0);
    assert_int_equal(discard(&m, 0, 1), 0);
    mv_discard_unclaim(m.rig.machine, MV_DISCARD_DISABLE_UNCOORDINATED);
    mv_discard_manager_destroy(m.manager);
    assert_null(mv_block_discard_manager(m.block));

    const uint64_t wrong[] = {3, PAGE / 2, 3 * PAGE, 64 * GRANULE};
    for (size_t i = 0; i < 4; i++) {
        const struct mv_discard_manager_options options = {.granularity_bytes = wrong[i]};
        assert_int_equal(mv_discard_manager_create(m.block, &options, &manager, &err), -EINVAL);
        assert_string_equal(err.reason, "bad-granularity");
        assert_string_equal(err.object, "b");
    }
    assert_int_equal(mv_discard_claim(m.rig.machine, MV_DISCARD_DISABLE, &err), 0);
    assert_int_equal(mv_discard_manager_create(m.block, &plain, &manager, &err), -EBUSY);
    assert_string_equal(err.reason, "claimed");
    mv_discard_unclaim(m.rig.machine, MV_DISCARD_DISABLE);

    struct mv_block *other =
        block_with(&m.rig, &(struct mv_block_options){.size_bytes = PAGE, .max_size_bytes = 2 * PAGE});
    assert_int_equal(mv_discard_manager_create(other, &plain, &manager, &err), -EINVAL);
    assert_string_equal(err.reason, "resizeable");
    mv_block_put(other);

    static unsigned char memory[2 * 4096] __attribute__((aligned(4096)));
    other =
        block_with(&m.rig, &(struct mv_block_options){.kind = MV_BLOCK_CALLER, .memory = memory, .size_bytes = 1});
    assert_int_equal(mv_discard_manager_create(other, &plain, &manager, &err), -EOPNOTSUPP);
    assert_string_equal(err.reason, "caller-memory");
    assert_null(mv_block_discard_manager(other));
    assert_int_equal(mv_discard_claim(m.rig.machine, MV_DISCARD_DISABLE, &err), 0);
    mv_discard_unclaim(m.rig.machine, MV_DISCARD_DISABLE);
    mv_block_put(other);

    assert_null(manager);
    assert_int_equal(mv_discard_manager_create(m.block, &plain, &m.manager, &err), 0);
    assert_int_equal(mv_discard_granularity(m.manager), PAGE);
    managed_close(&m);
}

/* What a space shows already has been told to listeners as being there. */
static void a_block_that_is_shown_gets_no_manager(void **state)
{
    (void)state;
    struct managed m;
    managed_open(&m);
    mv_discard_manager_destroy(m.manager);
    m.manager = NULL;
    struct mv_region *region = make(m.rig.machine, &(struct mv_region_options){.name = "r",
                                                                               .kind = MV_REGION_RAM,
                                                                               .size_bytes = GRANULE,
                                                                               .block = m.block,
                                                                               .block_offset_bytes = GRANULE});
    struct mv_error err = {0};
    struct mv_discard_manager *manager = NULL;
    const struct mv_discard_manager_options plain = {0};
    assert_int_equal(mv_region_add(m.rig.root, 0x10000, region, 0, &err), 0);
    assert_int_equal(mv_discard_manager_create(m.block, &plain, &manager, &err), -EBUSY);
    assert_string_equal(err.reason, "mapped");
    assert_string_equal(err.object, "b");
    assert_int_equal(mv_region_remove(region, &err), 0);
    assert_int_equal(mv_discard_manager_create(m.block, &plain, &manager, &err), 0);

    /* And from then on a section says who manages it. */
    assert_int_equal(mv_region_add(m.rig.root, 0x10000, region, 0, &err), 0);
    const struct mv_section section = {.region = region, .offset = 5};
    uint64_t offset = 0;
    assert_ptr_equal(mv_section_discard_manager(&section, &offset), manager);
    assert_int_equal(offset, GRANULE + 5);
    const struct mv_section none = {.region = m.rig.root};
    assert_null(mv_section_discard_manager(&none, &offset));
    assert_int_equal(mv_region_remove(region, &err), 0);
    mv_region_put(region);
    mv_discard_manager_destroy(manager);
    managed_close(&m);
}

static void listeners_are_told_of_their_part(void **state)
{
    (void)state;
    struct managed m;
    managed_open(&m);
    struct listener a = {.name = "a"}, b = {.name = "b"}, c = {.name = "c"};
    assert_int_equal(populate(&m, 1, 2), 0);
    assert_int_equal(populate(&m, 6, 2), 0);
    struct mv_discard_listener *la = listen(&m, &a, 0, GRANULES, &listener_ops);
    assert_log(&m, "a+1,2 a+6,2 ");
    struct mv_discard_listener *lb = listen(&m, &b, 2, 5, &double_ops);
    assert_log(&m, "b+2,1 b+6,1 ");
    struct mv_discard_listener *lc = listen(&m, &c, 10, 2, &listener_ops);
    assert_log(&m, "");

    /* Only what is new is told. */
    assert_int_equal(populate(&m, 0, 9), 0);
    assert_log(&m, "a+0,1 a+3,3 b+3,3 a+8,1 ");
    assert_int_equal(populate(&m, 0, 9), 0);
    assert_log(&m, "");
    assert_int_equal(discard(&m, 4, 1), 0);
    assert_log(&m, "a-4,1 b-4,1 ");
    /* One that can bear it is told of all of a long piece at once. */
    assert_int_equal(discard(&m, 0, 12), 0);
    assert_log(&m, "a-0,4 a-5,4 b-2,5 ");
    assert_int_equal(populate(&m, 3, 2), 0);
    assert_int_equal(populate(&m, 6, 2), 0);
    m.log[0] = '\0';
    mv_discard_listener_destroy(lb);
    assert_log(&m, "b-2,5 ");
    mv_discard_listener_destroy(la);
    assert_log(&m, "a-3,2 a-6,2 ");
    mv_discard_listener_destroy(lc);
    mv_discard_listener_destroy(NULL);
    assert_log(&m, "");
    managed_close(&m);
}

static void a_refusal_leaves_all_as_it_was(void **state)
{
    (void)state;
    struct managed m;
    managed_open(&m);
    struct listener a = {.name = "a"}, b = {.name = "b"}, c = {.name = "c"};
    struct mv_discard_listener *la = listen(&m, &a, 0, GRANULES, &listener_ops);
    struct mv_discard_listener *lb = listen(&m, &b, 0, GRANULES, &listener_ops);
    struct mv_discard_listener *lc = listen(&m, &c, 0, GRANULES, &listener_ops);
    assert_int_equal(populate(&m, 3, 1), 0);
    m.log[0] = '\0';
    b.refuse_at = 5 * GRANULE;
    struct mv_error err = {0};
    /* The first hole was told to all, the second to a and b: each is taken back from who took it. */
    assert_int_equal(mv_discard_populate(m.manager, 0, 8 * GRANULE, &err), -EIO);
    assert_int_equal(err.code, -EIO);
    assert_string_equal(err.reason, "refused");
    assert_string_equal(err.object, "b");
    assert_log(&m, "a+0,3 b+0,3 c+0,3 a+4,4 b+4,4 a-4,4 a-0,3 b-0,3 c-0,3 ");
    assert_true(mv_discard_is_populated(m.manager, 3 * GRANULE, GRANULE));
    assert_false(mv_discard_is_populated(m.manager, 0, 1));
    assert_false(mv_discard_is_populated(m.manager, 4 * GRANULE, 1));
    for (size_t i = 0; i < GRANULES; i++) {
        assert_int_equal(a.bitmap[i], i == 3);
        assert_int_equal(b.bitmap[i], i == 3);
        assert_int_equal(c.bitmap[i], i == 3);
    }
    b.refuse_at = 0;
    assert_int_equal(populate(&m, 0, 8), 0);

    /* A new listener that refuses gets what it took taken back, and is none. */
    m.log[0] = '\0';
    assert_int_equal(discard(&m, 2, 1), 0);
    m.log[0] = '\0';
    struct listener d = {.name = "d", .log = m.log, .refuse_at = 5 * GRANULE};
    struct mv_discard_listener *ld = NULL;
    assert_int_equal(mv_discard_listener_create(m.manager, 0, GRANULES * GRANULE, &listener_ops, &d, &ld, &err),
                     -EIO);
    assert_null(ld);
    assert_log(&m, "d+0,2 d+3,5 d-0,2 ");
    assert_int_equal(discard(&m, 0, 1), 0);
    assert_log(&m, "a-0,1 b-0,1 c-0,1 ");
    mv_discard_listener_destroy(la);
    mv_discard_listener_destroy(lb);
    mv_discard_listener_destroy(lc);
    managed_close(&m);
}

static void ranges_are_checked(void **state)
{
    (void)state;
    struct managed m;
    managed_open(&m);
    const uint64_t end = GRANULES * GRANULE;
    const uint64_t wrong[][2] = {{0, 0},
                                 {0, PAGE},
                                 {PAGE, GRANULE},
                                 {end, GRANULE},
                                 {0, end + GRANULE},
                                 {GRANULE, end},
                                 {GRANULE, TOP - GRANULE + 1}};
    struct listener listener = {.name = "l"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct mv_error err = {0};
        struct mv_discard_listener *none = NULL;
        assert_int_equal(mv_discard_populate(m.manager, wrong[i][0], wrong[i][1], &err), -EINVAL);
        assert_string_equal(err.reason, "bad-range");
        assert_string_equal(err.object, "b");
        assert_int_equal(mv_discard_discard(m.manager, wrong[i][0], wrong[i][1], &err), -EINVAL);
        assert_string_equal(err.reason, "bad-range");
        assert_int_equal(
            mv_discard_listener_create(m.manager, wrong[i][0], wrong[i][1], &listener_ops, &listener, &none, &err),
            -EINVAL);
        assert_string_equal(err.reason, "bad-range");
        assert_null(none);
    }
    managed_close(&m);
}

static int meddle(void *opaque, uint64_t offset, uint64_t length, struct mv_error *err)
{
    struct listener *listener = opaque;
    struct mv_discard_listener *none = NULL;
    assert_int_equal(mv_discard_populate(listener->manager, offset, length, err), -EBUSY);
    assert_int_equal(mv_discard_discard(listener->manager, offset, length, err), -EBUSY);
    assert_int_equal(
        mv_discard_listener_create(listener->manager, offset, length, &listener_ops, listener, &none, err),
        -EBUSY);
    assert_string_equal(err->reason, "busy");
    listener->refuse_at++;
    return 0;
}

static void listeners_do_not_meddle(void **state)
{
    (void)state;
    struct managed m;
    managed_open(&m);
    static const struct mv_discard_listener_ops ops = {.populate = meddle};
    struct listener listener = {.name = "l"};
    struct mv_discard_listener *l = listen(&m, &listener, 0, GRANULES, &ops);
    assert_int_equal(populate(&m, 0, 1), 0);
    assert_int_equal(listener.refuse_at, 1);
    mv_discard_listener_destroy(l);
    managed_close(&m);
}

/* Random changes and refusals: every listener's bitmap is the manager's, and pages are present only where it says.
 */
static void listeners_know_what_the_manager_knows(void **state)
{
    (void)state;
    unsigned seed = (unsigned)time(NULL);
    printf("# seed %u\n", seed);
    struct managed m;
    managed_open(&m);
    struct listener listeners[3] = {{.name = "a"}, {.name = "b"}, {.name = "c"}};
    struct mv_discard_listener *handles[3] = {0};
    bool model[GRANULES] = {0};
    for (unsigned step = 0; step < 4000; step++) {
        const unsigned first = (unsigned)rand_r(&seed) % GRANULES;
        const unsigned n = 1 + (unsigned)rand_r(&seed) % (GRANULES - first);
        const unsigned i = (unsigned)rand_r(&seed) % 3;
        if (rand_r(&seed) % 10 == 0) {
            if (handles[i]) {
                mv_discard_listener_destroy(handles[i]);
                handles[i] = NULL;
            } else {
                handles[i] = listen(&m, &listeners[i], 0, GRANULES, i ? &listener_ops : &double_ops);
            }
        } else if (rand_r(&seed) % 2) {
            listeners[i].refuse_at = rand_r(&seed) % 3 ? 0 : (uint64_t)(rand_r(&seed) % GRANULES) * GRANULE + 1;
            bool refused = handles[i] && listeners[i].refuse_at && listeners[i].refuse_at >= first * GRANULE &&
                           listeners[i].refuse_at < (first + n) * GRANULE &&
                           !model[listeners[i].refuse_at / GRANULE];
            assert_int_equal(populate(&m, first, n), refused ? -EIO : 0);
            listeners[i].refuse_at = 0;
            for (unsigned g = first; g < first + n && !refused; g++) {
                model[g] = true;
                bytes_of(m.block)[g * GRANULE] = 1;
            }
        } else {
            assert_int_equal(discard(&m, first, n), 0);
            memset(&model[first], 0, n * sizeof model[0]);
        }
        m.log[0] = '\0';
        for (unsigned g = 0; g < GRANULES; g++) {
            assert_int_equal(mv_discard_is_populated(m.manager, g * GRANULE, GRANULE), model[g]);
            assert_int_equal(pages_present(bytes_of(m.block) + g * GRANULE, PAGE), model[g]);
            for (unsigned l = 0; l < 3; l++) {
                assert_int_equal(listeners[l].bitmap[g], handles[l] && model[g]);
            }
        }
    }
    for (unsigned l = 0; l < 3; l++) {
        mv_discard_listener_destroy(handles[l]);
    }
    managed_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_come_and_go),
        cmocka_unit_test(what_is_populated_can_be_made_at_once),
        cmocka_unit_test(making_one_is_checked),
        cmocka_unit_test(a_block_that_is_shown_gets_no_manager),
        cmocka_unit_test(listeners_are_told_of_their_part),
        cmocka_unit_test(a_refusal_leaves_all_as_it_was),
        cmocka_unit_test(ranges_are_checked),
        cmocka_unit_test(listeners_do_not_meddle),
        cmocka_unit_test(listeners_know_what_the_manager_knows),
    };
    return cmocka_run_group_tests_name("discard", tests, NULL, NULL);
}
