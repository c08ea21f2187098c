// SPDX-License-Identifier: MIT
/*
 * Dirty bitmaps: one bit for each page of a slot with KVM_MEM_LOG_DIRTY_PAGES. Marks come from vCPUs that are
 * inside, or under `mmu_lock`; a harvest takes all of them at once by giving marks another bitmap
 * to go to and waiting for a rendezvous.
 */
#ifndef HYPERVISOR_DIRTY_H
#define HYPERVISOR_DIRTY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Harvests go by blocks of a cache line: what nobody touched is not read. */
#define DIRTY_BLOCK_WORDS 8u

struct dirty_bitmap {
    uint64_t
        *words; /* where marks go; load it inside. After its `blocks` blocks, a byte for each: it was touched */
    uint64_t *spare; /* all zero but during a harvest */
    size_t count;    /* of words */
    size_t blocks;
    void *memory[2];        /* in which the two are, at lines of the cache */
    atomic_bool is_touched; /* something was marked since the last harvest, or may have been */
};

static inline unsigned char *dirty_touched(const struct dirty_bitmap *bitmap, uint64_t *words)
{
    return (unsigned char *)(words + bitmap->blocks * DIRTY_BLOCK_WORDS);
}

/* All clear, or all `npages` bits set. NULL: out of memory. */
struct dirty_bitmap *dirty_bitmap_create(uint64_t npages, bool all_set);
void dirty_bitmap_destroy(struct dirty_bitmap *bitmap); /* or NULL */

/* Bits of one word. @return those that were clear */
static inline uint64_t dirty_bitmap_mark_mask(struct dirty_bitmap *bitmap, size_t word, uint64_t mask)
{
    /* In order: see tdp_shut.h. */
    uint64_t *words = __atomic_load_n(&bitmap->words, __ATOMIC_SEQ_CST);
    /* Most pages are written more than once between two harvests: then nothing is locked. */
    if ((~__atomic_load_n(&words[word], __ATOMIC_SEQ_CST) & mask) == 0) {
        return 0;
    }
    uint64_t was = __atomic_fetch_or(&words[word], mask, __ATOMIC_SEQ_CST);
    unsigned char *touched = &dirty_touched(bitmap, words)[word / DIRTY_BLOCK_WORDS];
    if (!__atomic_load_n(touched, __ATOMIC_RELAXED)) {
        __atomic_store_n(touched, 1, __ATOMIC_RELAXED);
    }
    if (!atomic_load_explicit(&bitmap->is_touched, memory_order_relaxed)) {
        atomic_store_explicit(&bitmap->is_touched, true, memory_order_relaxed);
    }
    return mask & ~was;
}

/* @return whether it was clear */
static inline bool dirty_bitmap_mark(struct dirty_bitmap *bitmap, uint64_t page)
{
    return dirty_bitmap_mark_mask(bitmap, page / 64, UINT64_C(1) << (page % 64)) != 0;
}

static inline bool dirty_bitmap_test(const struct dirty_bitmap *bitmap, uint64_t page)
{
    const uint64_t *words = __atomic_load_n(&bitmap->words, __ATOMIC_ACQUIRE);
    return (__atomic_load_n(&words[page / 64], __ATOMIC_RELAXED) >> (page % 64)) & 1;
}

/* Move words, which nobody marks any more: they are zero then, as are the bytes of touched blocks. `to` is of any
 * alignment. */
void dirty_take_words(uint64_t *words, unsigned char *touched, unsigned char *to, size_t count, bool avx2);

#endif
