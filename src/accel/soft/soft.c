// SPDX-License-Identifier: MIT
#include "accel/soft/soft.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accel/soft/internal.h"
#include "base/error.h"
#include "hypervisor/notifier.h"

static void check(struct mv_accel_status *ret)
{
    *ret = (struct mv_accel_status){.name = "soft", .usable = true, .reason = "ok"};
    snprintf(
        ret->text, sizeof ret->text,
        "in this process: native, EPT, NPT, shadow and hybrid, %u memory slots; for a caller's own CPU and for traces",
        HV_SLOT_IDS);
}

static void vm_destroy(struct accel_vm *vm)
{
    if (vm->watch) {
        hv_uffd_destroy(vm->watch);
    }
    if (vm->hv) {
        hv_vm_destroy(vm->hv);
    }
    free(vm);
}

/* Before there are slots and vCPUs. */
static int set_logging(struct hv_vm *hv, const struct accel_vm_options *options)
{
    uint64_t manual = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;
    if (options->dirty_initially_set) {
        manual |= KVM_DIRTY_LOG_INITIALLY_SET;
    }
    int rc = hv_enable_manual_protect(hv, manual);
    if (rc == 0 && options->dirty_ring_entries > 0) {
        uint64_t bytes = (uint64_t)options->dirty_ring_entries * sizeof(struct kvm_dirty_gfn);
        rc = bytes > UINT32_MAX ? -E2BIG : hv_enable_dirty_ring(hv, (uint32_t)bytes);
    }
    return rc;
}

/* A ring wants to know which vCPU it was that wrote, and a D bit does not tell. */
static int check_rings(const struct soft_options *o, const struct accel_vm_options *options, struct mv_error *err)
{
    if (options->dirty_ring_entries > 0 && o->hv.log_by == HV_LOG_BY_DIRTY_BIT) {
        return error_set(err, -EINVAL, "bad-property", "soft",
                         "accelerator soft: log-by=dirty-bit does not go with dirty rings");
    }
    return 0;
}

static int fill(struct accel_vm *vm, const struct accel_vm_options *options, struct mv_error *err)
{
    int rc = soft_options_parse(options->properties, &vm->options, err);
    if (rc < 0) {
        return rc;
    }
    rc = check_rings(&vm->options, options, err);
    if (rc < 0) {
        return rc;
    }
    rc = hv_vm_create(&vm->options.hv, &vm->hv);
    if (rc < 0) {
        return error_set(err, rc, "no-memory", "soft", "accelerator soft: out of memory");
    }
    rc = vm->options.watch_host ? hv_uffd_create(vm->hv, &vm->watch) : 0;
    if (rc < 0) {
        return error_set(err, rc, rc == -EPERM ? "no-permission" : "missing-capability", "soft",
                         "accelerator soft: watch-host needs userfaultfd(2): %s", strerror(-rc));
    }
    rc = set_logging(vm->hv, options);
    return rc < 0
               ? error_host(err, rc, "soft", "accelerator soft: rings of %u entries", options->dirty_ring_entries)
               : 0;
}

static int vm_create(const struct accel_vm_options *options, struct accel_vm **ret, struct mv_error *err)
{
    if (options->private_pages) {
        return error_set(err, -ENOTSUP, "missing-capability", "soft", "accelerator soft: it has no private pages");
    }
    struct accel_vm *vm = calloc(1, sizeof *vm);
    if (!vm) {
        return error_set(err, -ENOMEM, "no-memory", "soft", "accelerator soft: out of memory");
    }
    int rc = fill(vm, options, err);
    if (rc < 0) {
        vm_destroy(vm);
        return rc;
    }
    *ret = vm;
    return 0;
}

/* --- Slots and logs ---------------------------------------------------------------------------------- */

static unsigned max_slots(const struct accel_vm *vm)
{
    (void)vm;
    return HV_SLOT_IDS;
}

static bool has_readonly_slots(const struct accel_vm *vm)
{
    (void)vm;
    return true;
}

static struct accel_paging paging(const struct accel_vm *vm)
{
    struct paging_cpu cpu = soft_paging_cpu(vm);
    return (struct accel_paging){
        .address_bits = cpu.address_bits, .has_1g_pages = cpu.has_1g_pages, .is_amd = cpu.is_amd};
}

static int set_slot(struct accel_vm *vm, const struct kvm_userspace_memory_region *slot)
{
    return hv_set_slot(vm->hv, slot);
}

static void hold_vcpus(struct accel_vm *vm)
{
    hv_hold_vcpus(vm->hv);
}

static void release_vcpus(struct accel_vm *vm)
{
    hv_release_vcpus(vm->hv);
}

static bool has_guest_memfds(const struct accel_vm *vm)
{
    (void)vm;
    return false;
}

static uint64_t attributes(const struct accel_vm *vm)
{
    (void)vm;
    return 0;
}

static void host_begin(struct accel_vm *vm, struct mv_range hva)
{
    hv_notifier_begin(vm->hv, hva);
}

static void host_end(struct accel_vm *vm, struct mv_range hva)
{
    hv_notifier_end(vm->hv, hva);
}

static int host_watch(struct accel_vm *vm, struct mv_range hva)
{
    int rc = vm->watch ? hv_uffd_watch(vm->watch, hva) : 0;
    if (rc < 0) {
        atomic_fetch_add_explicit(&vm->unwatched, 1, memory_order_relaxed);
    }
    return rc;
}

static void host_unwatch(struct accel_vm *vm, struct mv_range hva)
{
    if (vm->watch) {
        hv_uffd_unwatch(vm->watch, hva);
    }
}

static int get_dirty_log(struct accel_vm *vm, const struct kvm_dirty_log *log)
{
    return hv_get_dirty_log(vm->hv, log);
}

static int clear_dirty_log(struct accel_vm *vm, const struct kvm_clear_dirty_log *log)
{
    return hv_clear_dirty_log(vm->hv, log);
}

static int harvest_dirty_log(struct accel_vm *vm, uint32_t slot, accel_dirty_fn *each, void *opaque)
{
    return hv_harvest_dirty_log(vm->hv, slot, each, opaque);
}

static bool dirty_log_is_manual(const struct accel_vm *vm)
{
    return vm->hv->manual_protect;
}

/* What is protected page by page is so when the page's mark is taken, and so is all with
 * KVM_DIRTY_LOG_INITIALLY_SET.
 */
static bool dirty_log_is_in_place(const struct accel_vm *vm)
{
    return hv_protects_at_once(vm->hv) && !vm->hv->initially_set;
}

static int reset_dirty_rings(struct accel_vm *vm)
{
    return hv_reset_dirty_rings(vm->hv);
}

static struct accel_dirty_ring dirty_ring(struct accel_vcpu *vcpu)
{
    struct accel_dirty_ring ring = {0};
    ring.entries = hv_ring_entries(vcpu->hv, &ring.count);
    return ring;
}

static int ioeventfd(struct accel_vm *vm, const struct kvm_ioeventfd *eventfd)
{
    return hv_ioeventfd(vm->hv, eventfd);
}

static int coalesce(struct accel_vm *vm, const struct kvm_coalesced_mmio_zone *zone, bool add)
{
    return add ? hv_coalesce(vm->hv, zone) : hv_uncoalesce(vm->hv, zone);
}

/* --- Counters ----------------------------------------------------------------------------------------- */

static void vm_counters(struct accel_vm *vm, accel_counter_fn *each, void *opaque)
{
    struct hv_counters sum;
    pthread_mutex_lock(&vm->hv->slots_lock);
    hv_counters_read(vm->hv, &sum);
    pthread_mutex_unlock(&vm->hv->slots_lock);
    const struct {
        const char *name;
        uint64_t value;
    } all[] = {
        {"pf_taken", sum.pf_taken},
        {"pf_fixed", sum.pf_fixed},
        {"pf_spurious", sum.pf_spurious},
        {"pf_fast", sum.pf_fast},
        {"pf_emulate", sum.pf_emulate},
        {"pf_mmio_spte_created", sum.pf_mmio_spte_created},
        {"pages_4k", sum.pages_4k},
        {"pages_2m", sum.pages_2m},
        {"pages_1g", sum.pages_1g},
        {"tables", sum.tables},
        {"nx_lpage_splits", sum.nx_lpage_splits},
        {"mmu_pte_write", sum.mmu_pte_write},
        {"mmu_pde_zapped", sum.mmu_pde_zapped},
        {"mmu_flooded", sum.mmu_flooded},
        {"mmu_unsync", sum.mmu_unsync},
        {"tables_opened", sum.tables_opened},
        {"mmu_cache_miss", sum.mmu_cache_miss},
        {"mmu_shadow_zapped", sum.mmu_shadow_zapped},
        {"mmu_recycled", sum.mmu_recycled},
        {"rmap_recycled", sum.rmap_recycled},
        {"invlpg", sum.invlpg},
        {"hybrid_nested", sum.hybrid_nested},
        {"hybrid_shadowed", sum.hybrid_shadowed},
        {"remote_tlb_flush", sum.remote_tlb_flush},
        {"remote_tlb_flush_requests", sum.remote_tlb_flush_requests},
        {"host_events", vm->watch ? hv_uffd_events(vm->watch) : 0},
        {"host_blocks_unwatched", atomic_load_explicit(&vm->unwatched, memory_order_relaxed)},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        each(opaque, all[i].name, all[i].value);
    }
}

/* The vCPU may be counting. */
static void vcpu_counters(struct accel_vcpu *vcpu, accel_counter_fn *each, void *opaque)
{
    each(opaque, "mmio_exits", __atomic_load_n(&vcpu->exits_mmio, __ATOMIC_RELAXED));
    each(opaque, "pf_guest",
         __atomic_load_n(&hw_mmu_counters(vcpu->hw)->faults, __ATOMIC_RELAXED) +
             __atomic_load_n(&vcpu->faults_reflected, __ATOMIC_RELAXED));
}

/* --- vCPUs -------------------------------------------------------------------------------------------- */

static struct kvm_run *run_area(struct accel_vcpu *vcpu)
{
    return &vcpu->run;
}

static struct kvm_coalesced_mmio_ring *coalesced_ring(struct accel_vcpu *vcpu)
{
    return hv_coalesced_ring(vcpu->vm->hv);
}

/* Nothing here executes instructions; mv_vm_start() has said so before. */
static int run(struct accel_vcpu *vcpu)
{
    (void)vcpu;
    return -ENOTSUP;
}

static int get_regs(struct accel_vcpu *vcpu, struct kvm_regs *ret)
{
    *ret = vcpu->regs;
    return 0;
}

static int get_sregs(struct accel_vcpu *vcpu, struct kvm_sregs *ret)
{
    *ret = vcpu->sregs;
    return 0;
}

/* As KVM's, a supervisor's read; but KVM sets A, and here nothing is changed, as explain promises. Nor are
 * requests seen to: that could make a table. */
static int translate(struct accel_vcpu *vcpu, struct kvm_translation *t)
{
    gpa_t gpa = mv_gpa(UINT64_MAX);
    rendezvous_enter(&vcpu->hv->inside);
    t->valid = soft_look(vcpu, mv_gva(t->linear_address), &gpa);
    rendezvous_leave(&vcpu->hv->inside);
    t->physical_address = gpa.raw;
    t->writeable = 1;
    t->usermode = 0;
    return 0;
}

const struct accel accel_soft = {
    .name = "soft",
    .cpu = &soft_cpu_ops,
    .check = check,
    .vm_create = vm_create,
    .vm_destroy = vm_destroy,
    .max_slots = max_slots,
    .has_readonly_slots = has_readonly_slots,
    .paging = paging,
    .set_slot = set_slot,
    .hold_vcpus = hold_vcpus,
    .release_vcpus = release_vcpus,
    .has_guest_memfds = has_guest_memfds,
    .attributes = attributes,
    .host_begin = host_begin,
    .host_end = host_end,
    .host_watch = host_watch,
    .host_unwatch = host_unwatch,
    .get_dirty_log = get_dirty_log,
    .clear_dirty_log = clear_dirty_log,
    .harvest_dirty_log = harvest_dirty_log,
    .dirty_log_is_manual = dirty_log_is_manual,
    .dirty_log_is_in_place = dirty_log_is_in_place,
    .reset_dirty_rings = reset_dirty_rings,
    .dirty_ring = dirty_ring,
    .ioeventfd = ioeventfd,
    .coalesce = coalesce,
    .vm_counters = vm_counters,
    .vcpu_create = soft_vcpu_create,
    .vcpu_destroy = soft_vcpu_destroy,
    .run_area = run_area,
    .coalesced_ring = coalesced_ring,
    .run = run,
    .get_regs = get_regs,
    .set_regs = soft_set_regs,
    .get_sregs = get_sregs,
    .set_sregs = soft_set_sregs,
    .translate = translate,
    .vcpu_counters = vcpu_counters,
};
