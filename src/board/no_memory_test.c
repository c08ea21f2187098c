// SPDX-License-Identifier: MIT
/*
 * Each allocation fails once while a board is made, and while a register of the pc board moves memory. What failed
 * leaves nothing behind (ask AddressSanitizer). Linked with --wrap for the functions that allocate.
 */
#include <memvirt/board.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/addr.h"

static long countdown = -1; /* the allocation after so many fails; -1: none */

static bool fails(void)
{
    return countdown >= 0 && countdown-- == 0;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_reallocarray(void *p, size_t count, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t count, size_t size);
char *__wrap_strdup(const char *text);

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return fails() ? NULL : __real_realloc(p, size);
}

void *__wrap_reallocarray(void *p, size_t count, size_t size)
{
    return fails() ? NULL : __real_reallocarray(p, count, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

/* A number for all that the spaces of a board show. */
static uint64_t shape(struct mv_board *board)
{
    struct mv_space *spaces[3];
    uint64_t hash = 0;
    const size_t count = mv_board_spaces(board, spaces, 3);
    for (size_t i = 0; i < count; i++) {
        const struct mv_view *view = mv_space_view(spaces[i]);
        struct mv_section section;
        for (uint64_t at = 0; mv_view_next(view, mv_gpa(at), &section); at = section.range.last + 1) {
            hash = hash * 31 + section.range.first + section.range.last * 7 + section.offset;
            for (const char *c = mv_region_name(section.region); *c; c++) {
                hash = hash * 31 + (unsigned char)*c;
            }
        }
        mv_view_release(view);
    }
    return hash;
}

static uint64_t whole_shape(const struct mv_board_options *options)
{
    struct mv_machine *machine;
    struct mv_board *board;
    assert_int_equal(mv_machine_create(&machine, NULL), 0);
    assert_int_equal(mv_board_create(machine, options, &board, NULL), 0);
    const uint64_t hash = shape(board);
    mv_board_destroy(board);
    mv_machine_destroy(machine);
    return hash;
}

/* Some allocations can be done without, but few. @return how often there was no board */
static long make_with_each_failing(enum mv_board_kind kind)
{
    const struct mv_board_options options = {
        .kind = kind, .ram_bytes = 2 * MIB, .vcpus = 2, .vga_lowmem = kind == MV_BOARD_PC};
    const uint64_t whole = whole_shape(&options);
    long refusals = 0;
    for (long n = 0;; n++) {
        struct mv_machine *machine;
        struct mv_board *board = NULL;
        struct mv_error err = {0};
        assert_int_equal(mv_machine_create(&machine, NULL), 0);
        countdown = n;
        int rc = mv_board_create(machine, &options, &board, &err);
        const bool failed = countdown < 0;
        countdown = -1;
        refusals += rc < 0;
        if (rc < 0) {
            assert_true(failed);
            assert_int_equal(rc, -ENOMEM);
            assert_true(strlen(err.text) > 0);
            assert_null(board);
        } else {
            assert_true(shape(board) == whole);
        }
        mv_board_destroy(board);
        mv_machine_destroy(machine);
        if (!failed) {
            return refusals;
        }
    }
}

static void a_board_is_made_in_full_or_not_at_all(void **state)
{
    (void)state;
    assert_true(make_with_each_failing(MV_BOARD_MINIMAL) > 20);
    assert_true(make_with_each_failing(MV_BOARD_PC) > 200);
}

/* What answers at c0000, e0000 and f0000, and where its timer is. */
struct seen {
    const char *regions[4];
    bool readonly[4];
    uint64_t pam;
};

static struct seen look(struct mv_board *board)
{
    static const uint32_t places[] = {0xc0000, 0xe0000, 0xf0000, 0x608};
    struct seen seen = {0};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct mv_section section;
        const struct mv_view *view = mv_space_view(i < 3 ? mv_board_memory(board) : mv_board_io(board));
        assert_true(mv_view_lookup(view, mv_gpa(places[i]), &section));
        seen.regions[i] = mv_region_name(section.region);
        seen.readonly[i] = section.readonly;
        mv_view_release(view);
    }
    uint32_t address = 0x80000058;
    assert_int_equal(mv_space_write(mv_board_io(board), mv_gpa(0xcf8), &address, 4, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(mv_space_read(mv_board_io(board), mv_gpa(0xcfc), &seen.pam, 4, MV_ATTRS_NONE), MV_OK);
    return seen;
}

static void assert_same(const struct seen *a, const struct seen *b)
{
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(a->regions[i], b->regions[i]);
        assert_int_equal(a->readonly[i], b->readonly[i]);
    }
    assert_int_equal(a->pam, b->pam);
}

/* One configuration register, while each allocation fails in turn, until none does. */
static void set_with_each_failing(struct mv_board *board, uint32_t address, uint32_t value)
{
    struct mv_space *io = mv_board_io(board);
    const struct seen before = look(board);
    for (long n = 0;; n++) {
        assert_int_equal(mv_space_write(io, mv_gpa(0xcf8), &address, 4, MV_ATTRS_NONE), MV_OK);
        countdown = n;
        enum mv_result result = mv_space_write(io, mv_gpa(0xcfc), &value, 4, MV_ATTRS_NONE);
        const bool failed = countdown < 0;
        countdown = -1;
        if (result == MV_OK) {
            assert_true(n > 0);
            return;
        }
        assert_true(failed);
        assert_int_equal(result, MV_DEVICE_ERROR);
        const struct seen after = look(board);
        assert_same(&before, &after);
    }
}

static void a_register_moves_memory_or_stays(void **state)
{
    (void)state;
    const struct mv_board_options options = {.kind = MV_BOARD_PC, .ram_bytes = 2 * MIB, .vcpus = 1};
    struct mv_machine *machine;
    struct mv_board *board;
    assert_int_equal(mv_machine_create(&machine, NULL), 0);
    assert_int_equal(mv_board_create(machine, &options, &board, NULL), 0);
    set_with_each_failing(board, 0x80000058, 0x33333000);
    const struct seen open = look(board);
    assert_string_equal(open.regions[0], "pc.ram");
    assert_string_equal(open.regions[2], "pc.ram");
    assert_false(open.readonly[2]);
    set_with_each_failing(board, 0x80000058, 0x11111000);
    set_with_each_failing(board, 0x80000070, 0x004a0000);
    uint32_t address = 0x80000b40, base = 0x601;
    assert_int_equal(mv_space_write(mv_board_io(board), mv_gpa(0xcf8), &address, 4, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(mv_space_write(mv_board_io(board), mv_gpa(0xcfc), &base, 4, MV_ATTRS_NONE), MV_OK);
    set_with_each_failing(board, 0x80000b80, 1);
    const struct seen mapped = look(board);
    assert_string_equal(mapped.regions[3], "acpi-tmr");
    mv_board_destroy(board);
    mv_machine_destroy(machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_board_is_made_in_full_or_not_at_all),
        cmocka_unit_test(a_register_moves_memory_or_stays),
    };
    return cmocka_run_group_tests_name("board-no-memory", tests, NULL, NULL);
}
