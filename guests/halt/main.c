/* SPDX-License-Identifier: MIT */
/* Halts with interrupts off: nothing but a host can end this. */
#include "guest.h"

int guest_main(uint32_t multiboot_info_gpa)
{
    (void)multiboot_info_gpa;
    console_puts("halt: for good\n");
    __asm__ volatile("cli; hlt");
    guest_fail("halt", "woke up");
}
