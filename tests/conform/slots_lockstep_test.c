// SPDX-License-Identifier: MIT
/*
 * Random calls about slots, logs and guest writes, made to the real /dev/kvm and to the software hypervisor in
 * lockstep: each call has the same result on both, and each log the same bits. No guest runs.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/conform/slots_on.h"

#define PAGE UINT64_C(4096)
#define HVA UINT64_C(0x100000000000)
#define LOG ((uint32_t)KVM_MEM_LOG_DIRTY_PAGES)
#define RO ((uint32_t)KVM_MEM_READONLY)
#define IDS 10
#define PAGES 192 /* the gfns where most slots are */
#define EVENTS 3

static uint64_t random_state;

static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (random_state >> 11) % n;
}

static bool one_in(uint64_t n)
{
    return random_below(n) == 0;
}

struct pair {
    const struct slots_on *on[2];
    struct slots_vm *vm[2];
    uint64_t max_gfn, hva_end;
    struct kvm_userspace_memory_region regions[IDS]; /* the last that was taken; of size 0: none */
    int events[EVENTS];
    unsigned calls[2]; /* that failed, that did not */
};

/* --- where the real one ends ---------------------------------------------------------------------- */

static int real_page(struct pair *p, uint64_t gpa, uint64_t hva)
{
    struct kvm_userspace_memory_region r = {.guest_phys_addr = gpa, .memory_size = PAGE, .userspace_addr = hva};
    int rc = p->on[0]->set_slot(p->vm[0], &r);
    if (rc == 0) {
        r.memory_size = 0;
        assert_int_equal(p->on[0]->set_slot(p->vm[0], &r), 0);
    }
    return rc;
}

/* Its physical addresses: of so many bits. */
static unsigned address_bits_of(struct pair *p)
{
    unsigned bits = 52;
    while (bits > 32 && real_page(p, (UINT64_C(1) << bits) - PAGE, HVA) < 0) {
        bits--;
    }
    return bits;
}

static void pair_init(struct pair *p, const struct slots_on *ours)
{
    memset(p, 0, sizeof *p);
    p->on[0] = &slots_on_kvm;
    p->on[1] = ours;
    p->vm[0] = p->on[0]->create(0);
    unsigned bits = address_bits_of(p);
    p->max_gfn = (UINT64_C(1) << (bits - 12)) - 1;
    p->vm[1] = ours->create(bits);
    for (unsigned i = 0; i < EVENTS; i++) {
        p->events[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        assert_true(p->events[i] >= 0);
    }
}

static void pair_finish(struct pair *p)
{
    for (unsigned i = 0; i < EVENTS; i++) {
        close(p->events[i]);
    }
    p->on[0]->destroy(p->vm[0]);
    p->on[1]->destroy(p->vm[1]);
}

/* --- slots ----------------------------------------------------------------------------------------- */

static uint64_t random_gpa(const struct pair *p)
{
    switch (random_below(40)) {
    case 0: return random_below(PAGES) * PAGE + 1 + random_below(PAGE - 1);
    case 1: return (p->max_gfn - random_below(12)) * PAGE;
    case 2: return (p->max_gfn + random_below(4)) * PAGE;
    case 3: return (uint64_t)0 - random_below(9) * PAGE;
    case 4: return (UINT64_C(1) << (32 + random_below(32))) - random_below(4) * PAGE;
    default: return random_below(PAGES) * PAGE;
    }
}

static uint64_t random_size(void)
{
    switch (random_below(60)) {
    case 0: return random_below(8) * PAGE + 1 + random_below(PAGE - 1);
    case 1: return UINT64_C(1) << (43 + random_below(21)); /* 2^31 pages and above */
    case 2: return (uint64_t)0 - PAGE * (1 + random_below(4));
    default: return (1 + random_below(24)) * PAGE;
    }
}

static uint64_t random_hva(void)
{
    const uint64_t end = (UINT64_C(1) << 47) - PAGE;
    switch (random_below(60)) {
    case 0: return HVA + 1 + random_below(PAGE - 1);
    case 1: return end - random_below(30) * PAGE;
    case 2: return end + random_below(8) * PAGE;
    case 3: return (uint64_t)0 - random_below(30) * PAGE;
    case 4: return UINT64_C(1) << (47 + random_below(17));
    case 5: return 0;
    default: return HVA + random_below(48) * PAGE;
    }
}

static uint32_t random_flags(void)
{
    return one_in(40) ? UINT32_C(1) << random_below(32) : (uint32_t)random_below(4);
}

static uint32_t random_id(void)
{
    switch (random_below(80)) {
    case 0: return 32764 + (uint32_t)random_below(4);
    case 1: return 65535;
    case 2: return (2 + (uint32_t)random_below(65533)) << 16 | (uint32_t)random_below(IDS);
    default: return (uint32_t)random_below(IDS);
    }
}

/* A change of what is there, so that most calls get far. */
static struct kvm_userspace_memory_region random_region(const struct pair *p)
{
    uint32_t id = random_id();
    struct kvm_userspace_memory_region r = {id, random_flags(), random_gpa(p), random_size(), random_hva()};
    if (id >= IDS || p->regions[id].memory_size == 0) {
        if (one_in(12)) {
            r.memory_size = 0;
        }
        return r;
    }
    const struct kvm_userspace_memory_region *was = &p->regions[id];
    uint64_t gpa = r.guest_phys_addr;
    uint32_t flags = one_in(10) ? r.flags : (was->flags & RO) | (r.flags & LOG);
    switch (random_below(5)) {
    case 0: return r;
    case 1: r.memory_size = 0; return r;
    case 2: r = *was, r.flags = flags; return r;
    case 3: r = *was, r.guest_phys_addr = gpa; return r;
    default: r = *was, r.guest_phys_addr = gpa, r.flags = flags; return r;
    }
}

static void slot_call(struct pair *p)
{
    struct kvm_userspace_memory_region r = random_region(p);
    int rc[2];
    for (unsigned i = 0; i < 2; i++) {
        rc[i] = p->on[i]->set_slot(p->vm[i], &r);
    }
    if (rc[0] != rc[1]) {
        fail_msg("slot %#x flags %#x gpa %#llx size %#llx hva %#llx: %s says %d, %s %d", r.slot, r.flags,
                 (unsigned long long)r.guest_phys_addr, (unsigned long long)r.memory_size,
                 (unsigned long long)r.userspace_addr, p->on[0]->name, rc[0], p->on[1]->name, rc[1]);
    }
    p->calls[rc[0] == 0]++;
    if (rc[0] == 0) {
        p->regions[r.slot] = r;
    }
}

/* --- logs ------------------------------------------------------------------------------------------ */

static void same(const struct pair *p, const char *what, const int rc[2], uint64_t bits[2][8])
{
    if (rc[0] != rc[1]) {
        fail_msg("%s: %s says %d, %s %d", what, p->on[0]->name, rc[0], p->on[1]->name, rc[1]);
    }
    if (bits && memcmp(bits[0], bits[1], sizeof bits[0]) != 0) {
        fail_msg("%s: the bits differ", what);
    }
}

static void get_log(struct pair *p)
{
    uint64_t bits[2][8];
    int rc[2];
    memset(bits, 0xa5, sizeof bits); /* what is not written stays */
    uint32_t id = random_id();
    for (unsigned i = 0; i < 2; i++) {
        struct kvm_dirty_log log = {.slot = id, .dirty_bitmap = bits[i]};
        rc[i] = p->on[i]->get_dirty_log(p->vm[i], &log);
    }
    same(p, "GET_DIRTY_LOG", rc, bits);
}

static void clear_log(struct pair *p)
{
    uint64_t bits[8];
    int rc[2];
    uint32_t id = random_id();
    for (unsigned i = 0; i < 8; i++) {
        bits[i] = random_state * (i + 1) * 0x9e3779b97f4a7c15u;
    }
    uint64_t npages = id < IDS ? p->regions[id].memory_size / PAGE : 1;
    struct kvm_clear_dirty_log log = {.slot = id, .dirty_bitmap = bits};
    log.first_page = one_in(6) ? random_below(130) : 0;
    log.num_pages = (uint32_t)(one_in(3) ? random_below(200) : npages);
    for (unsigned i = 0; i < 2; i++) {
        rc[i] = p->on[i]->clear_dirty_log(p->vm[i], &log);
    }
    same(p, "CLEAR_DIRTY_LOG", rc, NULL);
}

static void enable(struct pair *p)
{
    int rc[2];
    struct kvm_enable_cap cap = {.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .args = {random_below(8)}};
    cap.flags = one_in(8) ? 1 : 0;
    for (unsigned i = 0; i < 2; i++) {
        rc[i] = p->on[i]->enable_cap(p->vm[i], &cap);
    }
    same(p, "ENABLE_CAP", rc, NULL);
}

/* --- guest writes ---------------------------------------------------------------------------------- */

static void event(struct pair *p)
{
    static const uint32_t sizes[] = {0, 1, 2, 4, 8, 3, 16};
    int rc[2];
    struct kvm_ioeventfd e = {
        .datamatch = random_below(3),
        .addr = one_in(20) ? (uint64_t)0 - random_below(12) : random_below(6) * 2,
        .len = sizes[random_below(one_in(8) ? 7 : 5)],
        .fd = one_in(20) ? (one_in(2) ? -1 : 1) : p->events[random_below(EVENTS)],
        .flags = (uint32_t)random_below(one_in(20) ? 64 : 8),
    };
    for (unsigned i = 0; i < 2; i++) {
        rc[i] = p->on[i]->ioeventfd(p->vm[i], &e);
    }
    if (rc[0] != rc[1]) {
        fail_msg("ioeventfd addr %#llx len %u flags %#x match %llu fd %d: kvm says %d, ours %d",
                 (unsigned long long)e.addr, e.len, e.flags, (unsigned long long)e.datamatch, e.fd, rc[0], rc[1]);
    }
    p->calls[rc[0] == 0]++;
}

static void zone(struct pair *p)
{
    int rc[2];
    struct kvm_coalesced_mmio_zone z = {
        .addr = one_in(20) ? (uint64_t)0 - random_below(12) : random_below(64),
        .size = one_in(20) ? (uint32_t)0 - (uint32_t)random_below(9) : (uint32_t)random_below(32),
        .pio = (uint32_t)random_below(one_in(10) ? 4 : 2),
    };
    bool add = one_in(2);
    for (unsigned i = 0; i < 2; i++) {
        rc[i] = p->on[i]->coalesce(p->vm[i], &z, add);
    }
    same(p, add ? "REGISTER_COALESCED_MMIO" : "UNREGISTER_COALESCED_MMIO", rc, NULL);
}

/* --- tests ----------------------------------------------------------------------------------------- */

static void steps(const struct slots_on *ours, const char *test)
{
    const char *why_not = slots_on_kvm.why_not();
    if (why_not) {
        printf("# SKIP %s: %s\n", test, why_not);
        skip();
    }
    unsigned rounds = getenv("MEMVIRT_TEST_LONG") ? 40 : 2;
    unsigned done[2] = {0};
    for (unsigned round = 0; round < rounds; round++) {
        struct pair p;
        pair_init(&p, ours);
        for (unsigned step = 0; step < 2500; step++) {
            switch (random_below(24)) {
            case 0:
            case 1:
            case 2: get_log(&p); break;
            case 3:
            case 4: clear_log(&p); break;
            case 5: enable(&p); break;
            case 6:
            case 7:
            case 8: event(&p); break;
            case 9: zone(&p); break;
            default: slot_call(&p); break;
            }
        }
        done[0] += p.calls[0];
        done[1] += p.calls[1];
        pair_finish(&p);
    }
    printf("# %u calls were taken, %u refused\n", done[1], done[0]);
    assert_true(done[0] > 0 && done[1] > 0);
}

static void native_in_lockstep(void **state)
{
    (void)state;
    steps(&slots_on_native, "native_in_lockstep");
}

static void ept_in_lockstep(void **state)
{
    (void)state;
    steps(&slots_on_ept, "ept_in_lockstep");
}

static void npt_in_lockstep(void **state)
{
    (void)state;
    steps(&slots_on_npt, "npt_in_lockstep");
}

static void hybrid_in_lockstep(void **state)
{
    (void)state;
    steps(&slots_on_hybrid, "hybrid_in_lockstep");
}

static void shadow_in_lockstep(void **state)
{
    (void)state;
    steps(&slots_on_shadow, "shadow_in_lockstep");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(native_in_lockstep), cmocka_unit_test(ept_in_lockstep),
        cmocka_unit_test(npt_in_lockstep),    cmocka_unit_test(shadow_in_lockstep),
        cmocka_unit_test(hybrid_in_lockstep),
    };
    const char *seed = getenv("MEMVIRT_SEED");
    random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 0x9e3779b97f4a7c15u | 1;
    printf("# MEMVIRT_SEED=%llu\n", (unsigned long long)random_state);
    return cmocka_run_group_tests_name("slots_lockstep", tests, NULL, NULL);
}
