// SPDX-License-Identifier: MIT
/* Eventfds that a guest's writes set, in the kernel and without it. */
#include <sys/eventfd.h>

#include "vm/vm_test.h"

#define PAGE_GPA 0x9000
#define BELL_PORT 0x20
#define ROUNDS 100

struct bells {
    struct rig rig;
    struct mv_region *page, *port;
    int page_fd, port_fd;
    atomic_uint handled;
};

static enum mv_result handle(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                             struct mv_attrs attrs)
{
    struct bells *b = opaque;
    (void)offset, (void)size_bytes, (void)value, (void)attrs;
    atomic_fetch_add(&b->handled, 1);
    return MV_OK;
}

static const struct mv_mmio_ops ops = {.write = handle};

/* ROUNDS times: mov word [PAGE_GPA], 7; mov al, 3; out BELL_PORT, al. Then hlt. */
static const uint8_t ring_bells[] = {0xb9, ROUNDS, 0,    0xc7, 0x06,      0x00, 0x90, 0x07,
                                     0x00, 0xb0,   0x03, 0xe6, BELL_PORT, 0xe2, 0xf4, 0xf4};

static void open_bells(struct bells *b)
{
    memset(b, 0, sizeof *b);
    rig_init(&b->rig, 1, ring_bells, sizeof ring_bells);
    b->page =
        make(&b->rig, (struct mv_region_options){
                          .name = "page", .kind = MV_REGION_MMIO, .size_bytes = 4096, .ops = &ops, .opaque = b});
    b->port =
        make(&b->rig, (struct mv_region_options){
                          .name = "bell", .kind = MV_REGION_MMIO, .size_bytes = 1, .ops = &ops, .opaque = b});
    assert_int_equal(mv_region_add(b->rig.root, PAGE_GPA, b->page, 1, NULL), 0);
    assert_int_equal(mv_region_add(b->rig.ports, BELL_PORT, b->port, 0, NULL), 0);
    b->page_fd = eventfd(0, EFD_NONBLOCK);
    b->port_fd = eventfd(0, EFD_NONBLOCK);
    assert_true(b->page_fd >= 0 && b->port_fd >= 0);
}

static void close_bells(struct bells *b)
{
    rig_finish(&b->rig);
    mv_region_put(b->page);
    mv_region_put(b->port);
    close(b->page_fd);
    close(b->port_fd);
}

static void add(struct mv_region *region, struct mv_ioeventfd e)
{
    struct mv_error err;
    must(mv_ioeventfd_add(region, &e, &err), &err);
}

static uint64_t count_of(int fd)
{
    uint64_t count;
    return read(fd, &count, sizeof count) == sizeof count ? count : 0;
}

static void run(struct bells *b)
{
    struct mv_stop stop;
    assert_int_equal(mv_vm_run(b->rig.vm, &stop, NULL), 0);
    assert_int_equal(stop.reason, MV_STOP_HALTED);
}

static void test_the_kernel_sets_them(void **state)
{
    (void)state;
    need_kvm("test_the_kernel_sets_them");
    struct bells b;
    open_bells(&b);
    add(b.page, (struct mv_ioeventfd){.offset = 0, .size_bytes = 2, .match = true, .data = 7, .fd = b.page_fd});
    add(b.port, (struct mv_ioeventfd){.offset = 0, .size_bytes = 1, .fd = b.port_fd});
    run(&b);
    assert_int_equal(count_of(b.page_fd), ROUNDS);
    assert_int_equal(count_of(b.port_fd), ROUNDS);
    assert_int_equal(atomic_load(&b.handled), 0);
    printf("# exits: %" PRIu64 " mmio, %" PRIu64 " io\n", counter(b.rig.vm, MV_COUNTERS_EXITS, "mmio"),
           counter(b.rig.vm, MV_COUNTERS_EXITS, "io"));
    assert_int_equal(counter(b.rig.vm, MV_COUNTERS_EXITS, "mmio"), 0);
    assert_int_equal(counter(b.rig.vm, MV_COUNTERS_EXITS, "io"), 0);
    close_bells(&b);
}

/* Another value, a size that the guest does not use, one that was taken back, one that moved away. */
static void test_what_does_not_match_is_handled(void **state)
{
    (void)state;
    need_kvm("test_what_does_not_match_is_handled");
    struct bells b;
    open_bells(&b);
    struct mv_ioeventfd gone = {.offset = 0, .size_bytes = 1, .fd = b.port_fd};
    add(b.page, (struct mv_ioeventfd){.offset = 0, .size_bytes = 2, .match = true, .data = 8, .fd = b.page_fd});
    add(b.page, (struct mv_ioeventfd){.offset = 0, .size_bytes = 4, .fd = b.page_fd});
    add(b.port, gone);
    assert_int_equal(mv_ioeventfd_del(b.port, &gone, NULL), 0);
    run(&b);
    assert_int_equal(count_of(b.page_fd), 0);
    assert_int_equal(count_of(b.port_fd), 0);
    assert_int_equal(atomic_load(&b.handled), 2 * ROUNDS);
    close_bells(&b);
}

static void test_they_move_with_their_region(void **state)
{
    (void)state;
    need_kvm("test_they_move_with_their_region");
    struct bells b;
    open_bells(&b);
    assert_int_equal(mv_region_set_address(b.page, 0x20000, NULL), 0);
    add(b.page, (struct mv_ioeventfd){.offset = 0, .size_bytes = 0, .fd = b.page_fd});
    add(b.port, (struct mv_ioeventfd){.offset = 0, .size_bytes = 0, .fd = b.port_fd});
    assert_int_equal(mv_region_set_address(b.page, PAGE_GPA, NULL), 0);
    run(&b);
    assert_int_equal(count_of(b.page_fd), ROUNDS);
    assert_int_equal(count_of(b.port_fd), ROUNDS);
    assert_int_equal(atomic_load(&b.handled), 0);
    /* What the VMM writes itself sets them, too. */
    assert_int_equal(mv_space_write(b.rig.memory, mv_gpa(PAGE_GPA), "ab", 2, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(count_of(b.page_fd), 1);
    close_bells(&b);
}

/* At the last bytes of the address space, where no guest can write, the kernel would refuse one. */
static void test_one_at_the_very_end(void **state)
{
    (void)state;
    need_kvm("test_one_at_the_very_end");
    struct bells b;
    uint32_t value = 1;
    open_bells(&b);
    add(b.page, (struct mv_ioeventfd){.offset = 4092, .size_bytes = 4, .fd = b.page_fd});
    struct mv_error err;
    must(mv_region_set_address(b.page, UINT64_MAX - 4095, &err), &err);
    assert_int_equal(mv_space_write(b.rig.memory, mv_gpa(UINT64_MAX - 3), &value, 4, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(count_of(b.page_fd), 1);
    must(mv_region_set_address(b.page, PAGE_GPA, &err), &err);
    add(b.port, (struct mv_ioeventfd){.offset = 0, .size_bytes = 1, .fd = b.port_fd});
    run(&b);
    assert_int_equal(count_of(b.port_fd), ROUNDS);
    close_bells(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_kernel_sets_them),
        cmocka_unit_test(test_what_does_not_match_is_handled),
        cmocka_unit_test(test_they_move_with_their_region),
        cmocka_unit_test(test_one_at_the_very_end),
    };
    return cmocka_run_group_tests_name("ioeventfd", tests, NULL, NULL);
}
