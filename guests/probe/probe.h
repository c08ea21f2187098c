/* SPDX-License-Identifier: MIT */
/*
 * What the probe guest and the host's test agree on: where the tables, the cases and the results are in guest
 * memory. Both sides are x86-64.
 */
#ifndef PROBE_H
#define PROBE_H

#include <stdint.h>

#define PROBE_TABLES_GPA UINT64_C(0x800000) /* PML4, PDPT, PD, PT, a page each; see PROBE_ENTRY_GPA */
#define PROBE_HEADER_GPA UINT64_C(0x804000)
#define PROBE_TARGET_GPA UINT64_C(0xa23000)   /* a page of RET instructions */
#define PROBE_CASES_GPA UINT64_C(0x1000000)   /* struct probe_case, as many as the header says */
#define PROBE_RESULTS_GPA UINT64_C(0x2000000) /* struct probe_result, the same number */
#define PROBE_RAM_BYTES UINT64_C(0x4000000)
#define PROBE_CASES_MAX 0x50000u

/*
 * The page that is probed. Its index in each table is another one, and its low 30 bits are those of the target: a
 * page of 2 MiB at PROBE_FRAME(2), and one of 1 GiB at 0, show the same bytes.
 */
#define PROBE_GVA UINT64_C(0x4000c0a23000)
#define PROBE_FRAME(level) (PROBE_TARGET_GPA & ~((UINT64_C(1) << (12 + 9 * ((level)-1))) - 1))
/* Of level 4, PML4E, to 1, PTE. */
#define PROBE_TABLE_GPA(level) (PROBE_TABLES_GPA + 4096u * (4u - (level)))
#define PROBE_ENTRY_GPA(level) (PROBE_TABLE_GPA(level) + 8 * (PROBE_GVA >> (12 + 9 * ((level)-1)) & 511))

/* The byte that fills the target, and which a probe writes: so it stays what it is. */
#define PROBE_RET 0xc3

#define PROBE_MAGIC UINT64_C(0x736573616365626f)

struct probe_header {
    uint64_t magic; /* by the host: there are cases */
    uint64_t count;
    uint64_t done; /* by the guest, from here on */
    uint32_t maxphyaddr;
    uint8_t is_amd; /* CPUID's vendor is AMD or Hygon */
    uint8_t has_1g;
    uint8_t has_nx;
    uint8_t reserved;
};

enum probe_kind {
    PROBE_READ,
    PROBE_WRITE,
    PROBE_FETCH,
};

enum probe_flag {
    PROBE_NO_WP = 1 << 0,  /* CR0.WP is 0 */
    PROBE_NO_NXE = 1 << 1, /* EFER.NXE is 0 */
};

struct probe_access {
    uint8_t kind;
    uint8_t is_user; /* in ring 3, else ring 0 */
};

#define PROBE_ACCESSES 2

struct probe_case {
    uint64_t entry[4]; /* [level - 1] */
    uint16_t offset;   /* in the page; a multiple of 8 below 4080 */
    uint8_t flags;
    uint8_t naccesses; /* of 8 bytes each, one after the other; those after a fault are left out */
    struct probe_access access[PROBE_ACCESSES];
};

struct probe_result {
    struct probe_seen {
        uint64_t entry[4]; /* after the access, or at the time of its first fault */
        uint64_t cr2;      /* of the first fault */
        uint32_t error;
        uint32_t faults; /* 1 at most, if all is well */
    } access[PROBE_ACCESSES];
};

#endif
