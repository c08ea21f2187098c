// SPDX-License-Identifier: MIT
/*
 * Looking at x86 page tables without being a processor: the walk of guest_walk.h through a callback that reads,
 * and a tour of all leaves. Reads only: no accessed or dirty bit is set.
 *
 *      63  62      52 51                               12 11   9  8  7  6  5  4   3  2  1  0
 *     +--+-----------+-----------------------------------+------+--+--+--+--+---+---+--+--+--+
 *     |NX|  ignored  |  address of table or page frame   | ign. | G|PS| D| A|PCD|PWT|US|RW| P|
 *     +--+-----------+-----------------------------------+------+--+--+--+--+---+---+--+--+--+
 *      |                                                          |  |  |  |           |  |  `- present
 *      |                                                          |  |  |  |           |  `- writable
 *      |                                                          |  |  |  |           `- user
 *      |                                                          |  |  |  `- accessed (any level)
 *      |                                                          |  |  `- dirty (leaf)
 *      |                                                          |  `- leaf above level 1; the PAT bit at level 1
 *      `- no fetch; reserved unless EFER.NXE                      `- global (leaf)
 */
#ifndef PAGING_X86_H
#define PAGING_X86_H

#include <memvirt/paging.h>

#include "base/addr.h"

#define X86_ENTRY_P (UINT64_C(1) << 0)
#define X86_ENTRY_RW (UINT64_C(1) << 1)
#define X86_ENTRY_US (UINT64_C(1) << 2)
#define X86_ENTRY_A (UINT64_C(1) << 5)
#define X86_ENTRY_D (UINT64_C(1) << 6)
#define X86_ENTRY_PS (UINT64_C(1) << 7)
#define X86_ENTRY_G (UINT64_C(1) << 8)
#define X86_ENTRY_NX (UINT64_C(1) << 63)

#define X86_CR0_WP (UINT64_C(1) << 16)
#define X86_CR0_PG (UINT64_C(1) << 31)
#define X86_CR4_PSE (UINT64_C(1) << 4)
#define X86_CR4_PAE (UINT64_C(1) << 5)
#define X86_CR4_LA57 (UINT64_C(1) << 12)
#define X86_EFER_LMA (UINT64_C(1) << 10)
#define X86_EFER_NXE (UINT64_C(1) << 11)

#define X86_LEVELS_MAX 5

struct paging;
struct pt_access;

/* Read a table entry of 4 or 8 bytes. False when there is no memory at that address. */
typedef bool x86_read_fn(void *opaque, gpa_t at, unsigned size_bytes, uint64_t *ret);

enum x86_walk_end {
    X86_WALK_MAPPED,
    X86_WALK_NOT_PRESENT,
    X86_WALK_RESERVED_BIT,
    X86_WALK_NON_CANONICAL,
    X86_WALK_UNREADABLE, /* the next table is where no memory is */
};

struct x86_walk_step {
    unsigned level; /* 1 is the PTE */
    unsigned index;
    gpa_t at;
    uint64_t entry;
    uint8_t rights; /* PT_RIGHT_, ANDed from the root to here */
};

struct x86_walk {
    enum x86_walk_end end;
    unsigned count; /* of entries read */
    struct x86_walk_step steps[X86_LEVELS_MAX];
    gpa_t gpa;                /* MAPPED */
    uint64_t page_size_bytes; /* MAPPED; 0 with paging off */
    /* The verdict on the access. MAPPED: whether rights refuse it, and whether the protection key does. */
    bool is_denied, is_key_denied;
    uint8_t rights, key;    /* MAPPED */
    uint64_t reserved;      /* RESERVED_BIT: which of the last entry's bits */
    unsigned missing_level; /* UNREADABLE: of the entry that is nowhere, and where it would be */
    gpa_t missing_at;
    uint32_t error_code; /* of the #PF, if there is one */
};

/*
 * Translate one address, and list the entries on the way. A verdict on the access changes nothing else: every
 * access right there is leads to the same page. PAE: for the PDPTEs to be listed, `paging` has to read them in
 * memory (paging_walk_pdptrs).
 */
void x86_walk_for(const struct paging *paging, gva_t gva, const struct pt_access *access, x86_read_fn *read,
                  void *opaque, struct x86_walk *ret);
/* Without a verdict. */
void x86_walk(const struct paging *paging, gva_t gva, x86_read_fn *read, void *opaque, struct x86_walk *ret);

/* "PTE" and so on. Static. */
const char *x86_entry_name(unsigned level);

struct x86_leaf {
    gva_t gva;
    gpa_t gpa;
    uint64_t size_bytes;
    uint64_t entry;
};

/*
 * Go through all present leaves in order of gva, until `each` returns false or `entries_max` entries were looked
 * at: a guest can link tables to themselves, and has then more leaves than anybody can wait for.
 */
void x86_for_each_leaf(const struct paging *paging, uint64_t entries_max, x86_read_fn *read, void *read_opaque,
                       bool (*each)(void *opaque, const struct x86_leaf *leaf), void *each_opaque);

#endif
