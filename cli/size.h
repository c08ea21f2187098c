// SPDX-License-Identifier: MIT
/* Numbers and sizes, as people write them. */
#ifndef CLI_SIZE_H
#define CLI_SIZE_H

#include <stdbool.h>
#include <stdint.h>

enum size_verdict {
    SIZE_OK,
    SIZE_NOT_A_SIZE,
    SIZE_ZERO,
    SIZE_TOO_LARGE, /* more than 64 bits have room for */
};

/* A decimal number, then at most one of K M G T, powers of 1024; without one it means M, as for QEMU's -m. */
enum size_verdict size_parse(const char *text, uint64_t *ret_bytes);

/* A whole number, decimal or 0x hexadecimal, of at most `max`. */
bool number_parse(const char *text, uint64_t max, uint64_t *ret);

/* "128 MiB", or "4097 bytes" when no larger unit divides it. Returns `ret`. */
#define SIZE_TEXT_SIZE 32
const char *size_text(uint64_t bytes, char ret[SIZE_TEXT_SIZE]);

#endif
