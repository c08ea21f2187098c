/* SPDX-License-Identifier: MIT */
#include "guest.h"

enum { LSR_TRANSMITTER_EMPTY = 1 << 5 };

static void console_putc(char c)
{
    while (!(inb(PORT_SERIAL_LSR) & LSR_TRANSMITTER_EMPTY))
        ;
    outb(PORT_SERIAL_DATA, (uint8_t)c);
}

void console_puts(const char *text)
{
    while (*text)
        console_putc(*text++);
}

void console_put_dec(uint32_t value)
{
    char digits[11];
    char *first = digits + sizeof(digits) - 1;

    *first = '\0';
    do
        *--first = (char)('0' + value % 10);
    while (value /= 10);
    console_puts(first);
}

void console_put_hex(uint64_t value)
{
    char digits[17];
    char *first = digits + sizeof(digits) - 1;

    *first = '\0';
    do
        *--first = "0123456789abcdef"[value & 15];
    while (value >>= 4);
    console_puts("0x");
    console_puts(first);
}

void guest_exit(uint8_t status)
{
    outb(PORT_EXIT, status);
    for (;;)
        __asm__ volatile("cli; hlt");
}

void guest_fail(const char *who, const char *what)
{
    console_puts(who);
    console_puts(": ");
    console_puts(what);
    console_puts("\n");
    guest_exit(1);
}
