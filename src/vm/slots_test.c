// SPDX-License-Identifier: MIT
/*
 * The slot table against a naive kernel, which checks every call as KVM_SET_USER_MEMORY_REGION does and can be
 * told to refuse the n-th. The table is fed by a real machine's commits.
 */
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
    unsigned gets, clears;
    uint64_t cleared_pages; /* as many as were named in calls */
};

static bool overlaps(const struct kvm_userspace_memory_region *a, const struct kvm_userspace_memory_region *b)
{
    return a->memory_size && b->memory_size && a->guest_phys_addr < b->guest_phys_addr + b->memory_size &&
           b->guest_phys_addr < a->guest_phys_addr + a->memory_size;
}

static int kernel_set_slot(void *opaque, const struct kvm_userspace_memory_region *slot)
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

static int kernel_get_log(void *opaque, const struct kvm_dirty_log *log)
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

/* By the rules of KVM_CLEAR_DIRTY_LOG. */
static int kernel_clear_log(void *opaque, const struct kvm_clear_dirty_log *log)
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
static bool guest_writes(struct kernel *k, uint64_t gpa)
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

static void kernel_hold(void *opaque)
{
    ((struct kernel *)opaque)->held++;
}

static void kernel_release(void *opaque)
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

static struct mv_region *new_region(struct fixture *f, const char *name, enum mv_region_kind kind, uint64_t size,
                                    uint64_t block_offset)
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

static bool manual_logs; /* for the fixtures to come */

static int set_up_limits(struct fixture *f, struct slot_limits limits)
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
                             .clear_dirty_log = manual_logs ? kernel_clear_log : NULL};
    f->kernel.manual = manual_logs;
    f->table = slots_create(&port, &limits);
    assert_non_null(f->table);
    return mv_listener_create(f->space, &slots_listener_ops, f->table, 10, &f->listener, NULL);
}

static void set_up(struct fixture *f)
{
    struct slot_limits limits = {
        .max_slots = KERNEL_SLOTS, .max_slot_bytes = 1 << 30, .page_bytes = PAGE, .readonly_slots = true};
    assert_int_equal(set_up_limits(f, limits), 0);
}

static void tear_down(struct fixture *f)
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
static void check_equal(struct fixture *f)
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

static void test_split_and_merge_reuse_ids(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct mv_region *hole = new_region(&f, "hole", MV_REGION_MMIO, PAGE, 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    check_equal(&f);
    assert_int_equal(f.kernel.calls, 1);
    assert_int_equal(mv_region_add(f.root, 16 * PAGE, hole, 1, NULL), 0); /* split: one goes, two come */
    check_equal(&f);
    assert_int_equal(f.kernel.calls, 4);
    assert_int_equal(mv_region_remove(hole, NULL), 0); /* merge: two go, one comes */
    check_equal(&f);
    assert_int_equal(f.kernel.calls, 7);
    for (unsigned i = 2; i < KERNEL_SLOTS; i++) {
        assert_int_equal(f.kernel.slots[i].slot, 0); /* ids 0 and 1 were enough */
    }
    mv_region_put(hole);
    tear_down(&f);
}

static void test_readonly_flips_by_delete_and_add(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    assert_int_equal(mv_region_set_readonly(f.ram, true, NULL), 0);
    check_equal(&f);
    assert_int_equal(f.kernel.calls, 3);
    tear_down(&f);
}

static void test_only_whole_pages(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct mv_region *sliver = new_region(&f, "sliver", MV_REGION_MMIO, 16, 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 8 * PAGE + 64, sliver, 1, NULL), 0);
    check_equal(&f); /* the page with the sliver has no slot, the rest of it is reached through the view */
    struct mv_slot slots[4];
    assert_int_equal(slots_copy(f.table, slots, 4), 2);
    assert_int_equal(slots[0].size_bytes, 8 * PAGE);
    assert_int_equal(slots[1].gpa.raw, 9 * PAGE);
    mv_region_put(sliver);
    tear_down(&f);
}

static void test_unaligned_ram_has_no_slot(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    assert_int_equal(mv_region_add(f.root, 64, f.ram, 0, NULL), 0); /* frame and host page do not lie together */
    assert_int_equal(f.kernel.calls, 0);
    tear_down(&f);
}

static void test_no_readonly_slots(void **state)
{
    (void)state;
    struct fixture f;
    struct slot_limits limits = {.max_slots = 8, .max_slot_bytes = 1 << 30, .page_bytes = PAGE};
    assert_int_equal(set_up_limits(&f, limits), 0);
    assert_int_equal(mv_region_set_readonly(f.ram, true, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    assert_int_equal(f.kernel.calls, 0);
    tear_down(&f);
}

static void test_large_section_is_cut(void **state)
{
    (void)state;
    struct fixture f;
    struct slot_limits limits = {
        .max_slots = 64, .max_slot_bytes = 100 * PAGE, .page_bytes = PAGE, .readonly_slots = true};
    assert_int_equal(set_up_limits(&f, limits), 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    struct mv_slot slots[8];
    assert_int_equal(slots_copy(f.table, slots, 8), 3);
    struct mv_range all = {slots[0].gpa.raw, slots[2].gpa.raw + (slots[2].size_bytes - 1)};
    assert_true(slots_have(f.table, all)); /* all three together */
    assert_false(slots_have(f.table, (struct mv_range){all.first, all.last + 1}));
    assert_false(slots_have(f.table, (struct mv_range){all.last + 1, all.last + 1}));
    assert_false(all.first > 0 && slots_have(f.table, (struct mv_range){all.first - 1, all.last}));
    assert_int_equal(slots[2].gpa.raw, 200 * PAGE);
    assert_int_equal(slots[2].size_bytes, 56 * PAGE);
    assert_int_equal(slots[2].hva.raw, slots[0].hva.raw + 200 * PAGE);
    assert_int_equal(mv_region_remove(f.ram, NULL), 0);
    assert_int_equal(slots_copy(f.table, slots, 8), 0);
    tear_down(&f);
}

static void test_out_of_slots_changes_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct slot_limits limits = {
        .max_slots = 2, .max_slot_bytes = 1 << 30, .page_bytes = PAGE, .readonly_slots = true};
    struct mv_error err;
    assert_int_equal(set_up_limits(&f, limits), 0);
    struct mv_region *hole = new_region(&f, "hole", MV_REGION_MMIO, PAGE, 0);
    struct mv_region *hole2 = new_region(&f, "hole2", MV_REGION_MMIO, PAGE, 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 16 * PAGE, hole, 1, NULL), 0);
    unsigned calls = f.kernel.calls;
    assert_int_equal(mv_region_add(f.root, 32 * PAGE, hole2, 1, &err), -ENOSPC);
    assert_string_equal(err.reason, "no-slot");
    assert_non_null(strstr(err.text, "needs 3"));
    assert_int_equal(f.kernel.calls, calls);
    check_equal(&f);
    assert_int_equal(mv_region_remove(hole2, NULL), -ENOENT); /* the edit was undone */
    mv_region_put(hole);
    mv_region_put(hole2);
    tear_down(&f);
}

/* Every call of a larger commit refused in turn: each time everything is as before. */
static void test_refusals_are_taken_back(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct mv_region *hole = new_region(&f, "hole", MV_REGION_MMIO, PAGE, 0);
    struct mv_region *rom = new_region(&f, "rom", MV_REGION_ROM, 4 * PAGE, 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    unsigned refused = 0;
    for (unsigned n = 1;; n++) {
        struct kernel before = f.kernel;
        f.kernel.refuse_call = f.kernel.calls + n;
        assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
        assert_int_equal(mv_region_add(f.root, 16 * PAGE, hole, 1, NULL), 0);
        assert_int_equal(mv_region_add(f.root, 100 * PAGE, rom, 1, NULL), 0);
        struct mv_error err;
        int rc = mv_machine_commit(f.machine, &err);
        f.kernel.refuse_call = 0;
        check_equal(&f);
        if (rc == 0) {
            break;
        }
        refused++;
        assert_int_equal(rc, -ENOMEM);
        for (unsigned i = 0; i < KERNEL_SLOTS; i++) {
            assert_int_equal(before.slots[i].memory_size, f.kernel.slots[i].memory_size);
            if (before.slots[i].memory_size != 0) {
                assert_int_equal(before.slots[i].guest_phys_addr, f.kernel.slots[i].guest_phys_addr);
            }
        }
    }
    assert_int_equal(refused, 5); /* 1 removal and 4 additions */
    mv_region_put(hole);
    mv_region_put(rom);
    tear_down(&f);
}

static int answer(void *opaque, struct mv_error *err)
{
    (void)err;
    return *(int *)opaque;
}

/* Another listener refuses after the slots were changed. */
static void test_abort_takes_back(void **state)
{
    (void)state;
    static const struct mv_listener_ops other_ops = {.prepare = answer};
    struct fixture f;
    struct mv_listener *other;
    int rc = 0;
    set_up(&f);
    assert_int_equal(mv_listener_create(f.space, &other_ops, &rc, 20, &other, NULL), 0);
    rc = -EPERM;
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), -EPERM);
    assert_int_equal(f.kernel.calls, 2); /* there and back */
    check_equal(&f);
    rc = 0;
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    check_equal(&f);
    mv_listener_destroy(other);
    tear_down(&f);
}

/* The same range with the same bytes through another alias: nothing for the kernel to do. */
static void test_equal_slots_cancel(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct mv_region *other = new_region(&f, "other", MV_REGION_RAM, 256 * PAGE, 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    unsigned calls = f.kernel.calls;
    assert_int_equal(mv_region_add(f.root, 0, other, 1, NULL), 0); /* another region over the same block */
    assert_int_equal(f.kernel.calls, calls);
    check_equal(&f);
    mv_region_put(other);
    tear_down(&f);
}

static void append_line(void *opaque, const char *line)
{
    char *text = opaque;
    const char *end = strstr(line, " hva "); /* which differs from run to run */
    strncat(text, line, (size_t)(end - line));
    strcat(text, strstr(line, ", logged") ? " logged" : "");
    strcat(text, strstr(line, "read-only") ? " ro\n" : "\n");
}

/* A rehearsal says what a commit would ask of the kernel, and asks nothing. */
static void test_a_rehearsal_does_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct mv_error err;
    char text[1024] = "";
    set_up(&f);
    struct mv_region *hole = new_region(&f, "hole", MV_REGION_MMIO, PAGE, 0);
    struct mv_region *rom = new_region(&f, "rom", MV_REGION_ROM, 4 * PAGE, 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    unsigned calls = f.kernel.calls;
    assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 16 * PAGE, hole, 1, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 0x200000, rom, 1, NULL), 0);
    assert_int_equal(mv_machine_rehearse(f.machine, append_line, text, &err), 0);
    assert_string_equal(text, "slot: delete gpa 0x0-0xfffff\n"
                              "slot: create gpa 0x0-0xffff\n"
                              "slot: create gpa 0x11000-0xfffff\n"
                              "slot: create gpa 0x200000-0x203fff ro\n");
    assert_int_equal(f.kernel.calls, calls);
    check_equal(&f);
    assert_int_equal(mv_region_remove(hole, NULL), -ENOENT); /* its edits are undone */
    text[0] = '\0';
    assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
    assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
    assert_int_equal(mv_machine_rehearse(f.machine, append_line, text, &err), -EBUSY);
    assert_int_equal(mv_machine_commit(f.machine, NULL), 0);
    assert_int_equal(mv_machine_rehearse(f.machine, append_line, text, &err), 0); /* nothing to say */
    assert_string_equal(text, "");
    assert_int_equal(mv_region_add(f.root, 16 * PAGE, hole, 1, NULL), 0); /* and on */
    check_equal(&f);
    mv_region_put(hole);
    mv_region_put(rom);
    tear_down(&f);
}

static void set_log(struct mv_region *region, bool on)
{
    assert_int_equal(mv_region_set_log(region, MV_DIRTY_DISPLAY, on, NULL), 0);
}

/* The log of a slot that goes on or off is one call, and is said as one. */
static void test_a_rehearsal_tells_of_logs(void **state)
{
    (void)state;
    struct fixture f;
    char text[1024] = "";
    set_up(&f);
    struct mv_region *other = new_region(&f, "other", MV_REGION_RAM, 256 * PAGE, 0);
    struct mv_region *far = new_region(&f, "far", MV_REGION_RAM, PAGE, 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 0x200000, far, 0, NULL), 0);
    unsigned calls = f.kernel.calls;
    assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
    set_log(f.ram, true);
    assert_int_equal(mv_machine_rehearse(f.machine, append_line, text, NULL), 0);
    assert_string_equal(text, "slot: start the log of gpa 0x0-0xfffff logged\n");
    assert_int_equal(f.kernel.calls, calls);
    check_equal(&f); /* and it is not logged */
    set_log(f.ram, true);
    assert_int_equal(f.kernel.calls, calls + 1);
    text[0] = '\0';
    assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
    set_log(f.ram, false);
    set_log(far, true);
    assert_int_equal(mv_machine_rehearse(f.machine, append_line, text, NULL), 0);
    assert_string_equal(text, "slot: stop the log of gpa 0x0-0xfffff\n"
                              "slot: start the log of gpa 0x200000-0x200fff logged\n");
    text[0] = '\0';
    assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 0, other, 1, NULL), 0); /* the same bytes, not logged */
    assert_int_equal(mv_region_remove(far, NULL), 0);
    assert_int_equal(mv_machine_rehearse(f.machine, append_line, text, NULL), 0);
    assert_string_equal(text, "slot: delete gpa 0x200000-0x200fff\n"
                              "slot: stop the log of gpa 0x0-0xfffff\n");
    set_log(f.ram, false);
    text[0] = '\0';
    assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 0, other, 1, NULL), 0); /* nothing for the kernel to do */
    assert_int_equal(mv_machine_rehearse(f.machine, append_line, text, NULL), 0);
    assert_string_equal(text, "");
    check_equal(&f);
    mv_region_put(other);
    mv_region_put(far);
    tear_down(&f);
}

static int held_at_add = -1;

static int note_held(void *opaque, const struct mv_ioeventfd *at, int fd, struct mv_error *err)
{
    (void)at, (void)fd, (void)err;
    held_at_add = ((struct kernel *)opaque)->held;
    return 0;
}

/* A commit that changes slots holds the vCPUs until the kernel knows its eventfds too; one of eventfds alone does
 * not stop the guest. */
static void test_vcpus_are_held_until_eventfds_are_told(void **state)
{
    (void)state;
    static const struct mv_listener_ops other_ops = {.eventfd_add = note_held};
    struct fixture f;
    struct mv_listener *other;
    set_up(&f);
    struct mv_region *bell = new_region(&f, "bell", MV_REGION_MMIO, PAGE, 0);
    struct mv_ioeventfd eventfd = {.offset = 0, .size_bytes = 2, .fd = 0};
    assert_int_equal(mv_ioeventfd_add(bell, &eventfd, NULL), 0);
    assert_int_equal(mv_listener_create(f.space, &other_ops, &f.kernel, 20, &other, NULL), 0);
    assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 512 * PAGE, bell, 0, NULL), 0);
    assert_int_equal(mv_machine_commit(f.machine, NULL), 0);
    assert_int_equal(held_at_add, 1);
    held_at_add = -1;
    eventfd.offset = 8;
    assert_int_equal(mv_ioeventfd_add(bell, &eventfd, NULL), 0);
    assert_int_equal(held_at_add, 0);
    mv_listener_destroy(other);
    mv_region_put(bell);
    tear_down(&f);
}

/* With ever more regions around it, one region's change costs the same calls. */
static void test_calls_do_not_grow(void **state)
{
    (void)state;
    unsigned costs[3];
    for (unsigned round = 0; round < 3; round++) {
        struct fixture f;
        set_up(&f);
        unsigned others = round * 20 + 1;
        for (unsigned i = 0; i < others; i++) {
            struct mv_region *r = new_region(&f, "r", MV_REGION_RAM, PAGE, i * PAGE);
            assert_int_equal(mv_region_add(f.root, i * 2 * PAGE, r, 0, NULL), 0);
            mv_region_put(r);
        }
        struct mv_region *last = new_region(&f, "last", MV_REGION_RAM, PAGE, 0);
        unsigned calls = f.kernel.calls;
        assert_int_equal(mv_region_add(f.root, 1000 * PAGE, last, 0, NULL), 0);
        assert_int_equal(mv_region_remove(last, NULL), 0);
        costs[round] = f.kernel.calls - calls;
        assert_int_equal(slots_counts(f.table).set_slot_calls, f.kernel.calls);
        mv_region_put(last);
        tear_down(&f);
    }
    assert_int_equal(costs[0], 2);
    assert_int_equal(costs[1], 2);
    assert_int_equal(costs[2], 2);
}

/* --- logs -------------------------------------------------------------------------------------- */

static bool taken(struct mv_region *region, uint64_t page, enum mv_dirty_client client)
{
    return mv_dirty_test_and_clear(region, page * PAGE, PAGE, client);
}

/* One call for each slot that changes, and none for the others: as many slots as a section was cut into. */
static void test_a_log_costs_one_call_for_each_slot(void **state)
{
    (void)state;
    struct fixture f;
    struct slot_limits limits = {
        .max_slots = KERNEL_SLOTS, .max_slot_bytes = 64 * PAGE, .page_bytes = PAGE, .readonly_slots = true};
    assert_int_equal(set_up_limits(&f, limits), 0);
    struct mv_region *other = new_region(&f, "other", MV_REGION_RAM, PAGE, 0);
    struct mv_region *rom = new_region(&f, "rom", MV_REGION_ROM, PAGE, 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 1024 * PAGE, other, 0, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 1025 * PAGE, rom, 0, NULL), 0);
    assert_int_equal(f.kernel.calls, 6);
    set_log(f.ram, true); /* 256 pages in slots of 64 */
    assert_int_equal(f.kernel.calls, 10);
    struct mv_slot slots[6];
    assert_int_equal(slots_copy(f.table, slots, 6), 6);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(slots[i].flags, i < 4 ? KVM_MEM_LOG_DIRTY_PAGES : i == 4 ? 0 : KVM_MEM_READONLY);
        assert_int_equal(f.kernel.slots[slots[i].id].flags, slots[i].flags);
    }
    assert_int_equal(mv_dirty_log_start(f.machine, 1, NULL), 0); /* only `other` was not logged; a ROM is never */
    assert_int_equal(f.kernel.calls, 11);
    set_log(f.ram, false);
    assert_int_equal(f.kernel.calls, 11);
    assert_int_equal(mv_dirty_log_stop(f.machine, 1, NULL), 0);
    assert_int_equal(f.kernel.calls, 16);
    mv_region_put(other);
    mv_region_put(rom);
    tear_down(&f);
}

/* What a guest wrote is not lost when its slot goes: by a move, by a split, by the end of another region. */
static void test_a_log_is_fetched_before_its_slot_goes(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct mv_region *hole = new_region(&f, "hole", MV_REGION_MMIO, PAGE, 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    set_log(f.ram, true);
    assert_true(guest_writes(&f.kernel, 200 * PAGE));
    assert_int_equal(mv_region_add(f.root, 16 * PAGE, hole, 1, NULL), 0);
    check_equal(&f);
    assert_true(taken(f.ram, 200, MV_DIRTY_DISPLAY));
    assert_true(guest_writes(&f.kernel, 201 * PAGE));
    assert_int_equal(mv_region_set_address(f.ram, 512 * PAGE, NULL), 0);
    assert_true(taken(f.ram, 201, MV_DIRTY_DISPLAY));
    assert_true(guest_writes(&f.kernel, (512 + 202) * PAGE));
    assert_int_equal(mv_region_remove(f.ram, NULL), 0);
    assert_true(taken(f.ram, 202, MV_DIRTY_DISPLAY));
    assert_false(taken(f.ram, 200, MV_DIRTY_DISPLAY));
    mv_region_put(hole);
    tear_down(&f);
}

/* Every page that a guest writes is found, once, in slots whose first page is any in its block. */
static void test_sync_finds_each_page(void **state)
{
    (void)state;
    for (unsigned manual = 0; manual < 2; manual++) {
        struct fixture f;
        manual_logs = manual;
        set_up(&f);
        manual_logs = false;
        struct mv_region *part = new_region(&f, "part", MV_REGION_RAM, 150 * PAGE, 37 * PAGE);
        assert_int_equal(mv_region_add(f.root, 1000 * PAGE, part, 0, NULL), 0);
        set_log(part, true);
        for (uint64_t p = 0; p < 150; p++) {
            assert_true(guest_writes(&f.kernel, (1000 + p) * PAGE + 5));
            mv_dirty_sync(part);
            for (uint64_t q = 0; q < 150; q++) {
                assert_int_equal(taken(part, q, MV_DIRTY_DISPLAY), q == p);
            }
        }
        assert_int_equal(f.kernel.clears, manual ? 150 : 0);
        assert_true(f.kernel.cleared_pages <= 150 * 64); /* no more than the group of each */
        mv_region_put(part);
        tear_down(&f);
    }
}

/* With a manual log, one client's clear must not take what the other has not heard of. */
static void test_clients_do_not_clear_for_each_other(void **state)
{
    (void)state;
    struct fixture f;
    manual_logs = true;
    set_up(&f);
    manual_logs = false;
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    set_log(f.ram, true);
    assert_int_equal(mv_dirty_log_start(f.machine, 1, NULL), 0);
    assert_true(guest_writes(&f.kernel, 5 * PAGE));
    mv_dirty_sync(f.ram);
    assert_true(taken(f.ram, 5, MV_DIRTY_DISPLAY));   /* cleared in the kernel by this one */
    assert_true(guest_writes(&f.kernel, 5 * PAGE));   /* written again */
    assert_true(taken(f.ram, 5, MV_DIRTY_MIGRATION)); /* for what was fetched before: no call */
    mv_dirty_sync(f.ram);
    assert_true(taken(f.ram, 5, MV_DIRTY_DISPLAY)); /* the second write */
    assert_int_equal(mv_dirty_log_stop(f.machine, 1, NULL), 0);
    tear_down(&f);
}

/* A region over the same bytes takes a slot over as it is, and its log is its own. */
static void test_a_slot_changes_hands(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct mv_region *other = new_region(&f, "other", MV_REGION_RAM, 256 * PAGE, 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    set_log(f.ram, true);
    assert_true(guest_writes(&f.kernel, 9 * PAGE));
    unsigned calls = f.kernel.calls;
    assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
    assert_int_equal(mv_region_remove(f.ram, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 0, other, 0, NULL), 0);
    assert_int_equal(mv_machine_commit(f.machine, NULL), 0);
    assert_int_equal(f.kernel.calls, calls + 1); /* its log ended */
    assert_true(taken(f.ram, 9, MV_DIRTY_DISPLAY));
    check_equal(&f);
    set_log(other, true);
    mv_region_put(f.ram); /* nothing of it may be used any more */
    f.ram = NULL;
    assert_true(guest_writes(&f.kernel, 10 * PAGE));
    mv_dirty_sync(other);
    assert_true(taken(other, 10, MV_DIRTY_DISPLAY));
    mv_region_put(other);
    tear_down(&f);
}

/* A commit that fails after logs were switched: what may have been written unseen counts as written. */
static void test_a_log_that_was_off_for_a_while(void **state)
{
    (void)state;
    static const struct mv_listener_ops other_ops = {.prepare = answer};
    struct fixture f;
    struct mv_listener *other;
    int rc = 0;
    set_up(&f);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    assert_int_equal(mv_listener_create(f.space, &other_ops, &rc, 20, &other, NULL), 0);
    set_log(f.ram, true);
    rc = -EPERM;
    assert_int_equal(mv_region_set_log(f.ram, MV_DIRTY_DISPLAY, false, NULL), -EPERM);
    check_equal(&f);
    for (uint64_t p = 0; p < 256; p++) {
        assert_true(taken(f.ram, p, MV_DIRTY_DISPLAY));
    }
    rc = 0;
    mv_listener_destroy(other);
    tear_down(&f);
}

/* A block that grows and shrinks: one slot goes and one comes, what was written is kept, and a refusal takes back
 * the block too. */
static void test_a_slot_follows_its_block(void **state)
{
    (void)state;
    struct fixture f;
    struct mv_block *block;
    struct mv_block_info info;
    struct mv_slot slots[2];
    set_up(&f);
    struct mv_block_options of_block = {.name = "r", .size_bytes = 8 * PAGE, .max_size_bytes = 64 * PAGE};
    assert_int_equal(mv_block_create(f.machine, &of_block, &block, NULL), 0);
    struct mv_region *region;
    struct mv_region_options of_region = {
        .name = "r", .kind = MV_REGION_RAM, .block = block, .follow_block = true};
    assert_int_equal(mv_region_create(f.machine, &of_region, &region, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 0, region, 0, NULL), 0);
    set_log(region, true);
    (void)mv_dirty_test_and_clear(region, 0, 8 * PAGE, MV_DIRTY_DISPLAY);
    unsigned calls = f.kernel.calls;
    assert_int_equal(mv_block_resize(block, 24 * PAGE + 1, NULL), 0);
    assert_int_equal(f.kernel.calls, calls + 2);
    check_equal(&f);
    assert_int_equal(slots_copy(f.table, slots, 2), 1);
    assert_int_equal(slots[0].size_bytes, 24 * PAGE); /* whole pages; the rest by the view */
    assert_true(taken(region, 23, MV_DIRTY_DISPLAY));
    (void)mv_dirty_test_and_clear(region, 0, 24 * PAGE, MV_DIRTY_DISPLAY);
    assert_true(guest_writes(&f.kernel, 3 * PAGE));
    assert_int_equal(mv_block_resize(block, 24 * PAGE + 2, NULL), 0); /* no page more or less */
    assert_int_equal(f.kernel.calls, calls + 2);
    mv_dirty_sync(region);
    assert_true(taken(region, 3, MV_DIRTY_DISPLAY));
    for (unsigned n = 1; n <= 2; n++) {
        f.kernel.refuse_call = f.kernel.calls + n;
        assert_int_equal(mv_block_resize(block, 4 * PAGE, NULL), -ENOMEM);
        f.kernel.refuse_call = 0;
        check_equal(&f);
        mv_block_info(block, &info);
        assert_int_equal(info.size_bytes, 25 * PAGE);
        assert_int_equal(slots_copy(f.table, slots, 2), 1);
        assert_int_equal(slots[0].size_bytes, 24 * PAGE);
    }
    assert_int_equal(mv_block_resize(block, 4 * PAGE, NULL), 0);
    check_equal(&f);
    assert_int_equal(mv_region_remove(region, NULL), 0);
    mv_region_put(region);
    mv_block_put(block);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split_and_merge_reuse_ids),
        cmocka_unit_test(test_readonly_flips_by_delete_and_add),
        cmocka_unit_test(test_only_whole_pages),
        cmocka_unit_test(test_unaligned_ram_has_no_slot),
        cmocka_unit_test(test_no_readonly_slots),
        cmocka_unit_test(test_large_section_is_cut),
        cmocka_unit_test(test_out_of_slots_changes_nothing),
        cmocka_unit_test(test_refusals_are_taken_back),
        cmocka_unit_test(test_abort_takes_back),
        cmocka_unit_test(test_equal_slots_cancel),
        cmocka_unit_test(test_a_rehearsal_does_nothing),
        cmocka_unit_test(test_a_rehearsal_tells_of_logs),
        cmocka_unit_test(test_vcpus_are_held_until_eventfds_are_told),
        cmocka_unit_test(test_calls_do_not_grow),
        cmocka_unit_test(test_a_log_costs_one_call_for_each_slot),
        cmocka_unit_test(test_a_log_is_fetched_before_its_slot_goes),
        cmocka_unit_test(test_sync_finds_each_page),
        cmocka_unit_test(test_clients_do_not_clear_for_each_other),
        cmocka_unit_test(test_a_slot_changes_hands),
        cmocka_unit_test(test_a_log_that_was_off_for_a_while),
        cmocka_unit_test(test_a_slot_follows_its_block),
    };
    return cmocka_run_group_tests_name("slots", tests, NULL, NULL);
}
