/* SPDX-License-Identifier: MIT */
/* For guests that page in 32-bit mode. */
#ifndef PAGING32_H
#define PAGING32_H

#include "guest.h"
#include "layout.h"

/* The status of a guest that cannot do its work on this processor; test programs customarily say so with 77. */
enum { GUEST_STATUS_SKIP = 77 };

/*
 * Sets CR4 to `cr4` and turns paging on over `tables` (CR3). False: the processor refused with #GP and paging is
 * off, as on a KVM without hardware virtualization, which knows no paging outside long mode.
 */
bool paging32_enable(uint32_t cr4, const void *tables);

#endif
