// SPDX-License-Identifier: MIT
#include "entry.h"

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

_Static_assert(sizeof bits / sizeof bits[0] <= ENTRY_FLAGS_MAX, "a caller's array has room for all");

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

size_t entry_flags(const struct mv_chain *chain, size_t index, const char *ret[ENTRY_FLAGS_MAX])
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
