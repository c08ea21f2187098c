// SPDX-License-Identifier: MIT
#include "board/multiboot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/addr.h"

#define MAGIC 0x1badb002u

static void put_u32(uint8_t *p, uint32_t value)
{
    memcpy(p, &value, sizeof value);
}

static uint32_t get_u32(const uint8_t *p)
{
    uint32_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

static uint64_t get_u64(const uint8_t *p)
{
    uint64_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

static void put_header(uint8_t *p, uint32_t flags)
{
    put_u32(p, MAGIC);
    put_u32(p + 4, flags);
    put_u32(p + 8, -(MAGIC + flags));
}

/* In a buffer of exactly that size, so that the sanitizer sees a read behind it. */
static struct multiboot_header find_in(uint64_t size_bytes, uint64_t offset, uint32_t flags)
{
    uint8_t *bytes = calloc(1, size_bytes > 0 ? size_bytes : 1);
    assert_non_null(bytes);
    if (offset < size_bytes) {
        uint8_t header[12];
        put_header(header, flags);
        memcpy(bytes + offset, header, size_bytes - offset < 12 ? size_bytes - offset : 12);
    }
    const struct multiboot_header found = multiboot_header_find(bytes, size_bytes);
    free(bytes);
    return found;
}

static void a_header_is_found_in_the_first_8_kib(void **state)
{
    (void)state;
    static const uint64_t offsets[] = {0, 4, 100, 8192 - 12};
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        const struct multiboot_header header = find_in(20000, offsets[i], 0);
        assert_int_equal(header.verdict, MULTIBOOT_OK);
        assert_int_equal(header.offset, offsets[i]);
    }
    assert_int_equal(find_in(12, 0, 3).verdict, MULTIBOOT_OK);
}

static void elsewhere_it_is_none(void **state)
{
    (void)state;
    assert_int_equal(find_in(20000, 8192 - 8, 0).verdict, MULTIBOOT_NO_HEADER);
    assert_int_equal(find_in(20000, 8192, 0).verdict, MULTIBOOT_NO_HEADER);
    assert_int_equal(find_in(20000, 2, 0).verdict, MULTIBOOT_NO_HEADER); /* not aligned */
    for (uint64_t size = 0; size < 12; size++) {
        assert_int_equal(find_in(size, 0, 0).verdict, MULTIBOOT_NO_HEADER);
    }
}

static void a_wrong_checksum_is_told(void **state)
{
    (void)state;
    uint8_t bytes[64] = {0};
    put_header(bytes + 16, 1);
    put_u32(bytes + 24, 0);
    struct multiboot_header header = multiboot_header_find(bytes, sizeof bytes);
    assert_int_equal(header.verdict, MULTIBOOT_BAD_CHECKSUM);
    assert_int_equal(header.offset, 16);
    put_header(bytes + 40, 1); /* a good one further on wins */
    header = multiboot_header_find(bytes, sizeof bytes);
    assert_int_equal(header.verdict, MULTIBOOT_OK);
    assert_int_equal(header.offset, 40);
}

static void only_bits_0_and_1_may_be_required(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 32; bit++) {
        const struct multiboot_header header = find_in(64, 0, UINT32_C(1) << bit);
        const bool known = bit < 2 || bit >= 16;
        assert_int_equal(header.verdict, known ? MULTIBOOT_OK : MULTIBOOT_UNKNOWN_FEATURE);
        if (!known) {
            assert_int_equal(header.feature, bit);
        }
    }
    assert_int_equal(find_in(64, 0, 0x10003).verdict, MULTIBOOT_OK);
}

#define GPA 0x9000u

static uint8_t *build(const struct multiboot_facts *facts)
{
    uint8_t *bytes = malloc(multiboot_info_size(facts));
    assert_non_null(bytes);
    multiboot_info_build(facts, GPA, bytes);
    return bytes;
}

static void the_information_is_complete(void **state)
{
    (void)state;
    const struct mv_range ram[] = {{0, 3 * GIB - 1}, {4 * GIB, 5 * GIB - 1}};
    const struct multiboot_facts facts = {
        .ram = ram,
        .ram_count = 2,
        .command_line = "test.flat a b",
        .loader_name = "memvirt",
    };
    uint8_t *info = build(&facts);
    assert_int_equal(get_u32(info), 1 << 0 | 1 << 2 | 1 << 6 | 1 << 9);
    assert_int_equal(get_u32(info + 4), 640);
    assert_int_equal(get_u32(info + 8), 3 * 1024 * 1024 - 1024);
    assert_string_equal((char *)info + (get_u32(info + 16) - GPA), "test.flat a b");
    assert_string_equal((char *)info + (get_u32(info + 64) - GPA), "memvirt");
    assert_int_equal(get_u32(info + 20), 0); /* no modules */

    assert_int_equal(get_u32(info + 44), 48);
    const uint8_t *mmap = info + (get_u32(info + 48) - GPA);
    for (unsigned i = 0; i < 2; i++, mmap += get_u32(mmap) + 4) {
        assert_int_equal(get_u32(mmap), 20);
        assert_int_equal(get_u64(mmap + 4), ram[i].first);
        assert_int_equal(get_u64(mmap + 12), ram[i].last - ram[i].first + 1);
        assert_int_equal(get_u32(mmap + 20), 1);
    }
    free(info);
}

static void assert_sizes(struct mv_range ram, uint32_t lower_kib, uint32_t upper_kib)
{
    const struct multiboot_facts facts = {.ram = &ram, .ram_count = 1, .command_line = "", .loader_name = ""};
    uint8_t *info = build(&facts);
    assert_int_equal(get_u32(info + 4), lower_kib);
    assert_int_equal(get_u32(info + 8), upper_kib);
    free(info);
}

static void memory_sizes_end_at_the_first_hole(void **state)
{
    (void)state;
    assert_sizes((struct mv_range){0, 64 * KIB - 1}, 64, 0);
    assert_sizes((struct mv_range){0, MIB - 1}, 640, 0);
    assert_sizes((struct mv_range){0, MIB + 4 * KIB - 1}, 640, 4);
    assert_sizes((struct mv_range){4096, 2 * MIB - 1}, 0, 1024);
    assert_sizes((struct mv_range){0, UINT64_MAX - 1}, 640, UINT32_MAX);
}

static void no_ram_and_empty_strings_are_told_too(void **state)
{
    (void)state;
    const struct multiboot_facts facts = {.command_line = "", .loader_name = ""};
    uint8_t *info = build(&facts);
    assert_int_equal(get_u32(info + 44), 0);
    assert_int_equal(info[get_u32(info + 16) - GPA], 0);
    assert_int_equal(info[get_u32(info + 64) - GPA], 0);
    free(info);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_is_found_in_the_first_8_kib),
        cmocka_unit_test(elsewhere_it_is_none),
        cmocka_unit_test(a_wrong_checksum_is_told),
        cmocka_unit_test(only_bits_0_and_1_may_be_required),
        cmocka_unit_test(the_information_is_complete),
        cmocka_unit_test(memory_sizes_end_at_the_first_hole),
        cmocka_unit_test(no_ram_and_empty_strings_are_told_too),
    };
    return cmocka_run_group_tests_name("multiboot", tests, NULL, NULL);
}
