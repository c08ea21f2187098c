// SPDX-License-Identifier: MIT
/* Writes that the kernel gathers: none is lost, all in order, and before whatever comes after them. */
#include <memvirt/ioeventfd.h>

#include "vm/vm_test.h"

#define PAGE_GPA 0x9000
#define ZONE_PORT 0x20
#define ROUNDS 250 /* more than a ring has */

struct scene {
    struct rig rig;
    struct mv_region *page, *ports;
    uint16_t seen[2 * ROUNDS + 8];
    unsigned count;
    unsigned at_port; /* how many writes had arrived at the last write to TEST_PORT */
    struct mv_region *victim;
};

static enum mv_result write_page(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                 struct mv_attrs attrs)
{
    struct scene *s = opaque;
    (void)offset, (void)size_bytes, (void)attrs;
    if (s->count < sizeof s->seen / sizeof s->seen[0]) {
        s->seen[s->count++] = (uint16_t)value;
    }
    if (s->victim) { /* an edit from a handler that is called by a drain: must not drain again */
        assert_int_equal(mv_region_set_enabled(s->victim, s->count % 2, NULL), 0);
    }
    return MV_OK;
}

static const struct mv_mmio_ops ops = {.write = write_page};

/* ax = 0; ROUNDS times: mov [PAGE_GPA], ax; inc ax. Then out TEST_PORT, al; hlt. */
static const uint8_t count_up[] = {0x31, 0xc0, 0xb9, ROUNDS, 0,    0xa3,      0x00,
                                   0x90, 0x40, 0xe2, 0xfa,   0xe6, TEST_PORT, 0xf4};
/* The same by `out ZONE_PORT, ax`. */
static const uint8_t count_out[] = {0x31, 0xc0, 0xb9, ROUNDS, 0,         0xe7, ZONE_PORT,
                                    0x40, 0xe2, 0xfb, 0xe6,   TEST_PORT, 0xf4};

static void note_port(void *opaque, uint8_t value, unsigned vcpu)
{
    struct scene *s = opaque;
    (void)value, (void)vcpu;
    s->at_port = s->count;
}

static void open_scene(struct scene *s, const uint8_t *code, size_t size)
{
    memset(s, 0, sizeof *s);
    rig_init(&s->rig, 1, code, size);
    s->rig.on_write = note_port;
    s->rig.opaque = s;
    s->page =
        make(&s->rig, (struct mv_region_options){
                          .name = "page", .kind = MV_REGION_MMIO, .size_bytes = 4096, .ops = &ops, .opaque = s});
    s->ports =
        make(&s->rig, (struct mv_region_options){
                          .name = "zone", .kind = MV_REGION_MMIO, .size_bytes = 2, .ops = &ops, .opaque = s});
    assert_int_equal(mv_region_add(s->rig.root, PAGE_GPA, s->page, 1, NULL), 0);
    assert_int_equal(mv_region_add(s->rig.ports, ZONE_PORT, s->ports, 0, NULL), 0);
}

static void run(struct scene *s)
{
    struct mv_stop stop;
    assert_int_equal(mv_vm_run(s->rig.vm, &stop, NULL), 0);
    assert_int_equal(stop.reason, MV_STOP_HALTED);
    assert_int_equal(s->count, ROUNDS);
    assert_int_equal(s->at_port, ROUNDS);
    for (unsigned i = 0; i < ROUNDS; i++) {
        assert_int_equal(s->seen[i], i);
    }
}

static void close_scene(struct scene *s)
{
    rig_finish(&s->rig);
    mv_region_put(s->page);
    mv_region_put(s->ports);
}

static void test_memory(void **state)
{
    (void)state;
    need_kvm("test_memory");
    struct scene s;
    open_scene(&s, count_up, sizeof count_up);
    assert_int_equal(mv_region_set_coalescing(s.page, NULL), 0);
    run(&s);
    uint64_t exits = counter(s.rig.vm, MV_COUNTERS_EXITS, "mmio");
    printf("# %u writes, %" PRIu64 " mmio exits\n", s.count, exits);
    assert_true(exits < 5);
    close_scene(&s);
}

static void test_ports(void **state)
{
    (void)state;
    need_kvm("test_ports");
    struct scene s;
    open_scene(&s, count_out, sizeof count_out);
    assert_int_equal(mv_region_add_coalescing(s.ports, 0, 2, NULL), 0);
    run(&s);
    printf("# %u writes, %" PRIu64 " io exits\n", s.count, counter(s.rig.vm, MV_COUNTERS_EXITS, "io"));
    close_scene(&s);
}

static void test_cleared_and_moved(void **state)
{
    (void)state;
    need_kvm("test_cleared_and_moved");
    struct scene s;
    open_scene(&s, count_up, sizeof count_up);
    assert_int_equal(mv_region_set_coalescing(s.page, NULL), 0);
    assert_int_equal(mv_region_set_address(s.page, 0x20000, NULL), 0);
    assert_int_equal(mv_region_set_address(s.page, PAGE_GPA, NULL), 0);
    assert_int_equal(mv_region_clear_coalescing(s.page, NULL), 0);
    run(&s);
    assert_int_equal(counter(s.rig.vm, MV_COUNTERS_EXITS, "mmio"), ROUNDS);
    close_scene(&s);
}

/* Handlers that edit the tree while the ring is emptied. */
static void test_handlers_edit(void **state)
{
    (void)state;
    need_kvm("test_handlers_edit");
    struct scene s;
    open_scene(&s, count_up, sizeof count_up);
    assert_int_equal(mv_region_set_coalescing(s.page, NULL), 0);
    s.victim = make_page(&s.rig, "victim", 1);
    assert_int_equal(mv_region_add(s.rig.root, 0x50000, s.victim, 1, NULL), 0);
    run(&s);
    mv_region_put(s.victim);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_cleared_and_moved),
        cmocka_unit_test(test_handlers_edit),
    };
    return cmocka_run_group_tests_name("coalesced", tests, NULL, NULL);
}
