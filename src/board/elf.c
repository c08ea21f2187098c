// SPDX-License-Identifier: MIT
#include "board/elf.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/range.h"

#define PRI_GPA_RANGE "gpa " PRI_ADDR "-" PRI_ADDR

/* The parts of an ELF header that matter, whatever its class. */
struct header {
    enum elf_class elf_class;
    uint16_t type;
    uint16_t machine;
    uint64_t entry;
    uint64_t table_offset;
    uint16_t table_entry_bytes;
    uint16_t table_entries;
};

/* A program header, whatever its class. */
struct program_header {
    uint32_t type;
    uint64_t offset;
    uint64_t vaddr;
    uint64_t paddr;
    uint64_t file_bytes;
    uint64_t memory_bytes;
};

bool elf_has_magic(const struct elf_source *source)
{
    return source->size_bytes >= SELFMAG && memcmp(source->bytes, ELFMAG, SELFMAG) == 0;
}

static uint64_t program_header_bytes(enum elf_class elf_class)
{
    return elf_class == ELF_CLASS_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
}

/* The last address that a segment of this class may have. */
static uint64_t address_max(enum elf_class elf_class)
{
    return elf_class == ELF_CLASS_64 ? UINT64_MAX : UINT32_MAX;
}

/* --- the ELF header ---------------------------------------------------------------------------- */

/* What people call a machine; NULL when it is none of those that they are likely to have. */
static const char *machine_name(uint16_t machine)
{
    switch (machine) {
    case EM_SPARC:
    case EM_SPARCV9: return "SPARC";
    case EM_386: return "i386";
    case EM_68K: return "m68k";
    case EM_MIPS: return "MIPS";
    case EM_PPC: return "PowerPC";
    case EM_PPC64: return "PowerPC64";
    case EM_S390: return "s390";
    case EM_ARM: return "ARM";
    case EM_IA_64: return "Itanium";
    case EM_X86_64: return "x86-64";
    case EM_AARCH64: return "AArch64";
    case EM_RISCV: return "RISC-V";
    case 258: return "LoongArch"; /* EM_LOONGARCH of newer headers */
    default: return NULL;
    }
}

static int wrong_architecture(const struct elf_source *source, uint16_t machine, const char *width,
                              struct mv_error *err)
{
    char number[32];
    const char *name = machine_name(machine);
    if (!name) {
        snprintf(number, sizeof number, "machine number %u", machine);
        name = number;
    }
    return error_set(err, -ENOEXEC, "wrong-architecture", source->name,
                     "%s: wrong architecture: it is %s ELF for %s, and must be ELF64 for x86-64 or ELF32 for i386",
                     source->name, width, name);
}

static int not_an_image(const struct elf_source *source, const char *field, unsigned value, struct mv_error *err)
{
    return error_set(err, -ENOEXEC, "not-an-image", source->name,
                     "%s: not an image: its ELF %s is %u, which is none", source->name, field, value);
}

/* e_machine is at the same place in both classes. */
static uint16_t big_endian_machine(const struct elf_source *source)
{
    const uint8_t *p = source->bytes + offsetof(Elf64_Ehdr, e_machine);
    return (uint16_t)(p[0] << 8 | p[1]);
}

static int check_ident(const struct elf_source *source, struct mv_error *err)
{
    const uint8_t *ident = source->bytes;
    if (!elf_has_magic(source)) {
        return error_set(err, -ENOEXEC, "not-an-image", source->name, "%s: not an image: it is no ELF file",
                         source->name);
    }
    const uint8_t elf_class = source->size_bytes > EI_CLASS ? ident[EI_CLASS] : 0;
    const uint64_t need = elf_class == ELFCLASS32 ? sizeof(Elf32_Ehdr) : sizeof(Elf64_Ehdr);
    if (source->size_bytes < need) {
        return error_set(err, -ENOEXEC, "truncated", source->name,
                         "%s: truncated: it ends within the ELF header, after %" PRIu64 " bytes", source->name,
                         source->size_bytes);
    }
    if (elf_class != ELFCLASS32 && elf_class != ELFCLASS64) {
        return not_an_image(source, "class", elf_class, err);
    }
    if (ident[EI_DATA] == ELFDATA2MSB) {
        return wrong_architecture(source, big_endian_machine(source), "big-endian", err);
    }
    if (ident[EI_DATA] != ELFDATA2LSB) {
        return not_an_image(source, "byte order", ident[EI_DATA], err);
    }
    if (ident[EI_VERSION] != EV_CURRENT) {
        return not_an_image(source, "version", ident[EI_VERSION], err);
    }
    return 0;
}

/* The bytes are checked: there are enough of them. */
static void decode_header(const struct elf_source *source, struct header *ret)
{
    if (source->bytes[EI_CLASS] == ELFCLASS64) {
        Elf64_Ehdr h;
        memcpy(&h, source->bytes, sizeof h);
        *ret = (struct header){
            .elf_class = ELF_CLASS_64,
            .type = h.e_type,
            .machine = h.e_machine,
            .entry = h.e_entry,
            .table_offset = h.e_phoff,
            .table_entry_bytes = h.e_phentsize,
            .table_entries = h.e_phnum,
        };
    } else {
        Elf32_Ehdr h;
        memcpy(&h, source->bytes, sizeof h);
        *ret = (struct header){
            .elf_class = ELF_CLASS_32,
            .type = h.e_type,
            .machine = h.e_machine,
            .entry = h.e_entry,
            .table_offset = h.e_phoff,
            .table_entry_bytes = h.e_phentsize,
            .table_entries = h.e_phnum,
        };
    }
}

static int check_type(const struct elf_source *source, uint16_t type, struct mv_error *err)
{
    const char *what = "of an unknown type";
    switch (type) {
    case ET_EXEC: return 0;
    case ET_NONE: what = "of no type"; break;
    case ET_REL: what = "an object file that was not linked yet"; break;
    case ET_DYN: what = "a shared object or position-independent: link it with -static -no-pie"; break;
    case ET_CORE: what = "a core dump"; break;
    default: break;
    }
    return error_set(err, -ENOEXEC, "not-executable", source->name, "%s: not executable: it is %s (ELF type %u)",
                     source->name, what, type);
}

static int bad_table(const struct elf_source *source, const char *what, uint64_t value, struct mv_error *err)
{
    return error_set(err, -ENOEXEC, "bad-segment", source->name,
                     "%s: bad segments: the ELF header says %" PRIu64 " %s, which cannot be", source->name, value,
                     what);
}

static int check_table(const struct elf_source *source, const struct header *header, struct mv_error *err)
{
    if (header->table_entries == 0 || header->table_entries > ELF_MAX_SEGMENTS) {
        return bad_table(source, "program headers", header->table_entries, err);
    }
    if (header->table_entry_bytes != program_header_bytes(header->elf_class)) {
        return bad_table(source, "bytes for each program header", header->table_entry_bytes, err);
    }
    const uint64_t bytes = (uint64_t)header->table_entries * header->table_entry_bytes;
    if (header->table_offset > source->size_bytes || bytes > source->size_bytes - header->table_offset) {
        return error_set(err, -ENOEXEC, "truncated", source->name,
                         "%s: truncated: its %u program headers at offset " PRI_ADDR " go beyond its %" PRIu64
                         " bytes",
                         source->name, header->table_entries, header->table_offset, source->size_bytes);
    }
    return 0;
}

static int read_header(const struct elf_source *source, struct header *ret, struct mv_error *err)
{
    int rc = check_ident(source, err);
    if (rc < 0) {
        return rc;
    }
    decode_header(source, ret);
    const bool is_64 = ret->elf_class == ELF_CLASS_64;
    if (ret->machine != (is_64 ? EM_X86_64 : EM_386)) {
        return wrong_architecture(source, ret->machine, is_64 ? "64-bit" : "32-bit", err);
    }
    rc = check_type(source, ret->type, err);
    return rc < 0 ? rc : check_table(source, ret, err);
}

int elf_program_headers(const struct elf_source *source, struct mv_range *ret_table, struct mv_error *err)
{
    struct header header;
    int rc = read_header(source, &header, err);
    if (rc < 0) {
        return rc;
    }
    const uint64_t bytes = (uint64_t)header.table_entries * header.table_entry_bytes;
    *ret_table = (struct mv_range){header.table_offset, header.table_offset + bytes - 1};
    return 0;
}

/* --- the segments ------------------------------------------------------------------------------ */

/* The table is checked: it is in the file. */
static void decode_program_header(const struct elf_source *source, const struct header *header, unsigned number,
                                  struct program_header *ret)
{
    const uint8_t *p = source->bytes + header->table_offset + (uint64_t)number * header->table_entry_bytes;
    if (header->elf_class == ELF_CLASS_64) {
        Elf64_Phdr h;
        memcpy(&h, p, sizeof h);
        *ret = (struct program_header){
            .type = h.p_type,
            .offset = h.p_offset,
            .vaddr = h.p_vaddr,
            .paddr = h.p_paddr,
            .file_bytes = h.p_filesz,
            .memory_bytes = h.p_memsz,
        };
    } else {
        Elf32_Phdr h;
        memcpy(&h, p, sizeof h);
        *ret = (struct program_header){
            .type = h.p_type,
            .offset = h.p_offset,
            .vaddr = h.p_vaddr,
            .paddr = h.p_paddr,
            .file_bytes = h.p_filesz,
            .memory_bytes = h.p_memsz,
        };
    }
}

/* ELF says that the entry is virtual; images that run without paging mostly make it physical. Both are understood.
 */
struct entry {
    uint64_t given;
    bool translated;
    uint64_t physical; /* if translated: where the segment is loaded that has `given` as a virtual address */
};

/* A parse under way. */
struct parser {
    const struct elf_source *source;
    struct header header;
    struct entry entry;
    struct elf elf;
};

static int check_segment(const struct parser *parser, const struct program_header *ph, unsigned number,
                         struct mv_error *err)
{
    const struct elf_source *source = parser->source;
    if (ph->file_bytes > ph->memory_bytes) {
        return error_set(err, -ENOEXEC, "bad-segment", source->name,
                         "%s: bad segment %u: it has " PRI_ADDR " bytes in the file, but only " PRI_ADDR
                         " in memory",
                         source->name, number, ph->file_bytes, ph->memory_bytes);
    }
    if (ph->offset > source->size_bytes || ph->file_bytes > source->size_bytes - ph->offset) {
        return error_set(err, -ENOEXEC, "truncated", source->name,
                         "%s: truncated: segment %u has " PRI_ADDR " bytes at offset " PRI_ADDR
                         ", and the file has " PRI_ADDR,
                         source->name, number, ph->file_bytes, ph->offset, source->size_bytes);
    }
    const uint64_t max = address_max(parser->header.elf_class);
    if (ph->paddr > max || (ph->memory_bytes > 0 && ph->memory_bytes - 1 > max - ph->paddr)) {
        return error_set(err, -ENOEXEC, "bad-segment", source->name,
                         "%s: bad segment %u: " PRI_ADDR " bytes from gpa " PRI_ADDR
                         " go beyond the last address, " PRI_ADDR,
                         source->name, number, ph->memory_bytes, ph->paddr, max);
    }
    return 0;
}

static int check_overlap(const struct parser *parser, const struct elf_segment *segment, struct mv_error *err)
{
    const char *name = parser->source->name;
    for (unsigned i = 0; i < parser->elf.segment_count; i++) {
        const struct elf_segment *other = &parser->elf.segments[i];
        if (range_overlaps(segment->gpa, other->gpa)) {
            return error_set(err, -ENOEXEC, "overlap", name,
                             "%s: segment %u (" PRI_GPA_RANGE ") overlaps segment %u (" PRI_GPA_RANGE ")", name,
                             segment->number, segment->gpa.first, segment->gpa.last, other->number,
                             other->gpa.first, other->gpa.last);
        }
    }
    return 0;
}

static void note_entry(struct entry *entry, const struct program_header *ph)
{
    if (!entry->translated && entry->given >= ph->vaddr && entry->given - ph->vaddr < ph->memory_bytes) {
        entry->translated = true;
        entry->physical = ph->paddr + (entry->given - ph->vaddr);
    }
}

static int add_segment(struct parser *parser, const struct program_header *ph, unsigned number,
                       struct mv_error *err)
{
    int rc = check_segment(parser, ph, number, err);
    if (rc < 0 || ph->memory_bytes == 0) {
        return rc;
    }
    const struct elf_segment segment = {
        .number = number,
        .gpa = {ph->paddr, ph->paddr + (ph->memory_bytes - 1)},
        .file_offset = ph->offset,
        .file_bytes = ph->file_bytes,
    };
    rc = check_overlap(parser, &segment, err);
    if (rc < 0) {
        return rc;
    }
    note_entry(&parser->entry, ph);
    parser->elf.segments[parser->elf.segment_count++] = segment; /* check_table() bounded their number */
    return 0;
}

static int take_program_header(struct parser *parser, unsigned number, struct mv_error *err)
{
    const char *name = parser->source->name;
    struct program_header ph;
    decode_program_header(parser->source, &parser->header, number, &ph);
    switch (ph.type) {
    case PT_LOAD: return add_segment(parser, &ph, number, err);
    case PT_INTERP:
        return error_set(
            err, -ENOEXEC, "not-executable", name,
            "%s: not executable: it is a program of an operating system and asks for a dynamic loader", name);
    default: return 0;
    }
}

static bool is_loaded(const struct elf *elf, uint64_t gpa)
{
    for (unsigned i = 0; i < elf->segment_count; i++) {
        if (range_contains(elf->segments[i].gpa, gpa)) {
            return true;
        }
    }
    return false;
}

static int settle_entry(struct parser *parser, struct mv_error *err)
{
    const char *name = parser->source->name;
    const uint64_t entry = parser->entry.translated ? parser->entry.physical : parser->entry.given;
    if (!is_loaded(&parser->elf, entry)) {
        return error_set(err, -ENOEXEC, "bad-entry", name,
                         "%s: bad entry point: " PRI_ADDR " is in none of its segments", name, entry);
    }
    if (entry > UINT32_MAX) {
        return error_set(err, -ENOEXEC, "bad-entry", name,
                         "%s: bad entry point: " PRI_ADDR
                         " is not below 4 GiB, and the guest starts in 32-bit mode",
                         name, entry);
    }
    parser->elf.entry = entry;
    return 0;
}

int elf_parse(const struct elf_source *source, struct elf *ret, struct mv_error *err)
{
    struct parser parser = {.source = source};
    int rc = read_header(source, &parser.header, err);
    if (rc < 0) {
        return rc;
    }
    parser.elf.elf_class = parser.header.elf_class;
    parser.entry.given = parser.header.entry;
    for (unsigned number = 0; number < parser.header.table_entries; number++) {
        rc = take_program_header(&parser, number, err);
        if (rc < 0) {
            return rc;
        }
    }
    if (parser.elf.segment_count == 0) {
        return error_set(err, -ENOEXEC, "bad-segment", source->name, "%s: bad segments: there is none to load",
                         source->name);
    }
    rc = settle_entry(&parser, err);
    if (rc == 0) {
        *ret = parser.elf;
    }
    return rc;
}
