// SPDX-License-Identifier: MIT
/* IOMMU regions, as the access path sees them. */
#ifndef MACHINE_IOMMU_H
#define MACHINE_IOMMU_H

#include <memvirt/iommu.h>

#include "machine/region.h"

/* How many IOMMU regions an access may pass on its way. */
#define IOMMU_HOPS_MAX 16

/* Where an access goes on. */
struct iommu_step {
    struct mv_space *target; /* NULL: it is not permitted */
    uint64_t address;        /* in the target */
    uint64_t rest;           /* one less than the bytes for which this translation is good */
};

struct iommu_step iommu_translate(const struct mv_region *region, uint64_t offset, unsigned rights,
                                  struct mv_attrs attrs);

#endif
