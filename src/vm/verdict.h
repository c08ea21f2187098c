// SPDX-License-Identifier: MIT
/* What becomes of an access, and the rule behind it in words. */
#ifndef VM_VERDICT_H
#define VM_VERDICT_H

#include <memvirt/explain.h>

#include "paging/state.h"

/* Fill `chain->verdict`. All else of the chain is there. */
void verdict_fill(struct mv_chain *chain, const struct x86_walk *walk, const struct paging *paging,
                  struct pt_access access);

#endif
