// SPDX-License-Identifier: MIT
#include <memvirt/image.h>

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/addr.h"
#include "board/elf_build_test.h"

#define RAM_BYTES (2 * MIB)
#define ROM_GPA (4 * MIB)
#define ROM_BYTES (64 * KIB)
#define DEVICE_GPA (3 * MIB)
#define HIGH_RAM_GPA (4 * GIB)
#define DIRT 0xcc /* what RAM is full of before a load: it need not be fresh */

/* A directory for files, and a memory with RAM at 0 and at 4 GiB, a ROM, a device and holes. */
struct fixture {
    char directory[64];
    char path[128];
    struct mv_machine *machine;
    struct mv_region *root;
    struct mv_space *space;
    struct mv_image image;
    struct mv_error err;
};

static void add_memory(struct fixture *f, enum mv_region_kind kind, uint64_t gpa, uint64_t size_bytes)
{
    struct mv_block *block;
    struct mv_block_info info;
    struct mv_region *region;
    const struct mv_block_options block_options = {.name = "block", .size_bytes = size_bytes};
    assert_int_equal(mv_block_create(f->machine, &block_options, &block, NULL), 0);
    mv_block_info(block, &info);
    memset(hva_pointer(info.hva), DIRT, size_bytes);
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

static void open_memory(struct fixture *f, uint64_t ram_bytes)
{
    const struct mv_region_options options = {
        .name = "root",
        .kind = MV_REGION_CONTAINER,
        .size_bytes = MV_SIZE_2_64,
    };
    assert_int_equal(mv_machine_create(&f->machine, NULL), 0);
    assert_int_equal(mv_region_create(f->machine, &options, &f->root, NULL), 0);
    add_memory(f, MV_REGION_RAM, 0, ram_bytes);
    add_memory(f, MV_REGION_RAM, HIGH_RAM_GPA, 64 * KIB);
    add_memory(f, MV_REGION_ROM, ROM_GPA, ROM_BYTES);
    add_device(f, DEVICE_GPA, 64 * KIB);
    assert_int_equal(mv_space_create(f->machine, "memory", f->root, &f->space, NULL), 0);
}

static void close_memory(struct fixture *f)
{
    mv_space_destroy(f->space);
    mv_region_put(f->root);
    mv_machine_destroy(f->machine);
}

static int setup(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.directory = "/tmp/memvirt-image-XXXXXX"};
    assert_non_null(mkdtemp(fixture.directory));
    open_memory(&fixture, RAM_BYTES);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    close_memory(f);
    if (f->path[0]) {
        (void)remove(f->path);
    }
    return rmdir(f->directory);
}

static void name_file(struct fixture *f, const char *name)
{
    if (f->path[0]) {
        (void)remove(f->path);
    }
    snprintf(f->path, sizeof f->path, "%s/%s", f->directory, name);
}

static void write_file(struct fixture *f, const char *name, const void *bytes, size_t length)
{
    name_file(f, name);
    FILE *file = fopen(f->path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static int load_with(struct fixture *f, enum mv_image_format format, const char *arguments)
{
    const struct mv_image_options options = {.path = f->path, .format = format, .arguments = arguments};
    f->err = (struct mv_error){0};
    return mv_image_load(f->space, &options, &f->image, &f->err);
}

static int load(struct fixture *f)
{
    return load_with(f, MV_IMAGE_AUTO, NULL);
}

static int load_built(struct fixture *f, const struct built *built)
{
    write_file(f, "x.elf", built->bytes, built->size_bytes);
    return load(f);
}

static void assert_taken(struct fixture *f, int rc)
{
    if (rc != 0) {
        fail_msg("%s", f->err.text);
    }
}

/* One line that begins with the path and has `words` in it. */
static void assert_error(const struct fixture *f, int rc, int code, const char *reason, const char *words)
{
    assert_int_equal(rc, code);
    assert_int_equal(f->err.code, code);
    assert_string_equal(f->err.reason, reason);
    assert_int_equal(strncmp(f->err.text, f->path, strlen(f->path)), 0);
    assert_null(strchr(f->err.text, '\n'));
    if (!strstr(f->err.text, words)) {
        fail_msg("\"%s\" is not in: %s", words, f->err.text);
    }
}

static void assert_bytes(const struct fixture *f, uint64_t gpa, const uint8_t *expected, size_t length)
{
    uint8_t *bytes = malloc(length);
    assert_non_null(bytes);
    assert_int_equal(mv_space_read(f->space, mv_gpa(gpa), bytes, length, MV_ATTRS_NONE), MV_OK);
    assert_memory_equal(bytes, expected, length);
    free(bytes);
}

static void assert_filled(const struct fixture *f, uint64_t gpa, uint8_t with, size_t length)
{
    uint8_t *expected = malloc(length);
    assert_non_null(expected);
    memset(expected, with, length);
    assert_bytes(f, gpa, expected, length);
    free(expected);
}

/* A refused image has left every byte as it was. */
static void assert_untouched(const struct fixture *f)
{
    assert_filled(f, 0, DIRT, RAM_BYTES);
    assert_filled(f, HIGH_RAM_GPA, DIRT, 64 * KIB);
    assert_filled(f, ROM_GPA, DIRT, ROM_BYTES);
}

static uint32_t read_u32(const struct fixture *f, uint64_t gpa)
{
    uint32_t value;
    assert_int_equal(mv_space_read(f->space, mv_gpa(gpa), &value, sizeof value, MV_ATTRS_NONE), MV_OK);
    return value;
}

static void assert_text(const struct fixture *f, uint64_t gpa, const char *text)
{
    assert_bytes(f, gpa, (const uint8_t *)text, strlen(text) + 1);
}

/* --- what is taken ----------------------------------------------------------------------------- */

static void segments_are_loaded_and_the_rest_of_them_zeroed(void **state)
{
    struct fixture *f = *state;
    static const enum elf_class classes[] = {ELF_CLASS_32, ELF_CLASS_64};
    for (size_t i = 0; i < 2; i++) {
        struct built built;
        built_init(&built, classes[i], 0x100020);
        built_add_at(&built, 0x100000, 0x1234, 0x5678);
        built_add_at(&built, 0x180000, 0, 0x10001);
        built_add_at(&built, ROM_GPA + 0x10, 0x10, 0x20); /* ROM is loaded like RAM */
        assert_taken(f, load_built(f, &built));
        assert_int_equal(f->image.entry_mode, MV_ENTRY_PROTECTED);
        assert_int_equal(f->image.entry.raw, 0x100020);
        assert_filled(f, 0xff000, DIRT, 0x1000);
        assert_bytes(f, 0x100000, built.bytes + BUILT_CONTENT, 0x1234);
        assert_filled(f, 0x101234, 0, 0x5678 - 0x1234);
        assert_filled(f, 0x105678, DIRT, 0x1000);
        assert_filled(f, 0x180000, 0, 0x10001);
        assert_filled(f, 0x190001, DIRT, 0x1000);
        assert_filled(f, ROM_GPA, DIRT, 0x10);
        assert_bytes(f, ROM_GPA + 0x10, built.bytes + BUILT_CONTENT, 0x10);
        assert_filled(f, ROM_GPA + 0x20, 0, 0x10);
        assert_filled(f, ROM_GPA + 0x30, DIRT, 0x10);
        close_memory(f);
        open_memory(f, RAM_BYTES);
    }
}

static void memory_above_4_gib_is_loaded_too(void **state)
{
    struct fixture *f = *state;
    struct built built;
    built_init(&built, ELF_CLASS_64, 0x100000);
    built_add_at(&built, 0x100000, 0x10, 0x10);
    built_add_at(&built, HIGH_RAM_GPA + 0x8000, 0x10, 0x8000);
    assert_taken(f, load_built(f, &built));
    assert_bytes(f, HIGH_RAM_GPA + 0x8000, built.bytes + BUILT_CONTENT, 0x10);
    assert_filled(f, HIGH_RAM_GPA + 0x8010, 0, 0x7ff0);
}

static void the_multiboot_information_is_there(void **state)
{
    struct fixture *f = *state;
    struct built built;
    built_init(&built, ELF_CLASS_32, 0x100000);
    built_add_at(&built, 0x100000, 0x10, 0x10);
    write_file(f, "x.flat", built.bytes, built.size_bytes);
    assert_taken(f, load_with(f, MV_IMAGE_AUTO, "one two"));

    const uint64_t info = f->image.info.raw;
    char line[256];
    snprintf(line, sizeof line, "%s one two", f->path);
    assert_true(info >= 0x1000 && info < 640 * KIB);
    assert_int_equal(read_u32(f, info), 1 << 0 | 1 << 2 | 1 << 6 | 1 << 9);
    assert_int_equal(read_u32(f, info + 4), 640);
    assert_int_equal(read_u32(f, info + 8), 1024);
    assert_text(f, read_u32(f, info + 16), line);
    assert_int_equal(read_u32(f, info + 44), 2 * 24);
    const uint32_t mmap = read_u32(f, info + 48);
    assert_int_equal(read_u32(f, mmap + 4), 0);
    assert_int_equal(read_u32(f, mmap + 12), RAM_BYTES);
    assert_int_equal(read_u32(f, mmap + 24 + 8), 1); /* 4 GiB */
    assert_int_equal(read_u32(f, mmap + 24 + 12), 64 * KIB);

    assert_taken(f, load(f));
    assert_text(f, read_u32(f, f->image.info.raw + 16), f->path); /* without arguments */
    assert_taken(f, load_with(f, MV_IMAGE_AUTO, ""));
    assert_text(f, read_u32(f, f->image.info.raw + 16), f->path);
}

static void the_information_avoids_segments(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint64_t gpa, memory_bytes, info;
    } cases[] = {
        {0x100000, 0x1000, 0x9000},          /* where it likes to be */
        {0x9000, 0x1000, 0xa000},            /* behind the segment */
        {0x8000, 0x98000 - 0x1000, 0x9f000}, /* the last page below 640 KiB */
        {0x9000, 0x97000, 0x8000},           /* before the segment */
        {0x2000, 0x9e000, 0x1000},           /* the last place of all */
        {0x9fff, 1, 0x9000},                 /* it is shorter than a page */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct built built;
        built_init(&built, ELF_CLASS_32, cases[i].gpa);
        built_add_at(&built, cases[i].gpa, 0, cases[i].memory_bytes);
        assert_taken(f, load_built(f, &built));
        assert_int_equal(f->image.info.raw, cases[i].info);
        assert_filled(f, cases[i].gpa, 0, cases[i].memory_bytes);
    }
}

static void without_room_for_it_nothing_is_loaded(void **state)
{
    struct fixture *f = *state;
    struct built built;
    built_init(&built, ELF_CLASS_32, 0x1000);
    built_add_at(&built, 0x1000, 0x10, 640 * KIB - 0x1000);
    assert_error(f, load_built(f, &built), -ENOEXEC, "no-room", "below 640 KiB");
    assert_untouched(f);

    char *arguments = malloc(640 * KIB);
    assert_non_null(arguments);
    memset(arguments, 'a', 640 * KIB);
    arguments[640 * KIB - 1] = '\0';
    built_init(&built, ELF_CLASS_32, 0x100000);
    built_add_at(&built, 0x100000, 0x10, 0x10);
    write_file(f, "x.elf", built.bytes, built.size_bytes);
    assert_error(f, load_with(f, MV_IMAGE_AUTO, arguments), -ENOEXEC, "no-room", "below 640 KiB");
    arguments[500 * KIB] = '\0';
    assert_taken(f, load_with(f, MV_IMAGE_AUTO, arguments));
    free(arguments);
}

static void the_smallest_memory_is_enough(void **state)
{
    struct fixture *f = *state;
    close_memory(f);
    open_memory(f, 64 * KIB);
    struct built built;
    built_init(&built, ELF_CLASS_32, 0x1000);
    built_add_at(&built, 0x1000, 0x1000, 0x1000);
    assert_taken(f, load_built(f, &built));
    assert_int_equal(read_u32(f, f->image.info.raw + 4), 64);
}

static void a_flat_binary_goes_to_64_kib(void **state)
{
    struct fixture *f = *state;
    static const uint8_t code[] = {0xf4, 1, 2, 3, 4};
    write_file(f, "x.bin", code, sizeof code);
    assert_taken(f, load(f));
    assert_int_equal(f->image.entry_mode, MV_ENTRY_REAL);
    assert_int_equal(f->image.entry.raw, 0x10000);
    assert_bytes(f, 0x10000, code, sizeof code);
    assert_filled(f, 0x10000 + sizeof code, DIRT, 0x1000);
    assert_filled(f, 0xf000, DIRT, 0x1000);
}

static void the_format_can_be_said(void **state)
{
    struct fixture *f = *state;
    struct built built;
    built_init(&built, ELF_CLASS_64, 0x100000);
    built_add_at(&built, 0x100000, 0x10, 0x10);
    write_file(f, "elf.bin", built.bytes, built.size_bytes);
    assert_taken(f, load(f));
    assert_int_equal(f->image.entry_mode, MV_ENTRY_PROTECTED);
    assert_taken(f, load_with(f, MV_IMAGE_FLAT, NULL));
    assert_int_equal(f->image.entry_mode, MV_ENTRY_REAL);
    assert_bytes(f, 0x10000, built.bytes, built.size_bytes);
    write_file(f, "x.bin", "text", 4);
    assert_error(f, load_with(f, MV_IMAGE_ELF, NULL), -ENOEXEC, "not-an-image", "no ELF file");
}

static void a_flat_binary_ends_below_640_kib(void **state)
{
    struct fixture *f = *state;
    write_file(f, "x.bin", "", 1);
    assert_int_equal(truncate(f->path, 576 * KIB), 0);
    assert_taken(f, load(f));
    assert_int_equal(truncate(f->path, 576 * KIB + 1), 0);
    assert_error(f, load(f), -ENOEXEC, "too-large", "589825 bytes");
    assert_filled(f, 640 * KIB, DIRT, 0x1000);
}

/* --- what is refused --------------------------------------------------------------------------- */

static void files_that_are_no_files_are_refused(void **state)
{
    struct fixture *f = *state;
    name_file(f, "none.elf");
    assert_error(f, load(f), -ENOENT, "host", "No such file");
    name_file(f, "dir.bin");
    assert_int_equal(mkdir(f->path, 0700), 0);
    assert_error(f, load(f), -ENOEXEC, "not-an-image", "a directory");
    name_file(f, "pipe.elf");
    assert_int_equal(mkfifo(f->path, 0600), 0);
    assert_error(f, load(f), -ENOEXEC, "not-an-image", "a pipe");
    name_file(f, "unused");
    const struct mv_image_options null = {.path = "/dev/null"};
    assert_int_equal(mv_image_load(f->space, &null, &f->image, &f->err), -ENOEXEC);
    assert_non_null(strstr(f->err.text, "/dev/null: not an image: it is a device"));
    assert_untouched(f);
}

static void files_of_another_kind_are_refused(void **state)
{
    struct fixture *f = *state;
    write_file(f, "x.elf", "", 0);
    assert_error(f, load(f), -ENOEXEC, "not-an-image", "empty");
    write_file(f, "x.bin", "", 0);
    assert_error(f, load(f), -ENOEXEC, "not-an-image", "empty");
    write_file(f, "x.txt", "hello\n", 6);
    assert_error(f, load(f), -ENOEXEC, "not-an-image", ".bin");
    write_file(f, "x.elf",
               "\x7f"
               "ELF\2\1\1",
               7);
    assert_error(f, load(f), -ENOEXEC, "truncated", "ELF header");
    assert_untouched(f);
}

static uint64_t address_space_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu", &pages), 1);
    assert_int_equal(fclose(file), 0);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int next_descriptor(void)
{
    int fd = dup(STDERR_FILENO);
    assert_true(fd >= 0);
    close(fd);
    return fd;
}

static void no_descriptor_is_left_open(void **state)
{
    struct fixture *f = *state;
    const int before = next_descriptor();
    write_file(f, "x.bin", "x", 1);
    assert_taken(f, load(f));
    write_file(f, "x.bin", "", 0);
    assert_error(f, load(f), -ENOEXEC, "not-an-image", "empty");
    write_file(f, "x.txt", "x", 1);
    assert_error(f, load(f), -ENOEXEC, "not-an-image", ".bin");
    assert_int_equal(next_descriptor(), before);
}

static void files_over_4_gib_are_refused(void **state)
{
    struct fixture *f = *state;
    struct built built;
    built_init(&built, ELF_CLASS_64, 0x100000);
    built_add_at(&built, 0x100000, 0x10, 0x10);
    assert_taken(f, load_built(f, &built));
    if (truncate(f->path, (off_t)(4 * GIB)) != 0) {
        print_message("# skipped: this file system has no sparse files of 4 GiB: %s\n", strerror(errno));
        skip();
    }
    const uint64_t before = address_space_bytes();
    assert_taken(f, load(f)); /* what no segment is in costs nothing */
    assert_true(address_space_bytes() < before + 2 * GIB);
    assert_int_equal(truncate(f->path, (off_t)(4 * GIB + 1)), 0);
    assert_error(f, load(f), -ENOEXEC, "too-large", "4 GiB");
}

static void what_the_parser_refuses_is_refused(void **state)
{
    struct fixture *f = *state;
    struct built built;
    built_init(&built, ELF_CLASS_64, 0x100000);
    built_add_at(&built, 0x100000, 0x1000, 0x2000);
    BUILT_U16(&built, e_machine) = EM_AARCH64;
    assert_error(f, load_built(f, &built), -ENOEXEC, "wrong-architecture", "AArch64");
    BUILT_U16(&built, e_machine) = EM_X86_64;
    BUILT_U16(&built, e_type) = ET_DYN;
    assert_error(f, load_built(f, &built), -ENOEXEC, "not-executable", "position-independent");
    BUILT_U16(&built, e_type) = ET_EXEC;
    built.size_bytes = BUILT_CONTENT + 0xfff;
    assert_error(f, load_built(f, &built), -ENOEXEC, "truncated", "segment 0");
    built.size_bytes = 100;
    assert_error(f, load_built(f, &built), -ENOEXEC, "truncated", "program headers");
    built.size_bytes = BUILT_BYTES;
    built_add_at(&built, 0x101000, 0, 0x100000);
    assert_error(f, load_built(f, &built), -ENOEXEC, "overlap",
                 "segment 1 (gpa 0x101000-0x200fff) overlaps segment 0 (gpa 0x100000-0x101fff)");
    built_init(&built, ELF_CLASS_64, 0x100000);
    built_add_at(&built, 0x100000, 0x1000, 0x800);
    assert_error(f, load_built(f, &built), -ENOEXEC, "bad-segment", "segment 0");
    built_init(&built, ELF_CLASS_64, 0x200000);
    built_add_at(&built, 0x100000, 0x1000, 0x1000);
    assert_error(f, load_built(f, &built), -ENOEXEC, "bad-entry", "0x200000");
    assert_untouched(f);
}

static void elf32_needs_a_multiboot_header(void **state)
{
    struct fixture *f = *state;
    struct built built;
    built_init(&built, ELF_CLASS_32, 0x100000);
    built_add_at(&built, 0x100000, 0x10, 0x10);
    built_multiboot(&built, 0x4);
    assert_error(f, load_built(f, &built), -ENOEXEC, "unsupported-feature", "feature bit 2");
    built.bytes[BUILT_MULTIBOOT + 8] ^= 1;
    assert_error(f, load_built(f, &built), -ENOEXEC, "no-multiboot-header", "checksum");
    built.bytes[BUILT_MULTIBOOT] ^= 1;
    assert_error(f, load_built(f, &built), -ENOEXEC, "no-multiboot-header", "no multiboot header");
    assert_untouched(f);
}

static void segments_must_be_in_memory(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint64_t gpa, memory_bytes;
        const char *words;
    } cases[] = {
        {RAM_BYTES - 0x1000, 0x1001, "there is none at gpa 0x200000-0x200000"},
        {0x280000, 0x1000, "there is none at gpa 0x280000-0x280fff"},
        {DEVICE_GPA, 0x10, "there is none at gpa 0x300000-0x30000f"},
        {ROM_GPA + ROM_BYTES - 0x10, 0x20, "there is none at gpa 0x410000-0x41000f"},
        {HIGH_RAM_GPA - 1, 1, "there is none at gpa 0xffffffff-0xffffffff"},
        {0x110000, UINT64_MAX - 0x110000, "there is none at gpa 0x200000-0x2fffff"},
        {UINT64_MAX, 1, "there is none at gpa 0xffffffffffffffff"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct built built;
        built_init(&built, ELF_CLASS_64, 0x100000);
        built_add_at(&built, 0x100000, 0x10, 0x10);
        built_add_at(&built, cases[i].gpa, 0, cases[i].memory_bytes);
        assert_error(f, load_built(f, &built), -ENOEXEC, "outside-ram", cases[i].words);
    }
    close_memory(f);
    open_memory(f, 64 * KIB);
    write_file(f, "x.bin", "x", 1);
    assert_error(f, load(f), -ENOEXEC, "outside-ram", "0x10000-0x10000");
    close_memory(f);
    open_memory(f, RAM_BYTES);
}

static void long_and_odd_names_stay_one_line(void **state)
{
    struct fixture *f = *state;
    char path[1000];
    memset(path, 'd', sizeof path);
    memcpy(path + sizeof path - 10, "\n\x1b[1m.elf", 9);
    path[sizeof path - 1] = '\0';
    const struct mv_image_options options = {.path = path};
    assert_int_equal(mv_image_load(f->space, &options, &f->image, &f->err), -ENAMETOOLONG);
    assert_null(strpbrk(f->err.text, "\n\x1b"));
    assert_int_equal(strncmp(f->err.text, "...ddd", 6), 0);
    assert_non_null(strstr(f->err.text, "??[1m.elf: cannot be opened: File name too long"));
    name_file(f, "unused");
}

static void errors_may_be_ignored(void **state)
{
    struct fixture *f = *state;
    write_file(f, "x.elf",
               "\x7f"
               "ELF",
               4);
    const struct mv_image_options options = {.path = f->path};
    assert_int_equal(mv_image_load(f->space, &options, &f->image, NULL), -ENOEXEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(segments_are_loaded_and_the_rest_of_them_zeroed, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_above_4_gib_is_loaded_too, setup, teardown),
        cmocka_unit_test_setup_teardown(the_multiboot_information_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(the_information_avoids_segments, setup, teardown),
        cmocka_unit_test_setup_teardown(without_room_for_it_nothing_is_loaded, setup, teardown),
        cmocka_unit_test_setup_teardown(the_smallest_memory_is_enough, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flat_binary_goes_to_64_kib, setup, teardown),
        cmocka_unit_test_setup_teardown(the_format_can_be_said, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flat_binary_ends_below_640_kib, setup, teardown),
        cmocka_unit_test_setup_teardown(files_that_are_no_files_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(files_of_another_kind_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(files_over_4_gib_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(no_descriptor_is_left_open, setup, teardown),
        cmocka_unit_test_setup_teardown(what_the_parser_refuses_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(elf32_needs_a_multiboot_header, setup, teardown),
        cmocka_unit_test_setup_teardown(segments_must_be_in_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(long_and_odd_names_stay_one_line, setup, teardown),
        cmocka_unit_test_setup_teardown(errors_may_be_ignored, setup, teardown),
    };
    return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}
