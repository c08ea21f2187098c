// SPDX-License-Identifier: MIT
/* Accesses of a caller's own CPU: pieces of one page each, translated one by one. */
#include <string.h>

#include "accel/soft/internal.h"
#include "hypervisor/mmu_ops.h"

#define MMIO_BYTES_MAX 8u /* as KVM_EXIT_MMIO has them */

static struct pt_access access_of(const struct accel_vcpu *vcpu, enum mv_access kind, enum mv_soft_mode mode)
{
    bool is_implicit = mode == MV_SOFT_IMPLICIT && kind != MV_ACCESS_FETCH;
    return (struct pt_access){kind, is_implicit ? vcpu->who_implicit : vcpu->who};
}

/* Guest memory is shared with other vCPUs: what a processor does in one piece is done in one piece. */
static void copy(uint8_t *host, void *bytes, size_t size, bool is_write)
{
    if (size == 8 && ((uintptr_t)host & 7) == 0) {
        uint64_t value;
        if (is_write) {
            memcpy(&value, bytes, 8);
            __atomic_store_n((uint64_t *)host, value, __ATOMIC_RELAXED);
        } else {
            value = __atomic_load_n((uint64_t *)host, __ATOMIC_RELAXED);
            memcpy(bytes, &value, 8);
        }
    } else if (is_write) {
        memcpy(host, bytes, size);
    } else {
        memcpy(bytes, host, size);
    }
}

static size_t piece_of(gva_t gva, size_t size)
{
    size_t in_page = (size_t)(GUEST_PAGE_SIZE - (gva.raw & GUEST_PAGE_MASK));
    return size < in_page ? size : in_page;
}

/* A write that the hypervisor takes itself: an eventfd, a gathered write. */
static bool taken_inside(struct accel_vcpu *vcpu, gpa_t gpa, const void *bytes, size_t size, enum mv_access kind)
{
    if (kind != MV_ACCESS_WRITE) {
        return false;
    }
    soft_enter(vcpu);
    bool is_taken = hv_io_write(vcpu->hv, HV_IO_MEMORY, gpa.raw, bytes, (unsigned)size);
    soft_leave(vcpu);
    return is_taken;
}

/* Before it enters the guest: no entry may be lost. */
static bool must_wait(const struct accel_vcpu *vcpu, struct mv_soft_outcome *outcome)
{
    outcome->done_bytes = 0;
    outcome->end = MV_SOFT_RING_FULL;
    return __builtin_expect(vcpu->hv->ring != NULL, 0) && hv_ring_is_full(vcpu->hv);
}

static enum mv_soft_end access(struct accel_vcpu *vcpu, const struct accel_access *a,
                               struct mv_soft_outcome *outcome)
{
    struct pt_access how = access_of(vcpu, a->kind, a->mode);
    uint8_t *bytes = a->bytes;
    size_t done = 0;
    if (must_wait(vcpu, outcome)) {
        return MV_SOFT_RING_FULL;
    }
    while (done < a->size) {
        gva_t gva = mv_gva(a->gva.raw + done);
        size_t piece = piece_of(gva, a->size - done);
        struct soft_target target;
        enum mv_soft_end end = soft_translate(vcpu, gva, how, &target, outcome);
        outcome->done_bytes = done;
        if (end == MV_SOFT_DONE) {
            bool is_write = a->kind == MV_ACCESS_WRITE, is_table;
            if (__builtin_expect(target.is_emulated && is_write, 0)) {
                (void)hv_store(vcpu->hv, target.gpa, bytes + done, (unsigned)piece, &is_table);
            } else {
                copy(target.host, bytes + done, piece, is_write);
            }
            soft_leave(vcpu);
        } else if (end == MV_SOFT_MMIO) {
            piece = piece < MMIO_BYTES_MAX ? piece : MMIO_BYTES_MAX;
            if (!taken_inside(vcpu, target.gpa, bytes + done, piece, a->kind)) {
                hv_count_own(&vcpu->exits_mmio, 1);
                outcome->mmio.size = (uint32_t)piece;
                return MV_SOFT_MMIO;
            }
        } else {
            return end;
        }
        done += piece;
    }
    outcome->end = MV_SOFT_DONE;
    outcome->done_bytes = done;
    return MV_SOFT_DONE;
}

static enum mv_soft_end touch(struct accel_vcpu *vcpu, mv_gva_t gva, enum mv_access kind,
                              struct mv_soft_place *ret, struct mv_soft_outcome *outcome)
{
    struct soft_target target;
    if (must_wait(vcpu, outcome)) {
        return MV_SOFT_RING_FULL;
    }
    enum mv_soft_end end = soft_translate(vcpu, gva, access_of(vcpu, kind, MV_SOFT_EXPLICIT), &target, outcome);
    if (end == MV_SOFT_DONE) {
        if (target.is_emulated && kind == MV_ACCESS_WRITE) { /* the caller has the bytes now */
            hv_give_up_tables(vcpu->hv, target.gpa);
        }
        *ret = (struct mv_soft_place){target.gpa, hva_of(target.host), target.page_shift};
        soft_leave(vcpu);
    } else if (end == MV_SOFT_MMIO) {
        hv_count_own(&vcpu->exits_mmio, 1);
        outcome->mmio.size = 1;
    }
    return end;
}

/* Shadow: there is no second dimension to ask, but the page may be one of the guest's tables. */
static enum mv_soft_end store_physical(struct accel_vcpu *vcpu, mv_gpa_t gpa, uint64_t value,
                                       struct mv_soft_outcome *outcome)
{
    bool is_table = false;
    soft_enter(vcpu);
    bool is_ram = hv_store(vcpu->hv, gpa, &value, sizeof value, &is_table);
    soft_leave(vcpu);
    if (is_table) {
        vcpu->exits_table_write++;
        vcpu->exits_physical++;
        if (vcpu->has_hooks && vcpu->hooks.exit) {
            vcpu->hooks.exit(vcpu->hooks.opaque, "page_fault", gpa, PF_PRESENT | PF_WRITE);
        }
    }
    if (!is_ram) {
        hv_count_own(&vcpu->exits_mmio, 1);
    }
    outcome->end = is_ram ? MV_SOFT_DONE : MV_SOFT_MMIO;
    outcome->done_bytes = is_ram ? sizeof value : 0;
    outcome->mmio.gpa = gpa;
    outcome->mmio.size = sizeof value;
    return outcome->end;
}

static enum mv_soft_end write_physical(struct accel_vcpu *vcpu, mv_gpa_t gpa, uint64_t value,
                                       struct mv_soft_outcome *outcome)
{
    struct soft_target target;
    if (must_wait(vcpu, outcome)) {
        return MV_SOFT_RING_FULL;
    }
    if (soft_has_shadow(vcpu)) {
        return store_physical(vcpu, gpa, value, outcome);
    }
    enum mv_soft_end end = soft_translate_physical(vcpu, gpa, MV_ACCESS_WRITE, &target, outcome);
    if (end == MV_SOFT_DONE) {
        copy(target.host, &value, sizeof value, true);
        soft_leave(vcpu);
        outcome->done_bytes = sizeof value;
    } else if (end == MV_SOFT_MMIO) {
        hv_count_own(&vcpu->exits_mmio, 1);
        outcome->mmio.size = sizeof value;
    }
    return end;
}

static bool peek_physical(struct accel_vcpu *vcpu, mv_gpa_t gpa, uint64_t *ret)
{
    soft_enter(vcpu);
    const uint64_t *bytes = hv_guest_bytes(vcpu->hv, gpa, MV_ACCESS_READ);
    if (bytes) {
        *ret = pt_guest_load(bytes, 8);
    }
    soft_leave(vcpu);
    return bytes != NULL;
}

/* --- Instructions ----------------------------------------------------------------------------------- */

/* A shadowed guest's are intercepted. Not so with hybrid, whose shadow is never unsync. */
static bool intercept(struct accel_vcpu *vcpu, uint64_t *count, const char *reason)
{
    if (vcpu->vm->options.hv.mmu != HV_MMU_SHADOW) {
        return false;
    }
    soft_count_intercept(vcpu, count, reason);
    return true;
}

static void invlpg(struct accel_vcpu *vcpu, mv_gva_t gva)
{
    if (intercept(vcpu, &vcpu->exits_invlpg, "invlpg")) {
        hv_invalidate(vcpu->hv, gva);
    }
    hw_mmu_invlpg(vcpu->hw, gva);
}

static bool invpcid(struct accel_vcpu *vcpu, unsigned type, uint64_t pcid, mv_gva_t gva)
{
    if (!hw_mmu_invpcid(vcpu->hw, type, pcid, gva)) {
        return false;
    }
    if (intercept(vcpu, &vcpu->exits_invlpg, "invpcid")) {
        if (type == 0) {
            hv_invalidate(vcpu->hv, gva);
        } else {
            hv_invalidate_all(vcpu->hv);
            soft_set_root(vcpu);
        }
    }
    return true;
}

static void set_keys(struct accel_vcpu *vcpu, uint32_t pkru, uint32_t pkrs)
{
    hv_set_keys(vcpu->hv, pkru, pkrs);
    hw_mmu_set_keys(vcpu->hw, pkru, pkrs);
}

/* --- Windows: what soft.h does inline ----------------------------------------------------------------- */

_Static_assert(MV_SOFT_LINES == FRONT_ENTRIES && sizeof(struct mv_soft_line) == sizeof(struct front_entry) &&
                   offsetof(struct mv_soft_line, addend) == offsetof(struct front_entry, addend),
               "a line of a window is an entry of the front");
_Static_assert(offsetof(struct rendezvous_member, attention) == offsetof(struct rendezvous_member, inside) + 4,
               "a window looks behind `inside`");
_Static_assert(sizeof(atomic_uint) == sizeof(unsigned), "a window reads it as unsigned");

static void window(struct accel_vcpu *vcpu, struct mv_soft_window *ret)
{
    *ret = (struct mv_soft_window){.lines = &vcpu->lines,
                                   .pending = (const unsigned *)&vcpu->hv->requests.pending,
                                   .inside = &vcpu->hv->inside.inside,
                                   .fences = vcpu->hv->inside.fences};
}

/* --- Looking ---------------------------------------------------------------------------------------- */

static void count_tables(struct accel_vcpu *vcpu, struct mv_soft_counts *ret)
{
    struct hv_counters sum;
    struct hv_vm *hv = vcpu->vm->hv;
    pthread_mutex_lock(&hv->slots_lock);
    hv_counters_read(hv, &sum);
    pthread_mutex_unlock(&hv->slots_lock);
    ret->tables = sum.tables;
    ret->tables_built = sum.tables_built;
    ret->tables_zapped = sum.tables_zapped;
    ret->table_bytes = hv->mmu->table_bytes(hv);
}

static void counts(struct accel_vcpu *vcpu, struct mv_soft_counts *ret)
{
    const struct hw_counters *c = hw_mmu_counters(vcpu->hw);
    *ret = (struct mv_soft_counts){.accesses = c->accesses,
                                   .l1_misses = c->l1_misses,
                                   .tlb_misses = c->misses,
                                   .walks = c->walks,
                                   .walk_refs = c->refs_guest + c->refs_nested,
                                   .walk_refs_nested = c->refs_nested,
                                   .accessed_set = c->accessed_set,
                                   .dirty_set = c->dirty_set,
                                   .flushes = c->flushes,
                                   .guest_faults = c->faults + vcpu->faults_reflected,
                                   .exits_ept_violation = vcpu->exits[PT_EXIT_EPT_VIOLATION],
                                   .exits_ept_misconfig = vcpu->exits[PT_EXIT_EPT_MISCONFIG],
                                   .exits_npf = vcpu->exits[PT_EXIT_NPF],
                                   .exits_pml_full = vcpu->exits[PT_EXIT_PML_FULL],
                                   .exits_page_fault = vcpu->exits[PT_EXIT_PAGE_FAULT],
                                   .exits_table_write = vcpu->exits_table_write,
                                   .exits_cr3 = vcpu->exits_cr3,
                                   .exits_registers = vcpu->exits_registers,
                                   .exits_invlpg = vcpu->exits_invlpg,
                                   .exits_timer = vcpu->exits[PT_EXIT_TIMER],
                                   .exits_mmio = vcpu->exits_mmio,
                                   .exits_physical = vcpu->exits_physical};
    _Static_assert(MV_SOFT_WALK_REFS_MAX == HW_WALK_REFS_MAX, "one histogram");
    memcpy(ret->walk_histogram, c->histogram, sizeof ret->walk_histogram);
    for (unsigned i = 0; i < PT_EXIT_COUNT; i++) {
        ret->exits_total += i == PT_EXIT_NO_MEMORY ? 0 : vcpu->exits[i];
    }
    ret->exits_total += vcpu->exits_table_write + vcpu->exits_cr3 + vcpu->exits_registers + vcpu->exits_invlpg;
    ret->exits_total += vcpu->vm->options.hv.mmu == HV_MMU_NATIVE ? vcpu->exits_mmio : 0;
    count_tables(vcpu, ret);
}

static void hook_step(void *opaque, bool nested, unsigned level, uint64_t at, uint64_t entry)
{
    const struct accel_vcpu *vcpu = opaque;
    if (vcpu->hooks.step) {
        vcpu->hooks.step(vcpu->hooks.opaque, nested, level, at, entry);
    }
}

static void hook_fill(void *opaque, gva_t gva, gpa_t gpa, unsigned page_shift, unsigned rights)
{
    (void)rights;
    const struct accel_vcpu *vcpu = opaque;
    if (vcpu->hooks.fill) {
        vcpu->hooks.fill(vcpu->hooks.opaque, gva, gpa, page_shift);
    }
}

static void hook_flush(void *opaque, const char *what)
{
    const struct accel_vcpu *vcpu = opaque;
    if (vcpu->hooks.flush) {
        vcpu->hooks.flush(vcpu->hooks.opaque, what);
    }
}

static void set_hooks(struct accel_vcpu *vcpu, const struct mv_soft_hooks *hooks)
{
    vcpu->has_hooks = hooks != NULL;
    vcpu->hooks = hooks ? *hooks : (struct mv_soft_hooks){0};
    vcpu->hw_hooks = (struct hw_hooks){.opaque = vcpu, .step = hook_step, .fill = hook_fill, .flush = hook_flush};
    hw_mmu_set_hooks(vcpu->hw, hooks ? &vcpu->hw_hooks : NULL);
}

const struct accel_cpu_ops soft_cpu_ops = {
    .access = access,
    .touch = touch,
    .write_physical = write_physical,
    .peek_physical = peek_physical,
    .load_cr3 = soft_load_cr3,
    .invlpg = invlpg,
    .invpcid = invpcid,
    .set_keys = set_keys,
    .keys = soft_keys,
    .pdptrs = soft_pdptrs,
    .look_nested = soft_look_nested,
    .look_shadow = soft_look_shadow,
    .window = window,
    .pre_fault = soft_pre_fault,
    .protect_host = soft_protect_host,
    .age_host = soft_age_host,
    .set_shadow_pages = soft_set_shadow_pages,
    .shadow_pages = soft_shadow_pages,
    .shrink_shadow = soft_shrink_shadow,
    .recover_huge_pages = soft_recover_huge_pages,
    .set_policy = soft_set_policy,
    .counts = counts,
    .set_hooks = set_hooks,
};
