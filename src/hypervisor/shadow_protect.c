// SPDX-License-Identifier: MIT
/*
 * Who may write to the guest's tables. A table that is shadowed is read-only in every entry that maps it, so its
 * next write is a fault: either the store is made for the guest and the entry it changes goes (shadow_write.c),
 * or, at level 1, the table is opened, and made to agree again when the guest flushes (shadow_sync.c).
 */
#include "hypervisor/hybrid.h"
#include "hypervisor/shadow.h"

static const struct pt_format *const format = &pt_format_shadow;

bool shadow_is_tracked(const struct shadow *s, uint64_t frame)
{
    const struct rmap_chunk *chunk = rmap_find(&s->rmap, frame << GUEST_PAGE_SHIFT);
    if (!chunk || chunk->tables == 0) {
        return false;
    }
    for (const struct shadow_page *page = shadow_page_on(s, frame, NULL); page;
         page = shadow_page_on(s, frame, page)) {
        if (!page->open) {
            return true;
        }
    }
    return false;
}

bool shadow_has_no_tables(const struct shadow *s, uint64_t host, unsigned level)
{
    const struct rmap_chunk *chunk = rmap_find(&s->rmap, host);
    return !chunk || (level == 2 ? chunk->tables : chunk->tables_1g) == 0;
}

void shadow_note_loss(struct shadow *s, uint64_t host, unsigned level)
{
    s->seq++;
    if (level > 2) {
        s->lost_everywhere = s->seq;
    } else {
        rmap_find(&s->rmap, host)->lost = s->seq;
    }
}

/* Takes W, and the right to get it back without a look at the guest's tables. @return whether there was any: also
 * the latter alone, since the dirty log may have taken W a moment ago, and TLBs have it still. */
static bool protect_entry(pt_word_t *entry)
{
    uint64_t bits = format->writable | format->software_mmu_writable, before = pt_load(entry);
    while ((before & bits) && !shadow_is_switch(before)) {
        if (pt_cas(entry, &before, before & ~bits)) {
            return true;
        }
    }
    return false;
}

void shadow_clear_page(struct hv_vm *vm, const struct rmap_page *page)
{
    for (struct rmap_list list = rmap_entries(page); !rmap_is_empty(&list); list = rmap_entries(page)) {
        shadow_clear_entry(vm, rmap_any(&list), page->level);
    }
}

void shadow_protect_frame(struct hv_vm *vm, struct shadow_page *page)
{
    struct shadow *s = shadow_of(vm);
    uint64_t host = page->frame << GUEST_PAGE_SHIFT;
    struct rmap_chunk *chunk = rmap_find(&s->rmap, host);
    struct rmap_iter it;
    bool was_writable = false;
    struct rmap_list list = rmap_entries(&(struct rmap_page){chunk, host, 1});
    for (pt_word_t *entry = rmap_first(&list, &it); entry; entry = rmap_next(&it)) {
        was_writable |= protect_entry(entry);
    }
    was_writable |= s->hybrid && hybrid_protect(vm, host);
    if (was_writable) {
        shadow_note_loss(s, host, 1);
    }
    /* Large pages around it go; small ones will come in their place. */
    shadow_clear_page(vm, &(struct rmap_page){chunk, host, 2});
    struct rmap_chunk *first = rmap_find(&s->rmap, align_down(host, pt_level_bytes(3)));
    if (first) {
        shadow_clear_page(vm, &(struct rmap_page){first, host, 3});
    }
    page->seq = chunk->lost > s->lost_everywhere ? chunk->lost : s->lost_everywhere;
    for (struct shadow_page *other = shadow_page_on(s, page->frame, NULL); other;
         other = shadow_page_on(s, page->frame, other)) {
        other->open = false; /* and unsync until it is synchronised */
        other->seq = page->seq;
    }
}

void shadow_tell_parents(struct shadow_page *page)
{
    struct rmap_iter it;
    for (pt_word_t *entry = rmap_first(&page->parents, &it); entry; entry = rmap_next(&it)) {
        struct shadow_page *parent = shadow_page_of_entry(entry);
        unsigned i = shadow_index_of_entry(entry);
        uint64_t bit = UINT64_C(1) << (i % 64);
        if (!(parent->unsync_child[i / 64] & bit)) {
            parent->unsync_child[i / 64] |= bit;
            if (parent->unsync_children++ == 0) {
                shadow_tell_parents(parent);
            }
        }
    }
}

bool shadow_open_frame(struct hv_vm *vm, uint64_t frame)
{
    struct shadow *s = shadow_of(vm);
    struct shadow_page *page;
    for (page = shadow_page_on(s, frame, NULL); page; page = shadow_page_on(s, frame, page)) {
        if (page->role.level != 1 || !s->can_unsync) {
            return false;
        }
    }
    for (page = shadow_page_on(s, frame, NULL); page; page = shadow_page_on(s, frame, page)) {
        if (!page->open) {
            page->open = true;
            shadow_set_unsync(vm, page, true);
            hv_count(&vm->counters.tables_opened, 1);
            shadow_tell_parents(page);
        }
    }
    return true;
}
