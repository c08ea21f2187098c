// SPDX-License-Identifier: MIT
#include "hypervisor/hv.h"

#include <errno.h>
#include <stdlib.h>

#include "hypervisor/mmu_ops.h"
#include "hypervisor/notifier.h"
#include "hypervisor/ring.h"

static const struct hv_mmu_ops *const schemes[] = {
    [HV_MMU_NATIVE] = &hv_mmu_native, [HV_MMU_EPT] = &hv_mmu_ept,       [HV_MMU_NPT] = &hv_mmu_npt,
    [HV_MMU_SHADOW] = &hv_mmu_shadow, [HV_MMU_HYBRID] = &hv_mmu_hybrid,
};

static const struct hv_mmu_ops *scheme_of(enum hv_mmu_kind kind)
{
    size_t i = (size_t)kind;
    return i < sizeof schemes / sizeof schemes[0] ? schemes[i] : NULL;
}

/* --- VMs ---------------------------------------------------------------------------------------- */

/* Where user addresses end on this architecture, less the page that Linux keeps free below. */
#define HVA_END ((UINT64_C(1) << 47) - GUEST_PAGE_SIZE)

static int check_options(const struct hv_options *o)
{
    bool pml = o->log_by == HV_LOG_BY_PML, dirty_bit = o->log_by == HV_LOG_BY_DIRTY_BIT;
    if (!scheme_of(o->mmu)) {
        return -ENOTSUP;
    }
    if (o->address_bits < 32 || o->address_bits > 52 || o->level_max < 1 || o->level_max > 3) {
        return -EINVAL;
    }
    bool has_nested = o->mmu == HV_MMU_EPT || o->mmu == HV_MMU_NPT || o->mmu == HV_MMU_HYBRID;
    if (has_nested && o->tdp_levels != 4 && o->tdp_levels != 5) {
        return -EINVAL;
    }
    if (o->mmu == HV_MMU_HYBRID && (o->access_dirty || !o->no_unsync)) {
        return -EINVAL; /* see hybrid.h */
    }
    if (pml && (o->mmu != HV_MMU_EPT || !o->access_dirty)) {
        return -EINVAL;
    }
    if (dirty_bit && ((o->mmu != HV_MMU_EPT && o->mmu != HV_MMU_NPT) || !o->access_dirty)) {
        return -EINVAL;
    }
    return o->execute_only && o->mmu != HV_MMU_EPT ? -EINVAL : 0;
}

static void init_locks(struct hv_vm *vm)
{
    pthread_mutex_init(&vm->slots_lock, NULL);
    pthread_mutex_init(&vm->mmu_lock, NULL);
    pthread_mutex_init(&vm->vcpus_lock, NULL);
    hv_notifier_init(&vm->notifier);
    pthread_mutex_init(&vm->hold.lock, NULL);
    pthread_cond_init(&vm->hold.ended, NULL);
    pthread_mutex_init(&vm->io.ring_lock, NULL);
}

/* All but the scheme. */
static void free_vm(struct hv_vm *vm)
{
    for (unsigned i = 0; i < HV_ADDRESS_SPACES; i++) {
        if (vm->slots[i]) {
            hv_slots_destroy(vm->slots[i]);
        }
    }
    hv_notifier_finish(&vm->notifier);
    pthread_cond_destroy(&vm->hold.ended);
    pthread_mutex_destroy(&vm->hold.lock);
    io_finish(vm);
    pthread_mutex_destroy(&vm->vcpus_lock);
    pthread_mutex_destroy(&vm->mmu_lock);
    pthread_mutex_destroy(&vm->slots_lock);
    rendezvous_finish(&vm->inside);
    free(vm);
}

static int fill_vm(struct hv_vm *vm)
{
    for (unsigned i = 0; i < HV_ADDRESS_SPACES; i++) {
        vm->slots[i] = hv_slots_create(i); /* the generations of two spaces are never equal */
        if (!vm->slots[i]) {
            return -ENOMEM;
        }
    }
    int rc = io_init(vm);
    return rc < 0 ? rc : vm->mmu->vm_init(vm);
}

int hv_vm_create(const struct hv_options *options, struct hv_vm **ret)
{
    int rc = check_options(options);
    if (rc < 0) {
        return rc;
    }
    struct hv_vm *vm = calloc(1, sizeof *vm);
    if (!vm) {
        return -ENOMEM;
    }
    vm->options = *options;
    vm->mmu = scheme_of(options->mmu);
    vm->max_gfn = (UINT64_C(1) << (options->address_bits - GUEST_PAGE_SHIFT)) - 1;
    vm->hva_end = HVA_END;
    vm->mmu_pages = options->shadow_pages_max;
    rendezvous_init(&vm->inside);
    init_locks(vm);
    rc = fill_vm(vm);
    if (rc < 0) {
        free_vm(vm);
        return rc;
    }
    *ret = vm;
    return 0;
}

void hv_vm_destroy(struct hv_vm *vm)
{
    assert(!vm->vcpus);
    vm->mmu->vm_finish(vm);
    free_vm(vm);
}

int hv_enable_cap(struct hv_vm *vm, const struct kvm_enable_cap *cap)
{
    if (cap->flags != 0) {
        return -EINVAL;
    }
    switch (cap->cap) {
    case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: return hv_enable_manual_protect(vm, cap->args[0]);
    case KVM_CAP_DIRTY_LOG_RING:
    case KVM_CAP_DIRTY_LOG_RING_ACQ_REL: return hv_enable_dirty_ring(vm, (uint32_t)cap->args[0]);
    default: return -EINVAL;
    }
}

/* --- vCPUs -------------------------------------------------------------------------------------- */

static bool has_vcpu(const struct hv_vm *vm, unsigned index)
{
    for (const struct hv_vcpu *vcpu = vm->vcpus; vcpu; vcpu = vcpu->next) {
        if (vcpu->index == index) {
            return true;
        }
    }
    return false;
}

static int fill_vcpu(struct hv_vcpu *vcpu)
{
    int rc = hv_ring_create(vcpu->vm, &vcpu->ring);
    if (rc == 0) {
        rc = vcpu->vm->mmu->vcpu_init(vcpu);
        if (rc < 0) {
            dirty_ring_destroy(vcpu->ring);
        }
    }
    return rc;
}

static int add_vcpu(struct hv_vm *vm, struct hv_vcpu *vcpu)
{
    pthread_mutex_lock(&vm->slots_lock); /* the kind of log does not change meanwhile */
    int rc = has_vcpu(vm, vcpu->index) ? -EEXIST : fill_vcpu(vcpu);
    if (rc == 0) {
        rendezvous_add(&vm->inside, &vcpu->inside);
        pthread_mutex_lock(&vm->vcpus_lock);
        vcpu->next = vm->vcpus;
        vm->vcpus = vcpu;
        pthread_mutex_unlock(&vm->vcpus_lock);
    }
    pthread_mutex_unlock(&vm->slots_lock);
    return rc;
}

int hv_vcpu_create(struct hv_vm *vm, unsigned index, struct hv_vcpu **ret)
{
    struct hv_vcpu *vcpu = aligned_alloc(_Alignof(struct hv_vcpu), sizeof *vcpu);
    if (!vcpu) {
        return -ENOMEM;
    }
    *vcpu = (struct hv_vcpu){.vm = vm, .index = index, .mmio_gfn = UINT64_MAX};
    /* Before its first access it takes its root, and learns whether pages are logged. */
    hv_request_post(&vcpu->requests, HV_REQUEST_RELOAD_ROOT | HV_REQUEST_LOGGING);
    int rc = add_vcpu(vm, vcpu);
    if (rc < 0) {
        free(vcpu);
        return rc;
    }
    *ret = vcpu;
    return 0;
}

void hv_vcpu_destroy(struct hv_vcpu *vcpu)
{
    struct hv_vm *vm = vcpu->vm;
    pthread_mutex_lock(&vm->slots_lock);
    pthread_mutex_lock(&vm->vcpus_lock);
    struct hv_vcpu **place = &vm->vcpus;
    while (*place != vcpu) {
        place = &(*place)->next;
    }
    *place = vcpu->next;
    pthread_mutex_unlock(&vm->vcpus_lock);
    rendezvous_remove(&vm->inside, &vcpu->inside);
    vm->mmu->vcpu_finish(vcpu);
    hv_counters_keep(vcpu);
    pthread_mutex_unlock(&vm->slots_lock);
    dirty_ring_destroy(vcpu->ring);
    free(vcpu);
}

/* --- requests ----------------------------------------------------------------------------------- */

void hv_post_all(struct hv_vm *vm, unsigned requests)
{
    pthread_mutex_lock(&vm->vcpus_lock);
    for (struct hv_vcpu *vcpu = vm->vcpus; vcpu; vcpu = vcpu->next) {
        hv_request_post(&vcpu->requests, requests);
    }
    pthread_mutex_unlock(&vm->vcpus_lock);
}

/*
 * Counted first, then posted: a vCPU that has taken the request sees the count, one that has not finds the request
 * at its next entry, and for one that is inside the wait waits. One that is made meanwhile has requests from
 * birth.
 */
void hv_hold_vcpus(struct hv_vm *vm)
{
    atomic_fetch_add(&vm->hold.count, 1);
    hv_post_all(vm, HV_REQUEST_STAY_OUT);
    (void)rendezvous_wait(&vm->inside);
    hv_sync_dirty(vm);
}

void hv_release_vcpus(struct hv_vm *vm)
{
    pthread_mutex_lock(&vm->hold.lock);
    assert(atomic_load(&vm->hold.count) > 0);
    if (atomic_fetch_sub(&vm->hold.count, 1) == 1) {
        pthread_cond_broadcast(&vm->hold.ended);
    }
    pthread_mutex_unlock(&vm->hold.lock);
}

bool hv_stay_out(struct hv_vcpu *vcpu)
{
    struct hv_hold *hold = &vcpu->vm->hold;
    if (atomic_load(&hold->count) == 0) {
        return false;
    }
    rendezvous_leave(&vcpu->inside);
    pthread_mutex_lock(&hold->lock);
    while (atomic_load(&hold->count) != 0) {
        pthread_cond_wait(&hold->ended, &hold->lock);
    }
    pthread_mutex_unlock(&hold->lock);
    rendezvous_enter(&vcpu->inside);
    return true;
}

void hv_flush_all(struct hv_vm *vm)
{
    hv_count(&vm->counters.remote_tlb_flush_requests, 1);
    hv_post_all(vm, HV_REQUEST_FLUSH);
    if (rendezvous_wait(&vm->inside)) { /* KVM, too, counts those for which a vCPU had to be interrupted */
        hv_count(&vm->counters.remote_tlb_flush, 1);
    }
}

/* --- how many tables ------------------------------------------------------------------------------ */

uint64_t hv_mmu_pages(const struct hv_vm *vm)
{
    uint64_t asked = __atomic_load_n(&vm->mmu_pages, __ATOMIC_RELAXED);
    uint64_t by_slots = __atomic_load_n(&vm->slot_pages, __ATOMIC_RELAXED) / HV_MMU_PAGES_PER_SLOT_PAGES;
    return asked ? asked : by_slots > HV_MMU_PAGES_MIN ? by_slots : HV_MMU_PAGES_MIN;
}

/* `slots_lock` held. */
static uint64_t shrink(struct hv_vm *vm, uint64_t pages)
{
    if (!vm->mmu->shrink || pages == 0) {
        return 0;
    }
    pthread_mutex_lock(&vm->mmu_lock);
    uint64_t gone = vm->mmu->shrink(vm, pages);
    pthread_mutex_unlock(&vm->mmu_lock);
    return gone;
}

uint64_t hv_shrink(struct hv_vm *vm, uint64_t pages)
{
    pthread_mutex_lock(&vm->slots_lock);
    uint64_t gone = shrink(vm, pages);
    pthread_mutex_unlock(&vm->slots_lock);
    return gone;
}

int hv_set_mmu_pages(struct hv_vm *vm, uint64_t pages)
{
    if (pages < HV_MMU_PAGES_MIN) {
        return -EINVAL;
    }
    pthread_mutex_lock(&vm->slots_lock);
    __atomic_store_n(&vm->mmu_pages, pages, __ATOMIC_RELAXED);
    uint64_t tables = vm->mmu->shrink ? vm->mmu->limited_tables(vm) : 0;
    (void)shrink(vm, tables > pages ? tables - pages : 0);
    pthread_mutex_unlock(&vm->slots_lock);
    return 0;
}

/* --- faults ------------------------------------------------------------------------------------- */

enum hv_answer hv_handle_exit(struct hv_vcpu *vcpu, const struct pt_exit *exit)
{
    struct hv_counters *counters = &vcpu->counters;
    assert(exit->reason != PT_EXIT_NONE && exit->reason != PT_EXIT_PML_FULL);
    /* A misconfiguration or a reserved bit is an entry for MMIO, no fault. */
    bool has_code = exit->reason == PT_EXIT_NPF || exit->reason == PT_EXIT_PAGE_FAULT;
    if (exit->reason != PT_EXIT_EPT_MISCONFIG && !(has_code && (exit->code & PF_RESERVED))) {
        hv_count_own(&counters->pf_taken, 1);
    }
    return hv_handle_again(vcpu, exit);
}

enum hv_answer hv_handle_again(struct hv_vcpu *vcpu, const struct pt_exit *exit)
{
    enum hv_answer answer = vcpu->vm->mmu->handle(vcpu, exit);
    if (answer == HV_EMULATE) {
        hv_count_own(&vcpu->counters.pf_emulate, 1);
    }
    return answer;
}

void hv_settle(struct hv_vm *vm)
{
    vm->mmu->settle(vm);
}

void hv_set_regs(struct hv_vcpu *vcpu, const struct paging_regs *regs, const struct paging_cpu *cpu)
{
    if (vcpu->vm->mmu->set_regs) {
        vcpu->vm->mmu->set_regs(vcpu, regs, cpu);
    }
}

void hv_load_cr3(struct hv_vcpu *vcpu, uint64_t cr3)
{
    if (vcpu->vm->mmu->load_cr3) {
        vcpu->vm->mmu->load_cr3(vcpu, cr3);
    }
}

void hv_set_keys(struct hv_vcpu *vcpu, uint32_t pkru, uint32_t pkrs)
{
    if (vcpu->vm->mmu->set_keys) {
        vcpu->vm->mmu->set_keys(vcpu, pkru, pkrs);
    }
}

void hv_invalidate(struct hv_vcpu *vcpu, gva_t gva)
{
    if (vcpu->vm->mmu->invalidate) {
        vcpu->vm->mmu->invalidate(vcpu, gva);
    }
}

void hv_invalidate_all(struct hv_vcpu *vcpu)
{
    if (vcpu->vm->mmu->invalidate_all) {
        vcpu->vm->mmu->invalidate_all(vcpu);
    }
}

bool hv_store(struct hv_vcpu *vcpu, gpa_t gpa, const void *bytes, unsigned size_bytes, bool *ret_is_table)
{
    return vcpu->vm->mmu->store(vcpu, gpa, bytes, size_bytes, ret_is_table);
}

void hv_give_up_tables(struct hv_vcpu *vcpu, gpa_t gpa)
{
    vcpu->vm->mmu->give_up_tables(vcpu, gpa);
}

struct gpa_search {
    uint64_t gfn;
    unsigned count;
};

static void note_gfn(void *opaque, const struct hv_slot *slot, uint64_t first_gfn, uint64_t last_gfn)
{
    struct gpa_search *search = opaque;
    (void)slot;
    (void)last_gfn;
    search->gfn = first_gfn;
    search->count++;
}

unsigned hv_gpa_of(const struct hv_vcpu *vcpu, uint64_t host, gpa_t *ret)
{
    struct gpa_search search = {0};
    hv_slots_of_hva(hv_slots(vcpu), (struct mv_range){host, host}, note_gfn, &search);
    if (search.count > 0) {
        *ret = mv_gpa(search.gfn << GUEST_PAGE_SHIFT | (host & GUEST_PAGE_MASK));
    }
    return search.count;
}

void *hv_guest_bytes(struct hv_vcpu *vcpu, gpa_t gpa, enum mv_access kind)
{
    uint64_t gfn = gpa.raw >> GUEST_PAGE_SHIFT;
    const struct hv_slot *slot = hv_slot_of_gfn(hv_slots(vcpu), gfn, &vcpu->slot_hint[vcpu->space]);
    if (!slot || (slot->flags & HV_SLOT_INVALID)) {
        return NULL;
    }
    if (kind == MV_ACCESS_WRITE) {
        if (slot->flags & KVM_MEM_READONLY) {
            return NULL;
        }
        hv_mark_dirty(vcpu, slot, gfn);
    }
    return hva_pointer(hva_add(hv_slot_hva(slot, gfn), gpa.raw & GUEST_PAGE_MASK));
}

static int pre_fault_one(struct hv_vcpu *vcpu, const struct hv_pre_fault *range, uint64_t *ret_bytes)
{
    rendezvous_enter(&vcpu->inside);
    int level = vcpu->vm->mmu->pre_fault(vcpu, range->gpa >> GUEST_PAGE_SHIFT);
    rendezvous_leave(&vcpu->inside);
    if (level < 0) {
        return level;
    }
    uint64_t page = GUEST_PAGE_SIZE << (9 * (level - 1));
    uint64_t bytes = page - (range->gpa & (page - 1)); /* to the end of what was mapped */
    *ret_bytes = bytes < range->size ? bytes : range->size;
    return 0;
}

int hv_pre_fault(struct hv_vcpu *vcpu, struct hv_pre_fault *range)
{
    const uint64_t size = range->size;
    uint64_t end;
    if (range->flags != 0 || ((range->gpa | size) & GUEST_PAGE_MASK) != 0 || size == 0 ||
        __builtin_add_overflow(range->gpa, size, &end)) {
        return -EINVAL;
    }
    if (!vcpu->vm->mmu->pre_fault) {
        return -EOPNOTSUPP;
    }
    while (range->size != 0) {
        uint64_t bytes = 0;
        int rc = pre_fault_one(vcpu, range, &bytes);
        if (rc < 0) {
            return range->size == size ? rc : 0;
        }
        range->gpa += bytes;
        range->size -= bytes;
    }
    return 0;
}
