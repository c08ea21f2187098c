/* SPDX-License-Identifier: MIT */
/*
 * Three-level paging (PAE, 64-bit entries) with both page sizes, left on at the exit for the host to walk:
 *
 *     GVA 0 .. 16 MiB           identity, 2 MiB pages
 *     GVA SMALL_GVA             small_page, one 4 KiB page
 *     GVA LARGE_GVA .. +2 MiB   GPA LARGE_GPA, one 2 MiB page
 */
#include "paging32.h"

#define SMALL_GVA 0x80345000u
#define LARGE_GVA 0x80a00000u
#define LARGE_GPA 0x00c00000u
#define LARGE_OFFSET 0x00123450u
#define SMALL_VALUE 0x5ca1ab1eu
#define LARGE_VALUE 0xb16b00b5u

#define LARGE_SIZE 0x200000u
#define IDENTITY_SIZE 0x1000000u

/* CR3 keeps bits 31:5 of this address only. */
static uint64_t pointers[4] __attribute__((aligned(32)));
static uint64_t low_directory[512] __attribute__((aligned(4096)));
static uint64_t high_directory[512] __attribute__((aligned(4096)));
static uint64_t table[512] __attribute__((aligned(4096)));
static uint32_t small_page[1024] __attribute__((aligned(4096)));

int guest_main(uint32_t multiboot_info_gpa)
{
    (void)multiboot_info_gpa;

    /* An entry of the first level has P and no W or U: those bits are reserved there. */
    pointers[0] = (uintptr_t)low_directory | PTE_P;
    pointers[SMALL_GVA >> 30] = (uintptr_t)high_directory | PTE_P;
    for (uint32_t gpa = 0; gpa < IDENTITY_SIZE; gpa += LARGE_SIZE)
        low_directory[gpa >> 21] = gpa | PTE_P | PTE_W | PTE_PS;
    high_directory[SMALL_GVA >> 21 & 511] = (uintptr_t)table | PTE_P | PTE_W;
    table[SMALL_GVA >> 12 & 511] = (uintptr_t)small_page | PTE_P | PTE_W;
    high_directory[LARGE_GVA >> 21 & 511] = LARGE_GPA | PTE_P | PTE_W | PTE_PS;

    if (!paging32_enable(CR4_PAE, pointers)) {
        console_puts("mmupae: the processor refuses paging outside long mode\n");
        return GUEST_STATUS_SKIP;
    }
    memory_write32(SMALL_GVA, SMALL_VALUE);
    memory_write32(LARGE_GVA + LARGE_OFFSET, LARGE_VALUE);
    if (memory_read32((uintptr_t)small_page) != SMALL_VALUE)
        guest_fail("mmupae", "the 4 KiB page is elsewhere");
    if (memory_read32(LARGE_GPA + LARGE_OFFSET) != LARGE_VALUE)
        guest_fail("mmupae", "the 2 MiB page is elsewhere");
    console_puts("mmupae: ok\n");
    return 0;
}
