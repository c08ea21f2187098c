// SPDX-License-Identifier: MIT
/*
 * What the hardware tells the hypervisor when it cannot go on by itself: a value, as a VM exit is. The codes are
 * the silicon's own (Intel SDM, "Exit Qualification for EPT Violations"; AMD APM, "Nested versus Guest Page
 * Faults").
 */
#ifndef PAGING_EXIT_H
#define PAGING_EXIT_H

#include "base/addr.h"
#include "paging/state.h"

enum pt_exit_reason {
    PT_EXIT_NONE,
    PT_EXIT_EPT_VIOLATION,
    PT_EXIT_EPT_MISCONFIG,
    PT_EXIT_NPF,
    PT_EXIT_PAGE_FAULT, /* a #PF that is intercepted: shadow paging */
    PT_EXIT_PML_FULL,
    PT_EXIT_TIMER,     /* so many walks have begun since the last one: hybrid */
    PT_EXIT_NO_MEMORY, /* native only: no slot there, or a write to a read-only one */
    PT_EXIT_COUNT,
};

struct pt_exit {
    enum pt_exit_reason reason;
    struct pt_access access; /* the guest's own, even when one of its tables was the matter */
    gva_t gva;
    gpa_t gpa; /* that has no (sufficient) translation; not for PAGE_FAULT */
    /* EPT_VIOLATION: the qualification. NPF and PAGE_FAULT: the error code. */
    uint64_t code;
};

/* Exit qualification for EPT violations. */
#define EPT_QUAL_READ (UINT64_C(1) << 0)
#define EPT_QUAL_WRITE (UINT64_C(1) << 1)
#define EPT_QUAL_FETCH (UINT64_C(1) << 2)
#define EPT_QUAL_READABLE (UINT64_C(1) << 3) /* what the entries allowed, ANDed */
#define EPT_QUAL_WRITABLE (UINT64_C(1) << 4)
#define EPT_QUAL_EXECUTABLE (UINT64_C(1) << 5)
#define EPT_QUAL_HAS_GVA (UINT64_C(1) << 7)
#define EPT_QUAL_FINAL (UINT64_C(1) << 8) /* the access itself, and not one to a guest table */

/* Page-fault error codes (Intel SDM, "Page-Fault Exceptions"); those from 32 on are #NPF's own. */
#define PF_PRESENT (UINT64_C(1) << 0)
#define PF_WRITE (UINT64_C(1) << 1)
#define PF_USER (UINT64_C(1) << 2)
#define PF_RESERVED (UINT64_C(1) << 3)
#define PF_FETCH (UINT64_C(1) << 4)
#define PF_KEY (UINT64_C(1) << 5)
#define PF_GUEST_FINAL (UINT64_C(1) << 32)
#define PF_GUEST_TABLE (UINT64_C(1) << 33)

#endif
