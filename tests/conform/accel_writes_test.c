// SPDX-License-Identifier: MIT
/* Guest writes that are no exits: eventfds and rings (kvm-memslots S53, S54). */
#include <sys/eventfd.h>

#include "tests/conform/accel_test.h"

#define DEASSIGN KVM_IOEVENTFD_FLAG_DEASSIGN
#define MATCH KVM_IOEVENTFD_FLAG_DATAMATCH
#define PIO KVM_IOEVENTFD_FLAG_PIO

/* --- eventfds ---------------------------------------------------------------------------------- */

static int event(const struct guest *g, int fd, uint64_t address, uint32_t size, uint32_t flags, uint64_t data)
{
    const struct kvm_ioeventfd e = {.fd = fd, .addr = address, .len = size, .flags = flags, .datamatch = data};
    return g->ops->ioeventfd(g->vm, &e);
}

static int new_fd(void)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static uint64_t count_of(int fd)
{
    uint64_t count;
    return read(fd, &count, sizeof count) == sizeof count ? count : 0;
}

/* Whether there are eventfds at all, and of any length. */
static void need_events(struct guest *g, const char *test)
{
    int fd = new_fd();
    int rc = event(g, fd, 0x1000, 0, 0, 0);
    if (rc == -ENOTSUP) {
        print_message("# SKIP %s(%s): this accelerator has no eventfds of any length\n", test, g->ops->name);
        close(fd);
        skip();
    }
    assert_int_equal(rc, 0);
    assert_int_equal(event(g, fd, 0x1000, 0, DEASSIGN, 0), 0);
    close(fd);
}

static void bad_events_are_refused(void **state)
{
    struct guest *g = guest_with_code(state, "bad_events_are_refused");
    need_events(g, "bad_events_are_refused");
    int fd = new_fd();
    for (uint32_t size = 0; size < 20; size++) {
        bool good = size == 0 || size == 1 || size == 2 || size == 4 || size == 8;
        assert_int_equal(event(g, fd, FREE_GPA, size, 0, 0), good ? 0 : -EINVAL);
        if (good) {
            assert_int_equal(event(g, fd, FREE_GPA, size, DEASSIGN, 0), 0);
        }
    }
    assert_int_equal(event(g, fd, UINT64_MAX, 2, 0, 0), -EINVAL);     /* wraps */
    assert_int_equal(event(g, fd, UINT64_MAX - 3, 4, 0, 0), -EINVAL); /* so does its end */
    assert_int_equal(event(g, fd, FREE_GPA, 4, 1u << 10, 0), -EINVAL);
    assert_int_equal(event(g, fd, FREE_GPA, 0, MATCH, 0), -EINVAL);
    assert_int_equal(event(g, fd, FREE_GPA, 4, DEASSIGN, 0), -ENOENT);
    close(fd);
}

static void events_for_the_same_writes_collide(void **state)
{
    struct guest *g = guest_with_code(state, "events_for_the_same_writes_collide");
    need_events(g, "events_for_the_same_writes_collide");
    int fd = new_fd(), other = new_fd();
    assert_int_equal(event(g, fd, FREE_GPA, 4, MATCH, 7), 0);
    assert_int_equal(event(g, other, FREE_GPA, 4, MATCH, 7), -EEXIST);
    assert_int_equal(event(g, other, FREE_GPA, 4, 0, 0), -EEXIST);
    assert_int_equal(event(g, other, FREE_GPA, 0, 0, 0), -EEXIST);
    assert_int_equal(event(g, other, FREE_GPA, 4, MATCH, 8), 0);
    assert_int_equal(event(g, other, FREE_GPA, 2, 0, 0), 0);
    assert_int_equal(event(g, other, FREE_GPA + 4, 0, 0, 0), 0);
    assert_int_equal(event(g, other, FREE_GPA + 4, 8, 0, 0), -EEXIST);
    assert_int_equal(event(g, other, FREE_GPA, 4, MATCH | PIO, 7), 0);            /* another bus */
    assert_int_equal(event(g, other, FREE_GPA, 4, MATCH | DEASSIGN, 7), -ENOENT); /* another descriptor */
    assert_int_equal(event(g, fd, FREE_GPA, 4, MATCH | DEASSIGN, 7), 0);
    close(fd);
    close(other);
}

static void an_event_is_for_exact_writes(void **state)
{
    static const uint8_t store_word[] = {0xa3, 0x00, 0x00, 0xf4};        /* mov [0], ax; hlt */
    static const uint8_t store_later[] = {0xa2, 0x01, 0x00, 0xf4};       /* mov [1], al; hlt */
    static const uint8_t store_dword[] = {0x66, 0xa3, 0x00, 0x00, 0xf4}; /* mov [0], eax; hlt */
    struct guest *g = guest_with_code(state, "an_event_is_for_exact_writes");
    need_events(g, "an_event_is_for_exact_writes");
    int fd = new_fd(), any = new_fd();
    assert_int_equal(event(g, fd, FREE_GPA, 2, MATCH, 0x5a), 0);
    assert_int_equal(guest_run(g, store_word, sizeof store_word, FREE_GPA), KVM_EXIT_HLT);
    assert_int_equal(count_of(fd), 1);
    assert_false(guest_store(g, FREE_GPA)); /* another size */
    assert_int_equal(guest_run(g, store_dword, sizeof store_dword, FREE_GPA), KVM_EXIT_MMIO);
    assert_int_equal(guest_load(g, FREE_GPA), -1); /* no write */
    assert_int_equal(count_of(fd), 0);
    assert_int_equal(event(g, fd, FREE_GPA, 2, MATCH | DEASSIGN, 0x5a), 0);
    assert_int_equal(event(g, fd, FREE_GPA, 2, MATCH, 0x5b), 0);
    assert_int_equal(guest_run(g, store_word, sizeof store_word, FREE_GPA), KVM_EXIT_MMIO); /* another value */
    assert_int_equal(event(g, fd, FREE_GPA, 2, MATCH | DEASSIGN, 0x5b), 0);
    /* Of any size, and at one address all the same. */
    assert_int_equal(event(g, any, FREE_GPA, 0, 0, 0), 0);
    assert_true(guest_store(g, FREE_GPA));
    assert_int_equal(guest_run(g, store_word, sizeof store_word, FREE_GPA), KVM_EXIT_HLT);
    assert_int_equal(guest_run(g, store_dword, sizeof store_dword, FREE_GPA), KVM_EXIT_HLT);
    assert_int_equal(count_of(any), 3);
    assert_int_equal(guest_run(g, store_later, sizeof store_later, FREE_GPA), KVM_EXIT_MMIO);
    assert_int_equal(guest_load(g, FREE_GPA), -1);
    assert_int_equal(count_of(any), 0);
    /* Memory on top of it is memory. */
    assert_int_equal(set_slot(g, 1, 0, FREE_GPA, PAGE, ram_page(g, 20)), 0);
    assert_true(guest_store(g, FREE_GPA));
    assert_int_equal(*ram_page(g, 20), 0x5a);
    assert_int_equal(count_of(any), 0);
    close(fd);
    close(any);
}

/* --- rings ------------------------------------------------------------------------------------- */

static int zone(const struct guest *g, uint64_t address, uint32_t size, uint32_t pio, bool add)
{
    const struct kvm_coalesced_mmio_zone z = {.addr = address, .size = size, .pio = pio};
    return g->ops->coalesce(g->vm, &z, add);
}

static struct kvm_coalesced_mmio_ring *need_ring(struct guest *g, const char *test)
{
    struct kvm_coalesced_mmio_ring *ring = g->ops->coalesced_ring(g->vcpu);
    if (!ring) {
        print_message("# SKIP %s(%s): this accelerator has no ring\n", test, g->ops->name);
        skip();
    }
    return ring;
}

static uint32_t entries_of_ring(void)
{
    return (uint32_t)(((size_t)sysconf(_SC_PAGESIZE) - sizeof(struct kvm_coalesced_mmio_ring)) /
                      sizeof(struct kvm_coalesced_mmio));
}

static void a_zone_gathers_what_is_whole_in_it(void **state)
{
    static const uint8_t store_word[] = {0xa3, 0x03, 0x00, 0xf4}; /* mov [3], ax; hlt */
    struct guest *g = guest_with_code(state, "a_zone_gathers_what_is_whole_in_it");
    struct kvm_coalesced_mmio_ring *ring = need_ring(g, "a_zone_gathers_what_is_whole_in_it");
    assert_int_equal(zone(g, FREE_GPA, 4, 2, true), -EINVAL);
    assert_int_equal(zone(g, FREE_GPA, 4, 0, true), 0);
    assert_true(guest_store(g, FREE_GPA));
    assert_int_equal(ring->last, 1);
    assert_int_equal(ring->coalesced_mmio[0].phys_addr, FREE_GPA);
    assert_int_equal(ring->coalesced_mmio[0].len, 1);
    assert_int_equal(ring->coalesced_mmio[0].data[0], 0x5a);
    assert_int_equal(guest_load(g, FREE_GPA), -1);                                          /* a read */
    assert_int_equal(guest_run(g, store_word, sizeof store_word, FREE_GPA), KVM_EXIT_MMIO); /* passes its end */
    assert_false(guest_store(g, FREE_GPA + 16));
    assert_int_equal(ring->last, 1);
    /* Zones that contain what is taken back go with it, and it is no mistake if there is none. */
    assert_int_equal(zone(g, FREE_GPA + 4, 4, 0, false), 0);
    assert_true(guest_store(g, FREE_GPA));
    assert_int_equal(zone(g, FREE_GPA + 1, 1, 0, false), 0);
    assert_false(guest_store(g, FREE_GPA));
    assert_int_equal(zone(g, FREE_GPA + 1, 1, 0, false), 0);
}

/* How many writes go in before one is an exit: one entry is never used. Linux 6.1 takes the ring for full earlier.
 */
static void a_full_ring_is_an_exit(void **state)
{
    struct guest *g = guest_with_code(state, "a_full_ring_is_an_exit");
    struct kvm_coalesced_mmio_ring *ring = need_ring(g, "a_full_ring_is_an_exit");
    uint32_t entries = entries_of_ring();
    assert_int_equal(zone(g, FREE_GPA, 4, 0, true), 0);
    unsigned gathered = 0;
    while (guest_store(g, FREE_GPA)) {
        gathered++;
        assert_true(gathered < entries);
    }
    printf("# %u of %u entries\n", gathered, entries);
    assert_true(gathered == entries - 1 || gathered == entries / 2);
    assert_int_equal((ring->last + entries - ring->first) % entries, gathered);
    ring->first = (ring->first + 1) % entries; /* one is taken out: there is room for one */
    assert_int_equal(guest_load(g, FREE_GPA), -1);
    assert_true(guest_store(g, FREE_GPA));
    assert_false(guest_store(g, FREE_GPA));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_EACH_ACCELERATOR(bad_events_are_refused),       ON_EACH_ACCELERATOR(events_for_the_same_writes_collide),
        ON_EACH_ACCELERATOR(an_event_is_for_exact_writes), ON_EACH_ACCELERATOR(a_zone_gathers_what_is_whole_in_it),
        ON_EACH_ACCELERATOR(a_full_ring_is_an_exit),
    };
    return cmocka_run_group_tests_name("accel_writes", tests, NULL, NULL);
}
