// SPDX-License-Identifier: MIT
/*
 * What a listener has made of all that it was told, against what one hears that comes now: after random
 * transactions, of which some are refused, by one listener or another, at one moment or another, and some are
 * aborted.
 *
 * A listener keeps ranges with their logs, eventfds, and the ranges whose writes are gathered; of the latter and
 * of eventfds it keeps what a kernel would: two eventfds for the same writes are a mistake, and a gathered range
 * that is taken back takes along what contains it. Listeners edit, read and put regions in their callbacks; edits
 * are refused.
 *
 * MEMVIRT_SEED=N repeats a run; MEMVIRT_TEST_LONG=1 makes a longer one.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <memvirt/memvirt.h>

#define REGIONS 12
#define RAMS 4
#define LISTENERS 3
#define SPACES 2
#define ITEMS_MAX 1024
#define STEPS 4000

/* --- what a listener keeps --------------------------------------------------------------------- */

struct range_kept {
    struct mv_range range;
    const struct mv_region *region;
    uint64_t offset;
    unsigned log_mask;
    bool readonly;
};

struct ears {
    struct range_kept ranges[ITEMS_MAX], at_begin[ITEMS_MAX];
    struct mv_ioeventfd events[ITEMS_MAX];
    struct mv_range zones[ITEMS_MAX];
    size_t nranges, nranges_at_begin, nevents, nzones;
    bool begun, global;
    int refuse_prepare; /* what is returned */
    int refuse_event;   /* the same, at the event after so many more */
    unsigned events_left;
    struct world *world;
};

struct world {
    struct mv_machine *machine;
    struct mv_region *roots[SPACES], *regions[REGIONS], *spare;
    struct mv_block *block;
    struct mv_space *spaces[SPACES];
    struct ears ears[LISTENERS];
    struct mv_listener *listeners[LISTENERS];
    struct mv_space *space_of[LISTENERS];
    bool mapped[REGIONS];
    unsigned logged[REGIONS];
    int fd;
};

static uint64_t random_state;

static uint64_t any(uint64_t n)
{
    random_state ^= random_state << 13; /* xorshift64 */
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

static size_t find_range(const struct ears *e, const struct mv_section *s)
{
    size_t i = 0;
    while (i < e->nranges && e->ranges[i].range.first != s->range.first) {
        i++;
    }
    assert_true(i < e->nranges);
    assert_int_equal(e->ranges[i].range.last, s->range.last);
    assert_ptr_equal(e->ranges[i].region, s->region);
    assert_int_equal(e->ranges[i].offset, s->offset);
    return i;
}

static void meddle(struct ears *e)
{
    struct mv_error err;
    struct mv_region *lone;
    uint32_t value;
    assert_int_equal(mv_region_set_enabled(e->world->spare, false, &err), -EBUSY);
    assert_int_equal(mv_dirty_log_start(e->world->machine, MV_DIRTY_LOG_RATE, &err), -EBUSY);
    (void)mv_space_read(e->world->spaces[0], mv_gpa(any(0x1000)), &value, 4, MV_ATTRS_NONE);
    const struct mv_region_options options = {.name = "lone", .size_bytes = 1};
    assert_int_equal(mv_region_create(e->world->machine, &options, &lone, &err), 0);
    mv_region_put(lone);
    mv_machine_flush_coalesced(e->world->machine);
}

static void hear_begin(void *opaque)
{
    struct ears *e = opaque;
    assert_false(e->begun);
    e->begun = true;
    memcpy(e->at_begin, e->ranges, sizeof e->ranges[0] * e->nranges);
    e->nranges_at_begin = e->nranges;
    meddle(e);
}

static void hear_del(void *opaque, const struct mv_section *s)
{
    struct ears *e = opaque;
    assert_true(e->begun);
    size_t i = find_range(e, s);
    e->ranges[i] = e->ranges[--e->nranges];
}

static void hear_add(void *opaque, const struct mv_section *s)
{
    struct ears *e = opaque;
    assert_true(e->begun);
    for (size_t i = 0; i < e->nranges; i++) {
        assert_true(s->range.last < e->ranges[i].range.first || s->range.first > e->ranges[i].range.last);
    }
    assert_true(e->nranges < ITEMS_MAX);
    e->ranges[e->nranges++] = (struct range_kept){s->range, s->region, s->offset, s->log_mask, s->readonly};
}

static void hear_log(void *opaque, const struct mv_section *s, unsigned old_mask, unsigned new_mask)
{
    struct ears *e = opaque;
    size_t i = find_range(e, s);
    /* A range that was added with its mask is told it again when the listener is late. */
    assert_true(e->ranges[i].log_mask == old_mask || e->ranges[i].log_mask == new_mask);
    e->ranges[i].log_mask = new_mask;
}

static int hear_event_add(void *opaque, const struct mv_ioeventfd *at, int fd, struct mv_error *err)
{
    struct ears *e = opaque;
    (void)fd, (void)err;
    if (e->refuse_event < 0 && e->events_left-- == 0) {
        int rc = e->refuse_event;
        e->refuse_event = 0;
        return rc;
    }
    for (size_t i = 0; i < e->nevents; i++) {
        const struct mv_ioeventfd *is = &e->events[i];
        assert_false(is->offset == at->offset && is->size_bytes == at->size_bytes && is->data == at->data);
    }
    assert_true(e->nevents < ITEMS_MAX);
    e->events[e->nevents++] = *at;
    return 0;
}

static void hear_event_del(void *opaque, const struct mv_ioeventfd *at, int fd)
{
    struct ears *e = opaque;
    size_t i = 0;
    (void)fd;
    while (i < e->nevents && (e->events[i].offset != at->offset || e->events[i].data != at->data)) {
        i++;
    }
    assert_true(i < e->nevents);
    e->events[i] = e->events[--e->nevents];
}

static void hear_gather(void *opaque, const struct mv_section *section, struct mv_range range)
{
    struct ears *e = opaque;
    (void)section;
    for (size_t i = 0; i < e->nzones; i++) {
        if (e->zones[i].first == range.first && e->zones[i].last == range.last) {
            return; /* once more is no more */
        }
    }
    assert_true(e->nzones < ITEMS_MAX);
    e->zones[e->nzones++] = range;
}

static void hear_scatter(void *opaque, const struct mv_section *section, struct mv_range range)
{
    struct ears *e = opaque;
    size_t kept = 0;
    (void)section;
    for (size_t i = 0; i < e->nzones; i++) {
        if (e->zones[i].first > range.first || e->zones[i].last < range.last) {
            e->zones[kept++] = e->zones[i];
        }
    }
    e->nzones = kept;
}

static int hear_prepare(void *opaque, struct mv_error *err)
{
    struct ears *e = opaque;
    int rc = e->refuse_prepare;
    (void)err;
    assert_true(e->begun);
    e->refuse_prepare = 0;
    meddle(e);
    return rc;
}

static void hear_commit(void *opaque)
{
    struct ears *e = opaque;
    assert_true(e->begun);
    e->begun = false;
    meddle(e);
}

static void hear_abort(void *opaque)
{
    struct ears *e = opaque;
    assert_true(e->begun);
    e->begun = false;
    memcpy(e->ranges, e->at_begin, sizeof e->ranges[0] * e->nranges_at_begin);
    e->nranges = e->nranges_at_begin;
}

static int hear_global_start(void *opaque, struct mv_error *err)
{
    struct ears *e = opaque;
    (void)err;
    assert_false(e->global);
    if (e->refuse_prepare < 0 && any(2)) {
        int rc = e->refuse_prepare;
        e->refuse_prepare = 0;
        return rc;
    }
    e->global = true;
    return 0;
}

static void hear_global_stop(void *opaque)
{
    struct ears *e = opaque;
    assert_true(e->global);
    e->global = false;
}

static const struct mv_listener_ops hear_ops = {
    .begin = hear_begin,
    .region_del = hear_del,
    .region_add = hear_add,
    .log_start = hear_log,
    .log_stop = hear_log,
    .log_global_start = hear_global_start,
    .log_global_stop = hear_global_stop,
    .eventfd_add = hear_event_add,
    .eventfd_del = hear_event_del,
    .coalesced_add = hear_gather,
    .coalesced_del = hear_scatter,
    .prepare = hear_prepare,
    .commit = hear_commit,
    .abort = hear_abort,
};

/* --- the world --------------------------------------------------------------------------------- */

static enum mv_result ignore(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                             struct mv_attrs attrs)
{
    (void)opaque, (void)offset, (void)size_bytes, (void)value, (void)attrs;
    return MV_OK;
}

static const struct mv_mmio_ops ignore_ops = {.write = ignore};

static struct mv_region *new_region(struct world *w, struct mv_region_options options)
{
    struct mv_region *region;
    struct mv_error err;
    options.name = "r";
    if (mv_region_create(w->machine, &options, &region, &err) < 0) {
        fail_msg("%s", err.text);
    }
    return region;
}

static bool is_ram(unsigned i)
{
    return i < RAMS;
}

static bool is_device(unsigned i)
{
    return i >= RAMS && i < 2 * RAMS;
}

static struct mv_listener *listen(struct world *w, struct mv_space *space, struct ears *ears)
{
    struct mv_listener *listener;
    struct mv_error err;
    *ears = (struct ears){.world = w};
    if (mv_listener_create(space, &hear_ops, ears, (int)any(3), &listener, &err) < 0) {
        fail_msg("%s", err.text);
    }
    return listener;
}

static void open_world(struct world *w)
{
    struct mv_error err;
    memset(w, 0, sizeof *w);
    assert_int_equal(mv_machine_create(&w->machine, &err), 0);
    const struct mv_block_options block = {.name = "b", .size_bytes = 0x10000};
    assert_int_equal(mv_block_create(w->machine, &block, &w->block, &err), 0);
    w->spare = new_region(w, (struct mv_region_options){.size_bytes = 1});
    for (unsigned i = 0; i < SPACES; i++) {
        w->roots[i] = new_region(w, (struct mv_region_options){.size_bytes = MV_SIZE_2_64});
        assert_int_equal(mv_space_create(w->machine, "space", w->roots[i], &w->spaces[i], &err), 0);
    }
    for (unsigned i = 0; i < REGIONS; i++) {
        struct mv_region_options o = {.size_bytes = 0x40 + any(0x400)};
        if (is_ram(i)) {
            o.kind = MV_REGION_RAM;
            o.block = w->block;
            o.block_offset_bytes = i * 0x1000;
        } else if (is_device(i)) {
            o.kind = MV_REGION_MMIO;
            o.ops = &ignore_ops;
        } else {
            o.kind = MV_REGION_ALIAS;
            o.target = any(4) == 0 ? w->roots[1] : w->regions[any(i)];
            o.target_offset_bytes = any(0x200);
        }
        w->regions[i] = new_region(w, o);
    }
    w->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_true(w->fd >= 0);
    for (unsigned i = 0; i < LISTENERS; i++) {
        w->space_of[i] = w->spaces[i % SPACES];
        w->listeners[i] = listen(w, w->space_of[i], &w->ears[i]);
    }
}

static void close_world(struct world *w)
{
    (void)mv_dirty_log_stop(w->machine, MV_DIRTY_LOG_MIGRATION, NULL);
    for (unsigned i = 0; i < LISTENERS; i++) {
        mv_listener_destroy(w->listeners[i]);
        assert_int_equal(w->ears[i].nranges + w->ears[i].nevents + w->ears[i].nzones, 0);
    }
    for (unsigned i = 0; i < SPACES; i++) {
        mv_space_destroy(w->spaces[i]);
        mv_region_put(w->roots[i]);
    }
    for (unsigned i = 0; i < REGIONS; i++) {
        mv_region_put(w->regions[i]);
    }
    mv_region_put(w->spare);
    mv_block_put(w->block);
    close(w->fd);
    mv_machine_destroy(w->machine);
}

/* --- one step ---------------------------------------------------------------------------------- */

static void edit_place(struct world *w, unsigned i)
{
    struct mv_region *r = w->regions[i];
    switch (any(6)) {
    case 0:
    case 1:
        /* Only in the first root, so that aliases of the second make no cycle: that one has what is below. */
        (void)mv_region_add(w->roots[is_ram(i) || is_device(i) ? any(SPACES) : 0], any(0x800), r, (int)any(3),
                            NULL);
        break;
    case 2: (void)mv_region_remove(r, NULL); break;
    case 3: (void)mv_region_set_address(r, any(20) == 0 ? UINT64_MAX - any(0x40) : any(0x800), NULL); break;
    case 4: (void)mv_region_set_size(r, any(10) == 0 && !is_ram(i) ? MV_SIZE_2_64 : any(0x600), NULL); break;
    default: (void)mv_region_set_enabled(r, any(3) != 0, NULL); break;
    }
}

static void edit_kind(struct world *w, unsigned i)
{
    struct mv_region *r = w->regions[i];
    struct mv_ioeventfd e = {.offset = any(0x40), .size_bytes = 4, .match = true, .data = any(3), .fd = w->fd};
    if (is_ram(i)) {
        if (any(2)) {
            (void)mv_region_set_readonly(r, any(2), NULL);
        } else {
            (void)mv_region_set_log(r, MV_DIRTY_DISPLAY, any(2), NULL);
        }
    } else if (is_device(i)) {
        switch (any(12)) {
        case 0:
        case 1:
        case 2: (void)mv_ioeventfd_add(r, &e, NULL); break;
        case 3:
        case 4: (void)mv_ioeventfd_del(r, &e, NULL); break;
        case 5: (void)mv_region_set_coalescing(r, NULL); break;
        case 6: (void)mv_region_clear_coalescing(r, NULL); break;
        default: (void)mv_region_add_coalescing(r, any(0x40), 1 + any(0x80), NULL); break;
        }
    } else {
        (void)mv_region_set_target_offset(r, any(0x200), NULL);
    }
}

static void refuse_something(struct world *w)
{
    struct ears *e = &w->ears[any(LISTENERS)];
    if (any(2)) {
        e->refuse_prepare = -EPERM;
    } else {
        e->refuse_event = -ENOSPC;
        e->events_left = (unsigned)any(4);
    }
}

static bool transaction(struct world *w)
{
    assert_int_equal(mv_machine_begin(w->machine, NULL), 0);
    for (uint64_t n = 1 + any(5); n > 0; n--) {
        unsigned i = (unsigned)any(REGIONS);
        if (any(2)) {
            edit_place(w, i);
        } else {
            edit_kind(w, i);
        }
    }
    if (any(10) == 0) {
        mv_machine_abort(w->machine);
        return false;
    }
    return mv_machine_commit(w->machine, NULL) == 0;
}

static void one_step(struct world *w, unsigned *nrefused)
{
    if (any(4) == 0) {
        refuse_something(w);
    }
    switch (any(30)) {
    case 0: *nrefused += mv_dirty_log_start(w->machine, MV_DIRTY_LOG_MIGRATION, NULL) < 0; break;
    case 1: *nrefused += mv_dirty_log_stop(w->machine, MV_DIRTY_LOG_MIGRATION, NULL) < 0; break;
    default: *nrefused += !transaction(w);
    }
    for (unsigned i = 0; i < LISTENERS; i++) {
        w->ears[i].refuse_prepare = w->ears[i].refuse_event = 0;
    }
}

/* --- comparing --------------------------------------------------------------------------------- */

static int by_first(const void *a, const void *b)
{
    uint64_t x = ((const struct mv_range *)a)->first, y = ((const struct mv_range *)b)->first;
    uint64_t p = ((const struct mv_range *)a)->last, q = ((const struct mv_range *)b)->last;
    return x != y ? (x > y) - (x < y) : (p > q) - (p < q);
}

static int by_offset(const void *a, const void *b)
{
    const struct mv_ioeventfd *x = a, *y = b;
    return x->offset != y->offset ? (x->offset > y->offset) - (x->offset < y->offset)
                                  : (x->data > y->data) - (x->data < y->data);
}

static void put_in_order(struct ears *e)
{
    qsort(e->ranges, e->nranges, sizeof e->ranges[0], by_first); /* a range is what each begins with */
    qsort(e->zones, e->nzones, sizeof e->zones[0], by_first);
    qsort(e->events, e->nevents, sizeof e->events[0], by_offset);
}

static void compare(struct ears *a, struct ears *b)
{
    put_in_order(a);
    put_in_order(b);
    assert_int_equal(a->global, b->global);
    assert_int_equal(a->nranges, b->nranges);
    for (size_t i = 0; i < a->nranges; i++) {
        assert_int_equal(a->ranges[i].range.first, b->ranges[i].range.first);
        assert_int_equal(a->ranges[i].range.last, b->ranges[i].range.last);
        assert_ptr_equal(a->ranges[i].region, b->ranges[i].region);
        assert_int_equal(a->ranges[i].offset, b->ranges[i].offset);
        assert_int_equal(a->ranges[i].log_mask, b->ranges[i].log_mask);
        assert_int_equal(a->ranges[i].readonly, b->ranges[i].readonly);
    }
    assert_int_equal(a->nevents, b->nevents);
    for (size_t i = 0; i < a->nevents; i++) {
        assert_int_equal(by_offset(&a->events[i], &b->events[i]), 0);
    }
    assert_int_equal(a->nzones, b->nzones);
    for (size_t i = 0; i < a->nzones; i++) {
        assert_int_equal(by_first(&a->zones[i], &b->zones[i]), 0);
    }
}

static void late_ones_hear_the_same(void **state)
{
    static struct world w;
    static struct ears late;
    const char *seed = getenv("MEMVIRT_SEED");
    unsigned nrefused = 0;
    uint64_t nevents = 0, nzones = 0;
    (void)state;
    random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 2654435761u | 1;
    printf("# MEMVIRT_SEED=%#llx\n", (unsigned long long)random_state);
    for (unsigned round = getenv("MEMVIRT_TEST_LONG") ? 50 : 3; round > 0; round--) {
        open_world(&w);
        for (unsigned step = 0; step < STEPS; step++) {
            one_step(&w, &nrefused);
            unsigned i = step % LISTENERS;
            mv_listener_destroy(listen(&w, w.space_of[i], &late)); /* it has to come and go without a trace */
            struct mv_listener *again = listen(&w, w.space_of[i], &late);
            compare(&w.ears[i], &late);
            nevents += late.nevents;
            nzones += late.nzones;
            mv_listener_destroy(again);
        }
        close_world(&w);
    }
    printf("# %u refused, %llu eventfds, %llu zones\n", nrefused, (unsigned long long)nevents,
           (unsigned long long)nzones);
    assert_true(nrefused > 100 && nevents > 1000 && nzones > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(late_ones_hear_the_same)};
    return cmocka_run_group_tests_name("listeners", tests, NULL, NULL);
}
