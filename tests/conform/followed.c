// SPDX-License-Identifier: MIT
#include "tests/conform/followed.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define RFLAGS_TF (UINT64_C(1) << 8)
#define RFLAGS_AC (UINT64_C(1) << 18)
#define VECTOR_PF 14
#define BYTES_MAX 256u /* of an access: an FXSAVE's would be 512 */

void followed_begin(struct followed *f, struct mv_vcpu *vcpu, struct stepped *real)
{
    *f = (struct followed){.vcpu = vcpu, .real = real};
}

static bool differ(struct followed *f, const struct step *step, const char *what, uint64_t at)
{
    snprintf(f->wrong, sizeof f->wrong, "rip %" PRIx64 " (instruction %" PRIu64 "): %s at %" PRIx64,
             (uint64_t)step->before.regs.rip, f->steps, what, at);
    return false;
}

/* How an access ended. MMIO is one that we do not make: it is the device's. */
static bool has_faulted(struct followed *f, enum mv_soft_end end)
{
    f->accesses++;
    return end == MV_SOFT_FAULT;
}

static bool read_bytes(struct followed *f, uint64_t gva, size_t size, enum mv_soft_mode mode,
                       struct mv_soft_outcome *outcome)
{
    uint8_t bytes[BYTES_MAX];
    size = size < sizeof bytes ? size : sizeof bytes;
    return !has_faulted(f, mv_soft_read(f->vcpu, mv_gva(gva), bytes, size, mode, outcome));
}

/* What the real guest has stored there, by its tables of before. */
static bool write_bytes(struct followed *f, const struct step *step, uint64_t gva, size_t size,
                        enum mv_soft_mode mode, struct mv_soft_outcome *outcome)
{
    uint8_t bytes[BYTES_MAX] = {0};
    size = size < sizeof bytes ? size : sizeof bytes;
    (void)stepped_read(f->real, &step->before, gva, bytes, size);
    f->stores++;
    return !has_faulted(f, mv_soft_write(f->vcpu, mv_gva(gva), bytes, size, mode, outcome));
}

/* --- The instruction ------------------------------------------------------------------------------------- */

static bool element(struct followed *f, const struct step *step, uint64_t n, struct mv_soft_outcome *outcome)
{
    const struct instruction *i = &step->instruction;
    bool is_write = false;
    for (unsigned pass = 0; pass < 2; pass++, is_write = true) {
        for (unsigned o = 0; o < i->operand_count; o++) {
            const struct instruction_operand *operand = &i->operands[o];
            uint64_t at = operand->gva + (uint64_t)((int64_t)n * operand->stride);
            bool is_wanted = is_write ? operand->is_written : operand->is_read;
            if (!is_wanted) {
                continue;
            }
            bool ok = is_write ? write_bytes(f, step, at, operand->size_bytes, MV_SOFT_EXPLICIT, outcome)
                               : read_bytes(f, at, operand->size_bytes, MV_SOFT_EXPLICIT, outcome);
            if (!ok) {
                return false;
            }
        }
    }
    return true;
}

/* False: an access has faulted, see outcome. */
static bool execute(struct followed *f, const struct step *step, struct mv_soft_outcome *outcome)
{
    const struct instruction *i = &step->instruction;
    uint8_t bytes[INSTRUCTION_BYTES_MAX];
    uint64_t at = instruction_address(&step->before);
    size_t size = i->length > 0 ? i->length : 1; /* of an unknown one the first byte is none */
    if (has_faulted(f, mv_soft_fetch(f->vcpu, mv_gva(at), bytes, size, outcome))) {
        return false;
    }
    if (outcome->end == MV_SOFT_DONE && memcmp(bytes, i->bytes, i->length) != 0) {
        return differ(f, step, "another instruction", at);
    }
    for (uint64_t n = 0; n < step->repetitions; n++) {
        if (!element(f, step, n, outcome)) {
            return false;
        }
    }
    return true;
}

static bool is_as_expected(struct followed *f, const struct step *step, bool ok,
                           const struct mv_soft_outcome *outcome)
{
    if (f->wrong[0]) {
        return false;
    }
    if (!ok && outcome->fault.vector != VECTOR_PF) {
        return differ(f, step, "a fault that is no page fault", outcome->fault.address.raw);
    }
    if (!ok && step->vector != VECTOR_PF) {
        return differ(f, step, "a page fault that the real one has not", outcome->fault.address.raw);
    }
    if (ok && step->vector == VECTOR_PF) {
        return differ(f, step, "no page fault, but the real one has", step->after.sregs.cr2);
    }
    if (!ok &&
        (outcome->fault.address.raw != step->after.sregs.cr2 || outcome->fault.error_code != step->error_code)) {
        return differ(f, step, "another page fault", outcome->fault.address.raw);
    }
    f->faults += !ok;
    f->supervisor_faults += !ok && cpu_ring(&step->before) == 0;
    return true;
}

/* --- What the processor adds ----------------------------------------------------------------------------------
 */

static bool implicit_read(struct followed *f, const struct step *step, uint64_t gva, size_t size)
{
    struct mv_soft_outcome outcome;
    return read_bytes(f, gva, size, MV_SOFT_IMPLICIT, &outcome) || differ(f, step, "an implicit read faults", gva);
}

static bool descriptor(struct followed *f, const struct step *step, unsigned selector, size_t size)
{
    uint64_t gdt = step->before.sregs.gdt.base;
    return (selector & ~3u) == 0 || implicit_read(f, step, gdt + (selector & ~7u), size);
}

/* As the real one has pushed it; TF is ours. */
static bool push_frame(struct followed *f, const struct step *step)
{
    struct mv_soft_outcome outcome;
    bool is_long = cpu_is_long(&step->before);
    unsigned word = is_long ? 8 : 4, count = is_long ? 5 : 3;
    uint64_t bottom = step->after.regs.rsp, flags_at = step->frame_gva + 2 * word;
    uint64_t top = step->frame_gva + (uint64_t)count * word;
    for (uint64_t at = top - word; at >= bottom; at -= word) {
        uint64_t value = 0;
        if (!stepped_read(f->real, &step->after, at, &value, word)) {
            return differ(f, step, "no frame", at);
        }
        value &= at == flags_at ? ~RFLAGS_TF : UINT64_MAX;
        f->pushes += step->before.sregs.cr0 >> 31; /* without paging there is nothing to shadow */
        if (has_faulted(f, mv_soft_write(f->vcpu, mv_gva(at), &value, word, MV_SOFT_IMPLICIT, &outcome))) {
            return differ(f, step, "a push of the processor's faults", at);
        }
    }
    return true;
}

static bool deliver(struct followed *f, const struct step *step)
{
    const struct kvm_sregs *s = &step->before.sregs;
    unsigned gate = cpu_is_long(&step->before) ? 16 : 8;
    return implicit_read(f, step, s->idt.base + gate * (unsigned)step->vector, gate) &&
           (cpu_ring(&step->before) == 0 || implicit_read(f, step, s->tr.base + 4, 8)) && push_frame(f, step) &&
           descriptor(f, step, step->after.sregs.cs.selector, 8);
}

static bool return_from_interrupt(struct followed *f, const struct step *step)
{
    struct mv_soft_outcome outcome;
    if (!read_bytes(f, step->before.regs.rsp, 40, MV_SOFT_EXPLICIT, &outcome)) {
        return differ(f, step, "the frame of an IRET faults", step->before.regs.rsp);
    }
    return descriptor(f, step, step->after.sregs.cs.selector, 8) &&
           descriptor(f, step, step->after.sregs.ss.selector, 8);
}

/* The descriptor of a TSS is marked as busy. */
static bool load_task_register(struct followed *f, const struct step *step)
{
    struct mv_soft_outcome outcome;
    uint64_t at = step->before.sregs.gdt.base + (step->instruction.selector & ~7u);
    return descriptor(f, step, step->instruction.selector, 16) &&
           (write_bytes(f, step, at, 8, MV_SOFT_IMPLICIT, &outcome) || differ(f, step, "a busy bit faults", at));
}

static bool is_other(const struct cpu_state *a, const struct cpu_state *b)
{
    return a->sregs.cr0 != b->sregs.cr0 || a->sregs.cr4 != b->sregs.cr4 || a->sregs.efer != b->sregs.efer ||
           cpu_ring(a) != cpu_ring(b) || a->sregs.cs.l != b->sregs.cs.l || a->sregs.gdt.base != b->sregs.gdt.base;
}

static bool change_registers(struct followed *f, const struct step *step)
{
    const struct cpu_state *before = &step->before, *after = &step->after;
    struct mv_error err = {0};
    if (step->vector == STEPPED_NO_VECTOR && step->instruction.kind == INSTRUCTION_LOAD_CR3 &&
        !mv_soft_load_cr3(f->vcpu, step->instruction.target)) {
        return differ(f, step, "a CR3 that cannot be", step->instruction.target);
    }
    if (is_other(before, after) && mv_vcpu_set_sregs(f->vcpu, &after->sregs, &err) < 0) {
        return differ(f, step, err.text, 0);
    }
    if ((before->regs.rflags ^ after->regs.rflags) & RFLAGS_AC) {
        return mv_vcpu_set_regs(f->vcpu, &after->regs, &err) == 0 || differ(f, step, err.text, 0);
    }
    return true;
}

bool followed_step(struct followed *f, const struct step *step)
{
    const struct instruction *i = &step->instruction;
    struct mv_soft_outcome outcome = {0};
    f->steps++;
    f->ring_3_steps += cpu_ring(&step->before) == 3;
    bool ok = execute(f, step, &outcome);
    if (!is_as_expected(f, step, ok, &outcome)) {
        return false;
    }
    if (step->vector != STEPPED_NO_VECTOR) {
        return deliver(f, step) && change_registers(f, step);
    }
    if (i->kind == INSTRUCTION_INVLPG) {
        mv_soft_invlpg(f->vcpu, mv_gva(i->target));
    } else if (i->kind == INSTRUCTION_IRET) {
        ok = return_from_interrupt(f, step);
    } else if (i->kind == INSTRUCTION_LOAD_TR) {
        ok = load_task_register(f, step);
    } else if (i->has_selector) {
        ok = descriptor(f, step, i->selector, 8);
    }
    return ok && change_registers(f, step);
}
