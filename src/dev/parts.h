// SPDX-License-Identifier: MIT
/*
 * For a device of several regions: its state goes with the last of them. The device's constructor holds one part
 * itself, until all regions are made.
 */
#ifndef DEV_PARTS_H
#define DEV_PARTS_H

#include <stdatomic.h>
#include <stdbool.h>

struct parts {
    atomic_uint count;
};

static inline void parts_init(struct parts *parts)
{
    atomic_init(&parts->count, 1);
}

static inline void parts_take(struct parts *parts)
{
    atomic_fetch_add_explicit(&parts->count, 1, memory_order_relaxed);
}

/* @return true for the last one: the state can be freed */
static inline bool parts_drop(struct parts *parts)
{
    return atomic_fetch_sub_explicit(&parts->count, 1, memory_order_acq_rel) == 1;
}

#endif
