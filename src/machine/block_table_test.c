// SPDX-License-Identifier: MIT
#include "machine/block_test.h"

#include <pthread.h>
#include <time.h>

/* --- order, places --------------------------------------------------------------------------------- */

/* What qemu-memory-api.md says of ram_addr_t, without any cleverness: a list in the order of sizes. */
struct model {
    struct {
        struct mv_block *block;
        uint64_t offset, size;
    } rows[64];
    size_t n;
};

static uint64_t model_place(const struct model *model, uint64_t size)
{
    uint64_t best = 0, best_gap = UINT64_MAX;
    for (size_t i = 0; i < model->n; i++) {
        uint64_t end = model->rows[i].offset + model->rows[i].size;
        uint64_t candidate = (end + 0x3ffff) / 0x40000 * 0x40000, next = UINT64_MAX;
        for (size_t j = 0; j < model->n; j++) {
            if (model->rows[j].offset >= candidate && model->rows[j].offset < next) {
                next = model->rows[j].offset;
            }
        }
        if (next - candidate >= size && next - candidate < best_gap) {
            best = candidate;
            best_gap = next - candidate;
        }
    }
    return best;
}

static void model_add(struct model *model, struct mv_block *block, uint64_t size)
{
    uint64_t offset = model_place(model, size);
    size_t at = 0;
    while (at < model->n && model->rows[at].size >= size) {
        at++;
    }
    memmove(&model->rows[at + 1], &model->rows[at], (model->n - at) * sizeof model->rows[0]);
    model->rows[at].block = block;
    model->rows[at].offset = offset;
    model->rows[at].size = size;
    model->n++;
}

static void model_remove(struct model *model, size_t at)
{
    memmove(&model->rows[at], &model->rows[at + 1], (model->n - at - 1) * sizeof model->rows[0]);
    model->n--;
}

static void compare(const struct rig *rig, const struct model *model)
{
    size_t i = 0;
    struct mv_block *block = NULL;
    while ((block = mv_block_next(rig->machine, block)) != NULL) {
        assert_true(i < model->n);
        assert_ptr_equal(block, model->rows[i].block);
        assert_int_equal(info_of(block).ram_offset, model->rows[i].offset);
        i++;
    }
    assert_int_equal(i, model->n);
}

static void order_and_places_are_those_of_a_naive_model(void **state)
{
    (void)state;
    unsigned seed = (unsigned)time(NULL);
    printf("# seed %u\n", seed);
    struct rig rig;
    rig_open(&rig);
    struct model model = {0};
    for (unsigned step = 0; step < 3000; step++) {
        uint64_t version = mv_block_version(rig.machine);
        if (model.n > 0 && (model.n == 60 || rand_r(&seed) % 100 < 45)) {
            size_t at = (size_t)rand_r(&seed) % model.n;
            mv_block_put(model.rows[at].block);
            model_remove(&model, at);
        } else {
            uint64_t size = (1 + (uint64_t)rand_r(&seed) % 200) * (rand_r(&seed) & 1 ? 4096 : 0x10000);
            struct mv_block *block = block_with(&rig, &(struct mv_block_options){.size_bytes = size});
            model_add(&model, block, size);
        }
        assert_true(mv_block_version(rig.machine) != version);
        assert_true(block_table_check(&rig.machine->blocks));
        compare(&rig, &model);
    }
    while (model.n > 0) {
        mv_block_put(model.rows[0].block);
        model_remove(&model, 0);
    }
    assert_null(mv_block_next(rig.machine, NULL));
    rig_close(&rig);
}

static void blocks_are_found(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_block *a = block_with(&rig, &(struct mv_block_options){.id = "/one", .size_bytes = 8192});
    struct mv_block *b = block_with(&rig, &(struct mv_block_options){.id = "/two", .size_bytes = 4096});
    struct mv_block *c = block_with(&rig, &(struct mv_block_options){.size_bytes = 4096});
    struct mv_block *found;
    uint64_t offset = 77;
    assert_ptr_equal(found = mv_block_by_id(rig.machine, "/two"), b);
    mv_block_put(found);
    assert_null(mv_block_by_id(rig.machine, "b"));
    assert_ptr_equal(found = mv_block_by_hva(rig.machine, mv_hva(info_of(a).hva.raw + 8191), &offset), a);
    assert_int_equal(offset, 8191);
    mv_block_put(found);
    offset = 77;
    assert_null(mv_block_by_hva(rig.machine, mv_hva(info_of(a).hva.raw + 8192), &offset));
    assert_null(mv_block_by_hva(rig.machine, mv_hva(info_of(a).hva.raw - 1), &offset));
    assert_int_equal(offset, 77);
    assert_int_equal(info_of(b).ram_offset, 0x40000);
    assert_int_equal(info_of(c).ram_offset, 0x80000);
    assert_ptr_equal(found = mv_block_by_ram_offset(rig.machine, 0x40123, &offset), b);
    assert_int_equal(offset, 0x123);
    mv_block_put(found);
    assert_null(mv_block_by_ram_offset(rig.machine, 0x41000, &offset));

    const struct mv_block_options taken = {.name = "third", .id = "/two", .size_bytes = 1};
    assert_refused(&rig, &taken, -EEXIST, "duplicate-id", "/two");
    mv_block_put(b);
    assert_null(mv_block_by_id(rig.machine, "/two"));
    b = block_with(&rig, &taken);
    assert_int_equal(info_of(b).ram_offset, 0x40000);
    assert_string_equal(info_of(b).id, "/two");
    assert_null(info_of(c).id);
    mv_block_put(a);
    mv_block_put(b);
    mv_block_put(c);
    rig_close(&rig);
}

/* Between its last reference's end and its leaving the list, a block is nobody's any more. */
static void a_block_that_ends_is_not_found(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_block *block = block_with(&rig, &(struct mv_block_options){.id = "/id", .size_bytes = 8192});
    struct mv_block *other = block_with(&rig, &(struct mv_block_options){.size_bytes = 4096});
    struct mv_block *found;
    uint64_t offset;
    atomic_store(&block->refs, 0);
    assert_ptr_equal(found = mv_block_next(rig.machine, NULL), other);
    assert_null(mv_block_next(rig.machine, found));
    assert_null(mv_block_by_id(rig.machine, "/id"));
    assert_null(mv_block_by_hva(rig.machine, mv_hva((uint64_t)(uintptr_t)block->host), &offset));
    assert_int_equal(block->refs, 0);
    atomic_store(&block->refs, 1);
    mv_block_put(block);
    mv_block_put(other);
    rig_close(&rig);
}

static void *churn(void *opaque)
{
    for (unsigned i = 0; i < 2000; i++) {
        struct mv_block *block = NULL;
        const struct mv_block_options options = {.name = "t", .size_bytes = 4096};
        if (mv_block_create(opaque, &options, &block, NULL) != 0) {
            return opaque;
        }
        mv_block_put(block);
    }
    return NULL;
}

/* One thread goes through the list while two others make and drop blocks. */
static void the_list_can_be_walked_meanwhile(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_block *stays[2];
    for (size_t i = 0; i < 2; i++) {
        stays[i] = block_with(&rig, &(struct mv_block_options){.size_bytes = i ? 1 << 20 : 1});
    }
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, churn, rig.machine), 0);
    }
    for (unsigned round = 0; round < 2000; round++) {
        unsigned seen = 0;
        struct mv_block *block = NULL;
        while ((block = mv_block_next(rig.machine, block)) != NULL) {
            seen += block == stays[0] || block == stays[1];
        }
        assert_int_equal(seen, 2);
    }
    for (size_t i = 0; i < 2; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_true(block_table_check(&rig.machine->blocks));
    mv_block_put(stays[0]);
    mv_block_put(stays[1]);
    rig_close(&rig);
}

/* --- notifiers, resizing ----------------------------------------------------------------------------- */

struct log {
    char text[1000];
    uint64_t size_when_told;
};

static void log_line(struct log *log, const char *format, const char *name, uint64_t a, uint64_t b)
{
    size_t used = strlen(log->text);
    snprintf(log->text + used, sizeof log->text - used, format, name, a, b);
}

static void log_added(void *opaque, struct mv_block *block)
{
    log_line(opaque, "+%s %" PRIx64 "/%" PRIx64 "\n", block->name, block->size_bytes, block->max_size_bytes);
}

static void log_removed(void *opaque, struct mv_block *block)
{
    assert_int_equal(bytes_of(block)[0], 0); /* still there */
    log_line(opaque, "-%s %" PRIx64 "/%" PRIx64 "\n", block->name, block->size_bytes, block->max_size_bytes);
}

static void log_resized(void *opaque, struct mv_block *block, uint64_t old_size, uint64_t new_size)
{
    ((struct log *)opaque)->size_when_told = block->size_bytes;
    log_line(opaque, "%s %" PRIx64 ">%" PRIx64 "\n", block->name, old_size, new_size);
}

static void log_callback(void *opaque, struct mv_block *block, uint64_t size_bytes)
{
    log_line(opaque, "callback %s %" PRIx64 " %" PRIx64 "\n", block->name, size_bytes, block->size_bytes);
}

static void assert_log(struct log *log, const char *text)
{
    assert_string_equal(log->text, text);
    log->text[0] = '\0';
}

static const struct mv_block_notifier_ops log_ops = {
    .added = log_added, .removed = log_removed, .resized = log_resized};

static void notifiers_are_told_of_all(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct log log = {0}, other = {0};
    struct mv_block_notifier *notifier, *silent, *second;
    static const struct mv_block_notifier_ops no_ops = {0};
    struct mv_block *a = block_with(&rig, &(struct mv_block_options){.name = "a", .size_bytes = 0x1000});
    struct mv_block *b =
        block_with(&rig, &(struct mv_block_options){.name = "b", .size_bytes = 0x1000, .max_size_bytes = 0x3000});
    assert_int_equal(mv_block_notifier_create(rig.machine, &log_ops, &log, &notifier, NULL), 0);
    assert_int_equal(mv_block_notifier_create(rig.machine, &no_ops, NULL, &silent, NULL), 0);
    assert_log(&log, "+b 1000/3000\n+a 1000/1000\n");
    struct mv_block *c = block_with(&rig, &(struct mv_block_options){.name = "c", .size_bytes = 0x2000});
    assert_log(&log, "+c 2000/2000\n");
    mv_block_put(c);
    assert_log(&log, "-c 2000/2000\n");
    assert_int_equal(mv_block_resize(b, 0x2000, NULL), 0);
    assert_log(&log, "b 1000>2000\n");
    assert_int_equal(log.size_when_told, 0x1000);
    assert_int_equal(mv_block_notifier_create(rig.machine, &log_ops, &other, &second, NULL), 0);
    assert_log(&other, "+b 2000/3000\n+a 1000/1000\n");
    mv_block_notifier_destroy(notifier);
    assert_log(&log, "-b 2000/3000\n-a 1000/1000\n");
    mv_block_put(a);
    assert_log(&log, "");
    assert_log(&other, "-a 1000/1000\n");
    mv_block_notifier_destroy(second);
    mv_block_notifier_destroy(silent);
    mv_block_notifier_destroy(NULL);
    mv_block_put(b);
    rig_close(&rig);
}

static bool is_dirty(const struct mv_block *block, enum mv_dirty_client client, uint64_t page)
{
    return dirty_map_load(&block->dirty, client, page / 64) >> (page % 64) & 1;
}

static void what_is_in_use_after_a_resize_is_dirty(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_block *block =
        block_with(&rig, &(struct mv_block_options){.size_bytes = 70 * 4096, .max_size_bytes = 300 * 4096});
    static const unsigned sizes[] = {71, 300, 128, 3, 64, 200};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (unsigned client = 0; client < MV_DIRTY_CLIENTS; client++) {
            for (uint64_t word = 0; word < 5; word++) {
                (void)dirty_map_take(&block->dirty, (enum mv_dirty_client)client, word, UINT64_MAX);
            }
            dirty_map_set(&block->dirty, (enum mv_dirty_client)client, 0, 5);
        }
        assert_int_equal(mv_block_resize(block, sizes[i] * 4096, NULL), 0);
        for (uint64_t page = 0; page < 300; page++) {
            for (unsigned client = 0; client < MV_DIRTY_CLIENTS; client++) {
                assert_int_equal(is_dirty(block, (enum mv_dirty_client)client, page), page < sizes[i]);
            }
        }
    }
    mv_block_put(block);
    rig_close(&rig);
}

static void blocks_are_resized_as_qemu_does(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct log log = {0};
    struct mv_block_notifier *notifier;
    struct mv_error err = {0};
    struct mv_block_options options = {.size_bytes = 0x1800, .resized = log_callback, .resized_opaque = &log};
    struct mv_block *fixed = block_with(&rig, &options);
    options.max_size_bytes = 0x3800;
    struct mv_block *block = block_with(&rig, &options);
    assert_int_equal(mv_block_notifier_create(rig.machine, &log_ops, &log, &notifier, NULL), 0);
    log.text[0] = '\0';

    assert_false(info_of(fixed).resizeable);
    assert_true(info_of(block).resizeable);
    assert_int_equal(info_of(block).size_bytes, 0x2000);
    assert_int_equal(info_of(block).max_size_bytes, 0x4000);

    /* The same after rounding: any block, and the callback only if it was not the same before. */
    assert_int_equal(mv_block_resize(fixed, 0x1800, &err), 0);
    assert_log(&log, "");
    assert_int_equal(mv_block_resize(fixed, 0x1900, &err), 0);
    assert_log(&log, "callback b 1900 2000\n");
    assert_int_equal(mv_block_resize(fixed, 0x2000, &err), 0);
    assert_log(&log, "callback b 2000 2000\n");

    assert_int_equal(mv_block_resize(fixed, 0x2001, &err), -EINVAL);
    assert_string_equal(err.reason, "not-resizeable");
    assert_string_equal(err.object, "b");
    assert_non_null(strstr(err.text, "0x2000"));
    assert_int_equal(mv_block_resize(fixed, 0x1000, &err), -EINVAL);
    assert_string_equal(err.reason, "not-resizeable");
    assert_int_equal(mv_block_resize(block, 0x4001, &err), -EINVAL);
    assert_string_equal(err.reason, "too-large");
    assert_non_null(strstr(err.text, "0x4001 bytes are more than its maximum of 0x4000"));
    assert_int_equal(mv_block_resize(block, TOP, &err), -EINVAL);
    assert_string_equal(err.reason, "too-large");
    assert_int_equal(mv_block_resize(block, 0, &err), -EINVAL);
    assert_string_equal(err.reason, "bad-size");
    assert_log(&log, "");

    bytes_of(block)[0x3fff] = 3; /* mapped from the beginning */
    assert_int_equal(mv_block_resize(block, 0x3900, &err), 0);
    assert_log(&log, "b 2000>4000\ncallback b 3900 4000\n");
    assert_int_equal(info_of(block).size_bytes, 0x4000);
    assert_int_equal(mv_block_resize(block, 1, &err), 0);
    assert_log(&log, "b 4000>1000\ncallback b 1 1000\n");
    assert_int_equal(bytes_of(block)[0x3fff], 3);
    mv_block_notifier_destroy(notifier);
    mv_block_put(fixed);
    mv_block_put(block);
    rig_close(&rig);
}

/* --- the table as text --------------------------------------------------------------------------------- */

/* Lines of a real QEMU 7.2: `-M pc -m 256M`, `info ramblock`. The order of making is that of the offsets. */
static const char qemu_text[] =
    "              Block Name    PSize              Offset               Used              Total\n"
    "                  pc.ram    4 KiB  0x0000000000000000 0x0000000010000000 0x0000000010000000\n"
    "   0000:00:02.0/vga.vram    4 KiB  0x0000000010080000 0x0000000001000000 0x0000000001000000\n"
    "    /rom@etc/acpi/tables    4 KiB  0x0000000011100000 0x0000000000020000 0x0000000000200000\n"
    "                 pc.bios    4 KiB  0x0000000010000000 0x0000000000040000 0x0000000000040000\n"
    "  0000:00:03.0/e1000.rom    4 KiB  0x00000000110c0000 0x0000000000040000 0x0000000000040000\n"
    "                  pc.rom    4 KiB  0x0000000010040000 0x0000000000020000 0x0000000000020000\n"
    "    0000:00:02.0/vga.rom    4 KiB  0x0000000011080000 0x0000000000010000 0x0000000000010000\n"
    "   /rom@etc/table-loader    4 KiB  0x0000000011300000 0x0000000000001000 0x0000000000010000\n"
    "      /rom@etc/acpi/rsdp    4 KiB  0x0000000011340000 0x0000000000001000 0x0000000000001000\n";

struct row {
    char id[100];
    uint64_t offset, used, total;
    bool made;
};

/* Make the blocks of QEMU's text in the order in which it must have made them; the table is the same text. */
static void remake(const char *text)
{
    struct row rows[64];
    size_t n = 0;
    for (const char *line = strchr(text, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
        unsigned long page;
        struct row *row = &rows[n++];
        assert_int_equal(sscanf(line, "%99s %lu KiB %" SCNx64 " %" SCNx64 " %" SCNx64, row->id, &page,
                                &row->offset, &row->used, &row->total),
                         5);
        row->made = false;
    }
    struct rig rig;
    struct mv_block *blocks[64];
    rig_open(&rig);
    for (size_t i = 0; i < n; i++) {
        struct row *least = NULL;
        for (size_t j = 0; j < n; j++) {
            if (!rows[j].made && (!least || rows[j].offset < least->offset)) {
                least = &rows[j];
            }
        }
        least->made = true;
        blocks[i] = block_with(&rig, &(struct mv_block_options){.name = "made again",
                                                                .id = least->id,
                                                                .size_bytes = least->used,
                                                                .max_size_bytes = least->total});
    }
    char *table;
    assert_int_equal(mv_block_table(rig.machine, &table, NULL), 0);
    assert_string_equal(table, text);
    free(table);
    for (size_t i = 0; i < n; i++) {
        mv_block_put(blocks[i]);
    }
    rig_close(&rig);
}

static void the_table_is_qemus(void **state)
{
    (void)state;
    remake(qemu_text);
}

/* The same, of the QEMU that is installed here. */
static void the_table_is_that_of_the_qemu_here(void **state)
{
    (void)state;
    if (system("command -v qemu-system-x86_64 >/dev/null") != 0) {
        skip_because("the_table_is_that_of_the_qemu_here", "no qemu-system-x86_64");
    }
    static const char *const machines[] = {"-M pc -m 1G", "-M q35 -m 3G -device virtio-net-pci -vga cirrus",
                                           "-M microvm -m 64M", "-M pc -m 777M -nodefaults -device e1000"};
    for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++) {
        char command[300], line[400];
        snprintf(command, sizeof command,
                 "printf 'info ramblock\\nquit\\n' | timeout 30 qemu-system-x86_64 %s -display none -S "
                 "-accel tcg -monitor stdio -serial none -parallel none 2>/dev/null",
                 machines[i]);
        FILE *qemu = popen(command, "r");
        assert_non_null(qemu);
        static char text[20000];
        size_t used = 0;
        bool inside = false;
        while (fgets(line, sizeof line, qemu)) {
            line[strcspn(line, "\r\n")] = '\0';
            inside = (inside || strstr(line, "Block Name")) && !strstr(line, "(qemu)");
            if (inside) {
                used += (size_t)snprintf(text + used, sizeof text - used, "%s\n", line);
            }
        }
        pclose(qemu);
        assert_true(used > 100);
        remake(text);
        printf("# %s: the same %zu bytes\n", machines[i], used);
    }
}

static void names_stand_in_for_ids(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_block *block = block_with(&rig, &(struct mv_block_options){.name = "no id", .size_bytes = 1});
    char *table;
    assert_int_equal(mv_block_table(rig.machine, &table, NULL), 0);
    assert_non_null(strstr(table, "\n                   no id    4 KiB  0x0000000000000000 0x0000000000001000 "
                                  "0x0000000000001000\n"));
    free(table);
    mv_block_put(block);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_and_places_are_those_of_a_naive_model),
        cmocka_unit_test(blocks_are_found),
        cmocka_unit_test(a_block_that_ends_is_not_found),
        cmocka_unit_test(the_list_can_be_walked_meanwhile),
        cmocka_unit_test(notifiers_are_told_of_all),
        cmocka_unit_test(blocks_are_resized_as_qemu_does),
        cmocka_unit_test(what_is_in_use_after_a_resize_is_dirty),
        cmocka_unit_test(the_table_is_qemus),
        cmocka_unit_test(the_table_is_that_of_the_qemu_here),
        cmocka_unit_test(names_stand_in_for_ids),
    };
    return cmocka_run_group_tests_name("block_table", tests, NULL, NULL);
}
