// SPDX-License-Identifier: MIT
/*
 * Entries that agree with the guest's table again. A page that is open is protected first, and all TLBs must have
 * heard of that before its guest table is read: else a write could come after the reading that nobody notices.
 */
#include "hypervisor/shadow.h"

static const struct pt_format *const format = &pt_format_shadow;

uint64_t *shadow_guest_entry(const struct hv_vcpu *vcpu, const struct shadow_page *page, unsigned index)
{
    unsigned hint = vcpu->slot_hint[vcpu->space];
    const struct hv_slot *slot = hv_slot_of_gfn(hv_slots(vcpu), page->gfn, &hint);
    if (!slot || (slot->flags & HV_SLOT_INVALID) ||
        hv_slot_hva(slot, page->gfn).raw >> GUEST_PAGE_SHIFT != page->frame) {
        return NULL;
    }
    char *table = hva_pointer(hv_slot_hva(slot, page->gfn));
    if (!page->role.has_4_byte_entries) {
        return (uint64_t *)(void *)table + index;
    }
    /* 1024 entries: of a table 2 pages of ours have half each, of a directory 4 have a quarter, twice. */
    unsigned at =
        page->role.level == 1 ? page->role.quadrant * 512u + index : page->role.quadrant * 256u + index / 2;
    return (uint64_t *)(void *)(table + at * 4);
}

/* What the guest's entry says of ours; false: nothing that could be kept. */
static bool read_guest_entry(const struct hv_vcpu *vcpu, const struct shadow_page *page, unsigned index,
                             uint64_t *ret, bool *ret_is_leaf)
{
    const struct paging *p = &shadow_vcpu_of(vcpu)->guest;
    const void *at = shadow_guest_entry(vcpu, page, index);
    unsigned level = page->role.level;
    if (!at) {
        return false;
    }
    *ret = pt_guest_load(at, p->entry_bytes);
    *ret_is_leaf = guest_entry_is_leaf(p, *ret, level);
    /* A that is clear must be set by the next access, which therefore has to fault. */
    return (*ret & X86_ENTRY_P) && (*ret & X86_ENTRY_A) && !(*ret & p->reserved[*ret_is_leaf && level > 1][level]);
}

static bool child_agrees(const struct hv_vcpu *vcpu, const struct shadow_page *child, uint64_t guest_entry,
                         unsigned rights)
{
    const struct paging *p = &shadow_vcpu_of(vcpu)->guest;
    uint64_t gfn = guest_entry_table(p, guest_entry).raw >> GUEST_PAGE_SHIFT;
    unsigned hint = vcpu->slot_hint[vcpu->space];
    const struct hv_slot *slot = hv_slot_of_gfn(hv_slots(vcpu), gfn, &hint);
    return slot && shadow_has_guest_table(child) && child->role.access == rights &&
           hv_slot_hva(slot, gfn).raw >> GUEST_PAGE_SHIFT == child->frame;
}

/* The entry is a leaf of ours: as it should be now, or 0. */
static uint64_t leaf_again(const struct hv_vcpu *vcpu, uint64_t entry, unsigned level, uint64_t gfn,
                           unsigned rights, unsigned key)
{
    unsigned hint = vcpu->slot_hint[vcpu->space];
    const struct hv_slot *slot = hv_slot_of_gfn(hv_slots(vcpu), gfn, &hint);
    if (!slot || (slot->flags & HV_SLOT_INVALID) || hv_slot_hva(slot, gfn).raw != pt_address(entry)) {
        return 0;
    }
    struct shadow_leaf leaf = {.slot = slot,
                               .host = pt_address(entry),
                               .level = level,
                               .rights = (uint8_t)rights,
                               .key = (uint8_t)key,
                               .is_write = pt_is_writable(format, entry),
                               .is_tracked =
                                   level == 1 && shadow_is_tracked(shadow_of(vcpu->vm), pt_address(entry) >> 12),
                               .is_young = entry & format->accessed};
    uint64_t to = shadow_make_leaf(vcpu->vm, &leaf);
    return to == entry ? to : to | format->accessed; /* as with KVM: what has changed is young */
}

void shadow_sync_entry(struct hv_vcpu *vcpu, struct shadow_page *page, unsigned index)
{
    const struct paging *p = &shadow_vcpu_of(vcpu)->guest;
    struct hv_vm *vm = vcpu->vm;
    pt_word_t *word = &page->table[index];
    uint64_t entry = pt_load(word), guest_entry = 0;
    unsigned level = page->role.level;
    bool is_leaf = false;
    if (entry == 0) {
        return;
    }
    if (!spte_is_present(entry) || !read_guest_entry(vcpu, page, index, &guest_entry, &is_leaf)) {
        shadow_clear_entry(vm, word, level);
        return;
    }
    unsigned rights = page->role.access & guest_entry_rights(p, guest_entry, level);
    const struct shadow_page *child =
        shadow_is_table(entry, level) ? shadow_page_of_table(spte_table(entry)) : NULL;
    if (!is_leaf) {
        if (!child || !child_agrees(vcpu, child, guest_entry, rights)) {
            shadow_clear_entry(vm, word, level);
        }
        return;
    }
    rights &= guest_entry & X86_ENTRY_D ? PT_RIGHTS_ALL : ~PT_RIGHT_W;
    uint64_t gfn = guest_leaf_frame(p, guest_entry, guest_level_shift(p, level)) >> GUEST_PAGE_SHIFT;
    gfn += p->entry_bytes == 4 && level == 2 ? (index & 1) * shadow_level_pages(2) : 0;
    unsigned key = shadow_key(page->role, guest_entry);
    if (child) {
        if (!child->role.direct || child->frame != gfn || child->role.access != rights || child->role.key != key) {
            shadow_clear_entry(vm, word, level);
        }
        return;
    }
    uint64_t to = leaf_again(vcpu, entry, level, gfn, rights, key);
    if (to == 0) {
        shadow_clear_entry(vm, word, level);
    } else {
        (void)shadow_set_leaf(vm, word, level, to); /* the same page: it cannot fail */
    }
}

static void sync_entries(struct hv_vcpu *vcpu, struct shadow_page *page)
{
    for (unsigned i = 0; i < PT_ENTRIES; i++) {
        shadow_sync_entry(vcpu, page, i);
    }
}

/* One that is unsync may have entries that are soon wrong: the guest's flush sees to them. */
bool shadow_is_ready(const struct shadow *s, const struct shadow_page *page)
{
    return !shadow_has_guest_table(page) || page->unsync || page->seq <= s->flushed;
}

bool shadow_make_linkable(struct hv_vcpu *vcpu, struct shadow_page *page)
{
    if (page->unsync) {
        sync_entries(vcpu, page);
    }
    return shadow_is_ready(shadow_of(vcpu->vm), page) && shadow_sync_below(vcpu, page, false);
}

bool shadow_sync_page(struct hv_vcpu *vcpu, struct shadow_page *page)
{
    if (page->open) {
        shadow_protect_frame(vcpu->vm, page);
    }
    if (page->seq > shadow_of(vcpu->vm)->flushed) {
        return false;
    }
    sync_entries(vcpu, page);
    shadow_set_unsync(vcpu->vm, page, false);
    return true;
}

static void empty_page(struct hv_vm *vm, struct shadow_page *page)
{
    for (unsigned i = 0; i < PT_ENTRIES; i++) {
        shadow_clear_entry(vm, &page->table[i], page->role.level);
    }
    shadow_set_unsync(vm, page, false);
}

/* One child. @return whether nothing below it is unsync any more */
static bool sync_child(struct hv_vcpu *vcpu, struct shadow_page *child, bool force)
{
    bool is_done = true;
    if (child->unsync && !shadow_sync_page(vcpu, child)) {
        is_done = force;
        if (force) {
            empty_page(vcpu->vm, child);
        }
    }
    return shadow_sync_below(vcpu, child, force) && is_done;
}

bool shadow_sync_below(struct hv_vcpu *vcpu, struct shadow_page *page, bool force)
{
    bool is_done = true;
    for (unsigned word = 0; page->unsync_children > 0 && word < PT_ENTRIES / 64; word++) {
        uint64_t bits = page->unsync_child[word];
        for (; bits; bits &= bits - 1) {
            unsigned i = word * 64 + (unsigned)__builtin_ctzll(bits);
            uint64_t entry = pt_load(&page->table[i]);
            assert(shadow_is_table(entry, page->role.level));
            if (sync_child(vcpu, shadow_page_of_table(spte_table(entry)), force)) {
                page->unsync_child[word] &= ~(UINT64_C(1) << (i % 64));
                page->unsync_children--;
            } else {
                is_done = false;
            }
        }
    }
    return is_done;
}
