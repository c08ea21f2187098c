// SPDX-License-Identifier: MIT
#include "hypervisor/shadow_look.h"

static const struct pt_format *const format = &pt_format_shadow;

/* --- The hardware's walk -------------------------------------------------------------------------------- */

struct looking {
    const struct shadow_page *page; /* that the walk is in; NULL: the empty root */
    struct hv_shadow_look *look;
};

static void *own_entry(void *ctx, gpa_t at, unsigned level, enum guest_walk_end *ret_end)
{
    (void)ctx;
    (void)level;
    (void)ret_end;
    return (void *)(uintptr_t)at.raw;
}

static void own_step(void *ctx, gpa_t at, unsigned level, uint64_t entry)
{
    struct looking *looking = ctx;
    struct hv_shadow_look *look = looking->look;
    const struct shadow_page *page = looking->page;
    if (!page) {
        return;
    }
    look->steps[look->count++] = (struct hv_shadow_step){.at = (const pt_word_t *)(uintptr_t)at.raw,
                                                         .entry = entry,
                                                         .gfn = page->role.direct ? page->frame : page->gfn,
                                                         .role = page->role,
                                                         .unsync = page->unsync,
                                                         .open = page->open};
    if (shadow_is_table(entry, level)) {
        looking->page = shadow_page_of_table(spte_table(entry));
    }
}

static const struct guest_walk_ops own_tables = {.entry = own_entry, .step = own_step};

/* Hybrid: the guest's own tables go on from here, or are all there is. */
static bool is_switched(const struct shadow_page *root, const struct guest_walk *walk, struct hv_shadow_look *look)
{
    if (root && shadow_is_anchor(root)) {
        look->guest_level = (uint8_t)(root->role.level - 1);
    } else if (walk->end == GUEST_WALK_RESERVED && walk->level > 1 && shadow_is_switch(walk->entry)) {
        look->guest_level = (uint8_t)(walk->level - 1);
    }
    return look->guest_level > 0;
}

/* As the hardware would: from the root that it has, or would load in place of one that is obsolete. */
static void walk_own(const struct hv_vcpu *vcpu, gva_t gva, struct pt_access access, struct hv_shadow_look *look)
{
    const struct shadow_vcpu *v = shadow_vcpu_of(vcpu);
    const struct shadow_page *root = v->roots[0];
    bool is_good = root && shadow_root_is_good(shadow_of(vcpu->vm), root);
    struct paging p = v->hardware;
    struct looking looking = {.page = is_good ? root : NULL, .look = look};
    struct guest_walk walk = {.end = GUEST_WALK_NON_CANONICAL};
    p.root = mv_gpa((uint64_t)(uintptr_t)(is_good ? root->table : v->empty));
    for (unsigned level = 2; level <= p.levels && shadow_of(vcpu->vm)->hybrid; level++) {
        p.reserved[0][level] |= SHADOW_SWITCH;
    }
    if (!is_good || !shadow_is_anchor(root)) {
        guest_walk(&p, gva, access, &own_tables, &looking, 0, NULL, &walk);
    }
    if (is_switched(is_good ? root : NULL, &walk, look)) {
        return;
    }
    look->end = walk.end;
    look->code = walk.end == GUEST_WALK_MAPPED || walk.end == GUEST_WALK_NON_CANONICAL ? 0 : walk.error_code;
    if (walk.end == GUEST_WALK_MAPPED || walk.end == GUEST_WALK_DENIED || walk.end == GUEST_WALK_KEY_DENIED) {
        look->rights = walk.rights;
        look->shift = walk.page_shift;
        look->host = walk.gpa.raw;
    }
}

/* --- The guest's walk, and what a fault would do -------------------------------------------------------- */

static void *guest_entry(void *ctx, gpa_t at, unsigned level, enum guest_walk_end *ret_end)
{
    (void)level;
    void *bytes = hv_guest_bytes(ctx, at, MV_ACCESS_READ);
    if (!bytes) {
        *ret_end = GUEST_WALK_NO_MEMORY;
    }
    return bytes;
}

static const struct guest_walk_ops guest_tables = {.entry = guest_entry};

static const struct hv_slot *slot_of(const struct hv_vcpu *vcpu, gpa_t gpa)
{
    unsigned hint = vcpu->slot_hint[vcpu->space];
    return hv_slot_of_gfn(hv_slots(vcpu), gpa.raw >> GUEST_PAGE_SHIFT, &hint);
}

static uint64_t host_of(const struct hv_vcpu *vcpu, gpa_t gpa)
{
    const struct hv_slot *slot = slot_of(vcpu, gpa);
    return slot ? hv_slot_hva(slot, gpa.raw >> GUEST_PAGE_SHIFT).raw : 0;
}

/* An entry for MMIO that says so since the last change of slots. */
static bool is_known_mmio(const struct hv_vcpu *vcpu, const struct hv_shadow_look *look)
{
    uint64_t entry = look->count > 0 ? look->steps[look->count - 1].entry : 0;
    return look->end == GUEST_WALK_RESERVED && spte_is_mmio(format, entry) &&
           (hv_slots(vcpu)->generation & SPTE_GENERATION_MASK) == spte_mmio_generation(entry);
}

/* The fast way: only the dirty log is in the way of this write. */
static bool is_log_alone(const struct hv_vcpu *vcpu, const struct hv_shadow_look *look, struct pt_access access)
{
    if (look->count == 0 || look->end != GUEST_WALK_DENIED || access.kind != MV_ACCESS_WRITE) {
        return false;
    }
    const struct hv_shadow_step *leaf = &look->steps[look->count - 1];
    return leaf->role.level == 1 && spte_is_mmu_writable(format, leaf->entry) &&
           !pt_is_writable(format, leaf->entry) &&
           !paging_denies(&shadow_vcpu_of(vcpu)->hardware, access, look->rights | PT_RIGHT_W);
}

/* The role that the page for the guest's table of that level has, on the way of this walk. */
static union shadow_role role_of(const struct hv_vcpu *vcpu, const struct guest_walk *walk, gva_t gva,
                                 unsigned level)
{
    union shadow_role role = shadow_vcpu_of(vcpu)->role;
    role.level = level & 7;
    role.access = walk->tables[level].rights & PT_RIGHTS_ALL;
    if (role.has_4_byte_entries) {
        unsigned quadrant = (unsigned)(gva.raw >> pt_level_shift(level + 1));
        role.quadrant = (level == 2 ? quadrant : quadrant & 1) & 3;
    }
    return role;
}

static bool has_step(const struct hv_shadow_look *look, union shadow_role role, uint64_t gfn)
{
    for (unsigned i = 0; i < look->count; i++) {
        if (look->steps[i].role.word == role.word && look->steps[i].gfn == gfn) {
            return true;
        }
    }
    return false;
}

static bool is_below(const struct shadow_page *page, const struct shadow_page *top)
{
    struct rmap_iter it;
    for (const pt_word_t *entry = rmap_first(&page->parents, &it); entry; entry = rmap_next(&it)) {
        const struct shadow_page *parent = shadow_page_of_entry(entry);
        if (parent == top || is_below(parent, top)) {
            return true;
        }
    }
    return false;
}

/* The page of that role for the guest's table in a frame. NULL: there is none. */
static const struct shadow_page *page_for(const struct shadow *s, uint64_t frame, union shadow_role role)
{
    const struct shadow_page *page = shadow_page_on(s, frame, NULL);
    while (page && page->role.word != role.word) {
        page = shadow_page_on(s, frame, page);
    }
    return page;
}

/* Whether something open below the page shadows `frame`: it is protected when the page is linked. */
static bool link_protects(const struct shadow *s, const struct shadow_page *top, uint64_t frame)
{
    for (const struct shadow_page *page = shadow_page_on(s, frame, NULL); page;
         page = shadow_page_on(s, frame, page)) {
        if (page->open && is_below(page, top)) {
            return true;
        }
    }
    return false;
}

/*
 * Levels, as bits, of pages for tables in this frame that the fault protects, on the guest's way where the
 * hardware's has none: for a page that is made, its table; when one that was kept is linked, what is open below
 * it.
 */
static unsigned levels_made(const struct hv_vcpu *vcpu, const struct guest_walk *walk, gva_t gva, uint64_t frame,
                            const struct hv_shadow_look *look)
{
    const struct shadow *s = shadow_of(vcpu->vm);
    unsigned levels = 0;
    for (unsigned level = shadow_vcpu_of(vcpu)->guest.levels; level > 0 && level >= walk->level; level--) {
        gpa_t table = walk->tables[level].table;
        union shadow_role role = role_of(vcpu, walk, gva, level);
        uint64_t table_frame = host_of(vcpu, table) >> GUEST_PAGE_SHIFT;
        if (has_step(look, role, table.raw >> GUEST_PAGE_SHIFT)) {
            continue;
        }
        const struct shadow_page *kept = page_for(s, table_frame, role);
        levels |= !kept && table_frame == frame ? 1u << level : 0;
        levels |= kept && link_protects(s, kept, frame) ? 1u << 1 : 0;
    }
    return levels;
}

/* Whether the page that is written holds a table which is, or will be by then, read-only. */
static bool is_shadowed(const struct hv_vcpu *vcpu, uint64_t frame, unsigned made, bool *ret_may_open)
{
    const struct shadow *s = shadow_of(vcpu->vm);
    unsigned levels = made;
    for (const struct shadow_page *page = shadow_page_on(s, frame, NULL); page;
         page = shadow_page_on(s, frame, page)) {
        levels |= 1u << page->role.level;
    }
    *ret_may_open = s->can_unsync && (levels & ~2u) == 0;
    return made != 0 || shadow_is_tracked(s, frame);
}

static enum hv_shadow_answer answer_write(const struct hv_vcpu *vcpu, const struct guest_walk *walk, gva_t gva,
                                          const struct hv_shadow_look *look)
{
    const struct shadow_vcpu *v = shadow_vcpu_of(vcpu);
    uint64_t frame = host_of(vcpu, walk->gpa) >> GUEST_PAGE_SHIFT;
    bool may_open;
    bool is_table = is_shadowed(vcpu, frame, levels_made(vcpu, walk, gva, frame, look), &may_open);
    if (is_table && !may_open) {
        return HV_SHADOW_STORE;
    }
    if (!(walk->rights & PT_RIGHT_W) && (v->role.smap || v->role.keys)) {
        return HV_SHADOW_WITHOUT_WP;
    }
    return is_table ? HV_SHADOW_OPEN : HV_SHADOW_FIX;
}

/* In the order of shadow_fault.c. */
static enum hv_shadow_answer answer(struct hv_vcpu *vcpu, gva_t gva, struct pt_access access,
                                    const struct hv_shadow_look *look)
{
    struct guest_walk walk;
    if (look->end == GUEST_WALK_MAPPED) {
        return HV_SHADOW_GOES_ON;
    }
    if (is_known_mmio(vcpu, look)) {
        return HV_SHADOW_NO_SLOT;
    }
    if (is_log_alone(vcpu, look, access)) {
        return HV_SHADOW_FIX;
    }
    guest_walk(&shadow_vcpu_of(vcpu)->guest, gva, access, &guest_tables, vcpu, 0, NULL, &walk);
    if (walk.end != GUEST_WALK_MAPPED) {
        return HV_SHADOW_REFLECT;
    }
    const struct hv_slot *slot = slot_of(vcpu, walk.gpa);
    if (!slot) {
        return HV_SHADOW_NO_SLOT;
    }
    if (access.kind != MV_ACCESS_WRITE) {
        return HV_SHADOW_FIX;
    }
    return slot->flags & KVM_MEM_READONLY ? HV_SHADOW_READONLY_SLOT : answer_write(vcpu, &walk, gva, look);
}

void shadow_look(struct hv_vcpu *vcpu, gva_t gva, struct pt_access access, struct hv_shadow_look *ret)
{
    struct shadow *s = shadow_of(vcpu->vm);
    const struct paging *guest = &shadow_vcpu_of(vcpu)->guest;
    *ret = (struct hv_shadow_look){0};
    pthread_mutex_lock(&s->lock);
    if (guest->levels > 0 && !paging_is_canonical(guest, gva.raw)) {
        ret->end = GUEST_WALK_NON_CANONICAL; /* the processor's own exception, and no exit */
        ret->answer = HV_SHADOW_GOES_ON;
    } else {
        walk_own(vcpu, gva, access, ret);
        bool is_over = ret->guest_level > 0 || ret->end == GUEST_WALK_NON_CANONICAL;
        ret->answer = is_over ? HV_SHADOW_GOES_ON : answer(vcpu, gva, access, ret);
    }
    if (ret->host) {
        uint64_t frame = ret->host >> GUEST_PAGE_SHIFT;
        ret->is_table = shadow_page_on(s, frame, NULL) != NULL;
        ret->protects = shadow_is_tracked(s, frame);
    }
    pthread_mutex_unlock(&s->lock);
}
