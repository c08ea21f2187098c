// SPDX-License-Identifier: MIT
/* The policies of hybrid that come with the library: values of the property `policy` (soft.h). */
#ifndef HYPERVISOR_POLICY_H
#define HYPERVISOR_POLICY_H

#include <memvirt/hybrid.h>

enum policy_kind {
    POLICY_AGILE, /* shadowed, until it is written too often; nested, until it was left alone for an interval */
    POLICY_BY_LEVEL,
};

struct policy_options {
    enum policy_kind kind;
    uint8_t nested_levels; /* BY_LEVEL: tables up to this level are nested; 0: none, 5: all */
    uint32_t writes;       /* AGILE: so many in an interval are too often, at level 1; more above */
    uint32_t interval;     /* AGILE: in walks of a vCPU */
};

/* `options` are kept by reference. */
struct mv_hybrid_policy policy_make(const struct policy_options *options);

#endif
