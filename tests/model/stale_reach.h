/* SPDX-License-Identifier: MIT */
#ifndef STALE_REACH_H
#define STALE_REACH_H

/* What an invalidation reaches of what is cached under a tag. For stale_model.c. */
#include "stale_model.h"

/* A translation in the TLB of a page of 1 << shift bytes at gva. */
bool reaches_tlb(const struct stale_event *event, const struct stale_context *tag, uint64_t gva, unsigned shift,
                 bool global);

/* An entry of the paging-structure caches that is used for the 1 << shift bytes around gva. */
bool reaches_structure(const struct stale_event *event, const struct stale_context *tag, uint64_t gva,
                       unsigned shift);

/* A nested entry in guest-physical mappings. */
bool reaches_nested(const struct stale_event *event, const struct stale_context *tag);

#endif
