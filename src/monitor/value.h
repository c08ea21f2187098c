// SPDX-License-Identifier: MIT
/*
 * Value trees: what a command takes and what it returns. HMP prints a result, QMP serialises it, tests compare it.
 *
 * A value that could not be made is NULL, and whatever it is put into becomes NULL too: only the last result needs
 * a look.
 */
#ifndef MONITOR_VALUE_H
#define MONITOR_VALUE_H

#include <memvirt/types.h>

enum value_kind {
    VALUE_BOOL,
    VALUE_NUMBER,  /* a count or a size: in JSON a number, and 2^63 - 1 if it is more */
    VALUE_ADDRESS, /* in JSON a string, "0x...": it may use all 64 bits */
    VALUE_TEXT,
    VALUE_LIST,
    VALUE_OBJECT, /* keys are static strings, each once */
};

struct value;

/* Owned by the tree it is in, or by whoever made it. */
struct value_item {
    const char *key; /* of an object; else NULL */
    struct value *value;
};

struct value {
    enum value_kind kind;
    union {
        bool truth;
        uint64_t number; /* NUMBER, ADDRESS */
        char *text;
        struct {
            struct value_item *items;
            size_t count;
            size_t capacity;
        } many; /* LIST, OBJECT; in order */
    };
};

struct value *value_bool(bool truth);
struct value *value_number(uint64_t number);
struct value *value_address(uint64_t address);
struct value *value_text(const char *text);
struct value *value_text_bytes(const char *bytes, size_t length);
struct value *value_list(void);
struct value *value_object(void);
void value_free(struct value *value);

/* Put `value` under `key`, or at the end of a list. Takes both; returns the whole, or NULL. */
struct value *value_with(struct value *object, const char *key, struct value *value);
struct value *value_with_item(struct value *list, struct value *value);

/* What is under `key`, or NULL. NULL has nothing. */
const struct value *value_at(const struct value *object, const char *key);
/* The same, by kind; without it 0, false, NULL. */
uint64_t value_number_at(const struct value *object, const char *key);
bool value_bool_at(const struct value *object, const char *key);
const char *value_text_at(const struct value *object, const char *key);

#endif
