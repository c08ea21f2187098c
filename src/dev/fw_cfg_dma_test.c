// SPDX-License-Identifier: MIT
#include "dev/fw_cfg_dma.h"

#include "dev/dev_test.h"
#include "dev/fw_cfg.h"

#define RAM_BYTES 0x10000
#define REQUEST 0x100
#define DMA 0x10 /* where the ports are, in this test */
#define KEY 0x20

struct fixture {
    struct rig rig;
    struct mv_space *memory;
    struct mv_region *fw_cfg; /* borrowed: the DMA keeps it */
    struct mv_region *dma;    /* a reference */
};

static struct mv_region *make_ram(const struct rig *rig)
{
    struct mv_block *block;
    struct mv_region *ram;
    struct mv_error err;
    const struct mv_block_options block_options = {.name = "ram", .size_bytes = RAM_BYTES};
    assert_int_equal(mv_block_create(rig->machine, &block_options, &block, &err), 0);
    const struct mv_region_options options = {
        .name = "ram", .kind = MV_REGION_RAM, .size_bytes = RAM_BYTES, .block = block};
    assert_int_equal(mv_region_create(rig->machine, &options, &ram, &err), 0);
    mv_block_put(block);
    return ram;
}

static int setup(void **state)
{
    static struct fixture fixture;
    struct mv_region *fw_cfg;
    struct mv_error err;
    fixture = (struct fixture){0};
    rig_open(&fixture.rig);
    assert_int_equal(fw_cfg_create(fixture.rig.machine, "fwcfg", &fw_cfg, &err), 0);
    assert_int_equal(fw_cfg_dma_create(fixture.rig.machine, "fwcfg.dma", fw_cfg, &fixture.dma, &err), 0);
    assert_int_equal(fw_cfg_add(fw_cfg, KEY, "0123456789", 10, &err), 0);
    fixture.fw_cfg = fw_cfg;
    struct mv_region *ports = rig_ports(&fixture.rig);
    rig_place(ports, 0, fw_cfg);
    rig_place(ports, DMA, mv_region_get(fixture.dma));
    rig_show(&fixture.rig, ports);
    struct mv_region *ram = make_ram(&fixture.rig);
    assert_int_equal(mv_space_create(fixture.rig.machine, "memory", ram, &fixture.memory, &err), 0);
    mv_region_put(ram);
    fw_cfg_dma_connect(fixture.dma, fixture.memory);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    fw_cfg_dma_connect(f->dma, NULL);
    mv_region_put(f->dma);
    rig_close(&f->rig);
    mv_space_destroy(f->memory);
    return 0;
}

static void put_big_endian(uint8_t *bytes, uint64_t value, unsigned length)
{
    for (unsigned i = 0; i < length; i++) {
        bytes[i] = (uint8_t)(value >> (8 * (length - 1 - i)));
    }
}

/* As a guest does; the ports are big-endian. @return the control word afterwards */
static uint32_t request(const struct fixture *f, uint32_t control, uint32_t length, uint64_t address)
{
    uint8_t bytes[16];
    put_big_endian(bytes, control, 4);
    put_big_endian(bytes + 4, length, 4);
    put_big_endian(bytes + 8, address, 8);
    assert_int_equal(mv_space_write(f->memory, mv_gpa(REQUEST), bytes, 16, MV_ATTRS_NONE), MV_OK);
    rig_write(&f->rig, DMA, 4, 0);
    rig_write(&f->rig, DMA + 4, 4, __builtin_bswap32(REQUEST));
    uint32_t answer;
    assert_int_equal(mv_space_read(f->memory, mv_gpa(REQUEST), &answer, 4, MV_ATTRS_NONE), MV_OK);
    return __builtin_bswap32(answer);
}

static void assert_memory(const struct fixture *f, uint64_t gpa, const void *expected, size_t length)
{
    uint8_t bytes[64];
    assert_int_equal(mv_space_read(f->memory, mv_gpa(gpa), bytes, length, MV_ATTRS_NONE), MV_OK);
    assert_memory_equal(bytes, expected, length);
}

static void it_says_that_it_is_there(void **state)
{
    const struct fixture *f = *state;
    assert_int_equal(rig_read(&f->rig, DMA, 4), __builtin_bswap32(0x51454d55));
    assert_int_equal(rig_read(&f->rig, DMA + 4, 4), __builtin_bswap32(0x20434647));
    assert_true(rig_read(&f->rig, DMA, 8) == __builtin_bswap64(0x51454d5520434647));
    rig_write(&f->rig, 0, 2, FW_CFG_ID);
    assert_int_equal(rig_read(&f->rig, 1, 4), 3);
}

static void an_item_is_copied(void **state)
{
    const struct fixture *f = *state;
    assert_int_equal(request(f, KEY << 16 | 0x0a, 4, 0x2000), 0); /* select, read */
    assert_memory(f, 0x2000, "0123", 4);
    assert_int_equal(request(f, 0x02, 4, 0x3000), 0); /* on from there */
    assert_memory(f, 0x3000, "4567", 4);
    assert_int_equal(rig_read(&f->rig, 1, 1), '8'); /* one position for both interfaces */
}

static void skipping_moves_on(void **state)
{
    const struct fixture *f = *state;
    assert_int_equal(request(f, KEY << 16 | 0x0c, 7, 0), 0); /* select, skip */
    assert_int_equal(request(f, 0x02, 1, 0x2000), 0);
    assert_memory(f, 0x2000, "7", 1);
    assert_int_equal(request(f, 0x04, UINT32_MAX, 0), 0);
    assert_int_equal(request(f, 0x02, 1, 0x2000), 0);
    assert_memory(f, 0x2000, "", 1);
}

static void beyond_the_end_there_are_zeroes(void **state)
{
    const struct fixture *f = *state;
    assert_int_equal(mv_space_write(f->memory, mv_gpa(0x2008), "xxxxxxxx", 8, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(request(f, KEY << 16 | 0x0a, 14, 0x2000), 0);
    assert_memory(f, 0x2000, "0123456789\0\0\0\0xx", 16);
}

/* More than it copies at once. */
static void a_long_item_is_copied_in_full(void **state)
{
    const struct fixture *f = *state;
    uint8_t item[10000], copy[sizeof item];
    for (size_t i = 0; i < sizeof item; i++) {
        item[i] = (uint8_t)(i * 7 + i / 256);
    }
    assert_int_equal(fw_cfg_add(f->fw_cfg, KEY + 1, item, sizeof item, NULL), 0);
    assert_int_equal(request(f, (KEY + 1) << 16 | 0x0a, sizeof item, 0x2000), 0);
    assert_int_equal(mv_space_read(f->memory, mv_gpa(0x2000), copy, sizeof copy, MV_ATTRS_NONE), MV_OK);
    assert_memory_equal(copy, item, sizeof item);
}

static void what_cannot_be_done_is_an_error(void **state)
{
    const struct fixture *f = *state;
    assert_int_equal(request(f, KEY << 16 | 0x18, 4, 0x2000), 1);    /* writing */
    assert_int_equal(request(f, KEY << 16 | 0x0a, 4, RAM_BYTES), 1); /* to where no memory is */
    assert_int_equal(request(f, KEY << 16 | 0x0a, 4, UINT64_MAX - 1), 1);
    assert_int_equal(request(f, KEY << 16 | 0x0a, UINT32_MAX, 0xf000), 1);       /* past its end: it stops there */
    rig_write(&f->rig, DMA, 8, __builtin_bswap64(UINT64_C(0x1234567800000000))); /* a request that is nowhere */
    assert_int_equal(request(f, KEY << 16 | 0x0a, 1, 0x2000), 0);
}

static void without_memory_nothing_happens(void **state)
{
    const struct fixture *f = *state;
    fw_cfg_dma_connect(f->dma, NULL);
    assert_int_equal(request(f, KEY << 16 | 0x0a, 4, 0x2000), KEY << 16 | 0x0a);
    fw_cfg_dma_connect(f->dma, f->memory);
    assert_int_equal(request(f, KEY << 16 | 0x0a, 4, 0x2000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_says_that_it_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(an_item_is_copied, setup, teardown),
        cmocka_unit_test_setup_teardown(skipping_moves_on, setup, teardown),
        cmocka_unit_test_setup_teardown(beyond_the_end_there_are_zeroes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_item_is_copied_in_full, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_done_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(without_memory_nothing_happens, setup, teardown),
    };
    return cmocka_run_group_tests_name("fw_cfg_dma", tests, NULL, NULL);
}
