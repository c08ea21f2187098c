// SPDX-License-Identifier: MIT
/* The hybrid MMU as a scheme: each of its parts is asked what the two schemes that it is made of are asked. */
#include "hypervisor/hybrid.h"

#include <errno.h>
#include <stdlib.h>

#include "base/os_populate.h"
#include "hypervisor/shadow.h"
#include "hypervisor/shadow_look.h"
#include "hypervisor/tdp_fault.h"
#include "hypervisor/tdp_zap.h"
#include "paging/ept.h"

static const struct hv_mmu_ops *const upper = &hv_mmu_shadow, *const lower = &hv_mmu_ept;

static void lock(const struct hv_vm *vm)
{
    pthread_mutex_lock(&shadow_of(vm)->lock);
}

static void unlock(const struct hv_vm *vm)
{
    pthread_mutex_unlock(&shadow_of(vm)->lock);
}

/* Entries of EPT have lost rights, and whoever holds `mmu_lock` will flush: a page that is made until then waits.
 * @return `any` */
static bool note_loss(struct hv_vm *vm, bool any)
{
    struct shadow *s = shadow_of(vm);
    if (any) {
        s->lost_everywhere = s->asked = ++s->seq;
    }
    return any;
}

/* --- Making ----------------------------------------------------------------------------------------------- */

static bool is_guarded(const struct hv_vm *vm, uint64_t hva, unsigned level)
{
    const struct shadow *s = shadow_of(vm);
    return level > 1 ? !shadow_has_no_tables(s, hva, level) : shadow_is_tracked(s, hva >> GUEST_PAGE_SHIFT);
}

static int vm_init(struct hv_vm *vm)
{
    struct hybrid *h = calloc(1, sizeof *h);
    struct hybrid_table **buckets = calloc(HYBRID_BUCKETS, sizeof(struct hybrid_table *));
    int rc = h && buckets ? upper->vm_init(vm) : -ENOMEM;
    if (rc < 0) {
        free(h);
        free(buckets);
        return rc;
    }
    h->buckets = buckets;
    h->policy = policy_make(&vm->options.policy);
    shadow_of(vm)->hybrid = h;
    rc = lower->vm_init(vm);
    if (rc < 0) {
        upper->vm_finish(vm);
        free(buckets);
        free(h);
        return rc;
    }
    tdp_of(vm)->is_guarded = is_guarded;
    return 0;
}

static void vm_finish(struct hv_vm *vm)
{
    struct hybrid *h = shadow_of(vm)->hybrid;
    hybrid_forget_all(h);
    lower->vm_finish(vm);
    upper->vm_finish(vm);
    free(h->buckets);
    free(h);
}

static int vcpu_init(struct hv_vcpu *vcpu)
{
    int rc = lower->vcpu_init(vcpu);
    if (rc == 0) {
        rc = upper->vcpu_init(vcpu);
        if (rc < 0) {
            lower->vcpu_finish(vcpu);
        }
    }
    return rc;
}

static void vcpu_finish(struct hv_vcpu *vcpu)
{
    upper->vcpu_finish(vcpu);
    lower->vcpu_finish(vcpu);
}

static int load_root(struct hv_vcpu *vcpu)
{
    int rc = lower->load_root(vcpu), upper_rc = upper->load_root(vcpu); /* both: what they had may be freed */
    return rc < 0 ? rc : upper_rc;
}

void hybrid_set_policy(struct hv_vm *vm, const struct mv_hybrid_policy *policy)
{
    struct hybrid *h = shadow_of(vm)->hybrid;
    pthread_mutex_lock(&vm->slots_lock);
    pthread_mutex_lock(&vm->mmu_lock);
    lock(vm);
    h->policy = policy ? *policy : policy_make(&vm->options.policy);
    hybrid_forget_all(h);
    unlock(vm);
    (void)vm->mmu->zap_all(vm);
    hv_flush_all(vm);
    vm->mmu->collect(vm);
    pthread_mutex_unlock(&vm->mmu_lock);
    pthread_mutex_unlock(&vm->slots_lock);
}

/* --- The policy -------------------------------------------------------------------------------------------- */

/* Registers under which tables are nested: those of a guest of today. Rights judge alike in both parts only with
 * CR0.WP (hardware/invalidate.c). */
static bool can_nest(union shadow_role role)
{
    return role.write_protect && (role.levels == MV_PAGING_4LEVEL || role.levels == MV_PAGING_5LEVEL);
}

/* One that stands for the guest's table, used at that level. */
static struct shadow_page *page_of(const struct shadow *s, uint64_t frame, unsigned level)
{
    struct shadow_page *page = shadow_page_on(s, frame, NULL);
    while (page && page->role.level != level) {
        page = shadow_page_on(s, frame, page);
    }
    return page;
}

/* It is nested from now on, or is not. What is shadowed of it goes, with what lies below. */
static void decide(struct hv_vm *vm, struct hybrid_table *table, bool is_nested)
{
    struct shadow *s = shadow_of(vm);
    if (is_nested && !table->seen.is_nested) {
        hv_count(&vm->counters.hybrid_nested, 1);
        table->has_sum = false;
        table->seen.quiet = 0;
    }
    table->seen.is_nested = is_nested;
    struct shadow_page *page = is_nested ? page_of(s, table->frame, table->seen.level) : NULL;
    while (page) {
        shadow_zap_tree(vm, page);
        page = page_of(s, table->frame, table->seen.level);
    }
}

bool hybrid_nests(struct hv_vcpu *vcpu, uint64_t gfn, unsigned level)
{
    struct hybrid *h = shadow_of(vcpu->vm)->hybrid;
    const struct shadow_vcpu *v = shadow_vcpu_of(vcpu);
    const struct hv_slot *slot = hv_slot_of_gfn(hv_slots(vcpu), gfn, &vcpu->slot_hint[vcpu->space]);
    /* In a read-only slot a table goes without A and D, which the hardware would set. */
    if (!can_nest(v->role) || !slot || (slot->flags & (HV_SLOT_INVALID | KVM_MEM_READONLY))) {
        return false;
    }
    uint64_t frame = hv_slot_hva(slot, gfn).raw >> GUEST_PAGE_SHIFT;
    struct hybrid_table *table = hybrid_find(h, frame, level);
    struct mv_hybrid_table seen = table ? table->seen : (struct mv_hybrid_table){0};
    seen.gpa = mv_gpa(gfn << GUEST_PAGE_SHIFT);
    seen.level = (uint8_t)level;
    seen.levels = v->guest.levels;
    bool nests = h->policy.nests(h->policy.opaque, MV_HYBRID_REACHED, &seen);
    if (table || (nests && h->policy.interval > 0)) {
        table = hybrid_get(h, frame, level);
        if (!table) {
            return false;
        }
        seen.is_nested = table->seen.is_nested;
        table->seen = seen;
        decide(vcpu->vm, table, nests);
    }
    return nests;
}

static void page_was_written(struct hv_vm *vm, const struct shadow_page *page)
{
    struct hybrid *h = shadow_of(vm)->hybrid;
    struct hybrid_table *table = hybrid_get(h, page->frame, page->role.level);
    if (!table) {
        return;
    }
    hybrid_count_write(h, table);
    table->seen.gpa = mv_gpa(page->gfn << GUEST_PAGE_SHIFT);
    table->seen.levels = page->role.levels == MV_PAGING_5LEVEL ? 5 : 4;
    decide(vm, table, h->policy.nests(h->policy.opaque, MV_HYBRID_WRITTEN, &table->seen));
}

void hybrid_was_written(struct hv_vm *vm, uint64_t frame)
{
    const struct shadow *s = shadow_of(vm);
    for (unsigned level = 1; level <= X86_LEVELS_MAX; level++) {
        const struct shadow_page *page = page_of(s, frame, level);
        while (page && !(page->role.level == level && can_nest(page->role))) {
            page = shadow_page_on(s, frame, page);
        }
        if (page) {
            page_was_written(vm, page);
        }
    }
}

/* --- EPT, and what is shadowed ------------------------------------------------------------------------------ */

struct protecting {
    struct hv_vm *vm;
    uint64_t host;
    bool any;
};

/* M without W counts: a TLB may have W still, which the log or aging took a moment ago. */
static void protect_gfns(void *opaque, const struct hv_slot *slot, uint64_t first, uint64_t last)
{
    const struct pt_format *f = &pt_format_ept;
    const uint64_t bits = f->writable | f->software_mmu_writable;
    struct protecting *p = opaque;
    struct tdp *tdp = tdp_of(p->vm);
    struct tdp_iter it;
    TDP_FOR_EACH(f, &it, tdp_root(tdp, slot->space), tdp->levels, first, last)
    {
        if (!tdp_iter_is_leaf(f, &it)) {
            continue;
        }
        p->any |= (it.entry & bits) != 0;
        if (it.level > 1) {
            tdp_zap_entry(f, p->vm, slot->space, &it);
            shadow_note_loss(shadow_of(p->vm), p->host, it.level); /* all of the large page's W */
        } else {
            while ((it.entry & bits) && !tdp_iter_cas(f, &it, it.entry & ~bits)) {}
        }
    }
}

bool hybrid_protect(struct hv_vm *vm, uint64_t host)
{
    struct protecting p = {.vm = vm, .host = host};
    for (unsigned space = 0; space < HV_ADDRESS_SPACES; space++) {
        const struct hv_slots *slots = __atomic_load_n(&vm->slots[space], __ATOMIC_ACQUIRE);
        hv_slots_of_hva(slots, (struct mv_range){host, host | GUEST_PAGE_MASK}, protect_gfns, &p);
    }
    return p.any;
}

/* --- Exits --------------------------------------------------------------------------------------------------- */

/* As KVM's get_user_pages, without the lock: it may take as long as the host likes. Under the lock, then, the page
 * is there. */
static void populate(struct hv_vcpu *vcpu, const struct tdp_fault *fault)
{
    const struct hv_slot *slot = hv_slot_of_gfn(hv_slots(vcpu), fault->gfn, &vcpu->slot_hint[vcpu->space]);
    if (!vcpu->vm->options.populate || !slot || (slot->flags & HV_SLOT_INVALID)) {
        return;
    }
    struct tdp_fault on = *fault;
    on.slot = slot;
    (void)tdp_populate(tdp_of(vcpu->vm), &on); /* who asks again says what is wrong */
}

/* A write to a page that is a table, and shadowed: be it the guest's, or an A or D bit of the hardware's. */
static bool is_to_table(struct hv_vcpu *vcpu, const struct tdp_fault *fault)
{
    const struct hv_slot *slot = hv_slot_of_gfn(hv_slots(vcpu), fault->gfn, &vcpu->slot_hint[vcpu->space]);
    return fault->kind == MV_ACCESS_WRITE && slot && !(slot->flags & (HV_SLOT_INVALID | KVM_MEM_READONLY)) &&
           shadow_is_tracked(shadow_of(vcpu->vm), hv_slot_hva(slot, fault->gfn).raw >> GUEST_PAGE_SHIFT);
}

static enum hv_answer handle_nested(struct hv_vcpu *vcpu, const struct pt_exit *exit)
{
    struct hv_vm *vm = vcpu->vm;
    struct tdp_fault fault;
    tdp_decode_exit(exit, &fault);
    populate(vcpu, &fault);
    lock(vm);
    vcpu->wrote_table = is_to_table(vcpu, &fault);
    enum hv_answer answer = vcpu->wrote_table ? HV_EMULATE : lower->handle(vcpu, exit);
    unlock(vm);
    return answer;
}

static enum hv_answer handle(struct hv_vcpu *vcpu, const struct pt_exit *exit)
{
    if (exit->reason == PT_EXIT_TIMER) {
        lock(vcpu->vm);
        hybrid_look(vcpu->vm);
        unlock(vcpu->vm);
        return HV_RETRY;
    }
    return exit->reason == PT_EXIT_PAGE_FAULT ? upper->handle(vcpu, exit) : handle_nested(vcpu, exit);
}

static int pre_fault(struct hv_vcpu *vcpu, uint64_t gfn)
{
    const struct tdp_fault fault = {.gfn = gfn, .kind = MV_ACCESS_READ};
    populate(vcpu, &fault);
    lock(vcpu->vm);
    int rc = lower->pre_fault(vcpu, gfn);
    unlock(vcpu->vm);
    return rc;
}

/* --- Slots, logs, the host ----------------------------------------------------------------------------------- */

static bool zap_all(struct hv_vm *vm)
{
    (void)upper->zap_all(vm);
    lock(vm);
    (void)note_loss(vm, lower->zap_all(vm));
    unlock(vm);
    return true;
}

typedef bool range_fn(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first, uint64_t last);
typedef bool slot_fn(struct hv_vm *vm, const struct hv_slot *slot);

static bool both_ranges(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first, uint64_t last,
                        range_fn *shadow, range_fn *nested)
{
    bool flush = shadow(vm, slot, first, last);
    lock(vm);
    flush |= note_loss(vm, nested(vm, slot, first, last));
    unlock(vm);
    return flush;
}

static bool both_slots(struct hv_vm *vm, const struct hv_slot *slot, slot_fn *shadow, slot_fn *nested)
{
    bool flush = shadow(vm, slot);
    lock(vm);
    flush |= note_loss(vm, nested(vm, slot));
    unlock(vm);
    return flush;
}

static bool zap_gfns(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first, uint64_t last)
{
    return both_ranges(vm, slot, first, last, upper->zap_gfns, lower->zap_gfns);
}

static bool write_protect(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first, uint64_t last)
{
    return both_ranges(vm, slot, first, last, upper->write_protect, lower->write_protect);
}

static bool log_protect(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first_gfn, uint64_t mask)
{
    return both_ranges(vm, slot, first_gfn, mask, upper->log_protect, lower->log_protect);
}

static bool log_start(struct hv_vm *vm, const struct hv_slot *slot)
{
    return both_slots(vm, slot, upper->log_start, lower->log_start);
}

static bool log_stop(struct hv_vm *vm, const struct hv_slot *slot)
{
    return both_slots(vm, slot, upper->log_stop, lower->log_stop);
}

static bool log_harvest(struct hv_vm *vm, const struct hv_slot *slot)
{
    (void)vm;
    (void)slot;
    return false; /* the log knows already */
}

static bool age(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first, uint64_t last, bool test_only)
{
    bool any = upper->age(vm, slot, first, last, test_only);
    lock(vm);
    any |= lower->age(vm, slot, first, last, test_only);
    unlock(vm);
    return any;
}

static bool recover(struct hv_vm *vm, unsigned ratio)
{
    lock(vm);
    bool flush = note_loss(vm, lower->recover(vm, ratio));
    unlock(vm);
    return flush;
}

static uint64_t shrink(struct hv_vm *vm, uint64_t pages)
{
    return upper->shrink(vm, pages);
}

static uint64_t limited_tables(const struct hv_vm *vm)
{
    return upper->limited_tables(vm); /* and not those of EPT */
}

static void collect(struct hv_vm *vm)
{
    upper->collect(vm);
    lock(vm);
    lower->collect(vm);
    unlock(vm);
}

static uint64_t table_bytes(const struct hv_vm *vm)
{
    uint64_t bytes = upper->table_bytes(vm) + lower->table_bytes(vm);
    lock(vm);
    bytes += hybrid_bytes(shadow_of(vm)->hybrid);
    unlock(vm);
    return bytes;
}

const struct hv_mmu_ops hv_mmu_hybrid = {
    .name = "hybrid",
    .vm_init = vm_init,
    .vm_finish = vm_finish,
    .vcpu_init = vcpu_init,
    .vcpu_finish = vcpu_finish,
    .handle = handle,
    .load_root = load_root,
    .pre_fault = pre_fault,
    .set_regs = shadow_set_regs,
    .load_cr3 = shadow_load_cr3,
    .set_keys = shadow_set_keys,
    .invalidate = shadow_invalidate,
    .invalidate_all = shadow_invalidate_all,
    .store = shadow_store,
    .give_up_tables = shadow_give_up_tables,
    .settle = shadow_settle,
    .zap_all = zap_all,
    .zap_gfns = zap_gfns,
    .log_start = log_start,
    .log_stop = log_stop,
    .log_harvest = log_harvest,
    .log_protect = log_protect,
    .age = age,
    .write_protect = write_protect,
    .recover = recover,
    .shrink = shrink,
    .limited_tables = limited_tables,
    .collect = collect,
    .present_root = tdp_present_root, /* of what is nested alone */
    .look = shadow_look,
    .table_bytes = table_bytes,
};
