// SPDX-License-Identifier: MIT
/*
 * What shadow tables have for an address at the moment, and what would come of an access to it: for `explain`. The
 * hardware's walk is repeated without A and D, then the decisions of a fault (shadow_fault.c) without making
 * anything. Nothing changes.
 */
#ifndef HYPERVISOR_SHADOW_LOOK_H
#define HYPERVISOR_SHADOW_LOOK_H

#include "hypervisor/shadow.h"

enum hv_shadow_answer {
    HV_SHADOW_GOES_ON,       /* no exit */
    HV_SHADOW_FIX,           /* an entry is made or changed, and the access tried again */
    HV_SHADOW_OPEN,          /* a write to a guest table of level 1: it is open from now on, and tried again */
    HV_SHADOW_STORE,         /* a write to a guest table, which is made for the guest */
    HV_SHADOW_WITHOUT_WP,    /* a write that is made for it since no entry can stand for CR0.WP=0 */
    HV_SHADOW_REFLECT,       /* the guest's own fault */
    HV_SHADOW_NO_SLOT,       /* MMIO */
    HV_SHADOW_READONLY_SLOT, /* a write that no slot takes */
};

struct hv_shadow_step {
    const pt_word_t *at;
    uint64_t entry;
    uint64_t gfn;           /* of the guest's table that its page stands for; direct: of the first page there */
    union shadow_role role; /* of the page */
    bool unsync, open;
};

struct hv_shadow_look {
    enum guest_walk_end end; /* of the hardware's walk */
    unsigned count;
    struct hv_shadow_step steps[X86_LEVELS_MAX];
    uint8_t rights; /* PT_RIGHT_, MAPPED and DENIED */
    uint8_t shift;  /* MAPPED, DENIED and KEY_DENIED, as the next */
    uint64_t host;
    uint32_t code;       /* of the #PF that is the exit */
    uint8_t guest_level; /* hybrid: of the guest's table at which the hardware leaves ours, or 0; GOES_ON then */
    bool is_table;       /* a guest table that is shadowed is there, ... */
    bool protects;       /* ... which is read-only to everybody */
    enum hv_shadow_answer answer;
};

/* Inside. What the vCPU's requests would change is not seen. */
void shadow_look(struct hv_vcpu *vcpu, gva_t gva, struct pt_access access, struct hv_shadow_look *ret);

#endif
