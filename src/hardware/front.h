// SPDX-License-Identifier: MIT
/*
 * The front: a direct-mapped array of pages that a moment ago an access was allowed to, for each kind of access
 * and for whom. It is emptied when anything changes that the permission depends on, so a hit needs one comparison:
 *
 *     entry[who][(gva >> 12) & mask].page[kind] == page of the last byte  ->  the byte is at gva + addend
 *
 * The layout is what <memvirt/soft.h> inlines; keep it.
 */
#ifndef HARDWARE_FRONT_H
#define HARDWARE_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRONT_BITS 10u
#define FRONT_ENTRIES (1u << FRONT_BITS)
#define FRONT_KINDS 3u /* of enum mv_access */
#define FRONT_WHOS 3u  /* of enum pt_who */
#define FRONT_NONE UINT64_MAX

struct front_entry {
    uint64_t page[FRONT_KINDS]; /* gva of the page, or FRONT_NONE */
    uint64_t addend;            /* host address = gva + addend, modulo 2^64 */
};

struct front {
    struct front_entry entry[FRONT_WHOS][FRONT_ENTRIES];
    uint64_t gpa[FRONT_WHOS]
                [FRONT_ENTRIES]; /* guest-physical address = gva + this: apart, as a hit needs it not */
    bool is_used[FRONT_WHOS];
    bool has_parts; /* some page is part of a larger one of the guest's */
};

/* Where the bytes are; NULL: ask hw_translate. `size_bytes` is 1 or more; what crosses a page is never found. */
static inline void *front_find(const struct front *f, uint64_t gva, unsigned size_bytes, unsigned kind,
                               unsigned who)
{
    const struct front_entry *entry = &f->entry[who][(gva >> 12) & (FRONT_ENTRIES - 1)];
    if (__builtin_expect(entry->page[kind] != ((gva + (size_bytes - 1)) & ~UINT64_C(0xfff)), 0)) {
        return NULL;
    }
    return (void *)(uintptr_t)(gva + entry->addend);
}

void front_empty(struct front *f); /* a new one holds no meaning: empty it with is_used all set */

/* `host` and `gpa` are of the byte at `gva`. `is_part`: the guest's page is larger than 4K. */
void front_fill(struct front *f, uint64_t gva, unsigned kind, unsigned who, const void *host, uint64_t gpa,
                bool is_part);

/* The guest-physical address of what was found for `gva`. */
static inline uint64_t front_gpa(const struct front *f, uint64_t gva, unsigned who)
{
    return gva + f->gpa[who][(gva >> 12) & (FRONT_ENTRIES - 1)];
}

/* What would be found for any access to `gva`. */
void front_drop_found(struct front *f, uint64_t gva);

/* INVLPG: the page, or all if there may be more parts of it. */
void front_drop_page(struct front *f, uint64_t gva);

#endif
