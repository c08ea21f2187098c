// SPDX-License-Identifier: MIT
/*
 * Building jansson values. A value that could not be made is NULL, and whatever it is put into becomes NULL too:
 * only the last result needs a look.
 */
#ifndef CLI_JSON_VALUE_H
#define CLI_JSON_VALUE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Put `value` into `object` under `key`. Takes both references. Returns the object, or NULL. */
json_t *json_with(json_t *object, const char *key, json_t *value);

/* Put `value` at the end of `array`. Takes both references. Returns the array, or NULL. */
json_t *json_with_item(json_t *array, json_t *value);

/* A number. JSON's have 63 bits here; what is more becomes the largest of them. */
json_t *json_number(uint64_t value);

/* "0x...": for what may use all 64 bits. */
json_t *json_hex(uint64_t value);

/* Text; NULL becomes null. Each byte that is not part of well-formed UTF-8 becomes U+FFFD. */
json_t *json_text(const char *text);
json_t *json_text_bytes(const char *bytes, size_t length);

/* Print an object and a newline on stdout, and release it. False if it is NULL. */
bool json_print(json_t *object);

#endif
