// SPDX-License-Identifier: MIT
#include "board/ram_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define PAGE UINT64_C(0x10000) /* a multiple of every host's page size */

struct fixture {
    struct mv_machine *machine;
    struct mv_region *root;
    struct mv_space *space;
    const struct mv_view *view;
};

static void add_memory(struct fixture *f, enum mv_region_kind kind, uint64_t gpa, uint64_t size_bytes)
{
    struct mv_block *block;
    struct mv_region *region;
    const struct mv_block_options block_options = {.name = "block", .size_bytes = size_bytes};
    assert_int_equal(mv_block_create(f->machine, &block_options, &block, NULL), 0);
    const struct mv_region_options options = {
        .name = "memory",
        .kind = kind,
        .size_bytes = size_bytes,
        .block = block,
    };
    assert_int_equal(mv_region_create(f->machine, &options, &region, NULL), 0);
    assert_int_equal(mv_region_add(f->root, gpa, region, 0, NULL), 0);
    mv_region_put(region);
    mv_block_put(block);
}

static void add_device(struct fixture *f, uint64_t gpa, uint64_t size_bytes)
{
    struct mv_region *region;
    const struct mv_region_options options = {.name = "device", .kind = MV_REGION_MMIO, .size_bytes = size_bytes};
    assert_int_equal(mv_region_create(f->machine, &options, &region, NULL), 0);
    assert_int_equal(mv_region_add(f->root, gpa, region, 0, NULL), 0);
    mv_region_put(region);
}

/* RAM in pages 0, 1 (two regions) and 3; ROM in 4; a device in 5; RAM in the last page of all. */
static int setup(void **state)
{
    static struct fixture fixture;
    struct fixture *f = &fixture;
    const struct mv_region_options options = {
        .name = "root",
        .kind = MV_REGION_CONTAINER,
        .size_bytes = MV_SIZE_2_64,
    };
    assert_int_equal(mv_machine_create(&f->machine, NULL), 0);
    assert_int_equal(mv_region_create(f->machine, &options, &f->root, NULL), 0);
    add_memory(f, MV_REGION_RAM, 0, PAGE);
    add_memory(f, MV_REGION_RAM, PAGE, PAGE);
    add_memory(f, MV_REGION_RAM, 3 * PAGE, PAGE);
    add_memory(f, MV_REGION_ROM, 4 * PAGE, PAGE);
    add_device(f, 5 * PAGE, PAGE);
    add_memory(f, MV_REGION_RAM, -PAGE, PAGE);
    assert_int_equal(mv_space_create(f->machine, "memory", f->root, &f->space, NULL), 0);
    f->view = mv_space_view(f->space);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    mv_view_release(f->view);
    mv_space_destroy(f->space);
    mv_region_put(f->root);
    mv_machine_destroy(f->machine);
    return 0;
}

static void assert_gap(const struct fixture *f, struct mv_range range, struct mv_range gap)
{
    struct mv_range found;
    assert_true(ram_map_gap(f->view, range, &found));
    assert_int_equal(found.first, gap.first);
    assert_int_equal(found.last, gap.last);
}

static void gaps_are_where_no_memory_is(void **state)
{
    const struct fixture *f = *state;
    struct mv_range gap;
    assert_false(ram_map_gap(f->view, (struct mv_range){0, 2 * PAGE - 1}, &gap));
    assert_false(ram_map_gap(f->view, (struct mv_range){1, 1}, &gap));
    assert_false(ram_map_gap(f->view, (struct mv_range){3 * PAGE, 5 * PAGE - 1}, &gap));
    assert_false(ram_map_gap(f->view, (struct mv_range){-PAGE, UINT64_MAX}, &gap));
    assert_gap(f, (struct mv_range){0, 2 * PAGE}, (struct mv_range){2 * PAGE, 2 * PAGE});
    assert_gap(f, (struct mv_range){0, 9 * PAGE}, (struct mv_range){2 * PAGE, 3 * PAGE - 1});
    assert_gap(f, (struct mv_range){2 * PAGE + 5, 2 * PAGE + 6}, (struct mv_range){2 * PAGE + 5, 2 * PAGE + 6});
    assert_gap(f, (struct mv_range){4 * PAGE, 9 * PAGE}, (struct mv_range){5 * PAGE, 6 * PAGE - 1});
    assert_gap(f, (struct mv_range){4 * PAGE, 5 * PAGE}, (struct mv_range){5 * PAGE, 5 * PAGE});
    assert_gap(f, (struct mv_range){7 * PAGE, UINT64_MAX}, (struct mv_range){7 * PAGE, -PAGE - 1});
}

static void ram_comes_in_merged_ranges(void **state)
{
    const struct fixture *f = *state;
    struct mv_range ram;
    assert_true(ram_map_next(f->view, 0, &ram));
    assert_int_equal(ram.first, 0);
    assert_int_equal(ram.last, 2 * PAGE - 1);
    assert_true(ram_map_next(f->view, ram.last + 1, &ram));
    assert_int_equal(ram.first, 3 * PAGE);
    assert_int_equal(ram.last, 4 * PAGE - 1); /* ROM is none */
    assert_true(ram_map_next(f->view, ram.last + 1, &ram));
    assert_int_equal(ram.first, -PAGE);
    assert_int_equal(ram.last, UINT64_MAX);
}

static void only_writable_memory_is_ram(void **state)
{
    const struct fixture *f = *state;
    assert_true(ram_map_is_ram(f->view, (struct mv_range){0, 2 * PAGE - 1}));
    assert_true(ram_map_is_ram(f->view, (struct mv_range){PAGE - 1, PAGE}));
    assert_false(ram_map_is_ram(f->view, (struct mv_range){0, 2 * PAGE}));
    assert_false(ram_map_is_ram(f->view, (struct mv_range){2 * PAGE, 3 * PAGE}));
    assert_false(ram_map_is_ram(f->view, (struct mv_range){4 * PAGE, 4 * PAGE}));
    assert_false(ram_map_is_ram(f->view, (struct mv_range){5 * PAGE, 5 * PAGE}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gaps_are_where_no_memory_is, setup, teardown),
        cmocka_unit_test_setup_teardown(ram_comes_in_merged_ranges, setup, teardown),
        cmocka_unit_test_setup_teardown(only_writable_memory_is_ram, setup, teardown),
    };
    return cmocka_run_group_tests_name("ram_map", tests, NULL, NULL);
}
