// SPDX-License-Identifier: MIT
/* How long a region lives: until the last of those who can reach it is gone, and then its release is called, once.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "machine/machine.h"
#include "machine/machine_test.h"
#include "machine/view.h"

static void count(void *opaque)
{
    atomic_fetch_add((atomic_int *)opaque, 1);
}

static struct mv_region *counted(const struct rig *rig, const char *name, atomic_int *released)
{
    return make(
        rig->machine,
        &(struct mv_region_options){
            .name = name, .kind = MV_REGION_MMIO, .size_bytes = 0x1000, .opaque = released, .release = count});
}

/* Everything that may still be freed by another thread is. */
static int released(const atomic_int *counter)
{
    epoch_drain();
    return atomic_load(counter);
}

/* Who can reach device D: its maker, container C that it is in, alias A of it, space S of C, a borrowed view of S.
 */
enum { HAS_DEVICE, HAS_CONTAINER, HAS_ALIAS, HAS_SPACE, HAS_VIEW, HOLDERS };

static bool reachable(const bool *has)
{
    return has[HAS_DEVICE] || has[HAS_CONTAINER] || has[HAS_ALIAS] || has[HAS_SPACE] || has[HAS_VIEW];
}

/* One such device, and the order in which its holders let go. */
struct cast {
    struct mv_region *d, *c, *a;
    struct mv_space *space;
    const struct mv_view *view;
    int order[HOLDERS];
    bool has[HOLDERS];
    atomic_int released;
};

static void cast_open(const struct rig *rig, struct cast *cast)
{
    struct mv_error err;
    cast->d = counted(rig, "D", &cast->released);
    cast->c = container(rig, "C", 0x1000);
    cast->a = alias_of(rig, "A", cast->d, 0, 0x1000);
    assert_int_equal(mv_region_add(cast->c, 0, cast->d, 0, &err), 0);
    cast->space = show(rig, "S", cast->c);
    for (int i = 0; i < HOLDERS; i++) {
        cast->has[i] = true;
    }
}

static void let_go(struct cast *cast, int holder)
{
    switch (holder) {
    case HAS_DEVICE: mv_region_put(cast->d); break;
    case HAS_CONTAINER: mv_region_put(cast->c); break;
    case HAS_ALIAS: mv_region_put(cast->a); break;
    case HAS_SPACE: mv_space_destroy(cast->space); break;
    default: mv_view_release(cast->view); break;
    }
    cast->has[holder] = false;
}

/* All permutations of the holders, as numbers in base HOLDERS; returns how many. */
static size_t all_orders(struct cast *casts)
{
    size_t count = 0;
    for (int code = 0; code < 5 * 5 * 5 * 5 * 5; code++) {
        unsigned used = 0;
        for (int i = 0, rest = code; i < HOLDERS; i++, rest /= HOLDERS) {
            casts[count].order[i] = rest % HOLDERS;
            used |= 1U << rest % HOLDERS;
        }
        count += used == (1U << HOLDERS) - 1;
    }
    return count;
}

/* Side by side, as waiting for what is freed takes its time. */
static void in_every_order(void **state)
{
    (void)state;
    static struct cast casts[120 + 1];
    struct rig rig;
    rig_open(&rig);
    size_t count = all_orders(casts);
    assert_int_equal(count, 120);
    for (size_t k = 0; k < count; k++) {
        cast_open(&rig, &casts[k]);
    }
    for (size_t k = 0; k < count; k++) {
        casts[k].view = mv_space_view(casts[k].space);
    }
    for (int step = 0; step < HOLDERS; step++) {
        for (size_t k = 0; k < count; k++) {
            let_go(&casts[k], casts[k].order[step]);
        }
        epoch_drain();
        for (size_t k = 0; k < count; k++) {
            assert_int_equal(atomic_load(&casts[k].released), !reachable(casts[k].has));
        }
    }
    rig_close(&rig);
    for (size_t k = 0; k < count; k++) {
        assert_int_equal(atomic_load(&casts[k].released), 1);
    }
}

/* A chain: the view shows D through an alias of an alias; then the tree is taken apart from the top. */
static void aliases_keep_their_targets(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    atomic_int counter = 0;
    struct mv_error err;
    struct mv_region *d = counted(&rig, "D", &counter);
    struct mv_region *one = alias_of(&rig, "one", d, 0, 0x1000);
    struct mv_region *two = alias_of(&rig, "two", one, 0, 0x1000);
    mv_region_put(d);
    mv_region_put(one);
    put_in(rig.root, 0, two, 0);
    assert_int_equal(released(&counter), 0);
    const struct mv_view *view = mv_space_view(rig.space);
    assert_int_equal(mv_region_remove(two, &err), 0);
    assert_int_equal(released(&counter), 0);
    mv_view_release(view);
    assert_int_equal(released(&counter), 1);
    rig_close(&rig);
    assert_int_equal(released(&counter), 1);
}

static void a_container_takes_its_children_with_it(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    atomic_int counter = 0;
    struct mv_error err;
    struct mv_region *outer = container(&rig, "outer", 0x10000);
    struct mv_region *inner = put_in(outer, 0, container(&rig, "inner", 0x10000), 0);
    struct mv_region *kept = counted(&rig, "kept", &counter);
    assert_int_equal(mv_region_add(inner, 0x4000, kept, 0, &err), 0);
    for (unsigned i = 0; i < 3; i++) {
        put_in(inner, i * 0x1000, counted(&rig, "d", &counter), 0);
    }
    put_in(rig.root, 0, outer, 0);
    assert_int_equal(mv_region_remove(outer, &err), 0);
    assert_int_equal(released(&counter), 3);
    /* What is still held is in no container any more, and can be used again. */
    assert_int_equal(mv_region_remove(kept, &err), -ENOENT);
    put_in(rig.root, 0, kept, 0);
    assert_picture(rig.space, "0-fff kept@0\n");
    rig_close(&rig);
    assert_int_equal(released(&counter), 4);
}

static void *put_it(void *opaque)
{
    mv_region_put(opaque);
    return NULL;
}

/* However many end together, it is done in a loop, and not one within the other. */
static void many_end_in_a_small_stack(void **state)
{
    (void)state;
    const size_t children = 20000, stack_bytes = (size_t)256 << 10;
    struct rig rig;
    pthread_t thread;
    pthread_attr_t small;
    atomic_int counter = 0;
    rig_open(&rig);
    struct mv_region *c = container(&rig, "c", children);
    assert_int_equal(mv_machine_begin(rig.machine, NULL), 0);
    for (size_t i = 0; i < children; i++) {
        put_in(c, i, counted(&rig, "d", &counter), 0);
    }
    assert_int_equal(mv_machine_commit(rig.machine, NULL), 0);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, stack_bytes);
    assert_int_equal(pthread_create(&thread, &small, put_it, c), 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&small);
    assert_int_equal(released(&counter), children);
    rig_close(&rig);
}

static void memory_lives_as_long_as_a_hold(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_error err;
    struct mv_hold hold;
    struct mv_region *r = put_in(rig.root, 0, ram(&rig, "r", 0x1000), 0);
    assert_int_equal(mv_space_write(rig.space, mv_gpa(4), "abc", 4, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(mv_space_hold(rig.space, mv_gpa(4), 4, &hold), MV_OK);
    assert_int_equal(mv_region_remove(r, &err), 0);
    epoch_drain();
    assert_string_equal(hold.bytes, "abc");
    mv_hold_release(&hold);
    rig_close(&rig);
}

/* An edit that fails at commit must not let go of what it had removed, nor keep what it had added. */
static void a_failed_commit_keeps_the_counts(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    atomic_int counter = 0;
    struct journal journal = {.used = 0};
    struct witness w = {.name = "w", .journal = &journal};
    struct mv_listener *listener = attach(rig.space, &w, 0);
    struct mv_region *in = put_in(rig.root, 0, counted(&rig, "in", &counter), 0);
    struct mv_region *out = counted(&rig, "out", &counter);
    w.refuse = -EIO;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(mv_region_remove(in, NULL), -EIO);
        assert_int_equal(mv_region_add(rig.root, 0x1000, out, 0, NULL), -EIO);
        begin(&rig);
        assert_int_equal(mv_region_remove(in, NULL), 0);
        assert_int_equal(mv_region_add(rig.root, 0x1000, out, 0, NULL), 0);
        assert_int_equal(mv_region_add(out, 0, in, 0, NULL), 0);
        assert_int_equal(mv_machine_commit(rig.machine, NULL), -EIO);
        journal.used = 0;
    }
    assert_int_equal(released(&counter), 0);
    w.refuse = 0;
    mv_region_put(out);
    assert_int_equal(released(&counter), 1);
    assert_int_equal(mv_region_remove(in, NULL), 0);
    assert_int_equal(released(&counter), 2);
    mv_listener_destroy(listener);
    rig_close(&rig);
}

/* --- threads ----------------------------------------------------------------------------------- */

struct slow_device {
    sem_t entered;
    sem_t may_return;
    atomic_int released;
};

static enum mv_result slow_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                struct mv_attrs attrs)
{
    struct slow_device *slow = opaque;
    (void)offset, (void)size_bytes, (void)attrs;
    sem_post(&slow->entered);
    sem_wait(&slow->may_return);
    *ret_value = 0x11u + (unsigned)atomic_load(&slow->released);
    return MV_OK;
}

static void slow_release(void *opaque)
{
    atomic_fetch_add(&((struct slow_device *)opaque)->released, 1);
}

static void *read_a_byte(void *opaque)
{
    unsigned char byte = 0;
    mv_space_read(opaque, mv_gpa(0), &byte, 1, MV_ATTRS_NONE);
    return (void *)(uintptr_t)byte;
}

/* Not for ever, should it never come. */
static void wait_for(sem_t *semaphore)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    assert_int_equal(sem_timedwait(semaphore, &until), 0);
}

/* While a handler runs, its device stays, whoever removes it. */
static void a_running_handler_keeps_its_device(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct slow_device slow = {.released = 0};
    sem_init(&slow.entered, 0, 0);
    sem_init(&slow.may_return, 0, 0);
    const struct mv_mmio_ops ops = {.read = slow_read};
    struct mv_region *d = put_in(rig.root, 0,
                                 make(rig.machine, &(struct mv_region_options){.name = "slow",
                                                                               .kind = MV_REGION_MMIO,
                                                                               .size_bytes = 1,
                                                                               .ops = &ops,
                                                                               .opaque = &slow,
                                                                               .release = slow_release}),
                                 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_a_byte, rig.space), 0);
    wait_for(&slow.entered);
    assert_int_equal(mv_region_remove(d, NULL), 0);
    for (int i = 0; i < 5; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
        assert_int_equal(atomic_load(&slow.released), 0);
    }
    sem_post(&slow.may_return);
    void *byte = NULL;
    assert_int_equal(pthread_join(thread, &byte), 0);
    assert_int_equal((uintptr_t)byte, 0x11);
    epoch_drain();
    assert_int_equal(atomic_load(&slow.released), 1);
    sem_destroy(&slow.entered);
    sem_destroy(&slow.may_return);
    rig_close(&rig);
}

struct lock_probe {
    struct mv_machine *machine;
    atomic_int free; /* how often the control lock was free */
    atomic_int calls;
};

static void *try_lock(void *opaque)
{
    struct lock_probe *probe = opaque;
    if (pthread_mutex_trylock(&probe->machine->control) == 0) {
        pthread_mutex_unlock(&probe->machine->control);
        atomic_fetch_add(&probe->free, 1);
    }
    return NULL;
}

static void probe_release(void *opaque)
{
    struct lock_probe *probe = opaque;
    pthread_t thread;
    atomic_fetch_add(&probe->calls, 1);
    assert_int_equal(pthread_create(&thread, NULL, try_lock, probe), 0);
    pthread_join(thread, NULL);
}

static struct mv_region *probed(const struct rig *rig, struct lock_probe *probe)
{
    return make(
        rig->machine,
        &(struct mv_region_options){
            .name = "probed", .kind = MV_REGION_MMIO, .size_bytes = 1, .opaque = probe, .release = probe_release});
}

/* No callback is called with a lock held, on none of the ways on which a region can end. */
static void release_is_called_without_the_lock(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct lock_probe probe = {.machine = rig.machine};
    struct mv_error err;
    /* By its maker. */
    mv_region_put(probed(&rig, &probe));
    /* With its container. */
    struct mv_region *c = container(&rig, "c", 1);
    put_in(c, 0, probed(&rig, &probe), 0);
    mv_region_put(c);
    /* By an edit, when no view shows it: the undo log has the last reference. */
    c = put_in(rig.root, 0, container(&rig, "c", 1), 0);
    assert_int_equal(mv_region_set_enabled(c, false, &err), 0);
    struct mv_region *hidden = put_in(c, 0, probed(&rig, &probe), 0);
    assert_int_equal(mv_region_remove(hidden, &err), 0);
    put_in(c, 0, probed(&rig, &probe), 0);
    assert_int_equal(mv_region_remove(c, &err), 0);
    /* By an edit that is taken back. */
    struct journal journal = {.used = 0};
    struct witness w = {.name = "w", .journal = &journal};
    struct mv_listener *listener = attach(rig.space, &w, 0);
    w.refuse = -EIO;
    begin(&rig);
    put_in(rig.root, 0, probed(&rig, &probe), 0);
    assert_int_equal(mv_machine_commit(rig.machine, &err), -EIO);
    mv_listener_destroy(listener);
    /* By the last view. */
    struct mv_region *seen = put_in(rig.root, 0, probed(&rig, &probe), 0);
    assert_int_equal(mv_region_remove(seen, &err), 0);
    /* With its last alias. */
    struct mv_region *target = probed(&rig, &probe);
    struct mv_region *alias = alias_of(&rig, "alias", target, 0, 1);
    mv_region_put(target);
    mv_region_put(alias);
    /* By its maker, who has a transaction open: when that is over. */
    begin(&rig);
    mv_region_put(probed(&rig, &probe));
    c = container(&rig, "c", 1);
    put_in(c, 0, probed(&rig, &probe), 0);
    mv_region_put(c);
    commit(&rig);
    /* With a space that ends in one. */
    struct mv_region *root = probed(&rig, &probe);
    struct mv_space *space = show(&rig, "brief", root);
    mv_region_put(root);
    begin(&rig);
    mv_space_destroy(space);
    mv_machine_abort(rig.machine);
    epoch_drain();
    assert_int_equal(atomic_load(&probe.calls), 10);
    assert_int_equal(atomic_load(&probe.free), 10);
    rig_close(&rig);
}

struct editor {
    const struct rig *rig;
    struct mv_region *toggled;
    int result;
};

static void edit_release(void *opaque)
{
    struct editor *editor = opaque;
    editor->result = mv_region_set_enabled(editor->toggled, true, NULL);
}

/* A release that edits the tree does so in a transaction of its own, which is seen. */
static void release_may_edit(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct editor editor = {.rig = &rig, .result = -1};
    struct mv_error err;
    editor.toggled = put_in(rig.root, 0, ram(&rig, "r", 0x1000), 0);
    assert_int_equal(mv_region_set_enabled(editor.toggled, false, &err), 0);
    struct mv_region *c = put_in(rig.root, 0, container(&rig, "c", 1), 0);
    assert_int_equal(mv_region_set_enabled(c, false, &err), 0);
    struct mv_region *d = put_in(c, 0,
                                 make(rig.machine, &(struct mv_region_options){.name = "d",
                                                                               .kind = MV_REGION_MMIO,
                                                                               .size_bytes = 1,
                                                                               .opaque = &editor,
                                                                               .release = edit_release}),
                                 0);
    assert_picture(rig.space, "");
    assert_int_equal(mv_region_remove(d, &err), 0);
    assert_int_equal(editor.result, 0);
    assert_picture(rig.space, "0-fff r@0\n");
    rig_close(&rig);
}

/* Regions and blocks may outlive the maker's hold on the machine. */
static void regions_keep_the_machine(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    atomic_int counter = 0;
    struct mv_region *d = counted(&rig, "d", &counter);
    struct mv_region *c = container(&rig, "c", 0x1000);
    put_in(c, 0, d, 0);
    rig_close(&rig);
    assert_int_equal(mv_region_set_address(d, 5, NULL), 0);
    mv_region_put(c);
    assert_int_equal(released(&counter), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_every_order),
        cmocka_unit_test(aliases_keep_their_targets),
        cmocka_unit_test(a_container_takes_its_children_with_it),
        cmocka_unit_test(many_end_in_a_small_stack),
        cmocka_unit_test(memory_lives_as_long_as_a_hold),
        cmocka_unit_test(a_failed_commit_keeps_the_counts),
        cmocka_unit_test(a_running_handler_keeps_its_device),
        cmocka_unit_test(release_is_called_without_the_lock),
        cmocka_unit_test(release_may_edit),
        cmocka_unit_test(regions_keep_the_machine),
    };
    return cmocka_run_group_tests_name("region_life", tests, NULL, NULL);
}
