/* SPDX-License-Identifier: MIT */
/* Triple-faults: with an IDT of no entries, neither #UD nor the #DF that follows can be delivered. */
#include "guest.h"

int guest_main(uint32_t multiboot_info_gpa)
{
    static const struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) no_idt = {0, 0};

    (void)multiboot_info_gpa;
    console_puts("triple: going down\n");
    __asm__ volatile("lidt %0; ud2" : : "m"(no_idt));
    guest_fail("triple", "still running");
}
