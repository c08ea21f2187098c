// SPDX-License-Identifier: MIT
/* The bits of table entries, by name. */
#include <memvirt/explain.h>

#include <stdio.h>
#include <string.h>

/* Which entries have a bit. */
enum {
    IN_TABLE = 1 << 0,     /* points to a table */
    IN_LEAF = 1 << 1,      /* maps a large page */
    IN_PTE = 1 << 2,       /* maps a 4 KiB page */
    IN_PAE_PDPTE = 1 << 3, /* PAE's top level: it is no full entry */
    NOT_32BIT = 1 << 4,
};

#define IN_ANY (IN_TABLE | IN_LEAF | IN_PTE)

/* Intel SDM, "Paging": the formats of paging-structure entries. */
static const struct {
    const char *name;
    unsigned bit;
    unsigned where;
} bits[] = {
    {"P", 0, IN_ANY | IN_PAE_PDPTE},
    {"RW", 1, IN_ANY},
    {"US", 2, IN_ANY},
    {"PWT", 3, IN_ANY | IN_PAE_PDPTE},
    {"PCD", 4, IN_ANY | IN_PAE_PDPTE},
    {"A", 5, IN_ANY},
    {"D", 6, IN_LEAF | IN_PTE},
    {"PS", 7, IN_LEAF},
    {"PAT", 7, IN_PTE},
    {"G", 8, IN_LEAF | IN_PTE},
    {"PAT", 12, IN_LEAF},
    {"NX", 63, IN_ANY | NOT_32BIT},
};

_Static_assert(sizeof bits / sizeof bits[0] <= MV_ENTRY_FLAGS_MAX, "a caller's array has room for all");

static unsigned kind_of(const struct mv_chain *chain, size_t index)
{
    const struct mv_chain_entry *entry = &chain->entries[index];
    if (entry->level == 1) {
        return IN_PTE;
    }
    if (chain->mode == MV_PAGING_PAE && entry->level == 3) {
        return IN_PAE_PDPTE;
    }
    /* PS may mean nothing, as in 32-bit paging without CR4.PSE: then the walk went on to a table. */
    const bool is_last = index + 1 == chain->entry_count;
    return is_last && (entry->value >> 7 & 1) ? IN_LEAF : IN_TABLE;
}

size_t mv_entry_flags(const struct mv_chain *chain, size_t index, const char *ret[MV_ENTRY_FLAGS_MAX])
{
    const uint64_t value = chain->entries[index].value;
    const unsigned kind = kind_of(chain, index);
    const bool is_32bit = chain->mode == MV_PAGING_32BIT;
    size_t count = 0;
    if (!(value & 1)) {
        return 0; /* not present: the other bits are the guest's own */
    }
    for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++) {
        if ((bits[i].where & kind) && !(is_32bit && (bits[i].where & NOT_32BIT)) && (value >> bits[i].bit & 1)) {
            ret[count++] = bits[i].name;
        }
    }
    return count;
}

/* --- the hypervisor's ------------------------------------------------------------------------------------------
 */

enum {
    EPT_TABLE = 1 << 0,
    EPT_LEAF = 1 << 1,
    NPT_TABLE = 1 << 2,
    NPT_LEAF = 1 << 3,
};

/* Intel SDM, "The Extended Page Table Mechanism (EPT)"; AMD APM, "Nested Paging". */
static const struct {
    const char *name;
    unsigned bit;
    unsigned where;
} nested_bits[] = {
    {"R", 0, EPT_TABLE | EPT_LEAF},
    {"W", 1, EPT_TABLE | EPT_LEAF},
    {"X", 2, EPT_TABLE | EPT_LEAF},
    {"IPAT", 6, EPT_LEAF},
    {"PS", 7, EPT_LEAF},
    {"A", 8, EPT_TABLE | EPT_LEAF},
    {"D", 9, EPT_LEAF},
    {"P", 0, NPT_TABLE | NPT_LEAF},
    {"RW", 1, NPT_TABLE | NPT_LEAF},
    {"US", 2, NPT_TABLE | NPT_LEAF},
    {"A", 5, NPT_TABLE | NPT_LEAF},
    {"D", 6, NPT_LEAF},
    {"PS", 7, NPT_LEAF},
    {"NX", 63, NPT_TABLE | NPT_LEAF},
};

size_t mv_nested_flags(const struct mv_nested *nested, size_t index, const char *ret[MV_ENTRY_FLAGS_MAX])
{
    bool is_ept = nested->format && strcmp(nested->format, "ept") == 0;
    bool is_last = index + 1 == nested->entry_count;
    bool is_refused = nested->end == MV_NESTED_NOT_PRESENT || nested->end == MV_NESTED_BAD_ENTRY;
    unsigned kind = is_ept ? (is_last ? EPT_LEAF : EPT_TABLE) : is_last ? NPT_LEAF : NPT_TABLE;
    size_t count = 0;
    if (is_last && is_refused) {
        return 0;
    }
    for (size_t i = 0; i < sizeof nested_bits / sizeof nested_bits[0]; i++) {
        if ((nested_bits[i].where & kind) && (nested->entries[index].value >> nested_bits[i].bit & 1)) {
            ret[count++] = nested_bits[i].name;
        }
    }
    return count;
}

/* --- shadow tables: long-mode entries, with what the hypervisor keeps in bits that the hardware ignores ---------
 */

enum {
    SHADOW_TABLE = 1 << 0,
    SHADOW_LEAF = 1 << 1,
};

static const struct {
    const char *name;
    unsigned bit;
    unsigned where;
} shadow_bits[] = {
    {"P", 0, SHADOW_TABLE | SHADOW_LEAF},
    {"RW", 1, SHADOW_TABLE | SHADOW_LEAF},
    {"US", 2, SHADOW_TABLE | SHADOW_LEAF},
    {"A", 5, SHADOW_TABLE | SHADOW_LEAF},
    {"D", 6, SHADOW_LEAF},
    {"PS", 7, SHADOW_LEAF},
    {"HOST-W", 9, SHADOW_LEAF},
    {"MMU-W", 10, SHADOW_LEAF},
    {"NX", 63, SHADOW_TABLE | SHADOW_LEAF},
};

size_t mv_shadow_flags(const struct mv_shadow *shadow, size_t index, const char *ret[MV_ENTRY_FLAGS_MAX])
{
    const struct mv_shadow_entry *entry = &shadow->entries[index];
    bool is_last = index + 1 == shadow->entry_count, is_leaf = entry->level == 1 || (entry->value >> 7 & 1);
    size_t count = 0;
    if (is_last && shadow->end == MV_NESTED_BAD_ENTRY) {
        ret[count++] = "MMIO";
        return count;
    }
    if (!(entry->value & 1)) {
        return 0;
    }
    for (size_t i = 0; i < sizeof shadow_bits / sizeof shadow_bits[0]; i++) {
        if ((shadow_bits[i].where & (is_leaf ? SHADOW_LEAF : SHADOW_TABLE)) &&
            (entry->value >> shadow_bits[i].bit & 1)) {
            ret[count++] = shadow_bits[i].name;
        }
    }
    if (is_last && shadow->end == MV_NESTED_SWITCHED) {
        ret[count++] = "SWITCH";
    }
    return count;
}

const char *mv_shadow_answer_name(enum mv_shadow_answer answer)
{
    static const char *const names[] = {
        [MV_SHADOW_NO_EXIT] = "none",
        [MV_SHADOW_FIX] = "fix",
        [MV_SHADOW_OPEN] = "open",
        [MV_SHADOW_STORE] = "store",
        [MV_SHADOW_WITHOUT_WP] = "without-wp",
        [MV_SHADOW_REFLECT] = "reflect",
        [MV_SHADOW_NO_SLOT] = "no-slot",
        [MV_SHADOW_READONLY_SLOT] = "read-only-slot",
    };
    return (size_t)answer < sizeof names / sizeof names[0] ? names[answer] : "unknown";
}

const char *mv_bits_text(uint64_t set, char *ret, size_t size)
{
    size_t used = 0;
    snprintf(ret, size, "none");
    while (set && used < size) {
        unsigned first = (unsigned)__builtin_ctzll(set), last = first;
        while (last < 63 && (set >> (last + 1) & 1)) {
            last++;
        }
        int length = first == last ? snprintf(ret + used, size - used, "%s%u", used ? ", " : "", first)
                                   : snprintf(ret + used, size - used, "%s%u-%u", used ? ", " : "", first, last);
        used += (size_t)length;
        set &= last == 63 ? 0 : UINT64_MAX << (last + 1);
    }
    return ret;
}
