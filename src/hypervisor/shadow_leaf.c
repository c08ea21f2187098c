// SPDX-License-Identifier: MIT
#include "hypervisor/shadow.h"

static const struct pt_format *const format = &pt_format_shadow;

uint64_t shadow_make_leaf(const struct hv_vm *vm, const struct shadow_leaf *leaf)
{
    bool is_slot_writable = !(leaf->slot->flags & KVM_MEM_READONLY);
    bool is_logged = leaf->slot->flags & KVM_MEM_LOG_DIRTY_PAGES;
    bool is_mmu_writable = is_slot_writable && !leaf->is_tracked && (leaf->rights & PT_RIGHT_W);
    bool is_executable = (leaf->rights & PT_RIGHT_X) && !(leaf->level > 1 && vm->options.nx_huge_pages);
    /* A logged page is writable once its write was noticed. */
    bool is_writable = is_mmu_writable && (!is_logged || leaf->is_write);
    uint64_t e = leaf->host | format->leaf_bits | SPTE_PRESENT | (uint64_t)leaf->key << SHADOW_KEY_SHIFT;
    e |= leaf->level > 1 ? format->large : 0;
    e |= is_executable ? 0 : format->not_executable;
    e |= leaf->rights & PT_RIGHT_U ? format->user : 0;
    e |= is_slot_writable ? format->software_host_writable : 0;
    e |= is_mmu_writable ? format->software_mmu_writable : 0;
    e |= is_writable ? format->writable | format->dirty : 0; /* nobody looks at D: no processor need set it */
    e |= leaf->is_young ? format->accessed : 0;
    return e | SPTE_AD_WRITE_PROTECT;
}

bool shadow_is_full(const struct hv_vm *vm, const struct rmap_page *page)
{
    struct rmap_list list = rmap_entries(page);
    uint32_t max = vm->options.rmap_max;
    return rmap_has_more(&list, max ? max : SHADOW_RMAP_MAX);
}

void shadow_recycle(struct hv_vm *vm, const struct rmap_page *page)
{
    hv_count(&vm->counters.rmap_recycled, 1);
    shadow_clear_page(vm, page);
}

static bool add_leaf(struct hv_vm *vm, pt_word_t *entry, unsigned level, uint64_t to)
{
    struct shadow *s = shadow_of(vm);
    struct rmap_page page = {rmap_get(&s->rmap, pt_address(to)), pt_address(to), level};
    bool is_full = page.chunk && shadow_is_full(vm, &page);
    if (!page.chunk || !rmap_add_to(&s->rmap, &page, entry)) {
        return false;
    }
    hv_count(shadow_pages_of(&vm->counters, level), 1);
    (void)pt_exchange(entry, to);
    if (is_full) {
        shadow_recycle(vm, &page);
    }
    return true;
}

/* Rights that the hardware had and has no more; of W the log may have taken the entry's alone. */
static bool loses(uint64_t before, uint64_t to)
{
    const uint64_t rights = format->writable | format->software_mmu_writable | format->user;
    return (before & ~to & rights) || (to & ~before & format->not_executable);
}

bool shadow_set_leaf(struct hv_vm *vm, pt_word_t *entry, unsigned level, uint64_t to)
{
    assert(spte_check(format, to, level));
    uint64_t before = pt_load(entry);
    if (!shadow_is_leaf(before, level) || pt_address(before) != pt_address(to)) {
        shadow_clear_entry(vm, entry, level);
        return add_leaf(vm, entry, level, to);
    }
    if (before != to) {
        before = pt_exchange(entry, to);
        if (loses(before, to)) {
            shadow_note_loss(shadow_of(vm), pt_address(to), level);
        }
    }
    return true;
}
