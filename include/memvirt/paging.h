// SPDX-License-Identifier: MIT
/**
 * @file paging.h
 * Words for what the architecture defines about page tables.
 */
#ifndef MEMVIRT_PAGING_H
#define MEMVIRT_PAGING_H

#include <memvirt/types.h>

MV_BEGIN_DECLS

/** What an access does with a byte. */
enum mv_access {
    MV_ACCESS_READ,
    MV_ACCESS_WRITE,
    MV_ACCESS_FETCH, /**< of an instruction */
};

/** How the guest translates at the moment. */
enum mv_paging_mode {
    MV_PAGING_OFF,
    MV_PAGING_32BIT, /**< two levels, 4-byte entries */
    MV_PAGING_PAE,   /**< three levels */
    MV_PAGING_4LEVEL,
    MV_PAGING_5LEVEL,
};

/** "off", "32-bit", "PAE", "4-level" or "5-level". Static. */
MV_API const char *mv_paging_mode_name(enum mv_paging_mode mode);

MV_END_DECLS

#endif
