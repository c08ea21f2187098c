// SPDX-License-Identifier: MIT
/* A reader gives what mv_space_read gives, whatever is committed meanwhile, by whichever thread. */
#include <memvirt/reader.h>

#include <pthread.h>
#include <stdatomic.h>

#include "machine/machine_test.h"
#include "machine/space.h"

static struct mv_reader reader; /* larger than a stack likes */

/* RAM of 16 MiB, of which each 8 bytes hold `tag` and where they are. */
static struct mv_region *tagged_ram(struct rig *rig, uint64_t tag)
{
    struct mv_block *block;
    struct mv_block_info info;
    assert_int_equal(mv_block_create(rig->machine, &(struct mv_block_options){.name = "t", .size_bytes = 16 * MIB},
                                     &block, NULL),
                     0);
    mv_block_info(block, &info);
    uint64_t *words = (uint64_t *)(uintptr_t)info.hva.raw;
    for (uint64_t i = 0; i < 16 * MIB / 8; i += 64) {
        words[i] = tag << 32 | i;
    }
    struct mv_region *region;
    struct mv_region_options options = {
        .name = "t", .kind = MV_REGION_RAM, .size_bytes = 16 * MIB, .block = block};
    assert_int_equal(mv_region_create(rig->machine, &options, &region, NULL), 0);
    mv_block_put(block);
    return region;
}

static void compare(struct rig *rig, uint64_t address)
{
    uint64_t expected = 1, found = 2;
    enum mv_result result = mv_space_read(rig->space, mv_gpa(address), &expected, 8, MV_ATTRS_NONE);
    assert_int_equal(mv_reader_read64(&reader, mv_gpa(address), &found), result);
    assert_int_equal(found, expected);
}

static void compare_all_over(struct rig *rig)
{
    for (uint64_t address = 0; address < 40 * MIB; address += 4096 * 7 + 8) {
        compare(rig, address);
        compare(rig, address); /* now perhaps remembered */
        compare(rig, address + 3);
    }
    for (uint64_t edge = 2 * MIB; edge < 40 * MIB; edge += 2 * MIB) {
        compare(rig, edge - 8);
        compare(rig, edge - 4); /* across two pieces */
        compare(rig, edge);
    }
    compare(rig, UINT64_MAX - 7);
    compare(rig, UINT64_MAX - 3);
}

static void it_reads_what_the_space_reads(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_region *one = tagged_ram(&rig, 1), *two = tagged_ram(&rig, 2);
    struct mv_region *hole = reservation(&rig, "hole", 4096);
    mv_reader_init(&reader, rig.space);
    compare_all_over(&rig);
    assert_int_equal(mv_region_add(rig.root, MIB, one, 0, NULL), 0); /* pieces begin inside of it */
    compare_all_over(&rig);
    assert_int_equal(mv_region_add(rig.root, 8 * MIB, two, 1, NULL), 0);
    compare_all_over(&rig);
    assert_int_equal(mv_region_add(rig.root, 12 * MIB, hole, 2, NULL),
                     0); /* a piece that is not all RAM any more */
    compare_all_over(&rig);
    assert_int_equal(mv_region_remove(two, NULL), 0);
    compare_all_over(&rig);
    assert_int_equal(mv_region_set_enabled(one, false, NULL), 0);
    compare_all_over(&rig);
    assert_int_equal(mv_region_set_enabled(one, true, NULL), 0);
    assert_int_equal(mv_region_remove(one, NULL), 0);
    const uint64_t end = (uint64_t)MV_READER_PIECES << MV_READER_PIECE_SHIFT;
    assert_int_equal(mv_region_add(rig.root, end - 4 * MIB, one, 0, NULL), 0); /* beyond what it remembers */
    for (uint64_t address = end - 6 * MIB; address < end + 14 * MIB; address += 256 * 1024 + 8) {
        compare(&rig, address);
        compare(&rig, address);
        compare(&rig, address + 5);
    }
    mv_reader_finish(&reader);
    mv_region_put(one);
    mv_region_put(two);
    mv_region_put(hole);
    rig_close(&rig);
}

static void it_remembers_and_lets_go(void **state)
{
    (void)state;
    struct rig rig;
    uint64_t value;
    rig_open(&rig);
    struct mv_region *one = tagged_ram(&rig, 1);
    assert_int_equal(mv_region_add(rig.root, 0, one, 0, NULL), 0);
    mv_reader_init(&reader, rig.space);
    assert_int_equal(mv_reader_read64(&reader, mv_gpa(4 * MIB), &value), MV_OK);
    assert_true(reader.host_deltas[2] != 0);
    struct flat *flat = rig.space->flat;
    assert_int_equal(mv_region_set_enabled(one, false, NULL), 0);
    assert_int_equal(reader.host_deltas[2], 0);
    epoch_drain();
    assert_int_equal(flat->live_views, 2); /* the old one is borrowed */
    mv_reader_forget(&reader);
    assert_int_equal(flat->live_views, 1);
    assert_int_equal(mv_reader_read64(&reader, mv_gpa(4 * MIB), &value), MV_DECODE_ERROR);
    mv_reader_finish(&reader);
    mv_region_put(one);
    rig_close(&rig);
}

/* --- with an editor beside it ------------------------------------------------------------------ */

struct stage {
    struct rig rig;
    struct mv_region *regions[2];
    atomic_bool stop;
    atomic_uint committed; /* how often the exchange was done: the tag at the moment is 1 + committed % 2 */
};

static void *exchange(void *opaque)
{
    struct stage *s = opaque;
    for (unsigned i = 0; i < 2000; i++) {
        begin(&s->rig);
        assert_int_equal(mv_region_remove(s->regions[i % 2], NULL), 0);
        assert_int_equal(mv_region_add(s->rig.root, 0, s->regions[(i + 1) % 2], 0, NULL), 0);
        commit(&s->rig);
        atomic_store(&s->committed, i + 1);
    }
    atomic_store(&s->stop, true);
    return NULL;
}

/* Both tags are legal at almost any moment; at the end there is only one. */
static void it_keeps_up(void **state)
{
    (void)state;
    static struct stage s;
    pthread_t editor;
    uint64_t count = 0, position = 0;
    memset(&s, 0, sizeof s);
    rig_open(&s.rig);
    s.regions[0] = tagged_ram(&s.rig, 1);
    s.regions[1] = tagged_ram(&s.rig, 2);
    assert_int_equal(mv_region_add(s.rig.root, 0, s.regions[0], 0, NULL), 0);
    mv_reader_init(&reader, s.rig.space);
    assert_int_equal(pthread_create(&editor, NULL, exchange, &s), 0);
    while (!atomic_load(&s.stop)) {
        uint64_t value = 0, at = position % (16 * MIB / 8 / 64) * 64;
        unsigned before = atomic_load(&s.committed);
        assert_int_equal(mv_reader_read64(&reader, mv_gpa(at * 8), &value), MV_OK);
        unsigned after = atomic_load(&s.committed);
        assert_int_equal((uint32_t)value, at);
        /* Its tag is that of `before`, or of the exchange after it, which may have been published and not counted
         * yet. */
        if (after == before || after == before + 1) {
            uint64_t tag = value >> 32;
            assert_true(tag == 1 + before % 2 || tag == 1 + (before + 1) % 2);
        }
        position += 4099;
        count++;
    }
    pthread_join(editor, NULL);
    uint64_t value;
    assert_int_equal(mv_reader_read64(&reader, mv_gpa(0), &value), MV_OK);
    assert_int_equal(value >> 32, 1 + atomic_load(&s.committed) % 2);
    printf("# %llu reads\n", (unsigned long long)count);
    mv_reader_finish(&reader);
    mv_region_put(s.regions[0]);
    mv_region_put(s.regions[1]);
    rig_close(&s.rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_reads_what_the_space_reads),
        cmocka_unit_test(it_remembers_and_lets_go),
        cmocka_unit_test(it_keeps_up),
    };
    return cmocka_run_group_tests_name("reader", tests, NULL, NULL);
}
