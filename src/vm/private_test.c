// SPDX-License-Identifier: MIT
/*
 * Slots of blocks with private pages, against a naive kernel that binds guest_memfds and keeps the attribute of
 * each page of guest memory; and against the real one as far as it goes.
 */
#include "vm/private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm_para.h>
#include <memvirt/dirty.h>
#include <memvirt/privacy.h>
#include <sys/mman.h>

#include "vm/convert.h"
#include "vm/vm_test.h"

#define PAGE UINT64_C(4096)
#define KERNEL_SLOTS 16
#define GUEST_PAGES 512
#define BLOCK_PAGES 64

struct kernel_slot {
    struct kvm_userspace_memory_region is; /* memory_size 0: none */
    int fd;                                /* -1: an ordinary one */
    uint64_t offset;
};

struct kernel {
    struct kernel_slot slots[KERNEL_SLOTS];
    bool is_private[GUEST_PAGES];
    unsigned calls;
    unsigned refuse_call; /* this one of all that can fail, counted from 1; 0: none */
    unsigned memfds;
};

static bool refuses(struct kernel *k)
{
    return ++k->calls == k->refuse_call;
}

static bool meets(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
    return a < b + b_size && b < a + a_size;
}

/* Create or delete only: nothing here is logged. */
static int place(struct kernel *k, const struct kvm_userspace_memory_region *slot, int fd, uint64_t offset)
{
    struct kernel_slot *present = &k->slots[slot->slot];
    if (refuses(k)) {
        return -ENOMEM;
    }
    if ((slot->memory_size == 0) == (present->is.memory_size == 0)) {
        return -EINVAL;
    }
    for (unsigned i = 0; i < KERNEL_SLOTS && slot->memory_size; i++) {
        const struct kernel_slot *other = &k->slots[i];
        if (other->is.memory_size &&
            meets(other->is.guest_phys_addr, other->is.memory_size, slot->guest_phys_addr, slot->memory_size)) {
            return -EEXIST;
        }
        if (other->is.memory_size && fd >= 0 && other->fd == fd &&
            meets(other->offset, other->is.memory_size, offset, slot->memory_size)) {
            return -EINVAL;
        }
    }
    *present = (struct kernel_slot){.is = *slot, .fd = fd, .offset = offset};
    return 0;
}

static int kernel_set_slot(void *opaque, const struct kvm_userspace_memory_region *slot)
{
    return slot->flags & KVM_MEM_GUEST_MEMFD ? -EINVAL : place(opaque, slot, -1, 0);
}

static int kernel_set_private_slot(void *opaque, const struct kvm_userspace_memory_region *slot, int fd,
                                   uint64_t offset)
{
    bool legal = slot->flags == KVM_MEM_GUEST_MEMFD && fd >= 0 && slot->memory_size != 0;
    return legal ? place(opaque, slot, fd, offset) : -EINVAL;
}

static int kernel_create_guest_memfd(void *opaque, uint64_t size)
{
    struct kernel *k = opaque;
    if (refuses(k)) {
        return -EMFILE;
    }
    k->memfds++;
    int fd = memfd_create("guest_memfd", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

static int kernel_set_attributes(void *opaque, uint64_t gpa, uint64_t size, uint64_t attributes)
{
    struct kernel *k = opaque;
    assert_true(gpa % PAGE == 0 && size % PAGE == 0 && size != 0 && gpa / PAGE + size / PAGE <= GUEST_PAGES);
    assert_true(attributes == 0 || attributes == KVM_MEMORY_ATTRIBUTE_PRIVATE);
    if (refuses(k)) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < size / PAGE; i++) {
        k->is_private[gpa / PAGE + i] = attributes != 0;
    }
    return 0;
}

static int kernel_get_log(void *opaque, const struct kvm_dirty_log *log)
{
    (void)opaque;
    (void)log;
    return -ENOENT;
}

static void nothing(void *opaque)
{
    (void)opaque;
}

struct fixture {
    struct kernel kernel;
    struct mv_machine *machine;
    struct mv_block *block; /* with a record */
    struct mv_region *root, *ram;
    struct mv_space *space;
    struct slot_table *table;
    struct mv_listener *listener;
};

enum ability { NO_MEMFDS, NO_ATTRIBUTES, ALL };

static struct slot_port port_of(struct kernel *kernel, enum ability ability)
{
    return (struct slot_port){
        .opaque = kernel,
        .set_slot = kernel_set_slot,
        .hold_vcpus = nothing,
        .release_vcpus = nothing,
        .get_dirty_log = kernel_get_log,
        .create_guest_memfd = ability == NO_MEMFDS ? NULL : kernel_create_guest_memfd,
        .set_private_slot = ability == NO_MEMFDS ? NULL : kernel_set_private_slot,
        .set_attributes = ability == ALL ? kernel_set_attributes : NULL,
    };
}

static const struct slot_limits limits = {
    .max_slots = KERNEL_SLOTS, .max_slot_bytes = 1 << 30, .page_bytes = PAGE, .readonly_slots = true};

static struct mv_block *new_block(struct fixture *f, const char *name, enum mv_privacy_kind kind)
{
    struct mv_block *block;
    struct mv_block_options options = {.name = name, .size_bytes = BLOCK_PAGES * PAGE, .thp = MV_OFF};
    assert_int_equal(mv_block_create(f->machine, &options, &block, NULL), 0);
    assert_int_equal(mv_privacy_create(block, kind, NULL), 0);
    return block;
}

static struct mv_region *new_ram(struct fixture *f, struct mv_block *block, uint64_t first_page, uint64_t npages)
{
    struct mv_region *region;
    struct mv_region_options options = {.name = "ram",
                                        .kind = MV_REGION_RAM,
                                        .size_bytes = npages * PAGE,
                                        .block = block,
                                        .block_offset_bytes = first_page * PAGE};
    assert_int_equal(mv_region_create(f->machine, &options, &region, NULL), 0);
    return region;
}

static void set_up(struct fixture *f, enum ability ability, enum mv_privacy_kind kind)
{
    memset(f, 0, sizeof *f);
    assert_int_equal(mv_machine_create(&f->machine, NULL), 0);
    f->block = new_block(f, "b", kind);
    struct mv_region_options root = {.name = "root", .size_bytes = MV_SIZE_2_64};
    assert_int_equal(mv_region_create(f->machine, &root, &f->root, NULL), 0);
    f->ram = new_ram(f, f->block, 0, BLOCK_PAGES);
    assert_int_equal(mv_space_create(f->machine, "memory", f->root, &f->space, NULL), 0);
    struct slot_port port = port_of(&f->kernel, ability);
    f->table = slots_create(&port, &limits);
    assert_int_equal(mv_listener_create(f->space, &slots_listener_ops, f->table, 10, &f->listener, NULL), 0);
}

static void tear_down(struct fixture *f)
{
    mv_listener_destroy(f->listener);
    slots_destroy(f->table);
    mv_space_destroy(f->space);
    mv_region_put(f->ram);
    mv_region_put(f->root);
    mv_block_put(f->block);
    mv_machine_destroy(f->machine);
}

/* Page for page: what the record says of what the view shows is what the kernel was told, and has a slot for. */
static void check_pages(struct fixture *f)
{
    const struct mv_view *view = mv_space_view(f->space);
    for (uint64_t page = 0; page < GUEST_PAGES; page++) {
        struct mv_section s;
        enum mv_privacy_kind kind = MV_PAGES_SHARED;
        uint64_t ignored, offset = 0;
        bool shown = mv_view_lookup(view, mv_gpa(page * PAGE), &s) && s.hva.raw != 0;
        if (shown) {
            offset = s.hva.raw + (page * PAGE - s.range.first);
        }
        const struct kernel_slot *slot = NULL;
        for (unsigned i = 0; i < KERNEL_SLOTS; i++) {
            const struct kvm_userspace_memory_region *is = &f->kernel.slots[i].is;
            if (is->memory_size && page * PAGE - is->guest_phys_addr < is->memory_size) {
                slot = &f->kernel.slots[i];
            }
        }
        assert_int_equal(shown, slot != NULL);
        if (slot) {
            uint64_t in_slot = page * PAGE - slot->is.guest_phys_addr;
            assert_int_equal(slot->is.userspace_addr + in_slot, offset);
            struct mv_block *block = mv_block_by_hva(f->machine, (mv_hva_t){offset}, &offset);
            if (mv_privacy_lookup(block, offset, &kind, &ignored)) {
                assert_int_equal(slot->fd, mv_privacy_fd(block));
                assert_int_equal(slot->offset + in_slot, offset);
            } else {
                assert_int_equal(slot->fd, -1);
            }
            mv_block_put(block);
        }
        assert_int_equal(f->kernel.is_private[page], kind == MV_PAGES_PRIVATE);
    }
    mv_view_release(view);
}

static int convert_pages(struct fixture *f, uint64_t first, uint64_t n, enum mv_privacy_kind kind,
                         struct mv_error *err)
{
    return mv_privacy_convert(f->block, first * PAGE, n * PAGE, kind, err);
}

static void test_a_block_with_a_record_has_a_guest_memfd(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, ALL, MV_PAGES_PRIVATE);
    struct mv_region *hole = NULL;
    struct mv_region_options options = {.name = "hole", .kind = MV_REGION_MMIO, .size_bytes = PAGE};
    assert_int_equal(mv_region_create(f.machine, &options, &hole, NULL), 0);
    assert_int_equal(mv_privacy_fd(f.block), -1);
    assert_int_equal(mv_region_add(f.root, 8 * PAGE, f.ram, 0, NULL), 0);
    assert_int_equal(f.kernel.memfds, 1);
    check_pages(&f);
    assert_int_equal(mv_region_add(f.root, 20 * PAGE, hole, 1, NULL), 0); /* a split */
    check_pages(&f);
    assert_int_equal(mv_region_set_address(f.ram, 100 * PAGE, NULL), 0); /* deleted and made again */
    check_pages(&f);
    assert_int_equal(mv_region_remove(f.ram, NULL), 0);
    check_pages(&f);
    assert_int_equal(convert_pages(&f, 3, 4, MV_PAGES_SHARED, NULL), 0); /* where no slot shows it */
    assert_int_equal(mv_region_add(f.root, 8 * PAGE, f.ram, 0, NULL), 0);
    check_pages(&f);
    assert_int_equal(f.kernel.memfds, 1); /* what was in it is still there */
    struct mv_slot slots[4];
    assert_int_equal(slots_copy(f.table, slots, 4), 2);
    assert_int_equal(slots[0].flags, KVM_MEM_GUEST_MEMFD);
    mv_region_put(hole);
    tear_down(&f);
}

/* A block may be shown in pieces, in any order; each shows its own conversions. */
static void test_conversions_reach_each_slot(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, ALL, MV_PAGES_SHARED);
    struct mv_region *low = new_ram(&f, f.block, 0, 20), *high = new_ram(&f, f.block, 20, 44);
    assert_int_equal(mv_region_add(f.root, 200 * PAGE, low, 0, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 100 * PAGE, high, 0, NULL), 0);
    check_pages(&f);
    assert_int_equal(convert_pages(&f, 10, 30, MV_PAGES_PRIVATE, NULL), 0);
    check_pages(&f);
    assert_true(f.kernel.is_private[210] && f.kernel.is_private[100] && !f.kernel.is_private[120]);
    assert_int_equal(convert_pages(&f, 15, 10, MV_PAGES_SHARED, NULL), 0);
    check_pages(&f);
    mv_region_put(low);
    mv_region_put(high);
    tear_down(&f);
}

/* Every call that can fail, refused in turn, in a commit and in a conversion: all is as before. */
static void test_refusals_are_taken_back(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, ALL, MV_PAGES_SHARED);
    struct mv_region *low = new_ram(&f, f.block, 0, 20), *high = new_ram(&f, f.block, 20, 44);
    struct mv_error err;
    assert_int_equal(convert_pages(&f, 2, 3, MV_PAGES_PRIVATE, NULL), 0);
    assert_int_equal(convert_pages(&f, 18, 4, MV_PAGES_PRIVATE, NULL), 0);
    f.kernel.refuse_call = 1;
    assert_int_equal(mv_region_add(f.root, 200 * PAGE, low, 0, &err), -EMFILE);
    check_pages(&f);
    assert_int_equal(mv_region_add(f.root, 200 * PAGE, low, 0, NULL), 0);
    assert_int_equal(mv_region_remove(low, NULL), 0); /* from now on there is a guest_memfd */
    unsigned refused = 0;
    for (unsigned n = 1;; n++) {
        assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
        assert_int_equal(mv_region_add(f.root, 200 * PAGE, low, 0, NULL), 0);
        assert_int_equal(mv_region_add(f.root, 100 * PAGE, high, 0, NULL), 0);
        f.kernel.refuse_call = f.kernel.calls + n;
        int rc = mv_machine_commit(f.machine, &err);
        f.kernel.refuse_call = 0;
        check_pages(&f);
        if (rc == 0) {
            break;
        }
        assert_int_equal(rc, -ENOMEM);
        refused++;
    }
    assert_int_equal(refused, 5); /* two slots, three private pieces */
    refused = 0;
    for (unsigned n = 1;; n++) {
        assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
        assert_int_equal(mv_region_remove(low, NULL), 0);
        assert_int_equal(mv_region_set_address(high, 300 * PAGE, NULL), 0);
        f.kernel.refuse_call = f.kernel.calls + n;
        int rc = mv_machine_commit(f.machine, &err);
        f.kernel.refuse_call = 0;
        check_pages(&f);
        if (rc == 0) {
            break;
        }
        assert_int_equal(rc, -ENOMEM);
        refused++;
    }
    assert_int_equal(refused, 7); /* two slots and three pieces go, a slot and a piece come */
    assert_int_equal(mv_region_add(f.root, 200 * PAGE, low, 0, NULL), 0);
    refused = 0;
    for (unsigned n = 1;; n++) {
        f.kernel.refuse_call = f.kernel.calls + n;
        int rc = convert_pages(&f, 0, BLOCK_PAGES, MV_PAGES_PRIVATE, &err);
        f.kernel.refuse_call = 0;
        check_pages(&f);
        if (rc == 0) {
            break;
        }
        assert_int_equal(rc, -ENOMEM);
        assert_non_null(strstr(err.text, "block b"));
        refused++;
    }
    assert_int_equal(refused, 3); /* pages 0-1, 5-17 and 22-63 */
    mv_region_put(low);
    mv_region_put(high);
    tear_down(&f);
}

static void test_what_cannot_be_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct mv_error err;
    set_up(&f, NO_MEMFDS, MV_PAGES_SHARED);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, &err), -ENOTSUP);
    assert_string_equal(err.reason, "no-guest-memfd");
    check_pages(&f);
    tear_down(&f);

    set_up(&f, NO_ATTRIBUTES, MV_PAGES_PRIVATE);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, &err), -ENOTSUP);
    assert_string_equal(err.reason, "no-private-pages");
    assert_int_equal(f.kernel.slots[0].is.memory_size, 0);
    assert_int_equal(convert_pages(&f, 0, BLOCK_PAGES, MV_PAGES_SHARED, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0); /* all shared: then it will do */
    check_pages(&f);
    assert_int_equal(convert_pages(&f, 5, 1, MV_PAGES_PRIVATE, &err), -ENOTSUP);
    assert_string_equal(err.reason, "no-private-pages");
    check_pages(&f);
    tear_down(&f);

    set_up(&f, ALL, MV_PAGES_SHARED);
    assert_int_equal(mv_region_set_readonly(f.ram, true, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, &err), -ENOTSUP);
    assert_string_equal(err.reason, "private-rom");
    assert_int_equal(mv_region_set_readonly(f.ram, false, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    assert_int_equal(mv_region_set_log(f.ram, MV_DIRTY_DISPLAY, true, &err), -ENOTSUP);
    assert_string_equal(err.reason, "private-log");
    assert_int_equal(mv_dirty_log_start(f.machine, 1, &err), -ENOTSUP);
    assert_int_equal(mv_region_remove(f.ram, NULL), 0);
    assert_int_equal(mv_region_set_log(f.ram, MV_DIRTY_DISPLAY, true, NULL), 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, &err), -ENOTSUP);
    assert_string_equal(err.reason, "private-log");
    check_pages(&f);
    tear_down(&f);
}

/* A guest_memfd is of one VM: another cannot have the block meanwhile, but afterwards. */
static void test_one_vm_at_a_time(void **state)
{
    (void)state;
    struct fixture f;
    struct mv_error err;
    struct mv_listener *listener;
    struct kernel other = {0};
    struct slot_port port = port_of(&other, ALL);
    set_up(&f, ALL, MV_PAGES_SHARED);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    struct slot_table *table = slots_create(&port, &limits);
    assert_int_equal(mv_listener_create(f.space, &slots_listener_ops, table, 10, &listener, &err), -EBUSY);
    assert_string_equal(err.reason, "has-guest-memfd");
    slots_destroy(table);
    int first = mv_privacy_fd(f.block);
    assert_int_equal(mv_region_remove(f.ram, NULL), 0); /* it is still the first one's */
    mv_listener_destroy(f.listener);
    slots_destroy(f.table);
    assert_int_equal(fcntl(first, F_GETFD), -1);
    assert_int_equal(mv_privacy_fd(f.block), -1);
    f.table = slots_create(&port, &limits);
    assert_int_equal(mv_listener_create(f.space, &slots_listener_ops, f.table, 10, &f.listener, &err), 0);
    assert_int_equal(mv_region_add(f.root, 0, f.ram, 0, NULL), 0);
    assert_int_equal(other.memfds, 1);
    tear_down(&f);
}

static uint32_t seed;

static uint32_t below(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

/* Two blocks in pieces that come, go and move over each other, and conversions of both. */
static void test_random_edits_equal_the_record(void **state)
{
    (void)state;
    struct fixture f;
    const char *asked = getenv("MEMVIRT_TEST_SEED");
    seed = asked ? (uint32_t)strtoul(asked, NULL, 0) : (uint32_t)time(NULL);
    print_message("# seed %u\n", seed);
    set_up(&f, ALL, MV_PAGES_SHARED);
    struct mv_block *blocks[2] = {f.block, new_block(&f, "c", MV_PAGES_PRIVATE)};
    struct mv_region *pieces[4];
    bool in[4] = {false};
    for (unsigned i = 0; i < 4; i++) {
        pieces[i] = new_ram(&f, blocks[i / 2], i % 2 ? 24 : 0, i % 2 ? 40 : 24);
    }
    for (unsigned round = 0; round < 2000; round++) {
        unsigned i = below(4);
        f.kernel.refuse_call = below(4) == 0 ? f.kernel.calls + 1 + below(8) : 0;
        if (below(2)) {
            uint64_t first = below(BLOCK_PAGES), n = 1 + below((uint32_t)(BLOCK_PAGES - first));
            (void)mv_privacy_convert(blocks[i / 2], first * PAGE, n * PAGE,
                                     below(2) ? MV_PAGES_PRIVATE : MV_PAGES_SHARED, NULL);
        } else if (!in[i]) {
            in[i] = mv_region_add(f.root, below(200) * PAGE, pieces[i], (int)below(3), NULL) == 0;
        } else if (below(3)) {
            (void)mv_region_set_address(pieces[i], below(200) * PAGE, NULL);
        } else {
            in[i] = mv_region_remove(pieces[i], NULL) != 0;
        }
        f.kernel.refuse_call = 0;
        check_pages(&f);
    }
    for (unsigned i = 0; i < 4; i++) {
        mv_region_put(pieces[i]);
    }
    mv_block_put(blocks[1]);
    tear_down(&f);
}

/* --- exits ------------------------------------------------------------------------------------------- */

/* As much of a VM as converting needs. */
struct guest {
    struct fixture f;
    struct mv_vm vm;
    struct mv_vcpu vcpu;
    struct kvm_run run;
};

static void set_up_guest(struct guest *g, enum ability ability)
{
    memset(g, 0, sizeof *g);
    set_up(&g->f, ability, MV_PAGES_SHARED);
    assert_int_equal(mv_region_add(g->f.root, 100 * PAGE, g->f.ram, 0, NULL), 0);
    g->vm.options.memory = g->f.space;
    g->vm.slots = g->f.table;
    g->vcpu.vm = &g->vm;
    g->vcpu.run = &g->run;
}

static int touch(struct guest *g, uint64_t page, uint64_t npages, uint64_t flags, struct mv_error *err)
{
    struct accel_memory_fault fault = {.flags = flags, .gpa = page * PAGE, .size_bytes = npages * PAGE};
    memcpy(&g->run.hw, &fault, sizeof fault);
    return convert_on_fault(&g->vcpu, err);
}

static void test_a_memory_fault_converts(void **state)
{
    (void)state;
    struct guest g;
    struct mv_error err;
    set_up_guest(&g, ALL);
    assert_int_equal(touch(&g, 110, 2, KVM_MEMORY_ATTRIBUTE_PRIVATE, &err), 0);
    assert_true(g.f.kernel.is_private[110] && g.f.kernel.is_private[111] && !g.f.kernel.is_private[112]);
    check_pages(&g.f);
    assert_int_equal(touch(&g, 110, 1, 0, &err), 0);
    assert_false(g.f.kernel.is_private[110]);
    check_pages(&g.f);
    /* Nothing to convert: somebody else was faster, perhaps. But not for ever. */
    assert_int_equal(touch(&g, 110, 1, 0, &err), 0);
    assert_int_equal(convert_pages(&g.f, 0, 1, MV_PAGES_PRIVATE, NULL), 0);
    assert_int_equal(touch(&g, 110, 1, 0, &err), 0);
    assert_int_equal(touch(&g, 112, 1, 0, &err), 0);
    assert_int_equal(touch(&g, 112, 1, 0, &err), -EFAULT);
    assert_string_equal(err.text, "a memory fault at gpa 0x70000, 4096 bytes, taken for shared");
    assert_int_equal(touch(&g, 99, 1, KVM_MEMORY_ATTRIBUTE_PRIVATE, &err), -EFAULT);  /* nothing is there */
    assert_int_equal(touch(&g, 160, 5, KVM_MEMORY_ATTRIBUTE_PRIVATE, &err), -EFAULT); /* over its end */
    assert_int_equal(touch(&g, 110, 0, 0, &err), -EFAULT);
    struct mv_block *plain;
    assert_int_equal(mv_block_create(g.f.machine, &(struct mv_block_options){.name = "plain", .size_bytes = PAGE},
                                     &plain, NULL),
                     0);
    struct mv_region *ram = new_ram(&g.f, plain, 0, 1);
    assert_int_equal(mv_region_add(g.f.root, 50 * PAGE, ram, 0, NULL), 0);
    assert_int_equal(touch(&g, 50, 1, KVM_MEMORY_ATTRIBUTE_PRIVATE, &err), -EFAULT); /* RAM as any other */
    mv_region_put(ram);
    mv_block_put(plain);
    check_pages(&g.f);
    tear_down(&g.f);
    set_up_guest(&g, NO_ATTRIBUTES);
    assert_int_equal(touch(&g, 110, 1, KVM_MEMORY_ATTRIBUTE_PRIVATE, &err), -ENOTSUP);
    assert_string_equal(err.reason, "no-private-pages");
    tear_down(&g.f);
}

static int64_t ask(struct guest *g, uint64_t nr, uint64_t gpa, uint64_t npages, uint64_t attributes)
{
    g->run.hypercall.nr = nr;
    g->run.hypercall.args[0] = gpa;
    g->run.hypercall.args[1] = npages;
    g->run.hypercall.args[2] = attributes;
    convert_on_hypercall(&g->vcpu);
    return (int64_t)g->run.hypercall.ret;
}

static void test_a_guest_asks(void **state)
{
    (void)state;
    struct guest g;
    set_up_guest(&g, ALL);
    assert_int_equal(ask(&g, KVM_HC_MAP_GPA_RANGE, 100 * PAGE, 64, 1 << 4), 0);
    assert_true(g.f.kernel.is_private[100] && g.f.kernel.is_private[163]);
    assert_int_equal(ask(&g, KVM_HC_MAP_GPA_RANGE, 101 * PAGE, 1, 0), 0);
    assert_false(g.f.kernel.is_private[101]);
    check_pages(&g.f);
    static const struct {
        uint64_t gpa, npages;
    } wrong[] = {
        {100 * PAGE, 65},
        {99 * PAGE, 2},
        {100 * PAGE, 0},
        {100 * PAGE + 1, 1},
        {0, UINT64_MAX},
        {PAGE, UINT64_MAX / PAGE},
        {100 * PAGE, UINT64_C(1) << 52},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(ask(&g, KVM_HC_MAP_GPA_RANGE, wrong[i].gpa, wrong[i].npages, 0), -EINVAL);
        check_pages(&g.f);
    }
    assert_int_equal(ask(&g, KVM_HC_CLOCK_PAIRING, 100 * PAGE, 1, 0), -KVM_ENOSYS);
    g.f.kernel.refuse_call = g.f.kernel.calls + 1;
    assert_int_equal(ask(&g, KVM_HC_MAP_GPA_RANGE, 101 * PAGE, 1, 1 << 4), -EPERM);
    check_pages(&g.f);
    tear_down(&g.f);
}

/* --- the real one ------------------------------------------------------------------------------------ */

/* 0x1000: mov al,[0x6000]; out 0x10,al; mov byte [0x6000],7; mov al,[0x6000]; out 0x10,al; jmp . */
static const uint8_t code[] = {0xa0, 0x00, 0x60, 0xe6, TEST_PORT, 0xc6,      0x06, 0x00, 0x60,
                               0x07, 0xa0, 0x00, 0x60, 0xe6,      TEST_PORT, 0xeb, 0xfe};

struct told {
    struct mv_vm *vm;
    unsigned count;
    uint8_t bytes[2];
};

static void on_byte(void *opaque, uint8_t value, unsigned vcpu)
{
    (void)vcpu;
    struct told *told = opaque;
    told->bytes[told->count++ % 2] = value;
    if (told->count == 2) {
        mv_vm_stop(told->vm, MV_STOP_REQUEST, 0, "done");
    }
}

static struct mv_region *make_private_page(struct rig *rig, enum mv_privacy_kind kind, struct mv_block **ret_block)
{
    struct mv_error err;
    struct mv_block_options options = {.name = "secret", .size_bytes = 4096, .thp = MV_OFF};
    must(mv_block_create(rig->machine, &options, ret_block, &err), &err);
    must(mv_privacy_create(*ret_block, kind, &err), &err);
    return make(rig, (struct mv_region_options){
                         .name = "secret", .kind = MV_REGION_RAM, .size_bytes = 4096, .block = *ret_block});
}

/* A guest runs on a slot with a guest_memfd; and what this host cannot do it says. */
static void test_on_kvm(void **state)
{
    (void)state;
    need_kvm("test_on_kvm");
    struct rig rig;
    struct mv_error err;
    struct mv_block *block;
    struct told told = {0};
    rig_init(&rig, 1, code, sizeof code);
    if (!rig.vm->ops->has_guest_memfds(rig.vm->accel)) {
        rig_finish(&rig);
        print_message("# SKIP test_on_kvm: this kernel has no guest_memfds\n");
        skip();
    }
    struct mv_region *page = make_private_page(&rig, MV_PAGES_SHARED, &block);
    struct mv_block_info info;
    mv_block_info(block, &info);
    memset(hva_pointer(info.hva), 5, 4096);
    must(mv_region_add(rig.root, 0x6000, page, 1, &err), &err);
    struct mv_slot slots[8];
    assert_int_equal(mv_vm_slots(rig.vm, slots, 8), 3);
    assert_int_equal(slots[1].flags, KVM_MEM_GUEST_MEMFD);
    must(mv_region_set_address(page, 0x9000, &err), &err); /* such a slot cannot move: deleted and made again */
    must(mv_region_set_address(page, 0x6000, &err), &err);
    int fd = mv_privacy_fd(block);
    assert_true(fd >= 0);
    struct mv_region *again = make(
        &rig,
        (struct mv_region_options){.name = "again", .kind = MV_REGION_RAM, .size_bytes = 4096, .block = block});
    assert_int_equal(mv_region_add(rig.root, 0x200000, again, 0, &err),
                     -EINVAL); /* bound already, says the host */
    rig.on_write = on_byte;
    rig.opaque = &told;
    told.vm = rig.vm;
    struct mv_stop stop;
    must(mv_vm_run(rig.vm, &stop, &err), &err);
    assert_int_equal(stop.reason, MV_STOP_REQUEST);
    assert_int_equal(told.bytes[0], 5);
    assert_int_equal(told.bytes[1], 7);
    assert_int_equal(*(uint8_t *)hva_pointer(info.hva), 7);
    if (rig.vm->ops->attributes(rig.vm->accel) & KVM_MEMORY_ATTRIBUTE_PRIVATE) {
        must(mv_privacy_convert(block, 0, 4096, MV_PAGES_PRIVATE, &err), &err);
        must(mv_privacy_convert(block, 0, 4096, MV_PAGES_SHARED, &err), &err);
    } else {
        assert_int_equal(mv_privacy_convert(block, 0, 4096, MV_PAGES_PRIVATE, &err), -ENOTSUP);
        assert_string_equal(err.reason, "no-private-pages");
        print_message("# this host's VMs cannot have private pages: converting is refused\n");
    }
    must(mv_region_remove(page, &err), &err);
    mv_region_put(page);
    mv_region_put(again);
    mv_block_put(block);
    rig_finish(&rig);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

/* Asked for, a VM that can convert is made or refused, and never another one. */
static void test_a_vm_with_private_pages_on_kvm(void **state)
{
    (void)state;
    need_kvm("test_a_vm_with_private_pages_on_kvm");
    struct rig rig;
    struct mv_error err;
    struct mv_vm *vm = NULL;
    rig_init(&rig, 1, code, sizeof code);
    struct mv_vm_options options = {.accel = "kvm", .memory = rig.memory, .io = rig.io, .private_pages = true};
    int rc = mv_vm_create(&options, &vm, &err);
    if (rc == 0) {
        assert_true(vm->ops->attributes(vm->accel) & KVM_MEMORY_ATTRIBUTE_PRIVATE);
        mv_vm_destroy(vm);
    } else {
        assert_int_equal(rc, -ENOTSUP);
        assert_string_equal(err.reason, "missing-capability");
        print_message("# %s\n", err.text);
    }
    rig_finish(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_block_with_a_record_has_a_guest_memfd),
        cmocka_unit_test(test_conversions_reach_each_slot),
        cmocka_unit_test(test_refusals_are_taken_back),
        cmocka_unit_test(test_what_cannot_be_is_refused),
        cmocka_unit_test(test_one_vm_at_a_time),
        cmocka_unit_test(test_random_edits_equal_the_record),
        cmocka_unit_test(test_a_memory_fault_converts),
        cmocka_unit_test(test_a_guest_asks),
        cmocka_unit_test(test_on_kvm),
        cmocka_unit_test(test_a_vm_with_private_pages_on_kvm),
    };
    return cmocka_run_group_tests_name("private", tests, NULL, NULL);
}
