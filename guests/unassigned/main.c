/* SPDX-License-Identifier: MIT */
/* Reads where nothing is: memory answers 0, as QEMU's unassigned memory does, and a port answers all ones. */
#include "guest.h"

enum { PORT_NOBODY = 0x9999 };

int guest_main(uint32_t multiboot_info_gpa)
{
    (void)multiboot_info_gpa;
    if (memory_read32(BOARD_HOLE_GPA) != 0)
        guest_fail("unassigned", "memory is not 0");
    if (inb(PORT_NOBODY) != 0xff)
        guest_fail("unassigned", "the port is not 0xff");
    console_puts("unassigned: ok\n");
    return 0;
}
