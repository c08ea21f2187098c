// SPDX-License-Identifier: MIT
/*
 * Whose translations: the tag of a TLB entry in one word (Intel SDM, "Caching Translation Information").
 *
 *      63   62              47 46        35 34                 0
 *     +---+------------------+------------+--------------------+
 *     | G |   VPID or ASID   |    PCID    | root, bits 12 - 46 |
 *     +---+------------------+------------+--------------------+
 *      G: a global page, of every PCID: the field is 0 then
 *
 * The root is the host address of the nested (or shadow) table that was walked, 0 without one: user memory is
 * below 2^47.
 */
#ifndef HARDWARE_CONTEXT_H
#define HARDWARE_CONTEXT_H

#include <stdint.h>

#define CONTEXT_GLOBAL (UINT64_C(1) << 63)
#define CONTEXT_VPID_SHIFT 47
#define CONTEXT_VPID (UINT64_C(0xffff) << CONTEXT_VPID_SHIFT)
#define CONTEXT_PCID_SHIFT 35
#define CONTEXT_PCID (UINT64_C(0xfff) << CONTEXT_PCID_SHIFT)
#define CONTEXT_ROOT ((UINT64_C(1) << 35) - 1)

static inline uint64_t context_of_root(const void *root)
{
    return ((uint64_t)(uintptr_t)root >> 12) & CONTEXT_ROOT;
}

static inline uint64_t context_of(const void *root, uint16_t vpid, unsigned pcid)
{
    return (uint64_t)vpid << CONTEXT_VPID_SHIFT | (uint64_t)(pcid & 0xfff) << CONTEXT_PCID_SHIFT |
           context_of_root(root);
}

/* The same for its global pages. */
static inline uint64_t context_global(uint64_t context)
{
    return (context & ~CONTEXT_PCID) | CONTEXT_GLOBAL;
}

#endif
