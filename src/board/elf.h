// SPDX-License-Identifier: MIT
/*
 * ELF executables as images: from the bytes of a file to what goes where. Pure: no file, no guest memory. Every
 * number in the file is untrusted; what comes out here lies inside the file, does not wrap and does not overlap.
 * Whether there is memory at the addresses is the caller's question.
 */
#ifndef BOARD_ELF_H
#define BOARD_ELF_H

#include <memvirt/types.h>

/* More than any linker script makes; a bound on work that the file asks for. */
#define ELF_MAX_SEGMENTS 128

enum elf_class {
    ELF_CLASS_32, /* i386 */
    ELF_CLASS_64, /* x86-64 */
};

/* What to load: file_bytes from the file, then zeroes up to the end of gpa. file_bytes <= the size of gpa. */
struct elf_segment {
    unsigned number; /* in the program headers, as readelf counts */
    struct mv_range gpa;
    uint64_t file_offset;
    uint64_t file_bytes;
};

struct elf {
    enum elf_class elf_class;
    uint64_t entry; /* physical; inside one of the segments, below 4 GiB */
    unsigned segment_count;
    struct elf_segment segments[ELF_MAX_SEGMENTS];
};

/* The bytes that a parser looks at, and what the file is called in messages. */
struct elf_source {
    const char *name;
    const uint8_t *bytes;
    uint64_t size_bytes;
};

/* Whether the bytes begin as an ELF file does. */
bool elf_has_magic(const struct elf_source *source);

/*
 * Check the ELF header, and say where in the file the program headers are. Looks at no byte behind the ELF header.
 * @param[out] ret_table  inside the file
 * @return 0; -ENOEXEC ("not-an-image", "truncated", "not-executable", "wrong-architecture", "bad-segment")
 */
int elf_program_headers(const struct elf_source *source, struct mv_range *ret_table, struct mv_error *err);

/*
 * Check it all. Looks at no byte but the ELF header and the program headers.
 * @return 0; -ENOEXEC (those of elf_program_headers(), "overlap", "bad-entry")
 */
int elf_parse(const struct elf_source *source, struct elf *ret, struct mv_error *err);

#endif
