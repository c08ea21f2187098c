// SPDX-License-Identifier: MIT
/* Eventfds: what listeners are told of them, and what writes do without a kernel; against a model, too. */
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "machine/machine_test.h"

static struct rig rig;
static struct journal journal;
static unsigned handled; /* calls of the handler */

static enum mv_result handle(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                             struct mv_attrs attrs)
{
    (void)opaque, (void)offset, (void)size_bytes, (void)value, (void)attrs;
    handled++;
    return MV_OK;
}

static const struct mv_mmio_ops ops = {.write = handle, .valid = {.max_bytes = 4}};
static const struct mv_mmio_ops big_ops = {.write = handle, .endian = MV_ENDIAN_BIG};

static int open_rig(void **state)
{
    (void)state;
    rig_open(&rig);
    journal.used = 0;
    journal.text[0] = '\0';
    handled = 0;
    return 0;
}

static int close_rig(void **state)
{
    (void)state;
    rig_close(&rig);
    return 0;
}

static int new_fd(void)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* How often it was set since the last time. */
static uint64_t count_of(int fd)
{
    uint64_t count;
    return read(fd, &count, sizeof count) == sizeof count ? count : 0;
}

static struct mv_ioeventfd any(uint64_t offset, unsigned size_bytes, int fd)
{
    return (struct mv_ioeventfd){.offset = offset, .size_bytes = size_bytes, .fd = fd};
}

static struct mv_ioeventfd matching(uint64_t offset, unsigned size_bytes, uint64_t data, int fd)
{
    return (struct mv_ioeventfd){
        .offset = offset, .size_bytes = size_bytes, .match = true, .data = data, .fd = fd};
}

static void add(struct mv_region *region, struct mv_ioeventfd e)
{
    struct mv_error err;
    if (mv_ioeventfd_add(region, &e, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static void del(struct mv_region *region, struct mv_ioeventfd e)
{
    assert_int_equal(mv_ioeventfd_del(region, &e, NULL), 0);
}

static void put(uint64_t address, uint64_t value, size_t size)
{
    assert_int_equal(mv_space_write(rig.space, mv_gpa(address), &value, size, MV_ATTRS_NONE), MV_OK);
}

/* --- what is told ------------------------------------------------------------------------------ */

/* Nothing but eventfds changed: no begin, no commit. Additions go down, deletions up: not as ranges do. */
static void alone_they_are_told_alone(void **state)
{
    (void)state;
    struct witness low = {.name = "low", .journal = &journal};
    struct witness high = {.name = "high", .journal = &journal};
    struct mv_region *r = put_in(rig.root, 0x1000, mmio(&rig, "r", 0x100, &ops, NULL), 0);
    struct mv_listener *l1 = attach(rig.space, &low, 1);
    struct mv_listener *l2 = attach(rig.space, &high, 2);
    int fd = new_fd();
    journal.used = 0;
    begin(&rig);
    add(r, matching(8, 4, 7, fd));
    add(r, any(4, 0, fd));
    add(r, any(0x200, 4, fd)); /* not in it */
    commit(&rig);
    assert_journal(&journal, "high:event+ 1004/0\nlow:event+ 1004/0\nhigh:event+ 1008/4=7\nlow:event+ 1008/4=7\n");
    begin(&rig);
    del(r, any(4, 0, fd));
    add(r, any(4, 0, fd)); /* the same number, which may stand for another eventfd: told */
    del(r, any(8, 0, -1)); /* any size stands for what is there */
    commit(&rig);
    assert_journal(&journal, "low:event- 1004/0\nhigh:event- 1004/0\n"
                             "low:event- 1008/4=7\nhigh:event- 1008/4=7\n"
                             "high:event+ 1004/0\nlow:event+ 1004/0\n");
    /* Deletions first: the new one is for writes of the old one. */
    begin(&rig);
    del(r, any(4, 0, fd));
    add(r, any(4, 2, fd));
    commit(&rig);
    assert_journal(&journal, "low:event- 1004/0\nhigh:event- 1004/0\nhigh:event+ 1004/2\nlow:event+ 1004/2\n");
    assert_int_equal(mv_region_set_enabled(r, false, NULL), 0);
    journal.used = 0;
    add(r, any(0x10, 1, fd)); /* nobody sees it */
    assert_journal(&journal, "");
    mv_listener_destroy(l1);
    mv_listener_destroy(l2);
    close(fd);
}

/* With ranges they come between prepare and commit, and go with their region wherever it is shown. */
static void they_move_with_their_region(void **state)
{
    (void)state;
    struct witness w = {.name = "w", .journal = &journal};
    struct mv_region *r = put_in(rig.root, 0x1000, mmio(&rig, "r", 0x100, &ops, NULL), 0);
    int fd = new_fd();
    add(r, any(0x10, 2, fd));
    add(r, any(0x80, 2, fd));
    struct mv_listener *l = attach(rig.space, &w, 1); /* who comes late hears of them */
    assert_journal(&journal, "w:begin\nw:+1000-10ff r@0\nw:prepare\nw:event+ 1010/2\nw:event+ 1080/2\nw:commit\n");
    assert_int_equal(mv_region_set_address(r, 0x2000, NULL), 0);
    assert_journal(&journal, "w:begin\nw:-1000-10ff r@0\nw:+2000-20ff r@0\nw:prepare\n"
                             "w:event- 1010/2\nw:event- 1080/2\nw:event+ 2010/2\nw:event+ 2080/2\nw:commit\n");
    /* Half of it hidden; the other half at a second place. */
    begin(&rig);
    put_in(rig.root, 0x2000, reservation(&rig, "on top", 0x40), 1);
    put_in(rig.root, 0x5000, alias_of(&rig, "a", r, 0x40, 0x80), 0);
    commit(&rig);
    assert_journal(&journal,
                   "w:begin\nw:-2000-20ff r@0\nw:+2000-203f on top@0\nw:+2040-20ff r@40\nw:+5000-507f r@40\n"
                   "w:prepare\nw:event- 2010/2\nw:event+ 5040/2\nw:commit\n");
    mv_listener_destroy(l);
    assert_journal(&journal, "w:begin\nw:event- 2080/2\nw:event- 5040/2\n"
                             "w:-2000-203f on top@0\nw:-2040-20ff r@40\nw:-5000-507f r@40\nw:prepare\nw:commit\n");
    close(fd);
}

/* A number may stand for another eventfd by now: who is told compares eventfds. */
static void a_number_may_be_used_again(void **state)
{
    (void)state;
    struct witness w = {.name = "w", .journal = &journal};
    struct mv_region *r = put_in(rig.root, 0x1000, mmio(&rig, "r", 0x100, &ops, NULL), 0);
    struct mv_listener *l = attach(rig.space, &w, 1);
    int fd = new_fd();
    add(r, any(8, 4, fd));
    journal.used = 0;
    begin(&rig);
    del(r, any(8, 4, fd));
    int other = new_fd();
    assert_int_equal(dup2(other, fd), fd);
    add(r, any(8, 4, fd));
    commit(&rig);
    assert_journal(&journal, "w:event- 1008/4\nw:event+ 1008/4\n");
    put(0x1008, 1, 4);
    assert_int_equal(count_of(other), 1);
    /* A region that takes another one's place, with an eventfd of that number. */
    struct mv_region *s = mmio(&rig, "s", 0x100, &ops, NULL);
    close(other);
    other = new_fd();
    assert_int_equal(dup2(other, fd), fd);
    add(s, any(8, 4, fd));
    put_in(rig.root, 0x1000, s, 1);
    journal.text[journal.used] = '\0';
    assert_non_null(strstr(journal.text, "w:event- 1008/4\nw:event+ 1008/4\n"));
    mv_listener_destroy(l);
    close(other);
    close(fd);
}

static void a_refusal_takes_all_back(void **state)
{
    (void)state;
    struct witness low = {.name = "low", .journal = &journal};
    struct witness high = {.name = "high", .journal = &journal};
    struct mv_error err;
    struct mv_region *r = put_in(rig.root, 0x1000, mmio(&rig, "r", 0x100, &ops, NULL), 0);
    int fd = new_fd();
    struct mv_ioeventfd e = any(0, 4, fd);
    struct mv_listener *l1 = attach(rig.space, &low, 1);
    struct mv_listener *l2 = attach(rig.space, &high, 2);
    journal.used = 0;
    low.refuse_event = -ENOSPC;
    assert_int_equal(mv_ioeventfd_add(r, &e, &err), -ENOSPC);
    assert_string_equal(err.reason, "refused");
    assert_journal(&journal, "high:event+ 1000/4\nlow:event+ 1000/4\nhigh:event- 1000/4\n");
    put(0x1000, 1, 4);
    assert_int_equal(count_of(fd), 0);
    assert_int_equal(handled, 1);
    low.refuse_event = 0;
    add(r, e);
    journal.used = 0;
    low.refuse_event = -ENOSPC;
    assert_int_equal(mv_region_set_address(r, 0x2000, &err), -ENOSPC);
    journal.text[journal.used] = '\0';
    assert_non_null(strstr(journal.text, "low:event- 1000/4\nhigh:event- 1000/4\n"
                                         "high:event+ 2000/4\nlow:event+ 2000/4\nhigh:event- 2000/4\n"
                                         "high:event+ 1000/4\nlow:event+ 1000/4\n"));
    assert_non_null(strstr(journal.text, "high:abort\nlow:abort\n"));
    low.refuse_event = 0;
    put(0x1000, 1, 4);
    assert_int_equal(count_of(fd), 1);
    /* A listener that comes late and refuses is not there, and has heard of the end of what it took. */
    struct witness late = {.name = "late", .journal = &journal, .refuse_event = -EPERM};
    struct mv_listener *l3 = NULL;
    journal.used = 0;
    assert_int_equal(mv_listener_create(rig.space, &witness_ops, &late, 0, &l3, &err), -EPERM);
    assert_journal(&journal, "late:begin\nlate:+1000-10ff r@0\nlate:prepare\nlate:event+ 1000/4\nlate:abort\n");
    mv_listener_destroy(l1);
    mv_listener_destroy(l2);
    close(fd);
}

static void bad_eventfds(void **state)
{
    (void)state;
    struct mv_error err;
    struct mv_region *r = put_in(rig.root, 0, mmio(&rig, "r", 0x100, &ops, NULL), 0);
    int fd = new_fd(), other = new_fd();
    const struct mv_ioeventfd bad[] = {any(0, 3, fd), any(0, 16, fd), matching(0, 0, 1, fd),
                                       matching(0, 1, 256, fd), any(UINT64_MAX, 4, fd)};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(mv_ioeventfd_add(r, &bad[i], &err), -EINVAL);
        assert_string_equal(err.reason, "bad-eventfd");
    }
    struct mv_ioeventfd e = any(0, 4, -1);
    assert_int_equal(mv_ioeventfd_add(r, &e, &err), -EBADF);
    e = any(0, 4, fd);
    assert_int_equal(mv_ioeventfd_add(rig.root, &e, &err), -EINVAL);
    assert_int_equal(mv_ioeventfd_del(r, &e, &err), -ENOENT);
    add(r, matching(0, 4, 1, fd));
    add(r, matching(0, 4, 2, fd));
    add(r, any(0, 2, other));
    const struct mv_ioeventfd same[] = {any(0, 0, other), any(0, 4, other), matching(0, 4, 2, other),
                                        matching(0, 2, 9, fd)};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        assert_int_equal(mv_ioeventfd_add(r, &same[i], &err), -EEXIST);
        assert_string_equal(err.reason, "collision");
    }
    e = matching(0, 4, 1, other); /* another descriptor */
    assert_int_equal(mv_ioeventfd_del(r, &e, &err), -ENOENT);
    close(fd);
    close(other);
}

/* --- writes ------------------------------------------------------------------------------------ */

static void a_write_sets_and_does_not_call(void **state)
{
    (void)state;
    struct mv_region *r = put_in(rig.root, 0, mmio(&rig, "r", 0x100, &ops, NULL), 0);
    struct mv_region *b = put_in(rig.root, 0x1000, mmio(&rig, "b", 0x100, &big_ops, NULL), 0);
    int wild = new_fd(), four = new_fd(), seven = new_fd(), eight = new_fd();
    add(r, any(0, 0, wild));
    add(r, any(0x10, 4, four));
    add(r, matching(0x20, 2, 7, seven));
    add(r, any(0x30, 8, eight)); /* larger than the device would have it */
    add(b, matching(0, 2, 0x0102, seven));
    for (size_t size = 1; size <= 8; size *= 2) {
        put(0, 5, size);
        put(0x10, 5, size);
        put(0x30, 5, size);
    }
    assert_int_equal(count_of(wild), 4);
    assert_int_equal(count_of(four), 2); /* by itself, and as the first half of 8, which the device gets in two */
    assert_int_equal(count_of(eight), 1);
    assert_int_equal(handled, 3 + 3);
    handled = 0;
    put(0x20, 7, 2);
    put(0x20, 7, 4);
    put(0x20, 8, 2);
    put(0x22, 7, 2);
    assert_int_equal(count_of(seven), 1);
    assert_int_equal(handled, 3);
    put(0x1000, 0x0201, 2); /* the bytes 01 02, which a big-endian device takes for 0x0102 */
    assert_int_equal(count_of(seven), 1);
    uint64_t value;
    assert_int_equal(mv_space_read(rig.space, mv_gpa(0), &value, 4, MV_ATTRS_NONE),
                     MV_DECODE_ERROR); /* as before */
    assert_int_equal(count_of(wild), 0);
    /* The caller's descriptor may go, and its number be used for something else. */
    int kept = dup(four);
    assert_true(kept >= 0);
    close(four);
    put(0x10, 0, 4);
    assert_int_equal(count_of(kept), 1);
    const int fds[] = {wild, seven, eight, kept};
    for (size_t i = 0; i < 4; i++) {
        close(fds[i]);
    }
}

static enum mv_result give(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                           struct mv_attrs attrs)
{
    (void)opaque, (void)offset, (void)size_bytes, (void)attrs;
    *ret_value = 0;
    return MV_OK;
}

/* A device whose registers are written without a detour: the second write finds the thread known. */
static void a_plain_register_is_no_way_around(void **state)
{
    (void)state;
    static const struct mv_mmio_ops plain = {
        .read = give,
        .write = handle,
        .valid = {.min_bytes = 1, .max_bytes = 8},
        .impl = {.min_bytes = 1, .max_bytes = 8},
    };
    struct mv_region *r = put_in(rig.root, 0, mmio(&rig, "r", 0x100, &plain, NULL), 0);
    int fd = new_fd();
    put(0, 1, 4);
    put(0, 1, 4);
    assert_int_equal(handled, 2);
    add(r, any(0, 4, fd));
    put(0, 1, 4);
    put(0, 1, 4);
    assert_int_equal(count_of(fd), 2);
    assert_int_equal(handled, 2);
    close(fd);
}

/* --- against a model --------------------------------------------------------------------------- */

#define REGIONS 4
#define EVENTS_MAX 400

static uint64_t random_state;

static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state << 13; /* xorshift64 */
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

/* What a listener has made of what it was told. */
struct told {
    struct mv_ioeventfd events[EVENTS_MAX];
    size_t count;
    unsigned calls; /* in this commit */
    bool added_one; /* in this commit */
};

static bool same(const struct mv_ioeventfd *a, const struct mv_ioeventfd *b)
{
    return a->offset == b->offset && a->size_bytes == b->size_bytes && a->match == b->match &&
           a->data == b->data && a->fd == b->fd;
}

static size_t index_of(const struct told *t, const struct mv_ioeventfd *e)
{
    size_t i = 0;
    while (i < t->count && !same(&t->events[i], e)) {
        i++;
    }
    return i;
}

static int told_add(void *opaque, const struct mv_ioeventfd *at, int fd, struct mv_error *err)
{
    struct told *t = opaque;
    (void)fd, (void)err;
    for (size_t i = 0; i < t->count; i++) { /* as a kernel has it */
        assert_false(t->events[i].offset == at->offset && t->events[i].size_bytes == at->size_bytes &&
                     t->events[i].data == at->data);
    }
    assert_true(t->count < EVENTS_MAX);
    t->events[t->count++] = *at;
    t->calls++;
    t->added_one = true;
    return 0;
}

static void told_del(void *opaque, const struct mv_ioeventfd *at, int fd)
{
    struct told *t = opaque;
    (void)fd;
    size_t i = index_of(t, at);
    assert_true(i < t->count); /* it was told before */
    assert_false(t->added_one);
    t->events[i] = t->events[--t->count];
    t->calls++;
}

struct model {
    struct mv_region *regions[REGIONS];
    struct mv_ioeventfd events[REGIONS][64];
    unsigned serial[REGIONS][64]; /* each one that is added is another one, whatever its number */
    size_t count[REGIONS];
    bool mapped[REGIONS];
    unsigned last_serial;
};

/* One that a view shows. */
struct shown {
    struct mv_ioeventfd is;
    unsigned serial;
};

/* What the view shows of the regions' events, by going through all of it. */
static size_t expected(const struct model *m, struct shown *ret)
{
    const struct mv_view *view = mv_space_view(rig.space);
    struct mv_section s;
    size_t count = 0;
    bool more = mv_view_next(view, mv_gpa(0), &s);
    for (; more; more = s.range.last != TOP && mv_view_next(view, mv_gpa(s.range.last + 1), &s)) {
        for (unsigned r = 0; r < REGIONS; r++) {
            for (size_t i = 0; s.region == m->regions[r] && i < m->count[r]; i++) {
                uint64_t at = m->events[r][i].offset;
                if (at >= s.offset && at - s.offset <= s.range.last - s.range.first) {
                    ret[count] = (struct shown){m->events[r][i], m->serial[r][i]};
                    ret[count++].is.offset = s.range.first + (at - s.offset);
                }
            }
        }
    }
    mv_view_release(view);
    return count;
}

static void random_edit(struct model *m, int fd)
{
    unsigned r = (unsigned)random_below(REGIONS);
    struct mv_region *region = m->regions[r];
    struct mv_ioeventfd e = matching(random_below(0x40), 4, random_below(4), fd);
    switch (random_below(7)) {
    case 0:
    case 1:
        if (m->count[r] < 64 && mv_ioeventfd_add(region, &e, NULL) == 0) {
            m->serial[r][m->count[r]] = ++m->last_serial;
            m->events[r][m->count[r]++] = e;
        }
        break;
    case 2:
        if (m->count[r] > 0) {
            size_t i = random_below(m->count[r]);
            del(region, m->events[r][i]);
            m->events[r][i] = m->events[r][--m->count[r]];
            m->serial[r][i] = m->serial[r][m->count[r]];
        }
        break;
    case 3:
        if (m->mapped[r]) {
            assert_int_equal(mv_region_remove(region, NULL), 0);
        } else {
            assert_int_equal(mv_region_add(rig.root, random_below(0x100), region, (int)random_below(3), NULL), 0);
        }
        m->mapped[r] = !m->mapped[r];
        break;
    case 4:
        if (m->mapped[r]) {
            assert_int_equal(mv_region_set_address(region, random_below(0x100), NULL), 0);
        }
        break;
    case 5: assert_int_equal(mv_region_set_enabled(region, random_below(3) != 0, NULL), 0); break;
    default: assert_int_equal(mv_region_set_size(region, 1 + random_below(0x60), NULL), 0); break;
    }
}

static void random_edits(void **state)
{
    (void)state;
    static const struct mv_listener_ops told_ops = {.eventfd_add = told_add, .eventfd_del = told_del};
    static struct told told;
    static struct model m;
    static struct shown before[EVENTS_MAX], now[EVENTS_MAX];
    const char *given = getenv("MEMVIRT_TEST_SEED");
    random_state = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u + 1;
    printf("# random_edits: MEMVIRT_TEST_SEED=%#" PRIx64 "\n", random_state);
    struct mv_listener *l = NULL;
    int fd = new_fd();
    for (unsigned r = 0; r < REGIONS; r++) {
        m.regions[r] = mmio(&rig, "r", 0x40, &ops, NULL);
    }
    put_in(rig.root, 0x200, alias_of(&rig, "a", m.regions[0], 8, 0x20), 0);
    assert_int_equal(mv_listener_create(rig.space, &told_ops, &told, 0, &l, NULL), 0);
    size_t count_before = 0;
    for (unsigned i = 0; i < 4000; i++) {
        told.calls = 0;
        told.added_one = false;
        begin(&rig);
        for (uint64_t k = 1 + random_below(4); k > 0; k--) {
            random_edit(&m, fd);
        }
        commit(&rig);
        size_t count = expected(&m, now), stayed = 0;
        assert_int_equal(told.count, count);
        for (size_t k = 0; k < count; k++) {
            assert_true(index_of(&told, &now[k].is) < told.count);
            for (size_t b = 0; b < count_before; b++) {
                stayed += before[b].serial == now[k].serial && same(&before[b].is, &now[k].is);
            }
        }
        assert_int_equal(told.calls, (count - stayed) + (count_before - stayed)); /* and nothing in vain */
        memcpy(before, now, sizeof now);
        count_before = count;
    }
    told.added_one = false;
    mv_listener_destroy(l);
    assert_int_equal(told.count, 0);
    for (unsigned r = 0; r < REGIONS; r++) {
        mv_region_put(m.regions[r]);
    }
    close(fd);
}

#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, open_rig, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_RIG(alone_they_are_told_alone),         WITH_RIG(they_move_with_their_region),
        WITH_RIG(a_refusal_takes_all_back),          WITH_RIG(bad_eventfds),
        WITH_RIG(a_write_sets_and_does_not_call),    WITH_RIG(random_edits),
        WITH_RIG(a_plain_register_is_no_way_around), WITH_RIG(a_number_may_be_used_again),
    };
    return cmocka_run_group_tests_name("ioeventfd", tests, NULL, NULL);
}
