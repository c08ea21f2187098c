/* SPDX-License-Identifier: MIT */
#ifndef STALE_NPT_H
#define STALE_NPT_H

/* What AMD's manual says otherwise than Intel's. For stale_model.c. */
#include "stale_search.h"

/*
 * Where the nested walk is told that its root is, so that it comes back to ask: which of the ASID's values of nCR3
 * it was is a choice like that of an entry.
 */
#define STALE_NCR3 UINT64_C(0xffffffffff000)
#define STALE_ACCESSED UINT64_C(0x20) /* of an entry */
#define STALE_DIRTY UINT64_C(0x40)

/* The values of nCR3 that the present ASID has had; stale_npt_finish() frees them. */
void stale_npt_begin(struct search *search);
void stale_npt_finish(struct search *search);

/* Whether a fault of this walk is what the tables in memory say, so far as they have to. True for what is none. */
bool stale_npt_confirmed(const struct search *search, const struct model_result *result);

/* Whether the dirty flags of nested leaves are set where they were written through, or are being set just now. */
bool stale_npt_dirty(const struct search *search, const struct model_result *result);

#endif
