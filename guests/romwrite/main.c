/* SPDX-License-Identifier: MIT */
/* Writes to ROM: the host hears of it (KVM: an MMIO exit for a read-only slot), the bytes stay. */
#include "guest.h"

#define ROM_BYTES 0xf4f4f4f4u

int guest_main(uint32_t multiboot_info_gpa)
{
    (void)multiboot_info_gpa;
    if (memory_read32(BOARD_ROM_GPA) != ROM_BYTES)
        guest_fail("rom", "not the bytes of the board's ROM");
    console_puts("rom: writing\n");
    memory_write32(BOARD_ROM_GPA, ~ROM_BYTES);
    if (memory_read32(BOARD_ROM_GPA) != ROM_BYTES)
        guest_fail("rom", "changed");
    console_puts("rom: unchanged\n");
    return 0;
}
