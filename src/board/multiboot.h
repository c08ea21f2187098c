// SPDX-License-Identifier: MIT
/*
 * Multiboot 1 (GNU, "Multiboot Specification version 0.6.96"): the header by which an image asks to be booted so,
 * and the information that it then finds in memory. Pure: bytes in, bytes out.
 */
#ifndef BOARD_MULTIBOOT_H
#define BOARD_MULTIBOOT_H

#include <memvirt/types.h>

#define MULTIBOOT_EAX UINT32_C(0x2badb002) /* "a multiboot loader started you" */

/* The header lies within so many bytes of the beginning of the file. */
#define MULTIBOOT_HEADER_AREA UINT64_C(8192)

enum multiboot_verdict {
    MULTIBOOT_OK,
    MULTIBOOT_NO_HEADER,
    MULTIBOOT_BAD_CHECKSUM,
    MULTIBOOT_UNKNOWN_FEATURE, /* it requires what this loader does not have */
};

struct multiboot_header {
    enum multiboot_verdict verdict;
    uint64_t offset;  /* in the file; unless NO_HEADER */
    unsigned feature; /* UNKNOWN_FEATURE: the lowest bit of its flags that is not known */
};

/* Look for the header in the first MULTIBOOT_HEADER_AREA bytes of a file, or in all of a shorter one. */
struct multiboot_header multiboot_header_find(const uint8_t *bytes, uint64_t size_bytes);

/* What the information tells. Borrowed. */
struct multiboot_facts {
    const struct mv_range *ram; /* in order, not adjacent */
    size_t ram_count;
    const char *command_line;
    const char *loader_name;
};

/* How many bytes multiboot_info_build() will make. */
uint64_t multiboot_info_size(const struct multiboot_facts *facts);

/* Make the information for the place where it is to be: pointers in it are physical addresses. */
void multiboot_info_build(const struct multiboot_facts *facts, uint32_t gpa, uint8_t *ret_bytes);

#endif
