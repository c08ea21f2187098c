// SPDX-License-Identifier: MIT
/* A slot table on a kernel that is a table itself, with the rules of the real one. */
#ifndef VM_SLOTS_TEST_H
#define VM_SLOTS_TEST_H

#include "vm/slots.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <memvirt/dirty.h>

#include "base/addr.h"

#define KERNEL_SLOTS 64
#define PAGE UINT64_C(4096)
#define SLOT_WORDS 8 /* of the largest slot's dirty log */

/* What the rules of KVM_SET_USER_MEMORY_REGION look at. size 0: no such slot. */
struct kernel {
    struct kvm_userspace_memory_region slots[KERNEL_SLOTS];
    unsigned calls;
    unsigned refuse_call; /* this call, counted from 1, is refused with ENOMEM; 0: none */
    int held;             /* vCPUs */
    unsigned unheld_calls;
    uint64_t dirty[KERNEL_SLOTS][SLOT_WORDS];
    bool manual;
    unsigned gets, clears, harvests;
    uint64_t cleared_pages; /* as many as were named in calls */
};

static inline bool overlaps(const struct kvm_userspace_memory_region *a,
                            const struct kvm_userspace_memory_region *b)
{
    return a->memory_size && b->memory_size && a->guest_phys_addr < b->guest_phys_addr + b->memory_size &&
           b->guest_phys_addr < a->guest_phys_addr + a->memory_size;
}

static inline int kernel_set_slot(void *opaque, const struct kvm_userspace_memory_region *slot)
{
    struct kernel *k = opaque;
    k->calls++;
    k->unheld_calls += k->held == 0;
    if (k->calls == k->refuse_call) {
        return -ENOMEM;
    }
    if (slot->slot >= KERNEL_SLOTS || slot->guest_phys_addr % PAGE || slot->memory_size % PAGE ||
        slot->userspace_addr % PAGE) {
        return -EINVAL;
    }
    struct kvm_userspace_memory_region *present = &k->slots[slot->slot];
    if (slot->memory_size == 0) {
        if (present->memory_size == 0) {
            return -EINVAL;
        }
        present->memory_size = 0;
        return 0;
    }
    if (present->memory_size != 0) { /* nothing but its log may change in place */
        uint32_t difference = present->flags ^ slot->flags;
        bool same = present->memory_size == slot->memory_size &&
                    present->guest_phys_addr == slot->guest_phys_addr &&
                    present->userspace_addr == slot->userspace_addr;
        if (!same || difference != KVM_MEM_LOG_DIRTY_PAGES) {
            return -EINVAL;
        }
        k->unheld_calls -= k->held == 0; /* and no vCPU need be held for it */
        present->flags = slot->flags;
        memset(k->dirty[slot->slot], 0, sizeof k->dirty[0]);
        return 0;
    }
    for (unsigned i = 0; i < KERNEL_SLOTS; i++) {
        if (overlaps(&k->slots[i], slot)) {
            return -EEXIST;
        }
    }
    *present = *slot;
    return 0;
}

static inline int kernel_get_log(void *opaque, const struct kvm_dirty_log *log)
{
    struct kernel *k = opaque;
    const struct kvm_userspace_memory_region *slot = &k->slots[log->slot];
    k->gets++;
    if (slot->memory_size == 0 || !(slot->flags & KVM_MEM_LOG_DIRTY_PAGES)) {
        return -ENOENT;
    }
    size_t bytes = (slot->memory_size / PAGE + 63) / 64 * 8;
    memcpy(log->dirty_bitmap, k->dirty[log->slot], bytes);
    if (!k->manual) {
        memset(k->dirty[log->slot], 0, bytes);
    }
    return 0;
}

/* Each word that has a page. */
static inline int kernel_harvest_log(void *opaque, uint32_t id, slot_dirty_fn *each, void *each_opaque)
{
    struct kernel *k = opaque;
    const struct kvm_userspace_memory_region *slot = &k->slots[id];
    uint64_t npages = slot->memory_size / PAGE;
    k->harvests++;
    if (npages == 0 || !(slot->flags & KVM_MEM_LOG_DIRTY_PAGES)) {
        return -ENOENT;
    }
    for (uint64_t first = 0; first < npages; first += 64) {
        uint64_t *word = &k->dirty[id][first / 64];
        if (*word != 0) {
            each(each_opaque, first, word, npages - first < 64 ? npages - first : 64);
            *word = 0;
        }
    }
    return 0;
}

/* By the rules of KVM_CLEAR_DIRTY_LOG. */
static inline int kernel_clear_log(void *opaque, const struct kvm_clear_dirty_log *log)
{
    struct kernel *k = opaque;
    const struct kvm_userspace_memory_region *slot = &k->slots[log->slot];
    uint64_t npages = slot->memory_size / PAGE;
    k->clears++;
    if (npages == 0 || !(slot->flags & KVM_MEM_LOG_DIRTY_PAGES)) {
        return -ENOENT;
    }
    if (log->first_page % 64 != 0 || log->first_page > npages || log->num_pages > npages - log->first_page ||
        (log->num_pages < npages - log->first_page && log->num_pages % 64 != 0)) {
        return -EINVAL;
    }
    k->cleared_pages += log->num_pages;
    for (uint64_t i = 0; i < (log->num_pages + 63) / 64; i++) {
        k->dirty[log->slot][log->first_page / 64 + i] &= ~((uint64_t *)log->dirty_bitmap)[i];
    }
    return 0;
}

/* A guest writes. @return false when there is no slot it could write to by itself */
static inline bool guest_writes(struct kernel *k, uint64_t gpa)
{
    for (unsigned i = 0; i < KERNEL_SLOTS; i++) {
        const struct kvm_userspace_memory_region *s = &k->slots[i];
        if (s->memory_size != 0 && gpa - s->guest_phys_addr < s->memory_size && !(s->flags & KVM_MEM_READONLY)) {
            uint64_t page = (gpa - s->guest_phys_addr) / PAGE;
            if (s->flags & KVM_MEM_LOG_DIRTY_PAGES) {
                k->dirty[i][page / 64] |= UINT64_C(1) << page % 64;
            }
            return true;
        }
    }
    return false;
}

static inline void kernel_hold(void *opaque)
{
    ((struct kernel *)opaque)->held++;
}

static inline void kernel_release(void *opaque)
{
    ((struct kernel *)opaque)->held--;
}

struct fixture {
    struct kernel kernel;
    struct mv_machine *machine;
    struct mv_block *block;
    struct mv_region *root;
    struct mv_region *ram;
    struct mv_space *space;
    struct slot_table *table;
    struct mv_listener *listener;
};

static inline struct mv_region *new_region(struct fixture *f, const char *name, enum mv_region_kind kind,
                                           uint64_t size, uint64_t block_offset)
{
    struct mv_region *region;
    bool memory = kind == MV_REGION_RAM || kind == MV_REGION_ROM;
    struct mv_region_options options = {
        .name = name,
        .kind = kind,
        .size_bytes = size,
        .block = memory ? f->block : NULL,
        .block_offset_bytes = memory ? block_offset : 0,
    };
    assert_int_equal(mv_region_create(f->machine, &options, &region, NULL), 0);
    return region;
}

enum logs {
    LOGS_GET,
    LOGS_MANUAL,
    LOGS_IN_PLACE,
    LOGS,
};

static enum logs logs; /* of the fixtures to come */

static inline int set_up_limits(struct fixture *f, struct slot_limits limits)
{
    memset(f, 0, sizeof *f);
    assert_int_equal(mv_machine_create(&f->machine, NULL), 0);
    assert_int_equal(mv_block_create(f->machine, &(struct mv_block_options){.name = "b", .size_bytes = 256 * PAGE},
                                     &f->block, NULL),
                     0);
    f->root = new_region(f, "root", MV_REGION_CONTAINER, MV_SIZE_2_64, 0);
    f->ram = new_region(f, "ram", MV_REGION_RAM, 256 * PAGE, 0);
    assert_int_equal(mv_space_create(f->machine, "memory", f->root, &f->space, NULL), 0);
    struct slot_port port = {.opaque = &f->kernel,
                             .set_slot = kernel_set_slot,
                             .hold_vcpus = kernel_hold,
                             .release_vcpus = kernel_release,
                             .get_dirty_log = kernel_get_log,
                             .clear_dirty_log = logs == LOGS_MANUAL ? kernel_clear_log : NULL,
                             .harvest_dirty_log = logs == LOGS_IN_PLACE ? kernel_harvest_log : NULL};
    f->kernel.manual = logs == LOGS_MANUAL;
    f->table = slots_create(&port, &limits);
    assert_non_null(f->table);
    return mv_listener_create(f->space, &slots_listener_ops, f->table, 10, &f->listener, NULL);
}

static inline void set_up(struct fixture *f)
{
    struct slot_limits limits = {
        .max_slots = KERNEL_SLOTS, .max_slot_bytes = 1 << 30, .page_bytes = PAGE, .readonly_slots = true};
    assert_int_equal(set_up_limits(f, limits), 0);
}

static inline void tear_down(struct fixture *f)
{
    assert_int_equal(f->kernel.held, 0);
    assert_int_equal(f->kernel.unheld_calls, 0);
    mv_listener_destroy(f->listener);
    slots_destroy(f->table);
    mv_space_destroy(f->space);
    mv_region_put(f->ram);
    mv_region_put(f->root);
    mv_block_put(f->block);
    mv_machine_destroy(f->machine);
}

/* The table's slots are the kernel's, and both are what the view has of RAM in whole pages. */
static inline void check_equal(struct fixture *f)
{
    struct mv_slot slots[KERNEL_SLOTS];
    size_t count = slots_copy(f->table, slots, KERNEL_SLOTS);
    size_t in_kernel = 0;
    for (unsigned i = 0; i < KERNEL_SLOTS; i++) {
        in_kernel += f->kernel.slots[i].memory_size != 0;
    }
    assert_int_equal(count, in_kernel);
    for (size_t i = 0; i < count; i++) {
        const struct kvm_userspace_memory_region *k = &f->kernel.slots[slots[i].id];
        assert_int_equal(k->guest_phys_addr, slots[i].gpa.raw);
        assert_int_equal(k->memory_size, slots[i].size_bytes);
        assert_int_equal(k->userspace_addr, slots[i].hva.raw);
        assert_int_equal(k->flags, slots[i].flags);
        assert_true(i == 0 || slots[i - 1].gpa.raw + slots[i - 1].size_bytes <= slots[i].gpa.raw);
    }
    const struct mv_view *view = mv_space_view(f->space);
    struct mv_section s;
    size_t seen = 0;
    for (uint64_t at = 0; mv_view_next(view, mv_gpa(at), &s); at = s.range.last + 1) {
        uint64_t first = (s.range.first + PAGE - 1) / PAGE * PAGE;
        uint64_t end = (s.range.last + 1) / PAGE * PAGE;
        if (s.hva.raw == 0 || first >= end) {
            continue;
        }
        assert_true(seen < count);
        assert_int_equal(slots[seen].gpa.raw, first);
        assert_int_equal(slots[seen].size_bytes, end - first);
        assert_int_equal(slots[seen].hva.raw, s.hva.raw + (first - s.range.first));
        assert_int_equal(slots[seen].flags, s.readonly   ? KVM_MEM_READONLY
                                            : s.log_mask ? KVM_MEM_LOG_DIRTY_PAGES
                                                         : 0);
        seen++;
    }
    assert_int_equal(seen, count);
    mv_view_release(view);
}

static inline int answer(void *opaque, struct mv_error *err)
{
    (void)err;
    return *(int *)opaque;
}

static inline void set_log(struct mv_region *region, bool on)
{
    assert_int_equal(mv_region_set_log(region, MV_DIRTY_DISPLAY, on, NULL), 0);
}

#endif
