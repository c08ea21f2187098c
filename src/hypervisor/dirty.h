// SPDX-License-Identifier: MIT
/*
 * Dirty bitmaps: one bit for each page of a slot with KVM_MEM_LOG_DIRTY_PAGES. Marks come from vCPUs that are
 * inside, or under `mmu_lock`, or from who has `slots_lock`, as harvests do; a harvest takes all of them at once
 * by giving marks another bitmap, the other half, to go to and waiting for a rendezvous. From then until the next
 * harvest the half that it took is the harvester's, and nobody writes to it.
 *
 * A half is not cleared when it was harvested. Each time it begins to take marks it has another epoch, and the
 * first mark in a block clears that block: it brings that line of the cache in anyway, and what nobody marks is
 * neither read nor written by anybody. Who marks a block that another thread is clearing waits for these few
 * stores.
 */
#ifndef HYPERVISOR_DIRTY_H
#define HYPERVISOR_DIRTY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/line.h"

#define DIRTY_BLOCK_WORDS 8u     /* a line of the cache */
#define DIRTY_BLOCK_OPENING 255u /* what `opened` says of a block while it is cleared; epochs are less */

struct dirty_half {
    _Alignas(CACHE_LINE) uint8_t epoch; /* not 0; written under `slots_lock`, while nobody marks here */
    uint8_t *opened;                    /* after the words, a byte for each block: another epoch's is all clear */
    _Alignas(CACHE_LINE) uint64_t words[];
};

struct dirty_bitmap {
    struct dirty_half *half;  /* where marks go; load it inside */
    struct dirty_half *spare; /* the last harvest's */
    uint64_t npages;
    size_t count; /* of words */
    size_t blocks;
    atomic_bool is_touched; /* something was marked since the last harvest, or may have been */
};

/* All clear, or all `npages` bits set. NULL: out of memory. */
struct dirty_bitmap *dirty_bitmap_create(uint64_t npages, bool all_set);
void dirty_bitmap_destroy(struct dirty_bitmap *bitmap); /* or NULL */

static inline bool dirty_is_open(const struct dirty_half *half, size_t block)
{
    /* Acquire: who opened it has cleared it. */
    return __atomic_load_n(&half->opened[block], __ATOMIC_ACQUIRE) == half->epoch;
}

void dirty_open_block(struct dirty_half *half, size_t block);

/* Bits of one word. @return those that were clear */
static inline uint64_t dirty_bitmap_mark_mask(struct dirty_bitmap *bitmap, size_t word, uint64_t mask)
{
    /* In order: see tdp_shut.h. */
    struct dirty_half *half = __atomic_load_n(&bitmap->half, __ATOMIC_SEQ_CST);
    if (!dirty_is_open(half, word / DIRTY_BLOCK_WORDS)) {
        dirty_open_block(half, word / DIRTY_BLOCK_WORDS);
    }
    /* Most pages are written more than once between two harvests: then nothing is locked. */
    if ((~__atomic_load_n(&half->words[word], __ATOMIC_SEQ_CST) & mask) == 0) {
        return 0;
    }
    /* Before the mark: who finds that set has nothing to say, and may harvest. */
    if (!atomic_load_explicit(&bitmap->is_touched, memory_order_relaxed)) {
        atomic_store_explicit(&bitmap->is_touched, true, memory_order_relaxed);
    }
    return mask & ~__atomic_fetch_or(&half->words[word], mask, __ATOMIC_SEQ_CST);
}

/* @return whether it was clear */
static inline bool dirty_bitmap_mark(struct dirty_bitmap *bitmap, uint64_t page)
{
    return dirty_bitmap_mark_mask(bitmap, page / 64, UINT64_C(1) << (page % 64)) != 0;
}

static inline bool dirty_bitmap_test(const struct dirty_bitmap *bitmap, uint64_t page)
{
    const struct dirty_half *half = __atomic_load_n(&bitmap->half, __ATOMIC_ACQUIRE);
    return dirty_is_open(half, page / 64 / DIRTY_BLOCK_WORDS) &&
           ((__atomic_load_n(&half->words[page / 64], __ATOMIC_RELAXED) >> (page % 64)) & 1);
}

/* Words of a half as they are, or as they are at some moment if it is being marked. `to` is of any alignment. */
void dirty_copy_words(const struct dirty_half *half, unsigned char *to, size_t count, bool avx2);

#endif
