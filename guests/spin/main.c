/* SPDX-License-Identifier: MIT */
/* Never leaves ring 3 and never exits by itself: only a signal or an interrupt of the host gets the processor
 * back. */
#include "long.h"

bool guest_page_fault(uint64_t gva, uint64_t error)
{
    (void)gva;
    (void)error;
    return false;
}

USER_CODE static void user_spin(void)
{
    for (;;)
        __asm__ volatile("");
}

int guest_main(uint32_t multiboot_info_gpa)
{
    (void)multiboot_info_gpa;
    long_init();
    console_puts("spin: in ring 3 for good\n");
    user_run(user_spin);
    return 1;
}
