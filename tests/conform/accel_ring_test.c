// SPDX-License-Identifier: MIT
/* Rings of dirty pages, and bitmaps that are full at first (kvm-memslots S30, S42, S44, S45). */
#include "tests/conform/accel_test.h"

#define ENTRIES 1024
#define PAGES 100
#define FIRST_PAGE 32

static int try_options(const struct guest *g, struct accel_vm_options options)
{
    struct accel_vm *vm;
    struct mv_error err;
    int rc = g->ops->vm_create(&options, &vm, &err);
    if (rc == 0) {
        g->ops->vm_destroy(vm);
    }
    return rc;
}

/* The guest anew, in a VM with these options, with code and a logged slot; or a skip. */
static struct guest *guest_with(void **state, const char *test, struct accel_vm_options options)
{
    struct guest *g = guest_of(state, test);
    int rc = try_options(g, options);
    if (rc == -ENOTSUP) {
        print_message("# SKIP %s(%s): this host has no such log\n", test, g->ops->name);
        skip();
    }
    assert_int_equal(rc, 0);
    guest_close_vm(g);
    guest_open_vm(g, &options);
    assert_int_equal(set_slot(g, 0, 0, 0, CODE_BYTES, g->ram), 0);
    assert_int_equal(set_slot(g, 1, KVM_MEM_LOG_DIRTY_PAGES, FREE_GPA, PAGES * PAGE, ram_page(g, FIRST_PAGE)), 0);
    return g;
}

static int get_log(const struct guest *g, uint64_t *words)
{
    const struct kvm_dirty_log log = {.slot = 1, .dirty_bitmap = words};
    return g->ops->get_dirty_log(g->vm, &log);
}

static void write_page(struct guest *g, unsigned page)
{
    assert_true(guest_store(g, FREE_GPA + page * PAGE));
}

static void rings_have_certain_sizes(void **state)
{
    struct guest *g =
        guest_with(state, "rings_have_certain_sizes", (struct accel_vm_options){.dirty_ring_entries = ENTRIES});
    assert_true(try_options(g, (struct accel_vm_options){.dirty_ring_entries = ENTRIES + 1}) <
                0); /* no power of 2 */
    assert_int_equal(try_options(g, (struct accel_vm_options){.dirty_ring_entries = 64}), -EINVAL); /* too small */
    assert_int_equal(try_options(g, (struct accel_vm_options){.dirty_ring_entries = 131072}),
                     -EINVAL); /* too large */
    assert_int_equal(try_options(g, (struct accel_vm_options){.dirty_ring_entries = 65536}), 0);
    assert_int_equal(g->ops->dirty_ring(g->vcpu).count, ENTRIES);
}

/* How many entries from `from` on are there, all of this page. */
static unsigned entries_of(const struct guest *g, unsigned from, unsigned page)
{
    const struct kvm_dirty_gfn *entries = g->ops->dirty_ring(g->vcpu).entries;
    unsigned count = 0;
    for (; entries[from + count].flags != 0; count++) {
        assert_int_equal(entries[from + count].flags, KVM_DIRTY_GFN_F_DIRTY);
        assert_int_equal(entries[from + count].slot, 1);
        assert_int_equal(entries[from + count].offset, page);
    }
    return count;
}

static void take(const struct guest *g, unsigned from, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        g->ops->dirty_ring(g->vcpu).entries[from + i].flags = KVM_DIRTY_GFN_F_RESET;
    }
}

/* A page may be told more than once: a KVM that emulates the write tells of each. */
static void a_ring_tells_of_pages_until_they_are_taken(void **state)
{
    const char *name = "a_ring_tells_of_pages_until_they_are_taken";
    struct guest *g = guest_with(state, name, (struct accel_vm_options){.dirty_ring_entries = ENTRIES});
    uint64_t words[2];
    assert_int_equal(get_log(g, words), -ENXIO); /* there is no bitmap */
    assert_int_equal(entries_of(g, 0, 0), 0);
    write_page(g, 3);
    unsigned first = entries_of(g, 0, 3);
    assert_true(first > 0);
    write_page(g, PAGES - 1);
    unsigned second = entries_of(g, first, PAGES - 1);
    assert_true(second > 0);
    /* Those that are taken are given back; the others stay, also if a later one is taken. */
    assert_int_equal(g->ops->reset_dirty_rings(g->vm), 0);
    take(g, first, second);
    assert_int_equal(g->ops->reset_dirty_rings(g->vm), 0);
    take(g, 0, first);
    assert_int_equal(g->ops->reset_dirty_rings(g->vm), first + second);
    assert_int_equal(entries_of(g, 0, 0), 0);
    write_page(g, 3); /* protected again: seen */
    assert_true(entries_of(g, first + second, 3) > 0);
    assert_int_equal(entries_of(g, 0, 0), 0); /* the ring goes on where it was */
}

static void without_rings_nothing_is_reset(void **state)
{
    struct guest *g = guest_of(state, "without_rings_nothing_is_reset");
    assert_int_equal(g->ops->dirty_ring(g->vcpu).count, 0);
    assert_null(g->ops->dirty_ring(g->vcpu).entries);
    assert_true(g->ops->reset_dirty_rings(g->vm) < 0);
}

static void a_bitmap_may_be_full_at_first(void **state)
{
    struct guest *g =
        guest_with(state, "a_bitmap_may_be_full_at_first", (struct accel_vm_options){.dirty_initially_set = true});
    uint64_t words[2] = {0};
    assert_true(g->ops->dirty_log_is_manual(g->vm));
    assert_int_equal(get_log(g, words), 0);
    assert_int_equal(words[0], UINT64_MAX);
    assert_int_equal(words[1], (UINT64_C(1) << (PAGES - 64)) - 1);
    const struct kvm_clear_dirty_log all = {.slot = 1, .num_pages = PAGES, .dirty_bitmap = words};
    assert_int_equal(g->ops->clear_dirty_log(g->vm, &all), 0);
    write_page(g, 70);
    assert_int_equal(get_log(g, words), 0);
    assert_int_equal(words[0], 0);
    assert_int_equal(words[1], 1 << 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_EACH_ACCELERATOR(rings_have_certain_sizes),
        ON_EACH_ACCELERATOR(a_ring_tells_of_pages_until_they_are_taken),
        ON_EACH_ACCELERATOR(without_rings_nothing_is_reset),
        ON_EACH_ACCELERATOR(a_bitmap_may_be_full_at_first),
    };
    return cmocka_run_group_tests_name("accel_ring", tests, NULL, NULL);
}
