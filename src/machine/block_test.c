// SPDX-License-Identifier: MIT
#include "machine/block_test.h"

#include <sys/syscall.h>

static struct mv_block *make_block(const struct rig *rig, enum mv_block_kind kind, uint64_t size_bytes)
{
    struct mv_error err;
    struct mv_block *block = NULL;
    const struct mv_block_options options = {.name = "b", .kind = kind, .size_bytes = size_bytes};
    assert_int_equal(mv_block_create(rig->machine, &options, &block, &err), 0);
    return block;
}

static void sizes_are_rounded_up_to_pages(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    uint64_t page = os_page_size();
    const uint64_t sizes[][2] = {{1, page}, {page - 1, page}, {page, page}, {page + 1, 2 * page}};
    for (size_t i = 0; i < 4; i++) {
        struct mv_block_info info;
        struct mv_block *block = make_block(&rig, MV_BLOCK_ANONYMOUS, sizes[i][0]);
        mv_block_info(block, &info);
        assert_int_equal(info.size_bytes, sizes[i][1]);
        assert_int_equal(info.page_size_bytes, page);
        assert_int_equal(info.kind, MV_BLOCK_ANONYMOUS);
        assert_string_equal(info.name, "b");
        assert_int_equal(info.fd, -1);
        const unsigned char *bytes = hva_pointer(info.hva);
        for (uint64_t j = 0; j < info.size_bytes; j++) {
            assert_int_equal(bytes[j], 0);
        }
        mv_block_put(block);
    }
    rig_close(&rig);
}

static void the_name_is_a_copy(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    char name[] = "mine";
    struct mv_error err;
    struct mv_block *block;
    struct mv_block_info info;
    assert_int_equal(
        mv_block_create(rig.machine, &(struct mv_block_options){.name = name, .size_bytes = 1}, &block, &err), 0);
    name[0] = 'x';
    mv_block_info(block, &info);
    assert_string_equal(info.name, "mine");
    mv_block_put(block);
    rig_close(&rig);
}

static void a_memfd_block_has_its_bytes_in_the_descriptor(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_block_info info;
    struct mv_block *block = make_block(&rig, MV_BLOCK_MEMFD, 5000);
    mv_block_info(block, &info);
    assert_int_equal(info.kind, MV_BLOCK_MEMFD);
    assert_true(info.fd >= 0);
    unsigned char *bytes = hva_pointer(info.hva);
    bytes[4999] = 0x42;
    unsigned char seen = 0;
    assert_int_equal(pread(info.fd, &seen, 1, 4999), 1);
    assert_int_equal(seen, 0x42);
    assert_int_equal(pwrite(info.fd, "x", 1, 7), 1);
    assert_int_equal(bytes[7], 'x');
    mv_block_put(block);
    assert_int_equal(fcntl(info.fd, F_GETFD), -1);
    rig_close(&rig);
}

static bool readable(const void *address)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    bool yes = write(fds[1], address, 1) == 1;
    close(fds[0]);
    close(fds[1]);
    return yes;
}

static void the_last_reference_unmaps(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_block_info info;
    struct mv_block *block = make_block(&rig, MV_BLOCK_ANONYMOUS, 1);
    mv_block_info(block, &info);
    assert_ptr_equal(mv_block_get(block), block);
    mv_block_put(block);
    assert_true(readable(hva_pointer(info.hva)));

    struct mv_region *region =
        make(rig.machine,
             &(struct mv_region_options){.name = "r", .kind = MV_REGION_RAM, .size_bytes = 1, .block = block});
    mv_block_put(block);
    assert_true(readable(hva_pointer(info.hva)));
    mv_region_put(region);
    assert_false(readable(hva_pointer(info.hva)));
    mv_block_put(NULL);
    rig_close(&rig);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    static unsigned char place[8192];
    const struct {
        struct mv_block_options options;
        int code;
        const char *reason;
        const char *text;
    } cases[] = {
        {{.size_bytes = 0}, -EINVAL, "bad-size", "0 bytes"},
        {{.size_bytes = TOP}, -EINVAL, "bad-size", "size"},
        {{.size_bytes = TOP - 4094}, -EINVAL, "bad-size", "size"},
        {{.size_bytes = 2, .max_size_bytes = 1}, -EINVAL, "bad-size", "2 bytes, of at most 1"},
        {{.size_bytes = 2, .max_size_bytes = TOP}, -EINVAL, "bad-size", "size"},
        {{.size_bytes = 1, .kind = (enum mv_block_kind)7}, -EINVAL, "bad-block", "kind"},
        {{.size_bytes = TOP - 4095}, -ENOMEM, "host", "does not map"},
        {{.size_bytes = UINT64_C(1) << 62}, -ENOMEM, "host", "does not map"},
        {{.size_bytes = UINT64_C(1) << 63, .kind = MV_BLOCK_MEMFD}, -ENOMEM, "host", "memfd"},
        {{.size_bytes = 1, .thp = (enum mv_choice)3}, -EINVAL, "bad-block", "neither on"},
        {{.size_bytes = 1, .prealloc = (enum mv_choice) - 1}, -EINVAL, "bad-block", "neither on"},
        {{.size_bytes = 1, .readonly = MV_ON}, -EINVAL, "bad-block", "zeros for ever"},
        {{.size_bytes = 1, .align_bytes = 12288}, -EINVAL, "bad-block", "alignment"},
        {{.size_bytes = 1, .align_bytes = 2048}, -EINVAL, "bad-block", "alignment is less"},
        {{.size_bytes = 1, .page_size_bytes = 3}, -EINVAL, "bad-block", "page size"},
        {{.size_bytes = 1, .page_size_bytes = 2 << 20}, -EINVAL, "bad-block", "2048 KiB, and they are of 4 KiB"},
        {{.size_bytes = 1, .path = "/tmp/x"}, -EINVAL, "bad-block", "path"},
        {{.size_bytes = 1, .file_offset_bytes = 4096}, -EINVAL, "bad-block", "path"},
        {{.size_bytes = 1, .file_open = MV_FILE_OPEN}, -EINVAL, "bad-block", "path"},
        {{.size_bytes = 1, .kind = MV_BLOCK_FILE}, -EINVAL, "bad-block", "needs a path"},
        {{.size_bytes = 1, .kind = MV_BLOCK_FILE, .path = "/", .file_open = (enum mv_file_open)9},
         -EINVAL,
         "bad-block",
         "way to open"},
        {{.size_bytes = 1, .memory = place}, -EINVAL, "bad-block", "pointer"},
        {{.size_bytes = 1, .kind = MV_BLOCK_CALLER}, -EINVAL, "bad-block", "begin with a page"},
        {{.size_bytes = 1, .kind = MV_BLOCK_CALLER, .memory = place + 1},
         -EINVAL,
         "bad-block",
         "begin with a page"},
        {{.size_bytes = 1, .numa_nodes = 1}, -EINVAL, "bad-block", "no policy"},
        {{.size_bytes = 1, .numa = MV_NUMA_BIND}, -EINVAL, "bad-block", "no nodes"},
        {{.size_bytes = 1, .numa = (enum mv_numa_policy)9}, -EINVAL, "bad-block", "no such NUMA"},
        {{.size_bytes = 1, .numa = MV_NUMA_BIND, .numa_nodes = UINT64_C(1) << 63},
         -EINVAL,
         "host",
         "NUMA nodes 0x8000000000000000"},
        {{.size_bytes = 1, .kind = MV_BLOCK_HUGETLB, .page_size_bytes = 64},
         -EINVAL,
         "bad-block",
         "no huge pages"},
        {{.size_bytes = 1, .kind = MV_BLOCK_HUGETLB, .page_size_bytes = 4096},
         -EINVAL,
         "bad-block",
         "no huge pages of 4 KiB"},
        {{.size_bytes = 1, .kind = MV_BLOCK_HUGETLB, .numa = MV_NUMA_BIND, .numa_nodes = 1},
         -EINVAL,
         "bad-block",
         "reserved on any node"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mv_block *block = NULL;
        assert_refused(&rig, &cases[i].options, cases[i].code, cases[i].reason, cases[i].text);
        assert_int_equal(mv_block_create(rig.machine, &cases[i].options, &block, NULL), cases[i].code);
    }
    rig_close(&rig);
}

static void kinds_have_names(void **state)
{
    (void)state;
    assert_string_equal(mv_block_kind_name(MV_BLOCK_ANONYMOUS), "anonymous");
    assert_string_equal(mv_block_kind_name(MV_BLOCK_MEMFD), "memfd");
    assert_string_equal(mv_block_kind_name(MV_BLOCK_FILE), "file");
    assert_string_equal(mv_block_kind_name(MV_BLOCK_HUGETLB), "hugetlb");
    assert_string_equal(mv_block_kind_name(MV_BLOCK_CALLER), "caller");
}

/* What the kernel counts is what the block says. */
static void usage_is_what_was_touched(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    const uint64_t page = os_page_size();
    struct mv_block *other = block_with(&rig, &(struct mv_block_options){.size_bytes = 8 * page});
    struct mv_block *block = block_with(&rig, &(struct mv_block_options){.size_bytes = 64 * page, .thp = MV_OFF});
    struct mv_block_usage usage;
    bytes_of(other)[0] = 1;
    assert_int_equal(mv_block_usage(block, &usage, NULL), 0);
    assert_int_equal(usage.resident_bytes, 0);
    for (uint64_t i = 0; i < 7; i++) {
        bytes_of(block)[3 * i * page] = 1;
    }
    assert_int_equal(mv_block_usage(block, &usage, NULL), 0);
    assert_int_equal(usage.resident_bytes, 7 * page);
    assert_int_equal(usage.transparent_bytes, 0);
    assert_int_equal(usage.locked_bytes, 0);
    /* By number: sanitizers make a call of mlock(2) do nothing. */
    if (syscall(SYS_mlock, bytes_of(block), 2 * page) == 0) {
        assert_int_equal(mv_block_usage(block, &usage, NULL), 0);
        assert_int_equal(usage.locked_bytes, 2 * page);
    }
    mv_block_put(block);
    mv_block_put(other);
    rig_close(&rig);
}

/* A block outlives its machine's creator. */
static void blocks_keep_the_machine(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_block *block = make_block(&rig, MV_BLOCK_ANONYMOUS, 1);
    rig_close(&rig);
    struct mv_block_info info;
    mv_block_info(block, &info);
    *(char *)hva_pointer(info.hva) = 1;
    mv_block_put(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_rounded_up_to_pages),
        cmocka_unit_test(the_name_is_a_copy),
        cmocka_unit_test(a_memfd_block_has_its_bytes_in_the_descriptor),
        cmocka_unit_test(the_last_reference_unmaps),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(kinds_have_names),
        cmocka_unit_test(usage_is_what_was_touched),
        cmocka_unit_test(blocks_keep_the_machine),
    };
    return cmocka_run_group_tests_name("block", tests, NULL, NULL);
}
