// SPDX-License-Identifier: MIT
/* For the tests of the shadow and hybrid MMUs by <memvirt/soft.h>: one guest, and short ways to touch, store,
 * look. */
#ifndef CONFORM_SOFT_CHECKS_H
#define CONFORM_SOFT_CHECKS_H

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/conform/soft_guest.h"

#define GVA UINT64_C(0x7f0000400000)
#define RIGHTS (PTE_P | PTE_W | PTE_U)
#define CR0_WP (UINT64_C(1) << 16)
#define CR4_PCIDE (UINT64_C(1) << 17)
#define CR4_SMEP (UINT64_C(1) << 20)
#define CR4_PKE (UINT64_C(1) << 22)
#define FAR (9 * UINT64_C(4096)) /* no neighbour, but of the same table */

static struct soft_guest guest, *const g = &guest;

static inline void make(const char *accel)
{
    soft_guest_make(g, accel);
}

static inline int end(void **state)
{
    (void)state;
    soft_guest_end(g);
    return 0;
}

static inline uint64_t counter(const char *name)
{
    struct mv_counter counters[64];
    size_t count = mv_vm_counters(g->vm, MV_COUNTERS_KERNEL, counters, 64);
    for (size_t i = 0; i < count && i < 64; i++) {
        if (strcmp(counters[i].name, name) == 0) {
            return counters[i].value;
        }
    }
    fail_msg("there is no counter %s", name);
    return 0;
}

static inline struct mv_soft_counts counts(void)
{
    struct mv_soft_counts ret;
    assert_int_equal(mv_soft_counts(g->vcpu, &ret), 0);
    return ret;
}

static inline enum mv_soft_end touch_by(struct mv_vcpu *vcpu, uint64_t gva, enum mv_access kind, uint64_t *ret_gpa)
{
    struct mv_soft_outcome outcome;
    struct mv_soft_place place = {0};
    enum mv_soft_end ret = mv_soft_touch(vcpu, mv_gva(gva), kind, &place, &outcome);
    *ret_gpa = place.gpa.raw;
    return ret;
}

static inline enum mv_soft_end touch(uint64_t gva, enum mv_access kind, uint64_t *ret_gpa)
{
    return touch_by(g->vcpu, gva, kind, ret_gpa);
}

static inline void assert_maps(uint64_t gva, enum mv_access kind, uint64_t gpa)
{
    uint64_t got;
    assert_int_equal(touch(gva, kind, &got), MV_SOFT_DONE);
    assert_int_equal(got, gpa);
}

static inline void assert_faults(uint64_t gva, enum mv_access kind)
{
    uint64_t got;
    assert_int_equal(touch(gva, kind, &got), MV_SOFT_FAULT);
}

/* As the guest's kernel does. */
static inline void store(uint64_t gpa, uint64_t value)
{
    struct mv_soft_outcome outcome;
    assert_int_equal(mv_soft_write_physical(g->vcpu, mv_gpa(gpa), value, &outcome), MV_SOFT_DONE);
}

static inline uint64_t load(uint64_t gpa)
{
    uint64_t value = 0;
    assert_true(mv_soft_peek_physical(g->vcpu, mv_gpa(gpa), &value));
    return value;
}

static inline uint64_t table_of(uint64_t gva, unsigned level)
{
    return soft_guest_entry_gpa(g, gva, level) & ~UINT64_C(0xfff);
}

#endif
