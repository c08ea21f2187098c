// SPDX-License-Identifier: MIT
#include "board/multiboot.h"

#include <assert.h>
#include <string.h>

#include "base/range.h"

/* --- the header -------------------------------------------------------------------------------- */

#define HEADER_MAGIC UINT32_C(0x1badb002)
#define HEADER_ALIGNMENT 4
#define HEADER_BYTES 12 /* magic, flags, checksum; more follows for features that this loader ignores */

/* Bits 0-15 are requirements, the others may be ignored. 0: align modules on pages, of which there are none. */
#define FEATURES_REQUIRED UINT32_C(0x0000ffff)
#define FEATURE_PAGE_ALIGN (UINT32_C(1) << 0)
#define FEATURE_MEMORY_INFO (UINT32_C(1) << 1)
#define FEATURES_KNOWN (FEATURE_PAGE_ALIGN | FEATURE_MEMORY_INFO)

static uint32_t load_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static struct multiboot_header check_features(uint64_t offset, uint32_t flags)
{
    const uint32_t unknown = flags & FEATURES_REQUIRED & ~FEATURES_KNOWN;
    return (struct multiboot_header){
        .verdict = unknown ? MULTIBOOT_UNKNOWN_FEATURE : MULTIBOOT_OK,
        .offset = offset,
        .feature = unknown ? (unsigned)__builtin_ctz(unknown) : 0,
    };
}

struct multiboot_header multiboot_header_find(const uint8_t *bytes, uint64_t size_bytes)
{
    const uint64_t area = size_bytes < MULTIBOOT_HEADER_AREA ? size_bytes : MULTIBOOT_HEADER_AREA;
    struct multiboot_header header = {.verdict = MULTIBOOT_NO_HEADER};
    for (uint64_t at = 0; at + HEADER_BYTES <= area; at += HEADER_ALIGNMENT) {
        const uint32_t magic = load_u32(bytes + at);
        const uint32_t flags = load_u32(bytes + at + 4);
        const uint32_t checksum = load_u32(bytes + at + 8);
        if (magic != HEADER_MAGIC) {
            continue;
        }
        if (magic + flags + checksum == 0) {
            return check_features(at, flags);
        }
        /* The number may stand there by chance: only what has no better one further on is a damaged header. */
        if (header.verdict == MULTIBOOT_NO_HEADER) {
            header = (struct multiboot_header){.verdict = MULTIBOOT_BAD_CHECKSUM, .offset = at};
        }
    }
    return header;
}

/* --- the information --------------------------------------------------------------------------- */

/* "Boot information format": offsets of the fields that are filled in; the others are 0, as their flags say. */
#define INFO_FLAGS 0
#define INFO_MEM_LOWER 4
#define INFO_MEM_UPPER 8
#define INFO_CMDLINE 16
#define INFO_MMAP_LENGTH 44
#define INFO_MMAP_ADDR 48
#define INFO_LOADER_NAME 64
#define INFO_BYTES 120

#define INFO_HAS_MEMORY (UINT32_C(1) << 0)
#define INFO_HAS_CMDLINE (UINT32_C(1) << 2)
#define INFO_HAS_MMAP (UINT32_C(1) << 6)
#define INFO_HAS_LOADER_NAME (UINT32_C(1) << 9)

/* An entry of the memory map; its size field does not count itself. */
#define MMAP_SIZE 0
#define MMAP_BASE 4
#define MMAP_LENGTH 12
#define MMAP_TYPE 20
#define MMAP_BYTES 24
#define MMAP_TYPE_RAM 1

#define LOW_MEMORY_MAX_KIB 640
#define HIGH_MEMORY_GPA MIB

static void store_u32(uint8_t *p, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        p[i] = (uint8_t)(value >> (8 * i));
    }
}

static void store_u64(uint8_t *p, uint64_t value)
{
    store_u32(p, (uint32_t)value);
    store_u32(p + 4, (uint32_t)(value >> 32));
}

/* KiB of RAM from `gpa` up to the first address that is none. */
static uint32_t ram_kib_from(const struct multiboot_facts *facts, uint64_t gpa)
{
    for (size_t i = 0; i < facts->ram_count; i++) {
        if (range_contains(facts->ram[i], gpa)) {
            const uint64_t kib = (facts->ram[i].last - gpa) / KIB + 1;
            return kib < UINT32_MAX ? (uint32_t)kib : UINT32_MAX;
        }
    }
    return 0;
}

/* Parts of the information, one behind the other. */
struct layout {
    uint64_t mmap;
    uint64_t command_line;
    uint64_t loader_name;
    uint64_t end;
};

static struct layout layout_of(const struct multiboot_facts *facts)
{
    struct layout layout = {.mmap = INFO_BYTES};
    layout.command_line = layout.mmap + facts->ram_count * MMAP_BYTES;
    layout.loader_name = layout.command_line + strlen(facts->command_line) + 1;
    layout.end = layout.loader_name + strlen(facts->loader_name) + 1;
    return layout;
}

uint64_t multiboot_info_size(const struct multiboot_facts *facts)
{
    return layout_of(facts).end;
}

static void build_mmap(const struct multiboot_facts *facts, uint8_t *bytes)
{
    for (size_t i = 0; i < facts->ram_count; i++) {
        uint8_t *entry = bytes + i * MMAP_BYTES;
        store_u32(entry + MMAP_SIZE, MMAP_BYTES - 4);
        store_u64(entry + MMAP_BASE, facts->ram[i].first);
        store_u64(entry + MMAP_LENGTH, range_size(facts->ram[i]));
        store_u32(entry + MMAP_TYPE, MMAP_TYPE_RAM);
    }
}

void multiboot_info_build(const struct multiboot_facts *facts, uint32_t gpa, uint8_t *ret_bytes)
{
    const struct layout layout = layout_of(facts);
    assert(layout.end <= UINT32_MAX - gpa);
    const uint32_t lower_kib = ram_kib_from(facts, 0);

    memset(ret_bytes, 0, INFO_BYTES);
    store_u32(ret_bytes + INFO_FLAGS, INFO_HAS_MEMORY | INFO_HAS_CMDLINE | INFO_HAS_MMAP | INFO_HAS_LOADER_NAME);
    store_u32(ret_bytes + INFO_MEM_LOWER, lower_kib < LOW_MEMORY_MAX_KIB ? lower_kib : LOW_MEMORY_MAX_KIB);
    store_u32(ret_bytes + INFO_MEM_UPPER, ram_kib_from(facts, HIGH_MEMORY_GPA));
    store_u32(ret_bytes + INFO_CMDLINE, gpa + (uint32_t)layout.command_line);
    store_u32(ret_bytes + INFO_MMAP_LENGTH, (uint32_t)(layout.command_line - layout.mmap));
    store_u32(ret_bytes + INFO_MMAP_ADDR, gpa + (uint32_t)layout.mmap);
    store_u32(ret_bytes + INFO_LOADER_NAME, gpa + (uint32_t)layout.loader_name);

    build_mmap(facts, ret_bytes + layout.mmap);
    memcpy(ret_bytes + layout.command_line, facts->command_line, layout.loader_name - layout.command_line);
    memcpy(ret_bytes + layout.loader_name, facts->loader_name, layout.end - layout.loader_name);
}
