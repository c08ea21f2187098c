// SPDX-License-Identifier: MIT
/* Blocks of huge pages from the host's pool, whose size these tests set, and set back. */
#include "machine/block_test.h"

#include <memvirt/discard.h>
#include <sched.h>
#include <sys/mount.h>

static struct huge_pool pool;

static bool pool_open(uint64_t page_size, uint64_t n)
{
    return huge_pool_open(&pool, page_size, n);
}

/* Whether the test failed or not. */
static int pool_close(void **state)
{
    (void)state;
    huge_pool_close(&pool);
    return 0;
}

static void of_huge_pages(const char *test, uint64_t page)
{
    if (!pool_open(page, 2)) {
        skip_because(test, "this host does not let us have two huge pages of that size");
    }
    struct rig rig;
    rig_open(&rig);
    struct os_huge_pool now;
    const struct mv_block_options two = {
        .kind = MV_BLOCK_HUGETLB, .size_bytes = page + 1, .page_size_bytes = page};
    struct mv_block *block = block_with(&rig, &two);
    const struct mv_block_info info = info_of(block);
    assert_int_equal(info.page_size_bytes, page);
    assert_int_equal(info.size_bytes, 2 * page);
    assert_true(is_aligned(info.hva.raw, page));
    assert_true(info.shared);
    assert_true(info.reserve.granted);
    assert_null(info.reserve.why);
    assert_false(info.thp.granted);
    assert_true(vm_flag(bytes_of(block), "ht"));
    assert_int_equal(smaps_bytes(bytes_of(block), "KernelPageSize:"), page);
    assert_true(os_huge_pool(page, &now));
    assert_int_equal(now.reserved, 2);

    /* The pool is promised: nobody else gets any of it. */
    char path[OS_HUGE_PATH_SIZE], needs[80];
    os_huge_path(page, path);
    snprintf(needs, sizeof needs, "needs 2 huge pages of %" PRIu64 " KiB", page / 1024);
    assert_refused(&rig, &two, -ENOMEM, "no-huge-pages", path);
    assert_refused(&rig, &two, -ENOMEM, "no-huge-pages", "vm.nr_hugepages");
    assert_refused(&rig, &two, -ENOMEM, "no-huge-pages", needs);
    bytes_of(block)[0] = 1;
    bytes_of(block)[page] = 1;
    struct mv_block_usage usage;
    assert_int_equal(mv_block_usage(block, &usage, NULL), 0);
    assert_int_equal(usage.hugetlb_bytes, 2 * page);
    assert_int_equal(usage.resident_bytes, 2 * page);
    mv_block_put(block);

    /* Private, and all there at once. */
    struct mv_block_options options = two;
    options.shared = MV_OFF;
    options.prealloc = MV_ON;
    options.populate.nthreads = 2;
    block = block_with(&rig, &options);
    assert_false(info_of(block).shared);
    assert_true(os_huge_pool(page, &now));
    assert_int_equal(now.free, 0);
    assert_int_equal(info_of(block).prealloc_bytes, 2 * page);
    assert_int_equal(mv_block_discard(block, page, page, NULL), 0);
    assert_true(os_huge_pool(page, &now));
    assert_int_equal(now.free, 1);
    struct mv_error err;
    assert_int_equal(mv_block_discard(block, 4096, page, &err), -EINVAL);
    assert_string_equal(err.reason, "bad-range");
    mv_block_put(block);

    /* Not reserved because that was asked for: what is missing is an error of populating, not a signal. */
    options = two;
    options.size_bytes = 3 * page;
    assert_refused(&rig, &options, -ENOMEM, "no-huge-pages", "vm.nr_hugepages");
    options.reserve = MV_OFF;
    block = block_with(&rig, &options);
    assert_false(info_of(block).reserve.granted);
    assert_non_null(strstr(info_of(block).reserve.why, "SIGBUS"));
    assert_true(vm_flag(bytes_of(block), "nr"));
    assert_int_equal(mv_block_populate(block, 0, 2 * page, NULL, NULL), 0);
    assert_int_equal(mv_block_populate(block, 2 * page, page, NULL, &err), -ENOMEM);
    assert_string_equal(err.reason, "no-huge-pages");
    assert_string_equal(err.object, "b");
    mv_block_put(block);
    options.prealloc = MV_ON;
    assert_refused(&rig, &options, -ENOMEM, "no-huge-pages", path);

    options = two;
    options.numa = MV_NUMA_BIND;
    options.numa_nodes = 1;
    options.prealloc = MV_ON;
    block = block_with(&rig, &options);
    assert_int_equal(info_of(block).numa_granted, MV_NUMA_BIND);
    mv_block_put(block);
    rig_close(&rig);
}

static void huge_pages_of_2m(void **state)
{
    (void)state;
    of_huge_pages("huge_pages_of_2m", 2 * MIB);
}

static void huge_pages_of_1g(void **state)
{
    (void)state;
    of_huge_pages("huge_pages_of_1g", GIB);
}

static void without_huge_pages_there_is_no_block(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    const uint64_t page = os_huge_default();
    if (page == 0 || !pool_open(page, 0)) {
        skip_because("without_huge_pages_there_is_no_block",
                     "the host's pool is not empty, and not ours to empty");
    }
    const struct mv_block_options options = {.kind = MV_BLOCK_HUGETLB, .size_bytes = 1};
    assert_refused(&rig, &options, -ENOMEM, "no-huge-pages", "vm.nr_hugepages");
    rig_close(&rig);
}

/* In a name space of our own, which goes with the process. */
static bool mount_hugetlbfs(const char *directory)
{
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", directory, "hugetlbfs", 0, "pagesize=2M") == 0;
}

/* A file on hugetlbfs, by its path and by its directory. */
static void hugetlbfs_files_have_huge_pages(void **state)
{
    (void)state;
    const char *test = "hugetlbfs_files_have_huge_pages";
    const uint64_t page = 2 * MIB;
    char directory[] = "/tmp/memvirt-hugetlbfs-XXXXXX";
    assert_non_null(mkdtemp(directory));
    if (!mount_hugetlbfs(directory)) {
        rmdir(directory);
        skip_because(test, "this user cannot mount hugetlbfs");
    }
    if (!pool_open(page, 2)) {
        umount(directory);
        rmdir(directory);
        skip_because(test, "this host does not let us have two huge pages");
    }
    struct rig rig;
    rig_open(&rig);
    char path[80];
    snprintf(path, sizeof path, "%s/file", directory);
    const char *const paths[] = {path, directory};
    for (size_t i = 0; i < 2; i++) {
        struct mv_block_options options = {
            .kind = MV_BLOCK_FILE, .path = paths[i], .size_bytes = page + 1, .shared = MV_ON};
        struct mv_block *block = block_with(&rig, &options);
        assert_int_equal(info_of(block).page_size_bytes, page);
        assert_int_equal(info_of(block).size_bytes, 2 * page);
        assert_true(info_of(block).reserve.granted);
        bytes_of(block)[page] = 1;
        assert_true(vm_flag(bytes_of(block), "ht"));
        assert_int_equal(mv_block_discard(block, page, page, NULL), 0);
        assert_int_equal(mv_block_populate(block, page, page, NULL, NULL), 0);
        assert_int_equal(bytes_of(block)[page], 0);
        mv_block_put(block);
        unlink(path);
        options.size_bytes = 3 * page;
        assert_refused(&rig, &options, -ENOMEM, "no-huge-pages", "vm.nr_hugepages");
        assert_int_equal(access(path, F_OK), -1);
        options.size_bytes = page;
        options.numa = MV_NUMA_BIND;
        options.numa_nodes = 1;
        assert_refused(&rig, &options, -EINVAL, "bad-block", "preallocate them");
        options.page_size_bytes = GIB;
        assert_refused(&rig, &options, -EINVAL, "bad-block", "1048576 KiB, and they are of 2048 KiB");
    }
    rig_close(&rig);
    umount(directory);
    rmdir(directory);
}

/* A manager of a pool's pages: what it populates is there, or it is refused; never a signal. */
static void managed_huge_pages_are_there_or_refused(void **state)
{
    (void)state;
    const uint64_t page = 2 * MIB;
    if (!pool_open(page, 2)) {
        skip_because("managed_huge_pages_are_there_or_refused", "this host does not let us have two huge pages");
    }
    struct rig rig;
    rig_open(&rig);
    struct mv_block *block = block_with(
        &rig, &(struct mv_block_options){
                  .kind = MV_BLOCK_HUGETLB, .page_size_bytes = page, .size_bytes = 2 * page, .reserve = MV_OFF});
    struct mv_discard_manager *manager;
    struct mv_error err;
    struct os_huge_pool now;
    assert_int_equal(mv_discard_manager_create(block, &(struct mv_discard_manager_options){0}, &manager, &err), 0);
    assert_int_equal(mv_discard_granularity(manager), page);
    assert_int_equal(mv_discard_populate(manager, 0, page, &err), 0);
    assert_true(os_huge_pool(page, &now));
    assert_int_equal(now.free, 1);

    /* Somebody else takes the other one. */
    struct mv_block *other = block_with(&rig, &(struct mv_block_options){.kind = MV_BLOCK_HUGETLB,
                                                                         .page_size_bytes = page,
                                                                         .size_bytes = page,
                                                                         .reserve = MV_OFF,
                                                                         .prealloc = MV_ON});
    assert_int_equal(mv_discard_populate(manager, page, page, &err), -ENOMEM);
    assert_string_equal(err.reason, "no-huge-pages");
    assert_false(mv_discard_is_populated(manager, page, page));
    assert_int_equal(mv_discard_discard(manager, 0, page, &err), 0);
    assert_int_equal(mv_discard_populate(manager, page, page, &err), 0);
    bytes_of(block)[page] = 1;
    mv_block_put(other);
    mv_discard_manager_destroy(manager);
    mv_block_put(block);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(huge_pages_of_2m, pool_close),
        cmocka_unit_test_teardown(huge_pages_of_1g, pool_close),
        cmocka_unit_test_teardown(without_huge_pages_there_is_no_block, pool_close),
        cmocka_unit_test_teardown(managed_huge_pages_are_there_or_refused, pool_close),
        cmocka_unit_test_teardown(hugetlbfs_files_have_huge_pages, pool_close),
    };
    return cmocka_run_group_tests_name("block_huge", tests, NULL, NULL);
}
