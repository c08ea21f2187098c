// SPDX-License-Identifier: MIT
#include "machine/region.h"

#include "base/os.h"
#include "machine/block.h"
#include "machine/machine_test.h"

static enum mv_result read_nothing(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                   struct mv_attrs attrs)
{
    (void)opaque, (void)offset, (void)size_bytes, (void)attrs;
    *ret_value = 0;
    return MV_OK;
}

static const struct mv_mmio_ops plain_ops = {.read = read_nothing};

static void free_nothing(void *opaque)
{
    (void)opaque;
}

/* A rig with a listener, so that each test also sees that what was refused was never committed. */
struct watched {
    struct rig rig;
    struct journal journal;
    struct witness witness;
    struct mv_listener *listener;
    struct mv_region *a, *b, *r; /* containers a and b under the root, RAM r of 0x2000 in a; borrowed */
};

static int open_watched(void **state)
{
    static struct watched w;
    w = (struct watched){.witness = {.name = "w", .journal = &w.journal}};
    rig_open(&w.rig);
    w.a = put_in(w.rig.root, 0x0000, container(&w.rig, "a", 0x8000), 0);
    w.b = put_in(w.rig.root, 0x10000, container(&w.rig, "b", 0x8000), 0);
    w.r = put_in(w.a, 0x1000, ram(&w.rig, "r", 0x2000), 0);
    w.listener = attach(w.rig.space, &w.witness, 0);
    w.journal.used = 0;
    *state = &w;
    return 0;
}

static int close_watched(void **state)
{
    struct watched *w = *state;
    mv_listener_destroy(w->listener);
    rig_close(&w->rig);
    return 0;
}

#define PICTURE "1000-2fff r@0\n"

/* The edit was refused with that code, reason and object, and nothing has happened. */
static void assert_refused(struct watched *w, int rc, const struct mv_error *err, int code, const char *reason,
                           const char *object)
{
    assert_int_equal(rc, code);
    assert_int_equal(err->code, code);
    assert_string_equal(err->reason, reason);
    assert_string_equal(err->object, object);
    assert_non_null(strstr(err->text, object));
    assert_journal(&w->journal, "");
    assert_picture(w->rig.space, PICTURE);
    assert_int_equal(mv_machine_begin(w->rig.machine, NULL), 0);
    assert_int_equal(mv_machine_commit(w->rig.machine, NULL), 0);
    assert_journal(&w->journal, "");
}

/* --- making ------------------------------------------------------------------------------------ */

static void a_region_is_what_its_options_said(void **state)
{
    struct watched *w = *state;
    const struct rig *rig = &w->rig;
    int token;
    struct mv_region *d = mmio(rig, "device", 0x1000, &plain_ops, &token);
    struct mv_region *o = rom(rig, "bios", 0x1000);
    struct mv_region *one = alias_of(rig, "one", o, 0, 1);
    struct mv_region *two = alias_of(rig, "two", one, 0, 1);
    struct mv_region *of_container = alias_of(rig, "of a", w->a, 0, 1);
    const struct {
        struct mv_region *region;
        const char *name;
        enum mv_region_kind kind;
        const char *type;
    } cases[] = {
        {w->a, "a", MV_REGION_CONTAINER, "i/o"},
        {w->r, "r", MV_REGION_RAM, "ram"},
        {o, "bios", MV_REGION_ROM, "rom"},
        {d, "device", MV_REGION_MMIO, "i/o"},
        {one, "one", MV_REGION_ALIAS, "rom"},
        {two, "two", MV_REGION_ALIAS, "rom"},
        {of_container, "of a", MV_REGION_ALIAS, "i/o"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_string_equal(mv_region_name(cases[i].region), cases[i].name);
        assert_int_equal(mv_region_kind(cases[i].region), cases[i].kind);
        assert_string_equal(mv_region_type(cases[i].region), cases[i].type);
        assert_ptr_equal(mv_region_opaque(cases[i].region), cases[i].region == d ? &token : NULL);
    }
    mv_region_put(d);
    mv_region_put(o);
    mv_region_put(one);
    mv_region_put(two);
    mv_region_put(of_container);
}

static void the_name_is_a_copy(void **state)
{
    struct watched *w = *state;
    char name[] = "mine";
    struct mv_region *c = container(&w->rig, name, 1);
    name[0] = 'x';
    assert_string_equal(mv_region_name(c), "mine");
    mv_region_put(c);
}

static void what_a_kind_does_not_have_is_refused(void **state)
{
    struct watched *w = *state;
    uint64_t page = os_page_size();
    struct rig other;
    rig_open(&other);
    struct mv_error err = {0};
    struct mv_block *block = NULL, *strange = NULL;
    const struct mv_block_options two_pages = {.name = "block", .size_bytes = 2 * page};
    assert_int_equal(mv_block_create(w->rig.machine, &two_pages, &block, &err), 0);
    assert_int_equal(mv_block_create(other.machine, &two_pages, &strange, &err), 0);
    struct mv_region *target = w->r;
    int token;
#define OPTIONS(kind_, ...)                                                                                       \
    {                                                                                                             \
        .name = "bad", .kind = kind_, .size_bytes = 1, __VA_ARGS__                                                \
    }
    const struct mv_region_options cases[] = {
        OPTIONS(MV_REGION_RAM, .block = NULL),
        OPTIONS(MV_REGION_ROM, .block = NULL),
        OPTIONS(MV_REGION_RAM, .block = strange),
        OPTIONS(MV_REGION_RAM, .block = block, .block_offset_bytes = 1),
        OPTIONS(MV_REGION_RAM, .block = block, .block_offset_bytes = page / 2),
        OPTIONS(MV_REGION_RAM, .block = block, .block_offset_bytes = 2 * page),
        OPTIONS(MV_REGION_RAM, .block = block, .block_offset_bytes = 3 * page),
        OPTIONS(MV_REGION_RAM, .block = block, .block_offset_bytes = TOP - page + 1),
        OPTIONS(MV_REGION_RAM, .block = block, .target = target),
        OPTIONS(MV_REGION_RAM, .block = block, .target_offset_bytes = 1),
        OPTIONS(MV_REGION_RAM, .block = block, .ops = &plain_ops),
        OPTIONS(MV_REGION_RAM, .block = block, .opaque = &token),
        OPTIONS(MV_REGION_ROM, .block = block, .release = free_nothing),
        OPTIONS(MV_REGION_CONTAINER, .block = block),
        OPTIONS(MV_REGION_CONTAINER, .block_offset_bytes = page),
        OPTIONS(MV_REGION_CONTAINER, .ops = &plain_ops),
        OPTIONS(MV_REGION_CONTAINER, .release = free_nothing),
        OPTIONS(MV_REGION_CONTAINER, .target = target),
        OPTIONS(MV_REGION_CONTAINER, .target_offset_bytes = 1),
        OPTIONS(MV_REGION_MMIO, .ops = &plain_ops, .block = block),
        OPTIONS(MV_REGION_MMIO, .ops = &plain_ops, .block_offset_bytes = page),
        OPTIONS(MV_REGION_MMIO, .ops = &plain_ops, .target = target),
        OPTIONS(MV_REGION_MMIO, .ops = &plain_ops, .target_offset_bytes = 1),
        OPTIONS(MV_REGION_ALIAS, .target = NULL),
        OPTIONS(MV_REGION_ALIAS, .target = other.root),
        OPTIONS(MV_REGION_ALIAS, .target = target, .block = block),
        OPTIONS(MV_REGION_ALIAS, .target = target, .block_offset_bytes = page),
        OPTIONS(MV_REGION_ALIAS, .target = target, .ops = &plain_ops),
        OPTIONS(MV_REGION_ALIAS, .target = target, .opaque = &token),
        OPTIONS((enum mv_region_kind)9, .readonly = true),
        {.name = "bad", .kind = MV_REGION_RAM, .size_bytes = 2 * page + 1, .block = block},
        {.name = "bad", .kind = MV_REGION_RAM, .size_bytes = MV_SIZE_2_64, .block = block},
        {.name = "bad", .kind = MV_REGION_ROM, .size_bytes = page + 1, .block = block, .block_offset_bytes = page},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mv_region *region = NULL;
        int rc = mv_region_create(w->rig.machine, &cases[i], &region, &err);
        if (rc != -EINVAL) {
            printf("# case %zu was not refused\n", i);
        }
        assert_null(region);
        assert_refused(w, rc, &err, -EINVAL, "bad-region", "bad");
        assert_int_equal(mv_region_create(w->rig.machine, &cases[i], &region, NULL), -EINVAL);
    }
    struct mv_region *region = NULL;
    assert_int_equal(mv_region_create(w->rig.machine, &(struct mv_region_options){.size_bytes = 1}, &region, &err),
                     -EINVAL);
    assert_string_equal(err.reason, "bad-region");
    mv_block_put(block);
    mv_block_put(strange);
    rig_close(&other);
}

static void access_sizes_are_powers_of_two_in_order(void **state)
{
    struct watched *w = *state;
    struct mv_error err;
    for (unsigned min = 0; min <= 17; min++) {
        for (unsigned max = 0; max <= 17; max++) {
            bool powers = (min == 0 || (is_pow2(min) && min <= 8)) && (max == 0 || (is_pow2(max) && max <= 8));
            bool good = powers && (max == 0 || min <= max);
            struct mv_mmio_ops ops[2] = {plain_ops, plain_ops};
            ops[0].valid = (struct mv_mmio_sizes){(uint8_t)min, (uint8_t)max, false};
            ops[1].impl = (struct mv_mmio_sizes){(uint8_t)min, (uint8_t)max, false};
            for (size_t i = 0; i < 2; i++) {
                struct mv_region *region = NULL;
                const struct mv_region_options options = {
                    .name = "d", .kind = MV_REGION_MMIO, .size_bytes = 1, .ops = &ops[i]};
                assert_int_equal(mv_region_create(w->rig.machine, &options, &region, &err), good ? 0 : -EINVAL);
                mv_region_put(region);
            }
        }
    }
}

/* --- adding ------------------------------------------------------------------------------------ */

static void a_region_is_in_one_container(void **state)
{
    struct watched *w = *state;
    struct mv_error err = {0};
    assert_refused(w, mv_region_add(w->b, 0, w->r, 0, &err), &err, -EBUSY, "mapped", "r");
    assert_refused(w, mv_region_add(w->a, 0, w->r, 0, &err), &err, -EBUSY, "mapped", "r");
    assert_refused(w, mv_region_add(w->rig.root, 0, w->a, 0, &err), &err, -EBUSY, "mapped", "a");
}

static void a_region_does_not_contain_itself(void **state)
{
    struct watched *w = *state;
    struct mv_error err = {0};
    struct mv_region *lone = container(&w->rig, "lone", 1);
    assert_refused(w, mv_region_add(lone, 0, lone, 0, &err), &err, -ELOOP, "cycle", "lone");
    mv_region_put(lone);
    /* The root is in no container, and everything is below it. */
    assert_refused(w, mv_region_add(w->a, 0, w->rig.root, 0, &err), &err, -ELOOP, "cycle", "root");
    assert_refused(w, mv_region_add(w->r, 0, w->rig.root, 0, &err), &err, -ELOOP, "cycle", "root");
}

static void nor_through_an_alias(void **state)
{
    struct watched *w = *state;
    struct mv_error err = {0};
    struct mv_region *direct = alias_of(&w->rig, "direct", w->a, 0, 0x100);
    assert_refused(w, mv_region_add(w->a, 0x7000, direct, 0, &err), &err, -ELOOP, "cycle", "direct");
    struct mv_region *of_root = alias_of(&w->rig, "of root", w->rig.root, 0, 0x100);
    assert_refused(w, mv_region_add(w->a, 0x7000, of_root, 0, &err), &err, -ELOOP, "cycle", "of root");
    assert_refused(w, mv_region_add(w->r, 0, of_root, 0, &err), &err, -ELOOP, "cycle", "of root");
    struct mv_region *twice = alias_of(&w->rig, "twice", direct, 0, 0x100);
    assert_refused(w, mv_region_add(w->a, 0x7000, twice, 0, &err), &err, -ELOOP, "cycle", "twice");
    /* With the alias inside of something. */
    struct mv_region *box = container(&w->rig, "box", 0x1000);
    assert_int_equal(mv_region_add(box, 0, twice, 0, &err), 0);
    assert_journal(&w->journal, ""); /* nobody sees it */
    assert_refused(w, mv_region_add(w->r, 0, box, 0, &err), &err, -ELOOP, "cycle", "box");
    mv_region_put(direct);
    mv_region_put(of_root);
    mv_region_put(twice);
    mv_region_put(box);
}

/* The other way round: the alias is there first, and then its target would come to contain it. */
static void nor_when_the_alias_is_there_first(void **state)
{
    struct watched *w = *state;
    struct mv_error err = {0};
    struct mv_region *box = container(&w->rig, "box", 0x1000);
    struct mv_region *window = put_in(w->b, 0, alias_of(&w->rig, "window", box, 0, 0x100), 0);
    w->journal.used = 0;
    mv_region_get(w->b);
    assert_int_equal(mv_region_remove(w->b, &err), 0);
    w->journal.used = 0;
    /* b shows window, window shows box: box cannot get b. */
    assert_refused(w, mv_region_add(box, 0, w->b, 0, &err), &err, -ELOOP, "cycle", "b");
    /* But it can when the window is gone. */
    assert_int_equal(mv_region_remove(window, &err), 0);
    assert_int_equal(mv_region_add(box, 0, w->b, 0, &err), 0);
    mv_region_put(w->b);
    mv_region_put(box);
}

/* To be reached on two ways is no cycle. */
static void a_diamond_is_fine(void **state)
{
    struct watched *w = *state;
    put_in(w->b, 0x0000, alias_of(&w->rig, "one", w->a, 0x1000, 0x1000), 0);
    put_in(w->b, 0x4000, alias_of(&w->rig, "two", w->a, 0x1000, 0x1000), 0);
    put_in(w->rig.root, 0x20000, alias_of(&w->rig, "three", w->b, 0, 0x8000), 0);
    struct mv_region *fresh = put_in(w->a, 0x1000, ram(&w->rig, "fresh", 0x10), 1);
    assert_picture(w->rig.space, "1000-100f fresh@0\n"
                                 "1010-2fff r@10\n"
                                 "10000-1000f fresh@0\n"
                                 "10010-10fff r@10\n"
                                 "14000-1400f fresh@0\n"
                                 "14010-14fff r@10\n"
                                 "20000-2000f fresh@0\n"
                                 "20010-20fff r@10\n"
                                 "24000-2400f fresh@0\n"
                                 "24010-24fff r@10\n");
    assert_ptr_equal(fresh->state.container, w->a);
}

static void an_alias_has_no_children(void **state)
{
    struct watched *w = *state;
    struct mv_error err = {0};
    struct mv_region *window = alias_of(&w->rig, "window", w->a, 0, 0x100);
    struct mv_region *child = container(&w->rig, "child", 1);
    assert_refused(w, mv_region_add(window, 0, child, 0, &err), &err, -EINVAL, "bad-region", "window");
    mv_region_put(window);
    mv_region_put(child);
}

static void regions_of_two_machines_do_not_mix(void **state)
{
    struct watched *w = *state;
    struct mv_error err = {0};
    struct rig other;
    rig_open(&other);
    struct mv_region *foreign = container(&other, "foreign", 1);
    assert_refused(w, mv_region_add(w->a, 0, foreign, 0, &err), &err, -EINVAL, "other-machine", "foreign");
    struct mv_space *space = NULL;
    assert_int_equal(mv_space_create(w->rig.machine, "s", foreign, &space, &err), -EINVAL);
    assert_string_equal(err.reason, "other-machine");
    assert_null(space);
    mv_region_put(foreign);
    rig_close(&other);
}

/* --- the other edits --------------------------------------------------------------------------- */

static void what_is_in_no_container_cannot_leave_it(void **state)
{
    struct watched *w = *state;
    struct mv_error err = {0};
    struct mv_region *lone = container(&w->rig, "lone", 1);
    assert_refused(w, mv_region_remove(lone, &err), &err, -ENOENT, "not-mapped", "lone");
    assert_refused(w, mv_region_set_address(lone, 5, &err), &err, -ENOENT, "not-mapped", "lone");
    assert_refused(w, mv_region_set_address(lone, 0, &err), &err, -ENOENT, "not-mapped", "lone");
    assert_refused(w, mv_region_remove(w->rig.root, &err), &err, -ENOENT, "not-mapped", "root");
    mv_region_put(lone);
}

static void only_an_alias_slides(void **state)
{
    struct watched *w = *state;
    struct mv_error err = {0};
    assert_refused(w, mv_region_set_target_offset(w->r, 1, &err), &err, -EINVAL, "bad-region", "r");
    assert_refused(w, mv_region_set_target_offset(w->a, 0, &err), &err, -EINVAL, "bad-region", "a");
    struct mv_region *window = put_in(w->b, 0, alias_of(&w->rig, "window", w->r, 0, 0x800), 0);
    assert_picture(w->rig.space, PICTURE "10000-107ff r@0\n");
    assert_int_equal(mv_region_set_target_offset(window, 0x1900, &err), 0);
    assert_picture(w->rig.space, PICTURE "10000-106ff r@1900\n");
}

static void memory_grows_within_its_block(void **state)
{
    struct watched *w = *state;
    struct mv_error err = {0};
    uint64_t block = w->r->ram.block->size_bytes;
    assert_refused(w, mv_region_set_size(w->r, block + 1, &err), &err, -EINVAL, "bad-region", "r");
    assert_refused(w, mv_region_set_size(w->r, MV_SIZE_2_64, &err), &err, -EINVAL, "bad-region", "r");
    assert_int_equal(mv_region_set_size(w->r, 0x801, &err), 0);
    assert_picture(w->rig.space, "1000-1800 r@0\n");
    assert_int_equal(mv_region_set_size(w->r, 0, &err), 0);
    assert_picture(w->rig.space, "");
    assert_int_equal(mv_region_set_size(w->r, block, &err), 0);
    assert_picture(w->rig.space, PICTURE);
}

static void memory_grows_from_its_offset_in_the_block(void **state)
{
    struct watched *w = *state;
    uint64_t page = os_page_size();
    struct mv_error err = {0};
    struct mv_block *block = NULL;
    const struct mv_block_options options = {.name = "block", .size_bytes = 3 * page};
    assert_int_equal(mv_block_create(w->rig.machine, &options, &block, &err), 0);
    struct mv_region *r = make(w->rig.machine, &(struct mv_region_options){.name = "second page",
                                                                           .kind = MV_REGION_RAM,
                                                                           .size_bytes = page,
                                                                           .block = block,
                                                                           .block_offset_bytes = page});
    mv_block_put(block);
    struct mv_block_info info;
    mv_block_info(r->ram.block, &info);
    assert_ptr_equal(region_host(r, 7), (unsigned char *)(uintptr_t)info.hva.raw + page + 7);
    assert_int_equal(mv_region_set_size(r, 2 * page, &err), 0);
    assert_int_equal(mv_region_set_size(r, 2 * page + 1, &err), -EINVAL);
    mv_region_put(r);
}

static void others_have_any_size(void **state)
{
    struct watched *w = *state;
    struct mv_error err = {0};
    struct mv_region *d = put_in(w->rig.root, 0x20000, reservation(&w->rig, "d", 1), 0);
    assert_int_equal(mv_region_set_size(d, MV_SIZE_2_64, &err), 0);
    assert_picture(w->rig.space, PICTURE "20000-ffffffffffffffff d@0\n");
    assert_int_equal(mv_region_set_size(w->a, 0x1001, &err), 0);
    assert_picture(w->rig.space, "1000-1000 r@0\n20000-ffffffffffffffff d@0\n");
    assert_int_equal(mv_region_set_size(w->rig.root, 0x20001, &err), 0);
    assert_picture(w->rig.space, "1000-1000 r@0\n20000-20000 d@0\n");
}

static void a_value_that_is_there_already_is_no_edit(void **state)
{
    struct watched *w = *state;
    struct mv_region *window = put_in(w->b, 0x100, alias_of(&w->rig, "window", w->r, 0x10, 0x20), 0);
    w->journal.used = 0;
    w->witness.refuse = -EIO; /* so that a commit would fail as well */
    assert_int_equal(mv_region_set_enabled(w->r, true, NULL), 0);
    assert_int_equal(mv_region_set_readonly(w->r, false, NULL), 0);
    assert_int_equal(mv_region_set_size(w->r, 0x2000, NULL), 0);
    assert_int_equal(mv_region_set_address(w->r, 0x1000, NULL), 0);
    assert_int_equal(mv_region_set_target_offset(window, 0x10, NULL), 0);
    assert_journal(&w->journal, "");
    w->witness.refuse = 0;
}

/* The only reference can be the container's: then removing ends the region. */
static void a_region_can_be_removed_without_a_reference(void **state)
{
    struct watched *w = *state;
    struct mv_error err = {0};
    assert_int_equal(mv_region_remove(w->r, &err), 0);
    assert_picture(w->rig.space, "");
    assert_int_equal(mv_region_remove(w->b, &err), 0);
    assert_int_equal(mv_region_remove(w->a, &err), 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, open_watched, close_watched)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_region_is_what_its_options_said),
        test(the_name_is_a_copy),
        test(what_a_kind_does_not_have_is_refused),
        test(access_sizes_are_powers_of_two_in_order),
        test(a_region_is_in_one_container),
        test(a_region_does_not_contain_itself),
        test(nor_through_an_alias),
        test(nor_when_the_alias_is_there_first),
        test(a_diamond_is_fine),
        test(an_alias_has_no_children),
        test(regions_of_two_machines_do_not_mix),
        test(what_is_in_no_container_cannot_leave_it),
        test(only_an_alias_slides),
        test(memory_grows_within_its_block),
        test(memory_grows_from_its_offset_in_the_block),
        test(others_have_any_size),
        test(a_value_that_is_there_already_is_no_edit),
        test(a_region_can_be_removed_without_a_reference),
    };
    return cmocka_run_group_tests_name("region", tests, NULL, NULL);
}
