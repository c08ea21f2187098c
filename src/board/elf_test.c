// SPDX-License-Identifier: MIT
#include "board/elf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "board/elf_build_test.h"

static const enum elf_class classes[] = {ELF_CLASS_32, ELF_CLASS_64};

/* Parsed in a buffer of exactly the file's size, so that the sanitizer sees a read behind it. */
static int parse(const struct built *built, struct elf *ret, struct mv_error *err)
{
    uint8_t *copy = malloc(built->size_bytes > 0 ? built->size_bytes : 1);
    assert_non_null(copy);
    memcpy(copy, built->bytes, built->size_bytes);
    const struct elf_source source = {"x.elf", copy, built->size_bytes};
    int rc = elf_parse(&source, ret, err);
    free(copy);
    return rc;
}

/* Refused with this reason, in one line that begins with the file's name and has `words` in it. */
static void assert_refused(const struct built *built, const char *reason, const char *words)
{
    struct elf elf;
    struct mv_error err = {0};
    assert_int_equal(parse(built, &elf, &err), -ENOEXEC);
    assert_int_equal(err.code, -ENOEXEC);
    assert_string_equal(err.reason, reason);
    assert_string_equal(err.object, "x.elf");
    assert_int_equal(strncmp(err.text, "x.elf: ", 7), 0);
    assert_null(strchr(err.text, '\n'));
    if (!strstr(err.text, words)) {
        fail_msg("\"%s\" is not in: %s", words, err.text);
    }
}

static struct elf assert_taken(const struct built *built)
{
    struct elf elf;
    struct mv_error err = {0};
    if (parse(built, &elf, &err) != 0) {
        fail_msg("%s", err.text);
    }
    return elf;
}

static void init_good(struct built *built, enum elf_class elf_class)
{
    built_init(built, elf_class, 0x100010);
    built_add(built, (struct built_segment){.type = PT_NOTE, .offset = UINT64_MAX});
    built_add_at(built, 0x100000, 0x1000, 0x1000);
    built_add_at(built, 0x200000, 0x800, 0x3000);
}

static void a_good_file_is_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct built built;
        init_good(&built, classes[i]);
        const struct elf elf = assert_taken(&built);
        assert_int_equal(elf.elf_class, classes[i]);
        assert_int_equal(elf.entry, 0x100010);
        assert_int_equal(elf.segment_count, 2);
        assert_int_equal(elf.segments[0].number, 1);
        assert_int_equal(elf.segments[0].gpa.first, 0x100000);
        assert_int_equal(elf.segments[0].gpa.last, 0x100fff);
        assert_int_equal(elf.segments[1].number, 2);
        assert_int_equal(elf.segments[1].gpa.last, 0x202fff);
        assert_int_equal(elf.segments[1].file_offset, BUILT_CONTENT);
        assert_int_equal(elf.segments[1].file_bytes, 0x800);
    }
}

static void other_files_are_no_elf(void **state)
{
    (void)state;
    struct built built = {.size_bytes = 12};
    memcpy(built.bytes, "#!/bin/sh\n:\n", 12);
    assert_refused(&built, "not-an-image", "no ELF file");
    built.size_bytes = 0;
    assert_refused(&built, "not-an-image", "no ELF file");
}

static void a_damaged_identification_is_told(void **state)
{
    (void)state;
    struct built built;
    init_good(&built, ELF_CLASS_64);
    built.bytes[EI_CLASS] = 3;
    assert_refused(&built, "not-an-image", "class is 3");
    init_good(&built, ELF_CLASS_64);
    built.bytes[EI_DATA] = 0;
    assert_refused(&built, "not-an-image", "byte order is 0");
    init_good(&built, ELF_CLASS_64);
    built.bytes[EI_VERSION] = 2;
    assert_refused(&built, "not-an-image", "version is 2");
}

static void other_architectures_are_named(void **state)
{
    (void)state;
    struct built built;
    init_good(&built, ELF_CLASS_64);
    BUILT_U16(&built, e_machine) = EM_AARCH64;
    assert_refused(&built, "wrong-architecture", "64-bit ELF for AArch64");
    BUILT_U16(&built, e_machine) = EM_386;
    assert_refused(&built, "wrong-architecture", "64-bit ELF for i386");
    BUILT_U16(&built, e_machine) = 0x4242;
    assert_refused(&built, "wrong-architecture", "machine number 16962");
    init_good(&built, ELF_CLASS_32);
    BUILT_U16(&built, e_machine) = EM_X86_64; /* x32 */
    assert_refused(&built, "wrong-architecture", "32-bit ELF for x86-64");
    BUILT_U16(&built, e_machine) = EM_ARM;
    assert_refused(&built, "wrong-architecture", "32-bit ELF for ARM");
    built.bytes[EI_DATA] = ELFDATA2MSB;
    BUILT_U16(&built, e_machine) = __builtin_bswap16(EM_PPC);
    assert_refused(&built, "wrong-architecture", "big-endian ELF for PowerPC");
}

static void only_executables_are_taken(void **state)
{
    (void)state;
    static const struct {
        uint16_t type;
        const char *words;
    } types[] = {
        {ET_NONE, "no type"},   {ET_REL, "not linked"},   {ET_DYN, "-no-pie"},
        {ET_CORE, "core dump"}, {0xfe00, "unknown type"},
    };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct built built;
        init_good(&built, classes[i % 2]);
        BUILT_U16(&built, e_type) = types[i].type;
        assert_refused(&built, "not-executable", types[i].words);
    }
}

static void a_dynamic_program_is_no_image(void **state)
{
    (void)state;
    struct built built;
    init_good(&built, ELF_CLASS_64);
    built_add(&built, (struct built_segment){.type = PT_INTERP});
    assert_refused(&built, "not-executable", "dynamic loader");
}

static void the_number_of_program_headers_has_limits(void **state)
{
    (void)state;
    struct built built;
    built_init(&built, ELF_CLASS_64, 0x100000);
    assert_refused(&built, "bad-segment", "0 program headers");
    BUILT_U16(&built, e_phnum) = ELF_MAX_SEGMENTS + 1;
    assert_refused(&built, "bad-segment", "129 program headers");
    BUILT_U16(&built, e_phnum) = PN_XNUM;
    assert_refused(&built, "bad-segment", "65535 program headers");

    built_init(&built, ELF_CLASS_64, 0x100000);
    for (unsigned i = 0; i < ELF_MAX_SEGMENTS; i++) {
        built_add_at(&built, 0x100000 + i * UINT64_C(0x1000), 1, 0x1000);
    }
    assert_int_equal(assert_taken(&built).segment_count, ELF_MAX_SEGMENTS);
}

static void program_headers_of_a_wrong_size_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct built built;
        init_good(&built, classes[i]);
        BUILT_U16(&built, e_phentsize)--;
        assert_refused(&built, "bad-segment", "bytes for each program header");
        BUILT_U16(&built, e_phentsize) = 0;
        assert_refused(&built, "bad-segment", "0 bytes for each program header");
    }
}

static void program_headers_must_be_in_the_file(void **state)
{
    (void)state;
    struct built built;
    init_good(&built, ELF_CLASS_64);
    Elf64_Ehdr h = built_header(&built);
    static const uint64_t offsets[] = {BUILT_BYTES, BUILT_BYTES + 1, UINT64_MAX, UINT64_MAX - 3 * 56 + 1,
                                       BUILT_BYTES - 3 * 56 + 1};
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        h.e_phoff = offsets[i];
        built_set_header(&built, h);
        assert_refused(&built, "truncated", "program headers");
    }
}

static void they_may_be_at_its_end(void **state)
{
    (void)state;
    struct built built;
    init_good(&built, ELF_CLASS_64);
    Elf64_Ehdr h = built_header(&built);
    memmove(built.bytes + BUILT_BYTES - 3 * 56, built.bytes + 64, 3 * 56);
    h.e_phoff = BUILT_BYTES - 3 * 56;
    built_set_header(&built, h);
    assert_int_equal(assert_taken(&built).segment_count, 2);
}

static void segments_must_be_in_the_file(void **state)
{
    (void)state;
    static const struct {
        uint64_t offset, file_bytes;
    } cases[] = {
        {BUILT_BYTES - 0xfff, 0x1000}, {BUILT_BYTES, 1}, {UINT64_MAX, 2}, {UINT64_MAX, 0x1000}, {UINT64_MAX, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct built built;
        built_init(&built, classes[i % 2], 0x100000);
        built_add(&built, (struct built_segment){
                              .offset = cases[i].offset,
                              .vaddr = 0x100000,
                              .paddr = 0x100000,
                              .file_bytes = cases[i].file_bytes,
                              .memory_bytes = 0x1000,
                          });
        assert_refused(&built, "truncated", "segment 0");
    }
    struct built built;
    built_init(&built, ELF_CLASS_64, 0x100000);
    built_add(&built, (struct built_segment){
                          .offset = BUILT_BYTES - 0x1000,
                          .vaddr = 0x100000,
                          .paddr = 0x100000,
                          .file_bytes = 0x1000,
                          .memory_bytes = 0x1000,
                      });
    assert_taken(&built);
}

static void more_in_the_file_than_in_memory_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct built built;
        init_good(&built, classes[i]);
        built_add_at(&built, 0x300000, 0x1000, 0xfff);
        assert_refused(&built, "bad-segment", "segment 3");
    }
}

static void segments_do_not_wrap(void **state)
{
    (void)state;
    struct built built;
    init_good(&built, ELF_CLASS_64);
    built_add_at(&built, UINT64_MAX - 0xffe, 0, 0x1000);
    assert_refused(&built, "bad-segment", "beyond the last address, 0xffffffffffffffff");
    init_good(&built, ELF_CLASS_64);
    built_add_at(&built, 0x300000, 0, UINT64_MAX);
    assert_refused(&built, "bad-segment", "beyond the last address");
    init_good(&built, ELF_CLASS_32);
    built_add_at(&built, UINT32_MAX - 0xffe, 0, 0x1000);
    assert_refused(&built, "bad-segment", "beyond the last address, 0xffffffff");

    for (size_t i = 0; i < 2; i++) { /* the last page can be used */
        init_good(&built, classes[i]);
        built_add_at(&built, UINT64_MAX - 0xfff, 0, 0x1000);
        const struct elf elf = assert_taken(&built);
        assert_int_equal(elf.segments[2].gpa.last, classes[i] == ELF_CLASS_64 ? UINT64_MAX : UINT32_MAX);
    }
}

static void overlaps_name_both(void **state)
{
    (void)state;
    struct built built;
    init_good(&built, ELF_CLASS_64);
    built_add_at(&built, 0x202fff, 0, 1);
    assert_refused(&built, "overlap",
                   "segment 3 (gpa 0x202fff-0x202fff) overlaps segment 2 (gpa 0x200000-0x202fff)");
    init_good(&built, ELF_CLASS_32);
    built_add_at(&built, 0, 0, 0x400000); /* around both */
    assert_refused(&built, "overlap", "segment 3 (gpa 0x0-0x3fffff) overlaps segment 1 (gpa 0x100000-0x100fff)");
    init_good(&built, ELF_CLASS_32);
    built_add_at(&built, 0x203000, 0, 1); /* adjacent */
    assert_taken(&built);
}

static void empty_segments_are_passed_over(void **state)
{
    (void)state;
    struct built built;
    init_good(&built, ELF_CLASS_64);
    built_add_at(&built, 0x100800, 0, 0); /* inside another */
    assert_int_equal(assert_taken(&built).segment_count, 2);
    built_init(&built, ELF_CLASS_64, 0);
    built_add_at(&built, 0, 0, 0);
    assert_refused(&built, "bad-segment", "none to load");
}

static void the_entry_must_be_loaded(void **state)
{
    (void)state;
    struct built built;
    built_init(&built, ELF_CLASS_64, 0x101000);
    built_add_at(&built, 0x100000, 0x800, 0x1000);
    assert_refused(&built, "bad-entry", "0x101000");
    built_init(&built, ELF_CLASS_64, 0x100fff); /* in the zeroes: loaded too */
    built_add_at(&built, 0x100000, 0x800, 0x1000);
    assert_int_equal(assert_taken(&built).entry, 0x100fff);
    built_init(&built, ELF_CLASS_64, 0x100000000);
    built_add_at(&built, 0x100000000, 0x800, 0x1000);
    assert_refused(&built, "bad-entry", "4 GiB");
    built_init(&built, ELF_CLASS_64, 0);
    built_add_at(&built, 0x100000, 0x800, 0x1000);
    assert_refused(&built, "bad-entry", "0x0 is in none");
}

static void a_virtual_entry_is_translated(void **state)
{
    (void)state;
    struct built built;
    built_init(&built, ELF_CLASS_64, 0xffffffff80000123);
    built_add(&built, (struct built_segment){
                          .offset = BUILT_CONTENT,
                          .vaddr = 0xffffffff80000000,
                          .paddr = 0x100000,
                          .file_bytes = 0x800,
                          .memory_bytes = 0x1000,
                      });
    assert_int_equal(assert_taken(&built).entry, 0x100123);
    Elf64_Ehdr h = built_header(&built);
    h.e_entry = 0x100456; /* physical already */
    built_set_header(&built, h);
    assert_int_equal(assert_taken(&built).entry, 0x100456);
}

static void a_virtual_entry_behind_its_segment_is_none(void **state)
{
    (void)state;
    struct built built;
    built_init(&built, ELF_CLASS_64, 0x8001000);
    for (uint64_t i = 0; i < 2; i++) { /* physically, the other segment follows at once */
        built_add(&built, (struct built_segment){
                              .offset = BUILT_CONTENT,
                              .vaddr = 0x8000000 + i * 0x1000000,
                              .paddr = 0x100000 + i * 0x1000,
                              .file_bytes = 0x800,
                              .memory_bytes = 0x1000,
                          });
    }
    assert_refused(&built, "bad-entry", "0x8001000 is in none");
}

static void every_shorter_file_is_truncated_or_no_elf(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct built built;
        init_good(&built, classes[i]);
        for (uint64_t size = 0; size < BUILT_CONTENT + 0x1000; size++) {
            built.size_bytes = size;
            assert_refused(&built, size < SELFMAG ? "not-an-image" : "truncated", "");
        }
        built.size_bytes = BUILT_CONTENT + 0x1000;
        assert_taken(&built);
    }
}

/* What every accepted file must satisfy, whatever is in it. */
static void assert_sound(const struct elf *elf, uint64_t file_bytes)
{
    bool entered = false;
    assert_in_range(elf->segment_count, 1, ELF_MAX_SEGMENTS);
    for (unsigned i = 0; i < elf->segment_count; i++) {
        const struct elf_segment *s = &elf->segments[i];
        assert_true(s->gpa.first <= s->gpa.last);
        assert_true(s->file_bytes == 0 || s->file_bytes - 1 <= s->gpa.last - s->gpa.first);
        assert_true(s->file_offset <= file_bytes && s->file_bytes <= file_bytes - s->file_offset);
        entered |= s->gpa.first <= elf->entry && elf->entry <= s->gpa.last;
        for (unsigned j = 0; j < i; j++) {
            assert_true(elf->segments[j].gpa.last < s->gpa.first || s->gpa.last < elf->segments[j].gpa.first);
        }
    }
    assert_true(entered && elf->entry <= UINT32_MAX);
}

static void random_damage_is_survived(void **state)
{
    (void)state;
    static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
    const char *given = getenv("MEMVIRT_TEST_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
    print_message("# seed %u (set MEMVIRT_TEST_SEED to repeat)\n", seed);
    unsigned taken = 0;
    for (unsigned round = 0; round < 20000; round++) {
        struct built built;
        struct elf elf;
        struct mv_error err;
        init_good(&built, classes[round % 2]);
        for (int n = rand_r(&seed) % 4; n >= 0; n--) {
            built.bytes[rand_r(&seed) % 256] = values[(unsigned)rand_r(&seed) % sizeof values];
        }
        if (parse(&built, &elf, &err) == 0) {
            assert_sound(&elf, built.size_bytes);
            taken++;
        }
    }
    assert_in_range(taken, 100, 19900); /* both kinds came */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file_is_taken),
        cmocka_unit_test(other_files_are_no_elf),
        cmocka_unit_test(a_damaged_identification_is_told),
        cmocka_unit_test(other_architectures_are_named),
        cmocka_unit_test(only_executables_are_taken),
        cmocka_unit_test(a_dynamic_program_is_no_image),
        cmocka_unit_test(the_number_of_program_headers_has_limits),
        cmocka_unit_test(program_headers_of_a_wrong_size_are_refused),
        cmocka_unit_test(program_headers_must_be_in_the_file),
        cmocka_unit_test(they_may_be_at_its_end),
        cmocka_unit_test(segments_must_be_in_the_file),
        cmocka_unit_test(more_in_the_file_than_in_memory_is_refused),
        cmocka_unit_test(segments_do_not_wrap),
        cmocka_unit_test(overlaps_name_both),
        cmocka_unit_test(empty_segments_are_passed_over),
        cmocka_unit_test(the_entry_must_be_loaded),
        cmocka_unit_test(a_virtual_entry_is_translated),
        cmocka_unit_test(a_virtual_entry_behind_its_segment_is_none),
        cmocka_unit_test(every_shorter_file_is_truncated_or_no_elf),
        cmocka_unit_test(random_damage_is_survived),
    };
    return cmocka_run_group_tests_name("elf", tests, NULL, NULL);
}
