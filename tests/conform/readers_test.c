// SPDX-License-Identifier: MIT
/*
 * Threads that read while others edit. What they see must at each moment be what some commit made, and nothing
 * that they use may go away meanwhile. Run it under ThreadSanitizer and AddressSanitizer, too.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <memvirt/listener.h>

#define PAGE 0x1000
#define READERS 2
#define COLOURS 3

static unsigned rounds(unsigned n)
{
    return getenv("MEMVIRT_TEST_LONG") ? 20 * n : n;
}

struct stage {
    struct mv_machine *machine;
    struct mv_region *root;
    struct mv_space *space;
    atomic_bool stop;
    atomic_uint wrong;   /* what a thread saw that must not be; cmocka's asserts are for the main thread */
    atomic_ullong looks; /* by readers */
};

static struct mv_region *make(struct mv_machine *machine, struct mv_region_options options)
{
    struct mv_error err;
    struct mv_region *region = NULL;
    options.name = "region";
    assert_int_equal(mv_region_create(machine, &options, &region, &err), 0);
    return region;
}

static void stage_open(struct stage *s)
{
    struct mv_error err;
    memset(s, 0, sizeof *s);
    assert_int_equal(mv_machine_create(&s->machine, &err), 0);
    s->root =
        make(s->machine, (struct mv_region_options){.kind = MV_REGION_CONTAINER, .size_bytes = MV_SIZE_2_64});
    assert_int_equal(mv_space_create(s->machine, "space", s->root, &s->space, &err), 0);
}

static void stage_close(struct stage *s)
{
    mv_space_destroy(s->space);
    mv_region_put(s->root);
    mv_machine_destroy(s->machine);
}

struct troupe {
    pthread_t threads[READERS + 2];
    size_t count;
};

static void start(struct troupe *t, void *(*act)(void *), void *opaque)
{
    assert_int_equal(pthread_create(&t->threads[t->count++], NULL, act, opaque), 0);
}

static void finish(struct troupe *t, struct stage *s)
{
    atomic_store(&s->stop, true);
    for (size_t i = 0; i < t->count; i++) {
        pthread_join(t->threads[i], NULL);
    }
    assert_int_equal(atomic_load(&s->wrong), 0);
    printf("# %llu looks\n", atomic_load(&s->looks));
    assert_true(atomic_load(&s->looks) > 0);
}

/* Readers are given the time for a look of their own, on a machine with few processors. */
static void let_them_look(struct stage *s, unsigned round)
{
    if (round % 64 == 0) {
        unsigned long long before = atomic_load(&s->looks);
        while (atomic_load(&s->looks) == before) {
            sched_yield();
        }
    }
}

/* --- two pages of one colour, repainted as a whole --------------------------------------------- */

static struct mv_region *paint(struct stage *s, int colour)
{
    struct mv_error err;
    struct mv_block *block = NULL;
    struct mv_block_info info;
    const struct mv_block_options options = {.name = "block", .size_bytes = PAGE};
    assert_int_equal(mv_block_create(s->machine, &options, &block, &err), 0);
    mv_block_info(block, &info);
    memset((void *)(uintptr_t)info.hva.raw, colour, PAGE);
    struct mv_region *r =
        make(s->machine, (struct mv_region_options){.kind = MV_REGION_RAM, .size_bytes = PAGE, .block = block});
    mv_block_put(block);
    return r;
}

static bool one_colour(const unsigned char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] != bytes[0]) {
            return false;
        }
    }
    return bytes[0] >= 1 && bytes[0] <= COLOURS;
}

static bool view_is_right(struct mv_space *space)
{
    struct mv_section first, second;
    const struct mv_view *view = mv_space_view(space);
    bool right = mv_view_count(view) == 2 && mv_view_lookup(view, mv_gpa(0), &first) &&
                 mv_view_lookup(view, mv_gpa(PAGE), &second) && first.range.last == PAGE - 1 &&
                 second.range.first == PAGE;
    right = right && *(volatile unsigned char *)(uintptr_t)first.hva.raw ==
                         *(volatile unsigned char *)(uintptr_t)second.hva.raw;
    mv_view_release(view);
    return right;
}

static bool hold_is_right(struct mv_space *space)
{
    struct mv_hold hold;
    if (mv_space_hold(space, mv_gpa(16), 2 * PAGE, &hold) != MV_OK) {
        return false;
    }
    sched_yield();
    bool right = hold.length == PAGE - 16 && one_colour(hold.bytes, hold.length);
    mv_hold_release(&hold);
    return right;
}

/* The colour that a view shows, or 0 if it is not right. */
static unsigned char colour_of(const struct mv_view *view)
{
    struct mv_section first, second;
    if (mv_view_count(view) != 2 || !mv_view_next(view, mv_gpa(0), &first) ||
        !mv_view_next(view, mv_gpa(PAGE), &second)) {
        return 0;
    }
    unsigned char one = *(volatile unsigned char *)(uintptr_t)first.hva.raw;
    unsigned char two = *(volatile unsigned char *)(uintptr_t)second.hva.raw;
    return one == two ? one : 0;
}

/* Two views at a time, borrowed long ago and given back in either order. */
struct album {
    const struct mv_view *views[2];
    unsigned char colours[2];
};

static bool leaf_through(struct album *album, struct mv_space *space, unsigned turn)
{
    unsigned i = turn / 5 % 2;
    bool right = !album->views[i] || (album->colours[i] != 0 && colour_of(album->views[i]) == album->colours[i]);
    if (turn % 5 == 0) {
        if (album->views[i]) {
            mv_view_release(album->views[i]);
        }
        album->views[i] = mv_space_view(space);
        album->colours[i] = colour_of(album->views[i]);
    }
    return right;
}

static void *look_at_colours(void *opaque)
{
    struct stage *s = opaque;
    struct album album = {{NULL, NULL}, {0, 0}};
    unsigned turn = 0;
    while (!atomic_load(&s->stop)) {
        unsigned char bytes[64];
        bool right = mv_space_read(s->space, mv_gpa(PAGE - 32), bytes, sizeof bytes, MV_ATTRS_NONE) == MV_OK &&
                     one_colour(bytes, sizeof bytes);
        right = right && view_is_right(s->space) && hold_is_right(s->space);
        right = right && leaf_through(&album, s->space, turn++);
        atomic_fetch_add(&s->wrong, !right);
        atomic_fetch_add(&s->looks, 1);
    }
    for (unsigned i = 0; i < 2; i++) {
        if (album.views[i]) {
            mv_view_release(album.views[i]);
        }
    }
    return NULL;
}

/* Two pages of another colour, shown through new aliases. */
static void repaint(struct stage *s, unsigned round, struct mv_region **shown, struct mv_region **pages)
{
    struct mv_error err;
    assert_int_equal(mv_machine_begin(s->machine, &err), 0);
    for (unsigned i = 0; i < 2; i++) {
        if (shown[i]) {
            assert_int_equal(mv_region_remove(shown[i], &err), 0);
        }
        /* An edit that is refused in the midst of a transaction, which is no less whole for it. */
        assert_int_equal(mv_region_add(s->root, 0, s->root, 0, NULL), -ELOOP);
        shown[i] = make(s->machine, (struct mv_region_options){.kind = MV_REGION_ALIAS,
                                                               .size_bytes = PAGE,
                                                               .target = pages[round % COLOURS * 2 + i]});
        assert_int_equal(mv_region_add(s->root, i * PAGE, shown[i], (int)(round % 7), &err), 0);
        mv_region_put(shown[i]);
    }
    assert_int_equal(mv_machine_commit(s->machine, &err), 0);
}

static void transactions_are_seen_whole(void **state)
{
    (void)state;
    struct stage s;
    struct troupe troupe = {.count = 0};
    struct mv_region *pages[2 * COLOURS], *shown[2] = {NULL, NULL};
    stage_open(&s);
    for (int i = 0; i < 2 * COLOURS; i++) {
        pages[i] = paint(&s, 1 + i / 2);
    }
    repaint(&s, 0, shown, pages);
    for (int i = 0; i < READERS; i++) {
        start(&troupe, look_at_colours, &s);
    }
    for (unsigned i = 1; i < rounds(12000); i++) {
        repaint(&s, i, shown, pages);
        let_them_look(&s, i);
    }
    finish(&troupe, &s);
    for (int i = 0; i < 2 * COLOURS; i++) {
        mv_region_put(pages[i]);
    }
    stage_close(&s);
}

/* --- places far apart, changed together -------------------------------------------------------- */

#define PLACES 64
#define FAR                                                                                                       \
    UINT64_C(0x4000000) /* from each other: accesses find them by different ways (src/machine/shortcuts.h) */

static bool read_number(struct stage *s, uint64_t address, uint64_t *ret)
{
    return mv_space_read(s->space, mv_gpa(address), ret, sizeof *ret, MV_ATTRS_NONE) == MV_OK;
}

/* What is seen once is not unseen, wherever one looks next. The places between the first and the last are there to
 * keep the commit busy meanwhile. */
static void *look_there_and_back(void *opaque)
{
    struct stage *s = opaque;
    uint64_t newest = 0;
    for (unsigned turn = 0; !atomic_load(&s->stop); turn++) {
        uint64_t number;
        bool right = read_number(s, turn % 2 * (PLACES - 1) * FAR, &number) && number >= newest;
        newest = right ? number : newest;
        atomic_fetch_add(&s->wrong, !right);
        if (turn % 4096 == 0) {
            atomic_fetch_add(&s->looks, 1);
        }
    }
    return NULL;
}

static void places_far_apart_change_together(void **state)
{
    (void)state;
    struct stage s;
    struct mv_error err;
    struct troupe troupe = {.count = 0};
    stage_open(&s);
    struct mv_block *block = NULL;
    struct mv_block_info info;
    const unsigned n = rounds(2000); /* each has a number of its own, in memory of its own */
    const struct mv_block_options options = {.name = "numbers", .size_bytes = (uint64_t)(n + 1) * PAGE};
    assert_int_equal(mv_block_create(s.machine, &options, &block, &err), 0);
    mv_block_info(block, &info);
    struct mv_region *shown[PLACES] = {NULL};
    for (unsigned round = 0; round < n; round++) {
        *(uint64_t *)(uintptr_t)(info.hva.raw + (uint64_t)round * PAGE) = round;
        assert_int_equal(mv_machine_begin(s.machine, &err), 0);
        for (unsigned i = 0; i < PLACES; i++) {
            if (shown[i]) {
                assert_int_equal(mv_region_remove(shown[i], &err), 0);
            }
            shown[i] = make(s.machine, (struct mv_region_options){.kind = MV_REGION_RAM,
                                                                  .size_bytes = PAGE,
                                                                  .block = block,
                                                                  .block_offset_bytes = (uint64_t)round * PAGE});
            assert_int_equal(mv_region_add(s.root, i * FAR, shown[i], 0, &err), 0);
            mv_region_put(shown[i]);
        }
        assert_int_equal(mv_machine_commit(s.machine, &err), 0);
        if (round == 0) {
            start(&troupe, look_there_and_back, &s);
            start(&troupe, look_there_and_back, &s);
        }
    }
    finish(&troupe, &s);
    mv_block_put(block);
    stage_close(&s);
}

/* --- devices that come and go ------------------------------------------------------------------ */

#define ALIVE 0x600d

struct device {
    unsigned magic;
    atomic_uint *released;
};

static enum mv_result device_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                  struct mv_attrs attrs)
{
    struct device *d = opaque;
    (void)offset, (void)size_bytes, (void)attrs;
    sched_yield();
    *ret_value = d->magic;
    return MV_OK;
}

static void device_release(void *opaque)
{
    struct device *d = opaque;
    atomic_fetch_add(d->released, 1);
    d->magic = 0xdead;
    free(d);
}

static const struct mv_mmio_ops device_ops = {.read = device_read};

static void *look_at_device(void *opaque)
{
    struct stage *s = opaque;
    while (!atomic_load(&s->stop)) {
        unsigned char b[2];
        enum mv_result result = mv_space_read(s->space, mv_gpa(0), b, 2, MV_ATTRS_NONE);
        unsigned seen = b[0] | (unsigned)b[1] << 8;
        bool right = (result == MV_OK && seen == ALIVE) || (result == MV_DECODE_ERROR && seen == 0);
        atomic_fetch_add(&s->wrong, !right);
        atomic_fetch_add(&s->looks, 1);
    }
    return NULL;
}

static void devices_come_and_go(void **state)
{
    (void)state;
    struct stage s;
    struct troupe troupe = {.count = 0};
    struct mv_error err;
    atomic_uint released = 0;
    stage_open(&s);
    for (int i = 0; i < READERS; i++) {
        start(&troupe, look_at_device, &s);
    }
    unsigned n = rounds(15000);
    for (unsigned i = 0; i < n; i++) {
        struct device *d = malloc(sizeof *d);
        assert_non_null(d);
        *d = (struct device){ALIVE, &released};
        struct mv_region *r = make(s.machine, (struct mv_region_options){.kind = MV_REGION_MMIO,
                                                                         .size_bytes = 8,
                                                                         .ops = &device_ops,
                                                                         .opaque = d,
                                                                         .release = device_release});
        assert_int_equal(mv_region_add(s.root, 0, r, 0, &err), 0);
        mv_region_put(r);
        let_them_look(&s, i);
        assert_int_equal(mv_region_remove(r, &err), 0);
    }
    finish(&troupe, &s);
    stage_close(&s);
    assert_int_equal(atomic_load(&released), n);
}

/* --- several who edit -------------------------------------------------------------------------- */

struct editor {
    struct stage *stage;
    unsigned number, rounds;
    atomic_uint *released;
};

/* Each moves a region of its own about, in transactions. */
static void *edit_own(void *opaque)
{
    struct editor *e = opaque;
    struct stage *s = e->stage;
    struct mv_region *r;
    const struct mv_region_options options = {.name = "own", .kind = MV_REGION_MMIO, .size_bytes = 16};
    bool right = mv_region_create(s->machine, &options, &r, NULL) == 0;
    for (unsigned i = 0; right && i < e->rounds; i++) {
        right = mv_machine_begin(s->machine, NULL) == 0;
        right = right && mv_region_add(s->root, e->number * PAGE + i % 64, r, 0, NULL) == 0;
        right = right && mv_region_set_enabled(r, i % 2 != 0, NULL) == 0;
        right = right && mv_machine_commit(s->machine, NULL) == 0;
        right = right && mv_region_set_address(r, e->number * PAGE + 100, NULL) == 0;
        right = right && mv_region_remove(r, NULL) == 0;
        atomic_fetch_add(&s->looks, 1);
    }
    right = right && mv_region_set_enabled(r, true, NULL) == 0;
    right = right && mv_region_add(s->root, e->number * PAGE, r, 0, NULL) == 0;
    mv_region_put(r);
    atomic_fetch_add(&s->wrong, !right);
    return NULL;
}

static void editors_take_turns(void **state)
{
    (void)state;
    struct stage s;
    struct troupe troupe = {.count = 0};
    struct editor editors[3];
    stage_open(&s);
    for (unsigned i = 0; i < 3; i++) {
        editors[i] = (struct editor){.stage = &s, .number = i, .rounds = rounds(5000)};
        start(&troupe, edit_own, &editors[i]);
    }
    finish(&troupe, &s);
    const struct mv_view *view = mv_space_view(s.space);
    assert_int_equal(mv_view_count(view), 3);
    for (unsigned i = 0; i < 3; i++) {
        struct mv_section section;
        assert_true(mv_view_lookup(view, mv_gpa(i * PAGE), &section));
        assert_int_equal(section.range.first, i * PAGE);
    }
    mv_view_release(view);
    stage_close(&s);
}

/* A container ends in one thread while another edits what is in it. */
struct scene {
    struct stage *stage;
    struct mv_region *child; /* a reference of each thread's */
};

static void *toggle(void *opaque)
{
    struct scene *scene = opaque;
    for (unsigned i = 0; !atomic_load(&scene->stage->stop); i++) {
        int rc = mv_region_set_enabled(scene->child, i % 2 != 0, NULL);
        int rc_move = mv_region_set_address(scene->child, i % 100, NULL);
        atomic_fetch_add(&scene->stage->wrong, rc != 0 || (rc_move != 0 && rc_move != -ENOENT));
        atomic_fetch_add(&scene->stage->looks, 1);
    }
    return NULL;
}

static void a_container_ends_while_its_child_is_edited(void **state)
{
    (void)state;
    struct stage s;
    struct troupe troupe = {.count = 0};
    struct mv_error err;
    stage_open(&s);
    struct scene scene = {
        .stage = &s,
        .child = make(s.machine, (struct mv_region_options){.kind = MV_REGION_MMIO, .size_bytes = 16})};
    start(&troupe, toggle, &scene);
    start(&troupe, toggle, &scene);
    for (unsigned i = 0; i < rounds(15000); i++) {
        struct mv_region *box =
            make(s.machine, (struct mv_region_options){.kind = MV_REGION_CONTAINER, .size_bytes = PAGE});
        int rc = mv_region_add(box, 0, scene.child, 0, &err);
        /* When the last box is just ending, the child may still be in it. */
        assert_true(rc == 0 || rc == -EBUSY);
        assert_int_equal(mv_region_add(s.root, 0, box, 0, &err), 0);
        mv_region_put(box);
        let_them_look(&s, i);
        assert_int_equal(mv_region_remove(box, &err), 0);
    }
    finish(&troupe, &s);
    mv_region_put(scene.child);
    stage_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transactions_are_seen_whole),
        cmocka_unit_test(places_far_apart_change_together),
        cmocka_unit_test(devices_come_and_go),
        cmocka_unit_test(editors_take_turns),
        cmocka_unit_test(a_container_ends_while_its_child_is_edited),
    };
    return cmocka_run_group_tests_name("readers", tests, NULL, NULL);
}
