// SPDX-License-Identifier: MIT
#include "machine/block_test.h"

#include <memvirt/discard.h>
#include <sys/stat.h>

static uint64_t file_blocks(int fd)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

/* Pages 2 to 4 of 8 are given back: zeros, and the others keep what they have. */
static void discard_three_of_eight(struct mv_block *block)
{
    const uint64_t page = os_page_size();
    unsigned char *bytes = bytes_of(block);
    for (uint64_t i = 0; i < 8; i++) {
        bytes[i * page] = (unsigned char)(i + 1);
    }
    assert_int_equal(pages_present(bytes, 8 * page), 8);
    assert_int_equal(mv_block_discard(block, 2 * page, 3 * page, NULL), 0);
    assert_int_equal(pages_present(bytes + 2 * page, 3 * page), 0);
    assert_int_equal(pages_present(bytes, 8 * page), 5);
    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(bytes[i * page], i >= 2 && i < 5 ? 0 : i + 1);
    }
}

/* A directory on tmpfs, where a hole frees pages at once. */
static bool no_tmpfs(const char *test)
{
    if (access("/dev/shm", W_OK) != 0) {
        printf("# SKIP %s: /dev/shm: %s\n", test, strerror(errno));
        return true;
    }
    return false;
}

static void pages_go_back_to_the_host(void **state)
{
    (void)state;
    if (no_tmpfs("pages_go_back_to_the_host")) {
        skip();
    }
    struct rig rig;
    rig_open(&rig);
    const uint64_t page = os_page_size();
    for (unsigned i = 0; i < 6; i++) {
        /* Anonymous, memfd, a file without a name: shared or private. */
        static const enum mv_block_kind kinds[] = {MV_BLOCK_ANONYMOUS, MV_BLOCK_MEMFD, MV_BLOCK_FILE};
        const struct mv_block_options options = {
            .kind = kinds[i / 2],
            .size_bytes = 8 * page,
            .shared = i % 2 ? MV_ON : MV_OFF,
            .path = i / 2 == 2 ? "/dev/shm" : NULL,
            .thp = MV_OFF,
        };
        struct mv_block *block = block_with(&rig, &options);
        discard_three_of_eight(block);
        int fd = info_of(block).fd;
        if (fd >= 0) {
            /* Private copies are not in the file: the reads of pages after the discard put zeros there, at most.
             */
            struct stat st;
            assert_int_equal(fstat(fd, &st), 0);
            assert_int_equal(st.st_size, 8 * page);
            assert_int_equal(mv_block_discard(block, 0, 8 * page, NULL), 0);
            assert_int_equal(file_blocks(fd), 0);
        }
        mv_block_put(block);
    }
    rig_close(&rig);
}

static void a_shared_file_is_punched_at_its_offset(void **state)
{
    (void)state;
    if (no_tmpfs("a_shared_file_is_punched_at_its_offset")) {
        skip();
    }
    struct rig rig;
    rig_open(&rig);
    const uint64_t page = os_page_size();
    char path[] = "/dev/shm/memvirt-block-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    assert_true(fd >= 0);
    char all[4][4096];
    memset(all, 'x', sizeof all);
    assert_int_equal(write(fd, all, sizeof all), sizeof all);
    struct mv_block_options options = {
        .kind = MV_BLOCK_FILE, .path = path, .size_bytes = 2 * page, .file_offset_bytes = page, .shared = MV_ON};
    struct mv_block *block = block_with(&rig, &options);
    assert_int_equal(mv_block_discard(block, page, page, NULL), 0);
    mv_block_put(block);
    assert_int_equal(pread(fd, all, sizeof all, 0), sizeof all);
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(all[i][0], i == 2 ? 0 : 'x');
    }

    /* Of somebody's file that is mapped private, nothing may be destroyed. */
    options.shared = MV_OFF;
    block = block_with(&rig, &options);
    struct mv_error err = {0};
    assert_int_equal(mv_block_discard(block, 0, page, &err), -EOPNOTSUPP);
    assert_string_equal(err.reason, "private-file");
    assert_string_equal(err.object, "b");
    mv_block_put(block);
    assert_int_equal(pread(fd, all, sizeof all, 0), sizeof all);
    assert_int_equal(all[1][0], 'x');
    close(fd);
    unlink(path);
    rig_close(&rig);
}

static void only_whole_pages_within_the_block(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    const uint64_t page = os_page_size();
    struct mv_block *block =
        block_with(&rig, &(struct mv_block_options){.size_bytes = 2 * page, .max_size_bytes = 4 * page});
    const uint64_t wrong[][2] = {{0, 0},           {1, page},     {0, page - 1},          {0, page + 1},
                                 {4 * page, page}, {0, 5 * page}, {page, TOP - page + 1}, {3 * page, 2 * page}};
    memset(bytes_of(block), 1, 4 * page);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct mv_error err = {0};
        assert_int_equal(mv_block_discard(block, wrong[i][0], wrong[i][1], &err), -EINVAL);
        assert_string_equal(err.reason, "bad-range");
        assert_string_equal(err.object, "b");
        assert_int_equal(bytes_of(block)[0], 1);
    }
    assert_int_equal(mv_block_discard(block, 3 * page, page, NULL), 0);
    assert_int_equal(bytes_of(block)[3 * page], 0);
    mv_block_put(block);
    rig_close(&rig);
}

/* As QEMU has it: [held][wanted], whether it is refused. */
static void claims_exclude_one_another(void **state)
{
    (void)state;
    static const bool refused[4][4] = {
        [MV_DISCARD_DISABLE] = {[MV_DISCARD_REQUIRE] = true, [MV_DISCARD_REQUIRE_COORDINATED] = true},
        [MV_DISCARD_DISABLE_UNCOORDINATED] = {[MV_DISCARD_REQUIRE] = true},
        [MV_DISCARD_REQUIRE] = {[MV_DISCARD_DISABLE] = true, [MV_DISCARD_DISABLE_UNCOORDINATED] = true},
        [MV_DISCARD_REQUIRE_COORDINATED] = {[MV_DISCARD_DISABLE] = true},
    };
    struct rig rig;
    rig_open(&rig);
    for (unsigned held = 0; held < 4; held++) {
        for (unsigned wanted = 0; wanted < 4; wanted++) {
            struct mv_error err = {0};
            assert_int_equal(mv_discard_claim(rig.machine, (enum mv_discard_claim)held, &err), 0);
            assert_int_equal(mv_discard_claim(rig.machine, (enum mv_discard_claim)held, &err), 0);
            int rc = mv_discard_claim(rig.machine, (enum mv_discard_claim)wanted, &err);
            assert_int_equal(rc, refused[held][wanted] ? -EBUSY : 0);
            if (rc == 0) {
                mv_discard_unclaim(rig.machine, (enum mv_discard_claim)wanted);
            } else {
                assert_string_equal(err.reason, "claimed");
            }
            /* Claims are counted: the first to be given back changes nothing. */
            mv_discard_unclaim(rig.machine, (enum mv_discard_claim)held);
            rc = mv_discard_claim(rig.machine, (enum mv_discard_claim)wanted, &err);
            assert_int_equal(rc, refused[held][wanted] ? -EBUSY : 0);
            if (rc == 0) {
                mv_discard_unclaim(rig.machine, (enum mv_discard_claim)wanted);
            }
            mv_discard_unclaim(rig.machine, (enum mv_discard_claim)held);
            assert_int_equal(mv_discard_claim(rig.machine, (enum mv_discard_claim)wanted, &err), 0);
            mv_discard_unclaim(rig.machine, (enum mv_discard_claim)wanted);
        }
    }
    rig_close(&rig);
}

static void who_disables_discarding_is_heeded(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_block *block = block_with(&rig, &(struct mv_block_options){.size_bytes = 4096});
    bytes_of(block)[0] = 1;
    for (unsigned claim = MV_DISCARD_DISABLE; claim <= MV_DISCARD_DISABLE_UNCOORDINATED; claim++) {
        struct mv_error err = {0};
        assert_false(mv_discard_is_disabled(rig.machine));
        assert_int_equal(mv_discard_claim(rig.machine, (enum mv_discard_claim)claim, NULL), 0);
        assert_true(mv_discard_is_disabled(rig.machine));
        assert_int_equal(mv_block_discard(block, 0, 4096, &err), -EBUSY);
        assert_string_equal(err.reason, "claimed");
        assert_string_equal(err.object, "b");
        assert_int_equal(bytes_of(block)[0], 1);
        mv_discard_unclaim(rig.machine, (enum mv_discard_claim)claim);
    }
    assert_int_equal(mv_discard_claim(rig.machine, MV_DISCARD_REQUIRE_COORDINATED, NULL), 0);
    assert_int_equal(mv_block_discard(block, 0, 4096, NULL), 0);
    assert_int_equal(bytes_of(block)[0], 0);
    mv_discard_unclaim(rig.machine, MV_DISCARD_REQUIRE_COORDINATED);
    mv_block_put(block);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_go_back_to_the_host),
        cmocka_unit_test(a_shared_file_is_punched_at_its_offset),
        cmocka_unit_test(only_whole_pages_within_the_block),
        cmocka_unit_test(claims_exclude_one_another),
        cmocka_unit_test(who_disables_discarding_is_heeded),
    };
    return cmocka_run_group_tests_name("block_discard", tests, NULL, NULL);
}
