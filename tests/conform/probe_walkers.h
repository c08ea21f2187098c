// SPDX-License-Identifier: MIT
#ifndef TESTS_CONFORM_PROBE_WALKERS_H
#define TESTS_CONFORM_PROBE_WALKERS_H

#include "guests/probe/probe.h"
#include "tests/conform/soft_guest.h"
#include "tests/model/walk_model.h"

/* Who is held against the processor: each does a case of the probe guest and says what it saw, in the guest's
 * words. */

/* The independent model. */
void probe_by_model(const struct model_cpu *cpu, const struct probe_case *c, struct probe_result *ret);

/* `soft`, by public API. One VM for all cases, as the guest is one. */
struct probe_soft {
    struct soft_guest guest;
    unsigned flags; /* PROBE_NO_, as the registers are */
    bool is_user;
};

void probe_soft_make(struct probe_soft *soft, const char *accel);
void probe_soft_end(struct probe_soft *soft);
void probe_by_soft(struct probe_soft *soft, const struct probe_case *c, struct probe_result *ret);

#endif
