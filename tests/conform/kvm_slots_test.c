// SPDX-License-Identifier: MIT
/*
 * The slots that the kernel really has, against the view, after each commit of a random sequence of edits, of
 * which some fail.
 *
 * No call lists a kernel's slots, so they are found out by calls that change nothing in the end:
 *   1. A page can be made a slot of its own, under a spare id, exactly where no slot is (else EEXIST): so the set
 * of covered pages is known.
 *   2. Setting a slot that is there, with the same values, returns 0 and does nothing; with other host memory or
 * another READONLY flag it is EINVAL. A slot that is not there would be made, but 1. has shown that its pages are
 * covered, so that would be EEXIST.
 *   3. The set of covered pages is still the same afterwards.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include <cmocka.h>

#include <memvirt/dirty.h>

#include "accel/kvm/internal.h"
#include "base/os.h"
#include "machine/block.h"
#include "vm/vm.h"

#define PAGES 96 /* of guest physical memory that the trees use */
#define REGIONS 24
#define SPARE_ID 30000

struct world {
    struct mv_machine *machine;
    struct mv_block *block;
    struct mv_region *root;
    struct mv_region *io;
    struct mv_region *regions[REGIONS];
    bool mapped[REGIONS];
    struct mv_space *memory;
    struct mv_space *ports;
    struct mv_vm *vm;
    int vm_fd;
    uint64_t page;
};

static uint64_t random_state;

static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state << 13; /* xorshift64 */
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

static void begin_random(void)
{
    const char *seed = getenv("MEMVIRT_SEED");
    random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) | 1;
    printf("# MEMVIRT_SEED=%llu\n", (unsigned long long)random_state);
}

static bool no_kvm(const char *test)
{
    struct mv_accel_status status;
    mv_accel_check(0, &status);
    if (!status.usable) {
        printf("# SKIP %s: %s\n", test, status.text);
    }
    return !status.usable;
}

static struct mv_region *new_region(struct world *w, const struct mv_region_options *options)
{
    struct mv_region *region;
    struct mv_error err;
    if (mv_region_create(w->machine, options, &region, &err) < 0) {
        fail_msg("%s", err.text);
    }
    return region;
}

static enum mv_result ignore(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                             struct mv_attrs attrs)
{
    (void)opaque, (void)offset, (void)size_bytes, (void)value, (void)attrs;
    return MV_OK;
}

static const struct mv_mmio_ops flash_ops = {.write = ignore};

/* Memory of all kinds over random pieces of one block, MMIO, aliases of earlier ones; some with edges inside a
 * page. */
static void make_regions(struct world *w)
{
    for (unsigned i = 0; i < REGIONS; i++) {
        uint64_t pages = 1 + random_below(24);
        uint64_t size = pages * w->page - (random_below(6) == 0 ? 16 : 0);
        struct mv_region_options o = {.name = "r", .size_bytes = size};
        switch (i < 4 ? 0 : random_below(7)) {
        case 0:
        case 1:
            o.kind = MV_REGION_RAM;
            o.block = w->block;
            o.block_offset_bytes = random_below(PAGES) * w->page;
            o.readonly = random_below(4) == 0;
            break;
        case 2:
            o.kind = MV_REGION_ROM;
            o.block = w->block;
            o.block_offset_bytes = random_below(PAGES) * w->page;
            break;
        case 3: o.kind = MV_REGION_MMIO; break;
        case 4:
            o.kind = MV_REGION_ROM_DEVICE;
            o.ops = &flash_ops;
            o.block = w->block;
            o.block_offset_bytes = random_below(PAGES) * w->page;
            break;
        case 5:
            o.kind = MV_REGION_RAM_DEVICE;
            o.block = w->block;
            o.block_offset_bytes = random_below(PAGES) * w->page;
            break;
        default:
            o.kind = MV_REGION_ALIAS;
            o.target = w->regions[random_below(i)];
            o.target_offset_bytes = random_below(4) * w->page;
            o.readonly = random_below(3) == 0;
            break;
        }
        w->regions[i] = new_region(w, &o);
        w->mapped[i] = false;
    }
}

static void world_init(struct world *w, unsigned max_slots)
{
    struct mv_error err = {0};
    memset(w, 0, sizeof *w);
    w->page = os_page_size();
    assert_int_equal(mv_machine_create(&w->machine, &err), 0);
    assert_int_equal(mv_block_create(w->machine,
                                     &(struct mv_block_options){
                                         .name = "b", .kind = MV_BLOCK_MEMFD, .size_bytes = 2 * PAGES * w->page},
                                     &w->block, &err),
                     0);
    w->root = new_region(w, &(struct mv_region_options){.name = "root", .size_bytes = MV_SIZE_2_64});
    w->io = new_region(w, &(struct mv_region_options){.name = "io", .size_bytes = 65536});
    assert_int_equal(mv_space_create(w->machine, "memory", w->root, &w->memory, &err), 0);
    assert_int_equal(mv_space_create(w->machine, "I/O", w->io, &w->ports, &err), 0);
    struct mv_vm_options options = {.accel = "kvm", .memory = w->memory, .io = w->ports, .max_slots = max_slots};
    if (mv_vm_create(&options, &w->vm, &err) < 0) {
        fail_msg("%s", err.text);
    }
    w->vm_fd = w->vm->accel->vm_fd;
}

static void world_finish(struct world *w)
{
    mv_vm_destroy(w->vm);
    mv_space_destroy(w->memory);
    mv_space_destroy(w->ports);
    for (unsigned i = 0; i < REGIONS; i++) {
        mv_region_put(w->regions[i]);
    }
    mv_region_put(w->root);
    mv_region_put(w->io);
    mv_block_put(w->block);
    mv_machine_destroy(w->machine);
}

static int set_slot(const struct world *w, uint32_t id, uint32_t flags, uint64_t gpa, uint64_t size, uint64_t hva)
{
    struct kvm_userspace_memory_region r = {
        .slot = id, .flags = flags, .guest_phys_addr = gpa, .memory_size = size, .userspace_addr = hva};
    return ioctl(w->vm_fd, KVM_SET_USER_MEMORY_REGION, &r) < 0 ? -errno : 0;
}

/* Which pages the kernel has slots for. */
static void probe_pages(const struct world *w, bool *ret)
{
    for (uint64_t i = 0; i < PAGES + 32; i++) {
        int rc = set_slot(w, SPARE_ID, 0, i * w->page, w->page, hva_of(w->block->host).raw);
        ret[i] = rc == -EEXIST;
        if (rc == 0) {
            assert_int_equal(set_slot(w, SPARE_ID, 0, 0, 0, 0), 0);
        } else {
            assert_int_equal(rc, -EEXIST);
        }
    }
}

static void expected_pages(const struct world *w, bool *ret)
{
    const struct mv_view *view = mv_space_view(w->memory);
    for (uint64_t i = 0; i < PAGES + 32; i++) {
        struct mv_section s;
        ret[i] = mv_view_lookup(view, mv_gpa(i * w->page), &s) && s.hva.raw != 0 &&
                 s.range.last >= (i + 1) * w->page - 1 &&
                 (s.hva.raw + (i * w->page - s.range.first)) % w->page == 0;
    }
    mv_view_release(view);
}

static void check_pages(const struct world *w)
{
    bool expected[PAGES + 32], found[PAGES + 32];
    expected_pages(w, expected);
    probe_pages(w, found);
    for (unsigned i = 0; i < PAGES + 32; i++) {
        if (expected[i] != found[i]) {
            fail_msg("page %u: the view says %d, the kernel %d", i, expected[i], found[i]);
        }
    }
}

/* Each slot that the library believes in is in the kernel with just these values, and agrees with the view. */
static void check_slots(const struct world *w)
{
    struct mv_slot slots[256];
    size_t count = mv_vm_slots(w->vm, slots, 256);
    uint64_t covered = 0;
    assert_true(count <= 256);
    const struct mv_view *view = mv_space_view(w->memory);
    for (size_t i = 0; i < count; i++) {
        const struct mv_slot *s = &slots[i];
        struct mv_section section;
        assert_int_equal(set_slot(w, s->id, s->flags, s->gpa.raw, s->size_bytes, s->hva.raw), 0);
        assert_int_equal(set_slot(w, s->id, s->flags, s->gpa.raw, s->size_bytes, s->hva.raw + w->page), -EINVAL);
        assert_int_equal(set_slot(w, s->id, s->flags ^ KVM_MEM_READONLY, s->gpa.raw, s->size_bytes, s->hva.raw),
                         -EINVAL);
        assert_true(mv_view_lookup(view, s->gpa, &section));
        assert_true(section.range.last >= s->gpa.raw + s->size_bytes - 1);
        assert_int_equal(section.hva.raw + (s->gpa.raw - section.range.first), s->hva.raw);
        assert_int_equal(s->flags, !section.writable       ? KVM_MEM_READONLY
                                   : section.log_mask != 0 ? KVM_MEM_LOG_DIRTY_PAGES
                                                           : 0);
        covered += s->size_bytes / w->page;
    }
    mv_view_release(view);
    bool expected[PAGES + 32];
    uint64_t pages = 0;
    expected_pages(w, expected);
    for (unsigned i = 0; i < PAGES + 32; i++) {
        pages += expected[i];
    }
    assert_int_equal(covered, pages);
}

static void random_edit(struct world *w)
{
    unsigned i = (unsigned)random_below(REGIONS);
    struct mv_region *r = w->regions[i];
    uint64_t at = random_below(PAGES) * w->page + (random_below(10) == 0 ? 16 : 0);
    if (!w->mapped[i]) {
        assert_int_equal(mv_region_add(w->root, at, r, (int)random_below(3), NULL), 0);
        w->mapped[i] = true;
        return;
    }
    switch (random_below(7)) {
    case 0:
    case 1:
        assert_int_equal(mv_region_remove(r, NULL), 0);
        w->mapped[i] = false;
        break;
    case 2: assert_int_equal(mv_region_set_address(r, at, NULL), 0); break;
    case 3: assert_int_equal(mv_region_set_enabled(r, random_below(2), NULL), 0); break;
    case 4: assert_int_equal(mv_region_set_readonly(r, random_below(2), NULL), 0); break;
    case 5: (void)mv_region_set_rom_mode(r, random_below(2), NULL); break; /* refused but for ROM devices */
    default: (void)mv_region_set_log(r, MV_DIRTY_DISPLAY, random_below(2), NULL); break;
    }
}

static void test_kernel_slots_equal_the_view(void **state)
{
    (void)state;
    if (no_kvm("test_kernel_slots_equal_the_view")) {
        skip();
    }
    begin_random();
    unsigned trees = getenv("MEMVIRT_TEST_LONG") ? 60 : 6;
    for (unsigned tree = 0; tree < trees; tree++) {
        struct world w;
        world_init(&w, SPARE_ID);
        make_regions(&w);
        for (unsigned step = 0; step < 400; step++) {
            assert_int_equal(mv_machine_begin(w.machine, NULL), 0);
            for (uint64_t n = 1 + random_below(3); n > 0; n--) {
                random_edit(&w);
            }
            assert_int_equal(mv_machine_commit(w.machine, NULL), 0);
            if (step % 20 == 0) {
                check_pages(&w);
            }
            check_slots(&w);
            if (step % 20 == 0) {
                check_pages(&w);
            }
        }
        world_finish(&w);
    }
}

/* A listener that is asked when the slots are exchanged already, and then refuses: they go back. */
static int refuse_now_and_then(void *opaque, struct mv_error *err)
{
    (void)opaque, (void)err;
    return random_below(2) ? -EPERM : 0;
}

static void test_kernel_slots_come_back(void **state)
{
    (void)state;
    if (no_kvm("test_kernel_slots_come_back")) {
        skip();
    }
    static const struct mv_listener_ops ops = {.prepare = refuse_now_and_then};
    struct world w;
    struct mv_listener *listener;
    unsigned refused = 0;
    begin_random();
    world_init(&w, SPARE_ID);
    make_regions(&w);
    do { /* this is a commit, too */
    } while (mv_listener_create(w.memory, &ops, NULL, 1000, &listener, NULL) < 0);
    for (unsigned step = 0; step < 600; step++) {
        bool mapped[REGIONS];
        memcpy(mapped, w.mapped, sizeof mapped);
        assert_int_equal(mv_machine_begin(w.machine, NULL), 0);
        for (uint64_t n = 1 + random_below(3); n > 0; n--) {
            random_edit(&w);
        }
        if (mv_machine_commit(w.machine, NULL) < 0) {
            memcpy(w.mapped, mapped, sizeof mapped);
            refused++;
        }
        if (step % 20 == 0) {
            check_pages(&w);
        }
        check_slots(&w);
    }
    printf("# %u of 600 refused\n", refused);
    assert_true(refused > 50);
    mv_listener_destroy(listener);
    world_finish(&w);
}

/* As many slots as the kernel has, and one more: refused with a clear line, and nothing has changed. */
static void test_more_slots_than_the_kernel_has(void **state)
{
    (void)state;
    if (no_kvm("test_more_slots_than_the_kernel_has")) {
        skip();
    }
    struct world w;
    struct mv_error err;
    world_init(&w, 0);
    unsigned max = w.vm->ops->max_slots(w.vm->accel);
    struct mv_region *last = NULL;
    assert_int_equal(mv_machine_begin(w.machine, NULL), 0);
    for (unsigned i = 0; i <= max; i++) {
        struct mv_region_options o = {
            .name = "page", .kind = MV_REGION_RAM, .size_bytes = w.page, .block = w.block};
        last = new_region(&w, &o);
        assert_int_equal(mv_region_add(w.root, i * 2 * w.page, last, 0, NULL), 0);
        if (i < max) {
            mv_region_put(last);
        }
    }
    assert_int_equal(mv_machine_commit(w.machine, &err), -ENOSPC);
    assert_string_equal(err.reason, "no-slot");
    printf("# %s\n", err.text);
    struct mv_slot slot;
    assert_int_equal(mv_vm_slots(w.vm, &slot, 1), 0);
    mv_region_put(last);
    world_finish(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_slots_equal_the_view),
        cmocka_unit_test(test_kernel_slots_come_back),
        cmocka_unit_test(test_more_slots_than_the_kernel_has),
    };
    return cmocka_run_group_tests_name("kvm_slots", tests, NULL, NULL);
}
