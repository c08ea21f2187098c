// SPDX-License-Identifier: MIT
#include "tests/conform/probe_walkers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define CR0_PROBE UINT64_C(0x80000031) /* PG, NE, ET, PE */
#define CR0_WP UINT64_C(0x10000)
#define CR4_PROBE UINT64_C(0x20)   /* PAE */
#define EFER_PROBE UINT64_C(0x500) /* LMA, LME */
#define EFER_NXE UINT64_C(0x800)

/* --- The model -------------------------------------------------------------------------------------------- */

/* The four entries, in tables that are 0 otherwise. */
static uint64_t *model_entry(uint64_t *entries, uint64_t address)
{
    for (unsigned level = 1; level <= 4; level++) {
        if (address == PROBE_ENTRY_GPA(level)) {
            return &entries[level - 1];
        }
    }
    return NULL;
}

static bool model_read(void *opaque, uint64_t address, unsigned size, uint64_t *ret)
{
    const uint64_t *entry = model_entry(opaque, address);
    assert_int_equal(size, 8);
    *ret = entry ? *entry : 0;
    return address < PROBE_RAM_BYTES;
}

static enum model_cas model_cas(void *opaque, uint64_t address, unsigned size, uint64_t old, uint64_t new)
{
    uint64_t *entry = model_entry(opaque, address);
    assert_int_equal(size, 8);
    assert_non_null(entry);
    assert_int_equal(*entry, old);
    *entry = new;
    return MODEL_CAS_DONE;
}

static void model_access(struct model_world *world, struct probe_access access, uint64_t gva,
                         struct probe_seen *ret)
{
    struct model_result result;
    world->regs.cpl = access.is_user ? 3 : 0;
    model_walk(world, &(struct model_access){.gva = gva, .kind = (enum model_access_kind)access.kind}, &result);
    if (result.outcome == MODEL_OK) {
        assert_int_equal(result.gpa & ~UINT64_C(0xfff), PROBE_TARGET_GPA);
    } else {
        assert_int_equal(result.outcome, MODEL_PAGE_FAULT);
        ret->faults = 1;
        ret->error = (uint32_t)result.error_code;
        ret->cr2 = gva;
    }
}

void probe_by_model(const struct model_cpu *cpu, const struct probe_case *c, struct probe_result *ret)
{
    uint64_t entries[4];
    struct model_world world = {
        .cpu = *cpu,
        .memory = {.opaque = entries, .read = model_read, .cas = model_cas},
        .regs = {.cr0 = CR0_PROBE | (c->flags & PROBE_NO_WP ? 0 : CR0_WP),
                 .cr3 = PROBE_TABLE_GPA(4),
                 .cr4 = CR4_PROBE,
                 .efer = EFER_PROBE | (c->flags & PROBE_NO_NXE ? 0 : EFER_NXE)},
    };
    *ret = (struct probe_result){0};
    memcpy(entries, c->entry, sizeof entries);
    for (unsigned i = 0; i < c->naccesses && (i == 0 || !ret->access[i - 1].faults); i++) {
        model_access(&world, c->access[i], PROBE_GVA + c->offset, &ret->access[i]);
        memcpy(ret->access[i].entry, entries, sizeof entries);
    }
}

/* --- soft --------------------------------------------------------------------------------------------------- */

static uint64_t *soft_entry(struct probe_soft *soft, unsigned level)
{
    return (uint64_t *)(void *)(soft->guest.host + PROBE_ENTRY_GPA(level));
}

static void soft_set_registers(struct probe_soft *soft, unsigned flags, bool is_user)
{
    struct kvm_sregs sregs;
    struct mv_error err = {0};
    assert_int_equal(mv_vcpu_get_sregs(soft->guest.vcpu, &sregs, &err), 0);
    sregs.cr0 = CR0_PROBE | (flags & PROBE_NO_WP ? 0 : CR0_WP);
    sregs.cr3 = PROBE_TABLE_GPA(4);
    sregs.cr4 = CR4_PROBE;
    sregs.efer = EFER_PROBE | (flags & PROBE_NO_NXE ? 0 : EFER_NXE);
    sregs.cs.dpl = sregs.ss.dpl = is_user ? 3 : 0;
    if (mv_vcpu_set_sregs(soft->guest.vcpu, &sregs, &err) < 0) {
        fail_msg("%s", err.text);
    }
    soft->flags = flags;
    soft->is_user = is_user;
}

void probe_soft_make(struct probe_soft *soft, const char *accel)
{
    soft_guest_make(&soft->guest, accel);
    assert_true(GUEST_RAM_BYTES >= PROBE_RAM_BYTES);
    memset(soft->guest.host + PROBE_TARGET_GPA, PROBE_RET, 4096);
    soft_set_registers(soft, 0, false);
}

void probe_soft_end(struct probe_soft *soft)
{
    soft_guest_end(&soft->guest);
}

static void soft_access(struct probe_soft *soft, unsigned kind, uint64_t gva, struct probe_seen *ret)
{
    uint64_t word = PROBE_RET * UINT64_C(0x0101010101010101), back = 0;
    struct mv_vcpu *vcpu = soft->guest.vcpu;
    struct mv_soft_outcome outcome;
    switch (kind) {
    case PROBE_READ: mv_soft_read(vcpu, mv_gva(gva), &back, 8, MV_SOFT_EXPLICIT, &outcome); break;
    case PROBE_WRITE: mv_soft_write(vcpu, mv_gva(gva), &word, 8, MV_SOFT_EXPLICIT, &outcome); break;
    default: mv_soft_fetch(vcpu, mv_gva(gva), &back, 8, &outcome); break;
    }
    if (outcome.end == MV_SOFT_DONE) {
        assert_true(kind == PROBE_WRITE || back == word);
    } else {
        assert_int_equal(outcome.end, MV_SOFT_FAULT);
        assert_int_equal(outcome.fault.vector, 14);
        ret->faults = 1;
        ret->error = outcome.fault.error_code;
        ret->cr2 = outcome.fault.address.raw;
    }
}

void probe_by_soft(struct probe_soft *soft, const struct probe_case *c, struct probe_result *ret)
{
    *ret = (struct probe_result){0};
    for (unsigned level = 1; level <= 4; level++) {
        struct mv_soft_outcome outcome; /* as the guest stores: a shadow of the table hears of it */
        uint64_t gpa = (uint64_t)((uint8_t *)soft_entry(soft, level) - soft->guest.host);
        assert_int_equal(mv_soft_write_physical(soft->guest.vcpu, mv_gpa(gpa), c->entry[level - 1], &outcome),
                         MV_SOFT_DONE);
    }
    mv_soft_invlpg(soft->guest.vcpu, mv_gva(PROBE_GVA));
    for (unsigned i = 0; i < c->naccesses && (i == 0 || !ret->access[i - 1].faults); i++) {
        if (soft->flags != c->flags || soft->is_user != c->access[i].is_user) {
            soft_set_registers(soft, c->flags, c->access[i].is_user);
        }
        soft_access(soft, c->access[i].kind, PROBE_GVA + c->offset, &ret->access[i]);
        for (unsigned level = 1; level <= 4; level++) {
            ret->access[i].entry[level - 1] = __atomic_load_n(soft_entry(soft, level), __ATOMIC_RELAXED);
        }
    }
}
