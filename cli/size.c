// SPDX-License-Identifier: MIT
#include "size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* log2 of what a suffix means, or -1. */
static int suffix_shift(const char *suffix)
{
    if (strlen(suffix) > 1) {
        return -1;
    }
    switch (*suffix) {
    case 'K':
    case 'k': return 10;
    case '\0':
    case 'M':
    case 'm': return 20;
    case 'G':
    case 'g': return 30;
    case 'T':
    case 't': return 40;
    default: return -1;
    }
}

enum size_verdict size_parse(const char *text, uint64_t *ret_bytes)
{
    char *end;
    if (!is_digit(*text)) { /* strtoull() would take a sign and spaces */
        return SIZE_NOT_A_SIZE;
    }
    errno = 0;
    const unsigned long long number = strtoull(text, &end, 10);
    const int shift = suffix_shift(end);
    if (shift < 0) {
        return SIZE_NOT_A_SIZE;
    }
    if (errno == ERANGE || number > UINT64_MAX >> shift) {
        return SIZE_TOO_LARGE;
    }
    if (number == 0) {
        return SIZE_ZERO;
    }
    *ret_bytes = (uint64_t)number << shift;
    return SIZE_OK;
}

bool number_parse(const char *text, uint64_t max, uint64_t *ret)
{
    char *end;
    const bool hexadecimal = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    if (!is_digit(*text)) {
        return false;
    }
    errno = 0;
    const unsigned long long number = strtoull(text, &end, hexadecimal ? 16 : 10);
    if (errno == ERANGE || *end != '\0' || number > max) {
        return false;
    }
    *ret = number;
    return true;
}

const char *size_text(uint64_t bytes, char ret[SIZE_TEXT_SIZE])
{
    static const char *const units[] = {"TiB", "GiB", "MiB", "KiB"};
    for (unsigned i = 0; i < sizeof units / sizeof units[0]; i++) {
        const unsigned shift = 40 - 10 * i;
        if (bytes != 0 && bytes % (UINT64_C(1) << shift) == 0) {
            snprintf(ret, SIZE_TEXT_SIZE, "%" PRIu64 " %s", bytes >> shift, units[i]);
            return ret;
        }
    }
    snprintf(ret, SIZE_TEXT_SIZE, "%" PRIu64 " bytes", bytes);
    return ret;
}
