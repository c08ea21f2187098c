// SPDX-License-Identifier: MIT
#include "monitor/value.h"

#include <stdlib.h>
#include <string.h>

static struct value *make(struct value value)
{
    struct value *made = malloc(sizeof *made);
    if (made) {
        *made = value;
    }
    return made;
}

struct value *value_bool(bool truth)
{
    return make((struct value){.kind = VALUE_BOOL, .truth = truth});
}

struct value *value_number(uint64_t number)
{
    return make((struct value){.kind = VALUE_NUMBER, .number = number});
}

struct value *value_address(uint64_t address)
{
    return make((struct value){.kind = VALUE_ADDRESS, .number = address});
}

struct value *value_text(const char *text)
{
    return value_text_bytes(text, strlen(text));
}

struct value *value_text_bytes(const char *bytes, size_t length)
{
    char *copy = malloc(length + 1);
    if (!copy) {
        return NULL;
    }
    if (length > 0) {
        memcpy(copy, bytes, length);
    }
    copy[length] = '\0';
    struct value *value = make((struct value){.kind = VALUE_TEXT, .text = copy});
    if (!value) {
        free(copy);
    }
    return value;
}

struct value *value_list(void)
{
    return make((struct value){.kind = VALUE_LIST});
}

struct value *value_object(void)
{
    return make((struct value){.kind = VALUE_OBJECT});
}

/* Trees are as deep as a command's code makes them: three or four levels. */
void value_free(struct value *value)
{
    if (!value) {
        return;
    }
    if (value->kind == VALUE_TEXT) {
        free(value->text);
    } else if (value->kind == VALUE_LIST || value->kind == VALUE_OBJECT) {
        for (size_t i = 0; i < value->many.count; i++) {
            value_free(value->many.items[i].value);
        }
        free(value->many.items);
    }
    free(value);
}

static bool append(struct value *to, struct value_item item)
{
    if (to->many.count == to->many.capacity) {
        size_t capacity = to->many.capacity ? 2 * to->many.capacity : 8;
        struct value_item *items = realloc(to->many.items, capacity * sizeof *items);
        if (!items) {
            return false;
        }
        to->many.items = items;
        to->many.capacity = capacity;
    }
    to->many.items[to->many.count++] = item;
    return true;
}

struct value *value_with(struct value *object, const char *key, struct value *value)
{
    if (!object || !value || !append(object, (struct value_item){.key = key, .value = value})) {
        value_free(object);
        value_free(value);
        return NULL;
    }
    return object;
}

struct value *value_with_item(struct value *list, struct value *value)
{
    return value_with(list, NULL, value);
}

const struct value *value_at(const struct value *object, const char *key)
{
    for (size_t i = 0; object && i < object->many.count; i++) {
        if (strcmp(object->many.items[i].key, key) == 0) {
            return object->many.items[i].value;
        }
    }
    return NULL;
}

uint64_t value_number_at(const struct value *object, const char *key)
{
    const struct value *value = value_at(object, key);
    return value && (value->kind == VALUE_NUMBER || value->kind == VALUE_ADDRESS) ? value->number : 0;
}

bool value_bool_at(const struct value *object, const char *key)
{
    const struct value *value = value_at(object, key);
    return value && value->kind == VALUE_BOOL && value->truth;
}

const char *value_text_at(const struct value *object, const char *key)
{
    const struct value *value = value_at(object, key);
    return value && value->kind == VALUE_TEXT ? value->text : NULL;
}
