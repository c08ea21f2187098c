// SPDX-License-Identifier: MIT
/*
 * Looking at the tables of the second dimension: the walk of nested.h without a trace. Nothing is set, counted,
 * cached or told to hooks.
 */
#ifndef HARDWARE_LOOK_H
#define HARDWARE_LOOK_H

#include "hardware/mmu.h"

/* What the entry's address is wanted for. */
enum hw_look_use {
    HW_LOOK_READ,
    HW_LOOK_WRITE,
    HW_LOOK_FETCH,
    HW_LOOK_TABLE,        /* an entry of a guest's table, to be read */
    HW_LOOK_TABLE_UPDATE, /* and to get A or D */
};

enum hw_look_end {
    HW_LOOK_MAPPED,
    HW_LOOK_NOT_PRESENT,
    HW_LOOK_DENIED,
    HW_LOOK_BAD_ENTRY, /* misconfigured; NPT: a reserved bit */
    HW_LOOK_LOG_FULL,  /* a bit is to be set, and the page-modification log has no room */
};

struct hw_look_step {
    uint8_t level;
    const pt_word_t *at;
    uint64_t entry;
};

struct hw_look {
    enum hw_look_end end;
    unsigned need; /* 1 << enum mv_access: what such a use asks for */
    unsigned count;
    struct hw_look_step steps[X86_LEVELS_MAX];
    unsigned rights;     /* ANDed over the present entries; 0 if one is not present */
    uint8_t shift;       /* MAPPED, DENIED, LOG_FULL: of the page */
    uint8_t *host;       /* of the byte, likewise */
    struct pt_exit exit; /* all but MAPPED: reason, gpa and code, as the hardware would have them */
};

/* Inside. `root` may be NULL: there is no table yet. EPT and NPT only. */
void hw_look_nested(const struct hw_mmu *mmu, const pt_word_t *root, gpa_t gpa, enum hw_look_use use,
                    struct hw_look *ret);

#endif
