// SPDX-License-Identifier: MIT
#include "json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json_value.h"

#define JSON_NUMBER_MAX UINT64_C(0x7fffffffffffffff)

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD in UTF-8 */

bool json_is_built_in(void)
{
    return true;
}

json_t *json_with(json_t *object, const char *key, json_t *value)
{
    if (!object) {
        json_decref(value);
        return NULL;
    }
    if (json_object_set_new(object, key, value) < 0) { /* also when the value is NULL */
        json_decref(object);
        return NULL;
    }
    return object;
}

json_t *json_with_item(json_t *array, json_t *value)
{
    if (!array) {
        json_decref(value);
        return NULL;
    }
    if (json_array_append_new(array, value) < 0) {
        json_decref(array);
        return NULL;
    }
    return array;
}

json_t *json_number(uint64_t value)
{
    return json_integer((json_int_t)(value < JSON_NUMBER_MAX ? value : JSON_NUMBER_MAX));
}

json_t *json_hex(uint64_t value)
{
    return json_sprintf("0x%" PRIx64, value);
}

/* --- UTF-8 ------------------------------------------------------------------------------------- */

static bool is_continuation(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/*
 * How many bytes the well-formed sequence at the beginning has, or 0 if there is none (The Unicode Standard,
 * "Well-Formed UTF-8 Byte Sequences": no overlong forms, no surrogates, nothing above U+10FFFF).
 */
static size_t sequence_length(const unsigned char *p, size_t length)
{
    size_t n = 0;
    unsigned char low = 0x80, high = 0xbf; /* of the second byte */
    if (p[0] < 0x80) {
        return 1;
    }
    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        n = 2;
    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        n = 3;
        low = p[0] == 0xe0 ? 0xa0 : low;
        high = p[0] == 0xed ? 0x9f : high;
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        n = 4;
        low = p[0] == 0xf0 ? 0x90 : low;
        high = p[0] == 0xf4 ? 0x8f : high;
    }
    if (n == 0 || n > length || p[1] < low || p[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < n; i++) {
        if (!is_continuation(p[i])) {
            return 0;
        }
    }
    return n;
}

json_t *json_text_bytes(const char *bytes, size_t length)
{
    const unsigned char *from = (const unsigned char *)bytes;
    size_t used = 0;
    char *to = malloc(length * strlen(replacement) + 1);
    if (!to) {
        return NULL;
    }
    while (length > 0) {
        size_t n = sequence_length(from, length);
        if (n > 0) {
            memcpy(to + used, from, n);
            used += n;
        } else {
            memcpy(to + used, replacement, strlen(replacement));
            used += strlen(replacement);
            n = 1;
        }
        from += n;
        length -= n;
    }
    json_t *value = json_stringn(to, used);
    free(to);
    return value;
}

json_t *json_text(const char *text)
{
    return text ? json_text_bytes(text, strlen(text)) : json_null();
}

bool json_print(json_t *object)
{
    if (!object) {
        return false;
    }
    const bool printed = json_dumpf(object, stdout, JSON_INDENT(2)) == 0;
    json_decref(object);
    /* When the stream is at fault, output_finish() has more to say. */
    return (printed && putchar('\n') != EOF) || ferror(stdout);
}
