// SPDX-License-Identifier: MIT
/* Chains of translations as JSON; docs/report-format.md describes every member. */
#ifndef CLI_JSON_CHAIN_H
#define CLI_JSON_CHAIN_H

#include <memvirt/explain.h>

#include "json_value.h"

json_t *json_words(const char *const *words, size_t count);

json_t *json_slot(const struct mv_slot *slot);

/* Adds the members of a chain to an object: all but where it leads. */
json_t *json_with_chain(json_t *object, const struct mv_chain *chain);

/* Where it leads; null where that is nowhere. */
json_t *json_chain_page(const struct mv_chain *chain);

#endif
