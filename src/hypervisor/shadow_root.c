// SPDX-License-Identifier: MIT
/*
 * Roots: the page that stands for the table in CR3 under the present registers. A vCPU keeps the last three:
 * nobody evicts them. A guest of 2 or 3 levels has glue above its directories: one table of each of our levels 4
 * and 3, of which it uses 1 and 4 entries.
 */
#include <errno.h>
#include <stdlib.h>

#include "hypervisor/hybrid.h"
#include "hypervisor/notifier.h"
#include "hypervisor/shadow.h"

#define SYNC_TRIES 4u /* while others open what was protected; then it is emptied */

#define CR4_SMEP (UINT64_C(1) << 20)
#define CR4_SMAP (UINT64_C(1) << 21)

/* Of the root. */
static union shadow_role role_of(const struct paging *p, const struct paging_regs *regs, unsigned space)
{
    union shadow_role role = {
        .level = p->mode == MV_PAGING_5LEVEL ? 5 : 4, .smm = space & 1, .access = PT_RIGHTS_ALL};
    bool smep = regs->cr4 & CR4_SMEP, smap = regs->cr4 & CR4_SMAP;
    if (p->mode == MV_PAGING_OFF) {
        role.direct = 1;
        return role;
    }
    role.has_4_byte_entries = p->entry_bytes == 4;
    role.no_execute = p->mode != MV_PAGING_32BIT && (regs->efer & X86_EFER_NXE);
    role.write_protect = p->write_protect;
    role.smep = smep;
    role.smap = smap;
    role.smep_and_not_wp = smep && !p->write_protect;
    role.smap_and_not_wp = smap && !p->write_protect;
    role.large_4m = p->mode == MV_PAGING_32BIT && p->has_large_4m;
    role.keys = p->has_keys_user || p->has_keys_supervisor;
    role.levels = (unsigned)p->mode & 7;
    return role;
}

static bool is_same(const struct shadow_root_key *a, const struct shadow_root_key *b)
{
    return a->role.word == b->role.word && a->table == b->table && a->pdptr[0] == b->pdptr[0] &&
           a->pdptr[1] == b->pdptr[1] && a->pdptr[2] == b->pdptr[2] && a->pdptr[3] == b->pdptr[3];
}

/* Glue's; of a vCPU's root. */
static struct shadow_root_key *key_of(struct shadow_page *page)
{
    assert(page->role.glue);
    return &((struct shadow_glue *)(void *)page)->key;
}

static union shadow_role role_of_root(struct shadow_page *page)
{
    return page->role.glue ? key_of(page)->role : page->role;
}

/* Both tables, the upper one leading to the lower. NULL: out of memory. */
static struct shadow_page *make_glue(struct hv_vm *vm)
{
    struct shadow_page *top = shadow_page_make_glue(vm, 4), *below = top ? shadow_page_make_glue(vm, 3) : NULL;
    if (!below || !shadow_link(vm, &top->table[0], below)) {
        if (below) {
            shadow_zap(vm, below);
        }
        if (top) {
            shadow_zap(vm, top);
        }
        return NULL;
    }
    return top;
}

/* NULL: the host takes that table away at the moment, or we have no memory. */
static struct shadow_page *make_anchor(struct hv_vcpu *vcpu, const struct shadow_wanted *table)
{
    struct hv_vm *vm = vcpu->vm;
    uint64_t host = table->frame << GUEST_PAGE_SHIFT;
    struct shadow_page *anchor = hv_notifier_blocks(vm, host, host + GUEST_PAGE_MASK)
                                     ? NULL
                                     : shadow_page_make_glue(vm, table->role.level + 1u);
    if (anchor && !shadow_link_switch(vm, &anchor->table[0], table->frame, PT_RIGHTS_ALL)) {
        shadow_zap(vm, anchor);
        return NULL;
    }
    if (anchor) {
        hv_mark_dirty_gfn(vcpu, table->gfn); /* the hardware may set A and D in it */
    }
    return anchor;
}

static struct shadow_root_key key_of_registers(const struct shadow_vcpu *v)
{
    struct shadow_root_key key = {.role = v->role, .table = v->guest.root.raw};
    for (unsigned i = 0; i < 4 && v->guest.mode == MV_PAGING_PAE; i++) {
        key.pdptr[i] = v->guest.pdptr[i];
    }
    return key;
}

/* Glue that the vCPU keeps for its registers. NULL: none. */
static struct shadow_page *kept_glue(const struct hv_vcpu *vcpu)
{
    const struct shadow_vcpu *v = shadow_vcpu_of(vcpu);
    const struct shadow_root_key key = key_of_registers(v);
    for (unsigned i = 0; i <= SHADOW_PREVIOUS_ROOTS; i++) {
        struct shadow_page *page = v->roots[i];
        if (page && page->role.glue && shadow_root_is_good(shadow_of(vcpu->vm), page) &&
            is_same(key_of(page), &key)) {
            return page;
        }
    }
    return NULL;
}

/* Hybrid: the guest's uppermost table is nested. */
static bool is_nested(struct hv_vcpu *vcpu, const struct shadow_wanted *root)
{
    const struct paging *p = &shadow_vcpu_of(vcpu)->guest;
    return shadow_of(vcpu->vm)->hybrid && hybrid_nests(vcpu, root->gfn, p->levels);
}

static bool has_glue(const struct paging *p)
{
    return p->mode == MV_PAGING_32BIT || p->mode == MV_PAGING_PAE;
}

/* Inside; the lock is not needed. The root for the registers, if it is not glue. False: CR3 points to
 * where no memory is. */
static bool want_root(struct hv_vcpu *vcpu, struct shadow_wanted *ret)
{
    const struct shadow_vcpu *v = shadow_vcpu_of(vcpu);
    ret->role = v->role;
    ret->gfn = ret->frame = 0;
    if (v->guest.mode == MV_PAGING_OFF || has_glue(&v->guest)) {
        return true;
    }
    uint64_t gfn = v->guest.root.raw >> GUEST_PAGE_SHIFT;
    const struct hv_slot *slot = hv_slot_of_gfn(hv_slots(vcpu), gfn, &vcpu->slot_hint[vcpu->space]);
    if (!slot || (slot->flags & HV_SLOT_INVALID)) {
        return false;
    }
    ret->gfn = gfn;
    ret->frame = hv_slot_hva(slot, gfn).raw >> GUEST_PAGE_SHIFT;
    return true;
}

/* All but glue is found in the hash, whether the vCPU keeps it or not: a switch costs the same among few and many.
 * NULL: there is no memory left for us. */
static struct shadow_page *find_root(struct hv_vcpu *vcpu, const struct shadow_wanted *wanted)
{
    bool nested = is_nested(vcpu, wanted), glued = has_glue(&shadow_vcpu_of(vcpu)->guest);
    struct shadow_page *page = nested || glued ? kept_glue(vcpu) : NULL;
    if (page) {
        return page;
    }
    /* No access comes before a load of CR3 that could wait for a ring to be emptied. */
    if (!glued && (!nested || hv_ring_is_full(vcpu))) {
        return shadow_page_get(vcpu->vm, wanted);
    }
    page = glued ? make_glue(vcpu->vm) : make_anchor(vcpu, wanted);
    if (page) {
        *key_of(page) = key_of_registers(shadow_vcpu_of(vcpu));
    }
    return page;
}

static void put(struct hv_vcpu *vcpu, struct shadow_page **root)
{
    if (*root) {
        shadow_root_put(vcpu->vm, *root);
        *root = NULL;
    }
}

/* Before roots[i] comes `page`, and what was before it moves there. */
static void to_front(struct shadow_vcpu *v, unsigned i, struct shadow_page *page)
{
    for (; i > 0; i--) {
        v->roots[i] = v->roots[i - 1];
    }
    v->roots[0] = page;
}

bool shadow_root_is_good(const struct shadow *s, const struct shadow_page *page)
{
    return shadow_is_valid(s, page) && !(shadow_is_anchor(page) && pt_load(&page->table[0]) == 0);
}

/* What the hardware begins at. */
static void set_root(struct hv_vcpu *vcpu)
{
    const struct shadow_vcpu *v = shadow_vcpu_of(vcpu);
    const struct shadow_page *page = v->roots[0];
    const struct hybrid *hybrid = shadow_of(vcpu->vm)->hybrid;
    vcpu->timer_walks = hybrid ? hybrid->policy.interval : 0;
    vcpu->root_is_switched = page && shadow_is_anchor(page);
    vcpu->root = !page ? v->empty : vcpu->root_is_switched ? spte_table(pt_load(&page->table[0])) : page->table;
}

/* Under the lock: the root for the vCPU's registers is its first. `wanted` NULL: CR3 points to where none can be.
 */
static void choose_root(struct hv_vcpu *vcpu, const struct shadow_wanted *wanted)
{
    struct shadow_vcpu *v = shadow_vcpu_of(vcpu);
    struct shadow_page *page = wanted ? find_root(vcpu, wanted) : NULL;
    unsigned i = 0;
    while (i <= SHADOW_PREVIOUS_ROOTS && v->roots[i] != page) {
        i++;
    }
    if (!page || i > SHADOW_PREVIOUS_ROOTS) {
        i = SHADOW_PREVIOUS_ROOTS;
        put(vcpu, &v->roots[i]);
        if (page) {
            page->roots++;
        }
    }
    if (page && i > 0) {
        page->writes = 0; /* it is in use again */
    }
    to_front(v, i, page);
    set_root(vcpu);
}

void shadow_drop_roots(struct hv_vcpu *vcpu)
{
    struct shadow_vcpu *v = shadow_vcpu_of(vcpu);
    for (unsigned i = 0; i <= SHADOW_PREVIOUS_ROOTS; i++) {
        put(vcpu, &v->roots[i]);
    }
    vcpu->root = v->empty;
    vcpu->root_is_switched = false;
}

/* Who zaps a root asks for a load of it, so that this is seen to. */
static void let_go_of_zapped(struct hv_vcpu *vcpu)
{
    struct shadow_vcpu *v = shadow_vcpu_of(vcpu);
    for (unsigned i = 0; i <= SHADOW_PREVIOUS_ROOTS; i++) {
        if (v->roots[i] && !shadow_root_is_good(shadow_of(vcpu->vm), v->roots[i])) {
            put(vcpu, &v->roots[i]);
        }
    }
}

int shadow_load_root(struct hv_vcpu *vcpu)
{
    struct shadow *s = shadow_of(vcpu->vm);
    struct shadow_wanted wanted;
    bool has_root = want_root(vcpu, &wanted);
    pthread_mutex_lock(&s->lock);
    let_go_of_zapped(vcpu);
    choose_root(vcpu, has_root ? &wanted : NULL);
    struct shadow_page *page = shadow_vcpu_of(vcpu)->roots[0];
    if (page) {
        (void)shadow_sync_below(vcpu, page, true); /* here it cannot wait */
    }
    pthread_mutex_unlock(&s->lock);
    return 0;
}

/* The root is chosen, and what the guest may see through it agrees with its tables. */
static void load_and_sync(struct hv_vcpu *vcpu)
{
    struct shadow *s = shadow_of(vcpu->vm);
    struct shadow_wanted wanted;
    for (unsigned tries = 1;; tries++) {
        rendezvous_enter(&vcpu->inside);
        bool has_root = want_root(vcpu, &wanted);
        shadow_page_prefetch(s, wanted.frame);
        pthread_mutex_lock(&s->lock);
        shadow_make_available(vcpu->vm);
        choose_root(vcpu, has_root ? &wanted : NULL);
        struct shadow_page *page = shadow_vcpu_of(vcpu)->roots[0];
        bool is_done = !page || shadow_sync_below(vcpu, page, tries == SYNC_TRIES);
        /* A guest that goes from root to root need not fault: glue and anchors pile up here alone. */
        bool is_full = s->unlinked_count >= SHADOW_UNLINKED_MAX;
        pthread_mutex_unlock(&s->lock);
        rendezvous_leave(&vcpu->inside);
        if (!is_done || is_full) {
            shadow_settle(vcpu->vm);
        }
        if (is_done) {
            return;
        }
    }
}

void shadow_set_regs(struct hv_vcpu *vcpu, const struct paging_regs *regs, const struct paging_cpu *cpu)
{
    struct shadow_vcpu *v = shadow_vcpu_of(vcpu);
    paging_compile(&v->guest, regs, cpu);
    paging_compile_shadow(&v->hardware, regs, NULL);
    v->role = role_of(&v->guest, regs, vcpu->space);
    load_and_sync(vcpu);
}

void shadow_load_cr3(struct hv_vcpu *vcpu, uint64_t cr3)
{
    struct shadow_vcpu *v = shadow_vcpu_of(vcpu);
    assert(v->guest.mode != MV_PAGING_PAE);
    paging_load_cr3(&v->guest, cr3);
    load_and_sync(vcpu);
}

void shadow_set_keys(struct hv_vcpu *vcpu, uint32_t pkru, uint32_t pkrs)
{
    struct shadow_vcpu *v = shadow_vcpu_of(vcpu);
    v->guest.pkru = v->hardware.pkru = pkru;
    v->guest.pkrs = v->hardware.pkrs = pkrs;
}

void shadow_sync_path(struct hv_vcpu *vcpu, struct shadow_page *page, gva_t gva)
{
    for (;;) {
        unsigned level = page->role.level, i = pt_index(gva.raw, level);
        if (shadow_has_guest_table(page)) {
            shadow_sync_entry(vcpu, page, i);
        }
        uint64_t entry = pt_load(&page->table[i]);
        if (!shadow_is_table(entry, level)) {
            return;
        }
        page = shadow_page_of_table(spte_table(entry));
    }
}

void shadow_invalidate(struct hv_vcpu *vcpu, gva_t gva)
{
    struct shadow *s = shadow_of(vcpu->vm);
    struct shadow_vcpu *v = shadow_vcpu_of(vcpu);
    hv_count_own(&vcpu->counters.invlpg, 1);
    rendezvous_enter(&vcpu->inside);
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i <= SHADOW_PREVIOUS_ROOTS; i++) {
        struct shadow_page *page = v->roots[i];
        if (page && shadow_root_is_good(s, page) && !shadow_is_anchor(page) &&
            role_of_root(page).word == v->role.word) {
            shadow_sync_path(vcpu, page, gva);
        }
    }
    pthread_mutex_unlock(&s->lock);
    rendezvous_leave(&vcpu->inside);
}

void shadow_invalidate_all(struct hv_vcpu *vcpu)
{
    load_and_sync(vcpu);
}
