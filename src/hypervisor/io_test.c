// SPDX-License-Identifier: MIT
/* What becomes of a write; what KVM_IOEVENTFD and its like refuse is in tests/conform/slots_rules_test.c. */
#include "hypervisor/io.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hypervisor/hv_test.h"

#define MATCH ((uint32_t)KVM_IOEVENTFD_FLAG_DATAMATCH)
#define PORT ((uint32_t)KVM_IOEVENTFD_FLAG_PIO)
#define GONE ((uint32_t)KVM_IOEVENTFD_FLAG_DEASSIGN)

static int new_event(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(fd >= 0);
    return fd;
}

/* How often it was set since the last time. */
static uint64_t count_of(int fd)
{
    uint64_t n = 0;
    return read(fd, &n, sizeof n) == (ssize_t)sizeof n ? n : 0;
}

static int event(struct hv_vm *vm, int fd, uint64_t addr, uint32_t length, uint32_t flags, uint64_t match)
{
    const struct kvm_ioeventfd e = {.datamatch = match, .addr = addr, .len = length, .fd = fd, .flags = flags};
    return hv_ioeventfd(vm, &e);
}

static int zone(struct hv_vm *vm, uint64_t addr, uint32_t size, uint32_t pio)
{
    const struct kvm_coalesced_mmio_zone z = {.addr = addr, .size = size, .pio = pio};
    return hv_coalesce(vm, &z);
}

static bool store_on(struct hv_vcpu *vcpu, enum hv_io_bus bus, uint64_t addr, unsigned length, uint64_t value)
{
    rendezvous_enter(&vcpu->inside);
    bool done = hv_io_write(vcpu, bus, addr, &value, length);
    rendezvous_leave(&vcpu->inside);
    return done;
}

static bool store(struct hv_vcpu *vcpu, uint64_t addr, unsigned length, uint64_t value)
{
    return store_on(vcpu, HV_IO_MEMORY, addr, length, value);
}

static void which_writes_set_an_eventfd(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    struct hv_vcpu *vcpu = new_vcpu(vm, 0);
    int any = new_event(), four = new_event(), seven = new_event(), eight = new_event(), port = new_event();
    assert_int_equal(event(vm, any, 0x100, 0, 0, 0), 0);
    assert_int_equal(event(vm, four, 0x200, 4, 0, 0), 0);
    assert_int_equal(event(vm, seven, 0x300, 2, MATCH, 0xabcd0007), 0);
    assert_int_equal(event(vm, eight, 0x300, 2, MATCH, 8), 0);
    assert_int_equal(event(vm, port, 0x200, 1, PORT, 0), 0);
    for (unsigned length = 1; length <= 8; length *= 2) {
        assert_true(store(vcpu, 0x100, length, length));
        assert_int_equal(store(vcpu, 0x200, length, 0), length == 4);
        assert_int_equal(store(vcpu, 0x300, length, 7), length == 2);
        assert_int_equal(store_on(vcpu, HV_IO_PORTS, 0x200, length, 0), length == 1);
        assert_false(store(vcpu, 0x101, length, 0));
        assert_false(store(vcpu, 0x1fe, length, 0));
        assert_false(store_on(vcpu, HV_IO_PORTS, 0x100, length, 0));
    }
    assert_false(store(vcpu, 0x300, 2, 9));
    assert_true(store(vcpu, 0x300, 2, UINT64_C(0x7777770000000008))); /* of two bytes two count */
    assert_int_equal(count_of(any), 4);
    assert_int_equal(count_of(four), 1);
    assert_int_equal(count_of(seven), 1);
    assert_int_equal(count_of(eight), 1);
    assert_int_equal(count_of(port), 1);
    /* Its number may be closed; gone, it is set no more. */
    int again = dup(four);
    close(four);
    assert_true(store(vcpu, 0x200, 4, 0));
    assert_int_equal(count_of(again), 1);
    assert_int_equal(event(vm, again, 0x200, 4, GONE, 0), 0);
    assert_false(store(vcpu, 0x200, 4, 0));
    assert_int_equal(count_of(again), 0);
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy(vm);
    close(any), close(again), close(seven), close(eight), close(port);
}

static void what_a_ring_has(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    struct hv_vcpu *vcpu = new_vcpu(vm, 0);
    struct kvm_coalesced_mmio_ring *ring = hv_coalesced_ring(vm);
    assert_int_equal(zone(vm, 0x1000, 16, 0), 0);
    assert_int_equal(zone(vm, 0x70, 1, 1), 0);
    assert_false(store(vcpu, 0xfff, 2, 0));
    assert_false(store(vcpu, 0x100d, 4, 0));
    assert_false(store(vcpu, 0x1010, 1, 0));
    assert_int_equal(ring->last, 0);
    assert_true(store(vcpu, 0x100c, 4, 0x11223344));
    assert_true(store_on(vcpu, HV_IO_PORTS, 0x70, 1, 0x5a));
    assert_false(store_on(vcpu, HV_IO_PORTS, 0x70, 2, 0x5a));
    assert_int_equal(ring->first, 0);
    assert_int_equal(ring->last, 2);
    const struct kvm_coalesced_mmio *e = ring->coalesced_mmio;
    assert_int_equal(e[0].phys_addr, 0x100c);
    assert_int_equal(e[0].len, 4);
    assert_int_equal(e[0].pio, 0);
    assert_memory_equal(e[0].data, ((const uint8_t[]){0x44, 0x33, 0x22, 0x11, 0, 0, 0, 0}), 8);
    assert_int_equal(e[1].phys_addr, 0x70);
    assert_int_equal(e[1].pio, 1);
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy(vm);
}

/* 169 of 170, wherever the first one is; then the write is an exit. */
static void a_full_ring(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    struct hv_vcpu *vcpu = new_vcpu(vm, 0);
    struct kvm_coalesced_mmio_ring *ring = hv_coalesced_ring(vm);
    assert_int_equal(HV_COALESCED_ENTRIES, 170);
    assert_int_equal(zone(vm, 0, 4096, 0), 0);
    for (uint32_t first = 0; first < 170; first++) {
        ring->first = ring->last = first;
        for (unsigned i = 0; i < 169; i++) {
            assert_true(store(vcpu, i, 1, i));
        }
        assert_false(store(vcpu, 0, 1, 0));
        assert_int_equal((ring->last + 1) % 170, first);
        assert_int_equal(ring->coalesced_mmio[(first + 168) % 170].phys_addr, 168);
    }
    /* The reader writes there, too. */
    const uint32_t wild[] = {170, 171, UINT32_MAX, UINT32_MAX - 169, 1u << 31};
    for (unsigned i = 0; i < 5; i++) {
        ring->first = 0, ring->last = wild[i];
        assert_false(store(vcpu, 0, 1, 0));
        ring->first = wild[i], ring->last = 5;
        assert_true(store(vcpu, 0, 1, 0)); /* not full, as far as one can tell */
        assert_int_equal(ring->last, 6);
    }
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy(vm);
}

/* In order of addresses, then of registration; a ring that is full lets the next one have it. */
static void who_comes_first(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    struct hv_vcpu *vcpu = new_vcpu(vm, 0);
    struct kvm_coalesced_mmio_ring *ring = hv_coalesced_ring(vm);
    int a = new_event(), b = new_event();
    assert_int_equal(event(vm, a, 0x100, 4, 0, 0), 0);
    assert_int_equal(event(vm, b, 0x108, 4, 0, 0), 0);
    assert_int_equal(zone(vm, 0x100, 4, 0), 0);
    assert_true(store(vcpu, 0x100, 4, 0));
    assert_int_equal(count_of(a), 1);
    assert_int_equal(ring->last, 0);
    assert_int_equal(zone(vm, 0x80, 0x1000, 0), 0);
    assert_true(store(vcpu, 0x100, 4, 0));
    assert_true(store(vcpu, 0x108, 4, 0));
    assert_int_equal(count_of(a) + count_of(b), 0);
    assert_int_equal(ring->last, 2);
    ring->first = 3;
    assert_true(store(vcpu, 0x108, 4, 0));
    assert_false(store(vcpu, 0x10c, 4, 0));
    assert_int_equal(count_of(b), 1);
    assert_int_equal(ring->last, 2);
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy(vm);
    close(a), close(b);
}

/* --- under a vCPU ------------------------------------------------------------------------------------ */

static atomic_bool may_stop;

static void *store_on_and_on(void *opaque)
{
    struct hv_vcpu *vcpu = opaque;
    uint64_t done = 0;
    while (!atomic_load(&may_stop)) {
        done += store(vcpu, 0x100, 4, 0);
        done += store(vcpu, 0x2000, 4, 0);
    }
    return (void *)(uintptr_t)done;
}

/* Once it is gone it is not set any more. */
static void devices_that_come_and_go(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    struct hv_vcpu *vcpu = new_vcpu(vm, 0);
    pthread_t thread;
    int fd = new_event();
    const struct kvm_coalesced_mmio_zone z = {.addr = 0x2000, .size = 16};
    atomic_store(&may_stop, false);
    assert_int_equal(pthread_create(&thread, NULL, store_on_and_on, vcpu), 0);
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(event(vm, fd, 0x100, 4, 0, 0), 0);
        assert_int_equal(hv_coalesce(vm, &z), 0);
        assert_int_equal(event(vm, fd, 0x100, 4, GONE, 0), 0);
        (void)count_of(fd);
        assert_int_equal(hv_uncoalesce(vm, &z), 0);
        assert_int_equal(count_of(fd), 0);
    }
    atomic_store(&may_stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy(vm);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(which_writes_set_an_eventfd),
        cmocka_unit_test(what_a_ring_has),
        cmocka_unit_test(a_full_ring),
        cmocka_unit_test(who_comes_first),
        cmocka_unit_test(devices_that_come_and_go),
    };
    return cmocka_run_group_tests_name("io", tests, NULL, NULL);
}
