// SPDX-License-Identifier: MIT
/*
 * A #PF over shadow tables: the guest's own, which is reflected, or ours, which is fixed. Inside, under the shadow
 * MMU's lock from the walk of the guest's tables to the last entry that is made of it. The order:
 *
 *   reserved   an entry for MMIO of this generation: EMULATE
 *   fast       the dirty log took W: it is given back
 *   walk       the guest's tables, in software, with A and D; the guest's own fault ends it
 *   slot       none: MMIO. Invalid: RETRY. Read-only and a write: EMULATE
 *   path       a page of ours for each table of the guest's; direct pages below a large page that we map in parts
 *   leaf       by the guest's rights, the slot, and whether the page is a table itself
 *   prefetch   the neighbours
 */
#include <errno.h>

#include "base/os_populate.h"
#include "hypervisor/hybrid.h"
#include "hypervisor/notifier.h"
#include "hypervisor/shadow.h"

static const struct pt_format *const format = &pt_format_shadow;

enum end {
    END_FIXED,
    END_SPURIOUS,
    END_RETRY,
    END_EMULATE,
    END_SETTLE,
    END_FAULT,
    END_NO_MEMORY,
    END_BAD_HOST_PAGE,
    END_POPULATE, /* make the host page present, without the lock, and begin anew */
    END_GO_ON,
};

struct fault {
    gva_t gva;
    struct pt_access access;
    struct guest_walk walk;
    const struct hv_slot *slot; /* NULL: MMIO */
    uint64_t gfn;               /* of the byte */
    unsigned guest_level;       /* of the guest's page; 5 with paging off: as large as may be */
    unsigned level;             /* of ours; 0: not decided yet */
    uint8_t rights;             /* of the leaf */
    bool emulate;               /* what is mapped does not let this access through */
    uint64_t populated;         /* gfn + 1 of the page that was made present */
};

/* --- The guest's tables ------------------------------------------------------------------------------- */

static void *entry_bytes(void *ctx, gpa_t at, unsigned level, enum guest_walk_end *ret_end)
{
    (void)level;
    void *bytes = hv_guest_bytes(ctx, at, MV_ACCESS_READ);
    if (!bytes) {
        *ret_end = GUEST_WALK_NO_MEMORY;
    }
    return bytes;
}

/* In a read-only slot a table goes without A and D, as with KVM. */
static enum guest_update update_bits(void *ctx, gpa_t at, unsigned level, uint64_t bits)
{
    (void)level;
    (void)bits;
    return hv_guest_bytes(ctx, at, MV_ACCESS_WRITE) ? GUEST_UPDATE_ALLOWED : GUEST_UPDATE_SKIP;
}

static const struct guest_walk_ops walking = {.entry = entry_bytes, .update = update_bits};

/* A processor that refuses a page drops what it has of it. */
static void reflect(struct hv_vcpu *vcpu, const struct fault *f)
{
    const struct guest_walk *w = &f->walk;
    struct shadow_page *root = shadow_vcpu_of(vcpu)->roots[0];
    if (root && (w->error_code & PF_PRESENT) && !(w->error_code & PF_RESERVED)) {
        shadow_sync_path(vcpu, root, f->gva);
    }
    vcpu->fault = (struct hv_guest_fault){.rule = w->end,
                                          .error_code = w->error_code,
                                          .level = w->level,
                                          .entry = w->level > 0 ? w->entry : 0,
                                          .reserved = w->end == GUEST_WALK_RESERVED ? w->reserved : 0};
}

/*
 * CR0.WP=0 and a supervisor's write to a page that is read-only: our entry gives W and takes U (and X under SMEP,
 * for the page would be a supervisor's). The next access of a user's turns it back. Where SMAP or keys tell user
 * pages apart that would let through what the guest refuses: each write is emulated.
 */
static bool can_write_without_wp(const struct hv_vcpu *vcpu, struct fault *f)
{
    const struct shadow_vcpu *v = shadow_vcpu_of(vcpu);
    if (v->role.smap || v->role.keys) {
        return false;
    }
    f->rights = (uint8_t)((f->rights | PT_RIGHT_W) & ~PT_RIGHT_U & ~(v->role.smep ? PT_RIGHT_X : 0));
    return true;
}

static enum end walk_guest(struct hv_vcpu *vcpu, struct fault *f)
{
    const struct paging *p = &shadow_vcpu_of(vcpu)->guest;
    guest_walk(p, f->gva, f->access, &walking, vcpu, 0, NULL, &f->walk);
    if (f->walk.end != GUEST_WALK_MAPPED) {
        reflect(vcpu, f);
        return END_FAULT;
    }
    unsigned shift = f->walk.page_shift;
    f->walk.key = shadow_vcpu_of(vcpu)->role.keys ? f->walk.key : 0;
    f->gfn = f->walk.gpa.raw >> GUEST_PAGE_SHIFT;
    f->guest_level = p->levels == 0 ? 5 : shift >= 30 ? 3 : shift >= 21 ? 2 : 1;
    /* A clean page is read-only until it is written. A write has set D, but in a table in a read-only slot. */
    bool is_write = f->access.kind == MV_ACCESS_WRITE;
    f->rights = (uint8_t)(f->walk.rights & (f->walk.is_dirty || is_write ? PT_RIGHTS_ALL : ~PT_RIGHT_W));
    f->emulate = is_write && !(f->rights & PT_RIGHT_W) && !can_write_without_wp(vcpu, f);
    return END_GO_ON;
}

/* --- The slot, and the host's page --------------------------------------------------------------------- */

static enum end find_slot(struct hv_vcpu *vcpu, struct fault *f)
{
    f->slot = hv_slot_of_gfn(hv_slots(vcpu), f->gfn, &vcpu->slot_hint[vcpu->space]);
    if (!f->slot) {
        uint64_t generation = hv_slots(vcpu)->generation;
        bool is_cached = !vcpu->vm->options.no_mmio_caching && f->guest_level == 1 &&
                         !(generation & HV_GENERATION_UPDATING) &&
                         !(f->gfn << GUEST_PAGE_SHIFT & ~SPTE_MMIO_GPA_MASK);
        return is_cached ? END_GO_ON : END_EMULATE;
    }
    if (f->slot->flags & HV_SLOT_INVALID) {
        return END_RETRY;
    }
    if (f->access.kind == MV_ACCESS_WRITE && (f->slot->flags & KVM_MEM_READONLY)) {
        return END_EMULATE;
    }
    uint64_t host = hv_slot_hva(f->slot, f->gfn).raw;
    if (hv_notifier_blocks(vcpu->vm, host, host + GUEST_PAGE_MASK)) {
        return END_RETRY;
    }
    return vcpu->vm->options.populate && f->populated != f->gfn + 1 ? END_POPULATE : END_GO_ON;
}

/* As KVM's get_user_pages. Without the lock: it may take as long as the host likes. */
static bool populate(const struct hv_vm *vm, const struct fault *f)
{
    void *page = hva_pointer(hv_slot_hva(f->slot, f->gfn));
    enum os_populate how = f->access.kind == MV_ACCESS_WRITE ? OS_POPULATE_WRITE : OS_POPULATE_READ;
    if (shadow_of(vm)->can_populate) {
        return os_populate(page, GUEST_PAGE_SIZE, how) == 0;
    }
    os_touch(page, GUEST_PAGE_SIZE, GUEST_PAGE_SIZE, how);
    return true;
}

/* The largest page that may hold the fault's. */
static unsigned largest_level(const struct hv_vcpu *vcpu, const struct fault *f)
{
    const struct hv_vm *vm = vcpu->vm;
    const struct hv_slot *slot = f->slot;
    unsigned level = f->guest_level < 3 ? f->guest_level : 3;
    level = level < slot->level_max ? level : slot->level_max;
    level = level < vm->options.level_max ? level : vm->options.level_max;
    if ((slot->flags & KVM_MEM_LOG_DIRTY_PAGES) ||
        (vm->options.nx_huge_pages && f->access.kind == MV_ACCESS_FETCH)) {
        return 1;
    }
    for (; level > 1; level--) {
        uint64_t pages = shadow_level_pages(level), first = align_down(f->gfn, pages),
                 bytes = pt_level_bytes(level);
        if (first < slot->base_gfn || first - slot->base_gfn + pages > slot->npages) {
            continue;
        }
        uint64_t host = hv_slot_hva(slot, first).raw;
        if (is_aligned(host, bytes) && shadow_has_no_tables(shadow_of(vm), host, level) &&
            !hv_notifier_blocks(vm, host, host + bytes - 1)) {
            break;
        }
    }
    return level;
}

/* --- The path -------------------------------------------------------------------------------------------- */

/* What the entry of `level` has to lead to. False: the guest's table has no slot any more. */
static bool wanted_below(struct hv_vcpu *vcpu, const struct fault *f, unsigned level, struct shadow_wanted *ret)
{
    const struct shadow_vcpu *v = shadow_vcpu_of(vcpu);
    unsigned below = level - 1;
    *ret = (struct shadow_wanted){.role = v->role};
    ret->role.level = below & 7;
    if (level <= f->guest_level) {
        ret->role.direct = 1;
        ret->role.has_4_byte_entries = 0;
        ret->role.access = f->rights & PT_RIGHTS_ALL;
        ret->role.key = f->walk.key & 15u;
        ret->frame = align_down(f->gfn, shadow_level_pages(level));
        return true;
    }
    ret->gfn = f->walk.tables[below].table.raw >> GUEST_PAGE_SHIFT;
    const struct hv_slot *slot = hv_slot_of_gfn(hv_slots(vcpu), ret->gfn, &vcpu->slot_hint[vcpu->space]);
    if (!slot) {
        return false;
    }
    ret->frame = hv_slot_hva(slot, ret->gfn).raw >> GUEST_PAGE_SHIFT;
    ret->role.access = f->walk.tables[below].rights & PT_RIGHTS_ALL;
    if (ret->role.has_4_byte_entries) {
        unsigned quadrant = (unsigned)(f->gva.raw >> pt_level_shift(level));
        ret->role.quadrant = (below == 2 ? quadrant : quadrant & 1) & 3;
    }
    return true;
}

/* Hybrid: the guest's table below may be nested. The entry leads to it then, and is all that the fault needs: the
 * hardware goes on by itself. GO_ON: it is shadowed. */
static enum end switch_below(struct hv_vcpu *vcpu, pt_word_t *word, unsigned level,
                             const struct shadow_wanted *wanted)
{
    struct hv_vm *vm = vcpu->vm;
    if (!shadow_of(vm)->hybrid || wanted->role.direct || !hybrid_nests(vcpu, wanted->gfn, level - 1)) {
        return END_GO_ON;
    }
    uint64_t host = wanted->frame << GUEST_PAGE_SHIFT;
    if (hv_notifier_blocks(vm, host, host + GUEST_PAGE_MASK)) {
        return END_RETRY;
    }
    shadow_clear_entry(vm, word, level);
    if (!shadow_link_switch(vm, word, wanted->frame, wanted->role.access)) {
        return END_NO_MEMORY;
    }
    /* From now on the hardware may set A and D in it. */
    hv_mark_dirty_gfn(vcpu, wanted->gfn);
    return END_FIXED;
}

/* The page below, which is linked if it was not. GO_ON, or why not. */
static enum end step_down(struct hv_vcpu *vcpu, struct fault *f, struct shadow_page **page)
{
    struct hv_vm *vm = vcpu->vm;
    unsigned level = (*page)->role.level;
    pt_word_t *word = &(*page)->table[pt_index(f->gva.raw, level)];
    uint64_t entry = pt_load(word);
    struct shadow_page *child = shadow_is_table(entry, level) ? shadow_page_of_table(spte_table(entry)) : NULL;
    if (child && child->role.glue) {
        *page = child;
        return END_GO_ON;
    }
    struct shadow_wanted wanted;
    if (!wanted_below(vcpu, f, level, &wanted)) {
        return END_RETRY;
    }
    enum end end = switch_below(vcpu, word, level, &wanted);
    if (end != END_GO_ON) {
        return end;
    }
    if (!child || child->frame != wanted.frame || child->role.word != wanted.role.word) {
        shadow_clear_entry(vm, word, level);
        child = shadow_page_get(vm, &wanted);
        if (!child) {
            return END_NO_MEMORY;
        }
        /* Linked where nothing was, the guest need not flush: it is to see the tables as they are, here and below.
         */
        if (!shadow_make_linkable(vcpu, child)) {
            return END_SETTLE;
        }
        if (!shadow_link(vm, word, child)) {
            return END_NO_MEMORY;
        }
        if (child->unsync) {
            shadow_tell_parents(child);
        }
    }
    *page = child;
    return END_GO_ON;
}

/* --- The leaf --------------------------------------------------------------------------------------------- */

/* A write to a page that is a table itself. */
static bool is_tracked(struct hv_vcpu *vcpu, struct fault *f, uint64_t host)
{
    struct hv_vm *vm = vcpu->vm;
    uint64_t frame = host >> GUEST_PAGE_SHIFT;
    if (f->level > 1 || !shadow_is_tracked(shadow_of(vm), frame)) {
        return false;
    }
    if (f->access.kind != MV_ACCESS_WRITE) {
        return true;
    }
    vcpu->wrote_table = true;
    if (shadow_open_frame(vm, frame)) {
        return false;
    }
    f->emulate = true;
    return true;
}

static enum end map_mmio(struct hv_vcpu *vcpu, const struct fault *f, pt_word_t *word)
{
    uint64_t generation = hv_slots(vcpu)->generation;
    shadow_clear_entry(vcpu->vm, word, 1);
    (void)pt_exchange(word, spte_make_mmio(format, f->gfn << GUEST_PAGE_SHIFT, generation));
    hv_count_own(&vcpu->counters.pf_mmio_spte_created, 1);
    return END_EMULATE;
}

/* Whether the hardware lets the access through now. */
static bool is_enough(const struct hv_vcpu *vcpu, const struct fault *f, uint64_t entry)
{
    const struct paging *p = &shadow_vcpu_of(vcpu)->hardware;
    unsigned rights = guest_entry_rights(p, entry, 1);
    return !paging_denies(p, f->access, rights) &&
           !paging_key_denies(p, f->access, rights, entry >> SHADOW_KEY_SHIFT & 15);
}

static enum end map_page(struct hv_vcpu *vcpu, struct fault *f, pt_word_t *word)
{
    uint64_t host = align_down(hv_slot_hva(f->slot, f->gfn).raw, pt_level_bytes(f->level));
    struct shadow_leaf leaf = {.slot = f->slot,
                               .host = host,
                               .level = f->level,
                               .rights = f->rights,
                               .key = f->walk.key,
                               .is_write = f->access.kind == MV_ACCESS_WRITE,
                               .is_tracked = is_tracked(vcpu, f, host),
                               .is_young = true};
    uint64_t to = shadow_make_leaf(vcpu->vm, &leaf), before = pt_load(word);
    if (!shadow_set_leaf(vcpu->vm, word, f->level, to)) {
        return END_NO_MEMORY;
    }
    if (pt_is_writable(format, to) && !(pt_is_writable(format, before) && pt_address(before) == host)) {
        hv_mark_dirty(vcpu, f->slot, f->gfn);
    }
    if (f->emulate || !is_enough(vcpu, f, to)) {
        return END_EMULATE;
    }
    return before == to ? END_SPURIOUS : END_FIXED;
}

/* --- Neighbours ------------------------------------------------------------------------------------------- */

/* What the guest's entry says of a page of its own; false: it is not present, not accessed, or wrong. */
static bool read_neighbour(const struct hv_vcpu *vcpu, const struct shadow_page *page, unsigned i,
                           uint64_t *ret_gfn, struct shadow_leaf *ret)
{
    const struct paging *p = &shadow_vcpu_of(vcpu)->guest;
    const void *at = shadow_guest_entry(vcpu, page, i);
    uint64_t e = at ? pt_guest_load(at, p->entry_bytes) : 0;
    if (!(e & X86_ENTRY_P) || !(e & X86_ENTRY_A) || (e & p->reserved[0][1])) {
        return false;
    }
    unsigned rights = page->role.access & guest_entry_rights(p, e, 1);
    *ret_gfn = guest_leaf_frame(p, e, GUEST_PAGE_SHIFT) >> GUEST_PAGE_SHIFT;
    ret->rights = (uint8_t)(rights & (e & X86_ENTRY_D ? PT_RIGHTS_ALL : ~PT_RIGHT_W));
    ret->key = (uint8_t)shadow_key(page->role, e);
    return true;
}

/* One of them, if it is of RAM. It is old until somebody uses it. False: it is no good. */
static bool prefetch_one(struct hv_vcpu *vcpu, struct shadow_page *page, unsigned i)
{
    struct shadow_leaf leaf = {.level = 1, .rights = page->role.access, .key = page->role.key};
    uint64_t gfn = page->frame + i;
    if (!page->role.direct && !read_neighbour(vcpu, page, i, &gfn, &leaf)) {
        return false;
    }
    leaf.slot = hv_slot_of_gfn(hv_slots(vcpu), gfn, &vcpu->slot_hint[vcpu->space]);
    if (!leaf.slot || (leaf.slot->flags & HV_SLOT_INVALID)) {
        return false;
    }
    leaf.host = hv_slot_hva(leaf.slot, gfn).raw;
    if (hv_notifier_blocks(vcpu->vm, leaf.host, leaf.host + GUEST_PAGE_MASK)) {
        return false;
    }
    leaf.is_tracked = shadow_is_tracked(shadow_of(vcpu->vm), leaf.host >> GUEST_PAGE_SHIFT);
    return shadow_set_leaf(vcpu->vm, &page->table[i], 1, shadow_make_leaf(vcpu->vm, &leaf));
}

/* From the first of them to the one that is no good, as KVM does: what is behind that is not looked at. A
 * large page of the guest's that is mapped in parts has no A for each. */
static void prefetch(struct hv_vcpu *vcpu, struct shadow_page *page, unsigned index)
{
    unsigned first = index & ~(SHADOW_PREFETCH - 1);
    if (page->role.level > 1 || page->role.glue) {
        return;
    }
    for (unsigned i = first; i < first + SHADOW_PREFETCH; i++) {
        if (i != index && pt_load(&page->table[i]) == 0 && !prefetch_one(vcpu, page, i)) {
            break;
        }
    }
}

/* --- All of it -------------------------------------------------------------------------------------------- */

static enum end map(struct hv_vcpu *vcpu, struct fault *f)
{
    struct shadow_page *page = shadow_vcpu_of(vcpu)->roots[0];
    for (;;) {
        unsigned level = page->role.level;
        page->writes = 0; /* it is in use: writes to it are edits */
        if (!shadow_is_ready(shadow_of(vcpu->vm), page)) {
            return END_SETTLE;
        }
        /* Decided when the guest's tables above are counted: one may lie in the page itself. */
        if (level <= f->guest_level && f->level == 0) {
            f->level = f->slot ? largest_level(vcpu, f) : 1;
        }
        if (level == f->level) {
            unsigned index = pt_index(f->gva.raw, level);
            if (!f->slot) {
                return map_mmio(vcpu, f, &page->table[index]);
            }
            enum end end = map_page(vcpu, f, &page->table[index]);
            if (end == END_FIXED || end == END_EMULATE) {
                prefetch(vcpu, page, index);
            }
            return end;
        }
        enum end end = step_down(vcpu, f, &page);
        if (end != END_GO_ON) {
            return end;
        }
    }
}

/* Down to what is no table. */
static pt_word_t *lookup(const struct hv_vcpu *vcpu, gva_t gva, uint64_t *ret_entry, unsigned *ret_level)
{
    struct shadow_page *page = shadow_vcpu_of(vcpu)->roots[0];
    for (;;) {
        unsigned level = page->role.level;
        pt_word_t *word = &page->table[pt_index(gva.raw, level)];
        uint64_t entry = pt_load(word);
        if (!shadow_is_table(entry, level)) {
            *ret_entry = entry;
            *ret_level = level;
            return word;
        }
        page = shadow_page_of_table(spte_table(entry));
    }
}

static enum end fault_mmio(const struct hv_vcpu *vcpu, gva_t gva)
{
    uint64_t entry, generation = hv_slots(vcpu)->generation;
    unsigned level;
    (void)lookup(vcpu, gva, &entry, &level);
    bool is_good = spte_is_mmio(format, entry) && !(generation & HV_GENERATION_UPDATING) &&
                   (generation & SPTE_GENERATION_MASK) == spte_mmio_generation(entry);
    return is_good ? END_EMULATE : END_GO_ON;
}

/* A write that the dirty log is to notice, and nothing else is in its way. */
static enum end fault_fast(struct hv_vcpu *vcpu, const struct fault *f)
{
    uint64_t entry;
    unsigned level;
    pt_word_t *word = lookup(vcpu, f->gva, &entry, &level);
    if (f->access.kind != MV_ACCESS_WRITE || level > 1 || !spte_is_present(entry) ||
        !spte_is_mmu_writable(format, entry) || pt_is_writable(format, entry)) {
        return END_GO_ON;
    }
    uint64_t to = entry | format->writable | format->dirty | format->accessed;
    const struct hv_slot *slot = NULL;
    unsigned hint = vcpu->slot_hint[vcpu->space];
    gpa_t gpa;
    if (!is_enough(vcpu, f, to) || hv_gpa_of(vcpu, pt_address(entry), &gpa) != 1) {
        return END_GO_ON;
    }
    slot = hv_slot_of_gfn(hv_slots(vcpu), gpa.raw >> GUEST_PAGE_SHIFT, &hint);
    if (!slot || (slot->flags & HV_SLOT_INVALID)) {
        return END_GO_ON;
    }
    (void)pt_exchange(word, to);
    hv_mark_dirty(vcpu, slot, gpa.raw >> GUEST_PAGE_SHIFT);
    hv_count_own(&vcpu->counters.pf_fast, 1);
    return END_FIXED;
}

/* Under the lock. */
static enum end repair(struct hv_vcpu *vcpu, const struct pt_exit *exit, struct fault *f)
{
    struct shadow *s = shadow_of(vcpu->vm);
    const struct shadow_page *root = shadow_vcpu_of(vcpu)->roots[0];
    if (s->unlinked_count >= SHADOW_UNLINKED_MAX) {
        return END_SETTLE;
    }
    if (root && (!shadow_is_valid(s, root) || vcpu->root != root->table)) {
        return END_RETRY; /* there is a request to load the new one */
    }
    enum end end = END_GO_ON;
    if (root && (exit->code & PF_RESERVED)) {
        end = fault_mmio(vcpu, f->gva);
    } else if (root && (exit->code & PF_PRESENT)) {
        end = fault_fast(vcpu, f);
    }
    if (end == END_GO_ON) {
        end = walk_guest(vcpu, f);
    }
    if (end == END_GO_ON &&
        !root) { /* CR3 leads nowhere, but the walk says otherwise by now; or there was no memory */
        hv_request_post(&vcpu->requests, HV_REQUEST_RELOAD_ROOT);
        return shadow_fill_cache(s, 1) == 0 ? END_RETRY : END_NO_MEMORY;
    }
    if (end == END_GO_ON) {
        end = find_slot(vcpu, f);
    }
    if (end == END_GO_ON) {
        shadow_make_available(vcpu->vm);
        end = map(vcpu, f);
    }
    return end;
}

static enum hv_answer answer(struct hv_vcpu *vcpu, enum end end)
{
    struct hv_counters *c = &vcpu->counters;
    switch (end) {
    case END_FIXED: hv_count_own(&c->pf_fixed, 1); return HV_RETRY;
    case END_SPURIOUS: hv_count_own(&c->pf_spurious, 1); return HV_RETRY;
    case END_EMULATE: return HV_EMULATE;
    case END_SETTLE: return HV_SETTLE;
    case END_FAULT: return HV_FAULT;
    case END_NO_MEMORY: vcpu->error = -ENOMEM; return HV_ERROR;
    case END_BAD_HOST_PAGE: vcpu->error = -EFAULT; return HV_ERROR;
    case END_RETRY:
    case END_POPULATE:
    case END_GO_ON: break;
    }
    return HV_RETRY;
}

enum hv_answer shadow_handle(struct hv_vcpu *vcpu, const struct pt_exit *exit)
{
    struct shadow *s = shadow_of(vcpu->vm);
    struct fault f = {.gva = exit->gva, .access = exit->access};
    assert(exit->reason == PT_EXIT_PAGE_FAULT);
    vcpu->wrote_table = false;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        enum end end = repair(vcpu, exit, &f);
        pthread_mutex_unlock(&s->lock);
        if (end != END_POPULATE) {
            return answer(vcpu, end);
        }
        if (!populate(vcpu->vm, &f)) {
            return answer(vcpu, END_BAD_HOST_PAGE);
        }
        f = (struct fault){.gva = exit->gva, .access = exit->access, .populated = f.gfn + 1};
    }
}
