// SPDX-License-Identifier: MIT
/*
 * A guest under fire: vCPU threads that read, write and fetch pages by 4K and 2M mappings and know what they may
 * find there, and an editor of the tree, by public headers only. Who else takes part is the test's.
 *
 * Memory is 2048 pages of RAM, and a bank of 4096 pages which windows (aliases) show as well: one that slides and
 * is always there, one that moves, hides and becomes read-only, and a device that now and then covers a page of
 * the RAM. A word of a page says which page and place it was written for, by which vCPU, and counts: nobody ever
 * reads bytes of another page, nor anything that was overwritten.
 */
#ifndef TESTS_CONFORM_SOFT_WORLD_H
#define TESTS_CONFORM_SOFT_WORLD_H

#include <pthread.h>
#include <stdatomic.h>

#include "tests/conform/soft_guest.h"

#define WORLD_VCPUS 4
#define WORLD_RAM_PAGES 2048u
#define WORLD_BANK_PAGES 4096u
#define WORLD_PAGES (WORLD_RAM_PAGES + WORLD_BANK_PAGES)
#define WORLD_WINDOW_PAGES 1024u
#define WORLD_WORDS 8u                         /* of a page: of each vCPU two */
#define WORLD_GVA_RAM UINT64_C(0x7f0000000000) /* where the guest has its first page */
#define WORLD_HOLE 100u                        /* the page of RAM that the device covers */

struct world;

struct world_vcpu {
    struct world *world;
    struct mv_vcpu *vcpu;
    struct mv_soft_window window; /* every other access of data goes by it */
    pthread_t thread;
    unsigned index;
    uint64_t random;
    uint32_t count;                /* of its writes: each writes the next number */
    atomic_uint_fast64_t accesses; /* written by its thread alone */
    uint64_t mmios;
    uint32_t (*seen)[WORLD_WORDS]; /* the last number, by page and word */
    char wrong[200];               /* the first thing that is not as it must be; its thread ends then */
};

/* Owned by the test. What is atomic is shared; all else is written while no thread runs. */
struct world {
    struct soft_guest guest;
    struct mv_block *bank_block;
    struct mv_region *bank, *slider, *mover, *cover;
    struct world_vcpu vcpus[WORLD_VCPUS];
    unsigned first_discarded; /* pages of RAM and of the bank from here on may be discarded; else their number */
    bool has_editor;          /* else everything is where it was */
    uint64_t seed, editor_random;
    uint64_t steps;         /* of each vCPU, at least */
    atomic_bool has_failed; /* a vCPU has */
    atomic_uint working;    /* threads that have not done their share: vCPUs go on until all have */
    uint8_t *bank_host;
};

/* MEMVIRT_SEED, or the clock's. Told by print_message. */
uint64_t world_seed(void);
uint64_t world_random(uint64_t *state);
/* Twenty times as much with --long. */
uint64_t world_amount(uint64_t n);

/* `ring_entries` 0: bitmaps. */
void world_make(struct world *w, const char *accel, uint32_t ring_entries, uint64_t seed);
void world_end(struct world *w);

/*
 * The vCPUs run, each `w->steps` steps, and on until whoever else has called world_done: `others` of them. Returns
 * at once.
 */
void world_start(struct world *w, unsigned others);
void world_done(struct world *w);
bool world_is_over(struct world *w);
/* Until the vCPUs together have made so many accesses more, so that a round of somebody else's meets some. */
void world_wait(struct world *w, uint64_t accesses);
/* Wait for the vCPUs; fails the test if one has found what it must not. */
void world_join(struct world *w);

/* One random edit. Returns false if it was refused. */
bool world_edit(struct world *w);

#endif
