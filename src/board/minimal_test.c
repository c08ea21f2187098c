// SPDX-License-Identifier: MIT
#include <memvirt/board.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/addr.h"

struct kept {
    char bytes[64];
    size_t length;
};

static void kept_write(void *opaque, const void *bytes, size_t length)
{
    struct kept *kept = opaque;
    assert_true(length <= sizeof kept->bytes - kept->length);
    memcpy(kept->bytes + kept->length, bytes, length);
    kept->length += length;
}

struct fixture {
    struct mv_machine *machine;
    struct mv_board *board;
    struct kept kept;
};

static void open_board(struct fixture *f, uint64_t ram_bytes, unsigned vcpus)
{
    struct mv_error err;
    *f = (struct fixture){0};
    assert_int_equal(mv_machine_create(&f->machine, &err), 0);
    const struct mv_board_options options = {
        .ram_bytes = ram_bytes,
        .vcpus = vcpus,
        .console = kept_write,
        .console_opaque = &f->kept,
    };
    assert_int_equal(mv_board_create(f->machine, &options, &f->board, &err), 0);
}

static void close_board(struct fixture *f)
{
    mv_board_destroy(f->board);
    mv_machine_destroy(f->machine);
}

static uint64_t read_at(struct mv_space *space, uint64_t address, unsigned size_bytes)
{
    uint64_t value = 0;
    assert_int_equal(mv_space_read(space, mv_gpa(address), &value, size_bytes, MV_ATTRS_NONE), MV_OK);
    return value;
}

static void write_at(struct mv_space *space, uint64_t address, unsigned size_bytes, uint64_t value)
{
    assert_int_equal(mv_space_write(space, mv_gpa(address), &value, size_bytes, MV_ATTRS_NONE), MV_OK);
}

/* A view as text: one "first-last name+offset" for each section. */
static void describe(struct mv_space *space, char *ret_text, size_t size)
{
    const struct mv_view *view = mv_space_view(space);
    struct mv_section section;
    size_t used = 0;
    ret_text[0] = '\0';
    for (uint64_t at = 0; mv_view_next(view, mv_gpa(at), &section); at = section.range.last + 1) {
        int n = snprintf(ret_text + used, size - used, "%" PRIx64 "-%" PRIx64 " %s+%" PRIx64 "%s\n",
                         section.range.first, section.range.last, mv_region_name(section.region), section.offset,
                         section.readonly ? " ro" : "");
        assert_true(n > 0 && (size_t)n < size - used);
        used += (size_t)n;
    }
    mv_view_release(view);
}

#define DEVICES_BELOW_4G                                                                                          \
    "d0000000-d0000fff scratch+0\n"                                                                               \
    "fee00000-fee00fff apic+0\n"                                                                                  \
    "ffff0000-ffffffff boot.rom+0 ro\n"

static void assert_memory_map(uint64_t ram_bytes, const char *expected)
{
    struct fixture f;
    char text[1024];
    open_board(&f, ram_bytes, 1);
    describe(mv_board_memory(f.board), text, sizeof text);
    assert_string_equal(text, expected);
    close_board(&f);
}

static void memory_is_where_the_header_says(void **state)
{
    (void)state;
    assert_memory_map(64 * KIB, "0-ffff ram+0\n" DEVICES_BELOW_4G);
    assert_memory_map(3 * GIB, "0-bfffffff ram+0\n" DEVICES_BELOW_4G);
    assert_memory_map(3 * GIB + 4 * KIB,
                      "0-bfffffff ram+0\n" DEVICES_BELOW_4G "100000000-100000fff ram+c0000000\n");
    assert_memory_map(5 * GIB, "0-bfffffff ram+0\n" DEVICES_BELOW_4G "100000000-17fffffff ram+c0000000\n");
}

static void ports_are_where_the_header_says(void **state)
{
    (void)state;
    struct fixture f;
    char text[1024];
    open_board(&f, MIB, 1);
    describe(mv_board_io(f.board), text, sizeof text);
    assert_string_equal(text, "0-e8 io+0\n"
                              "e9-e9 debugcon+0\n"
                              "ea-f3 io+ea\n"
                              "f4-f7 debug-exit+0\n"
                              "f8-3f7 io+f8\n"
                              "3f8-3ff serial+0\n"
                              "400-50f io+400\n"
                              "510-511 fw_cfg+0\n"
                              "512-ffff io+512\n");
    close_board(&f);
}

static void both_windows_show_one_block(void **state)
{
    (void)state;
    struct fixture f;
    open_board(&f, 3 * GIB + MIB, 1);
    const struct mv_view *view = mv_space_view(mv_board_memory(f.board));
    struct mv_section low, high;
    assert_true(mv_view_lookup(view, mv_gpa(0), &low));
    assert_true(mv_view_lookup(view, mv_gpa(4 * GIB), &high));
    assert_ptr_equal(low.region, high.region);
    assert_int_equal(high.hva.raw - low.hva.raw, 3 * GIB);
    mv_view_release(view);

    write_at(mv_board_memory(f.board), 4 * GIB + MIB - 8, 8, 0x123456789abcdef0);
    assert_int_equal(read_at(mv_board_memory(f.board), 4 * GIB + MIB - 8, 8), 0x123456789abcdef0);
    close_board(&f);
}

static void the_rom_is_halts_and_cannot_be_written(void **state)
{
    (void)state;
    struct fixture f;
    open_board(&f, MIB, 1);
    struct mv_space *memory = mv_board_memory(f.board);
    assert_int_equal(read_at(memory, 0xffff0000, 8), 0xf4f4f4f4f4f4f4f4);
    assert_int_equal(read_at(memory, 0xfffffff8, 8), 0xf4f4f4f4f4f4f4f4);
    assert_int_equal(mv_space_write(memory, mv_gpa(0xfffffff0), "x", 1, MV_ATTRS_NONE), MV_DECODE_ERROR);
    assert_int_equal(read_at(memory, 0xfffffff0, 1), 0xf4);
    close_board(&f);
}

static void devices_answer(void **state)
{
    (void)state;
    struct fixture f;
    open_board(&f, MIB, 2);
    struct mv_space *memory = mv_board_memory(f.board);
    assert_int_equal(read_at(memory, 0xd0000008, 4), 0x6d656d76);
    assert_int_equal(read_at(memory, 0xfee00030, 4), 0x00050014);
    uint32_t id = 0;
    const struct mv_attrs second = {.requester = 2};
    assert_int_equal(mv_space_read(memory, mv_gpa(0xfee00020), &id, 4, second), MV_OK);
    assert_int_equal(id, 1 << 24);
    assert_int_equal(read_at(mv_board_io(f.board), 0x3fd, 1), 0x60);
    close_board(&f);
}

static void both_consoles_print_in_order(void **state)
{
    (void)state;
    struct fixture f;
    open_board(&f, MIB, 1);
    write_at(mv_board_io(f.board), 0x3f8, 1, 'a');
    write_at(mv_board_io(f.board), 0xe9, 1, 'b');
    write_at(mv_board_io(f.board), 0x3f8, 1, 'c');
    assert_int_equal(f.kept.length, 3);
    assert_memory_equal(f.kept.bytes, "abc", 3);
    close_board(&f);
}

static void a_board_needs_no_console_and_no_vm(void **state)
{
    (void)state;
    struct mv_machine *machine;
    struct mv_board *board;
    assert_int_equal(mv_machine_create(&machine, NULL), 0);
    const struct mv_board_options options = {.ram_bytes = MIB, .vcpus = 1};
    assert_int_equal(mv_board_create(machine, &options, &board, NULL), 0);
    write_at(mv_board_io(board), 0x3f8, 1, 'a');
    write_at(mv_board_io(board), 0xf4, 1, 0);
    write_at(mv_board_memory(board), 0xfee00300, 4, 0x000c4500); /* INIT to all others */
    write_at(mv_board_memory(board), 0xfee00300, 4, 0x00084600); /* start-up to all */
    mv_board_connect(board, NULL);
    mv_board_destroy(board);
    mv_machine_destroy(machine);
}

static void empty_ports_read_as_ones(void **state)
{
    (void)state;
    struct fixture f;
    open_board(&f, MIB, 1);
    struct mv_space *io = mv_board_io(f.board);
    assert_int_equal(read_at(io, 0x21, 1), 0xff);
    assert_int_equal(read_at(io, 0x61, 2), 0xffff);
    assert_int_equal(read_at(io, 0xcfb, 4), 0xffffffff);
    assert_int_equal(read_at(io, 0xffff, 1), 0xff);
    write_at(io, 0xa1, 1, 0);
    write_at(io, 0x8900, 4, 0);
    write_at(io, 0x8901, 2, 0);
    assert_int_equal(read_at(io, 0xffff, 4), 0xffffffff); /* past the last port */
    close_board(&f);
}

static uint64_t read_fw_cfg(struct mv_space *io, uint16_t key, unsigned length)
{
    uint64_t value = 0;
    write_at(io, 0x510, 2, key);
    for (unsigned i = 0; i < length; i++) {
        value |= read_at(io, 0x511, 1) << (8 * i);
    }
    return value;
}

static void fw_cfg_tells_what_the_board_is(void **state)
{
    (void)state;
    struct fixture f;
    open_board(&f, 5 * GIB, 3);
    struct mv_space *io = mv_board_io(f.board);
    assert_int_equal(read_fw_cfg(io, 0, 4), 0x554d4551);
    assert_int_equal(read_fw_cfg(io, 3, 8), 5 * GIB);
    assert_int_equal(read_fw_cfg(io, 5, 2), 3);
    assert_int_equal(read_fw_cfg(io, 0xf, 2), 3);
    assert_int_equal(read_fw_cfg(io, 0x11, 8), 0);
    close_board(&f);
}

static void assert_refused(uint64_t ram_bytes, unsigned vcpus, const char *reason)
{
    struct mv_machine *machine;
    struct mv_board *board = NULL;
    struct mv_error err;
    assert_int_equal(mv_machine_create(&machine, NULL), 0);
    const struct mv_board_options options = {.ram_bytes = ram_bytes, .vcpus = vcpus};
    assert_int_equal(mv_board_create(machine, &options, &board, &err), -EINVAL);
    assert_string_equal(err.reason, reason);
    assert_true(strlen(err.text) > 0 && !strchr(err.text, '\n'));
    assert_null(board);
    mv_machine_destroy(machine);
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    assert_refused(0, 1, "bad-ram-size");
    assert_refused(3, 1, "bad-ram-size");
    assert_refused(60 * KIB, 1, "bad-ram-size");
    assert_refused(64 * KIB + 1, 1, "bad-ram-size");
    assert_refused(UINT64_MAX, 1, "bad-ram-size");
    assert_refused(MIB, 0, "bad-vcpus");
    assert_refused(MIB, 256, "bad-vcpus");
}

/* The host says no; the machine is as it was and good for a smaller board. */
static void more_than_the_host_can_map_is_its_refusal(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {UINT64_MAX - 4095, UINT64_C(1) << 63, (UINT64_C(1) << 63) - 4096,
                                     UINT64_C(1) << 48};
    struct mv_machine *machine;
    assert_int_equal(mv_machine_create(&machine, NULL), 0);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct mv_board *board = NULL;
        struct mv_error err = {0};
        const struct mv_board_options options = {.ram_bytes = sizes[i], .vcpus = 1};
        assert_int_equal(mv_board_create(machine, &options, &board, &err), -ENOMEM);
        assert_string_equal(err.object, "ram");
        assert_non_null(strstr(err.text, "ram"));
        assert_null(board);
    }
    struct mv_board *board;
    const struct mv_board_options options = {.ram_bytes = MIB, .vcpus = 1};
    assert_int_equal(mv_board_create(machine, &options, &board, NULL), 0);
    mv_board_destroy(board);
    mv_machine_destroy(machine);
}

static void two_boards_fit_in_one_machine(void **state)
{
    (void)state;
    struct fixture f;
    struct mv_board *other;
    open_board(&f, MIB, 1);
    const struct mv_board_options options = {.ram_bytes = 2 * MIB, .vcpus = 1};
    assert_int_equal(mv_machine_begin(f.machine, NULL), 0);
    assert_int_equal(mv_board_create(f.machine, &options, &other, NULL), 0);
    assert_int_equal(mv_machine_commit(f.machine, NULL), 0);
    write_at(mv_board_memory(f.board), 0xd0000000, 8, 1);
    assert_int_equal(read_at(mv_board_memory(other), 0xd0000000, 8), 0);
    mv_board_destroy(other);
    assert_int_equal(read_at(mv_board_memory(f.board), 0xd0000000, 8), 1);
    close_board(&f);
}

/* Its RAM is made as the options say, but for the name and the size; and what the block refuses the board does. */
static void test_ram_of_another_kind(void **state)
{
    (void)state;
    struct mv_error err;
    struct fixture f = {0};
    struct mv_block_info info;
    struct mv_hold hold;
    struct mv_block_options ram = {.kind = MV_BLOCK_MEMFD, .dump = MV_OFF, .prealloc = MV_ON, .size_bytes = 1};
    struct mv_board_options options = {.ram_bytes = 2 * MIB, .vcpus = 1, .ram = &ram};
    assert_int_equal(mv_machine_create(&f.machine, &err), 0);
    assert_int_equal(mv_board_create(f.machine, &options, &f.board, &err), 0);
    mv_block_info(mv_board_ram(f.board), &info);
    assert_string_equal(info.name, "ram");
    assert_int_equal(info.kind, MV_BLOCK_MEMFD);
    assert_int_equal(info.size_bytes, 2 * MIB);
    assert_int_equal(info.prealloc_bytes, 2 * MIB);
    assert_false(info.dump.granted);
    assert_int_equal(mv_space_hold(mv_board_memory(f.board), mv_gpa(0x1000), 1, &hold), MV_OK);
    assert_int_equal(hold.hva.raw, info.hva.raw + 0x1000);
    mv_hold_release(&hold);
    mv_board_destroy(f.board);
    ram.numa = MV_NUMA_BIND;
    f.board = NULL;
    assert_int_equal(mv_board_create(f.machine, &options, &f.board, &err), -EINVAL);
    assert_string_equal(err.reason, "bad-block");
    assert_null(f.board);
    mv_machine_destroy(f.machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_where_the_header_says),
        cmocka_unit_test(ports_are_where_the_header_says),
        cmocka_unit_test(both_windows_show_one_block),
        cmocka_unit_test(the_rom_is_halts_and_cannot_be_written),
        cmocka_unit_test(devices_answer),
        cmocka_unit_test(both_consoles_print_in_order),
        cmocka_unit_test(a_board_needs_no_console_and_no_vm),
        cmocka_unit_test(empty_ports_read_as_ones),
        cmocka_unit_test(fw_cfg_tells_what_the_board_is),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(more_than_the_host_can_map_is_its_refusal),
        cmocka_unit_test(two_boards_fit_in_one_machine),
        cmocka_unit_test(test_ram_of_another_kind),
    };
    return cmocka_run_group_tests_name("minimal", tests, NULL, NULL);
}
