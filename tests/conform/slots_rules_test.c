// SPDX-License-Identifier: MIT
/*
 * The rules of KVM's calls about slots, logs, rings and guest writes, one after the other (Linux, "The Definitive
 * KVM API Documentation"; where it is silent, what the real one does). One body on the real /dev/kvm and on each
 * scheme of the software hypervisor. No guest runs.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/conform/slots_on.h"

#define PAGE UINT64_C(4096)
#define HVA UINT64_C(0x100000000000) /* nothing is there: a slot is a promise */
#define HVA_END ((UINT64_C(1) << 47) - PAGE)
#define LOG ((uint32_t)KVM_MEM_LOG_DIRTY_PAGES)
#define RO ((uint32_t)KVM_MEM_READONLY)
#define SLOTS 32764u

struct world {
    const struct slots_on *on;
    struct slots_vm *vm;
};

static int open_world(void **state)
{
    static struct world w;
    w = (struct world){.on = *state};
    if (!w.on->why_not()) {
        w.vm = w.on->create(46);
    }
    *state = &w;
    return 0;
}

static int close_world(void **state)
{
    struct world *w = *state;
    if (w->vm) {
        w->on->destroy(w->vm);
    }
    return 0;
}

static struct world *world_of(void **state, const char *test)
{
    struct world *w = *state;
    if (!w->vm) {
        printf("# SKIP %s(%s): %s\n", test, w->on->name, w->on->why_not());
        skip();
    }
    return w;
}

#define WORLD(state) world_of((state), __func__)

/* A fresh VM for the next rule. */
static void renew(struct world *w)
{
    w->on->destroy(w->vm);
    w->vm = w->on->create(46);
}

static int set(struct world *w, uint32_t id, uint32_t flags, uint64_t gpa, uint64_t size, uint64_t hva)
{
    const struct kvm_userspace_memory_region r = {id, flags, gpa, size, hva};
    return w->on->set_slot(w->vm, &r);
}

static int set2(struct world *w, uint32_t id, uint32_t flags, uint64_t gpa, uint64_t size, uint64_t hva)
{
    const struct slots_region2 r = {
        .slot = id, .flags = flags, .guest_phys_addr = gpa, .memory_size = size, .userspace_addr = hva};
    return w->on->set_slot2(w->vm, &r);
}

static int delete (struct world *w, uint32_t id)
{
    return set(w, id, 0, 0, 0, 0);
}

/* --- slots ---------------------------------------------------------------------------------------- */

static void ids(void **state)
{
    struct world *w = WORLD(state);
    assert_int_equal(set(w, SLOTS - 1, 0, 0, PAGE, HVA), 0);
    for (uint32_t id = SLOTS; id < SLOTS + 4; id++) {
        assert_int_equal(set(w, id, 0, 2 * PAGE, PAGE, HVA), -EINVAL);
    }
    assert_int_equal(set(w, 65535, 0, 2 * PAGE, PAGE, HVA), -EINVAL);
    uint32_t beyond = w->on->spaces(w->vm) << 16;
    assert_int_equal(set(w, beyond, 0, 2 * PAGE, PAGE, HVA), -EINVAL);
    assert_int_equal(set(w, 0xffff0000u, 0, 2 * PAGE, PAGE, HVA), -EINVAL);
}

/* The same gfns and the same ids in another space are other ones. */
static void address_spaces(void **state)
{
    struct world *w = WORLD(state);
    if (w->on->spaces(w->vm) < 2) {
        printf("# SKIP address_spaces(%s): it has one only\n", w->on->name);
        skip();
    }
    assert_int_equal(set(w, 0, 0, 0, 4 * PAGE, HVA), 0);
    assert_int_equal(set(w, 1 << 16, 0, PAGE, 4 * PAGE, HVA), 0);
    assert_int_equal(set(w, 1 << 16 | 1, 0, 4 * PAGE, PAGE, HVA), -EEXIST);
    assert_int_equal(set(w, 1 << 16, RO, PAGE, 4 * PAGE, HVA), -EINVAL);
    assert_int_equal(delete (w, 0), 0);
    assert_int_equal(delete (w, 0), -EINVAL);
    assert_int_equal(delete (w, 1 << 16), 0);
}

static void flags(void **state)
{
    struct world *w = WORLD(state);
    for (unsigned bit = 0; bit < 32; bit++) {
        int rc = set(w, bit, UINT32_C(1) << bit, bit * PAGE, PAGE, HVA);
        assert_int_equal(rc, bit < 2 ? 0 : -EINVAL);
    }
    for (unsigned bit = 3; bit < 32; bit++) {
        int rc = set2(w, bit, UINT32_C(1) << bit, bit * PAGE, PAGE, HVA);
        if (rc == -ENOTTY) {
            printf("# SKIP flags(%s): it has no KVM_SET_USER_MEMORY_REGION2\n", w->on->name);
            skip();
        }
        assert_int_equal(rc, -EINVAL);
    }
    assert_int_equal(set2(w, 40, LOG | RO, 40 * PAGE, PAGE, HVA), 0);
    /* A guest_memfd and read-only or logged at once is nothing, on whatever VM. */
    assert_int_equal(set2(w, 41, 4 | RO | LOG, 41 * PAGE, PAGE, HVA), -EINVAL);
}

static void sizes_and_addresses(void **state)
{
    struct world *w = WORLD(state);
    assert_int_equal(set(w, 0, 0, 0, PAGE + 1, HVA), -EINVAL);
    assert_int_equal(set(w, 0, 0, 0, PAGE / 2, HVA), -EINVAL);
    assert_int_equal(set(w, 0, 0, 1, PAGE, HVA), -EINVAL);
    assert_int_equal(set(w, 0, 0, 0, PAGE, HVA + 8), -EINVAL);
    assert_int_equal(set(w, 0, 0, 0, UINT64_C(1) << 43, HVA), -EINVAL); /* 2^31 pages */
    assert_int_equal(set(w, 0, 0, (uint64_t)0 - PAGE, PAGE, HVA), -EINVAL);
    assert_int_equal(set(w, 0, 0, (uint64_t)0 - PAGE, 2 * PAGE, HVA), -EINVAL);
    assert_int_equal(set(w, 0, 0, (uint64_t)0 - 2 * PAGE, PAGE, HVA), -EINVAL); /* no such address in any model */
    /* Where user addresses end. */
    assert_int_equal(set(w, 0, 0, 0, PAGE, (uint64_t)0 - PAGE), -EINVAL);
    assert_int_equal(set(w, 0, 0, 0, PAGE, UINT64_C(1) << 63), -EINVAL);
    assert_int_equal(set(w, 0, 0, 0, 2 * PAGE, HVA_END - PAGE), -EINVAL);
    assert_int_equal(set(w, 0, 0, 0, 2 * PAGE, HVA_END - 2 * PAGE), 0);
    assert_int_equal(set(w, 1, 0, 4 * PAGE, PAGE, 0), 0);
    /* What is deleted is checked like what is made. */
    assert_int_equal(set(w, 1, 4, 0, 0, 0), -EINVAL);
    assert_int_equal(set(w, 1, 0, 1, 0, 0), -EINVAL);
    assert_int_equal(set(w, 1, 0, 0, 0, 1), -EINVAL);
    assert_int_equal(set(w, 1, RO, 77 * PAGE, 0, HVA), 0);
    assert_int_equal(set(w, 1, 0, 0, 0, 0), -EINVAL);
}

/* The highest page that there can be: with a second dimension the processor's, without 2^52. */
static void the_last_page(void **state)
{
    struct world *w = WORLD(state);
    unsigned bits = 52;
    while (set(w, 0, 0, (UINT64_C(1) << bits) - PAGE, PAGE, HVA) != 0) {
        assert_true(--bits >= 32);
    }
    uint64_t end = UINT64_C(1) << bits;
    printf("# %s: %u bits\n", w->on->name, bits);
    assert_int_equal(set(w, 1, 0, end, PAGE, HVA), -EINVAL);
    assert_int_equal(set(w, 1, 0, end - 2 * PAGE, 3 * PAGE, HVA), -EEXIST); /* overlapping is found first */
    assert_int_equal(set(w, 1, 0, end - 3 * PAGE, 2 * PAGE, HVA), 0);
    assert_int_equal(delete (w, 0), 0);
    /* A slot that cannot move there stays where it is. */
    assert_int_equal(set(w, 1, 0, end - PAGE, 2 * PAGE, HVA), -EINVAL);
    assert_int_equal(set(w, 2, 0, end - 3 * PAGE, PAGE, HVA), -EEXIST);
    assert_int_equal(set(w, 1, 0, end - 3 * PAGE, 2 * PAGE, HVA), 0);
    assert_int_equal(set(w, 1, 0, end - 2 * PAGE, 2 * PAGE, HVA), 0);
}

static void what_may_change(void **state)
{
    struct world *w = WORLD(state);
    assert_int_equal(delete (w, 0), -EINVAL);
    assert_int_equal(set(w, 0, 0, 0, 4 * PAGE, HVA), 0);
    assert_int_equal(set(w, 0, 0, 0, 4 * PAGE, HVA), 0);
    assert_int_equal(set(w, 0, 0, 0, 5 * PAGE, HVA), -EINVAL);
    assert_int_equal(set(w, 0, 0, 0, 3 * PAGE, HVA), -EINVAL);
    assert_int_equal(set(w, 0, 0, 0, 4 * PAGE, HVA + PAGE), -EINVAL);
    assert_int_equal(set(w, 0, RO, 0, 4 * PAGE, HVA), -EINVAL);
    assert_int_equal(set(w, 0, LOG, 0, 4 * PAGE, HVA), 0);
    assert_int_equal(set(w, 0, LOG | RO, 0, 4 * PAGE, HVA), -EINVAL);
    assert_int_equal(set(w, 0, 0, 8 * PAGE, 4 * PAGE, HVA), 0); /* moved, and not logged any more */
    assert_int_equal(set(w, 0, LOG, 9 * PAGE, 4 * PAGE, HVA), 0);
    assert_int_equal(set(w, 0, RO, 20 * PAGE, 4 * PAGE, HVA), -EINVAL);
    assert_int_equal(delete (w, 0), 0);
    assert_int_equal(delete (w, 0), -EINVAL);
    assert_int_equal(set(w, 0, RO, 0, 4 * PAGE, HVA), 0);
    assert_int_equal(set(w, 0, RO | LOG, 0, 4 * PAGE, HVA), 0);
    assert_int_equal(set(w, 0, LOG, 0, 4 * PAGE, HVA), -EINVAL);
}

static void overlaps(void **state)
{
    struct world *w = WORLD(state);
    assert_int_equal(set(w, 0, 0, 8 * PAGE, 8 * PAGE, HVA), 0);
    assert_int_equal(set(w, 1, 0, 15 * PAGE, PAGE, HVA), -EEXIST);
    assert_int_equal(set(w, 1, 0, 0, 9 * PAGE, HVA), -EEXIST);
    assert_int_equal(set(w, 1, 0, 0, 64 * PAGE, HVA), -EEXIST);
    assert_int_equal(set(w, 1, 0, 10 * PAGE, PAGE, HVA), -EEXIST);
    assert_int_equal(set(w, 1, 0, 16 * PAGE, 8 * PAGE, HVA), 0); /* the same host pages: that is allowed */
    assert_int_equal(set(w, 2, 0, 0, 8 * PAGE, HVA + PAGE), 0);
    assert_int_equal(set(w, 0, 0, 9 * PAGE, 8 * PAGE, HVA), -EEXIST);
    assert_int_equal(delete (w, 1), 0);
    assert_int_equal(set(w, 0, 0, 9 * PAGE, 8 * PAGE, HVA), 0); /* its own old range is not in its way */
    assert_int_equal(set(w, 0, 0, 7 * PAGE, 8 * PAGE, HVA), -EEXIST);
    assert_int_equal(set(w, 1, 0, 8 * PAGE, PAGE, HVA), 0);
}

/* As many as there are ids, each a page away from the next. */
static void as_many_as_there_are(void **state)
{
    struct world *w = WORLD(state);
    for (uint32_t i = 0; i < SLOTS; i++) {
        assert_int_equal(set(w, i, 0, 2 * i * PAGE, PAGE, HVA), 0);
    }
    assert_int_equal(set(w, SLOTS, 0, 2 * SLOTS * PAGE, PAGE, HVA), -EINVAL);
    assert_int_equal(set(w, 5, 0, 2 * SLOTS * PAGE, PAGE, HVA), 0);
    assert_int_equal(set(w, 6, 0, 10 * PAGE, PAGE, HVA), 0);
    assert_int_equal(set(w, 7, 0, 16 * PAGE, PAGE, HVA), -EEXIST);
}

/* --- logs ----------------------------------------------------------------------------------------- */

static int get(struct world *w, uint32_t id, void *bits)
{
    const struct kvm_dirty_log log = {.slot = id, .dirty_bitmap = bits};
    return w->on->get_dirty_log(w->vm, &log);
}

static int clear(struct world *w, uint32_t id, uint64_t first, uint32_t npages, void *bits)
{
    const struct kvm_clear_dirty_log log = {
        .slot = id, .num_pages = npages, .first_page = first, .dirty_bitmap = bits};
    return w->on->clear_dirty_log(w->vm, &log);
}

static int enable(struct world *w, uint32_t cap, uint32_t cap_flags, uint64_t argument)
{
    const struct kvm_enable_cap c = {.cap = cap, .flags = cap_flags, .args = {argument}};
    return w->on->enable_cap(w->vm, &c);
}

#define MANUAL KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2

static void which_log(void **state)
{
    struct world *w = WORLD(state);
    uint64_t bits[4] = {0};
    assert_int_equal(set(w, 0, 0, 0, 100 * PAGE, HVA), 0);
    assert_int_equal(get(w, 0, bits), -ENOENT);
    assert_int_equal(get(w, 1, bits), -ENOENT);
    assert_int_equal(get(w, SLOTS - 1, bits), -ENOENT);
    assert_int_equal(get(w, SLOTS, bits), -EINVAL);
    assert_int_equal(get(w, w->on->spaces(w->vm) << 16, bits), -EINVAL);
    assert_int_equal(clear(w, 0, 0, 64, bits), -ENOENT);
    assert_int_equal(clear(w, SLOTS, 0, 64, bits), -EINVAL);
    assert_int_equal(set(w, 0, LOG, 0, 100 * PAGE, HVA), 0);
    assert_int_equal(get(w, 0, bits), 0);
    assert_int_equal(clear(w, 0, 0, 64, bits), 0); /* also where the log is not in manual mode */
    assert_int_equal(set(w, 0, 0, 0, 100 * PAGE, HVA), 0);
    assert_int_equal(get(w, 0, bits), -ENOENT);
}

static void what_can_be_cleared(void **state)
{
    struct world *w = WORLD(state);
    uint64_t bits[4] = {0};
    assert_int_equal(set(w, 0, LOG, 0, 130 * PAGE, HVA), 0);
    assert_int_equal(clear(w, 0, 1, 64, bits), -EINVAL);
    assert_int_equal(clear(w, 5, 1, 64, bits), -EINVAL); /* before it is looked up */
    assert_int_equal(clear(w, 0, 192, 0, bits), -EINVAL);
    assert_int_equal(clear(w, 0, 128, 0, bits), 0);
    assert_int_equal(clear(w, 0, 0, 0, bits), 0);
    assert_int_equal(clear(w, 0, 0, 131, bits), -EINVAL);
    assert_int_equal(clear(w, 0, 0, 130, bits), 0);
    assert_int_equal(clear(w, 0, 0, 129, bits), -EINVAL); /* a part of a word only at the end */
    assert_int_equal(clear(w, 0, 0, 128, bits), 0);
    assert_int_equal(clear(w, 0, 64, 66, bits), 0);
    assert_int_equal(clear(w, 0, 64, 65, bits), -EINVAL);
    assert_int_equal(clear(w, 0, 128, 2, bits), 0);
    assert_int_equal(clear(w, 0, 128, 3, bits), -EINVAL);
}

static void manual_mode(void **state)
{
    struct world *w = WORLD(state);
    assert_int_equal(enable(w, MANUAL, 0, 1), 0);
    assert_int_equal(enable(w, MANUAL, 0, 3), 0);
    assert_int_equal(enable(w, MANUAL, 0, 2), -EINVAL);
    assert_int_equal(enable(w, MANUAL, 0, 4), -EINVAL);
    assert_int_equal(enable(w, MANUAL, 0, 7), -EINVAL);
    assert_int_equal(enable(w, MANUAL, 1, 1), -EINVAL);
    assert_int_equal(enable(w, MANUAL, 0, 0), 0);
}

/* All bits, none beyond the end; reading does not clear, and clearing clears what is named. */
static void initially_set(void **state)
{
    struct world *w = WORLD(state);
    uint64_t bits[4];
    assert_int_equal(enable(w, MANUAL, 0, 3), 0);
    assert_int_equal(set(w, 0, LOG, 0, 130 * PAGE, HVA), 0);
    for (unsigned i = 0; i < 2; i++) {
        memset(bits, 0x55, sizeof bits);
        assert_int_equal(get(w, 0, bits), 0);
        assert_true(bits[0] == UINT64_MAX && bits[1] == UINT64_MAX && bits[2] == 3);
        assert_true(bits[3] == UINT64_C(0x5555555555555555)); /* not the kernel's to write */
    }
    uint64_t named[2] = {5, UINT64_MAX};
    assert_int_equal(clear(w, 0, 64, 66, named), 0);
    assert_int_equal(get(w, 0, bits), 0);
    assert_true(bits[0] == UINT64_MAX && bits[1] == ~UINT64_C(5) && bits[2] == 0);
    /* A move takes the log along; a slot that was not logged begins with all again. */
    assert_int_equal(set(w, 0, LOG, 200 * PAGE, 130 * PAGE, HVA), 0);
    assert_int_equal(get(w, 0, bits), 0);
    assert_true(bits[0] == UINT64_MAX && bits[1] == ~UINT64_C(5) && bits[2] == 0);
    assert_int_equal(set(w, 0, 0, 200 * PAGE, 130 * PAGE, HVA), 0);
    assert_int_equal(set(w, 0, LOG, 200 * PAGE, 130 * PAGE, HVA), 0);
    assert_int_equal(get(w, 0, bits), 0);
    assert_true(bits[0] == UINT64_MAX && bits[1] == UINT64_MAX && bits[2] == 3);
    /* In automatic mode reading clears; a log that begins is empty. */
    assert_int_equal(enable(w, MANUAL, 0, 0), 0);
    assert_int_equal(get(w, 0, bits), 0);
    assert_true(bits[0] == UINT64_MAX && bits[2] == 3);
    assert_int_equal(get(w, 0, bits), 0);
    assert_true(bits[0] == 0 && bits[1] == 0 && bits[2] == 0);
    assert_int_equal(set(w, 1, LOG, 0, 64 * PAGE, HVA), 0);
    assert_int_equal(get(w, 1, bits), 0);
    assert_true(bits[0] == 0);
}

/* --- rings ---------------------------------------------------------------------------------------- */

static int enable_ring(struct world *w, uint64_t bytes)
{
    return enable(w, KVM_CAP_DIRTY_LOG_RING, 0, bytes);
}

static void the_size_of_a_ring(void **state)
{
    struct world *w = WORLD(state);
    assert_int_equal(w->on->reset_rings(w->vm), -EINVAL);
    assert_int_equal(enable_ring(w, 0), -EINVAL);
    assert_int_equal(enable_ring(w, 1024), -EINVAL);
    assert_int_equal(enable_ring(w, 2048), -EINVAL);
    assert_int_equal(enable_ring(w, 65536 + 16), -EINVAL);
    assert_int_equal(enable_ring(w, 3 * 65536), -EINVAL);
    assert_int_equal(enable_ring(w, 2 * 65536 * 16), -E2BIG);
    assert_int_equal(enable_ring(w, 65536 * 16), 0);
    assert_int_equal(enable_ring(w, 65536 * 16), -EINVAL); /* once only */
    renew(w);
    assert_int_equal(w->on->vcpu_create(w->vm, 0), 0);
    assert_int_equal(enable_ring(w, 65536), -EINVAL); /* before the vCPUs */
}

static void rings_instead_of_bitmaps(void **state)
{
    struct world *w = WORLD(state);
    uint64_t bits[2] = {0};
    assert_int_equal(enable_ring(w, 65536), 0);
    assert_int_equal(w->on->vcpu_create(w->vm, 0), 0);
    assert_int_equal(set(w, 0, LOG, 0, 64 * PAGE, HVA), 0);
    assert_int_equal(get(w, 0, bits), -ENXIO);
    assert_int_equal(get(w, SLOTS, bits), -ENXIO);
    assert_int_equal(clear(w, 0, 0, 64, bits), -ENXIO);
    assert_int_equal(w->on->reset_rings(w->vm), 0);
}

/* --- guest writes --------------------------------------------------------------------------------- */

static int event(struct world *w, int fd, uint64_t addr, uint32_t length, uint32_t event_flags, uint64_t match)
{
    const struct kvm_ioeventfd e = {
        .datamatch = match, .addr = addr, .len = length, .fd = fd, .flags = event_flags};
    return w->on->ioeventfd(w->vm, &e);
}

#define MATCH ((uint32_t)KVM_IOEVENTFD_FLAG_DATAMATCH)
#define PORT ((uint32_t)KVM_IOEVENTFD_FLAG_PIO)
#define GONE ((uint32_t)KVM_IOEVENTFD_FLAG_DEASSIGN)

static void which_eventfds(void **state)
{
    struct world *w = WORLD(state);
    int fd = eventfd(0, EFD_CLOEXEC);
    assert_true(fd >= 0);
    for (uint32_t length = 0; length <= 16; length++) {
        bool ok = length == 0 || length == 1 || length == 2 || length == 4 || length == 8;
        assert_int_equal(event(w, fd, 64 * length, length, 0, 0), ok ? 0 : -EINVAL);
    }
    assert_int_equal(event(w, fd, UINT64_MAX - 2, 4, 0, 0), -EINVAL);
    assert_int_equal(event(w, fd, UINT64_MAX - 3, 4, 0, 0), -EINVAL);
    assert_int_equal(event(w, fd, UINT64_MAX - 4, 4, 0, 0), 0);
    assert_int_equal(event(w, fd, 2000, 4, 32, 0), -EINVAL);
    assert_int_equal(event(w, fd, 2000, 0, MATCH, 0), -EINVAL);
    assert_int_equal(event(w, -1, 2000, 4, 0, 0), -EBADF);
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(event(w, pipes[1], 2000, 4, 0, 0), -EINVAL);
    close(pipes[0]);
    close(pipes[1]);
    close(fd);
}

static void eventfds_for_the_same_writes(void **state)
{
    struct world *w = WORLD(state);
    int fd = eventfd(0, EFD_CLOEXEC), other = eventfd(0, EFD_CLOEXEC);
    assert_true(fd >= 0 && other >= 0);
    assert_int_equal(event(w, fd, 8, 4, MATCH, 7), 0);
    assert_int_equal(event(w, other, 8, 4, MATCH, 7), -EEXIST);
    assert_int_equal(event(w, other, 8, 4, MATCH, 8), 0);
    assert_int_equal(event(w, other, 8, 4, 0, 0), -EEXIST); /* any data, so also 7 */
    assert_int_equal(event(w, other, 8, 2, 0, 0), 0);
    assert_int_equal(event(w, other, 8, 2, MATCH, 1), -EEXIST);
    assert_int_equal(event(w, other, 8, 0, 0, 0), -EEXIST); /* any length, so also 4 */
    assert_int_equal(event(w, other, 8, 4, MATCH | PORT, 7), 0);
    assert_int_equal(event(w, other, 9, 4, MATCH, 7), 0);
    assert_int_equal(event(w, other, 16, 0, 0, 0), 0);
    assert_int_equal(event(w, fd, 16, 8, MATCH, 1), -EEXIST);
    /* Gone is what is named by all it has. */
    assert_int_equal(event(w, other, 8, 4, MATCH | GONE, 7), -ENOENT);
    assert_int_equal(event(w, fd, 8, 4, MATCH | GONE, 9), -ENOENT);
    assert_int_equal(event(w, fd, 8, 4, GONE, 7), -ENOENT);
    assert_int_equal(event(w, fd, 8, 3, GONE, 7), -ENOENT);
    assert_int_equal(event(w, -1, 8, 4, MATCH | GONE, 7), -EBADF);
    int again = dup(fd); /* another number of the same one */
    assert_int_equal(event(w, again, 8, 4, MATCH | GONE, 7), 0);
    assert_int_equal(event(w, fd, 8, 4, MATCH | GONE, 7), -ENOENT);
    close(again);
    close(fd);
    close(other);
}

static int zone(struct world *w, bool add, uint64_t addr, uint32_t size, uint32_t pio)
{
    const struct kvm_coalesced_mmio_zone z = {.addr = addr, .size = size, .pio = pio};
    return w->on->coalesce(w->vm, &z, add);
}

static void zones(void **state)
{
    struct world *w = WORLD(state);
    assert_int_equal(zone(w, true, 0, 4096, 2), -EINVAL);
    assert_int_equal(zone(w, false, 0, 4096, 2), -EINVAL);
    assert_int_equal(zone(w, false, 0, 4096, 0), 0); /* there is none */
    assert_int_equal(zone(w, true, 0, 4096, 0), 0);
    assert_int_equal(zone(w, true, 0, 4096, 0), 0); /* twice the same */
    assert_int_equal(zone(w, true, 0, 16, 1), 0);
    assert_int_equal(zone(w, false, 0, 4096, 0), 0);
    /* As many as a bus has room for. */
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(zone(w, true, i * 16, 8, 0), 0);
    }
    assert_int_equal(zone(w, true, 1, 8, 0), -ENOSPC);
    assert_int_equal(zone(w, true, 1, 8, 1), 0);
    assert_int_equal(zone(w, false, 16 * 500 + 1, 2, 0), 0);
    assert_int_equal(zone(w, true, 1, 8, 0), 0);
    assert_int_equal(zone(w, true, 1, 8, 0), -ENOSPC);
}

#define ON(body, who)                                                                                             \
    {                                                                                                             \
        .name = #body "(" #who ")", .test_func = body, .setup_func = open_world, .teardown_func = close_world,    \
        .initial_state = (void *)(uintptr_t)&slots_on_##who                                                       \
    }
#define ON_EACH(body)                                                                                             \
    ON(body, kvm), ON(body, native), ON(body, ept), ON(body, npt), ON(body, shadow), ON(body, hybrid)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_EACH(ids),
        ON_EACH(address_spaces),
        ON_EACH(flags),
        ON_EACH(sizes_and_addresses),
        ON_EACH(the_last_page),
        ON_EACH(what_may_change),
        ON_EACH(overlaps),
        ON_EACH(as_many_as_there_are),
        ON_EACH(which_log),
        ON_EACH(what_can_be_cleared),
        ON_EACH(manual_mode),
        ON_EACH(initially_set),
        ON_EACH(the_size_of_a_ring),
        ON_EACH(rings_instead_of_bitmaps),
        ON_EACH(which_eventfds),
        ON_EACH(eventfds_for_the_same_writes),
        ON_EACH(zones),
    };
    return cmocka_run_group_tests_name("slots_rules", tests, NULL, NULL);
}
