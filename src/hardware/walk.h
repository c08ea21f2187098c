// SPDX-License-Identifier: MIT
/* The walk after a miss, of one dimension or two. */
#ifndef HARDWARE_WALK_H
#define HARDWARE_WALK_H

#include "hardware/mmu_state.h"

/* What a walk found, whole. */
struct walk_page {
    uint8_t *host; /* of the byte */
    gpa_t gpa;     /* of the byte */
    uint8_t shift; /* the smaller of the guest's page and the host's */
    uint8_t guest_shift;
    uint8_t rights; /* of the guest's tables: PT_RIGHT_ */
    uint8_t ready;  /* of the host's side, 1 << enum mv_access */
    uint8_t key;
    bool is_global;
    bool is_dirty; /* D of the guest's entry */
};

/*
 * DONE: *ret_page, and what the caches learned is in them; A and D bits are set. Else *ret_fault or *ret_exit. A
 * walk that began in a paging-structure cache and did not end well was repeated from the root.
 */
enum hw_end walk(struct hw_mmu *mmu, gva_t gva, struct pt_access access, struct walk_page *ret_page,
                 struct hw_fault *ret_fault, struct pt_exit *ret_exit);

#endif
