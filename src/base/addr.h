// SPDX-License-Identifier: MIT
/*
 * The vocabulary: gva, gpa, gfn, hva, hpa. Distinct one-member types without operators; arithmetic is done by the
 * named functions here, which say what happens at the ends.
 */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <memvirt/types.h>

typedef mv_gva_t gva_t;
typedef mv_gpa_t gpa_t;
typedef mv_hva_t hva_t;
typedef mv_hpa_t hpa_t;

/* Guest page frames are always of 4 KiB, whatever the host's page size. */
#define GUEST_PAGE_SHIFT 12
#define GUEST_PAGE_SIZE (UINT64_C(1) << GUEST_PAGE_SHIFT)
#define GUEST_PAGE_MASK (GUEST_PAGE_SIZE - 1)

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)

/* printf formats; the argument is `.raw`. */
#define PRI_ADDR "0x%" PRIx64

static inline gpa_t gpa_add_wrapping(gpa_t a, uint64_t bytes)
{
    return mv_gpa(a.raw + bytes);
}

static inline hva_t hva_add(hva_t a, uint64_t bytes)
{
    return mv_hva(a.raw + bytes);
}

/* The one place where an integer becomes a pointer. */
static inline void *hva_pointer(hva_t a)
{
    return (void *)(uintptr_t)a.raw;
}

static inline hva_t hva_of(const void *pointer)
{
    return mv_hva((uint64_t)(uintptr_t)pointer);
}

static inline bool is_pow2(uint64_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

/* `alignment` is a power of two. */
static inline bool is_aligned(uint64_t n, uint64_t alignment)
{
    return (n & (alignment - 1)) == 0;
}

static inline uint64_t align_down(uint64_t n, uint64_t alignment)
{
    return n & ~(alignment - 1);
}

/* False when the result does not fit. */
static inline bool align_up(uint64_t n, uint64_t alignment, uint64_t *ret)
{
    uint64_t sum;
    if (__builtin_add_overflow(n, alignment - 1, &sum)) {
        return false;
    }
    *ret = align_down(sum, alignment);
    return true;
}

#endif
