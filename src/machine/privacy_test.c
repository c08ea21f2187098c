// SPDX-License-Identifier: MIT
#include <memvirt/privacy.h>

#include <linux/kvm.h>
#include <memvirt/discard.h>
#include <memvirt/space.h>
#include <sys/ioctl.h>
#include <time.h>

#include "machine/block_test.h"

#define PAGE UINT64_C(4096)
#define PAGES 32

/* Linux 6.8; Debian 12's headers are older. */
struct guest_memfd_request {
    uint64_t size;
    uint64_t flags;
    uint64_t reserved[6];
};
#define CREATE_GUEST_MEMFD _IOWR(KVMIO, 0xd4, struct guest_memfd_request)
#define CAP_GUEST_MEMFD 234
#define CAP_GUEST_MEMFD_FLAGS 244     /* Linux 6.18 */
#define GUEST_MEMFD_MMAP_AND_SHARED 3 /* it can be mapped, and what is mapped be touched */

struct listener {
    const char *name;
    char *log;
    uint64_t refuse_page; /* + 1; 0: none */
    bool is_private[PAGES];
};

static int on_convert(void *opaque, struct mv_block *block, uint64_t offset, uint64_t length,
                      enum mv_privacy_kind kind, struct mv_error *err)
{
    (void)err;
    struct listener *listener = opaque;
    if (listener->log) {
        sprintf(listener->log + strlen(listener->log), "%s%c%u,%u ", listener->name,
                kind == MV_PAGES_PRIVATE ? '+' : '-', (unsigned)(offset / PAGE), (unsigned)(length / PAGE));
    }
    assert_int_equal(mv_privacy_convert(block, 0, PAGE, kind, NULL), -EBUSY);
    uint64_t refuse = listener->refuse_page - 1;
    if (listener->refuse_page && offset <= refuse * PAGE && refuse * PAGE < offset + length) {
        return -EIO;
    }
    for (uint64_t i = offset / PAGE; i < (offset + length) / PAGE; i++) {
        assert_int_not_equal(listener->is_private[i], kind == MV_PAGES_PRIVATE);
        listener->is_private[i] = kind == MV_PAGES_PRIVATE;
    }
    return 0;
}

static const struct mv_privacy_listener_ops ops = {.convert = on_convert};

static struct mv_block *open_block(struct rig *rig, enum mv_privacy_kind kind)
{
    rig_open(rig);
    struct mv_block *block =
        block_with(rig, &(struct mv_block_options){.size_bytes = PAGES * PAGE, .thp = MV_OFF});
    assert_false(mv_privacy_has(block));
    assert_int_equal(mv_privacy_create(block, kind, NULL), 0);
    assert_true(mv_privacy_has(block));
    return block;
}

static enum mv_privacy_kind kind_at(const struct mv_block *block, uint64_t page, uint64_t *ret_pages)
{
    enum mv_privacy_kind kind;
    uint64_t length = 0;
    assert_true(mv_privacy_lookup(block, page * PAGE, &kind, &length));
    *ret_pages = length / PAGE;
    return kind;
}

static void pages_are_converted_and_given_back(void **state)
{
    (void)state;
    struct rig rig;
    struct mv_block *block = open_block(&rig, MV_PAGES_SHARED);
    uint64_t n;
    assert_int_equal(kind_at(block, 0, &n), MV_PAGES_SHARED);
    assert_int_equal(n, PAGES);
    memset(bytes_of(block), 7, PAGES * PAGE);
    assert_int_equal(mv_privacy_convert(block, 4 * PAGE, 8 * PAGE, MV_PAGES_PRIVATE, NULL), 0);
    assert_int_equal(kind_at(block, 0, &n), MV_PAGES_SHARED);
    assert_int_equal(n, 4);
    assert_int_equal(kind_at(block, 5, &n), MV_PAGES_PRIVATE);
    assert_int_equal(n, 7);
    assert_int_equal(kind_at(block, 12, &n), MV_PAGES_SHARED);
    assert_int_equal(n, PAGES - 12);
    assert_int_equal(pages_present(bytes_of(block), PAGES * PAGE), PAGES - 8);
    assert_int_equal(pages_present(bytes_of(block) + 4 * PAGE, 8 * PAGE), 0);
    /* What is private already is not touched: a byte there, which nobody should write, stays. */
    bytes_of(block)[5 * PAGE] = 9;
    assert_int_equal(mv_privacy_convert(block, 4 * PAGE, 9 * PAGE, MV_PAGES_PRIVATE, NULL), 0);
    assert_int_equal(bytes_of(block)[5 * PAGE], 9);
    assert_int_equal(mv_privacy_convert(block, 0, PAGES * PAGE, MV_PAGES_SHARED, NULL), 0);
    assert_int_equal(kind_at(block, 0, &n), MV_PAGES_SHARED);
    assert_int_equal(n, PAGES);
    enum mv_privacy_kind kind;
    assert_false(mv_privacy_lookup(block, PAGES * PAGE, &kind, &n));
    mv_block_put(block);
    rig_close(&rig);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    struct rig rig;
    struct mv_block *block = open_block(&rig, MV_PAGES_PRIVATE);
    struct mv_error err = {0};
    uint64_t n;
    assert_int_equal(kind_at(block, 0, &n), MV_PAGES_PRIVATE);
    assert_int_equal(n, PAGES);
    assert_int_equal(mv_privacy_create(block, MV_PAGES_SHARED, &err), -EBUSY);
    assert_string_equal(err.reason, "has-privacy");
    assert_string_equal(err.object, "b");
    struct mv_discard_manager *manager = NULL;
    assert_int_equal(mv_discard_manager_create(block, &(struct mv_discard_manager_options){0}, &manager, &err),
                     -EBUSY);
    assert_string_equal(err.reason, "has-privacy");
    const uint64_t wrong[][2] = {{0, 0}, {1, PAGE}, {0, PAGE + 1}, {PAGES * PAGE, PAGE}, {PAGE, TOP - PAGE + 1}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(mv_privacy_convert(block, wrong[i][0], wrong[i][1], MV_PAGES_SHARED, &err), -EINVAL);
        assert_string_equal(err.reason, "bad-range");
    }
    assert_int_equal(mv_discard_claim(rig.machine, MV_DISCARD_DISABLE_UNCOORDINATED, NULL), 0);
    assert_int_equal(mv_privacy_convert(block, 0, PAGE, MV_PAGES_SHARED, &err), -EBUSY);
    assert_string_equal(err.reason, "claimed");
    mv_discard_unclaim(rig.machine, MV_DISCARD_DISABLE_UNCOORDINATED);
    assert_int_equal(mv_privacy_convert(block, 0, PAGE, MV_PAGES_SHARED, &err), 0);

    struct mv_block *plain = block_with(&rig, &(struct mv_block_options){.size_bytes = 1, .max_size_bytes = 9000});
    struct mv_privacy_listener *listener = NULL;
    struct listener l = {.name = "l"};
    assert_int_equal(mv_privacy_convert(plain, 0, PAGE, MV_PAGES_SHARED, &err), -EINVAL);
    assert_string_equal(err.reason, "no-privacy");
    assert_int_equal(mv_privacy_attach(plain, 0, &rig, &err), -EINVAL);
    assert_string_equal(err.reason, "no-privacy");
    assert_int_equal(mv_privacy_listener_create(plain, &ops, &l, &listener, &err), -EINVAL);
    assert_string_equal(err.reason, "no-privacy");
    assert_int_equal(mv_privacy_fd(plain), -1);
    assert_int_equal(mv_privacy_create(plain, MV_PAGES_SHARED, &err), -EINVAL);
    assert_string_equal(err.reason, "resizeable");
    assert_null(listener);
    mv_block_put(plain);
    mv_block_put(block);
    rig_close(&rig);
}

static void a_refusal_is_taken_back(void **state)
{
    (void)state;
    struct rig rig;
    struct mv_block *block = open_block(&rig, MV_PAGES_SHARED);
    char log[1000] = "";
    struct listener a = {.name = "a", .log = log}, b = {.name = "b", .log = log};
    struct mv_privacy_listener *la, *lb, *none = NULL;
    struct mv_error err = {0};
    assert_int_equal(mv_privacy_convert(block, 3 * PAGE, PAGE, MV_PAGES_PRIVATE, NULL), 0);
    assert_int_equal(mv_privacy_listener_create(block, &ops, &a, &la, NULL), 0);
    assert_int_equal(mv_privacy_listener_create(block, &ops, &b, &lb, NULL), 0);
    assert_string_equal(log, "a+3,1 b+3,1 ");
    log[0] = '\0';
    b.refuse_page = 5 + 1;
    memset(bytes_of(block), 7, PAGES * PAGE);
    assert_int_equal(mv_privacy_convert(block, 0, 8 * PAGE, MV_PAGES_PRIVATE, &err), -EIO);
    assert_string_equal(err.reason, "refused");
    assert_string_equal(err.object, "b");
    assert_int_equal(err.code, -EIO);
    assert_string_equal(log, "a+0,3 b+0,3 a+4,4 b+4,4 a-4,4 a-0,3 b-0,3 ");
    assert_int_equal(pages_present(bytes_of(block), PAGES * PAGE), PAGES);
    uint64_t n;
    assert_int_equal(kind_at(block, 0, &n), MV_PAGES_SHARED);
    assert_int_equal(n, 3);
    b.refuse_page = 0;
    assert_int_equal(mv_privacy_convert(block, 0, 2 * PAGE, MV_PAGES_PRIVATE, NULL), 0);
    log[0] = '\0';
    struct listener c = {.name = "c", .log = log, .refuse_page = 3 + 1};
    assert_int_equal(mv_privacy_listener_create(block, &ops, &c, &none, &err), -EIO);
    assert_string_equal(log, "c+0,2 c+3,1 c-0,2 ");
    assert_null(none);
    mv_privacy_listener_destroy(la);
    mv_privacy_listener_destroy(lb);
    mv_privacy_listener_destroy(NULL);
    mv_block_put(block);
    rig_close(&rig);
}

static void random_conversions_equal_a_bitmap(void **state)
{
    (void)state;
    unsigned seed = (unsigned)time(NULL);
    printf("# seed %u\n", seed);
    struct rig rig;
    struct mv_block *block = open_block(&rig, MV_PAGES_SHARED);
    struct listener a = {.name = "a"};
    struct mv_privacy_listener *la;
    bool model[PAGES] = {0};
    assert_int_equal(mv_privacy_listener_create(block, &ops, &a, &la, NULL), 0);
    for (unsigned step = 0; step < 3000; step++) {
        const uint64_t first = (uint64_t)rand_r(&seed) % PAGES;
        const uint64_t n = 1 + (uint64_t)rand_r(&seed) % (PAGES - first);
        const enum mv_privacy_kind kind = rand_r(&seed) & 1 ? MV_PAGES_PRIVATE : MV_PAGES_SHARED;
        assert_int_equal(mv_privacy_convert(block, first * PAGE, n * PAGE, kind, NULL), 0);
        for (uint64_t i = first; i < first + n; i++) {
            model[i] = kind == MV_PAGES_PRIVATE;
        }
        for (uint64_t i = 0, length; i < PAGES; i++) {
            assert_int_equal(kind_at(block, i, &length) == MV_PAGES_PRIVATE, model[i]);
            assert_true(i + length == PAGES || model[i + length] != model[i]);
            assert_int_equal(a.is_private[i], model[i]);
        }
    }
    mv_privacy_listener_destroy(la);
    mv_block_put(block);
    rig_close(&rig);
}

static int make_guest_memfd(int vm)
{
    if (vm < 0 || ioctl(vm, KVM_CHECK_EXTENSION, CAP_GUEST_MEMFD) <= 0) {
        return -1;
    }
    bool flags = (ioctl(vm, KVM_CHECK_EXTENSION, CAP_GUEST_MEMFD_FLAGS) & 3) == 3;
    struct guest_memfd_request request = {.size = PAGES * PAGE, .flags = flags ? GUEST_MEMFD_MMAP_AND_SHARED : 0};
    return ioctl(vm, CREATE_GUEST_MEMFD, &request);
}

/* A real one, of the kernel here: what becomes shared is punched out of it, and the block closes it. */
static void a_guest_memfd_is_attached_and_punched(void **state)
{
    (void)state;
    const char *test = "a_guest_memfd_is_attached_and_punched";
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int vm = kvm >= 0 ? ioctl(kvm, KVM_CREATE_VM, 0) : -1;
    int fd = make_guest_memfd(vm);
    close(kvm);
    if (fd < 0) {
        close(vm);
        skip_because(test, "no /dev/kvm, or its kernel makes no guest_memfd");
    }
    struct rig rig;
    struct mv_block *block = open_block(&rig, MV_PAGES_PRIVATE);
    struct mv_error err = {0};
    assert_int_equal(mv_privacy_fd(block), -1);
    assert_int_equal(mv_privacy_attach(block, fd, &rig, &err), 0);
    assert_int_equal(mv_privacy_fd(block), fd);
    assert_ptr_equal(mv_privacy_owner(block), &rig);
    assert_int_equal(mv_privacy_attach(block, fd, &rig, &err), -EBUSY);
    assert_string_equal(err.reason, "has-guest-memfd");
    unsigned char *guest = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (guest == MAP_FAILED) {
        printf("# this kernel's guest_memfd cannot be mapped: what is in it is not looked at\n");
    } else {
        memset(guest, 7, PAGES * PAGE);
    }
    assert_int_equal(mv_privacy_convert(block, 4 * PAGE, 8 * PAGE, MV_PAGES_SHARED, &err), 0);
    for (uint64_t i = 0; i < PAGES && guest != MAP_FAILED; i++) {
        assert_int_equal(guest[i * PAGE], i >= 4 && i < 12 ? 0 : 7);
    }
    if (guest != MAP_FAILED) {
        munmap(guest, PAGES * PAGE);
    }
    mv_privacy_detach(block);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(mv_privacy_fd(block), -1);
    assert_null(mv_privacy_owner(block));
    mv_privacy_detach(block); /* nothing to do */
    fd = make_guest_memfd(vm);
    assert_int_equal(mv_privacy_attach(block, fd, &rig, &err), 0);
    mv_block_put(block);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    rig_close(&rig);
    close(vm);
}

/* Its slots are there already, and know nothing of private pages. */
static void a_block_that_a_space_shows_gets_no_record(void **state)
{
    (void)state;
    struct rig rig;
    struct mv_error err = {0};
    struct mv_region *root, *ram, *top;
    struct mv_space *space;
    rig_open(&rig);
    struct mv_block *block =
        block_with(&rig, &(struct mv_block_options){.size_bytes = PAGES * PAGE, .thp = MV_OFF});
    struct mv_region_options of_root = {.name = "root", .size_bytes = MV_SIZE_2_64};
    struct mv_region_options of_ram = {
        .name = "ram", .kind = MV_REGION_RAM, .size_bytes = PAGE, .block = block, .block_offset_bytes = PAGE};
    assert_int_equal(mv_region_create(rig.machine, &of_root, &root, NULL), 0);
    struct mv_region_options of_top = {.name = "top", .kind = MV_REGION_MMIO, .size_bytes = PAGE};
    assert_int_equal(mv_region_create(rig.machine, &of_ram, &ram, NULL), 0);
    assert_int_equal(mv_region_create(rig.machine, &of_top, &top, NULL), 0);
    assert_int_equal(mv_space_create(rig.machine, "memory", root, &space, NULL), 0);
    assert_int_equal(mv_region_add(root, UINT64_MAX - (PAGE - 1), top, 0, NULL), 0); /* a view has an end */
    assert_int_equal(mv_region_add(root, 8 * PAGE, ram, 0, NULL), 0);
    assert_int_equal(mv_privacy_create(block, MV_PAGES_SHARED, &err), -EBUSY);
    assert_string_equal(err.reason, "shown");
    assert_false(mv_privacy_has(block));
    assert_int_equal(mv_region_remove(ram, NULL), 0);
    assert_int_equal(mv_privacy_create(block, MV_PAGES_SHARED, NULL), 0);
    mv_space_destroy(space);
    mv_region_put(ram);
    mv_region_put(top);
    mv_region_put(root);
    mv_block_put(block);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_converted_and_given_back),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(a_refusal_is_taken_back),
        cmocka_unit_test(random_conversions_equal_a_bitmap),
        cmocka_unit_test(a_guest_memfd_is_attached_and_punched),
        cmocka_unit_test(a_block_that_a_space_shows_gets_no_record),
    };
    return cmocka_run_group_tests_name("privacy", tests, NULL, NULL);
}
