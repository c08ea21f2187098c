// SPDX-License-Identifier: MIT
/*
 * Loading an image: find out what it is, check all of it against the memory that there is, and only then write.
 */
#include <memvirt/image.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/range.h"
#include "board/elf.h"
#include "board/image_file.h"
#include "board/multiboot.h"
#include "board/ram_map.h"

/* Above the BIOS data area and a usual real-mode stack, below what a PC has no RAM for. */
#define LOW_MEMORY_END (640 * KIB)
#define FLAT_GPA (64 * KIB)
#define INFO_PREFERRED_GPA UINT64_C(0x9000)
#define INFO_LOWEST_GPA GUEST_PAGE_SIZE

/* A load under way. The view is what everything is checked against. */
struct load {
    struct mv_space *memory;
    const struct mv_view *view;
    struct image_file file;
    const struct mv_image_options *options;
};

/* --- writing to the guest ---------------------------------------------------------------------- */

/* Only another thread's edit can make this fail: the range was checked. */
static int write_bytes(const struct load *load, uint64_t gpa, const uint8_t *bytes, uint64_t length,
                       struct mv_error *err)
{
    if (mv_space_write_rom(load->memory, mv_gpa(gpa), bytes, length) != MV_OK) {
        return error_set(err, -ENOEXEC, "outside-ram", load->file.name,
                         "%s: cannot be loaded: the memory at gpa " PRI_ADDR " was taken away meanwhile",
                         load->file.name, gpa);
    }
    return 0;
}

static bool is_zero(struct mv_space *memory, uint64_t gpa, const uint8_t *zeroes, uint64_t length)
{
    struct mv_hold hold;
    if (mv_space_hold(memory, mv_gpa(gpa), length, &hold) != MV_OK) {
        return false;
    }
    bool zero = hold.length == length && memcmp(hold.bytes, zeroes, length) == 0;
    mv_hold_release(&hold);
    return zero;
}

/* What is zero already is not written: a large .bss must not make the host commit memory that the guest never
 * uses. */
static int write_zeroes(const struct load *load, uint64_t gpa, uint64_t length, struct mv_error *err)
{
    static const uint8_t zeroes[GUEST_PAGE_SIZE];
    int rc = 0;
    while (rc == 0 && length > 0) {
        const uint64_t rest_of_page = GUEST_PAGE_SIZE - (gpa & GUEST_PAGE_MASK);
        const uint64_t chunk = length < rest_of_page ? length : rest_of_page;
        if (!is_zero(load->memory, gpa, zeroes, chunk)) {
            rc = write_bytes(load, gpa, zeroes, chunk, err);
        }
        gpa += chunk;
        length -= chunk;
    }
    return rc;
}

/* --- ELF --------------------------------------------------------------------------------------- */

static struct elf_source source_of(const struct load *load)
{
    return (struct elf_source){load->file.name, load->file.bytes, load->file.size_bytes};
}

static int check_multiboot(const struct load *load, struct mv_error *err)
{
    const char *name = load->file.name;
    const struct multiboot_header header = multiboot_header_find(load->file.bytes, load->file.size_bytes);
    switch (header.verdict) {
    case MULTIBOOT_OK: return 0;
    case MULTIBOOT_NO_HEADER:
        return error_set(err, -ENOEXEC, "no-multiboot-header", name,
                         "%s: no multiboot header in its first 8 KiB, which an ELF32 image needs", name);
    case MULTIBOOT_BAD_CHECKSUM:
        return error_set(err, -ENOEXEC, "no-multiboot-header", name,
                         "%s: the checksum of its multiboot header at offset " PRI_ADDR " is wrong", name,
                         header.offset);
    case MULTIBOOT_UNKNOWN_FEATURE: break;
    }
    return error_set(err, -ENOEXEC, "unsupported-feature", name,
                     "%s: its multiboot header requires feature bit %u, which memvirt does not have", name,
                     header.feature);
}

static int check_segments(const struct load *load, const struct elf *elf, struct mv_error *err)
{
    const char *name = load->file.name;
    for (unsigned i = 0; i < elf->segment_count; i++) {
        const struct elf_segment *segment = &elf->segments[i];
        struct mv_range gap;
        if (ram_map_gap(load->view, segment->gpa, &gap)) {
            return error_set(err, -ENOEXEC, "outside-ram", name,
                             "%s: segment %u (gpa " PRI_ADDR "-" PRI_ADDR
                             ") is outside RAM: there is none at gpa " PRI_ADDR "-" PRI_ADDR,
                             name, segment->number, segment->gpa.first, segment->gpa.last, gap.first, gap.last);
        }
    }
    return 0;
}

static int fill_segments(struct load *load, const struct elf *elf, struct mv_error *err)
{
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < elf->segment_count; i++) {
        rc = image_file_fill(&load->file, elf->segments[i].file_offset, elf->segments[i].file_bytes, err);
    }
    return rc;
}

static int write_segment(const struct load *load, const struct elf_segment *segment, struct mv_error *err)
{
    const uint64_t zeroes = range_size(segment->gpa) - segment->file_bytes;
    int rc =
        write_bytes(load, segment->gpa.first, load->file.bytes + segment->file_offset, segment->file_bytes, err);
    return rc < 0 ? rc : write_zeroes(load, segment->gpa.first + segment->file_bytes, zeroes, err);
}

/* The multiboot information, ready to be written. */
struct info {
    uint64_t gpa;
    uint64_t size_bytes;
    uint8_t *bytes;
};

static bool is_free(const struct load *load, const struct elf *elf, struct mv_range range)
{
    for (unsigned i = 0; i < elf->segment_count; i++) {
        if (range_overlaps(elf->segments[i].gpa, range)) {
            return false;
        }
    }
    return range.last < LOW_MEMORY_END && ram_map_is_ram(load->view, range);
}

/* The first free place from the preferred one upwards; failing that, the highest below it. */
static bool find_room(const struct load *load, const struct elf *elf, uint64_t size_bytes, uint64_t *ret_gpa)
{
    for (uint64_t gpa = INFO_PREFERRED_GPA; gpa < LOW_MEMORY_END; gpa += GUEST_PAGE_SIZE) {
        if (is_free(load, elf, (struct mv_range){gpa, gpa + size_bytes - 1})) {
            *ret_gpa = gpa;
            return true;
        }
    }
    for (uint64_t gpa = INFO_PREFERRED_GPA - GUEST_PAGE_SIZE; gpa >= INFO_LOWEST_GPA; gpa -= GUEST_PAGE_SIZE) {
        if (is_free(load, elf, (struct mv_range){gpa, gpa + size_bytes - 1})) {
            *ret_gpa = gpa;
            return true;
        }
    }
    return false;
}

static int build_info(const struct load *load, const struct elf *elf, const struct multiboot_facts *facts,
                      struct info *ret, struct mv_error *err)
{
    const char *name = load->file.name;
    struct info info = {.size_bytes = multiboot_info_size(facts)};
    if (!find_room(load, elf, info.size_bytes, &info.gpa)) {
        return error_set(err, -ENOEXEC, "no-room", name,
                         "%s: no room for %" PRIu64 " bytes of multiboot information in the RAM below 640 KiB",
                         name, info.size_bytes);
    }
    info.bytes = malloc(info.size_bytes);
    if (!info.bytes) {
        return error_host(err, -ENOMEM, name, "%s: no memory for the multiboot information", name);
    }
    multiboot_info_build(facts, (uint32_t)info.gpa, info.bytes);
    *ret = info;
    return 0;
}

static size_t count_ram(const struct mv_view *view)
{
    struct mv_range ram;
    size_t count = 0;
    for (uint64_t at = 0; ram_map_next(view, at, &ram); at = ram.last + 1) {
        count++;
        if (ram.last == UINT64_MAX) {
            break;
        }
    }
    return count;
}

/* NULL: out of memory. */
static struct mv_range *list_ram(const struct mv_view *view, size_t count)
{
    struct mv_range *ram = calloc(count > 0 ? count : 1, sizeof *ram);
    uint64_t at = 0;
    for (size_t i = 0; ram && i < count && ram_map_next(view, at, &ram[i]); i++) {
        at = ram[i].last + 1;
    }
    return ram;
}

/* The path, and the arguments if there are any. NULL: out of memory. */
static char *join_command_line(const struct mv_image_options *options)
{
    const char *arguments = options->arguments ? options->arguments : "";
    char *line;
    int n = asprintf(&line, "%s%s%s", options->path, *arguments ? " " : "", arguments);
    return n < 0 ? NULL : line;
}

static int make_info(const struct load *load, const struct elf *elf, struct info *ret, struct mv_error *err)
{
    const size_t ram_count = count_ram(load->view);
    struct mv_range *ram = list_ram(load->view, ram_count);
    char *command_line = join_command_line(load->options);
    char loader_name[32];
    snprintf(loader_name, sizeof loader_name, "memvirt %s", mv_version());

    int rc;
    if (ram && command_line) {
        const struct multiboot_facts facts = {
            .ram = ram,
            .ram_count = ram_count,
            .command_line = command_line,
            .loader_name = loader_name,
        };
        rc = build_info(load, elf, &facts, ret, err);
    } else {
        rc = error_host(err, -ENOMEM, load->file.name, "%s: no memory for the multiboot information",
                        load->file.name);
    }
    free(command_line);
    free(ram);
    return rc;
}

static int commit_elf(const struct load *load, const struct elf *elf, const struct info *info,
                      struct mv_error *err)
{
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < elf->segment_count; i++) {
        rc = write_segment(load, &elf->segments[i], err);
    }
    return rc < 0 ? rc : write_bytes(load, info->gpa, info->bytes, info->size_bytes, err);
}

static int read_elf(struct load *load, struct elf *ret, struct mv_error *err)
{
    const struct elf_source source = source_of(load);
    struct mv_range table;
    int rc = elf_program_headers(&source, &table, err);
    if (rc == 0) {
        rc = image_file_fill(&load->file, table.first, range_size(table), err);
    }
    return rc < 0 ? rc : elf_parse(&source, ret, err);
}

static int check_elf(struct load *load, const struct elf *elf, struct mv_error *err)
{
    int rc = elf->elf_class == ELF_CLASS_32 ? check_multiboot(load, err) : 0;
    if (rc == 0) {
        rc = check_segments(load, elf, err);
    }
    return rc < 0 ? rc : fill_segments(load, elf, err);
}

static int load_elf(struct load *load, struct mv_image *ret, struct mv_error *err)
{
    struct elf elf;
    struct info info = {0};
    int rc = read_elf(load, &elf, err);
    if (rc == 0) {
        rc = check_elf(load, &elf, err);
    }
    if (rc == 0) {
        rc = make_info(load, &elf, &info, err);
    }
    if (rc < 0) {
        return rc;
    }
    rc = commit_elf(load, &elf, &info, err);
    free(info.bytes);
    if (rc == 0) {
        *ret = (struct mv_image){
            .entry_mode = MV_ENTRY_PROTECTED,
            .entry = mv_gpa(elf.entry),
            .info = mv_gpa(info.gpa),
        };
    }
    return rc;
}

/* --- flat binaries ----------------------------------------------------------------------------- */

static int check_flat(const struct load *load, struct mv_error *err)
{
    const char *name = load->file.name;
    const uint64_t size_bytes = load->file.size_bytes;
    if (size_bytes > LOW_MEMORY_END - FLAT_GPA) {
        return error_set(err, -ENOEXEC, "too-large", name,
                         "%s: too large for a flat binary: %" PRIu64
                         " bytes, and from 64 KiB to 640 KiB there are %" PRIu64,
                         name, size_bytes, LOW_MEMORY_END - FLAT_GPA);
    }
    const struct mv_range range = {FLAT_GPA, FLAT_GPA + size_bytes - 1};
    struct mv_range gap;
    if (ram_map_gap(load->view, range, &gap)) {
        return error_set(err, -ENOEXEC, "outside-ram", name,
                         "%s: a flat binary goes to gpa " PRI_ADDR "-" PRI_ADDR
                         ", and there is no RAM at " PRI_ADDR "-" PRI_ADDR,
                         name, range.first, range.last, gap.first, gap.last);
    }
    return 0;
}

static int load_flat(struct load *load, struct mv_image *ret, struct mv_error *err)
{
    int rc = check_flat(load, err);
    if (rc == 0) {
        rc = image_file_fill(&load->file, 0, load->file.size_bytes, err);
    }
    if (rc == 0) {
        rc = write_bytes(load, FLAT_GPA, load->file.bytes, load->file.size_bytes, err);
    }
    if (rc == 0) {
        *ret = (struct mv_image){.entry_mode = MV_ENTRY_REAL, .entry = mv_gpa(FLAT_GPA)};
    }
    return rc;
}

/* --- which of them ----------------------------------------------------------------------------- */

static bool has_flat_name(const char *path)
{
    static const char suffix[] = ".bin";
    const size_t length = strlen(path);
    return length >= strlen(suffix) && strcmp(path + length - strlen(suffix), suffix) == 0;
}

static int detect(const struct load *load, enum mv_image_format *ret, struct mv_error *err)
{
    const struct elf_source source = source_of(load);
    if (load->options->format != MV_IMAGE_AUTO) {
        *ret = load->options->format;
    } else if (elf_has_magic(&source)) {
        *ret = MV_IMAGE_ELF;
    } else if (has_flat_name(load->options->path)) {
        *ret = MV_IMAGE_FLAT;
    } else {
        return error_set(err, -ENOEXEC, "not-an-image", load->file.name,
                         "%s: not an image: it is no ELF file, and a flat binary's name would end in .bin",
                         load->file.name);
    }
    return 0;
}

/* The beginning of the file decides what it is; it has the ELF header and the multiboot header. */
static int load_file(struct load *load, struct mv_image *ret, struct mv_error *err)
{
    const uint64_t size_bytes = load->file.size_bytes;
    const uint64_t head = size_bytes < MULTIBOOT_HEADER_AREA ? size_bytes : MULTIBOOT_HEADER_AREA;
    enum mv_image_format format;
    int rc = image_file_fill(&load->file, 0, head, err);
    if (rc == 0) {
        rc = detect(load, &format, err);
    }
    if (rc < 0) {
        return rc;
    }
    return format == MV_IMAGE_FLAT ? load_flat(load, ret, err) : load_elf(load, ret, err);
}

int mv_image_load(struct mv_space *memory, const struct mv_image_options *options, struct mv_image *ret,
                  struct mv_error *err)
{
    struct load load = {.memory = memory, .options = options};
    int rc = image_file_open(options->path, &load.file, err);
    if (rc < 0) {
        return rc;
    }
    load.view = mv_space_view(memory);
    rc = load_file(&load, ret, err);
    mv_view_release(load.view);
    image_file_close(&load.file);
    return rc;
}
