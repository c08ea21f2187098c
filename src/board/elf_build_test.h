// SPDX-License-Identifier: MIT
/* For the tests of loaders: ELF files made to order. What they describe may be as wrong as a test wants it. */
#ifndef BOARD_ELF_BUILD_TEST_H
#define BOARD_ELF_BUILD_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <elf.h>

#include "board/elf.h"

#define BUILT_BYTES 0x4000
#define BUILT_MULTIBOOT 0x1f00 /* of ELF32 files: where the multiboot header is */
#define BUILT_CONTENT 0x2000   /* the bytes of segments come from here on: see built_content() */
#define BUILT_CONTENT_BYTES (BUILT_BYTES - BUILT_CONTENT)

struct built {
    enum elf_class elf_class;
    uint64_t size_bytes;
    uint8_t bytes[BUILT_BYTES];
};

static inline uint8_t built_content(uint64_t offset)
{
    return (uint8_t)(offset % 251 + 1); /* never 0 */
}

static inline void built_put(struct built *built, uint64_t offset, const void *bytes, size_t length)
{
    assert_true(offset <= sizeof built->bytes && length <= sizeof built->bytes - offset);
    memcpy(built->bytes + offset, bytes, length);
}

static inline void built_multiboot(struct built *built, uint32_t flags)
{
    const uint32_t header[3] = {0x1badb002, flags, -(0x1badb002 + flags)};
    built_put(built, BUILT_MULTIBOOT, header, sizeof header);
}

/* An executable without program headers. */
static inline void built_init(struct built *built, enum elf_class elf_class, uint64_t entry)
{
    *built = (struct built){.elf_class = elf_class, .size_bytes = BUILT_BYTES};
    for (uint64_t i = 0; i < BUILT_CONTENT_BYTES; i++) {
        built->bytes[BUILT_CONTENT + i] = built_content(i);
    }
    if (elf_class == ELF_CLASS_64) {
        Elf64_Ehdr h = {
            .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
            .e_type = ET_EXEC,
            .e_machine = EM_X86_64,
            .e_version = EV_CURRENT,
            .e_entry = entry,
            .e_phoff = sizeof h,
            .e_ehsize = sizeof h,
            .e_phentsize = sizeof(Elf64_Phdr),
        };
        built_put(built, 0, &h, sizeof h);
    } else {
        Elf32_Ehdr h = {
            .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
            .e_type = ET_EXEC,
            .e_machine = EM_386,
            .e_version = EV_CURRENT,
            .e_entry = (uint32_t)entry,
            .e_phoff = sizeof h,
            .e_ehsize = sizeof h,
            .e_phentsize = sizeof(Elf32_Phdr),
        };
        built_put(built, 0, &h, sizeof h);
        built_multiboot(built, 0x10003);
    }
}

/* Of an ELF64 file: any field can be changed with these two. */
static inline Elf64_Ehdr built_header(const struct built *built)
{
    Elf64_Ehdr h;
    assert_int_equal(built->elf_class, ELF_CLASS_64);
    memcpy(&h, built->bytes, sizeof h);
    return h;
}

static inline void built_set_header(struct built *built, Elf64_Ehdr h)
{
    built_put(built, 0, &h, sizeof h);
}

/* In both classes: e_type and e_machine, and how many program headers there are. */
static inline uint16_t *built_u16(struct built *built, size_t offset_64, size_t offset_32)
{
    return (uint16_t *)(void *)(built->bytes + (built->elf_class == ELF_CLASS_64 ? offset_64 : offset_32));
}

#define BUILT_U16(built, field) (*built_u16((built), offsetof(Elf64_Ehdr, field), offsetof(Elf32_Ehdr, field)))

/* A program header; numbers are cut to what the class has. */
struct built_segment {
    uint32_t type; /* 0: PT_LOAD */
    uint64_t offset;
    uint64_t vaddr;
    uint64_t paddr;
    uint64_t file_bytes;
    uint64_t memory_bytes;
};

static inline void built_add(struct built *built, struct built_segment s)
{
    const unsigned number = BUILT_U16(built, e_phnum)++;
    const uint32_t type = s.type == 0 ? PT_LOAD : s.type;
    if (built->elf_class == ELF_CLASS_64) {
        const Elf64_Phdr h = {
            .p_type = type,
            .p_flags = PF_R | PF_X,
            .p_offset = s.offset,
            .p_vaddr = s.vaddr,
            .p_paddr = s.paddr,
            .p_filesz = s.file_bytes,
            .p_memsz = s.memory_bytes,
        };
        built_put(built, sizeof(Elf64_Ehdr) + number * sizeof h, &h, sizeof h);
    } else {
        const Elf32_Phdr h = {
            .p_type = type,
            .p_flags = PF_R | PF_X,
            .p_offset = (uint32_t)s.offset,
            .p_vaddr = (uint32_t)s.vaddr,
            .p_paddr = (uint32_t)s.paddr,
            .p_filesz = (uint32_t)s.file_bytes,
            .p_memsz = (uint32_t)s.memory_bytes,
        };
        built_put(built, sizeof(Elf32_Ehdr) + number * sizeof h, &h, sizeof h);
    }
}

/* The usual one: `file_bytes` of content, loaded at `gpa`, virtual = physical. */
static inline void built_add_at(struct built *built, uint64_t gpa, uint64_t file_bytes, uint64_t memory_bytes)
{
    built_add(built, (struct built_segment){
                         .offset = BUILT_CONTENT,
                         .vaddr = gpa,
                         .paddr = gpa,
                         .file_bytes = file_bytes,
                         .memory_bytes = memory_bytes,
                     });
}

#endif
