/* SPDX-License-Identifier: MIT */
/*
 * What every guest may use: the devices of memvirt's minimal board, and a console on its serial port.
 *
 * Written for a hypervisor that may emulate ring 0 one instruction at a time: nothing here loops without need,
 * and nothing uses an instruction outside the plain integer set.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum board_port {
    PORT_DEBUGCON = 0xe9,
    PORT_EXIT = 0xf4, /* the byte written becomes the status of the run */
    PORT_SERIAL_DATA = 0x3f8,
    PORT_SERIAL_LSR = 0x3fd, /* line status; bit 5: the transmitter takes a byte */
    PORT_FWCFG_SELECT = 0x510,
    PORT_FWCFG_DATA = 0x511,
};

#define BOARD_SCRATCH_GPA 0xd0000000u /* offset 0: 64-bit register; offset 8: BOARD_SCRATCH_ID */
#define BOARD_SCRATCH_ID 0x6d656d76u
#define BOARD_APIC_GPA 0xfee00000u
#define BOARD_ROM_GPA 0xffff0000u  /* 64 KiB of 0xf4 (hlt) bytes */
#define BOARD_HOLE_GPA 0xc0000000u /* nothing is ever there */

/*
 * The guest itself, called on a stack of its own with interrupts off: flat 32-bit protected mode without paging,
 * or, built for x86-64, long mode over an identity map of the first GiB. The return value goes to the exit port.
 */
int guest_main(uint32_t multiboot_info_gpa);

/* Always inlined: code for ring 3 uses these too, and cannot call into supervisor pages. */
#define GUEST_INLINE static inline __attribute__((always_inline))

GUEST_INLINE void outb(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

GUEST_INLINE void outw(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

GUEST_INLINE uint8_t inb(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

/*
 * One plain mov each: a compiler may turn a volatile read into `test` or `cmp` with a memory operand, which is one
 * access all the same, but which not every emulator takes. They serve devices and page-table experiments alike.
 */
GUEST_INLINE uint32_t memory_read32(uintptr_t gva)
{
    uint32_t value;

    __asm__ volatile("movl (%1), %0" : "=r"(value) : "r"(gva) : "memory");
    return value;
}

GUEST_INLINE void memory_write32(uintptr_t gva, uint32_t value)
{
    __asm__ volatile("movl %0, (%1)" : : "r"(value), "r"(gva) : "memory");
}

#ifdef __x86_64__
GUEST_INLINE uint64_t memory_read64(uintptr_t gva)
{
    uint64_t value;

    __asm__ volatile("movq (%1), %0" : "=r"(value) : "r"(gva) : "memory");
    return value;
}

GUEST_INLINE void memory_write64(uintptr_t gva, uint64_t value)
{
    __asm__ volatile("movq %0, (%1)" : : "r"(value), "r"(gva) : "memory");
}
#endif

void console_puts(const char *text);
void console_put_dec(uint32_t value);
void console_put_hex(uint64_t value); /* with its 0x, without leading zeros */

/* Ends the run with this status; if the board ignores the exit port, stops the processor for good. */
_Noreturn void guest_exit(uint8_t status);

/* Prints `who`: `what`, and ends the run with status 1. */
_Noreturn void guest_fail(const char *who, const char *what);

#endif
