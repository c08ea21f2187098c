// SPDX-License-Identifier: MIT
/*
 * Stores to guest tables that are shadowed, made for the guest: the entries of ours that stood for what was
 * written go, and are made again by the next fault. A store that is no edit of one entry, or the third to a page
 * that nobody has used meanwhile, says that this is a table no longer: the whole page goes.
 */
#include <string.h>

#include "hypervisor/hybrid.h"
#include "hypervisor/shadow.h"

/* It spans two entries, or is smaller than any: but one byte at the start of an entry is an edit of it. */
static bool is_misaligned(const struct shadow_page *page, unsigned offset, unsigned size_bytes)
{
    unsigned entry_bytes = page->role.has_4_byte_entries ? 4 : 8;
    if (size_bytes == 1 && offset % entry_bytes == 0) {
        return false;
    }
    return size_bytes < 4 || ((offset ^ (offset + size_bytes - 1)) & ~(entry_bytes - 1)) != 0;
}

/* Pages of level 1 are opened instead, where that is allowed. */
static bool is_flooding(const struct shadow *s, struct shadow_page *page)
{
    if (page->role.level == 1 && s->can_unsync) {
        return false;
    }
    return ++page->writes >= SHADOW_FLOODING_WRITES;
}

/* Which of its entries stand for a byte of the guest's table: the first, and how many. */
static unsigned entries_of(const struct shadow_page *page, unsigned offset, unsigned *ret_first)
{
    if (!page->role.has_4_byte_entries) {
        *ret_first = offset / 8;
        return 1;
    }
    unsigned at = offset / 4, per_page = page->role.level == 1 ? 512 : 256;
    if (at / per_page != page->role.quadrant) {
        return 0;
    }
    *ret_first = page->role.level == 1 ? at % per_page : at % per_page * 2;
    return page->role.level == 1 ? 1 : 2; /* a directory's entry is for 4 MiB: two of ours */
}

/* Whether there is an entry now: as KVM counts, one that 4 or 8 bytes were written to. */
static bool has_entry(const struct shadow_page *page, unsigned offset, unsigned size_bytes)
{
    unsigned entry_bytes = page->role.has_4_byte_entries ? 4 : 8;
    const char *table = hva_pointer(mv_hva(page->frame << GUEST_PAGE_SHIFT));
    return (size_bytes == 4 || size_bytes == 8) &&
           pt_guest_load(table + align_down(offset, entry_bytes), entry_bytes) != 0;
}

static void was_written(struct hv_vm *vm, struct shadow_page *page, unsigned offset, unsigned size_bytes)
{
    if (is_misaligned(page, offset, size_bytes) || is_flooding(shadow_of(vm), page)) {
        hv_count(&vm->counters.mmu_flooded, 1);
        shadow_zap(vm, page);
        return;
    }
    unsigned first = 0, count = entries_of(page, offset, &first), level = page->role.level;
    for (unsigned i = first; i < first + count; i++) {
        if (level > 1 && has_entry(page, offset, size_bytes)) {
            hv_count(&vm->counters.mmu_pde_zapped, 1);
        }
        shadow_clear_entry(vm, &page->table[i], level);
    }
}

static void table_was_written(struct hv_vm *vm, uint64_t frame, unsigned offset, unsigned size_bytes)
{
    struct shadow *s = shadow_of(vm);
    hv_count(&vm->counters.mmu_pte_write, 1);
    if (s->hybrid) {
        hybrid_was_written(vm, frame);
    }
    for (struct shadow_page *page = shadow_page_on(s, frame, NULL); page;) {
        struct shadow_page *next = shadow_page_on(s, frame, page);
        was_written(vm, page, offset, size_bytes);
        page = next;
    }
}

/* As a processor stores: an entry of a table in one piece. */
static void copy(char *to, const void *bytes, unsigned size_bytes)
{
    if (size_bytes == 8 && is_aligned((uintptr_t)to, 8)) {
        uint64_t value;
        memcpy(&value, bytes, 8);
        __atomic_store_n((uint64_t *)(void *)to, value, __ATOMIC_RELEASE);
    } else if (size_bytes == 4 && is_aligned((uintptr_t)to, 4)) {
        uint32_t value;
        memcpy(&value, bytes, 4);
        __atomic_store_n((uint32_t *)(void *)to, value, __ATOMIC_RELEASE);
    } else {
        memcpy(to, bytes, size_bytes);
    }
}

bool shadow_store(struct hv_vcpu *vcpu, gpa_t gpa, const void *bytes, unsigned size_bytes, bool *ret_is_table)
{
    struct hv_vm *vm = vcpu->vm;
    struct shadow *s = shadow_of(vm);
    unsigned offset = (unsigned)(gpa.raw & GUEST_PAGE_MASK);
    char *host = hv_guest_bytes(vcpu, gpa, MV_ACCESS_WRITE);
    if (!host) {
        return false;
    }
    uint64_t frame = (uint64_t)(uintptr_t)host >> GUEST_PAGE_SHIFT;
    bool is_emulated = vm->options.emulate_supervisor;
    pthread_mutex_lock(&s->lock);
    bool is_tracked = shadow_is_tracked(s, frame);
    bool is_open = is_tracked && !is_emulated && shadow_open_frame(vm, frame);
    copy(host, bytes, size_bytes);
    if (is_emulated ? s->guest_tables > 0 : is_tracked && !is_open) {
        table_was_written(vm, frame, offset, size_bytes);
    }
    pthread_mutex_unlock(&s->lock);
    *ret_is_table = is_tracked;
    return true;
}

void shadow_give_up_tables(struct hv_vcpu *vcpu, gpa_t gpa)
{
    struct shadow *s = shadow_of(vcpu->vm);
    char *host = hv_guest_bytes(vcpu, gpa, MV_ACCESS_WRITE);
    pthread_mutex_lock(&s->lock);
    uint64_t frame = (uint64_t)(uintptr_t)host >> GUEST_PAGE_SHIFT;
    for (struct shadow_page *page = host ? shadow_page_on(s, frame, NULL) : NULL; page;) {
        struct shadow_page *next = shadow_page_on(s, frame, page);
        shadow_zap(vcpu->vm, page);
        page = next;
    }
    pthread_mutex_unlock(&s->lock);
}
