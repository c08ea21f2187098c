// SPDX-License-Identifier: MIT
#include "vm/vm.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/os.h"
#include "machine/dirty.h"
#include "machine/machine.h"
#include "machine/space.h"
#include "vm/coalesced.h"
#include "vm/gate.h"
#include "vm/host.h"
#include "vm/ioeventfd.h"
#include "vm/vcpu.h"

/* Slots change after a view's other listeners had their say on additions, as in QEMU. */
#define SLOT_LISTENER_PRIORITY 10

/* --- the slots' way to the accelerator --------------------------------------------------------- */

static int port_set_slot(void *opaque, const struct kvm_userspace_memory_region *slot)
{
    struct mv_vm *vm = opaque;
    return vm->ops->set_slot(vm->accel, slot);
}

static int port_get_dirty_log(void *opaque, const struct kvm_dirty_log *log)
{
    struct mv_vm *vm = opaque;
    return vm->ops->get_dirty_log(vm->accel, log);
}

static int port_clear_dirty_log(void *opaque, const struct kvm_clear_dirty_log *log)
{
    struct mv_vm *vm = opaque;
    return vm->ops->clear_dirty_log(vm->accel, log);
}

static int port_harvest_dirty_log(void *opaque, uint32_t slot, slot_dirty_fn *each, void *each_opaque)
{
    struct mv_vm *vm = opaque;
    return vm->ops->harvest_dirty_log(vm->accel, slot, each, each_opaque);
}

static int port_create_guest_memfd(void *opaque, uint64_t size_bytes)
{
    struct mv_vm *vm = opaque;
    return vm->ops->create_guest_memfd(vm->accel, size_bytes);
}

static int port_set_private_slot(void *opaque, const struct kvm_userspace_memory_region *slot, int guest_memfd,
                                 uint64_t offset_bytes)
{
    struct mv_vm *vm = opaque;
    return vm->ops->set_private_slot(vm->accel, slot, guest_memfd, offset_bytes);
}

static int port_set_attributes(void *opaque, uint64_t gpa, uint64_t size_bytes, uint64_t attributes)
{
    struct mv_vm *vm = opaque;
    return vm->ops->set_attributes(vm->accel, gpa, size_bytes, attributes);
}

static void port_reap(void *opaque)
{
    dirtyring_reap(opaque);
}

static void port_hold_vcpus(void *opaque)
{
    gate_close(opaque);
}

static void port_release_vcpus(void *opaque)
{
    gate_open(opaque);
}

static int give_memory(struct mv_vm *vm, struct mv_error *err)
{
    const bool rings = vm->options.dirty_ring_entries != 0;
    const bool in_place = !rings && vm->ops->dirty_log_is_in_place && vm->ops->dirty_log_is_in_place(vm->accel);
    const bool manual = !rings && !in_place && vm->ops->dirty_log_is_manual(vm->accel);
    struct slot_port port = {
        .opaque = vm,
        .set_slot = port_set_slot,
        .hold_vcpus = port_hold_vcpus,
        .release_vcpus = port_release_vcpus,
        .get_dirty_log = rings ? NULL : port_get_dirty_log,
        .clear_dirty_log = manual ? port_clear_dirty_log : NULL,
        .harvest_dirty_log = in_place ? port_harvest_dirty_log : NULL,
        .reap = rings ? port_reap : NULL,
    };
    if (vm->ops->has_guest_memfds(vm->accel)) {
        port.create_guest_memfd = port_create_guest_memfd;
        port.set_private_slot = port_set_private_slot;
        if (vm->ops->attributes(vm->accel) & KVM_MEMORY_ATTRIBUTE_PRIVATE) {
            port.set_attributes = port_set_attributes;
        }
    }
    struct slot_limits limits = {
        .max_slots = vm->ops->max_slots(vm->accel),
        .max_slot_bytes = ACCEL_SLOT_BYTES_MAX,
        .page_bytes = os_page_size(),
        .readonly_slots = vm->ops->has_readonly_slots(vm->accel),
    };
    if (vm->options.max_slots != 0 && vm->options.max_slots < limits.max_slots) {
        limits.max_slots = vm->options.max_slots;
    }
    vm->slots = slots_create(&port, &limits);
    if (!vm->slots) {
        return error_set(err, -ENOMEM, "no-memory", "slots", "slots: out of memory");
    }
    return mv_listener_create(vm->options.memory, rings ? &slots_ring_listener_ops : &slots_listener_ops,
                              vm->slots, SLOT_LISTENER_PRIORITY, &vm->listener, err);
}

/* What is done in the kernel instead of calling handlers. */
static int give_watches(struct mv_vm *vm, struct mv_error *err)
{
    const struct {
        struct mv_space *space;
        const struct mv_listener_ops *ops;
        struct mv_listener **listener;
    } watches[] = {
        {vm->options.memory, &ioeventfd_memory_ops, &vm->memory_events},
        {vm->options.io, &ioeventfd_io_ops, &vm->io_events},
        {vm->options.memory, &coalesced_memory_ops, &vm->memory_zones},
        {vm->options.io, &coalesced_io_ops, &vm->io_zones},
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof watches / sizeof watches[0] && rc == 0; i++) {
        rc = mv_listener_create(watches[i].space, watches[i].ops, vm, SLOT_LISTENER_PRIORITY, watches[i].listener,
                                err);
    }
    return rc;
}

/* --- making and ending ------------------------------------------------------------------------- */

static int check_options(const struct mv_vm_options *options, const struct accel **ret_ops, struct mv_error *err)
{
    const char *name = options->accel ? options->accel : "(none)";
    *ret_ops = options->accel ? accel_by_name(options->accel) : NULL;
    if (!*ret_ops) {
        return error_set(err, -EINVAL, "no-accel", name, "accelerator %s: there is none of that name", name);
    }
    if (!options->memory || !options->io) {
        return error_set(err, -EINVAL, "no-space", name, "VM: it needs a memory space and an I/O space");
    }
    if (options->kick_signal < 0 || options->kick_signal > SIGRTMAX) {
        return error_set(err, -EINVAL, "bad-signal", name, "VM: %d is no signal", options->kick_signal);
    }
    const uint32_t entries = options->dirty_ring_entries;
    if ((entries & (entries - 1)) != 0 || (entries != 0 && options->dirty_initially_set)) {
        return error_set(err, -EINVAL, "bad-ring", name,
                         "VM: dirty rings of %" PRIu32 " entries%s: it must be a power of two%s", entries,
                         options->dirty_initially_set ? " that are full of dirty pages at first" : "",
                         options->dirty_initially_set ? ", and only bitmaps can be that" : "");
    }
    return 0;
}

/* What is asked of the accelerator itself. */
static int make_accel(struct mv_vm *vm, const char *properties, struct mv_error *err)
{
    const struct accel_vm_options options = {
        .properties = properties,
        .private_pages = vm->options.private_pages,
        .dirty_ring_entries = vm->options.dirty_ring_entries,
        .dirty_initially_set = vm->options.dirty_initially_set,
    };
    int rc = dirtyring_init(vm);
    if (rc < 0) {
        return error_set(err, rc, "no-memory", "vm", "VM: out of memory");
    }
    return vm->ops->vm_create(&options, &vm->accel, err);
}

int mv_vm_create(const struct mv_vm_options *options, struct mv_vm **ret, struct mv_error *err)
{
    const struct accel *ops;
    int rc = check_options(options, &ops, err);
    if (rc < 0) {
        return rc;
    }
    struct mv_vm *vm = calloc(1, sizeof *vm);
    if (!vm) {
        return error_set(err, -ENOMEM, "no-memory", "vm", "VM: out of memory");
    }
    vm->options = *options;
    vm->options.accel = ops->name;
    vm->options.kick_signal = options->kick_signal ? options->kick_signal : SIGRTMIN;
    vm->ops = ops;
    pthread_mutex_init(&vm->joining, NULL);
    pthread_mutex_init(&vm->lock, NULL);
    pthread_cond_init(&vm->changed, NULL);
    rc = ops->cpu ? 0 : gate_prepare_signal(vm->options.kick_signal); /* else there are no threads to kick */
    if (rc < 0) {
        error_host(err, rc, "vm", "VM: signal %d cannot be used", vm->options.kick_signal);
    } else {
        rc = make_accel(vm, accel_properties(options->accel), err);
    }
    if (rc == 0) {
        rc = give_memory(vm, err);
    }
    if (rc == 0) {
        rc = give_watches(vm, err);
    }
    if (rc == 0) {
        rc = host_watch(vm, err);
    }
    if (rc < 0) {
        mv_vm_destroy(vm);
        return rc;
    }
    *ret = vm;
    return 0;
}

/* Their logs go with them: what guests wrote is marked before. */
static void end_slots(struct mv_vm *vm)
{
    struct mv_machine *machine = vm->options.memory->machine;
    machine_lock(machine);
    slots_sync(vm->slots);
    slots_end(vm->slots);
    machine_unlock(machine);
}

void mv_vm_destroy(struct mv_vm *vm)
{
    if (!vm) {
        return;
    }
    struct mv_stop ignored;
    mv_vm_stop(vm, MV_STOP_REQUEST, 0, "the VM is destroyed");
    mv_vm_wait(vm, &ignored);
    dirtyring_end(vm);
    host_unwatch(vm);
    coalesced_end(vm);
    mv_listener_destroy(vm->io_zones);
    mv_listener_destroy(vm->memory_zones);
    mv_listener_destroy(vm->io_events);
    mv_listener_destroy(vm->memory_events);
    if (vm->listener) {
        end_slots(vm);
        mv_listener_destroy(vm->listener);
    }
    dirtyring_finish(vm);
    slots_destroy(vm->slots);
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        vcpu_destroy(vm->vcpus[i]);
    }
    if (vm->accel) {
        vm->ops->vm_destroy(vm->accel);
    }
    pthread_cond_destroy(&vm->changed);
    pthread_mutex_destroy(&vm->lock);
    pthread_mutex_destroy(&vm->joining);
    free(vm);
}

int vm_check_idle(struct mv_vm *vm, struct mv_error *err)
{
    pthread_mutex_lock(&vm->lock);
    bool idle = vm->phase != VM_STARTED || (atomic_load(&vm->pauses) != 0 && gate_all_quiet(vm));
    pthread_mutex_unlock(&vm->lock);
    return idle ? 0 : error_set(err, -EBUSY, "running", "vm", "VM: it is running");
}

int mv_vm_add_vcpu(struct mv_vm *vm, struct mv_vcpu **ret, struct mv_error *err)
{
    pthread_mutex_lock(&vm->lock);
    bool made = vm->phase == VM_MADE;
    pthread_mutex_unlock(&vm->lock);
    if (!made) {
        return error_set(err, -EBUSY, "running", "vm", "VM: vCPUs cannot be added after its start");
    }
    if (vm->vcpu_count == VM_VCPUS_MAX) {
        return error_set(err, -ENOSPC, "too-many-vcpus", "vm", "VM: it has %u vCPUs, and no more can be had",
                         VM_VCPUS_MAX);
    }
    struct mv_vcpu *vcpu;
    int rc = vcpu_create(vm, vm->vcpu_count, &vcpu, err);
    if (rc < 0) {
        return rc;
    }
    const struct accel_dirty_ring ring = vm->ops->dirty_ring(vcpu->accel);
    vcpu->ring = (struct dirty_ring){.entries = ring.entries, .count = ring.count};
    pthread_mutex_lock(&vm->lock); /* a commit in another thread may be closing the gate */
    vm->vcpus[vm->vcpu_count++] = vcpu;
    pthread_mutex_unlock(&vm->lock);
    coalesced_start(vm);
    if (ret) {
        *ret = vcpu;
    }
    return 0;
}

struct mv_space *mv_vm_memory(const struct mv_vm *vm)
{
    return vm->options.memory;
}

struct mv_space *mv_vm_io(const struct mv_vm *vm)
{
    return vm->options.io;
}

unsigned mv_vm_vcpu_count(const struct mv_vm *vm)
{
    return vm->vcpu_count;
}

struct mv_vcpu *mv_vm_vcpu(struct mv_vm *vm, unsigned index)
{
    return index < vm->vcpu_count ? vm->vcpus[index] : NULL;
}

/* --- running ----------------------------------------------------------------------------------- */

int mv_vm_start(struct mv_vm *vm, struct mv_error *err)
{
    int rc = 0;
    if (vm->ops->cpu) {
        return error_set(err, -ENOTSUP, "no-cpu", vm->ops->name,
                         "accelerator %s: it executes no instructions; its vCPUs are for a caller's own CPU",
                         vm->ops->name);
    }
    pthread_mutex_lock(&vm->lock);
    if (vm->phase != VM_MADE) {
        pthread_mutex_unlock(&vm->lock);
        return error_set(err, -EBUSY, "running", "vm", "VM: it was started before");
    }
    if (vm->vcpu_count == 0) {
        pthread_mutex_unlock(&vm->lock);
        return error_set(err, -EINVAL, "no-vcpu", "vm", "VM: it has no vCPU to start");
    }
    vm->phase = VM_STARTED;
    sigset_t before;
    gate_block_signals(&before);
    rc = dirtyring_start(vm);
    for (unsigned i = 0; i < vm->vcpu_count && rc == 0; i++) {
        rc = -pthread_create(&vm->vcpus[i]->thread, NULL, vcpu_thread, vm->vcpus[i]);
        vm->vcpus[i]->has_thread = rc == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0 && atomic_load(&vm->pauses) != 0) {
        gate_wait_quiet(vm);
    }
    pthread_mutex_unlock(&vm->lock);
    if (rc < 0) {
        struct mv_stop ignored;
        error_host(err, rc, "vm", "VM: a thread of it cannot be made");
        mv_vm_stop(vm, MV_STOP_HOST_ERROR, rc, "a thread of it could not be made");
        mv_vm_wait(vm, &ignored);
    }
    return rc;
}

void mv_vm_wait(struct mv_vm *vm, struct mv_stop *ret)
{
    pthread_mutex_lock(&vm->joining);
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        pthread_mutex_lock(&vm->lock);
        bool join = vm->vcpus[i]->has_thread;
        pthread_mutex_unlock(&vm->lock);
        if (join) {
            pthread_join(vm->vcpus[i]->thread, NULL);
            pthread_mutex_lock(&vm->lock);
            vm->vcpus[i]->has_thread = false;
            pthread_mutex_unlock(&vm->lock);
        }
    }
    pthread_mutex_lock(&vm->lock);
    if (vm->phase == VM_STARTED) {
        vm->phase = VM_JOINED;
    }
    *ret = vm->stop;
    pthread_mutex_unlock(&vm->lock);
    pthread_mutex_unlock(&vm->joining);
    coalesced_before_exit(vm);
}

int mv_vm_run(struct mv_vm *vm, struct mv_stop *ret, struct mv_error *err)
{
    int rc = mv_vm_start(vm, err);
    if (rc == 0) {
        mv_vm_wait(vm, ret);
    }
    return rc;
}

void mv_vm_pause(struct mv_vm *vm)
{
    dirty_pause(vm->options.memory->machine);
    gate_pause(vm);
}

void mv_vm_resume(struct mv_vm *vm)
{
    dirty_resume(vm->options.memory->machine); /* before the guest writes again */
    gate_resume(vm);
}

enum mv_vm_state mv_vm_state(struct mv_vm *vm)
{
    enum mv_vm_state state = MV_VM_RUNNING;
    pthread_mutex_lock(&vm->lock);
    if (atomic_load(&vm->stopping)) {
        state = MV_VM_STOPPED;
    } else if (vm->phase == VM_MADE) {
        state = MV_VM_MADE;
    } else if (atomic_load(&vm->pauses) != 0) {
        state = MV_VM_PAUSED;
    }
    pthread_mutex_unlock(&vm->lock);
    return state;
}

int vm_current_vcpu(const struct mv_vm *vm)
{
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        if (vm->vcpus[i]->has_thread && pthread_equal(vm->vcpus[i]->thread, pthread_self())) {
            return (int)i;
        }
    }
    return -1;
}

void mv_vm_stop(struct mv_vm *vm, enum mv_stop_reason reason, int status, const char *text)
{
    pthread_mutex_lock(&vm->lock);
    if (vm->stop.reason == MV_STOP_NONE) {
        vm->stop = (struct mv_stop){.reason = reason, .status = status, .vcpu = vm_current_vcpu(vm)};
        snprintf(vm->stop.text, sizeof vm->stop.text, "%s", text ? text : "");
    }
    atomic_store(&vm->stopping, true);
    gate_kick_all(vm);
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->lock);
}

const char *mv_stop_reason_name(enum mv_stop_reason reason)
{
    switch (reason) {
    case MV_STOP_NONE: return "none";
    case MV_STOP_EXIT: return "exit";
    case MV_STOP_REQUEST: return "request";
    case MV_STOP_SHUTDOWN: return "shutdown";
    case MV_STOP_HALTED: return "halted";
    case MV_STOP_INTERNAL_ERROR: return "internal-error";
    case MV_STOP_ENTRY_FAILED: return "entry-failed";
    case MV_STOP_UNHANDLED_EXIT: return "unhandled-exit";
    case MV_STOP_HOST_ERROR: return "host-error";
    }
    return "unknown";
}

/* --- interprocessor interrupts ----------------------------------------------------------------- */

static void request(struct mv_vm *vm, unsigned index, enum vcpu_request what, uint8_t vector)
{
    if (index >= vm->vcpu_count) {
        return;
    }
    struct mv_vcpu *vcpu = vm->vcpus[index];
    pthread_mutex_lock(&vm->lock);
    if (what == VCPU_REQUEST_SIPI) {
        vcpu->sipi_vector = vector;
    }
    atomic_fetch_or(&vcpu->requests, (unsigned)what);
    gate_kick(vcpu);
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->lock);
}

void mv_vm_init_ipi(struct mv_vm *vm, unsigned index)
{
    request(vm, index, VCPU_REQUEST_INIT, 0);
}

void mv_vm_startup_ipi(struct mv_vm *vm, unsigned index, uint8_t vector)
{
    request(vm, index, VCPU_REQUEST_SIPI, vector);
}

/* --- registers --------------------------------------------------------------------------------- */

static int register_result(struct mv_vcpu *vcpu, int rc, const char *what, struct mv_error *err)
{
    return rc < 0 ? error_host(err, rc, "vcpu", "vCPU %u: its %s", vcpu->index, what) : 0;
}

int mv_vcpu_get_regs(struct mv_vcpu *vcpu, struct kvm_regs *ret, struct mv_error *err)
{
    int rc = vm_check_idle(vcpu->vm, err);
    return rc < 0
               ? rc
               : register_result(vcpu, vcpu->vm->ops->get_regs(vcpu->accel, ret), "registers cannot be read", err);
}

int mv_vcpu_set_regs(struct mv_vcpu *vcpu, const struct kvm_regs *regs, struct mv_error *err)
{
    int rc = vm_check_idle(vcpu->vm, err);
    return rc < 0
               ? rc
               : register_result(vcpu, vcpu->vm->ops->set_regs(vcpu->accel, regs), "registers cannot be set", err);
}

int mv_vcpu_get_sregs(struct mv_vcpu *vcpu, struct kvm_sregs *ret, struct mv_error *err)
{
    int rc = vm_check_idle(vcpu->vm, err);
    return rc < 0 ? rc
                  : register_result(vcpu, vcpu->vm->ops->get_sregs(vcpu->accel, ret),
                                    "special registers cannot be read", err);
}

int mv_vcpu_set_sregs(struct mv_vcpu *vcpu, const struct kvm_sregs *sregs, struct mv_error *err)
{
    int rc = vm_check_idle(vcpu->vm, err);
    return rc < 0 ? rc
                  : register_result(vcpu, vcpu->vm->ops->set_sregs(vcpu->accel, sregs),
                                    "special registers cannot be set", err);
}

int mv_vcpu_translate(struct mv_vcpu *vcpu, mv_gva_t gva, struct mv_translation *ret, struct mv_error *err)
{
    struct kvm_translation t = {.linear_address = gva.raw};
    int rc = vm_check_idle(vcpu->vm, err);
    if (rc == 0) {
        rc = register_result(vcpu, vcpu->vm->ops->translate(vcpu->accel, &t), "addresses cannot be translated",
                             err);
    }
    if (rc < 0) {
        return rc;
    }
    *ret = (struct mv_translation){.valid = t.valid != 0, .gpa = mv_gpa(t.valid ? t.physical_address : 0)};
    return 0;
}

/* --- looking ----------------------------------------------------------------------------------- */

size_t mv_vm_slots(struct mv_vm *vm, struct mv_slot *ret, size_t capacity)
{
    return slots_copy(vm->slots, ret, capacity);
}

bool mv_vm_has_slot(struct mv_vm *vm, const struct mv_space *space, struct mv_range range)
{
    return space == vm->options.memory && slots_have(vm->slots, range);
}
