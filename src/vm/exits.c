// SPDX-License-Identifier: MIT
#include "vm/exits.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/addr.h"
#include "base/error.h"
#include "vm/coalesced.h"
#include "vm/convert.h"
#include "vm/walk.h"

#define RFLAGS_IF (UINT64_C(1) << 9)

/* <linux/kvm.h> of older kernels does not have it. */
#ifndef KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON
#define KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON 4
#endif

bool exit_is_pending(const struct kvm_run *run)
{
    return run->exit_reason == KVM_EXIT_IO || run->exit_reason == KVM_EXIT_MMIO ||
           run->exit_reason == KVM_EXIT_HYPERCALL;
}

static struct mv_attrs attrs_of(const struct mv_vcpu *vcpu)
{
    return (struct mv_attrs){.requester = (uint16_t)(vcpu->index + 1)};
}

/* --- accesses ---------------------------------------------------------------------------------- */

/* True for the first write to each ROM. */
static bool first_notice(struct mv_vm *vm, const struct mv_region *region)
{
    bool first = true;
    pthread_mutex_lock(&vm->lock);
    for (unsigned i = 0; i < vm->noticed_count; i++) {
        first = first && vm->noticed[i] != region;
    }
    if (first && vm->noticed_count == sizeof vm->noticed / sizeof vm->noticed[0]) {
        first = false; /* enough said */
    } else if (first) {
        vm->noticed[vm->noticed_count++] = region;
    }
    pthread_mutex_unlock(&vm->lock);
    return first;
}

static void notice_rom_write(struct mv_vcpu *vcpu, const struct mv_section *section, gpa_t gpa, unsigned length)
{
    const struct mv_vm_options *o = &vcpu->vm->options;
    atomic_fetch_add_explicit(&vcpu->vm->rom_writes, 1, memory_order_relaxed);
    if (o->notice && first_notice(vcpu->vm, section->region)) {
        char text[MV_ERROR_TEXT_SIZE];
        snprintf(text, sizeof text, "vCPU %u: wrote %u bytes at gpa " PRI_ADDR " to ROM %s, which did not change",
                 vcpu->index, length, gpa.raw, mv_region_name(section->region));
        o->notice(o->notice_opaque, text);
    }
}

/* An access went wrong: find out in what way, and count it. */
static void account(struct mv_vcpu *vcpu, struct mv_space *space, gpa_t gpa, unsigned length, bool write,
                    unsigned result)
{
    struct mv_vm *vm = vcpu->vm;
    struct mv_section section;
    if (result & (MV_DEVICE_ERROR | MV_ACCESS_ERROR)) {
        atomic_fetch_add_explicit(&vm->device_errors, 1, memory_order_relaxed);
        return;
    }
    const struct mv_view *view = mv_space_view(space);
    if (write && mv_view_lookup(view, gpa, &section) && section.hva.raw != 0 && section.readonly) {
        notice_rom_write(vcpu, &section, gpa, length);
    } else {
        atomic_fetch_add_explicit(&vm->unassigned, 1, memory_order_relaxed);
    }
    mv_view_release(view);
}

static void handle_mmio(struct mv_vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    struct mv_space *memory = vcpu->vm->options.memory;
    gpa_t gpa = mv_gpa(run->mmio.phys_addr);
    unsigned length = run->mmio.len <= sizeof run->mmio.data ? run->mmio.len : sizeof run->mmio.data;
    bool write = run->mmio.is_write != 0;
    unsigned result = write ? mv_space_write(memory, gpa, run->mmio.data, length, attrs_of(vcpu))
                            : mv_space_read(memory, gpa, run->mmio.data, length, attrs_of(vcpu));
    if (result != MV_OK) {
        account(vcpu, memory, gpa, length, write, result);
    }
}

/* `count` elements of one string instruction, all at the same port. */
static void handle_io(struct mv_vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    struct mv_space *io = vcpu->vm->options.io;
    gpa_t port = mv_gpa(run->io.port);
    unsigned char *data = (unsigned char *)run + run->io.data_offset;
    bool write = run->io.direction == KVM_EXIT_IO_OUT;
    for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
        unsigned result = write ? mv_space_write(io, port, data, run->io.size, attrs_of(vcpu))
                                : mv_space_read(io, port, data, run->io.size, attrs_of(vcpu));
        if (result != MV_OK) {
            account(vcpu, io, port, run->io.size, write, result);
        }
    }
}

/* --- ends -------------------------------------------------------------------------------------- */

static void handle_halt(struct mv_vcpu *vcpu)
{
    struct mv_vm *vm = vcpu->vm;
    struct kvm_regs regs = {0};
    (void)vm->ops->get_regs(vcpu->accel, &regs); /* for the report only */
    pthread_mutex_lock(&vm->lock);
    vcpu->activity = VCPU_HALTED;
    vcpu->halted_with_interrupts = regs.rflags & RFLAGS_IF;
    vcpu->halted_at = regs.rip;
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->lock);
}

/* "rip 0x..., which is gpa 0x... in scratch (i/o)". */
static void describe_rip(struct mv_vcpu *vcpu, char *ret, size_t size)
{
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct mv_section section;
    gpa_t gpa;
    if (vcpu->vm->ops->get_regs(vcpu->accel, &regs) < 0 || vcpu->vm->ops->get_sregs(vcpu->accel, &sregs) < 0) {
        snprintf(ret, size, "an unknown rip");
        return;
    }
    int n = snprintf(ret, size, "rip " PRI_ADDR, (uint64_t)regs.rip);
    if (n < 0 || (size_t)n >= size || !walk_to_gpa(vcpu->vm, &sregs, walk_next_instruction(&regs, &sregs), &gpa)) {
        return;
    }
    const struct mv_view *view = mv_space_view(vcpu->vm->options.memory);
    if (mv_view_lookup(view, gpa, &section)) {
        snprintf(ret + n, size - (size_t)n, ", which is gpa " PRI_ADDR " in %s (%s)", gpa.raw,
                 mv_region_name(section.region), mv_region_type(section.region));
    } else {
        snprintf(ret + n, size - (size_t)n, ", which is gpa " PRI_ADDR ", where nothing is", gpa.raw);
    }
    mv_view_release(view);
}

/* Stop with "vCPU N: <what> at rip ...". */
static void stop_at_rip(struct mv_vcpu *vcpu, enum mv_stop_reason reason, int status, const char *what)
{
    char where[160];
    char text[MV_ERROR_TEXT_SIZE];
    describe_rip(vcpu, where, sizeof where);
    snprintf(text, sizeof text, "vCPU %u: %.140s at %s", vcpu->index, what, where);
    mv_vm_stop(vcpu->vm, reason, status, text);
}

static const char *suberror_text(uint32_t suberror)
{
    switch (suberror) {
    case KVM_INTERNAL_ERROR_EMULATION: return "the accelerator cannot emulate the instruction";
    case KVM_INTERNAL_ERROR_SIMUL_EX: return "simultaneous exceptions";
    case KVM_INTERNAL_ERROR_DELIVERY_EV: return "an exit while an event was delivered";
    case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON: return "an exit that the accelerator did not expect";
    default: return "an internal error of the accelerator";
    }
}

static void handle_system_event(struct mv_vcpu *vcpu)
{
    char what[64];
    uint32_t type = vcpu->run->system_event.type;
    static const char *const names[] = {
        [KVM_SYSTEM_EVENT_SHUTDOWN] = "shutdown",
        [KVM_SYSTEM_EVENT_RESET] = "reset",
        [KVM_SYSTEM_EVENT_CRASH] = "crash",
    };
    const char *name = type < sizeof names / sizeof names[0] ? names[type] : NULL;
    snprintf(what, sizeof what, "system event %u (%s)", type, name ? name : "of no known name");
    stop_at_rip(vcpu, MV_STOP_SHUTDOWN, 0, what);
}

static void handle_unknown(struct mv_vcpu *vcpu, uint32_t reason)
{
    char what[96];
    const char *name = accel_exit_name(reason);
    snprintf(what, sizeof what, "exit %u (%s), for which this VM has no use", reason,
             name ? name : "of no known name");
    stop_at_rip(vcpu, MV_STOP_UNHANDLED_EXIT, 0, what);
}

static void handle_memory_fault(struct mv_vcpu *vcpu)
{
    struct mv_error err;
    int rc = convert_on_fault(vcpu, &err);
    if (rc < 0) {
        stop_at_rip(vcpu, MV_STOP_HOST_ERROR, rc, err.text);
    }
}

static void handle_entry_failure(struct mv_vcpu *vcpu)
{
    char what[96];
    snprintf(what, sizeof what, "the processor refuses the vCPU's state (hardware reason 0x%llx)",
             (unsigned long long)vcpu->run->fail_entry.hardware_entry_failure_reason);
    stop_at_rip(vcpu, MV_STOP_ENTRY_FAILED, 0, what);
}

static void handle_host_error(struct mv_vcpu *vcpu, int rc)
{
    char what[128];
    char buffer[64];
    snprintf(what, sizeof what, "the host refuses to run it (%s)", strerror_r(-rc, buffer, sizeof buffer));
    stop_at_rip(vcpu, MV_STOP_HOST_ERROR, rc, what);
}

/* What has no name here counts as unknown: an exit that is counted is one that is shown. */
static void count(struct mv_vcpu *vcpu, uint32_t reason)
{
    atomic_fetch_add_explicit(&vcpu->exits[accel_exit_name(reason) ? reason : KVM_EXIT_UNKNOWN], 1,
                              memory_order_relaxed);
}

void exit_handle(struct mv_vcpu *vcpu, int rc)
{
    coalesced_before_exit(vcpu->vm);
    if (rc == -EINTR) {
        count(vcpu, ACCEL_EXIT_INTERRUPTED);
        return;
    }
    if (rc < 0) {
        handle_host_error(vcpu, rc);
        return;
    }
    uint32_t reason = vcpu->run->exit_reason;
    count(vcpu, reason);
    switch (reason) {
    case KVM_EXIT_MMIO: handle_mmio(vcpu); break;
    case KVM_EXIT_IO: handle_io(vcpu); break;
    case KVM_EXIT_HLT: handle_halt(vcpu); break;
    case KVM_EXIT_HYPERCALL: convert_on_hypercall(vcpu); break;
    case KVM_EXIT_MEMORY_FAULT: handle_memory_fault(vcpu); break;
    case KVM_EXIT_DIRTY_RING_FULL: dirtyring_full(vcpu); break;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN: break; /* nothing to do: back into the guest */
    case KVM_EXIT_SHUTDOWN: stop_at_rip(vcpu, MV_STOP_SHUTDOWN, 0, "triple fault (shutdown)"); break;
    case KVM_EXIT_INTERNAL_ERROR:
        stop_at_rip(vcpu, MV_STOP_INTERNAL_ERROR, 0, suberror_text(vcpu->run->internal.suberror));
        break;
    case KVM_EXIT_FAIL_ENTRY: handle_entry_failure(vcpu); break;
    case KVM_EXIT_SYSTEM_EVENT: handle_system_event(vcpu); break;
    default: handle_unknown(vcpu, reason); break;
    }
}
