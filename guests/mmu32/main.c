/* SPDX-License-Identifier: MIT */
/*
 * Two-level paging (32-bit entries, CR4.PSE) with both page sizes, left on at the exit for the host to walk:
 *
 *     GVA 0 .. 16 MiB           identity, 4 MiB pages
 *     GVA SMALL_GVA             small_page, one 4 KiB page
 *     GVA LARGE_GVA .. +4 MiB   GPA LARGE_GPA, one 4 MiB page
 */
#include "paging32.h"

#define SMALL_GVA 0x40123000u
#define LARGE_GVA 0xc0400000u
#define LARGE_GPA 0x00800000u
#define LARGE_OFFSET 0x00234560u
#define SMALL_VALUE 0x5ca1ab1eu
#define LARGE_VALUE 0xb16b00b5u

#define LARGE_SIZE 0x400000u
#define IDENTITY_SIZE 0x1000000u

static uint32_t directory[1024] __attribute__((aligned(4096)));
static uint32_t table[1024] __attribute__((aligned(4096)));
static uint32_t small_page[1024] __attribute__((aligned(4096)));

int guest_main(uint32_t multiboot_info_gpa)
{
    (void)multiboot_info_gpa;
    for (uint32_t gpa = 0; gpa < IDENTITY_SIZE; gpa += LARGE_SIZE)
        directory[gpa >> 22] = gpa | PTE_P | PTE_W | PTE_PS;
    directory[SMALL_GVA >> 22] = (uint32_t)(uintptr_t)table | PTE_P | PTE_W;
    table[SMALL_GVA >> 12 & 1023] = (uint32_t)(uintptr_t)small_page | PTE_P | PTE_W;
    directory[LARGE_GVA >> 22] = LARGE_GPA | PTE_P | PTE_W | PTE_PS;

    if (!paging32_enable(CR4_PSE, directory)) {
        console_puts("mmu32: the processor refuses paging outside long mode\n");
        return GUEST_STATUS_SKIP;
    }
    memory_write32(SMALL_GVA, SMALL_VALUE);
    memory_write32(LARGE_GVA + LARGE_OFFSET, LARGE_VALUE);
    if (memory_read32((uintptr_t)small_page) != SMALL_VALUE)
        guest_fail("mmu32", "the 4 KiB page is elsewhere");
    if (memory_read32(LARGE_GPA + LARGE_OFFSET) != LARGE_VALUE)
        guest_fail("mmu32", "the 4 MiB page is elsewhere");
    console_puts("mmu32: ok\n");
    return 0;
}
