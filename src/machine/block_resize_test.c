// SPDX-License-Identifier: MIT
/* Blocks that change their size under a region that follows them: both, and all that shows them, or neither. */
#include <memvirt/dirty.h>
#include <memvirt/listener.h>
#include <time.h>

#include "base/epoch.h"
#include "machine/block_test.h"

#define PAGE UINT64_C(4096)
#define MAX_PAGES 64
#define AT UINT64_C(0x100000)

struct fixture {
    struct rig rig;
    struct mv_block *block;
    struct mv_region *region;
    char log[1024];
    int answer; /* of the listener */
};

static void log_resized(void *opaque, struct mv_block *block, uint64_t old_size, uint64_t new_size)
{
    struct fixture *f = opaque;
    (void)block;
    sprintf(f->log + strlen(f->log), "block %" PRIx64 ">%" PRIx64 "\n", old_size, new_size);
}

static const struct mv_block_notifier_ops log_ops = {.resized = log_resized};

static uint64_t region_size(struct mv_region *region)
{
    struct mv_region_info info;
    mv_region_info(region, &info);
    return info.size_bytes;
}

static void on_resized(void *opaque, struct mv_block *block, uint64_t size_bytes)
{
    struct fixture *f = opaque;
    (void)block;
    sprintf(f->log + strlen(f->log), "callback %" PRIx64 ", region %" PRIx64 "\n", size_bytes,
            region_size(f->region));
}

static int on_prepare(void *opaque, struct mv_error *err)
{
    (void)err;
    return ((struct fixture *)opaque)->answer;
}

static void on_section(struct fixture *f, char sign, const struct mv_section *section)
{
    sprintf(f->log + strlen(f->log), "%c %" PRIx64 "-%" PRIx64 "\n", sign, section->range.first,
            section->range.last);
}

static void on_add(void *opaque, const struct mv_section *section)
{
    on_section(opaque, '+', section);
}

static void on_del(void *opaque, const struct mv_section *section)
{
    on_section(opaque, '-', section);
}

static const struct mv_listener_ops listener_ops = {
    .region_add = on_add, .region_del = on_del, .prepare = on_prepare};

static struct mv_region *follower(const struct fixture *f, struct mv_block *block)
{
    return make(f->rig.machine, &(struct mv_region_options){
                                    .name = "ram", .kind = MV_REGION_RAM, .block = block, .follow_block = true});
}

static void open_fixture(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    rig_open(&f->rig);
    struct mv_block_options options = {
        .size_bytes = 0x1800, .max_size_bytes = MAX_PAGES * PAGE, .resized = on_resized, .resized_opaque = f};
    f->block = block_with(&f->rig, &options);
    f->region = follower(f, f->block);
    assert_int_equal(mv_region_add(f->rig.root, AT, f->region, 0, NULL), 0);
}

static void close_fixture(struct fixture *f)
{
    mv_region_put(f->region);
    mv_block_put(f->block);
    rig_close(&f->rig);
}

static void assert_log(struct fixture *f, const char *text)
{
    assert_string_equal(f->log, text);
    f->log[0] = '\0';
}

/* The block, the region and the view are of one size. */
static void assert_size(struct fixture *f, uint64_t exact)
{
    struct mv_section section;
    assert_int_equal(info_of(f->block).size_bytes, (exact + PAGE - 1) / PAGE * PAGE);
    assert_int_equal(region_size(f->region), exact);
    const struct mv_view *view = mv_space_view(f->rig.space);
    assert_true(mv_view_lookup(view, mv_gpa(AT + exact - 1), &section));
    assert_int_equal(section.range.last, AT + exact - 1);
    assert_ptr_equal(hva_pointer(section.hva), bytes_of(f->block));
    assert_false(mv_view_lookup(view, mv_gpa(AT + exact), &section));
    mv_view_release(view);
}

static void a_region_follows_its_block(void **state)
{
    (void)state;
    struct fixture f;
    struct mv_block_notifier *notifier;
    struct mv_listener *listener;
    open_fixture(&f);
    assert_size(&f, 0x1800);
    assert_int_equal(mv_block_notifier_create(f.rig.machine, &log_ops, &f, &notifier, NULL), 0);
    assert_int_equal(mv_listener_create(f.rig.space, &listener_ops, &f, 0, &listener, NULL), 0);
    assert_log(&f, "+ 100000-1017ff\n");
    assert_int_equal(mv_block_resize(f.block, 0x1800, NULL), 0);
    assert_log(&f, "");
    assert_int_equal(mv_block_resize(f.block, 0x1900, NULL), 0); /* the same after rounding */
    assert_size(&f, 0x1900);
    assert_log(&f, "- 100000-1017ff\n+ 100000-1018ff\ncallback 1900, region 1900\n");
    assert_int_equal(mv_block_resize(f.block, 0x5000, NULL), 0);
    assert_size(&f, 0x5000);
    assert_log(&f, "block 2000>5000\n- 100000-1018ff\n+ 100000-104fff\ncallback 5000, region 5000\n");
    assert_int_equal(mv_space_write(f.rig.space, mv_gpa(AT + 0x4fff), "x", 1, MV_ATTRS_NONE), MV_OK);
    assert_int_equal(bytes_of(f.block)[0x4fff], 'x');
    assert_int_equal(mv_block_resize(f.block, 1, NULL), 0);
    assert_size(&f, 1);
    assert_log(&f, "block 5000>1000\n- 100000-104fff\n+ 100000-100000\ncallback 1, region 1\n");
    mv_listener_destroy(listener);
    mv_block_notifier_destroy(notifier);
    close_fixture(&f);
}

/* A guest's pages that were not there before are dirty for whoever begins to look. */
static void a_new_part_is_dirty(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f);
    assert_int_equal(mv_block_resize(f.block, 3 * PAGE, NULL), 0);
    assert_int_equal(mv_dirty_log_start(f.rig.machine, 1, NULL), 0);
    assert_true(mv_dirty_test_and_clear(f.region, 0, 3 * PAGE, MV_DIRTY_MIGRATION));
    assert_false(mv_dirty_test_and_clear(f.region, 0, 3 * PAGE, MV_DIRTY_MIGRATION));
    assert_int_equal(mv_block_resize(f.block, 6 * PAGE, NULL), 0);
    for (uint64_t page = 3; page < 6; page++) {
        assert_true(mv_dirty_test_and_clear(f.region, page * PAGE, PAGE, MV_DIRTY_MIGRATION));
    }
    assert_int_equal(mv_dirty_log_stop(f.rig.machine, 1, NULL), 0);
    close_fixture(&f);
}

/* Refused by a listener, or part of what comes to nothing: the block too has its former size. */
static void what_fails_changes_neither(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0x5000, 0x1000, 0x1801};
    struct fixture f;
    struct mv_block_notifier *notifier;
    struct mv_listener *listener;
    open_fixture(&f);
    assert_int_equal(mv_block_notifier_create(f.rig.machine, &log_ops, &f, &notifier, NULL), 0);
    assert_int_equal(mv_listener_create(f.rig.space, &listener_ops, &f, 0, &listener, NULL), 0);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        f.answer = -EPERM;
        assert_int_equal(mv_block_resize(f.block, sizes[i], NULL), -EPERM);
        f.answer = 0;
        assert_size(&f, 0x1800);
        assert_null(strstr(f.log, "callback"));
        f.log[0] = '\0';

        assert_int_equal(mv_machine_begin(f.rig.machine, NULL), 0);
        assert_int_equal(mv_block_resize(f.block, 0x7000, NULL), 0);
        assert_int_equal(mv_block_resize(f.block, sizes[i], NULL), 0);
        assert_int_equal(region_size(f.region), sizes[i]);
        mv_machine_abort(f.rig.machine);
        assert_size(&f, 0x1800);
        f.log[0] = '\0';
    }
    assert_int_equal(mv_block_resize(f.block, (MAX_PAGES + 1) * PAGE, NULL), -EINVAL);
    assert_size(&f, 0x1800);
    /* Shrunk and taken back: nobody knows any more what was dirty, so all of it is. */
    assert_int_equal(mv_dirty_log_start(f.rig.machine, 1, NULL), 0);
    assert_true(mv_dirty_test_and_clear(f.region, 0, 0x1800, MV_DIRTY_MIGRATION));
    f.answer = -EPERM;
    assert_int_equal(mv_block_resize(f.block, 0x1000, NULL), -EPERM);
    f.answer = 0;
    assert_true(mv_dirty_test_and_clear(f.region, 0x1000, 0x800, MV_DIRTY_MIGRATION));
    assert_int_equal(mv_dirty_log_stop(f.rig.machine, 1, NULL), 0);
    mv_listener_destroy(listener);
    mv_block_notifier_destroy(notifier);
    close_fixture(&f);
}

static void refuse(const struct fixture *f, struct mv_region_options options, int code, const char *reason)
{
    struct mv_region *region = NULL;
    struct mv_error err = {0};
    options.name = "other";
    options.follow_block = true;
    assert_int_equal(mv_region_create(f->rig.machine, &options, &region, &err), code);
    assert_string_equal(err.reason, reason);
    assert_string_equal(err.object, "other");
    assert_null(region);
}

static void never(void *opaque)
{
    (void)opaque;
    fail();
}

static void only_one_follows(void **state)
{
    (void)state;
    static const struct mv_mmio_ops no_handlers = {0};
    struct fixture f;
    struct mv_error err;
    open_fixture(&f);
    refuse(&f, (struct mv_region_options){.kind = MV_REGION_RAM, .block = f.block}, -EBUSY, "followed");
    refuse(&f,
           (struct mv_region_options){
               .kind = MV_REGION_ROM_DEVICE, .block = f.block, .ops = &no_handlers, .release = never},
           -EBUSY, "followed");
    refuse(&f, (struct mv_region_options){.kind = MV_REGION_RAM, .block = f.block, .size_bytes = PAGE}, -EINVAL,
           "bad-region");
    refuse(&f, (struct mv_region_options){.kind = MV_REGION_RAM, .block = f.block, .block_offset_bytes = PAGE},
           -EINVAL, "bad-region");
    refuse(&f, (struct mv_region_options){.kind = MV_REGION_MMIO}, -EINVAL, "bad-region");
    refuse(&f, (struct mv_region_options){.kind = MV_REGION_RAM}, -EINVAL, "bad-region");
    assert_int_equal(mv_region_set_size(f.region, PAGE, &err), -EINVAL);
    assert_string_equal(err.reason, "bad-region");
    assert_size(&f, 0x1800);

    /* Another region of the same block keeps its size; and when the follower is gone, another may follow. */
    struct mv_region *plain = make(
        f.rig.machine,
        &(struct mv_region_options){.name = "plain", .kind = MV_REGION_RAM, .size_bytes = PAGE, .block = f.block});
    assert_int_equal(mv_block_resize(f.block, 0x3000, NULL), 0);
    assert_int_equal(region_size(plain), PAGE);
    assert_int_equal(mv_region_remove(f.region, NULL), 0);
    mv_region_put(f.region);
    f.region = plain;
    epoch_drain(); /* a view of a moment ago had it */
    assert_int_equal(mv_block_resize(f.block, 0x2000, NULL), 0);
    f.region = follower(&f, f.block);
    assert_int_equal(mv_region_add(f.rig.root, AT, f.region, 0, NULL), 0);
    assert_size(&f, 0x2000);
    mv_region_put(plain);
    close_fixture(&f);
}

/* Under a hole, through an alias, and switched off: the view has what is left of it. */
static void random_sizes_are_shown(void **state)
{
    (void)state;
    struct fixture f;
    const char *asked = getenv("MEMVIRT_TEST_SEED");
    unsigned seed = asked ? (unsigned)strtoul(asked, NULL, 0) : (unsigned)time(NULL);
    print_message("# seed %u\n", seed);
    open_fixture(&f);
    struct mv_region *hole = reservation(&f.rig, "hole", 4 * PAGE);
    struct mv_region *window = alias_of(&f.rig, "window", f.region, 8 * PAGE, 16 * PAGE);
    assert_int_equal(mv_region_add(f.rig.root, AT + 20 * PAGE, hole, 1, NULL), 0);
    assert_int_equal(mv_region_add(f.rig.root, 2 * AT, window, 0, NULL), 0);
    for (unsigned round = 0; round < 500; round++) {
        uint64_t size = 1 + (uint64_t)rand_r(&seed) % (MAX_PAGES * PAGE);
        bool on = rand_r(&seed) % 4 != 0;
        assert_int_equal(mv_region_set_enabled(f.region, on, NULL), 0);
        assert_int_equal(mv_block_resize(f.block, size, NULL), 0);
        f.log[0] = '\0';
        const struct mv_view *view = mv_space_view(f.rig.space);
        for (uint64_t offset = 0; offset < MAX_PAGES * PAGE; offset += PAGE / 2) {
            struct mv_section s;
            bool ram = mv_view_lookup(view, mv_gpa(AT + offset), &s) && s.hva.raw != 0;
            assert_int_equal(ram, on && offset < size && (offset < 20 * PAGE || offset >= 24 * PAGE));
            ram = offset < 16 * PAGE && mv_view_lookup(view, mv_gpa(2 * AT + offset), &s) && s.hva.raw != 0;
            assert_int_equal(ram, on && offset < 16 * PAGE && 8 * PAGE + offset < size);
        }
        mv_view_release(view);
    }
    mv_region_put(hole);
    mv_region_put(window);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_region_follows_its_block), cmocka_unit_test(a_new_part_is_dirty),
        cmocka_unit_test(what_fails_changes_neither), cmocka_unit_test(only_one_follows),
        cmocka_unit_test(random_sizes_are_shown),
    };
    return cmocka_run_group_tests_name("block_resize", tests, NULL, NULL);
}
