/* SPDX-License-Identifier: MIT */
/* Jumps into a device: there are no bytes to fetch instructions from, so no hypervisor can go on. */
#include "guest.h"

int guest_main(uint32_t multiboot_info_gpa)
{
    (void)multiboot_info_gpa;
    console_puts("mmiojump: jumping\n");
    __asm__ volatile("jmp *%0" : : "r"(BOARD_SCRATCH_GPA));
    guest_fail("mmiojump", "came back");
}
