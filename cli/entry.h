// SPDX-License-Identifier: MIT
/* The bits of a guest's table entry, by name. */
#ifndef CLI_ENTRY_H
#define CLI_ENTRY_H

#include <memvirt/explain.h>

#define ENTRY_FLAGS_MAX 16

/*
 * The names of the bits that are set in entry `index` of a chain and mean something there, low bits first: P RW US
 * PWT PCD A D PS PAT G NX. Returns how many.
 */
size_t entry_flags(const struct mv_chain *chain, size_t index, const char *ret[ENTRY_FLAGS_MAX]);

#endif
