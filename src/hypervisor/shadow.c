// SPDX-License-Identifier: MIT
/* The shadow MMU as a scheme: what slots, the dirty log and the notifier ask of it, by reverse maps. */
#include "hypervisor/shadow.h"

#include <errno.h>
#include <stdlib.h>

#include "base/os_populate.h"
#include "hypervisor/shadow_look.h"

static const struct pt_format *const format = &pt_format_shadow;

/* --- Making ------------------------------------------------------------------------------------------- */

static int vm_init(struct hv_vm *vm)
{
    struct shadow *s = calloc(1, sizeof *s);
    if (!s || !shadow_hash_init(s)) {
        free(s);
        return -ENOMEM;
    }
    s->can_unsync = !vm->options.no_unsync;
    /* Asked of a page that is surely there: of others the host says the same for more than one reason. */
    void *page = hva_pointer(mv_hva(align_down(hva_of(s).raw, GUEST_PAGE_SIZE)));
    s->can_populate = vm->options.populate && os_populate(page, GUEST_PAGE_SIZE, OS_POPULATE_READ) == 0;
    pthread_mutex_init(&s->lock, NULL);
    tdp_pool_init(&s->pool);
    vm->mmu_state = s;
    return 0;
}

static void vm_finish(struct hv_vm *vm)
{
    struct shadow *s = shadow_of(vm);
    s->generation++;
    shadow_zap_obsolete(vm);
    shadow_settle(vm);
    assert(s->page_count == 0);
    tdp_cache_drain(&s->pool, &s->tables);
    tdp_pool_finish(&s->pool);
    rmap_finish(&s->rmap);
    pthread_mutex_destroy(&s->lock);
    shadow_hash_finish(s);
    free(s);
    vm->mmu_state = NULL;
}

/* Until somebody says otherwise: paging is off. */
static int vcpu_init(struct hv_vcpu *vcpu)
{
    struct shadow *s = shadow_of(vcpu->vm);
    struct shadow_vcpu *v = calloc(1, sizeof *v);
    pthread_mutex_lock(&s->lock);
    int rc = v ? shadow_fill_cache(s, 1) : -ENOMEM;
    if (rc == 0) {
        v->empty = tdp_cache_take(&s->tables, 0, 0);
    }
    pthread_mutex_unlock(&s->lock);
    if (rc < 0) {
        free(v);
        return rc;
    }
    const struct paging_regs off = {0};
    const struct paging_cpu cpu = {.address_bits = vcpu->vm->options.address_bits};
    paging_compile(&v->guest, &off, &cpu);
    paging_compile_shadow(&v->hardware, &off, NULL);
    v->role.level = 4;
    v->role.direct = 1;
    v->role.access = PT_RIGHTS_ALL;
    v->role.smm = vcpu->space != 0;
    vcpu->mmu_state = v;
    vcpu->root = v->empty;
    hv_request_post(&vcpu->requests, HV_REQUEST_RELOAD_ROOT);
    return 0;
}

static void vcpu_finish(struct hv_vcpu *vcpu)
{
    struct shadow *s = shadow_of(vcpu->vm);
    struct shadow_vcpu *v = shadow_vcpu_of(vcpu);
    pthread_mutex_lock(&s->lock);
    shadow_drop_roots(vcpu);
    tdp_page_free(&s->pool, v->empty);
    pthread_mutex_unlock(&s->lock);
    free(v);
    vcpu->mmu_state = NULL;
    vcpu->root = NULL;
}

/* --- By host range ------------------------------------------------------------------------------------ */

/* What is done to the entries that map a page, which is a part of a range. @return whether it was to any */
typedef bool page_fn(struct hv_vm *vm, const struct rmap_page *page);

/* Pages of a chunk of 2 MiB: small pages of [first, last], and large ones that have a byte of it. */
static bool visit_chunk(struct hv_vm *vm, struct rmap_chunk *chunk, uint64_t first, uint64_t last, page_fn *each)
{
    bool flush = false;
    for (uint64_t at = align_down(first, GUEST_PAGE_SIZE); at <= last; at += GUEST_PAGE_SIZE) {
        flush |= each(vm, &(struct rmap_page){chunk, at, 1});
    }
    return each(vm, &(struct rmap_page){chunk, first, 2}) || flush;
}

static bool visit_lists(struct hv_vm *vm, uint64_t first, uint64_t last, page_fn *each)
{
    const struct shadow *s = shadow_of(vm);
    bool any = false;
    for (uint64_t at = first; at <= last; at = align_down(at, pt_level_bytes(2)) + pt_level_bytes(2)) {
        uint64_t end = align_down(at, pt_level_bytes(2)) + pt_level_bytes(2) - 1;
        struct rmap_chunk *chunk = rmap_find(&s->rmap, at);
        any |= chunk && visit_chunk(vm, chunk, at, end < last ? end : last, each);
    }
    for (uint64_t at = align_down(first, pt_level_bytes(3)); at <= last; at += pt_level_bytes(3)) {
        struct rmap_chunk *chunk = rmap_find(&s->rmap, at);
        any |= chunk && each(vm, &(struct rmap_page){chunk, at, 3});
    }
    return any;
}

/* Entries of the range went before, and some TLB may still have them. */
static bool has_lost(const struct shadow *s, uint64_t first, uint64_t last)
{
    bool any = s->lost_everywhere > s->flushed;
    for (uint64_t at = align_down(first, pt_level_bytes(2)); at <= last && !any; at += pt_level_bytes(2)) {
        const struct rmap_chunk *chunk = rmap_find(&s->rmap, at);
        any = chunk && chunk->lost > s->flushed;
    }
    return any;
}

static uint64_t last_byte(const struct hv_slot *slot, uint64_t last_gfn)
{
    return hv_slot_hva(slot, last_gfn).raw + GUEST_PAGE_MASK;
}

/* What takes rights. @return whether a flush is due */
static bool visit(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first_gfn, uint64_t last_gfn,
                  page_fn *each)
{
    struct shadow *s = shadow_of(vm);
    uint64_t first = hv_slot_hva(slot, first_gfn).raw, last = last_byte(slot, last_gfn);
    bool flush = visit_lists(vm, first, last, each);
    flush |= has_lost(s, first, last);
    s->asked = s->seq;
    return flush;
}

static bool visit_locked(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first, uint64_t last,
                         page_fn *each)
{
    struct shadow *s = shadow_of(vm);
    pthread_mutex_lock(&s->lock);
    bool flush = visit(vm, slot, first, last, each);
    pthread_mutex_unlock(&s->lock);
    return flush;
}

static bool zap_page(struct hv_vm *vm, const struct rmap_page *page)
{
    struct rmap_list list = rmap_entries(page);
    shadow_clear_page(vm, page);
    return !rmap_is_empty(&list);
}

/* Pages that stand for tables in a range that goes: nothing says what will be there. */
static bool zap_tables(struct hv_vm *vm, uint64_t first, uint64_t last)
{
    const struct shadow *s = shadow_of(vm);
    bool any = false;
    for (uint64_t at = first; at <= last; at += GUEST_PAGE_SIZE) {
        const struct rmap_chunk *chunk = rmap_find(&s->rmap, at);
        if (!chunk || chunk->tables == 0) {
            at = (at | (pt_level_bytes(2) - 1)) - GUEST_PAGE_MASK; /* the chunk's last page */
            continue;
        }
        struct shadow_page *page;
        while ((page = shadow_page_on(s, at >> GUEST_PAGE_SHIFT, NULL)) != NULL) {
            shadow_zap(vm, page);
            any = true;
        }
    }
    return any;
}

static bool zap_gfns(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first, uint64_t last)
{
    struct shadow *s = shadow_of(vm);
    pthread_mutex_lock(&s->lock);
    bool flush = visit(vm, slot, first, last, zap_page);
    flush |= zap_tables(vm, hv_slot_hva(slot, first).raw, last_byte(slot, last));
    s->asked = s->seq;
    pthread_mutex_unlock(&s->lock);
    return flush;
}

/* By generation: nothing that is older is found again, and each vCPU loads another root. */
static bool zap_all(struct hv_vm *vm)
{
    struct shadow *s = shadow_of(vm);
    pthread_mutex_lock(&s->lock);
    s->generation++;
    s->asked = s->seq;
    pthread_mutex_unlock(&s->lock);
    hv_post_all(vm, HV_REQUEST_RELOAD_ROOT);
    return true;
}

/* Hybrid: what leads to the guest's table in this page goes, for the hardware writes there without an entry of
 * ours that could be read-only. */
static bool clear_switches(struct hv_vm *vm, const struct rmap_page *page)
{
    bool any = false;
    struct rmap_list list = rmap_entries(page);
    struct rmap_iter it;
    for (pt_word_t *entry = rmap_first(&list, &it); entry;) {
        pt_word_t *found = shadow_is_switch(pt_load(entry)) ? entry : NULL;
        entry = found ? NULL : rmap_next(&it);
        if (found) { /* and begin anew, since the list is another */
            shadow_clear_entry(vm, found, shadow_page_of_entry(found)->role.level);
            any = true;
            list = rmap_entries(page);
            entry = rmap_first(&list, &it);
        }
    }
    return any;
}

/* --- The dirty log: by write-protection ------------------------------------------------------------------ */

/* The next write is noticed; a large page goes, as one of a logged slot may not be. */
static bool notice_page(struct hv_vm *vm, const struct rmap_page *page)
{
    if (page->level > 1) {
        return zap_page(vm, page);
    }
    bool any = shadow_of(vm)->hybrid && clear_switches(vm, page);
    struct rmap_list list = rmap_entries(page);
    struct rmap_iter it;
    for (pt_word_t *entry = rmap_first(&list, &it); entry; entry = rmap_next(&it)) {
        uint64_t before = pt_load(entry);
        while ((before & format->writable) && !pt_cas(entry, &before, before & ~format->writable)) {}
        any |= (before & format->writable) != 0;
    }
    return any;
}

static bool log_start(struct hv_vm *vm, const struct hv_slot *slot)
{
    /* Pages that the log has from the beginning need not be noticed. */
    page_fn *each = notice_page;
    return !vm->initially_set && visit_locked(vm, slot, slot->base_gfn, hv_slot_last_gfn(slot), each);
}

/* Parts of what the guest maps large may be large again. */
static bool zap_direct(struct hv_vm *vm, const struct rmap_page *page)
{
    struct rmap_list list = rmap_entries(page);
    if (page->level > 1 || rmap_is_empty(&list) || !shadow_page_of_entry(rmap_any(&list))->role.direct) {
        return false;
    }
    return zap_page(vm, page);
}

static bool log_stop(struct hv_vm *vm, const struct hv_slot *slot)
{
    if (slot->level_max == 1 || vm->options.level_max == 1) {
        return false;
    }
    return visit_locked(vm, slot, slot->base_gfn, hv_slot_last_gfn(slot), zap_direct);
}

static bool log_harvest(struct hv_vm *vm, const struct hv_slot *slot)
{
    (void)vm;
    (void)slot;
    return false; /* the log knows already */
}

static bool log_protect(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first_gfn, uint64_t mask)
{
    struct shadow *s = shadow_of(vm);
    bool flush = false;
    pthread_mutex_lock(&s->lock);
    for (; mask; mask &= mask - 1) {
        uint64_t host = hv_slot_hva(slot, first_gfn + (unsigned)__builtin_ctzll(mask)).raw;
        struct rmap_chunk *chunk = rmap_find(&s->rmap, host);
        flush |= chunk && notice_page(vm, &(struct rmap_page){chunk, host, 1});
        flush |= chunk && notice_page(vm, &(struct rmap_page){chunk, host, 2});
        chunk = rmap_find(&s->rmap, align_down(host, pt_level_bytes(3)));
        flush |= chunk && notice_page(vm, &(struct rmap_page){chunk, host, 3});
    }
    pthread_mutex_unlock(&s->lock);
    return flush;
}

/* --- What the host asks of pages that stay ------------------------------------------------------------------ */

static bool is_young_page(struct hv_vm *vm, const struct rmap_page *page)
{
    struct rmap_list list = rmap_entries(page);
    struct rmap_iter it;
    (void)vm;
    for (pt_word_t *entry = rmap_first(&list, &it); entry; entry = rmap_next(&it)) {
        uint64_t e = pt_load(entry);
        if ((e & format->accessed) && !shadow_is_switch(e)) {
            return true;
        }
    }
    return false;
}

static bool age_page(struct hv_vm *vm, const struct rmap_page *page)
{
    struct rmap_list list = rmap_entries(page);
    struct rmap_iter it;
    bool any = is_young_page(vm, page);
    for (pt_word_t *entry = rmap_first(&list, &it); entry; entry = rmap_next(&it)) {
        uint64_t before = pt_load(entry);
        while ((before & format->accessed) && !shadow_is_switch(before) &&
               !pt_cas(entry, &before, before & ~format->accessed)) {}
    }
    return any;
}

/* TLBs are not flushed: a page that is used through one alone looks old for a while. */
static bool age(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first, uint64_t last, bool test_only)
{
    struct shadow *s = shadow_of(vm);
    page_fn *each = test_only ? is_young_page : age_page;
    pthread_mutex_lock(&s->lock);
    bool any = visit_lists(vm, hv_slot_hva(slot, first).raw, last_byte(slot, last), each);
    pthread_mutex_unlock(&s->lock);
    return any;
}

/* To 0 0 0 of the truth table in spte.h: the next write takes the slow way. */
static bool read_only_page(struct hv_vm *vm, const struct rmap_page *page)
{
    bool any = shadow_of(vm)->hybrid && page->level == 1 && clear_switches(vm, page);
    struct rmap_list list = rmap_entries(page);
    uint64_t bits = format->writable | format->software_host_writable | format->software_mmu_writable;
    struct rmap_iter it;
    for (pt_word_t *entry = rmap_first(&list, &it); entry; entry = rmap_next(&it)) {
        uint64_t before = pt_load(entry);
        while ((before & bits) && !pt_cas(entry, &before, before & ~bits)) {}
        if (before & bits) { /* nothing in the entry says so any more */
            shadow_note_loss(shadow_of(vm), pt_address(before), page->level);
            any = true;
        }
    }
    return any;
}

static bool write_protect(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first, uint64_t last)
{
    return visit_locked(vm, slot, first, last, read_only_page);
}

/* What the caller has flushed is free to go; what was unlinked since needs a flush of its own. */
static void collect(struct hv_vm *vm)
{
    struct shadow *s = shadow_of(vm);
    pthread_mutex_lock(&s->lock);
    s->flushed = s->asked > s->flushed ? s->asked : s->flushed;
    shadow_zap_obsolete(vm);
    bool is_due = s->unlinked_count > 0;
    pthread_mutex_unlock(&s->lock);
    if (is_due) {
        shadow_settle(vm);
    }
}

static uint64_t shrink(struct hv_vm *vm, uint64_t pages)
{
    struct shadow *s = shadow_of(vm);
    pthread_mutex_lock(&s->lock);
    shadow_zap_obsolete(vm);
    uint64_t gone = shadow_evict(vm, pages, s->live_count);
    pthread_mutex_unlock(&s->lock);
    shadow_settle(vm);
    tdp_pool_trim(&s->pool);
    return gone;
}

static uint64_t limited_tables(const struct hv_vm *vm)
{
    struct shadow *s = shadow_of(vm);
    pthread_mutex_lock(&s->lock);
    uint64_t tables = s->live_count;
    pthread_mutex_unlock(&s->lock);
    return tables;
}

static uint64_t table_bytes(const struct hv_vm *vm)
{
    struct shadow *s = shadow_of(vm);
    pthread_mutex_lock(&s->lock);
    uint64_t bytes = sizeof *s + (sizeof(struct shadow_page *) << s->bucket_bits) + tdp_pool_bytes(&s->pool) +
                     s->page_bytes + rmap_bytes(&s->rmap);
    pthread_mutex_unlock(&s->lock);
    return bytes;
}

const struct hv_mmu_ops hv_mmu_shadow = {
    .name = "shadow",
    .vm_init = vm_init,
    .vm_finish = vm_finish,
    .vcpu_init = vcpu_init,
    .vcpu_finish = vcpu_finish,
    .handle = shadow_handle,
    .load_root = shadow_load_root,
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
    .shrink = shrink,
    .limited_tables = limited_tables,
    .look = shadow_look,
    .collect = collect,
    .table_bytes = table_bytes,
};
