// SPDX-License-Identifier: MIT
/*
 * A page-table entry in memory that several threads read and write: vCPUs, the hypervisor, whoever edits guest
 * memory. There is a load, a compare-and-swap, an exchange, and nothing else once it is reachable: no plain store
 * can overwrite an accessed or dirty bit that another thread has set meanwhile.
 *
 * Memory order. A load that finds an entry which points to a table acquires; it pairs with the release of the
 * compare-and-swap or exchange that linked the table, so the table's own entries are seen filled.
 */
#ifndef PAGING_WORD_H
#define PAGING_WORD_H

#include <stdbool.h>
#include <stdint.h>

/* An entry of 8 bytes, naturally aligned. Never copied, never dereferenced but here. */
typedef struct {
    uint64_t shared;
} pt_word_t;

/*
 * Told of each change of an entry, when it is made: for tests that no state in between is wrong, which define it,
 * and PT_OBSERVED wherever this is included.
 */
#ifdef PT_OBSERVED
void pt_observe(const pt_word_t *word, uint64_t before, uint64_t after);
#else
static inline void pt_observe(const pt_word_t *word, uint64_t before, uint64_t after)
{
    (void)word;
    (void)before;
    (void)after;
}
#endif

static inline uint64_t pt_load(const pt_word_t *word)
{
    return __atomic_load_n(&word->shared, __ATOMIC_ACQUIRE);
}

/* In the one order of all compare-and-swaps of pt_cas and other sequentially consistent operations. */
static inline uint64_t pt_load_in_order(const pt_word_t *word)
{
    return __atomic_load_n(&word->shared, __ATOMIC_SEQ_CST);
}

/* False when the word was not `*expected`, which then holds what it was. */
static inline bool pt_cas(pt_word_t *word, uint64_t *expected, uint64_t desired)
{
    bool is_done =
        __atomic_compare_exchange_n(&word->shared, expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE);
    if (is_done) {
        pt_observe(word, *expected, desired);
    }
    return is_done;
}

/* Only in a table that nobody else can reach yet; the compare-and-swap that links it releases. */
static inline void pt_init(pt_word_t *word, uint64_t value)
{
    __atomic_store_n(&word->shared, value, __ATOMIC_RELAXED);
}

static inline uint64_t pt_exchange(pt_word_t *word, uint64_t desired)
{
    uint64_t before = __atomic_exchange_n(&word->shared, desired, __ATOMIC_ACQ_REL);
    pt_observe(word, before, desired);
    return before;
}

/* Guest entries are of 4 or 8 bytes, and lie in guest memory. `at` is aligned to the size. */
static inline uint64_t pt_guest_load(const void *at, unsigned size_bytes)
{
    return size_bytes == 4 ? __atomic_load_n((const uint32_t *)at, __ATOMIC_ACQUIRE)
                           : __atomic_load_n((const uint64_t *)at, __ATOMIC_ACQUIRE);
}

/* A processor sets A and D by a locked operation (Intel SDM, "Accessed and Dirty Flags"). */
static inline bool pt_guest_cas(void *at, unsigned size_bytes, uint64_t expected, uint64_t desired)
{
    if (size_bytes == 4) {
        uint32_t low = (uint32_t)expected;
        return __atomic_compare_exchange_n((uint32_t *)at, &low, (uint32_t)desired, false, __ATOMIC_ACQ_REL,
                                           __ATOMIC_ACQUIRE);
    }
    return __atomic_compare_exchange_n((uint64_t *)at, &expected, desired, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

#endif
