// SPDX-License-Identifier: MIT
#include "tests/conform/stepped.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>

#include <cmocka.h>

#include "accel/kvm/internal.h"
#include "vm/exits.h"
#include "vm/walk.h"

#define RFLAGS_TF (UINT64_C(1) << 8)
#define ERROR_CODES                                                                                               \
    UINT32_C(0x60227d00) /* Intel SDM, "Exceptions and Interrupts": vectors 8, 10-14, 17, 21, 29, 30 */
#define VECTOR_DB 1

bool stepped_has_error_code(int vector)
{
    return vector >= 0 && (ERROR_CODES >> vector & 1);
}

/* --- The guest's memory ---------------------------------------------------------------------------------------
 */

static bool copy(struct stepped *s, const struct cpu_state *state, uint64_t gva, void *bytes, size_t size,
                 bool write)
{
    for (size_t done = 0; done < size;) {
        size_t piece = 4096 - (gva + done) % 4096;
        gpa_t gpa;
        piece = piece < size - done ? piece : size - done;
        if (!walk_to_gpa(s->vm, &state->sregs, mv_gva(gva + done), &gpa)) {
            return false;
        }
        unsigned result =
            write ? mv_space_write(mv_vm_memory(s->vm), gpa, (char *)bytes + done, piece, MV_ATTRS_NONE)
                  : mv_space_read(mv_vm_memory(s->vm), gpa, (char *)bytes + done, piece, MV_ATTRS_NONE);
        if (result != MV_OK) {
            return false;
        }
        done += piece;
    }
    return true;
}

/* A device's registers are not looked at. */
bool stepped_read(struct stepped *s, const struct cpu_state *state, uint64_t gva, void *ret, size_t size_bytes)
{
    struct mv_section section;
    gpa_t gpa;
    if (!walk_to_gpa(s->vm, &state->sregs, mv_gva(gva), &gpa)) {
        return false;
    }
    const struct mv_view *view = mv_space_view(mv_vm_memory(s->vm));
    bool is_ram = mv_view_lookup(view, gpa, &section) && section.hva.raw != 0;
    mv_view_release(view);
    return is_ram && copy(s, state, gva, ret, size_bytes, false);
}

static uint64_t word_at(struct stepped *s, const struct cpu_state *state, uint64_t gva)
{
    uint64_t value = 0;
    if (!stepped_read(s, state, gva, &value, sizeof value)) {
        fail_msg("nothing can be read at %" PRIx64, gva);
    }
    return value;
}

static void set_word(struct stepped *s, const struct cpu_state *state, uint64_t gva, uint64_t value)
{
    assert_true(copy(s, state, gva, &value, sizeof value, true));
}

static bool decode_at(struct stepped *s, const struct cpu_state *state, struct instruction *ret)
{
    uint8_t bytes[INSTRUCTION_BYTES_MAX];
    uint64_t at = instruction_address(state);
    size_t size = sizeof bytes, in_page = 4096 - at % 4096;
    if (!stepped_read(s, state, at, bytes, size)) {
        size = in_page < size ? in_page : size; /* what is behind its end may be anything */
        if (!stepped_read(s, state, at, bytes, size)) {
            return false;
        }
    }
    return instruction_decode(bytes, size, state, ret);
}

/* --- The vCPU ---------------------------------------------------------------------------------------------------
 */

static void read_state(struct stepped *s, struct cpu_state *ret)
{
    struct mv_error err = {0};
    assert_int_equal(mv_vcpu_get_regs(s->vcpu, &ret->regs, &err), 0);
    assert_int_equal(mv_vcpu_get_sregs(s->vcpu, &ret->sregs, &err), 0);
    ret->regs.rflags &= ~RFLAGS_TF;
}

static void ask_for_steps(struct stepped *s)
{
    struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP};
    assert_int_equal(ioctl(s->vcpu->accel->vcpu_fd, KVM_SET_GUEST_DEBUG, &debug), 0);
}

/* Until KVM says something, of which the board's devices get their part. @return whether it is a step's end */
static bool run(struct stepped *s)
{
    int rc;
    do {
        rc = ioctl(s->vcpu->accel->vcpu_fd, KVM_RUN, 0UL);
    } while (rc < 0 && errno == EINTR);
    uint32_t reason = s->vcpu->run->exit_reason;
    bool is_step = rc == 0 && reason == KVM_EXIT_DEBUG;
    if (!is_step) {
        exit_handle(s->vcpu, rc < 0 ? -errno : 0);
        s->is_over = rc < 0 || reason == KVM_EXIT_HLT || atomic_load(&s->vm->stopping);
    }
    return is_step;
}

void stepped_begin(struct stepped *s, struct mv_vm *vm, struct mv_vcpu *vcpu)
{
    *s = (struct stepped){.vm = vm, .vcpu = vcpu};
    ask_for_steps(s);
    read_state(s, &s->now);
}

/* --- Exceptions ------------------------------------------------------------------------------------------ */

static uint64_t handler_of(struct stepped *s, const struct cpu_state *state, int vector)
{
    unsigned size = cpu_is_long(state) ? 16 : 8, offset = size * (unsigned)vector;
    uint64_t low, high = 0, gate = state->sregs.idt.base + offset;
    if (offset + size - 1 > state->sregs.idt.limit || !stepped_read(s, state, gate, &low, 8) ||
        (size == 16 && !stepped_read(s, state, gate + 8, &high, 8)) || !(low >> 47 & 1)) {
        return 0;
    }
    return (low & 0xffff) | (low >> 32 & 0xffff0000) | high << 32;
}

static struct cpu_state at_handler(struct stepped *s, const struct cpu_state *in_ring_0, int vector)
{
    struct cpu_state state = *in_ring_0;
    state.regs.rip = handler_of(s, in_ring_0, vector);
    return state;
}

static void learn_handlers(struct stepped *s, const struct cpu_state *in_ring_0)
{
    s->handlers_of = in_ring_0->sregs.idt.base;
    for (unsigned v = 0; v < STEPPED_VECTORS; v++) {
        struct cpu_state state = at_handler(s, in_ring_0, (int)v);
        struct instruction first;
        s->after_first[v] = 0;
        if (state.regs.rip != 0 && decode_at(s, &state, &first)) {
            s->after_first[v] = first.kind == INSTRUCTION_JUMP ? first.target : state.regs.rip + first.length;
        }
    }
}

/* Where RIP is, ring 0 has executed one instruction of an exception's handler. */
static int vector_of(struct stepped *s, const struct cpu_state *state)
{
    if (cpu_ring(state) != 0 || !(state->sregs.cr0 & 1)) {
        return STEPPED_NO_VECTOR;
    }
    if (s->handlers_of != state->sregs.idt.base) {
        learn_handlers(s, state);
    }
    for (unsigned v = 0; v < STEPPED_VECTORS; v++) {
        if (s->after_first[v] != 0 && s->after_first[v] == state->regs.rip) {
            return (int)v;
        }
    }
    return STEPPED_NO_VECTOR;
}

/* Where the processor has put RIP, CS and RFLAGS, and in long mode RSP and SS. */
static uint64_t frame_of(struct stepped *s, const struct cpu_state *before, const struct cpu_state *in_ring_0)
{
    if (!cpu_is_long(before)) {
        return before->regs.rsp - 12;
    }
    uint64_t top = cpu_ring(before) == 0 ? before->regs.rsp : word_at(s, in_ring_0, before->sregs.tr.base + 4);
    return (top & ~UINT64_C(15)) - 40;
}

/* The instruction ended with an exception; `seen` is one instruction later. */
static void tell_exception(struct stepped *s, struct step *ret, const struct cpu_state *seen, int vector)
{
    struct cpu_state entry = at_handler(s, seen, vector);
    unsigned word = cpu_is_long(seen) ? 8 : 4;
    ret->vector = vector;
    ret->frame_gva = frame_of(s, &ret->before, seen);
    entry.regs.rsp = ret->frame_gva - (stepped_has_error_code(vector) ? word : 0);
    ret->error_code = stepped_has_error_code(vector) ? (uint32_t)word_at(s, seen, entry.regs.rsp) : 0;
    ret->after = entry;
    s->pending = (struct step){.before = entry, .after = *seen, .vector = STEPPED_NO_VECTOR, .repetitions = 1};
    assert_true(decode_at(s, &entry, &s->pending.instruction));
    s->has_pending = true;
    s->is_in_ring_3 = false;
}

/* --- Ring 3 ---------------------------------------------------------------------------------------------- */

static struct cpu_state state_of_frame(struct stepped *s, const struct cpu_state *now, uint64_t frame)
{
    struct cpu_state ret = *now;
    ret.regs.rip = word_at(s, now, frame);
    ret.sregs.cs.selector = (uint16_t)word_at(s, now, frame + 8);
    ret.regs.rflags = word_at(s, now, frame + 16) & ~RFLAGS_TF;
    ret.regs.rsp = word_at(s, now, frame + 24);
    ret.sregs.ss.selector = (uint16_t)word_at(s, now, frame + 32);
    ret.sregs.cs.dpl = ret.sregs.ss.dpl = ret.sregs.cs.selector & 3;
    return ret;
}

static void set_trap_flag(struct stepped *s, const struct cpu_state *now, uint64_t frame)
{
    set_word(s, now, frame + 16, word_at(s, now, frame + 16) | RFLAGS_TF);
}

/* Such a KVM does not stop behind an IRET, but behind the instruction that it leads to. */
static void return_from_interrupt(struct stepped *s, struct step *ret)
{
    uint64_t frame = s->now.regs.rsp;
    ret->after = state_of_frame(s, &s->now, frame);
    if (cpu_ring(&ret->after) == 3) {
        set_trap_flag(s, &s->now, frame);
        s->iret_rip = s->now.regs.rip;
        s->is_in_ring_3 = true;
    }
    s->now = ret->after;
}

/* The #DB after an instruction of ring 3: as if it had not been. */
static void undo_trap(struct stepped *s, struct step *ret, const struct cpu_state *seen)
{
    struct step trap = {.before = ret->before};
    tell_exception(s, &trap, seen, VECTOR_DB);
    s->has_pending = false;
    s->is_in_ring_3 = true;
    ret->after = state_of_frame(s, seen, trap.frame_gva);
    ret->after.sregs.cr2 = ret->before.sregs.cr2;
    set_trap_flag(s, seen, trap.frame_gva);
    struct kvm_regs back = seen->regs;
    struct mv_error err = {0};
    back.rip = s->iret_rip;
    back.rsp = trap.frame_gva;
    assert_int_equal(mv_vcpu_set_regs(s->vcpu, &back, &err), 0);
}

/* @return whether the instruction has come to an end */
static bool end_in_ring_3(struct stepped *s, struct step *ret, const struct cpu_state *seen)
{
    if (cpu_ring(seen) == 3) { /* KVM has emulated it: a device's */
        if (seen->regs.rip == ret->before.regs.rip) {
            return false;
        }
        ask_for_steps(s); /* TF is lost then */
        ret->after = *seen;
        return true;
    }
    int vector = vector_of(s, seen);
    if (vector == STEPPED_NO_VECTOR) {
        fail_msg("ring 3 has come to rip %llx", seen->regs.rip);
    }
    if (vector == VECTOR_DB) {
        undo_trap(s, ret, seen);
    } else {
        tell_exception(s, ret, seen, vector);
    }
    return true;
}

/* --- Ring 0 ---------------------------------------------------------------------------------------------- */

static bool end_in_ring_0(struct stepped *s, struct step *ret, const struct cpu_state *seen, bool is_step)
{
    const struct kvm_regs *before = &ret->before.regs, *after = &seen->regs;
    const struct instruction *i = &ret->instruction;
    bool has_moved = after->rip != before->rip || (i->is_repeated && after->rcx != before->rcx);
    if (!has_moved && !(is_step && i->is_branch)) {
        return s->is_over; /* a device has yet to answer */
    }
    if (i->is_repeated) {
        ret->repetitions = before->rcx - after->rcx;
    }
    int vector = after->rip == before->rip + i->length ? STEPPED_NO_VECTOR : vector_of(s, seen);
    if (vector != STEPPED_NO_VECTOR) {
        tell_exception(s, ret, seen, vector);
        return true;
    }
    if (!i->is_branch && after->rip != before->rip + i->length && !i->is_repeated) {
        fail_msg("rip %llx after %llx, which is %u bytes long", after->rip, before->rip, i->length);
    }
    ret->after = *seen;
    return true;
}

bool stepped_next(struct stepped *s, struct step *ret)
{
    struct cpu_state seen;
    if (s->has_pending) {
        *ret = s->pending;
        s->has_pending = false;
        s->now = ret->after;
        return true;
    }
    if (s->is_over) {
        return false;
    }
    *ret = (struct step){.before = s->now, .vector = STEPPED_NO_VECTOR, .repetitions = 1};
    if (!decode_at(s, &s->now, &ret->instruction)) {
        ret->instruction = (struct instruction){.is_branch = true}; /* its fetch is a fault, or nothing more is */
    }
    if (ret->instruction.kind == INSTRUCTION_IRET && cpu_is_long(&s->now)) {
        return_from_interrupt(s, ret);
        return true;
    }
    if (ret->instruction.kind == INSTRUCTION_NO_STOP && !s->is_in_ring_3) {
        ret->after = s->now;
        ret->after.regs.rip += ret->instruction.length;
        s->now = ret->after;
        return true;
    }
    for (bool is_done = false; !is_done;) {
        bool is_step = run(s);
        read_state(s, &seen);
        if (s->is_over && seen.regs.rip == s->now.regs.rip) {
            return false;
        }
        is_done = s->is_in_ring_3 ? end_in_ring_3(s, ret, &seen) : end_in_ring_0(s, ret, &seen, is_step);
    }
    s->is_over |= ret->instruction.kind == INSTRUCTION_HALT; /* by steps KVM would go on */
    s->now = ret->after;
    return true;
}
