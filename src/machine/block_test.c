// SPDX-License-Identifier: MIT
#include "machine/block.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/os.h"
#include "machine/machine_test.h"

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
    const struct {
        struct mv_block_options options;
        int code;
        const char *reason;
    } cases[] = {
        {{.name = "b", .size_bytes = 0}, -EINVAL, "bad-size"},
        {{.name = "b", .size_bytes = TOP}, -EINVAL, "bad-size"},
        {{.name = "b", .size_bytes = TOP - 4094}, -EINVAL, "bad-size"},
        {{.name = "b", .size_bytes = 1, .kind = (enum mv_block_kind)7}, -EINVAL, "bad-block"},
        {{.name = "b", .size_bytes = TOP - 4095}, -ENOMEM, "host"},
        {{.name = "b", .size_bytes = UINT64_C(1) << 62}, -ENOMEM, "host"},
        {{.name = "b", .size_bytes = UINT64_C(1) << 63, .kind = MV_BLOCK_MEMFD}, -ENOMEM, "host"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mv_error err = {0};
        struct mv_block *block = NULL;
        assert_int_equal(mv_block_create(rig.machine, &cases[i].options, &block, &err), cases[i].code);
        assert_null(block);
        assert_int_equal(err.code, cases[i].code);
        assert_string_equal(err.reason, cases[i].reason);
        assert_string_equal(err.object, "b");
        assert_int_equal(mv_block_create(rig.machine, &cases[i].options, &block, NULL), cases[i].code);
    }
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
        cmocka_unit_test(blocks_keep_the_machine),
    };
    return cmocka_run_group_tests_name("block", tests, NULL, NULL);
}
