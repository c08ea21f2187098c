/* SPDX-License-Identifier: MIT */
#ifndef WALK_MODEL_BITS_H
#define WALK_MODEL_BITS_H

/* What the files of the walk model share, and nobody else includes. */
#include "walk_model.h"

static inline bool bit(uint64_t value, unsigned n)
{
    return (value >> n & 1) != 0;
}

/* Bits high to low, moved to the right. high < low is an empty field. */
static inline uint64_t field(uint64_t value, unsigned high, unsigned low)
{
    uint64_t result = 0;
    for (unsigned n = low; n <= high; n++) {
        if (bit(value, n)) {
            result |= UINT64_C(1) << (n - low);
        }
    }
    return result;
}

/* The same, left where they are. */
static inline uint64_t masked(uint64_t value, unsigned high, unsigned low)
{
    return field(value, high, low) << low;
}

/* What an address is translated for, in the nested tables. */
enum nested_use {
    USE_FINAL,      /* it is what a linear address leads to */
    USE_TABLE,      /* an entry of a guest table is there */
    USE_PDPTE_LOAD, /* PDPTEs are loaded from there by a write to a control register */
};

struct nested_page {
    uint64_t hpa;
    uint64_t page_bytes; /* 0: no nesting */
    unsigned rights;     /* R 1, W 2, X 4 */
    unsigned memory_type;
    bool ignore_pat;
};

enum progress {
    GO_ON,
    ENDED,      /* the result says how */
    BEGIN_ANEW, /* a table was changed under the walk */
};

/* Translate one guest-physical address; without nesting it stays what it is. */
enum progress nested_translate(const struct model_world *world, uint64_t gpa, enum nested_use use,
                               enum model_access_kind kind, struct model_result *result, struct nested_page *ret);

/* The EPT violation of a guest entry whose flags cannot be written. */
void ept_flag_violation(const struct model_entry *entry, struct model_result *result);

/* The entry of a guest table at gpa. */
enum progress read_guest_entry(const struct model_world *world, uint64_t gpa, unsigned size, enum nested_use use,
                               struct model_result *result, struct model_entry *ret);

/* Write flags, and list them. */
enum model_cas write_flags(const struct model_memory *memory, const struct model_write *write,
                           struct model_result *result);

bool pdpte_reserved(const struct model_cpu *cpu, uint64_t pdpte);

#endif
